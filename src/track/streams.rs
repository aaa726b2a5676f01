//! TCP connections: segments in, DNS messages out (RFC 7766).

use super::{
    flow::{Flow, Key},
    pool::{Chain, Pool},
    slab::{NONE, Place, Queue, Queued, Slab},
};
use crate::{config::budget::CONNECTION_BYTES, decode::tcp::Segment, time::Timestamp};
use hashbrown::{HashTable, hash_table::Entry as Slot};
use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// What one direction of a connection may hold: the longest message and its length prefix (RFC 1035 §4.2.2).
const HELD_MAX: usize = 65_535 + 2;
/// Stretches of out-of-order bytes that one direction may hold.
const PIECES_MAX: u32 = 64;
/// Data this far ahead of what was expected belongs to another life of the connection, not to a hole in this one.
const AHEAD_MAX: u32 = 1 << 24;

/// A reset this far from what was expected belongs to another life of the connection, or is forged (RFC 5961 §3).
const RESET_MAX: u32 = 1 << 20;
/// Bits for the ids answered on a connection. A second response to one is never taken for an unsolicited one; an
/// unsolicited one is taken for a second response by chance, one time in eight after 256 answers.
const ANSWERED_BITS: usize = 2048;

const CHUNK: usize = 252;

/// What the table may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections.
    pub connections: usize,
    /// Bytes of unfinished messages and out-of-order data together, as memory.
    pub bytes: usize,
    /// A connection without a segment for so long is given up.
    pub idle: Duration,
}

/// Connections seen from their SYN, at most [`Limits::connections`] with [`Limits::bytes`] waiting. When full, the one
/// idle longest is given up. Connections joined in the middle have no known message border and are not followed.
pub(super) struct Streams {
    pub(super) limits: Limits,
    connections: Slab<Connection>,
    /// By their last segment.
    order: Queue,
    index: HashTable<u32>,
    pieces: Slab<Piece>,
    bytes: Pool<CHUNK>,
    hasher: RandomState,
    /// A message that did not come in one segment, and a piece whose turn has come.
    message: Vec<u8>,
    piece: Vec<u8>,
}

/// With its numbers in the free list and the index.
const _: () = assert!(size_of::<Connection>() + 2 * size_of::<u32>() + 2 <= CONNECTION_BYTES as usize);

#[derive(Clone, Copy)]
struct Connection {
    key: Key,
    place: Place,
    last_seen: Timestamp,
    from_resolver: Direction,
    from_server: Direction,
    /// A zone transfer was asked for: nothing of this connection is looked at any more.
    is_zone_transfer: bool,
    /// A bit for each id that has been answered; 32 ids share one.
    answered: [u64; ANSWERED_BITS / 64],
}

impl Queued for Connection {
    fn place(&mut self) -> &mut Place {
        &mut self.place
    }
}

#[derive(Clone, Copy)]
struct Direction {
    /// Its SYN was seen; `next` is known.
    is_open: bool,
    /// Sequence number of the SYN.
    initial: u32,
    /// Sequence number of the next byte in order.
    next: u32,
    /// Sequence number behind the last byte.
    end: Option<u32>,
    /// The beginning of a message.
    unfinished: Chain,
    /// First of the out-of-order pieces, by sequence number.
    pieces: u32,
    count: u32,
    held: u32,
}

const SILENT: Direction = Direction {
    is_open: false,
    initial: 0,
    next: 0,
    end: None,
    unfinished: Chain::EMPTY,
    pieces: NONE,
    count: 0,
    held: 0,
};

impl Direction {
    fn open(&mut self, initial: u32) {
        *self = Direction { is_open: true, initial, next: initial.wrapping_add(1), ..SILENT };
    }

    /// Whether a reset with this number can be its sender's. Before its SYN anything can.
    fn expects_reset(&self, sequence: u32) -> bool {
        let ahead = sequence.wrapping_sub(self.next);
        !self.is_open || ahead < RESET_MAX || ahead.wrapping_neg() < RESET_MAX
    }

