//! Containers of a file: filled, closed, compressed, written.

use super::{
    MSGTYPE_DNSQR, MSGTYPE_ENCODE, VENDOR_BASE,
    buffer::Buffer,
    container::{FLAG_ZLIB, HEADER_LEN, MAGIC, VERSION, WRITE_MAX, checksum},
    deflate::{Deflate, Effort},
    encode,
};
use crate::{
    stats::Output,
    time::Timestamp,
    track::{Sink, Transaction},
};
use libdeflater::{CompressionLvl, Compressor, adler32};
use std::io::{self, Write};

/// What a container may hold beyond the payload that is added: its checksum, as libnmsg reckons.
const SLACK: usize = 32;
/// A payload checksum in the container: a tag and the longest varint of 32 bits.
const CHECKSUM_LEN: usize = 1 + 5;

/// Of a zlib stream: deflate with a window of 32 KiB, compressed fast.
const ZLIB_HEADER: [u8; 2] = [0x78, 0x5e];

/// `Encode.type` of a JSON text.
const JSON: u64 = 1;
/// Room in a container for the payload that turns out to be one too many; longer ones make it grow.
const OVERHANG: usize = 1 << 16;

/// A container being filled.
pub struct Builder {
    /// Header, to be filled in last, and payloads.
    bytes: Buffer,
    checksums: Vec<u32>,
}

impl Default for Builder {
    fn default() -> Builder {
        let mut bytes = Buffer::new(WRITE_MAX + OVERHANG);
        bytes.extend(&[0; HEADER_LEN]);
        Builder { bytes, checksums: Vec::new() }
    }
}

impl Builder {
    /// Payloads in it.
    pub fn len(&self) -> usize {
        self.checksums.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.checksums.is_empty()
    }

    /// Adds a transaction. False, and nothing is added, when the container should be closed first: it holds just under
    /// 1 MiB.
    #[inline]
    pub fn push(&mut self, transaction: &Transaction) -> bool {
        let start = self.bytes.len();
        let message = self.payload(transaction);
        let estimate = self.bytes.len() + self.checksums.len() * CHECKSUM_LEN + SLACK;
        if estimate >= WRITE_MAX && !self.is_empty() {
            self.bytes.truncate(start);
            return false;
        }
        self.checksums.push(checksum(self.bytes.since(message)));
        true
    }

    /// Adds an `NmsgPayload` (as `Nmsg.payloads`); where its message starts. The two lengths stand before what they
    /// measure: room for two bytes is left for each, which nearly always is right.
    #[inline]
    fn payload(&mut self, transaction: &Transaction) -> usize {
        let time = encode::time(transaction);
        let start = self.bytes.len();
        self.bytes.tag_of_bytes(1);
        self.bytes.skip(2);
        self.payload_fields(MSGTYPE_DNSQR, time);
        self.bytes.tag_of_bytes(5);
        self.bytes.skip(2);
        let message = self.bytes.len();
        encode::dnsqr(transaction, &mut self.bytes);
        let message_len = self.bytes.len() - message;
        let payload = start + 1 + 2;
        match (varint_of_two(self.bytes.len() - payload), varint_of_two(message_len)) {
            (Some(payload_len), Some(message_len)) => {
                self.bytes.fill(start + 1, payload_len);
                self.bytes.fill(message - 2, message_len);
                message
            }
            _ => self.lengths_of_other_sizes(start, message, time),
        }
    }

    /// Adds a payload of base/encode: a JSON text, for readers that know nothing of us. It is not refused for its length;
    /// it is meant for a container of its own.
    pub fn push_json(&mut self, time: Timestamp, json: &str) {
        let start = self.bytes.len();
        self.bytes.varint(1, JSON);
        self.bytes.bytes(2, json.as_bytes());
        let message = self.bytes.since(start).to_vec();
        self.bytes.truncate(start);
        self.payload_fields(MSGTYPE_ENCODE, time);
        self.bytes.bytes(5, &message);
        let payload = self.bytes.since(start).to_vec();
        self.bytes.truncate(start);
        self.bytes.bytes(1, &payload);
        self.checksums.push(checksum(&message));
    }

