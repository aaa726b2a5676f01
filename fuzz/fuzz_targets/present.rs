//! A DNS message as text, as JSON, as passive DNS tuples and in statistics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sie_dns_sensor::{
    decode::dns,
    nmsg::{dnsqr::Dnsqr, dnsqr::Type},
    present::{cof, json, message::Message, pres, stats::Stats},
};
use sie_dns_sensor_fuzz::text;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(message) = Message::parse(bytes) {
        let mut shown = Vec::new();
        pres::write_message(&message, &mut shown);
        text::check_lines(&shown);
        shown.clear();
        json::write_message(&message, &mut shown);
        text::check_lines(&shown);
        text::check_json(&shown);
        for record in message.answer.iter().chain(&message.authority).chain(&message.additional) {
            assert!(record.name.len() <= 255);
        }
    }
    summarize(bytes);
});

/// The message as the response of a transaction.
fn summarize(bytes: &[u8]) {
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, 17, 64];
    let len = (bytes.len() + 8).min(65_535);
    packet[4..6].copy_from_slice(&(len as u16).to_be_bytes());
    packet.extend([1; 32]);
    packet.extend([0, 53, 0, 99]);
    packet.extend((len as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(&bytes[..len - 8]);
    let question = dns::message(bytes).ok().and_then(|message| message.question);
    let dnsqr = Dnsqr {
        kind: Type::UdpQueryResponse as u32,
        query_ip: &[1; 16],
        response_ip: &[2; 16],
        proto: 17,
        query_port: 99,
        response_port: 53,
        qname: Some(question.map_or(&[0], |question| question.qname())),
        qtype: question.map(|question| question.qtype().into()),
        query_time_sec: vec![1_700_000_000],
        query_time_nsec: vec![0],
        response_packet: vec![&packet],
        response_time_sec: vec![1_700_000_001],
        response_time_nsec: vec![5],
        ..Dnsqr::default()
    };
    let payload = text::payload(Vec::new());
    let mut lines = Vec::new();
    let mut table = cof::Table::new(8);
    table.add(&payload, &dnsqr, &mut lines);
    table.finish(&mut lines).expect("memory");
    text::check_lines(&lines);
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        assert!(text::check_json(line).is_object());
    }
    let mut stats = Stats::new(2);
    stats.add(&payload, Some(&dnsqr));
    text::check_lines(stats.screen().as_bytes());
}
