//! `read` as a whole, on containers made in memory.

use std::fs;

use super::*;
use crate::nmsg::samples::{Nmsg, NmsgDnsqr, NmsgPayload, container};
use prost::Message as _;

const NAMES: [&[u8]; 2] = [b"\x03www\x07example\x03net\0", b"\x07example\x03org\0"];

/// A UDP packet with a DNS message that asks for `name`.
fn packet(name: &[u8], flags: [u8; 2], answer: &[u8]) -> Vec<u8> {
    let mut message = vec![0, 1, flags[0], flags[1], 0, 1, 0, u8::from(!answer.is_empty()), 0, 0, 0, 0];
    message.extend([name, &[0, 1, 0, 1], answer].concat());
    let len = u16::try_from(28 + message.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x45, 0, len[0], len[1], 0, 1, 0, 0, 64, 17, 0, 0];
    packet.extend([192, 0, 2, 53, 198, 51, 100, 1, 0, 53, 0, 53, 0, 0, 0, 0]);
    packet.extend(message);
    packet
}

/// A transaction; without an answer, an unanswered query.
fn dnsqr(name: &[u8], time: i64, answered: bool) -> NmsgPayload {
    let mut dnsqr = NmsgDnsqr {
        kind: if answered { 1 } else { 2 },
        query_ip: vec![192, 0, 2, 53],
        response_ip: vec![198, 51, 100, 1],
        proto: 17,
        query_port: 4096,
        response_port: 53,
        id: 1,
        qname: Some(name.to_vec()),
        qtype: Some(1),
        qclass: Some(1),
        query_packet: vec![packet(name, [0, 0], &[])],
        query_time_sec: vec![time],
        query_time_nsec: vec![1],
        ..NmsgDnsqr::default()
    };
    if answered {
        let answer = [name, &[0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 80]].concat();
        dnsqr.rcode = Some(0);
        dnsqr.response_packet = vec![packet(name, [0x84, 0], &answer)];
        dnsqr.response_time_sec = vec![time];
        dnsqr.response_time_nsec = vec![2_000_001];
    }
    let payload = Some(dnsqr.encode_to_vec());
    NmsgPayload { vid: 1, msgtype: 9, time_sec: time, time_nsec: 1, payload, ..Default::default() }
}

/// Two transactions, one of them unanswered, and a payload of another type, in a container.
fn sample() -> Vec<u8> {
    let mut body = Nmsg::default();
    body.push(dnsqr(NAMES[0], 1_790_001_000, true));
    body.push(dnsqr(NAMES[1], 1_790_001_060, false));
    body.push(NmsgPayload { vid: 200, msgtype: 1, time_sec: 5, payload: Some(vec![1]), ..Default::default() });
    container(0, &body.encoded())
}

/// A directory of the test's own.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("sie-dns-sensor-read-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// What `read` makes of the input, and how it went.
    fn read(&self, input: &[u8], args: ReadArgs) -> (Vec<u8>, Outcome) {
        let out = self.0.join("out");
        let files = vec![self.file("in.nmsg", input)];
        let args = ReadArgs { files, write: Some(out.clone()), ..args };
        let request = Request::new(&args).unwrap();
        let outcome = read_all(request, &args);
        (fs::read(out).unwrap_or_default(), outcome)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn format(format: &str) -> ReadArgs {
    ReadArgs { format: format.to_string(), ..ReadArgs::default() }
}

fn lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == b'\n').count()
}

#[test]
fn json_is_a_line_for_each_payload_that_passes() {
    let scratch = Scratch::new("json");
    let (out, outcome) = scratch.read(&sample(), format("json"));
    assert_eq!((lines(&out), outcome), (3, Outcome::Done));
    let args = ReadArgs { kind: vec!["unanswered".to_string()], ..format("json") };
    let text = String::from_utf8(scratch.read(&sample(), args).0).unwrap();
    assert!(lines(text.as_bytes()) == 1 && text.contains("example.org."), "{text}");
}

#[test]
fn a_count_stops_after_that_many_payloads() {
    let scratch = Scratch::new("count");
    let args = ReadArgs { count: Some("1".to_string()), ..format("json") };
    let input = [sample(), b"garbage behind it".to_vec()].concat();
    let (out, outcome) = scratch.read(&input, args);
    assert_eq!((lines(&out), outcome), (1, Outcome::Done));
}

