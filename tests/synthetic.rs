//! A large capture, made up: all kinds of transactions, and messages of all sizes.

use sie_dns_sensor::decode::udp::header_checksum;

/// The resolver whose transactions are to be found.
pub const RESOLVER: &str = "DNSQR_RES_ADDRS=192.0.2.53, 2001:db8:53::53";
const RESOLVER_4: [u8; 4] = [192, 0, 2, 53];
const RESOLVER_6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0x53, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x53];
const UDP: u8 = 17;
const TCP: u8 = 6;
const SYN: u8 = 2;
const ACK: u8 = 16;

/// What is in the capture; the file is a pcap of plain IP packets.
#[derive(Default)]
pub struct Synthetic {
    pub file: Vec<u8>,
    pub answered: u64,
    pub unanswered: u64,
    pub unsolicited: u64,
    packets: u32,
}

/// A message from the resolver to a server, or back.
#[derive(Clone, Copy)]
struct Pair {
    number: u32,
    v6: bool,
}

impl Synthetic {
    /// So many transactions: UDP and TCP, IPv4 and IPv6, whole and in fragments, answered or not.
    pub fn new(transactions: u32) -> Synthetic {
        let mut capture = Synthetic::default();
        capture.file.extend(0xa1b2_c3d4_u32.to_le_bytes());
        capture.file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 101, 0, 0, 0]);
        for number in 0..transactions {
            capture.transaction(Pair { number, v6: number % 3 == 0 });
        }
        capture
    }

    fn transaction(&mut self, pair: Pair) {
        let number = pair.number;
        match number % 100 {
            1 => self.unanswered += 1,
            2 => self.unsolicited += 1,
            _ => self.answered += 1,
        }
        // Sizes for which the length of a length changes (128 and 16 384 bytes) must be among them.
        let room = match number {
            _ if [500, 750].contains(&(number % 1000)) => 20_000 + number / 100, // a stream, and fragments
            _ if number % 1000 < 300 => number % 300,
            _ => number * 7 % 1200,
        };
        let (query, response) = (message(number, None), message(number, Some(room)));
        match number % 100 {
            0 => self.connection(pair, &query, &response),
            1 => self.datagram(pair, true, &query),
            2 => self.datagram(pair, false, &response),
            _ => {
                self.datagram(pair, true, &query);
                self.datagram(pair, false, &response);
            }
        }
    }

    fn datagram(&mut self, pair: Pair, is_query: bool, message: &[u8]) {
        let len = u16::try_from(8 + message.len()).unwrap().to_be_bytes();
        let mut datagram = pair.ports(is_query).to_vec();
        datagram.extend([len[0], len[1], 0, 0]);
        datagram.extend(message);
        let fragments = datagram.chunks(1480).count();
        for (index, part) in datagram.chunks(1480).enumerate() {
            let more = index + 1 < fragments;
            let offset = u16::try_from(index * 1480).unwrap();
            self.packet(&pair.ip(is_query, UDP, part, (fragments > 1).then_some((offset, more))));
        }
    }

    /// A TCP connection of one query.
    fn connection(&mut self, pair: Pair, query: &[u8], response: &[u8]) {
        let framed = |message: &[u8]| [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat();
        let (query, response) = (framed(query), framed(response));
        let (mut from_client, mut from_server) = (1000, 0xffff_f000_u32); // the server's numbers wrap
        self.segment(pair, true, SYN, from_client, 0, &[]);
        from_client += 1;
        self.segment(pair, false, SYN | ACK, from_server, from_client, &[]);
        from_server = from_server.wrapping_add(1);
        self.segment(pair, true, ACK, from_client, from_server, &query);
        from_client += u32::try_from(query.len()).unwrap();
        for part in response.chunks(1400) {
            self.segment(pair, false, ACK, from_server, from_client, part);
            from_server = from_server.wrapping_add(u32::try_from(part.len()).unwrap());
        }
    }

    fn segment(&mut self, pair: Pair, is_query: bool, flags: u8, sequence: u32, acknowledged: u32, data: &[u8]) {
        let mut segment = pair.ports(is_query).to_vec();
        segment.extend(sequence.to_be_bytes());
        segment.extend(acknowledged.to_be_bytes());
        segment.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(data);
        self.packet(&pair.ip(is_query, TCP, &segment, None));
    }

    /// A packet every 0.4 ms.
    fn packet(&mut self, packet: &[u8]) {
        let micros = u64::from(self.packets) * 400;
        let len = u32::try_from(packet.len()).unwrap();
        let header =
            [1_790_001_000 + u32::try_from(micros / 1_000_000).unwrap(), (micros % 1_000_000) as u32, len, len];
        self.file.extend(header.iter().flat_map(|number| number.to_le_bytes()));
        self.file.extend(packet);
        self.packets += 1;
    }
}

