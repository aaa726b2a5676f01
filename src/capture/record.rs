//! What the file formats have in common: a packet that lies whole in the buffer, or the reason there is none.

use std::io;

use super::LinkType;
use super::error::{Corruption, Part};
use crate::time::Timestamp;

/// The largest frame accepted, in captured bytes: 64 times the snap length of tcpdump, and what the buffer may
/// grow to. A longer one is a damaged length.
pub(super) const MAX_FRAME: u32 = 16 << 20;

/// A packet record at the front of the buffer, whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) time: Timestamp,
    pub(super) link_type: LinkType,
    /// Bytes of the record before the frame.
    pub(super) header_len: usize,
    /// Bytes of the frame.
    pub(super) captured_len: usize,
    /// Bytes of the whole record, with what follows the frame.
    pub(super) record_len: usize,
    /// Length on the wire, without frame check sequence.
    pub(super) wire_len: u32,
}

/// Why there is no next packet.
#[derive(Debug)]
pub(super) enum Fault {
    /// The stream ends inside this.
    Truncated(Part),
    /// The stream cannot be right.
    Corrupt(Corruption),
    /// The file cannot be read or decompressed further.
    Source(io::Error),
    /// Its packets start with a header we do not know.
    LinkType(u16),
}

impl From<io::Error> for Fault {
    #[cold]
    fn from(error: io::Error) -> Fault {
        Fault::Source(error)
    }
}

impl From<Corruption> for Fault {
    #[cold]
    fn from(corruption: Corruption) -> Fault {
        Fault::Corrupt(corruption)
    }
}

/// Captured and wire length without the `fcs_len` bytes of frame check sequence that end the frame on the wire
/// and, if nothing was cut, in the file too.
///
/// Some writers leave the wire length zero or below the captured one; the bytes that are there count.
#[inline]
pub(super) fn without_fcs(captured_len: u32, wire_len: u32, fcs_len: u32) -> (u32, u32) {
    let wire_len = wire_len.max(captured_len).saturating_sub(fcs_len);
    (captured_len.min(wire_len), wire_len)
}
