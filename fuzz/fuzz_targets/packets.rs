//! Plausible packets through the whole sensor: few hosts, ids and names, sequence numbers and fragment offsets close to
//! each other, so that the states behind the parsers are reached.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sie_dns_sensor::{
    capture::{Frame, LinkType},
    decode::{TCP, UDP},
    time::Timestamp,
};
use sie_dns_sensor_fuzz::{
    choices::Choices,
    hosts::{RESOLVERS, SERVERS},
    pipeline::Pipeline,
};
use std::{net::IpAddr, time::Duration};

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices::new(bytes);
    let mut traffic = Traffic::new(&mut choices);
    while !choices.is_done() {
        match choices.below(10) {
            0 | 1 => traffic.datagram(&mut choices),
            2 => traffic.new_pieces(&mut choices),
            3 => traffic.piece(&mut choices),
            8 => traffic.all_pieces(&mut choices),
            9 => traffic.beginnings(&mut choices),
            4 => traffic.control(&mut choices),
            5 => traffic.write(&mut choices),
            6 => traffic.segment(&mut choices),
            _ => traffic.time(&mut choices),
        }
    }
    traffic.pipeline.finish();
});

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// Where numbering starts: shortly before it wraps.
const INITIAL: u32 = u32::MAX - 40;

/// An extension header of padding, in front of UDP.
const DESTINATION_OPTIONS: [u8; 8] = [UDP, 0, 1, 4, 0, 0, 0, 0];

/// From whom to whom.
#[derive(Clone, Copy, Default)]
struct Way {
    is_ipv6: bool,
    from_server: bool,
    /// One of few ports of the resolver; 0 is that of something else than DNS.
    port: u16,
}

impl Way {
    fn new(choices: &mut Choices<'_>) -> Way {
        let byte = choices.byte();
        let port = [4000, 4001, 53, 4000, 4001, 53, 4000, 0][usize::from(byte >> 2 & 7)];
        Way { is_ipv6: byte & 1 != 0, from_server: byte & 2 != 0, port }
    }

    fn addresses(self) -> [IpAddr; 2] {
        let host = usize::from(self.is_ipv6);
        self.ordered([RESOLVERS[host], SERVERS[host]])
    }

    fn ports(self) -> [u16; 2] {
        self.ordered(if self.port == 0 { [9999, 9998] } else { [self.port, 53] })
    }

    fn ordered<T>(self, mut ends: [T; 2]) -> [T; 2] {
        if self.from_server {
            ends.reverse();
        }
        ends
    }
}

/// What one end of a connection has written.
#[derive(Default)]
struct Stream {
    way: Way,
    bytes: Vec<u8>,
}

struct Traffic {
    pipeline: Pipeline,
    now: Timestamp,
    /// Datagrams that are sent in fragments, by id.
    pieces: [Stream; 4],
    /// Both directions of four connections.
    streams: [Stream; 8],
}

impl Traffic {
    fn new(choices: &mut Choices<'_>) -> Traffic {
        let mut streams: [Stream; 8] = Default::default();
        for (at, stream) in streams.iter_mut().enumerate() {
            let port = 4000 + (at as u16 >> 2);
            stream.way = Way { is_ipv6: at & 2 != 0, from_server: at & 1 != 0, port };
        }
        let (pipeline, now) = (Pipeline::new(choices), Timestamp::new(1_700_000_000, 0));
        Traffic { pipeline, now, pieces: Default::default(), streams }
    }

    fn send(&mut self, packet: &[u8]) {
        self.now = self.now + Duration::from_micros(10);
        let wire_len = packet.len() as u32;
        self.pipeline.packet(&Frame { time: self.now, link_type: LinkType::Raw, bytes: packet, wire_len });
    }

    fn datagram(&mut self, choices: &mut Choices<'_>) {
        let way = Way::new(choices);
        let datagram = udp(way, &message(way, choices));
        let packet = ip(way, UDP, None, choices.below(4), &datagram);
        self.send(&packet);
    }

    fn new_pieces(&mut self, choices: &mut Choices<'_>) {
        let id = choices.below(4);
        let way = Way::new(choices);
        let mut message = message(way, choices);
        message.resize(message.len() + usize::from(choices.byte()) * 16, 0);
        let mut bytes = Vec::new();
        if way.is_ipv6 && choices.byte() & 1 != 0 {
            bytes.extend(DESTINATION_OPTIONS);
        }
        bytes.extend(udp(way, &message));
        self.pieces[id] = Stream { way, bytes };
    }

    fn piece(&mut self, choices: &mut Choices<'_>) {
        let (id, start, len, shape) = (choices.byte(), choices.below(32) * 8, choices.byte(), choices.byte());
        let len = if shape & 4 != 0 { usize::MAX / 2 } else { (usize::from(len) + 1) * 8 };
        self.send_piece(id, start, len, shape);
    }

