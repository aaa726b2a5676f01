//! What the server sends behind the greeting: frames, of which some are the stream and some messages.

use super::{fault::Fault, wire};

/// Longest message that is kept; servers write some hundred bytes.
const MESSAGE_MAX: usize = 1 << 16;

/// The stream: requests.
const DATA: u8 = 0;
const ERROR_TRANSFER: u8 = 1;
const ERROR: u8 = 3;
/// The last of the kinds that are text.
const LAST_TEXT: u8 = 8;
const IO_ERROR: u8 = 22;
const IO_TIMEOUT: u8 = 33;
const NOOP: u8 = 42;
/// The server gives up; with this we agree.
pub const ERROR_EXIT: u8 = 86;
const SUCCESS: u8 = 100;
const DELETED: u8 = 101;
/// The file of this index is not sent.
pub const NO_SEND: u8 = 102;

/// A part of a frame, or all of one.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'b> {
    /// Of the stream.
    Data(&'b [u8]),
    /// Text for people; whether it is an error.
    Text(bool, Vec<u8>),
    /// A file is in place.
    Success(i32),
    /// The server gives up, with this exit code if it says one.
    ErrorExit(Option<i32>),
    /// It had errors reading; nothing is to be done.
    Nothing,
}

/// Takes frames apart; holds no more than one message.
#[derive(Debug, Default)]
pub struct Frames {
    header: Vec<u8>,
    /// Tag and missing bytes of the frame that is read.
    open: Option<(u8, usize)>,
    message: Vec<u8>,
}

impl Frames {
    /// The next piece in `bytes`, which are taken up to its end; `None` when they are used up.
    pub fn next<'b>(&mut self, bytes: &mut &'b [u8]) -> Result<Option<Piece<'b>>, Fault> {
        loop {
            let Some((tag, missing)) = self.open else {
                let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
                *bytes = rest;
                self.header.push(first);
                if let Ok(header) = <[u8; 4]>::try_from(&self.header[..]) {
                    self.header.clear();
                    let (tag, len) = wire::frame(header);
                    check(tag, len)?;
                    // An empty one is complete with its header; the stream's is a sign of life.
                    if len == 0 && tag != DATA {
                        return message(tag, Vec::new()).map(Some);
                    }
                    self.open = Some((tag, len)).filter(|_| len > 0);
                }
                continue;
            };
            if bytes.is_empty() {
                return Ok(None);
            }
            let (part, rest) = bytes.split_at(missing.min(bytes.len()));
            *bytes = rest;
            let missing = missing - part.len();
            self.open = Some((tag, missing)).filter(|_| missing > 0);
            if tag == DATA {
                return Ok(Some(Piece::Data(part)));
            }
            self.message.extend(part);
            if missing == 0 {
                return message(tag, std::mem::take(&mut self.message)).map(Some);
            }
        }
    }
}

/// Whether a frame with this header may be.
fn check(tag: u8, len: usize) -> Result<(), Fault> {
    let fits = match tag {
        DATA => true,
        ERROR_TRANSFER..=LAST_TEXT | DELETED => len <= MESSAGE_MAX,
        IO_ERROR | IO_TIMEOUT | SUCCESS | NO_SEND => len == 4,
        NOOP => len == 0,
        ERROR_EXIT => len == 0 || len == 4,
        _ => return Err(Fault::Tag(tag)),
    };
    if fits { Ok(()) } else { Err(Fault::MessageLength(tag, len)) }
}

fn message<'b>(tag: u8, bytes: Vec<u8>) -> Result<Piece<'b>, Fault> {
    let number = <[u8; 4]>::try_from(&bytes[..]).ok().map(i32::from_le_bytes);
    Ok(match (tag, number) {
        (ERROR_TRANSFER..=LAST_TEXT, _) => Piece::Text(tag == ERROR_TRANSFER || tag == ERROR, bytes),
        (SUCCESS, Some(index)) => Piece::Success(index),
        (ERROR_EXIT, code) => Piece::ErrorExit(code),
        _ => Piece::Nothing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All pieces of bytes that come in parts of this size; those of the stream together.
    fn pieces(bytes: &[u8], size: usize) -> Result<(Vec<u8>, Vec<Piece<'static>>), Fault> {
        let (mut frames, mut stream, mut messages) = (Frames::default(), Vec::new(), Vec::new());
        for mut part in bytes.chunks(size) {
            while let Some(piece) = frames.next(&mut part)? {
                match piece {
                    Piece::Data(data) => stream.extend(data),
                    Piece::Text(is_error, text) => messages.push(Piece::Text(is_error, text)),
                    Piece::Success(index) => messages.push(Piece::Success(index)),
                    Piece::ErrorExit(code) => messages.push(Piece::ErrorExit(code)),
                    Piece::Nothing => messages.push(Piece::Nothing),
                }
            }
        }
        Ok((stream, messages))
    }

    #[test]
    fn where_frames_are_split_does_not_matter() {
        let bytes = b"\x03\0\0\x07abc\0\0\0\x07\x02\0\0\x09hi\0\0\0\x31\x04\0\0\x6b\x05\0\0\0\x01\0\0\x07d\
            \x02\0\0\x08no\x04\0\0\x1d\x01\0\0\0\x04\0\0\x5d\x0b\0\0\0\0\0\0\x5d";
        for size in 1..=bytes.len() {
            let (stream, messages) = pieces(bytes, size).unwrap();
            assert_eq!(stream, b"abcd");
            assert_eq!(
                messages,
                [
                    Piece::Text(false, b"hi".into()),
                    Piece::Nothing,
                    Piece::Success(5),
                    Piece::Text(true, b"no".into()),
                    Piece::Nothing,
                    Piece::ErrorExit(Some(11)),
                    Piece::ErrorExit(None),
                ]
            );
        }
    }

    #[test]
    fn what_is_not_for_a_sender_is_refused_by_its_header() {
        assert_eq!(pieces(&[4, 0, 0, 0x10], 1), Err(Fault::Tag(9)));
        assert_eq!(pieces(&[4, 0, 0, 0x11], 1), Err(Fault::Tag(10)));
        assert_eq!(pieces(&[0, 0, 0, 0], 1), Err(Fault::Tag(249)));
        assert_eq!(pieces(&[3, 0, 0, 0x6b], 1), Err(Fault::MessageLength(SUCCESS, 3)));
        assert_eq!(pieces(&[0xff, 0xff, 0xff, 0x0a], 1), Err(Fault::MessageLength(ERROR, 0xff_ffff)));
    }
}
