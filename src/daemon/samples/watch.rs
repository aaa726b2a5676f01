//! The views child's end of the page.

use super::{LANES, Page, SLOTS, Sample};
use std::{io, os::fd::OwnedFd, sync::atomic::Ordering, time::Duration};

/// Samples that are kept until they are taken: more than all threads write in two seconds. With the longest names, all of
/// them escaped, an answer of so many has 2.2 MB.
const KEPT_MAX: usize = 2048;
/// Who has not asked for so long does not watch.
const WATCHES: Duration = Duration::from_secs(3);

/// Collects samples while somebody watches.
pub struct Watch {
    page: Page,
    /// How far each lane has been read.
    read: [u64; LANES],
    kept: Vec<Sample>,
    asked: Option<Duration>,
}

impl Watch {
    /// Over the supervisor's page.
    pub fn new(descriptor: &OwnedFd) -> io::Result<Watch> {
        Ok(Watch { page: Page::map(descriptor)?, read: [0; LANES], kept: Vec::new(), asked: None })
    }

    /// Somebody watches.
    pub fn ask(&mut self, now: Duration) {
        if !self.is_watched(now) {
            // What is there is of another time.
            self.look();
            self.kept.clear();
        }
        self.asked = Some(now);
        self.page.mark().fetch_add(1, Ordering::Relaxed);
    }

    /// Whether somebody has asked lately.
    pub fn is_watched(&self, now: Duration) -> bool {
        self.asked.is_some_and(|asked| now.saturating_sub(asked) < WATCHES)
    }

    /// Collects what has come. Whatever the page says, that is one round of each lane at most.
    pub fn look(&mut self) {
        for (lane, read) in self.read.iter_mut().enumerate() {
            let written = self.page.written(lane).load(Ordering::Acquire);
            let oldest = written.saturating_sub(SLOTS as u64);
            // Another process begins again at 0.
            let from = if *read > written { oldest } else { oldest.max(*read) };
            for number in from..written {
                let words = if self.kept.len() < KEPT_MAX { self.page.read(lane, number) } else { None };
                self.kept.extend(words.and_then(|words| Sample::from_words(&words)));
            }
            *read = written;
        }
    }

    /// What was collected.
    pub(crate) fn take(&mut self) -> Vec<Sample> {
        std::mem::take(&mut self.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Samples, sample::tests::answer},
        *,
    };

    fn watch() -> Watch {
        Watch::new(&Samples::new().unwrap().descriptor().unwrap()).unwrap()
    }

    #[test]
    fn what_is_overwritten_is_lost_and_a_new_writer_is_read_from_its_beginning() {
        let mut watch = watch();
        let words = answer(b"\x01a\0", None).to_words();
        (0..SLOTS as u64 + 100).for_each(|number| watch.page.write(1, number, &words));
        watch.look();
        assert_eq!(watch.take().len(), SLOTS);
        watch.look();
        assert_eq!(watch.take().len(), 0);
        (0..7).for_each(|number| watch.page.write(1, number, &words));
        watch.look();
        assert_eq!(watch.take().len(), 7);
    }

    #[test]
    fn whatever_is_on_the_page_costs_a_bounded_time_and_memory() {
        let mut watch = watch();
        let words = answer(b"\x01a\0", None).to_words();
        for lane in 0..LANES {
            (0..SLOTS as u64).for_each(|number| watch.page.write(lane, number, &words));
        }
        watch.look();
        assert_eq!(watch.take().len(), KEPT_MAX);
        for written in [u64::MAX, u64::MAX - 1, 1 << 60, 3] {
            watch.page.written(0).store(written, Ordering::Relaxed);
            watch.look();
        }
        // The numbers of slots that are there fit none of these, but for the last.
        assert!(watch.take().len() <= 3);
    }

    #[test]
    fn what_came_while_nobody_watched_is_not_shown() {
        let mut watch = watch();
        let second = Duration::from_secs(1);
        watch.page.write(0, 0, &answer(b"\x01a\0", None).to_words());
        watch.ask(second);
        watch.look();
        assert_eq!(watch.take().len(), 0);
        assert!(watch.is_watched(3 * second) && !watch.is_watched(4 * second));
        watch.page.write(0, 1, &answer(b"\x01a\0", None).to_words());
        watch.ask(2 * second);
        watch.look();
        assert_eq!(watch.take().len(), 1);
    }
}
