//! The bytes of a file under the reader: a window that knows its offset and can look for the next container.

use std::io::{self, BufReader, Read};

use super::container::{MAGIC, VERSION};

/// What is asked of the system at once.
const CHUNK: usize = 256 * 1024;
/// Magic, flags, version: what must be there for [`Input::seek_container`] to stop.
const SIGNATURE_LEN: usize = 6;

/// A window over a stream; it holds at most twice what was asked for with [`Input::fill`], and one read-ahead chunk.
pub(super) struct Input<R> {
    stream: BufReader<R>,
    window: Vec<u8>,
    /// Bytes of `window` that were consumed.
    start: usize,
    /// Offset of `start` in the stream.
    offset: u64,
}

impl<R: Read> Input<R> {
    pub(super) fn new(stream: R) -> Input<R> {
        Input { stream: BufReader::with_capacity(CHUNK, stream), window: Vec::new(), start: 0, offset: 0 }
    }

    /// How many bytes were consumed.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// What the window holds.
    pub(super) fn held(&self) -> &[u8] {
        self.window.get(self.start..).unwrap_or_default()
    }

    /// Reads until the window holds `len` bytes; it holds fewer when the stream ends before.
    pub(super) fn fill(&mut self, len: usize) -> io::Result<&[u8]> {
        let missing = len.saturating_sub(self.held().len());
        if missing > 0 {
            if self.start >= self.held().len() {
                // Never moves more than was consumed since it last did.
                self.window.drain(..self.start);
                self.start = 0;
            }
            let limit = u64::try_from(missing).unwrap_or(u64::MAX);
            self.stream.by_ref().take(limit).read_to_end(&mut self.window)?;
        }
        Ok(self.held())
    }

    /// Drops `len` bytes off the front of the window.
    pub(super) fn consume(&mut self, len: usize) {
        let len = len.min(self.held().len());
        self.start += len;
        self.offset += u64::try_from(len).unwrap_or(u64::MAX);
    }

    /// Consumes bytes, one at least, until the window starts with what may be a container, or the stream ends.
    /// Returns how many.
    pub(super) fn seek_container(&mut self) -> io::Result<u64> {
        let from = self.offset;
        self.consume(1);
        loop {
            if let Some(position) = find_signature(self.held()) {
                self.consume(position);
                return Ok(self.offset - from);
            }
            // It may begin in the last bytes.
            self.consume(self.held().len().saturating_sub(SIGNATURE_LEN - 1));
            if self.fill(CHUNK)?.len() < SIGNATURE_LEN {
                self.consume(SIGNATURE_LEN);
                return Ok(self.offset - from);
            }
        }
    }
}

fn find_signature(bytes: &[u8]) -> Option<usize> {
    bytes.windows(SIGNATURE_LEN).position(is_signature)
}

/// Do these bytes begin like a container?
pub(super) fn is_signature(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC) && bytes.get(SIGNATURE_LEN - 1) == Some(&VERSION)
}

/// Does a container begin with these bytes, or could one if more came? Without any the input ends, as it may.
pub(super) fn may_begin(bytes: &[u8]) -> bool {
    is_signature(bytes) || bytes.len() < SIGNATURE_LEN && (MAGIC.starts_with(bytes) || bytes.starts_with(&MAGIC))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_across_two_chunks_is_found() {
        for before in [1, CHUNK - 3, CHUNK, CHUNK + 1, 2 * CHUNK - 2] {
            let mut bytes = vec![b'N'; before];
            bytes.extend(b"NMSG\0\x02....");
            let mut input = Input::new(&bytes[..]);
            assert_eq!(input.seek_container().unwrap(), u64::try_from(before).unwrap());
            assert!(is_signature(input.held()));
        }
    }

    #[test]
    fn without_a_signature_everything_is_consumed() {
        let mut input = Input::new(&b"NMSG\0\x01 NMSG\0"[..]);
        assert_eq!(input.seek_container().unwrap(), 12);
        assert!(input.held().is_empty());
    }

    #[test]
    fn the_window_does_not_keep_what_was_consumed() {
        let bytes = vec![0; 100_000];
        let mut input = Input::new(&bytes[..]);
        for _ in 0..100 {
            input.fill(1000).unwrap();
            input.consume(1000);
        }
        assert!(input.fill(1).unwrap().is_empty());
        assert_eq!(input.offset(), 100_000);
        assert!(input.window.capacity() < 10_000);
    }
}
