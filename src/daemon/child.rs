//! A child process as the supervisor sees it.

use super::{
    channel::{Channel, Order, Report, Start},
    counts::Counts,
    network,
    page::{Layout, Page},
};
use crate::{spool::Recorded, stats::Ledger};
use nix::poll::PollFd;
use std::{
    io,
    os::fd::OwnedFd,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

/// A capture thread turns ten times a second, the views child once; one that has not for so long hangs.
const HANGS: Duration = Duration::from_secs(30);
/// A kernel waits for all its processors for each ring that it makes, and takes back when the process ends.
const RING: Duration = Duration::from_millis(200);
/// The upload child turns every ten seconds, and may wait for a slow disk.
const UPLOAD_HANGS: Duration = Duration::from_secs(300);

/// What a child is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Reads packets and writes files.
    Capture,
    /// Takes files on from there.
    Upload,
    /// Says how things stand.
    Views,
}

impl Role {
    /// As in log lines and process lists.
    pub fn name(self) -> &'static str {
        match self {
            Role::Capture => "capture",
            Role::Upload => "upload",
            Role::Views => "views",
        }
    }
}

impl Role {
    /// Gives the process a name for lists that do not show its arguments: it was started as /proc/self/exe.
    pub fn name_process(self) {
        #[cfg(target_os = "linux")]
        let _ = nix::sys::prctl::set_name(match self {
            Role::Capture => c"sie-capture",
            Role::Upload => c"sie-upload",
            Role::Views => c"sie-views",
        });
    }
}

/// A child, running or just ended.
pub struct Child {
    role: Role,
    process: std::process::Child,
    channel: Channel,
    /// Its counters, and how often its threads have turned.
    page: Page,
    /// The interfaces that it was told to open, in the order of their counters, and their numbers before it did.
    interfaces: Vec<(String, Option<u32>)>,
    /// How far its loss records tell what was counted.
    recorded: Recorded,
    /// What was counted elsewhere is for its records from there on; and what it was told of that.
    elsewhere: Option<(Ledger, Ledger)>,
    /// When it was started.
    started: Duration,
    /// Whether it has said that it is.
    pub is_ready: bool,
    /// When it must be gone, once it has been told to leave.
    leave_by: Option<Duration>,
    /// When it was last to be killed.
    killed: Option<Duration>,
    /// Since when it does not listen.
    deaf: Option<Duration>,
    /// How often its threads had turned when one of them last did, and when that was; when it was started, at first.
    turns: (Vec<u64>, Duration),
}

impl Child {
    /// Starts one: this program again, whose descriptors 0 and 1 are the channel and the page.
    pub fn start(role: Role, start: Start, layout: Layout, now: Duration) -> io::Result<Child> {
        Child::start_with(role, start, layout, None, now)
    }

    /// The same, with descriptors that it gets before its first order.
    pub fn start_with(
        role: Role,
        start: Start,
        layout: Layout,
        passed: Option<(u8, Vec<OwnedFd>)>,
        now: Duration,
    ) -> io::Result<Child> {
        let (mut channel, theirs) = Channel::pair()?;
        if let Some((which, descriptors)) = passed {
            channel.pass(which, &descriptors)?;
        }
        let mut command = Command::new(program()?);
        command.arg0(format!("sie-dns-sensor: {}", role.name())).args(["run", "--child", role.name()]);
        // Its own process group: what a terminal sends is for the supervisor.
        let (page, shared) = Page::create(layout)?;
        command.env_clear().current_dir("/").process_group(0).stdin(Stdio::from(theirs)).stdout(Stdio::from(shared));
        let interfaces = start.interfaces.iter().map(|name| (name.clone(), network::index(name))).collect();
        let process = command.spawn()?;
        channel.send(&Order::Start(start));
        Ok(Child {
            role,
            process,
            channel,
            page,
            interfaces,
            recorded: Recorded::default(),
            elsewhere: None,
            started: now,
            is_ready: false,
            leave_by: None,
            deaf: None,
            killed: None,
            turns: (Vec::new(), now),
        })
    }

