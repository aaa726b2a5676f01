//! Floods: what is remembered stays within its bounds, and what had to go is counted.

use crate::build::{self, ACK, Count, SYN, frame, query, resolver, server, tcp};
use sie_dns_sensor::{
    time::Timestamp,
    track::{FragmentLimits, Limits, QueryLimits, StreamLimits, Tracker},
};
use std::time::Duration;

const PACKETS: u32 = 100_000;
const BYTES: usize = 1 << 20;

/// Small ones: each flood is many times as much.
fn limits() -> Limits {
    Limits {
        queries: QueryLimits { queries: 1_000_000, bytes: BYTES, timeout: Duration::from_secs(60) },
        early: 16 << 20,
        fragments: FragmentLimits { bytes: BYTES, lifetime: Duration::from_secs(30) },
        streams: StreamLimits { connections: 1000, bytes: BYTES, idle: Duration::from_secs(30) },
    }
}

/// Sends a flood at 100 000 packets a second, watching the memory.
fn flood(packet: impl Fn(u32) -> Vec<u8>) -> Tracker {
    let mut tracker = Tracker::new(build::rules(), limits());
    let mut out = Count::default();
    // One table's bytes, and the connections themselves.
    let bound = BYTES + 1000 * 512;
    for number in 0..PACKETS {
        let time = build::at(0.0) + Duration::from_micros(10 * u64::from(number));
        tracker.packet(&frame(&packet(number), time), &mut out);
        assert!(tracker.bytes() <= bound, "{} bytes after {number} packets", tracker.bytes());
    }
    tracker.finish(&mut out);
    build::balanced(&tracker, out.0);
    tracker
}

fn port(number: u32) -> build::End {
    (resolver().0, 1024 + (number % 60_000) as u16)
}

#[test]
fn unanswered_queries_push_each_other_out() {
    let tracker = flood(|number| {
        let name = format!("{number:08}.{}.example", "x".repeat(number as usize % 60));
        build::udp(port(number), server(), &query(number as u16, &name))
    });
    assert!(tracker.ledger().queries.pushed_out > 90_000);
}

#[test]
fn queries_of_one_flow_and_id_push_each_other_out_at_256() {
    let tracker = flood(|number| build::udp(resolver(), server(), &query(number as u16 % 4, "a")));
    assert_eq!(tracker.ledger().queries.pushed_out, u64::from(PACKETS) - 4 * 256);
}

#[test]
fn a_resolver_with_one_port_has_as_many_open_queries_as_ids() {
    let limits = Limits { queries: QueryLimits { bytes: 64 << 20, ..limits().queries }, ..limits() };
    let mut tracker = Tracker::new(build::rules(), limits);
    let mut out = Count::default();
    let question = build::question("a");
    for is_response in [false, true] {
        for id in 0..=u16::MAX {
            let message = build::message(id, if is_response { build::QR } else { 0 }, Some(&question));
            let (from, to) = if is_response { (server(), resolver()) } else { (resolver(), server()) };
            tracker.packet(&frame(&build::udp(from, to, &message), build::at(0.0)), &mut out);
        }
    }
    assert_eq!(tracker.ledger().queries.answered, 65_536);
}

#[test]
fn datagrams_that_are_never_whole_push_each_other_out() {
    let payload = build::datagram(server(), resolver(), &build::response(7, "a").repeat(60));
    let tracker = flood(|number| {
        build::fragments(server().0, port(number).0, number, &payload, &[800]).swap_remove(number as usize % 2)
    });
    assert!(tracker.ledger().datagrams.pushed_out > 10_000);
}

#[test]
fn tiny_fragments_count_with_all_the_memory_they_take() {
    flood(|number| {
        let offset = 8 + (number as usize % 60) * 16;
        build::ip_piece(server().0, resolver().0, build::UDP, number / 60, Some((offset, true)), &[0; 8])
    });
}

#[test]
fn first_fragments_of_other_protocols_are_remembered_within_the_bound() {
    let (server, resolver) = (build::server6(), build::resolver6());
    let payload = build::datagram((server.0, 123), resolver, &[0; 56]);
    let tracker = flood(|number| build::ip_piece(server.0, resolver.0, build::UDP, number, Some((0, true)), &payload));
    assert_eq!(tracker.ledger().packets.unwatched, u64::from(PACKETS));
}

/// Every tenth packet opens a connection; the nine behind it carry data.
fn segments(number: u32, data: impl Fn(u32) -> (u32, Vec<u8>)) -> Vec<u8> {
    let from = port(number / 10);
    if number.is_multiple_of(10) {
        return tcp(from, server(), SYN, 0, b"");
    }
    let (sequence, data) = data(number % 10);
    tcp(from, server(), ACK, sequence, &data)
}

#[test]
fn segments_out_of_order_push_connections_out() {
    flood(|number| segments(number, |part| (100 + part * 3000, vec![0; 1400])));
}

#[test]
fn single_bytes_out_of_order_count_with_all_the_memory_they_take() {
    flood(|number| segments(number, |part| (100 + part * 2, vec![0])));
}

#[test]
fn messages_that_come_slowly_push_connections_out() {
    flood(|number| segments(number, |part| if part == 1 { (1, vec![0xff]) } else { (part, vec![0xff; 1]) }));
}

#[test]
fn one_connection_in_single_bytes_costs_as_much_as_in_one_piece() {
    let message = build::prefixed(&[0; 60_000]);
    let tracker = flood(|number| match number {
        0 => tcp(resolver(), server(), SYN, 0, b""),
        _ => tcp(resolver(), server(), ACK, number, &[message[(number as usize - 1) % message.len()]]),
    });
    assert_eq!(tracker.ledger().messages.malformed + tracker.ledger().messages.query, 1);
}

#[test]
fn one_datagram_in_many_pieces_is_given_up_at_128() {
    let tracker = flood(|number| {
        let offset = 8 + (number as usize % 8000) * 8;
        build::ip_piece(server().0, resolver().0, build::UDP, 1, Some((offset, true)), &[0; 8])
    });
    assert_eq!(tracker.ledger().datagrams.too_large, 1);
}

#[test]
fn a_clock_that_jumps_does_no_harm() {
    let mut tracker = Tracker::new(build::rules(), limits());
    let mut out = Count::default();
    for number in 0..2000_u32 {
        let nanos = match number % 4 {
            0 => 0,
            1 => u64::MAX,
            _ => u64::from(number) << 40,
        };
        let packet = match number % 3 {
            0 => build::udp(port(number), server(), &query(number as u16, "a")),
            1 => segments(number, |part| (part * 5, vec![0; 4])),
            _ => build::ip_piece(server().0, resolver().0, build::UDP, number, Some((8, true)), &[0; 8]),
        };
        tracker.packet(&frame(&packet, Timestamp::from_nanos(nanos)), &mut out);
    }
    tracker.finish(&mut out);
    build::balanced(&tracker, out.0);
}
