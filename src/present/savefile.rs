//! The IP packets of dnsqr payloads as a savefile again: nanosecond pcap, link type RAW.

use crate::nmsg::Payload;
use crate::nmsg::dnsqr::Dnsqr;

/// The nanosecond variant of pcap; written little-endian.
const MAGIC: u32 = 0xa1b2_3c4d;
/// LINKTYPE_RAW: the packet begins with its IPv4 or IPv6 header.
const LINKTYPE_RAW: u32 = 101;
/// MAXIMUM_SNAPLEN in libpcap; a longer record would make its readers refuse the file.
const SNAPLEN: u32 = 262_144;
/// Nanoseconds of a second that exist.
const NANOS_MAX: u32 = 999_999_999;

/// Appends the file header.
pub fn write_header(out: &mut Vec<u8>) {
    out.extend(MAGIC.to_le_bytes());
    out.extend(2u16.to_le_bytes()); // version 2.4, the only one in use
    out.extend(4u16.to_le_bytes());
    out.extend([0; 8]); // time zone and accuracy, never used
    out.extend(SNAPLEN.to_le_bytes());
    out.extend(LINKTYPE_RAW.to_le_bytes());
}

/// Appends the query packets of a transaction, then its response packets; returns how many. A transaction over TCP
/// holds one synthetic UDP packet for each message, and that is what is written. A packet whose time is missing gets
/// the payload's; a time before 1970 or after 2106 becomes the nearest that pcap can hold.
pub fn write(payload: &Payload<'_>, dnsqr: &Dnsqr<'_>, out: &mut Vec<u8>) -> usize {
    let queries = (&dnsqr.query_packet, &dnsqr.query_time_sec, &dnsqr.query_time_nsec);
    let responses = (&dnsqr.response_packet, &dnsqr.response_time_sec, &dnsqr.response_time_nsec);
    let mut written = 0;
    for (packets, seconds, nanos) in [queries, responses] {
        for (index, packet) in packets.iter().enumerate() {
            if packet.is_empty() {
                continue;
            }
            let seconds = seconds.get(index).copied().unwrap_or(payload.time_sec);
            let nanos = match nanos.get(index) {
                Some(&nanos) => u32::try_from(nanos).unwrap_or(0),
                None => payload.time_nsec,
            };
            write_packet(packet, clamp(seconds), nanos.min(NANOS_MAX), out);
            written += 1;
        }
    }
    written
}

fn write_packet(packet: &[u8], seconds: u32, nanos: u32, out: &mut Vec<u8>) {
    let wire_len = u32::try_from(packet.len()).unwrap_or(u32::MAX);
    let captured_len = wire_len.min(SNAPLEN);
    for field in [seconds, nanos, captured_len, wire_len] {
        out.extend(field.to_le_bytes());
    }
    out.extend(packet.iter().take(usize::try_from(captured_len).unwrap_or(usize::MAX)));
}

fn clamp(seconds: i64) -> u32 {
    u32::try_from(seconds.max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload() -> Payload<'static> {
        let message = std::borrow::Cow::Borrowed(&[][..]);
        Payload { vid: 1, msgtype: 9, time_sec: 7, time_nsec: 8, message, source: 0, operator: 0, group: 0 }
    }

    #[test]
    fn queries_come_before_responses_with_their_own_times() {
        let dnsqr = Dnsqr {
            query_packet: vec![b"Q1"],
            query_time_sec: vec![100],
            query_time_nsec: vec![5],
            response_packet: vec![b"R1", b"", b"R2"],
            response_time_sec: vec![101],
            response_time_nsec: vec![-1],
            ..Dnsqr::default()
        };
        let mut out = Vec::new();
        assert_eq!(write(&payload(), &dnsqr, &mut out), 3);
        let expected: Vec<u8> = [
            [100, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, b'Q', b'1'],
            [101, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, b'R', b'1'],
            [7, 0, 0, 0, 8, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, b'R', b'2'],
        ]
        .concat();
        assert_eq!(out, expected);
    }

    #[test]
    fn what_pcap_cannot_hold_is_cut_to_what_it_can() {
        let long = vec![0x45; 300_000];
        let dnsqr = Dnsqr { query_packet: vec![&long], query_time_sec: vec![i64::MIN], ..Dnsqr::default() };
        let mut out = Vec::new();
        write(&payload(), &dnsqr, &mut out);
        assert_eq!(out.len(), 16 + 262_144);
        assert_eq!(out[..4], [0; 4]);
        assert_eq!(out[12..16], 300_000u32.to_le_bytes());
    }
}
