//! When files rotate.

use crate::time::{Clock, Timestamp};
use std::time::Duration;

/// Wall-clock multiples of an interval, all moved by one offset, so that a fleet of sensors does not upload in step.
///
/// Which moment is next is asked of the wall clock once, when an interval begins; how long that is away is then kept in
/// monotonic time. So a wall clock that is set, however far, makes one interval end off the multiple, and none last
/// longer than it should: the next one ends on a multiple again.
#[derive(Clone, Debug)]
pub struct Schedule {
    every: Duration,
    seed: u64,
    began: Timestamp,
    /// Monotonic.
    deadline: Duration,
}

impl Schedule {
    /// The first interval begins now. `seed` is any number; its offset is always the same for an interval of the same
    /// length.
    pub fn new(every: Duration, seed: u64, clock: &impl Clock) -> Schedule {
        let every = every.max(Duration::from_millis(1));
        let mut schedule = Schedule { every, seed, began: clock.wall(), deadline: Duration::ZERO };
        schedule.begin(clock);
        schedule
    }

    /// Begins the next interval.
    pub fn begin(&mut self, clock: &impl Clock) {
        self.began = clock.wall();
        self.deadline = clock.monotonic() + self.length();
    }

    /// Another interval from now on; the one that runs ends on a multiple of the new one.
    pub fn change(&mut self, every: Duration, clock: &impl Clock) {
        self.every = every.max(Duration::from_millis(1));
        let left = self.until_multiple(clock.wall());
        self.deadline = clock.monotonic() + left;
    }

    /// When the interval began, by the wall clock.
    pub fn began(&self) -> Timestamp {
        self.began
    }

    /// How long the interval still lasts; zero when it is over.
    pub fn left(&self, clock: &impl Clock) -> Duration {
        self.deadline.saturating_sub(clock.monotonic())
    }

    /// A clock that is being slewed reaches the multiple a little after the deadline that was computed for it. Then this
    /// moment is meant to be the multiple, and a whole interval follows, not a file for the rest of a second.
    fn length(&self) -> Duration {
        let left = self.until_multiple(self.began);
        if left < self.every / 10 { self.every } else { left }
    }

    /// More than zero, at most `every`.
    fn until_multiple(&self, now: Timestamp) -> Duration {
        let every = u64::try_from(self.every.as_nanos()).unwrap_or(u64::MAX).max(1);
        let offset = self.seed % every;
        let past = (now.as_nanos() % every + (every - offset)) % every;
        Duration::from_nanos(every - past)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Two clocks that are moved by hand.
    struct Fake {
        wall: Cell<u64>,
        monotonic: Cell<Duration>,
    }

    impl Clock for Fake {
        fn wall(&self) -> Timestamp {
            Timestamp::from_nanos(self.wall.get())
        }
        fn monotonic(&self) -> Duration {
            self.monotonic.get()
        }
    }

    impl Fake {
        fn at(seconds: u64) -> Fake {
            Fake { wall: Cell::new(seconds * 1_000_000_000), monotonic: Cell::new(Duration::from_secs(5)) }
        }

        /// Time goes by; the wall clock is slower or faster by so many nanoseconds.
        fn pass(&self, time: Duration, wall_is_off: i64) {
            self.monotonic.set(self.monotonic.get() + time);
            let nanos = i64::try_from(time.as_nanos()).unwrap() + wall_is_off;
            self.wall.set(self.wall.get().checked_add_signed(nanos).unwrap());
        }
    }

    #[test]
    fn intervals_end_on_multiples_and_the_offset() {
        let clock = Fake::at(1_700_000_007); // 1_700_000_000 is 20 s past a minute
        let mut schedule = Schedule::new(MINUTE, 5_000_000_000, &clock);
        assert_eq!(schedule.left(&clock), Duration::from_secs(38));
        clock.pass(Duration::from_secs(38), 0);
        assert_eq!(schedule.left(&clock), Duration::ZERO);
        schedule.begin(&clock);
        assert_eq!(schedule.left(&clock), MINUTE);
        assert_eq!(schedule.began().seconds() % 60, 5);
    }

    #[test]
    fn a_step_of_the_wall_clock_moves_one_boundary_and_stalls_none() {
        for step in [-3_600_i64, 3_600, -3_617, 3_617, -1, 1] {
            let clock = Fake::at(1_700_000_000);
            let mut schedule = Schedule::new(MINUTE, 0, &clock);
            clock.pass(Duration::from_secs(10), step * 1_000_000_000);
            assert_eq!(schedule.left(&clock), Duration::from_secs(30), "{step}");
            for _ in 0..3 {
                clock.pass(schedule.left(&clock), 0);
                schedule.begin(&clock);
                assert!(schedule.left(&clock) <= MINUTE && schedule.left(&clock) >= MINUTE / 10, "{step}");
            }
            let off = schedule.began().seconds() % 60;
            assert!(off.min(60 - off) <= 6, "{step}: still {off} s off");
        }
    }

    #[test]
    fn a_slewed_clock_makes_no_tiny_files() {
        for slew in [-30_000_000, 30_000_000] {
            let clock = Fake::at(1_700_000_000);
            let mut schedule = Schedule::new(MINUTE, 0, &clock);
            let mut short = 0;
            for _ in 0..500 {
                clock.pass(schedule.left(&clock), slew);
                schedule.begin(&clock);
                assert!(schedule.left(&clock) >= MINUTE / 10 && schedule.left(&clock) <= MINUTE);
                short += u32::from(schedule.left(&clock) < MINUTE / 2);
            }
            assert!(short <= 3, "{short}");
        }
    }

    #[test]
    fn a_process_that_slept_over_the_deadline_is_due_and_goes_on() {
        let clock = Fake::at(1_700_000_000);
        let mut schedule = Schedule::new(MINUTE, 0, &clock);
        clock.pass(Duration::from_secs(86_400), 0);
        assert_eq!(schedule.left(&clock), Duration::ZERO);
        schedule.begin(&clock);
        assert!(schedule.left(&clock) > Duration::ZERO);
    }

    #[test]
    fn another_interval_takes_effect_at_once() {
        let clock = Fake::at(1_700_000_000);
        let mut schedule = Schedule::new(Duration::from_secs(3600), 0, &clock);
        schedule.change(MINUTE, &clock);
        assert_eq!(schedule.left(&clock), Duration::from_secs(40));
    }

    #[test]
    fn any_seed_is_an_offset() {
        for seed in [0, 1, 59_999_999_999, 60_000_000_000, u64::MAX] {
            let clock = Fake::at(1_700_000_000);
            let schedule = Schedule::new(MINUTE, seed, &clock);
            assert!(schedule.left(&clock) > Duration::ZERO && schedule.left(&clock) <= MINUTE, "{seed}");
        }
    }
}
