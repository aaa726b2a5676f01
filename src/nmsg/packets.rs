//! From the IP packets of a dnsqr back to the DNS message in them.
//!
//! Readers meet these packets long after the capture, out of files anybody may have written: every length is
//! checked, fragments that overlap, leave holes or miss their end give no message.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IP protocol number of UDP.
const UDP: u8 = 17;
/// A UDP header (RFC 768).
const UDP_HEADER_LEN: usize = 8;
/// An IPv4 header without options (RFC 791 §3.1).
const IPV4_HEADER_LEN: usize = 20;
/// An IPv6 header (RFC 8200 §3).
const IPV6_HEADER_LEN: usize = 40;
/// The most a datagram can be: a 16-bit length.
const DATAGRAM_MAX: usize = 65_535;

/// What a packet carries behind its IP headers; its offset is 0 and `more` false when it is no fragment.
struct Part<'p> {
    /// Protocol of `bytes`; in IPv6 this may be an extension header that stands behind the fragment header.
    protocol: u8,
    offset: usize,
    more: bool,
    bytes: &'p [u8],
}

/// The DNS message of these packets: the UDP payload of a single one, or of the datagram whose fragments they all
/// are. `None` when they are neither.
pub fn message<'p>(packets: &[&'p [u8]]) -> Option<Cow<'p, [u8]>> {
    match packets {
        [] => None,
        [packet] => {
            let part = part(packet)?;
            if part.offset != 0 || part.more {
                return None;
            }
            udp_payload(part.protocol, part.bytes).map(Cow::Borrowed)
        }
        fragments => {
            let (protocol, datagram) = reassemble(fragments)?;
            udp_payload(protocol, &datagram).map(|payload| Cow::Owned(payload.to_vec()))
        }
    }
}

/// Puts the fragments together; exact repetitions are allowed, overlaps and holes are not.
fn reassemble(fragments: &[&[u8]]) -> Option<(u8, Vec<u8>)> {
    let mut parts = fragments.iter().map(|packet| part(packet)).collect::<Option<Vec<_>>>()?;
    parts.sort_by_key(|part| part.offset);
    parts.dedup_by(|next, first| (next.offset, next.more, next.bytes) == (first.offset, first.more, first.bytes));
    let protocol = parts.first()?.protocol;
    let mut datagram = Vec::new();
    let mut more = true;
    for part in &parts {
        if !more || part.offset != datagram.len() || datagram.len() + part.bytes.len() > DATAGRAM_MAX {
            return None;
        }
        datagram.extend_from_slice(part.bytes);
        more = part.more;
    }
    (!more).then_some((protocol, datagram))
}

/// Skips the UDP header. Its length field is not asked: libnmsg takes the whole IP payload too.
fn udp_payload(protocol: u8, bytes: &[u8]) -> Option<&[u8]> {
    let (protocol, bytes) = skip_extensions(protocol, bytes)?;
    if protocol != UDP {
        return None;
    }
    bytes.get(UDP_HEADER_LEN..)
}

fn part(packet: &[u8]) -> Option<Part<'_>> {
    match packet.first()? >> 4 {
        4 => ipv4(packet),
        6 => ipv6(packet),
        _ => None,
    }
}

fn ipv4(packet: &[u8]) -> Option<Part<'_>> {
    let header = packet.first_chunk::<IPV4_HEADER_LEN>()?;
    let [version_ihl, _, length_0, length_1, _, _, flags_0, flags_1, _, protocol, ..] = *header;
    let header_len = usize::from(version_ihl & 0x0f) * 4; // IHL counts 32-bit words
    if header_len < IPV4_HEADER_LEN {
        return None;
    }
    let total_len = usize::from(u16::from_be_bytes([length_0, length_1]));
    let flags = u16::from_be_bytes([flags_0, flags_1]);
    Some(Part {
        protocol,
        offset: usize::from(flags & 0x1fff) * 8, // in 8-byte units
        more: flags & 0x2000 != 0,
        bytes: packet.get(header_len..total_len)?,
    })
}

fn ipv6(packet: &[u8]) -> Option<Part<'_>> {
    let (header, rest) = packet.split_first_chunk::<IPV6_HEADER_LEN>()?;
    let [_, _, _, _, length_0, length_1, next_header, ..] = *header;
    let payload = rest.get(..usize::from(u16::from_be_bytes([length_0, length_1])))?;
    let (protocol, bytes) = skip_extensions(next_header, payload)?;
    if protocol != FRAGMENT {
        return Some(Part { protocol, offset: 0, more: false, bytes });
    }
    let (header, bytes) = bytes.split_first_chunk::<8>()?;
    let [protocol, _, offset_0, offset_1, ..] = *header;
    let offset_more = u16::from_be_bytes([offset_0, offset_1]);
    Some(Part { protocol, offset: usize::from(offset_more & 0xfff8), more: offset_more & 1 != 0, bytes })
}

/// The fragment header (RFC 8200 §4.5); it ends what can be skipped.
const FRAGMENT: u8 = 44;

