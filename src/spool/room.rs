//! Whether there is room to write.

use super::directory::Space;
use std::time::Duration;

/// Between two tries while writing is stopped.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// Says when to write and when not, so that a disk that is nearly full is neither filled nor makes a log line a container.
#[derive(Debug, Default)]
pub struct Room {
    /// Writing is stopped; the next try is then, in monotonic time.
    stopped: Option<Duration>,
    /// Transactions dropped since it is.
    dropped: u64,
}

/// What to do with a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Write it.
    Write,
    /// Drop it.
    Drop,
    /// Drop it, and say so.
    Stop {
        /// So many bytes are free.
        free: u64,
        /// So many must be for writing to go on.
        resume_at: u64,
    },
}

impl Room {
    /// Whether writing is stopped and it is not yet time to try again.
    pub fn is_stopped(&self, now: Duration) -> bool {
        self.stopped.is_some_and(|next| now < next)
    }

    /// Judges one container.
    pub fn judge(&mut self, space: impl FnOnce() -> Option<Space>, min_free: u64, now: Duration) -> Verdict {
        match self.stopped {
            _ if self.is_stopped(now) => Verdict::Drop,
            Some(_) => {
                self.stopped = Some(now + TRY_EVERY);
                match space() {
                    Some(space) if space.free < resume_at(min_free, space.most) => Verdict::Drop,
                    _ => Verdict::Write,
                }
            }
            // A file system that does not say how much is free may still be written to.
            None => match space().filter(|space| space.free < min_free) {
                Some(Space { free, most }) => {
                    self.stopped = Some(now + TRY_EVERY);
                    Verdict::Stop { free, resume_at: resume_at(min_free, most) }
                }
                None => Verdict::Write,
            },
        }
    }

    /// A container was written. If writing was stopped, it no longer is: the transactions dropped meanwhile.
    pub fn written(&mut self) -> Option<u64> {
        self.stopped.take()?;
        Some(std::mem::take(&mut self.dropped))
    }

    /// A container could not be written. True if that is news.
    pub fn failed(&mut self, now: Duration) -> bool {
        self.stopped.replace(now + TRY_EVERY).is_none()
    }

    /// Transactions were dropped because writing is stopped.
    pub fn dropped(&mut self, transactions: u64) {
        self.dropped += transactions;
    }
}

/// Writing goes on with an eighth more than must stay free, and 8 MiB at least. With the default, 256 MiB, that is 32 MiB:
/// three seconds of the heaviest output there is (10 MB/s of compressed containers), minutes of the usual. With no
/// minimum, after a disk that was full to the last byte, it is a few containers. A small file system has not so much to
/// spare: a quarter of all that it can have beyond the minimum, `most` being what is free when it is empty.
fn resume_at(min_free: u64, most: u64) -> u64 {
    let spare = (min_free / 8).max(8 << 20);
    min_free.saturating_add(spare.min(most.saturating_sub(min_free) / 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: u64 = 256 << 20;

    /// Of a file system that is large.
    fn space(free: u64) -> Option<Space> {
        Some(Space { free, most: u64::MAX })
    }

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn it_stops_once_and_resumes_with_something_to_spare() {
        let mut room = Room::default();
        assert_eq!(room.judge(|| space(MIN), MIN, at(0)), Verdict::Write);
        let stop = Verdict::Stop { free: MIN - 1, resume_at: 288 << 20 };
        assert_eq!(room.judge(|| space(MIN - 1), MIN, at(0)), stop);
        room.dropped(5);
        assert_eq!(room.judge(|| space(MIN + 1), MIN, at(1000)), Verdict::Drop);
        room.dropped(6);
        assert_eq!(room.judge(|| space(2 * MIN), MIN, at(1999)), Verdict::Drop);
        assert_eq!(room.judge(|| space(2 * MIN), MIN, at(2000)), Verdict::Write);
        assert_eq!(room.written(), Some(11));
        assert_eq!(room.written(), None);
    }

    #[test]
    fn a_small_file_system_is_written_to_again_before_it_is_empty() {
        for (min_free, most) in [(1 << 20, 4 << 20), (MIN, 280 << 20), (0, 4 << 20)] {
            let mut room = Room::default();
            room.failed(at(0));
            let nearly_empty = || Some(Space { free: most - (most - min_free) / 2, most });
            assert_eq!(room.judge(nearly_empty, min_free, at(1000)), Verdict::Write, "{min_free} of {most}");
        }
        assert_eq!(resume_at(MIN, MIN / 2), MIN, "where it can never be, as it is");
    }

    #[test]
    fn while_stopped_the_disk_is_asked_once_a_second() {
        let mut room = Room::default();
        let mut asked = 0;
        for millis in 0..5000 {
            let free = || {
                asked += 1;
                space(0)
            };
            room.judge(free, MIN, at(millis));
        }
        assert_eq!(asked, 5);
    }

    #[test]
    fn after_an_error_it_is_not_over_before_a_container_is_written() {
        let mut room = Room::default();
        assert!(room.failed(at(0)));
        for second in 1..10 {
            assert_eq!(room.judge(|| space(u64::MAX), 0, at(second * 1000)), Verdict::Write);
            assert!(!room.failed(at(second * 1000)));
        }
        assert_eq!(room.judge(|| space(u64::MAX), 0, at(20_000)), Verdict::Write);
        assert_eq!(room.written(), Some(0));
    }
}
