//! Hiding: the resolver's address and the clients' networks, in the packets themselves.

use super::packets::{Packets, Piece};
use crate::decode::{Malformed, ecs, udp};
use std::{net::IpAddr, ops::Range};

/// What to hide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hide {
    /// The resolver's address, in the IP header of every packet.
    pub resolver_address: bool,
    /// The address bytes of every EDNS Client Subnet option.
    pub client_subnets: bool,
}

/// A copy of packets with what is to be hidden taken out. Buffers are used again.
#[derive(Default)]
pub(super) struct Hidden {
    buffer: Vec<u8>,
    pieces: Vec<Piece>,
    ranges: Vec<Range<usize>>,
}

/// The datagram that is copied.
#[derive(Clone, Copy)]
pub(super) struct Datagram<'a> {
    pub(super) packets: Packets<'a>,
    /// Where the UDP header stands in the datagram's payload: behind extension headers that travelled in fragments.
    pub(super) udp_at: usize,
    /// The DNS message behind it.
    pub(super) message: &'a [u8],
    pub(super) resolver: IpAddr,
}

impl Hidden {
    /// Copies a datagram, leaving out what `hide` says.
    ///
    /// Checksums from which the hidden bytes could be computed go too: the UDP checksum becomes 0 (absent), the IPv4
    /// header checksum is computed anew. Fails when it cannot be known where the message's options stand.
    pub(super) fn copy(&mut self, hide: Hide, datagram: Datagram) -> Result<Packets<'_>, Malformed> {
        self.ranges.clear();
        if hide.client_subnets {
            ecs::client_subnets(datagram.message, &mut self.ranges)?;
        }
        self.buffer.clear();
        self.buffer.extend_from_slice(datagram.packets.buffer());
        self.pieces.clear();
        self.pieces.extend_from_slice(datagram.packets.pieces());
        let message_at = datagram.udp_at + udp::HEADER_LEN;
        if hide.client_subnets {
            self.zero_behind(message_at + datagram.message.len());
        }
        let changes_sum = hide.resolver_address || !self.ranges.is_empty();
        let ranges = std::mem::take(&mut self.ranges);
        for range in &ranges {
            self.zero(message_at + range.start..message_at + range.end);
        }
        self.ranges = ranges;
        if changes_sum {
            let checksum_at = datagram.udp_at + udp::CHECKSUM_AT;
            self.zero(checksum_at..checksum_at + 2);
        }
        if hide.resolver_address {
            for piece in &self.pieces {
                let headers = piece.start as usize..(piece.start + piece.payload_at) as usize;
                zero_address(&mut self.buffer[headers], datagram.resolver);
            }
            self.zero_address_in_extensions(datagram.resolver, datagram.udp_at);
        }
        Ok(Packets::new(&self.buffer, &self.pieces))
    }

    /// Extension headers that travelled in fragments (a home address in destination options, RFC 6275 §6.3) stand before
    /// the UDP header in the datagram's payload, and an address in them may lie across two packets.
    fn zero_address_in_extensions(&mut self, address: IpAddr, udp_at: usize) {
        let IpAddr::V6(address) = address else { return };
        let payloads = self.pieces.iter().flat_map(|piece| {
            let start = piece.start as usize;
            &self.buffer[start + piece.payload_at as usize..start + piece.len as usize]
        });
        let extensions: Vec<u8> = payloads.copied().take(udp_at).collect();
        for (at, bytes) in extensions.windows(16).enumerate() {
            if bytes == address.octets() {
                self.zero(at..at + 16);
            }
        }
    }

    /// What the packets have behind the message, where UDP's length ends before IP's: some readers take it for more of it.
    /// No checksum covers it.
    fn zero_behind(&mut self, end: usize) {
        let payload_end = |piece: &Piece| (piece.offset + piece.len - piece.payload_at) as usize;
        let all = self.pieces.last().map_or(0, payload_end);
        if all > end {
            self.zero(end..all);
        }
    }

    /// Zeroes a range of the datagram's payload, in whichever packets it lies.
    fn zero(&mut self, range: Range<usize>) {
        // Pieces stand in the order of their offsets and leave no gap: the last that does not start behind the range holds
        // its first byte. Thousands of options in a hundred fragments must not be a hundred thousands of steps.
        let behind = self.pieces.partition_point(|piece| piece.offset as usize <= range.start);
        for piece in self.pieces.iter().skip(behind.saturating_sub(1)) {
            let (offset, payload_at) = (piece.offset as usize, piece.payload_at as usize);
            if offset >= range.end {
                break;
            }
            let len = piece.len as usize - payload_at;
            let from = range.start.clamp(offset, offset + len) - offset;
            let to = range.end.clamp(offset, offset + len) - offset;
            let payload = piece.start as usize + payload_at;
            self.buffer[payload + from..payload + to].fill(0);
        }
    }
}

/// Zeroes an address wherever it stands in IP headers: the address fields, and options such as record route.
fn zero_address(headers: &mut [u8], address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            zero_each(headers, &address.octets(), [12, 16], 20);
            let checksum_at = 10;
            if let Some(checksum) = headers.get_mut(checksum_at..checksum_at + 2) {
                checksum.fill(0);
                let sum = udp::header_checksum(headers).to_be_bytes();
                headers[checksum_at..checksum_at + 2].copy_from_slice(&sum);
            }
        }
        IpAddr::V6(address) => zero_each(headers, &address.octets(), [8, 24], 40),
    }
}

/// Zeroes `address` in the two address fields at `fields`, and anywhere from `options` on.
fn zero_each(headers: &mut [u8], address: &[u8], fields: [usize; 2], options: usize) {
    for at in fields.into_iter().chain(options..headers.len()) {
        match headers.get_mut(at..at + address.len()) {
            Some(here) if here == address => here.fill(0),
            _ => (),
        }
    }
}
