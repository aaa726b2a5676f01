//! The query table: queries that wait for their response. And, where packets may come in the wrong order, responses that
//! wait a moment for their query.

use super::{
    flow::{Alike, Key},
    keyed,
    packets::{Packets, Piece},
    pool::{Chain, Pool},
    slab::{NONE, Place, Queue, Queued, Slab},
};
use crate::{
    decode::{
        dns::{Question, rcode},
        udp::UdpChecksum,
    },
    time::Timestamp,
};
use foldhash::quality::SeedableRandomState;
use hashbrown::{HashTable, hash_table::Entry as Slot};
use std::{hash::BuildHasher, ops::Range, time::Duration};

/// Queries that are alike and can wait at once; the oldest makes room. Over UDP those of one flow and id are alike, where
/// real resolvers have one or two; over TCP, where the flow's end ends all, those of a connection, a few dozen. It bounds
/// what one response costs when somebody forges thousands of queries that are alike.
pub const ALIKE_MAX: u32 = 256;

/// Memory of an entry besides its packets: itself, its number in the free list and in the index.
const ENTRY_BYTES: usize = size_of::<Entry>() + 2 * size_of::<u32>() + 2;

/// Chunks for packets: a short query over IPv4 fits one, nearly all others two.
const CHUNK: usize = 76;

/// What the table may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Queries.
    pub queries: usize,
    /// Bytes, all of the table's memory.
    pub bytes: usize,
    /// How long a query waits.
    pub timeout: Duration,
}

/// Queries waiting for their response, at most [`Limits::queries`] and [`Limits::bytes`]. When full, the oldest leaves as
/// an unanswered query. `now` is packet time. The index hashes what comes from the wire with a keyed hash.
pub(super) struct Transactions {
    pub(super) limits: Limits,
    entries: Slab<Entry>,
    order: Queue,
    /// By what is alike, the oldest entry of each; later ones are chained to it.
    index: HashTable<u32>,
    packets: Pool<CHUNK>,
    hasher: SeedableRandomState,
}

#[derive(Clone, Copy)]
struct Entry {
    key: Key,
    id: u16,
    time: Timestamp,
    place: Place,
    /// The next younger entry that is alike.
    next_alike: u32,
    /// Of the oldest that are alike: the youngest, and how many there are.
    last_alike: u32,
    count_alike: u32,
    /// One packet, its question within it; or, if `is_listed`, several packets, the question, and length and time of
    /// each packet.
    blob: Chain,
    question_at: u32,
    question_len: u16,
    is_listed: bool,
    note: Note,
}

impl Entry {
    #[inline]
    fn alike(&self) -> Alike {
        self.key.alike(self.id)
    }
}

impl Queued for Entry {
    fn place(&mut self) -> &mut Place {
        &mut self.place
    }
}

/// What the header of a waiting message said, as far as it is needed later.
#[derive(Clone, Copy)]
pub(super) struct Note {
    pub(super) recursion_desired: bool,
    /// Of a response.
    pub(super) rcode: u8,
    /// Of a response's datagram.
    pub(super) checksum: UdpChecksum,
}

/// A message out of the table. Buffers are used again.
pub(super) struct Query {
    buffer: Vec<u8>,
    pieces: Vec<Piece>,
    question: Range<usize>,
    pub(super) note: Note,
}

impl Default for Query {
    fn default() -> Query {
        let note = Note { recursion_desired: false, rcode: 0, checksum: UdpChecksum::Error };
        Query { buffer: Vec::new(), pieces: Vec::new(), question: 0..0, note }
    }
}

impl Query {
    pub(super) fn packets(&self) -> Packets<'_> {
        Packets::new(&self.buffer, &self.pieces)
    }

    pub(super) fn question(&self) -> Option<Question<'_>> {
        Question::from_bytes(self.buffer.get(self.question.clone())?)
    }
}

/// Why the oldest query leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaves {
    TimedOut,
    PushedOut,
}

/// A message that is to wait.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) key: &'a Key,
    pub(super) id: u16,
    pub(super) note: Note,
    pub(super) question: Option<Question<'a>>,
    pub(super) packets: Packets<'a>,
}

impl Transactions {
    pub(super) fn new(limits: Limits) -> Transactions {
        Transactions {
            limits,
            entries: Slab::new(),
            order: Queue::new(),
            index: HashTable::new(),
            packets: Pool::new(),
            hasher: keyed::hasher(),
        }
    }

    /// Queries in the table.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Memory in use.
    pub(super) fn bytes(&self) -> usize {
        self.entries.len() * ENTRY_BYTES + self.packets.bytes()
    }

