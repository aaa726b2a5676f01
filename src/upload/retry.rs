//! When what failed is tried again.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// After 5 s, 10 s … 15 min, each up to a quarter less: sensors that lost a server together do not come back together.
#[derive(Clone, Debug, Default)]
pub struct Retry {
    failures: u32,
    not_before: Duration,
}

impl Retry {
    /// When it may be tried.
    pub fn not_before(&self) -> Duration {
        self.not_before
    }

    /// It failed; how long until it may be tried again.
    pub fn failed(&mut self, now: Duration) -> Duration {
        let longest = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let less = longest / 4 * (random() % 1024) / 1024;
        let wait = longest - less;
        self.not_before = now + wait;
        wait
    }
}

/// Some number: std seeds its hashers from the operating system.
fn random() -> u32 {
    RandomState::new().hash_one(()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_longer_each_time_and_never_more_than_a_quarter_of_an_hour() {
        let mut retry = Retry::default();
        let now = Duration::from_secs(100);
        for expected in [5, 10, 20, 40, 80, 160, 320, 640, 900, 900] {
            let wait = retry.failed(now);
            let expected = Duration::from_secs(expected);
            assert!(wait <= expected && wait > expected.mul_f64(0.74), "{wait:?} of {expected:?}");
            assert_eq!(retry.not_before(), now + wait);
        }
    }

    #[test]
    fn two_of_them_do_not_wait_equally_long() {
        let waits =
            || (0..10).map(|_| Retry::default().failed(Duration::ZERO)).collect::<std::collections::HashSet<_>>();
        assert!(waits().len() > 5);
    }
}
