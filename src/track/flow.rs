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
        let mut key = [0; KEY_LEN];
        let (addresses, rest) = key.split_at_mut(32);
        let (query, response) = addresses.split_at_mut(16);
        put_address(query, self.query_ip);
        put_address(response, self.response_ip);
        let [q0, q1] = self.query_port.to_be_bytes();
        let [r0, r1] = self.response_port.to_be_bytes();
        rest.copy_from_slice(&[q0, q1, r0, r1, self.protocol, u8::from(self.query_ip.is_ipv6())]);
        Key(key)
    }
}

#[inline]
fn put_address(to: &mut [u8], address: IpAddr) {
    match address {
        IpAddr::V4(address) => to[..4].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => to.copy_from_slice(&address.octets()),
    }
}

const KEY_LEN: usize = 38;

/// A [`Flow`] as bytes, for tables.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Key([u8; KEY_LEN]);

impl Key {
    pub(super) fn flow(&self) -> Flow {
        let [query @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = self.0;
        let [_, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, response @ .., _, _, _, _, _, _] = self.0;
        let [.., q0, q1, r0, r1, protocol, is_ipv6] = self.0;
        let address = |bytes: [u8; 16]| match bytes {
            bytes if is_ipv6 != 0 => IpAddr::from(bytes),
            [a, b, c, d, ..] => IpAddr::from([a, b, c, d]),
        };
        Flow {
            query_ip: address(query),
            response_ip: address(response),
            query_port: u16::from_be_bytes([q0, q1]),
            response_port: u16::from_be_bytes([r0, r1]),
            protocol,
        }
    }
}

impl Hash for Key {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
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
