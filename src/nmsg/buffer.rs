//! Protobuf fields on their way into a container.

use std::net::IpAddr;

/// Bytes that grow at their end. Small fields are stored eight bytes at a time, over whatever follows; copying as many
/// bytes as there are, or gathering them elsewhere first, costs several times as much.
pub(super) struct Buffer {
    /// Allocated and initialized; only the first `len` count.
    bytes: Vec<u8>,
    len: usize,
}

impl Buffer {
    /// With room for `room` bytes before it has to grow.
    pub(super) fn new(room: usize) -> Buffer {
        Buffer { bytes: vec![0; room], len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many bytes it holds memory for.
    pub(super) fn room(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// What has been written.
    pub(super) fn written(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    /// What has been written from `start` on.
    pub(super) fn since(&self, start: usize) -> &[u8] {
        self.written().get(start..).unwrap_or(&[])
    }

    /// Leaves `len` bytes to be filled in later by [`Buffer::fill`].
    #[inline(always)]
    pub(super) fn skip(&mut self, len: usize) {
        self.put(0, len);
    }

    /// Writes over bytes that are there already.
    #[inline(always)]
    pub(super) fn fill<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        if let Some(room) = self.bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
            *room = bytes;
        }
    }

    /// Adds the low `len` bytes of `bytes`, the lowest first; at most eight.
    #[inline(always)]
    fn put(&mut self, bytes: u64, len: usize) {
        match self.bytes.get_mut(self.len..).and_then(|rest| rest.first_chunk_mut()) {
            Some(room) => {
                *room = bytes.to_le_bytes();
                self.len += len;
            }
            None => {
                self.grow(size_of::<u64>());
                self.put_grown(bytes, len);
            }
        }
    }

    #[cold]
    fn put_grown(&mut self, bytes: u64, len: usize) {
        self.put(bytes, len);
    }

    #[cold]
    fn grow(&mut self, more: usize) {
        self.bytes.resize(self.len + more.max(self.bytes.len() / 2), 0);
    }

    /// Adds bytes as they are.
    #[inline(always)]
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        if self.bytes.len() - self.len < bytes.len() {
            self.grow(bytes.len());
        }
        if let Some(room) = self.bytes.get_mut(self.len..self.len + bytes.len()) {
            room.copy_from_slice(bytes);
            self.len += bytes.len();
        }
    }

    /// A varint: seven bits a byte, the lowest first, all but the last marked. Without a loop or a branch on the value
    /// up to 56 bits, which is everything the sensor writes.
    #[inline(always)]
    fn raw_varint(&mut self, value: u64) {
        if value < 0x80 {
            return self.put(value, 1);
        }
        if value >> 56 != 0 {
            return self.long_varint(value);
        }
        // Spread: 56 bits to two halves of 28, those to quarters of 14, those to bytes of 7.
        let halves = value & 0x0fff_ffff | (value & 0x00ff_ffff_f000_0000) << 4;
        let quarters = halves & 0x0000_3fff_0000_3fff | (halves & 0x0fff_c000_0fff_c000) << 2;
        let bytes = quarters & 0x007f_007f_007f_007f | (quarters & 0x3f80_3f80_3f80_3f80) << 1;
        let len = (70 - value.leading_zeros() as usize) / 7; // bits over seven, rounded up
        let marks = 0x8080_8080_8080_8080 & !(u64::MAX << (8 * (len - 1)));
        self.put(bytes | marks, len);
    }

    #[cold]
    fn long_varint(&mut self, value: u64) {
        self.put(value & 0x7f | 0x80, 1);
        self.raw_varint(value >> 7);
    }

    /// A varint field.
    #[inline(always)]
    pub(super) fn varint(&mut self, number: u32, value: u64) {
        self.raw_varint(u64::from(number << 3));
        self.raw_varint(value);
    }

    /// A 64-bit field.
    #[inline(always)]
    pub(super) fn fixed64(&mut self, number: u32, value: u64) {
        self.raw_varint(u64::from(number << 3 | 1));
        self.put(value, 8);
    }

    /// A 32-bit field.
    #[inline(always)]
    pub(super) fn fixed32(&mut self, number: u32, value: u32) {
        self.raw_varint(u64::from(number << 3 | 5));
        self.put(value.into(), 4);
    }

    /// Tag and length of a bytes field.
    #[inline(always)]
    pub(super) fn length(&mut self, number: u32, len: usize) {
        self.tag_of_bytes(number);
        self.raw_varint(len as u64);
    }

    /// The tag of a bytes field, whose length is the caller's to add.
    #[inline(always)]
    pub(super) fn tag_of_bytes(&mut self, number: u32) {
        self.raw_varint(u64::from(number << 3 | 2));
    }

    /// A bytes field.
    #[inline(always)]
    pub(super) fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.length(number, bytes.len());
        self.extend(bytes);
    }

    /// An address as a bytes field, or as many zeroes.
    #[inline(always)]
    pub(super) fn address(&mut self, number: u32, address: IpAddr, zeroed: bool) {
        match address {
            IpAddr::V4(address) => {
                self.length(number, 4);
                self.put(if zeroed { 0 } else { u32::from_le_bytes(address.octets()).into() }, 4);
            }
            IpAddr::V6(address) => {
                self.length(number, 16);
                let octets = if zeroed { 0 } else { u128::from_le_bytes(address.octets()) };
                self.put(octets as u64, 8);
                self.put((octets >> 64) as u64, 8);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_those_of_prost_at_every_width() {
        for shift in 0..64 {
            for value in [1_u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
                let mut buffer = Buffer::new(0);
                buffer.raw_varint(value);
                let mut expected = Vec::new();
                prost::encoding::encode_varint(value, &mut expected);
                assert_eq!(buffer.written(), expected, "{value:#x}");
            }
        }
    }

    #[test]
    fn a_full_buffer_grows() {
        let mut buffer = Buffer::new(3);
        buffer.extend(&[1; 10]);
        buffer.fixed64(1, u64::MAX);
        assert_eq!(buffer.since(10), [9, 255, 255, 255, 255, 255, 255, 255, 255]);
    }
}
