//! Both halves of the upload: one thread sorts files, the other sends them.

use super::{
    Desk, Done, Line, Plan, Word, Worker,
    alarm::{self, Alarm},
    lock::Lock,
    steady::Steady,
    way::Way,
};
use crate::{
    config::{LogLevel, Settings},
    spool::sort::{Limits, Note, Rules, Sorter, Stock},
    time::Clock,
};
use std::{io, os::fd::BorrowedFd, sync::Arc, thread, time::Duration};

/// It looks for files when it is told to, and so often besides: somebody may have put one there.
const LOOK: Duration = Duration::from_secs(5);
/// Files are counted so often at most, and in a hundredth of the time.
const COUNT: Duration = Duration::from_secs(1);
const COUNT_PART: u32 = 100;
/// How long it waits for the thread that sends, told to leave; that one asks twice a second.
const LEAVE: Duration = Duration::from_secs(2);
/// An uploader that was told to leave, so that this one may begin, has so long before anything is said of it.
const GRACE: Duration = Duration::from_secs(5);
/// Between two tries meanwhile.
const SOON: Duration = Duration::from_millis(200);

/// The upload of one channel.
pub struct Service<C> {
    desk: Arc<Desk>,
    sorter: Sorter,
    /// Without it nothing is touched.
    lock: Option<Lock>,
    /// Since when it has not been to be had, and what was said of that.
    refused: Option<(Duration, Option<String>)>,
    alarm: Alarm,
    plan: Plan,
    /// What the settings say of sending, and whether it is paused.
    is_on: bool,
    is_paused: bool,
    done: Done,
    clock: C,
    steady: Steady<C>,
    /// What the settings say, for when it is.
    archive_age: Duration,
    /// Held until the thread has it.
    way: Option<Way>,
    next_look: Duration,
    /// Files that were not sorted.
    left: usize,
    /// What is in the directories, and when to look again.
    stocks: [Stock; 3],
    next_count: Duration,
}

