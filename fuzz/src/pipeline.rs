//! From frames to NMSG and back, everything that must hold checked on the way.

use crate::{choices::Choices, hosts};
use sie_dns_sensor::{
    capture::Frame,
    config::{self, CaptureQr, CaptureRd, Settings},
    decode::{self, ecs, udp},
    nmsg::{dnsqr::Dnsqr, reader::Reader, writer::Writer},
    track::{Limits, Rules, Sink, Tracker, Transaction},
};
use std::{cell::Cell, net::IpAddr, sync::LazyLock, time::Duration};

/// Memory of a followed connection besides its data, at the most.
const CONNECTION_MAX: usize = 512;

static DEFAULTS: LazyLock<Settings> = LazyLock::new(|| load(&[]));
static WATCHING: LazyLock<Settings> = LazyLock::new(|| {
    let resolvers = hosts::RESOLVERS.map(|host| host.to_string()).join(",");
    load(&[&format!("DNSQR_RES_ADDRS={resolvers}"), "DNSQR_FILTER_QNAMES_EXCLUDE=b.example"])
});

fn load(sets: &[&str]) -> Settings {
    let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
    config::load(None, &sets).unwrap_or_else(|problems| panic!("{problems}")).0
}

/// Memory of responses that wait for a late query, and of what is remembered to know duplicates.
const EARLY_AND_DUPLICATES: usize = 17 << 20;

/// A sensor, and what it may do.
pub struct Pipeline {
    tracker: Tracker,
    limits: Limits,
    sink: Checked,
}

impl Pipeline {
    /// Two bytes choose the settings.
    pub fn new(choices: &mut Choices<'_>) -> Pipeline {
        let (first, second) = (choices.byte(), choices.byte());
        let is = |byte: u8, bit: u8| byte >> bit & 1 == 1;
        let mut settings = if is(first, 0) { WATCHING.clone() } else { DEFAULTS.clone() };
        settings.zero_resolver_address = is(first, 1);
        settings.strip_ecs = is(first, 2);
        settings.capture_tcp = !is(first, 3);
        settings.capture_qr = match first >> 4 & 3 {
            1 => CaptureQr::Queries,
            2 => CaptureQr::Responses,
            _ => CaptureQr::Pair,
        };
        let rd = match second & 3 {
            1 => CaptureRd::Only(false),
            2 => CaptureRd::Only(true),
            _ => CaptureRd::Both,
        };
        settings.pair_slack = is(second, 5).then_some(Duration::from_secs(2));
        settings.drop_duplicates = is(second, 6).then_some(Duration::from_millis(100));
        let mut limits = Limits::new(&settings);
        if is(second, 2) {
            limits.queries.queries = 3;
            limits.queries.bytes = 1500;
            limits.fragments.bytes = 1500;
            limits.streams.connections = 2;
            limits.streams.bytes = 1500;
        }
        if is(second, 3) {
            limits.queries.timeout = Duration::from_secs(1);
            limits.streams.idle = Duration::from_secs(1);
        }
        let sink = Checked {
            writer: Writer::new(Vec::new(), is(second, 4).then_some(sie_dns_sensor::nmsg::writer::Level::Fixed(1))),
            zeroes: settings.zero_resolver_address,
            strips: settings.strip_ecs,
            taken: Cell::new(0),
        };
        Pipeline { tracker: Tracker::new(Rules::new(&settings, rd, 1), limits), limits, sink }
    }

    /// Follows a frame. Afterwards the tables are within their limits.
    pub fn packet(&mut self, frame: &Frame<'_>) {
        self.tracker.packet(frame, &mut self.sink);
        let Limits { queries, fragments, streams, .. } = self.limits;
        let bytes = self.tracker.bytes();
        let connections = streams.connections * CONNECTION_MAX;
        let max = [queries.bytes, fragments.bytes, streams.bytes, connections, EARLY_AND_DUPLICATES];
        assert!(bytes <= max.iter().sum(), "{bytes} bytes in the tables of at most {max:?}");
        assert!(self.tracker.connections() <= streams.connections, "{} connections", self.tracker.connections());
        assert!(self.tracker.ledger().queries.open <= queries.queries as u64, "the query table is over its limit");
    }

