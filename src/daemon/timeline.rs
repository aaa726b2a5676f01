//! The clock that stamps packets may be set while packets are followed.

use crate::time::{Clock, Timestamp};
use std::time::Duration;

/// A difference between two clocks that is no drift: somebody set one.
const STEP: Duration = Duration::from_secs(1);
/// Packets stamped before the clock was set may be read so much later: they waited in a ring, or to be merged.
const LATE: Duration = Duration::from_secs(5);

/// Notices that the wall clock was set, by comparing it with the monotonic one. It asks them when packet time jumps,
/// and when it is told to; not for every packet.
pub struct Timeline<C> {
    clock: C,
    /// The wall clock less the monotonic one, in nanoseconds.
    difference: i128,
    last: Timestamp,
    set: Option<Set>,
}

/// The clock was set.
#[derive(Clone, Copy)]
struct Set {
    by: i64,
    at: Duration,
}

impl<C: Clock> Timeline<C> {
    /// Starts with the clocks as they are.
    pub fn new(clock: C) -> Timeline<C> {
        let difference = difference(&clock);
        Timeline { last: clock.wall(), clock, difference, set: None }
    }

    /// By how many nanoseconds the wall clock was set since the last call, if it was.
    pub fn look(&mut self) -> Option<i64> {
        let difference = difference(&self.clock);
        let by = difference - self.difference;
        if by.unsigned_abs() < STEP.as_nanos() {
            // It drifts, or is slewed: that is never a step, however far it goes.
            self.difference = difference;
            return None;
        }
        self.difference = difference;
        let by = i64::try_from(by).unwrap_or(if by < 0 { i64::MIN } else { i64::MAX });
        self.set = Some(Set { by, at: self.clock.monotonic() });
        self.last = self.clock.wall();
        Some(by)
    }

    /// A packet's time on the clock as it now is. If it shows that the clock was set, `was_set` is called before.
    #[inline]
    pub fn packet(&mut self, time: Timestamp, was_set: impl FnOnce(i64)) -> Timestamp {
        if time.is_beyond(STEP, self.last) || self.set.is_some() {
            return self.jumped(time, was_set);
        }
        self.last = time;
        time
    }

    #[cold]
    fn jumped(&mut self, time: Timestamp, was_set: impl FnOnce(i64)) -> Timestamp {
        if let Some(by) = self.look() {
            was_set(by);
        }
        let mut time = time;
        if let Some(Set { by, at }) = self.set {
            if self.clock.monotonic().saturating_sub(at) > LATE {
                self.set = None;
            } else {
                // Stamped by the clock as it was, if that brings it nearer to now.
                let (now, moved) = (self.clock.wall(), time.shifted(by));
                time = if distance(moved, now) < distance(time, now) { moved } else { time };
            }
        }
        self.last = time;
        time
    }

    /// The wall clock.
    pub fn now(&self) -> Timestamp {
        self.clock.wall()
    }

    /// The monotonic clock.
    pub fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }
}

fn difference(clock: &impl Clock) -> i128 {
    i128::from(clock.wall().as_nanos()) - clock.monotonic().as_nanos() as i128
}

fn distance(one: Timestamp, other: Timestamp) -> Duration {
    one.since(other).max(other.since(one))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Seconds of either clock.
    struct Clocks {
        wall: Cell<f64>,
        monotonic: Cell<f64>,
    }

    impl Clock for &Clocks {
        fn wall(&self) -> Timestamp {
            at(self.wall.get())
        }

        fn monotonic(&self) -> Duration {
            Duration::from_secs_f64(self.monotonic.get())
        }
    }

    impl Clocks {
        fn new() -> Clocks {
            Clocks { wall: Cell::new(100_000.0), monotonic: Cell::new(0.0) }
        }

        fn pass(&self, seconds: f64) {
            self.wall.set(self.wall.get() + seconds);
            self.monotonic.set(self.monotonic.get() + seconds);
        }

        fn set(&self, by: f64) {
            self.wall.set(self.wall.get() + by);
        }
    }

    fn at(seconds: f64) -> Timestamp {
        Timestamp::default() + Duration::from_secs_f64(seconds)
    }

    fn never(_: i64) {
        panic!("the clock was not set");
    }

    #[test]
    fn packets_keep_their_times_while_the_clock_runs() {
        let clocks = Clocks::new();
        let mut timeline = Timeline::new(&clocks);
        for seconds in [0.0, 0.5, 60.0, 86_400.0] {
            clocks.pass(seconds);
            assert_eq!(timeline.packet(at(clocks.wall.get()), never), at(clocks.wall.get()));
            // One that comes late.
            assert_eq!(timeline.packet(at(clocks.wall.get() - 2.0), never), at(clocks.wall.get() - 2.0));
            assert_eq!(timeline.look(), None);
        }
    }

    #[test]
    fn a_clock_that_drifts_was_not_set() {
        let clocks = Clocks::new();
        let mut timeline = Timeline::new(&clocks);
        for _ in 0..100 {
            clocks.pass(1.0);
            clocks.set(0.9);
            assert_eq!(timeline.look(), None);
        }
    }

    #[test]
    fn the_first_packet_after_the_clock_was_set_tells_it_and_later_ones_of_before_are_moved() {
        for by in [3600.0, -3600.0] {
            let clocks = Clocks::new();
            let mut timeline = Timeline::new(&clocks);
            timeline.packet(at(clocks.wall.get()), never);
            clocks.set(by);
            let told = Cell::new(0);
            let now = at(clocks.wall.get());
            assert_eq!(timeline.packet(now, |by| told.set(by)), now);
            assert_eq!(told.get(), by as i64 * 1_000_000_000);
            // From another ring, stamped before.
            clocks.pass(0.1);
            assert_eq!(timeline.packet(at(100_000.0), never), now);
            // Much later such a time is what it says.
            clocks.pass(10.0);
            timeline.packet(at(clocks.wall.get()), never);
            assert_eq!(timeline.packet(at(100_000.0), never), at(100_000.0));
        }
    }

    #[test]
    fn without_packets_it_is_seen_by_looking() {
        let clocks = Clocks::new();
        let mut timeline = Timeline::new(&clocks);
        clocks.pass(5.0);
        clocks.set(-7200.0);
        assert_eq!(timeline.look(), Some(-7_200_000_000_000));
        assert_eq!(timeline.look(), None);
    }
}
