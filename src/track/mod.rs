//! Packets and their time in, transactions out. All state lives here: fragments, streams, the query table; each
//! bounded, each with packet time as an argument.
//!
//! [`Tracker::packet`] follows one frame to its fate. What comes out goes to a [`Sink`], borrowed.

mod core;
mod duplicates;
mod flow;
mod fragments;
mod hide;
mod keyed;
mod packets;
mod pool;
mod rebuild;
mod rules;
mod slab;
mod streams;
mod transactions;

pub use flow::Flow;
pub use fragments::Limits as FragmentLimits;
pub use hide::Hide;
pub use packets::{Packets, Piece};
pub use streams::Limits as StreamLimits;
pub use transactions::{ALIKE_MAX, Limits as QueryLimits};

use crate::{
    capture::Frame,
    config::{AddressSet, NameFilter, PortSet},
    decode::{self, Malformed, Packet, dns::Question, ipv6, link, tcp, udp},
    stats::{End, Fate, Ledger, Vitals},
    time::Timestamp,
};
use core::{Core, Datagram};
use duplicates::Duplicates;
use fragments::{Expired, Fragments, Whole};
use std::{net::IpAddr, time::Duration};
use streams::{Sender, Streams, Taken};

/// What a [`Transaction`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A query and its response.
    QueryResponse,
    /// A query without response.
    UnansweredQuery,
    /// A response without query.
    UnsolicitedResponse,
    /// A query, where only queries are captured.
    QueryOnly,
    /// A response, where only responses are captured.
    ResponseOnly,
}

/// A query with its response, or one of them alone. Borrowed: whoever wants to keep it copies or encodes it.
#[derive(Clone, Copy, Debug)]
pub struct Transaction<'a> {
    /// What it is.
    pub kind: Kind,
    /// Who asked whom. With `resolver_address_zeroed`, `query_ip` is not to be shown.
    pub flow: Flow,
    /// DNS message id.
    pub id: u16,
    /// The question, as sent.
    pub question: Option<Question<'a>>,
    /// The query's packets.
    pub query: Option<Packets<'a>>,
    /// The response.
    pub response: Option<Response<'a>>,
    /// Of an unanswered query: how long it had waited.
    pub waited: Option<Duration>,
    /// The resolver's address has been taken out of the packets.
    pub resolver_address_zeroed: bool,
}

/// The response of a transaction.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// Its packets.
    pub packets: Packets<'a>,
    /// Low four bits of the response code.
    pub rcode: u8,
    /// As it was before anything was hidden.
    pub checksum: udp::UdpChecksum,
}

/// Where transactions go.
pub trait Sink {
    /// Takes one. Whether it can be written, now or at all, is the sink's own concern and count.
    fn transaction(&mut self, transaction: &Transaction);
}

/// Which messages are captured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Capture {
    /// Both, paired.
    #[default]
    Pairs,
    /// Queries alone.
    Queries,
    /// Responses alone.
    Responses,
}

/// What is watched and what is left out.
#[derive(Default)]
pub struct Rules {
    /// Hosts whose outgoing queries are watched. With `servers` empty too, every host.
    pub resolvers: AddressSet,
    /// Servers whose incoming queries are watched.
    pub servers: AddressSet,
    /// Ports of DNS servers.
    pub ports: PortSet,
    /// Only transactions whose RD bit is this.
    pub recursion_desired: Option<bool>,
    /// Queries, responses or pairs.
    pub capture: Capture,
    /// Names left out.
    pub names: NameFilter,
    /// What is taken out of packets.
    pub hide: Hide,
    /// TCP connections are followed.
    pub tcp: bool,
    /// A response waits so long for a query that comes after it.
    pub slack: Option<Duration>,
    /// An IP packet that comes again within this time is not used.
    pub duplicates: Option<Duration>,
}

/// What a packet may carry, judged by its addresses and ports. Both when two resolvers talk from port 53 to port 53.
#[derive(Clone, Copy)]
pub(crate) struct Roles {
    pub(crate) query: bool,
    pub(crate) response: bool,
}

impl Rules {
    #[inline]
    pub(crate) fn roles(&self, source: IpAddr, destination: IpAddr, source_port: u16, destination_port: u16) -> Roles {
        let from =
            |resolver, server| self.watches_all() || self.watches_resolver(resolver) || self.watches_server(server);
        Roles {
            query: self.ports.contains(destination_port) && from(source, destination),
            response: self.ports.contains(source_port) && from(destination, source),
        }
    }

