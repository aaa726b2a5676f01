//! Link, IP, UDP, TCP and the DNS question of one frame. The first byte chooses the link type.
#![no_main]

use etherparse::{LinkExtSlice, NetSlice, SlicedPacket, TransportSlice};
use libfuzzer_sys::fuzz_target;
use sie_dns_sensor::{
    capture::LinkType,
    decode::{self, Packet, dns, link, tcp, udp},
};
use sie_dns_sensor_fuzz::slow;

const LINK_TYPES: [LinkType; 8] = [
    LinkType::Ethernet,
    LinkType::Null,
    LinkType::Loop,
    LinkType::Raw,
    LinkType::Ipv4,
    LinkType::Ipv6,
    LinkType::LinuxSll,
    LinkType::LinuxSll2,
];

fuzz_target!(|bytes: &[u8]| {
    let Some((first, frame)) = bytes.split_first() else { return };
    let link_type = LINK_TYPES[usize::from(first % 8)];
    let network = link::network(link_type, frame);
    if let Ok(Some(network)) = network {
        assert_ends(frame, network);
        check_packet(network);
    }
    if link_type == LinkType::Ethernet {
        check_ethernet(frame, network.ok().flatten());
    }
});

/// `end` is the end of `whole`.
fn assert_ends(whole: &[u8], end: &[u8]) {
    assert!(whole.ends_with(end));
    assert_eq!(end.as_ptr_range().end, whole.as_ptr_range().end);
}

fn check_packet(network: &[u8]) {
    let Ok(packet) = decode::packet(network) else { return };
    assert_eq!(packet.bytes.as_ptr(), network.as_ptr());
    assert!(packet.bytes.len() <= network.len());
    assert_ends(packet.bytes, packet.payload);
    assert!(packet.payload_at() >= if packet.source.is_ipv4() { 20 } else { 40 });
    assert_eq!(packet.source.is_ipv4(), packet.destination.is_ipv4());
    if let Some(fragment) = packet.fragment {
        assert!(fragment.offset % 8 == 0 && !packet.payload.is_empty());
        assert!(fragment.offset as usize + packet.payload.len() <= 65_535);
        assert!(fragment.more || fragment.offset > 0);
        assert!(!fragment.more || packet.payload.len() % 8 == 0);
    } else {
        check_upper(&packet);
    }
    check_etherparse(network, &packet);
}

fn check_upper(packet: &Packet<'_>) {
    let data = match packet.protocol {
        decode::UDP => udp::header(packet.payload).and_then(|udp| {
            udp.checksum(packet.source, packet.destination);
            udp.data()
        }),
        decode::TCP => tcp::segment(packet.payload).map(|segment| {
            assert_ends(packet.payload, segment.data);
            segment.data
        }),
        _ => return,
    };
    let Ok(data) = data else { return };
    assert!(packet.payload.as_ptr_range().contains(&data.as_ptr()) || data.is_empty());
    assert!(data.len() + 8 <= packet.payload.len());
    let ours = dns::message(data).ok();
    let question = |message: dns::Message<'_>| message.question.map(|question| question.bytes().to_vec());
    assert_eq!(ours.map(question), slow::message(data).map(|(_, _, question)| question));
    if let Some(question) = ours.and_then(|message| message.question) {
        assert!(question.qname().len() <= dns::NAME_MAX);
    }
}

/// Where etherparse reads the packet too and there are no extension headers, of which it knows others, both say the same.
fn check_etherparse(network: &[u8], packet: &Packet<'_>) {
    let Ok(theirs) = SlicedPacket::from_ip(network) else { return };
    let (source, destination, payload) = match &theirs.net {
        Some(NetSlice::Ipv4(ip)) if ip.extensions().is_empty() => {
            let header = ip.header();
            (header.source_addr().into(), header.destination_addr().into(), ip.payload())
        }
        Some(NetSlice::Ipv6(ip)) if ip.extensions().is_empty() && packet.payload_at() == 40 => {
            let header = ip.header();
            (header.source_addr().into(), header.destination_addr().into(), ip.payload())
        }
        _ => return,
    };
    assert_eq!((packet.source, packet.destination), (source, destination));
    assert_eq!(packet.protocol, payload.ip_number.0);
    assert_eq!(packet.payload, payload.payload);
    assert_eq!(packet.fragment.is_some(), payload.fragmented);
    match &theirs.transport {
        Some(TransportSlice::Udp(theirs)) => {
            let ours = udp::header(packet.payload).expect("etherparse reads it");
            assert_eq!((ours.source_port, ours.destination_port), (theirs.source_port(), theirs.destination_port()));
            // With length 0 etherparse takes all there is.
            if let Ok(data) = ours.data() {
                assert_eq!(data, theirs.payload());
            } else {
                assert_eq!(theirs.length(), 0);
            }
        }
        Some(TransportSlice::Tcp(theirs)) => {
            let ours = tcp::segment(packet.payload).expect("etherparse reads it");
            assert_eq!((ours.source_port, ours.destination_port), (theirs.source_port(), theirs.destination_port()));
            assert_eq!(ours.sequence, theirs.sequence_number());
            assert_eq!((ours.syn(), ours.fin()), (theirs.syn(), theirs.fin()));
            assert_eq!((ours.rst(), ours.ack()), (theirs.rst(), theirs.ack()));
            assert_eq!(ours.data, theirs.payload());
        }
        _ => (),
    }
}

/// Behind up to three VLAN tags, where etherparse stops looking, the IP packet stands at the same place.
fn check_ethernet(frame: &[u8], ours: Option<&[u8]>) {
    let Ok(theirs) = SlicedPacket::from_ethernet(frame) else { return };
    let is_tagged = |extension: &LinkExtSlice<'_>| matches!(extension, LinkExtSlice::Vlan(_));
    if !theirs.link_exts.iter().all(is_tagged) {
        return;
    }
    let header = match &theirs.net {
        Some(NetSlice::Ipv4(ip)) => ip.header().slice(),
        Some(NetSlice::Ipv6(ip)) => ip.header().slice(),
        _ => return,
    };
    assert_eq!(ours.expect("etherparse finds one").as_ptr(), header.as_ptr());
}
