//! Who talks in the captures of tests/data/vectors, and in packets made here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Watched resolvers.
pub const RESOLVERS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 53)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x53, 0, 0, 0, 0, 0x53))];

/// Authoritative servers, one for each resolver.
pub const SERVERS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 1))];
