//! The bytes of a capture file: decompressed where they need it, in one buffer that refills itself.

use std::fmt;
use std::io::{self, Cursor, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use liblzma::read::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

use super::bytes::to_u64;
use super::gzip::Gzip;

/// What the buffer starts with: fits the second-level cache, and one read of it carries 2 000 DNS packets.
const BUFFER_LEN: usize = 256 << 10;

/// What is asked of a decoder at once. A decoder that meets damage loses what it decoded in the same call, so
/// this bounds the packets lost before the damage.
const DECODE_LEN: usize = 32 << 10;

/// What an xz file may make its decoder allocate; `xz -9` needs 65 MiB.
const XZ_MEMORY_LIMIT: u64 = 128 << 20;

/// The largest zstd window accepted, as a power of two (128 MiB); what the zstd tool takes without --long.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// The longest magic number below, xz's.
const MAGIC_LEN: u64 = 6;

/// How a capture file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// gzip (RFC 1952), of one or several members.
    Gzip,
    /// xz, of one or several streams.
    Xz,
    /// Zstandard (RFC 8878), of one or several frames.
    Zstd,
}

impl Compression {
    /// Which of them begins with `magic`, if any.
    fn detect(magic: &[u8]) -> Option<Compression> {
        match magic {
            [0x1f, 0x8b, ..] => Some(Compression::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Compression::Xz),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Compression::Zstd),
            // A skippable frame; pzstd begins its files with one.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// Puts the decoder before `reader`.
    fn decode(self, reader: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Compression::Gzip => Box::new(Gzip::new(reader)),
            Compression::Xz => {
                let stream = Stream::new_stream_decoder(XZ_MEMORY_LIMIT, CONCATENATED)?;
                Box::new(XzDecoder::new_stream(reader, stream))
            }
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::new(reader)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compression::Gzip => "gzip",
            Compression::Xz => "xz",
            Compression::Zstd => "zstd",
        })
    }
}

/// A stream of bytes seen through a buffer: `buffer[start..end]` is what has been read and not yet used.
///
/// The buffer grows to the largest `fill` asked for and stays so; the formats bound what they ask for.
pub(super) struct Source {
    reader: Box<dyn Read + Send>,
    compression: Option<Compression>,
    consumed: Arc<AtomicU64>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Where in the (uncompressed) stream the buffer begins.
    base: u64,
    /// The most to ask of `reader` at once.
    read_len: usize,
    ended: bool,
}

impl Source {
    /// Reads the first bytes of `reader` and puts the decoder they ask for before it.
    pub(super) fn new(reader: Box<dyn Read + Send>) -> io::Result<Source> {
        let consumed = Arc::new(AtomicU64::new(0));
        let mut counted = Counted { reader, consumed: Arc::clone(&consumed) };
        let mut magic = Vec::new();
        counted.by_ref().take(MAGIC_LEN).read_to_end(&mut magic)?;
        let compression = Compression::detect(&magic);
        let whole = Cursor::new(magic).chain(counted);
        let (reader, read_len): (Box<dyn Read + Send>, usize) = match compression {
            Some(compression) => (compression.decode(whole)?, DECODE_LEN),
            None => (Box::new(whole), usize::MAX),
        };
        let buffer = vec![0; BUFFER_LEN];
        let (start, end, base, ended) = (0, 0, 0, false);
        Ok(Source { reader, compression, consumed, buffer, start, end, base, read_len, ended })
    }

    /// What the file is compressed with.
    pub(super) fn compression(&self) -> Option<Compression> {
        self.compression
    }

    /// Bytes of the file (compressed, if it is) read so far.
    pub(super) fn consumed(&self) -> u64 {
        // Only ever written by this thread, inside `read`.
        self.consumed.load(Ordering::Relaxed)
    }

    /// Where in the uncompressed stream the next byte lies.
    pub(super) fn offset(&self) -> u64 {
        self.base.saturating_add(to_u64(self.start))
    }

    /// Where in the uncompressed stream the bytes read so far end.
    pub(super) fn end_offset(&self) -> u64 {
        self.base.saturating_add(to_u64(self.end))
    }

    /// The bytes read and not yet used.
    #[inline]
    pub(super) fn buffered(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Sees to it that `want` bytes are buffered; false when the stream ends before them.
    ///
    /// An error of the reader or the decoder comes up only when the bytes before it do not suffice.
    #[inline]
    pub(super) fn fill(&mut self, want: usize) -> io::Result<bool> {
        if self.end - self.start >= want {
            return Ok(true);
        }
        self.refill(want)
    }

    /// Takes `len` buffered bytes off the front (all there are, if fewer).
    #[inline]
    pub(super) fn take(&mut self, len: usize) -> &[u8] {
        let from = self.start;
        self.start = self.end.min(from.saturating_add(len));
        self.buffer.get(from..self.start).unwrap_or_default()
    }

    /// Passes over `len` bytes without holding them all; false when the stream ends before them.
    pub(super) fn skip(&mut self, mut len: u64) -> io::Result<bool> {
        loop {
            let step = usize::try_from(len).unwrap_or(usize::MAX).min(self.end - self.start);
            self.start += step;
            len -= to_u64(step);
            if len == 0 {
                return Ok(true);
            }
            if !self.fill(1)? {
                return Ok(false);
            }
        }
    }

    /// Moves what is left to the front and reads behind it. Reads no more often than needed, so that frames
    /// from a pipe are seen as they come.
    #[cold]
    #[inline(never)]
    fn refill(&mut self, want: usize) -> io::Result<bool> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.base = self.offset();
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() < want {
            self.buffer.resize(want, 0);
        }
        while self.end < want && !self.ended {
            let room = self.buffer.get_mut(self.end..).unwrap_or_default();
            let room_len = room.len().min(self.read_len);
            let room = room.get_mut(..room_len).unwrap_or_default();
            match self.reader.read(room) {
                Ok(0) => self.ended = true,
                Ok(len) => self.end += len.min(room_len),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.end >= want)
    }
}

/// Counts the bytes that pass; the count outlives the move of the reader into a decoder.
struct Counted {
    reader: Box<dyn Read + Send>,
    consumed: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.reader.read(buffer)?;
        self.consumed.fetch_add(to_u64(len), Ordering::Relaxed);
        Ok(len)
    }
}
