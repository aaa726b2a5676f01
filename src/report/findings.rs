//! What stands out: sentences that an operator can act on, drawn from counts that are large enough to mean something.

use super::{
    gather::{Gather, Server},
    html::{count, delay, percent},
};
use std::net::IpAddr;

/// A share of fewer than these says nothing.
const ENOUGH: u64 = 20;
/// Findings of one kind that are listed one by one.
const LISTED_MAX: usize = 5;
/// Nanoseconds after which resolvers begin to ask another server.
const SLOW: u64 = 400_000_000;
/// EDNS size that avoids fragmentation on nearly every path (DNS flag day 2020).
const EDNS_SAFE: u32 = 1232;

/// What to look at, the gravest first; names are plain text.
pub(super) fn findings(gather: &Gather) -> Vec<String> {
    let mut findings = Vec::new();
    if let Some(missing) = missing_direction(gather) {
        // What servers seem to do then says nothing.
        return vec![format!(
            "No {missing} were seen at all: only one direction reaches the sensor. Look at the mirror port, or at the \
             interfaces that are captured from."
        )];
    }
    unanswered(gather, &mut findings);
    by_server(gather, &mut findings, &SILENT);
    by_server(gather, &mut findings, &REFUSING);
    by_server(gather, &mut findings, &FAILING);
    by_server(gather, &mut findings, &TRUNCATING);
    slow_servers(gather, &mut findings);
    unsolicited(gather, &mut findings);
    fragments(gather, &mut findings);
    findings
}

/// Whether `part` of `whole` is `percent` or more, of enough.
fn is_share(part: u64, whole: u64, percent: u64) -> bool {
    whole >= ENOUGH && u128::from(part) * 100 >= u128::from(whole) * u128::from(percent)
}

/// What is missing where only one direction was captured.
fn missing_direction(gather: &Gather) -> Option<&'static str> {
    let ends = &gather.totals.ends;
    match (ends.answered, ends.unanswered, ends.unsolicited) {
        (0, ENOUGH.., 0) => Some("responses"),
        (0, 0, ENOUGH..) => Some("queries"),
        _ => None,
    }
}

fn unanswered(gather: &Gather, findings: &mut Vec<String>) {
    let ends = &gather.totals.ends;
    let asked = ends.asked();
    if ends.answered > 0 && is_share(ends.unanswered, asked, 10) {
        let share = percent(ends.answered, asked);
        findings.push(format!("{share} of {} queries were answered, by all servers together.", count(asked)));
    }
}

/// A share of a server's that should be small.
struct Rule {
    /// From how many per cent on it is worth a line.
    percent: u64,
    part: fn(&Server) -> u64,
    whole: fn(&Server) -> u64,
    sentence: fn(u64, u64) -> String,
}

const SILENT: Rule = Rule {
    percent: 10,
    part: |server| server.ends.unanswered,
    whole: |server| server.ends.asked(),
    sentence: |unanswered, asked| {
        format!("answered {} of {} queries", percent(asked - unanswered, asked), count(asked))
    },
};

const REFUSING: Rule = Rule {
    percent: 20,
    part: |server| server.refused,
    whole: |server| server.responses,
    sentence: |part, whole| {
        format!("said REFUSED in {} of {} responses: perhaps a lame delegation", percent(part, whole), count(whole))
    },
};

const FAILING: Rule = Rule {
    percent: 20,
    part: |server| server.failed,
    whole: |server| server.responses,
    sentence: |part, whole| format!("said SERVFAIL in {} of {} responses", percent(part, whole), count(whole)),
};

const TRUNCATING: Rule = Rule {
    percent: 20,
    part: |server| server.truncated,
    whole: |server| server.responses,
    sentence: |part, whole| {
        format!(
            "truncated {} of {} responses: each costs a second exchange, over TCP",
            percent(part, whole),
            count(whole)
        )
    },
};

fn by_server(gather: &Gather, findings: &mut Vec<String>, rule: &Rule) {
    let parts = |server: &Server| ((rule.part)(server), (rule.whole)(server));
    let mut found: Vec<(IpAddr, u64, u64)> = Vec::new();
    for (address, entry) in gather.servers.sorted() {
        let (part, whole) = parts(&entry.value);
        if is_share(part, whole, rule.percent) {
            found.push((*address, part, whole));
        }
    }
    found.sort_by_key(|(address, part, _)| (std::cmp::Reverse(*part), *address));
    for (address, part, whole) in found.iter().take(LISTED_MAX) {
        findings.push(format!("Server {address} {}.", (rule.sentence)(*part, *whole)));
    }
    if found.len() > LISTED_MAX {
        findings.push(format!("So do {} more; sort the table of servers.", count((found.len() - LISTED_MAX) as u64)));
    }
}

