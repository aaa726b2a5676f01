//! The interfaces that the sensor would listen to.

use super::report::Report;
use crate::config::Settings;
use nix::net::if_::InterfaceFlags;
use std::{collections::HashMap, fs, path::Path};

/// Linux's device for all interfaces; it is not in the list of them.
const ANY: &str = "any";

pub(super) fn describe(settings: &Settings, report: &mut Report) {
    report.heading("interfaces");
    list(settings, report);
    report.row("buffer of each", format!("{} kilobytes", settings.capture_buffer / 1024));
    if settings.capture_threads > 1 {
        report.row("threads for each", settings.capture_threads.to_string());
    }
}

/// A row for each.
pub(in crate::cli) fn list(settings: &Settings, report: &mut Report) {
    let known = known();
    for interface in &settings.interfaces {
        let name = interface.name.as_str();
        let mut said: Vec<&str> = Vec::new();
        let mut warning = None;
        match known.get(name) {
            _ if name == ANY && cfg!(target_os = "linux") => said.push("all interfaces"),
            None => {
                said.push("missing");
                warning = Some((format!("{name}: no such interface"), "the sensor waits until it is there".to_owned()));
            }
            Some(flags) if flags.contains(InterfaceFlags::IFF_UP) => said.push("up"),
            Some(_) => {
                said.push("down");
                warning = Some((format!("{name}: the interface is down"), format!("make it up with: {}", up(name))));
            }
        }
        said.extend(link_type(name));
        if interface.promiscuous {
            said.push("promiscuous");
        }
        report.row(name, said.join(", "));
        warning.into_iter().for_each(|(what, cure)| report.fault(what, cure));
    }
}

/// The interfaces of this host with their state.
fn known() -> HashMap<String, InterfaceFlags> {
    let addresses = nix::ifaddrs::getifaddrs().into_iter().flatten();
    addresses.map(|address| (address.interface_name, address.flags)).collect()
}

fn up(name: &str) -> String {
    if cfg!(target_os = "linux") { format!("ip link set {name} up") } else { format!("ifconfig {name} up") }
}

/// Whether libpcap gives its frames as IP without any header: SLIP, tunnels, and what has no link (tun, WireGuard).
pub(super) fn is_raw(name: &str) -> bool {
    const RAW: [&str; 8] = ["256", "257", "258", "259", "264", "768", "776", "65534"];
    hardware(name).is_some_and(|number| RAW.contains(&number.trim()))
}

/// The number of its kind, where the kernel tells: ARPHRD_ of Linux's if_arp.h.
fn hardware(name: &str) -> Option<String> {
    fs::read_to_string(Path::new("/sys/class/net").join(name).join("type")).ok()
}

/// What frames look like.
fn link_type(name: &str) -> Option<&'static str> {
    Some(match hardware(name)?.trim() {
        "1" => "Ethernet",
        "512" => "PPP",
        "768" | "776" | "778" | "65534" => "IP without link header",
        "772" => "loopback",
        "801" | "802" | "803" => "Wi-Fi",
        _ => "another link type",
    })
}
