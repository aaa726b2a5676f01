//! TCP: spec/tcp.md sentence by sentence, and the streams beside a plain model of them.

use crate::build::{
    self, ACK, Bench, End, FIN, RST, SYN, Seen, TCP, UDP, at, flow, message, prefixed, query, question_of, resolver,
    resolver6, response, server, server6, tcp,
};
use proptest::prelude::*;
use sie_dns_sensor::{
    decode::{self, udp::UdpChecksum},
    time::Timestamp,
    track::{Kind, Limits, Rules, StreamLimits},
};
use std::{collections::HashSet, time::Duration};

/// Two hosts and a connection between them.
struct Talk {
    bench: Bench,
    resolver: End,
    server: End,
    /// Next sequence numbers.
    from_resolver: u32,
    from_server: u32,
    now: f64,
}

impl Talk {
    fn new() -> Talk {
        Talk::within(resolver(), server(), build::limits().streams)
    }

    fn within(resolver: End, server: End, streams: StreamLimits) -> Talk {
        let bench = Bench::new(build::rules(), Limits { streams, ..build::limits() });
        Talk { bench, resolver, server, from_resolver: 1000, from_server: 9_000_000, now: 0.0 }
    }

    /// A second passes, then the resolver sends.
    fn says(&mut self, flags: u8, sequence: u32, data: &[u8]) {
        self.now += 1.0;
        self.bench.packet(&tcp(self.resolver, self.server, flags, sequence, data), at(self.now));
    }

    /// A second passes, then the server sends.
    fn hears(&mut self, flags: u8, sequence: u32, data: &[u8]) {
        self.now += 1.0;
        self.bench.packet(&tcp(self.server, self.resolver, flags, sequence, data), at(self.now));
    }

    fn open(&mut self) {
        self.says(SYN, self.from_resolver, b"");
        self.hears(SYN | ACK, self.from_server, b"");
        self.from_resolver += 1;
        self.from_server += 1;
    }

    fn asks(&mut self, message: &[u8]) {
        let data = prefixed(message);
        for part in data.chunks(20_000) {
            self.says(ACK, self.from_resolver, part);
            self.from_resolver = self.from_resolver.wrapping_add(part.len() as u32);
        }
    }

    fn answers(&mut self, message: &[u8]) {
        let data = prefixed(message);
        for part in data.chunks(20_000) {
            self.hears(ACK, self.from_server, part);
            self.from_server = self.from_server.wrapping_add(part.len() as u32);
        }
    }

    fn kinds(&self) -> Vec<(Kind, u16)> {
        self.bench.kinds()
    }
}

use Kind::{QueryResponse, UnansweredQuery, UnsolicitedResponse};

#[test]
fn an_exchange_becomes_a_transaction_of_rebuilt_packets() {
    for (resolver, server) in [(resolver(), server()), (resolver6(), server6())] {
        let mut talk = Talk::within(resolver, server, build::limits().streams);
        talk.open();
        talk.asks(&query(7, "a"));
        talk.answers(&response(7, "a"));
        let seen = talk.bench.seen();
        assert_eq!(
            seen,
            [Seen {
                kind: QueryResponse,
                flow: flow(resolver, server, TCP),
                id: 7,
                question: Some(build::question("a")),
                query: vec![(at(3.0), rebuilt(resolver, server, &query(7, "a")))],
                response: vec![(at(4.0), rebuilt(server, resolver, &response(7, "a")))],
                rcode: Some(0),
                checksum: Some(UdpChecksum::Absent),
                waited: None,
            }]
        );
    }
}

#[test]
fn a_connection_joined_midway_is_counted_and_not_guessed_at() {
    let mut talk = Talk::new();
    talk.asks(&query(7, "a"));
    talk.answers(&response(7, "a"));
    let ledger = talk.bench.finish();
    assert_eq!((ledger.packets.segment, ledger.messages.query, ledger.messages.response), (2, 0, 0));
    assert_eq!(talk.bench.tracker.connections(), 0);
}

#[test]
fn data_on_the_syn_counts_and_its_retransmission_does_not() {
    let mut talk = Talk::new();
    let data = prefixed(&query(7, "a"));
    talk.says(SYN, 1000, &data);
    talk.says(SYN, 1000, &data);
    talk.hears(SYN | ACK, 5000, b"");
    talk.says(ACK, 1001, &data);
    talk.hears(ACK, 5001, &prefixed(&response(7, "a")));
    assert_eq!(talk.kinds(), [(QueryResponse, 7)]);
    assert_eq!(talk.bench.finish().messages.query, 1);
}