#[test]
fn packets_come_back_as_a_nanosecond_savefile() {
    let scratch = Scratch::new("pcap");
    let (out, _) = scratch.read(&sample(), format("pcap"));
    assert_eq!(out[..4], 0xa1b2_3c4d_u32.to_le_bytes());
    let query = packet(NAMES[0], [0, 0], &[]);
    assert_eq!(out[24..28], 1_790_001_000_u32.to_le_bytes());
    assert_eq!(out[28..32], 1u32.to_le_bytes());
    assert_eq!(out[40..40 + query.len()], query);
    let mut rest = &out[24..];
    let mut packets = 0;
    while let [_, _, _, _, _, _, _, _, len, 0, 0, 0, ..] = rest {
        rest = &rest[16 + usize::from(*len)..];
        packets += 1;
    }
    assert_eq!((packets, rest.len()), (3, 0));
}

#[test]
fn tuples_are_one_line_however_often_they_are_seen() {
    let scratch = Scratch::new("cof");
    let (out, _) = scratch.read(&[sample(), sample()].concat(), format("cof"));
    let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(
        (&value["rrname"], &value["rdata"], &value["count"]),
        (&"www.example.net.".into(), &"192.0.2.80".into(), &2.into())
    );
}

#[test]
fn counts_obey_the_filters() {
    let scratch = Scratch::new("stats");
    let args = ReadArgs { stats: true, qname: vec!["net".to_string()], ..ReadArgs::default() };
    let text = String::from_utf8(scratch.read(&sample(), args).0).unwrap();
    assert!(text.contains("payloads   1 (1 transactions, 0 of other types)"), "{text}");
    assert!(text.contains("example.net.") && !text.contains("example.org."), "{text}");
}

#[test]
fn damage_is_exit_code_1_and_the_rest_is_read() {
    let scratch = Scratch::new("damage");
    let mut malformed = Nmsg::default();
    malformed.push(NmsgPayload { vid: 1, msgtype: 9, payload: Some(vec![0x08]), ..Default::default() });
    let cut = sample()[..50].to_vec();
    for (damage, expected) in
        [(b"garbage".to_vec(), 6), (container(0, &[0x0b]), 6), (container(0, &malformed.encoded()), 7)]
    {
        let (out, outcome) = scratch.read(&[sample(), damage, sample()].concat(), format("json"));
        assert_eq!((lines(&out), outcome), (expected, Outcome::SomeBad));
    }
    let (out, outcome) = scratch.read(&[sample(), cut].concat(), format("json"));
    assert_eq!((lines(&out), outcome), (3, Outcome::SomeBad));
}

#[test]
fn a_file_that_cannot_be_opened_is_bad_input_and_the_others_are_read() {
    let scratch = Scratch::new("missing");
    let out = scratch.0.join("out");
    let files = vec![scratch.0.join("missing"), scratch.file("there", &sample())];
    let args = ReadArgs { files, write: Some(out.clone()), ..format("json") };
    assert_eq!(read_all(Request::new(&args).unwrap(), &args), Outcome::SomeBad);
    assert_eq!(lines(&fs::read(out).unwrap()), 3);
}

#[test]
fn an_input_is_never_the_output() {
    let scratch = Scratch::new("same");
    let path = scratch.file("same", &sample());
    let args = ReadArgs { files: vec![path.clone()], write: Some(path.clone()), ..format("json") };
    assert_eq!(read_all(Request::new(&args).unwrap(), &args), Outcome::Failed);
    assert_eq!(fs::read(path).unwrap(), sample());
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1, "no part file stays");
}

#[test]
fn every_wrong_option_is_said() {
    let args = ReadArgs {
        count: Some("0".to_string()),
        qtype: vec!["AAAAA".to_string()],
        ip: vec!["here".to_string()],
        ..format("xml")
    };
    let problems = Request::new(&args).unwrap_err();
    assert_eq!(problems.len(), 4, "{problems:#?}");
    assert!(problems[0].contains("pres, json, pcap, cof"), "{problems:#?}");
}
