//! What a capture process counts, as it stands on its page: a record for each thread that follows packets, and one for those
//! that write.

use super::page::{Layout, Page, Slot};
use crate::stats::{Ledger, Link, Vitals, WORDS};

/// The counters of a capture process, or of several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The ledger.
    pub ledger: Ledger,
    /// How things stand.
    pub vitals: Vitals,
    /// What came from each of its interfaces.
    pub links: Vec<Link>,
}

/// The page of a process with so many capture threads, which is to open so many interfaces.
pub fn layout(threads: usize, interfaces: usize) -> Layout {
    Layout { slots: threads + 1, words: WORDS + Vitals::LEN + interfaces * Link::LEN }
}

/// Shows what one thread has counted. Allocates nothing.
pub fn publish<'l>(slot: &Slot, ledger: &Ledger, vitals: &Vitals, links: impl Iterator<Item = &'l Link>) {
    slot.publish(ledger.to_words().into_iter().chain(vitals.words()).chain(links.flat_map(Link::words)));
}

impl Counts {
    /// The sum of what all threads of a process have shown.
    pub fn of(page: &Page) -> Counts {
        let mut sum = Counts::default();
        page.slots().for_each(|slot| sum.add(&Counts::from_words(&slot.record())));
        sum
    }

    fn from_words(words: &[u64]) -> Counts {
        let Some((ledger, rest)) = words.split_first_chunk::<WORDS>() else { return Counts::default() };
        let (vitals, links) = rest.split_at_checked(Vitals::LEN).unwrap_or_default();
        Counts {
            ledger: Ledger::from_words(ledger),
            vitals: Vitals::from_words(vitals),
            links: links.chunks_exact(Link::LEN).map(Link::from_words).collect(),
        }
    }

    fn add(&mut self, other: &Counts) {
        self.ledger.add(&other.ledger);
        self.vitals.add(&other.vitals);
        self.links.resize(self.links.len().max(other.links.len()), Link::default());
        self.links.iter_mut().zip(&other.links).for_each(|(link, more)| link.add(more));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_show_adds_up() {
        let (page, descriptor) = Page::create(layout(2, 3)).unwrap();
        let child = Page::from_fd(descriptor, layout(2, 3)).unwrap();
        let ledger = Ledger { total: 5, ..Ledger::default() };
        let vitals = Vitals { level: 3, raw_bytes: 10, ..Vitals::default() };
        let links = [1, 2, 3].map(|packets| Link { packets, ..Link::default() });
        assert_eq!(Counts::of(&page), Counts { links: vec![Link::default(); 3], ..Counts::default() });
        publish(&child.slot(0).unwrap(), &ledger, &Vitals::default(), links.iter());
        publish(&child.slot(1).unwrap(), &ledger, &Vitals::default(), links.iter());
        publish(&child.slot(2).unwrap(), &Ledger::default(), &vitals, std::iter::empty());
        let counts = Counts::of(&page);
        assert_eq!((counts.ledger.total, &counts.vitals), (10, &vitals));
        assert_eq!(counts.links.iter().map(|link| link.packets).collect::<Vec<_>>(), [2, 4, 6]);
    }
}
