//! What is hidden is in no packet, and cannot be computed from one.

use crate::build::{
    self, ACK, Bench, End, SYN, UDP, at, ip_piece, prefixed, resolver, resolver6, server, server6, tcp,
};
use proptest::prelude::*;
use sie_dns_sensor::{
    decode::udp::{UdpChecksum, header_checksum},
    track::{Hide, Rules},
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Transport {
    Datagram,
    Fragments,
    Tcp,
}

/// A message with records in every section and an OPT record with `options`.
fn message(is_response: bool, records: usize, opt_at: usize, options: &[u8]) -> Vec<u8> {
    let question = build::question("client.example");
    let mut bytes = build::message(7, if is_response { build::QR } else { 0 }, Some(&question));
    let (answers, authorities) = if is_response { (records / 2, records - records / 2) } else { (0, 0) };
    bytes[7] = answers as u8;
    bytes[9] = authorities as u8;
    bytes[11] = 2; // the OPT record and one beside it
    for _ in 0..answers + authorities {
        bytes.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x09\0\x04\xcb\0\x71\x01");
    }
    let mut additional = [b"\x01x\xc0\x0c\0\x10\0\x01\0\0\0\x09\0\x03\x02hi".to_vec(), Vec::new()];
    additional[1].extend(b"\0\0\x29\x04\xd0\0\0\0\0");
    additional[1].extend((options.len() as u16).to_be_bytes());
    additional[1].extend(options);
    additional.rotate_left(opt_at);
    bytes.extend(additional.concat());
    bytes
}

/// Options: cookies and client subnets, those with as many bytes of address as said.
fn options(list: &[Option<usize>], address: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    for option in list {
        match option {
            None => bytes.extend(b"\0\x0a\0\x08abcdefgh"),
            Some(len) => {
                bytes.extend([0, 8, 0, 4 + *len as u8, 0, if *len > 4 { 2 } else { 1 }, *len as u8 * 8, 0]);
                bytes.extend(vec![address; *len]);
            }
        }
    }
    bytes
}

fn zero(address: IpAddr) -> IpAddr {
    if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn addresses_and_client_subnets_are_zero_and_nothing_else_is_changed(
        is_v6 in any::<bool>(),
        is_response in any::<bool>(),
        records in 0..12_usize,
        opt_at in 0..2_usize,
        list in prop::collection::vec(prop::option::of(prop_oneof![0..5_usize, Just(16)]), 0..4),
        transport in prop_oneof![Just(Transport::Datagram), Just(Transport::Fragments), Just(Transport::Tcp)],
        cuts in prop::collection::vec(8..400_usize, 1..40),
        resolver_address in any::<bool>(),
        client_subnets in any::<bool>(),
    ) {
        let sent = message(is_response, records, opt_at, &options(&list, 0xc7));
        let hidden = if client_subnets { message(is_response, records, opt_at, &options(&list, 0)) } else { sent.clone() };
        let (resolver, server): (End, End) = if is_v6 { (resolver6(), server6()) } else { (resolver(), server()) };
        let shown = if resolver_address { zero(resolver.0) } else { resolver.0 };
        let (from, to) = if is_response { (server, resolver) } else { (resolver, server) };
        let (shown_from, shown_to) = if is_response { (server.0, shown) } else { (shown, server.0) };

        let captured = build::datagram(from, to, &sent);
        let mut expected = build::datagram(from, to, &hidden);
        let keeps_sum = sent == hidden && !resolver_address && transport != Transport::Tcp;
        if !keeps_sum {
            expected[6..8].fill(0);
        }
        let whole = |from, to, payload: &[u8]| vec![build::ip(from, to, UDP, payload)];
        let pieces = |from, to, payload: &[u8]| build::fragments(from, to, 9, payload, &cuts);
        let (captured, expected) = match transport {
            Transport::Datagram => (whole(from.0, to.0, &captured), whole(shown_from, shown_to, &expected)),
            Transport::Fragments => {
                let captured = pieces(from.0, to.0, &captured);
                prop_assume!(captured.len() > 1);
                (captured, pieces(shown_from, shown_to, &expected))
            }
            Transport::Tcp => {
                let data = prefixed(&sent);
                let (first, last) = data.split_at(cuts[0] % data.len());
                let sequence = if is_response { 501 } else { 101 };
                let segments = vec![
                    tcp(resolver, server, SYN, 100, b""),
                    tcp(server, resolver, SYN | ACK, 500, b""),
                    tcp(from, to, ACK, sequence, first),
                    tcp(from, to, ACK, sequence + first.len() as u32, last),
                ];
                (segments, whole(shown_from, shown_to, &expected))
            }
        };
        let hide = Hide { resolver_address, client_subnets };
        let mut bench = Bench::new(Rules { hide, ..build::rules() }, build::limits());
        captured.iter().for_each(|packet| bench.packet(packet, at(0.0)));
        bench.finish();
        let seen = bench.seen();
        prop_assert_eq!(seen.len(), 1);
        let packets: Vec<Vec<u8>> = seen[0].query.iter().chain(&seen[0].response).map(|(_, bytes)| bytes.clone()).collect();
        prop_assert_eq!(packets, expected);
        if is_response {
            let correct = if transport == Transport::Tcp { UdpChecksum::Absent } else { UdpChecksum::Correct };
            prop_assert_eq!(seen[0].checksum, Some(correct));
        }
    }
}

fn hide_address(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let hide = Hide { resolver_address: true, client_subnets: false };
    let mut bench = Bench::new(Rules { hide, ..build::rules() }, build::limits());
    packets.iter().for_each(|packet| bench.packet(packet, at(0.0)));
    bench.finish();
    let packets = |seen: build::Seen| [seen.query, seen.response].concat().into_iter().map(|(_, bytes)| bytes);
    bench.seen().into_iter().flat_map(packets).collect()
}

fn has(packet: &[u8], bytes: &[u8]) -> bool {
    packet.windows(bytes.len()).any(|window| window == bytes)
}

/// Puts options behind an IPv4 header.
fn with_options(mut packet: Vec<u8>, options: &[u8]) -> Vec<u8> {
    assert!(options.len().is_multiple_of(4));
    packet.splice(20..20, options.iter().copied());
    packet[0] += (options.len() / 4) as u8;
    let len = (packet.len() as u16).to_be_bytes();
    packet[2..4].copy_from_slice(&len);
    packet[10..12].fill(0);
    let header_len = 20 + options.len();
    let sum = header_checksum(&packet[..header_len]).to_be_bytes();
    packet[10..12].copy_from_slice(&sum);
    packet
}

#[test]
fn the_resolvers_address_in_ipv4_options_is_hidden_in_both_directions_and_in_fragments() {
    let IpAddr::V4(address) = resolver().0 else { unreachable!() };
    let mut route = vec![1, 7, 11, 8]; // no operation, record route of two addresses
    route.extend([10, 0, 0, 1]);
    route.extend(address.octets());
    let response = build::response(7, "a").into_iter().chain(vec![0; 900]).collect::<Vec<u8>>();
    let pieces =
        build::fragments(server().0, resolver().0, 3, &build::datagram(server(), resolver(), &response), &[400]);
    let mut packets = vec![with_options(build::udp(resolver(), server(), &build::query(7, "a")), &route)];
    packets.extend(pieces.into_iter().map(|piece| with_options(piece, &route)));
    assert!(packets.iter().all(|packet| has(packet, &address.octets())));
    let hidden = hide_address(&packets);
    assert_eq!(hidden.len(), 3);
    for packet in hidden {
        assert!(!has(&packet, &address.octets()) && has(&packet, &[10, 0, 0, 1]));
        assert_eq!(header_checksum(&packet[..32]), 0);
    }
}

#[test]
fn the_resolvers_address_in_an_ipv6_routing_header_is_hidden() {
    let IpAddr::V6(address) = resolver6().0 else { unreachable!() };
    for (from, to, message) in
        [(resolver6(), server6(), build::query(7, "a")), (server6(), resolver6(), build::response(7, "a"))]
    {
        let mut payload = vec![UDP, 2, 2, 0, 0, 0, 0, 0];
        payload.extend(address.octets());
        payload.extend(build::datagram(from, to, &message));
        let packet = build::ip(from.0, to.0, 43, &payload);
        let [hidden] = &hide_address(&[packet])[..] else { panic!() };
        assert!(!has(hidden, &address.octets()));
    }
}

#[test]
fn the_resolvers_address_in_extension_headers_that_travel_in_fragments_is_hidden_across_their_borders() {
    let IpAddr::V6(address) = resolver6().0 else { unreachable!() };
    let mut payload = vec![UDP, 2, 1, 2, 0, 0, 201, 16]; // destination options: a home address
    payload.extend(address.octets());
    payload.extend(build::datagram(resolver6(), server6(), &build::query(7, "a")));
    for cut in [8, 16, 24, 32] {
        let piece =
            |offset, more, payload: &[u8]| ip_piece(resolver6().0, server6().0, 60, 5, Some((offset, more)), payload);
        let hidden = hide_address(&[piece(0, true, &payload[..cut]), piece(cut, false, &payload[cut..])]);
        let together: Vec<u8> = hidden.iter().flat_map(|packet| &packet[48..]).copied().collect();
        assert_eq!(together.len(), payload.len());
        assert!(!has(&together, &address.octets()) && !has(&together, &address.octets()[..4]));
    }
}

#[test]
fn a_message_whose_options_cannot_be_found_is_dropped_and_counted() {
    let mut sent = message(true, 4, 0, &options(&[Some(4)], 0xc7));
    let at_record = sent.len() - 16 - 19; // within a record before the options
    for (change, byte) in [(at_record, 0xff), (sent.len() - 5, 0x77)] {
        sent[change] = byte;
    }
    sent.truncate(sent.len() - 2);
    for fragmented in [false, true] {
        let hide = Hide { resolver_address: false, client_subnets: true };
        let mut bench = Bench::new(Rules { hide, ..build::rules() }, build::limits());
        let payload = build::datagram(server(), resolver(), &sent);
        match fragmented {
            true => build::fragments(server().0, resolver().0, 1, &payload, &[40])
                .iter()
                .for_each(|packet| bench.packet(packet, at(0.0))),
            false => bench.packet(&ip_piece(server().0, resolver().0, UDP, 0, None, &payload), at(0.0)),
        }
        let ledger = bench.finish();
        assert_eq!((ledger.messages.malformed, ledger.messages.response), (1, 0));
        assert!(bench.seen().is_empty());
    }
}

#[test]
fn a_client_subnet_behind_the_end_of_its_datagram_or_message_is_hidden() {
    let sent = message(true, 0, 0, &options(&[Some(4)], 0xc7));
    let end_of_question = 12 + build::question("client.example").len();
    let uncounted = [&sent[..11], &[0], &sent[12..]].concat();
    for (sent, udp_len, cuts) in [
        (&sent, end_of_question, &[][..]),
        (&sent, end_of_question, &[8, 48]),
        (&uncounted, sent.len(), &[]),
        (&uncounted, sent.len(), &[40]),
    ] {
        let mut payload = build::datagram(server(), resolver(), sent);
        payload[4..6].copy_from_slice(&(8 + udp_len as u16).to_be_bytes());
        let hide = Hide { resolver_address: false, client_subnets: true };
        let mut bench = Bench::new(Rules { hide, ..build::rules() }, build::limits());
        match cuts {
            [] => bench.packet(&ip_piece(server().0, resolver().0, UDP, 0, None, &payload), at(0.0)),
            cuts => build::fragments(server().0, resolver().0, 1, &payload, cuts)
                .iter()
                .for_each(|packet| bench.packet(packet, at(0.0))),
        }
        let seen = bench.seen();
        let packets = &seen[0].response;
        let together: Vec<u8> = packets.iter().flat_map(|(_, packet)| &packet[20..]).copied().collect();
        assert_eq!((packets.len(), together.len()), (cuts.len() + 1, payload.len()));
        assert!(!together.contains(&0xc7));
        assert_eq!(together[8..8 + 11], payload[8..8 + 11], "what is not hidden stays");
    }
}

#[test]
fn thousands_of_options_in_a_hundred_fragments_are_all_hidden() {
    let list = vec![Some(4); 5000];
    let sent = build::datagram(server(), resolver(), &message(true, 0, 0, &options(&list, 0xc7)));
    let cuts: Vec<usize> = (1..120).map(|cut| cut * 512).collect();
    let packets = build::fragments(server().0, resolver().0, 1, &sent, &cuts);
    assert!(packets.len() > 100);
    let hide = Hide { resolver_address: false, client_subnets: true };
    let mut bench = Bench::new(Rules { hide, ..build::rules() }, build::limits());
    packets.iter().for_each(|packet| bench.packet(packet, at(0.0)));
    let seen = bench.seen();
    assert_eq!(seen[0].response.len(), packets.len());
    assert!(seen[0].response.iter().all(|(_, packet)| !packet[20..].contains(&0xc7)));
}