impl<C: Clock + Copy + Send + 'static> Service<C> {
    /// Nothing is done yet. Call it before the process is confined; [`Service::look`] afterwards.
    pub fn new(settings: &Settings, done: Done, clock: C) -> io::Result<Service<C>> {
        let plan = Plan::new(settings);
        Ok(Service {
            desk: Arc::new(Desk::new()?),
            sorter: Sorter::new(&settings.spool_dir, &settings.channel, rules(settings)),
            lock: None,
            refused: None,
            alarm: Alarm::default(),
            way: Some(Way::new(&plan)?),
            is_on: plan.is_on,
            is_paused: false,
            plan,
            done,
            steady: Steady::new(clock),
            archive_age: settings.archive_max_age.unwrap_or_default(),
            clock,
            next_look: Duration::ZERO,
            left: 0,
            stocks: [Stock::default(); 3],
            next_count: Duration::ZERO,
        })
    }

    /// How long until the next look.
    pub fn wait(&self) -> Duration {
        self.next_look.saturating_sub(self.clock.monotonic())
    }

    /// Whether it is time for the next look.
    pub fn is_due(&self) -> bool {
        self.wait().is_zero()
    }

    /// To poll for: there are lines, or the work is done.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.desk.bell()
    }

    /// Sorts what was published, and has it sent. `tick` is called as that goes on, `turn` as the sending thread does.
    pub fn look(&mut self, tick: impl FnMut(), turn: impl FnMut() + Send + 'static) {
        self.next_look = self.clock.monotonic() + LOOK;
        if !self.is_alone() {
            return;
        }
        match self.way.take() {
            // What waits already is sent meanwhile: to look at 100 000 files takes a while.
            Some(way) if self.done == Done::Never => {
                self.begin(way, turn);
                self.sort(tick);
            }
            // A single run is to know all that waits.
            Some(way) => {
                self.sort(tick);
                self.begin(way, turn);
            }
            None => self.sort(tick),
        }
    }

    fn sort(&mut self, tick: impl FnMut()) {
        // A single run was started by somebody who knows what time it is.
        let is_age_known = self.steady.is_so() || self.done != Done::Never;
        self.sorter.rules.archive_limits.age = if is_age_known { self.archive_age } else { Duration::ZERO };
        let scanned = self.sorter.scan(self.clock.wall(), tick);
        scanned.notes.iter().for_each(|note| self.desk.say(level(note), note.to_string()));
        self.left = scanned.left;
        if !scanned.moved.is_empty() {
            self.desk.post(|mail| mail.names.extend(scanned.moved));
        }
    }

    /// Whether this is the one that has the channel.
    fn is_alone(&mut self) -> bool {
        if self.lock.is_some() {
            return true;
        }
        match Lock::take(&self.plan.waiting) {
            Ok(lock) => {
                self.lock = Some(lock);
                self.alarm = Alarm::default();
                if let Some((_, Some(_))) = self.refused.take() {
                    self.desk.say(LogLevel::Info, "the other uploader has left; this one goes on".to_owned());
                }
                true
            }
            Err(error) => {
                self.refuse(error.to_string());
                false
            }
        }
    }

    fn refuse(&mut self, reason: String) {
        let now = self.clock.monotonic();
        let (since, said) = self.refused.get_or_insert((now, None));
        if now.saturating_sub(*since) < GRACE && self.done == Done::Never {
            self.next_look = now + SOON;
        } else if said.as_ref() != Some(&reason) {
            self.desk.say(LogLevel::Warning, reason.clone());
            *said = Some(reason);
        } else if let Some(silence) = self.alarm.look(true, self.plan.alarm, now) {
            self.desk.say(LogLevel::Error, format!("{}: {reason}", alarm::text(silence)));
        }
    }

    /// Whether another uploader has the channel.
    pub fn is_refused(&self) -> bool {
        self.lock.is_none() && self.refused.is_some()
    }

    /// Whether the thread that sends has been started.
    pub fn has_begun(&self) -> bool {
        self.way.is_none()
    }

    fn begin(&mut self, way: Way, turn: impl FnMut() + Send + 'static) {
        let (desk, clock, plan, done) = (Arc::clone(&self.desk), self.clock, self.plan.clone(), self.done);
        let send = move || {
            let left = Worker::new(&desk, clock, turn, plan, done, way).run();
            desk.end(left);
        };
        if let Err(error) = thread::Builder::new().name("send".to_owned()).spawn(send) {
            self.desk.say(LogLevel::Error, format!("cannot start a thread; nothing is uploaded: {error}"));
            self.desk.end(None);
        }
    }

    /// Other settings from now on.
    pub fn change(&mut self, settings: &Settings) {
        self.sorter.rules = rules(settings);
        self.archive_age = settings.archive_max_age.unwrap_or_default();
        self.plan = Plan::new(settings);
        self.is_on = self.plan.is_on;
        self.replan();
        self.next_look = Duration::ZERO;
    }

    /// Nothing is sent for now, or it goes on. Files are sorted all the same.
    pub fn pause(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
        self.replan();
    }

    fn replan(&mut self) {
        self.plan.is_on = self.is_on && !self.is_paused;
        let plan = Box::new(self.plan.clone());
        self.desk.post(|mail| mail.plan = Some(plan));
    }

    /// What is in `new/`, `waiting/` and `archive/`, as of a moment ago: with a million files, of some minutes. `goes_on` is
    /// asked for each file that is counted.
    pub fn stocks(&mut self, goes_on: impl FnMut() -> bool) -> [Stock; 3] {
        let began = self.clock.monotonic();
        if began >= self.next_count {
            if let Some(stocks) = self.sorter.stocks(goes_on) {
                self.stocks = stocks;
            }
            let now = self.clock.monotonic();
            self.next_count = now + COUNT.max((now - began) * COUNT_PART);
        }
        self.stocks
    }

    /// How it goes.
    pub fn word(&self) -> Word {
        let word = self.desk.word();
        Word { is_alarmed: word.is_alarmed || self.alarm.is_on(), ..word }
    }

    /// Lines for the log.
    pub fn lines(&self) -> Vec<Line> {
        self.desk.lines()
    }

    /// How many files are left, if that is known, once the thread that sends has ended.
    pub fn ended(&self) -> Option<Option<usize>> {
        self.desk.ended().map(|sent| sent.map(|left| left + self.left))
    }

    /// Leaves. A file that is being sent is sent again next time.
    pub fn leave(&mut self) -> Vec<Line> {
        self.desk.post(|mail| mail.leave = true);
        let by = self.clock.monotonic() + LEAVE;
        while self.has_begun() && self.ended().is_none() && self.clock.monotonic() < by {
            thread::sleep(Duration::from_millis(20));
        }
        self.desk.lines()
    }
}