    /// What it is for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// How long ago it was started.
    pub fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.started)
    }

    /// The way to it.
    pub fn channel(&mut self) -> &mut Channel {
        &mut self.channel
    }

    /// To poll for what it says; not any more when it is gone.
    pub fn to_poll(&self) -> Option<PollFd<'_>> {
        self.channel.is_open().then(|| self.channel.to_poll())
    }

    /// What it has said.
    pub fn reports(&mut self) -> Vec<Report> {
        self.channel.flush();
        let mut reports = self.channel.receive();
        reports.retain_mut(|report| match report {
            Report::Recorded(recorded) => {
                self.recorded = std::mem::take(recorded);
                false
            }
            _ => true,
        });
        reports
    }

    /// Tells it what was counted elsewhere, and no loss record has told up to `from` when it began.
    pub fn tell_elsewhere(&mut self, counted: &Ledger, from: &Ledger) {
        let (from, told) = self.elsewhere.get_or_insert_with(|| (from.clone(), Ledger::default()));
        let news = counted.since(from);
        if news != *told {
            *told = news.clone();
            self.channel.send(&Order::Elsewhere(Box::new(news)));
        }
    }

    /// What it has counted and no loss record tells; `counted` is all that it has.
    pub fn unrecorded(&self, counted: &Ledger) -> Ledger {
        counted.since(&self.recorded.here)
    }

    /// How far what was counted elsewhere is in loss records, if it was told of it.
    pub fn recorded_elsewhere(&self) -> Option<Ledger> {
        let (from, _) = self.elsewhere.as_ref()?;
        let mut recorded = from.clone();
        recorded.add(&self.recorded.elsewhere);
        Some(recorded)
    }

    /// Tells it to leave, within `limit`.
    pub fn leave(&mut self, order: Order, now: Duration, limit: Duration) {
        self.channel.send(&order);
        let limit = limit + RING * self.rings();
        self.leave_by.get_or_insert(now + limit);
    }

    /// Whether it was told to leave.
    pub fn is_leaving(&self) -> bool {
        self.leave_by.is_some()
    }

    /// Its counters as they stand, of a capture child.
    pub fn counts(&self) -> Counts {
        Counts::of(&self.page)
    }

    /// What its first thread shows.
    pub fn record(&self) -> Vec<u64> {
        self.page.slot(0).map(|slot| slot.record()).unwrap_or_default()
    }

    /// The interfaces that it was told to open, in the order of their counters, with their numbers before it did: who has a
    /// name later may be another one.
    pub fn interfaces(&self) -> &[(String, Option<u32>)] {
        &self.interfaces
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        // The only error is that somebody else has waited for it.
        self.process.try_wait().unwrap_or(Some(ExitStatus::from_raw(0x100)))
    }

    /// Whether it is overdue: it was told to leave and has not, or it has not become ready, or one of its threads has not
    /// turned, for so long. One that was killed is as long not overdue again: it may wait for a disk, or not be ours to
    /// kill.
    pub fn hangs(&mut self, now: Duration) -> bool {
        let limit = match self.role {
            Role::Capture if !self.is_ready => HANGS + RING * self.rings(),
            Role::Capture | Role::Views => HANGS,
            Role::Upload => UPLOAD_HANGS,
        };
        if self.killed.is_some_and(|at| now.saturating_sub(at) <= limit) {
            return false;
        }
        // What closes its end and lives on is not the program we started, or not in its right mind.
        let is_deaf = !self.channel.is_open() && now.saturating_sub(*self.deaf.get_or_insert(now)) > limit;
        is_deaf || self.leave_by.is_some_and(|by| now > by) || self.silence(now) > limit
    }

    /// One for each thread, on each of its interfaces.
    fn rings(&self) -> u32 {
        let threads = self.page.slots().count().saturating_sub(1);
        (threads * self.interfaces.len()) as u32
    }

    /// How long at least one of its threads has not turned, or how long it takes to become ready.
    pub fn silence(&mut self, now: Duration) -> Duration {
        if !self.is_ready {
            return now.saturating_sub(self.turns.1);
        }
        let turns: Vec<u64> = self.page.turns().collect();
        let (before, _) = &self.turns;
        if before.len() != turns.len() || before.iter().zip(&turns).all(|(before, now)| before != now) {
            self.turns = (turns, now);
        }
        now.saturating_sub(self.turns.1)
    }

    /// Gives it so much more time for everything: nobody looked, and it may have stood still for as long.
    pub fn spare(&mut self, time: Duration) {
        self.turns.1 += time;
        let others = self.leave_by.iter_mut().chain(&mut self.killed).chain(&mut self.deaf);
        others.for_each(|at| *at += time);
    }

    /// Ends it, whatever it does.
    pub fn kill(&mut self, now: Duration) -> io::Result<()> {
        self.killed = Some(now);
        self.process.kill()
    }
}

