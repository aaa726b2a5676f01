//! The presentation form: a header line, fields, and the DNS messages as dig shows them.

use super::message::{Edns, Message, Record};
use super::{edns, names, numbers, payload, put, rdata};
use crate::nmsg::Payload;
use crate::nmsg::dnsqr::Dnsqr;

/// Octets on a line of a message that has no other form.
const HEX_WIDTH: usize = 32;

/// Appends a payload and the empty line after it.
///
/// A message that is no dnsqr, or does not decode, follows its header line as hex.
pub fn write(payload: &Payload, out: &mut Vec<u8>) {
    write_header(payload, out);
    match payload::dnsqr(payload) {
        Some(dnsqr) => {
            write_fields(&dnsqr, out);
            write_messages(&dnsqr, out);
        }
        None => write_hex_lines(&payload.message, out),
    }
    out.push(b'\n');
}

/// `[length] [time] [vendor:type names] [source] [operator] [group] `
fn write_header(payload: &Payload, out: &mut Vec<u8>) {
    put!(out, "[{}] [", payload.message.len());
    numbers::write_time(payload.time_sec, payload.time_nsec, out);
    put!(out, "] [{}:{} ", payload.vid, payload.msgtype);
    payload::write_vendor(payload.vid, out);
    out.push(b' ');
    payload::write_msgtype(payload.vid, payload.msgtype, out);
    put!(out, "] [{:08x}] ", payload.source);
    for number in [payload.operator, payload.group] {
        match number {
            0 => put!(out, "[] "),
            _ => put!(out, "[{number}] "),
        }
    }
    out.push(b'\n');
}

fn write_hex_lines(bytes: &[u8], out: &mut Vec<u8>) {
    for line in bytes.chunks(HEX_WIDTH) {
        numbers::write_hex(line, out);
        out.push(b'\n');
    }
}

/// A line `name: ` and what `value` writes.
fn line(name: &str, out: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>)) {
    put!(out, "{name}: ");
    value(out);
    out.push(b'\n');
}

/// `NAME (number)`.
fn named(name: Option<&str>, number: u32, out: &mut Vec<u8>) {
    put!(out, "{} ({number})", name.unwrap_or("<UNKNOWN>"));
}

fn write_fields(dnsqr: &Dnsqr, out: &mut Vec<u8>) {
    line("type", out, |out| payload::write_kind(dnsqr.kind, out));
    line("query_ip", out, |out| numbers::write_address(dnsqr.query_ip, out));
    line("response_ip", out, |out| numbers::write_address(dnsqr.response_ip, out));
    line("proto", out, |out| named(payload::proto(dnsqr.proto), dnsqr.proto, out));
    line("query_port", out, |out| put!(out, "{}", dnsqr.query_port));
    line("response_port", out, |out| put!(out, "{}", dnsqr.response_port));
    line("id", out, |out| put!(out, "{}", dnsqr.id));
    write_optional_fields(dnsqr, out);
}

fn write_optional_fields(dnsqr: &Dnsqr, out: &mut Vec<u8>) {
    if let Some(qname) = dnsqr.qname {
        line("qname", out, |out| names::write_domain(qname, out));
    }
    let numbers: [(_, _, fn(u16) -> _); 3] = [
        ("qclass", dnsqr.qclass, names::class),
        ("qtype", dnsqr.qtype, names::rrtype),
        ("rcode", dnsqr.rcode, names::rcode),
    ];
    for (field, number, name) in numbers {
        if let Some(number) = number {
            line(field, out, |out| named(payload::name16(number, name), number, out));
        }
    }
    for (field, seconds) in [("timeout", dnsqr.timeout), ("delay", payload::delay(dnsqr))] {
        if let Some(seconds) = seconds {
            line(field, out, |out| put!(out, "{seconds:.6}"));
        }
    }
    if let Some(state) = dnsqr.udp_checksum {
        line("udp_checksum", out, |out| payload::write_udp_checksum(state, out));
    }
    if let Some(zeroed) = dnsqr.resolver_address_zeroed {
        line("resolver_address_zeroed", out, |out| put!(out, "{zeroed}"));
    }
}

fn write_messages(dnsqr: &Dnsqr, out: &mut Vec<u8>) {
    for (field, bytes) in ["query", "response"].into_iter().zip(payload::messages(dnsqr)) {
        let Some(bytes) = bytes else { continue };
        match Message::parse(&bytes) {
            Ok(message) => {
                line(field, out, |out| put!(out, "[{} octets]", bytes.len()));
                write_message(&message, out);
                out.extend_from_slice(b"---\n");
            }
            Err(_) => line(field, out, |out| out.extend_from_slice(b"<PARSE ERROR>")),
        }
    }
}

/// Appends a DNS message as dig shows it.
pub fn write_message(message: &Message, out: &mut Vec<u8>) {
    write_message_header(message, out);
    if let Some(edns) = &message.edns {
        write_edns(edns, out);
    }
    out.extend_from_slice(b";; QUESTION SECTION:\n");
    for question in &message.question {
        out.push(b';');
        write_owner(&question.name, question.class, question.rrtype, None, out);
        out.push(b'\n');
    }
    write_section("ANSWER", &message.answer, out);
    write_section("AUTHORITY", &message.authority, out);
    write_section("ADDITIONAL", &message.additional, out);
}

fn write_message_header(message: &Message, out: &mut Vec<u8>) {
    out.extend_from_slice(b";; ->>HEADER<<- opcode: ");
    name_or_number(names::opcode(message.opcode()), message.opcode(), out);
    out.extend_from_slice(b", rcode: ");
    name_or_number(names::rcode(message.rcode), message.rcode, out);
    put!(out, ", id: {}\n;; flags:", message.id);
    message.flag_names().for_each(|flag| put!(out, " {flag}"));
    let [questions, answers] = [message.question.len(), message.answer.len()];
    let [authorities, additionals] = [message.authority.len(), message.additional.len()];
    put!(out, "; QUERY: {questions}, ANSWER: {answers}, AUTHORITY: {authorities}, ADDITIONAL: {additionals}\n\n");
}

fn name_or_number(name: Option<&str>, number: u16, out: &mut Vec<u8>) {
    match name {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None => put!(out, "{number}"),
    }
}

fn write_edns(edns: &Edns, out: &mut Vec<u8>) {
    let flags = if edns.dnssec_ok() { " do" } else { "" };
    put!(out, ";; OPT PSEUDOSECTION:\n; EDNS: version: {}, flags:{flags}; udp: {}\n", edns.version, edns.size);
    for option in edns::options(edns.options.unwrap_or_default()) {
        out.extend_from_slice(b"; ");
        edns::write(option, out);
        out.push(b'\n');
    }
}

fn write_section(name: &str, records: &[Record], out: &mut Vec<u8>) {
    put!(out, "\n;; {name} SECTION:\n");
    for record in records {
        write_owner(&record.name, record.class, record.rrtype, Some(record.ttl), out);
        out.push(b' ');
        rdata::write(&record.rdata, record.rrtype, record.class, out);
        out.push(b'\n');
    }
}

/// `name ttl class type`, a question without the TTL.
fn write_owner(name: &[u8], class: u16, rrtype: u16, ttl: Option<u32>, out: &mut Vec<u8>) {
    names::write_domain(name, out);
    if let Some(ttl) = ttl {
        put!(out, " {ttl}");
    }
    out.push(b' ');
    names::write_class(class, out);
    out.push(b' ');
    names::write_rrtype(rrtype, out);
}