    fn watches_all(&self) -> bool {
        self.resolvers.is_empty() && self.servers.is_empty()
    }

    fn watches_resolver(&self, address: IpAddr) -> bool {
        self.resolvers.contains(address)
    }

    fn watches_server(&self, address: IpAddr) -> bool {
        !self.servers.is_empty() && self.servers.contains(address)
    }

    /// A fragment shows its ports at most once: the addresses decide.
    fn watches_fragment(&self, packet: &Packet) -> bool {
        let watches = |address| self.watches_resolver(address) || self.watches_server(address);
        self.watches_all() || watches(packet.source) || watches(packet.destination)
    }
}

/// Bounds of all tables.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The query table.
    pub queries: QueryLimits,
    /// Bytes of responses that wait for their query.
    pub early: usize,
    /// Reassembly of datagrams.
    pub fragments: FragmentLimits,
    /// TCP connections.
    pub streams: StreamLimits,
}

/// Follows packets. One for each stream of packets that are to be paired with each other.
pub struct Tracker {
    fragments: Fragments,
    whole: Whole,
    streams: Streams,
    duplicates: Option<Duplicates>,
    core: Core,
}

impl Tracker {
    /// An empty one.
    pub fn new(rules: Rules, limits: Limits) -> Tracker {
        Tracker {
            fragments: Fragments::new(limits.fragments),
            whole: Whole::default(),
            streams: Streams::new(limits.streams),
            duplicates: rules.duplicates.map(Duplicates::new),
            core: Core::new(rules, limits.queries, limits.early),
        }
    }

    /// The counters as they stand.
    pub fn ledger(&self) -> Ledger {
        let mut ledger = self.core.ledger.clone();
        ledger.queries.open = self.core.transactions.len() as u64;
        ledger.responses.open = self.core.early() as u64;
        ledger.connections.open = self.streams.len() as u64;
        ledger.datagrams.open += self.fragments.len() as u64;
        ledger
    }

    /// Memory in the tables, in bytes.
    pub fn bytes(&self) -> usize {
        let vitals = self.vitals();
        let tables = [vitals.queries_bytes, vitals.early_bytes, vitals.fragments_bytes, vitals.streams_bytes];
        (tables.iter().sum::<u64>() + vitals.duplicates_bytes) as usize
    }

    /// The same for each table.
    pub fn vitals(&self) -> Vitals {
        Vitals {
            queries_bytes: self.core.transactions.bytes() as u64,
            early_bytes: self.core.early_bytes() as u64,
            fragments_bytes: self.fragments.bytes() as u64,
            streams_bytes: self.streams.bytes() as u64,
            duplicates_bytes: self.duplicates.as_ref().map_or(0, Duplicates::bytes) as u64,
            ..Vitals::default()
        }
    }

    /// TCP connections followed.
    pub fn connections(&self) -> usize {
        self.streams.len()
    }

    /// Follows one frame: it is decoded and paired, and what it completes goes to `sink`; then what has waited too long,
    /// or is too much, leaves.
    #[inline]
    pub fn packet(&mut self, frame: &Frame, sink: &mut impl Sink) {
        self.core.ledger.total += 1;
        let before = self.core.now;
        let fate = self.follow(frame, sink).unwrap_or_else(Fate::Malformed);
        self.core.ledger.packet(fate);
        if self.core.now != before || matches!(fate, Fate::Query | Fate::Fragment | Fate::Segment) {
            self.expire(self.core.now, sink);
        }
    }

    /// Lets leave what has waited too long at `now`, which on an idle live link is the clock's.
    pub fn expire(&mut self, now: Timestamp, sink: &mut impl Sink) {
        self.core.now = self.core.now.max(now);
        self.streams.expire(now, &mut core::Stream { core: &mut self.core, sink });
        self.expire_fragments(now);
        self.core.expire(now, sink);
    }

