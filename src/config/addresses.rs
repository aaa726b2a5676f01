//! Sets of addresses and of ports that every packet is held against.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::problem::{Fault, Remark};
use super::values::Faults;

/// Addresses of both families, given as addresses and prefixes.
///
/// What packets are compared with are sorted ranges that neither touch nor overlap; the prefixes as written are kept
/// for display and kernel filters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressSet {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
    prefixes: Vec<IpNet>,
}

/// Up to so many ranges a walk is no slower than a binary search, whose branches mispredict.
const WALKED: usize = 4;

impl AddressSet {
    /// Of these prefixes; host bits do not count.
    pub fn new(prefixes: impl IntoIterator<Item = IpNet>) -> AddressSet {
        let prefixes: Vec<IpNet> = prefixes.into_iter().map(|prefix| prefix.trunc()).collect();
        let mut set = AddressSet::default();
        for prefix in &prefixes {
            match prefix {
                IpNet::V4(net) => set.v4.push((net.network().to_bits(), net.broadcast().to_bits())),
                IpNet::V6(net) => set.v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        merge(&mut set.v4, |end| end.checked_add(1));
        merge(&mut set.v6, |end| end.checked_add(1));
        AddressSet { prefixes, ..set }
    }

    /// Parses a comma list of addresses and prefixes; blanks are allowed anywhere between items, an item may be empty
    /// (a comma at the end), the list may not.
    pub(super) fn parse(text: &str, remarks: &mut Vec<Remark>) -> Result<AddressSet, Faults> {
        let mut prefixes = Vec::new();
        let mut faults = Vec::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            match prefix(item) {
                Ok(net) if net == net.trunc() => prefixes.push(net),
                Ok(net) => {
                    remarks.push(Remark::HostBits(item.to_owned(), net.trunc().to_string()));
                    prefixes.push(net);
                }
                Err(fault) => faults.push(fault),
            }
        }
        if prefixes.is_empty() && faults.is_empty() {
            faults.push(Fault::EmptyList);
        }
        if faults.is_empty() { Ok(AddressSet::new(prefixes)) } else { Err(Faults(faults)) }
    }

    /// Whether nothing was listed.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.prefixes.is_empty()
    }

    /// The prefixes in the order written, host bits cleared.
    pub fn prefixes(&self) -> &[IpNet] {
        &self.prefixes
    }

    /// Whether it holds this IPv4 address.
    #[inline]
    pub fn contains_v4(&self, address: [u8; 4]) -> bool {
        within(&self.v4, u32::from_be_bytes(address))
    }

    /// Whether it holds this IPv6 address.
    #[inline]
    pub fn contains_v6(&self, address: &[u8; 16]) -> bool {
        within(&self.v6, u128::from_be_bytes(*address))
    }

    /// Whether it holds this address.
    #[inline]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.contains_v4(address.octets()),
            IpAddr::V6(address) => self.contains_v6(&address.octets()),
        }
    }
}

impl fmt::Display for AddressSet {
    /// As the setting is written: addresses without a length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, prefix) in self.prefixes.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            match prefix.prefix_len() == prefix.max_prefix_len() {
                true => write!(f, "{separator}{}", prefix.addr())?,
                false => write!(f, "{separator}{prefix}")?,
            }
        }
        Ok(())
    }
}

/// An address or a prefix, host bits kept.
pub(super) fn prefix(item: &str) -> Result<IpNet, Fault> {
    let parsed = match item.contains('/') {
        true => item.parse().ok(),
        false => item.parse().ok().map(|address: IpAddr| IpNet::from(address)),
    };
    match parsed {
        None => Err(Fault::NotAddress(item.to_owned())),
        Some(net) => match unmapped(net) {
            None => Ok(net),
            Some(cure) => Err(Fault::Mapped(item.to_owned(), cure)),
        },
    }
}

/// How a prefix within ::ffff:0:0/96 is written in IPv4. No packet has such addresses, so a set with them would be
/// silently blind.
fn unmapped(net: IpNet) -> Option<String> {
    let IpNet::V6(net) = net else { return None };
    let address: Ipv4Addr = net.addr().to_ipv4_mapped()?;
    let len = net.prefix_len().checked_sub(96)?;
    match len {
        32 => Some(address.to_string()),
        _ => Ipv4Net::new(address, len).ok().map(|net| net.trunc().to_string()),
    }
}

/// Sorts ranges and joins those that overlap or touch. `after` is the number after an end.
fn merge<N: Ord + Copy>(ranges: &mut Vec<(N, N)>, after: impl Fn(N) -> Option<N>) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, last| {
        let joined = after(last.1).is_none_or(|after| next.0 <= after);
        if joined {
            last.1 = last.1.max(next.1);
        }
        joined
    });
}

/// Whether one of the sorted `ranges` holds `address`.
#[inline]
fn within<N: Ord + Copy>(ranges: &[(N, N)], address: N) -> bool {
    if ranges.len() <= WALKED {
        return ranges.iter().any(|&(start, end)| start <= address && address <= end);
    }
    let after = ranges.partition_point(|&(start, _)| start <= address);
    ranges[..after].last().is_some_and(|&(_, end)| address <= end)
}

/// The DNS ports.
#[derive(Clone, PartialEq, Eq)]
pub struct PortSet {
    /// A bit per port; boxed because 8 KiB are too much to move about.
    bits: Box<[u64; 1024]>,
}

impl PortSet {
    /// Of these ports.
    pub fn new(ports: impl IntoIterator<Item = u16>) -> PortSet {
        let mut set = PortSet::default();
        for port in ports {
            let (word, bit) = PortSet::position(port);
            set.bits[word] |= bit;
        }
        set
    }

