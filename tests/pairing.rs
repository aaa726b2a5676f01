//! The query table beside a plain model of it: a list, searched from its front, as spec/nmsg.md §3 tells it.

use crate::build::{self, Bench, End, QR, RD, Seen, UDP, at, frame};
use proptest::prelude::*;
use sie_dns_sensor::{
    config::{NameFilter, PortSet, qnames::parse_name},
    decode::udp::UdpChecksum,
    stats::{Messages, Packets, Queries, Responses},
    time::Timestamp,
    track::{ALIKE_MAX, Capture, Flow, Kind, Limits, QueryLimits, Rules},
};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Questions, and whether the filters below drop them.
const NAMES: [(&str, bool); 6] =
    [("a", true), ("A", true), ("x.a", true), ("keep.a", false), ("long.label.b", false), ("", false)];

fn names() -> NameFilter {
    NameFilter::new([parse_name("keep.a.").unwrap()], [parse_name("a.").unwrap()])
}

/// What is sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    is_response: bool,
    /// The QR bit says otherwise.
    wrong_way: bool,
    flow: usize,
    id: u16,
    name: Option<usize>,
    rcode: u16,
    recursion_desired: bool,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Message(Sent),
    /// The same query many times.
    Burst(Sent, u32),
    /// Two bytes on a DNS port.
    Garbage,
    /// Captured in part.
    Cut,
    /// Another port.
    Unwatched,
}

fn ends() -> [(End, End); 4] {
    let ((resolver, port), server) = (build::resolver(), build::server());
    [
        ((resolver, port), server),
        ((resolver, port + 1), server),
        ((resolver, 53), server),
        (build::resolver6(), build::server6()),
    ]
}

struct Pending {
    flow: Flow,
    sent: Sent,
    time: Timestamp,
    packet: Vec<u8>,
}

struct Model {
    capture: Capture,
    recursion_desired: Option<bool>,
    filters_names: bool,
    max: usize,
    waiting: Vec<Pending>,
    out: Vec<Seen>,
    packets: Packets,
    messages: Messages,
    queries: Queries,
    responses: Responses,
}

impl Model {
    fn drops(&self, recursion_desired: bool, name: Option<usize>) -> bool {
        let by_name = self.filters_names && name.is_some_and(|name| NAMES[name].1);
        by_name || self.recursion_desired.is_some_and(|wanted| wanted != recursion_desired)
    }

    fn emit(&mut self, kind: Kind, query: Option<&Pending>, response: Option<&Pending>, now: Timestamp) {
        let either = query.or(response).unwrap();
        let name = response.and_then(|response| response.sent.name).or(query.and_then(|query| query.sent.name));
        let packet = |pending: Option<&Pending>| {
            pending.map(|pending| (pending.time, pending.packet.clone())).into_iter().collect()
        };
        self.out.push(Seen {
            kind,
            flow: either.flow,
            id: either.sent.id,
            question: name.map(|name| build::question(NAMES[name].0)),
            query: packet(query),
            response: packet(response),
            rcode: response.map(|response| response.sent.rcode as u8),
            checksum: response.map(|_| UdpChecksum::Correct),
            waited: (kind == Kind::UnansweredQuery).then(|| now.since(either.time)),
        });
    }

