//! Which payloads are shown: what was typed, and what it means.

use std::net::IpAddr;

use ipnet::IpNet;

use super::ReadArgs;
use crate::config::qnames::{self, Name};
use crate::nmsg::dnsqr::{Dnsqr, TYPE_NAMES};
use crate::nmsg::packets::address;
use crate::nmsg::{Payload, dnsqr};
use crate::present::names;
use crate::time::NANOS;

/// The filters of `read`; all must hold, and of one given several times, one of its values.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// Uncompressed wire form, lower case.
    qnames: Vec<Name>,
    qtypes: Vec<u32>,
    rcodes: Vec<u32>,
    kinds: Vec<u32>,
    prefixes: Vec<IpNet>,
    /// Nanoseconds since 1970; the first that passes.
    since: Option<i128>,
    /// The first that does not pass any more.
    until: Option<i128>,
}

impl Filter {
    /// What was typed, or everything that is wrong with it.
    pub(super) fn new(args: &ReadArgs, problems: &mut Vec<String>) -> Filter {
        let filter = Filter {
            qnames: parse_all("--qname", &args.qname, parse_name, problems),
            qtypes: parse_all("--qtype", &args.qtype, parse_qtype, problems),
            rcodes: parse_all("--rcode", &args.rcode, parse_rcode, problems),
            kinds: parse_all("--type", &args.kind, parse_kind, problems),
            prefixes: parse_all("--ip", &args.ip, parse_prefix, problems),
            since: parse_all("--since", args.since.as_slice(), parse_time, problems).pop(),
            until: parse_all("--until", args.until.as_slice(), parse_time, problems).pop(),
        };
        if let (Some(since), Some(until)) = (filter.since, filter.until)
            && since >= until
        {
            problems.push("--since is not before --until, so nothing could pass".to_string());
        }
        filter
    }

    /// Does the payload pass? `dnsqr` is what it decodes to; a payload that is none passes only where no filter asks
    /// for something that only dnsqr has.
    pub(super) fn passes(&self, payload: &Payload<'_>, dnsqr: Option<&Dnsqr<'_>>) -> bool {
        self.passes_time(payload)
            && match dnsqr {
                Some(dnsqr) => self.passes_dnsqr(dnsqr),
                None => self.takes_any_type(),
            }
    }

    fn passes_time(&self, payload: &Payload<'_>) -> bool {
        let time = i128::from(payload.time_sec) * i128::from(NANOS) + i128::from(payload.time_nsec);
        self.since.is_none_or(|since| since <= time) && self.until.is_none_or(|until| time < until)
    }

    fn takes_any_type(&self) -> bool {
        self.qnames.is_empty()
            && self.qtypes.is_empty()
            && self.rcodes.is_empty()
            && self.kinds.is_empty()
            && self.prefixes.is_empty()
    }

    fn passes_dnsqr(&self, dnsqr: &Dnsqr<'_>) -> bool {
        let passes_name = || dnsqr.qname.is_some_and(|qname| self.passes_name(qname));
        let ips = || [dnsqr.query_ip, dnsqr.response_ip].into_iter().filter_map(address);
        let passes_ip = |ip: IpAddr| self.prefixes.iter().any(|prefix| prefix.contains(&ip));
        any_or_none(&self.kinds, Some(dnsqr.kind))
            && any_or_none(&self.qtypes, dnsqr.qtype)
            && any_or_none(&self.rcodes, dnsqr.rcode)
            && (self.prefixes.is_empty() || ips().any(passes_ip))
            && (self.qnames.is_empty() || passes_name())
    }

    fn passes_name(&self, qname: &[u8]) -> bool {
        let wanted = |suffix: &[u8]| self.qnames.iter().any(|name| suffix.eq_ignore_ascii_case(name));
        dnsqr::suffixes(qname).any(wanted)
    }
}

fn any_or_none(wanted: &[u32], value: Option<u32>) -> bool {
    wanted.is_empty() || value.is_some_and(|value| wanted.contains(&value))
}

