//! The JSON form: one object a line, keys in libnmsg's order, the DNS messages both in base64 and taken apart.

use std::fmt::Display;

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
            string(out, |out| {
                numbers::write_time(payload.time_sec, payload.time_nsec, out)
            });
        });
        member("vname", out, |out| {
            string(out, |out| payload::write_vendor(payload.vid, out))
        });
        member("mname", out, |out| {
            string(out, |out| {
                payload::write_msgtype(payload.vid, payload.msgtype, out)
            })
        });
        write_origin(payload, out);
        match payload::dnsqr(payload) {
            Some(dnsqr) => member("message", out, |out| {
                object(out, |out| write_dnsqr(&dnsqr, out))
            }),
            None => base64_member("payload", &payload.message, out),
        }
    });
    out.push(b'\n');
}

/// Appends text as it stands between the quotes of a JSON string.
pub fn escape_json(text: &str, out: &mut Vec<u8>) {
    for character in text.chars() {
        match character {
            '"' | '\\' => put!(out, "\\{character}"),
            _ if character.is_control() => put!(out, "\\u{:04x}", u32::from(character)),
            _ => put!(out, "{character}"),
        }
    }
}

/// A comma, unless this is the first thing in its object or array.
fn separate(out: &mut Vec<u8>) {
    if !matches!(out.last(), Some(b'{' | b'[')) {
        out.push(b',');
    }
}

fn object(out: &mut Vec<u8>, members: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'{');
    members(out);
    out.push(b'}');
}

fn member(key: &str, out: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>)) {
    separate(out);
    out.push(b'"');
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
    value(out);
}

fn array<T>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>, item: impl Fn(T, &mut Vec<u8>)) {
    out.push(b'[');
    for one in items {
        separate(out);
        item(one, out);
    }
    out.push(b']');
}

/// A string of what `content` writes. That is presentation form: visible ASCII, most often without anything to escape.
fn string(out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    let start = out.len();
    content(out);
    let written = out.get(start..).unwrap_or_default();
    if written
        .iter()
        .any(|byte| !matches!(byte, b' '..=b'~') || matches!(byte, b'"' | b'\\'))
    {
        let written = out.split_off(start);
        escape_json(&String::from_utf8_lossy(&written), out);
    }
    out.push(b'"');
}

fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    numbers::write_base64(bytes, out);
    out.push(b'"');
}

fn base64_member(key: &str, bytes: &[u8], out: &mut Vec<u8>) {
    member(key, out, |out| base64(bytes, out));
}

fn number_member(key: &str, number: impl Into<u64>, out: &mut Vec<u8>) {
    let number = number.into();
    member(key, out, |out| put!(out, "{number}"));
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
    member("type", out, |out| {
        string(out, |out| payload::write_kind(dnsqr.kind, out))
    });
    member("query_ip", out, |out| {
        string(out, |out| numbers::write_address(dnsqr.query_ip, out))
    });
    member("response_ip", out, |out| {
        string(out, |out| numbers::write_address(dnsqr.response_ip, out))
    });
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
        member("qname", out, |out| {
            string(out, |out| names::write_domain(qname, out))
        });
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
    member("query_packet", out, |out| {
        array(out, &dnsqr.query_packet, |packet, out| base64(packet, out))
    });
    member("query_time_sec", out, |out| {
        array(out, &dnsqr.query_time_sec, number)
    });
    member("query_time_nsec", out, |out| {
        array(out, &dnsqr.query_time_nsec, number)
    });
    member("response_packet", out, |out| {
        array(out, &dnsqr.response_packet, |packet, out| {
            base64(packet, out)
        })
    });
    member("response_time_sec", out, |out| {
        array(out, &dnsqr.response_time_sec, number)
    });
    member("response_time_nsec", out, |out| {
        array(out, &dnsqr.response_time_nsec, number)
    });
}

fn number(number: impl Display, out: &mut Vec<u8>) {
    put!(out, "{number}");
}

fn write_outcome(dnsqr: &Dnsqr, out: &mut Vec<u8>) {
    for (key, seconds) in [("timeout", dnsqr.timeout), ("delay", payload::delay(dnsqr))] {
        if let Some(seconds) = seconds {
            member(key, out, |out| numbers::write_double(seconds, out));
        }
    }
    if let Some(state) = dnsqr.udp_checksum {
        member("udp_checksum", out, |out| {
            string(out, |out| payload::write_udp_checksum(state, out))
        });
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
        member("header", out, |out| {
            object(out, |out| write_header(message, out))
        });
        member("question", out, |out| {
            array(out, &message.question, write_question_entry)
        });
        for (key, section) in [
            ("answer", &message.answer),
            ("authority", &message.authority),
            ("additional", &message.additional),
        ] {
            member(key, out, |out| array(out, rrsets(section), write_rrset));
        }
    });
}