    /// The clock that stamps packets was set by so much: what waits is as old as it was.
    pub(super) fn shift(&mut self, nanoseconds: i64) {
        self.entries.all().for_each(|entry| entry.time = entry.time.shifted(nanoseconds));
    }

    /// Adds a query. The table may be over its limits until [`Transactions::leaves`] says no more. True when too many are
    /// alike: the oldest of them should leave.
    pub(super) fn insert(&mut self, asked: Asked) -> bool {
        let at = self.entries.insert(Entry {
            key: *asked.key,
            id: asked.id,
            time: asked.packets.time(),
            place: Place::NOWHERE,
            next_alike: NONE,
            last_alike: NONE,
            count_alike: 1,
            blob: Chain::EMPTY,
            question_at: 0,
            question_len: 0,
            is_listed: false,
            note: asked.note,
        });
        self.order.push(&mut self.entries, at);
        self.store(at, asked);
        self.link(at) > ALIKE_MAX
    }

    /// Copies what `asked` borrows into chunks.
    fn store(&mut self, at: u32, asked: Asked) {
        let entry = &mut self.entries[at];
        let packets = asked.packets;
        packets.bytes().for_each(|bytes| self.packets.append(&mut entry.blob, bytes));
        let packets_len = entry.blob.len();
        let question = asked.question.map_or(&[][..], |question| question.bytes());
        entry.question_len = question.len() as u16;
        // Nearly always the question is a stretch of the only packet.
        if let [only] = packets.pieces()
            && let Some(within) = find(&packets, only, question)
        {
            entry.question_at = within;
            return;
        }
        entry.is_listed = true;
        entry.question_at = packets_len as u32;
        self.packets.append(&mut entry.blob, question);
        for piece in packets.pieces() {
            self.packets.append(&mut entry.blob, &piece.len.to_ne_bytes());
            self.packets.append(&mut entry.blob, &piece.time.as_nanos().to_ne_bytes());
        }
    }

    /// Makes the entry findable, behind the older ones that are alike. How many there are now.
    fn link(&mut self, at: u32) -> u32 {
        let alike = self.entries[at].alike();
        let hash = self.hasher.hash_one(alike);
        let (entries, hasher) = (&mut self.entries, &self.hasher);
        let is_alike = |&other: &u32| entries[other].alike() == alike;
        match self.index.entry(hash, is_alike, |&other| hasher.hash_one(entries[other].alike())) {
            Slot::Vacant(slot) => {
                slot.insert(at);
                entries[at].last_alike = at;
                1
            }
            Slot::Occupied(slot) => {
                let first = *slot.get();
                let last = std::mem::replace(&mut entries[first].last_alike, at);
                entries[first].count_alike += 1;
                entries[last].next_alike = at;
                entries[first].count_alike
            }
        }
    }

    /// Removes the oldest query that this response answers: same flow, same id, same question to the byte. When one of
    /// them has no question the rest decides, and only with a code that servers answer in that way.
    pub(super) fn take(
        &mut self,
        key: &Key,
        id: u16,
        question: Option<Question>,
        rcode: u8,
        query: &mut Query,
    ) -> bool {
        let taken = self.remove_first(key, id, query, |table, entry| table.pairs(entry, id, question, rcode));
        taken.is_some()
    }

    /// Removes the oldest response, of those that wait, that answers this query: [`Transactions::take`] the other way round.
    pub(super) fn take_response(
        &mut self,
        key: &Key,
        id: u16,
        question: Option<Question>,
        response: &mut Query,
    ) -> bool {
        let taken =
            self.remove_first(key, id, response, |table, entry| table.pairs(entry, id, question, entry.note.rcode));
        taken.is_some()
    }

    /// Removes the oldest query that is like one of this flow and id; its id.
    pub(super) fn take_first(&mut self, key: &Key, id: u16, query: &mut Query) -> Option<u16> {
        self.remove_first(key, id, query, |_, _| true)
    }

    /// Removes the oldest query of a TCP connection; its id.
    pub(super) fn take_first_of_connection(&mut self, key: &Key, query: &mut Query) -> Option<u16> {
        debug_assert!(key.is_tcp());
        self.take_first(key, 0, query)
    }

    /// Whether the oldest query has to leave: it has waited too long at `now`, or the table is over a limit. To be asked
    /// until it says `None`; more calls are harmless.
    #[inline]
    pub(super) fn leaves(&self, now: Timestamp) -> Option<Leaves> {
        let oldest = self.order.oldest()?;
        if now.is_beyond(self.limits.timeout, self.entries[oldest].time) {
            Some(Leaves::TimedOut)
        } else if self.len() > self.limits.queries || self.bytes() > self.limits.bytes {
            Some(Leaves::PushedOut)
        } else {
            None
        }
    }

