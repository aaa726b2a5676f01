//! Presentation and JSON forms against libnmsg's own output, and against hostile input.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use sie_dns_sensor::nmsg::Payload;
use sie_dns_sensor::nmsg::dnsqr::Dnsqr;
use sie_dns_sensor::nmsg::reader::Reader;
use sie_dns_sensor::present::message::Message;
use sie_dns_sensor::present::{json, names, pres, rdata};

fn expected() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/vectors/expected")
}

/// All captures that libnmsg's output is known for.
fn vectors() -> Vec<PathBuf> {
    let entries = fs::read_dir(expected()).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|ext| ext == "nmsg")).collect();
    paths.sort();
    paths
}

fn payloads(path: &Path) -> Vec<Payload<'static>> {
    let bytes = fs::read(path).unwrap();
    let mut reader = Reader::new(bytes.as_slice());
    let mut payloads = Vec::new();
    while let Some(payload) = reader.next().unwrap() {
        payloads.push(Payload { message: payload.message.into_owned().into(), ..payload });
    }
    payloads
}

fn print(payload: &Payload, write: fn(&Payload, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(payload, &mut out);
    out
}

fn assert_equal(path: &Path, extension: &str, write: fn(&Payload, &mut Vec<u8>)) {
    let mut out = Vec::new();
    payloads(path).iter().for_each(|payload| write(payload, &mut out));
    let expected = fs::read_to_string(path.with_extension(extension)).unwrap();
    let actual = String::from_utf8(out).unwrap();
    for (number, (expected, actual)) in expected.lines().zip(actual.lines()).enumerate() {
        assert_eq!(actual, expected, "{} line {}", path.display(), number + 1);
    }
    assert_eq!(actual.len(), expected.len(), "{}", path.display());
}

#[test]
fn presentation_equals_libnmsgs_in_every_capture() {
    assert_eq!(vectors().len(), 44);
    vectors().iter().for_each(|path| assert_equal(path, "pres", pres::write));
}

#[test]
fn json_equals_libnmsgs_in_every_capture() {
    vectors().iter().for_each(|path| assert_equal(path, "json", json::write));
}

/// Both forms of one DNS message.
fn print_message(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    pres::write_message(message, &mut out);
    json::write_message(message, &mut out);
    out
}

fn assert_harmless(text: &[u8]) {
    assert!(text.iter().all(|byte| matches!(byte, b'\n' | b' '..=b'~')), "{}", String::from_utf8_lossy(text));
}

#[test]
fn no_cut_of_a_message_panics() {
    for payload in vectors().iter().flat_map(|path| payloads(path)) {
        let dnsqr = Dnsqr::decode(&payload.message).unwrap();
        for message in [dnsqr.query_message(), dnsqr.response_message()].into_iter().flatten() {
            for len in 0..message.len() {
                if let Ok(message) = Message::parse(message.get(..len).unwrap()) {
                    assert_harmless(&print_message(&message));
                }
            }
        }
    }
}

#[test]
fn no_cut_of_a_payload_panics() {
    for payload in payloads(&expected().join("udp6.nmsg")) {
        for len in 0..payload.message.len() {
            let message = payload.message.get(..len).unwrap().to_vec().into();
            let cut = Payload { message, ..payload.clone() };
            assert_harmless(&print(&cut, pres::write));
            assert_harmless(&print(&cut, json::write));
        }
    }
}

#[test]
fn a_payload_of_another_type_is_hex_and_base64() {
    let payload = Payload {
        vid: 2,
        msgtype: 7,
        time_sec: 1,
        time_nsec: 2,
        message: vec![0x1b; 33].into(),
        source: 0xa1ba_02cf,
        operator: 3,
        group: 4,
    };
    let hex = "1b".repeat(32);
    let header = "[33] [1970-01-01 00:00:01.000000002] [2:7 SIE 7] [a1ba02cf] [3] [4] ";
    assert_eq!(String::from_utf8(print(&payload, pres::write)).unwrap(), format!("{header}\n{hex}\n1b\n\n"));
    let base64 = "Gxsb".repeat(11);
    assert_eq!(
        String::from_utf8(print(&payload, json::write)).unwrap(),
        format!(
            "{{\"time\":\"1970-01-01 00:00:01.000000002\",\"vname\":\"SIE\",\"mname\":\"7\",\"source\":\"a1ba02cf\",\
             \"operator\":3,\"group\":4,\"payload\":\"{base64}\"}}\n"
        )
    );
}

/// A dnsqr of the fields that are required, with `more` behind them.
fn dnsqr(more: &[u8]) -> Payload<'static> {
    let required = b"\x08\x63\x12\x03\x1b\x00\x02\x1a\x00\x20\x63\x28\x35\x30\x35\x38\x07";
    Payload {
        vid: 1,
        msgtype: 9,
        time_sec: i64::MIN,
        time_nsec: u32::MAX,
        message: [required, more].concat().into(),
        source: 0,
        operator: 0,
        group: 0,
    }
}