fn write_header(message: &Message, out: &mut Vec<u8>) {
    code_member(
        "opcode",
        names::opcode(message.opcode()),
        message.opcode(),
        out,
    );
    code_member("rcode", names::rcode(message.rcode), message.rcode, out);
    number_member("id", message.id, out);
    member("flags", out, |out| {
        array(out, message.flag_names(), |flag, out| {
            put!(out, "\"{flag}\"")
        })
    });
    if let Some(edns) = &message.edns {
        member("opt", out, |out| {
            object(out, |out| {
                member("edns", out, |out| object(out, |out| write_edns(edns, out)))
            })
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
    member("flags", out, |out| {
        array(out, flags, |flag, out| put!(out, "{flag}"))
    });
    number_member("udp", edns.size, out);
    if let Some(options) = edns.options {
        member("options", out, |out| {
            array(out, edns::options(options), |option, out| {
                string(out, |out| edns::write(option, out))
            });
        });
    }
}

fn write_question_entry(question: &Question, out: &mut Vec<u8>) {
    object(out, |out| {
        member("qname", out, |out| {
            string(out, |out| names::write_domain(&question.name, out))
        });
        member("qclass", out, |out| {
            string(out, |out| names::write_class(question.class, out))
        });
        member("qtype", out, |out| {
            string(out, |out| {
                write_rrtype(question.rrtype, question.class, out)
            })
        });
    });
}

/// libnmsg names a type it does not know by the number of the *class*; its readers got used to it.
fn write_rrtype(rrtype: u16, class: u16, out: &mut Vec<u8>) {
    match names::rrtype(rrtype) {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None => put!(out, "TYPE{class}"),
    }
}

/// Records of one owner (its case counts), class and type.
struct RrSet<'m> {
    first: &'m Record<'m>,
    /// The lowest there is.
    ttl: u32,
    rdata: Vec<&'m [u8]>,
}

/// The RRsets of a section in the order of their first records.
fn rrsets<'m>(records: &'m [Record<'m>]) -> Vec<RrSet<'m>> {
    let mut sets: Vec<RrSet> = Vec::new();
    for record in records {
        // Backwards, because records of a set stand together, except in hostile messages.
        match sets.iter_mut().rev().find(|set| set.takes(record)) {
            Some(set) => {
                set.ttl = set.ttl.min(record.ttl);
                set.rdata.push(&record.rdata);
            }
            None => sets.push(RrSet {
                first: record,
                ttl: record.ttl,
                rdata: vec![&record.rdata],
            }),
        }
    }
    sets
}

impl RrSet<'_> {
    fn takes(&self, record: &Record) -> bool {
        let first = self.first;
        (first.rrtype, first.class) == (record.rrtype, record.class) && first.name == record.name
    }
}

fn write_rrset(set: RrSet, out: &mut Vec<u8>) {
    let Record {
        name,
        rrtype,
        class,
        ..
    } = set.first;
    object(out, |out| {
        member("rrname", out, |out| {
            string(out, |out| names::write_domain(name, out))
        });
        number_member("rrttl", set.ttl, out);
        member("rrclass", out, |out| {
            string(out, |out| names::write_class(*class, out))
        });
        member("rrtype", out, |out| {
            string(out, |out| write_rrtype(*rrtype, *class, out))
        });
        member("rdata", out, |out| {
            array(out, set.rdata, |bytes, out| {
                string(out, |out| rdata::write(bytes, *rrtype, *class, out))
            });
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_escape_quotes_backslashes_and_control_characters_only() {
        let mut out = Vec::new();
        escape_json("a\"b\\c/d\n\u{1b}\u{7f}\u{9b}é", &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "a\\\"b\\\\c/d\\u000a\\u001b\\u007f\\u009bé"
        );
    }

    #[test]
    fn an_rrset_has_the_lowest_ttl_and_the_place_of_its_first_record() {
        let record = |name: &[u8], ttl, last| Record {
            name: name.to_vec(),
            rrtype: 1,
            class: 1,
            ttl,
            rdata: vec![192, 0, 2, last].into(),
        };
        let records = [
            record(b"\x01a\0", 60, 1),
            record(b"\x01b\0", 5, 2),
            record(b"\x01a\0", 30, 3),
        ];
        let mut out = Vec::new();
        array(&mut out, rrsets(&records), write_rrset);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"[{"rrname":"a.","rrttl":30,"rrclass":"IN","rrtype":"A","rdata":["192.0.2.1","192.0.2.3"]},"#.to_owned()
                + r#"{"rrname":"b.","rrttl":5,"rrclass":"IN","rrtype":"A","rdata":["192.0.2.2"]}]"#
        );
    }
}
