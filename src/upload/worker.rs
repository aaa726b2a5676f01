//! The thread that sends files.

use super::{
    Attendant, Desk, Failure, Outgoing, Plan, Receipt, Step, Turn,
    alarm::{self, Alarm},
    backlog::{Backlog, Listed},
    below,
    desk::Mail,
    rate::Rate,
    state::{self, State},
    way::Way,
};
use crate::{
    config::LogLevel,
    escape::escaped,
    time::{Clock, Timestamp},
};
use std::{io, mem, path::PathBuf, time::Duration};

/// Between two looks at the whole directory: somebody may have put files there, or removed some.
const LIST: Duration = Duration::from_secs(60);
/// It sleeps for so long at most, to show that it turns.
const SLEEP: Duration = Duration::from_secs(5);

/// Files that are open at once, whatever `maxper` says: a process may have 1024 descriptors.
const OPEN_MAX: usize = 512;
/// What is said once.
const REMARKS_MAX: usize = 100;
/// Files that a batch may have said of them one by one.
const SAID_MAX: usize = 10;

/// Batches in a row that are sent for nothing before a single run ends: to a server that refuses files, for the others may
/// fit, or to one that does not stay.
const REFUSED_MAX: u32 = 100;
const LOST_MAX: u32 = 2;

/// When it has done its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// When it is told to leave.
    Never,
    /// When each file that waits has been tried.
    Once,
}

/// Sends the files that wait, as long as it is not told to leave.
pub struct Worker<'d, C, T> {
    desk: &'d Desk,
    clock: C,
    /// Shows that the thread turns.
    turn: T,
    plan: Box<Plan>,
    done: Done,
    way: Way,
    backlog: Backlog,
    rate: Rate,
    alarm: Alarm,
    next_list: Duration,
    /// Why nothing is uploaded, which was said: it is not said at every try.
    trouble: Option<String>,
    /// Files that are not sent for their names.
    others: usize,
    /// What was last said of files below that cannot be taken up, how many they are, and whether more may be there.
    below: Option<String>,
    left_below: usize,
    is_partial: bool,
    /// What was said once, of key and known hosts; at most [`REMARKS_MAX`].
    remarked: Vec<String>,
    /// What it tells others.
    state: State,
    writer: state::Writer,
    /// Nothing that waits can be sent now.
    is_stuck: bool,
    /// The directory could be listed.
    is_listed: bool,
    /// Batches since something arrived.
    useless: u32,
}

