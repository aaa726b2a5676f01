//! Rules and limits that change while queries wait.

use crate::build::{self, Bench, RD, at, message, query, question, resolver, response, server};
use sie_dns_sensor::track::{Hide, Kind, Rules};

fn bench() -> Bench {
    Bench::new(build::rules(), build::limits())
}

#[test]
fn queries_that_wait_pair_under_other_rules() {
    let mut bench = bench();
    bench.packet(&build::udp(resolver(), server(), &query(1, "a")), at(0.0));
    let rules = Rules { tcp: false, recursion_desired: Some(false), ..build::rules() };
    bench.tracker.reconfigure(rules, build::limits(), &mut bench.out);
    bench.packet(&build::udp(server(), resolver(), &response(1, "a")), at(0.1));
    assert_eq!(bench.kinds(), [(Kind::QueryResponse, 1)]);
    let recursive = message(2, RD, Some(&question("a")));
    bench.packet(&build::udp(resolver(), server(), &recursive), at(0.2));
    let ledger = bench.finish();
    assert_eq!((ledger.queries.answered, ledger.queries.filtered), (1, 1));
}

#[test]
fn what_was_kept_with_its_address_does_not_leave_as_if_it_had_been_taken_out() {
    let mut bench = bench();
    bench.packet(&build::udp(resolver(), server(), &query(1, "a")), at(0.0));
    let hide = Hide { resolver_address: true, client_subnets: false };
    bench.tracker.reconfigure(Rules { hide, ..build::rules() }, build::limits(), &mut bench.out);
    assert_eq!(bench.kinds(), [(Kind::UnansweredQuery, 1)]);
    let ledger = bench.finish();
    assert_eq!(ledger.queries.handover, 1);
}

#[test]
fn a_smaller_table_lets_the_oldest_leave_at_once() {
    let mut bench = bench();
    (1..=3).for_each(|id| bench.packet(&build::udp(resolver(), server(), &query(id, "a")), at(f64::from(id))));
    let mut limits = build::limits();
    limits.queries.queries = 1;
    bench.tracker.reconfigure(build::rules(), limits, &mut bench.out);
    assert_eq!(bench.kinds(), [(Kind::UnansweredQuery, 1), (Kind::UnansweredQuery, 2)]);
    bench.finish();
}
