//! The JSON form: one object a line, keys in libnmsg's order, the DNS messages both in base64 and taken apart.

mod syntax;

use std::collections::HashMap;

pub use syntax::escape_json;
use syntax::{array, base64, base64_member, member, number, number_member, object, string};

use super::message::{Edns, Message, Question, Record};
use super::{edns, names, numbers, payload, put, rdata};
use crate::nmsg::Payload;
use crate::nmsg::dnsqr::Dnsqr;

/// Appends a payload and the end of its line.
///
/// A message that is no dnsqr, or does not decode, is base64 under `payload`.
pub fn write(payload: &Payload, out: &mut Vec<u8>) {
    object(out, |out| {
        member("time", out, |out| {
            string(out, |out| numbers::write_time(payload.time_sec, payload.time_nsec, out));
        });
        member("vname", out, |out| string(out, |out| payload::write_vendor(payload.vid, out)));
        member("mname", out, |out| string(out, |out| payload::write_msgtype(payload.vid, payload.msgtype, out)));
        write_origin(payload, out);
        match payload::dnsqr(payload) {
            Some(dnsqr) => member("message", out, |out| object(out, |out| write_dnsqr(&dnsqr, out))),
            None => base64_member("payload", &payload.message, out),
        }
    });
    out.push(b'\n');
}

/// Who sent the payload, where it says so.
fn write_origin(payload: &Payload, out: &mut Vec<u8>) {
    if payload.source != 0 {
        member("source", out, |out| put!(out, "\"{:08x}\"", payload.source));
    }
    for (key, number) in [("operator", payload.operator), ("group", payload.group)] {
        if number != 0 {
            number_member(key, number, out);
        }
    }
}

fn write_dnsqr(dnsqr: &Dnsqr, out: &mut Vec<u8>) {
    member("type", out, |out| string(out, |out| payload::write_kind(dnsqr.kind, out)));
    member("query_ip", out, |out| string(out, |out| numbers::write_address(dnsqr.query_ip, out)));
    member("response_ip", out, |out| string(out, |out| numbers::write_address(dnsqr.response_ip, out)));
    name_member("proto", "", payload::proto(dnsqr.proto), dnsqr.proto, out);
    number_member("query_port", dnsqr.query_port, out);
    number_member("response_port", dnsqr.response_port, out);
    number_member("id", dnsqr.id, out);
    write_question(dnsqr, out);
    write_packets(dnsqr, out);
    write_outcome(dnsqr, out);
    write_messages(dnsqr, out);
    for (key, packet) in [("tcp", dnsqr.tcp), ("icmp", dnsqr.icmp)] {
        if let Some(packet) = packet {
            base64_member(key, packet, out);
        }
    }
}

/// A name, or `prefix` and the number where there is none.
fn name_member(key: &str, prefix: &str, name: Option<&str>, number: u32, out: &mut Vec<u8>) {
    member(key, out, |out| match name {
        Some(name) => put!(out, "\"{name}\""),
        None => put!(out, "\"{prefix}{number}\""),
    });
}

fn write_question(dnsqr: &Dnsqr, out: &mut Vec<u8>) {
    if let Some(qname) = dnsqr.qname {
        member("qname", out, |out| string(out, |out| names::write_domain(qname, out)));
    }
    let numbers: [(_, _, _, fn(u16) -> _); 3] = [
        ("qclass", "CLASS", dnsqr.qclass, names::class),
        ("qtype", "TYPE", dnsqr.qtype, names::rrtype),
        ("rcode", "", dnsqr.rcode, names::rcode),
    ];
    for (key, prefix, number, name) in numbers {
        if let Some(number) = number {
            name_member(key, prefix, payload::name16(number, name), number, out);
        }
    }
}

fn write_packets(dnsqr: &Dnsqr, out: &mut Vec<u8>) {
    member("query_packet", out, |out| array(out, &dnsqr.query_packet, |packet, out| base64(packet, out)));
    member("query_time_sec", out, |out| array(out, &dnsqr.query_time_sec, number));
    member("query_time_nsec", out, |out| array(out, &dnsqr.query_time_nsec, number));
    member("response_packet", out, |out| array(out, &dnsqr.response_packet, |packet, out| base64(packet, out)));
    member("response_time_sec", out, |out| array(out, &dnsqr.response_time_sec, number));
    member("response_time_nsec", out, |out| array(out, &dnsqr.response_time_nsec, number));
}

fn write_outcome(dnsqr: &Dnsqr, out: &mut Vec<u8>) {
    for (key, seconds) in [("timeout", dnsqr.timeout), ("delay", payload::delay(dnsqr))] {
        if let Some(seconds) = seconds {
            member(key, out, |out| numbers::write_double(seconds, out));
        }
    }
    if let Some(state) = dnsqr.udp_checksum {
        member("udp_checksum", out, |out| string(out, |out| payload::write_udp_checksum(state, out)));
    }
    if let Some(zeroed) = dnsqr.resolver_address_zeroed {
        member("resolver_address_zeroed", out, |out| put!(out, "{zeroed}"));
    }
}

fn write_messages(dnsqr: &Dnsqr, out: &mut Vec<u8>) {
    let [query, response] = payload::messages(dnsqr);
    if let Some(query) = query {
        base64_member("query", &query, out);
        member("query_json", out, |out| write_bytes(&query, out));
    }
    if let Some(response) = response {
        base64_member("response", &response, out);
        member("response_json", out, |out| write_bytes(&response, out));
        base64_member("dns", &response, out);
    }
}

