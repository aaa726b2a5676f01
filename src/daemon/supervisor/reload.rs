//! Signals, other settings, and what is to be done every so often.

use super::{
    super::{channel::Order, child::Child, notify},
    Supervisor,
};
use crate::{
    config::{self, Budget, table::Reload},
    stats::Ledger,
};
use std::{process::ExitCode, time::Duration};

/// Between two accounts in the log, at debug.
pub(super) const ACCOUNT: Duration = Duration::from_secs(60);

/// Settings with paths that the upload child's sandbox must know.
const PATHS: [&str; 3] = ["uploadkey", "knownhosts", "submitserver"];

impl Supervisor {
    pub(super) fn obey_signals(&mut self) {
        if self.signals.leave() {
            self.stop(ExitCode::SUCCESS);
        }
        if self.signals.take_reload() && self.stops.is_none() {
            if self.is_ready {
                notify::reloading();
            }
            self.reload();
            if self.is_ready {
                notify::ready(&self.status);
            }
        }
        if self.signals.take_account() {
            self.ledger().to_text().lines().for_each(|line| self.log.info(line));
        }
    }

    /// Reads the settings again. Bad ones change nothing.
    fn reload(&mut self) {
        let mut settings = match config::load_again(&self.source.file, &self.source.sets) {
            Ok((settings, notices)) => {
                notices.iter().for_each(|notice| self.log.warning(&notice.to_string()));
                settings
            }
            Err(problems) => {
                problems.iter().for_each(|problem| self.log.error(&problem.to_string()));
                return self.refuse();
            }
        };
        let differences = self.settings.differences(&settings);
        let mut asks_for_child = false;
        for setting in &differences {
            match setting.reload {
                Reload::Hup => asks_for_child |= setting.name == "interface",
                Reload::NewChild => asks_for_child = true,
                Reload::Restart => {
                    settings.keep(setting, &self.settings);
                    self.log.warning(&format!("{}: the change takes effect at the next start", setting.name));
                }
            }
        }
        // What waits for the next start may be what the others need.
        if let Err(error) = Budget::new(&settings, settings.interfaces.len(), settings.capture_threads) {
            self.log.error(&error.to_string());
            return self.refuse();
        }
        let names: Vec<&str> = differences.iter().map(|setting| setting.name).collect();
        let changed = if names.is_empty() { "nothing has changed".to_owned() } else { names.join(", ") };
        self.log.info(&format!("settings read again: {changed}"));
        self.log.set_level(settings.log_level);
        self.log.set_priority(settings.syslog_priority);
        let now = self.now();
        self.interfaces.rename(settings.interfaces.iter().map(|interface| interface.name.clone()), now);
        self.settings = settings;
        self.miss_interfaces();
        self.wants_successor |= asks_for_child;
        // Those who leave write what they have by the settings that they have.
        let order = Order::Settings(self.settings.to_text());
        for child in self.capture.iter_mut().chain(&mut self.successor).chain(&mut self.upload) {
            child.channel().send(&order);
        }
        if names.iter().any(|name| PATHS.contains(name)) {
            self.replace_upload();
        }
    }

    fn refuse(&mut self) {
        self.log.error("the settings are not used; the sensor goes on with those it has");
    }

    /// Everything that is to be done every so often.
    pub(super) fn look_after(&mut self) {
        let now = self.now();
        if let Some(by) = self.timeline.look() {
            let seconds = by as f64 / 1e9;
            self.log.warning(&format!("the system clock was set, by {seconds:+.1} s; what waits is as old as it was"));
        }
        if self.stops.is_none() && self.next_spool.is_some_and(|next| now >= next) {
            self.make_spool_anew();
        }
        self.kill_what_hangs();
        self.tell_unrecorded();
        self.tell_readiness();
        self.show_state();
        if now >= self.next_account {
            self.next_account = now + ACCOUNT;
            let ledger = self.ledger();
            ledger.to_text().lines().for_each(|line| self.log.debug(line));
            losses(&ledger.since(&self.accounted)).iter().for_each(|line| self.log.warning(line));
            self.accounted = ledger;
        }
        if let Some(interval) = notify::watchdog()
            && now >= self.next_feed
            && self.is_well(now, interval)
        {
            self.next_feed = now + interval / 3;
            notify::feed();
        }
    }

    /// The capture loop turns, or knowingly waits for its interface.
    fn is_well(&mut self, now: Duration, interval: Duration) -> bool {
        self.capture.as_mut().is_none_or(|child| child.silence(now) < interval / 2)
    }

    /// Says once that all children are ready, and what is captured from whenever that changes.
    fn tell_readiness(&mut self) {
        let is_ready = |child: &Option<Child>| child.as_ref().is_some_and(|child| child.is_ready);
        let waits = self.capture.is_none() && self.interfaces.active().is_empty();
        if self.stops.is_some() || !(self.is_ready || is_ready(&self.upload) && (waits || is_ready(&self.capture))) {
            return;
        }
        let status = self.describe();
        let is_news = status != self.status;
        self.status = status;
        if !self.is_ready {
            self.is_ready = true;
            self.log.info(&format!("ready: {}", self.status));
            notify::ready(&self.status);
            if let Some(on_ready) = self.on_ready.take() {
                on_ready();
                self.log.leave_terminal();
            }
        } else if is_news {
            notify::status(&self.status);
        }
    }

    fn describe(&self) -> String {
        let (active, missing) = (self.interfaces.active().join(", "), self.interfaces.missing().join(", "));
        if self.pauses.now.capture.is_some() {
            return "capture is paused".to_owned();
        }
        match (active.is_empty(), missing.is_empty()) {
            (false, true) => format!("captures from {active}"),
            (false, false) => format!("captures from {active}; waits for {missing}"),
            (true, _) => format!("waits for {missing}"),
        }
    }
}

/// What was lost because the sensor did not keep up, in words and with a cure.
fn losses(since: &Ledger) -> Vec<String> {
    let lost = [
        (
            since.kernel.dropped,
            "packets: the ring was full; a larger capture_buffer_kbytes or more capture_threads help",
        ),
        (since.kernel.interface_dropped, "packets: the interface or its driver had no room; see ethtool -S"),
        (since.output.dropped_transactions, "transactions: they could not be written, or not as fast as they came"),
    ];
    let lost = lost.into_iter().filter(|(count, _)| *count > 0);
    lost.map(|(count, what)| format!("in the last minute dropped {count} {what}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped_is_said_and_only_that() {
        let mut since = Ledger::default();
        assert!(losses(&since).is_empty());
        since.kernel.dropped = 7;
        since.output.dropped_transactions = 3;
        let lines = losses(&since);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("in the last minute dropped 7 packets: the ring was full"), "{lines:?}");
        assert!(lines[1].starts_with("in the last minute dropped 3 transactions"), "{lines:?}");
    }
}
