//! `--stats`: what the payloads of a file are, on one screen.

pub(crate) mod delays;
pub(crate) mod tally;

use std::fmt::Write as _;
use std::hash::RandomState;

use lru::LruCache;

use self::delays::{Delays, bucket};
use self::tally::Tally;
use super::names;
use crate::nmsg::Payload;
use crate::nmsg::dnsqr::{Dnsqr, TYPE_NAMES, Type, suffixes};
use crate::time::NANOS;

/// Zones that are counted at a time.
const ZONES_MAX: usize = 100_000;
/// IP protocol number of TCP.
const TCP: u32 = 6;
/// TC, in the third byte of a DNS message.
const TRUNCATED: u8 = 0x02;
/// Columns of a bar.
const BAR_LEN: u64 = 28;
/// Columns of a name.
const NAME_LEN: usize = 30;

/// Counts payloads; its memory is bounded by constants (at most 100 000 zones: when full, the one not seen for longest
/// is forgotten, and the screen says so).
pub struct Stats {
    payloads: u64,
    dnsqrs: u64,
    first: Option<(i64, u32)>,
    last: Option<(i64, u32)>,
    kinds: Tally,
    rcodes: Tally,
    qtypes: Tally,
    zones: LruCache<Box<[u8]>, u64, RandomState>,
    zones_max: usize,
    zones_forgotten: u64,
    tcp: u64,
    responses: u64,
    fragmented: u64,
    truncated: u64,
    delays: Delays,
}

impl Default for Stats {
    fn default() -> Stats {
        Stats::new(ZONES_MAX)
    }
}

impl Stats {
    /// Nothing counted; remembers `zones_max` zones.
    pub fn new(zones_max: usize) -> Stats {
        Stats {
            payloads: 0,
            dnsqrs: 0,
            first: None,
            last: None,
            kinds: Tally::default(),
            rcodes: Tally::default(),
            qtypes: Tally::default(),
            zones: LruCache::unbounded_with_hasher(RandomState::new()),
            zones_max,
            zones_forgotten: 0,
            tcp: 0,
            responses: 0,
            fragmented: 0,
            truncated: 0,
            delays: Delays::new(),
        }
    }

    /// Counts a payload and what it decodes to.
    pub fn add(&mut self, payload: &Payload<'_>, dnsqr: Option<&Dnsqr<'_>>) {
        self.payloads += 1;
        let time = (payload.time_sec, payload.time_nsec);
        self.first = Some(self.first.map_or(time, |first| first.min(time)));
        self.last = Some(self.last.map_or(time, |last| last.max(time)));
        if let Some(dnsqr) = dnsqr {
            self.add_dnsqr(dnsqr);
        }
    }

    fn add_dnsqr(&mut self, dnsqr: &Dnsqr<'_>) {
        self.dnsqrs += 1;
        self.kinds.add(dnsqr.kind);
        self.tcp += u64::from(dnsqr.proto == TCP);
        if let Some(qtype) = dnsqr.qtype {
            self.qtypes.add(qtype);
        }
        if let Some(zone) = dnsqr.qname.and_then(zone) {
            self.add_zone(zone);
        }
        if !dnsqr.response_packet.is_empty() {
            self.add_response(dnsqr);
        }
    }

    fn add_response(&mut self, dnsqr: &Dnsqr<'_>) {
        self.responses += 1;
        self.fragmented += u64::from(dnsqr.response_packet.len() > 1);
        if let Some(rcode) = dnsqr.rcode {
            self.rcodes.add(rcode);
        }
        let truncated = dnsqr.response_message().and_then(|message| message.get(2).copied());
        self.truncated += u64::from(truncated.is_some_and(|flags| flags & TRUNCATED != 0));
        if dnsqr.kind == Type::UdpQueryResponse as u32
            && let Some(nanos) = delay(dnsqr)
        {
            self.delays.add(nanos);
        }
    }

    fn add_zone(&mut self, zone: Box<[u8]>) {
        if let Some(count) = self.zones.get_mut(&zone) {
            *count += 1;
            return;
        }
        self.zones.put(zone, 1);
        if self.zones.len() > self.zones_max {
            self.zones.pop_lru();
            self.zones_forgotten += 1;
        }
    }

