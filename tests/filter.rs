//! The kernel's filter beside the exact rule: what the tracker uses, the kernel lets through.

use crate::build::{self, Count, End};
use proptest::prelude::*;
use sie_dns_sensor::{
    capture::{
        Frame, Input, LinkType, Next,
        live::{Filter, Form, Program},
    },
    config::{self, CaptureRd},
    time::Timestamp,
    track::{Limits, Rules, Tracker},
};
use std::path::PathBuf;

const SETTINGS: [&[&str]; 8] = [
    &[],
    &["DNSQR_RES_ADDRS=192.0.2.53,2001:db8:53::53"],
    &["DNSQR_RES_ADDRS=192.0.2.0/24", "DNSQR_CAPTURE_TCP=0"],
    &["DNSQR_AUTH_ADDRS=198.51.100.1,2001:db8:a::/48"],
    &["DNSQR_RES_ADDRS=2001:db8:53::/48,192.0.2.53", "DNSQR_AUTH_ADDRS=203.0.113.9,2001:db8:a::1"],
    &["DNSQR_RES_ADDRS=192.0.2.53,2001:db8:53::53", "DNSQR_PORTS=53,5353,5354,8053"],
    &["DNSQR_RES_ADDRS=0.0.0.0/0"],
    &["DNSQR_PORTS=53,5353", "DNSQR_CAPTURE_TCP=0"],
];

/// A tracker and the program for the same settings.
struct Beside {
    tracker: Tracker,
    filter: Filter,
    program: Option<(LinkType, Program)>,
}

impl Beside {
    fn new(sets: &[&str]) -> Beside {
        let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
        let (settings, _) = config::load(None, &sets).unwrap();
        let tracker = Tracker::new(Rules::new(&settings, CaptureRd::Both, 1), Limits::new(&settings));
        Beside { tracker, filter: Filter::new(&settings), program: None }
    }

    /// Whether the tracker uses the frame, and whether the program lets it through.
    fn follow(&mut self, frame: &Frame) -> (bool, bool) {
        let used = |tracker: &Tracker| {
            let packets = tracker.ledger().packets;
            packets.query + packets.response + packets.fragment + packets.segment
        };
        let before = used(&self.tracker);
        self.tracker.packet(frame, &mut Count::default());
        let is_used = used(&self.tracker) > before;
        let known = self.program.take_if(|(link_type, _)| *link_type == frame.link_type);
        let (_, program) = self
            .program
            .insert(known.unwrap_or_else(|| (frame.link_type, self.filter.compile(frame.link_type).unwrap())));
        (is_used, program.accepts(frame.bytes))
    }
}

#[test]
fn no_frame_of_a_capture_that_is_used_is_rejected() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/vectors");
    let mut used = 0;
    let mut files = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if !path.extension().is_some_and(|extension| extension == "pcap" || extension == "pcapng") {
            continue;
        }
        files += 1;
        for sets in SETTINGS {
            let mut beside = Beside::new(sets);
            let mut input = Input::new(vec![path.clone()], false);
            while let Next::Frame(frame) = input.next() {
                if [LinkType::Null, LinkType::Loop].contains(&frame.link_type) {
                    continue; // AF_INET6 of the system that captured, where libpcap wants this one's
                }
                let (is_used, passes) = beside.follow(&frame);
                assert!(passes || !is_used, "{path:?} {sets:?}: {:02x?}", frame.bytes);
                used += u64::from(is_used);
            }
        }
    }
    assert!(files > 60 && used > 1000, "{used} used in {files} files");
}

/// What is sent.
#[derive(Clone, Debug)]
struct Sent {
    from: End,
    to: End,
    tcp: bool,
    /// Where it is cut into fragments.
    cuts: Vec<usize>,
    /// Extension headers, where it is IPv6: the protocol number of each.
    extensions: Vec<u8>,
    tags: Vec<u16>,
}

fn sent() -> impl Strategy<Value = Sent> {
    let v4 =
        prop::sample::select(vec![[192, 0, 2, 53], [192, 0, 2, 1], [198, 51, 100, 1], [203, 0, 113, 9], [10, 0, 0, 1]]);
    let v6 = prop::sample::select(vec![(0x53, 0x53), (0x53, 1), (0xa, 1), (0xa, 2), (1, 1)]);
    let six = |(net, host)| [0x2001, 0xdb8, net, 0, 0, 0, 0, host].into();
    let ends = prop_oneof![
        (v4.clone(), v4).prop_map(|(from, to)| (from.into(), to.into())),
        (v6.clone(), v6).prop_map(move |(from, to)| (six(from), six(to))),
    ];
    let port = || prop::sample::select(vec![53, 53, 5353, 5354, 8053, 4000, 123]);
    let extensions = prop::collection::vec(prop::sample::select(vec![0, 43, 51, 60, 135, 139, 140, 44]), 0..3);
    let tags = prop::collection::vec(prop::sample::select(vec![0x8100, 0x88a8, 0x9100]), 0..=3);
    let cuts = prop_oneof![Just(Vec::new()), prop::collection::vec(8usize..120, 1..3)];
    (ends, port(), port(), any::<bool>(), cuts, extensions, tags).prop_map(
        |((from, to), from_port, to_port, tcp, cuts, extensions, tags)| Sent {
            from: (from, from_port),
            to: (to, to_port),
            tcp,
            cuts,
            extensions,
            tags,
        },
    )
}

