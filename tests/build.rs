//! Packets for tests, and a sink that remembers what came out.

use sie_dns_sensor::{
    capture::{Frame, LinkType},
    config::PortSet,
    decode::udp::{UdpChecksum, header_checksum},
    stats::Ledger,
    time::Timestamp,
    track::{
        Flow, FragmentLimits, Kind, Limits, Packets, QueryLimits, Rules, Sink, StreamLimits, Tracker, Transaction,
    },
};
use std::{net::IpAddr, time::Duration};

pub const UDP: u8 = 17;
pub const TCP: u8 = 6;

/// An address and a port.
pub type End = (IpAddr, u16);

pub fn resolver() -> End {
    ([192, 0, 2, 53].into(), 4000)
}

pub fn server() -> End {
    ([198, 51, 100, 1].into(), 53)
}

pub fn resolver6() -> End {
    ([0x2001, 0xdb8, 0x53, 0, 0, 0, 0, 0x53].into(), 4000)
}

pub fn server6() -> End {
    ([0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 1].into(), 53)
}

pub fn flow(resolver: End, server: End, protocol: u8) -> Flow {
    let (query_ip, query_port) = resolver;
    let (response_ip, response_port) = server;
    Flow { query_ip, response_ip, query_port, response_port, protocol }
}

pub fn at(seconds: f64) -> Timestamp {
    Timestamp::new(1_700_000_000, 0) + Duration::from_secs_f64(seconds)
}

/// An IP packet around `payload`; `id` and `fragment` (offset, more) make it a piece of a datagram.
pub fn ip_piece(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    id: u32,
    piece: Option<(usize, bool)>,
    payload: &[u8],
) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let field = piece.map_or(0, |(offset, more)| (offset / 8) as u16 | u16::from(more) << 13);
            let mut packet = vec![0x45, 0];
            packet.extend(((20 + payload.len()) as u16).to_be_bytes());
            packet.extend((id as u16).to_be_bytes());
            packet.extend(field.to_be_bytes());
            packet.extend([64, protocol, 0, 0]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
            let sum = header_checksum(&packet).to_be_bytes();
            packet[10..12].copy_from_slice(&sum);
            packet.extend(payload);
            packet
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let extension = if piece.is_some() { 8 } else { 0 };
            let mut packet = vec![0x60, 0, 0, 0];
            packet.extend(((extension + payload.len()) as u16).to_be_bytes());
            packet.extend([if piece.is_some() { 44 } else { protocol }, 64]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
            if let Some((offset, more)) = piece {
                packet.extend([protocol, 0]);
                packet.extend((offset as u16 | u16::from(more)).to_be_bytes());
                packet.extend(id.to_be_bytes());
            }
            packet.extend(payload);
            packet
        }
        _ => panic!("two families"),
    }
}

pub fn ip(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    ip_piece(source, destination, protocol, 0, None, payload)
}

