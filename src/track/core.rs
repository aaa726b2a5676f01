//! Messages: from a datagram or a stream, through the rules, to the query table and out.

use super::{
    Capture, Flow, Kind, Packets, Piece, QueryLimits, Response, Roles, Rules, Sink, Transaction,
    flow::Key,
    hide::{self, Hidden},
    rebuild,
    streams::{Closed, Listener, Sender, Verdict},
    transactions::{Asked, Leaves, Note, Query, Transactions},
};
use crate::{
    decode::{
        self, Malformed,
        dns::{self, Message, Question},
        udp::{self, UdpChecksum},
    },
    stats::{End, Fate, Ledger, Use},
    time::Timestamp,
};
use std::net::IpAddr;

/// Responses that may wait for their query: those of the longest slack at 1 000 a second, which all had to be early.
const EARLY_MAX: usize = 65_536;

/// All that knows of messages, beside reassembly.
pub(super) struct Core {
    pub(super) rules: Rules,
    pub(super) ledger: Ledger,
    pub(super) transactions: Transactions,
    /// Time of the last packet that was whole, watched and decoded as UDP or TCP.
    pub(super) now: Timestamp,
    /// Responses whose query may still come, where packets may be out of order.
    early: Option<Transactions>,
    hidden: Hidden,
    query: Query,
    rebuilt: Vec<u8>,
}

fn early(rules: &Rules, bytes: usize) -> Option<Transactions> {
    rules.slack.map(|timeout| Transactions::new(QueryLimits { queries: EARLY_MAX, bytes, timeout }))
}

/// A UDP datagram of watched hosts.
pub(super) struct Datagram<'a> {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) roles: Roles,
    pub(super) udp: udp::Header<'a>,
    /// Where the UDP header stands in the payload of the IP packets.
    pub(super) udp_at: usize,
    pub(super) packets: Packets<'a>,
}

/// A message with what it came in.
#[derive(Clone, Copy)]
struct Arrived<'a> {
    flow: Flow,
    message: Message<'a>,
    /// Of the message.
    len: usize,
    packets: Packets<'a>,
}

impl Core {
    /// Responses that wait for their query have `early_bytes`.
    pub(super) fn new(rules: Rules, limits: QueryLimits, early_bytes: usize) -> Core {
        Core {
            early: early(&rules, early_bytes),
            rules,
            ledger: Ledger::default(),
            transactions: Transactions::new(limits),
            now: Timestamp::default(),
            hidden: Hidden::default(),
            query: Query::default(),
            rebuilt: Vec::new(),
        }
    }

    /// A datagram of watched hosts.
    #[inline]
    pub(super) fn datagram(
        &mut self,
        datagram: Datagram,
        now: Timestamp,
        sink: &mut impl Sink,
    ) -> Result<Fate, Malformed> {
        let Datagram { source, destination, roles, udp, udp_at, packets } = datagram;
        let bytes = udp.data()?;
        self.now = now;
        let message = dns::message(bytes).inspect_err(|_| self.ledger.messages.malformed += 1)?;
        let ports = (udp.source_port, udp.destination_port);
        let (query_ip, response_ip, (query_port, response_port)) = match message.is_response() {
            false if roles.query => (source, destination, ports),
            true if roles.response => (destination, source, (ports.1, ports.0)),
            _ => {
                self.ledger.messages.wrong_direction += 1;
                return Ok(Fate::WrongDirection);
            }
        };
        let flow = Flow { query_ip, response_ip, query_port, response_port, protocol: decode::UDP };
        if self.is_left_out(&message) {
            self.ledger.messages.filtered += 1;
            return Ok(Fate::Filtered);
        }
        let checksum = if message.is_response() { udp.checksum(source, destination) } else { UdpChecksum::Absent };
        let to_hide = hide::Datagram { packets, udp_at, message: bytes, resolver: query_ip };
        self.hiding(to_hide, |core, packets| {
            let arrived = Arrived { flow, message, len: bytes.len(), packets };
            if message.is_response() {
                core.response(arrived, checksum, |_| false, sink);
                Fate::Response
            } else {
                core.query(arrived, sink);
                Fate::Query
            }
        })
    }

