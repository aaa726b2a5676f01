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
        LinkType::LinuxSll => cursor.skip(14).and_then(|()| ethertype(cursor)),
        LinkType::LinuxSll2 => cooked2(cursor),
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
