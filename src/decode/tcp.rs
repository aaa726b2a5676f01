//! TCP headers (RFC 9293 §3.1). Checksums are not looked at: with offload the card has not computed them yet.

use super::{Malformed, cursor::Cursor};

const HEADER_LEN: usize = 20;

/// A segment, options skipped.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'p> {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Sequence number of the first byte of `data`, or of SYN, which stands before it.
    pub sequence: u32,
    flags: u8,
    /// What it carries.
    pub data: &'p [u8],
}

impl Segment<'_> {
    /// The sender will send nothing more.
    pub fn fin(&self) -> bool {
        self.flags & 0x01 != 0
    }

    /// The sender's numbering starts here.
    pub fn syn(&self) -> bool {
        self.flags & 0x02 != 0
    }

    /// The connection is dead.
    pub fn rst(&self) -> bool {
        self.flags & 0x04 != 0
    }

    /// It acknowledges something; the SYN of a client does not.
    pub fn ack(&self) -> bool {
        self.flags & 0x10 != 0
    }
}

/// The segment in an IP payload.
#[inline]
pub fn segment(payload: &[u8]) -> Result<Segment<'_>, Malformed> {
    let mut cursor = Cursor::new(payload);
    let header: [u8; HEADER_LEN] = cursor.take().ok_or(Malformed::Tcp)?;
    let [s0, s1, d0, d1, n0, n1, n2, n3, _, _, _, _, offset, flags, ..] = header;
    let header_len = usize::from(offset >> 4) * 4; // the data offset counts 32-bit words
    if header_len < HEADER_LEN {
        return Err(Malformed::Tcp);
    }
    Ok(Segment {
        source_port: u16::from_be_bytes([s0, s1]),
        destination_port: u16::from_be_bytes([d0, d1]),
        sequence: u32::from_be_bytes([n0, n1, n2, n3]),
        flags,
        data: payload.get(header_len..).ok_or(Malformed::Tcp)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_offset_is_never_taken_on_trust() {
        for offset in 0..=15_u8 {
            let mut bytes = [0; 28];
            bytes[12] = offset << 4;
            assert_eq!(segment(&bytes).is_ok(), (5..=7).contains(&offset), "data offset {offset}");
        }
        for cut in 0..20 {
            assert!(segment(&[0x50; 20][..cut]).is_err());
        }
    }
}
