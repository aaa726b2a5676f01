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

/// Room for the longest run of small fields between two flushes, with what [`Fields::flush_if_full`] leaves free.
const ROOM: usize = 192;
/// The longest field written here: a tag of two bytes, a length, an IPv6 address.
const FIELD_MAX: usize = 2 + 1 + 16;

/// Small fields on their way to the output. A hundred single bytes are cheaper here than in a growing vector.
pub(super) struct Fields {
    bytes: [u8; ROOM],
    len: usize,
}

impl Fields {
    pub(super) fn new() -> Fields {
        Fields { bytes: [0; ROOM], len: 0 }
    }

    #[inline]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.bytes[self.len..self.len + N].copy_from_slice(&bytes);
        self.len += N;
    }

    #[inline]
    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put([value as u8 | 0x80]);
            value >>= 7;
        }
        self.put([value as u8]);
    }

    #[inline]
    pub(super) fn varint(&mut self, number: u32, value: u64) {
        self.raw_varint(u64::from(number << 3));
        self.raw_varint(value);
    }

    #[inline]
    pub(super) fn fixed64(&mut self, number: u32, value: u64) {
        self.raw_varint(u64::from(number << 3 | 1));
        self.put(value.to_le_bytes());
    }

    #[inline]
    pub(super) fn fixed32(&mut self, number: u32, value: u32) {
        self.raw_varint(u64::from(number << 3 | 5));
        self.put(value.to_le_bytes());
    }

    /// Tag and length; the bytes are the caller's to add.
    #[inline]
    pub(super) fn length(&mut self, number: u32, len: usize) {
        self.raw_varint(u64::from(number << 3 | 2));
        self.raw_varint(len as u64);
    }

    #[inline]
    fn address(&mut self, number: u32, address: IpAddr, zeroed: bool) {
        match address {
            IpAddr::V4(address) => {
                self.length(number, 4);
                self.put(if zeroed { [0; 4] } else { address.octets() });
            }
            IpAddr::V6(address) => {
                self.length(number, 16);
                self.put(if zeroed { [0; 16] } else { address.octets() });
            }
        }
    }

    /// Bytes that wait to be flushed.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes[..self.len]);
        self.len = 0;
    }

    #[inline]
    fn flush_if_full(&mut self, out: &mut Vec<u8>) {
        if self.len + FIELD_MAX > ROOM - 2 * FIELD_MAX {
            self.flush(out);
        }
    }
}
