//! The thread that keeps the time: it ends intervals and gives files their names.

use super::{
    Config, Event, Policy, Recorded, Shared,
    directory::Directory,
    files::{Files, News},
    part::Part,
    queue::Queue,
    recover,
    schedule::Schedule,
};
use crate::{
    config::Compress,
    nmsg::writer::{Builder, Level, Zlib},
    time::Clock,
};
use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

/// A feeder that has not handed over its part of an interval by then is not waited for: what it has goes into the next
/// file. It is called ten times a second; one that is not has other problems, and the file must not wait for those.
const ANSWERS_MAX: Duration = Duration::from_secs(2);
/// Between two looks at the directory.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Keeper<C, E> {
    directory: Arc<Directory>,
    host: Arc<str>,
    queue: Arc<Queue>,
    files: Shared,
    clock: C,
    schedule: Schedule,
    rotate: Duration,
    events: E,
    /// As of the last loss record.
    recorded: Recorded,
}

impl<C: Clock, E: FnMut(Event)> Keeper<C, E> {
    pub(super) fn new(
        config: &Config,
        directory: Arc<Directory>,
        queue: Arc<Queue>,
        clock: C,
        events: E,
    ) -> Keeper<C, E> {
        let host: Arc<str> = config.host.as_str().into();
        let rotate = config.policy.rotate;
        let schedule = Schedule::new(rotate, config.seed, &clock);
        let files = Files::new(Arc::clone(&directory), Arc::clone(&host), schedule.began());
        let (files, recorded) = (Arc::new(Mutex::new(files)), Recorded::default());
        Keeper { directory, host, queue, files, clock, schedule, rotate, events, recorded }
    }

    pub(super) fn files(&self) -> Shared {
        Arc::clone(&self.files)
    }

    /// Until the last writer has ended; then the last file is published.
    pub(super) fn run(mut self) {
        self.recover();
        loop {
            let limit = self.schedule.left(&self.clock).min(LOOK_EVERY);
            self.queue.wait(limit, |state| state.writers == 0 || std::mem::take(&mut state.has_news));
            self.look();
            if self.queue.lock().writers == 0 {
                break;
            }
            self.follow_policy();
            if self.schedule.left(&self.clock).is_zero() {
                self.rotate();
            }
        }
        self.close();
        // What a process left that was killed while it handed over to this one must not wait for the next start.
        self.recover();
        self.look();
    }

    fn policy(&self) -> Policy {
        self.queue.lock().policy
    }

    fn follow_policy(&mut self) {
        let rotate = self.policy().rotate;
        if rotate != self.rotate {
            self.rotate = rotate;
            self.schedule.change(rotate, &self.clock);
        }
    }

    /// Ends the interval. Feeders are asked to hand over what they have for it; what they fill from then on belongs to
    /// the next one, and may be written to the next file while the last of this one is still in the queue.
    fn rotate(&mut self) {
        self.schedule.begin(&self.clock);
        lock(&self.files).begin_next(self.schedule.began());
        self.queue.wanted.fetch_add(1, Ordering::Relaxed);
        self.wait_for_answers();
        while !self.queue.wait(LOOK_EVERY, |state| state.is_written()) {
            self.look(); // the disk is slow, or the processor busy; every container will be written or dropped
        }
        self.close();
        self.recover();
        self.look();
    }

    fn wait_for_answers(&mut self) {
        let mut is_full = true;
        // As long as all containers are full, a feeder cannot hand its own over; once one is written, it has its time again.
        while !self.queue.wait(ANSWERS_MAX, |state| state.is_answered()) && is_full {
            is_full = self.queue.lock().is_full();
            self.look();
        }
    }

    /// Publishes the current interval's file. It is synced without a lock: meanwhile writers fill the next.
    fn close(&mut self) {
        let files = self.files();
        let mut files = lock(&files);
        if files.has_file() && self.policy().loss_record {
            self.record(&mut files);
        }
        self.queue.lock().advance();
        let complete = files.advance();
        drop(files);
        if let Some(part) = complete {
            self.publish(part);
        }
    }

    fn publish(&mut self, part: Part) {
        let (name, written) = (part.name().to_owned(), part.written());
        match part.publish(&self.directory, &self.host) {
            Ok(None) => {}
            Ok(Some(published)) => (self.events)(Event::Published {
                path: self.directory.join(&published),
                transactions: written.transactions,
                containers: written.containers,
                bytes: written.bytes,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut news = News::default();
                news.lost(self.directory.join(&name), written);
                self.say(news);
            }
            // It is there, and no longer locked: the next rotation tries again.
            Err(error) => (self.events)(self.directory.failed("publish", &name, error)),
        }
    }

    /// Appends what was counted since the last file's record, here and elsewhere, in a container of its own. If that
    /// fails, the next file's record says what this one's should have.
    fn record(&mut self, files: &mut Files) {
        let policy = self.policy();
        let told = {
            let state = self.queue.lock();
            Recorded { here: state.ledger(), elsewhere: state.elsewhere.clone() }
        };
        let mut news = told.here.since(&self.recorded.here);
        news.add(&told.elsewhere.since(&self.recorded.elsewhere));
        let mut builder = Builder::default();
        builder.push_json(self.clock.wall(), &news.to_json());
        let container = builder.finish();
        let mut zlib = (policy.compress != Compress::Off).then(|| Zlib::new(Level::QUICK));
        let bytes = zlib.as_mut().map_or(container, |zlib| zlib.compress(container));
        if files.append(files.current(), bytes, 0, policy.min_free, self.clock.monotonic()) {
            self.queue.lock().count_extra(bytes.len() as u64);
            self.recorded = told;
            (self.events)(Event::Recorded(Box::new(self.recorded.clone())));
        }
    }

    /// Takes up what others left behind: at start what a process left that was killed, and at every rotation, since
    /// during a hand-over there are two processes, of which either may be, and since publishing may have failed.
    fn recover(&mut self) {
        if lock(&self.files).is_gone() {
            return; // that has been said
        }
        recover::in_directory(&self.directory).into_iter().for_each(&mut self.events);
    }

    /// Looks after the files and says what is new.
    fn look(&mut self) {
        let news = {
            let mut files = lock(&self.files);
            files.look();
            files.news()
        };
        self.say(news);
    }

    fn say(&mut self, news: News) {
        for lost in news.lost {
            self.queue.lock().lose(lost.transactions, lost.containers, lost.bytes);
        }
        news.events.into_iter().for_each(&mut self.events);
    }
}

pub(super) fn lock(files: &Mutex<Files>) -> MutexGuard<'_, Files> {
    // Nothing panics while it holds the lock; if it did, a part file would still hold whole containers only.
    files.lock().unwrap_or_else(PoisonError::into_inner)
}