#[test]
fn a_reset_by_either_side_ends_the_connection_and_says_how_long_its_queries_waited() {
    for by_server in [false, true] {
        let mut talk = Talk::new();
        talk.open();
        talk.asks(&query(7, "a"));
        match by_server {
            true => talk.hears(RST, talk.from_server, b""),
            false => talk.says(RST, talk.from_resolver, b""),
        }
        assert_eq!(talk.kinds(), [(UnansweredQuery, 7)]);
        assert_eq!(talk.bench.seen()[0].waited, Some(Duration::from_secs(1)));
        assert_eq!(talk.bench.tracker.connections(), 0);
        assert_eq!(talk.bench.finish().queries.connection_closed, 1);
    }
}

#[test]
fn both_fins_in_either_order_end_the_connection_and_one_does_not() {
    for server_first in [false, true] {
        let mut talk = Talk::new();
        talk.open();
        talk.asks(&query(7, "a"));
        talk.asks(&query(8, "b"));
        for by_server in [server_first, !server_first] {
            assert_eq!(talk.bench.tracker.connections(), 1);
            assert!(talk.kinds().is_empty());
            match by_server {
                true => talk.hears(FIN | ACK, talk.from_server, b""),
                false => talk.says(FIN | ACK, talk.from_resolver, b""),
            }
        }
        assert_eq!(talk.kinds(), [(UnansweredQuery, 7), (UnansweredQuery, 8)]);
        assert_eq!(talk.bench.tracker.connections(), 0);
    }
}

#[test]
fn an_answer_behind_the_resolvers_fin_still_pairs() {
    let mut talk = Talk::new();
    talk.open();
    talk.says(ACK | FIN, talk.from_resolver, &prefixed(&query(7, "a")));
    talk.hears(ACK | FIN, talk.from_server, &prefixed(&response(7, "a")));
    assert_eq!(talk.kinds(), [(QueryResponse, 7)]);
    assert_eq!(talk.bench.tracker.connections(), 0);
}

#[test]
fn a_fin_ends_nothing_before_the_hole_ahead_of_it_is_filled() {
    let mut talk = Talk::new();
    talk.open();
    talk.asks(&query(7, "a"));
    talk.says(FIN | ACK, talk.from_resolver, b"");
    let answer = prefixed(&response(7, "a"));
    let (first, last) = answer.split_at(5);
    talk.hears(FIN | ACK, talk.from_server + 5, last);
    assert_eq!((talk.bench.tracker.connections(), talk.kinds()), (1, vec![]));
    talk.hears(ACK, talk.from_server, first);
    assert_eq!((talk.bench.tracker.connections(), talk.kinds()), (0, vec![(QueryResponse, 7)]));
}

#[test]
fn a_connection_idle_for_more_than_its_time_is_given_up() {
    let mut talk = Talk::new();
    talk.open();
    talk.asks(&query(7, "a"));
    let asked = talk.now;
    let other = (resolver().0, 5000);
    talk.bench.packet(&tcp(other, server(), ACK, 1, b""), at(asked + 30.0));
    assert_eq!(talk.bench.tracker.connections(), 1);
    talk.bench.packet(&tcp(other, server(), ACK, 1, b""), at(asked + 30.5));
    assert_eq!(talk.bench.tracker.connections(), 0);
    assert_eq!(talk.bench.seen()[0].waited, Some(Duration::from_millis(30_500)));
    // What comes late has no connection any more.
    talk.answers(&response(7, "a"));
    assert!(talk.kinds().is_empty());
}

#[test]
fn on_an_idle_link_the_clock_ends_connections_and_tells_how_long_queries_waited() {
    let mut talk = Talk::new();
    talk.open();
    talk.asks(&query(7, "a"));
    talk.bench.tracker.expire(at(talk.now + 31.0), &mut talk.bench.out);
    assert_eq!(talk.kinds(), [(UnansweredQuery, 7)]);
    assert_eq!(talk.bench.seen()[0].waited, Some(Duration::from_secs(31)));
}

