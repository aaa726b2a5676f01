//! What the two forms of a payload have in common: names of its numbers, and the delay of a transaction.

use std::borrow::Cow;

use super::cursor::Cursor;
use super::put;
use crate::nmsg::dnsqr::{Dnsqr, TYPE_NAMES, Type};
use crate::nmsg::{MSGTYPE_DNSQR, Payload, VENDOR_BASE};

/// The message, when it is a dnsqr that decodes; any other payload prints as bytes.
pub(super) fn dnsqr<'p>(payload: &'p Payload) -> Option<Dnsqr<'p>> {
    let is_dnsqr = payload.vid == VENDOR_BASE && payload.msgtype == MSGTYPE_DNSQR;
    is_dnsqr.then(|| Dnsqr::decode(&payload.message).ok()).flatten()
}

/// Appends the vendor's name, or its number.
pub(super) fn write_vendor(vid: u32, out: &mut Vec<u8>) {
    match vid {
        VENDOR_BASE => put!(out, "base"),
        2 => put!(out, "SIE"),
        _ => put!(out, "{vid}"),
    }
}

/// Appends the name of a message type, or its number.
pub(super) fn write_msgtype(vid: u32, msgtype: u32, out: &mut Vec<u8>) {
    const BASE: [&str; 14] = [
        "ncap", "email", "linkpair", "http", "ipconn", "logline", "dns", "pkt", "dnsqr", "xml", "encode", "packet",
        "dnstap", "dnsobs",
    ];
    let entry = usize::try_from(msgtype).ok().and_then(|number| number.checked_sub(1));
    match entry.and_then(|entry| BASE.get(entry)).filter(|_| vid == VENDOR_BASE) {
        Some(name) => put!(out, "{name}"),
        None => put!(out, "{msgtype}"),
    }
}

/// Appends the name of a dnsqr's type.
pub(super) fn write_kind(kind: u32, out: &mut Vec<u8>) {
    write_enum(&TYPE_NAMES, kind, out);
}

/// Appends the name of a checksum state.
pub(super) fn write_udp_checksum(state: u32, out: &mut Vec<u8>) {
    write_enum(&["ERROR", "ABSENT", "INCORRECT", "CORRECT"], state, out);
}

fn write_enum(names: &[&str], number: u32, out: &mut Vec<u8>) {
    match usize::try_from(number).ok().and_then(|number| names.get(number)) {
        Some(name) => put!(out, "{name}"),
        None => put!(out, "<UNKNOWN ENUM {number}>"),
    }
}

/// The name of an IP protocol that DNS is seen in.
pub(super) fn proto(number: u32) -> Option<&'static str> {
    match number {
        1 => Some("ICMP"),
        6 => Some("TCP"),
        17 => Some("UDP"),
        _ => None,
    }
}

/// What `name` calls a number that should have 16 bits but came in 32.
pub(super) fn name16(number: u32, name: fn(u16) -> Option<&'static str>) -> Option<&'static str> {
    u16::try_from(number).ok().and_then(name)
}

/// Seconds from the query to the last packet of the response.
///
/// Only for pairs, and only where the query is one packet: libnmsg gives none for a query in fragments.
pub(super) fn delay(dnsqr: &Dnsqr) -> Option<f64> {
    let ([query_sec], [query_nsec]) = (&*dnsqr.query_time_sec, &*dnsqr.query_time_nsec) else {
        return None;
    };
    let responses = dnsqr.response_time_sec.iter().zip(&dnsqr.response_time_nsec);
    let delays = responses.map(|(sec, nsec)| seconds_between((*query_sec, *query_nsec), (*sec, *nsec)));
    delays.reduce(f64::max).filter(|_| dnsqr.kind == Type::UdpQueryResponse as u32)
}

/// The DNS messages to show, query and response.
///
/// None for a single IPv6 packet with a fragment header: an atomic fragment (RFC 6946) is a whole datagram, but libnmsg
/// takes it for a part, and shows none.
pub(super) fn messages<'b>(dnsqr: &Dnsqr<'b>) -> [Option<Cow<'b, [u8]>>; 2] {
    let shown = |packets: &[&[u8]]| !matches!(packets, [packet] if is_ipv6_fragment(packet));
    let query = dnsqr.query_message().filter(|_| shown(&dnsqr.query_packet));
    let response = dnsqr.response_message().filter(|_| shown(&dnsqr.response_packet));
    [query, response]
}

fn is_ipv6_fragment(packet: &[u8]) -> bool {
    let Some((&[version, _, _, _, _, _, next_header, ..], rest)) = packet.split_first_chunk::<40>() else {
        return false;
    };
    version >> 4 == 6 && reaches_fragment_header(next_header, &mut Cursor::new(rest)).is_some()
}

/// Walks the extension headers (RFC 8200 §4) that may stand before a fragment header; each takes eight octets or more, so
/// the walk ends.
fn reaches_fragment_header(mut next_header: u8, cursor: &mut Cursor) -> Option<()> {
    while next_header != 44 {
        let after = cursor.u8()?;
        let units = usize::from(cursor.u8()?);
        let rest_of_header = match next_header {
            0 | 43 | 60 => units * 8 + 6, // hop-by-hop, routing, destination: 8-octet units less one
            51 => units * 4 + 6,          // authentication: 4-octet units less two (RFC 4302 §2.2)
            _ => return None,
        };
        cursor.take(rest_of_header)?;
        next_header = after;
    }
    Some(())
}

/// The difference of two times, whole seconds and the rest apart, as libnmsg computes it: in one step it would round
/// differently.
fn seconds_between(earlier: (i64, i32), later: (i64, i32)) -> f64 {
    let mut seconds = i128::from(later.0) - i128::from(earlier.0);
    let mut nanoseconds = i64::from(later.1) - i64::from(earlier.1);
    if nanoseconds < 0 {
        seconds -= 1;
        nanoseconds += 1_000_000_000;
    }
    seconds as f64 + nanoseconds as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(query: &[(i64, i32)], response: &[(i64, i32)]) -> Option<f64> {
        delay(&Dnsqr {
            kind: Type::UdpQueryResponse as u32,
            query_time_sec: query.iter().map(|time| time.0).collect(),
            query_time_nsec: query.iter().map(|time| time.1).collect(),
            response_time_sec: response.iter().map(|time| time.0).collect(),
            response_time_nsec: response.iter().map(|time| time.1).collect(),
            ..Dnsqr::default()
        })
    }

    #[test]
    fn delay_is_to_the_last_response_packet() {
        assert_eq!(pair(&[(1, 900_000_000)], &[(2, 0), (2, 100_000_000), (2, 50_000_000)]), Some(0.2));
        assert_eq!(pair(&[(1, 0)], &[]), None);
        assert_eq!(pair(&[(1, 0), (1, 1)], &[(2, 0)]), None);
        assert!(pair(&[(i64::MIN, i32::MIN)], &[(i64::MAX, i32::MAX)]).is_some());
    }
}
