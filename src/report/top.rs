//! The most frequent of many keys, in bounded memory.

use std::{borrow::Borrow, cmp::Reverse, collections::HashMap, hash::Hash};

/// Counts keys, and keeps a value for each; at most twice `capacity` of them. When full, the rarest half is forgotten
/// (Misra and Gries, a batch at a time). Whatever was forgotten had been seen `floor` times at most, so a key that comes
/// new, or again, may have been missed so often and no more.
pub(crate) struct Top<K, V> {
    entries: HashMap<K, Entry<V>>,
    capacity: usize,
    floor: u64,
    forgotten: u64,
}

/// A key's count.
pub(crate) struct Entry<V> {
    /// Times it was counted.
    pub count: u64,
    /// It was seen at most so many times more, before.
    pub missed: u64,
    /// Belongs to what was counted.
    pub value: V,
}

impl<V> Entry<V> {
    fn most(&self) -> u64 {
        self.count + self.missed
    }
}

impl<K: Hash + Ord + Clone, V: Default> Top<K, V> {
    pub(crate) fn new(capacity: usize) -> Top<K, V> {
        Top { entries: HashMap::new(), capacity, floor: 0, forgotten: 0 }
    }

    /// Counts a key, and lets `update` its value.
    pub(crate) fn count<Q>(&mut self, key: &Q, update: impl FnOnce(&mut V))
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.count += 1;
            update(&mut entry.value);
            return;
        }
        if self.entries.len() >= 2 * self.capacity {
            self.forget();
        }
        let mut entry = Entry { count: 1, missed: self.floor, value: V::default() };
        update(&mut entry.value);
        self.entries.insert(key.to_owned(), entry);
    }

    /// The value of a key that is not forgotten.
    pub(crate) fn value<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.entries.get(key).map(|entry| &entry.value)
    }

    fn forget(&mut self) {
        // Of equally rare ones those with the smaller keys go, so that the same input gives the same page.
        let mut order: Vec<(u64, &K)> = self.entries.iter().map(|(key, entry)| (entry.most(), key)).collect();
        let rarest = order.len().saturating_sub(self.capacity + 1);
        let (_, &mut (cut, last), _) = order.select_nth_unstable(rarest);
        let last = last.clone();
        let before = self.entries.len();
        self.entries.retain(|key, entry| (entry.most(), key) > (cut, &last));
        self.forgotten += (before - self.entries.len()) as u64;
        self.floor = self.floor.max(cut);
    }

    /// All that is remembered, the most frequent first.
    pub(crate) fn sorted(&self) -> Vec<(&K, &Entry<V>)> {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_unstable_by_key(|&(key, entry)| (Reverse(entry.count), key));
        entries
    }

    /// How often something was forgotten, and how often that had been seen at most.
    pub(crate) fn forgotten(&self) -> (u64, u64) {
        (self.forgotten, self.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_counted_exactly() {
        let mut top: Top<u64, u64> = Top::new(4);
        (0..80).for_each(|number: u64| top.count(&(number % 8), |value| *value += 1));
        assert_eq!(top.forgotten(), (0, 0));
        assert!(top.sorted().iter().all(|(_, entry)| (entry.count, entry.missed, entry.value) == (10, 0, 10)));
    }

    #[test]
    fn a_flood_of_keys_is_bounded_and_every_count_lies_within_what_is_said() {
        let (mut top, mut again): (Top<u64, ()>, Top<u64, ()>) = (Top::new(50), Top::new(50));
        let mut truth = HashMap::new();
        for number in 0..200_000_u64 {
            let key = if number % 2 == 0 { number % 14 } else { 1000 + number };
            *truth.entry(key).or_insert(0) += 1;
            top.count(&key, |()| ());
            again.count(&key, |()| ());
            assert!(top.entries.len() <= 100);
        }
        let sorted = top.sorted();
        let numbers = |(key, entry): &(&u64, &Entry<()>)| (**key, entry.count, entry.missed);
        assert!(sorted.iter().map(numbers).eq(again.sorted().iter().map(numbers)), "the same again");
        assert!(sorted.iter().all(|(key, entry)| (entry.count..=entry.most()).contains(&truth[key])));
        let (forgotten, floor) = top.forgotten();
        assert!(forgotten > 99_000 && floor <= 200_000 / 50, "{forgotten} {floor}");
        let is_missing = |key: &u64| !top.entries.contains_key(key);
        assert!(truth.iter().filter(|(key, _)| is_missing(key)).all(|(_, count)| *count <= floor));
        assert!(sorted[..7].iter().all(|(key, _)| **key < 14), "the frequent ones stay");
    }
}