#[test]
fn numbers_that_nobody_defined_still_print() {
    let payload = dnsqr(b"\x48\xff\xff\x07\x50\x07\x58\x63\xa8\x01\x09\xb0\x01\x01");
    let text = String::from_utf8(print(&payload, pres::write)).unwrap();
    let fields = "type: <UNKNOWN ENUM 99>\nquery_ip: 1b0002\nresponse_ip: \nproto: <UNKNOWN> (99)\nquery_port: 53\n\
                  response_port: 53\nid: 7\nqclass: <UNKNOWN> (7)\nqtype: <UNKNOWN> (131071)\nrcode: <UNKNOWN> (99)\n\
                  udp_checksum: <UNKNOWN ENUM 9>\nresolver_address_zeroed: true\n\n";
    assert!(text.ends_with(fields), "{text}");
    let line: serde_json::Value = serde_json::from_slice(&print(&payload, json::write)).unwrap();
    let message = line.get("message").unwrap();
    assert_eq!(message.get("qtype").unwrap(), "TYPE131071");
    assert_eq!(message.get("qclass").unwrap(), "CLASS7");
    assert_eq!(message.get("rcode").unwrap(), "99");
    assert_eq!(message.get("resolver_address_zeroed").unwrap(), true);
}

/// A query packet: IPv4 and UDP headers around `message`.
fn with_query(message: &[u8]) -> Payload<'static> {
    let udp_len = u16::try_from(8 + message.len()).unwrap().to_be_bytes();
    let total_len = u16::try_from(28 + message.len()).unwrap().to_be_bytes();
    let ip = [&[0x45, 0], &total_len[..], &[0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]].concat();
    let packet = [&ip[..], &[0, 53, 0, 53], &udp_len, &[0, 0], message].concat();
    let len = u8::try_from(packet.len()).unwrap();
    assert!(len < 128);
    dnsqr(&[&[0x62, len], &packet[..]].concat())
}

#[test]
fn a_query_that_does_not_parse_says_so() {
    let loops = b"\0\x07\0\0\0\x01\0\0\0\0\0\0\xc0\x0c\0\x01\0\x01";
    let text = String::from_utf8(print(&with_query(loops), pres::write)).unwrap();
    assert!(text.ends_with("\nquery: <PARSE ERROR>\n\n"), "{text}");
    let text = String::from_utf8(print(&with_query(loops), json::write)).unwrap();
    assert!(text.ends_with("\"query\":\"AAcAAAABAAAAAAAAwAwAAQAB\",\"query_json\":null}}\n"), "{text}");
}

#[test]
fn unknown_opcodes_and_rcodes_are_numbers() {
    let header = b"\0\x07\x48\x0d\0\0\0\0\0\0\0\0";
    let text = String::from_utf8(print(&with_query(header), pres::write)).unwrap();
    assert!(text.contains("opcode: 9, rcode: 13, id: 7\n"), "{text}");
    let text = String::from_utf8(print(&with_query(header), json::write)).unwrap();
    assert!(text.contains("{\"opcode\":9,\"rcode\":13,\"id\":7,\"flags\":[]}"), "{text}");
}

/// Sixteen kilobytes, as far as pointers reach, in which every record's owner is a pointer to the one before.
#[test]
fn a_chain_of_pointers_ends() {
    let mut message = b"\0\x01\x80\0\0\0\xff\xff\0\0\0\0\x01a\0\0\x01\0\x01\0\0\0\0\0\0".to_vec();
    let mut last = 12;
    while message.len() < 0x3ff0 {
        let here = message.len();
        message.extend_from_slice(&(0xc000 | u16::try_from(last).unwrap()).to_be_bytes());
        message.extend_from_slice(b"\0\x01\0\x01\0\0\0\0\0\0");
        last = here;
    }
    assert!(Message::parse(&message).is_err());
}

proptest! {
    #[test]
    fn random_messages_print_or_fail(
        header in prop::array::uniform4(0u8..4),
        id_flags in any::<[u8; 4]>(),
        body in prop::collection::vec(prop_oneof![Just(0u8), Just(1u8), Just(0xc0u8), 0u8..70, any::<u8>()], 0..200),
    ) {
        let counts = header.iter().flat_map(|&count| [0, count]);
        let bytes: Vec<u8> = id_flags.into_iter().chain(counts).chain(body).collect();
        if let Ok(message) = Message::parse(&bytes) {
            assert_harmless(&print_message(&message));
        }
    }

    #[test]
    fn random_rdata_of_every_type_prints_harmlessly(
        rrtype in prop_oneof![0u16..260, Just(32768), Just(32769), any::<u16>()],
        class in prop_oneof![Just(1u16), any::<u16>()],
        bytes in prop::collection::vec(prop_oneof![0u8..6, any::<u8>()], 0..80),
    ) {
        let mut out = Vec::new();
        rdata::write(&bytes, rrtype, class, &mut out);
        assert_harmless(&out);
        let len = u8::try_from(bytes.len()).unwrap();
        let mut message = b"\0\x01\x80\0\0\0\0\x01\0\0\0\0\0".to_vec();
        message.extend(rrtype.to_be_bytes().into_iter().chain(class.to_be_bytes()).chain([0, 0, 0, 1, 0, len]));
        message.extend_from_slice(&bytes);
        if let Ok(message) = Message::parse(&message) {
            assert_harmless(&print_message(&message));
        }
    }

    #[test]
    fn random_payloads_print_harmlessly_and_as_json(
        more in prop::collection::vec(any::<u8>(), 0..120),
        query in prop::collection::vec(any::<u8>(), 0..90),
    ) {
        for payload in [dnsqr(&more), with_query(&query)] {
            assert_harmless(&print(&payload, pres::write));
            let line = print(&payload, json::write);
            assert_harmless(&line);
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&line).is_ok());
        }
    }

    #[test]
    fn random_names_print_harmlessly(wire in prop::collection::vec(any::<u8>(), 0..300)) {
        assert_harmless(names::domain(&wire).as_bytes());
    }
}