    /// Calls `next` with the packets as they may be kept: themselves, or a copy with something taken out.
    #[inline]
    fn hiding<R>(
        &mut self,
        datagram: hide::Datagram,
        next: impl FnOnce(&mut Core, Packets) -> R,
    ) -> Result<R, Malformed> {
        let what = self.rules.hide;
        if !what.resolver_address && !what.client_subnets {
            return Ok(next(self, datagram.packets));
        }
        let mut hidden = std::mem::take(&mut self.hidden);
        let result = hidden.copy(what, datagram).map(|packets| next(self, packets));
        self.hidden = hidden;
        result.inspect_err(|_| self.ledger.messages.malformed += 1)
    }

    /// In the modes that pair nothing the filters act on the message itself.
    fn is_left_out(&self, message: &Message) -> bool {
        match self.rules.capture {
            Capture::Pairs => return false,
            Capture::Queries if message.is_response() => return true,
            Capture::Responses if !message.is_response() => return true,
            Capture::Queries | Capture::Responses => (),
        }
        self.filters(message.recursion_desired(), message.question)
    }

    /// The RD and name filters.
    fn filters(&self, recursion_desired: bool, question: Option<Question>) -> bool {
        self.rules.recursion_desired.is_some_and(|wanted| wanted != recursion_desired)
            || question.is_some_and(|question| self.rules.names.drops(question.qname()))
    }

    /// Says whether the query's response had come already.
    #[inline]
    fn query(&mut self, arrived: Arrived, sink: &mut impl Sink) -> bool {
        let Arrived { flow, message, packets, .. } = arrived;
        if self.rules.capture == Capture::Queries {
            self.ledger.messages.unpaired += 1;
            let found = Found { kind: Kind::QueryOnly, flow, id: message.id, question: message.question };
            sink.transaction(&self.transaction(found, Some(packets), None));
            return false;
        }
        self.ledger.messages.query += 1;
        let key = flow.key();
        if self.early.is_some() && self.answered_early(&key, arrived, sink) {
            return true;
        }
        let crowded = self.transactions.insert(Asked {
            key: &key,
            id: message.id,
            note: note(&message, UdpChecksum::Absent),
            question: message.question,
            packets,
        });
        if crowded {
            let mut query = std::mem::take(&mut self.query);
            if let Some(id) = self.transactions.take_first(&key, message.id, &mut query) {
                self.unanswered(&key, id, &query, End::PushedOut, self.now, sink);
            }
            self.query = query;
        }
        false
    }

    /// Pairs a query with a response that came before it, if one did.
    fn answered_early(&mut self, key: &Key, arrived: Arrived, sink: &mut impl Sink) -> bool {
        let Arrived { message, packets, .. } = arrived;
        let mut held = std::mem::take(&mut self.query);
        let early = self.early.as_mut();
        let is_answered = early.is_some_and(|early| early.take_response(key, message.id, message.question, &mut held));
        if is_answered {
            let Note { rcode, checksum, .. } = held.note;
            let response = Response { packets: held.packets(), rcode, checksum };
            let question = held.question().or(message.question);
            self.pair(arrived, message.recursion_desired(), question, packets, response, sink);
        }
        self.query = held;
        is_answered
    }

    /// A query and its response leave.
    fn pair(
        &mut self,
        arrived: Arrived,
        recursion_desired: bool,
        question: Option<Question>,
        query: Packets,
        response: Response,
        sink: &mut impl Sink,
    ) {
        if self.filters(recursion_desired, question) {
            self.ledger.query(End::Filtered);
            self.ledger.response(Use::Filtered);
            return;
        }
        self.ledger.query(End::Answered);
        self.ledger.response(Use::Paired);
        self.ledger.delay(query.time(), response.packets.time());
        let found = Found { kind: Kind::QueryResponse, flow: arrived.flow, id: arrived.message.id, question };
        sink.transaction(&self.transaction(found, Some(query), Some(response)));
    }

