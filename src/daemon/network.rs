//! The host's interfaces.

use nix::{
    ifaddrs::getifaddrs,
    net::if_::{InterfaceFlags, if_nametoindex},
};
use std::collections::HashMap;

/// The interfaces that there are.
pub struct Interfaces {
    /// Whether each is up, and whether its link is.
    up: HashMap<String, (bool, bool)>,
}

/// The interfaces that there are now. None, if the system does not say.
pub fn interfaces() -> Interfaces {
    let mut up = HashMap::new();
    for address in getifaddrs().into_iter().flatten() {
        let is = |flag| address.flags.contains(flag);
        up.insert(address.interface_name.clone(), (is(InterfaceFlags::IFF_UP), is(InterfaceFlags::IFF_RUNNING)));
    }
    if cfg!(target_os = "linux") {
        up.insert("any".to_owned(), (true, true)); // all of them; not in the list
    }
    Interfaces { up }
}

/// An interface's number, which another one of the same name does not have.
pub fn index(name: &str) -> Option<u32> {
    if_nametoindex(name).ok()
}

impl Interfaces {
    /// Whether there is one of that name.
    pub fn exists(&self, name: &str) -> bool {
        self.up.contains_key(name)
    }

    /// Whether it is there and up.
    pub fn is_up(&self, name: &str) -> bool {
        self.up.get(name).is_some_and(|(is_up, _)| *is_up)
    }

    /// Whether its link is there: a cable with something at the other end. None, if there is no such interface.
    pub fn is_running(&self, name: &str) -> Option<bool> {
        self.up.get(name).map(|(_, is_running)| *is_running)
    }

    /// What keeps one from being captured from.
    pub fn why_not(&self, name: &str) -> &'static str {
        if self.exists(name) { "it is down" } else { "there is no such interface" }
    }
}
