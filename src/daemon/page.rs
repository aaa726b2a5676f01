//! The page of counters that a child shares with the supervisor: it outlives the child, however that ends.

use crate::sys::shared::Shared;
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering, fence},
    },
};

/// Number of records published so far; the last one is in copy `VERSION % 2`.
const VERSION: usize = 0;
/// How often the thread's loop turned.
const TURNS: usize = 1;
/// Two copies of the record.
const COPIES: usize = 2;
/// Publishing is rare (ten times a second) and reading takes a microsecond: one retry is already unlikely.
const TRIES: usize = 100;

/// What a page looks like; whoever makes it and whoever maps it agree on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Slots, one for each thread that counts.
    pub slots: usize,
    /// Numbers in the record of each.
    pub words: usize,
}

impl Layout {
    /// Numbers in a slot: a multiple of a cache line, so that threads do not slow each other.
    fn slot(self) -> Option<usize> {
        self.words.checked_mul(2)?.checked_add(COPIES)?.checked_next_multiple_of(8)
    }

    fn numbers(self) -> io::Result<usize> {
        let numbers = self.slot().and_then(|slot| slot.checked_mul(self.slots));
        numbers.ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

/// Slots of counters, one for each thread that counts.
#[derive(Clone, Debug)]
pub struct Page {
    shared: Arc<Shared>,
    layout: Layout,
}

impl Page {
    /// A new page of zeroes, and the descriptor for the child.
    pub fn create(layout: Layout) -> io::Result<(Page, OwnedFd)> {
        let (shared, descriptor) = Shared::create(layout.numbers()?)?;
        Ok((Page { shared: Arc::new(shared), layout }, descriptor))
    }

    /// The page that another process made. The descriptor is not needed any more afterwards.
    pub fn from_fd(descriptor: OwnedFd, layout: Layout) -> io::Result<Page> {
        Ok(Page { shared: Arc::new(Shared::map(&descriptor, layout.numbers()?)?), layout })
    }

    /// In a child: the page that its supervisor gave it as descriptor 1.
    pub fn of_this_process(layout: Layout) -> io::Result<Page> {
        Page::from_fd(io::stdout().as_fd().try_clone_to_owned()?, layout)
    }

    /// One slot; none if there are fewer.
    pub fn slot(&self, index: usize) -> Option<Slot> {
        let (words, exists) = (self.layout.words, index < self.layout.slots);
        let start = index * self.layout.slot()?;
        exists.then(|| Slot { shared: self.shared.clone(), start, words })
    }

    /// All slots.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        (0..).map_while(|index| self.slot(index))
    }

    /// How often each slot's loop turned.
    pub fn turns(&self) -> impl Iterator<Item = u64> {
        self.slots().map(|slot| slot.turns())
    }
}

/// The counters of one thread. One thread writes, any process reads.
#[derive(Clone, Debug)]
pub struct Slot {
    shared: Arc<Shared>,
    start: usize,
    words: usize,
}

impl Slot {
    /// Shows a record to the other processes; what is missing of it is zero. Without a lock, an allocation or a system call.
    ///
    /// It goes to the copy that is not read, and becomes the one that is by a single store: a writer that is killed at
    /// any moment leaves the record before, whole (with one copy and a sequence lock it would leave two mixed).
    pub fn publish(&self, record: impl IntoIterator<Item = u64>) {
        let version = self.number(VERSION).load(Ordering::Relaxed);
        let next = version.wrapping_add(1);
        // Whoever reads a word of what follows also reads `version` or a later one.
        fence(Ordering::Release);
        let record = record.into_iter().chain(std::iter::repeat(0));
        self.copy(next).iter().zip(record).for_each(|(number, word)| number.store(word, Ordering::Relaxed));
        self.number(VERSION).store(next, Ordering::Release);
    }

    /// What was published last; zeroes before the first time.
    pub fn record(&self) -> Vec<u64> {
        let mut words = vec![0; self.words];
        for _ in 0..TRIES {
            let version = self.number(VERSION).load(Ordering::Acquire);
            words.iter_mut().zip(self.copy(version)).for_each(|(word, number)| *word = number.load(Ordering::Relaxed));
            // Its copy is written again only after the next version was published.
            fence(Ordering::Acquire);
            if self.number(VERSION).load(Ordering::Relaxed) == version {
                break;
            }
        }
        words
    }

