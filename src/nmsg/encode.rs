//! Transactions to dnsqr, on the hot path: fields in number order, written straight to bytes.

use super::dnsqr::Type;
use crate::{
    time::Timestamp,
    track::{Kind, Packets, Transaction},
};
use std::net::IpAddr;

/// Appends `transaction` as a dnsqr message (spec: the field table of [`super::dnsqr::Dnsqr`]).
pub fn dnsqr(transaction: &Transaction, out: &mut Vec<u8>) {
    let mut fields = Fields::new();
    fields.varint(1, kind(transaction.kind) as u64);
    let flow = &transaction.flow;
    fields.address(2, flow.query_ip, transaction.resolver_address_zeroed);
    fields.address(3, flow.response_ip, false);
    fields.varint(4, flow.protocol.into());
    fields.varint(5, flow.query_port.into());
    fields.varint(6, flow.response_port.into());
    fields.varint(7, transaction.id.into());
    if let Some(question) = &transaction.question {
        fields.length(8, question.qname().len());
        fields.flush(out);
        out.extend_from_slice(question.qname());
        fields.varint(9, question.qtype().into());
        fields.varint(10, question.qclass().into());
    }
    if let Some(response) = &transaction.response {
        fields.varint(11, response.rcode.into());
    }
    if let Some(query) = &transaction.query {
        packets(12, query, &mut fields, out);
    }
    if let Some(response) = &transaction.response {
        packets(15, &response.packets, &mut fields, out);
    }
    if let Some(waited) = transaction.waited {
        let seconds = waited.as_secs() as f64 + f64::from(waited.subsec_nanos()) / 1e9;
        fields.fixed64(20, seconds.to_bits());
    }
    if let Some(response) = &transaction.response {
        fields.varint(21, response.checksum as u64);
    }
    if transaction.resolver_address_zeroed {
        fields.varint(22, 1);
    }
    fields.flush(out);
}

/// When the transaction began: its first query packet, or without query its first response packet.
pub fn time(transaction: &Transaction) -> Timestamp {
    let response = transaction.response.as_ref().map(|response| &response.packets);
    transaction.query.as_ref().or(response).map_or_else(Timestamp::default, Packets::time)
}

/// Packets, their seconds, their nanoseconds: fields `number` and the two behind it, each repeated, not packed.
fn packets(number: u32, packets: &Packets, fields: &mut Fields, out: &mut Vec<u8>) {
    for bytes in packets.bytes() {
        fields.length(number, bytes.len());
        fields.flush(out);
        out.extend_from_slice(bytes);
    }
    for time in packets.times() {
        fields.varint(number + 1, time.seconds());
        fields.flush_if_full(out);
    }
    for time in packets.times() {
        fields.fixed32(number + 2, time.subsec_nanos());
        fields.flush_if_full(out);
    }
}

fn kind(kind: Kind) -> Type {
    match kind {
        Kind::QueryResponse => Type::UdpQueryResponse,
        Kind::UnansweredQuery => Type::UdpUnansweredQuery,
        Kind::UnsolicitedResponse => Type::UdpUnsolicitedResponse,
        Kind::QueryOnly => Type::UdpQueryOnly,
        Kind::ResponseOnly => Type::UdpResponseOnly,
    }
}

/// Room for the longest run of small fields between two flushes, which are 58 bytes, and for what [`Fields::put`] writes
/// past its end.
pub(super) const ROOM: usize = 72;
/// The longest field of a list: a tag of two bytes and a varint of ten.
const FIELD_MAX: usize = 2 + 10;

/// Small fields on their way to the output. They are gathered here and copied in one move of a fixed size, which costs a
/// few instructions; a call to copy as many bytes as there are costs more than the bytes.
pub(super) struct Fields {
    bytes: [u8; ROOM],
    len: usize,
}

impl Fields {
    #[inline]
    pub(super) fn new() -> Fields {
        Fields { bytes: [0; ROOM], len: 0 }
    }

