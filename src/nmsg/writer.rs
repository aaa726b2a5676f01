//! Containers of a file: filled, closed, compressed, written.

use super::{
    MSGTYPE_DNSQR, VENDOR_BASE,
    container::{FLAG_ZLIB, HEADER_LEN, MAGIC, VERSION, WRITE_MAX, checksum},
    encode::{self, Fields, ROOM},
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

/// A container being filled.
pub struct Builder {
    /// Header, to be filled in last, and payloads.
    bytes: Vec<u8>,
    checksums: Vec<u32>,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder { bytes: vec![0; HEADER_LEN], checksums: Vec::new() }
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
        self.bytes.extend_from_slice(&[0; USUAL_HEAD]);
        encode::dnsqr(transaction, &mut self.bytes);
        let estimate = self.bytes.len() + self.checksums.len() * CHECKSUM_LEN + SLACK;
        if estimate >= WRITE_MAX && !self.is_empty() {
            self.bytes.truncate(start);
            return false;
        }
        let message = start + USUAL_HEAD;
        self.checksums.push(checksum(&self.bytes[message..]));
        let (head, len) = head(encode::time(transaction), self.bytes.len() - message);
        match self.bytes.get_mut(start..message) {
            Some(room) if len == USUAL_HEAD => room.copy_from_slice(&head[..len]),
            _ => drop(self.bytes.splice(start..message, head[..len].iter().copied())),
        }
        true
    }

    /// Closes the container: its bytes, header included. It must be [`Builder::clear`]ed before the next payload.
    pub fn finish(&mut self) -> &[u8] {
        for checksum in &self.checksums {
            let mut fields = Fields::new();
            fields.varint(2, (*checksum).into()); // Nmsg.payload_crcs
            fields.flush(&mut self.bytes);
        }
        let body_len = (self.bytes.len() - HEADER_LEN) as u32;
        self.bytes[..HEADER_LEN].copy_from_slice(&header(0, body_len));
        &self.bytes
    }

    /// Makes it empty, its memory kept.
    pub fn clear(&mut self) {
        self.bytes.truncate(HEADER_LEN);
        self.checksums.clear();
    }
}

/// Length of what stands before a message of 128 to 16 383 bytes in our time: both lengths take two bytes.
const USUAL_HEAD: usize = 21;

/// What stands before a message of `len` bytes in a container: `Nmsg.payloads`, an `NmsgPayload`, up to its message. With its
/// own length.
#[inline]
fn head(time: Timestamp, len: usize) -> ([u8; ROOM], usize) {
    let mut payload = Fields::new();
    payload.varint(1, VENDOR_BASE.into());
    payload.varint(2, MSGTYPE_DNSQR.into());
    payload.varint(3, time.seconds());
    payload.fixed32(4, time.subsec_nanos());
    payload.length(5, len);
    let mut head = Fields::new();
    head.length(1, payload.len() + len);
    head.append(&payload);
    head.into_bytes()
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

/// Compresses containers, one at a time.
pub struct Zlib {
    compressor: Compressor,
    bytes: Vec<u8>,
}

impl Zlib {
    /// A level from 1 to 12; 3 is the sensor's.
    pub fn new(level: u8) -> Zlib {
        let level = CompressionLvl::new(level.into()).unwrap_or_default();
        Zlib { compressor: Compressor::new(level), bytes: Vec::new() }
    }

    /// The compressed form of an uncompressed container: the body becomes its length and one zlib stream.
    pub fn compress(&mut self, container: &[u8]) -> &[u8] {
        let body = container.get(HEADER_LEN..).unwrap_or(&[]);
        let start = HEADER_LEN + size_of::<u32>();
        let bound = self.compressor.zlib_compress_bound(body.len());
        if self.bytes.len() < start + bound {
            self.bytes.resize(start + bound, 0);
        }
        // Cannot fail: the room is what the library asked for.
        let Ok(len) = self.compressor.zlib_compress(body, &mut self.bytes[start..]) else {
            self.bytes.clear();
            self.bytes.extend_from_slice(container);
            return &self.bytes;
        };
        let body_len = (start - HEADER_LEN + len) as u32;
        self.bytes[..HEADER_LEN].copy_from_slice(&header(FLAG_ZLIB, body_len));
        self.bytes[HEADER_LEN..start].copy_from_slice(&(body.len() as u32).to_be_bytes());
        &self.bytes[..start + len]
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
    /// `level` is that of zlib, 1 to 12; `None` writes uncompressed.
    pub fn new(output: W, level: Option<u8>) -> Writer<W> {
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