    /// The screen: at most 80 columns, 45 lines.
    pub fn screen(&self) -> String {
        let mut out = String::new();
        let others = self.payloads - self.dnsqrs;
        let _ = writeln!(out, "payloads   {} ({} transactions, {others} of other types)", self.payloads, self.dnsqrs);
        let _ = writeln!(out, "time       {}", self.span());
        let _ = writeln!(out, "TCP        {}", share(self.tcp, self.dnsqrs));
        let (fragmented, truncated) = (self.fragmented, self.truncated);
        let _ = writeln!(out, "fragmented {} of the responses", share(fragmented, self.responses));
        let _ = writeln!(out, "truncated  {} of the responses", share(truncated, self.responses));
        table(&mut out, "type", &self.kinds.top(5, kind_name), self.dnsqrs);
        table(&mut out, "rcode", &self.rcodes.top(4, rcode_name), self.responses);
        table(&mut out, "qtype", &self.qtypes.top(6, qtype_name), self.dnsqrs);
        table(&mut out, &self.zone_title(), &self.top_zones(7), self.dnsqrs);
        self.write_delays(&mut out);
        out
    }

    fn span(&self) -> String {
        let (Some(first), Some(last)) = (self.first, self.last) else {
            return "none".to_string();
        };
        let seconds = i128::from(last.0) - i128::from(first.0);
        format!("{} to {} UTC, {seconds} s", time_text(first), time_text(last))
    }

    fn zone_title(&self) -> String {
        match self.zones_forgotten {
            0 => "zone".to_string(),
            forgotten => format!("zone ({forgotten} long not seen are forgotten)"),
        }
    }

    fn top_zones(&self, rows: usize) -> Vec<(String, u64)> {
        let mut zones: Vec<_> = self.zones.iter().collect();
        zones.sort_unstable_by_key(|&(zone, count)| (std::cmp::Reverse(count), zone));
        zones.truncate(rows);
        zones.into_iter().map(|(zone, &count)| (names::domain(zone), count)).collect()
    }

    fn write_delays(&self, out: &mut String) {
        if self.delays.count == 0 {
            return;
        }
        let _ = writeln!(out, "\ndelay of responses in ms (bars are logarithmic)");
        let delays = &self.delays;
        let quantiles = [50, 90, 99].map(|percent| (format!("{percent} %"), delays.quantile(percent)));
        let (min, max) = (("min".to_string(), delays.min), ("max".to_string(), delays.max));
        for (name, nanos) in [min].into_iter().chain(quantiles).chain([max]) {
            let bar = bar(logarithm(nanos), logarithm(delays.max));
            let (ms, us) = (nanos / 1_000_000, nanos / 1000 % 1000);
            let _ = writeln!(out, "{}", format!("  {name:NAME_LEN$} {ms:>8}.{us:03} {bar}").trim_end());
        }
    }
}

/// Sixteenths of powers of two above a microsecond: what a bar can show.
fn logarithm(nanos: u64) -> u64 {
    u64::from(bucket(nanos).saturating_sub(bucket(1000)))
}

/// Nanoseconds from the first packet of the query to the first of the response.
pub(crate) fn delay(dnsqr: &Dnsqr<'_>) -> Option<u64> {
    let nanos =
        |sec: &[i64], nsec: &[i32]| Some(i128::from(*sec.first()?) * i128::from(NANOS) + i128::from(*nsec.first()?));
    let query = nanos(&dnsqr.query_time_sec, &dnsqr.query_time_nsec)?;
    let response = nanos(&dnsqr.response_time_sec, &dnsqr.response_time_nsec)?;
    // A response before its query is a matter of clocks: no delay.
    Some(u64::try_from((response - query).max(0)).unwrap_or(u64::MAX))
}

/// The last two labels in lower case; nothing for a malformed name.
fn zone(qname: &[u8]) -> Option<Box<[u8]>> {
    let labels = suffixes(qname).rev(); // the root, the top level, …
    labels.take(3).last().map(|zone| zone.to_ascii_lowercase().into())
}

fn kind_name(kind: u32) -> String {
    let name = usize::try_from(kind).ok().and_then(|kind| TYPE_NAMES.get(kind));
    name.map_or_else(|| kind.to_string(), ToString::to_string)
}

/// What a response code is called, or its number.
pub(crate) fn rcode_name(rcode: u32) -> String {
    let name = u16::try_from(rcode).ok().and_then(names::rcode);
    name.map_or_else(|| rcode.to_string(), str::to_string)
}

/// What a type is called, or its number.
pub(crate) fn qtype_name(qtype: u32) -> String {
    let name = u16::try_from(qtype).ok().and_then(names::rrtype);
    name.map_or_else(|| format!("TYPE{qtype}"), str::to_string)
}

