//! Damaged input through the whole pipeline: nothing panics, every packet has its fate, what comes out can be read.

use crate::build::{self, Bench, End, at, resolver, server, tcp, udp};
use sie_dns_sensor::{
    capture::{Frame, LinkType, Savefile},
    config,
    nmsg::{dnsqr::Dnsqr, reader::Reader, writer::Writer},
    time::Timestamp,
    track::{Limits, Rules, Tracker},
};
use std::{fs, io::Cursor, path::PathBuf};

fn vectors() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/vectors")
}

struct Vector {
    name: String,
    bytes: Vec<u8>,
    sets: Vec<String>,
}

/// Every capture with its settings.
fn each() -> Vec<Vector> {
    let environments: serde_json::Value =
        serde_json::from_slice(&fs::read(vectors().join("env.json")).unwrap()).unwrap();
    let environments = environments.as_object().unwrap().iter();
    let vectors = environments.map(|(name, settings)| {
        let settings = settings.as_object().unwrap().iter();
        let sets = settings.filter_map(|(name, value)| Some(format!("{name}={}", value.as_str()?)));
        Vector { name: name.clone(), bytes: fs::read(vectors().join(name)).unwrap(), sets: sets.collect() }
    });
    vectors.collect()
}

struct Pipeline {
    tracker: Tracker,
    writer: Writer<Vec<u8>>,
}

impl Pipeline {
    fn new(sets: &[String]) -> Pipeline {
        let (settings, _) = config::load(None, sets).unwrap();
        let tracker = Tracker::new(Rules::new(&settings, settings.replay_capture_rd(), 1), Limits::new(&settings));
        Pipeline { tracker, writer: Writer::new(Vec::new(), None) }
    }

    fn frame(&mut self, link_type: LinkType, bytes: &[u8], time: Timestamp) {
        let frame = Frame { time, link_type, bytes, wire_len: bytes.len() as u32 };
        self.tracker.packet(&frame, &mut self.writer);
    }

    fn finish(mut self, name: &str) {
        self.tracker.finish(&mut self.writer);
        let (bytes, output, error) = self.writer.finish();
        assert!(error.is_none());
        let mut ledger = self.tracker.ledger();
        ledger.output = output;
        assert_eq!(ledger.imbalances(), Vec::<String>::new(), "{name}");
        let mut reader = Reader::new(&bytes[..]);
        let mut read = 0;
        while let Some(payload) = reader.next().unwrap() {
            Dnsqr::decode(&payload.message).unwrap();
            read += 1;
        }
        assert_eq!(read, ledger.output.transactions, "{name}");
    }
}

/// The frames of a capture.
fn frames(bytes: &[u8]) -> Vec<(LinkType, Vec<u8>, Timestamp)> {
    let mut savefile = Savefile::from_reader("a".into(), Box::new(Cursor::new(bytes.to_vec()))).unwrap();
    let mut frames = Vec::new();
    while let Ok(Some(frame)) = savefile.next() {
        frames.push((frame.link_type, frame.bytes.to_vec(), frame.time));
    }
    frames
}

#[test]
fn every_frame_cut_at_every_byte_has_a_fate() {
    let hiding = ["DNSQR_ZERO_RESOLVER_ADDRESS=1".to_string(), "DNSQR_STRIP_ECS=1".to_string()];
    for vector in each() {
        for extra in [&[][..], &hiding] {
            let sets: Vec<String> = vector.sets.iter().chain(extra).cloned().collect();
            let mut pipeline = Pipeline::new(&sets);
            for (link_type, bytes, time) in frames(&vector.bytes) {
                for cut in 0..=bytes.len() {
                    pipeline.frame(link_type, &bytes[..cut], time);
                }
            }
            pipeline.finish(&vector.name);
        }
    }
}

/// A small generator of numbers that is the same every time (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

