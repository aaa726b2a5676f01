//! Reassembly of datagrams beside a plain model of it: a byte map for each datagram.

use crate::build::{self, Bench, End, UDP, at, fragments, ip_piece, resolver, resolver6, response, server, server6};
use proptest::prelude::*;
use sie_dns_sensor::{
    decode::{dns, udp},
    stats::Datagrams,
    time::Timestamp,
    track::{FragmentLimits, Kind, Limits, Rules},
};
use std::{collections::HashMap, time::Duration};

const LIFETIME: Duration = Duration::from_secs(30);
/// So long a datagram that is whole is remembered.
const DONE: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
struct Piece {
    datagram: usize,
    offset: usize,
    more: bool,
    payload: Vec<u8>,
}

struct Waiting {
    since: Timestamp,
    bytes: Vec<Option<u8>>,
    pieces: Vec<(Piece, Timestamp, Vec<u8>)>,
    total: Option<usize>,
    is_dead: bool,
    done: Option<Timestamp>,
}

impl Waiting {
    fn is_gone(&self, now: Timestamp) -> bool {
        match self.done {
            Some(done) => now.since(done) > DONE,
            None => now.since(self.since) > LIFETIME,
        }
    }

    fn is_open(&self) -> bool {
        !self.is_dead && self.done.is_none()
    }

    fn has(&self, piece: &Piece) -> bool {
        self.pieces.iter().any(|(other, ..)| (other.offset, &other.payload) == (piece.offset, &piece.payload))
    }
}

#[derive(Default)]
struct Model {
    waiting: HashMap<usize, Waiting>,
    counts: Datagrams,
    duplicates: u64,
    given_up: u64,
    out: Vec<Vec<(Timestamp, Vec<u8>)>>,
}

impl Model {
    fn piece(&mut self, piece: &Piece, packet: Vec<u8>, now: Timestamp) {
        let timed_out = |waiting: &&Waiting| waiting.is_gone(now) && waiting.is_open();
        self.counts.timed_out += self.waiting.values().filter(timed_out).count() as u64;
        // What is whole is its own fragments' only; another one begins a datagram.
        self.waiting.retain(|datagram, waiting| {
            let is_anothers = *datagram == piece.datagram && waiting.done.is_some() && !waiting.has(piece);
            !waiting.is_gone(now) && !is_anothers
        });
        let waiting = self.waiting.entry(piece.datagram).or_insert_with(|| Waiting {
            since: now,
            bytes: vec![None; 70_000],
            pieces: vec![],
            total: None,
            is_dead: false,
            done: None,
        });
        if waiting.is_dead {
            self.given_up += 1;
            return;
        }
        if waiting.has(piece) {
            self.duplicates += 1;
            return;
        }
        let end = piece.offset + piece.payload.len();
        let total = if piece.more { waiting.total } else { Some(end) };
        let overlaps = waiting.bytes[piece.offset..end].iter().any(Option::is_some);
        let ends_twice = waiting.total.is_some() && waiting.total != total;
        let behind_end = total.is_some_and(|total| end > total || waiting.bytes[total..].iter().any(Option::is_some));
        if overlaps || ends_twice || behind_end {
            waiting.is_dead = true;
            self.counts.overlapping += 1;
            self.given_up += 1;
            return;
        }
        waiting.total = total;
        for (to, from) in waiting.bytes[piece.offset..end].iter_mut().zip(&piece.payload) {
            *to = Some(*from);
        }
        waiting.pieces.push((piece.clone(), now, packet));
        if total.is_some_and(|total| waiting.bytes[..total].iter().all(Option::is_some)) {
            waiting.pieces.sort_by_key(|(piece, ..)| piece.offset);
            let datagram: Vec<u8> = waiting.pieces.iter().flat_map(|(piece, ..)| piece.payload.clone()).collect();
            let message = udp::header(&datagram).unwrap().data();
            self.counts.malformed += u64::from(message.is_err());
            if message.and_then(dns::message).is_ok_and(|message| message.is_response()) {
                self.out.push(waiting.pieces.iter().map(|(_, time, packet)| (*time, packet.clone())).collect());
            }
            self.counts.completed += 1;
            waiting.done = Some(now);
        }
    }
}

