//! Datagrams that came in fragments (RFC 791 §3.2, RFC 8200 §4.5, RFC 5722).

use super::{
    packets::{Packets, Piece},
    pool::{Chain, Pool},
    slab::{NONE, Place, Queue, Queued, Slab},
};
use crate::{
    decode::{Fragment, Packet},
    time::Timestamp,
};
use hashbrown::{HashTable, hash_table::Entry as Slot};
use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    time::Duration,
};

/// Fragments in one datagram: 64 KiB over the smallest links that matter (IPv4 with an MTU of 576) are 119.
const PIECES_MAX: u32 = 128;
/// Bytes of one datagram's packets, headers included: twice the longest payload. Extension headers could make it 8 MiB,
/// and a transaction has to fit a container.
const PACKETS_MAX: u32 = 128 << 10;

/// So long a datagram that is whole is remembered: a mirror port may copy its last fragment too, and that is not the
/// beginning of the next one with its identification.
const DONE: Duration = Duration::from_secs(1);

const CHUNK: usize = 252;

/// What the table may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Memory of all that waits.
    pub bytes: usize,
    /// How long a datagram's first fragment waits for the last.
    pub lifetime: Duration,
}

/// Datagrams whose fragments have not all come, at most [`Limits::bytes`] of memory. When full, the oldest is given up.
/// `now` is packet time.
pub(super) struct Fragments {
    pub(super) limits: Limits,
    datagrams: Slab<Datagram>,
    /// How many of them wait for nothing: they were given up, or are whole.
    settled: usize,
    /// Those that are not whole, in the order of their first fragments.
    order: Queue,
    /// Those that are, in the order of their last.
    done: Queue,
    index: HashTable<u32>,
    parts: Slab<Part>,
    bytes: Pool<CHUNK>,
    hasher: RandomState,
}

/// What makes fragments one datagram. IPv6 identifications are per pair of addresses; IPv4's per protocol too.
type Key = (IpAddr, IpAddr, u32, u8);

#[derive(Clone, Copy)]
struct Datagram {
    key: Key,
    place: Place,
    /// Of its first fragment; when it is whole, since then.
    since: Timestamp,
    /// First of the fragments, by offset.
    first: u32,
    count: u32,
    /// Bytes of payload that have come.
    have: u32,
    /// Bytes of the packets that they came in.
    packets_len: u32,
    /// Length of the whole payload, once the last fragment has come.
    total: Option<u32>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Fragments are missing.
    Open,
    /// Whole, and out: its fragments are kept to know them again.
    Done,
    /// Overlapping fragments were seen, or it is not DNS: the rest is thrown away as it comes (RFC 5722 §4).
    Dead,
}

impl Queued for Datagram {
    fn place(&mut self) -> &mut Place {
        &mut self.place
    }
}

#[derive(Clone, Copy)]
struct Part {
    /// The packet, header included.
    packet: Chain,
    protocol: u8,
    payload_at: u32,
    offset: u32,
    time: Timestamp,
    next: u32,
}

impl Part {
    fn end(&self) -> u32 {
        self.offset + (self.packet.len() as u32 - self.payload_at)
    }
}

/// A datagram, whole again. Buffers are used again.
#[derive(Default)]
pub(super) struct Whole {
    packets: Vec<u8>,
    pieces: Vec<Piece>,
    /// Protocol named by the first fragment.
    pub(super) protocol: u8,
    /// The payloads, put together.
    pub(super) payload: Vec<u8>,
}

impl Whole {
    pub(super) fn packets(&self) -> Packets<'_> {
        Packets::new(&self.packets, &self.pieces)
    }
}

/// What became of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It waits for the others.
    Kept,
    /// It was the last one missing.
    Completed,
    /// The same bytes at the same place had come before.
    Duplicate,
    /// It overlaps another, or contradicts its length, or is one too many: the datagram is given up.
    Overlaps,
    /// There are too many, or their headers are too long: the datagram is given up.
    TooLarge,
    /// Its datagram was given up before.
    Dead,
}

impl Fragments {
    pub(super) fn new(limits: Limits) -> Fragments {
        Fragments {
            limits,
            datagrams: Slab::new(),
            settled: 0,
            order: Queue::new(),
            done: Queue::new(),
            index: HashTable::new(),
            parts: Slab::new(),
            bytes: Pool::new(),
            hasher: RandomState::new(),
        }
    }

    /// The clock that stamps packets was set by so much.
    pub(super) fn shift(&mut self, nanoseconds: i64) {
        self.datagrams.all().for_each(|datagram| datagram.since = datagram.since.shifted(nanoseconds));
        self.parts.all().for_each(|part| part.time = part.time.shifted(nanoseconds));
    }

