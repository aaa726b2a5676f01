//! From the IP packets of a payload to the DNS message in them.

use crate::decode::{self, Fragment, ipv6, udp};
use std::{borrow::Cow, net::IpAddr};

/// The longest datagram: the length fields of IP have 16 bits.
const DATAGRAM_MAX: usize = 65_535;

/// The DNS message that `packets` carried: what stands behind the UDP header of a whole datagram, or of one put together
/// from its fragments in any order. `None` when they do not make a datagram. Of UDP's own length libnmsg takes no
/// notice, so neither does this.
pub fn message<'p>(packets: &[&'p [u8]]) -> Option<Cow<'p, [u8]>> {
    match packets {
        [] => None,
        [packet] => {
            let packet = decode::packet(packet).ok().filter(|packet| packet.fragment.is_none())?;
            udp_payload(packet.protocol, packet.payload).map(Cow::Borrowed)
        }
        fragments => {
            let (protocol, datagram) = reassemble(fragments)?;
            udp_payload(protocol, &datagram).map(|payload| Cow::Owned(payload.to_vec()))
        }
    }
}

/// Puts fragments together; the protocol that the first one names, and the payload.
fn reassemble(fragments: &[&[u8]]) -> Option<(u8, Vec<u8>)> {
    let whole = Fragment { id: 0, offset: 0, more: false };
    let packets = fragments.iter().map(|packet| decode::packet(packet).ok()).collect::<Option<Vec<_>>>()?;
    let mut parts: Vec<_> = packets.iter().map(|packet| (packet.fragment.unwrap_or(whole), packet)).collect();
    parts.sort_by_key(|(fragment, _)| fragment.offset);
    parts.dedup_by(|(next, packet), (first, other)| {
        (next.offset, next.more, packet.payload) == (first.offset, first.more, other.payload)
    });
    let protocol = parts.first()?.1.protocol;
    let mut datagram = Vec::new();
    let mut more = true;
    for (fragment, packet) in parts {
        let fits = datagram.len() + packet.payload.len() <= DATAGRAM_MAX;
        if !more || fragment.offset as usize != datagram.len() || !fits {
            return None;
        }
        datagram.extend_from_slice(packet.payload);
        more = fragment.more;
    }
    (!more).then_some((protocol, datagram))
}

/// What stands behind the UDP header, and behind extension headers before it.
fn udp_payload(protocol: u8, bytes: &[u8]) -> Option<&[u8]> {
    let upper = ipv6::upper_layer(protocol, bytes).ok()?;
    (upper.protocol == decode::UDP && upper.fragment.is_none()).then_some(())?;
    upper.payload.get(udp::HEADER_LEN..)
}

/// An address of 4 or 16 bytes.
pub fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
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
