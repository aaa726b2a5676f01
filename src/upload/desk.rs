//! Between the thread that sends files and the one that looks after everything else.

use super::Plan;
use crate::{config::LogLevel, time::Timestamp};
use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Log lines that nobody has taken: more are counted, not kept.
const LINES_MAX: usize = 4096;

/// A line for the log.
pub type Line = (LogLevel, String);

/// What one thread leaves for the other. Nothing waits while it is held.
pub struct Desk {
    trays: Mutex<Trays>,
    has_mail: Condvar,
    /// A byte in it is a line, or the end.
    bell: (UnixStream, UnixStream),
}

#[derive(Default)]
struct Trays {
    mail: Mail,
    lines: Vec<Line>,
    lost: usize,
    word: Word,
    ended: Option<Option<usize>>,
}

/// How the sending thread fares. Times are those of the wall.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// The server it is connected to.
    pub server: Option<String>,
    /// When a file was last confirmed.
    pub last_success: Option<Timestamp>,
    /// What went wrong last, and when.
    pub last_error: Option<(Timestamp, String)>,
    /// When it tries again, if it waits.
    pub next_try: Option<Timestamp>,
    /// Files confirmed since it started.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// `upload_alarm_minutes` have gone by.
    pub is_alarmed: bool,
}

/// For the sending thread.
#[derive(Default)]
pub struct Mail {
    /// Go by this from now on.
    pub plan: Option<Box<Plan>>,
    /// Files that wait now.
    pub names: Vec<String>,
    /// Leave.
    pub leave: bool,
}

impl Mail {
    fn is_empty(&self) -> bool {
        self.plan.is_none() && self.names.is_empty() && !self.leave
    }
}

impl Desk {
    /// An empty one.
    pub fn new() -> io::Result<Desk> {
        let bell = UnixStream::pair()?;
        bell.0.set_nonblocking(true)?;
        bell.1.set_nonblocking(true)?;
        Ok(Desk { trays: Mutex::default(), has_mail: Condvar::new(), bell })
    }

    /// Tells the sending thread.
    pub fn post(&self, change: impl FnOnce(&mut Mail)) {
        change(&mut self.lock().mail);
        self.has_mail.notify_all();
    }

    /// What has come; waits for something, `limit` at most.
    pub fn mail(&self, limit: Duration) -> Mail {
        let trays = self.lock();
        let waited = self.has_mail.wait_timeout_while(trays, limit, |trays| trays.mail.is_empty());
        let (mut trays, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let leave = trays.mail.leave;
        Mail { leave, ..std::mem::replace(&mut trays.mail, Mail { leave, ..Mail::default() }) }
    }

    /// A look at what has come.
    pub fn peek<T>(&self, look: impl FnOnce(&Mail) -> T) -> T {
        look(&self.lock().mail)
    }

    /// Leaves a line for the log.
    pub fn say(&self, level: LogLevel, text: String) {
        let mut trays = self.lock();
        match trays.lines.len() < LINES_MAX {
            true => trays.lines.push((level, text)),
            false => trays.lost += 1,
        }
        self.ring();
    }

    /// Leaves word of how it goes.
    pub fn tell(&self, word: Word) {
        let mut trays = self.lock();
        if trays.word != word {
            trays.word = word;
            drop(trays);
            self.ring();
        }
    }

    /// A file of so many bytes was confirmed, in the midst of a batch.
    pub fn confirmed(&self, bytes: u64, now: Timestamp) {
        let word = &mut self.lock().word;
        (word.files, word.bytes) = (word.files + 1, word.bytes + bytes);
        (word.last_success, word.is_alarmed) = (Some(now), false);
    }

    /// `upload_alarm_minutes` have gone by, in the midst of a batch.
    pub fn alarm(&self) {
        self.lock().word.is_alarmed = true;
        self.ring();
    }

    /// The last word.
    pub fn word(&self) -> Word {
        self.lock().word.clone()
    }

    /// The sending thread has ended; how many files are left, if it knows.
    pub fn end(&self, left: Option<usize>) {
        self.lock().ended = Some(left);
        self.ring();
    }

    /// Whether it has.
    pub fn ended(&self) -> Option<Option<usize>> {
        self.lock().ended
    }

    fn ring(&self) {
        let _ = (&self.bell.1).write(&[0]); // full: it has been rung
    }

    /// Can be read when there are lines.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.0.as_fd()
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<Line> {
        while (&self.bell.0).read(&mut [0; 256]).is_ok_and(|read| read > 0) {}
        let mut trays = self.lock();
        let mut lines = std::mem::take(&mut trays.lines);
        match std::mem::take(&mut trays.lost) {
            0 => {}
            lost => lines.push((LogLevel::Warning, format!("{lost} lines on uploads were dropped"))),
        }
        lines
    }

    fn lock(&self) -> MutexGuard<'_, Trays> {
        // What panicked while it held the lock had changed one field.
        self.trays.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn who_waits_for_mail_is_woken_by_it_and_leaving_stays_said() {
        let desk = Desk::new().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| desk.post(|mail| mail.names.push("a".into())));
            assert_eq!(desk.mail(Duration::from_secs(60)).names, ["a"]);
        });
        assert!(desk.mail(Duration::ZERO).names.is_empty());
        desk.post(|mail| mail.leave = true);
        assert!(desk.mail(Duration::from_secs(60)).leave && desk.mail(Duration::from_secs(60)).leave);
    }

    #[test]
    fn lines_nobody_takes_are_bounded_and_counted() {
        let desk = Desk::new().unwrap();
        (0..LINES_MAX + 5).for_each(|_| desk.say(LogLevel::Info, "x".into()));
        let lines = desk.lines();
        assert_eq!(lines.len(), LINES_MAX + 1);
        assert_eq!(lines.last().unwrap().1, "5 lines on uploads were dropped");
        assert!(desk.lines().is_empty());
    }
}