#[test]
fn when_the_table_is_full_the_connection_idle_longest_is_given_up() {
    let mut talk = Talk::within(resolver(), server(), StreamLimits { connections: 2, ..build::limits().streams });
    talk.open();
    talk.asks(&query(7, "a"));
    let second = (resolver().0, 5000);
    let third = (resolver().0, 6000);
    talk.bench.packet(&tcp(second, server(), SYN, 1, b""), at(10.0));
    talk.now = 10.0;
    talk.asks(&query(8, "b")); // the first is busier than the second
    talk.bench.packet(&tcp(third, server(), SYN, 1, b""), at(12.0));
    assert_eq!((talk.bench.tracker.connections(), talk.kinds()), (2, vec![]));
    talk.bench.packet(&tcp(second, server(), SYN, 1, b""), at(13.0));
    assert_eq!(talk.kinds(), [(UnansweredQuery, 7), (UnansweredQuery, 8)]);
    assert_eq!(talk.bench.finish().queries.connection_closed, 2);
}

#[test]
fn all_bytes_held_count_and_when_they_are_too_many_the_connection_idle_longest_is_given_up() {
    let limit = 100_000;
    let mut talk = Talk::within(resolver(), server(), StreamLimits { bytes: limit, ..build::limits().streams });
    let start = [&60_000_u16.to_be_bytes()[..], &[0; 30_000]].concat();
    for port in 1..=10 {
        let from = (resolver().0, port);
        talk.bench.packet(&tcp(from, server(), SYN, 1, b""), at(f64::from(port)));
        if port % 2 == 0 {
            talk.bench.packet(&tcp(from, server(), ACK, 2, &start), at(f64::from(port))); // unfinished
        } else {
            talk.bench.packet(&tcp(from, server(), ACK, 9, &start), at(f64::from(port))); // out of order
        }
        assert!(talk.bench.tracker.bytes() < limit + 10_000);
    }
    assert_eq!(talk.bench.tracker.connections(), 3);
}

#[test]
fn a_direction_that_holds_more_than_a_message_and_its_prefix_is_given_up() {
    let mut talk = Talk::new();
    talk.open();
    talk.asks(&query(7, "a"));
    let ahead = talk.from_server + 10;
    for part in 0..5 {
        talk.hears(ACK, ahead + part * 15_000, &[0; 15_000]);
    }
    assert_eq!(talk.kinds(), [(UnansweredQuery, 7)]);
    assert_eq!(talk.bench.tracker.connections(), 0);
    assert_eq!(talk.bench.finish().packets.given_up, 1);
}

#[test]
fn a_second_response_to_an_answered_query_is_counted_and_never_emitted() {
    let mut talk = Talk::new();
    talk.open();
    talk.asks(&query(7, "a"));
    talk.answers(&response(7, "a"));
    talk.answers(&response(7, "a"));
    talk.answers(&response(9, "a")); // nobody asked
    talk.asks(&query(7, "b")); // the id is used again
    talk.answers(&response(7, "b"));
    assert_eq!(talk.kinds(), [(QueryResponse, 7), (UnsolicitedResponse, 9), (QueryResponse, 7)]);
    assert_eq!(talk.bench.finish().responses.repeated, 1);
}

#[test]
fn nothing_of_a_connection_follows_a_zone_transfer_and_the_next_connection_is_followed() {
    for qtype in [251, 252] {
        let mut talk = Talk::new();
        talk.open();
        talk.asks(&query(6, "before"));
        talk.answers(&response(6, "before"));
        talk.asks(&message(7, 0, Some(&question_of("zone", qtype))));
        talk.asks(&query(8, "after"));
        for _ in 0..20 {
            talk.answers(&message(7, build::QR, Some(&question_of("zone", qtype))));
        }
        talk.answers(&response(8, "after"));
        assert_eq!(talk.kinds(), [(QueryResponse, 6)]);
        talk.says(FIN | ACK, talk.from_resolver, b"");
        talk.hears(FIN | ACK, talk.from_server, b"");
        assert_eq!(talk.bench.tracker.connections(), 0);
        talk.open();
        talk.asks(&query(9, "a"));
        talk.answers(&response(9, "a"));
        assert_eq!(talk.kinds(), [(QueryResponse, 6), (QueryResponse, 9)]);
        assert_eq!(talk.bench.finish().messages.zone_transfer, 1);
    }
}

