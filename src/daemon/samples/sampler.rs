//! A capture thread's end of the page.

use super::{LANES, Page, Sample};
use crate::track::{Sink, Transaction};
use std::{io, os::fd::OwnedFd, sync::atomic::Ordering, time::Duration};

/// Transactions that are written each second, by all threads of a process.
const SAMPLES: u32 = 1000;
/// How long somebody watches who has asked once.
const WATCHED: Duration = Duration::from_secs(4);
const SECOND: Duration = Duration::from_secs(1);

/// Writes some transactions while somebody watches.
pub struct Sampler {
    page: Option<Page>,
    lane: usize,
    /// How many it may write a second.
    most: u32,
    /// As it was when last looked at.
    mark: u64,
    until: Duration,
    is_watched: bool,
    /// When the next second begins, what has passed by in this one, and how many of it may still be written.
    next: Duration,
    passed: u32,
    left: u32,
    /// One of so many is written, and what is to pass before the next one.
    every: u32,
    skip: u32,
    random: u32,
    written: u64,
}

impl Sampler {
    /// For so many threads; without a page, they write nothing.
    pub fn of_threads(descriptor: Option<&OwnedFd>, threads: usize) -> io::Result<Vec<Sampler>> {
        let page = descriptor.map(Page::map).transpose()?;
        let sampled = u32::try_from(threads.clamp(1, LANES)).unwrap_or(1);
        let one = |lane| Sampler::new(page.clone().filter(|_| lane < LANES), lane, SAMPLES / sampled);
        Ok((0..threads).map(one).collect())
    }

    /// For whom nobody can watch.
    pub fn unwatched() -> Sampler {
        Sampler::new(None, 0, 0)
    }

    fn new(page: Option<Page>, lane: usize, most: u32) -> Sampler {
        let mark = page.as_ref().map_or(0, |page| page.mark().load(Ordering::Relaxed));
        Sampler {
            page,
            lane,
            most,
            mark,
            until: Duration::ZERO,
            is_watched: false,
            next: Duration::ZERO,
            passed: 0,
            left: 0,
            every: 1,
            skip: 0,
            random: 0x9e37_79b9 ^ lane as u32,
            written: 0,
        }
    }

    /// Once a turn: whether somebody watches.
    #[inline]
    pub fn look(&mut self, now: Duration) {
        let Some(page) = &self.page else { return };
        let mark = page.mark().load(Ordering::Relaxed);
        if mark != self.mark {
            (self.mark, self.until) = (mark, now + WATCHED);
        }
        let was_watched = std::mem::replace(&mut self.is_watched, now < self.until);
        if self.is_watched && (!was_watched || now >= self.next) {
            // As many as in the second before may come, spread evenly.
            self.every = if was_watched { self.passed / self.most + 1 } else { 1 };
            (self.next, self.passed, self.left, self.skip) = (now + SECOND, 0, self.most, 0);
        }
    }

    /// One passes by.
    #[inline]
    fn offer(&mut self, transaction: &Transaction) {
        self.passed = self.passed.saturating_add(1);
        match self.skip.checked_sub(1) {
            Some(skip) => self.skip = skip,
            None => self.write(transaction),
        }
    }

    #[cold]
    #[inline(never)]
    fn write(&mut self, transaction: &Transaction) {
        if self.left == 0 {
            self.skip = u32::MAX; // the rest of the second
            return;
        }
        self.left -= 1;
        self.skip = self.gap();
        if let Some(page) = &self.page {
            page.write(self.lane, self.written, &Sample::of(transaction).to_words());
            self.written += 1;
        }
    }

    /// How many pass before the next one: at random, so that no rhythm of the traffic is taken for the whole of it; one less
    /// than `every` on average.
    fn gap(&mut self) -> u32 {
        // Marsaglia's xorshift.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random % self.every.saturating_mul(2).saturating_sub(1)
    }
}

/// Where a capture thread's transactions go: all to the spool, and some to those who watch.
pub struct Sampled<'a, S> {
    /// All of them.
    pub sink: &'a mut S,
    /// To those who watch.
    pub sampler: &'a mut Sampler,
}

impl<S: Sink> Sink for Sampled<'_, S> {
    #[inline]
    fn transaction(&mut self, transaction: &Transaction) {
        self.sink.transaction(transaction);
        if self.sampler.is_watched {
            self.sampler.offer(transaction);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Samples, Watch},
        *,
    };
    use crate::{
        decode::UDP,
        track::{Flow, Kind},
    };

    /// An unanswered query without question, to the server with this number.
    fn transaction(number: u32) -> Transaction<'static> {
        let flow = Flow {
            query_ip: [192, 0, 2, 1].into(),
            response_ip: number.to_be_bytes().into(),
            query_port: 1,
            response_port: 53,
            protocol: UDP,
        };
        Transaction {
            kind: Kind::UnansweredQuery,
            flow,
            id: 0,
            question: None,
            query: None,
            response: None,
            waited: None,
            resolver_address_zeroed: false,
        }
    }

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn offer(sampler: &mut Sampler, count: u32) {
        for number in 0..count {
            if sampler.is_watched {
                sampler.offer(&transaction(number));
            }
        }
    }

    fn pair(threads: usize) -> (Vec<Sampler>, Watch) {
        let samples = Samples::new().unwrap();
        let watch = Watch::new(&samples.descriptor().unwrap()).unwrap();
        (Sampler::of_threads(Some(&samples.descriptor().unwrap()), threads).unwrap(), watch)
    }

    #[test]
    fn nothing_is_written_while_nobody_watches_and_not_long_after() {
        let (mut samplers, mut watch) = pair(1);
        let sampler = &mut samplers[0];
        sampler.look(at(0));
        offer(sampler, 5);
        watch.ask(at(1000));
        sampler.look(at(1010));
        offer(sampler, 5);
        watch.look();
        assert_eq!(watch.take().len(), 5);
        sampler.look(at(6000));
        offer(sampler, 5);
        watch.look();
        assert_eq!((sampler.written, watch.take().len()), (5, 0));
    }

    #[test]
    fn of_many_some_are_written_and_they_are_spread_over_the_second() {
        let (mut samplers, mut watch) = pair(1);
        let sampler = &mut samplers[0];
        let mut seen = Vec::new();
        for turn in 0..400 {
            watch.ask(at(turn * 10));
            sampler.look(at(turn * 10));
            offer(sampler, 500); // 50 000 a second
            watch.look();
            seen.push(watch.take().len());
        }
        let second = |number: usize| seen[number * 100..number * 100 + 100].iter().sum::<usize>();
        // In the first second the first come first.
        assert!((512..=1000).contains(&second(0)), "{}", second(0));
        for number in 1..4 {
            assert!((800..=1000).contains(&second(number)), "{}", second(number));
            let late = seen[number * 100 + 90..number * 100 + 100].iter().sum::<usize>();
            assert!(late > 20, "{late}");
        }
    }

    #[test]
    fn threads_share_the_number_and_those_without_a_lane_write_nothing() {
        let (mut samplers, mut watch) = pair(LANES + 2);
        watch.ask(at(0));
        for sampler in &mut samplers {
            sampler.look(at(1));
            offer(sampler, 10_000);
        }
        watch.look();
        assert_eq!(watch.take().len(), LANES * (SAMPLES as usize / LANES));
        assert_eq!(Sampler::of_threads(None, 2).unwrap().len(), 2);
    }
}
