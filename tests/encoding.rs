//! The encoder beside prost's: the same bytes for every transaction, and containers that prost reads.

use crate::build::{self, Count, End, frame, ip_piece, resolver, resolver6, server, server6};
use proptest::prelude::*;
use prost::Message;
use sie_dns_sensor::{
    nmsg::writer::{Builder, Level, Writer},
    time::Timestamp,
    track::{Capture, Hide, Kind, Packets, Rules, Sink, Tracker, Transaction},
};
use std::net::IpAddr;

#[derive(Clone, PartialEq, Message)]
struct Nmsg {
    #[prost(message, repeated, tag = "1")]
    payloads: Vec<Payload>,
    #[prost(uint32, repeated, packed = "false", tag = "2")]
    payload_crcs: Vec<u32>,
    #[prost(uint32, optional, tag = "3")]
    sequence: Option<u32>,
    #[prost(uint64, optional, tag = "4")]
    sequence_id: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct Payload {
    #[prost(uint32, required, tag = "1")]
    vid: u32,
    #[prost(uint32, required, tag = "2")]
    msgtype: u32,
    #[prost(int64, required, tag = "3")]
    time_sec: i64,
    #[prost(fixed32, required, tag = "4")]
    time_nsec: u32,
    #[prost(bytes = "vec", optional, tag = "5")]
    payload: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Dnsqr {
    #[prost(uint32, required, tag = "1")]
    kind: u32,
    #[prost(bytes = "vec", required, tag = "2")]
    query_ip: Vec<u8>,
    #[prost(bytes = "vec", required, tag = "3")]
    response_ip: Vec<u8>,
    #[prost(uint32, required, tag = "4")]
    proto: u32,
    #[prost(uint32, required, tag = "5")]
    query_port: u32,
    #[prost(uint32, required, tag = "6")]
    response_port: u32,
    #[prost(uint32, required, tag = "7")]
    id: u32,
    #[prost(bytes = "vec", optional, tag = "8")]
    qname: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "9")]
    qtype: Option<u32>,
    #[prost(uint32, optional, tag = "10")]
    qclass: Option<u32>,
    #[prost(uint32, optional, tag = "11")]
    rcode: Option<u32>,
    #[prost(bytes = "vec", repeated, tag = "12")]
    query_packet: Vec<Vec<u8>>,
    #[prost(int64, repeated, packed = "false", tag = "13")]
    query_time_sec: Vec<i64>,
    #[prost(sfixed32, repeated, packed = "false", tag = "14")]
    query_time_nsec: Vec<i32>,
    #[prost(bytes = "vec", repeated, tag = "15")]
    response_packet: Vec<Vec<u8>>,
    #[prost(int64, repeated, packed = "false", tag = "16")]
    response_time_sec: Vec<i64>,
    #[prost(sfixed32, repeated, packed = "false", tag = "17")]
    response_time_nsec: Vec<i32>,
    #[prost(double, optional, tag = "20")]
    timeout: Option<f64>,
    #[prost(uint32, optional, tag = "21")]
    udp_checksum: Option<u32>,
    #[prost(bool, optional, tag = "22")]
    resolver_address_zeroed: Option<bool>,
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn packets(packets: Option<&Packets>) -> (Vec<Vec<u8>>, Vec<i64>, Vec<i32>) {
    let bytes = packets.into_iter().flat_map(Packets::bytes).map(<[u8]>::to_vec);
    let times: Vec<Timestamp> = packets.into_iter().flat_map(Packets::times).collect();
    let seconds = times.iter().map(|time| time.seconds().cast_signed());
    let nanos = times.iter().map(|time| time.subsec_nanos().cast_signed());
    (bytes.collect(), seconds.collect(), nanos.collect())
}

/// The message as spec/nmsg.md §2 has it.
fn dnsqr(transaction: &Transaction) -> Dnsqr {
    let zeroed = transaction.resolver_address_zeroed;
    let query_ip = octets(transaction.flow.query_ip);
    let (query_packet, query_time_sec, query_time_nsec) = packets(transaction.query.as_ref());
    let response = transaction.response.as_ref();
    let (response_packet, response_time_sec, response_time_nsec) = packets(response.map(|response| &response.packets));
    Dnsqr {
        kind: match transaction.kind {
            Kind::QueryResponse => 1,
            Kind::UnansweredQuery => 2,
            Kind::UnsolicitedResponse => 3,
            Kind::QueryOnly => 6,
            Kind::ResponseOnly => 7,
        },
        query_ip: if zeroed { vec![0; query_ip.len()] } else { query_ip },
        response_ip: octets(transaction.flow.response_ip),
        proto: transaction.flow.protocol.into(),
        query_port: transaction.flow.query_port.into(),
        response_port: transaction.flow.response_port.into(),
        id: transaction.id.into(),
        qname: transaction.question.map(|question| question.qname().to_vec()),
        qtype: transaction.question.map(|question| question.qtype().into()),
        qclass: transaction.question.map(|question| question.qclass().into()),
        rcode: response.map(|response| response.rcode.into()),
        query_packet,
        query_time_sec,
        query_time_nsec,
        response_packet,
        response_time_sec,
        response_time_nsec,
        timeout: transaction.waited.map(|waited| waited.as_nanos() as f64 / 1e9),
        udp_checksum: response.map(|response| response.checksum as u32),
        resolver_address_zeroed: zeroed.then_some(true),
    }
}

/// Compares as it encodes.
#[derive(Default)]
struct Both {
    builder: Builder,
    messages: Vec<Vec<u8>>,
    times: Vec<Timestamp>,
}

impl Sink for Both {
    fn transaction(&mut self, transaction: &Transaction) {
        assert!(self.builder.push(transaction));
        let ours = read(self.builder.finish()).remove(0).payload.unwrap();
        self.builder.clear();
        let expected = dnsqr(transaction);
        let got = Dnsqr::decode(&ours[..]).unwrap();
        // Division and addition of the two parts may differ in the last bit of a long wait.
        assert!((got.timeout.unwrap_or(0.0) - expected.timeout.unwrap_or(0.0)).abs() < 1e-5);
        let expected = Dnsqr { timeout: got.timeout, ..expected };
        assert_eq!(got, expected);
        assert_eq!(ours, expected.encode_to_vec());
        self.messages.push(ours);
        let first = transaction.query.or(transaction.response.map(|response| response.packets));
        self.times.push(first.unwrap().time());
    }
}

/// The payloads of containers, all checksums right.
fn read(mut bytes: &[u8]) -> Vec<Payload> {
    let mut payloads = Vec::new();
    while !bytes.is_empty() {
        assert_eq!((&bytes[..4], bytes[5]), (&b"NMSG"[..], 2));
        let len = u32::from_be_bytes(bytes[6..10].try_into().unwrap()) as usize;
        let mut body = bytes[10..10 + len].to_vec();
        assert!(10 + len <= 1 << 20);
        if bytes[4] & 1 != 0 {
            let mut inflated = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::ZlibDecoder::new(&body[4..]), &mut inflated).unwrap();
            assert_eq!(body[..4], (inflated.len() as u32).to_be_bytes());
            body = inflated;
        }
        let nmsg = Nmsg::decode(&body[..]).unwrap();
        assert_eq!(nmsg.encode_to_vec(), body);
        assert_eq!((nmsg.sequence, nmsg.sequence_id), (None, None));
        let crcs = nmsg.payloads.iter().map(|payload| crc32c::crc32c(payload.payload.as_deref().unwrap()).swap_bytes());
        assert_eq!(nmsg.payload_crcs, crcs.collect::<Vec<_>>());
        payloads.extend(nmsg.payloads);
        bytes = &bytes[10 + len..];
    }
    payloads
}

