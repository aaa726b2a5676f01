//! From a frame to the IP packet in it: link headers and VLAN tags.

use super::{Malformed, cursor::Cursor};
use crate::capture::LinkType;

/// VLAN tags looked behind: two are common on mirror ports, four is the most any switch stacks.
const TAGS_MAX: usize = 4;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// 802.1Q, 802.1ad, and what some switches used for stacked tags before 802.1ad.
const ETHERTYPES_VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];

/// The IP packet that `frame` carries, padding included; `None` when it carries something else.
#[inline(always)]
pub fn network(link_type: LinkType, frame: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let mut cursor = Cursor::new(frame);
    let network = match link_type {
        LinkType::Ethernet => cursor.skip(12).and_then(|()| ethertype(cursor)),
        LinkType::LinuxSll => cursor.skip(14).and_then(|()| ethertype(cursor)).map(behind_unannounced_tags),
        LinkType::LinuxSll2 => cooked2(cursor).map(behind_unannounced_tags),
        LinkType::Null => cursor.take().map(|family| {
            let known = is_family(u32::from_le_bytes(family)) || is_family(u32::from_be_bytes(family));
            known.then_some(cursor.rest())
        }),
        LinkType::Loop => cursor.take().map(|family| is_family(u32::from_be_bytes(family)).then_some(cursor.rest())),
        LinkType::Raw | LinkType::Ipv4 | LinkType::Ipv6 => Some(Some(frame)),
    };
    network.ok_or(Malformed::Link)
}

/// LINKTYPE_LINUX_SLL2: the protocol comes first, the payload after 20 bytes.
fn cooked2(mut cursor: Cursor<'_>) -> Option<Option<&[u8]>> {
    let protocol = cursor.u16()?;
    cursor.skip(18)?;
    behind_tags(protocol, cursor)
}

/// `cursor` stands before an EtherType.
#[inline(always)]
fn ethertype(mut cursor: Cursor<'_>) -> Option<Option<&[u8]>> {
    let ethertype = cursor.u16()?;
    behind_tags(ethertype, cursor)
}

/// What stands behind `ethertype` and the VLAN tags it may announce.
#[inline(always)]
fn behind_tags<'p>(mut ethertype: u16, mut cursor: Cursor<'p>) -> Option<Option<&'p [u8]>> {
    for _ in 0..=TAGS_MAX {
        if ethertype == ETHERTYPE_IPV4 || ethertype == ETHERTYPE_IPV6 {
            return Some(Some(cursor.rest()));
        }
        if !ETHERTYPES_VLAN.contains(&ethertype) {
            return Some(None);
        }
        cursor.skip(2)?; // priority and VLAN id
        ethertype = cursor.u16()?;
    }
    Some(None)
}

/// What stands behind the tags that the header of a cooked frame does not tell of. Of several, newer kernels (6.18
/// is one) give the outermost and the EtherType of the packet, and leave the others before the packet: the first then
/// stands where IP has its version. One whose priority (PCP 2 and 3) looks like a version cannot be told from IP.
fn behind_unannounced_tags(network: Option<&[u8]>) -> Option<&[u8]> {
    let packet = network?;
    if packet.first().is_some_and(|first| matches!(first >> 4, 4 | 6)) {
        return network;
    }
    let mut cursor = Cursor::new(packet);
    let behind = cursor.skip(2).and_then(|()| ethertype(cursor)); // priority and VLAN id
    behind.flatten().or(network)
}

/// AF_INET is 2 everywhere; AF_INET6 is 10 on Linux, 24 on NetBSD and OpenBSD, 28 on FreeBSD, 30 on macOS.
fn is_family(family: u32) -> bool {
    matches!(family, 2 | 10 | 24 | 28 | 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(tags: usize) -> Vec<u8> {
        let mut frame = vec![0; 12];
        for _ in 0..tags {
            frame.extend([0x88, 0xa8, 0, 7]);
        }
        frame.extend([0x08, 0x00, 0x45]);
        frame
    }

    #[test]
    fn four_tags_are_looked_behind_and_a_fifth_is_not() {
        assert_eq!(network(LinkType::Ethernet, &tagged(0)), Ok(Some(&[0x45][..])));
        assert_eq!(network(LinkType::Ethernet, &tagged(4)), Ok(Some(&[0x45][..])));
        assert_eq!(network(LinkType::Ethernet, &tagged(5)), Ok(None));
    }

    #[test]
    fn cooked_frames_have_tags_before_the_packet_that_their_header_tells_of_or_not() {
        let packet = [0x45, 0, 0, 28];
        // As the kernel gave frames with two and three tags: the outermost, then the EtherType behind all.
        let two = [0x88, 0xa8, 0, 1, 8, 0, 2, 0x22, 8, 0];
        let three = [0x81, 0, 0, 1, 8, 0, 2, 0x22, 0x81, 0, 3, 0x33, 8, 0];
        for tags in [&[8, 0][..], &[0x81, 0, 0, 1, 8, 0], &two, &three] {
            let frame = [&[0; 14][..], tags, &packet].concat();
            assert_eq!(network(LinkType::LinuxSll, &frame), Ok(Some(&packet[..])), "{tags:02x?}");
        }
        let cooked2 = [&[8, 0][..], &[0; 18], &[2, 0x22, 8, 0], &packet].concat();
        assert_eq!(network(LinkType::LinuxSll2, &cooked2), Ok(Some(&packet[..])));
        // What is neither is left for the next to find malformed.
        for neither in [&[2, 0x22, 8][..], &[2, 0x22, 0x12, 0x34, 0x45]] {
            let frame = [&[0; 14][..], &[8, 0], neither].concat();
            assert_eq!(network(LinkType::LinuxSll, &frame), Ok(Some(neither)));
        }
    }

    #[test]
    fn a_cut_header_is_malformed_at_every_length() {
        for (link_type, len) in [
            (LinkType::Ethernet, 14),
            (LinkType::LinuxSll, 16),
            (LinkType::LinuxSll2, 20),
            (LinkType::Null, 4),
            (LinkType::Loop, 4),
        ] {
            for cut in 0..len {
                assert_eq!(network(link_type, &vec![0; cut]), Err(Malformed::Link), "{link_type:?} {cut}");
            }
            assert_eq!(network(link_type, &vec![0; len]), Ok(None), "{link_type:?}");
        }
    }

    #[test]
    fn loopback_families_are_known_in_either_order_for_null_and_big_endian_only_for_loop() {
        assert_eq!(network(LinkType::Null, &[28, 0, 0, 0, 9]), Ok(Some(&[9][..])));
        assert_eq!(network(LinkType::Null, &[0, 0, 0, 30, 9]), Ok(Some(&[9][..])));
        assert_eq!(network(LinkType::Loop, &[0, 0, 0, 24, 9]), Ok(Some(&[9][..])));
        assert_eq!(network(LinkType::Loop, &[24, 0, 0, 0, 9]), Ok(None));
    }
}
