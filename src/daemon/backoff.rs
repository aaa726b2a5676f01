//! When a child that died is started again.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// A child that lived so long was well.
const WELL: Duration = Duration::from_secs(60);

/// At once, then after 1, 2, 4 … 60 s; a minute of life resets it.
#[derive(Debug, Default)]
pub struct Backoff {
    next: Duration,
}

impl Backoff {
    /// How long to wait after a child that lived so long.
    pub fn died(&mut self, lived: Duration) -> Duration {
        if lived >= WELL {
            self.next = Duration::ZERO;
        }
        let wait = self.next;
        self.next = (wait * 2).clamp(FIRST, LONGEST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_comes_back_at_once_and_the_others_later_and_later() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..9).map(|_| backoff.died(Duration::from_secs(59)).as_secs()).collect();
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.died(WELL), Duration::ZERO);
    }
}