    /// A response leaves without query.
    fn unsolicited(&mut self, found: Found, recursion_desired: bool, response: Response, sink: &mut impl Sink) {
        if self.filters(recursion_desired, found.question) {
            self.ledger.response(Use::Filtered);
            return;
        }
        self.ledger.response(Use::Unsolicited);
        sink.transaction(&self.transaction(found, None, Some(response)));
    }

    /// Says whether the response answered a query. `was_answered` tells of ids answered before, over TCP.
    #[inline]
    fn response(
        &mut self,
        arrived: Arrived,
        checksum: UdpChecksum,
        was_answered: impl Fn(u16) -> bool,
        sink: &mut impl Sink,
    ) -> bool {
        let Arrived { flow, message, len, packets } = arrived;
        let response = Response { packets, rcode: message.rcode(), checksum };
        let found = |kind, question| Found { kind, flow, id: message.id, question };
        self.ledger.size(len);
        self.ledger.rcode(message.rcode());
        if self.rules.capture == Capture::Responses {
            self.ledger.messages.unpaired += 1;
            let found = found(Kind::ResponseOnly, message.question);
            sink.transaction(&self.transaction(found, None, Some(response)));
            return false;
        }
        self.ledger.messages.response += 1;
        let key = flow.key();
        let mut query = std::mem::take(&mut self.query);
        let is_answer = self.transactions.take(&key, message.id, message.question, message.rcode(), &mut query);
        if is_answer {
            let question = message.question.or(query.question());
            self.pair(arrived, query.note.recursion_desired, question, query.packets(), response, sink);
        } else if was_answered(message.id) {
            self.ledger.response(Use::Repeated);
        } else if self.early.is_some() {
            self.hold(&key, arrived, checksum, &mut query, sink);
        } else {
            let found = found(Kind::UnsolicitedResponse, message.question);
            self.unsolicited(found, message.recursion_desired(), response, sink);
        }
        self.query = query;
        is_answer
    }

    /// Lets a response wait for its query.
    fn hold(&mut self, key: &Key, arrived: Arrived, checksum: UdpChecksum, scratch: &mut Query, sink: &mut impl Sink) {
        let Some(early) = &mut self.early else { return };
        let Arrived { message, packets, .. } = arrived;
        let note = note(&message, checksum);
        let crowded = early.insert(Asked { key, id: message.id, note, question: message.question, packets });
        if crowded && let Some(id) = early.take_first(key, message.id, scratch) {
            self.not_early(key, id, scratch, sink);
        }
    }

    /// A response has waited for its query long enough.
    fn not_early(&mut self, key: &Key, id: u16, held: &Query, sink: &mut impl Sink) {
        let Note { recursion_desired, rcode, checksum } = held.note;
        let response = Response { packets: held.packets(), rcode, checksum };
        let found = Found { kind: Kind::UnsolicitedResponse, flow: key.flow(), id, question: held.question() };
        self.unsolicited(found, recursion_desired, response, sink);
    }

    fn early_leave(&mut self, sink: &mut impl Sink, mut leaves: impl FnMut(&Transactions) -> bool) {
        while let Some(early) = self.early.as_mut().filter(|early| leaves(early)) {
            let mut held = std::mem::take(&mut self.query);
            if let Some((key, id)) = early.take_oldest(&mut held) {
                self.not_early(&key, id, &held, sink);
            }
            self.query = held;
        }
    }

    /// Responses that wait for their query.
    pub(super) fn early(&self) -> usize {
        self.early.as_ref().map_or(0, Transactions::len)
    }

