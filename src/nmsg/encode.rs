//! Transactions to dnsqr, on the hot path: fields in number order, written straight to where they are kept.

use super::{buffer::Buffer, dnsqr::Type};
use crate::{
    time::Timestamp,
    track::{Kind, Packets, Transaction},
};

/// Appends `transaction` as a dnsqr message (spec: the field table of [`super::dnsqr::Dnsqr`]).
#[inline]
pub(super) fn dnsqr(transaction: &Transaction, out: &mut Buffer) {
    out.varint(1, kind(transaction.kind) as u64);
    let flow = &transaction.flow;
    out.address(2, flow.query_ip, transaction.resolver_address_zeroed);
    out.address(3, flow.response_ip, false);
    out.varint(4, flow.protocol.into());
    out.varint(5, flow.query_port.into());
    out.varint(6, flow.response_port.into());
    out.varint(7, transaction.id.into());
    if let Some(question) = &transaction.question {
        out.bytes(8, question.qname());
        out.varint(9, question.qtype().into());
        out.varint(10, question.qclass().into());
    }
    if let Some(response) = &transaction.response {
        out.varint(11, response.rcode.into());
    }
    if let Some(query) = &transaction.query {
        packets(12, query, out);
    }
    if let Some(response) = &transaction.response {
        packets(15, &response.packets, out);
    }
    if let Some(waited) = transaction.waited {
        let seconds = waited.as_secs() as f64 + f64::from(waited.subsec_nanos()) / 1e9;
        out.fixed64(20, seconds.to_bits());
    }
    if let Some(response) = &transaction.response {
        out.varint(21, response.checksum as u64);
    }
    if transaction.resolver_address_zeroed {
        out.varint(22, 1);
    }
}

/// When the transaction began: its first query packet, or without query its first response packet.
pub(super) fn time(transaction: &Transaction) -> Timestamp {
    let response = transaction.response.as_ref().map(|response| &response.packets);
    transaction.query.as_ref().or(response).map_or_else(Timestamp::default, Packets::time)
}

/// Packets, their seconds, their nanoseconds: fields `number` and the two behind it, each repeated, not packed.
#[inline]
fn packets(number: u32, packets: &Packets, out: &mut Buffer) {
    for bytes in packets.bytes() {
        out.bytes(number, bytes);
    }
    for time in packets.times() {
        out.varint(number + 1, time.seconds());
    }
    for time in packets.times() {
        out.fixed32(number + 2, time.subsec_nanos());
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