    /// Removes the oldest query.
    pub(super) fn take_oldest(&mut self, query: &mut Query) -> Option<(Key, u16)> {
        let oldest = self.order.oldest()?;
        let Entry { key, id, .. } = self.entries[oldest];
        // The oldest of all is the oldest of those that are like it.
        let id = self.take_first(&key, id, query)?;
        Some((key, id))
    }

    fn remove_first(
        &mut self,
        key: &Key,
        id: u16,
        query: &mut Query,
        wanted: impl Fn(&Parts, &Entry) -> bool,
    ) -> Option<u16> {
        let alike = key.alike(id);
        let hash = self.hasher.hash_one(alike);
        let parts = Parts { entries: &self.entries, packets: &self.packets };
        let mut slot = self.index.find_entry(hash, |&at| parts.entries[at].alike() == alike).ok()?;
        let first = *slot.get();
        let (mut before, mut at) = (NONE, first);
        while !wanted(&parts, &parts.entries[at]) {
            before = at;
            at = parts.entries[at].next_alike;
            if at == NONE {
                return None;
            }
        }
        let Entry { next_alike: next, last_alike, count_alike, .. } = self.entries[at];
        if before != NONE {
            self.entries[before].next_alike = next;
            self.entries[first].count_alike -= 1;
            if next == NONE {
                self.entries[first].last_alike = before;
            }
        } else if next != NONE {
            *slot.get_mut() = next;
            self.entries[next].last_alike = last_alike;
            self.entries[next].count_alike = count_alike - 1;
        } else {
            slot.remove();
        }
        self.order.remove(&mut self.entries, at);
        let entry = self.entries.remove(at);
        self.load(&entry, query);
        self.packets.release(entry.blob);
        Some(entry.id)
    }

    /// Puts the bytes of an entry together again.
    fn load(&self, entry: &Entry, query: &mut Query) {
        query.buffer.clear();
        self.packets.copy_to(entry.blob, &mut query.buffer);
        query.note = entry.note;
        let question_end = entry.question_at as usize + usize::from(entry.question_len);
        query.question = entry.question_at as usize..question_end;
        query.pieces.clear();
        if !entry.is_listed {
            let len = entry.blob.len() as u32;
            query.pieces.push(Piece { start: 0, len, payload_at: 0, offset: 0, time: entry.time });
            return;
        }
        let mut start = 0;
        let mut shift = None;
        for record in query.buffer[question_end..].as_chunks::<PIECE_LEN>().0 {
            let [l0, l1, l2, l3, time @ ..] = *record;
            let len = u32::from_ne_bytes([l0, l1, l2, l3]);
            let time = u64::from_ne_bytes(time);
            // The clock was perhaps set after this was stored.
            let shift = *shift.get_or_insert(entry.time.as_nanos().wrapping_sub(time));
            let time = Timestamp::from_nanos(time.wrapping_add(shift));
            query.pieces.push(Piece { start, len, payload_at: 0, offset: 0, time });
            start += len;
        }
    }
}

/// Length and time of a packet as they stand in a blob.
const PIECE_LEN: usize = size_of::<u32>() + size_of::<u64>();

/// The table as a search sees it.
struct Parts<'t> {
    entries: &'t Slab<Entry>,
    packets: &'t Pool<CHUNK>,
}

impl Parts<'_> {
    /// Whether the entry and a message with this id and question are query and response, the response's code being
    /// `rcode`.
    fn pairs(&self, entry: &Entry, id: u16, question: Option<Question>, rcode: u8) -> bool {
        entry.id == id
            && match (question, entry.question_len) {
                (Some(question), 1..) => self.asks(entry, question),
                _ => matches!(rcode, rcode::FORMERR | rcode::SERVFAIL | rcode::NOTIMP | rcode::REFUSED),
            }
    }

    /// Whether the entry's question is this one.
    fn asks(&self, entry: &Entry, question: Question) -> bool {
        question.bytes().len() == usize::from(entry.question_len)
            && self.packets.holds(entry.blob, entry.question_at as usize, question.bytes())
    }
}

/// Where in the only packet of a datagram its question stands: behind the headers of IP, UDP and DNS.
fn find(packets: &Packets, only: &Piece, question: &[u8]) -> Option<u32> {
    let packet = packets.buffer().get(only.start as usize..(only.start + only.len) as usize)?;
    let at = only.payload_at as usize + crate::decode::udp::HEADER_LEN + crate::decode::dns::HEADER_LEN;
    let there = packet.get(at..at + question.len())?;
    debug_assert_eq!(there, question);
    Some(at as u32)
}