#[test]
fn frames_with_flipped_bits_have_a_fate() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for vector in each() {
        let sets: Vec<String> = vector.sets.iter().cloned().chain(["DNSQR_STRIP_ECS=1".to_string()]).collect();
        let mut pipeline = Pipeline::new(&sets);
        for (link_type, bytes, time) in frames(&vector.bytes) {
            for _ in 0..60 {
                let mut bytes = bytes.clone();
                for _ in 0..=numbers.next(4) {
                    let at = numbers.next(bytes.len());
                    bytes[at] ^= 1 << numbers.next(8);
                }
                pipeline.frame(link_type, &bytes, time);
            }
        }
        pipeline.finish(&vector.name);
    }
}

#[test]
fn a_file_cut_anywhere_gives_what_is_whole() {
    for vector in each() {
        // Long files not everywhere: the time is the square of the length.
        let step = if vector.bytes.len() < 1500 { 1 } else { 1 + vector.bytes.len() / 97 };
        for cut in (0..vector.bytes.len()).step_by(step) {
            let bytes = vector.bytes[..cut].to_vec();
            let Ok(mut savefile) = Savefile::from_reader("a".into(), Box::new(Cursor::new(bytes))) else { continue };
            let mut pipeline = Pipeline::new(&vector.sets);
            while let Ok(Some(frame)) = savefile.next() {
                pipeline.tracker.packet(&frame, &mut pipeline.writer);
            }
            pipeline.finish(&vector.name);
        }
    }
}

#[test]
fn lengths_that_lie_are_malformed_at_their_layer() {
    let mut bench = Bench::new(build::rules(), build::limits());
    let with = |at: usize, value: &[u8], mut packet: Vec<u8>| {
        packet[at..at + value.len()].copy_from_slice(value);
        packet
    };
    let query = || udp(resolver(), server(), &build::query(7, "a"));
    let segment = || tcp(resolver(), server(), build::SYN, 1, b"");
    let ip = [
        with(0, &[0x4f], query())[..20].to_vec(),
        with(0, &[0x44], query()),
        with(0, &[0x40], query()),
        with(2, &[0xff, 0xff], query()),
        with(2, &[0, 19], query()),
        with(2, &[0, 0], query()),
        with(0, &[0x55], query()),
        vec![],
    ];
    let udp = [with(24, &[0, 7], query()), with(24, &[0xff, 0xff], query()), with(24, &[0, 0], query())];
    let tcp = [with(32, &[0xf0], segment()), with(32, &[0x40], segment()), with(32, &[0], segment())];
    for packet in ip.iter().chain(&udp).chain(&tcp) {
        bench.packet(packet, at(0.0));
    }
    let packets = bench.finish().packets;
    let malformed = (packets.malformed_ip, packets.malformed_udp, packets.malformed_tcp);
    assert_eq!(malformed, (ip.len() as u64, udp.len() as u64, tcp.len() as u64));
}

#[test]
fn random_bytes_behind_valid_headers_have_a_fate() {
    let mut numbers = Numbers(0x1234_5678_9abc_def1);
    let mut pipeline = Pipeline::new(&["DNSQR_STRIP_ECS=1".into(), "DNSQR_ZERO_RESOLVER_ADDRESS=1".into()]);
    for number in 0..20_000 {
        let len = numbers.next(120);
        let mut bytes: Vec<u8> = (0..len).map(|_| numbers.next(256) as u8).collect();
        if let Some(qdcount) = bytes.get_mut(4..12) {
            qdcount.copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 1]);
        }
        let (from, to): (End, End) = if number % 2 == 0 { (resolver(), server()) } else { (server(), resolver()) };
        let packet = match number % 3 {
            0 => udp(from, to, &bytes),
            1 => tcp(from, to, numbers.next(32) as u8, numbers.next(200) as u32, &bytes),
            _ => {
                let id = numbers.next(50) as u32;
                build::ip_piece(from.0, to.0, build::UDP, id, Some((numbers.next(20) * 8, number % 4 == 0)), &bytes)
            }
        };
        pipeline.frame(LinkType::Raw, &packet, at(f64::from(number) / 1000.0));
    }
    pipeline.finish("random");
}