#[test]
fn a_zone_transfer_is_known_by_its_answer_too() {
    for slack in [None, Some(Duration::from_secs(2))] {
        for is_late in [false, true] {
            let mut talk = Talk::new();
            talk.bench = Bench::new(Rules { slack, ..build::rules() }, build::limits());
            talk.open();
            // The query is lost, or comes behind its answer.
            let asked = message(7, 0, Some(&question_of("zone", 252)));
            for _ in 0..20 {
                talk.answers(&message(7, build::QR, Some(&question_of("zone", 252))));
                talk.answers(&message(7, build::QR, None));
            }
            if is_late {
                talk.asks(&asked);
            }
            talk.answers(&response(8, "after"));
            assert_eq!(talk.bench.finish().messages.zone_transfer, 1);
            assert_eq!(talk.kinds(), []);
        }
    }
}

#[test]
fn the_longest_message_that_fits_a_datagram_is_emitted_and_one_byte_more_is_too_long() {
    for (resolver, server, longest) in [(resolver(), server(), 65_507), (resolver6(), server6(), 65_527)] {
        let mut talk = Talk::within(resolver, server, build::limits().streams);
        talk.open();
        for (id, len) in [(7, longest), (8, longest + 1)] {
            talk.asks(&query(id, "a"));
            let mut answer = response(id, "a");
            answer.resize(len, 0);
            talk.answers(&answer);
        }
        let seen = talk.bench.seen();
        assert_eq!(seen.len(), 1);
        assert_eq!((seen[0].id, seen[0].kind), (7, QueryResponse));
        decode::packet(&seen[0].response[0].1).unwrap();
        let ledger = talk.bench.finish();
        assert_eq!((ledger.messages.too_long, ledger.queries.too_long, ledger.queries.open), (1, 1, 0));
    }
}

#[test]
fn queries_that_were_open_before_a_zone_transfer_are_not_called_unanswered() {
    let mut talk = Talk::new();
    talk.open();
    talk.asks(&query(7, "a"));
    talk.asks(&message(8, 0, Some(&question_of("zone", 252))));
    talk.answers(&response(7, "a"));
    talk.says(RST, talk.from_resolver, b"");
    let ledger = talk.bench.finish();
    assert_eq!(talk.kinds(), []);
    assert_eq!((ledger.queries.filtered, ledger.messages.zone_transfer, ledger.connections.reset), (1, 1, 1));
}

#[test]
fn a_reset_far_from_what_is_expected_is_not_the_connections() {
    let mut talk = Talk::new();
    talk.open();
    talk.asks(&query(7, "a"));
    talk.hears(RST, talk.from_server.wrapping_add(1 << 30), b"");
    talk.says(RST, talk.from_resolver.wrapping_sub(1 << 30), b"");
    talk.answers(&response(7, "a"));
    assert_eq!(talk.kinds(), [(QueryResponse, 7)]);
    talk.hears(RST, talk.from_server, b"");
    assert_eq!(talk.bench.tracker.connections(), 0);
}

#[test]
fn a_segment_after_a_long_silence_belongs_to_no_connection() {
    let mut talk = Talk::new();
    talk.open();
    talk.now += 31.0;
    talk.asks(&query(7, "a"));
    let ledger = talk.bench.finish();
    assert_eq!((talk.kinds(), ledger.connections.idle, ledger.connections.open), (vec![], 1, 0));
}

#[test]
fn every_connection_has_one_end() {
    let mut talk = Talk::within(resolver(), server(), StreamLimits { connections: 2, ..build::limits().streams });
    for port in 1..=3 {
        talk.resolver.1 = port;
        talk.open(); // the third pushes the first out
    }
    talk.open(); // another one between the ports of the third
    talk.hears(FIN | ACK, talk.from_server, b"");
    talk.says(FIN | ACK, talk.from_resolver, b"");
    talk.resolver.1 = 2;
    talk.now += 40.0;
    talk.open(); // idle by then
    let ends = talk.bench.finish().connections;
    assert_eq!((ends.opened, ends.pushed_out, ends.replaced, ends.finished), (5, 1, 1, 1));
    assert_eq!((ends.idle, ends.reset, ends.given_up, ends.open), (1, 0, 0, 1));
}

#[test]
fn another_syn_with_the_same_ports_is_another_connection() {
    let mut talk = Talk::new();
    talk.open();
    talk.asks(&query(7, "a"));
    talk.hears(ACK, talk.from_server, &[0, 99, 1]); // the beginning of something
    (talk.from_resolver, talk.from_server) = (77_000, 88_000);
    talk.open();
    talk.asks(&query(8, "b"));
    talk.answers(&response(8, "b"));
    assert_eq!(talk.kinds(), [(UnansweredQuery, 7), (QueryResponse, 8)]);
    assert_eq!(talk.bench.tracker.connections(), 1);
}

