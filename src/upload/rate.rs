//! `upload_rate_kbytes`.

use std::time::Duration;

/// Bytes that may be sent: so many a second, those of a second at once at most.
#[derive(Debug, Default)]
pub struct Rate {
    /// A second; none: no limit.
    limit: Option<u64>,
    left: u64,
    /// Until when `left` is right.
    at: Duration,
}

/// What may always be sent at once, or a slow rate would send in crumbs.
const CHUNK: u64 = 32 << 10;

impl Rate {
    /// With another limit from `now` on.
    pub fn set(&mut self, limit: Option<u64>, now: Duration) {
        if limit != self.limit {
            *self = Rate { limit, left: 0, at: now };
        }
    }

    /// What may be sent at `now`: nothing, or a [`CHUNK`] at least.
    pub fn allowance(&mut self, now: Duration) -> usize {
        let Some(limit) = self.limit else { return usize::MAX };
        let most = limit.max(CHUNK);
        let gained = u128::from(limit) * now.saturating_sub(self.at).as_nanos() / 1_000_000_000;
        let left = u128::from(self.left).saturating_add(gained).min(u128::from(most));
        if gained > 0 {
            self.left = u64::try_from(left).unwrap_or(most);
            self.at = now;
        }
        if self.left < CHUNK { 0 } else { usize::try_from(self.left).unwrap_or(usize::MAX) }
    }

    /// Bytes were sent.
    pub fn sent(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(u64::try_from(bytes).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes sent in `seconds`, asked a hundred times a second.
    fn sent(limit: u64, seconds: u64) -> u64 {
        let mut rate = Rate::default();
        rate.set(Some(limit), Duration::ZERO);
        let mut total = 0;
        for hundredth in 0..seconds * 100 {
            let bytes = rate.allowance(Duration::from_millis(hundredth * 10)).min(32 << 10);
            rate.sent(bytes);
            total += bytes as u64;
        }
        total
    }

    #[test]
    fn over_ten_seconds_it_is_the_rate() {
        for limit in [1 << 10, 40_000, 1 << 20] {
            let total = sent(limit, 10);
            assert!(total <= limit * 10 && total + CHUNK >= limit * 10, "{limit}: {total}");
        }
    }

    #[test]
    fn a_pause_saves_up_a_second_and_no_more() {
        let mut rate = Rate::default();
        rate.set(Some(1 << 20), Duration::ZERO);
        assert_eq!(rate.allowance(Duration::from_secs(3600)), 1 << 20);
    }

    #[test]
    fn without_a_limit_everything_goes() {
        assert_eq!(Rate::default().allowance(Duration::ZERO), usize::MAX);
    }
}
