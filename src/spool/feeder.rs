//! Where a capture thread puts its transactions.

use super::queue::Queue;
use crate::{
    nmsg::writer::Builder,
    stats::Ledger,
    track::{Sink, Transaction},
};
use std::sync::{Arc, atomic::Ordering};

/// Fills containers and hands them over; one for each capture thread. It never waits for a disk: when the queue is full,
/// the container just filled is dropped as a whole, its transactions are counted, and the next one is filled in its place.
pub struct Feeder {
    queue: Arc<Queue>,
    index: usize,
    builder: Builder,
    /// The interval that the container belongs to.
    epoch: u64,
}

impl Feeder {
    pub(super) fn new(queue: Arc<Queue>, index: usize) -> Feeder {
        Feeder { queue, index, builder: Builder::default(), epoch: 0 }
    }

    /// To be called at least every 100 ms, packets or none. When an interval ends, what is in the container so far is
    /// handed over for the old file, with this thread's counters as they stand; both lie behind one another, so that the
    /// file's loss record is about the transactions that are in it.
    #[inline]
    pub fn turn(&mut self, ledger: impl FnOnce() -> Ledger) {
        if let Some(partial) = self.queue.partial.get(self.index) {
            partial.store(self.builder.len() as u64, Ordering::Relaxed);
        }
        let wanted = self.queue.wanted.load(Ordering::Relaxed);
        if wanted != self.epoch {
            self.flush(wanted, ledger());
        }
    }

    /// With no container to be had the answer waits for the next turn: meanwhile one is written, or this one is filled.
    #[cold]
    fn flush(&mut self, wanted: u64, ledger: Ledger) {
        if self.builder.is_empty() || self.queue.try_exchange(self.index, &mut self.builder, self.epoch) {
            self.epoch = wanted;
            self.queue.answer(self.index, wanted, ledger);
        }
    }

    /// Hands over what is left. `ledger` is the last word of this thread.
    pub fn finish(self, ledger: Ledger) {
        self.queue.give_up(self.index, self.builder, self.epoch);
        self.queue.answer(self.index, u64::MAX, ledger);
    }

    #[cold]
    #[inline(never)]
    fn hand_over(&mut self) {
        self.queue.exchange(self.index, &mut self.builder, self.epoch);
    }
}

impl Sink for Feeder {
    #[inline]
    fn transaction(&mut self, transaction: &Transaction) {
        if !self.builder.push(transaction) {
            self.hand_over();
            self.builder.push(transaction);
        }
    }
}
