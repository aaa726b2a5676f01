//! What somebody has paused.

use super::{
    super::{
        channel::Order,
        paused::{Paused, Until},
        privileges,
    },
    LEAVE, Supervisor,
};
use crate::{escape::escaped, time::Clock};
use serde_json::{Value, json};
use std::{io, time::Duration};

/// Between the end of a pause and the next capture child at least: the one before is leaving.
const SETTLE: Duration = Duration::from_secs(2);

/// As far as the supervisor knows.
#[derive(Default)]
pub(super) struct Pauses {
    /// What the file said last, if it could ever be read.
    said: Option<Paused>,
    /// Why it cannot be.
    unread: Option<String>,
    /// What holds now.
    pub(super) now: Paused,
}

impl Pauses {
    /// Why all is paused, when nobody has said so.
    pub(super) fn unknown(&self) -> Option<&str> {
        self.unread.as_deref().filter(|_| self.said.is_none())
    }

    /// Takes what was read. A line for the log, when it cannot be and that is new.
    fn learn(&mut self, read: Result<Paused, String>) -> Option<String> {
        match read {
            Ok(paused) => {
                (self.said, self.unread) = (Some(paused), None);
                None
            }
            Err(error) if self.unread.as_ref() == Some(&error) => None,
            Err(error) => {
                let effect = match self.said {
                    None => "all is paused until that is known",
                    Some(_) => "it stays as it was",
                };
                let line = format!("cannot tell what is paused: {error}; {effect}");
                self.unread = Some(error);
                Some(line)
            }
        }
    }
}

impl Supervisor {
    /// At the start, before anything is captured; afterwards the upload child looks, since a file system may hang.
    pub(super) fn read_pauses(&mut self) {
        let spool = &self.settings.spool_dir;
        // The directory is not root's to look into.
        let read = privileges::as_user(&self.users.capture, || Paused::read(spool));
        let read = read.map_err(io::Error::other).and_then(|read| read);
        self.learn_pauses(read.map_err(|error| error.to_string()));
    }

    /// What was read of the file.
    pub(super) fn learn_pauses(&mut self, read: Result<Paused, String>) {
        let place = escaped(&self.settings.spool_dir).to_string();
        let line = self.pauses.learn(read.map_err(|error| format!(".paused in {place}: {error}")));
        line.into_iter().for_each(|line| self.log.error(&line));
    }

    /// Looks whether something is to be paused, or goes on.
    pub(super) fn heed_pauses(&mut self) {
        if self.stops.is_some() {
            return;
        }
        let paused = self.pauses.said.unwrap_or(Paused::ALL).at(self.clock.wall());
        let before = std::mem::replace(&mut self.pauses.now, paused);
        for (part, was, is) in [("capture", before.capture, paused.capture), ("upload", before.upload, paused.upload)] {
            match (was.is_some(), is.is_some()) {
                (false, true) => self.log.warning(&format!("{part} is paused; to go on: sie-dns-sensor resume {part}")),
                (true, false) => self.log.info(&format!("{part} is resumed")),
                _ => {}
            }
        }
        if paused.capture.is_some() {
            self.pause_capture(self.now());
        }
    }

    /// The old process has left before there is a new one: both would have the packets meanwhile.
    fn pause_capture(&mut self, now: Duration) {
        self.capture_start.not_before = now + SETTLE;
        if self.capture.is_some() {
            self.interfaces.all_lost(now);
        }
        for mut child in self.capture.take().into_iter().chain(self.successor.take()) {
            child.leave(Order::Leave(None), now, LEAVE);
            self.leaving.push(child);
        }
    }

    /// For the document.
    pub(super) fn shown_pauses(&self) -> Value {
        let one = |until: Option<Until>| match until {
            None => Value::Null,
            Some(Until::Resumed) => json!({"until": null}),
            Some(Until::Time(time)) => json!({"until": time.seconds()}),
        };
        json!({"capture": one(self.pauses.now.capture), "upload": one(self.pauses.now.upload)})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_told_once_and_changes_only_what_was_never_known() {
        let mut pauses = Pauses::default();
        let line = pauses.learn(Err("denied".to_owned())).unwrap();
        assert_eq!(line, "cannot tell what is paused: denied; all is paused until that is known");
        assert_eq!((pauses.learn(Err("denied".to_owned())), pauses.unknown()), (None, Some("denied")));
        let upload = Paused { upload: Some(Until::Resumed), ..Paused::default() };
        assert_eq!((pauses.learn(Ok(upload)), pauses.unknown()), (None, None));
        assert!(pauses.learn(Err("denied".to_owned())).unwrap().ends_with("it stays as it was"));
        assert_eq!((pauses.said, pauses.unknown()), (Some(upload), None));
    }
}
