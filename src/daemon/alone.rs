//! The upload child without a sensor beside it.
//!
//! Its sandbox holds on to the directories that were there when it began. This process is outside of it, without any
//! privilege of its own, and starts the child again when one of them was replaced.

use super::{
    Log, Signals, SystemClock,
    channel::{Order, Report, Start},
    child::{Child, Role, ending},
    delivery, orphans,
    paused::Paused,
    upload,
    users::User,
};
use crate::{config::Settings, escape::escaped, time::Clock, upload::Events};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::{io, os::fd::AsFd, path::PathBuf, time::Duration};

/// Between two looks at what signals and the child do not tell.
const TICK: Duration = Duration::from_secs(1);
/// How long a child has to leave.
const LEAVE: Duration = Duration::from_secs(15);

/// The upload of one channel, by a child.
pub struct Alone<'a> {
    stages: &'a [PathBuf],
    start: Start,
    signals: &'a Signals,
    log: &'a mut Log,
    clock: SystemClock,
    /// What the child has said of pauses.
    is_paused: bool,
    paused: Paused,
    /// The child has said that it cannot do its work.
    is_hopeless: bool,
    /// Another child is wanted.
    is_outdated: bool,
}

impl<'a> Alone<'a> {
    /// Of the directories that files go through. The process is the upload user's already.
    pub fn new(
        settings: &Settings,
        stages: &'a [PathBuf],
        signals: &'a Signals,
        log: &'a mut Log,
    ) -> io::Result<Alone<'a>> {
        let start = Start {
            settings: settings.to_text(),
            user: User::current().map_err(io::Error::other)?,
            interfaces: Vec::new(),
            host: String::new(),
            offset: 0,
            takes_over: false,
            since: None,
            only_for: Vec::new(),
        };
        let (clock, paused) = (SystemClock::new(), Paused::default());
        Ok(Alone {
            stages,
            start,
            signals,
            log,
            clock,
            is_paused: false,
            paused,
            is_hopeless: false,
            is_outdated: false,
        })
    }

    /// Until a signal says to leave; whether one did, and not something that is amiss.
    pub fn run(mut self) -> io::Result<bool> {
        loop {
            let now = self.clock.monotonic();
            let child = Child::start(Role::Upload, self.start.clone(), delivery::layout(upload::SLOTS), now)?;
            if !self.attend(child) {
                return Ok(self.signals.leave());
            }
            if !self.await_stages() {
                return Ok(true);
            }
        }
    }

    /// Until it has ended; whether there is to be another one.
    fn attend(&mut self, mut child: Child) -> bool {
        self.is_outdated = false;
        let published = self.stages.first().map(|new| Events::of(new));
        loop {
            for report in child.reports() {
                self.heed(report);
            }
            self.show_pause();
            let now = self.clock.monotonic();
            if (self.signals.leave() || self.is_outdated) && !child.is_leaving() {
                child.leave(Order::Leave(None), now, LEAVE);
            }
            if let Some(status) = child.ended() {
                // What it said at the last.
                child.reports().into_iter().for_each(|report| self.heed(report));
                if !child.is_leaving() && !self.is_hopeless {
                    self.log.error(&format!("the upload process ended by itself: {}", ending(status)));
                }
                return self.is_outdated && !self.is_hopeless && !self.signals.leave();
            }
            if child.hangs(now) {
                self.log.error("the upload process hangs, and is killed");
                if let Err(error) = child.kill(now) {
                    self.log.error(&format!("cannot kill it: {error}"));
                }
            }
            if self.signals.take_reload() {
                self.log.warning("the settings are read at the start only; start it again for others");
            }
            if published.as_ref().is_some_and(Events::take) {
                child.channel().send(&Order::Look);
            }
            orphans::reap(&[child.pid()]);
            self.wait(child.to_poll(), published.as_ref());
        }
    }

    fn wait(&self, child: Option<PollFd<'_>>, published: Option<&Events>) {
        let own = PollFd::new(self.signals.as_fd(), PollFlags::POLLIN);
        let published = published.and_then(Events::as_fd).map(|events| PollFd::new(events, PollFlags::POLLIN));
        let mut descriptors: Vec<PollFd> = [own].into_iter().chain(child).chain(published).collect();
        // An interruption is a signal, which is looked for next.
        let _ = poll(&mut descriptors, PollTimeout::try_from(TICK).unwrap_or(PollTimeout::MAX));
        self.signals.clear();
    }

    /// Waits for the directories that files go through; whether they are there, and not a signal to leave. It lasts a
    /// moment also when they are: who replaces one over and over is not worth as many processes.
    fn await_stages(&mut self) -> bool {
        let mut is_said = false;
        loop {
            self.wait(None, None);
            if self.signals.leave() {
                return false;
            }
            let Some(missing) = self.stages.iter().find(|stage| !stage.is_dir()) else { return true };
            if !std::mem::replace(&mut is_said, true) {
                self.log.error(&format!("{} is gone; nothing is uploaded until it is there again", escaped(missing)));
            }
        }
    }

    fn heed(&mut self, report: Report) {
        match report {
            Report::Log(level, line) => self.log.line(level, &line),
            Report::DirectoryGone | Report::Outdated if !self.is_outdated => {
                self.is_outdated = true;
                self.log.info("a directory that is used was replaced; the upload starts again");
            }
            Report::Paused(paused) => self.paused = paused,
            Report::PausedUnread(error) => {
                let place = "what is paused is as it was; at the start nothing is sent until that is known";
                self.log.error(&format!("cannot tell what is paused: {error}; {place}"));
            }
            Report::Hopeless(message) => {
                self.is_hopeless = true;
                self.log.error(&message);
            }
            _ => {}
        }
    }

    fn show_pause(&mut self) {
        let is_paused = self.paused.at(self.clock.wall()).upload.is_some();
        match (std::mem::replace(&mut self.is_paused, is_paused), is_paused) {
            (false, true) => self.log.warning("upload is paused; to go on: sie-dns-sensor resume upload"),
            (true, false) => self.log.info("upload is resumed"),
            _ => {}
        }
    }
}
