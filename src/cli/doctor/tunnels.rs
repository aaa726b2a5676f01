//! What packets travel in: VLAN tags, which need no setting, and tunnels, which nobody here looks into.

use crate::{
    capture::LinkType,
    decode::{self, Packet},
};
use std::net::IpAddr;

/// EtherTypes of VLAN tags, as [`decode::link`] knows them.
const VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];
const MPLS: [u16; 2] = [0x8847, 0x8848];
const PPPOE: u16 = 0x8864;
/// Tags looked at.
const TAGS_MAX: usize = 4;

/// IP protocol numbers.
const IPV4: u8 = 4;
const IPV6: u8 = 41;
const GRE: u8 = 47;

/// Ports of tunnels over UDP.
const VXLAN_PORTS: [u16; 2] = [4789, 8472];
const GENEVE_PORT: u16 = 6081;
const GTP_PORT: u16 = 2152;
/// What stands behind UDP's header: others use these ports too.
const VXLAN_FLAGS: u8 = 0x08;
const GENEVE_CARRIES: [u16; 3] = [0x6558, 0x0800, 0x86dd];
const GTP_PACKET: u8 = 0xff;

/// What GRE carries.
const GRE_ETHERNET: u16 = 0x6558;
const GRE_ERSPAN2: u16 = 0x88be;
const GRE_ERSPAN3: u16 = 0x22eb;
/// Where a session's number is in ERSPAN's second 16 bits, behind GRE with a sequence number.
const SESSION: u16 = 0x03ff;

/// What the kernel is to let through so that they are seen.
pub(super) const FILTER: &str = "ip proto 4 or ip proto 41 or ip proto 47 or ip6 proto 4 or ip6 proto 41 or ip6 proto 47 \
     or udp dst port 4789 or udp dst port 8472 or udp dst port 6081 or udp dst port 2152 \
     or ether proto 0x8847 or ether proto 0x8848 or ether proto 0x8864";

/// A kind of tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Gre,
    GreEthernet,
    /// Of type II or III, and its session.
    Erspan(Erspan, u16),
    IpInIp,
    Sit,
    Vxlan(u32),
    Geneve(u32),
    Gtp,
    Mpls,
    Pppoe,
}

/// ERSPAN's two forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Erspan {
    Two,
    Three,
}

/// A tunnel between two hosts, where it has ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tunnel {
    pub(super) kind: Kind,
    pub(super) ends: Option<(IpAddr, IpAddr)>,
}

impl Kind {
    pub(super) fn name(self) -> String {
        match self {
            Kind::Gre => "GRE".to_owned(),
            Kind::GreEthernet => "Ethernet in GRE".to_owned(),
            Kind::Erspan(Erspan::Two, session) => format!("ERSPAN type II, session {session}"),
            Kind::Erspan(Erspan::Three, session) => format!("ERSPAN type III, session {session}"),
            Kind::IpInIp => "IP in IP".to_owned(),
            Kind::Sit => "IPv6 in IP".to_owned(),
            Kind::Vxlan(id) => format!("VXLAN {id}"),
            Kind::Geneve(id) => format!("Geneve {id}"),
            Kind::Gtp => "GTP".to_owned(),
            Kind::Mpls => "MPLS".to_owned(),
            Kind::Pppoe => "PPPoE".to_owned(),
        }
    }
}

impl Tunnel {
    /// How its packets become those of an interface of this host, which the sensor then reads.
    pub(super) fn cure(&self) -> String {
        let made = self.ends.and_then(|(from, to)| {
            let ends = format!("remote {from} local {to}");
            let six = if to.is_ipv6() { "ip6" } else { "" };
            Some(match self.kind {
                Kind::Gre => format!("type {six}gre {ends}"),
                Kind::GreEthernet => format!("type {six}gretap {ends}"),
                Kind::Erspan(Erspan::Two, key) => {
                    format!("type {six}erspan {ends} seq key {key} erspan_ver 1 erspan 1")
                }
                Kind::Erspan(Erspan::Three, key) => {
                    format!("type {six}erspan {ends} seq key {key} erspan_ver 2 erspan_dir ingress erspan_hwid 1")
                }
                Kind::IpInIp if six.is_empty() => format!("type ipip {ends}"),
                Kind::IpInIp => format!("type ip6tnl {ends}"),
                Kind::Sit => format!("type sit {ends}"),
                Kind::Vxlan(id) => format!("type vxlan id {id} local {to} dstport 4789"),
                Kind::Geneve(id) => format!("type geneve id {id} remote {from}"),
                Kind::Gtp | Kind::Mpls | Kind::Pppoe => return None,
            })
        });
        match made.filter(|_| cfg!(target_os = "linux")) {
            Some(made) => {
                format!("end it here: ip link add mirror0 {made} && ip link set mirror0 up, then interface=\"mirror0\"")
            }
            None => "mirror the port where the packets are not inside of it".to_owned(),
        }
    }
}

/// The VLANs that a frame is in, outermost first, and the EtherType behind their tags.
pub(super) fn tags(link_type: LinkType, frame: &[u8]) -> (Vec<u16>, Option<u16>) {
    let mut at = match link_type {
        LinkType::Ethernet => 12,
        LinkType::LinuxSll => 14,
        _ => return (Vec::new(), None),
    };
    let mut tags = Vec::new();
    loop {
        let ethertype = u16_at(frame, at);
        match ethertype {
            Some(tag) if VLAN.contains(&tag) && tags.len() < TAGS_MAX => {
                tags.extend(u16_at(frame, at + 2).map(|tag| tag & 0x0fff));
                at += 4;
            }
            _ => return (tags, ethertype),
        }
    }
}