#[derive(Clone, Debug)]
struct Sent {
    is_v6: bool,
    is_response: bool,
    id: u16,
    port: u16,
    question: Option<Vec<u8>>,
    rcode: u16,
    padding: usize,
    cuts: Vec<usize>,
    gap: u64,
    /// 0 no checksum, 1 a wrong one.
    checksum: u8,
}

fn question() -> impl Strategy<Value = Vec<u8>> {
    let label = prop::collection::vec(any::<u8>(), 1..=63);
    (prop::collection::vec(label, 0..6), any::<[u8; 4]>()).prop_map(|(labels, type_and_class)| {
        let mut bytes = Vec::new();
        for label in labels {
            if bytes.len() + 1 + label.len() < 255 {
                bytes.push(label.len() as u8);
                bytes.extend(label);
            }
        }
        bytes.push(0);
        bytes.extend(type_and_class);
        bytes
    })
}

fn sent() -> impl Strategy<Value = Sent> {
    let cuts = prop_oneof![3 => Just(vec![]), 1 => prop::collection::vec(8..4000_usize, 1..70)];
    let gap = prop_oneof![4 => 0..5_000_000_000_u64, 1 => any::<u64>()];
    let message = (any::<bool>(), any::<bool>(), 0..3_u16, prop_oneof![0..2_u16, any::<u16>()]);
    let content = (prop::option::weighted(0.9, question()), 0..16_u16, prop_oneof![0..90_usize, 0..4000_usize]);
    (message, content, cuts, gap, 0..6_u8).prop_map(|(message, content, cuts, gap, checksum)| {
        let (is_v6, is_response, id, port) = message;
        let (question, rcode, padding) = content;
        Sent { is_v6, is_response, id, port, question, rcode, padding, cuts, gap, checksum }
    })
}

