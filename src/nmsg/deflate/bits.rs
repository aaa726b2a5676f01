//! Bits of a deflate stream, the lowest first.

/// Writes bits to a vector that only grows, so that its memory serves for the next stream too.
pub(super) struct Bits<'o> {
    bytes: &'o mut Vec<u8>,
    /// Whole bytes written.
    len: usize,
    /// What is not written yet, and how many bits that are; fewer than eight after [`Bits::flush`].
    word: u64,
    count: u32,
}

/// Up to 24 bits and, above them, how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Code(u32);

impl Code {
    /// The low `count` bits of `bits`, which has no others.
    pub(super) fn new(bits: u32, count: u8) -> Code {
        Code(bits | u32::from(count) << 24)
    }

    /// This one and, behind it, `count` more.
    pub(super) fn and(self, bits: u32, count: u8) -> Code {
        Code(self.0 + (bits << self.count()) + (u32::from(count) << 24))
    }

    pub(super) fn count(self) -> u32 {
        self.0 >> 24
    }

    fn bits(self) -> u64 {
        (self.0 & 0xff_ffff).into()
    }
}

impl<'o> Bits<'o> {
    /// From byte `len` of `bytes` on.
    pub(super) fn new(bytes: &'o mut Vec<u8>, len: usize) -> Bits<'o> {
        Bits { bytes, len, word: 0, count: 0 }
    }

    /// Makes room for so many bits.
    pub(super) fn reserve(&mut self, bits: u64) {
        let needed = self.len + (bits / 8) as usize + 2 * size_of::<u64>();
        if self.bytes.len() < needed {
            self.bytes.resize(needed, 0);
        }
    }

    /// Adds bits to the word; at most 56 between two flushes.
    #[inline(always)]
    pub(super) fn add(&mut self, code: Code) {
        self.word |= code.bits() << self.count;
        self.count += code.count();
    }

    /// Writes whole bytes, where there is room reserved for them.
    #[inline(always)]
    pub(super) fn flush(&mut self) {
        if let Some(room) = self.bytes.get_mut(self.len..).and_then(|rest| rest.first_chunk_mut()) {
            *room = self.word.to_le_bytes();
        }
        self.len += (self.count / 8) as usize;
        self.word >>= self.count & !7;
        self.count &= 7;
    }

    /// Fills the last byte up with zeros. How many bytes there are.
    pub(super) fn finish(mut self) -> usize {
        self.reserve(u64::from(self.count) + 7);
        self.count += 7;
        self.flush();
        self.len
    }
}
