//! What a report takes notice of in a transaction, whether it comes from packets or from a file.

use crate::{
    decode,
    nmsg::{
        Payload,
        dnsqr::{Dnsqr, Type},
        packets,
    },
    present::stats::delay,
    time::Timestamp,
    track::{Kind, Packets, Transaction},
};
use std::{borrow::Cow, net::IpAddr};

/// What was seen of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Query and response.
    Answered,
    /// A query that had no response.
    Unanswered,
    /// A response to nothing.
    Unsolicited,
    /// A query, where only those are captured.
    QueryAlone,
    /// A response, where only those are captured.
    ResponseAlone,
    /// No transaction: libnmsg's raw TCP and ICMP, and types that nobody defined.
    Other,
}

impl From<Kind> for Seen {
    fn from(kind: Kind) -> Seen {
        match kind {
            Kind::QueryResponse => Seen::Answered,
            Kind::UnansweredQuery => Seen::Unanswered,
            Kind::UnsolicitedResponse => Seen::Unsolicited,
            Kind::QueryOnly => Seen::QueryAlone,
            Kind::ResponseOnly => Seen::ResponseAlone,
        }
    }
}

/// A transaction, or its unmatched half.
pub(crate) struct Exchange<'a> {
    pub seen: Seen,
    pub server: Option<IpAddr>,
    pub is_tcp: bool,
    /// When it began; none where that lies before 1970.
    pub time: Option<Timestamp>,
    /// In wire form.
    pub qname: Option<&'a [u8]>,
    pub qtype: Option<u32>,
    /// Of the response.
    pub rcode: Option<u32>,
    /// Nanoseconds until the response.
    pub delay: Option<u64>,
    /// The DNS message of the query.
    pub query: Option<Cow<'a, [u8]>>,
    /// The DNS message of the response.
    pub response: Option<Cow<'a, [u8]>>,
    /// The zone that the response names, where the response itself is not here; in wire form.
    pub zone: Option<&'a [u8]>,
    /// IP packets that the response came in.
    pub response_packets: usize,
}

impl<'a> Exchange<'a> {
    /// What a tracker gives.
    pub(crate) fn of_transaction(transaction: &Transaction<'a>) -> Exchange<'a> {
        let message = |packets: &Packets<'a>| packets::message(&packets.bytes().collect::<Vec<_>>());
        let response = transaction.response.as_ref().map(|response| &response.packets);
        let query = transaction.query.as_ref();
        let delay = query.zip(response).map(|(query, response)| response.time().since(query.time()));
        Exchange {
            seen: transaction.kind.into(),
            server: Some(transaction.flow.response_ip),
            is_tcp: transaction.flow.protocol == decode::TCP,
            time: query.or(response).map(Packets::time),
            qname: transaction.question.as_ref().map(|question| question.qname()),
            qtype: transaction.question.as_ref().map(|question| question.qtype().into()),
            rcode: transaction.response.as_ref().map(|response| response.rcode.into()),
            delay: delay.map(|delay| u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX)),
            query: query.and_then(message),
            response: response.and_then(message),
            zone: None,
            response_packets: response.map_or(0, Packets::count),
        }
    }

    /// What a file holds.
    pub(crate) fn of_payload(payload: &Payload<'_>, dnsqr: &Dnsqr<'a>) -> Exchange<'a> {
        let is = |kind: Type| dnsqr.kind == kind as u32;
        let seconds = u64::try_from(payload.time_sec).ok();
        Exchange {
            seen: match dnsqr.kind {
                _ if is(Type::UdpQueryResponse) => Seen::Answered,
                _ if is(Type::UdpUnansweredQuery) => Seen::Unanswered,
                _ if is(Type::UdpUnsolicitedResponse) => Seen::Unsolicited,
                _ if is(Type::UdpResponseOnly) => Seen::ResponseAlone,
                _ if is(Type::UdpQueryOnly) => Seen::QueryAlone,
                _ => Seen::Other,
            },
            server: packets::address(dnsqr.response_ip),
            is_tcp: dnsqr.proto == u32::from(decode::TCP),
            time: seconds.map(|seconds| Timestamp::new(seconds, payload.time_nsec.into())),
            qname: dnsqr.qname,
            qtype: dnsqr.qtype,
            rcode: dnsqr.rcode.filter(|_| !dnsqr.response_packet.is_empty()),
            delay: delay(dnsqr).filter(|_| is(Type::UdpQueryResponse)),
            query: dnsqr.query_message(),
            response: dnsqr.response_message(),
            zone: None,
            response_packets: dnsqr.response_packet.len(),
        }
    }
}