fn parse_all<T>(
    option: &str,
    typed: &[String],
    parse: impl Fn(&str) -> Result<T, String>,
    problems: &mut Vec<String>,
) -> Vec<T> {
    let mut values = Vec::new();
    for text in typed {
        match parse(text) {
            Ok(value) => values.push(value),
            Err(reason) => problems.push(format!("{option} {text:?}: {reason}")),
        }
    }
    values
}

/// A domain name as the configuration takes it, to its wire form in lower case.
fn parse_name(text: &str) -> Result<Name, String> {
    qnames::parse_name(text).map_err(|fault| format!("{fault}; write a domain name, as in example.net"))
}

fn parse_qtype(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().or_else(|| names::rrtype_number(text));
    number.map(u32::from).ok_or_else(|| "write a type's name, TYPEn, or a number up to 65535".to_string())
}

fn parse_rcode(text: &str) -> Result<u32, String> {
    let number: Option<u16> = text.parse().ok().or_else(|| names::rcode_number(text));
    number.map(u32::from).filter(|&number| number < 16).ok_or_else(|| {
        let known: Vec<_> = (0..16).filter_map(names::rcode).collect();
        format!("write one of {}, or a number up to 15", known.join(", "))
    })
}

/// Short forms for the three types a sensor makes.
const SHORT_KINDS: [(&str, u32); 3] = [("answered", 1), ("unanswered", 2), ("unsolicited", 3)];

fn parse_kind(text: &str) -> Result<u32, String> {
    let named = (0..).zip(TYPE_NAMES).map(|(number, name)| (name, number));
    let mut known = SHORT_KINDS.into_iter().chain(named);
    match known.find(|(name, _)| name.eq_ignore_ascii_case(text)) {
        Some((_, number)) => Ok(number),
        None => {
            let short = SHORT_KINDS.map(|(name, _)| name).join(", ");
            Err(format!("write one of {short}, {}", TYPE_NAMES.join(", ")))
        }
    }
}

fn parse_prefix(text: &str) -> Result<IpNet, String> {
    let prefix = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    prefix.ok_or_else(|| "write an address or a prefix, as in 192.0.2.0/24 or 2001:db8::/32".to_string())
}

/// Nanoseconds since 1970.
pub(in crate::cli) fn parse_time(text: &str) -> Result<i128, String> {
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(i128::from(seconds) * i128::from(NANOS));
    }
    let instant = text.parse::<jiff::Timestamp>().ok().or_else(|| utc(text));
    instant.map(jiff::Timestamp::as_nanosecond).ok_or_else(|| {
        "write 2026-09-21T14:30:00Z (RFC 3339), 2026-09-21 or 2026-09-21 14:30[:00] (UTC), or seconds since 1970"
            .to_string()
    })
}