fn packets_of(sent: &Sent, number: u32) -> Vec<Vec<u8>> {
    let (resolver, server): (End, End) = if sent.is_v6 { (resolver6(), server6()) } else { (resolver(), server()) };
    let resolver = (resolver.0, sent.port);
    let flags = if sent.is_response { build::QR | sent.rcode } else { 0 };
    let mut message = build::message(sent.id, flags, sent.question.as_deref());
    if sent.question.is_some() {
        message.resize(message.len() + sent.padding, 0x77);
    }
    let (from, to) = if sent.is_response { (server, resolver) } else { (resolver, server) };
    let mut datagram = build::datagram(from, to, &message);
    match sent.checksum {
        0 => datagram[6..8].fill(0),
        1 => datagram[6..8].fill(0xab),
        _ => (),
    }
    match sent.cuts.is_empty() {
        true => vec![ip_piece(from.0, to.0, build::UDP, 0, None, &datagram)],
        false => {
            let pieces = build::fragments(from.0, to.0, number, &datagram, &sent.cuts);
            if pieces.len() == 1 { vec![build::ip(from.0, to.0, build::UDP, &datagram)] } else { pieces }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn transactions_and_containers_are_those_of_prost(
        mut sent in prop::collection::vec(sent(), 1..30),
        echoes in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        start in prop_oneof![Just(0), Just(1_700_000_000_000_000_000), any::<u64>()],
        capture in prop_oneof![4 => Just(Capture::Pairs), 1 => Just(Capture::Queries), 1 => Just(Capture::Responses)],
        resolver_address in any::<bool>(),
    ) {
        // Some queries get the answer that belongs to them.
        for echo in echoes {
            let query = sent[echo.index(sent.len())].clone();
            sent.push(Sent { is_response: true, gap: 1, ..query });
        }
        let rules = || Rules { capture, hide: Hide { resolver_address, client_subnets: false }, ..build::rules() };
        let mut both = Both::default();
        let mut trackers = [(); 3].map(|()| Tracker::new(rules(), build::limits()));
        let (mut plain, mut packed) = (Writer::new(Vec::new(), None), Writer::new(Vec::new(), Some(Level::DENSE)));
        let mut time = start;
        for (number, sent) in sent.iter().enumerate() {
            for packet in packets_of(sent, number as u32) {
                time = u64::saturating_add(time, sent.gap);
                let frame = frame(&packet, Timestamp::from_nanos(time));
                trackers[0].packet(&frame, &mut both);
                trackers[1].packet(&frame, &mut plain);
                trackers[2].packet(&frame, &mut packed);
            }
        }
        trackers[0].finish(&mut both);
        trackers[1].finish(&mut plain);
        trackers[2].finish(&mut packed);
        let expected: Vec<Payload> = both.messages.into_iter().zip(&both.times).map(|(message, time)| Payload {
            vid: 1,
            msgtype: 9,
            time_sec: time.seconds().cast_signed(),
            time_nsec: time.subsec_nanos(),
            payload: Some(message),
        }).collect();
        for writer in [plain, packed] {
            let (bytes, counts, error) = writer.finish();
            prop_assert!(error.is_none());
            prop_assert_eq!((counts.bytes, counts.transactions), (bytes.len() as u64, expected.len() as u64));
            prop_assert_eq!(&read(&bytes), &expected);
        }
    }
}

#[test]
fn containers_are_filled_to_just_under_a_mebibyte() {
    let mut tracker = Tracker::new(Rules { capture: Capture::Responses, ..build::rules() }, build::limits());
    let mut writer = Writer::new(Vec::new(), None);
    let mut message = build::response(1, "a");
    message.resize(60_000, 1);
    let packet = build::udp(server(), resolver(), &message);
    (0..40).for_each(|_| tracker.packet(&frame(&packet, build::at(0.0)), &mut writer));
    let (bytes, counts, _) = writer.finish();
    assert_eq!((counts.transactions, counts.containers, read(&bytes).len()), (40, 3, 40));
    let mut count = Count::default();
    tracker.finish(&mut count);
    assert_eq!(count.0, 0);
}