#[test]
fn between_two_dns_ports_the_syn_tells_who_is_the_resolver() {
    let one = (resolver().0, 53);
    for (resolver, server) in [(one, server()), (server(), one)] {
        let mut talk = Talk::within(resolver, server, build::limits().streams);
        talk.open();
        talk.asks(&query(7, "a"));
        talk.answers(&response(7, "a"));
        assert_eq!(talk.kinds(), [(QueryResponse, 7)]);
        assert_eq!(talk.bench.seen()[0].flow, flow(resolver, server, TCP));
    }
}

#[test]
fn keep_alives_and_zero_window_probes_add_nothing_twice() {
    let mut talk = Talk::new();
    talk.open();
    talk.says(ACK, talk.from_resolver - 1, &[0xee]); // before the first byte
    let data = prefixed(&query(7, "a"));
    talk.says(ACK, talk.from_resolver, &data[..1]); // a probe: one byte of what is to come
    talk.says(ACK, talk.from_resolver, &data);
    talk.says(ACK, talk.from_resolver + data.len() as u32 - 1, &[0xee]);
    talk.answers(&response(7, "a"));
    assert_eq!(talk.kinds(), [(QueryResponse, 7)]);
    assert_eq!(talk.bench.finish().messages.malformed, 0);
}

#[test]
fn turned_off_tcp_is_not_watched() {
    let mut bench = Bench::new(Rules { tcp: false, ..build::rules() }, build::limits());
    bench.packet(&tcp(resolver(), server(), SYN, 1, &prefixed(&query(7, "a"))), at(0.0));
    assert_eq!(bench.finish().packets.unwatched, 1);
}

#[test]
fn a_datagram_does_not_answer_a_query_of_the_same_ports_over_tcp() {
    let mut talk = Talk::new();
    talk.open();
    talk.asks(&query(7, "a"));
    talk.bench.packet(&build::udp(server(), resolver(), &response(7, "a")), at(talk.now));
    assert_eq!(talk.kinds(), [(UnsolicitedResponse, 7)]);
}

/// An IP packet as the sensor makes them of messages out of streams.
fn rebuilt(from: End, to: End, message: &[u8]) -> Vec<u8> {
    let mut datagram = build::datagram(from, to, message);
    datagram[6..8].fill(0);
    build::ip(from.0, to.0, UDP, &datagram)
}

/// One direction: which bytes have come, of those the first.
#[derive(Default)]
struct Direction {
    bytes: Vec<Option<u8>>,
    in_order: usize,
    /// Where the next message starts.
    message_at: usize,
    end: Option<usize>,
}

impl Direction {
    /// Takes bytes; the messages that are whole now.
    fn segment(&mut self, start: usize, data: &[u8], is_last: bool) -> Vec<Vec<u8>> {
        if self.bytes.len() < start + data.len() {
            self.bytes.resize(start + data.len(), None);
        }
        for (place, byte) in self.bytes[start..].iter_mut().zip(data) {
            place.get_or_insert(*byte);
        }
        if is_last {
            self.end = Some(start + data.len());
        }
        while self.bytes.get(self.in_order).is_some_and(Option::is_some) {
            self.in_order += 1;
        }
        let mut messages = Vec::new();
        let come: Vec<u8> = self.bytes[..self.in_order].iter().flatten().copied().collect();
        while let Some((prefix, rest)) = come[self.message_at..].split_first_chunk()
            && let Some(message) = rest.get(..usize::from(u16::from_be_bytes(*prefix)))
        {
            messages.push(message.to_vec());
            self.message_at += 2 + message.len();
        }
        messages
    }

    fn is_ended(&self) -> bool {
        self.end == Some(self.in_order)
    }
}

struct Waiting {
    id: u16,
    question: Option<Vec<u8>>,
    time: Timestamp,
    packet: Vec<u8>,
}

/// A connection, followed by keeping everything.
struct Model {
    ends: (End, End),
    directions: [Direction; 2],
    is_over: bool,
    waiting: Vec<Waiting>,
    answered: HashSet<u16>,
    out: Vec<Seen>,
}