    /// All its bytes have come.
    fn is_ended(&self) -> bool {
        self.end == Some(self.next)
    }
}

/// Bytes that came before their turn.
#[derive(Clone, Copy)]
struct Piece {
    sequence: u32,
    data: Chain,
    next: u32,
}

/// Who sent a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Resolver,
    Server,
}

/// What to do with the rest of a connection after a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Continue,
    /// This id has been answered.
    Answered(u16),
    /// The message asked for a zone transfer: look at nothing more.
    ZoneTransfer,
}

/// What comes out of the streams.
pub(super) trait Listener {
    /// A whole message. `answered` tells whether an id, or by chance another, was answered on this connection before.
    fn message(&mut self, flow: &Flow, sender: Sender, message: &[u8], answered: impl Fn(u16) -> bool) -> Verdict;
    /// A connection is followed from here on.
    fn opened(&mut self);
    /// The connection is over. Queries without response will not get one.
    fn closed(&mut self, flow: &Flow, why: Closed);
}

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// Both sides have sent all.
    Finished,
    Reset,
    /// Another one began between the same ports.
    Replaced,
    Idle,
    /// It could not be followed within the bounds of one connection.
    GivenUp,
    /// It had been idle longest when the table was full.
    PushedOut,
}

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Followed, or of a connection that is not.
    Segment,
    /// The connection could not be followed any longer within the bounds.
    GivenUp,
}

impl Streams {
    pub(super) fn new(limits: Limits) -> Streams {
        Streams {
            limits,
            connections: Slab::new(),
            order: Queue::new(),
            index: HashTable::new(),
            pieces: Slab::new(),
            bytes: Pool::new(),
            hasher: RandomState::new(),
            message: Vec::new(),
            piece: Vec::new(),
        }
    }

    /// The clock that stamps packets was set by so much.
    pub(super) fn shift(&mut self, nanoseconds: i64) {
        self.connections.all().for_each(|connection| connection.last_seen = connection.last_seen.shifted(nanoseconds));
    }

    /// Connections followed.
    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    /// Memory in use.
    pub(super) fn bytes(&self) -> usize {
        self.connections.len() * size_of::<Connection>() + self.held()
    }

    /// Memory of data that waits.
    fn held(&self) -> usize {
        self.pieces.len() * size_of::<Piece>() + self.bytes.bytes()
    }

    /// True when this flow is a connection that is followed.
    pub(super) fn is_followed(&self, flow: &Flow) -> bool {
        self.find(&flow.key()).is_some()
    }

