//! Passive DNS Common Output Format (draft-dulaunoy-dnsop-passive-dns-cof): what authoritative servers said, once.
//!
//! One JSON object a line for each (rrname, rrtype, rdata, bailiwick), with the first and last second it was seen and
//! in how many responses. Names are lower case and end in a dot, as DNSDB prints them: the draft's own examples leave
//! the dot away, but it tells a name from text in rdata. Lower case also means the names in rdata of the types that
//! hold nothing else (NS, CNAME, MX, …), since servers repeat the case that the resolver made up.
//!
//! A record counts where its rdata is what its type asks for, in a response that was not damaged on its way.
//! Only answered queries count. Unsolicited responses are left out: whoever can send a packet can send those.

use std::hash::RandomState;
use std::io::{self, Write};

use lru::LruCache;

use super::json::escape_json;
use super::message::{Message, Record};
use super::{names, put, rdata};
use crate::nmsg::Payload;
use crate::nmsg::dnsqr::{Dnsqr, Type, UdpChecksum, suffixes};

/// Tuples in the table of a command.
pub const TUPLES_MAX: usize = 1_000_000;
/// Text of all tuples in the table, so that long TXT records cannot make a million of them huge.
const TEXT_MAX: usize = 256 * 1024 * 1024;

const FLAG_RESPONSE: u16 = 0x8000;
const FLAG_AUTHORITATIVE: u16 = 0x0400;
const CLASS_IN: u16 = 1;
const NS: u16 = 2;
const SOA: u16 = 6;

/// The tuples seen so far: at most `capacity`, and at most `text_max` bytes of text. When full, the one not seen for longest
/// leaves as a line; a later line may then repeat it. Times are those of the responses, in whole seconds.
pub struct Table {
    tuples: LruCache<Key, Seen, RandomState>,
    capacity: usize,
    text_max: usize,
    text_len: usize,
    /// Responses taken, so that one response counts a tuple once.
    responses: u64,
}

/// A tuple, rendered: JSON members without braces.
#[derive(PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    /// `"rrname":"…","rrtype":"…","rdata":"…"`.
    tuple: Box<[u8]>,
    /// `,"bailiwick":"…"`, or nothing.
    bailiwick: Box<[u8]>,
}

struct Seen {
    time_first: i64,
    time_last: i64,
    count: u64,
    /// Number of the response that counted last.
    response: u64,
}

impl Table {
    /// An empty table for `capacity` tuples, with 256 MiB of text.
    pub fn new(capacity: usize) -> Table {
        Table::with_text(capacity, TEXT_MAX)
    }

    /// An empty table for `capacity` tuples and `text_max` bytes of text.
    pub fn with_text(capacity: usize, text_max: usize) -> Table {
        let tuples = LruCache::unbounded_with_hasher(RandomState::new());
        Table { tuples, capacity, text_max, text_len: 0, responses: 0 }
    }

    /// Takes the records of an authoritative response to an answered query: those of the answer and authority
    /// sections whose owner is inside the bailiwick. The bailiwick is the owner of the first NS or SOA record of the
    /// authority section at or above the query name; without one, only records of the query name itself are taken.
    /// This believes what the server says about its own zone: a server can claim more than was delegated to it.
    /// Appends the lines of tuples that had to leave to `out`.
    pub fn add(&mut self, payload: &Payload<'_>, dnsqr: &Dnsqr<'_>, out: &mut Vec<u8>) {
        let is_damaged = dnsqr.udp_checksum == Some(UdpChecksum::Incorrect as u32);
        let is_internet = dnsqr.qclass.is_none_or(|class| class == u32::from(CLASS_IN));
        if dnsqr.kind != Type::UdpQueryResponse as u32 || is_damaged || !is_internet {
            return;
        }
        let (Some(qname), Some(bytes)) = (dnsqr.qname, dnsqr.response_message()) else {
            return;
        };
        let Ok(message) = Message::parse(&bytes) else {
            return;
        };
        let authoritative = FLAG_RESPONSE | FLAG_AUTHORITATIVE;
        if message.flags & authoritative != authoritative || message.opcode() != 0 {
            return;
        }
        self.responses += 1;
        let time = dnsqr.response_time_sec.first().copied().unwrap_or(payload.time_sec);
        let bailiwick = bailiwick(&message, qname);
        for record in message.answer.iter().chain(&message.authority) {
            let inside = match bailiwick {
                Some(zone) => is_inside(&record.name, zone),
                None => record.name.eq_ignore_ascii_case(qname),
            };
            if inside
                && is_data(record)
                && let Some(key) = key(record, bailiwick)
            {
                self.count(key, time);
            }
        }
        self.make_room(out);
    }