    fn message(&mut self, sent: Sent, flow: Flow, packet: Vec<u8>, now: Timestamp) {
        let here = Pending { flow, sent, time: now, packet };
        // Between two ports that are both DNS ports no message goes the wrong way: it is the other's.
        if sent.wrong_way {
            self.packets.wrong_direction += 1;
            self.messages.wrong_direction += 1;
            return;
        }
        let other_mode = match self.capture {
            Capture::Pairs => false,
            Capture::Queries => sent.is_response,
            Capture::Responses => !sent.is_response,
        };
        if self.capture != Capture::Pairs {
            if other_mode || self.drops(sent.recursion_desired, sent.name) {
                self.packets.filtered += 1;
                self.messages.filtered += 1;
                return;
            }
            self.messages.unpaired += 1;
            if sent.is_response {
                self.packets.response += 1;
                self.emit(Kind::ResponseOnly, None, Some(&here), now);
            } else {
                self.packets.query += 1;
                self.emit(Kind::QueryOnly, Some(&here), None, now);
            }
            return;
        }
        if !sent.is_response {
            self.packets.query += 1;
            self.messages.query += 1;
            self.waiting.push(here);
            let is_alike = |pending: &Pending| pending.flow == flow && pending.sent.id == sent.id;
            if self.waiting.iter().filter(|pending| is_alike(pending)).count() > ALIKE_MAX as usize {
                let oldest = self.waiting.iter().position(is_alike).unwrap();
                self.leaves(oldest, now, |queries| &mut queries.pushed_out);
            }
            return;
        }
        self.packets.response += 1;
        self.messages.response += 1;
        let answers = |pending: &Pending| {
            pending.flow == flow
                && pending.sent.id == sent.id
                && match (pending.sent.name, sent.name) {
                    (Some(asked), Some(answered)) => NAMES[asked].0 == NAMES[answered].0,
                    _ => [1, 2, 4, 5].contains(&sent.rcode),
                }
        };
        match self.waiting.iter().position(answers) {
            Some(oldest) => {
                let query = self.waiting.remove(oldest);
                if self.drops(query.sent.recursion_desired, sent.name.or(query.sent.name)) {
                    self.queries.filtered += 1;
                    self.responses.filtered += 1;
                } else {
                    self.queries.answered += 1;
                    self.responses.paired += 1;
                    self.emit(Kind::QueryResponse, Some(&query), Some(&here), now);
                }
            }
            None if self.drops(sent.recursion_desired, sent.name) => self.responses.filtered += 1,
            None => {
                self.responses.unsolicited += 1;
                self.emit(Kind::UnsolicitedResponse, None, Some(&here), now);
            }
        }
    }

    fn leaves(&mut self, at: usize, now: Timestamp, count: impl Fn(&mut Queries) -> &mut u64) {
        let query = self.waiting.remove(at);
        if self.drops(query.sent.recursion_desired, query.sent.name) {
            self.queries.filtered += 1;
        } else {
            *count(&mut self.queries) += 1;
            self.emit(Kind::UnansweredQuery, Some(&query), None, now);
        }
    }

    fn expire(&mut self, now: Timestamp) {
        while self.waiting.first().is_some_and(|oldest| now.since(oldest.time) > TIMEOUT) {
            self.leaves(0, now, |queries| &mut queries.timed_out);
        }
        while self.waiting.len() > self.max {
            self.leaves(0, now, |queries| &mut queries.pushed_out);
        }
    }
}

/// The flow of a message and its packet.
fn packet(sent: Sent) -> (Flow, Vec<u8>) {
    let (resolver, server) = ends()[sent.flow];
    let question = sent.name.map(|name| build::question(NAMES[name].0));
    let says_response = sent.is_response != sent.wrong_way;
    let flags = if says_response { QR } else { 0 } | if sent.recursion_desired { RD } else { 0 } | sent.rcode;
    let message = build::message(sent.id, flags, question.as_deref());
    let (from, to) = if sent.is_response { (server, resolver) } else { (resolver, server) };
    (build::flow(resolver, server, UDP), build::udp(from, to, &message))
}

