//! The IP packets that carried one message.

use crate::time::Timestamp;

/// One packet: a whole datagram, or a fragment of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it starts in the buffer.
    pub start: u32,
    /// Its length, IP header included.
    pub len: u32,
    /// Length of its IP header, options and extension headers.
    pub payload_at: u32,
    /// Where its payload stands in the payload of the whole datagram.
    pub offset: u32,
    /// When it was captured.
    pub time: Timestamp,
}

/// Packets in a buffer, fragments in the order of their offsets.
#[derive(Clone, Copy, Debug)]
pub struct Packets<'a> {
    buffer: &'a [u8],
    pieces: &'a [Piece],
}

impl<'a> Packets<'a> {
    /// `pieces` lie within `buffer`, and there is at least one.
    pub(super) fn new(buffer: &'a [u8], pieces: &'a [Piece]) -> Packets<'a> {
        debug_assert!(!pieces.is_empty());
        Packets { buffer, pieces }
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.pieces.len()
    }

    /// Each packet from its IP header on.
    #[inline]
    pub fn bytes(&self) -> impl Iterator<Item = &'a [u8]> {
        let buffer = self.buffer;
        self.pieces.iter().map(move |piece| &buffer[piece.start as usize..][..piece.len as usize])
    }

    /// When each packet was captured.
    #[inline]
    pub fn times(&self) -> impl Iterator<Item = Timestamp> {
        self.pieces.iter().map(|piece| piece.time)
    }

    /// When the first packet was captured.
    #[inline]
    pub fn time(&self) -> Timestamp {
        self.pieces.first().map_or_else(Timestamp::default, |piece| piece.time)
    }

    pub(super) fn pieces(&self) -> &'a [Piece] {
        self.pieces
    }

    pub(super) fn buffer(&self) -> &'a [u8] {
        self.buffer
    }
}