    /// Writes a line for every tuple, sorted, and empties the table.
    pub fn finish(&mut self, out: &mut impl Write) -> io::Result<()> {
        let mut rest: Vec<_> = std::iter::from_fn(|| self.tuples.pop_lru()).collect();
        rest.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        self.text_len = 0;
        let mut line = Vec::new();
        for (key, seen) in &rest {
            line.clear();
            write_line(key, seen, &mut line);
            out.write_all(&line)?;
        }
        Ok(())
    }

    fn count(&mut self, key: Key, time: i64) {
        let response = self.responses;
        let Some(seen) = self.tuples.get_mut(&key) else {
            self.text_len += key.len();
            self.tuples.put(key, Seen { time_first: time, time_last: time, count: 1, response });
            return;
        };
        seen.time_first = seen.time_first.min(time);
        seen.time_last = seen.time_last.max(time);
        seen.count += u64::from(seen.response != response);
        seen.response = response;
    }

    fn make_room(&mut self, out: &mut Vec<u8>) {
        while self.tuples.len() > self.capacity || self.text_len > self.text_max {
            let Some((key, seen)) = self.tuples.pop_lru() else {
                return;
            };
            self.text_len -= key.len();
            write_line(&key, &seen, out);
        }
    }
}

impl Key {
    fn len(&self) -> usize {
        self.tuple.len() + self.bailiwick.len()
    }
}

fn bailiwick<'m>(message: &'m Message<'_>, qname: &[u8]) -> Option<&'m [u8]> {
    let mut zones = message.authority.iter().filter(|record| matches!(record.rrtype, NS | SOA) && is_data(record));
    let encloses = |record: &&Record<'_>| is_inside(qname, &record.name) && rdata_text(record).is_some();
    zones.find(encloses).map(|record| record.name.as_slice())
}

/// Is the name the zone's apex or below it?
fn is_inside(name: &[u8], zone: &[u8]) -> bool {
    suffixes(name).any(|suffix| suffix.eq_ignore_ascii_case(zone))
}

/// A record of a zone: not OPT (41), not a query or meta type (RFC 6895 §3.1: 128 to 255; TSIG and TKEY are there),
/// class IN, the only one that the format can express.
fn is_data(record: &Record<'_>) -> bool {
    !matches!(record.rrtype, 0 | 41 | 128..=255) && record.class == CLASS_IN
}

/// Types whose rdata text is names and numbers only.
fn holds_only_names(rrtype: u16) -> bool {
    // NS, MD, MF, CNAME, SOA, MB, MG, MR, PTR, MINFO, MX, RP, AFSDB, RT, PX, SRV, KX, DNAME
    matches!(rrtype, 2..=9 | 12 | 14 | 15 | 17 | 18 | 21 | 26 | 33 | 36 | 39)
}

/// `None` for rdata that is damaged: cut, or not of its type.
fn rdata_text(record: &Record<'_>) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    rdata::write(&record.rdata, record.rrtype, record.class, &mut text).then_some(text)
}

fn key(record: &Record<'_>, bailiwick: Option<&[u8]>) -> Option<Key> {
    let mut data = rdata_text(record)?;
    let mut tuple = b"\"rrname\":\"".to_vec();
    write_name(&record.name, &mut tuple);
    tuple.extend(b"\",\"rrtype\":\"");
    names::write_rrtype(record.rrtype, &mut tuple);
    tuple.extend(b"\",\"rdata\":\"");
    if holds_only_names(record.rrtype) {
        data.make_ascii_lowercase();
    }
    escape_json(&String::from_utf8_lossy(&data), &mut tuple);
    tuple.push(b'"');
    let mut zone = Vec::new();
    if let Some(name) = bailiwick {
        zone.extend(b",\"bailiwick\":\"");
        write_name(name, &mut zone);
        zone.push(b'"');
    }
    Some(Key { tuple: tuple.into(), bailiwick: zone.into() })
}

fn write_name(name: &[u8], out: &mut Vec<u8>) {
    escape_json(&names::domain(name).to_ascii_lowercase(), out);
}

