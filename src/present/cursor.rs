//! Checked reading of bytes that came from the wire.

/// What is left to read. A read that does not fit gives `None`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'b> {
    rest: &'b [u8],
}

impl<'b> Cursor<'b> {
    /// At the first of `bytes`.
    pub(crate) fn new(bytes: &'b [u8]) -> Cursor<'b> {
        Cursor { rest: bytes }
    }

    /// Nothing left.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Octets left.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next `len` octets.
    pub(crate) fn take(&mut self, len: usize) -> Option<&'b [u8]> {
        let (head, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(head)
    }

    /// The next `N` octets, by value.
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    /// One octet.
    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    /// Two octets, network order.
    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four octets, network order.
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// A length octet and as many octets as it says.
    pub(crate) fn counted(&mut self) -> Option<&'b [u8]> {
        let len = self.u8()?;
        self.take(usize::from(len))
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> &'b [u8] {
        std::mem::take(&mut self.rest)
    }

    /// An uncompressed name, its root label included.
    pub(crate) fn name(&mut self) -> Option<&'b [u8]> {
        let start = self.rest;
        while !self.counted().filter(|label| label.len() <= super::names::LABEL_MAX)?.is_empty() {}
        start.get(..start.len() - self.rest.len())
    }
}
