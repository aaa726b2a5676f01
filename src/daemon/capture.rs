//! The capture child: opens the interfaces, gives up every privilege, then reads packets.

use super::{
    SystemClock,
    channel::{Order, Report, Start},
    counts,
    follow::{AHEAD, Control, Follower},
    page::{Page, Slot},
    post::Post,
    privileges,
    samples::Sampler,
    sandbox::{self, Role},
    timeline::Timeline,
};
use crate::{
    capture::live::{self, Filter, Live, OpenError, OpenFault, Options, Ring},
    config::{Budget, Interface, LogLevel, Settings},
    spool::{self, Event, Policy},
    stats::Ledger,
    time::Clock,
    track::{Limits, Rules, Tracker},
};
use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How often the control thread looks at what the others have to report.
const TICK: Duration = Duration::from_millis(50);

/// The process. Its channel is descriptor 0, its page descriptor 1; `samples` is the page for those who watch. Everything
/// that goes wrong is reported.
pub fn run(mut post: Post, start: Start, samples: Option<OwnedFd>) -> bool {
    match begin(&mut post, start, samples) {
        Ok(Some(capture)) => {
            capture.attend(post);
            true
        }
        Ok(None) => {
            post.close();
            true
        }
        Err(Hopeless { message, is_final }) => {
            let report = match is_final {
                true => Report::Hopeless(message),
                false => Report::Log(LogLevel::Error, message),
            };
            post.send(&report);
            post.close();
            false
        }
    }
}

/// Why it cannot begin.
struct Hopeless {
    message: String,
    /// Another try would end in the same way.
    is_final: bool,
}

fn hopeless(message: impl ToString) -> Hopeless {
    Hopeless { message: message.to_string(), is_final: true }
}

/// A child that captures, seen from its control thread.
struct Capture {
    control: Arc<Control>,
    threads: Vec<JoinHandle<()>>,
    output: spool::Output,
    /// The writers' place on the page.
    slot: Slot,
    reports: Receiver<Report>,
}

/// Everything up to the first packet: what needs privileges first, then giving them up, then the rest. None, if there is
/// nothing to begin for.
fn begin(post: &mut Post, start: Start, samples: Option<OwnedFd>) -> Result<Option<Capture>, Hopeless> {
    let settings = Settings::from_text(&start.settings).map_err(hopeless)?;
    let threads = settings.capture_threads;
    let page = Page::of_this_process(counts::layout(threads, start.interfaces.len()));
    let page = page.map_err(|error| hopeless(format!("cannot map the page of counters: {error}")))?;
    let samplers = Sampler::of_threads(samples.as_ref(), threads)
        .map_err(|error| hopeless(format!("cannot map the page of samples: {error}")))?;
    drop(samples);
    let Some((interfaces, rings)) = open(post, &start, &settings)? else { return Ok(None) };
    let budget = Budget::new(&settings, settings.interfaces.len(), threads).map_err(hopeless)?;

    privileges::drop_to(&start.user).map_err(hopeless)?;
    privileges::limit_data(budget.data_limit()).map_err(hopeless)?;
    let directory = settings.spool_dir.join("new").join(&settings.channel);
    if directory.metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        post.send(&Report::DirectoryGone);
    }
    let devices: Vec<RawFd> = rings.iter().flatten().map(|ring| ring.as_fd().as_raw_fd()).collect();
    let entered = sandbox::enter(&Role::Capture { output: Some(&directory), devices: &devices }).map_err(hopeless)?;
    post.confined("capture", &entered);

    let clock = SystemClock::new();
    let (reporter, reports) = mpsc::channel();
    let config = spool::Config {
        directory: directory.clone(),
        host: start.host,
        threads,
        queue_bytes: budget.output as usize,
        seed: start.offset,
        policy: policy(&settings),
    };
    let of_spool = reporter.clone();
    let (feeders, output) = spool::start(config, clock, threads, move |event| report(&of_spool, &event))
        .map_err(|error| hopeless(format!("cannot write to {}: {error}", directory.display())))?;
    let tracker = |_| {
        let rules = Rules::new(&settings, settings.run_capture_rd(), settings.interfaces.len());
        Tracker::new(rules, Limits::of_thread(&settings, &budget))
    };
    // Their tables take a while to be made; what is captured meanwhile waits in the rings.
    let trackers: Vec<Tracker> = (0..threads).map(tracker).collect();
    let ready = clock.wall() + if start.takes_over { AHEAD } else { Duration::ZERO };
    let cut = start.since.unwrap_or_default();
    // Until the rings of several threads share an interface, each has all packets.
    let since = if start.takes_over || threads > 1 { ready.max(cut) } else { cut };
    let control = Arc::new(Control::new(settings.clone()));
    // Where the counters of each of its interfaces are: by the order in which it was told to open them.
    let places = start.interfaces.iter().map(|name| interfaces.iter().position(|opened| opened == name)).collect();
    let places: Arc<[Option<usize>]> = places;
    let mut handles = Vec::new();
    let parts = rings.into_iter().zip(trackers).zip(feeders).zip(samplers).zip(page.slots());
    for ((((rings, tracker), feeder), sampler), slot) in parts {
        let follower = Follower {
            live: Live::new(rings, budget.held_back_of_ring()),
            tracker,
            outlet: feeder,
            sampler,
            timeline: Timeline::new(clock),
            slot,
            control: control.clone(),
            since,
            budget,
            places: places.clone(),
            interfaces: interfaces.clone(),
            disorder: (0, Duration::ZERO),
            reports: reporter.clone(),
        };
        let thread = thread::Builder::new().name("capture".to_owned()).spawn(move || follower.run());
        handles.push(thread.map_err(|error| hopeless(format!("cannot start a thread: {error}")))?);
    }
    let slot = page.slot(threads).ok_or_else(|| hopeless("the page of counters is too small"))?;
    post.send(&Report::Ready(ready, interfaces));
    Ok(Some(Capture { control, threads: handles, output, slot, reports }))
}

