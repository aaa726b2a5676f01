//! Containers between the threads that fill them and those that write them.

use super::Policy;
use crate::{
    nmsg::{container::WRITE_MAX, writer::Builder},
    stats::{Ledger, Output, Vitals},
};
use std::{
    collections::VecDeque,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// What a container being filled holds in memory: its bytes, the room behind them, and its checksums.
pub const CONTAINER_BYTES: usize = WRITE_MAX + (1 << 16) + (32 << 10);
/// One that had to grow beyond this, for payloads of 64 KiB and more, is not used again.
const CONTAINER_BYTES_MAX: usize = CONTAINER_BYTES + (128 << 10);

/// A container that was filled.
pub(super) struct Full {
    pub(super) builder: Builder,
    /// The interval it belongs to, counted from 0.
    pub(super) epoch: u64,
}

/// Of two intervals: the one whose file is written or being closed, and the one that has begun when that is closed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Interval {
    Current,
    Next,
}

impl Interval {
    /// Where a container of `epoch` goes. One that comes too late for its own file goes into the one after it.
    pub(super) fn of(epoch: u64, current: u64) -> Interval {
        if epoch <= current { Interval::Current } else { Interval::Next }
    }
}

/// A feeder's word that everything up to `epoch` is handed over, and its counters at that moment.
struct Answer {
    /// Containers it fills now belong to this interval.
    epoch: u64,
    ledger: Ledger,
    /// Its last word, where it came while an interval for which it had answered was not closed: of the next.
    last: Option<Ledger>,
}

/// What feeders, writers and the keeper share. It is locked once for a container and a few times a second, and never
/// across a system call that can wait: whoever runs capture never waits for a disk.
pub(super) struct Queue {
    state: Mutex<State>,
    /// There is a container to write, or no more will come.
    work: Condvar,
    /// Something the keeper waits for may have come.
    keeper: Condvar,
    /// The interval that feeders are asked to be in.
    pub(super) wanted: AtomicU64,
    /// Transactions in the container that each feeder fills, as of its last turn.
    pub(super) partial: Vec<AtomicU64>,
}

pub(super) struct State {
    full: VecDeque<Full>,
    free: Vec<Builder>,
    /// Containers in memory: the feeders', those queued, those being written, those free. At most `capacity`.
    allocated: usize,
    capacity: usize,
    current: u64,
    /// Containers handed over and neither written nor dropped, by interval.
    unwritten: [u64; 2],
    answers: Vec<Answer>,
    /// Transactions handed over.
    made: u64,
    /// What became of them.
    done: Output,
    /// The part of `done` that belongs to the next interval.
    next: Output,
    /// Bytes of containers before they were compressed, and by which level that was last.
    raw_bytes: u64,
    level: u64,
    /// The same bytes as they were written.
    packed_bytes: u64,
    /// What may change while running.
    pub(super) policy: Policy,
    /// What others counted, for loss records.
    pub(super) elsewhere: Ledger,
    /// The keeper is wanted.
    pub(super) has_news: bool,
    /// No container comes any more.
    pub(super) is_leaving: bool,
    /// Writers that still run.
    pub(super) writers: usize,
}

/// What became of a container.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    /// Written, so many bytes.
    Written(u64),
    /// Dropped.
    Dropped,
}