    /// Datagrams that wait for fragments.
    pub(super) fn len(&self) -> usize {
        self.datagrams.len() - self.settled
    }

    /// Memory in use.
    pub(super) fn bytes(&self) -> usize {
        self.datagrams.len() * (size_of::<Datagram>() + 2 * size_of::<u32>() + 2)
            + self.parts.len() * (size_of::<Part>() + size_of::<u32>())
            + self.bytes.bytes()
    }

    /// Takes a fragment. When it completes its datagram, that is put into `whole`.
    pub(super) fn fragment(&mut self, packet: &Packet, fragment: Fragment, now: Timestamp, whole: &mut Whole) -> Taken {
        let at = self.datagram(packet, fragment, now);
        match self.datagrams[at].state {
            State::Open => (),
            State::Done => return Taken::Duplicate,
            State::Dead => return Taken::Dead,
        }
        let end = fragment.offset + packet.payload.len() as u32;
        let (before, next) = self.position(at, fragment.offset);
        if self.is_duplicate(next, fragment.offset, packet) {
            return Taken::Duplicate;
        }
        let total = if fragment.more { self.datagrams[at].total } else { Some(end) };
        if self.overlaps(before, next, fragment.offset, end) || self.contradicts(at, next, end, total) {
            self.kill(at);
            return Taken::Overlaps;
        }
        let datagram = &mut self.datagrams[at];
        let packets_len = datagram.packets_len.saturating_add(packet.bytes.len() as u32);
        if datagram.count == PIECES_MAX || packets_len > PACKETS_MAX {
            self.kill(at);
            return Taken::TooLarge;
        }
        datagram.total = total;
        datagram.packets_len = packets_len;
        datagram.have += packet.payload.len() as u32;
        datagram.count += 1;
        self.insert(at, before, next, packet, fragment, now);
        let datagram = &self.datagrams[at];
        if datagram.total != Some(datagram.have) {
            return Taken::Kept;
        }
        self.assemble(at, whole);
        self.settle(at, now);
        Taken::Completed
    }

    /// It is whole.
    fn settle(&mut self, at: u32, now: Timestamp) {
        self.order.remove(&mut self.datagrams, at);
        self.done.push(&mut self.datagrams, at);
        let datagram = &mut self.datagrams[at];
        (datagram.state, datagram.since) = (State::Done, now);
        self.settled += 1;
    }

    /// Forgets the fragments of this datagram, those that are still to come as well.
    pub(super) fn refuse(&mut self, packet: &Packet, fragment: Fragment, now: Timestamp) {
        let at = self.datagram(packet, fragment, now);
        // By other rules it was put together.
        if self.datagrams[at].state != State::Done {
            self.kill(at);
        }
    }

    /// Gives up the oldest datagram if it has waited too long at `now`, or if the table is over its limit. Says which; to
    /// be called until `None`. Those that are whole go first.
    #[inline]
    pub(super) fn expire(&mut self, now: Timestamp) -> Option<Expired> {
        if let Some(oldest) = self.done.oldest()
            && (now.is_beyond(DONE, self.datagrams[oldest].since) || self.bytes() > self.limits.bytes)
        {
            self.remove(oldest);
            return Some(Expired::Settled);
        }
        let oldest = self.order.oldest()?;
        let datagram = &self.datagrams[oldest];
        let expired = if now.is_beyond(self.limits.lifetime, datagram.since) {
            Expired::TimedOut
        } else if self.bytes() > self.limits.bytes {
            Expired::PushedOut
        } else {
            return None;
        };
        let expired = if datagram.state == State::Open { expired } else { Expired::Settled };
        self.remove(oldest);
        Some(expired)
    }

    /// The datagram's entry, made if there is none. One that is whole is only its own fragments'.
    fn datagram(&mut self, packet: &Packet, fragment: Fragment, now: Timestamp) -> u32 {
        let protocol = if packet.source.is_ipv4() { packet.protocol } else { 0 };
        let key = (packet.source, packet.destination, fragment.id, protocol);
        let hash = self.hasher.hash_one(key);
        if let Some(&at) = self.index.find(hash, |&at| self.datagrams[at].key == key)
            && self.datagrams[at].state == State::Done
        {
            let (_, same) = self.position(at, fragment.offset);
            if self.is_duplicate(same, fragment.offset, packet) {
                return at;
            }
            self.remove(at);
        }
        let (datagrams, hasher) = (&mut self.datagrams, &self.hasher);
        match self.index.entry(hash, |&at| datagrams[at].key == key, |&at| hasher.hash_one(datagrams[at].key)) {
            Slot::Occupied(slot) => *slot.get(),
            Slot::Vacant(slot) => {
                let place = Place::NOWHERE;
                let entry = Datagram {
                    key,
                    place,
                    since: now,
                    first: NONE,
                    count: 0,
                    have: 0,
                    packets_len: 0,
                    total: None,
                    state: State::Open,
                };
                let at = datagrams.insert(entry);
                slot.insert(at);
                self.order.push(datagrams, at);
                at
            }
        }
    }

