//! Who talks to whom, by role.

use std::{
    hash::{Hash, Hasher},
    net::IpAddr,
};

/// The two ends of a conversation. The roles are decided by ports and addresses before anything is remembered, so
/// source and destination no longer matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The resolver.
    pub query_ip: IpAddr,
    /// The server.
    pub response_ip: IpAddr,
    /// The resolver's port.
    pub query_port: u16,
    /// The server's port.
    pub response_port: u16,
    /// IP protocol number, UDP or TCP.
    pub protocol: u8,
}

impl Flow {
    #[inline]
    pub(super) fn key(&self) -> Key {
        let [q0, q1] = words(self.query_ip);
        let [r0, r1] = words(self.response_ip);
        let ports = u64::from(self.query_port) | u64::from(self.response_port) << 16;
        let rest = u64::from(self.protocol) << 32 | u64::from(self.query_ip.is_ipv6()) << 40;
        Key([q0, q1, r0, r1, ports | rest])
    }
}

#[inline]
fn words(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(address) => [u32::from_ne_bytes(address.octets()).into(), 0],
        IpAddr::V6(address) => {
            let octets = u128::from_ne_bytes(address.octets());
            [octets as u64, (octets >> 64) as u64]
        }
    }
}

/// A [`Flow`] in the form that tables compare and hash fastest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Key([u64; 5]);

/// What messages have in common that a search looks through together: of a UDP flow those of one id, of a TCP connection
/// all.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Alike(Key);

impl Key {
    pub(super) fn is_tcp(self) -> bool {
        (self.0[4] >> 32) as u8 == crate::decode::TCP
    }

    #[inline]
    pub(super) fn alike(self, id: u16) -> Alike {
        let Key([q0, q1, r0, r1, rest]) = self;
        let id = if self.is_tcp() { 0 } else { u64::from(id) };
        Alike(Key([q0, q1, r0, r1, rest | id << 48]))
    }

    pub(super) fn flow(&self) -> Flow {
        let [q0, q1, r0, r1, rest] = self.0;
        let is_ipv6 = rest >> 40 != 0;
        let address = |low: u64, high: u64| match is_ipv6 {
            false => IpAddr::from((low as u32).to_ne_bytes()),
            true => IpAddr::from((u128::from(low) | u128::from(high) << 64).to_ne_bytes()),
        };
        Flow {
            query_ip: address(q0, q1),
            response_ip: address(r0, r1),
            query_port: rest as u16,
            response_port: (rest >> 16) as u16,
            protocol: (rest >> 32) as u8,
        }
    }
}

impl Hash for Key {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.into_iter().for_each(|word| state.write_u64(word));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_gives_its_flow_back() {
        let flow = Flow {
            query_ip: [192, 0, 2, 1].into(),
            response_ip: [198, 51, 100, 2].into(),
            query_port: 4000,
            response_port: 53,
            protocol: 17,
        };
        assert_eq!(flow.key().flow(), flow);
        let flow = Flow { query_ip: [1; 16].into(), response_ip: [2; 16].into(), protocol: 6, ..flow };
        assert_eq!(flow.key().flow(), flow);
    }
}
