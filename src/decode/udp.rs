//! UDP (RFC 768).

use super::{Malformed, UDP, cursor::Cursor};
use std::net::IpAddr;

/// Length of the header.
pub const HEADER_LEN: usize = 8;
/// Where the checksum stands in it.
pub const CHECKSUM_AT: usize = 6;

/// How the checksum of a datagram was; numbered as in dnsqr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum UdpChecksum {
    /// It could not be computed.
    Error = 0,
    /// The field was zero.
    Absent = 1,
    /// Wrong.
    Incorrect = 2,
    /// Right.
    Correct = 3,
}

/// A UDP header whose length is still to be believed.
#[derive(Clone, Copy)]
pub struct Header<'p> {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    len: u16,
    checksum: u16,
    bytes: &'p [u8],
}

/// Reads the header at the start of an IP payload.
#[inline]
pub fn header(payload: &[u8]) -> Result<Header<'_>, Malformed> {
    let mut cursor = Cursor::new(payload);
    let [s0, s1, d0, d1, l0, l1, c0, c1] = cursor.take().ok_or(Malformed::Udp)?;
    Ok(Header {
        source_port: u16::from_be_bytes([s0, s1]),
        destination_port: u16::from_be_bytes([d0, d1]),
        len: u16::from_be_bytes([l0, l1]),
        checksum: u16::from_be_bytes([c0, c1]),
        bytes: payload,
    })
}

impl<'p> Header<'p> {
    /// What the datagram carries, up to the header's length; bytes behind that are not data.
    #[inline]
    pub fn data(&self) -> Result<&'p [u8], Malformed> {
        self.bytes.get(HEADER_LEN..usize::from(self.len)).ok_or(Malformed::Udp)
    }

    /// Whether the checksum holds, over the whole datagram and the addresses it travelled between.
    #[inline]
    pub fn checksum(&self, source: IpAddr, destination: IpAddr) -> UdpChecksum {
        if self.checksum == 0 {
            return UdpChecksum::Absent;
        }
        let Some(datagram) = self.bytes.get(..usize::from(self.len)) else {
            return UdpChecksum::Error;
        };
        let sum = sum(datagram) + sum_address(source) + sum_address(destination) + u64::from(UDP) + u64::from(self.len);
        if fold(sum) == 0xffff { UdpChecksum::Correct } else { UdpChecksum::Incorrect }
    }
}

/// The ones' complement sum of a header, whose own checksum field counts as it is (RFC 1071).
pub fn header_checksum(header: &[u8]) -> u16 {
    !fold(sum(header))
}

/// The sum of 16-bit words, not folded yet. Eight bytes are added at a time: carries between the words end where
/// folding puts them (RFC 1071 §2 (B), (C)).
#[inline]
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut sum: u64 = words.iter().map(|word| u64::from(u32::from_be_bytes(*word))).sum();
    let mut last = [0; 4];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    sum += u64::from(u32::from_be_bytes(last));
    sum
}

#[inline]
fn sum_address(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => sum(&address.octets()),
        IpAddr::V6(address) => sum(&address.octets()),
    }
}

/// Adds the carries back in until 16 bits are left.
#[inline]
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_below_the_header_or_beyond_the_packet_is_malformed() {
        for (len, ok) in [(0, false), (7, false), (8, true), (10, true), (11, false)] {
            let bytes = [0, 53, 0, 99, 0, len, 0, 0, 1, 2];
            assert_eq!(header(&bytes).unwrap().data().is_ok(), ok, "length {len}");
        }
        for cut in 0..8 {
            assert!(header(&[0; 8][..cut]).is_err());
        }
    }

    #[test]
    fn checksums_agree_with_an_independent_builder() {
        for len in [0_usize, 1, 2, 3, 4, 5, 7, 8, 100, 1231] {
            let data: Vec<u8> = (0..len).map(|i| (i * 7 + 200) as u8).collect();
            let mut bytes = Vec::new();
            etherparse::PacketBuilder::ipv6([1; 16], [2; 16], 9).udp(53, 4000).write(&mut bytes, &data).unwrap();
            let packet = crate::decode::packet(&bytes).unwrap();
            let udp = header(packet.payload).unwrap();
            assert_eq!(udp.checksum(packet.source, packet.destination), UdpChecksum::Correct, "{len} bytes");
            assert_eq!(udp.checksum(packet.source, [3; 16].into()), UdpChecksum::Incorrect);
        }
    }

    #[test]
    fn a_checksum_of_zero_is_absent() {
        let bytes = [0, 53, 0, 99, 0, 9, 0, 0, 1];
        let here = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(header(&bytes).unwrap().checksum(here, here), UdpChecksum::Absent);
    }
}