impl Model {
    fn new(ends: (End, End)) -> Model {
        let directions = Default::default();
        Model { ends, directions, is_over: false, waiting: vec![], answered: HashSet::new(), out: vec![] }
    }

    fn segment(&mut self, segment: &Segment, data: &[u8], now: Timestamp) {
        if self.is_over {
            return;
        }
        let messages = self.directions[segment.by].segment(segment.start, data, segment.is_last);
        for message in messages {
            self.message(segment.by == 1, &message, now);
        }
        if self.directions.iter().all(Direction::is_ended) {
            self.is_over = true;
            self.leave(now);
        }
    }

    fn message(&mut self, by_server: bool, bytes: &[u8], now: Timestamp) {
        let Ok(message) = decode::dns::message(bytes) else { return };
        if message.is_response() != by_server {
            return;
        }
        let (resolver, server) = self.ends;
        let question = message.question.map(|question| question.bytes().to_vec());
        let id = message.id;
        if !by_server {
            self.waiting.push(Waiting { id, question, time: now, packet: rebuilt(resolver, server, bytes) });
            return;
        }
        let found = self.waiting.iter().position(|query| {
            query.id == id
                && match (&query.question, &question) {
                    (Some(asked), Some(answered)) => asked == answered,
                    _ => [1, 2, 4, 5].contains(&message.rcode()),
                }
        });
        let seen = Seen {
            kind: UnsolicitedResponse,
            flow: flow(resolver, server, TCP),
            id,
            question: question.clone(),
            query: vec![],
            response: vec![(now, rebuilt(server, resolver, bytes))],
            rcode: Some(message.rcode()),
            checksum: Some(UdpChecksum::Absent),
            waited: None,
        };
        match found {
            Some(at) => {
                let query = self.waiting.remove(at);
                self.answered.insert(id);
                let question = question.or(query.question);
                let query = vec![(query.time, query.packet)];
                self.out.push(Seen { kind: QueryResponse, query, question, ..seen });
            }
            None if self.answered.contains(&id) => (),
            None => self.out.push(seen),
        }
    }

    fn leave(&mut self, now: Timestamp) {
        let (resolver, server) = self.ends;
        for query in std::mem::take(&mut self.waiting) {
            self.out.push(Seen {
                kind: UnansweredQuery,
                flow: flow(resolver, server, TCP),
                id: query.id,
                question: query.question,
                query: vec![(query.time, query.packet)],
                response: vec![],
                rcode: None,
                checksum: None,
                waited: Some(now.since(query.time)),
            });
        }
    }
}

/// A stretch of a direction's bytes.
#[derive(Clone, Debug)]
struct Segment {
    /// 0 the resolver, 1 the server.
    by: usize,
    start: usize,
    end: usize,
    is_last: bool,
    /// Other bytes than those that were sent.
    is_forged: bool,
}

fn cut(by: usize, bytes: &[u8], cuts: &[prop::sample::Index], fins: bool) -> Vec<Segment> {
    let mut borders: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    borders.extend([0, bytes.len()]);
    borders.sort_unstable();
    borders.dedup();
    if borders.len() == 1 {
        borders.push(borders[0]); // nothing but the FIN
    }
    let last = borders.len() - 2;
    let segments = borders.windows(2).enumerate();
    segments
        .map(|(i, ends)| Segment { by, start: ends[0], end: ends[1], is_last: fins && i == last, is_forged: false })
        .collect()
}

/// Puts segments a few places later.
fn reorder(segments: Vec<Segment>, delays: &[u8]) -> Vec<Segment> {
    let mut delays = delays.iter().cycle();
    let late = segments.into_iter().enumerate().map(|(i, segment)| (i + usize::from(*delays.next().unwrap()), segment));
    let mut late: Vec<_> = late.collect();
    late.sort_by_key(|(at, _)| *at);
    late.into_iter().map(|(_, segment)| segment).collect()
}