/// Three datagrams: of two pairs of hosts, two of them with one identification.
fn ends(datagram: usize, is_v6: bool) -> (End, End, u32) {
    let (resolver, server) = if is_v6 { (resolver6(), server6()) } else { (resolver(), server()) };
    match datagram {
        0 => (server, resolver, 7),
        1 => (server, resolver, 8),
        _ => (server, (server.0, 4001), 7),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn datagrams_are_what_a_map_of_their_bytes_gives(
        is_v6 in any::<bool>(),
        lens in prop::array::uniform3(0..3000_usize),
        cuts in prop::array::uniform3(prop::collection::vec(8..3000_usize, 1..6)),
        faults in prop::collection::vec((any::<prop::sample::Index>(), 0..10_u8, prop_oneof![0..100_usize, 0..5000_usize]), 0..4),
        order in any::<prop::sample::Index>(),
        places in prop::collection::vec(any::<u16>(), 40),
        gaps in prop::collection::vec(prop_oneof![
            20 => 0..1_000_000_000_u64, 1 => Just(30_000_000_000), 1 => Just(30_000_000_001), 1 => 0..31_000_000_000_u64
        ], 40),
    ) {
        let mut pieces = Vec::new();
        for datagram in 0..3 {
            let (from, to, _) = ends(datagram, is_v6);
            let mut message = response(datagram as u16, "example");
            message.extend((0..lens[datagram]).map(|i| (i * 31 + datagram) as u8));
            let payload = build::datagram(from, to, &message);
            let mut borders: Vec<usize> = cuts[datagram].iter().map(|cut| cut % payload.len() / 8 * 8).collect();
            borders.extend([0, payload.len()]);
            borders.sort_unstable();
            borders.dedup();
            prop_assume!(borders.len() > 2);
            pieces.extend(borders.windows(2).map(|ends| Piece {
                datagram,
                offset: ends[0],
                more: ends[1] < payload.len(),
                payload: payload[ends[0]..ends[1]].to_vec(),
            }));
        }
        for (which, fault, amount) in faults {
            let at = which.index(pieces.len());
            let mut piece = pieces[at].clone();
            match fault {
                0..=3 => pieces.push(piece),
                4 | 5 => drop(pieces.remove(at)),
                6 => {
                    piece.offset += amount / 8 * 8; // overlaps, or stands behind the end
                    pieces.push(piece);
                }
                7 => {
                    *piece.payload.last_mut().unwrap() ^= 1; // not the ports
                    pieces.push(piece);
                }
                8 if piece.more && piece.offset > 0 => {
                    piece.more = false; // another end
                    pieces.push(piece);
                }
                _ if piece.payload.len() > 8 => {
                    piece.payload.truncate(piece.payload.len() / 8 * 8 - 8);
                    if !piece.payload.is_empty() {
                        pieces.push(piece);
                    }
                }
                _ => (),
            }
        }
        // Some in order, most shuffled.
        let mut shuffled: Vec<(u16, Piece)> =
            pieces.into_iter().enumerate().map(|(i, piece)| (places[i % places.len()], piece)).collect();
        if order.index(4) > 0 {
            shuffled.sort_by_key(|(place, _)| *place);
        }
        let mut bench = Bench::new(build::rules(), build::limits());
        let mut model = Model::default();
        let mut time = at(0.0);
        for (i, (_, piece)) in shuffled.iter().enumerate() {
            let gap = gaps[i % gaps.len()];
            time = time + Duration::from_nanos(gap);
            let (from, to, id) = ends(piece.datagram, is_v6);
            let packet = ip_piece(from.0, to.0, UDP, id, Some((piece.offset, piece.more)), &piece.payload);
            bench.packet(&packet, time);
            model.piece(piece, packet, time);
            model.counts.open = model.waiting.values().filter(|waiting| waiting.is_open()).count() as u64;
            prop_assert_eq!(&bench.tracker.ledger().datagrams, &model.counts);
        }
        let ledger = bench.finish();
        prop_assert_eq!((ledger.packets.duplicate, ledger.packets.given_up), (model.duplicates, model.given_up));
        let came: Vec<_> = bench.seen().into_iter().map(|seen| seen.response).collect();
        prop_assert_eq!(came, model.out);
    }
}

fn answer(len: usize) -> Vec<u8> {
    let mut message = response(7, "example");
    message.resize(len, 0);
    build::datagram(server(), resolver(), &message)
}

#[test]
fn a_datagram_of_128_fragments_is_put_together_and_one_of_more_is_given_up() {
    for (count, whole) in [(128, 1), (129, 0)] {
        let payload = answer(count * 16 - 8);
        let cuts: Vec<usize> = (1..count).map(|i| i * 16).collect();
        let mut bench = Bench::new(build::rules(), build::limits());
        let packets = fragments(server().0, resolver().0, 9, &payload, &cuts);
        assert_eq!(packets.len(), count);
        packets.iter().for_each(|packet| bench.packet(packet, at(0.0)));
        assert_eq!(bench.finish().datagrams.completed, whole);
    }
}

#[test]
fn a_piece_behind_the_end_contradicts_it_whichever_comes_first() {
    let piece = |offset, more| ip_piece(server().0, resolver().0, UDP, 4, Some((offset, more)), &[0; 16]);
    for order in [[(64, false), (128, true)], [(128, true), (64, false)], [(64, false), (128, false)]] {
        let mut bench = Bench::new(build::rules(), build::limits());
        order.iter().for_each(|(offset, more)| bench.packet(&piece(*offset, *more), at(0.0)));
        let datagrams = bench.finish().datagrams;
        assert_eq!((datagrams.overlapping, datagrams.open), (1, 0), "{order:?}");
    }
}

#[test]
fn when_the_memory_is_full_the_oldest_datagram_is_given_up() {
    let limit = FragmentLimits { bytes: 20_000, lifetime: LIFETIME };
    let mut bench = Bench::new(build::rules(), Limits { fragments: limit, ..build::limits() });
    let payload = answer(3000);
    let packets = |id| fragments(server().0, resolver().0, id, &payload, &[1480, 2960]);
    for id in 0..10 {
        packets(id)[..2].iter().for_each(|packet| bench.packet(packet, at(0.0)));
        assert!(bench.tracker.bytes() <= 20_000);
    }
    bench.packet(&packets(9)[2], at(1.0));
    bench.packet(&packets(0)[2], at(1.0));
    let ledger = bench.finish();
    assert_eq!(ledger.datagrams.completed, 1);
    assert!(ledger.datagrams.pushed_out > 2);
}

#[test]
fn fragments_of_another_protocol_or_another_port_are_not_kept() {
    let mut bench = Bench::new(build::rules(), build::limits());
    for (protocol, offset) in [(1, 0), (1, 1480), (47, 8), (50, 16)] {
        let packet = ip_piece(server().0, resolver().0, protocol, 1, Some((offset, true)), &[0; 1480]);
        bench.packet(&packet, at(0.0));
    }
    assert_eq!((bench.tracker.bytes(), bench.tracker.ledger().packets.unwatched), (0, 4));
    let elsewhere = (server().0, 123);
    let payload = build::datagram(elsewhere, resolver(), &response(7, "example").repeat(100));
    for packet in fragments(server().0, resolver().0, 2, &payload, &[1480]) {
        bench.packet(&packet, at(0.0));
    }
    assert!(bench.tracker.bytes() < 500);
    assert_eq!(bench.tracker.ledger().datagrams, Datagrams::default());
}

#[test]
fn first_fragments_tell_ipv6_datagrams_that_cannot_be_dns() {
    for (protocol, tcp, is_kept) in
        [(58, true, false), (50, true, false), (6, false, false), (6, true, true), (60, true, true)]
    {
        let mut bench = Bench::new(Rules { tcp, ..build::rules() }, build::limits());
        bench.packet(&ip_piece(server6().0, resolver6().0, protocol, 1, Some((0, true)), &[0; 1000]), at(0.0));
        assert_eq!(bench.tracker.bytes() > 1000, is_kept, "protocol {protocol}");
        assert_eq!(bench.finish().packets.unwatched, u64::from(!is_kept));
    }
}

#[test]
fn a_fragment_inside_a_datagram_put_together_is_malformed() {
    // What comes out is a piece of another datagram; it must not be taken for a whole one.
    let inner = [&[17, 0, 0, 16, 0, 0, 0, 9][..], &build::datagram(server6(), resolver6(), &response(7, "a"))].concat();
    let mut bench = Bench::new(build::rules(), build::limits());
    for (offset, more) in [(0, true), (16, false)] {
        let part = if more { &inner[..16] } else { &inner[16..] };
        bench.packet(&ip_piece(server6().0, resolver6().0, 44, 5, Some((offset, more)), part), at(0.0));
    }
    let ledger = bench.finish();
    assert_eq!((ledger.datagrams.completed, ledger.datagrams.malformed, ledger.messages.malformed), (1, 1, 0));
    assert!(bench.seen().is_empty());
}

#[test]
fn a_datagram_shorter_than_its_udp_length_is_malformed_once_it_is_put_together() {
    let mut payload = answer(1000);
    payload[4..6].copy_from_slice(&2000_u16.to_be_bytes());
    let mut bench = Bench::new(build::rules(), build::limits());
    for packet in fragments(server().0, resolver().0, 3, &payload, &[800]) {
        bench.packet(&packet, at(0.0));
    }
    let ledger = bench.finish();
    assert_eq!((ledger.datagrams.completed, ledger.datagrams.malformed), (1, 1));
    assert_eq!((ledger.messages.malformed, ledger.packets.fragment), (0, 2));
}

#[test]
fn a_copy_of_the_last_fragment_does_not_begin_the_next_datagram_with_its_identification() {
    let mut bench = Bench::new(build::rules(), build::limits());
    let packets = |fill: u8| {
        let mut message = response(7, "example");
        message.resize(2000, fill);
        fragments(server().0, resolver().0, 3, &build::datagram(server(), resolver(), &message), &[1480])
    };
    let [first, second] = [packets(1), packets(2)];
    for (number, packet) in [&first[0], &first[1], &first[1], &first[0], &second[0], &second[1]].into_iter().enumerate()
    {
        bench.packet(packet, at(0.001 * number as f64));
    }
    let ledger = bench.finish();
    assert_eq!((ledger.datagrams.completed, ledger.datagrams.open, ledger.packets.duplicate), (2, 0, 2));
    let came: Vec<Vec<Vec<u8>>> =
        bench.seen().into_iter().map(|seen| seen.response.into_iter().map(|(_, packet)| packet).collect()).collect();
    assert_eq!(came, [first, second]);
}

#[test]
fn a_query_in_fragments_waits_from_its_first_packet_on() {
    let mut bench = Bench::new(build::rules(), build::limits());
    let mut message = build::query(7, "example");
    message.resize(2000, 0);
    let payload = build::datagram(resolver(), server(), &message);
    let packets = fragments(resolver().0, server().0, 3, &payload, &[1480]);
    bench.packet(&packets[0], at(0.0));
    bench.packet(&packets[1], at(2.0));
    bench.tracker.expire(at(61.0), &mut bench.out);
    let seen = bench.seen();
    assert_eq!(seen[0].kind, Kind::UnansweredQuery);
    assert_eq!(seen[0].waited, Some(Duration::from_secs(61)));
    assert_eq!(seen[0].query, [(at(0.0), packets[0].clone()), (at(2.0), packets[1].clone())]);
}
