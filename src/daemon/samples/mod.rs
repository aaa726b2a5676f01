//! Some of the transactions that leave the capture threads, for those who watch: on a page that the threads write and the
//! views child reads.
//!
//! Nobody waits for anybody. While nobody watches, nothing is written; while somebody does, each thread writes so many a
//! second at most, in a lane of its own, over what is oldest. A thread believes nothing of the page but that somebody
//! watches; the views child believes nothing of it at all.

mod sample;
mod sampler;
mod watch;

pub(crate) use sample::Sample;
pub use sampler::{Sampled, Sampler};
pub use watch::Watch;

use crate::sys::shared::Shared;
use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering, fence},
    },
};

/// Threads that have a lane. More are not sampled: flows are spread over threads by their hash, so that these see what the
/// others see.
const LANES: usize = 32;
/// Transactions in a lane: twice those of a whole second between two looks of the views child.
const SLOTS: usize = 512;
/// Numbers of a slot, and of what is before the lanes and before the slots of one: whole cache lines.
const SLOT: usize = (1 + sample::WORDS).next_multiple_of(8);
const LINE: usize = 8;
const LANE: usize = LINE + SLOTS * SLOT;
const PAGE: usize = LINE + LANES * LANE;

/// The page, of the process that makes it.
pub struct Samples(OwnedFd);

impl Samples {
    /// An empty one. Memory comes with use.
    pub fn new() -> io::Result<Samples> {
        Ok(Samples(Shared::create(PAGE)?.1))
    }

    /// For a child.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }
}

/// The page, mapped.
#[derive(Clone)]
struct Page(Arc<Shared>);

impl Page {
    fn map(descriptor: &OwnedFd) -> io::Result<Page> {
        Ok(Page(Arc::new(Shared::map(descriptor, PAGE)?)))
    }

    /// Changes whenever somebody has asked.
    fn mark(&self) -> &AtomicU64 {
        &self.0.numbers()[0]
    }

    /// How many a thread has written; what it is to write next has this number.
    fn written(&self, lane: usize) -> &AtomicU64 {
        &self.0.numbers()[LINE + (lane % LANES) * LANE]
    }

    /// The number of what is there, one more than it has, then its words.
    fn slot(&self, lane: usize, number: u64) -> (&AtomicU64, &[AtomicU64]) {
        let start = LINE + (lane % LANES) * LANE + LINE + (number % SLOTS as u64) as usize * SLOT;
        let numbers = self.0.numbers();
        (&numbers[start], &numbers[start + 1..start + SLOT])
    }

    /// One thread writes in a lane. For a moment there may be two, when a capture process takes over from another: what
    /// they mix up may be neither's, and some may be read twice. Nothing is believed of it but that it is a sample.
    fn write(&self, lane: usize, number: u64, words: &[u64; sample::WORDS]) {
        let (state, slot) = self.slot(lane, number);
        state.store(0, Ordering::Relaxed);
        // Whoever reads a word of what follows also reads that it is being written.
        fence(Ordering::Release);
        slot.iter().zip(words).for_each(|(to, word)| to.store(*word, Ordering::Relaxed));
        state.store(number.wrapping_add(1), Ordering::Release);
        self.written(lane).store(number.wrapping_add(1), Ordering::Release);
    }

    /// What has this number, if it is there, and whole.
    fn read(&self, lane: usize, number: u64) -> Option<[u64; sample::WORDS]> {
        let (state, slot) = self.slot(lane, number);
        let mut words = [0; sample::WORDS];
        (state.load(Ordering::Acquire) == number.wrapping_add(1)).then_some(())?;
        words.iter_mut().zip(slot).for_each(|(word, from)| *word = from.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        (state.load(Ordering::Relaxed) == number.wrapping_add(1)).then_some(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_while_it_is_written_is_whole_or_nothing() {
        let samples = Samples::new().unwrap();
        let page = Page::map(&samples.descriptor().unwrap()).unwrap();
        let of_reader = page.clone();
        let reader = std::thread::spawn(move || {
            let mut read = 0;
            while of_reader.written(3).load(Ordering::Acquire) < 100_000 {
                let last = of_reader.written(3).load(Ordering::Acquire).saturating_sub(1);
                // What is about to be written over, and what has just been.
                for number in [last.saturating_sub(SLOTS as u64 - 1), last] {
                    if let Some(words) = of_reader.read(3, number) {
                        assert!(words.iter().all(|word| *word == number), "{number}: {words:?}");
                        read += 1;
                    }
                }
            }
            read
        });
        (0..100_000).for_each(|number| page.write(3, number, &[number; sample::WORDS]));
        assert!(reader.join().unwrap() > 0);
        assert!(page.read(2, 99_999).is_none() && page.read(3, 100_000).is_none());
    }

    #[test]
    fn a_writer_killed_in_the_middle_leaves_nothing_that_is_taken_for_whole() {
        let samples = Samples::new().unwrap();
        let page = Page::map(&samples.descriptor().unwrap()).unwrap();
        page.write(0, 5, &[7; sample::WORDS]);
        assert_eq!(page.read(0, 5), Some([7; sample::WORDS]));
        let (state, slot) = page.slot(0, 5);
        state.store(0, Ordering::Relaxed);
        slot[0].store(9, Ordering::Relaxed);
        assert_eq!(page.read(0, 5), None);
    }
}
