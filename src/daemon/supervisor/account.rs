//! What all processes have counted since the start, those included that are gone.

use super::{
    super::{child::Child, child::Role, delivery::Delivery},
    Supervisor,
};
use crate::stats::{Ledger, Link, Vitals};
use std::collections::BTreeMap;

/// Interfaces whose counters are kept: more are in nobody's settings, but names may change for years.
const LINKS_MAX: usize = 256;

/// The counters of several processes. What it says of uploads is as of the last process, but for the sums.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    pub(super) ledger: Ledger,
    pub(super) vitals: Vitals,
    pub(super) links: BTreeMap<String, Link>,
    pub(super) delivery: Delivery,
}

impl Account {
    /// Adds what a process shows.
    pub(super) fn add(&mut self, child: &Child) {
        match child.role() {
            Role::Capture => {
                let counts = child.counts();
                self.ledger.add(&counts.ledger);
                self.vitals.add(&counts.vitals);
                for ((name, _), link) in child.interfaces().iter().zip(&counts.links) {
                    self.add_link(name, link);
                }
            }
            Role::Upload => self.deliver(Delivery::from_words(&child.record())),
            Role::Views => {}
        }
    }

    fn add_link(&mut self, name: &str, link: &Link) {
        if self.links.len() < LINKS_MAX || self.links.contains_key(name) {
            self.links.entry(name.to_owned()).or_default().add(link);
        }
    }

    /// What one process did after another.
    fn deliver(&mut self, later: Delivery) {
        let earlier = std::mem::replace(&mut self.delivery, later);
        let word = &mut self.delivery.word;
        word.files += earlier.word.files;
        word.bytes += earlier.word.bytes;
        word.last_success = word.last_success.max(earlier.word.last_success);
        if word.last_error.is_none() {
            word.last_error = earlier.word.last_error;
        }
        if self.delivery.free.is_none() {
            (self.delivery.stocks, self.delivery.free) = (earlier.stocks, earlier.free); // it has not looked yet
        }
    }

    /// A process has ended: what it had in memory is gone, and with `killed` what was open is lost.
    pub(super) fn ended(&mut self, killed: bool) {
        if killed {
            self.ledger.killed();
        }
        self.vitals = std::mem::take(&mut self.vitals).ended();
        let word = &mut self.delivery.word;
        (word.server, word.next_try, word.is_alarmed) = (None, None, false);
    }

    /// Adds another account, which ended before or is of other processes.
    pub(super) fn merge(&mut self, other: Account) {
        self.ledger.add(&other.ledger);
        self.vitals.add(&other.vitals);
        other.links.iter().for_each(|(name, link)| self.add_link(name, link));
        self.deliver(other.delivery);
    }
}

impl Supervisor {
    /// What all processes have counted since the start.
    pub(super) fn account(&self) -> Account {
        let mut account = self.past.clone();
        let leaving = self.leaving.iter();
        for child in leaving.chain(&self.capture).chain(&self.successor).chain(&self.upload) {
            account.add(child);
        }
        account.ledger.gaps = self.interfaces.gaps(self.now());
        account
    }

    /// A capture process has ended: what it counted and had no file for any more is for the next one's loss records.
    pub(super) fn keep_unrecorded(&mut self, child: &Child, counted: &Ledger) {
        self.unrecorded.add(&child.unrecorded(counted));
        if let Some(recorded) = child.recorded_elsewhere() {
            self.recorded_elsewhere = recorded;
        }
    }

    /// Tells the capture process what its loss records should say and it cannot know. While the one before it still makes
    /// records there is no telling what is left to say.
    pub(super) fn tell_unrecorded(&mut self) {
        let is_only_one = self.leaving.iter().all(|child| child.role() != Role::Capture);
        let gaps = self.interfaces.gaps(self.now());
        let Some(capture) = self.capture.as_mut().filter(|_| is_only_one && self.settings.loss_record) else { return };
        capture.tell_elsewhere(&Ledger { gaps, ..self.unrecorded.clone() }, &self.recorded_elsewhere);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{spool::sort::Stock, time::Timestamp, upload::Word};

    fn delivery(files: u64, success: Option<u64>) -> Delivery {
        let last_success = success.map(|seconds| Timestamp::new(seconds, 0));
        Delivery { word: Word { files, last_success, ..Word::default() }, ..Delivery::default() }
    }

    #[test]
    fn uploads_of_processes_add_up_and_the_last_success_stays_known() {
        let mut account = Account::default();
        account.deliver(delivery(3, Some(100)));
        account.ended(false);
        account.deliver(delivery(4, None));
        let word = &account.delivery.word;
        assert_eq!((word.files, word.last_success), (7, Some(Timestamp::new(100, 0))));
    }

    #[test]
    fn what_a_new_process_has_not_counted_yet_is_as_the_old_one_saw_it() {
        let mut account = Account::default();
        let stock = Stock { files: 7, ..Stock::default() };
        account.deliver(Delivery { stocks: [stock; 3], free: Some(1), ..delivery(0, None) });
        account.deliver(delivery(0, None));
        assert_eq!((account.delivery.stocks[1].files, account.delivery.free), (7, Some(1)));
        account.deliver(Delivery { free: Some(2), ..delivery(0, None) });
        assert_eq!(account.delivery.stocks[1].files, 0);
    }

    #[test]
    fn interfaces_are_bounded_however_many_processes_there_were() {
        let mut account = Account::default();
        for process in 0..3 {
            let links = (0..200).map(|number| (format!("{process}-{number}"), Link::default())).collect();
            account.merge(Account { links, ..Account::default() });
        }
        assert_eq!(account.links.len(), LINKS_MAX);
    }

    #[test]
    fn what_a_killed_process_had_open_is_lost() {
        let mut account = Account::default();
        account.ledger.queries.open = 2;
        (account.vitals.level, account.vitals.raw_bytes) = (3, 5);
        let mut orderly = account.clone();
        account.ended(true);
        orderly.ended(false);
        assert_eq!((account.ledger.queries.lost, account.vitals.raw_bytes, account.vitals.level), (2, 5, 0));
        assert_eq!(orderly.ledger.queries.open, 2);
    }
}
