//! How often numbers came.

use std::collections::HashMap;

/// Different numbers a tally counts: all that a DNS message can express.
const NUMBERS_MAX: usize = 65_536;

/// How often each number was seen; past 65 536 different ones, the rest together.
#[derive(Default)]
pub(crate) struct Tally {
    numbers: HashMap<u32, u64>,
    others: u64,
}

impl Tally {
    /// Counts one.
    pub(crate) fn add(&mut self, number: u32) {
        if self.numbers.len() < NUMBERS_MAX || self.numbers.contains_key(&number) {
            *self.numbers.entry(number).or_default() += 1;
        } else {
            self.others += 1;
        }
    }

    /// How often numbers above this one came.
    pub(crate) fn count_above(&self, bound: u32) -> u64 {
        self.numbers.iter().filter(|(number, _)| **number > bound).map(|(_, count)| count).sum()
    }

    /// How many different numbers are held.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The most frequent ones, and how often all others came.
    pub(crate) fn top(&self, rows: usize, name: impl Fn(u32) -> String) -> Vec<(String, u64)> {
        let mut all: Vec<_> = self.numbers.iter().map(|(&number, &count)| (number, count)).collect();
        all.sort_unstable_by_key(|&(number, count)| (std::cmp::Reverse(count), number));
        let rest: u64 = all.iter().skip(rows).map(|(_, count)| count).sum();
        let mut lines: Vec<_> = all.into_iter().take(rows).map(|(number, count)| (name(number), count)).collect();
        if rest + self.others > 0 {
            lines.push(("(others)".to_string(), rest + self.others));
        }
        lines
    }
}