fn sent() -> impl Strategy<Value = Sent> {
    let name = prop::option::weighted(0.85, 0..NAMES.len());
    let rcode = prop_oneof![3 => 0..6_u16, 1 => 0..16_u16];
    (any::<bool>(), prop::bool::weighted(0.05), 0..4_usize, 0..3_u16, name, rcode, any::<bool>()).prop_map(
        |(is_response, wrong_way, flow, id, name, rcode, recursion_desired)| Sent {
            is_response,
            wrong_way: wrong_way && flow != 2, // which has two DNS ports
            flow,
            id,
            name,
            rcode: if is_response { rcode } else { 0 },
            recursion_desired,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        60 => sent().prop_map(Step::Message),
        1 => (sent(), 200..300_u32).prop_map(|(sent, count)| {
            Step::Burst(Sent { is_response: false, wrong_way: false, rcode: 0, ..sent }, count)
        }),
        2 => Just(Step::Garbage),
        2 => Just(Step::Cut),
        2 => Just(Step::Unwatched),
    ]
}

/// Nanoseconds between two packets: none, some, the timeout to the nanosecond and around it.
fn gap() -> impl Strategy<Value = u64> {
    let timeout = TIMEOUT.as_nanos() as u64;
    prop_oneof![4 => Just(0), 8 => 1..400_000_000_u64, 1 => timeout - 1..=timeout + 1, 1 => 0..2 * timeout]
}

fn capture() -> impl Strategy<Value = Capture> {
    prop_oneof![8 => Just(Capture::Pairs), 1 => Just(Capture::Queries), 1 => Just(Capture::Responses)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_table_does_what_a_list_does(
        steps in prop::collection::vec((step(), gap()), 0..120),
        max in prop_oneof![Just(1_usize), Just(3), Just(10), Just(100_000)],
        capture in capture(),
        recursion_desired in prop_oneof![2 => Just(None), 1 => any::<bool>().prop_map(Some)],
        filters_names in any::<bool>(),
    ) {
        let rules = Rules {
            ports: PortSet::new([53]),
            recursion_desired,
            capture,
            names: if filters_names { names() } else { NameFilter::default() },
            ..Rules::default()
        };
        let queries = QueryLimits { queries: max, bytes: usize::MAX, timeout: TIMEOUT };
        let mut bench = Bench::new(rules, Limits { queries, ..build::limits() });
        let mut model = Model {
            capture,
            recursion_desired,
            filters_names,
            max,
            waiting: Vec::new(),
            out: Vec::new(),
            packets: Packets::default(),
            messages: Messages::default(),
            queries: Queries::default(),
            responses: Responses::default(),
        };
        let (mut time, mut now) = (at(0.0), at(0.0));
        for (step, gap) in steps {
            time = time + Duration::from_nanos(gap);
            match step {
                Step::Message(_) | Step::Burst(..) => {
                    let (sent, count) = match step {
                        Step::Burst(sent, count) => (sent, count),
                        Step::Message(sent) => (sent, 1),
                        _ => unreachable!(),
                    };
                    let (flow, packet) = packet(sent);
                    now = time;
                    for _ in 0..count {
                        model.message(sent, flow, packet.clone(), now);
                        model.expire(now);
                        bench.packet(&packet, time);
                    }
                }
                Step::Garbage => {
                    bench.packet(&build::udp(build::server(), build::resolver(), &[1, 2]), time);
                    model.packets.malformed_dns += 1;
                    model.messages.malformed += 1;
                    now = time;
                    model.expire(now);
                }
                Step::Cut => {
                    let packet = build::udp(build::resolver(), build::server(), &build::query(1, "a"));
                    let mut frame = frame(&packet, time);
                    frame.wire_len += 1;
                    bench.tracker.packet(&frame, &mut bench.out);
                    model.packets.truncated += 1;
                }
                Step::Unwatched => {
                    bench.packet(&build::udp((build::resolver().0, 9), (build::server().0, 99), b"x"), time);
                    model.packets.unwatched += 1;
                }
            }
            prop_assert_eq!(&bench.seen(), &std::mem::take(&mut model.out));
            prop_assert_eq!(bench.tracker.ledger().queries.open, model.waiting.len() as u64);
        }
        bench.tracker.finish(&mut bench.out);
        while !model.waiting.is_empty() {
            model.leaves(0, now, |queries| &mut queries.at_exit);
        }
        prop_assert_eq!(&bench.seen(), &model.out);
        let ledger = bench.tracker.ledger();
        prop_assert_eq!(&ledger.packets, &model.packets);
        prop_assert_eq!(&ledger.messages, &model.messages);
        prop_assert_eq!(&ledger.queries, &model.queries);
        prop_assert_eq!(&ledger.responses, &model.responses);
        // Of every response that was taken, whether it had to be paired or not.
        let taken = match capture {
            Capture::Responses => ledger.messages.unpaired,
            Capture::Queries | Capture::Pairs => ledger.messages.response,
        };
        prop_assert_eq!((ledger.sizes.total(), ledger.rcodes.counts().iter().sum::<u64>()), (taken, taken));
        // All that is not written to anywhere, so only the last sum is off.
        prop_assert!(ledger.imbalances().len() <= 1);
    }
}

/// One wrong time stamp must not keep for ever what it stands on, nor what stands behind it.
#[test]
fn a_query_from_the_future_leaves_with_the_next_packet_and_the_others_in_their_time() {
    let mut bench = Bench::new(build::rules(), build::limits());
    bench.packet(&build::udp(build::resolver(), build::server(), &build::query(1, "a")), at(1_000_000.0));
    bench.packet(&build::udp(build::resolver(), build::server(), &build::query(2, "a")), at(1.0));
    bench.packet(&build::udp(build::resolver(), build::server(), &build::query(3, "a")), at(2.0));
    let timeout = build::limits().queries.timeout.as_secs_f64();
    bench.packet(&build::udp(build::resolver(), build::server(), &build::query(4, "a")), at(2.5 + timeout));
    assert_eq!(bench.kinds().iter().map(|(_, id)| *id).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(bench.finish().queries.timed_out, 3);
}

/// A bench whose responses wait two milliseconds for a query that comes late.
fn slack() -> Bench {
    Bench::new(Rules { slack: Some(Duration::from_millis(2)), ..build::rules() }, build::limits())
}

fn ask(id: u16, name: &str) -> Vec<u8> {
    build::udp(build::resolver(), build::server(), &build::query(id, name))
}

fn answer(id: u16, name: &str) -> Vec<u8> {
    build::udp(build::server(), build::resolver(), &build::response(id, name))
}

#[test]
fn a_query_a_little_younger_than_its_answer_still_pairs() {
    let mut bench = slack();
    bench.packet(&answer(7, "a"), at(1.0));
    assert_eq!(bench.tracker.ledger().responses.open, 1);
    bench.packet(&ask(7, "b"), at(1.001)); // another question
    bench.packet(&ask(7, "a"), at(1.002));
    let seen = bench.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].kind, seen[0].rcode), (Kind::QueryResponse, Some(0)));
    assert_eq!(
        (seen[0].query.clone(), seen[0].response.clone()),
        (vec![(at(1.002), ask(7, "a"))], vec![(at(1.0), answer(7, "a"))])
    );
    let ledger = bench.finish();
    assert_eq!((ledger.queries.answered, ledger.queries.at_exit, ledger.responses.paired), (1, 1, 1));
}