    /// The whole datagram, in pieces of one length; one of them may be missing.
    fn all_pieces(&mut self, choices: &mut Choices<'_>) {
        let (id, len, shape, missing) = (choices.byte(), choices.below(64) * 8 + 8, choices.byte(), choices.byte());
        let count = self.pieces[usize::from(id) % 4].bytes.len().div_ceil(len);
        for index in 0..count {
            let index = if shape & 4 != 0 { count - 1 - index } else { index };
            if index != usize::from(missing) {
                self.send_piece(id, index * len, len, shape);
            }
        }
    }

    /// Many datagrams of which only a piece comes.
    fn beginnings(&mut self, choices: &mut Choices<'_>) {
        let (start, shape, count) = (choices.below(4) * 8, choices.byte(), choices.byte());
        for id in 0..count {
            self.send_piece(id, start, 8, shape);
        }
    }

    fn send_piece(&mut self, id: u8, start: usize, len: usize, shape: u8) {
        let Stream { way, bytes } = &self.pieces[usize::from(id) % 4];
        let way = *way;
        let Some(rest) = bytes.get(start..).filter(|rest| !rest.is_empty()) else { return };
        let more = len < rest.len();
        let mut part = rest[..len.min(rest.len())].to_vec();
        if shape & 8 != 0 {
            part[0] ^= 1; // contradicts what another fragment said
        }
        let protocol = match shape >> 4 {
            15 => TCP,
            _ if way.is_ipv6 && bytes.starts_with(&DESTINATION_OPTIONS) => 60,
            _ => UDP,
        };
        let packet = ip(way, protocol, Some((id, start as u16, more)), usize::from(shape & 3), &part);
        self.send(&packet);
    }

    fn control(&mut self, choices: &mut Choices<'_>) {
        let (at, byte) = (choices.below(8), choices.byte());
        let stream = &mut self.streams[at];
        let flags = match byte & 7 {
            0..=3 if stream.way.from_server => SYN | ACK,
            0..=3 => SYN,
            4 => RST,
            _ => FIN | ACK,
        };
        if flags & SYN != 0 && byte & 8 != 0 {
            stream.bytes.clear();
        }
        let sequence = match flags & SYN {
            0 => INITIAL.wrapping_add(1 + stream.bytes.len() as u32),
            _ => INITIAL.wrapping_add(u32::from(byte >> 6)),
        };
        let packet = tcp(stream.way, sequence, flags, &[]);
        self.send(&packet);
    }

    /// Another message, or only what it is behind.
    fn write(&mut self, choices: &mut Choices<'_>) {
        let at = choices.below(8);
        let way = self.streams[at].way;
        let shape = choices.byte();
        let mut message = message(way, choices);
        if shape & 1 != 0 {
            message.resize(message.len() + usize::from(choices.byte()) * 258, 0);
        }
        message.truncate(usize::from(u16::MAX));
        let stream = &mut self.streams[at];
        if stream.bytes.len() > 1 << 18 {
            return;
        }
        let start = stream.bytes.len();
        stream.bytes.extend((message.len() as u16).to_be_bytes());
        stream.bytes.extend(&message);
        if shape & 2 != 0 {
            return;
        }
        for (index, part) in self.streams[at].bytes[start..].to_vec().chunks(60_000).enumerate() {
            let sequence = INITIAL.wrapping_add(1 + (start + index * 60_000) as u32);
            self.send(&tcp(way, sequence, ACK, part));
        }
    }

    /// Some of what was written, perhaps again, perhaps too early.
    fn segment(&mut self, choices: &mut Choices<'_>) {
        let at = choices.below(8);
        let (from_end, len, shape) = (choices.byte(), choices.byte(), choices.byte());
        let stream = &self.streams[at];
        let unit = if shape & 1 != 0 { 64 } else { 1 };
        let start = stream.bytes.len().saturating_sub(usize::from(from_end) * unit);
        let end = stream.bytes.len().min(start + usize::from(len) * unit);
        let fin = if shape & 6 == 6 { FIN } else { 0 };
        let syn = if shape & 24 == 24 { SYN } else { 0 };
        let sequence = INITIAL.wrapping_add(u32::from(syn == 0) + start as u32);
        let part = &stream.bytes[start..end.min(start + 60_000)];
        let packet = tcp(stream.way, sequence, ACK | fin | syn, part);
        self.send(&packet);
    }

    fn time(&mut self, choices: &mut Choices<'_>) {
        let byte = choices.byte();
        let step = Duration::from_millis(u64::from(byte & 0x7f) * u64::from(byte & 0x7f) * 10);
        self.now = if byte & 0x80 == 0 {
            self.now + step
        } else {
            Timestamp::from_nanos(self.now.as_nanos().saturating_sub(step.as_nanos() as u64))
        };
    }
}

