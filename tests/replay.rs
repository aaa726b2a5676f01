//! Every capture with known answers, through the program's own path.

use sie_dns_sensor::{
    capture::{Input, Next},
    config, decode,
    nmsg::{
        dnsqr::Dnsqr,
        reader::Reader,
        writer::{Level, Writer},
    },
    present::{json, pres},
    track::{Limits, Rules, Tracker},
};
use std::{collections::BTreeMap, fs, path::PathBuf};

fn vectors() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/vectors")
}

fn read_json(name: &str) -> serde_json::Value {
    serde_json::from_slice(&fs::read(vectors().join(name)).unwrap()).unwrap()
}

/// The `--set` arguments that env.json asks for.
fn sets(environment: &serde_json::Value) -> Vec<String> {
    let settings = environment.as_object().unwrap().iter();
    settings.filter_map(|(name, value)| value.as_str().map(|value| format!("{name}={value}"))).collect()
}

/// The NMSG that replay makes of a capture.
fn replay(capture: &str, sets: &[String], level: Option<Level>) -> Vec<u8> {
    let (settings, _) = config::load(None, sets).unwrap_or_else(|problems| panic!("{capture}: {problems}"));
    let mut input = Input::new(vec![vectors().join(capture)], false);
    let mut tracker = Tracker::new(Rules::new(&settings, settings.replay_capture_rd(), 1), Limits::new(&settings));
    let mut writer = Writer::new(Vec::new(), level);
    loop {
        match input.next() {
            Next::Frame(frame) => tracker.packet(&frame, &mut writer),
            Next::End => break,
            other => panic!("{capture}: {other:?}"),
        }
    }
    tracker.finish(&mut writer);
    let (bytes, output, error) = writer.finish();
    assert!(error.is_none());
    let mut ledger = tracker.ledger();
    ledger.output = output;
    assert_eq!(ledger.imbalances(), Vec::<String>::new(), "{capture}");
    bytes
}

/// Each payload in presentation form and JSON, and its dnsqr decoded.
fn read(nmsg: &[u8], mut each: impl FnMut(&Dnsqr, &str, &str)) {
    let mut reader = Reader::new(nmsg);
    while let Some(payload) = reader.next().unwrap() {
        let (mut text, mut line) = (Vec::new(), Vec::new());
        pres::write(&payload, &mut text);
        json::write(&payload, &mut line);
        let dnsqr = Dnsqr::decode(&payload.message).unwrap();
        each(&dnsqr, std::str::from_utf8(&text).unwrap(), std::str::from_utf8(&line).unwrap());
    }
    assert_eq!(reader.counts().crc_mismatch, 0);
}

#[test]
fn the_captures_that_libnmsg_reads_alike_give_its_text_and_json_to_the_byte() {
    let environments = read_json("env.json");
    let mut same = 0;
    for (name, expected) in read_json("expected.json").as_object().unwrap() {
        if expected["same_as_libnmsg"] != true {
            continue;
        }
        same += 1;
        let capture = expected["capture"].as_str().unwrap();
        for level in [None, Some(Level::DENSE)] {
            let nmsg = replay(capture, &sets(&environments[capture]), level);
            let (mut text, mut lines) = (String::new(), String::new());
            read(&nmsg, |_, pres, json| {
                text += pres;
                lines += json;
            });
            let file = |extension| fs::read_to_string(vectors().join(format!("expected/{name}.{extension}"))).unwrap();
            assert_eq!(text, file("pres"), "{name}");
            assert_eq!(lines, file("json"), "{name}");
        }
    }
    assert_eq!(same, 44);
}

#[test]
fn the_other_captures_give_the_types_and_the_details_that_are_expected() {
    let environments = read_json("env.json");
    let mut different = 0;
    for (name, expected) in read_json("expected.json").as_object().unwrap() {
        if expected["same_as_libnmsg"] == true {
            continue;
        }
        different += 1;
        let capture = expected["capture"].as_str().unwrap();
        let nmsg = replay(capture, &sets(&environments[capture]), None);
        let mut types = BTreeMap::new();
        let mut whole = Vec::new();
        read(&nmsg, |dnsqr, _, line| {
            let json: serde_json::Value = serde_json::from_str(line).unwrap();
            *types.entry(json["message"]["type"].as_str().unwrap().to_string()).or_insert(0) += 1;
            check(name, &expected["checks"], dnsqr, &json);
            whole.push(line.to_string());
        });
        let expected_types = expected["types"].as_object().unwrap();
        let expected_types =
            expected_types.iter().map(|(name, count)| (name.clone(), count.as_u64().unwrap())).collect();
        assert_eq!(types, expected_types, "{name}");
    }
    assert_eq!(different, 36);
}

/// The details of expected.json that hold for each transaction; those that say how many packets there are hold for
/// transactions that have a response, or a query, at all.
fn check(name: &str, checks: &serde_json::Value, dnsqr: &Dnsqr, json: &serde_json::Value) {
    let packets: Vec<&[u8]> = dnsqr.query_packet.iter().chain(&dnsqr.response_packet).copied().collect();
    for (check, value) in checks.as_object().into_iter().flatten() {
        match check.as_str() {
            "response_packets" if dnsqr.response_packet.is_empty() => (),
            "response_packets" => assert_eq!(Some(dnsqr.response_packet.len() as u64), value.as_u64(), "{name}"),
            "query_packets" => assert_eq!(Some(dnsqr.query_packet.len() as u64), value.as_u64(), "{name}"),
            "query_packet_len" => assert_eq!(Some(dnsqr.query_packet[0].len() as u64), value.as_u64(), "{name}"),
            "proto" => assert_eq!(json["message"]["proto"], *value, "{name}"),
            "query_ip_zero" => assert!(dnsqr.query_ip.iter().all(|byte| *byte == 0), "{name}"),
            "no_resolver_bytes" => {
                let v6 = [0x20, 0x01, 0x0d, 0xb8, 0, 0x53, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x53];
                for address in [&[192, 0, 2, 53][..], &v6] {
                    for packet in &packets {
                        assert!(!packet.windows(address.len()).any(|bytes| bytes == address), "{name}");
                    }
                }
            }
            "resolver_address_zeroed" => assert_eq!(dnsqr.resolver_address_zeroed, value.as_bool(), "{name}"),
            "no_bytes_hex" => {
                let hex = value.as_str().unwrap().as_bytes();
                let digits =
                    hex.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
                let bytes: Vec<u8> = digits.collect();
                assert!(
                    packets.iter().all(|packet| !packet.windows(bytes.len()).any(|other| other == bytes)),
                    "{name}"
                );
            }
            "nanoseconds" => {
                let times = dnsqr.query_time_nsec.iter().chain(&dnsqr.response_time_nsec);
                assert!(times.clone().any(|nanos| nanos % 1000 != 0), "{name}");
            }
            "ip_header_checksums" => {
                for packet in packets.iter().filter(|packet| packet[0] >> 4 == 4) {
                    let header = &packet[..usize::from(packet[0] & 15) * 4];
                    assert_eq!(decode::udp::header_checksum(header), 0, "{name}");
                }
            }
            unknown => panic!("{name}: a check that nobody wrote: {unknown}"),
        }
    }
}