    /// The neighbours of a fragment: the last that starts before `offset`, the first that does not.
    fn position(&self, at: u32, offset: u32) -> (u32, u32) {
        let (mut before, mut next) = (NONE, self.datagrams[at].first);
        while next != NONE && self.parts[next].offset < offset {
            before = next;
            next = self.parts[next].next;
        }
        (before, next)
    }

    /// Whether a fragment from `offset` to `end` reaches into one of its neighbours.
    fn overlaps(&self, before: u32, next: u32, offset: u32, end: u32) -> bool {
        (before != NONE && self.parts[before].end() > offset) || (next != NONE && end > self.parts[next].offset)
    }

    /// Whether a fragment that ends at `end` and makes the datagram `total` long cannot be true with what came before.
    fn contradicts(&self, at: u32, next: u32, end: u32, total: Option<u32>) -> bool {
        match (self.datagrams[at].total, total) {
            (Some(old), Some(new)) => old != new || end > new,
            (None, Some(_)) => next != NONE, // something stands behind the end
            _ => false,
        }
    }

    /// Headers may differ (time to live); the payload counts.
    fn is_duplicate(&self, other: u32, offset: u32, packet: &Packet) -> bool {
        if other == NONE {
            return false;
        }
        let part = &self.parts[other];
        part.offset == offset
            && part.packet.len() as u32 - part.payload_at == packet.payload.len() as u32
            && self.bytes.holds(part.packet, part.payload_at as usize, packet.payload)
    }

    fn insert(&mut self, at: u32, before: u32, next: u32, packet: &Packet, fragment: Fragment, now: Timestamp) {
        let mut chain = Chain::EMPTY;
        self.bytes.append(&mut chain, packet.bytes);
        let part = self.parts.insert(Part {
            packet: chain,
            protocol: packet.protocol,
            payload_at: packet.payload_at() as u32,
            offset: fragment.offset,
            time: now,
            next,
        });
        match before {
            NONE => self.datagrams[at].first = part,
            before => self.parts[before].next = part,
        }
    }

    fn assemble(&self, at: u32, whole: &mut Whole) {
        whole.packets.clear();
        whole.payload.clear();
        whole.pieces.clear();
        let mut next = self.datagrams[at].first;
        whole.protocol = if next == NONE { 0 } else { self.parts[next].protocol };
        while next != NONE {
            let part = &self.parts[next];
            let start = whole.packets.len();
            self.bytes.copy_to(part.packet, &mut whole.packets);
            whole.payload.extend_from_slice(&whole.packets[start + part.payload_at as usize..]);
            whole.pieces.push(Piece {
                start: start as u32,
                len: part.packet.len() as u32,
                payload_at: part.payload_at,
                offset: part.offset,
                time: part.time,
            });
            next = part.next;
        }
    }

    /// Throws away what the datagram holds, and remembers that it did.
    fn kill(&mut self, at: u32) {
        let datagram = &mut self.datagrams[at];
        if std::mem::replace(&mut datagram.state, State::Dead) == State::Open {
            self.settled += 1;
        }
        self.release(at);
    }

    fn release(&mut self, at: u32) {
        let mut next = std::mem::replace(&mut self.datagrams[at].first, NONE);
        while next != NONE {
            let part = self.parts.remove(next);
            self.bytes.release(part.packet);
            next = part.next;
        }
    }

    fn remove(&mut self, at: u32) {
        self.release(at);
        let state = self.datagrams[at].state;
        self.settled -= usize::from(state != State::Open);
        let queue = if state == State::Done { &mut self.done } else { &mut self.order };
        queue.remove(&mut self.datagrams, at);
        let Datagram { key, .. } = self.datagrams.remove(at);
        if let Ok(slot) = self.index.find_entry(self.hasher.hash_one(key), |&other| other == at) {
            slot.remove();
        }
    }
}

/// Why a datagram was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    TimedOut,
    PushedOut,
    /// It was given up, or put together, and counted, before.
    Settled,
}
