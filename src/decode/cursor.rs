//! Reading forward through bytes that may end anywhere.

/// What is left to read.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'p> {
    rest: &'p [u8],
}

impl<'p> Cursor<'p> {
    pub(super) fn new(bytes: &'p [u8]) -> Cursor<'p> {
        Cursor { rest: bytes }
    }

    /// The bytes not read yet.
    pub(super) fn rest(self) -> &'p [u8] {
        self.rest
    }

    /// The next `N` bytes.
    #[inline]
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    /// The next `len` bytes.
    #[inline]
    pub(super) fn slice(&mut self, len: usize) -> Option<&'p [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    /// Big-endian, as all numbers of these protocols.
    #[inline]
    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    #[inline]
    pub(super) fn skip(&mut self, len: usize) -> Option<()> {
        self.slice(len).map(|_| ())
    }
}
