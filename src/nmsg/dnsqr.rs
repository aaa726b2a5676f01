//! dnsqr: a DNS transaction, or its unmatched half, as a protobuf message (vendor 1, type 9).

pub use crate::decode::udp::UdpChecksum;

/// What was seen of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Type {
    /// Not used by any writer.
    UdpInvalid = 0,
    /// A query and its response.
    UdpQueryResponse = 1,
    /// A query without response.
    UdpUnansweredQuery = 2,
    /// A response without query.
    UdpUnsolicitedResponse = 3,
    /// libnmsg's raw TCP segment.
    Tcp = 4,
    /// libnmsg's raw ICMP packet.
    Icmp = 5,
    /// A query, where only queries are captured.
    UdpQueryOnly = 6,
    /// A response, where only responses are captured.
    UdpResponseOnly = 7,
}

/// A decoded dnsqr message; byte fields are borrowed from the payload. Absent optional fields are `None`.
/// Numbers that are enums on the wire stay numbers here: a value that nobody defined must still print.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dnsqr<'b> {
    /// Field 1, see [`Type`].
    pub kind: u32,
    /// Field 2: 4 or 16 bytes, network order (other lengths are possible in hostile input).
    pub query_ip: &'b [u8],
    /// Field 3.
    pub response_ip: &'b [u8],
    /// Field 4: IP protocol number.
    pub proto: u32,
    /// Field 5.
    pub query_port: u32,
    /// Field 6.
    pub response_port: u32,
    /// Field 7: DNS message id.
    pub id: u32,
    /// Field 8: uncompressed wire form, case as sent.
    pub qname: Option<&'b [u8]>,
    /// Field 9.
    pub qtype: Option<u32>,
    /// Field 10.
    pub qclass: Option<u32>,
    /// Field 11: low four bits of the response header.
    pub rcode: Option<u32>,
    /// Field 12: IP packets from the IP header on; more than one only for fragments.
    pub query_packet: Vec<&'b [u8]>,
    /// Field 13, one per packet.
    pub query_time_sec: Vec<i64>,
    /// Field 14.
    pub query_time_nsec: Vec<i32>,
    /// Field 15.
    pub response_packet: Vec<&'b [u8]>,
    /// Field 16.
    pub response_time_sec: Vec<i64>,
    /// Field 17.
    pub response_time_nsec: Vec<i32>,
    /// Field 18: libnmsg's raw segment.
    pub tcp: Option<&'b [u8]>,
    /// Field 19: libnmsg's raw packet.
    pub icmp: Option<&'b [u8]>,
    /// Field 20: seconds an unanswered query waited.
    pub timeout: Option<f64>,
    /// Field 21, see [`UdpChecksum`].
    pub udp_checksum: Option<u32>,
    /// Field 22.
    pub resolver_address_zeroed: Option<bool>,
}