impl Sent {
    /// IP packets.
    fn packets(&self) -> Vec<Vec<u8>> {
        let flags = if self.from.1 == 53 { build::QR } else { 0 };
        let message = build::message(7, flags, Some(&build::question("a-rather-long-name-to-be-cut.example")));
        if self.tcp {
            return vec![self.extended(build::tcp(self.from, self.to, build::SYN, 1, &message))];
        }
        if self.cuts.is_empty() {
            return vec![self.extended(build::udp(self.from, self.to, &message))];
        }
        let datagram = build::datagram(self.from, self.to, &message);
        let fragments = build::fragments(self.from.0, self.to.0, 9, &datagram, &self.cuts);
        fragments.into_iter().map(|packet| self.extended(packet)).collect()
    }

    /// With extension headers behind the IPv6 header; each of eight bytes, a fragment header an atomic one.
    fn extended(&self, mut packet: Vec<u8>) -> Vec<u8> {
        if self.from.0.is_ipv4() {
            return packet;
        }
        for extension in self.extensions.iter().rev() {
            let next = std::mem::replace(&mut packet[6], *extension);
            packet.splice(40..40, [next, 0, 0, 0, 0, 0, 0, 0]);
        }
        let len = (packet.len() - 40) as u16;
        packet[4..6].copy_from_slice(&len.to_be_bytes());
        packet
    }

    fn ethernet(&self, packet: &[u8]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        for tag in &self.tags {
            frame.extend([tag.to_be_bytes(), [0, 7]].as_flattened());
        }
        frame.extend(if self.from.0.is_ipv4() { [0x08, 0x00] } else { [0x86, 0xdd] });
        frame.extend(packet);
        frame
    }
}

#[test]
fn no_frame_made_up_that_is_used_is_rejected() {
    let mut besides: Vec<Beside> = SETTINGS.iter().map(|sets| Beside::new(sets)).collect();
    let (mut used, mut rejected) = (0, 0);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        failure_persistence: None,
        cases: 3000,
        ..ProptestConfig::default()
    });
    let mut number = 0;
    let cell = std::cell::RefCell::new((&mut besides, &mut used, &mut rejected, &mut number));
    let result = runner.run(&sent(), |sent| {
        let (besides, used, rejected, number) = &mut *cell.borrow_mut();
        for beside in besides.iter_mut() {
            for packet in sent.packets() {
                let bytes = sent.ethernet(&packet);
                **number += 1;
                // Each an hour later: no fragment meets another's.
                let time = Timestamp::new(1_700_000_000 + 3600 * **number, 0);
                let wire_len = bytes.len() as u32;
                let frame = Frame { time, link_type: LinkType::Ethernet, bytes: &bytes, wire_len };
                let (is_used, passes) = beside.follow(&frame);
                prop_assert!(passes || !is_used, "{:02x?}", bytes);
                **used += u64::from(is_used);
                **rejected += u64::from(!passes);
            }
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    assert!(used > 1000 && rejected > 1000, "{used} used, {rejected} rejected");
}

#[test]
fn a_resolver_and_its_clients_are_told_apart_behind_tags() {
    let mut beside = Beside::new(SETTINGS[1]);
    let (resolver, server) = (build::resolver(), build::server());
    let client = ([10, 0, 0, 1].into(), 4000);
    for tags in [&[][..], &[0x8100], &[0x88a8, 0x8100], &[0x8100, 0x8100, 0x8100]] {
        for (from, to, expected) in [
            (resolver, server, (true, true)),
            (server, resolver, (true, true)),
            (client, (resolver.0, 53), (false, false)),
            ((resolver.0, 53), client, (false, false)),
        ] {
            let sent = Sent { from, to, tcp: false, cuts: Vec::new(), extensions: Vec::new(), tags: tags.to_vec() };
            let bytes = sent.ethernet(&sent.packets()[0]);
            let wire_len = bytes.len() as u32;
            let frame = Frame { time: build::at(0.0), link_type: LinkType::Ethernet, bytes: &bytes, wire_len };
            assert_eq!(beside.follow(&frame), expected, "{tags:?} {from:?} {to:?}");
        }
    }
    assert_eq!(beside.program.map(|(_, program)| program.form), Some(Form::Addresses));
}
