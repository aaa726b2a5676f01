//! Containers of a file: filled, closed, compressed, written.

use super::{
    MSGTYPE_DNSQR, MSGTYPE_ENCODE, VENDOR_BASE,
    buffer::Buffer,
    container::{FLAG_ZLIB, HEADER_LEN, MAGIC, VERSION, WRITE_MAX, checksum},
    encode,
};
use crate::{
    stats::Output,
    time::Timestamp,
    track::{Sink, Transaction},
};
use libdeflater::{CompressionLvl, Compressor};
use std::io::{self, Write};

/// What a container may hold beyond the payload that is added: its checksum, as libnmsg reckons.
const SLACK: usize = 32;
/// A payload checksum in the container: a tag and the longest varint of 32 bits.
const CHECKSUM_LEN: usize = 1 + 5;

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
    /// A level of libdeflate, 1 to 12.
    Fixed(u8),
    /// Level 3, whose files are within 5 % of zlib's level 6; or level 2, a tenth faster, while the data are such that its
    /// files are larger by less than so many parts in a thousand. Which it is is measured on every 64th container.
    Measured(u8),
}

impl Level {
    /// Where the size counts.
    pub const DENSE: Level = Level::Measured(10);
    /// The live sensor's, where the time counts too: on the traffic of real resolvers, level 2 loses 2 % in size.
    pub const LIVE: Level = Level::Measured(25);
}

/// The levels that [`Level::Measured`] chooses from.
const DENSE: u8 = 3;
const FAST: u8 = 2;
/// Containers between two measurements.
const MEASURE_EVERY: u32 = 64;

/// Compresses containers, one at a time.
pub struct Zlib {
    compressor: Compressor,
    level: u8,
    measured: Option<Measured>,
    bytes: Vec<u8>,
}

struct Measured {
    fast: Compressor,
    is_fast: bool,
    /// In thousandths.
    loss: usize,
    until_next: u32,
}

impl Zlib {
    /// A compressor for one file.
    pub fn new(level: Level) -> Zlib {
        let (level, measured) = match level {
            Level::Fixed(level) => (level, None),
            Level::Measured(loss) => {
                let loss = loss.into();
                (DENSE, Some(Measured { fast: compressor(FAST), is_fast: false, loss, until_next: 0 }))
            }
        };
        Zlib { compressor: compressor(level), level, measured, bytes: Vec::new() }
    }

    /// The compressed form of an uncompressed container: the body becomes its length and one zlib stream.
    pub fn compress(&mut self, container: &[u8]) -> &[u8] {
        let len = self.compress_to(container);
        &self.bytes[..len]
    }

    /// The same, with the level that it came to.
    pub fn compress_and_tell(&mut self, container: &[u8]) -> (u8, &[u8]) {
        let len = self.compress_to(container);
        (self.level(), &self.bytes[..len])
    }

    fn level(&self) -> u8 {
        if self.measured.as_ref().is_some_and(|measured| measured.is_fast) { FAST } else { self.level }
    }

    fn compress_to(&mut self, container: &[u8]) -> usize {
        let Zlib { compressor, measured, bytes, .. } = self;
        let Some(measured) = measured else {
            return compress(compressor, container, bytes);
        };
        let mut len = 0;
        if measured.until_next == 0 {
            measured.until_next = MEASURE_EVERY;
            let dense = compress(compressor, container, bytes);
            len = compress(&mut measured.fast, container, bytes);
            measured.is_fast = len <= dense + dense * measured.loss / 1000;
        } else if measured.is_fast {
            len = compress(&mut measured.fast, container, bytes);
        }
        measured.until_next -= 1;
        if !measured.is_fast {
            len = compress(compressor, container, bytes);
        }
        len
    }
}

fn compressor(level: u8) -> Compressor {
    Compressor::new(CompressionLvl::new(level.into()).unwrap_or_default())
}

/// Compresses `container` to the start of `to`; how long it is there.
fn compress(compressor: &mut Compressor, container: &[u8], to: &mut Vec<u8>) -> usize {
    let body = container.get(HEADER_LEN..).unwrap_or(&[]);
    let start = HEADER_LEN + size_of::<u32>();
    let needed = start + compressor.zlib_compress_bound(body.len()).max(container.len());
    if to.len() < needed {
        to.resize(needed, 0);
    }
    let (head, room) = to.split_at_mut(start);
    match compressor.zlib_compress(body, room) {
        Ok(len) => {
            head[..HEADER_LEN].copy_from_slice(&header(FLAG_ZLIB, (start - HEADER_LEN + len) as u32));
            head[HEADER_LEN..].copy_from_slice(&(body.len() as u32).to_be_bytes());
            start + len
        }
        // The room is what the library asked for, so this does not happen; the container is right as it is, too.
        Err(_) => {
            to[..container.len()].copy_from_slice(container);
            container.len()
        }
    }
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
