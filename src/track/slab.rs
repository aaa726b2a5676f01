//! Table entries by number, and the order they came in.

use std::ops::{Index, IndexMut};

/// No entry.
pub(super) const NONE: u32 = u32::MAX;

/// Entries numbered by 32 bits, numbers used again. Grows to the most that were ever held at once.
pub(super) struct Slab<T> {
    entries: Vec<T>,
    free: Vec<u32>,
}

/// Makes room for one more, by an eighth of what there is. Doubling, as `Vec` does it by itself, could take twice the
/// memory that a table counts.
#[inline]
pub(super) fn grow<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact((list.len() / 8).max(16));
    }
}

impl<T: Copy> Slab<T> {
    pub(super) fn new() -> Slab<T> {
        Slab { entries: Vec::new(), free: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    #[inline]
    pub(super) fn insert(&mut self, entry: T) -> u32 {
        if let Some(index) = self.free.pop() {
            self.entries[index as usize] = entry;
            return index;
        }
        grow(&mut self.entries);
        self.entries.push(entry);
        (self.entries.len() - 1) as u32
    }

    /// All entries, those not in use too.
    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut()
    }

    #[inline]
    pub(super) fn remove(&mut self, index: u32) -> T {
        grow(&mut self.free);
        self.free.push(index);
        self.entries[index as usize]
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: u32) -> &T {
        &self.entries[index as usize]
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.entries[index as usize]
    }
}

/// An entry that stands in a [`Queue`].
pub(super) trait Queued: Copy {
    /// Its place there.
    fn place(&mut self) -> &mut Place;
}

/// An entry's neighbours in a [`Queue`].
#[derive(Clone, Copy)]
pub(super) struct Place {
    older: u32,
    newer: u32,
}

impl Place {
    pub(super) const NOWHERE: Place = Place { older: NONE, newer: NONE };
}

/// The entries of a slab in the order they came.
pub(super) struct Queue {
    oldest: u32,
    newest: u32,
}

impl Queue {
    pub(super) fn new() -> Queue {
        Queue { oldest: NONE, newest: NONE }
    }

    #[inline]
    pub(super) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    #[inline]
    pub(super) fn push<T: Queued>(&mut self, slab: &mut Slab<T>, index: u32) {
        *slab[index].place() = Place { older: self.newest, newer: NONE };
        match self.newest {
            NONE => self.oldest = index,
            newest => slab[newest].place().newer = index,
        }
        self.newest = index;
    }

    #[inline]
    pub(super) fn remove<T: Queued>(&mut self, slab: &mut Slab<T>, index: u32) {
        let Place { older, newer } = *slab[index].place();
        match older {
            NONE => self.oldest = newer,
            older => slab[older].place().newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => slab[newer].place().older = older,
        }
    }

    /// Makes `index` the newest.
    #[inline]
    pub(super) fn renew<T: Queued>(&mut self, slab: &mut Slab<T>, index: u32) {
        if self.newest != index {
            self.remove(slab, index);
            self.push(slab, index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    struct Entry(u32, Place);

    impl Queued for Entry {
        fn place(&mut self) -> &mut Place {
            &mut self.1
        }
    }

    fn order(queue: &mut Queue, slab: &mut Slab<Entry>) -> Vec<u32> {
        let mut names = Vec::new();
        while let Some(oldest) = queue.oldest() {
            queue.remove(slab, oldest);
            names.push(slab.remove(oldest).0);
        }
        names
    }

    fn filled(count: u32) -> (Queue, Slab<Entry>) {
        let (mut queue, mut slab) = (Queue::new(), Slab::new());
        for name in 0..count {
            let at = slab.insert(Entry(name, Place::NOWHERE));
            queue.push(&mut slab, at);
        }
        (queue, slab)
    }

    #[test]
    fn entries_leave_in_the_order_they_came_whichever_were_removed() {
        for removed in 0..5 {
            let (mut queue, mut slab) = filled(5);
            queue.remove(&mut slab, removed);
            slab.remove(removed);
            let expected: Vec<u32> = (0..5).filter(|name| *name != removed).collect();
            assert_eq!(order(&mut queue, &mut slab), expected);
            assert_eq!(slab.len(), 0);
        }
    }

    #[test]
    fn a_renewed_entry_is_the_newest() {
        for (renewed, expected) in [(0, [1, 2, 0]), (1, [0, 2, 1]), (2, [0, 1, 2])] {
            let (mut queue, mut slab) = filled(3);
            queue.renew(&mut slab, renewed);
            assert_eq!(order(&mut queue, &mut slab), expected);
        }
    }

    #[test]
    fn numbers_are_used_again_and_memory_is_at_most_an_eighth_more_than_was_held() {
        let (mut queue, mut slab) = filled(100_000);
        assert!(slab.entries.capacity() <= 100_000 * 9 / 8);
        order(&mut queue, &mut slab);
        assert!(slab.free.capacity() <= 100_000 * 9 / 8);
        assert!(slab.insert(Entry(0, Place::NOWHERE)) < 100_000);
    }
}
