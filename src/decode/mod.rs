//! Bytes to values: link, IP, UDP and TCP, the DNS header and question. Everything is borrowed from the frame, nothing
//! is remembered, no clock is read.
//!
//! Reads can fail and say which layer was malformed; accessors cannot, since only valid values exist.

mod cursor;
pub mod dns;
pub mod ecs;
pub mod ipv4;
pub mod ipv6;
pub mod link;
pub mod tcp;
pub mod udp;

use std::net::IpAddr;

/// The layer at which a packet stopped making sense; a count in the packet ledger, never a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Cut or contradictory link header.
    Link,
    /// IP header, extension header or fragment with impossible lengths.
    Ip,
    /// UDP length below 8 or beyond the packet.
    Udp,
    /// TCP header cut, or its data offset below 20 or beyond the segment.
    Tcp,
    /// DNS header cut, or a question that is none.
    Dns,
}

/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;

/// Where a fragment stands in its datagram (RFC 791 §3.1, RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Identification; 16 bits in IPv4.
    pub id: u32,
    /// Of the payload's first byte within the datagram's, in bytes.
    pub offset: u32,
    /// More fragments follow.
    pub more: bool,
}

/// An IP packet of either version, options and extension headers skipped.
///
/// `bytes` stops at Total Length (IPv4) or Payload Length (IPv6): Ethernet padding is not data.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'p> {
    /// Source address of the header.
    pub source: IpAddr,
    /// Destination address of the header.
    pub destination: IpAddr,
    /// Protocol of `payload`; for an IPv6 fragment the one its fragment header names.
    pub protocol: u8,
    /// Set when this is a piece of a datagram; an atomic fragment (RFC 6946) is a whole one.
    pub fragment: Option<Fragment>,
    /// The packet from the IP header on.
    pub bytes: &'p [u8],
    /// What the headers carry: the end of `bytes`.
    pub payload: &'p [u8],
}

impl Packet<'_> {
    /// Length of all headers before the payload.
    pub fn payload_at(&self) -> usize {
        self.bytes.len() - self.payload.len()
    }
}

/// The IP packet in `bytes`, whose first half-byte says which version it is.
#[inline(always)]
pub fn packet(bytes: &[u8]) -> Result<Packet<'_>, Malformed> {
    match bytes.first().map(|first| first >> 4) {
        Some(4) => ipv4::packet(bytes),
        Some(6) => ipv6::packet(bytes),
        _ => Err(Malformed::Ip),
    }
}

/// A fragment's length rules, the same in both versions: all but the last are multiples of 8, none is empty, and none
/// reaches beyond what a datagram can hold.
fn check_fragment(fragment: Fragment, len: usize) -> Result<Fragment, Malformed> {
    let end = fragment.offset as usize + len;
    if len == 0 || end > usize::from(u16::MAX) || (fragment.more && !len.is_multiple_of(8)) {
        return Err(Malformed::Ip);
    }
    Ok(fragment)
}