    /// Goes by other rules and limits from here on. Queries that wait stay, unless what is hidden or what waits for what is
    /// to change: they were kept by the old rules, and leave.
    pub fn reconfigure(&mut self, rules: Rules, limits: Limits, sink: &mut impl Sink) {
        let old = &self.core.rules;
        if old.hide != rules.hide || old.capture != rules.capture || old.slack != rules.slack {
            self.hand_over(sink);
        }
        if self.core.rules.duplicates != rules.duplicates {
            self.duplicates = rules.duplicates.map(Duplicates::new);
        }
        self.core.reconfigure(rules, limits.queries, limits.early);
        self.fragments.limits = limits.fragments;
        self.streams.limits = limits.streams;
        self.expire(self.core.now, sink);
    }

    /// The clock that stamps packets was set forward by so many nanoseconds, or back: what waits is as old as it was, and
    /// its times are those of the clock as it is now.
    pub fn clock_was_set(&mut self, nanoseconds: i64) {
        self.core.shift(nanoseconds);
        self.fragments.shift(nanoseconds);
        self.streams.shift(nanoseconds);
    }

    fn expire_fragments(&mut self, now: Timestamp) {
        while let Some(expired) = self.fragments.expire(now) {
            let datagrams = &mut self.core.ledger.datagrams;
            match expired {
                Expired::TimedOut => datagrams.timed_out += 1,
                Expired::PushedOut => datagrams.pushed_out += 1,
                Expired::Settled => (),
            }
        }
    }

    /// The end of the input: all queries leave.
    pub fn finish(&mut self, sink: &mut impl Sink) {
        self.core.leave_all(End::AtExit, sink);
    }

    /// Another tracker follows the packets from here on: all queries leave.
    pub fn hand_over(&mut self, sink: &mut impl Sink) {
        self.core.leave_all(End::Handover, sink);
    }

    fn follow(&mut self, frame: &Frame, sink: &mut impl Sink) -> Result<Fate, Malformed> {
        if frame.bytes.len() < frame.wire_len as usize {
            return Ok(Fate::Truncated);
        }
        let Some(network) = link::network(frame.link_type, frame.bytes)? else {
            return Ok(Fate::Unwatched);
        };
        let packet = decode::packet(network)?;
        // Behind an IPv6 fragment header, extension headers may still stand before UDP.
        let shows_protocol = packet.fragment.is_none() || packet.source.is_ipv4();
        if packet.protocol != decode::UDP && packet.protocol != decode::TCP && shows_protocol {
            return Ok(Fate::Unwatched);
        }
        if let Some(duplicates) = &mut self.duplicates
            && duplicates.is_duplicate(packet.bytes, frame.time)
        {
            return Ok(Fate::Duplicate);
        }
        if packet.fragment.is_some() {
            return self.fragment(&packet, frame.time, sink);
        }
        if packet.protocol == decode::TCP {
            let segment = tcp::segment(packet.payload)?;
            return Ok(self.segment(packet.source, packet.destination, &segment, frame.time, sink));
        }
        let udp = udp::header(packet.payload)?;
        let roles = self.core.rules.roles(packet.source, packet.destination, udp.source_port, udp.destination_port);
        if !roles.query && !roles.response {
            return Ok(Fate::Unwatched);
        }
        let piece = Piece {
            start: 0,
            len: packet.bytes.len() as u32,
            payload_at: packet.payload_at() as u32,
            offset: 0,
            time: frame.time,
        };
        let packets = Packets::new(packet.bytes, std::slice::from_ref(&piece));
        let (source, destination) = (packet.source, packet.destination);
        self.core.datagram(Datagram { source, destination, roles, udp, udp_at: 0, packets }, frame.time, sink)
    }

    fn fragment(&mut self, packet: &Packet, now: Timestamp, sink: &mut impl Sink) -> Result<Fate, Malformed> {
        let Some(fragment) = packet.fragment.filter(|_| self.core.rules.watches_fragment(packet)) else {
            return Ok(Fate::Unwatched);
        };
        // After a pause the identification may be another datagram's.
        self.expire_fragments(now);
        if fragment.offset == 0 && !self.may_be_dns(packet) {
            self.fragments.refuse(packet, fragment, now);
            self.expire_fragments(now);
            return Ok(Fate::Unwatched);
        }
        self.core.now = now;
        let taken = self.fragments.fragment(packet, fragment, now, &mut self.whole);
        let datagrams = &mut self.core.ledger.datagrams;
        match taken {
            fragments::Taken::Kept => (),
            fragments::Taken::Duplicate => return Ok(Fate::Duplicate),
            fragments::Taken::Dead => return Ok(Fate::GivenUp),
            fragments::Taken::Overlaps => {
                datagrams.overlapping += 1;
                return Ok(Fate::GivenUp);
            }
            fragments::Taken::TooLarge => {
                datagrams.too_large += 1;
                return Ok(Fate::GivenUp);
            }
            fragments::Taken::Completed => {
                datagrams.completed += 1;
                // Its packets have their fates; a malformed message is counted as that.
                match self.whole_datagram(packet.source, packet.destination, now, sink) {
                    Ok(_) | Err(Malformed::Dns) => (),
                    Err(_) => self.core.ledger.datagrams.malformed += 1,
                }
            }
        }
        Ok(Fate::Fragment)
    }