/// Interfaces, and the rings of them for every thread.
type Opened = (Vec<String>, Vec<Vec<Ring>>);

/// Opens all interfaces that can be opened, for every thread. None, if the child is only for some and these cannot be.
fn open(post: &mut Post, start: &Start, settings: &Settings) -> Result<Option<Opened>, Hopeless> {
    let options = options(settings);
    let wanted = settings.interfaces.iter().filter(|interface| start.interfaces.contains(&interface.name));
    let mut interfaces: Vec<Interface> = wanted.cloned().collect();
    let mut failed: Vec<OpenError> = Vec::new();
    loop {
        if is_needless(start, &interfaces) {
            // Whatever else has failed is captured from by the other child, which goes on.
            failed.retain(|error| start.only_for.contains(&error.interface));
            report_failed(post, &failed);
            return Ok(None);
        }
        // None at all, where the settings name none that is there, is another matter.
        if interfaces.is_empty() && !failed.is_empty() {
            report_failed(post, &failed);
            return Err(Hopeless { is_final: false, ..hopeless("no interface could be opened") });
        }
        match live::open(&interfaces, settings.capture_threads, &options) {
            Ok(rings) => {
                report_failed(post, &failed);
                describe_all(post, &rings);
                return Ok(Some((interfaces.into_iter().map(|interface| interface.name).collect(), rings)));
            }
            Err(error @ OpenError { fault: OpenFault::NoPermission(_), .. }) => return Err(hopeless(error)),
            Err(error) => {
                let place = interfaces.iter().position(|interface| interface.name == error.interface);
                let Some(place) = place else { return Err(hopeless(error)) };
                interfaces.remove(place);
                failed.push(error);
            }
        }
    }
}

/// Whether it is only for interfaces that are not among these: to take the packets over would cost the other child its
/// tables, for nothing.
fn is_needless(start: &Start, interfaces: &[Interface]) -> bool {
    !start.only_for.is_empty() && !interfaces.iter().any(|interface| start.only_for.contains(&interface.name))
}

fn report_failed(post: &mut Post, failed: &[OpenError]) {
    for error in failed {
        post.send(&Report::InterfaceLost(error.interface.clone(), error.to_string()));
    }
}