    /// How many records were published.
    pub fn version(&self) -> u64 {
        self.number(VERSION).load(Ordering::Relaxed)
    }

    /// The thread's loop turned once more, or waits knowingly.
    pub fn turn(&self) {
        // One writer: a load and a store are enough, and cheaper than an addition that locks the bus.
        let turns = self.number(TURNS);
        turns.store(turns.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// How often it turned.
    pub fn turns(&self) -> u64 {
        self.number(TURNS).load(Ordering::Relaxed)
    }

    fn number(&self, at: usize) -> &AtomicU64 {
        &self.shared.numbers()[self.start + at]
    }

    fn copy(&self, version: u64) -> &[AtomicU64] {
        let start = self.start + COPIES + if version.is_multiple_of(2) { 0 } else { self.words };
        &self.shared.numbers()[start..start + self.words]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: usize = 100;

    fn layout(slots: usize) -> Layout {
        Layout { slots, words: WORDS }
    }

    fn record(number: u64) -> [u64; WORDS] {
        [number; WORDS]
    }

    fn first(page: &Page) -> Vec<u64> {
        page.slots().map(|slot| slot.record()[0]).collect()
    }

    #[test]
    fn every_slot_has_its_own_record() {
        let (page, descriptor) = Page::create(layout(3)).unwrap();
        let child = Page::from_fd(descriptor, layout(3)).unwrap();
        assert_eq!(first(&page), [0, 0, 0]);
        child.slot(0).unwrap().publish(record(1));
        child.slot(2).unwrap().publish(record(9));
        child.slot(2).unwrap().publish(record(4));
        assert_eq!(first(&page), [1, 0, 4]);
        assert_eq!(page.slot(2).unwrap().version(), 2);
        assert!(child.slot(3).is_none());
    }

    #[test]
    fn what_a_record_lacks_is_zero_and_what_is_too_much_is_left_out() {
        let (page, _) = Page::create(layout(2)).unwrap();
        let slot = page.slot(0).unwrap();
        (0..3).for_each(|_| slot.publish([7; 2 * WORDS]));
        assert_eq!((slot.record(), first(&page)), (record(7).to_vec(), vec![7, 0]));
        slot.publish([1, 2]);
        assert_eq!((slot.record().iter().sum::<u64>(), slot.record()[1]), (3, 2));
    }

    #[test]
    fn heartbeats_are_each_slots_own() {
        let (page, descriptor) = Page::create(layout(2)).unwrap();
        let slot = Page::from_fd(descriptor, layout(2)).unwrap().slot(1).unwrap();
        slot.turn();
        slot.turn();
        assert_eq!(page.turns().collect::<Vec<_>>(), [0, 2]);
    }

    #[test]
    fn a_page_of_another_layout_is_an_error() {
        let (_, descriptor) = Page::create(layout(2)).unwrap();
        assert!(Page::from_fd(descriptor, layout(3)).is_err());
        assert!(Page::create(Layout { slots: 2, words: usize::MAX / 2 }).is_err());
    }

    #[test]
    fn a_writer_killed_in_the_middle_leaves_the_record_before() {
        let (page, _) = Page::create(layout(1)).unwrap();
        let slot = page.slot(0).unwrap();
        slot.publish(record(1));
        let next = slot.number(VERSION).load(Ordering::Relaxed) + 1;
        slot.copy(next)[..WORDS / 2].iter().for_each(|number| number.store(2, Ordering::Relaxed));
        assert_eq!(slot.record(), record(1));
        slot.publish(record(3));
        assert_eq!(slot.record(), record(3));
    }

    #[test]
    fn a_record_read_while_it_is_written_is_never_a_mixture() {
        let (page, _) = Page::create(layout(1)).unwrap();
        let slot = page.slot(0).unwrap();
        let of_reader = slot.clone();
        let reader = std::thread::spawn(move || {
            let mut last = 0;
            while last < 20_000 {
                let words = of_reader.record();
                assert!(words.iter().all(|word| *word == words[0]), "{words:?}");
                assert!(words[0] >= last);
                last = words[0];
            }
        });
        // Pauses as long as a read, as no writer publishes without pause.
        for total in 1..=20_000 {
            slot.publish(record(total));
            (0..200).for_each(|_| std::hint::spin_loop());
        }
        reader.join().unwrap();
    }
}
