//! What fuzzing found, one test each.

use sie_dns_sensor::{
    capture::{Frame, LinkType},
    config,
    nmsg::{reader::Reader, writer::Writer},
    stats::Ledger,
    time::Timestamp,
    track::{Limits, Rules, Tracker},
};
use std::time::Duration;

/// A sensor, its tables limited as `change` says, and what it writes.
struct Sensor {
    tracker: Tracker,
    writer: Writer<Vec<u8>>,
    now: Timestamp,
}

impl Sensor {
    fn new(change: impl FnOnce(&mut Limits)) -> Sensor {
        Sensor::with(&[], change)
    }

    fn with(sets: &[String], change: impl FnOnce(&mut Limits)) -> Sensor {
        let (settings, _) = config::load(None, sets).unwrap_or_else(|problems| panic!("{problems}"));
        let mut limits = Limits::new(&settings);
        change(&mut limits);
        let tracker = Tracker::new(Rules::new(&settings, settings.replay_capture_rd(), 1), limits);
        Sensor { tracker, writer: Writer::new(Vec::new(), None), now: Timestamp::new(1_700_000_000, 0) }
    }

    fn packet(&mut self, bytes: &[u8]) {
        self.now = self.now + Duration::from_millis(1);
        let wire_len = bytes.len() as u32;
        self.tracker.packet(&Frame { time: self.now, link_type: LinkType::Raw, bytes, wire_len }, &mut self.writer);
    }

    /// The messages that were written, and the ledger, which balances.
    fn finish(mut self) -> (Vec<Vec<u8>>, Ledger) {
        self.tracker.finish(&mut self.writer);
        let mut ledger = self.tracker.ledger();
        let (bytes, output, _) = self.writer.finish();
        ledger.output = output;
        assert_eq!(ledger.imbalances(), Vec::<String>::new());
        let mut reader = Reader::new(&bytes[..]);
        let mut messages = Vec::new();
        while let Some(payload) = reader.next().unwrap() {
            messages.push(payload.message.into_owned());
        }
        (messages, ledger)
    }
}

/// An IPv6 packet whose payload is a fragment, behind `padding` headers of 2048 bytes each.
fn fragment6(padding: u8, next_header: u8, offset: u16, more: bool, data: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    for number in 1..=padding {
        payload.extend([if number == padding { 44 } else { 60 }, 255]); // destination options, 256 units of 8 bytes
        payload.resize(payload.len() + 2046, 0);
    }
    payload.extend([next_header, 0]);
    payload.extend((offset | u16::from(more)).to_be_bytes());
    payload.extend([0, 0, 0, 7]);
    payload.extend(data);
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([if padding == 0 { 44 } else { 60 }, 64]);
    packet.extend([1; 16]);
    packet.extend([2; 16]);
    packet.extend(payload);
    packet
}

/// An IPv4 packet with the first fragment of a UDP datagram.
fn first_fragment4(id: u16, ports: [u16; 2]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 36];
    packet.extend(id.to_be_bytes());
    packet.extend([0x20, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    packet.extend(ports.map(u16::to_be_bytes).concat());
    packet.extend([0, 99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    packet
}

#[test]
fn fragments_with_more_headers_than_payload_are_given_up_before_they_outgrow_a_container() {
    let mut query = vec![0x0f, 0xa0, 0, 53, 1, 0x40, 0, 0]; // port 4000 to 53, 320 bytes
    query.extend([0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]);
    query.resize(320, 0);
    for (padding, written) in [(0, 1), (1, 1), (31, 0)] {
        let mut sensor = Sensor::new(|_| ());
        for (index, data) in query.chunks(8).enumerate() {
            sensor.packet(&fragment6(padding, 17, index as u16 * 8, index < 39, data));
        }
        let (messages, ledger) = sensor.finish();
        assert_eq!(messages.len(), written, "{padding}");
        assert_eq!(ledger.datagrams.too_large, 1 - written as u64, "{padding}");
    }
}

#[test]
fn first_fragments_of_other_protocols_do_not_pile_up_while_there_is_no_dns() {
    let mut sensor = Sensor::new(|limits| limits.fragments.bytes = 10_000);
    for id in 0..1000 {
        sensor.packet(&first_fragment4(id, [5000, 5001]));
        assert!(sensor.tracker.bytes() <= 10_000, "{} bytes after {id}", sensor.tracker.bytes());
    }
}

#[test]
fn a_zeroed_resolver_is_not_left_in_extension_headers_that_travelled_in_fragments() {
    let mut payload = vec![17, 4, 0, 0, 0, 0, 0, 0]; // a routing header with two addresses
    payload.extend([1; 16]); // the resolver's
    payload.extend([3; 16]);
    payload.extend([0x0f, 0xa0, 0, 53, 0, 25, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]);
    for len in [8, 16, 24] {
        let mut sensor = Sensor::with(&["DNSQR_ZERO_RESOLVER_ADDRESS=1".into()], |_| ());
        for (index, data) in payload.chunks(len).enumerate() {
            let offset = index * len;
            sensor.packet(&fragment6(0, 43, offset as u16, offset + data.len() < payload.len(), data));
        }
        let (messages, _) = sensor.finish();
        assert_eq!(messages.len(), 1);
        assert!(!messages[0].windows(8).any(|bytes| bytes == [1; 8]), "fragments of {len}");
        assert!(messages[0].windows(8).any(|bytes| bytes == [3; 8]), "fragments of {len}");
    }
}