fn describe_all(post: &mut Post, rings: &[Vec<Ring>]) {
    for ring in rings.iter().flatten() {
        ring.warning().into_iter().for_each(|line| post.send(&Report::Log(LogLevel::Warning, line.into())));
    }
    for ring in rings.first().into_iter().flatten() {
        post.send(&Report::Log(LogLevel::Debug, describe(ring)));
    }
}

/// How the settings say to open interfaces.
pub(super) fn options(settings: &Settings) -> Options {
    let buffer_bytes = usize::try_from(settings.capture_buffer).unwrap_or(usize::MAX);
    Options { buffer_bytes, filter: Filter::new(settings) }
}

fn describe(ring: &Ring) -> String {
    let resolution = if ring.has_nanoseconds() { "nanoseconds" } else { "microseconds" };
    let filter = ring.program().map_or(0, |program| program.instructions());
    let (name, link_type) = (ring.interface(), ring.link_type());
    format!("{name}: {link_type:?} frames, times in {resolution}, filter of {filter} instructions")
}

fn show_output(slot: &Slot, output: &spool::Output) {
    let ledger = Ledger { output: output.counters(), ..Ledger::default() };
    counts::publish(slot, &ledger, &output.vitals(), std::iter::empty());
}

fn policy(settings: &Settings) -> Policy {
    Policy {
        rotate: settings.rotate,
        compress: settings.compress,
        min_free: settings.min_free,
        loss_record: settings.loss_record,
    }
}

/// What the spool has to say, to the supervisor.
fn report(reports: &Sender<Report>, event: &Event) {
    let report = match event {
        Event::Recorded(recorded) => {
            // When nobody listens any more the process is about to end.
            let _ = reports.send(Report::Recorded(recorded.clone()));
            return;
        }
        Event::Published { .. } => Report::Published,
        Event::DirectoryGone { .. } => Report::DirectoryGone,
        _ => Report::Log(level(event), event.to_string()),
    };
    let _ = reports.send(Report::Log(level(event), event.to_string()));
    if !matches!(report, Report::Log(..)) {
        let _ = reports.send(report);
    }
}

impl Capture {
    /// Attends to the supervisor until it says to leave, or is gone; then leaves.
    fn attend(mut self, mut post: Post) {
        let (cut, is_handed_over) = loop {
            post.wait(TICK);
            self.slot_output();
            self.forward(&mut post);
            let mut leave = None;
            for order in post.orders() {
                match order {
                    Order::Settings(text) => self.change(&text, &mut post),
                    Order::Elsewhere(ledger) => self.output.tell(*ledger),
                    Order::Leave(cut) => leave = Some(cut),
                    Order::Start(_) | Order::Look => {}
                }
            }
            if let Some(cut) = leave.or_else(|| post.is_to_leave().then_some(None)) {
                break (cut.unwrap_or_else(|| SystemClock::new().wall()), cut.is_some());
            }
        };
        self.control.leave(cut, is_handed_over);
        for thread in self.threads {
            // A panic of ours has said so on standard error.
            let _ = thread.join();
        }
        self.output.close();
        show_output(&self.slot, &self.output);
        self.reports.try_iter().for_each(|report| post.send(&report));
        post.close();
    }

    fn slot_output(&self) {
        show_output(&self.slot, &self.output);
        self.slot.turn();
    }

    fn forward(&self, post: &mut Post) {
        self.reports.try_iter().for_each(|report| post.send(&report));
    }

    fn change(&self, text: &str, post: &mut Post) {
        match Settings::from_text(text) {
            Ok(settings) => {
                self.output.reconfigure(policy(&settings));
                self.control.change(settings);
            }
            Err(problems) => post.send(&Report::Log(LogLevel::Error, problems.to_string())),
        }
    }
}

fn level(event: &Event) -> LogLevel {
    match event {
        Event::Published { .. } | Event::Recorded(_) => LogLevel::Debug,
        Event::Resumed { .. } => LogLevel::Info,
        Event::Repaired { .. } | Event::Removed { .. } => LogLevel::Warning,
        Event::Stopped(_) | Event::DirectoryGone { .. } | Event::Lost { .. } | Event::Failed { .. } => LogLevel::Error,
    }
}
