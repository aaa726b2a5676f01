//! The host's interfaces.

use nix::{
    ifaddrs::getifaddrs,
    net::if_::{InterfaceFlags, if_nametoindex},
};
use std::collections::HashMap;

/// The interfaces that there are.
pub struct Interfaces {
    up: HashMap<String, bool>,
}

/// The interfaces that there are now. None, if the system does not say.
pub fn interfaces() -> Interfaces {
    let mut up = HashMap::new();
    for address in getifaddrs().into_iter().flatten() {
        up.insert(address.interface_name, address.flags.contains(InterfaceFlags::IFF_UP));
    }
    if cfg!(target_os = "linux") {
        up.insert("any".to_owned(), true); // all of them; not in the list
    }
    Interfaces { up }
}

impl Interfaces {
    /// Whether there is one of that name.
    pub fn exists(&self, name: &str) -> bool {
        self.up.contains_key(name)
    }

    /// Whether it is there and up.
    pub fn is_up(&self, name: &str) -> bool {
        self.up.get(name).copied().unwrap_or_default()
    }

    /// Its number, which another one of the same name does not have.
    pub fn index(&self, name: &str) -> Option<u32> {
        if_nametoindex(name).ok()
    }

    /// What keeps one from being captured from.
    pub fn why_not(&self, name: &str) -> &'static str {
        if self.exists(name) { "it is down" } else { "there is no such interface" }
    }
}