fn padded(mut message: Vec<u8>, padding: usize) -> Vec<u8> {
    message.resize(message.len() + padding, 0x55);
    message
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn streams_are_what_keeping_every_byte_gives(
        is_v6 in any::<bool>(),
        asked in prop::collection::vec((0..8_u16, prop_oneof![9 => 0..40_usize, 1 => 0..3000_usize]), 0..8),
        answers in prop::collection::vec((0..8_u16, prop_oneof![9 => 0..200_usize, 1 => 0..9000_usize], 0..6_u16), 0..8),
        cuts in prop::array::uniform2(prop::collection::vec(any::<prop::sample::Index>(), 0..30)),
        delays in prop::collection::vec(prop_oneof![4 => Just(0_u8), 1 => 0..6_u8], 1..40),
        turns in prop::collection::vec(any::<bool>(), 1..60),
        again in prop::collection::vec(
            (any::<prop::sample::Index>(), 0..2_usize, any::<prop::sample::Index>(), 0..300_usize, any::<bool>()), 0..10),
        initial in prop::array::uniform2(prop_oneof![any::<u32>(), (u32::MAX - 3000)..=u32::MAX]),
        fins in any::<bool>(),
        fast_open in any::<bool>(),
    ) {
        let ends = if is_v6 { (resolver6(), server6()) } else { (resolver(), server()) };
        let name = |id: u16| format!("host{id}.example");
        let queries = asked.iter().flat_map(|(id, padding)| prefixed(&padded(query(*id, &name(*id)), *padding)));
        let answers = answers.iter().flat_map(|(id, padding, rcode)| {
            let question = build::question(&name(*id));
            let question = (*rcode != 5).then_some(&question[..]);
            prefixed(&padded(message(*id, build::QR | rcode, question), *padding))
        });
        let bytes: [Vec<u8>; 2] = [queries.collect(), answers.collect()];
        // Both directions' segments, a little out of order, taken in turns, and some bytes again or forged.
        let mut sent = [0, 1].map(|by| reorder(cut(by, &bytes[by], &cuts[by], fins), &delays).into_iter());
        let mut segments = Vec::new();
        for turn in turns.iter().cycle() {
            let [a, b] = &mut sent;
            match if *turn { a.next().or_else(|| b.next()) } else { b.next().or_else(|| a.next()) } {
                Some(segment) => segments.push(segment),
                None => break,
            }
        }
        for (position, by, start, len, is_forged) in again {
            let start = start.index(bytes[by].len() + 1);
            let end = (start + len).min(bytes[by].len());
            let segment = Segment { by, start, end, is_last: false, is_forged };
            segments.insert(position.index(segments.len() + 1), segment);
        }

        let mut bench = Bench::new(build::rules(), build::limits());
        let mut model = Model::new(ends);
        let mut time = at(0.0);
        let mut now = || {
            time = time + Duration::from_millis(1);
            time
        };
        let first = bytes[0].len().min(if fast_open { 20 } else { 0 });
        let syn = Segment { by: 0, start: 0, end: first, is_last: false, is_forged: false };
        let started = now();
        bench.packet(&tcp(ends.0, ends.1, SYN, initial[0], &bytes[0][..first]), started);
        model.segment(&syn, &bytes[0][..first], started);
        bench.packet(&tcp(ends.1, ends.0, SYN | ACK, initial[1], b""), now());
        for segment in &segments {
            let sequence = initial[segment.by].wrapping_add(1).wrapping_add(segment.start as u32);
            let flags = if segment.is_last { ACK | FIN } else { ACK };
            let data = match segment.is_forged {
                true => vec![0xee; segment.end - segment.start],
                false => bytes[segment.by][segment.start..segment.end].to_vec(),
            };
            let (from, to) = if segment.by == 0 { ends } else { (ends.1, ends.0) };
            let now = now();
            bench.packet(&tcp(from, to, flags, sequence, &data), now);
            model.segment(segment, &data, now);
            prop_assert_eq!(bench.tracker.connections(), usize::from(!model.is_over));
        }
        let end = now();
        bench.packet(&tcp((ends.0.0, 999), ends.1, ACK, 1, b""), end);
        model.leave(end);
        bench.finish();
        prop_assert_eq!(bench.seen(), model.out);
    }
}

#[test]
fn over_tcp_too_a_query_a_little_younger_than_its_answer_pairs_and_a_second_answer_is_repeated() {
    let mut talk = Talk::new();
    talk.bench = Bench::new(Rules { slack: Some(Duration::from_secs(2)), ..build::rules() }, build::limits());
    talk.open();
    talk.answers(&response(7, "a"));
    talk.asks(&query(7, "a"));
    assert_eq!(talk.kinds(), [(QueryResponse, 7)]);
    talk.answers(&response(7, "a"));
    assert_eq!(talk.bench.finish().responses.repeated, 1);
}
