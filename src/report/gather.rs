//! Counting: every table has a bound, whatever the input is.

use super::{
    exchange::{Exchange, Seen},
    message::facts,
    timeline::Timeline,
    top::Top,
};
use crate::{
    nmsg::dnsqr::suffixes,
    present::stats::{delays::Delays, tally::Tally},
};
use std::net::IpAddr;

/// Servers that are never forgotten for others; twice as many are remembered. With a histogram of 8 KiB each that is
/// 32 MiB.
const SERVERS_MAX: usize = 2_000;
/// Zones, likewise; with the longest names and all that holds them 20 MiB.
const ZONES_MAX: usize = 16_384;

/// Response codes that servers and zones are judged by.
const SERVFAIL: u32 = 2;
const NXDOMAIN: u32 = 3;
const REFUSED: u32 = 5;

/// All that a page shows; at most 64 MiB.
pub(crate) struct Gather {
    pub(crate) totals: Totals,
    pub(crate) timeline: Timeline,
    pub(crate) rcodes: Tally,
    pub(super) qtypes: Tally,
    pub(super) delays: Delays,
    pub(super) query_edns: Edns,
    pub(super) response_edns: Edns,
    pub(crate) servers: Top<IpAddr, Server>,
    pub(crate) zones: Top<Vec<u8>, Zone>,
}

/// Sums over everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub transactions: u64,
    pub ends: Ends,
    pub tcp: u64,
    pub responses: u64,
    pub truncated: u64,
    pub fragmented: u64,
}

/// Transactions by what was seen of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    pub answered: u64,
    pub unanswered: u64,
    pub unsolicited: u64,
    pub queries_alone: u64,
    pub responses_alone: u64,
    pub others: u64,
}

impl Ends {
    fn add(&mut self, seen: Seen) {
        *match seen {
            Seen::Answered => &mut self.answered,
            Seen::Unanswered => &mut self.unanswered,
            Seen::Unsolicited => &mut self.unsolicited,
            Seen::QueryAlone => &mut self.queries_alone,
            Seen::ResponseAlone => &mut self.responses_alone,
            Seen::Other => &mut self.others,
        } += 1;
    }

    /// Queries that could have been answered.
    pub(super) fn asked(&self) -> u64 {
        self.answered + self.unanswered
    }
}

/// UDP payload sizes that messages of one direction offered.
#[derive(Default)]
pub(super) struct Edns {
    pub sizes: Tally,
    pub with: u64,
    pub without: u64,
}

impl Edns {
    fn add(&mut self, size: Option<u16>) {
        match size {
            Some(size) => {
                self.sizes.add(size.into());
                self.with += 1;
            }
            None => self.without += 1,
        }
    }
}

/// What is known of a server.
#[derive(Default)]
pub(crate) struct Server {
    pub ends: Ends,
    pub tcp: u64,
    pub responses: u64,
    pub truncated: u64,
    pub fragmented: u64,
    pub failed: u64,
    pub refused: u64,
    /// Most of those that a flood names never answer, and need none.
    pub delays: Option<Box<Delays>>,
}

/// What is known of a zone.
#[derive(Default)]
pub(crate) struct Zone {
    pub ends: Ends,
    pub responses: u64,
    pub nxdomain: u64,
    pub failed: u64,
    /// Nanoseconds of all answered queries.
    pub delay: u128,
    /// A response named it as a zone; else it is the last two labels of names.
    pub is_seen: bool,
}

impl Default for Gather {
    fn default() -> Gather {
        Gather {
            totals: Totals::default(),
            timeline: Timeline::default(),
            rcodes: Tally::default(),
            qtypes: Tally::default(),
            delays: Delays::new(),
            query_edns: Edns::default(),
            response_edns: Edns::default(),
            servers: Top::new(SERVERS_MAX),
            zones: Top::new(ZONES_MAX),
        }
    }
}

/// What the response of an exchange says.
#[derive(Clone, Copy, Default)]
struct Said {
    rcode: Option<u32>,
    responses: u64,
    truncated: u64,
    fragmented: u64,
}

impl Said {
    fn is(self, rcode: u32) -> u64 {
        u64::from(self.rcode == Some(rcode))
    }
}

impl Gather {
    /// Counts one.
    pub(crate) fn add(&mut self, exchange: &Exchange<'_>) {
        if let Some(time) = exchange.time {
            self.timeline.add(time, exchange.seen);
        }
        if let Some(qtype) = exchange.qtype {
            self.qtypes.add(qtype);
        }
        if let Some(query) = &exchange.query {
            self.query_edns.add(facts(query, None).edns_size);
        }
        let facts = exchange.response.as_ref().map(|response| facts(response, exchange.qname));
        if let Some(facts) = &facts {
            self.response_edns.add(facts.edns_size);
        }
        let said = Said {
            rcode: exchange.rcode,
            responses: u64::from(exchange.response_packets > 0),
            truncated: u64::from(facts.as_ref().is_some_and(|facts| facts.is_truncated)),
            fragmented: u64::from(exchange.response_packets > 1),
        };
        self.add_totals(exchange, said);
        if let Some(address) = exchange.server {
            self.servers.count(&address, |server| server.add(exchange, said));
        }
        let named = facts.and_then(|facts| facts.zone).or_else(|| exchange.zone.map(<[u8]>::to_ascii_lowercase));
        self.add_zone(exchange, said, named);
    }