#[test]
fn a_response_whose_query_does_not_come_in_time_is_unsolicited() {
    let mut bench = slack();
    bench.packet(&answer(7, "a"), at(1.0));
    bench.packet(&ask(7, "a"), at(1.003));
    bench.packet(&answer(8, "b"), at(1.004));
    let ledger = bench.finish();
    // The first response was still there when the query came: it had to leave, and no packet had come to let it.
    assert_eq!((ledger.queries.answered, ledger.responses.unsolicited, ledger.responses.open), (1, 1, 0));
    let mut bench = slack();
    bench.packet(&answer(7, "a"), at(1.0));
    bench.packet(&ask(9, "c"), at(1.003));
    bench.packet(&ask(7, "a"), at(1.003));
    assert_eq!(bench.kinds(), [(Kind::UnsolicitedResponse, 7)]);
    let ledger = bench.finish();
    assert_eq!((ledger.queries.answered, ledger.queries.at_exit, ledger.responses.unsolicited), (0, 2, 1));
}

#[test]
fn without_slack_a_query_after_its_answer_stays_alone() {
    let mut bench = Bench::new(build::rules(), build::limits());
    bench.packet(&answer(7, "a"), at(1.0));
    bench.packet(&ask(7, "a"), at(1.0));
    let ledger = bench.finish();
    assert_eq!((ledger.responses.unsolicited, ledger.queries.at_exit), (1, 1));
}

#[test]
fn a_packet_that_a_mirror_port_copies_twice_counts_once() {
    let mut bench = Bench::new(Rules { duplicates: Some(Duration::from_millis(5)), ..build::rules() }, build::limits());
    for packet in [ask(7, "a"), answer(7, "a")] {
        bench.packet(&packet, at(1.0));
        bench.packet(&packet, at(1.004));
    }
    bench.packet(&ask(7, "a"), at(1.5)); // a retransmission is no duplicate
    let ledger = bench.finish();
    assert_eq!((ledger.packets.duplicate, ledger.queries.answered, ledger.queries.at_exit), (2, 1, 1));
}