    /// Whether a first fragment, which shows the ports, can be the beginning of a watched DNS message. Extension headers
    /// may hide them: then it may.
    fn may_be_dns(&self, packet: &Packet) -> bool {
        if packet.protocol != decode::UDP {
            let is_tcp = packet.protocol == decode::TCP && self.core.rules.tcp;
            return is_tcp || (packet.source.is_ipv6() && ipv6::is_extension(packet.protocol));
        }
        let Ok(udp) = udp::header(packet.payload) else { return false };
        let roles = self.core.rules.roles(packet.source, packet.destination, udp.source_port, udp.destination_port);
        roles.query || roles.response
    }

    /// A datagram that came in fragments, in `self.whole`.
    fn whole_datagram(
        &mut self,
        source: IpAddr,
        destination: IpAddr,
        now: Timestamp,
        sink: &mut impl Sink,
    ) -> Result<Fate, Malformed> {
        let whole = std::mem::take(&mut self.whole);
        let fate = self.upper_layer(&whole, source, destination, now, sink);
        self.whole = whole;
        fate
    }

    fn upper_layer(
        &mut self,
        whole: &Whole,
        source: IpAddr,
        destination: IpAddr,
        now: Timestamp,
        sink: &mut impl Sink,
    ) -> Result<Fate, Malformed> {
        let (mut protocol, mut payload) = (whole.protocol, &whole.payload[..]);
        if source.is_ipv6() {
            let upper = ipv6::upper_layer(protocol, payload)?;
            if upper.fragment.is_some() {
                return Err(Malformed::Ip); // a piece of something else
            }
            (protocol, payload) = (upper.protocol, upper.payload);
        }
        if protocol == decode::TCP {
            let segment = tcp::segment(payload)?;
            return Ok(self.segment(source, destination, &segment, now, sink));
        }
        if protocol != decode::UDP {
            return Ok(Fate::Unwatched);
        }
        let udp = udp::header(payload)?;
        let roles = self.core.rules.roles(source, destination, udp.source_port, udp.destination_port);
        if !roles.query && !roles.response {
            return Ok(Fate::Unwatched);
        }
        let udp_at = whole.payload.len() - payload.len();
        let packets = whole.packets();
        self.core.datagram(Datagram { source, destination, roles, udp, udp_at, packets }, now, sink)
    }

    fn segment(
        &mut self,
        source: IpAddr,
        destination: IpAddr,
        segment: &tcp::Segment,
        now: Timestamp,
        sink: &mut impl Sink,
    ) -> Fate {
        let rules = &self.core.rules;
        let roles = rules.roles(source, destination, segment.source_port, segment.destination_port);
        if !rules.tcp || !(roles.query || roles.response) {
            return Fate::Unwatched;
        }
        self.core.now = now;
        let from_resolver = Flow {
            query_ip: source,
            response_ip: destination,
            query_port: segment.source_port,
            response_port: segment.destination_port,
            protocol: decode::TCP,
        };
        let from_server = Flow {
            query_ip: destination,
            response_ip: source,
            query_port: segment.destination_port,
            response_port: segment.source_port,
            protocol: decode::TCP,
        };
        let starts = segment.syn() && !segment.ack();
        let is_from_resolver = match (roles.query, roles.response) {
            (true, true) => starts || self.streams.is_followed(&from_resolver),
            (query, _) => query,
        };
        let (flow, sender) =
            if is_from_resolver { (from_resolver, Sender::Resolver) } else { (from_server, Sender::Server) };
        let mut listener = core::Stream { core: &mut self.core, sink };
        match self.streams.segment(&flow, sender, segment, now, &mut listener) {
            Taken::Segment => Fate::Segment,
            Taken::GivenUp => Fate::GivenUp,
        }
    }
}