fn slow_servers(gather: &Gather, findings: &mut Vec<String>) {
    let slow = gather.servers.sorted().into_iter().filter_map(|(address, entry)| {
        let delays = entry.value.delays.as_ref().filter(|delays| delays.count >= ENOUGH)?;
        Some((address, delays.quantile(50), delays.count)).filter(|(_, median, _)| *median >= SLOW)
    });
    for (address, median, answers) in slow.take(LISTED_MAX) {
        let (median, answers) = (delay(median), count(answers));
        findings.push(format!("Server {address} is slow: half of its {answers} responses took {median} or more."));
    }
}

fn unsolicited(gather: &Gather, findings: &mut Vec<String>) {
    let ends = &gather.totals.ends;
    let responses = ends.answered + ends.unsolicited;
    if ends.answered > 0 && is_share(ends.unsolicited, responses, 5) {
        let share = percent(ends.unsolicited, responses);
        findings.push(format!(
            "{share} of {} responses had no query: forged answers, late ones, or queries that were not captured.",
            count(responses)
        ));
    }
}

fn fragments(gather: &Gather, findings: &mut Vec<String>) {
    let totals = &gather.totals;
    if !is_share(totals.fragmented, totals.responses, 1) {
        return;
    }
    let share = percent(totals.fragmented, totals.responses);
    let large = gather.query_edns.sizes.count_above(EDNS_SAFE);
    let hint =
        if large > 0 { format!("; {} queries offer more than {EDNS_SAFE} bytes", count(large)) } else { String::new() };
    findings.push(format!("{share} of the responses came in fragments, which many paths drop{hint}."));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::exchange::{Exchange, Seen};

    fn add(gather: &mut Gather, times: u32, last: u8, seen: Seen, rcode: Option<u32>, delay: Option<u64>) {
        for _ in 0..times {
            gather.add(&Exchange {
                seen,
                server: Some(IpAddr::from([192, 0, 2, last])),
                is_tcp: false,
                time: None,
                qname: None,
                qtype: None,
                rcode,
                delay,
                query: None,
                response: None,
                zone: None,
                response_packets: usize::from(rcode.is_some()),
            });
        }
    }

    fn said(gather: &Gather) -> String {
        findings(gather).join("\n").replace('\u{202f}', " ")
    }

    #[test]
    fn a_server_that_seldom_answers_is_named_with_its_share() {
        let mut gather = Gather::default();
        add(&mut gather, 12, 1, Seen::Answered, Some(0), Some(1_000_000));
        add(&mut gather, 88, 1, Seen::Unanswered, None, None);
        add(&mut gather, 2000, 2, Seen::Answered, Some(0), Some(1_000_000));
        assert_eq!(said(&gather), "Server 192.0.2.1 answered 12.0 % of 100 queries.");
    }

    #[test]
    fn refusals_failures_and_slowness_are_named_and_a_few_cases_are_not() {
        let mut gather = Gather::default();
        add(&mut gather, 20, 1, Seen::Answered, Some(5), Some(1));
        add(&mut gather, 20, 2, Seen::Answered, Some(2), Some(1));
        add(&mut gather, 20, 3, Seen::Answered, Some(0), Some(900_000_000));
        add(&mut gather, 19, 4, Seen::Answered, Some(5), Some(900_000_000));
        let said = said(&gather);
        for finding in
            ["192.0.2.1 said REFUSED in 100.0 % of 20", "192.0.2.2 said SERVFAIL in 100.0 %", "192.0.2.3 is slow: half"]
        {
            assert!(said.contains(finding), "{said}");
        }
        assert!(!said.contains("192.0.2.4"), "{said}");
    }

    #[test]
    fn one_direction_alone_is_said_once_and_not_for_each_server() {
        let mut gather = Gather::default();
        add(&mut gather, 30, 1, Seen::Unsolicited, Some(0), None);
        assert!(said(&gather).starts_with("No queries were seen at all"), "{}", said(&gather));
        assert_eq!(findings(&gather).len(), 1);
        let mut gather = Gather::default();
        add(&mut gather, 30, 1, Seen::Unanswered, None, None);
        assert!(said(&gather).starts_with("No responses were seen at all"), "{}", said(&gather));
        assert_eq!(findings(&gather).len(), 1);
    }
}