    /// Memory it holds, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.room() + self.checksums.capacity() * size_of::<u32>()
    }

    #[inline]
    fn payload_fields(&mut self, msgtype: u32, time: Timestamp) {
        self.bytes.varint(1, VENDOR_BASE.into());
        self.bytes.varint(2, msgtype.into());
        self.bytes.varint(3, time.seconds());
        self.bytes.fixed32(4, time.subsec_nanos());
    }

    /// Writes a payload again whose lengths do not take two bytes each.
    #[cold]
    fn lengths_of_other_sizes(&mut self, start: usize, message: usize, time: Timestamp) -> usize {
        let encoded = self.bytes.since(message).to_vec();
        let fields = start + 1 + 2;
        self.bytes.truncate(fields);
        self.payload_fields(MSGTYPE_DNSQR, time);
        self.bytes.length(5, encoded.len());
        let head = self.bytes.since(fields).to_vec();
        self.bytes.truncate(start);
        self.bytes.length(1, head.len() + encoded.len());
        self.bytes.extend(&head);
        let message = self.bytes.len();
        self.bytes.extend(&encoded);
        message
    }

    /// Closes the container: its bytes, header included. It must be [`Builder::clear`]ed before the next payload.
    pub fn finish(&mut self) -> &[u8] {
        for checksum in &self.checksums {
            self.bytes.varint(2, (*checksum).into()); // Nmsg.payload_crcs
        }
        let body_len = (self.bytes.len() - HEADER_LEN) as u32;
        self.bytes.fill(0, header(0, body_len));
        self.bytes.written()
    }

    /// Makes it empty, its memory kept.
    pub fn clear(&mut self) {
        self.bytes.truncate(HEADER_LEN);
        self.checksums.clear();
    }
}

/// A length as a varint, if that takes two bytes.
#[inline]
fn varint_of_two(len: usize) -> Option<[u8; 2]> {
    (0x80..0x4000).contains(&len).then_some([len as u8 | 0x80, (len >> 7) as u8])
}

/// A container's header.
fn header(flags: u8, body_len: u32) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..4].copy_from_slice(&MAGIC);
    header[4] = flags;
    header[5] = VERSION;
    header[6..].copy_from_slice(&body_len.to_be_bytes());
    header
}

/// How hard to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// By [`Deflate`], which knows where in a container repetitions are.
    Own(Effort),
    /// By the quick effort of it while its files are larger than those of the dense one by less than so many parts in a
    /// thousand, else by that. Which it is is measured on every 64th container.
    Measured(u8),
    /// By libdeflate, at a level from 1 to 12.
    Fixed(u8),
}

impl Level {
    /// Where the size counts: files within 5 % of zlib's level 6.
    pub const DENSE: Level = Level::Measured(10);
    /// The live sensor's, where the time counts too: on the traffic of real resolvers, the quick effort loses 2 % in size.
    pub const LIVE: Level = Level::Measured(25);
    /// Where only the time counts.
    pub const QUICK: Level = Level::Own(Effort::Quick);
}

/// Containers between two measurements.
const MEASURE_EVERY: u32 = 64;

/// Compresses containers, one at a time.
pub struct Zlib {
    compressor: Compress,
    bytes: Vec<u8>,
}

enum Compress {
    Own(Box<Deflate>, Effort),
    Measured(Box<Deflate>, Measured),
    Fixed(Compressor, u8),
}

struct Measured {
    effort: Effort,
    /// In thousandths.
    loss: usize,
    until_next: u32,
}

impl Zlib {
    /// A compressor for the containers of a file, or of one after the other.
    pub fn new(level: Level) -> Zlib {
        let compressor = match level {
            Level::Own(effort) => Compress::Own(Box::default(), effort),
            Level::Measured(loss) => {
                let loss = loss.into();
                Compress::Measured(Box::default(), Measured { effort: Effort::Dense, loss, until_next: 0 })
            }
            Level::Fixed(level) => {
                let known = CompressionLvl::new(level.into()).unwrap_or_default();
                Compress::Fixed(Compressor::new(known), level)
            }
        };
        Zlib { compressor, bytes: Vec::new() }
    }

    /// The same, behind the level of libdeflate that it was, or whose files are about as large.
    pub fn compress_and_tell(&mut self, container: &[u8]) -> (u8, &[u8]) {
        let len = self.compress(container).len();
        (self.level(), &self.bytes[..len])
    }

    fn level(&self) -> u8 {
        match &self.compressor {
            Compress::Own(_, effort) | Compress::Measured(_, Measured { effort, .. }) => match effort {
                Effort::Quick => 2,
                Effort::Dense => 3,
            },
            Compress::Fixed(_, level) => *level,
        }
    }

