//! What is to be written.

use super::wire;

/// The stream's frames are filled up to there, as current clients do.
const FRAME_LEN: usize = 32 << 10;

/// Bytes on their way out. Whoever fills it stops when there are enough; it holds them in frames.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    /// So many of them are written.
    written: usize,
    /// Where the last frame begins, if it is one of the stream and nothing of it is written.
    open: Option<usize>,
}

impl Outbox {
    /// What waits to be written.
    pub fn waiting(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    /// So many bytes of what waits were written.
    pub fn wrote(&mut self, len: usize) {
        self.written += len;
        if self.open.is_some_and(|at| at < self.written) {
            self.open = None;
        }
        if self.written >= self.bytes.len() {
            self.bytes.clear();
            self.written = 0;
        } else if self.written > self.bytes.len() / 2 {
            // Never more is moved than was written.
            self.bytes.drain(..self.written);
            self.open = self.open.map(|at| at - self.written);
            self.written = 0;
        }
    }

    /// Bytes outside of frames.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.open = None;
        self.bytes.extend(bytes);
    }

    /// A message.
    pub fn message(&mut self, tag: u8, bytes: &[u8]) {
        self.raw(&wire::frame_header(tag, bytes.len()));
        self.bytes.extend(bytes);
    }

    /// More of the stream; at most [`wire::FRAME_MAX`] bytes.
    pub fn stream(&mut self, bytes: &[u8]) {
        let (at, before) = match self.open {
            Some(at) if self.bytes.len() + bytes.len() <= at + FRAME_LEN => (at, self.bytes.len() - at - 4),
            _ => {
                let at = self.bytes.len();
                self.bytes.extend([0; 4]);
                (at, 0)
            }
        };
        self.bytes.extend(bytes);
        self.bytes[at..at + 4].copy_from_slice(&wire::frame_header(0, before + bytes.len()));
        self.open = Some(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_grows_until_some_of_it_is_written() {
        let mut outbox = Outbox::default();
        outbox.stream(b"ab");
        outbox.stream(b"c");
        assert_eq!(outbox.waiting(), b"\x03\0\0\x07abc");
        outbox.wrote(1);
        outbox.stream(b"d");
        outbox.message(86, &[]);
        outbox.stream(b"e");
        assert_eq!(outbox.waiting(), b"\0\0\x07abc\x01\0\0\x07d\0\0\0\x5d\x01\0\0\x07e");
    }

    #[test]
    fn what_is_written_takes_no_memory() {
        let mut outbox = Outbox::default();
        for _ in 0..1000 {
            outbox.stream(&[1; 32_768]);
            outbox.stream(&[2; 5]);
            outbox.wrote(32_772);
        }
        assert_eq!(outbox.waiting().len(), 9000);
        assert!(outbox.bytes.capacity() < 1 << 18);
    }
}
