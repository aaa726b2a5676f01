//! dnsqr: a DNS transaction, or its unmatched half, as a protobuf message (vendor 1, type 9).

pub use crate::decode::udp::UdpChecksum;
use std::borrow::Cow;

use super::packets;
use super::wire::{Fields, Malformed, Value};

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

/// What the dnsqr types are called, by number; also in libnmsg's output.
pub const TYPE_NAMES: [&str; 8] = [
    "UDP_INVALID",
    "UDP_QUERY_RESPONSE",
    "UDP_UNANSWERED_QUERY",
    "UDP_UNSOLICITED_RESPONSE",
    "TCP",
    "ICMP",
    "UDP_QUERY_ONLY",
    "UDP_RESPONSE_ONLY",
];

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

impl<'b> Dnsqr<'b> {
    /// Decodes a dnsqr message. Unknown fields are skipped; of a field given twice the last one holds; the seven
    /// fields that are required (type, addresses, protocol, ports, id) must be there.
    pub fn decode(message: &'b [u8]) -> Result<Dnsqr<'b>, Malformed> {
        let mut dnsqr = Dnsqr::default();
        let mut seen = 0u32;
        for field in Fields::new(message) {
            let (number, value) = field?;
            if number <= REQUIRED {
                seen |= 1 << number;
            }
            dnsqr.set(number, value)?;
        }
        match (1..=REQUIRED).find(|number| seen & (1 << number) == 0) {
            Some(missing) => Err(Malformed::Missing(missing)),
            None => Ok(dnsqr),
        }
    }

    fn set(&mut self, number: u32, value: Value<'b>) -> Result<(), Malformed> {
        match number {
            1 => self.kind = value.u32()?,
            2 => self.query_ip = value.bytes()?,
            3 => self.response_ip = value.bytes()?,
            4 => self.proto = value.u32()?,
            5 => self.query_port = value.u32()?,
            6 => self.response_port = value.u32()?,
            7 => self.id = value.u32()?,
            8 => self.qname = Some(value.bytes()?),
            9 => self.qtype = Some(value.u32()?),
            10 => self.qclass = Some(value.u32()?),
            11 => self.rcode = Some(value.u32()?),
            12 => self.query_packet.push(value.bytes()?),
            13 => value.extend_varints(&mut self.query_time_sec, u64::cast_signed)?,
            14 => value.extend_fixed32(&mut self.query_time_nsec, u32::cast_signed)?,
            15 => self.response_packet.push(value.bytes()?),
            16 => value.extend_varints(&mut self.response_time_sec, u64::cast_signed)?,
            17 => value.extend_fixed32(&mut self.response_time_nsec, u32::cast_signed)?,
            18 => self.tcp = Some(value.bytes()?),
            19 => self.icmp = Some(value.bytes()?),
            20 => self.timeout = Some(value.f64()?),
            21 => self.udp_checksum = Some(value.u32()?),
            22 => self.resolver_address_zeroed = Some(value.u64()? != 0),
            _ => {}
        }
        Ok(())
    }

    /// The DNS message of the query, out of its packet or the fragments of it; `None` when there is no query, or
    /// its packets are not one whole UDP datagram. (libnmsg shows the query only when it is one packet; sensors
    /// that keep fragmented queries write all of them, so they are put together here.)
    pub fn query_message(&self) -> Option<Cow<'b, [u8]>> {
        packets::message(&self.query_packet)
    }

    /// The DNS message of the response, likewise.
    pub fn response_message(&self) -> Option<Cow<'b, [u8]>> {
        packets::message(&self.response_packet)
    }
}

/// The name, its parent, and so on to the root, of a name in uncompressed wire form: all of them, or nothing where it
/// is malformed.
pub fn suffixes(name: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    let mut all = Vec::new();
    let mut rest = name;
    while let Some((&len, behind)) = rest.split_first() {
        all.push(rest);
        if len == 0 && behind.is_empty() && name.len() <= 255 {
            return all.into_iter();
        }
        match behind.get(usize::from(len)..) {
            Some(behind) if (1..=63).contains(&len) => rest = behind,
            _ => break,
        }
    }
    Vec::new().into_iter()
}

/// Fields 1 to 7 are required.
const REQUIRED: u32 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    /// Fields 1 to 7, and a number nobody defined.
    const SMALLEST: [u8; 28] = [
        0x08, 1, 0x12, 4, 192, 0, 2, 1, 0x1a, 4, 192, 0, 2, 2, 0x20, 17, 0x28, 53, 0x30, 53, 0x38, 7, 0xf8, 0x07, 9,
        0x08, 2, 0,
    ];

    #[test]
    fn unknown_fields_are_skipped_and_the_last_scalar_holds() {
        let dnsqr = Dnsqr::decode(&SMALLEST[..27]).unwrap();
        assert_eq!((dnsqr.kind, dnsqr.query_ip, dnsqr.id), (2, &[192, 0, 2, 1][..], 7));
        assert_eq!((dnsqr.qname, dnsqr.query_message()), (None, None));
    }

    #[test]
    fn every_required_field_is_required() {
        assert_eq!(Dnsqr::decode(&SMALLEST[..20]), Err(Malformed::Missing(7)));
        assert_eq!(Dnsqr::decode(&SMALLEST[2..22]), Err(Malformed::Missing(1)));
        assert_eq!(Dnsqr::decode(&[]), Err(Malformed::Missing(1)));
    }

    #[test]
    fn a_field_of_another_wire_type_is_malformed() {
        assert_eq!(Dnsqr::decode(&[0x0d, 1, 0, 0, 0]), Err(Malformed::WireType));
    }

    #[test]
    fn no_cut_of_a_message_panics() {
        for len in 0..SMALLEST.len() {
            let _ = Dnsqr::decode(&SMALLEST[..len]);
        }
    }
}