    /// The compressed form of an uncompressed container: the body becomes its length and one zlib stream.
    pub fn compress(&mut self, container: &[u8]) -> &[u8] {
        let body = container.get(HEADER_LEN..).unwrap_or(&[]);
        let start = HEADER_LEN + size_of::<u32>();
        let bytes = &mut self.bytes;
        let end = match &mut self.compressor {
            Compress::Own(deflate, effort) => own(deflate, *effort, body, bytes, start),
            Compress::Measured(deflate, measured) => {
                if measured.until_next == 0 {
                    measured.until_next = MEASURE_EVERY;
                    let [dense, quick] =
                        [Effort::Dense, Effort::Quick].map(|effort| own(deflate, effort, body, bytes, start));
                    let is_worth_it = quick > dense + dense * measured.loss / 1000;
                    measured.effort = if is_worth_it { Effort::Dense } else { Effort::Quick };
                }
                measured.until_next -= 1;
                own(deflate, measured.effort, body, bytes, start)
            }
            Compress::Fixed(compressor, _) => fixed(compressor, body, bytes, start),
        };
        if end == 0 {
            // The room was what the library asked for, so this does not happen; the container is right as it is, too.
            self.bytes = container.to_vec();
            return &self.bytes;
        }
        let bytes = &mut self.bytes[..end];
        let (head, _) = bytes.split_at_mut(start);
        head[..HEADER_LEN].copy_from_slice(&header(FLAG_ZLIB, (end - HEADER_LEN) as u32));
        head[HEADER_LEN..].copy_from_slice(&(body.len() as u32).to_be_bytes());
        bytes
    }
}

/// A zlib stream (RFC 1950) to `to` from `start` on; where it ends.
fn own(deflate: &mut Deflate, effort: Effort, body: &[u8], to: &mut Vec<u8>, start: usize) -> usize {
    let stream = start + ZLIB_HEADER.len();
    if to.len() < stream {
        to.resize(stream, 0);
    }
    to[start..stream].copy_from_slice(&ZLIB_HEADER);
    let end = deflate.compress(body, effort, to, stream);
    to.truncate(end);
    to.extend(adler32(body).to_be_bytes());
    to.len()
}

/// The same by libdeflate; 0 if that fails.
fn fixed(compressor: &mut Compressor, body: &[u8], to: &mut Vec<u8>, start: usize) -> usize {
    let needed = start + compressor.zlib_compress_bound(body.len());
    if to.len() < needed {
        to.resize(needed, 0);
    }
    compressor.zlib_compress(body, &mut to[start..]).map_or(0, |len| start + len)
}

/// Writes transactions to a file. The first error ends the writing and is kept; what comes after it is counted as
/// dropped.
pub struct Writer<W> {
    output: W,
    builder: Builder,
    zlib: Option<Zlib>,
    error: Option<io::Error>,
    written: Output,
}

impl<W: Write> Writer<W> {
    /// With `None` it writes uncompressed.
    pub fn new(output: W, level: Option<Level>) -> Writer<W> {
        Writer {
            output,
            builder: Builder::default(),
            zlib: level.map(Zlib::new),
            error: None,
            written: Output::default(),
        }
    }

    /// Writes what is left. Gives back the output, its counters, and the error that ended it.
    pub fn finish(mut self) -> (W, Output, Option<io::Error>) {
        self.close();
        if self.error.is_none() {
            self.error = self.output.flush().err();
        }
        (self.output, self.written, self.error)
    }

    /// Whether writing has failed.
    #[inline]
    pub fn has_failed(&self) -> bool {
        self.error.is_some()
    }

    fn close(&mut self) {
        if self.builder.is_empty() {
            return;
        }
        let transactions = self.builder.len() as u64;
        let container = self.builder.finish();
        let bytes = match &mut self.zlib {
            Some(zlib) => zlib.compress(container),
            None => container,
        };
        let result = if self.error.is_none() { self.output.write_all(bytes) } else { Ok(()) };
        match result {
            Ok(()) if self.error.is_none() => {
                self.written.transactions += transactions;
                self.written.containers += 1;
                self.written.bytes += bytes.len() as u64;
            }
            result => {
                self.written.dropped_transactions += transactions;
                self.error = self.error.take().or(result.err());
            }
        }
        self.builder.clear();
    }
}

impl<W: Write> Sink for Writer<W> {
    #[inline]
    fn transaction(&mut self, transaction: &Transaction) {
        if !self.builder.push(transaction) {
            self.close();
            self.builder.push(transaction);
        }
    }
}