    fn find(&self, key: &Key) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        self.index.find(hash, |&at| self.connections[at].key == *key).copied()
    }

    /// Follows one segment.
    pub(super) fn segment(
        &mut self,
        flow: &Flow,
        sender: Sender,
        segment: &Segment,
        now: Timestamp,
        listener: &mut impl Listener,
    ) -> Taken {
        // After a pause it may be another connection's.
        self.expire(now, listener);
        let key = flow.key();
        let mut found = self.find(&key);
        if segment.syn() && !segment.ack() && sender == Sender::Resolver {
            // The same SYN again is a retransmission, another one is another connection with the same ports.
            if let Some(at) = found
                && self.connections[at].from_resolver.initial != segment.sequence
            {
                self.close(at, Closed::Replaced, listener);
                found = None;
            }
            if found.is_none() {
                found = Some(self.open(key, segment.sequence, now, listener));
            }
        }
        let Some(at) = found else { return Taken::Segment };
        self.connections[at].last_seen = now;
        self.order.renew(&mut self.connections, at);
        if segment.rst() {
            if self.direction(at, sender).expects_reset(segment.sequence) {
                self.close(at, Closed::Reset, listener);
            }
            return Taken::Segment;
        }
        if segment.syn() && segment.ack() && sender == Sender::Server && !self.connections[at].from_server.is_open {
            self.connections[at].from_server.open(segment.sequence);
        }
        let taken = self.data(at, flow, sender, segment, listener);
        let connection = &self.connections[at];
        if taken == Taken::GivenUp {
            self.close(at, Closed::GivenUp, listener);
        } else if connection.from_resolver.is_ended() && connection.from_server.is_ended() {
            self.close(at, Closed::Finished, listener);
        }
        while self.held() > self.limits.bytes
            && let Some(oldest) = self.order.oldest()
        {
            self.close(oldest, Closed::PushedOut, listener);
        }
        taken
    }

    /// Gives up the connections that have been idle too long at `now`.
    #[inline]
    pub(super) fn expire(&mut self, now: Timestamp, listener: &mut impl Listener) {
        while let Some(oldest) = self.order.oldest()
            && now.is_beyond(self.limits.idle, self.connections[oldest].last_seen)
        {
            self.close(oldest, Closed::Idle, listener);
        }
    }

    fn open(&mut self, key: Key, initial: u32, now: Timestamp, listener: &mut impl Listener) -> u32 {
        while self.connections.len() >= self.limits.connections
            && let Some(oldest) = self.order.oldest()
        {
            self.close(oldest, Closed::PushedOut, listener);
        }
        listener.opened();
        let mut from_resolver = SILENT;
        from_resolver.open(initial);
        let at = self.connections.insert(Connection {
            key,
            place: Place::NOWHERE,
            last_seen: now,
            from_resolver,
            from_server: SILENT,
            is_zone_transfer: false,
            answered: [0; ANSWERED_BITS / 64],
        });
        self.order.push(&mut self.connections, at);
        let (connections, hasher) = (&self.connections, &self.hasher);
        let rehash = |&at: &u32| hasher.hash_one(connections[at].key);
        if let Slot::Vacant(slot) = self.index.entry(hasher.hash_one(key), |&at| connections[at].key == key, rehash) {
            slot.insert(at);
        }
        at
    }

    fn close(&mut self, at: u32, why: Closed, listener: &mut impl Listener) {
        self.order.remove(&mut self.connections, at);
        let Connection { key, from_resolver, from_server, .. } = self.connections.remove(at);
        if let Ok(slot) = self.index.find_entry(self.hasher.hash_one(key), |&other| other == at) {
            slot.remove();
        }
        self.forget(from_resolver);
        self.forget(from_server);
        listener.closed(&key.flow(), why);
    }

    /// Gives back what a direction holds.
    fn forget(&mut self, direction: Direction) {
        self.bytes.release(direction.unfinished);
        let mut next = direction.pieces;
        while next != NONE {
            let piece = self.pieces.remove(next);
            self.bytes.release(piece.data);
            next = piece.next;
        }
    }

    fn direction(&mut self, at: u32, sender: Sender) -> &mut Direction {
        let connection = &mut self.connections[at];
        match sender {
            Sender::Resolver => &mut connection.from_resolver,
            Sender::Server => &mut connection.from_server,
        }
    }

    /// Takes the data of a segment: what is in order now, what is ahead later, what has come before never again.
    fn data(&mut self, at: u32, flow: &Flow, sender: Sender, segment: &Segment, listener: &mut impl Listener) -> Taken {
        let skip_data = self.connections[at].is_zone_transfer;
        let direction = self.direction(at, sender);
        if !direction.is_open {
            return Taken::Segment;
        }
        let first = segment.sequence.wrapping_add(u32::from(segment.syn())); // SYN has a number of its own
        if segment.fin() {
            direction.end = Some(first.wrapping_add(segment.data.len() as u32));
        }
        if skip_data {
            // Enough to know when it closes.
            if let Some(end) = direction.end {
                direction.next = end;
            }
            return Taken::Segment;
        }
        let ahead = first.wrapping_sub(direction.next);
        if ahead > u32::MAX / 2 {
            let seen = direction.next.wrapping_sub(first) as usize;
            return match segment.data.get(seen..) {
                Some(new) if !new.is_empty() => self.in_order(at, flow, sender, new, listener),
                _ => Taken::Segment,
            };
        }
        match ahead {
            _ if segment.data.is_empty() => Taken::Segment,
            0 => self.in_order(at, flow, sender, segment.data, listener),
            1..AHEAD_MAX => self.hold(at, sender, first, segment.data),
            _ => Taken::Segment,
        }
    }

    /// Keeps data that is ahead of its turn. Of bytes that came before already the first ones stay.
    fn hold(&mut self, at: u32, sender: Sender, mut sequence: u32, mut data: &[u8]) -> Taken {
        if data.len() > HELD_MAX {
            return Taken::GivenUp;
        }
        let Direction { next, mut pieces, count, held, .. } = *self.direction(at, sender);
        let mut added = (0, 0);
        let mut before = NONE;
        loop {
            // The gap before the next piece that was there.
            let gap = match pieces {
                NONE => data.len(),
                // Both are ahead of `next`, so their distances to it compare as the sequence numbers do.
                _ => {
                    let room = self.pieces[pieces].sequence.wrapping_sub(next);
                    data.len().min(room.saturating_sub(sequence.wrapping_sub(next)) as usize)
                }
            };
            let (fresh, rest) = data.split_at(gap);
            if !fresh.is_empty() {
                let mut chain = Chain::EMPTY;
                self.bytes.append(&mut chain, fresh);
                let piece = self.pieces.insert(Piece { sequence, data: chain, next: pieces });
                match before {
                    NONE => self.direction(at, sender).pieces = piece,
                    before => self.pieces[before].next = piece,
                }
                added = (added.0 + 1, added.1 + fresh.len());
            }
            if rest.is_empty() {
                break;
            }
            // Behind that piece.
            let there = self.pieces[pieces];
            let there_end = there.sequence.wrapping_add(there.data.len() as u32);
            sequence = sequence.wrapping_add(gap as u32);
            let covered = there_end.wrapping_sub(sequence);
            let covered = if covered > u32::MAX / 2 { 0 } else { rest.len().min(covered as usize) };
            sequence = sequence.wrapping_add(covered as u32);
            data = &rest[covered..];
            before = pieces;
            pieces = there.next;
            if data.is_empty() {
                break;
            }
        }
        let direction = self.direction(at, sender);
        direction.count = count + added.0;
        direction.held = held + added.1 as u32;
        let total = direction.held as usize + direction.unfinished.len();
        if direction.count > PIECES_MAX || total > HELD_MAX { Taken::GivenUp } else { Taken::Segment }
    }

    /// Takes data whose turn it is, and then the pieces whose turn has come with it.
    fn in_order(&mut self, at: u32, flow: &Flow, sender: Sender, data: &[u8], listener: &mut impl Listener) -> Taken {
        self.feed_around_pieces(at, flow, sender, data, listener);
        let direction = self.direction(at, sender);
        let total = direction.held as usize + direction.unfinished.len();
        if total > HELD_MAX { Taken::GivenUp } else { Taken::Segment }
    }

    /// Feeds `data` and, where pieces that came before cover part of it, their bytes instead: the first ones seen win.
    fn feed_around_pieces(
        &mut self,
        at: u32,
        flow: &Flow,
        sender: Sender,
        mut data: &[u8],
        listener: &mut impl Listener,
    ) {
        loop {
            let Direction { next, pieces, .. } = *self.direction(at, sender);
            let gap = match pieces {
                NONE => data.len(),
                piece => data.len().min(self.pieces[piece].sequence.wrapping_sub(next) as usize),
            };
            let (fresh, rest) = data.split_at(gap);
            if !fresh.is_empty() {
                self.feed(at, flow, sender, fresh, listener);
            }
            let direction = self.direction(at, sender);
            let (next, first) = (direction.next, direction.pieces);
            if first == NONE || self.pieces[first].sequence != next {
                return;
            }
            let piece = self.pieces.remove(first);
            let direction = self.direction(at, sender);
            direction.pieces = piece.next;
            direction.count -= 1;
            direction.held -= piece.data.len() as u32;
            let mut bytes = std::mem::take(&mut self.piece);
            bytes.clear();
            self.bytes.copy_to(piece.data, &mut bytes);
            self.bytes.release(piece.data);
            self.feed(at, flow, sender, &bytes, listener);
            data = rest.get(bytes.len()..).unwrap_or(&[]);
            self.piece = bytes;
        }
    }

    /// Cuts bytes in order into messages: two bytes of length, then the message.
    fn feed(&mut self, at: u32, flow: &Flow, sender: Sender, mut data: &[u8], listener: &mut impl Listener) {
        let direction = self.direction(at, sender);
        direction.next = direction.next.wrapping_add(data.len() as u32);
        while !data.is_empty() && !self.connections[at].is_zone_transfer {
            let mut unfinished = self.direction(at, sender).unfinished;
            if unfinished.len() == 0
                && let Some((prefix, rest)) = data.split_first_chunk()
                && let Some((message, rest)) = rest.split_at_checked(u16::from_be_bytes(*prefix).into())
            {
                data = rest;
                self.deliver(at, flow, sender, message, listener);
                continue;
            }
            let wanted = self.wanted(unfinished);
            let (now, later) = data.split_at(wanted.min(data.len()));
            data = later;
            self.bytes.append(&mut unfinished, now);
            if self.wanted(unfinished) > 0 {
                self.direction(at, sender).unfinished = unfinished;
                continue;
            }
            let mut message = std::mem::take(&mut self.message);
            message.clear();
            self.bytes.copy_to(unfinished, &mut message);
            self.bytes.release(unfinished);
            self.direction(at, sender).unfinished = Chain::EMPTY;
            self.deliver(at, flow, sender, message.get(2..).unwrap_or(&[]), listener);
            self.message = message;
        }
    }

    /// How many bytes an unfinished message lacks before the next look at it: its length prefix, then the rest.
    fn wanted(&self, unfinished: Chain) -> usize {
        let mut prefix = [0; 2];
        let bytes = self.bytes.slices(unfinished).flatten();
        let got = prefix.iter_mut().zip(bytes).map(|(to, from)| *to = *from).count();
        if got < 2 { 2 - got } else { 2 + usize::from(u16::from_be_bytes(prefix)) - unfinished.len() }
    }

    fn deliver(&mut self, at: u32, flow: &Flow, sender: Sender, message: &[u8], listener: &mut impl Listener) {
        let answered = self.connections[at].answered;
        let verdict = listener.message(flow, sender, message, |id| {
            let (word, bit) = answered_bit(id);
            answered[word] & bit != 0
        });
        match verdict {
            Verdict::Continue => (),
            Verdict::Answered(id) => {
                let (word, bit) = answered_bit(id);
                self.connections[at].answered[word] |= bit;
            }
            Verdict::ZoneTransfer => self.skip_zone_transfer(at),
        }
    }

    fn skip_zone_transfer(&mut self, at: u32) {
        let connection = &mut self.connections[at];
        connection.is_zone_transfer = true;
        let (from_resolver, from_server) = (connection.from_resolver, connection.from_server);
        for direction in [&mut connection.from_resolver, &mut connection.from_server] {
            (direction.unfinished, direction.pieces, direction.count, direction.held) = (Chain::EMPTY, NONE, 0, 0);
        }
        self.forget(from_resolver);
        self.forget(from_server);
    }
}

/// Word and bit for an id.
fn answered_bit(id: u16) -> (usize, u64) {
    let bit = usize::from(id) % ANSWERED_BITS;
    (bit / 64, 1 << (bit % 64))
}