const NAMES: [&[u8]; 5] =
    [b"\x01a\x07example\0", b"\x01A\x07example\0", b"\x03www\x01b\x07example\0", b"\0", b"\xc0\x0c"];

/// A DNS message. Few choices, so that responses find their queries.
fn message(way: Way, choices: &mut Choices<'_>) -> Vec<u8> {
    let (first, second) = (choices.byte(), choices.byte());
    let is_response = way.from_server != (first & 0xf0 == 0xf0);
    let mut flags = if is_response { 0x8400_u16 } else { 0 };
    flags |= u16::from(first >> 3 & 1) << 8; // RD
    flags |= [0, 0, 0, 1, 2, 3, 4, 5][usize::from(second >> 5)];
    let question = match first >> 4 & 7 {
        0..=2 => Some((NAMES[0], 1)),
        3 => Some((NAMES[1], 1)),
        4 => Some((NAMES[2], 28)),
        5 => Some((NAMES[3], 252)),
        6 => Some((NAMES[4], 1)),
        _ => None,
    };
    let mut message =
        [[0, first & 7], flags.to_be_bytes(), [0, question.is_some().into()], [0; 2], [0; 2], [0; 2]].concat();
    if let Some((name, rrtype)) = question {
        message.extend(name);
        message.extend([0, rrtype, 0, 1]);
    }
    match second & 7 {
        0 | 1 => (),
        2 => message.truncate(12),
        3 => message.truncate(message.len() - 3),
        4 => {
            message[11] = 1;
            message.extend([0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 11, 0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2]);
        }
        5 => {
            message[11] = 1; // the option says it is longer than the record
            message.extend([0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 11, 0, 8, 0, 9, 0, 1, 24, 0, 192, 0, 2]);
        }
        6 => {
            message[7] = 1;
            message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, choices.byte()]);
        }
        _ => message[5] = choices.byte() & 3,
    }
    message
}

fn udp(way: Way, message: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    for number in [way.ports()[0], way.ports()[1], message.len() as u16 + 8, 0] {
        datagram.extend(number.to_be_bytes());
    }
    datagram.extend(message);
    datagram
}

fn tcp(way: Way, sequence: u32, flags: u8, data: &[u8]) -> Vec<u8> {
    let mut segment = Vec::new();
    for port in way.ports() {
        segment.extend(port.to_be_bytes());
    }
    segment.extend(sequence.to_be_bytes());
    segment.extend([0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
    segment.extend(data);
    ip(way, TCP, None, 0, &segment)
}

/// An IP packet; `fragment` is id, offset and whether more follow. `more_headers` chooses options and extension headers.
fn ip(way: Way, protocol: u8, fragment: Option<(u8, u16, bool)>, more_headers: usize, payload: &[u8]) -> Vec<u8> {
    match way.addresses() {
        [IpAddr::V4(source), IpAddr::V4(destination)] => {
            let IpAddr::V4(resolver) = RESOLVERS[0] else { unreachable!() };
            let mut options = Vec::new();
            if more_headers == 2 {
                options.extend([7, 7, 8]); // record route
                options.extend(resolver.octets());
                options.push(0);
            }
            let len = (20 + options.len() + payload.len()) as u16;
            let (id, offset, more) = fragment.unwrap_or_default();
            let mut packet = vec![0x45 + (options.len() / 4) as u8, 0];
            packet.extend(len.to_be_bytes());
            packet.extend([0, id]);
            packet.extend((offset / 8 | u16::from(more) << 13).to_be_bytes());
            packet.extend([64, protocol, 0, 0]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
            packet.extend(options);
            packet.extend(payload);
            packet
        }
        [IpAddr::V6(source), IpAddr::V6(destination)] => {
            let IpAddr::V6(resolver) = RESOLVERS[1] else { unreachable!() };
            let behind = if fragment.is_some() { 44 } else { protocol };
            let mut extensions = Vec::new();
            let first = match more_headers {
                2 => {
                    extensions.extend([behind, 2, 0, 0, 0, 0, 0, 0]); // routing
                    extensions.extend(resolver.octets());
                    43
                }
                3 if payload.len() < 1600 => {
                    for number in 0..31 {
                        let next = if number == 30 { behind } else { 60 };
                        extensions.extend([next, 255]);
                        extensions.resize(extensions.len() + 2046, 0);
                    }
                    60
                }
                _ => behind,
            };
            if let Some((id, offset, more)) = fragment {
                extensions.extend([protocol, 0]);
                extensions.extend((offset | u16::from(more)).to_be_bytes());
                extensions.extend(u32::from(id).to_be_bytes());
            }
            let mut packet = vec![0x60, 0, 0, 0];
            packet.extend(((extensions.len() + payload.len()) as u16).to_be_bytes());
            packet.extend([first, 64]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
            packet.extend(extensions);
            packet.extend(payload);
            packet
        }
        _ => unreachable!("both ends are of one version"),
    }
}