impl Queue {
    /// For so many feeders and writers. However few bytes it is given, each feeder has its container and there are two more.
    pub(super) fn new(bytes: usize, feeders: usize, writers: usize, policy: Policy) -> Queue {
        let capacity = (bytes / CONTAINER_BYTES).max(feeders + 2);
        let state = State {
            full: VecDeque::with_capacity(capacity),
            free: Vec::with_capacity(capacity),
            allocated: feeders,
            capacity,
            current: 0,
            unwritten: [0; 2],
            answers: (0..feeders).map(|_| Answer { epoch: 0, ledger: Ledger::default(), last: None }).collect(),
            made: 0,
            done: Output::default(),
            next: Output::default(),
            raw_bytes: 0,
            level: 0,
            packed_bytes: 0,
            policy,
            elsewhere: Ledger::default(),
            has_news: false,
            is_leaving: false,
            writers,
        };
        Queue {
            state: Mutex::new(state),
            work: Condvar::new(),
            keeper: Condvar::new(),
            wanted: AtomicU64::new(0),
            partial: (0..feeders).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; and if, the numbers are still the best there are.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a filled container and gives an empty one for it. When memory is used up, the transactions are dropped
    /// instead, all of them, and counted; false then.
    pub(super) fn exchange(&self, feeder: usize, builder: &mut Builder, epoch: u64) -> bool {
        let mut state = self.lock();
        let Some(empty) = state.empty() else {
            self.count_made(&mut state, feeder, builder);
            state.done(builder.len() as u64, epoch, Fate::Dropped);
            builder.clear();
            return false;
        };
        let full = std::mem::replace(builder, empty);
        self.push(state, feeder, full, epoch);
        true
    }

    /// Like [`Queue::exchange`], but where that would drop, nothing happens.
    pub(super) fn try_exchange(&self, feeder: usize, builder: &mut Builder, epoch: u64) -> bool {
        let mut state = self.lock();
        let Some(empty) = state.empty() else {
            return false;
        };
        let full = std::mem::replace(builder, empty);
        self.push(state, feeder, full, epoch);
        true
    }

    /// Takes a feeder's last container.
    pub(super) fn give_up(&self, feeder: usize, builder: Builder, epoch: u64) {
        let mut state = self.lock();
        if !builder.is_empty() && !state.is_leaving {
            return self.push(state, feeder, builder, epoch);
        }
        // After the end nobody would write it.
        self.count_made(&mut state, feeder, &builder);
        state.done(builder.len() as u64, epoch, Fate::Dropped);
        state.allocated -= 1;
    }

    fn push(&self, mut state: MutexGuard<State>, feeder: usize, builder: Builder, epoch: u64) {
        self.count_made(&mut state, feeder, &builder);
        let interval = Interval::of(epoch, state.current);
        state.unwritten[interval as usize] += 1;
        state.full.push_back(Full { builder, epoch });
        drop(state);
        self.work.notify_one();
    }

    /// What a feeder held it has no longer; in one step, so that the sum holds whenever the lock is free.
    fn count_made(&self, state: &mut State, feeder: usize, builder: &Builder) {
        state.made += builder.len() as u64;
        if let Some(partial) = self.partial.get(feeder) {
            partial.store(0, Ordering::Relaxed);
        }
    }

    /// A feeder's answer to being asked into `epoch`.
    pub(super) fn answer(&self, feeder: usize, epoch: u64, ledger: Ledger) {
        let mut state = self.lock();
        let current = state.current;
        if let Some(answer) = state.answers.get_mut(feeder) {
            match answer.epoch > current {
                true => answer.last = Some(ledger),
                false => answer.ledger = ledger,
            }
            answer.epoch = epoch;
        }
        drop(state);
        self.keeper.notify_all();
    }

    /// The next container to write, and the settings to write it by; none when no more will come. Waits for it.
    pub(super) fn next(&self) -> Option<(Full, Load)> {
        let mut state = self.lock();
        loop {
            if let Some(full) = state.full.pop_front() {
                let load = Load {
                    waiting: state.full.len(),
                    room: state.capacity - state.answers.len(),
                    is_leaving: state.is_leaving,
                    policy: state.policy,
                };
                return Some((full, load));
            }
            if state.is_leaving {
                return None;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A writer is done with a container.
    pub(super) fn written(&self, full: Full, fate: Fate) {
        let Full { mut builder, epoch } = full;
        let transactions = builder.len() as u64;
        let is_grown = builder.bytes() > CONTAINER_BYTES_MAX;
        builder.clear();
        let mut state = self.lock();
        let interval = Interval::of(epoch, state.current);
        state.unwritten[interval as usize] -= 1;
        state.done(transactions, epoch, fate);
        let to_free = match is_grown {
            false => {
                state.free.push(builder);
                None
            }
            true => {
                state.allocated -= 1;
                Some(builder)
            }
        };
        let is_last = state.unwritten[interval as usize] == 0;
        drop(state);
        drop(to_free); // a system call
        if is_last {
            self.keeper.notify_all();
        }
    }

    /// What became of all transactions so far. Written, dropped and open are what the feeders took, at every moment at
    /// which each has had its turn since it took one.
    pub(super) fn counters(&self) -> Output {
        let state = self.lock();
        let partial: u64 = self.partial.iter().map(|partial| partial.load(Ordering::Relaxed)).sum();
        let queued = state.made - state.done.transactions - state.done.dropped_transactions;
        Output { open: queued + partial, ..state.done.clone() }
    }

    /// How things stand.
    pub(super) fn vitals(&self) -> Vitals {
        let state = self.lock();
        Vitals {
            output_bytes: (state.allocated * CONTAINER_BYTES) as u64,
            queued_containers: state.full.len() as u64,
            level: state.level,
            raw_bytes: state.raw_bytes,
            packed_bytes: state.packed_bytes,
            ..Vitals::default()
        }
    }

    /// So many bytes were compressed, by this level, to so many.
    pub(super) fn compressed(&self, raw: usize, packed: usize, level: u8) {
        let mut state = self.lock();
        state.raw_bytes += raw as u64;
        state.packed_bytes += packed as u64;
        state.level = level.into();
    }

    /// Wakes the keeper for an event or another policy.
    pub(super) fn wake(&self) {
        self.lock().has_news = true;
        self.keeper.notify_all();
    }

    /// Waits until `is_over` says so, or for `limit`; false if the time was up.
    pub(super) fn wait(&self, limit: Duration, mut is_over: impl FnMut(&mut State) -> bool) -> bool {
        let waited = self.keeper.wait_timeout_while(self.lock(), limit, |state| !is_over(state));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// No container comes any more.
    pub(super) fn leave(&self) {
        self.lock().is_leaving = true;
        self.work.notify_all();
        self.keeper.notify_all();
    }

    /// A writer has ended.
    pub(super) fn writer_left(&self) {
        self.lock().writers -= 1;
        self.keeper.notify_all();
    }
}

/// How things stand when a container is taken to be written.
pub(super) struct Load {
    /// Containers that wait behind it.
    pub(super) waiting: usize,
    /// How many may, those included that are being written.
    pub(super) room: usize,
    pub(super) is_leaving: bool,
    pub(super) policy: Policy,
}

impl State {
    fn empty(&mut self) -> Option<Builder> {
        if self.is_leaving {
            return None;
        }
        if let Some(builder) = self.free.pop() {
            return Some(builder);
        }
        (self.allocated < self.capacity).then(|| {
            self.allocated += 1;
            Builder::default()
        })
    }

    /// Counts what became of a container of `epoch`.
    fn done(&mut self, transactions: u64, epoch: u64, fate: Fate) {
        let counters = match Interval::of(epoch, self.current) {
            Interval::Current => [Some(&mut self.done), None],
            Interval::Next => [Some(&mut self.done), Some(&mut self.next)],
        };
        for counters in counters.into_iter().flatten() {
            match fate {
                Fate::Written(bytes) => {
                    counters.transactions += transactions;
                    counters.containers += 1;
                    counters.bytes += bytes;
                }
                Fate::Dropped => counters.dropped_transactions += transactions,
            }
        }
    }

    /// Counts a container that no feeder filled, in the current interval.
    pub(super) fn count_extra(&mut self, bytes: u64) {
        self.done(0, self.current, Fate::Written(bytes));
    }

    /// What was written is not there any more.
    pub(super) fn lose(&mut self, transactions: u64, containers: u64, bytes: u64) {
        self.done.transactions = self.done.transactions.saturating_sub(transactions);
        self.done.containers = self.done.containers.saturating_sub(containers);
        self.done.bytes = self.done.bytes.saturating_sub(bytes);
        self.done.dropped_transactions += transactions;
    }

    /// Whether there is no container to be had.
    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty() && self.allocated >= self.capacity
    }

    /// Whether every feeder has handed over all of the current interval.
    pub(super) fn is_answered(&self) -> bool {
        self.answers.iter().all(|answer| answer.epoch > self.current)
    }

    /// Whether none of what was handed over for the current interval is still to be written.
    pub(super) fn is_written(&self) -> bool {
        self.unwritten[Interval::Current as usize] == 0
    }

    /// The counters of all feeders when they handed over the current interval, and what became of it.
    pub(super) fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::default();
        self.answers.iter().for_each(|answer| ledger.add(&answer.ledger));
        let (done, next) = (&self.done, &self.next);
        ledger.output.transactions = done.transactions.saturating_sub(next.transactions);
        ledger.output.containers = done.containers.saturating_sub(next.containers);
        ledger.output.bytes = done.bytes.saturating_sub(next.bytes);
        ledger.output.dropped_transactions = done.dropped_transactions.saturating_sub(next.dropped_transactions);
        ledger
    }

    /// The next interval becomes the current one.
    pub(super) fn advance(&mut self) {
        self.current += 1;
        self.unwritten = [self.unwritten[0] + self.unwritten[1], 0];
        self.next = Output::default();
        for answer in &mut self.answers {
            if let Some(last) = answer.last.take() {
                answer.ledger = last;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Compress, time::Timestamp};

    fn queue(bytes: usize) -> Queue {
        let policy = Policy { rotate: Duration::MAX, compress: Compress::Off, min_free: 0, loss_record: false };
        Queue::new(bytes, 1, 1, policy)
    }

    /// A container that is as good as one with a transaction.
    fn filled(len: usize) -> Builder {
        let mut builder = Builder::default();
        builder.push_json(Timestamp::default(), &"x".repeat(len));
        builder
    }

    #[test]
    fn containers_in_memory_are_bounded_and_what_is_too_much_is_dropped() {
        let queue = queue(8 * CONTAINER_BYTES);
        let mut builder = filled(10);
        for exchange in 0..20 {
            assert_eq!(queue.exchange(0, &mut builder, 0), exchange < 7); // the eighth is the feeder's
            assert!(builder.is_empty());
            builder.push_json(Timestamp::default(), "x");
        }
        let counters = queue.counters();
        assert_eq!((counters.open, counters.dropped_transactions), (7, 13));
        let (full, _) = queue.next().unwrap();
        queue.written(full, Fate::Written(100));
        assert!(queue.exchange(0, &mut builder, 0));
        assert_eq!(queue.lock().allocated, 8);
    }

    #[test]
    fn a_container_that_grew_gives_its_memory_back() {
        let queue = queue(0);
        let mut builder = filled(2 * CONTAINER_BYTES);
        assert!(queue.exchange(0, &mut builder, 0));
        let (full, _) = queue.next().unwrap();
        assert!(full.builder.bytes() > CONTAINER_BYTES_MAX);
        queue.written(full, Fate::Dropped);
        let state = queue.lock();
        assert_eq!((state.allocated, state.free.len()), (1, 0));
    }

    #[test]
    fn the_last_word_of_a_feeder_that_had_answered_is_of_the_next_interval() {
        let queue = queue(0);
        let counted = |unpaired: u64| {
            let mut ledger = Ledger::default();
            ledger.messages.unpaired = unpaired;
            ledger
        };
        queue.answer(0, 1, counted(1));
        queue.give_up(0, filled(10), 1);
        queue.answer(0, u64::MAX, counted(2));
        assert_eq!(queue.lock().ledger(), counted(1));
        let mut state = queue.lock();
        assert!(state.is_answered() && state.is_written());
        state.advance();
        assert_eq!(state.ledger(), counted(2));
    }

    #[test]
    fn a_flush_without_memory_loses_nothing_and_is_tried_again() {
        let queue = queue(0);
        let mut builder = filled(10);
        while queue.exchange(0, &mut builder, 0) {
            builder.push_json(Timestamp::default(), "x");
        }
        builder.push_json(Timestamp::default(), "x");
        let dropped = queue.counters().dropped_transactions;
        assert!(!queue.try_exchange(0, &mut builder, 0));
        assert_eq!((builder.len(), queue.counters().dropped_transactions), (1, dropped));
    }

    #[test]
    fn a_container_belongs_to_its_interval_or_if_that_is_over_to_the_one_that_runs() {
        let queue = queue(0);
        for epoch in [0, 1] {
            assert!(queue.exchange(0, &mut filled(10), epoch));
        }
        assert!(!queue.lock().is_written());
        let (old, _) = queue.next().unwrap();
        queue.written(old, Fate::Written(100));
        let mut state = queue.lock();
        assert!(state.is_written() && !state.is_answered());
        assert_eq!(state.ledger().output.transactions, 1);
        state.advance();
        assert!(!state.is_written());
        drop(state);
        let (new, _) = queue.next().unwrap();
        queue.written(new, Fate::Dropped);
        assert!(queue.lock().is_written());
        assert_eq!(queue.lock().ledger().output.dropped_transactions, 1);
    }
}