/// A UDP datagram, without IP header, its checksum right.
pub fn datagram(source: End, destination: End, data: &[u8]) -> Vec<u8> {
    let len = (8 + data.len()) as u16;
    let mut datagram = Vec::new();
    datagram.extend(source.1.to_be_bytes());
    datagram.extend(destination.1.to_be_bytes());
    datagram.extend(len.to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(data);
    let mut pseudo = Vec::new();
    for address in [source.0, destination.0] {
        match address {
            IpAddr::V4(address) => pseudo.extend(address.octets()),
            IpAddr::V6(address) => pseudo.extend(address.octets()),
        }
    }
    pseudo.extend([0, UDP]);
    pseudo.extend(len.to_be_bytes());
    pseudo.extend(&datagram);
    let sum = match header_checksum(&pseudo) {
        0 => 0xffff,
        sum => sum,
    };
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    datagram
}

/// A whole packet with a datagram.
pub fn udp(source: End, destination: End, data: &[u8]) -> Vec<u8> {
    ip(source.0, destination.0, UDP, &datagram(source, destination, data))
}

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

/// A packet with a segment.
pub fn tcp(source: End, destination: End, flags: u8, sequence: u32, data: &[u8]) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(source.1.to_be_bytes());
    segment.extend(destination.1.to_be_bytes());
    segment.extend(sequence.to_be_bytes());
    segment.extend([0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(data);
    ip(source.0, destination.0, TCP, &segment)
}

/// A datagram's payload cut at `cuts`, each made a multiple of 8; as packets in the order of their offsets.
pub fn fragments(source: IpAddr, destination: IpAddr, id: u32, payload: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let mut borders: Vec<usize> = cuts.iter().map(|cut| cut / 8 * 8).filter(|cut| *cut < payload.len()).collect();
    borders.extend([0, payload.len()]);
    borders.sort_unstable();
    borders.dedup();
    let pieces = borders.windows(2).map(|ends| {
        let (from, to) = (ends[0], ends[1]);
        ip_piece(source, destination, UDP, id, Some((from, to < payload.len())), &payload[from..to])
    });
    pieces.collect()
}

/// A name in wire form, type A and class IN behind it.
pub fn question(name: &str) -> Vec<u8> {
    question_of(name, 1)
}

pub fn question_of(name: &str, qtype: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes.extend(qtype.to_be_bytes());
    bytes.extend([0, 1]);
    bytes
}

/// A message's header and question.
pub fn message(id: u16, flags: u16, question: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend(flags.to_be_bytes());
    bytes.extend([0, u8::from(question.is_some()), 0, 0, 0, 0, 0, 0]);
    bytes.extend(question.unwrap_or_default());
    bytes
}

pub const RD: u16 = 0x0100;
pub const QR: u16 = 0x8000;

pub fn query(id: u16, name: &str) -> Vec<u8> {
    message(id, 0, Some(&question(name)))
}

pub fn response(id: u16, name: &str) -> Vec<u8> {
    message(id, QR, Some(&question(name)))
}

/// Behind its two bytes of length, as over TCP.
pub fn prefixed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

/// A transaction, kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub kind: Kind,
    pub flow: Flow,
    pub id: u16,
    pub question: Option<Vec<u8>>,
    pub query: Vec<(Timestamp, Vec<u8>)>,
    pub response: Vec<(Timestamp, Vec<u8>)>,
    pub rcode: Option<u8>,
    pub checksum: Option<UdpChecksum>,
    pub waited: Option<Duration>,
}

/// Keeps transactions.
#[derive(Default)]
pub struct Recorder(pub Vec<Seen>);

fn copy(packets: &Packets) -> Vec<(Timestamp, Vec<u8>)> {
    packets.times().zip(packets.bytes().map(<[u8]>::to_vec)).collect()
}

impl Sink for Recorder {
    fn transaction(&mut self, transaction: &Transaction) {
        self.0.push(Seen {
            kind: transaction.kind,
            flow: transaction.flow,
            id: transaction.id,
            question: transaction.question.map(|question| question.bytes().to_vec()),
            query: transaction.query.as_ref().map(copy).unwrap_or_default(),
            response: transaction.response.map(|response| copy(&response.packets)).unwrap_or_default(),
            rcode: transaction.response.map(|response| response.rcode),
            checksum: transaction.response.map(|response| response.checksum),
            waited: transaction.waited,
        });
    }
}

/// Forgets transactions.
#[derive(Default)]
pub struct Count(pub u64);

impl Sink for Count {
    fn transaction(&mut self, _: &Transaction) {
        self.0 += 1;
    }
}

/// All hosts, port 53, TCP too.
pub fn rules() -> Rules {
    Rules { ports: PortSet::new([53]), tcp: true, ..Rules::default() }
}

/// As the settings' defaults, all memory smaller.
pub fn limits() -> Limits {
    Limits {
        queries: QueryLimits { queries: 10_000, bytes: 64 << 20, timeout: Duration::from_secs(60) },
        early: 16 << 20,
        fragments: FragmentLimits { bytes: 4 << 20, lifetime: Duration::from_secs(30) },
        streams: StreamLimits { connections: 1000, bytes: 4 << 20, idle: Duration::from_secs(30) },
    }
}

/// A tracker that takes bare IP packets and remembers what came out.
pub struct Bench {
    pub tracker: Tracker,
    pub out: Recorder,
    taken: u64,
}

impl Bench {
    pub fn new(rules: Rules, limits: Limits) -> Bench {
        Bench { tracker: Tracker::new(rules, limits), out: Recorder::default(), taken: 0 }
    }

    pub fn packet(&mut self, packet: &[u8], time: Timestamp) {
        self.tracker.packet(&frame(packet, time), &mut self.out);
    }

    /// What has come out since the last call.
    pub fn seen(&mut self) -> Vec<Seen> {
        self.taken += self.out.0.len() as u64;
        std::mem::take(&mut self.out.0)
    }

    pub fn kinds(&self) -> Vec<(Kind, u16)> {
        self.out.0.iter().map(|seen| (seen.kind, seen.id)).collect()
    }

    /// The end of the input; the ledger, which balances.
    pub fn finish(&mut self) -> Ledger {
        self.tracker.finish(&mut self.out);
        balanced(&self.tracker, self.taken + self.out.0.len() as u64)
    }
}

pub fn frame(packet: &[u8], time: Timestamp) -> Frame<'_> {
    Frame { time, link_type: LinkType::Raw, bytes: packet, wire_len: packet.len() as u32 }
}

/// The ledger, which balances.
pub fn balanced(tracker: &Tracker, transactions: u64) -> Ledger {
    let mut ledger = tracker.ledger();
    ledger.output.transactions = transactions;
    assert_eq!(ledger.imbalances(), Vec::<String>::new());
    ledger
}