impl Pair {
    /// Source and destination.
    fn ports(self, is_query: bool) -> [u8; 4] {
        let [high, low] = u16::try_from(1024 + self.number % 60_000).unwrap().to_be_bytes();
        if is_query { [high, low, 0, 53] } else { [0, 53, high, low] }
    }

    /// A packet; `fragment` is its offset and whether more follow.
    fn ip(self, is_query: bool, protocol: u8, payload: &[u8], fragment: Option<(u16, bool)>) -> Vec<u8> {
        if self.v6 {
            self.ipv6(is_query, protocol, payload, fragment)
        } else {
            self.ipv4(is_query, protocol, payload, fragment)
        }
    }

    fn ipv4(self, is_query: bool, protocol: u8, payload: &[u8], fragment: Option<(u16, bool)>) -> Vec<u8> {
        let total = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
        let id = (self.number as u16).to_be_bytes();
        let (offset, more) = fragment.unwrap_or_default();
        let offset = ((offset / 8) | (u16::from(more) << 13)).to_be_bytes();
        let server = [198, 51, 100, (self.number % 250) as u8];
        let ends = if is_query { [RESOLVER_4, server] } else { [server, RESOLVER_4] };
        let mut packet = vec![0x45, 0, total[0], total[1], id[0], id[1], offset[0], offset[1], 64, protocol, 0, 0];
        packet.extend(ends.as_flattened());
        let checksum = header_checksum(&packet).to_be_bytes();
        packet[10..12].copy_from_slice(&checksum);
        packet.extend(payload);
        packet
    }

    fn ipv6(self, is_query: bool, protocol: u8, payload: &[u8], fragment: Option<(u16, bool)>) -> Vec<u8> {
        let mut body = Vec::new();
        if let Some((offset, more)) = fragment {
            body.extend([protocol, 0]);
            body.extend((offset | u16::from(more)).to_be_bytes());
            body.extend(self.number.to_be_bytes());
        }
        body.extend(payload);
        let len = u16::try_from(body.len()).unwrap().to_be_bytes();
        let mut server = RESOLVER_6;
        server[4..6].copy_from_slice(&[1, (self.number % 250) as u8]);
        let ends = if is_query { [RESOLVER_6, server] } else { [server, RESOLVER_6] };
        let next = if fragment.is_some() { 44 } else { protocol };
        let mut packet = vec![0x60, 0, 0, 0, len[0], len[1], next, 64];
        packet.extend(ends.as_flattened());
        packet.extend(body);
        packet
    }
}

/// A query, or the response to it with a record of `room` bytes. Every tenth asks for the root: the smallest message.
fn message(number: u32, room: Option<u32>) -> Vec<u8> {
    let id = ((number * 31) as u16).to_be_bytes();
    let is_response = u8::from(room.is_some());
    let mut message =
        vec![id[0], id[1], is_response * 0x84, (number % 4) as u8 * is_response, 0, 1, 0, is_response, 0, 0, 0, 0];
    if number % 10 != 1 {
        let label = format!("n{number}");
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.as_bytes());
        message.extend(b"\x07example\x03net");
    }
    message.extend([0, 0, 16, 0, 1]);
    if let Some(room) = room {
        message.extend([0xc0, 12, 0xff, 0xfa, 0, 1, 0, 0, 1, 0x2c]); // TYPE65530
        message.extend(u16::try_from(room).unwrap().to_be_bytes());
        message.extend((0..room).map(|index| (index ^ number) as u8));
    }
    message
}
