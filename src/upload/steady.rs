//! Whether the wall clock has gone on without a step: what it says of a file's age removes files.

use crate::time::Clock;
use std::time::Duration;

/// So long it has to. A computer whose clock was wrong when it started, or a time server that was for a moment, is set
/// right sooner than that.
const STEADY: Duration = Duration::from_secs(3600);
/// Between two looks, more than a clock that is slewed may be off.
const STEP: Duration = Duration::from_secs(5);

/// What the clocks said when they were last looked at.
pub(super) struct Steady<C> {
    clock: C,
    /// Nanoseconds of the wall clock, and monotonic time.
    last: (u64, Duration),
    /// Monotonic, of the last step.
    since: Duration,
}

impl<C: Clock> Steady<C> {
    /// Nothing is known of the time before.
    pub(super) fn new(clock: C) -> Steady<C> {
        let now = (clock.wall().as_nanos(), clock.monotonic());
        Steady { clock, last: now, since: now.1 }
    }

    /// Looks at the clocks. It is to be asked every few seconds.
    pub(super) fn is_so(&mut self) -> bool {
        let (wall, now) = (self.clock.wall().as_nanos(), self.clock.monotonic());
        let (wall_before, before) = self.last;
        let passed = u64::try_from(now.saturating_sub(before).as_nanos()).unwrap_or(u64::MAX);
        let is_step = Duration::from_nanos(wall_before.saturating_add(passed).abs_diff(wall)) > STEP;
        self.last = (wall, now);
        if is_step {
            self.since = now;
        }
        now.saturating_sub(self.since) >= STEADY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{NANOS, Timestamp};
    use std::cell::Cell;

    #[derive(Default)]
    struct Fake {
        wall: Cell<u64>,
        monotonic: Cell<Duration>,
    }

    impl Clock for &Fake {
        fn wall(&self) -> Timestamp {
            Timestamp::from_nanos(self.wall.get())
        }
        fn monotonic(&self) -> Duration {
            self.monotonic.get()
        }
    }

    impl Fake {
        fn pass(&self, seconds: u64) {
            self.wall.set(self.wall.get() + seconds * NANOS);
            self.monotonic.set(self.monotonic.get() + Duration::from_secs(seconds));
        }
    }

    /// Seconds until it is steady, looked at every five.
    fn seconds_until(steady: &mut Steady<&Fake>, clock: &Fake, slew: u64) -> Option<u64> {
        (0..20_000).step_by(5).find(|_| {
            let is_so = steady.is_so();
            clock.pass(5);
            clock.wall.set(clock.wall.get() + slew);
            is_so
        })
    }

    #[test]
    fn an_hour_without_a_step_is_steady() {
        for slew in [0, 5 * 500_000] {
            let clock = Fake::default();
            assert_eq!(seconds_until(&mut Steady::new(&clock), &clock, slew), Some(3600));
        }
    }

    #[test]
    fn every_step_begins_another_hour() {
        let clock = Fake { wall: Cell::new(9_000_000_000 * NANOS), ..Fake::default() };
        let mut steady = Steady::new(&clock);
        assert_eq!(seconds_until(&mut steady, &clock, 0), Some(3600));
        for set in [1_700_000_000 * NANOS, 1_700_100_000 * NANOS, 0] {
            clock.wall.set(set);
            assert_eq!(seconds_until(&mut steady, &clock, 0), Some(3600), "{set}");
        }
    }
}