    /// Ends the input: the ledger balances, and what was written can be read.
    pub fn finish(mut self) {
        self.tracker.finish(&mut self.sink);
        let taken = self.sink.taken.get();
        let (bytes, output, error) = self.sink.writer.finish();
        assert!(error.is_none());
        let mut ledger = self.tracker.ledger();
        assert_eq!(ledger.queries.open, 0);
        assert_eq!(output.transactions + output.dropped_transactions, taken);
        assert_eq!(output.dropped_transactions, 0);
        assert_eq!(output.bytes, bytes.len() as u64);
        ledger.output = output;
        assert_eq!(ledger.imbalances(), Vec::<String>::new());
        crate::text::check_json(ledger.to_json().as_bytes());
        read(&bytes, ledger.output.transactions, ledger.output.containers);
    }
}

/// Reads what was written: all of it is there.
fn read(bytes: &[u8], payloads: u64, containers: u64) {
    let mut reader = Reader::new(bytes);
    let mut count = 0;
    while let Some(payload) = reader.next().unwrap_or_else(|error| panic!("our own container: {error}")) {
        Dnsqr::decode(&payload.message).expect("our own dnsqr");
        count += 1;
    }
    assert_eq!(count, payloads);
    let counts = reader.counts();
    assert_eq!((counts.containers, counts.payloads), (containers, payloads));
    assert_eq!((counts.crc_mismatch, counts.malformed_containers, counts.skipped_bytes), (0, 0, 0));
}

/// The writer, behind checks of what the settings promise to hide.
struct Checked {
    writer: Writer<Vec<u8>>,
    zeroes: bool,
    strips: bool,
    taken: Cell<u64>,
}

impl Sink for Checked {
    fn transaction(&mut self, transaction: &Transaction) {
        self.taken.set(self.taken.get() + 1);
        assert_eq!(transaction.resolver_address_zeroed, self.zeroes);
        assert!(transaction.query.is_some() || transaction.response.is_some());
        let packets = transaction.query.iter().chain(transaction.response.as_ref().map(|response| &response.packets));
        for packets in packets {
            for packet in packets.bytes() {
                self.check_packet(packet, transaction.flow.query_ip, packets.count() == 1);
            }
        }
        self.writer.transaction(transaction);
    }
}

impl Checked {
    fn check_packet(&self, bytes: &[u8], resolver: IpAddr, is_whole: bool) {
        let packet = decode::packet(bytes).expect("a packet that was decoded before");
        assert_eq!(packet.bytes.len(), bytes.len());
        assert_eq!(packet.fragment.is_none(), is_whole);
        if self.zeroes {
            check_zeroed(&bytes[..packet.payload_at()], resolver);
        }
        if !is_whole {
            return;
        }
        let datagram = udp::header(packet.payload).expect("UDP");
        let message = datagram.data().expect("a datagram that was decoded before");
        if self.zeroes {
            assert_eq!(&packet.payload[6..8], [0, 0], "the UDP checksum tells the address");
        }
        let mut subnets = Vec::new();
        if self.strips {
            ecs::client_subnets(message, &mut subnets).expect("a message whose options were found before");
        }
        for subnet in subnets {
            assert!(message[subnet].iter().all(|byte| *byte == 0), "a client's network is left");
            assert_eq!(&packet.payload[6..8], [0, 0], "the UDP checksum tells the network");
        }
    }
}

/// The resolver's address is in no field and no option of the headers.
fn check_zeroed(headers: &[u8], resolver: IpAddr) {
    let (address, fields, options) = match resolver {
        IpAddr::V4(address) => (address.octets().to_vec(), [12, 16], 20),
        IpAddr::V6(address) => (address.octets().to_vec(), [8, 24], 40),
    };
    if address.iter().all(|byte| *byte == 0) {
        return;
    }
    for field in fields {
        assert_ne!(headers[field..][..address.len()], address, "the resolver's address is left");
    }
    // An address that ends in zeros can come about by zeroing what stands behind its beginning.
    if address.last() != Some(&0) {
        let is_left = headers[options..].windows(address.len()).any(|bytes| bytes == address);
        assert!(!is_left, "the resolver's address is left in an option");
    }
    if resolver.is_ipv4() {
        assert_eq!(udp::header_checksum(headers), 0, "the header checksum is of another address");
    }
}