fn utc(text: &str) -> Option<jiff::Timestamp> {
    if text.contains('[') {
        return None; // jiff would read past a zone name and ignore it
    }
    let civil = text.parse::<jiff::civil::DateTime>().ok()?;
    Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: i128 = 1_790_001_000_000_000_000;

    fn dnsqr() -> Dnsqr<'static> {
        Dnsqr {
            kind: 1,
            query_ip: &[192, 0, 2, 53],
            response_ip: &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            qname: Some(b"\x03WwW\x07eXample\x03net\0"),
            qtype: Some(28),
            rcode: Some(3),
            ..Dnsqr::default()
        }
    }

    fn payload() -> Payload<'static> {
        let message = std::borrow::Cow::Borrowed(&[][..]);
        let time_sec = i64::try_from(TIME / i128::from(NANOS)).unwrap();
        Payload { vid: 1, msgtype: 9, time_sec, time_nsec: 0, message, source: 0, operator: 0, group: 0 }
    }

    fn filter(args: ReadArgs) -> Filter {
        let mut problems = Vec::new();
        let filter = Filter::new(&args, &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        filter
    }

    fn passes(args: ReadArgs) -> bool {
        filter(args).passes(&payload(), Some(&dnsqr()))
    }

    fn typed(values: &[&str]) -> Vec<String> {
        values.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_name_passes_by_whole_labels_in_any_case() {
        for (name, expected) in [
            ("example.NET", true),
            ("www.example.net.", true),
            (".", true),
            ("xample.net", false),
            ("a.www.example.net", false),
            ("\\101xample.net", true),
            ("ww.example.net", false),
        ] {
            assert_eq!(passes(ReadArgs { qname: typed(&[name]), ..ReadArgs::default() }), expected, "{name}");
        }
        let args = ReadArgs { qname: typed(&["example.org", "net"]), ..ReadArgs::default() };
        assert!(passes(args), "one of several is enough");
    }

    #[test]
    fn types_pass_by_name_and_number() {
        for (qtype, expected) in [("aaaa", true), ("TYPE28", true), ("28", true), ("A", false)] {
            assert_eq!(passes(ReadArgs { qtype: typed(&[qtype]), ..ReadArgs::default() }), expected, "{qtype}");
        }
        for (rcode, expected) in [("nxdomain", true), ("3", true), ("NOERROR", false)] {
            assert_eq!(passes(ReadArgs { rcode: typed(&[rcode]), ..ReadArgs::default() }), expected, "{rcode}");
        }
        for (kind, expected) in [("answered", true), ("udp_query_response", true), ("unanswered", false)] {
            assert_eq!(passes(ReadArgs { kind: typed(&[kind]), ..ReadArgs::default() }), expected, "{kind}");
        }
    }

    #[test]
    fn either_address_passes() {
        for (ip, expected) in
            [("192.0.2.0/24", true), ("192.0.2.53", true), ("2001:db8::/32", true), ("10.0.0.0/8", false)]
        {
            assert_eq!(passes(ReadArgs { ip: typed(&[ip]), ..ReadArgs::default() }), expected, "{ip}");
        }
    }

    #[test]
    fn since_is_the_first_that_passes_and_until_the_first_that_does_not() {
        let rfc3339 = jiff::Timestamp::from_nanosecond(TIME).unwrap().to_string();
        let since = |text: &str| ReadArgs { since: Some(text.to_string()), ..ReadArgs::default() };
        let until = |text: &str| ReadArgs { until: Some(text.to_string()), ..ReadArgs::default() };
        assert!(passes(since(&rfc3339)) && passes(since("1790001000")) && !passes(since("1790001001")));
        assert!(!passes(until(&rfc3339)) && passes(until("1790001001")));
        assert_eq!(parse_time("2026-09-21"), parse_time("2026-09-21T00:00:00Z"));
        assert_eq!(parse_time("2026-09-21 14:30"), parse_time("2026-09-21T16:30:00+02:00"));
        assert_eq!(parse_time("2026-09-21 14:30:07"), parse_time("2026-09-21T14:30:07Z"));
    }

    #[test]
    fn payloads_of_other_types_pass_only_without_dnsqr_filters() {
        let since = ReadArgs { since: Some("0".to_string()), ..ReadArgs::default() };
        assert!(filter(since).passes(&payload(), None));
        let qtype = ReadArgs { qtype: typed(&["A"]), ..ReadArgs::default() };
        assert!(!filter(qtype).passes(&payload(), None));
    }

    #[test]
    fn every_wrong_value_is_reported() {
        let args = ReadArgs {
            qname: typed(&["a..b", "\\300.net", &"x".repeat(64), &"x.".repeat(200)]),
            qtype: typed(&["AAAAA", "65536"]),
            rcode: typed(&["16"]),
            kind: typed(&["replied"]),
            ip: typed(&["192.0.2.0/33"]),
            since: Some("yesterday".to_string()),
            until: Some("2026-09-21T00:00:00[Europe/Vienna]".to_string()),
            ..ReadArgs::default()
        };
        let mut problems = Vec::new();
        Filter::new(&args, &mut problems);
        assert_eq!(problems.len(), 11, "{problems:#?}");
        assert!(problems[7].starts_with("--type \"replied\": write one of answered, "), "{problems:#?}");
    }

    #[test]
    fn a_malformed_qname_does_not_pass() {
        for qname in [&b"\x09net\0"[..], b"\xc0\x00", b"", b"\x03net"] {
            let dnsqr = Dnsqr { qname: Some(qname), ..dnsqr() };
            let filter = filter(ReadArgs { qname: typed(&["."]), ..ReadArgs::default() });
            assert!(!filter.passes(&payload(), Some(&dnsqr)), "{qname:?}");
        }
    }
}