    /// Memory of theirs.
    pub(super) fn early_bytes(&self) -> usize {
        self.early.as_ref().map_or(0, Transactions::bytes)
    }

    fn transaction<'a>(
        &self,
        found: Found<'a>,
        query: Option<Packets<'a>>,
        response: Option<Response<'a>>,
    ) -> Transaction<'a> {
        let Found { kind, flow, id, question } = found;
        let resolver_address_zeroed = self.rules.hide.resolver_address;
        Transaction { kind, flow, id, question, query, response, waited: None, resolver_address_zeroed }
    }

    /// A query leaves without response.
    fn unanswered(&mut self, key: &Key, id: u16, query: &Query, end: End, now: Timestamp, sink: &mut impl Sink) {
        let question = query.question();
        if self.filters(query.note.recursion_desired, question) {
            self.ledger.query(End::Filtered);
            return;
        }
        self.ledger.query(end);
        let packets = query.packets();
        let found = Found { kind: Kind::UnansweredQuery, flow: key.flow(), id, question };
        let transaction = self.transaction(found, Some(packets), None);
        sink.transaction(&Transaction { waited: Some(now.since(packets.time())), ..transaction });
    }

    /// Lets leave what has waited too long at `now`, and what is too much.
    #[inline]
    pub(super) fn expire(&mut self, now: Timestamp, sink: &mut impl Sink) {
        if self.early.is_some() {
            self.early_leave(sink, |early| early.leaves(now).is_some());
        }
        while let Some(leaves) = self.transactions.leaves(now) {
            let end = match leaves {
                Leaves::TimedOut => End::TimedOut,
                Leaves::PushedOut => End::PushedOut,
            };
            self.oldest_leaves(end, now, sink);
        }
    }

    fn oldest_leaves(&mut self, end: End, now: Timestamp, sink: &mut impl Sink) {
        let mut query = std::mem::take(&mut self.query);
        if let Some((key, id)) = self.transactions.take_oldest(&mut query) {
            self.unanswered(&key, id, &query, end, now, sink);
        }
        self.query = query;
    }

    /// Other rules from here on; nothing waits in `early` if its time is another.
    pub(super) fn reconfigure(&mut self, rules: Rules, limits: QueryLimits, early_bytes: usize) {
        if self.rules.slack != rules.slack {
            self.early = early(&rules, early_bytes);
        }
        self.transactions.limits = limits;
        self.rules = rules;
    }

    /// The clock was set.
    pub(super) fn shift(&mut self, nanoseconds: i64) {
        self.now = self.now.shifted(nanoseconds);
        self.transactions.shift(nanoseconds);
        if let Some(early) = &mut self.early {
            early.shift(nanoseconds);
        }
    }

    /// Lets all queries leave.
    pub(super) fn leave_all(&mut self, end: End, sink: &mut impl Sink) {
        self.early_leave(sink, |early| early.len() > 0);
        while self.transactions.len() > 0 {
            self.oldest_leaves(end, self.now, sink);
        }
    }
}

fn note(message: &Message, checksum: UdpChecksum) -> Note {
    Note { recursion_desired: message.recursion_desired(), rcode: message.rcode(), checksum }
}

/// What is known of a transaction besides its packets.
struct Found<'a> {
    kind: Kind,
    flow: Flow,
    id: u16,
    question: Option<Question<'a>>,
}

/// The core as the streams see it.
pub(super) struct Stream<'a, S> {
    pub(super) core: &'a mut Core,
    pub(super) sink: &'a mut S,
}

