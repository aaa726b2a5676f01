//! Filters for frames that libpcap has not cooked yet: the kernel shows them from the network header on.

use libc::{BPF_ABS, BPF_H, BPF_IND, BPF_LD, BPF_LDX, BPF_MSH, SKF_AD_OFF, SKF_AD_PROTOCOL, sock_filter};

/// Length of the Ethernet header, and where in it the EtherType is.
const HEADER_LEN: u32 = 14;
const ETHERTYPE_AT: u32 = 12;
/// BPF_CLASS and BPF_MODE of linux/bpf_common.h, and both with the size.
const CLASS_AND_MODE: u32 = 0xe7;
const LOAD: u32 = 0xff;

/// A program for Ethernet frames, moved so that it reads them from behind their header; the EtherType it asks the
/// kernel for. None where it reads anything else of the header.
///
/// The outermost VLAN tag the kernel has taken out, as it has on Ethernet interfaces; the others stand where they did.
pub(super) fn from_ethernet(program: &[sock_filter]) -> Option<Vec<sock_filter>> {
    program.iter().map(|instruction| Some(sock_filter { k: moved(*instruction)?, ..*instruction })).collect()
}

/// What an instruction's number becomes: that of a load is an offset in the frame.
fn moved(sock_filter { code, k, .. }: sock_filter) -> Option<u32> {
    let code = u32::from(code);
    let is_load = [BPF_LD | BPF_ABS, BPF_LD | BPF_IND, BPF_LDX | BPF_MSH].contains(&(code & CLASS_AND_MODE));
    match (is_load, k) {
        (false, _) => Some(k),
        (true, ETHERTYPE_AT) if code & LOAD == BPF_LD | BPF_ABS | BPF_H => {
            Some((SKF_AD_OFF + SKF_AD_PROTOCOL).cast_unsigned())
        }
        (true, _) => k.checked_sub(HEADER_LEN),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Filter;
    use super::*;
    use crate::{capture::LinkType, config, sys::packet_socket};

    #[test]
    fn no_filter_reads_more_of_the_ethernet_header_than_the_ethertype() {
        let tunnels = "ip proto 47 or ether proto 0x8847 or ether proto 0x8864";
        for set in ["DNSQR_RES_ADDRS=", "DNSQR_RES_ADDRS=192.0.2.53,2001:db8::/32", "DNSQR_CAPTURE_TCP=0"] {
            let (settings, _) = config::load(None, &[set.to_owned()]).unwrap();
            for filter in [Filter::new(&settings), Filter::of_all_hosts(&settings, tunnels)] {
                for program in filter.programs(LinkType::Ethernet).map(Result::unwrap) {
                    let instructions = packet_socket::instructions(&program.compiled);
                    let moved = from_ethernet(instructions).unwrap_or_else(|| panic!("{program:?}"));
                    let asks = |of: &sock_filter| of.k == (SKF_AD_OFF + SKF_AD_PROTOCOL).cast_unsigned();
                    assert!(moved.len() == instructions.len() && moved.iter().any(asks), "{program:?}");
                }
            }
        }
    }

    #[test]
    fn a_program_that_reads_the_addresses_of_the_link_is_refused() {
        let load = |offset| sock_filter { code: (BPF_LD | BPF_ABS | BPF_H) as u16, jt: 0, jf: 0, k: offset };
        assert!(from_ethernet(&[load(0)]).is_none() && from_ethernet(&[load(10)]).is_none());
        assert_eq!(from_ethernet(&[load(16)]).unwrap().first().unwrap().k, 2);
    }
}
