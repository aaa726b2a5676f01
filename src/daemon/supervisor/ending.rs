//! Children that end, and the end of it all.

use super::{
    super::{
        channel::Order,
        child::{self, Child, Role},
        notify,
    },
    LEAVE, Supervisor, TICK,
    account::Account,
};
use crate::stats::Ledger;
use std::{
    process::{ExitCode, ExitStatus},
    time::Duration,
};

/// No turn takes so long, unless the supervisor itself is stopped, frozen or starved; its children may be too.
const STILL: Duration = Duration::from_secs(2);

impl Supervisor {
    /// Takes leave of children that have ended.
    pub(super) fn reap(&mut self) {
        if let Some((child, status)) = ended(&mut self.upload) {
            self.child_ended(child, status);
        }
        if let Some((child, status)) = ended(&mut self.views) {
            self.child_ended(child, status);
        }
        if let Some((child, status)) = ended(&mut self.successor) {
            // What it was wanted for is still to be done; unless that was for interfaces alone that it could not open.
            self.wants_successor |= !status.success();
            self.child_ended(child, status);
        }
        if let Some((child, status)) = ended(&mut self.capture) {
            if self.stops.is_none() {
                self.interfaces.all_lost(self.now());
            }
            self.child_ended(child, status);
            // It takes nothing over any more, and captures all the same.
            self.capture = self.successor.take();
        }
        let mut gone = Vec::new();
        for mut child in std::mem::take(&mut self.leaving) {
            match child.ended() {
                Some(status) => gone.push((child, status)),
                None => self.leaving.push(child),
            }
        }
        for (child, status) in gone {
            self.child_ended(child, status);
        }
    }

    fn child_ended(&mut self, mut child: Child, status: ExitStatus) {
        let now = self.now();
        let is_opening = !child.is_ready && !child.is_leaving();
        loop {
            let reports = child.reports();
            if reports.is_empty() {
                break;
            }
            reports.into_iter().for_each(|report| self.heed_last(report, child.role(), is_opening));
        }
        let (name, pid) = (child.role().name(), child.pid());
        let was_killed = !status.success();
        let mut account = Account::default();
        account.add(&child);
        account.ended(was_killed && child.role() == Role::Capture);
        if child.role() == Role::Capture {
            self.keep_unrecorded(&child, &account.ledger);
        }
        let (transactions, queries) = (account.ledger.output.lost_transactions, account.ledger.queries.lost);
        self.past.merge(account);
        // A successor that none is needed of leaves by itself.
        let is_needless = is_opening && child.role() == Role::Capture && self.capture.is_some();
        if status.success() && (child.is_leaving() || self.stops.is_some() || is_needless) {
            return self.log.debug(&format!("the {name} process, {pid}, has left"));
        }
        let ending = child::ending(status);
        let mut lost = String::new();
        if transactions + queries > 0 {
            lost = format!("; lost with it: {transactions} transactions not in a file yet, {queries} queries waiting");
        }
        if !child.is_ready && self.stops.is_some() {
            return self.log.debug(&format!("the {name} process, {pid}, ended: {ending}")); // it has said why
        }
        if child.is_leaving() || self.stops.is_some() {
            return self.log.error(&format!("the {name} process, {pid}, did not leave in order: {ending}{lost}"));
        }
        self.restarts += 1;
        let wait = self.again(child.role()).died(now, child.age(now));
        let when = if wait.is_zero() { "at once".to_owned() } else { format!("in {} s", wait.as_secs()) };
        self.log.error(&format!("the {name} process, {pid}, ended: {ending}{lost}; a new one starts {when}"));
    }

    /// Begins the end: capture first, so that the upload child finds its last file.
    pub(super) fn stop(&mut self, code: ExitCode) {
        if self.stops.is_some() {
            return;
        }
        self.stops = Some(code);
        notify::stopping();
        self.stop_capture();
    }

    pub(super) fn stop_capture(&mut self) {
        self.tell_unrecorded();
        let now = self.now();
        for child in self.capture.iter_mut().chain(&mut self.successor) {
            child.leave(Order::Leave(None), now, LEAVE);
        }
    }

    /// Whether all children are gone. When only the upload and views children are left they are told to leave too.
    pub(super) fn is_alone(&mut self) -> bool {
        let now = self.now();
        if self.capture.is_some() || self.successor.is_some() || !self.leaving.is_empty() {
            return false;
        }
        if let Some(upload) = self.upload.as_mut().filter(|upload| !upload.is_leaving()) {
            upload.channel().send(&Order::Look);
            upload.leave(Order::Leave(None), now, LEAVE);
        }
        if let Some(views) = self.views.as_mut().filter(|views| !views.is_leaving()) {
            views.leave(Order::Leave(None), now, LEAVE);
        }
        self.upload.is_none() && self.views.is_none()
    }

    /// Kills what hangs. While nobody looked nobody hung: a container that was frozen, or a machine that was stopped and has
    /// a clock that went on, has all its processes as it had them.
    pub(super) fn kill_what_hangs(&mut self) {
        let now = self.now();
        let missed = missed(std::mem::replace(&mut self.looked, now), now);
        if !missed.is_zero() {
            let seconds = missed.as_secs_f64();
            self.log
                .info(&format!("the sensor stood still for {seconds:.1} s: stopped, frozen, or without a processor"));
        }
        let all = self.capture.iter_mut().chain(&mut self.successor).chain(&mut self.upload).chain(&mut self.views);
        for child in all.chain(&mut self.leaving) {
            child.spare(missed);
            if !child.hangs(now) {
                continue;
            }
            let line = format!("the {} process, {}, hangs: it is killed", child.role().name(), child.pid());
            self.log.error(&line);
            if let Err(error) = child.kill(now) {
                self.log.error(&format!("cannot kill process {}: {error}", child.pid()));
            }
        }
    }

    /// What all processes have counted since the start.
    pub(super) fn ledger(&self) -> Ledger {
        self.account().ledger
    }

    /// The last words.
    pub(super) fn conclude(&mut self) {
        let ledger = self.ledger();
        if self.is_ready {
            ledger.to_text().lines().for_each(|line| self.log.info(line));
        }
        for imbalance in ledger.imbalances() {
            self.log.error(&format!("the ledger does not balance: {imbalance}; this is a bug, please report it"));
        }
    }
}

/// What of the time between two looks is more than a turn takes. A turn's time counts, so that what hangs is killed also
/// where every turn is slow.
fn missed(looked: Duration, now: Duration) -> Duration {
    let gap = now.saturating_sub(looked);
    if gap > STILL { gap - TICK } else { Duration::ZERO }
}

/// The child and how it ended, if it has.
fn ended(child: &mut Option<Child>) -> Option<(Child, ExitStatus)> {
    let status = child.as_mut()?.ended()?;
    Some((child.take()?, status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_longer_than_a_turn_may_be_is_time_in_which_nobody_looked() {
        let secs = Duration::from_secs;
        assert_eq!(missed(secs(10), secs(10) + TICK), Duration::ZERO);
        assert_eq!(missed(secs(10), secs(12)), Duration::ZERO);
        assert_eq!(missed(secs(10), secs(3610)), secs(3600) - TICK);
        assert_eq!(missed(secs(10), secs(9)), Duration::ZERO);
    }
}