    /// Adds the low `len` bytes of `bytes`, the lowest first; at most eight.
    #[inline(always)]
    fn put(&mut self, bytes: u64, len: usize) {
        if let Some(room) = self.bytes.get_mut(self.len..).and_then(|rest| rest.first_chunk_mut()) {
            *room = bytes.to_le_bytes();
            self.len += len;
        }
    }

    /// A varint: seven bits a byte, the lowest first, all but the last marked. Without a loop or a branch on the value
    /// up to 56 bits, which is everything the sensor writes.
    #[inline(always)]
    fn raw_varint(&mut self, value: u64) {
        if value < 0x80 {
            return self.put(value, 1);
        }
        if value >> 56 != 0 {
            self.put(value & 0x7f | 0x80, 1);
            return self.raw_varint_rest(value >> 7);
        }
        // Spread: 56 bits to two halves of 28, those to quarters of 14, those to bytes of 7.
        let halves = value & 0x0fff_ffff | (value & 0x00ff_ffff_f000_0000) << 4;
        let quarters = halves & 0x0000_3fff_0000_3fff | (halves & 0x0fff_c000_0fff_c000) << 2;
        let bytes = quarters & 0x007f_007f_007f_007f | (quarters & 0x3f80_3f80_3f80_3f80) << 1;
        let len = (70 - value.leading_zeros() as usize) / 7; // bits over seven, rounded up
        let marks = 0x8080_8080_8080_8080 & !(u64::MAX << (8 * (len - 1)));
        self.put(bytes | marks, len);
    }

    #[cold]
    fn raw_varint_rest(&mut self, value: u64) {
        self.raw_varint(value);
    }

    #[inline(always)]
    pub(super) fn varint(&mut self, number: u32, value: u64) {
        self.raw_varint(u64::from(number << 3));
        self.raw_varint(value);
    }

    #[inline(always)]
    pub(super) fn fixed64(&mut self, number: u32, value: u64) {
        self.raw_varint(u64::from(number << 3 | 1));
        self.put(value, 8);
    }

    #[inline(always)]
    pub(super) fn fixed32(&mut self, number: u32, value: u32) {
        self.raw_varint(u64::from(number << 3 | 5));
        self.put(value.into(), 4);
    }

    /// Tag and length; the bytes are the caller's to add.
    #[inline(always)]
    pub(super) fn length(&mut self, number: u32, len: usize) {
        self.raw_varint(u64::from(number << 3 | 2));
        self.raw_varint(len as u64);
    }

    #[inline(always)]
    fn address(&mut self, number: u32, address: IpAddr, zeroed: bool) {
        match address {
            IpAddr::V4(address) => {
                self.length(number, 4);
                self.put(if zeroed { 0 } else { u32::from_le_bytes(address.octets()).into() }, 4);
            }
            IpAddr::V6(address) => {
                self.length(number, 16);
                let octets = if zeroed { 0 } else { u128::from_le_bytes(address.octets()) };
                self.put(octets as u64, 8);
                self.put((octets >> 64) as u64, 8);
            }
        }
    }

    /// Adds the fields of `other`, which must be few.
    #[inline]
    pub(super) fn append(&mut self, other: &Fields) {
        self.bytes[self.len..self.len + other.len].copy_from_slice(&other.bytes[..other.len]);
        self.len += other.len;
    }

    /// The bytes, and how many of them count.
    pub(super) fn into_bytes(self) -> ([u8; ROOM], usize) {
        (self.bytes, self.len)
    }

    /// Bytes that wait to be flushed.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        let end = out.len() + self.len;
        out.extend_from_slice(&self.bytes);
        out.truncate(end);
        self.len = 0;
    }

    #[inline]
    fn flush_if_full(&mut self, out: &mut Vec<u8>) {
        if self.len + FIELD_MAX + 8 > ROOM {
            self.flush(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_those_of_prost_at_every_width() {
        for shift in 0..64 {
            for value in [1_u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
                let mut fields = Fields::new();
                fields.raw_varint(value);
                let mut expected = Vec::new();
                prost::encoding::encode_varint(value, &mut expected);
                assert_eq!(fields.bytes[..fields.len], expected, "{value:#x}");
            }
        }
    }
}
