//! What somebody has paused.

use super::{
    super::{
        channel::Order,
        paused::{Paused, Until},
        privileges, users,
    },
    LEAVE, Supervisor,
};
use crate::time::Clock;
use serde_json::{Value, json};
use std::time::Duration;

/// Between two looks at the file.
const LOOK: Duration = Duration::from_secs(1);

impl Supervisor {
    /// Looks whether something is to be paused, or goes on.
    pub(super) fn heed_pauses(&mut self) {
        let now = self.now();
        if now < self.next_pause || self.stops.is_some() {
            return;
        }
        self.next_pause = now + LOOK;
        let Ok(owner) = users::of_capture(&self.settings) else { return };
        // The directory is not root's to look into.
        let read = privileges::as_user(&owner, || Paused::read(&self.settings.spool_dir));
        // What cannot be read says nothing new.
        let Ok(Ok(paused)) = read else { return };
        let (paused, before) = (paused.at(self.clock.wall()), self.paused);
        self.paused = paused;
        for (part, was, is) in [("capture", before.capture, paused.capture), ("upload", before.upload, paused.upload)] {
            match (was.is_some(), is.is_some()) {
                (false, true) => self.log.warning(&format!("{part} is paused; to go on: sie-dns-sensor resume {part}")),
                (true, false) => self.log.info(&format!("{part} is resumed")),
                _ => {}
            }
        }
        if before.upload.is_some() != paused.upload.is_some() {
            self.tell_upload();
        }
        if paused.capture.is_some() {
            self.pause_capture(now);
        }
    }

    /// A child that has just been started knows nothing of it.
    pub(super) fn tell_upload(&mut self) {
        let order = Order::Pause(self.paused.upload.is_some());
        self.upload.iter_mut().for_each(|upload| upload.channel().send(&order));
    }

    /// The old process has left before there is a new one: both would have the packets meanwhile.
    fn pause_capture(&mut self, now: Duration) {
        self.capture_start.not_before = now + 2 * LOOK;
        if self.capture.is_some() {
            self.interfaces.all_lost(now);
        }
        for mut child in self.capture.take().into_iter().chain(self.successor.take()) {
            child.leave(Order::Leave(None), now, LEAVE);
            self.leaving.push(child);
        }
    }

    /// For the document.
    pub(super) fn pauses(&self) -> Value {
        let one = |until: Option<Until>| match until {
            None => Value::Null,
            Some(Until::Resumed) => json!({"until": null}),
            Some(Until::Time(time)) => json!({"until": time.seconds()}),
        };
        json!({"capture": one(self.paused.capture), "upload": one(self.paused.upload)})
    }
}