/// `null` for bytes that are no message.
fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    match Message::parse(bytes) {
        Ok(message) => write_message(&message, out),
        Err(_) => out.extend_from_slice(b"null"),
    }
}

/// Appends a DNS message as an object.
pub fn write_message(message: &Message, out: &mut Vec<u8>) {
    object(out, |out| {
        member("header", out, |out| object(out, |out| write_header(message, out)));
        member("question", out, |out| array(out, &message.question, write_question_entry));
        for (key, section) in
            [("answer", &message.answer), ("authority", &message.authority), ("additional", &message.additional)]
        {
            member(key, out, |out| array(out, rrsets(section), write_rrset));
        }
    });
}

fn write_header(message: &Message, out: &mut Vec<u8>) {
    code_member("opcode", names::opcode(message.opcode()), message.opcode(), out);
    code_member("rcode", names::rcode(message.rcode), message.rcode, out);
    number_member("id", message.id, out);
    member("flags", out, |out| array(out, message.flag_names(), |flag, out| put!(out, "\"{flag}\"")));
    if let Some(edns) = &message.edns {
        member("opt", out, |out| {
            object(out, |out| member("edns", out, |out| object(out, |out| write_edns(edns, out))))
        });
    }
}

/// A name in quotes, or a bare number.
fn code_member(key: &str, name: Option<&str>, number: u16, out: &mut Vec<u8>) {
    member(key, out, |out| match name {
        Some(name) => put!(out, "\"{name}\""),
        None => put!(out, "{number}"),
    });
}

fn write_edns(edns: &Edns, out: &mut Vec<u8>) {
    number_member("version", edns.version, out);
    let flags = edns.dnssec_ok().then_some("\"do\"");
    member("flags", out, |out| array(out, flags, |flag, out| put!(out, "{flag}")));
    number_member("udp", edns.size, out);
    if let Some(options) = edns.options {
        member("options", out, |out| {
            array(out, edns::options(options), |option, out| string(out, |out| edns::write(option, out)));
        });
    }
}

fn write_question_entry(question: &Question, out: &mut Vec<u8>) {
    object(out, |out| {
        member("qname", out, |out| string(out, |out| names::write_domain(&question.name, out)));
        member("qclass", out, |out| string(out, |out| names::write_class(question.class, out)));
        member("qtype", out, |out| string(out, |out| write_rrtype(question.rrtype, question.class, out)));
    });
}

/// libnmsg names a type it does not know by the number of the *class*; its readers got used to it.
fn write_rrtype(rrtype: u16, class: u16, out: &mut Vec<u8>) {
    match names::rrtype(rrtype) {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None => put!(out, "TYPE{class}"),
    }
}

/// Records of one owner (case does not count), class and type.
struct RrSet<'m> {
    first: &'m Record<'m>,
    /// The lowest there is.
    ttl: u32,
    rdata: Vec<&'m [u8]>,
}

/// The RRsets of a section in the order of their first records. Found through a map: a hostile section is thousands of
/// sets.
fn rrsets<'m>(records: &'m [Record<'m>]) -> Vec<RrSet<'m>> {
    let mut sets: Vec<RrSet> = Vec::new();
    let mut places = HashMap::new();
    for record in records {
        let key = (record.name.to_ascii_lowercase(), record.rrtype, record.class);
        let place = *places.entry(key).or_insert(sets.len());
        if let Some(set) = sets.get_mut(place) {
            set.ttl = set.ttl.min(record.ttl);
            set.rdata.push(&record.rdata);
        } else {
            sets.push(RrSet { first: record, ttl: record.ttl, rdata: vec![&record.rdata] });
        }
    }
    sets
}

fn write_rrset(set: RrSet, out: &mut Vec<u8>) {
    let Record { name, rrtype, class, .. } = set.first;
    object(out, |out| {
        member("rrname", out, |out| string(out, |out| names::write_domain(name, out)));
        number_member("rrttl", set.ttl, out);
        member("rrclass", out, |out| string(out, |out| names::write_class(*class, out)));
        member("rrtype", out, |out| string(out, |out| write_rrtype(*rrtype, *class, out)));
        member("rdata", out, |out| {
            array(out, set.rdata, |bytes, out| {
                string(out, |out| {
                    rdata::write(bytes, *rrtype, *class, out);
                })
            });
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_rrset_has_the_lowest_ttl_and_the_place_of_its_first_record() {
        let record = |name: &[u8], ttl, last| Record {
            name: name.to_vec(),
            rrtype: 1,
            class: 1,
            ttl,
            rdata: vec![192, 0, 2, last].into(),
        };
        let records = [record(b"\x01a\0", 60, 1), record(b"\x01b\0", 5, 2), record(b"\x01a\0", 30, 3)];
        let mut out = Vec::new();
        array(&mut out, rrsets(&records), write_rrset);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"[{"rrname":"a.","rrttl":30,"rrclass":"IN","rrtype":"A","rdata":["192.0.2.1","192.0.2.3"]},"#.to_owned()
                + r#"{"rrname":"b.","rrttl":5,"rrclass":"IN","rrtype":"A","rdata":["192.0.2.2"]}]"#
        );
    }
}