    fn add_totals(&mut self, exchange: &Exchange<'_>, said: Said) {
        let totals = &mut self.totals;
        totals.transactions += 1;
        totals.ends.add(exchange.seen);
        totals.tcp += u64::from(exchange.is_tcp);
        totals.responses += said.responses;
        totals.truncated += said.truncated;
        totals.fragmented += said.fragmented;
        if let Some(rcode) = said.rcode {
            self.rcodes.add(rcode);
        }
        if let Some(delay) = exchange.delay {
            self.delays.add(delay);
        }
    }

    fn add_zone(&mut self, exchange: &Exchange<'_>, said: Said, named: Option<Vec<u8>>) {
        let is_seen = named.is_some();
        let Some(zone) = named.or_else(|| self.zone_of(exchange.qname?)) else { return };
        self.zones.count(zone.as_slice(), |zone| {
            zone.is_seen |= is_seen;
            zone.add(exchange, said);
        });
    }

    /// The deepest zone of two labels or more that a response has named, at or above this name; else its last two labels.
    fn zone_of(&self, qname: &[u8]) -> Option<Vec<u8>> {
        let name = qname.to_ascii_lowercase();
        let last_two = suffixes(&name).rev().take(3).last()?;
        // All that are longer than the last two labels come before them.
        let deeper = suffixes(&name).take_while(|suffix| suffix.len() > last_two.len());
        let is_zone = |suffix: &&[u8]| self.zones.value(*suffix).is_some_and(|zone| zone.is_seen);
        let zone = deeper.into_iter().find(is_zone).unwrap_or(last_two);
        Some(zone.to_vec())
    }
}

impl Server {
    fn add(&mut self, exchange: &Exchange<'_>, said: Said) {
        self.ends.add(exchange.seen);
        self.tcp += u64::from(exchange.is_tcp);
        self.responses += said.responses;
        self.truncated += said.truncated;
        self.fragmented += said.fragmented;
        self.failed += said.is(SERVFAIL);
        self.refused += said.is(REFUSED);
        if let Some(delay) = exchange.delay {
            self.delays.get_or_insert_with(|| Box::new(Delays::new())).add(delay);
        }
    }
}

impl Zone {
    fn add(&mut self, exchange: &Exchange<'_>, said: Said) {
        self.ends.add(exchange.seen);
        self.responses += said.responses;
        self.nxdomain += said.is(NXDOMAIN);
        self.failed += said.is(SERVFAIL);
        self.delay += u128::from(exchange.delay.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;
    use std::borrow::Cow;

    fn exchange(server: u32, qname: &[u8]) -> Exchange<'_> {
        Exchange {
            seen: Seen::Unanswered,
            server: Some(IpAddr::from(server.to_be_bytes())),
            is_tcp: false,
            time: Some(Timestamp::new(1_790_000_000, 0)),
            qname: Some(qname),
            qtype: Some(1),
            rcode: None,
            delay: None,
            query: None,
            response: None,
            zone: None,
            response_packets: 0,
        }
    }

    /// A response with NS of example.net's `zone` in the authority section.
    fn referral(owner: &[u8]) -> Vec<u8> {
        let header = [0, 1, 0x84, 0, 0, 0, 0, 0, 0, 1, 0, 0];
        [&header[..], owner, b"\0\x02\0\x01\0\0\0\x3c\0\x01\0"].concat()
    }

    #[test]
    fn a_name_belongs_to_the_deepest_zone_that_a_response_named() {
        let mut gather = Gather::default();
        gather.add(&exchange(1, b"\x01a\x03sub\x07example\x03net\0"));
        let response = referral(b"\x03sub\x07example\x03net\0");
        let named = Exchange {
            seen: Seen::Answered,
            response: Some(Cow::Borrowed(&response)),
            response_packets: 1,
            ..exchange(1, b"\x01b\x03SUB\x07example\x03net\0")
        };
        gather.add(&named);
        gather.add(&exchange(1, b"\x01c\x01d\x03sub\x07EXAMPLE\x03net\0"));
        gather.add(&exchange(1, b"\x03net\0"));
        let zones: Vec<_> = gather
            .zones
            .sorted()
            .into_iter()
            .map(|(name, zone)| (name.clone(), zone.count, zone.value.is_seen))
            .collect();
        assert_eq!(
            zones,
            [
                (b"\x03sub\x07example\x03net\0".to_vec(), 2, true),
                (b"\x03net\0".to_vec(), 1, false),
                (b"\x07example\x03net\0".to_vec(), 1, false),
            ]
        );
    }

    #[test]
    fn a_flood_of_servers_and_zones_is_bounded_and_the_sums_hold() {
        let mut gather = Gather::default();
        let count = 150_000;
        for number in 0..count {
            let mut name = vec![8];
            name.extend(format!("{number:08x}").into_bytes());
            name.extend(b"\x03net\0");
            gather.add(&Exchange { delay: Some(1), ..exchange(number, &name) });
        }
        assert!(gather.servers.sorted().len() <= 2 * SERVERS_MAX && gather.zones.sorted().len() <= 2 * ZONES_MAX);
        assert!(gather.servers.forgotten().0 > 0 && gather.zones.forgotten().0 > 0);
        assert_eq!((gather.totals.transactions, gather.totals.ends.unanswered), (count.into(), count.into()));
    }
}