impl<S: Sink> Listener for Stream<'_, S> {
    fn message(&mut self, flow: &Flow, sender: Sender, bytes: &[u8], answered: impl Fn(u16) -> bool) -> Verdict {
        let core = &mut *self.core;
        let Ok(message) = dns::message(bytes) else {
            core.ledger.messages.malformed += 1;
            return Verdict::Continue;
        };
        if message.is_response() != (sender == Sender::Server) {
            core.ledger.messages.wrong_direction += 1;
            return Verdict::Continue;
        }
        // In the answer too: the query may have been lost, or be still to come.
        if message.question.is_some_and(|question| question.is_zone_transfer()) {
            core.ledger.messages.zone_transfer += 1;
            core.leave_out(flow);
            return Verdict::ZoneTransfer;
        }
        if bytes.len() > rebuild::message_max(flow) {
            return core.too_long(flow, &message);
        }
        if core.is_left_out(&message) {
            core.ledger.messages.filtered += 1;
            return Verdict::Continue;
        }
        let mut rebuilt = std::mem::take(&mut core.rebuilt);
        let verdict = core.stream_message(flow, message, bytes, &mut rebuilt, answered, self.sink);
        core.rebuilt = rebuilt;
        verdict
    }

    fn opened(&mut self) {
        self.core.ledger.connections.opened += 1;
    }

    fn closed(&mut self, flow: &Flow, why: Closed) {
        let connections = &mut self.core.ledger.connections;
        *match why {
            Closed::Finished => &mut connections.finished,
            Closed::Reset => &mut connections.reset,
            Closed::Replaced => &mut connections.replaced,
            Closed::Idle => &mut connections.idle,
            Closed::GivenUp => &mut connections.given_up,
            Closed::PushedOut => &mut connections.pushed_out,
        } += 1;
        let core = &mut *self.core;
        let key = flow.key();
        let mut query = std::mem::take(&mut core.query);
        while let Some(id) = core.transactions.take_first_of_connection(&key, &mut query) {
            core.unanswered(&key, id, &query, End::ConnectionClosed, core.now, self.sink);
        }
        core.query = query;
    }
}

impl Core {
    /// Queries that were open before a zone transfer was asked for: their responses are not looked at any more, so nobody
    /// can say that they are unanswered.
    fn leave_out(&mut self, flow: &Flow) {
        let key = flow.key();
        let mut query = std::mem::take(&mut self.query);
        while self.transactions.take_first_of_connection(&key, &mut query).is_some() {
            self.ledger.query(End::Filtered);
        }
        self.query = query;
    }

    /// The query of a response that is too long ends with it; nothing is written.
    fn too_long(&mut self, flow: &Flow, message: &Message) -> Verdict {
        self.ledger.messages.too_long += 1;
        if !message.is_response() {
            return Verdict::Continue;
        }
        let mut query = std::mem::take(&mut self.query);
        let is_answer = self.transactions.take(&flow.key(), message.id, message.question, message.rcode(), &mut query);
        self.query = query;
        if !is_answer {
            return Verdict::Continue;
        }
        self.ledger.query(End::TooLong);
        Verdict::Answered(message.id)
    }

    fn stream_message(
        &mut self,
        flow: &Flow,
        message: Message,
        bytes: &[u8],
        rebuilt: &mut Vec<u8>,
        was_answered: impl Fn(u16) -> bool,
        sink: &mut impl Sink,
    ) -> Verdict {
        let header_len = rebuild::packet(flow, message.is_response(), bytes, rebuilt);
        let (len, payload_at) = (rebuilt.len() as u32, header_len as u32);
        let piece = Piece { start: 0, len, payload_at, offset: 0, time: self.now };
        let packets = Packets::new(rebuilt, std::slice::from_ref(&piece));
        let to_hide = hide::Datagram { packets, udp_at: 0, message: bytes, resolver: flow.query_ip };
        let hidden = self.hiding(to_hide, |core, packets| {
            let arrived = Arrived { flow: *flow, message, len: bytes.len(), packets };
            let is_answered = if message.is_response() {
                core.response(arrived, UdpChecksum::Absent, was_answered, sink)
            } else {
                core.query(arrived, sink)
            };
            if is_answered { Verdict::Answered(message.id) } else { Verdict::Continue }
        });
        hidden.unwrap_or(Verdict::Continue)
    }
}
