//! How long responses took.

/// Delays in a histogram of fixed size: 16 buckets for every power of two nanoseconds, so that a quantile is at most
/// a sixteenth too high; the smallest and the largest are exact.
pub(crate) struct Delays {
    buckets: Vec<u64>,
    pub(crate) count: u64,
    pub(crate) min: u64,
    pub(crate) max: u64,
}

impl Delays {
    const PER_POWER: u32 = 16;

    pub(crate) fn new() -> Delays {
        Delays { buckets: vec![0; 64 * 16], count: 0, min: u64::MAX, max: 0 }
    }

    pub(crate) fn add(&mut self, nanos: u64) {
        if let Some(bucket) = usize::try_from(bucket(nanos)).ok().and_then(|index| self.buckets.get_mut(index)) {
            *bucket += 1;
        }
        self.count += 1;
        self.min = self.min.min(nanos);
        self.max = self.max.max(nanos);
    }

    /// The buckets: the largest delay of each, and how many it holds.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        (0u32..).zip(&self.buckets).map(|(index, count)| (highest(index), *count))
    }

    /// The delay that `percent` of all do not exceed.
    pub(crate) fn quantile(&self, percent: u64) -> u64 {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (index, count) in (0u32..).zip(&self.buckets) {
            seen += count;
            if seen >= rank {
                return highest(index).clamp(self.min, self.max);
            }
        }
        self.max
    }
}

/// The power of two, and the four bits behind its first.
pub(crate) fn bucket(nanos: u64) -> u32 {
    let nanos = nanos.max(1);
    let power = nanos.ilog2();
    let four_bits = if power >= 4 { nanos >> (power - 4) } else { nanos << (4 - power) };
    power * Delays::PER_POWER + u32::try_from(four_bits & 15).unwrap_or_default()
}

/// The largest delay of a bucket.
fn highest(bucket: u32) -> u64 {
    let (power, step) = (bucket / Delays::PER_POWER, bucket % Delays::PER_POWER);
    let next = (u128::from(Delays::PER_POWER + step + 1) << power).div_ceil(16);
    u64::try_from(next.saturating_sub(1)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_at_most_a_sixteenth_too_high() {
        let mut delays = Delays::new();
        for nanos in 1..=100_000 {
            delays.add(nanos * 1000);
        }
        for percent in [50, 90, 99] {
            let exact = percent * 1_000_000;
            let found = delays.quantile(percent);
            assert!((exact..=exact + exact / 16).contains(&found), "{percent}: {found}");
        }
        assert_eq!((delays.min, delays.quantile(100)), (1000, 100_000_000));
    }

    #[test]
    fn every_delay_has_a_bucket_that_holds_it() {
        for nanos in [0, 1, 2, 15, 16, 17, 1000, u64::MAX / 2, u64::MAX] {
            let bucket = bucket(nanos);
            assert!(bucket < 1024 && highest(bucket) >= nanos, "{nanos}");
        }
    }
}
