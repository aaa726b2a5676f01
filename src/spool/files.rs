//! The files that are being written: that of the interval, and while that is closed, the next one.

use super::{
    Event, Reason,
    directory::Directory,
    part::{Part, Written},
    queue::Interval,
    room::{Room, Verdict},
};
use crate::time::Timestamp;
use std::{io, mem, path::PathBuf, sync::Arc, time::Duration};

/// Appends containers. A file comes into being with its first one.
pub(super) struct Files {
    directory: Arc<Directory>,
    host: Arc<str>,
    current: u64,
    /// By [`Interval`].
    parts: [Option<Part>; 2],
    began: [Timestamp; 2],
    room: Room,
    is_gone: bool,
    news: News,
}

/// What the keeper should know.
#[derive(Default)]
pub(super) struct News {
    pub(super) events: Vec<Event>,
    /// What was in files that are not there any more.
    pub(super) lost: Vec<Written>,
}

impl Files {
    pub(super) fn new(directory: Arc<Directory>, host: Arc<str>, began: Timestamp) -> Files {
        Files {
            directory,
            host,
            current: 0,
            parts: [None, None],
            began: [began; 2],
            room: Room::default(),
            is_gone: false,
            news: News::default(),
        }
    }

    /// Whether a container would be dropped, as far as is known without asking the disk; then it counts as dropped, and
    /// need not be compressed.
    pub(super) fn refuses(&mut self, transactions: u64, now: Duration) -> bool {
        let refuses = self.is_gone || self.room.is_stopped(now);
        if refuses {
            self.room.dropped(transactions);
        }
        refuses
    }

    /// Appends a container to the file of its interval; false if it was dropped.
    pub(super) fn append(
        &mut self,
        epoch: u64,
        container: &[u8],
        transactions: u64,
        min_free: u64,
        now: Duration,
    ) -> bool {
        if self.refuses(transactions, now) {
            return false;
        }
        match self.room.judge(|| self.directory.space().ok(), min_free, now) {
            Verdict::Write => {}
            Verdict::Drop => {
                self.room.dropped(transactions);
                return false;
            }
            Verdict::Stop { free, resume_at } => {
                self.room.dropped(transactions);
                let path = self.directory.path().to_owned();
                self.news.events.push(Event::Stopped(Reason::Space { path, free, min_free, resume_at }));
                return false;
            }
        }
        match self.write(Interval::of(epoch, self.current), container, transactions) {
            Ok(()) => {
                let resumed = self.room.written().map(|dropped| Event::Resumed { dropped });
                self.news.events.extend(resumed);
                true
            }
            Err((path, error)) => {
                let is_news = self.room.failed(now);
                self.room.dropped(transactions);
                if !self.notice_gone() && is_news {
                    self.news.events.push(Event::Stopped(Reason::Error { path, error }));
                }
                false
            }
        }
    }

    fn write(&mut self, to: Interval, container: &[u8], transactions: u64) -> Result<(), (PathBuf, io::Error)> {
        let Files { directory, host, parts, began, .. } = self;
        let part = match &mut parts[to as usize] {
            Some(part) => part,
            empty => {
                let began = began[to as usize];
                let failed = |error| (directory.path().to_owned(), error);
                empty.insert(Part::create(directory, host, began).map_err(failed)?)
            }
        };
        part.append(container, transactions).map_err(|error| (directory.join(part.name()), error))
    }

    /// Looks after the directory and the files, which somebody may have removed.
    pub(super) fn look(&mut self) {
        if self.notice_gone() {
            return;
        }
        for place in &mut self.parts {
            if let Some(part) = place.take_if(|part| !part.is_there(&self.directory)) {
                self.news.lost(self.directory.join(part.name()), part.written());
            }
        }
    }

    /// Whether the directory is gone. It is said once; what was in its files is lost.
    fn notice_gone(&mut self) -> bool {
        if self.is_gone || self.directory.is_there() {
            return self.is_gone;
        }
        self.is_gone = true;
        self.news.events.push(Event::DirectoryGone { path: self.directory.path().to_owned() });
        let parts = self.parts.iter_mut().filter_map(Option::take);
        self.news.lost.extend(parts.map(|part| part.written()));
        true
    }

    /// Whether the directory is gone, and nothing is left to look for.
    pub(super) fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// What is new since the last time this was asked.
    pub(super) fn news(&mut self) -> News {
        mem::take(&mut self.news)
    }

    /// Whether there are events to be said.
    pub(super) fn has_news(&self) -> bool {
        !self.news.events.is_empty()
    }

    /// Whether the interval has a file with something in it.
    pub(super) fn has_file(&self) -> bool {
        self.parts[Interval::Current as usize].as_ref().is_some_and(|part| part.written().containers > 0)
    }

    /// The interval of the current file.
    pub(super) fn current(&self) -> u64 {
        self.current
    }

    /// The next interval begins; what belongs to it may come before the current file is complete.
    pub(super) fn begin_next(&mut self, began: Timestamp) {
        self.began[Interval::Next as usize] = began;
    }

    /// The next interval becomes the current one. Its predecessor's file, if it has one, is to be published.
    pub(super) fn advance(&mut self) -> Option<Part> {
        let [current, next] = &mut self.parts;
        let complete = mem::replace(current, next.take());
        self.began[Interval::Current as usize] = self.began[Interval::Next as usize];
        self.current += 1;
        complete
    }
}

impl News {
    pub(super) fn lost(&mut self, path: PathBuf, written: Written) {
        self.events.push(Event::Lost { path, transactions: written.transactions });
        self.lost.push(written);
    }
}