impl<'d, C: Clock, T: FnMut()> Worker<'d, C, T> {
    /// For the files of `plan`.
    pub fn new(desk: &'d Desk, clock: C, turn: T, plan: Plan, done: Done, mut way: Way) -> Worker<'d, C, T> {
        if done == Done::Once {
            way.hurry();
        }
        let (backlog, writer) = (Backlog::new(plan.waiting.clone()), state::Writer::new(&plan.waiting));
        Worker {
            desk,
            clock,
            turn,
            plan: Box::new(plan),
            done,
            way,
            backlog,
            rate: Rate::default(),
            alarm: Alarm::default(),
            next_list: Duration::ZERO,
            trouble: None,
            others: 0,
            below: None,
            left_below: 0,
            is_partial: false,
            remarked: Vec::new(),
            state: State { process: std::process::id(), ..State::default() },
            writer,
            is_stuck: false,
            is_listed: false,
            useless: 0,
        }
    }

    /// Until it is told to leave, or has done its work, or cannot go on. How many files wait still, if that is known.
    pub fn run(mut self) -> Option<usize> {
        // Who comes second learns from it who has the files.
        self.tell();
        let mut sleep = Duration::ZERO;
        loop {
            let mail = self.desk.mail(sleep.min(SLEEP));
            (self.turn)();
            if mail.leave || self.is_over() {
                self.writer.remove();
                return self.is_listed.then(|| self.backlog.len() + self.others + self.left_below);
            }
            self.read(mail);
            self.list();
            self.is_stuck = false;
            sleep = self.step();
            self.tell();
            if self.is_over() {
                sleep = Duration::ZERO;
            }
        }
    }

    fn is_over(&self) -> bool {
        self.way.is_broken() || (self.done == Done::Once && self.is_stuck && !self.is_partial)
    }

    fn read(&mut self, mail: Mail) {
        if let Some(plan) = mail.plan {
            self.way.forgive();
            if plan != self.plan {
                self.plan = plan;
                self.way.reset();
            }
        }
        mail.names.iter().for_each(|name| self.backlog.add(name));
    }

    fn list(&mut self) {
        let now = self.clock.monotonic();
        if now < self.next_list {
            return;
        }
        self.next_list = now + LIST;
        let listed = self.backlog.list();
        self.is_listed = listed.is_ok();
        match listed {
            Ok(Listed { below, others, first_other }) => {
                self.tell_of_others(others, first_other);
                self.raise(below);
            }
            Err(error) => {
                let text = format!("cannot list {}: {error}", escaped(&self.plan.waiting));
                self.trouble(LogLevel::Error, text.clone(), text);
            }
        }
    }

    /// Files whose names are none of ours, which somebody put there, are not sent.
    fn tell_of_others(&mut self, others: usize, first: Option<PathBuf>) {
        if let Some(first) = first.filter(|_| others > self.others) {
            let (waiting, first) = (escaped(&self.plan.waiting), escaped(&first));
            let text = format!(
                "{others} files in {waiting} have names that are not sent, as {first}; left alone: use letters, digits and . _ - only"
            );
            self.desk.say(LogLevel::Warning, text);
        }
        self.others = others;
    }

    /// Takes up files that somebody put into directories below.
    fn raise(&mut self, below: Vec<PathBuf>) {
        let raised = below::raise(&self.plan.waiting, below);
        raised.names.iter().for_each(|name| self.backlog.add(name));
        if let (count @ 1.., waiting) = (raised.names.len(), escaped(&self.plan.waiting)) {
            self.desk.say(LogLevel::Info, format!("{count} files in directories below {waiting} were moved into it"));
        }
        self.is_partial = raised.is_partial;
        if raised.is_partial {
            self.next_list = self.clock.monotonic();
        }
        self.left_below = raised.left;
        let waiting = escaped(&self.plan.waiting);
        let failure = raised.failed.first().map(|(path, error)| {
            format!(
                "{} files or directories below {waiting} cannot be taken up, as {}: {error}",
                raised.left,
                escaped(path)
            )
        });
        if let Some(line) = failure.as_ref().filter(|line| self.below.as_ref() != Some(line)) {
            self.desk.say(LogLevel::Warning, line.clone());
        }
        self.below = failure;
    }

    /// One batch, if there is one and somebody to send it to; how long to sleep then.
    fn step(&mut self) -> Duration {
        self.way.look_after(&mut Idle { desk: self.desk, clock: &self.clock, turn: &mut self.turn });
        let now = self.clock.monotonic();
        self.rate.set(self.plan.rate, now);
        if !self.plan.is_on {
            self.way.reset();
            self.alarm = Alarm::default();
            self.is_stuck = true;
            return SLEEP;
        }
        self.sound_alarm();
        let wait = self.way.not_before().saturating_sub(now);
        if !wait.is_zero() {
            return wait;
        }
        let wall = self.clock.wall();
        // To a single run, what failed is never due again.
        let due = if self.done == Done::Once { Duration::ZERO } else { now };
        let is_fresh = self.backlog.has_fresh(wall, due);
        let names = self.backlog.batch(self.plan.max_per_batch.min(OPEN_MAX), wall, due);
        if names.is_empty() {
            self.is_stuck = true;
            return self
                .backlog
                .next_due(now)
                .map_or(SLEEP, |due| due.saturating_sub(now).max(Duration::from_millis(1)));
        }
        self.send(&names, is_fresh);
        Duration::ZERO
    }

    /// Leaves word of how it goes: at the desk, and every few seconds in a file.
    fn tell(&mut self) {
        let (now, wall) = (self.clock.monotonic(), self.clock.wall());
        // In whole seconds: it would be another state each time otherwise.
        let at = |due: Duration| Timestamp::new((wall + due.saturating_sub(now)).seconds(), 0);
        let word = &mut self.state.word;
        word.server = self.way.server().map(ToString::to_string);
        word.next_try = Some(self.way.not_before()).filter(|due| *due > now).map(at);
        word.is_alarmed = self.alarm.is_on();
        self.desk.tell(word.clone());
        if !self.writer.is_due(now) {
            return;
        }
        self.state.failed = state::failed_files(&self.backlog, wall, now);
        if let Err(error) = self.writer.write(self.state.clone(), now) {
            self.desk.say(LogLevel::Debug, format!("cannot write the uploader's state: {error}"));
        }
    }

    fn sound_alarm(&mut self) {
        let now = self.clock.monotonic();
        if let Some(silence) = self.alarm.look(!self.backlog.is_empty(), self.plan.alarm, now) {
            let trouble = self.trouble.as_ref().map(|trouble| format!("; {trouble}")).unwrap_or_default();
            let text = format!("{}; {} files wait{trouble}", alarm::text(silence), self.backlog.len());
            self.desk.say(LogLevel::Error, text);
        }
    }

    fn send(&mut self, names: &[String], is_fresh: bool) {
        let mut files = self.open(names);
        if files.is_empty() {
            return;
        }
        let receipts: Vec<Receipt> = files.iter().map(|file| file.receipt().clone()).collect();
        let mut attending = Attending {
            desk: self.desk,
            clock: &self.clock,
            turn: &mut self.turn,
            rate: &mut self.rate,
            alarm: &mut self.alarm,
            alarm_after: self.plan.alarm,
            receipts: &receipts,
            is_backlog: !is_fresh,
            arrived: vec![false; receipts.len()],
            silence: None,
            failures: Vec::new(),
        };
        let sent = self.way.send(&self.plan, &mut files, &mut attending);
        let Attending { arrived, silence, failures, .. } = attending;
        self.remark();
        let now = self.clock.monotonic();
        for (receipt, _) in receipts.iter().zip(&arrived).filter(|(_, arrived)| **arrived) {
            self.backlog.remove(receipt.name());
            self.state.word.files += 1;
            self.state.word.bytes += receipt.size();
            self.state.word.last_success = Some(self.clock.wall());
        }
        if arrived.contains(&true) {
            self.recovered(silence);
        }
        if self.desk.peek(|mail| mail.leave) {
            return; // what was on its way is sent next time
        }
        let own =
            |(_, reason): &(usize, String)| sent.as_ref().map_or_else(|failure| failure.reason != *reason, |()| true);
        let mut failures: Vec<(usize, String)> = failures.into_iter().filter(own).collect();
        self.useless = if arrived.contains(&true) { 0 } else { self.useless + 1 };
        if let Err(failure) = &sent {
            let useless_max = if failure.is_refusal() { REFUSED_MAX } else { LOST_MAX };
            self.is_stuck = failure.step < Step::Transfer || self.useless >= useless_max;
            self.failed(&receipts, &arrived, failure, now);
            // Where a batch ends at one of its files, it would end there again, and keep those behind it waiting.
            let first = arrived.iter().position(|arrived| !arrived);
            if failure.step == Step::Transfer && failures.is_empty() {
                failures.extend(first.map(|first| (first, failure.reason.clone())));
            }
        }
        self.put_off(&receipts, failures, now);
    }

    /// Opens files. Where one cannot be opened for want of descriptors, those before it are sent. One that is gone is not missed: what goes over the limit of the spool is removed while it waits.
    fn open(&mut self, names: &[String]) -> Vec<Outgoing> {
        let mut files = Vec::new();
        for name in names {
            match Outgoing::open(&self.plan.waiting, name) {
                Ok(file) => files.push(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.backlog.remove(name),
                Err(error) if error.raw_os_error() == Some(libc::EMFILE) && !files.is_empty() => break,
                Err(error) => {
                    let path = escaped(&self.plan.waiting.join(name));
                    self.desk.say(LogLevel::Error, format!("failed to upload {path}: cannot open it: {error}"));
                    self.backlog.postpone(name, &error.to_string(), self.clock.monotonic());
                }
            }
        }
        files
    }

    /// What is the matter with key and known hosts, once each.
    fn remark(&mut self) {
        self.way.remarks().into_iter().for_each(|remark| self.remark_once(remark));
    }

    fn remark_once(&mut self, remark: String) {
        if !self.remarked.contains(&remark) && self.remarked.len() < REMARKS_MAX {
            self.desk.say(LogLevel::Warning, remark.clone());
            self.remarked.push(remark);
        }
    }

    /// Something has arrived, after an alarm if there was one.
    fn recovered(&mut self, silence: Option<Duration>) {
        if self.trouble.take().is_some() || silence.is_some() {
            let since = silence.map(|silence| format!(" after {} minutes", silence.as_secs() / 60)).unwrap_or_default();
            self.desk.say(LogLevel::Info, format!("uploads work again{since}"));
        }
    }

    /// Files that the far end did not take, though it took others, or could have.
    fn put_off(&mut self, receipts: &[Receipt], failures: Vec<(usize, String)>, now: Duration) {
        let mut said = 0;
        for (index, reason) in failures {
            let Some(receipt) = receipts.get(index) else { continue };
            self.backlog.postpone(receipt.name(), &reason, now);
            let text = format!("failed to upload {}: {reason}", escaped(receipt.path()));
            // What the batch ended with has been said.
            if said < SAID_MAX && self.trouble.as_ref() != Some(&reason) {
                self.desk.say(LogLevel::Warning, text);
            }
            said += 1;
        }
        if said > SAID_MAX {
            self.desk.say(LogLevel::Warning, format!("failed to upload {} more files of this batch", said - SAID_MAX));
        }
    }

    /// A batch that ended before its end.
    fn failed(&mut self, receipts: &[Receipt], arrived: &[bool], failure: &Failure, now: Duration) {
        let mut left = receipts.iter().zip(arrived).filter(|(_, arrived)| !**arrived);
        let Some((first, _)) = left.next() else { return };
        self.state.word.last_error = Some((self.clock.wall(), failure.to_string()));
        let wait = self.way.not_before().saturating_sub(now).as_secs();
        self.desk.say(LogLevel::Debug, format!("{failure}; next try in {wait} s"));
        let text = format!("failed to upload {}: {failure}", escaped(first.path()));
        self.trouble(LogLevel::Warning, failure.to_string(), text);
    }

    /// What stops all uploads is said when it begins, and when the reason becomes another one, not for each file.
    fn trouble(&mut self, level: LogLevel, reason: String, text: String) {
        if self.trouble.as_ref() != Some(&reason) {
            self.desk.say(level, text);
            self.trouble = Some(reason);
        }
    }
}

/// Waits while nothing is sent.
struct Idle<'w, C, T> {
    desk: &'w Desk,
    clock: &'w C,
    turn: &'w mut T,
}

impl<C: Clock, T: FnMut()> Attendant for Idle<'_, C, T> {
    fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    fn turn(&mut self) -> Turn {
        (self.turn)();
        if self.desk.peek(|mail| mail.leave) { Turn::Leave } else { Turn::GoOn }
    }