fn time_text((seconds, nanos): (i64, u32)) -> String {
    match jiff::Timestamp::new(seconds, i32::try_from(nanos).unwrap_or(0)) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => "(out of range)".to_string(),
    }
}

/// Thousandths of `whole`, rounded.
pub(crate) fn permille(part: u64, whole: u64) -> u64 {
    let whole = u128::from(whole.max(1));
    let value = (u128::from(part) * 1000 + whole / 2) / whole;
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn share(part: u64, whole: u64) -> String {
    let permille = permille(part, whole);
    format!("{part} ({}.{} %)", permille / 10, permille % 10)
}

fn table(out: &mut String, title: &str, rows: &[(String, u64)], whole: u64) {
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{title}");
    for (name, count) in rows {
        let permille = permille(*count, whole);
        let share = format!("{}.{}", permille / 10, permille % 10);
        let line = format!("  {:NAME_LEN$} {count:>8} {share:>5} % {}", shortened(name), bar(permille, 1000));
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

/// Names from the wire are escaped, so they are ASCII and bytes are columns.
fn shortened(name: &str) -> String {
    match name.get(..NAME_LEN - 3) {
        Some(head) if name.len() > NAME_LEN => format!("{head}..."),
        _ => name.to_string(),
    }
}

fn bar(value: u64, whole: u64) -> String {
    let len = (value * BAR_LEN / whole.max(1)).min(BAR_LEN); // both are at most 1024
    "#".repeat(usize::try_from(len).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(time_sec: i64) -> Payload<'static> {
        let message = std::borrow::Cow::Borrowed(&[][..]);
        Payload { vid: 1, msgtype: 9, time_sec, time_nsec: 0, message, source: 0, operator: 0, group: 0 }
    }

    fn answered(qname: &[u8], qtype: u32, millis: i32) -> Dnsqr<'_> {
        Dnsqr {
            kind: 1,
            proto: 17,
            qname: Some(qname),
            qtype: Some(qtype),
            rcode: Some(qtype % 16),
            query_packet: vec![b"q"],
            query_time_sec: vec![1_790_001_000],
            query_time_nsec: vec![0],
            response_packet: vec![b"r"],
            response_time_sec: vec![1_790_001_000],
            response_time_nsec: vec![millis * 1_000_000],
            ..Dnsqr::default()
        }
    }

    #[test]
    fn the_screen_says_what_was_counted() {
        let mut stats = Stats::default();
        for millis in 1..=10 {
            let dnsqr = answered(b"\x03www\x07ExAmple\x03net\0", 1, millis);
            stats.add(&payload(1_790_001_000), Some(&dnsqr));
        }
        let tcp = Dnsqr { kind: 2, proto: 6, ..Dnsqr::default() };
        stats.add(&payload(1_790_001_060), Some(&tcp));
        stats.add(&payload(1_790_001_060), None);
        let screen = stats.screen();
        for line in [
            "payloads   12 (11 transactions, 1 of other types)",
            "time       2026-09-21 14:30:00 to 2026-09-21 14:31:00 UTC, 60 s",
            "TCP        1 (9.1 %)",
            "  UDP_QUERY_RESPONSE                   10  90.9 % #########################",
            "  example.net.                         10  90.9 % #########################",
            "  max                                  10.000 ############################",
        ] {
            assert!(screen.lines().any(|found| found == line), "{line}\n{screen}");
        }
    }

    #[test]
    fn the_screen_never_grows_beyond_80_columns_and_45_lines() {
        let mut stats = Stats::new(1000);
        for number in 0..70_000u32 {
            let label = [&[63][..], &[number.to_le_bytes()[0]; 63], &[4], &number.to_le_bytes(), &[0]].concat();
            let dnsqr = Dnsqr { kind: number, ..answered(&label, number * 3, i32::try_from(number % 999).unwrap()) };
            stats.add(&payload(i64::from(number) * 1_000_000_000), Some(&dnsqr));
        }
        stats.add(&payload(i64::MIN), Some(&Dnsqr { kind: 1, ..answered(b"\0", 1, 1) }));
        let screen = stats.screen();
        assert!(screen.lines().count() <= 45, "{screen}");
        assert!(screen.lines().all(|line| line.len() <= 80 && !line.contains(|c: char| c.is_control())), "{screen}");
        assert!(screen.contains(" long not seen are forgotten)"), "{screen}");
        assert_eq!((stats.kinds.len(), stats.zones.len()), (65_536, 1000));
    }

    #[test]
    fn nothing_counted_is_a_screen_too() {
        assert!(Stats::default().screen().contains("payloads   0"));
    }
}
