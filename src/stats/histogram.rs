//! How values are spread: counted in fixed ranges, so that it costs the same whatever they are.

/// How many values fell into each range, and their sum. The ranges are given by their upper edges, which belong to them;
/// the last one has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<const N: usize> {
    counts: [u64; N],
    sum: u64,
}

/// Upper edges of the ranges of response times, in nanoseconds: half a millisecond is the same room, 20 ms the same
/// continent, 5 s the time after which resolvers give up.
pub const DELAY_EDGES: [u64; 13] = [
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
];

/// Upper edges of the ranges of response sizes, in bytes of the DNS message: 512 is what fits without EDNS, 1232 and 1472
/// are what servers and Ethernet allow a datagram.
pub const SIZE_EDGES: [u64; 8] = [64, 128, 256, 512, 1232, 1472, 4096, 16_384];

/// How long responses took.
pub type Delays = Histogram<{ DELAY_EDGES.len() + 1 }>;
/// How large responses were.
pub type Sizes = Histogram<{ SIZE_EDGES.len() + 1 }>;

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Histogram<N> {
        Histogram { counts: [0; N], sum: 0 }
    }
}

impl<const N: usize> Histogram<N> {
    /// Numbers in it.
    pub(super) const LEN: usize = N + 1;

    /// Counts a value; `edges` are one fewer than the ranges.
    #[inline]
    pub(super) fn count(&mut self, edges: &[u64], value: u64) {
        if let Some(count) = self.counts.get_mut(edges.partition_point(|edge| *edge < value)) {
            *count += 1;
        }
        self.sum = self.sum.saturating_add(value);
    }

    /// How many values fell into each range.
    pub fn counts(&self) -> &[u64; N] {
        &self.counts
    }

    /// All values together.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// How many values there were.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(super) fn counters(&mut self) -> impl Iterator<Item = &mut u64> {
        self.counts.iter_mut().chain(std::iter::once(&mut self.sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_an_edge_belongs_below_it_and_the_largest_into_the_last_range() {
        let mut sizes = Sizes::default();
        for size in [0, 64, 65, 512, 513, 16_384, 16_385, u64::MAX] {
            sizes.count(&SIZE_EDGES, size);
        }
        assert_eq!(sizes.counts(), &[2, 1, 0, 1, 1, 0, 0, 1, 2]);
        assert_eq!((sizes.total(), sizes.sum()), (8, u64::MAX));
    }

    #[test]
    fn edges_rise() {
        assert!(DELAY_EDGES.is_sorted() && SIZE_EDGES.is_sorted());
    }
}