    fn allowance(&mut self) -> usize {
        0
    }

    fn sent(&mut self, _: usize) {}

    fn confirmed(&mut self, _: usize) {}

    fn failed(&mut self, _: usize, _: String) {}

    fn heard(&mut self, line: &str) {
        self.desk.say(LogLevel::Debug, format!("the server says: {line}"));
    }
}

/// Looks after one batch.
struct Attending<'w, C, T> {
    desk: &'w Desk,
    clock: &'w C,
    turn: &'w mut T,
    rate: &'w mut Rate,
    alarm: &'w mut Alarm,
    alarm_after: Duration,
    receipts: &'w [Receipt],
    /// None of the files is fresh.
    is_backlog: bool,
    arrived: Vec<bool>,
    /// For how long none had been, if there was an alarm.
    silence: Option<Duration>,
    failures: Vec<(usize, String)>,
}

impl<C: Clock, T: FnMut()> Attendant for Attending<'_, C, T> {
    fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    fn turn(&mut self) -> Turn {
        (self.turn)();
        if let Some(silence) = self.alarm.look(true, self.alarm_after, self.clock.monotonic()) {
            self.desk.say(LogLevel::Error, format!("{}, though one is being sent", alarm::text(silence)));
            self.desk.alarm();
        }
        self.desk.peek(|mail| match () {
            () if mail.leave => Turn::Leave,
            () if mail.plan.is_some() => Turn::CutShort,
            () if self.is_backlog && !mail.names.is_empty() => Turn::CutShort,
            () => Turn::GoOn,
        })
    }

    fn allowance(&mut self) -> usize {
        self.rate.allowance(self.clock.monotonic())
    }

    fn sent(&mut self, bytes: usize) {
        self.rate.sent(bytes);
    }

    fn confirmed(&mut self, index: usize) {
        let Some((receipt, arrived)) = self.receipts.get(index).zip(self.arrived.get_mut(index)) else { return };
        if mem::replace(arrived, true) {
            return;
        }
        let path = escaped(receipt.path());
        match receipt.remove() {
            Ok(true) => {
                self.silence = self.silence.or(self.alarm.confirmed(self.clock.monotonic()));
                self.desk.confirmed(receipt.size(), self.clock.wall());
                self.desk.say(LogLevel::Info, format!("successfully uploaded {path}"));
            }
            Ok(false) => {
                *arrived = false;
                self.failures.push((index, "it was changed while it was sent; it is sent again".to_owned()));
            }
            Err(error) => {
                *arrived = false;
                self.failures.push((index, format!("it has arrived, but cannot be removed here: {error}")));
            }
        }
    }

    fn failed(&mut self, index: usize, reason: String) {
        self.failures.push((index, reason));
    }

    fn heard(&mut self, line: &str) {
        self.desk.say(LogLevel::Debug, format!("the server says: {line}"));
    }
}
