//! IPv6 headers and their extensions (RFC 8200 §3, §4).

use super::{Fragment, Malformed, Packet, TCP, check_fragment, cursor::Cursor};
use std::net::Ipv6Addr;

const HEADER_LEN: usize = 40;
/// Extension headers walked; RFC 8504 §5.3 lets a host stop at fewer.
const EXTENSIONS_MAX: usize = 32;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const HOST_IDENTITY: u8 = 139;
const SHIM6: u8 = 140;

/// The IPv6 packet at the start of `bytes`.
#[inline(always)]
pub(super) fn packet(bytes: &[u8]) -> Result<Packet<'_>, Malformed> {
    let mut cursor = Cursor::new(bytes);
    let [_, _, _, _, len0, len1, next_header, _]: [u8; 8] = cursor.take().ok_or(Malformed::Ip)?;
    let source = Ipv6Addr::from(cursor.take::<16>().ok_or(Malformed::Ip)?);
    let destination = Ipv6Addr::from(cursor.take::<16>().ok_or(Malformed::Ip)?);
    let payload_len = usize::from(u16::from_be_bytes([len0, len1]));
    // Length 0 is a jumbogram or segmentation offload, and believable for TCP only.
    let whole = if payload_len == 0 { bytes } else { bytes.get(..HEADER_LEN + payload_len).ok_or(Malformed::Ip)? };
    let upper = upper_layer(next_header, whole.get(HEADER_LEN..).ok_or(Malformed::Ip)?)?;
    if payload_len == 0 && upper.protocol != TCP {
        return Err(Malformed::Ip);
    }
    Ok(Packet {
        source: source.into(),
        destination: destination.into(),
        protocol: upper.protocol,
        fragment: upper.fragment,
        bytes: whole,
        payload: upper.payload,
    })
}

/// What stands behind the extension headers.
pub(crate) struct UpperLayer<'p> {
    pub(crate) protocol: u8,
    pub(crate) fragment: Option<Fragment>,
    pub(crate) payload: &'p [u8],
}

/// Walks the extension headers from `next_header` on, to the upper layer or the first true fragment header. A datagram
/// put together from fragments starts with extension headers too, when they stood behind the fragment header.
#[inline]
pub(crate) fn upper_layer(mut next_header: u8, bytes: &[u8]) -> Result<UpperLayer<'_>, Malformed> {
    let mut cursor = Cursor::new(bytes);
    for _ in 0..EXTENSIONS_MAX {
        let skip = match next_header {
            FRAGMENT => {
                let (protocol, fragment) = fragment_header(&mut cursor).ok_or(Malformed::Ip)?;
                next_header = protocol;
                // Offset 0 and nothing to follow: an atomic fragment is a whole datagram (RFC 6946).
                if fragment.offset == 0 && !fragment.more {
                    continue;
                }
                let payload = cursor.rest();
                let fragment = Some(check_fragment(fragment, payload.len())?);
                return Ok(UpperLayer { protocol, fragment, payload });
            }
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | MOBILITY | HOST_IDENTITY | SHIM6 => 8, // units of 8 bytes
            AUTHENTICATION => 4, // units of 4 bytes (RFC 4302 §2.2)
            protocol => return Ok(UpperLayer { protocol, fragment: None, payload: cursor.rest() }),
        };
        next_header = skip_extension(&mut cursor, skip).ok_or(Malformed::Ip)?;
    }
    Err(Malformed::Ip)
}

/// Whether `protocol` is an extension header that is walked, so that the upper layer stands somewhere behind it.
pub(crate) fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS | MOBILITY | HOST_IDENTITY | SHIM6
    )
}

/// Skips one extension header whose length field counts `unit` bytes; the header that follows it.
fn skip_extension(cursor: &mut Cursor, unit: usize) -> Option<u8> {
    let [next_header, len] = cursor.take()?;
    let not_counted = if unit == 8 { 1 } else { 2 };
    let len = (usize::from(len) + not_counted) * unit;
    cursor.skip(len.checked_sub(2)?)?;
    Some(next_header)
}

/// RFC 8200 §4.5.
fn fragment_header(cursor: &mut Cursor) -> Option<(u8, Fragment)> {
    let [next_header, _, offset0, offset1, id0, id1, id2, id3] = cursor.take()?;
    let offset = u16::from_be_bytes([offset0, offset1]);
    let fragment = Fragment {
        id: u32::from_be_bytes([id0, id1, id2, id3]),
        offset: u32::from(offset & 0xfff8), // the offset is in units of 8 bytes, above three other bits
        more: offset & 1 != 0,
    };
    Some((next_header, fragment))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::UDP;

    fn with(next_header: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x60, 0, 0, 0];
        bytes.extend((payload.len() as u16).to_be_bytes());
        bytes.extend([next_header, 64]);
        bytes.extend([0; 32]);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn extension_headers_are_skipped_and_their_lengths_checked() {
        let mut payload = vec![DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0]; // hop by hop
        payload.extend([UDP, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]); // destination options, 16 bytes
        payload.extend(b"datagram");
        let bytes = with(HOP_BY_HOP, &payload);
        let packet = super::packet(&bytes).unwrap();
        assert_eq!((packet.protocol, packet.payload), (UDP, &b"datagram"[..]));
        assert_eq!(packet.payload_at(), 64);
        for cut in 0..24 {
            assert!(super::packet(&with(HOP_BY_HOP, &payload[..cut])).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_walked_is_an_extension_and_nothing_else() {
        for protocol in 0..=u8::MAX {
            let walked = upper_layer(protocol, &[UDP; 8]).map_or(true, |upper| upper.protocol != protocol);
            assert_eq!(is_extension(protocol), walked, "{protocol}");
        }
    }

    #[test]
    fn a_header_chain_without_end_is_malformed() {
        let chain: Vec<u8> = [HOP_BY_HOP, 0, 0, 0, 0, 0, 0, 0].repeat(100);
        assert_eq!(packet(&with(HOP_BY_HOP, &chain)).unwrap_err(), Malformed::Ip);
    }

    #[test]
    fn an_atomic_fragment_is_a_whole_datagram_and_others_are_pieces() {
        let atomic = with(FRAGMENT, &[UDP, 0, 0, 0, 0, 0, 0, 9, 1, 2, 3]);
        assert_eq!(packet(&atomic).unwrap().fragment, None);
        assert_eq!(packet(&atomic).unwrap().payload, [1, 2, 3]);
        let last = with(FRAGMENT, &[UDP, 0, 0, 8, 0, 0, 0, 9, 1, 2, 3]);
        assert_eq!(packet(&last).unwrap().fragment, Some(Fragment { id: 9, offset: 8, more: false }));
        let ragged = with(FRAGMENT, &[UDP, 0, 0, 1, 0, 0, 0, 9, 1, 2, 3]);
        assert!(packet(&ragged).is_err());
    }

    #[test]
    fn payload_length_ends_the_packet_and_cannot_pass_its_bytes() {
        let mut padded = with(UDP, b"datagram");
        padded.extend([0; 6]);
        assert_eq!(packet(&padded).unwrap().payload, b"datagram");
        padded.truncate(47);
        assert!(packet(&padded).is_err());
    }
}
