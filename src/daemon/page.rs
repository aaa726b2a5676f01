//! The page of counters that a child shares with the supervisor: it outlives the child, however that ends.

use crate::{
    stats::{Ledger, WORDS},
    sys::shared::Shared,
};
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering, fence},
    },
};

/// Number of ledgers published so far; the last one is in copy `VERSION % 2`.
const VERSION: usize = 0;
/// How often the thread's loop turned.
const TURNS: usize = 1;
/// What the thread is doing; the processes agree on its meaning.
const STATE: usize = 2;
/// Two copies of the ledger.
const COPIES: usize = 3;
/// Numbers in a slot: a multiple of a cache line, so that threads do not slow each other.
const SLOT: usize = (COPIES + 2 * WORDS).next_multiple_of(8);
/// Publishing is rare (ten times a second) and reading takes a microsecond: one retry is already unlikely.
const TRIES: usize = 100;

/// Slots of counters, one for each thread that counts.
#[derive(Clone, Debug)]
pub struct Page {
    shared: Arc<Shared>,
}

impl Page {
    /// A new page of zeroes, and the descriptor for the child.
    pub fn create(slots: usize) -> io::Result<(Page, OwnedFd)> {
        let (shared, descriptor) = Shared::create(numbers(slots)?)?;
        Ok((Page { shared: Arc::new(shared) }, descriptor))
    }

    /// The page that the supervisor made with as many slots. The descriptor is not needed any more afterwards.
    pub fn from_fd(descriptor: OwnedFd, slots: usize) -> io::Result<Page> {
        Ok(Page { shared: Arc::new(Shared::map(&descriptor, numbers(slots)?)?) })
    }

    /// In a child: the page that its supervisor gave it as descriptor 1.
    pub fn of_this_process(slots: usize) -> io::Result<Page> {
        Page::from_fd(io::stdout().as_fd().try_clone_to_owned()?, slots)
    }

    /// One slot; none if there are fewer.
    pub fn slot(&self, index: usize) -> Option<Slot> {
        let exists = index < self.shared.numbers().len() / SLOT;
        exists.then(|| Slot { shared: self.shared.clone(), index })
    }

    /// All slots.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        (0..).map_while(|index| self.slot(index))
    }

    /// The sum of what the slots published last.
    pub fn ledger(&self) -> Ledger {
        let mut sum = Ledger::default();
        self.slots().for_each(|slot| sum.add(&slot.ledger()));
        sum
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
    index: usize,
}

impl Slot {
    /// Shows the ledger to the other processes. Without a lock, an allocation or a system call.
    ///
    /// It goes to the copy that is not read, and becomes the one that is by a single store: a writer that is killed at
    /// any moment leaves the ledger before, whole (with one copy and a sequence lock it would leave two mixed).
    pub fn publish(&self, ledger: &Ledger) {
        let version = self.number(VERSION).load(Ordering::Relaxed);
        let next = version.wrapping_add(1);
        // Whoever reads a word of what follows also reads `version` or a later one.
        fence(Ordering::Release);
        self.copy(next).iter().zip(ledger.to_words()).for_each(|(number, word)| number.store(word, Ordering::Relaxed));
        self.number(VERSION).store(next, Ordering::Release);
    }

    /// What was published last; zeroes before the first time.
    pub fn ledger(&self) -> Ledger {
        let mut words = [0; WORDS];
        for _ in 0..TRIES {
            let version = self.number(VERSION).load(Ordering::Acquire);
            words.iter_mut().zip(self.copy(version)).for_each(|(word, number)| *word = number.load(Ordering::Relaxed));
            // Its copy is written again only after the next version was published.
            fence(Ordering::Acquire);
            if self.number(VERSION).load(Ordering::Relaxed) == version {
                break;
            }
        }
        Ledger::from_words(&words)
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

    /// Says what the thread is doing.
    pub fn set_state(&self, state: u64) {
        self.number(STATE).store(state, Ordering::Relaxed);
    }

    /// What the thread said last that it is doing; 0 before.
    pub fn state(&self) -> u64 {
        self.number(STATE).load(Ordering::Relaxed)
    }

    fn number(&self, at: usize) -> &AtomicU64 {
        &self.shared.numbers()[self.index * SLOT + at]
    }

    fn copy(&self, version: u64) -> &[AtomicU64] {
        let start = self.index * SLOT + COPIES + if version.is_multiple_of(2) { 0 } else { WORDS };
        &self.shared.numbers()[start..start + WORDS]
    }
}

fn numbers(slots: usize) -> io::Result<usize> {
    slots.checked_mul(SLOT).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(total: u64) -> Ledger {
        Ledger::from_words(&[total; WORDS])
    }

    #[test]
    fn a_page_is_the_sum_of_its_slots() {
        let (page, descriptor) = Page::create(3).unwrap();
        let child = Page::from_fd(descriptor, 3).unwrap();
        assert_eq!(page.ledger(), Ledger::default());
        child.slot(0).unwrap().publish(&ledger(1));
        child.slot(2).unwrap().publish(&ledger(9));
        child.slot(2).unwrap().publish(&ledger(4));
        assert_eq!(page.ledger(), ledger(5));
        assert!(child.slot(3).is_none());
    }

    #[test]
    fn heartbeat_and_state_are_each_slots_own() {
        let (page, descriptor) = Page::create(2).unwrap();
        let slot = Page::from_fd(descriptor, 2).unwrap().slot(1).unwrap();
        slot.turn();
        slot.turn();
        slot.set_state(7);
        assert_eq!(page.turns().collect::<Vec<_>>(), [0, 2]);
        assert_eq!(page.slots().map(|slot| slot.state()).collect::<Vec<_>>(), [0, 7]);
    }

    #[test]
    fn a_page_with_other_slots_is_an_error() {
        let (_, descriptor) = Page::create(2).unwrap();
        assert!(Page::from_fd(descriptor, 3).is_err());
    }

    #[test]
    fn a_writer_killed_in_the_middle_leaves_the_ledger_before() {
        let (page, _) = Page::create(1).unwrap();
        let slot = page.slot(0).unwrap();
        slot.publish(&ledger(1));
        let next = slot.number(VERSION).load(Ordering::Relaxed) + 1;
        slot.copy(next)[..WORDS / 2].iter().for_each(|number| number.store(2, Ordering::Relaxed));
        assert_eq!(page.ledger(), ledger(1));
        slot.publish(&ledger(3));
        assert_eq!(page.ledger(), ledger(3));
    }

    #[test]
    fn a_ledger_read_while_it_is_written_is_never_a_mixture() {
        let (page, _) = Page::create(1).unwrap();
        let slot = page.slot(0).unwrap();
        let reader = std::thread::spawn(move || {
            let mut last = 0;
            while last < 20_000 {
                let words = page.ledger().to_words();
                assert!(words.iter().all(|word| *word == words[0]), "{words:?}");
                assert!(words[0] >= last);
                last = words[0];
            }
        });
        // Pauses as long as a read, as no writer publishes without pause.
        for total in 1..=20_000 {
            slot.publish(&ledger(total));
            (0..200).for_each(|_| std::hint::spin_loop());
        }
        reader.join().unwrap();
    }
}
