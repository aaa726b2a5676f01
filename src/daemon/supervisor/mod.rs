//! The supervisor: starts the children, starts them anew, listens to signals, logs. It parses no packet.
//!
//! One loop. Every turn it starts what is to be started, sleeps, hears what children and signals say, and takes leave of
//! children that have ended.

mod account;
mod children;
mod ending;
mod health;
mod pausing;
mod reload;
mod state;

use super::{
    SystemClock, backoff::Backoff, board::Board, child::Child, interfaces::Interfaces, listen::Listeners, log::Log,
    orphans, samples::Samples, signals::Signals, timeline::Timeline, users::Users,
};
use crate::{
    config::Settings,
    stats::Ledger,
    time::{Clock, Timestamp},
};
use account::Account;
use health::Health;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pausing::Pauses;
use std::{os::fd::AsFd, path::PathBuf, process::ExitCode, time::Duration};

/// How often it looks after everything that no signal and no message tells.
const TICK: Duration = Duration::from_millis(500);
/// A child that was told to leave and is there so much later is killed. It takes two seconds when all is well.
const LEAVE: Duration = Duration::from_secs(15);

/// What keeps running while settings change.
pub struct Supervisor {
    log: Log,
    signals: Signals,
    clock: SystemClock,
    timeline: Timeline<SystemClock>,
    source: Source,
    settings: Settings,
    users: Users,
    host: String,
    seed: u64,
    interfaces: Interfaces,
    /// The capture child that has the packets.
    capture: Option<Child>,
    /// Its successor, not ready yet.
    successor: Option<Child>,
    /// Where its predecessor's packets end.
    cut: Option<Timestamp>,
    /// Those that were told to leave.
    leaving: Vec<Child>,
    upload: Option<Child>,
    views: Option<Child>,
    capture_start: Again,
    successor_start: Again,
    upload_start: Again,
    views_start: Again,
    /// Where the views child is asked, and where it reads.
    listeners: Listeners,
    board: Option<Board>,
    /// Where capture threads write for those who watch.
    samples: Option<Samples>,
    /// A successor is wanted although no interface is back.
    wants_successor: bool,
    /// The spool's directories are gone and could not be made; when to try again.
    next_spool: Option<Duration>,
    /// What children that are gone counted.
    past: Account,
    /// The part of it that is in no loss record of theirs.
    unrecorded: Ledger,
    /// How far records tell of that, and of gaps.
    recorded_elsewhere: Ledger,
    health: Health,
    pauses: Pauses,
    /// Children that ended and were not to.
    restarts: u64,
    began: Duration,
    /// When it last looked for children that hang.
    looked: Duration,
    next_show: Duration,
    is_ready: bool,
    stops: Option<ExitCode>,
    next_account: Duration,
    /// The ledger at the last account.
    accounted: Ledger,
    next_feed: Duration,
    status: String,
    on_ready: Option<Box<dyn FnOnce()>>,
}

/// Where settings are read from, again on HUP.
pub struct Source {
    /// The file.
    pub file: PathBuf,
    /// What goes over it.
    pub sets: Vec<String>,
}

/// When a child may be started.
#[derive(Default)]
struct Again {
    not_before: Duration,
    backoff: Backoff,
}

impl Again {
    fn died(&mut self, now: Duration, lived: Duration) -> Duration {
        let wait = self.backoff.died(lived);
        self.not_before = now + wait;
        wait
    }
}

impl Supervisor {
    /// With valid settings; nothing is started yet.
    pub fn new(
        source: Source,
        settings: Settings,
        users: Users,
        host: String,
        log: Log,
        signals: Signals,
        listeners: Listeners,
    ) -> Supervisor {
        let clock = SystemClock::new();
        let seed = clock.wall().as_nanos() ^ u64::from(std::process::id()).rotate_left(32);
        let names = settings.interfaces.iter().map(|interface| interface.name.clone());
        Supervisor {
            log,
            signals,
            clock,
            timeline: Timeline::new(clock),
            source,
            users,
            host,
            seed,
            interfaces: Interfaces::new(names),
            settings,
            capture: None,
            successor: None,
            cut: None,
            leaving: Vec::new(),
            upload: None,
            views: None,
            capture_start: Again::default(),
            successor_start: Again::default(),
            upload_start: Again::default(),
            views_start: Again::default(),
            listeners,
            board: None,
            samples: None,
            wants_successor: false,
            next_spool: None,
            past: Account::default(),
            unrecorded: Ledger::default(),
            recorded_elsewhere: Ledger::default(),
            health: Health::default(),
            pauses: Pauses::default(),
            restarts: 0,
            began: clock.monotonic(),
            looked: clock.monotonic(),
            next_show: Duration::ZERO,
            is_ready: false,
            stops: None,
            accounted: Ledger::default(),
            next_account: clock.monotonic() + reload::ACCOUNT,
            next_feed: Duration::ZERO,
            status: String::new(),
            on_ready: None,
        }
    }

    /// Runs until it is told to leave, or cannot begin. `on_ready` is called when all children are ready.
    pub fn run(mut self, on_ready: Option<Box<dyn FnOnce()>>) -> ExitCode {
        self.on_ready = on_ready;
        self.miss_interfaces();
        self.prepare_views();
        self.read_pauses();
        loop {
            self.heed_pauses();
            self.start_children();
            self.wait();
            self.listen();
            // Signals first: what is told to all processes at once is no reason to start children anew.
            self.obey_signals();
            self.reap();
            orphans::reap(&self.children().map(Child::pid).collect::<Vec<_>>());
            self.look_after();
            if let Some(code) = self.stops
                && self.is_alone()
            {
                self.conclude();
                return code;
            }
        }
    }

    fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// All that have not ended, as far as it knows.
    fn children(&self) -> impl Iterator<Item = &Child> {
        self.capture.iter().chain(&self.successor).chain(&self.upload).chain(&self.views).chain(&self.leaving)
    }

    /// Sleeps until something is to be done, a tick at most.
    fn wait(&mut self) {
        let mut descriptors = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        descriptors.extend(self.children().filter_map(Child::to_poll));
        let timeout = PollTimeout::try_from(TICK).unwrap_or(PollTimeout::MAX);
        // An interruption is a signal, which is looked for next; and whatever else is wrong, the loop goes on.
        let _ = poll(&mut descriptors, timeout);
        drop(descriptors);
        self.signals.clear();
    }
}