fn write_line(key: &Key, seen: &Seen, out: &mut Vec<u8>) {
    out.push(b'{');
    out.extend_from_slice(&key.tuple);
    let Seen { time_first, time_last, count, .. } = seen;
    put!(out, ",\"time_first\":{time_first},\"time_last\":{time_last},\"count\":{count}");
    out.extend_from_slice(&key.bailiwick);
    out.extend(b"}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const QNAME: &[u8] = b"\x03wWw\x07example\x03net\0";
    const ZONE: &[u8] = b"\x07Example\x03net\0";
    const OTHER: &[u8] = b"\x06victim\x03org\0";
    const ADDRESS: &[u8] = &[192, 0, 2, 1];

    fn record(name: &[u8], rrtype: u8, rdata: &[u8]) -> Vec<u8> {
        let mut bytes = name.to_vec();
        bytes.extend([0, rrtype, 0, 1, 0, 0, 0, 60]);
        bytes.extend(u16::try_from(rdata.len()).unwrap().to_be_bytes());
        bytes.extend(rdata);
        bytes
    }

    /// A response in its IPv4 packet.
    fn packet(flags: [u8; 2], answer: &[Vec<u8>], authority: &[Vec<u8>]) -> Vec<u8> {
        let count = |records: &[Vec<u8>]| u8::try_from(records.len()).unwrap();
        let mut message = vec![0, 1, flags[0], flags[1], 0, 1, 0, count(answer), 0, count(authority), 0, 0];
        message.extend([QNAME, &[0, 1, 0, 1]].concat());
        message.extend(answer.concat());
        message.extend(authority.concat());
        let len = u16::try_from(28 + message.len()).unwrap().to_be_bytes();
        let mut packet = vec![0x45, 0, len[0], len[1], 0, 1, 0, 0, 64, 17, 0, 0];
        packet.extend([0; 16]);
        packet.extend(message);
        packet
    }

    fn add(table: &mut Table, packet: &[u8], time: i64) -> String {
        let dnsqr = Dnsqr {
            kind: 1,
            qname: Some(QNAME),
            response_packet: vec![packet],
            response_time_sec: vec![time],
            ..Dnsqr::default()
        };
        added(table, &dnsqr)
    }

    fn added(table: &mut Table, dnsqr: &Dnsqr<'_>) -> String {
        let message = std::borrow::Cow::Borrowed(&[][..]);
        let payload =
            Payload { vid: 1, msgtype: 9, time_sec: 0, time_nsec: 0, message, source: 0, operator: 0, group: 0 };
        let mut out = Vec::new();
        table.add(&payload, dnsqr, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn finish(table: &mut Table) -> String {
        let mut out = Vec::new();
        table.finish(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    const AA: [u8; 2] = [0x84, 0];

    #[test]
    fn records_inside_the_bailiwick_are_counted_once_a_response() {
        let mut table = Table::new(10);
        let answer = [record(QNAME, 1, ADDRESS), record(QNAME, 1, ADDRESS), record(OTHER, 1, ADDRESS)];
        let authority = [record(ZONE, 2, QNAME)];
        for time in [200, 100] {
            assert_eq!(add(&mut table, &packet(AA, &answer, &authority), time), "");
        }
        assert_eq!(
            finish(&mut table),
            concat!(
                r#"{"rrname":"example.net.","rrtype":"NS","rdata":"www.example.net.","time_first":100,"#,
                r#""time_last":200,"count":2,"bailiwick":"example.net."}"#,
                "\n",
                r#"{"rrname":"www.example.net.","rrtype":"A","rdata":"192.0.2.1","time_first":100,"#,
                r#""time_last":200,"count":2,"bailiwick":"example.net."}"#,
                "\n"
            )
        );
        assert_eq!(finish(&mut table), "");
    }

    #[test]
    fn without_a_bailiwick_only_the_query_name_is_taken() {
        let mut table = Table::new(10);
        let answer = [record(QNAME, 1, ADDRESS), record(ZONE, 1, ADDRESS)];
        add(&mut table, &packet(AA, &answer, &[record(OTHER, 2, ZONE)]), 1);
        assert_eq!(
            finish(&mut table),
            r#"{"rrname":"www.example.net.","rrtype":"A","rdata":"192.0.2.1","time_first":1,"time_last":1,"count":1}"#
                .to_string()
                + "\n"
        );
    }

    #[test]
    fn only_authoritative_answers_to_queries_that_were_seen_count() {
        let answer = [record(QNAME, 1, ADDRESS)];
        let mut table = Table::new(10);
        for flags in [[0x80, 0], [0x04, 0], [0x84 | 0x20, 0]] {
            add(&mut table, &packet(flags, &answer, &[]), 1);
        }
        let packet = packet(AA, &answer, &[]);
        let unsolicited = Dnsqr { kind: 3, qname: Some(QNAME), response_packet: vec![&packet], ..Dnsqr::default() };
        added(&mut table, &unsolicited);
        assert_eq!(finish(&mut table), "");
    }

    #[test]
    fn meta_types_and_other_classes_are_not_data() {
        let mut table = Table::new(10);
        let mut chaos = record(QNAME, 16, b"\x01x");
        let class = QNAME.len() + 3;
        chaos[class] = 3;
        add(&mut table, &packet(AA, &[record(QNAME, 250, b"x"), chaos], &[]), 1);
        assert_eq!(finish(&mut table), "");
    }

    #[test]
    fn damaged_rdata_is_no_data() {
        let mut table = Table::new(10);
        let damaged: [(u8, &[u8]); 4] =
            [(1, b""), (15, b"\0\x0a"), (64, b"\0\x01\0\0\x03\0\x01\0"), (47, b"\0\xff\xff")];
        for (rrtype, rdata) in damaged {
            add(&mut table, &packet(AA, &[record(QNAME, rrtype, rdata)], &[]), 1);
        }
        assert_eq!(finish(&mut table), "");
    }

    #[test]
    fn a_response_with_a_wrong_checksum_or_of_another_class_is_not_taken() {
        let mut table = Table::new(10);
        let packet = packet(AA, &[record(QNAME, 1, ADDRESS)], &[]);
        let dnsqr = Dnsqr { kind: 1, qname: Some(QNAME), response_packet: vec![&packet], ..Dnsqr::default() };
        added(&mut table, &Dnsqr { udp_checksum: Some(2), ..dnsqr.clone() });
        added(&mut table, &Dnsqr { qclass: Some(3), ..dnsqr.clone() });
        assert_eq!(finish(&mut table), "");
        added(&mut table, &Dnsqr { udp_checksum: Some(1), qclass: Some(1), ..dnsqr });
        assert_eq!(finish(&mut table).lines().count(), 1);
    }

    #[test]
    fn a_zone_of_another_class_or_with_damaged_rdata_is_no_bailiwick() {
        let mut chaos = record(ZONE, 2, QNAME);
        chaos[ZONE.len() + 3] = 3;
        for zone in [chaos, record(ZONE, 2, b"")] {
            let mut table = Table::new(10);
            add(&mut table, &packet(AA, &[record(QNAME, 1, ADDRESS)], &[zone]), 1);
            let text = finish(&mut table);
            assert!(text.lines().count() == 1 && !text.contains("bailiwick"), "{text}");
        }
    }

    #[test]
    fn a_full_table_prints_what_was_not_seen_for_longest() {
        let mut table = Table::new(2);
        let address = |last| packet(AA, &[record(QNAME, 1, &[192, 0, 2, last])], &[]);
        for last in [1, 2, 1] {
            assert_eq!(add(&mut table, &address(last), 1), "");
        }
        assert!(add(&mut table, &address(3), 1).contains("192.0.2.2"));
        assert_eq!(finish(&mut table).lines().count(), 2);
        assert_eq!(table.text_len, 0);
    }

    #[test]
    fn text_from_the_wire_is_valid_json() {
        let mut table = Table::new(10);
        let answer = [record(QNAME, 16, b"\x06\"\\\n\xff\x00a"), record(QNAME, 99, b"\x01\"")];
        add(&mut table, &packet(AA, &answer, &[]), -1);
        let text = finish(&mut table);
        assert_eq!(text.lines().count(), 2);
        for line in text.lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(value["time_first"], -1);
        }
    }

    #[test]
    fn no_cut_of_a_response_panics() {
        let whole = packet(AA, &[record(QNAME, 1, ADDRESS)], &[record(ZONE, 2, QNAME)]);
        let mut table = Table::new(10);
        for len in 0..whole.len() {
            add(&mut table, &whole[..len], 1);
        }
    }
}
