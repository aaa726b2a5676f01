//! What is seen while listening, of all hosts: counts, in bounded memory.

use super::tunnels::{self, Tunnel};
use crate::{
    capture::Frame,
    config::Settings,
    decode::{self, Packet, dns, link, tcp, udp},
    report::top::Top,
    stats,
    track::Rules,
};
use std::{collections::BTreeMap, net::IpAddr};

/// Hosts that are told apart, of each kind; twice as many for a while. A flood of forged ones shifts which.
const HOSTS: usize = 2048;
/// VLANs and tunnels that are told apart.
const VLANS_MAX: usize = 64;
const TUNNELS_MAX: usize = 16;
/// Ethernet's header has 14 bytes, those of cooked captures more.
const LINK_HEADER: u32 = 16;
const TAG: u32 = 4;

/// What one interface gave.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub(super) name: String,
    /// The longest packet that it should give, if that is known.
    pub(super) mtu: Option<u32>,
    /// Frames that the filter let through.
    pub(super) frames: u64,
    /// Of these, with DNS.
    pub(super) dns: u64,
    /// Frames longer than its MTU, and the longest.
    pub(super) joined: u64,
    pub(super) longest: u32,
    /// What the kernel counted.
    pub(super) kernel: stats::Kernel,
    /// Why it could not be read to the end.
    pub(super) error: Option<String>,
}

/// How often a host was seen over UDP, as one that asks or as one that is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Host {
    /// Without the wish for recursion: between resolvers and servers.
    pub(super) queries: u64,
    pub(super) responses: u64,
    /// With it: between clients and resolvers.
    pub(super) recursive: u64,
}

/// Queries and responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Directions {
    pub(super) queries: u64,
    pub(super) responses: u64,
}

/// What was seen.
pub(super) struct Traffic {
    rules: Rules,
    pub(super) links: Vec<Link>,
    /// Of the hosts in the settings, what the sensor would take.
    pub(super) watched: Directions,
    /// Of these hosts, what their RD bit leaves out.
    pub(super) left_out: u64,
    /// Of all hosts.
    pub(super) all: Directions,
    pub(super) askers: Top<IpAddr, Host>,
    pub(super) servers: Top<IpAddr, Host>,
    /// By their numbers, outermost first.
    pub(super) vlans: BTreeMap<Vec<u16>, u64>,
    pub(super) tunnels: Vec<(Tunnel, u64)>,
    /// Packets that end before their header says, and the longest that was left of one.
    pub(super) truncated: u64,
    pub(super) left: usize,
    /// DNS that makes no sense.
    pub(super) malformed: u64,
}

impl Traffic {
    pub(super) fn new(settings: &Settings, links: Vec<Link>) -> Traffic {
        Traffic {
            rules: Rules::new(settings, settings.run_capture_rd(), links.len()),
            links,
            watched: Directions::default(),
            left_out: 0,
            all: Directions::default(),
            askers: Top::new(HOSTS),
            servers: Top::new(HOSTS),
            vlans: BTreeMap::new(),
            tunnels: Vec::new(),
            truncated: 0,
            left: 0,
            malformed: 0,
        }
    }

    /// Packets with DNS.
    pub(super) fn dns(&self) -> u64 {
        self.links.iter().map(|link| link.dns).sum()
    }

    /// A frame of the interface with this number.
    pub(super) fn frame(&mut self, interface: usize, frame: &Frame) {
        let (tags, ethertype) = tunnels::tags(frame.link_type, frame.bytes);
        let depth = tags.len() as u32;
        if !tags.is_empty() && (self.vlans.len() < VLANS_MAX || self.vlans.contains_key(&tags)) {
            *self.vlans.entry(tags).or_default() += 1;
        }
        if let Some(link) = self.links.get_mut(interface) {
            link.frames += 1;
            let limit = link.mtu.map(|mtu| mtu.saturating_add(LINK_HEADER + TAG * depth));
            if limit.is_some_and(|limit| frame.wire_len > limit) {
                link.joined += 1;
                link.longest = link.longest.max(frame.wire_len);
            }
        }
        let is_dns = match link::network(frame.link_type, frame.bytes) {
            Ok(Some(packet)) => self.packet(packet, frame.wire_len as usize > frame.bytes.len()),
            _ => {
                tunnels::below_ip(ethertype).into_iter().for_each(|tunnel| self.tunnel(tunnel));
                false
            }
        };
        if let Some(link) = self.links.get_mut(interface).filter(|_| is_dns) {
            link.dns += 1;
        }
    }

