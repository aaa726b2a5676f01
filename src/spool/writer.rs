//! The threads that compress containers and write them, and the handle on all of it.

use super::{
    Policy, Shared,
    keeper::lock,
    queue::{Fate, Load, Queue},
};
use crate::{
    config::Compress,
    nmsg::writer::{Level, Zlib},
    stats, sys,
    time::Clock,
};
use std::{sync::Arc, thread::JoinHandle};

/// What feeders hand over ends up here.
pub struct Output {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

impl Output {
    pub(super) fn new(queue: Arc<Queue>, threads: Vec<JoinHandle<()>>) -> Output {
        Output { queue, threads }
    }

    /// What became of all transactions so far. Those written, dropped and open are what the feeders took, at every moment
    /// at which each has had its turn since it last took one. What was written to a file that somebody removed before it
    /// was published becomes dropped.
    pub fn counters(&self) -> stats::Output {
        self.queue.counters()
    }

    /// What waits, and how it is compressed.
    pub fn vitals(&self) -> stats::Vitals {
        self.queue.vitals()
    }

    /// Another policy, from now on.
    pub fn reconfigure(&self, policy: Policy) {
        self.queue.lock().policy = policy;
        self.queue.wake();
    }

    /// What was counted elsewhere so far, for loss records.
    pub fn tell(&self, elsewhere: stats::Ledger) {
        self.queue.lock().elsewhere = elsewhere;
    }

    /// Writes everything that was handed over, publishes, and ends the threads. To be called when all feeders have
    /// finished: what one hands over later is dropped.
    pub fn finish(mut self) -> stats::Output {
        self.close();
        self.queue.counters()
    }

    /// The same; its counters can still be asked for.
    pub fn close(&mut self) {
        self.queue.leave();
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // one that panicked has said so
        }
    }
}

/// A writer's thread. It lets capture go before: on a single core the ring is emptied first, and only what is left of the
/// processor goes into compression.
pub(super) fn run(queue: &Queue, files: &Shared, clock: &impl Clock) {
    sys::priority::yield_to_others();
    let mut compressors = Compressors::default();
    while let Some((mut full, load)) = queue.next() {
        let transactions = full.builder.len() as u64;
        if lock(files).refuses(transactions, clock.monotonic()) {
            queue.written(full, Fate::Dropped);
            continue;
        }
        let container = full.builder.finish();
        let (level, bytes) = level(&load).map_or((0, container), |level| compressors.compress(level, container));
        queue.compressed(container.len(), bytes.len(), level);
        let (is_written, has_news) = {
            let mut files = lock(files);
            let min_free = load.policy.min_free;
            (files.append(full.epoch, bytes, transactions, min_free, clock.monotonic()), files.has_news())
        };
        let fate = if is_written { Fate::Written(bytes.len() as u64) } else { Fate::Dropped };
        queue.written(full, fate);
        if has_news {
            queue.wake();
        }
    }
    queue.writer_left();
}

/// How hard to compress. A quarter of the queue is what a moment's stall fills, by the disk or by another process, and
/// time at the usual level clears it again; beyond that the thread is falling behind, and speed counts. When leaving,
/// everything that waits is in the way.
fn level(load: &Load) -> Option<Level> {
    match load.policy.compress {
        Compress::Off => None,
        _ if load.is_leaving && load.waiting > 0 => Some(Level::QUICK),
        Compress::Level(level) => Some(Level::Fixed(level)),
        Compress::Adaptive if load.waiting > load.room / 4 => Some(Level::QUICK),
        Compress::Adaptive => Some(Level::LIVE),
    }
}

/// One for each level that was needed so far.
#[derive(Default)]
struct Compressors(Vec<(Level, Zlib)>);

/// The usual level, a faster one, and one of an earlier policy.
const COMPRESSORS_MAX: usize = 3;

impl Compressors {
    /// What was made of the container, behind the level that it was.
    fn compress(&mut self, level: Level, container: &[u8]) -> (u8, &[u8]) {
        let known = self.0.iter().position(|(known, _)| *known == level);
        let index = known.unwrap_or_else(|| {
            if self.0.len() >= COMPRESSORS_MAX {
                self.0.clear();
            }
            self.0.push((level, Zlib::new(level)));
            self.0.len() - 1
        });
        self.0[index].1.compress_and_tell(container)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn load(waiting: usize, compress: Compress, is_leaving: bool) -> Load {
        let policy = Policy { rotate: Duration::from_secs(60), compress, min_free: 0, loss_record: false };
        Load { waiting, room: 60, is_leaving, policy }
    }

    #[test]
    fn compression_gets_faster_as_the_queue_fills_unless_a_level_is_set() {
        let at = |waiting| level(&load(waiting, Compress::Adaptive, false));
        assert_eq!(at(15), Some(Level::LIVE));
        assert_eq!(at(16), Some(Level::QUICK));
        assert_eq!(level(&load(60, Compress::Level(9), false)), Some(Level::Fixed(9)));
        assert_eq!(level(&load(60, Compress::Off, true)), None);
    }

    #[test]
    fn leaving_hurries_as_long_as_something_waits() {
        assert_eq!(level(&load(1, Compress::Level(12), true)), Some(Level::QUICK));
        assert_eq!(level(&load(0, Compress::Level(12), true)), Some(Level::Fixed(12)));
    }

    #[test]
    fn compressors_are_bounded_and_know_their_level() {
        let mut compressors = Compressors::default();
        let container = [7; 4096];
        for number in (1..=12).chain(1..=12) {
            let level = Level::Fixed(number);
            assert_eq!(compressors.compress(level, &container), (number, Zlib::new(level).compress(&container)));
            assert!(compressors.0.len() <= COMPRESSORS_MAX);
        }
    }
}