    /// Parses a comma list of ports; an item may be empty, the list may not.
    pub(super) fn parse(text: &str, _: &mut Vec<Remark>) -> Result<PortSet, Faults> {
        let mut ports = Vec::new();
        let mut faults = Vec::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            match item.parse() {
                Ok(port @ 1u16..) if item.bytes().all(|b| b.is_ascii_digit()) => ports.push(port),
                _ => faults.push(Fault::NotPort(item.to_owned())),
            }
        }
        if ports.is_empty() && faults.is_empty() {
            faults.push(Fault::EmptyList);
        }
        if faults.is_empty() { Ok(PortSet::new(ports)) } else { Err(Faults(faults)) }
    }

    /// The word of a port, below 1024 for every port, and its bit.
    #[inline]
    fn position(port: u16) -> (usize, u64) {
        (usize::from(port >> 6), 1 << (port & 63))
    }

    /// Whether it holds this port.
    #[inline]
    pub fn contains(&self, port: u16) -> bool {
        let (word, bit) = PortSet::position(port);
        self.bits[word] & bit != 0
    }

    /// In ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        (0..=u16::MAX).filter(|&port| self.contains(port))
    }
}

impl Default for PortSet {
    /// No port.
    fn default() -> PortSet {
        PortSet { bits: Box::new([0; 1024]) }
    }
}

impl fmt::Debug for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv6Addr;

    fn set(text: &str) -> AddressSet {
        AddressSet::parse(text, &mut Vec::new()).unwrap()
    }

    fn faults(text: &str) -> Vec<String> {
        AddressSet::parse(text, &mut Vec::new()).unwrap_err().0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_shipped_list_holds_both_families_and_nothing_else() {
        let set = set("192.0.2.1, 2001:db8::1");
        assert!(set.contains_v4([192, 0, 2, 1]));
        assert!(!set.contains_v4([192, 0, 2, 2]));
        assert!(set.contains("2001:db8::1".parse().unwrap()));
        assert!(!set.contains("2001:db8::".parse().unwrap()));
        assert!(!set.contains("::ffff:192.0.2.1".parse().unwrap()));
        assert_eq!(set.to_string(), "192.0.2.1, 2001:db8::1");
        assert!(!set.is_empty());
        assert!(AddressSet::default().is_empty());
    }

    #[test]
    fn neighbours_and_overlaps_become_one_range() {
        let set = set("10.0.1.0/24,10.0.0.0/24 , 10.0.0.7,255.255.255.255,0.0.0.0/1,255.255.255.0/24,::/0,::1,");
        assert_eq!(set.v4, [(0, 0x7fff_ffff), (0xffff_ff00, u32::MAX)]);
        assert_eq!(set.v6, [(0, u128::MAX)]);
        assert_eq!(set.prefixes().len(), 8);
    }

    #[test]
    fn every_wrong_item_is_named() {
        assert_eq!(
            faults("192.0.2.300, 192.0.2.1, x, 10.0.0.0/33,::ffff:192.0.2.1,::ffff:192.0.2.9/120"),
            [
                r#""192.0.2.300" is not an address or prefix"#,
                r#""x" is not an address or prefix"#,
                r#""10.0.0.0/33" is not an address or prefix"#,
                r#""::ffff:192.0.2.1" is IPv4 written as IPv6; write "192.0.2.1""#,
                r#""::ffff:192.0.2.9/120" is IPv4 written as IPv6; write "192.0.2.0/24""#,
            ]
        );
        assert_eq!(faults(" , ").len(), 1);
    }

    #[test]
    fn host_bits_are_cleared_with_a_remark() {
        let mut remarks = Vec::new();
        let set = AddressSet::parse("192.0.2.53/24", &mut remarks).unwrap();
        assert!(set.contains_v4([192, 0, 2, 0]));
        assert_eq!(remarks[0].to_string(), "192.0.2.53/24: host bits set, taken as 192.0.2.0/24");
    }

    #[test]
    fn ports_are_those_listed() {
        let ports = PortSet::parse("53, 5353,65535,", &mut Vec::new()).unwrap();
        assert_eq!(ports.iter().collect::<Vec<_>>(), [53, 5353, 65535]);
        assert!(ports.contains(53) && !ports.contains(54));
        let faults = PortSet::parse("0,65536,+53,53-54", &mut Vec::new()).unwrap_err();
        assert_eq!(faults.0.len(), 4);
    }

    proptest! {
        #[test]
        fn a_set_agrees_with_its_prefixes(
            nets in proptest::collection::vec((any::<u32>(), 0u8..=32), 0..12),
            others in proptest::collection::vec((any::<u128>(), 0u8..=128), 0..12),
            near in any::<i8>(),
        ) {
            let mut prefixes = Vec::new();
            for (bits, len) in nets {
                prefixes.push(IpNet::new(Ipv4Addr::from_bits(bits).into(), len).unwrap());
            }
            for (bits, len) in others {
                prefixes.push(IpNet::new(Ipv6Addr::from_bits(bits).into(), len).unwrap());
            }
            let set = AddressSet::new(prefixes.clone());
            for prefix in &prefixes {
                for address in [prefix.network(), prefix.broadcast(), prefix.addr()] {
                    prop_assert!(set.contains(address));
                    let beside: IpAddr = match address {
                        IpAddr::V4(a) => Ipv4Addr::from_bits(a.to_bits().wrapping_add_signed(near.into())).into(),
                        IpAddr::V6(a) => Ipv6Addr::from_bits(a.to_bits().wrapping_add_signed(near.into())).into(),
                    };
                    prop_assert_eq!(set.contains(beside), prefixes.iter().any(|p| p.contains(&beside)));
                }
            }
        }
    }
}