/// Skips the IPv6 extension headers that say nothing about the payload: hop-by-hop (0), routing (43), destination
/// options (60), authentication (51). Every one takes at least eight bytes, so the loop ends.
fn skip_extensions(mut protocol: u8, mut bytes: &[u8]) -> Option<(u8, &[u8])> {
    loop {
        let len = match (protocol, bytes) {
            (0 | 43 | 60, [_, len, ..]) => (usize::from(*len) + 1) * 8, // RFC 8200 §4.3: 8-byte units less one
            (51, [_, len, ..]) => (usize::from(*len) + 2) * 4,          // RFC 4302 §2.2: 4-byte units less two
            (0 | 43 | 60 | 51, _) => return None,
            _ => return Some((protocol, bytes)),
        };
        protocol = *bytes.first()?;
        bytes = bytes.get(len..)?;
    }
}

/// An address as dnsqr holds it: 4 or 16 bytes in network order.
pub fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::V4(Ipv4Addr::from(v4)));
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| IpAddr::V6(Ipv6Addr::from(v6)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A UDP header with the bytes 0.. behind it, `len` in all.
    fn datagram(len: u8) -> Vec<u8> {
        let mut bytes = vec![0, 53, 0, 53, 0, 0, 0, 0];
        bytes.extend(0..len - 8);
        bytes
    }

    fn v4(flags: u16, payload: &[u8]) -> Vec<u8> {
        let total = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
        let flags = flags.to_be_bytes();
        let mut packet = vec![0x45, 0, total[0], total[1], 0, 1, flags[0], flags[1], 64, 17, 0, 0];
        packet.extend([192, 0, 2, 1, 192, 0, 2, 2]);
        packet.extend_from_slice(payload);
        packet
    }

    fn v6(next_header: u8, payload: &[u8]) -> Vec<u8> {
        let len = u16::try_from(payload.len()).unwrap().to_be_bytes();
        let mut packet = vec![0x60, 0, 0, 0, len[0], len[1], next_header, 64];
        packet.extend([0; 32]);
        packet.extend_from_slice(payload);
        packet
    }

    fn whole(packets: &[Vec<u8>]) -> Option<Vec<u8>> {
        let packets: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
        message(&packets).map(Cow::into_owned)
    }

    #[test]
    fn padding_behind_the_total_length_is_not_data() {
        let mut packet = v4(0, &datagram(20));
        packet.extend([9; 6]);
        assert_eq!(whole(&[packet]).unwrap(), (0..12).collect::<Vec<u8>>());
    }

    #[test]
    fn fragments_are_put_together_in_any_order() {
        let bytes = datagram(40);
        let (first, second, third) = (v4(0x2000, &bytes[..16]), v4(0x2002, &bytes[16..32]), v4(4, &bytes[32..]));
        let message = whole(&[third.clone(), first.clone(), second.clone(), first.clone()]);
        assert_eq!(message.unwrap(), bytes[8..]);
        assert_eq!(whole(&[first.clone(), third.clone()]), None, "a hole");
        assert_eq!(whole(&[first.clone(), second.clone()]), None, "no end");
        let overlap = v4(0x2001, &bytes[8..24]);
        assert_eq!(whole(&[first.clone(), overlap, second, third]), None, "an overlap");
        assert_eq!(whole(&[first]), None, "alone");
    }

    #[test]
    fn ipv6_extension_headers_are_skipped_on_both_sides_of_the_fragment_header() {
        let mut payload = vec![44, 0, 0, 0, 0, 0, 0, 0]; // destination options, then a fragment header
        payload.extend([60, 0, 0, 0, 0, 0, 0, 1]); // an atomic fragment, then destination options again
        payload.extend([17, 0, 0, 0, 0, 0, 0, 0]);
        payload.extend(datagram(12));
        assert_eq!(whole(&[v6(60, &payload)]).unwrap(), [0, 1, 2, 3]);
    }

    #[test]
    fn lengths_out_of_range_give_no_message() {
        let mut packet = v4(0, &datagram(20));
        packet[0] = 0x44;
        assert_eq!(whole(std::slice::from_ref(&packet)), None, "IHL below 5");
        packet[0] = 0x4f;
        assert_eq!(whole(std::slice::from_ref(&packet)), None, "IHL beyond the packet");
        packet[0] = 0x45;
        packet[3] = 200;
        assert_eq!(whole(&[packet]), None, "total length beyond the packet");
        assert_eq!(whole(&[v6(0, &[17, 255, 0, 0, 0, 0, 0, 0])]), None, "extension length");
    }

    #[test]
    fn no_cut_of_a_packet_panics() {
        let mut payload = vec![44, 0, 0, 0, 0, 0, 0, 0];
        payload.extend([17, 0, 0, 0, 0, 0, 0, 1]);
        payload.extend(datagram(12));
        for packet in [v4(0, &datagram(20)), v6(60, &payload)] {
            for len in 0..packet.len() {
                assert_eq!(message(&[&packet[..len]]), None);
            }
        }
    }
}