/// What the settings say of published files, apart from their age.
fn rules(settings: &Settings) -> Rules {
    Rules {
        archive: settings.archive,
        upload: settings.upload,
        waiting_limits: limits(settings.max_spool_size),
        archive_limits: limits(settings.archive_max_size),
    }
}

fn limits(bytes: Option<u64>) -> Limits {
    Limits { bytes: bytes.unwrap_or_default(), age: Duration::ZERO }
}

fn level(note: &Note) -> LogLevel {
    match note {
        Note::Overflow(_) | Note::LeftAlone(_) => LogLevel::Warning,
        Note::Trimmed(_) => LogLevel::Debug,
        Note::Failed { .. } => LogLevel::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        spool::part::tests::Scratch,
        time::{NANOS, Timestamp},
    };
    use std::{
        fs,
        sync::atomic::{AtomicU64, Ordering::Relaxed},
    };

    /// Both clocks, in seconds; the wall clock has been wrong by so many when it is not zero.
    #[derive(Clone, Copy)]
    struct Clocks(&'static AtomicU64, &'static AtomicU64);

    impl Clock for Clocks {
        fn wall(&self) -> Timestamp {
            Timestamp::from_nanos((1_700_000_000 + self.0.load(Relaxed) + self.1.load(Relaxed)) * NANOS)
        }
        fn monotonic(&self) -> Duration {
            Duration::from_secs(self.0.load(Relaxed))
        }
    }

    #[test]
    fn nothing_is_too_old_for_the_archive_by_a_clock_that_was_just_set_or_is_just_looked_at() {
        static PASSED: AtomicU64 = AtomicU64::new(0);
        static WRONG: AtomicU64 = AtomicU64::new(0);
        let spool = Scratch::new();
        for stage in ["new", "waiting", "archive"] {
            fs::create_dir_all(spool.0.join(stage).join("ch202")).unwrap();
        }
        let file = spool.0.join("archive/ch202/test.20231114.2213.1700000000.000000000.nmsg");
        fs::write(&file, "NMSG").unwrap();
        let lines = ["channel=ch202", "upload=no", "archive=yes", "archive_max_days=30"];
        let text = format!("spooldir={}\n{}\n", spool.0.display(), lines.join("\n"));
        let settings = Settings::from_text(&text).unwrap();
        WRONG.store(20 * 365 * 86_400, Relaxed);
        let mut service = Service::new(&settings, Done::Never, Clocks(&PASSED, &WRONG)).unwrap();
        let mut looked = |passed: u64| {
            PASSED.fetch_add(passed, Relaxed);
            service.look(|| {}, || {});
            file.exists()
        };
        assert!((0..10).all(|_| looked(60)), "the clock of a computer that has just started");
        WRONG.store(0, Relaxed);
        assert!((0..120).all(|_| looked(60)), "it was set right");
        WRONG.store(31 * 86_400, Relaxed);
        assert!((0..59).all(|_| looked(60)), "it may have been set wrong");
        assert!((0..3).any(|_| !looked(60)), "it goes on like that, so it is right");
        service.leave();
    }
}
