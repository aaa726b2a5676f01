//! A message out of a TCP stream as an IP packet, so that every reader of dnsqr can decode it.

use super::Flow;
use crate::decode::{UDP, udp};
use std::net::IpAddr;

const IPV4_HEADER_LEN: usize = 20;
const TTL: u8 = 64;

/// The longest message that fits an IP datagram between these hosts: 65 535 bytes less the headers that its length counts.
pub(super) fn message_max(flow: &Flow) -> usize {
    let counted = if flow.query_ip.is_ipv4() { IPV4_HEADER_LEN } else { 0 };
    usize::from(u16::MAX) - counted - udp::HEADER_LEN
}

/// Writes a minimal IP header, a UDP header and `message`, which is not longer than [`message_max`], into `packet`. The
/// UDP checksum is 0, absent. Returns the length of the IP header.
pub(super) fn packet(flow: &Flow, is_response: bool, message: &[u8], packet: &mut Vec<u8>) -> usize {
    let mut ends = [(flow.query_ip, flow.query_port), (flow.response_ip, flow.response_port)];
    if is_response {
        ends.reverse();
    }
    let [(source, source_port), (destination, destination_port)] = ends;
    let udp_len = (udp::HEADER_LEN + message.len()) as u16;
    packet.clear();
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total_len = udp_len + IPV4_HEADER_LEN as u16;
            packet.extend([0x45, 0]); // version 4, five words of header
            packet.extend(total_len.to_be_bytes());
            packet.extend([0, 0, 0, 0, TTL, UDP, 0, 0]); // id, fragment, time to live, protocol, checksum
            packet.extend(source.octets());
            packet.extend(destination.octets());
            let checksum = udp::header_checksum(packet).to_be_bytes();
            packet[10..12].copy_from_slice(&checksum);
        }
        (source, destination) => {
            packet.extend([0x60, 0, 0, 0]); // version 6
            packet.extend(udp_len.to_be_bytes());
            packet.extend([UDP, TTL]);
            for address in [source, destination] {
                match address {
                    IpAddr::V6(address) => packet.extend(address.octets()),
                    IpAddr::V4(address) => packet.extend(address.to_ipv6_mapped().octets()),
                }
            }
        }
    }
    let header_len = packet.len();
    packet.extend(source_port.to_be_bytes());
    packet.extend(destination_port.to_be_bytes());
    packet.extend(udp_len.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend_from_slice(message);
    header_len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rebuilt_packet_decodes_to_its_message_in_both_directions() {
        let v4 = Flow {
            query_ip: [192, 0, 2, 1].into(),
            response_ip: [198, 51, 100, 2].into(),
            query_port: 4000,
            response_port: 53,
            protocol: 6,
        };
        let v6 = Flow { query_ip: [1; 16].into(), response_ip: [2; 16].into(), ..v4 };
        let mut bytes = Vec::new();
        for flow in [v4, v6] {
            for is_response in [false, true] {
                let message = vec![7; message_max(&flow)];
                let header_len = packet(&flow, is_response, &message, &mut bytes);
                let packet = crate::decode::packet(&bytes).unwrap();
                let udp = udp::header(packet.payload).unwrap();
                assert_eq!((packet.payload_at(), udp.data().unwrap()), (header_len, &message[..]));
                let ends = (packet.source, udp.source_port, packet.destination, udp.destination_port);
                let (query, response) = ((flow.query_ip, 4000), (flow.response_ip, 53));
                let (from, to) = if is_response { (response, query) } else { (query, response) };
                assert_eq!(ends, (from.0, from.1, to.0, to.1));
                if flow.query_ip.is_ipv4() {
                    assert_eq!(udp::header_checksum(&bytes[..20]), 0);
                }
            }
        }
    }
}
