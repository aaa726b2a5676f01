//! IPv4 headers (RFC 791 §3.1).

use super::{Fragment, Malformed, Packet, TCP, check_fragment, cursor::Cursor};
use std::net::Ipv4Addr;

const HEADER_LEN: usize = 20;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// The IPv4 packet at the start of `bytes`.
#[inline(always)]
pub(super) fn packet(bytes: &[u8]) -> Result<Packet<'_>, Malformed> {
    let mut cursor = Cursor::new(bytes);
    let header: [u8; HEADER_LEN] = cursor.take().ok_or(Malformed::Ip)?;
    let [version_ihl, _, len0, len1, id0, id1, flags0, flags1, _, protocol, _, _, a, b, c, d, e, f, g, h] = header;
    let header_len = usize::from(version_ihl & 0x0f) * 4; // IHL counts 32-bit words
    let mut total_len = usize::from(u16::from_be_bytes([len0, len1]));
    if total_len == 0 && protocol == TCP {
        total_len = bytes.len(); // segmentation offload: the card would have filled it in
    }
    let bytes = bytes.get(..total_len).ok_or(Malformed::Ip)?;
    if header_len < HEADER_LEN {
        return Err(Malformed::Ip);
    }
    let payload = bytes.get(header_len..).ok_or(Malformed::Ip)?;
    let flags = u16::from_be_bytes([flags0, flags1]);
    Ok(Packet {
        source: Ipv4Addr::new(a, b, c, d).into(),
        destination: Ipv4Addr::new(e, f, g, h).into(),
        protocol,
        fragment: fragment(u16::from_be_bytes([id0, id1]), flags, payload.len())?,
        bytes,
        payload,
    })
}

#[inline(always)]
fn fragment(id: u16, flags: u16, len: usize) -> Result<Option<Fragment>, Malformed> {
    if flags & (MORE_FRAGMENTS | OFFSET_MASK) == 0 {
        return Ok(None);
    }
    let offset = u32::from(flags & OFFSET_MASK) * 8; // counted in units of 8 bytes
    let fragment = Fragment { id: id.into(), offset, more: flags & MORE_FRAGMENTS != 0 };
    check_fragment(fragment, len).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(change: impl FnOnce(&mut [u8; 28])) -> [u8; 28] {
        let mut bytes = [0; 28];
        bytes[0] = 0x45;
        bytes[3] = 28;
        bytes[9] = 17;
        change(&mut bytes);
        bytes
    }

    #[test]
    fn a_header_length_is_never_taken_on_trust() {
        for ihl in 0..=15 {
            let bytes = header(|bytes| bytes[0] = 0x40 | ihl);
            assert_eq!(packet(&bytes).is_ok(), (5..=7).contains(&ihl), "IHL {ihl}");
        }
    }

    #[test]
    fn total_length_ends_the_packet_and_cannot_pass_its_bytes() {
        let mut padded = header(|_| ()).to_vec();
        padded.extend([0; 18]);
        assert_eq!(packet(&padded).unwrap().payload.len(), 8);
        assert!(packet(&header(|bytes| bytes[3] = 29)).is_err());
        assert!(packet(&header(|bytes| bytes[3] = 19)).is_err());
    }

    #[test]
    fn offloaded_segments_have_no_length_and_datagrams_must() {
        assert!(packet(&header(|bytes| bytes[3] = 0)).is_err());
        let offloaded = header(|bytes| (bytes[3], bytes[9]) = (0, TCP));
        assert_eq!(packet(&offloaded).unwrap().payload.len(), 8);
    }

    #[test]
    fn fragments_before_the_last_are_multiples_of_eight_and_end_within_a_datagram() {
        let first = header(|bytes| bytes[6] = 0x20);
        assert_eq!(packet(&first).unwrap().fragment, Some(Fragment { id: 0, offset: 0, more: true }));
        assert!(packet(&header(|bytes| (bytes[3], bytes[6]) = (27, 0x20))).is_err());
        assert!(packet(&header(|bytes| (bytes[3], bytes[7]) = (27, 1))).is_ok());
        assert!(packet(&header(|bytes| (bytes[6], bytes[7]) = (0x1f, 0xff))).is_err());
    }
}
