//! The clock that stamps packets is set while queries wait, by an hour forward or back: nothing that waits becomes older
//! or younger by it.

use crate::build::{self, Bench, at, fragments, query, resolver, response, server};
use sie_dns_sensor::track::{Kind, Limits};
use std::time::Duration;

const HOUR: i64 = 3_600_000_000_000;

fn bench() -> Bench {
    Bench::new(build::rules(), build::limits())
}

#[test]
fn a_query_pairs_with_a_response_after_the_clock_was_set_and_its_time_is_the_new_clocks() {
    for step in [HOUR, -HOUR] {
        let mut bench = bench();
        bench.packet(&build::udp(resolver(), server(), &query(1, "a")), at(0.0));
        bench.tracker.clock_was_set(step);
        bench.packet(&build::udp(server(), resolver(), &response(1, "a")), at(0.5).shifted(step));
        let seen = bench.seen();
        assert_eq!(seen.iter().map(|seen| seen.kind).collect::<Vec<_>>(), [Kind::QueryResponse]);
        assert_eq!(seen[0].query[0].0, at(0.0).shifted(step));
        bench.finish();
    }
}

#[test]
fn a_query_times_out_at_its_age_on_the_new_clock() {
    for step in [HOUR, -HOUR] {
        let mut bench = bench();
        let timeout = build::limits().queries.timeout;
        bench.packet(&build::udp(resolver(), server(), &query(1, "a")), at(0.0));
        bench.tracker.clock_was_set(step);
        bench.tracker.expire(at(0.0).shifted(step) + timeout, &mut bench.out);
        assert!(bench.out.0.is_empty());
        bench.tracker.expire(at(0.1).shifted(step) + timeout, &mut bench.out);
        let seen = bench.seen();
        assert_eq!(seen[0].kind, Kind::UnansweredQuery);
        assert_eq!(seen[0].waited, Some(timeout + Duration::from_millis(100)));
        bench.finish();
    }
}

#[test]
fn fragments_of_before_and_after_are_one_datagram_and_one_clocks() {
    for step in [HOUR, -HOUR] {
        let mut bench = bench();
        let long = query(1, &["label"; 30].join("."));
        let datagram = build::datagram(resolver(), server(), &long);
        let pieces = fragments(resolver().0, server().0, 7, &datagram, &[64, 128]);
        bench.packet(&pieces[0], at(0.0));
        bench.tracker.clock_was_set(step);
        for piece in &pieces[1..] {
            bench.packet(piece, at(0.1).shifted(step));
        }
        assert_eq!(bench.tracker.ledger().datagrams.completed, 1);
        // The whole query waits, and the clock is set back to what it was.
        bench.tracker.clock_was_set(-step);
        bench.packet(&build::udp(server(), resolver(), &response(1, &["label"; 30].join("."))), at(0.5));
        let seen = bench.seen();
        assert_eq!(seen[0].kind, Kind::QueryResponse);
        let times: Vec<_> = seen[0].query.iter().map(|(time, _)| *time).collect();
        assert_eq!(times, [at(0.0), at(0.1), at(0.1)]);
        bench.finish();
    }
}

#[test]
fn a_connection_is_not_idle_because_the_clock_was_set() {
    let Limits { streams, .. } = build::limits();
    let mut bench = bench();
    let syn = 0x02;
    bench.packet(&build::tcp(resolver(), server(), syn, 1, b""), at(0.0));
    bench.tracker.clock_was_set(HOUR);
    bench.tracker.expire(at(0.0).shifted(HOUR) + streams.idle, &mut bench.out);
    assert_eq!(bench.tracker.connections(), 1);
    bench.tracker.expire(at(0.1).shifted(HOUR) + streams.idle, &mut bench.out);
    assert_eq!(bench.tracker.connections(), 0);
}

#[test]
fn queries_handed_over_leave_as_such() {
    let mut bench = bench();
    bench.packet(&build::udp(resolver(), server(), &query(1, "a")), at(0.0));
    bench.tracker.hand_over(&mut bench.out);
    assert_eq!(bench.kinds(), [(Kind::UnansweredQuery, 1)]);
    assert_eq!(bench.finish().queries.handover, 1);
}
