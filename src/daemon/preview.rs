//! What the sensor would write, shown and not written: the work of the capture child in one process, without a spool.

use super::{
    SystemClock, capture,
    channel::Report,
    counts,
    follow::{Control, Follower, Outlet},
    page::{Page, Slot},
    privileges,
    samples::Sampler,
    sandbox::{self, Role},
    timeline::Timeline,
    users,
};
use crate::{
    capture::live::{self, Live},
    config::{Budget, Settings},
    stats::Ledger,
    sys,
    time::{Clock, Timestamp},
    track::{Limits, Rules, Sink, Tracker, Transaction},
};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};
use std::{
    fmt::Display,
    io,
    os::fd::{AsFd, AsRawFd, RawFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver},
    },
};

/// Who looks on.
pub trait Viewer: Sink {
    /// Called at least every 100 ms: shows what came since. False once there is nobody to show it to.
    fn turn(&mut self) -> bool;

    /// Tells something about the capture itself.
    fn tell(&mut self, line: &str);
}

/// Why there is nothing to be seen.
#[derive(Debug)]
pub struct PreviewError {
    /// What to say.
    pub message: String,
    /// It is a matter of settings.
    pub is_settings: bool,
}

fn failed(message: impl Display) -> PreviewError {
    PreviewError { message: message.to_string(), is_settings: false }
}

/// What there was to be seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// The account of all packets; the transactions shown are its output.
    pub ledger: Ledger,
    /// Interfaces that were lost.
    pub lost: usize,
}

/// Interfaces that are open, in a process that can do nothing but read them and write to what it has open.
pub struct Preview {
    settings: Settings,
    budget: Budget,
    live: Live,
    slot: Slot,
    is_to_end: Arc<AtomicBool>,
    notices: Vec<String>,
}

impl Preview {
    /// Opens the interfaces of the settings, all of them, then gives up every privilege. The process must have one thread.
    ///
    /// There is one capture thread whatever `capture_threads` says: packets are paired by their addresses with any number,
    /// and a sensor that runs beside keeps its rings to itself.
    pub fn open(settings: Settings) -> Result<Preview, PreviewError> {
        let settings_fault = |message: String| PreviewError { message, is_settings: true };
        let user = users::of_capture(&settings)
            .map_err(|error| PreviewError { message: error.to_string(), is_settings: !error.may_pass() })?;
        let count = settings.interfaces.len();
        let budget = Budget::new(&settings, count, 1).map_err(|error| settings_fault(error.to_string()))?;
        let slot = Page::create(counts::layout(1, count)).map(|(page, _)| page.slot(0));
        let slot = slot.map_err(|error| failed(format!("cannot make a page of counters: {error}")))?;
        let slot = slot.ok_or_else(|| failed("the page of counters is too small"))?;
        let rings = live::open(&settings.interfaces, 1, &capture::options(&settings)).map_err(failed)?;
        let rings: Vec<_> = rings.into_iter().flatten().collect();
        let notices = rings.iter().filter_map(|ring| ring.warning().map(str::to_owned)).collect();
        let is_to_end = ends_on_signals().map_err(|error| failed(format!("cannot listen for signals: {error}")))?;

        // A sensor that runs goes first.
        sys::priority::yield_to_others();
        privileges::drop_to(&user).map_err(failed)?;
        privileges::limit_data(budget.data_limit()).map_err(failed)?;
        let devices: Vec<RawFd> = rings.iter().map(|ring| ring.as_fd().as_raw_fd()).collect();
        let entered = sandbox::enter(&Role::Capture { output: None, devices: &devices }).map_err(failed)?;
        let live = Live::new(rings, budget.held_back_of_ring());
        let mut preview = Preview { settings, budget, live, slot, is_to_end, notices };
        preview.notices.extend(entered.missing);
        Ok(preview)
    }

    /// What could not be done as asked, as when an interface knows no promiscuous mode.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// What is captured from.
    pub fn interfaces(&self) -> impl Iterator<Item = &str> {
        self.settings.interfaces.iter().map(|interface| interface.name.as_str())
    }

    /// Follows packets as the sensor does, until a signal says to end, no interface is left, or the viewer has seen enough.
    /// Queries that wait then are shown as unanswered: a sensor that ends writes them so.
    pub fn follow(self, viewer: &mut impl Viewer) -> Seen {
        let Preview { settings, budget, live, slot, is_to_end, .. } = self;
        let clock = SystemClock::new();
        let interfaces: Vec<String> = settings.interfaces.iter().map(|interface| interface.name.clone()).collect();
        let rules = Rules::new(&settings, settings.run_capture_rd(), interfaces.len());
        let tracker = Tracker::new(rules, Limits::of_thread(&settings, &budget));
        let control = Arc::new(Control::new(settings));
        let (reporter, reports) = mpsc::channel();
        let mut seen = Seen::default();
        let outlet = Shown {
            viewer,
            seen: &mut seen,
            control: control.clone(),
            clock,
            is_to_end,
            reports,
            interfaces: interfaces.len(),
        };
        let follower = Follower {
            live,
            tracker,
            outlet,
            sampler: Sampler::unwatched(),
            timeline: Timeline::new(clock),
            slot,
            control,
            since: Timestamp::default(),
            budget,
            places: (0..interfaces.len()).map(Some).collect(),
            interfaces,
            disorder: Default::default(),
            reports: reporter,
        };
        follower.run();
        seen
    }
}

/// A flag that INT and TERM set. A second one ends the process at once: it may be waiting for somebody to read what it
/// writes.
fn ends_on_signals() -> io::Result<Arc<AtomicBool>> {
    let is_to_end = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_default(signal, is_to_end.clone())?;
        flag::register(signal, is_to_end.clone())?;
    }
    Ok(is_to_end)
}

/// Between the thread that captures, which is the only one, and the viewer.
struct Shown<'v, V> {
    viewer: &'v mut V,
    seen: &'v mut Seen,
    control: Arc<Control>,
    clock: SystemClock,
    is_to_end: Arc<AtomicBool>,
    reports: Receiver<Report>,
    /// How many there were.
    interfaces: usize,
}

impl<V: Viewer> Shown<'_, V> {
    fn tell(&mut self) {
        for report in self.reports.try_iter() {
            match report {
                Report::InterfaceLost(name, reason) => {
                    self.seen.lost += 1;
                    self.viewer.tell(&format!("{name}: no packets come from it any more: {reason}"));
                }
                Report::Log(_, line) => self.viewer.tell(&line),
                _ => {}
            }
        }
    }
}

impl<V: Viewer> Sink for Shown<'_, V> {
    #[inline]
    fn transaction(&mut self, transaction: &Transaction) {
        self.seen.ledger.output.transactions += 1;
        self.viewer.transaction(transaction);
    }
}

impl<V: Viewer> Outlet for Shown<'_, V> {
    fn turn(&mut self, _: impl FnOnce() -> Ledger) {
        self.tell();
        let goes_on = self.viewer.turn();
        if !goes_on || self.is_to_end.load(Ordering::Relaxed) || self.seen.lost == self.interfaces {
            self.control.leave(self.clock.wall(), false);
        }
    }

    fn finish(mut self, ledger: Ledger) {
        self.tell();
        self.viewer.turn();
        let output = self.seen.ledger.output.clone();
        self.seen.ledger = Ledger { output, ..ledger };
    }
}