/// The program that runs, also when its file has been replaced since.
pub(crate) fn program() -> io::Result<PathBuf> {
    if !cfg!(target_os = "linux") {
        return std::env::current_exe();
    }
    let program = PathBuf::from("/proc/self/exe");
    match program.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(io::Error::new(error.kind(), "there is no /proc/self/exe; mount /proc"))
        }
        _ => Ok(program),
    }
}

/// How a process ended, in words.
pub fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// One that was started at 0, with one thread, and has a process that ends by itself.
    fn child(is_ready: bool) -> (Child, OwnedFd) {
        let (channel, theirs) = Channel::pair().unwrap();
        let child = Child {
            role: Role::Capture,
            process: Command::new("true").spawn().unwrap(),
            channel,
            page: Page::create(Layout { slots: 1, words: 0 }).unwrap().0,
            interfaces: Vec::new(),
            recorded: Recorded::default(),
            elsewhere: None,
            started: secs(0),
            is_ready,
            leave_by: None,
            deaf: None,
            killed: None,
            turns: (Vec::new(), secs(0)),
        };
        (child, theirs)
    }

    /// The first full second at which it hangs.
    fn hangs_at(child: &mut Child) -> Option<u64> {
        (0..200).find(|&now| child.hangs(secs(now)))
    }

    #[test]
    fn what_does_not_end_when_it_is_killed_hangs_again_only_after_a_while() {
        let (mut child, _theirs) = child(true);
        child.leave_by = Some(secs(15));
        assert!(!child.hangs(secs(15)));
        assert!(child.hangs(secs(16)));
        let _ = child.kill(secs(16));
        assert!(!child.hangs(secs(46)));
        assert!(child.hangs(secs(47)));
        child.process.wait().unwrap();
    }

    #[test]
    fn time_in_which_nobody_looked_is_not_held_against_a_child() {
        for is_ready in [false, true] {
            let (mut child, _theirs) = child(is_ready);
            assert!(!child.hangs(secs(0)));
            child.spare(secs(100));
            assert_eq!(hangs_at(&mut child), Some(131));
            assert_eq!(child.age(secs(131)), secs(131), "how old it is has nothing to do with it");
            child.process.wait().unwrap();
        }
        let (mut leaving, _theirs) = child(true);
        leaving.leave(Order::Leave(None), secs(0), secs(15));
        assert!(!leaving.hangs(secs(0)));
        leaving.spare(secs(100));
        assert_eq!(hangs_at(&mut leaving), Some(116));
        leaving.process.wait().unwrap();
    }

    #[test]
    fn a_child_that_does_not_listen_is_spared_for_as_long_as_nobody_looked() {
        let (mut child, theirs) = child(true);
        drop(theirs);
        // A process that another test is just starting may have the other end for a moment.
        while child.channel.is_open() {
            child.reports();
        }
        let turns = |child: &Child| child.page.slot(0).unwrap().turn();
        assert!(!child.hangs(secs(0)));
        child.spare(secs(100));
        turns(&child);
        assert!(!child.hangs(secs(110)), "it turns");
        turns(&child);
        assert!(!child.hangs(secs(130)));
        turns(&child);
        assert!(child.hangs(secs(131)), "and is deaf");
        child.process.wait().unwrap();
    }
}
