//! Zones and servers, in the order that was asked for.

use super::shown::{Row, Shown};
use crate::{
    present::names::domain,
    report::gather::{Ends, Gather},
};

/// What a table is ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Transactions,
    Delay,
    Failures,
}

impl Sort {
    pub(super) fn next(self) -> Sort {
        match self {
            Sort::Transactions => Sort::Delay,
            Sort::Delay => Sort::Failures,
            Sort::Failures => Sort::Transactions,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Sort::Transactions => "transactions",
            Sort::Delay => "delay",
            Sort::Failures => "failures",
        }
    }

    fn sort(self, rows: &mut [Row]) {
        // They come by transactions, and equal ones stay so.
        match self {
            Sort::Transactions => {}
            Sort::Delay => rows.sort_by_key(|row| std::cmp::Reverse(row.delay)),
            Sort::Failures => rows.sort_by(|one, other| other.failed_percent.total_cmp(&one.failed_percent)),
        }
    }
}

/// Rows that are more than any screen has.
const ROWS_MAX: usize = 300;
/// What has fewer transactions is not ordered by what they have in common.
const FEW: u64 = 5;

/// Fills the tables.
pub(super) fn fill(shown: &mut Shown, gather: &Gather, sort: Sort) {
    (shown.zones, shown.servers) = (zones(gather), servers(gather));
    shown.slowest = zones_of(gather, FEW.min(gather.totals.transactions / 100));
    shown.slowest.retain(|row| row.delay.is_some());
    Sort::Delay.sort(&mut shown.slowest);
    for rows in [&mut shown.zones, &mut shown.servers] {
        sort.sort(rows);
    }
    for rows in [&mut shown.zones, &mut shown.servers, &mut shown.slowest] {
        rows.truncate(ROWS_MAX);
    }
}

fn zones(gather: &Gather) -> Vec<Row> {
    zones_of(gather, 0)
}

/// Those with more transactions than this.
fn zones_of(gather: &Gather, few: u64) -> Vec<Row> {
    let transactions = gather.totals.transactions;
    let sorted = gather.zones.sorted().into_iter().take_while(|(_, entry)| entry.count > few);
    let row = |(name, entry): (&Vec<u8>, &crate::report::top::Entry<crate::report::gather::Zone>)| {
        let zone = &entry.value;
        let mean = zone.delay.checked_div(zone.ends.answered.into());
        Row {
            name: domain(name),
            percent: percent(entry.count, transactions),
            delay: mean.map(|mean| u64::try_from(mean).unwrap_or(u64::MAX)),
            nxdomain_percent: percent(zone.nxdomain, zone.responses),
            failed_percent: failed(&zone.ends, zone.failed, entry.count),
        }
    };
    sorted.map(row).collect()
}

fn servers(gather: &Gather) -> Vec<Row> {
    let transactions = gather.totals.transactions;
    let row = |(address, entry): (&std::net::IpAddr, &crate::report::top::Entry<crate::report::gather::Server>)| {
        let server = &entry.value;
        Row {
            name: address.to_string(),
            percent: percent(entry.count, transactions),
            delay: server.delays.as_ref().map(|delays| delays.quantile(50)),
            nxdomain_percent: 0.0,
            failed_percent: failed(&server.ends, server.failed + server.refused, entry.count),
        }
    };
    gather.servers.sorted().into_iter().map(row).collect()
}

fn failed(ends: &Ends, said: u64, of: u64) -> f64 {
    percent(ends.unanswered + said, of)
}

fn percent(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { part as f64 * 100.0 / of as f64 }
}