    /// Whether it was DNS.
    fn packet(&mut self, bytes: &[u8], is_cut: bool) -> bool {
        if is_cut || length(bytes).is_some_and(|length| length > bytes.len()) {
            self.truncated += 1;
            self.left = self.left.max(bytes.len());
        }
        let Ok(packet) = decode::packet(bytes) else { return false };
        if packet.fragment.is_some_and(|fragment| fragment.offset > 0) {
            return false; // has no ports
        }
        let is_dns = match packet.protocol {
            decode::UDP => self.datagram(&packet),
            decode::TCP => self.segment(&packet),
            _ => false,
        };
        // A resolver may ask from any port, also from one that a tunnel has.
        if !is_dns && let Some(tunnel) = tunnels::of_packet(&packet) {
            self.tunnel(tunnel);
        }
        is_dns
    }

    fn tunnel(&mut self, tunnel: Tunnel) {
        if let Some((_, count)) = self.tunnels.iter_mut().find(|(known, _)| known.kind == tunnel.kind) {
            *count += 1;
        } else if self.tunnels.len() < TUNNELS_MAX {
            self.tunnels.push((tunnel, 1));
        }
    }

    fn datagram(&mut self, packet: &Packet) -> bool {
        let Ok(header) = udp::header(packet.payload) else { return false };
        let ports = (header.source_port, header.destination_port);
        if !self.is_dns(ports) {
            return false;
        }
        let data = packet.payload.get(udp::HEADER_LEN..).unwrap_or_default();
        match dns::message(data) {
            Ok(message) => self.message(packet, ports, message.is_response(), Some(message.recursion_desired())),
            Err(_) => self.malformed += 1,
        }
        true
    }

    /// What a segment carries may begin anywhere in a message: the ports tell the direction.
    fn segment(&mut self, packet: &Packet) -> bool {
        let Ok(segment) = tcp::segment(packet.payload) else { return false };
        let ports = (segment.source_port, segment.destination_port);
        let is_dns = self.is_dns(ports) && !segment.data.is_empty();
        if is_dns && self.rules.tcp {
            self.message(packet, ports, !self.rules.ports.contains(ports.1), None);
        }
        is_dns
    }

    fn is_dns(&self, (source, destination): (u16, u16)) -> bool {
        self.rules.ports.contains(source) || self.rules.ports.contains(destination)
    }

    fn message(&mut self, packet: &Packet, ports: (u16, u16), is_response: bool, recursion: Option<bool>) {
        let (source, destination) = (packet.source, packet.destination);
        let roles = self.rules.roles(source, destination, ports.0, ports.1);
        if if is_response { roles.response } else { roles.query } {
            match (self.rules.recursion_desired, recursion) {
                (Some(wanted), Some(found)) if wanted != found => self.left_out += 1,
                _ => self.watched.count(is_response),
            }
        }
        self.all.count(is_response);
        // Without its RD bit nobody knows whether it is a client's.
        let Some(is_recursive) = recursion else { return };
        let (asker, server) = if is_response { (destination, source) } else { (source, destination) };
        let count = |host: &mut Host| match (is_recursive, is_response) {
            (true, _) => host.recursive += 1,
            (false, true) => host.responses += 1,
            (false, false) => host.queries += 1,
        };
        self.askers.count(&asker, count);
        self.servers.count(&server, count);
    }
}

impl Directions {
    fn count(&mut self, is_response: bool) {
        *if is_response { &mut self.responses } else { &mut self.queries } += 1;
    }

    pub(super) fn sum(self) -> u64 {
        self.queries + self.responses
    }
}

/// How long an IP packet is, as its header says.
fn length(bytes: &[u8]) -> Option<usize> {
    let u16_at = |at| Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    match bytes.first()? >> 4 {
        4 => u16_at(2).map(usize::from),
        6 => u16_at(4).map(|payload| usize::from(payload) + 40),
        _ => None,
    }
}