/// The tunnel that a link header shows.
pub(super) fn below_ip(ethertype: Option<u16>) -> Option<Tunnel> {
    let kind = match ethertype? {
        PPPOE => Kind::Pppoe,
        ethertype if MPLS.contains(&ethertype) => Kind::Mpls,
        _ => return None,
    };
    Some(Tunnel { kind, ends: None })
}

/// The tunnel that an IP packet is of.
pub(super) fn of_packet(packet: &Packet) -> Option<Tunnel> {
    let payload = packet.payload;
    let kind = match packet.protocol {
        _ if packet.fragment.is_some_and(|fragment| fragment.offset > 0) => return None,
        IPV4 => Kind::IpInIp,
        IPV6 => Kind::Sit,
        GRE => match u16_at(payload, 2)? {
            GRE_ETHERNET => Kind::GreEthernet,
            GRE_ERSPAN2 => Kind::Erspan(Erspan::Two, u16_at(payload, 10)? & SESSION),
            GRE_ERSPAN3 => Kind::Erspan(Erspan::Three, u16_at(payload, 10)? & SESSION),
            _ => Kind::Gre,
        },
        decode::UDP => match u16_at(payload, 2)? {
            port if VXLAN_PORTS.contains(&port) && payload.get(8) == Some(&VXLAN_FLAGS) => {
                Kind::Vxlan(id_at(payload, 12)?)
            }
            GENEVE_PORT if GENEVE_CARRIES.contains(&u16_at(payload, 10)?) => Kind::Geneve(id_at(payload, 12)?),
            GTP_PORT if payload.get(9) == Some(&GTP_PACKET) => Kind::Gtp,
            _ => return None,
        },
        _ => return None,
    };
    Some(Tunnel { kind, ends: Some((packet.source, packet.destination)) })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A network's number, of 24 bits.
fn id_at(bytes: &[u8], at: usize) -> Option<u32> {
    let [a, b, c] = *bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes([0, a, b, c]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let length = (20 + payload.len()) as u16;
        let mut bytes = vec![0x45, 0];
        bytes.extend(length.to_be_bytes());
        bytes.extend([0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        bytes.extend(payload);
        bytes
    }

    fn kind(protocol: u8, payload: &[u8]) -> Option<Kind> {
        let bytes = packet(protocol, payload);
        of_packet(&decode::packet(&bytes).unwrap()).map(|tunnel| tunnel.kind)
    }

    #[test]
    fn each_tunnel_is_known_by_its_number_or_port() {
        assert_eq!(kind(GRE, &[0, 0, 0x08, 0]), Some(Kind::Gre));
        assert_eq!(kind(GRE, &[0, 0, 0x65, 0x58]), Some(Kind::GreEthernet));
        let erspan = |ethertype: [u8; 2]| [&[0x10, 0], &ethertype[..], &[0, 0, 0, 1, 0x10, 0, 0xfc, 7]].concat();
        assert_eq!(kind(GRE, &erspan([0x88, 0xbe])), Some(Kind::Erspan(Erspan::Two, 7)));
        assert_eq!(kind(GRE, &erspan([0x22, 0xeb])), Some(Kind::Erspan(Erspan::Three, 7)));
        assert_eq!((kind(IPV4, &[]), kind(IPV6, &[])), (Some(Kind::IpInIp), Some(Kind::Sit)));
        let udp =
            |port: u16, data: [u8; 8]| kind(17, &[&[0, 9], &port.to_be_bytes()[..], &[0, 16, 0, 0], &data].concat());
        assert_eq!(udp(4789, [8, 0, 0, 0, 0, 1, 2, 0]), Some(Kind::Vxlan(258)));
        assert_eq!(udp(6081, [0, 0, 0x65, 0x58, 0, 1, 2, 0]), Some(Kind::Geneve(258)));
        assert_eq!(udp(2152, [0x30, 0xff, 0, 0, 0, 0, 0, 0]), Some(Kind::Gtp));
        assert_eq!(kind(GRE, &[0]), None);
        for port in [53, 4789, 6081, 2152] {
            assert_eq!(udp(port, [0; 8]), None, "{port}");
        }
    }

    #[test]
    fn tags_are_named_and_cut_headers_are_none() {
        let mut frame = vec![0; 12];
        frame.extend([0x88, 0xa8, 0xe0, 7, 0x81, 0, 0x0f, 0xff, 0x88, 0x47]);
        let (tags, ethertype) = tags(LinkType::Ethernet, &frame);
        assert_eq!((&tags[..], ethertype), (&[7, 4095][..], Some(0x8847)));
        assert_eq!(below_ip(ethertype).map(|tunnel| tunnel.kind), Some(Kind::Mpls));
        for cut in 0..frame.len() {
            super::tags(LinkType::Ethernet, &frame[..cut]);
        }
        assert_eq!(super::tags(LinkType::Raw, &frame).0, Vec::<u16>::new());
    }

    #[test]
    fn a_tunnel_with_ends_is_ended_here_by_one_command() {
        let ends = Some(([192, 0, 2, 1].into(), [192, 0, 2, 2].into()));
        let cure = Tunnel { kind: Kind::GreEthernet, ends }.cure();
        assert!(cure.contains("ip link add mirror0 type gretap remote 192.0.2.1 local 192.0.2.2 &&"), "{cure}");
        assert!(!Tunnel { kind: Kind::Mpls, ends: None }.cure().contains("ip link"));
    }
}
