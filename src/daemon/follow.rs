//! A capture thread: frames through the tracker to the spool, or to who only looks on.

use super::{
    channel::Report,
    counts,
    page::Slot,
    samples::{Sampled, Sampler},
    timeline::Timeline,
};
use crate::{
    capture::{
        Frame,
        live::{Filter, Live},
    },
    config::{Budget, LogLevel, Settings},
    spool::Feeder,
    stats::{Ledger, Link, Vitals},
    time::{Clock, Timestamp},
    track::{Limits, Rules, Sink, Tracker},
};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::Sender,
    },
    time::Duration,
};

/// How long it waits for packets before it looks at everything else.
const WAIT: Duration = Duration::from_millis(100);
/// How long it waits when it cannot wait for packets.
const PAUSE: Duration = Duration::from_millis(10);
/// Frames between two looks: a few milliseconds at most.
const FRAMES: usize = 4096;
/// The kernel hands a block of packets over when it is full, or after 100 ms; twice that, and nothing older comes.
const LATE: Duration = Duration::from_millis(200);
/// How long frames before the cut may still come in when it leaves.
const LAST: Duration = Duration::from_millis(300);
/// How much longer it reads what waits in the rings when it leaves: a host that is too busy may not have let it read for a
/// while. The supervisor kills what has not left after 15 s.
const DRAIN: Duration = Duration::from_secs(10);
/// Frames of a ring are in the order of their times, but for those that several processors received at once.
const DISORDER: Duration = Duration::from_millis(10);
/// How far ahead a process puts the time from which on it has the packets: the one before it must know it by then, or both
/// would have what comes between. It looks twice in 150 ms; what is left is for busy hosts.
pub const AHEAD: Duration = Duration::from_secs(1);
/// Between two lines about the same.
const TELL: Duration = Duration::from_secs(60);
/// Between two questions to the kernel for what it dropped.
const STATISTICS: Duration = Duration::from_secs(1);

/// What the control thread tells the capture threads. They look at it in every turn.
pub struct Control {
    /// Packets stamped before this are taken; the end of time until it leaves.
    cut: AtomicU64,
    /// Whether somebody else has the packets from there on.
    is_handed_over: AtomicU64,
    /// How many times the settings have changed.
    generation: AtomicU64,
    settings: Mutex<Arc<Settings>>,
}

impl Control {
    /// Go on, by these settings.
    pub fn new(settings: Settings) -> Control {
        Control {
            cut: AtomicU64::new(u64::MAX),
            is_handed_over: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            settings: Mutex::new(Arc::new(settings)),
        }
    }

    /// Take what is stamped before `cut`, and leave.
    pub fn leave(&self, cut: Timestamp, is_handed_over: bool) {
        self.is_handed_over.store(is_handed_over.into(), Ordering::Relaxed);
        self.cut.fetch_min(cut.as_nanos(), Ordering::Release);
    }

    /// Go by other settings.
    pub fn change(&self, settings: Settings) {
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
        self.generation.fetch_add(1, Ordering::Release);
    }

    fn cut(&self) -> Timestamp {
        Timestamp::from_nanos(self.cut.load(Ordering::Acquire))
    }

    fn settings(&self) -> Arc<Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Where transactions go.
pub trait Outlet: Sink {
    /// Called at least every 100 ms, packets or none, with the counters as they stand for who asks.
    fn turn(&mut self, ledger: impl FnOnce() -> Ledger);

    /// No more comes; with the last word of this thread.
    fn finish(self, ledger: Ledger);
}

impl Outlet for Feeder {
    #[inline]
    fn turn(&mut self, ledger: impl FnOnce() -> Ledger) {
        Feeder::turn(self, ledger);
    }

    fn finish(self, ledger: Ledger) {
        Feeder::finish(self, ledger);
    }
}

/// What a capture thread has.
pub struct Follower<C, O> {
    /// Its rings.
    pub live: Live,
    /// What follows the packets.
    pub tracker: Tracker,
    /// Where transactions go.
    pub outlet: O,
    /// Where some of them also go while somebody watches.
    pub sampler: Sampler,
    /// Its clocks.
    pub timeline: Timeline<C>,
    /// Its place on the page.
    pub slot: Slot,
    /// What it is told.
    pub control: Arc<Control>,
    /// Packets stamped before this are another process's.
    pub since: Timestamp,
    /// Memory of all threads together.
    pub budget: Budget,
    /// Which ring each of the interfaces has that it was told to open.
    pub places: Arc<[Option<usize>]>,
    /// Its interfaces, in the order of its rings.
    pub interfaces: Vec<String>,
    /// Frames that left out of order when that was last told, and when it may be told again.
    pub disorder: (u64, Duration),
    /// Where it says what is wrong.
    pub reports: Sender<Report>,
}

impl<C: Clock, O: Outlet> Follower<C, O> {
    /// Follows packets until it is told to leave; everything that waits leaves then. Allocates nothing per packet.
    pub fn run(mut self) {
        let mut generation = 0;
        let mut next_statistics = Duration::ZERO;
        let mut leave_by = None;
        loop {
            if self.live.wait(WAIT, &[]).is_err() {
                std::thread::sleep(PAUSE); // without poll the loop goes on all the same
            }
            let cut = self.control.cut();
            let (is_past_cut, is_empty) = self.turn(cut);
            let monotonic = self.timeline.monotonic();
            self.sampler.look(monotonic);
            if monotonic >= next_statistics {
                next_statistics = monotonic + STATISTICS;
                self.live.look();
                self.tell_disorder(monotonic);
            }
            self.publish();
            if self.control.generation.load(Ordering::Acquire) != generation {
                generation = self.reconfigure();
            }
            if cut.as_nanos() < u64::MAX {
                let until_cut = cut.since(self.timeline.now()).min(AHEAD); // the clock may be set
                let by = *leave_by.get_or_insert(monotonic + until_cut + LAST);
                if is_empty && (is_past_cut || monotonic > by) || monotonic > by + DRAIN {
                    break;
                }
            }
        }
        self.leave();
    }

    /// Reads what there is, lets leave what has waited too long. Whether packets beyond the cut have come, and whether the
    /// rings are empty.
    fn turn(&mut self, cut: Timestamp) -> (bool, bool) {
        let Follower { live, tracker, outlet, sampler, timeline, since, .. } = self;
        let mut sink = Sampled { sink: outlet, sampler };
        if let Some(by) = timeline.look() {
            clock_was_set(tracker, since, by);
        }
        let now = timeline.now();
        let mut is_past_cut = false;
        let read = live.read(now, FRAMES, |frame| {
            let time = timeline.packet(frame.time, |by| clock_was_set(tracker, since, by));
            if time >= cut {
                is_past_cut |= time >= cut + DISORDER;
            } else if time >= *since {
                tracker.packet(&Frame { time, ..*frame }, &mut sink);
            }
        });
        if read.is_empty {
            // Nothing older than this can come any more. Packets of hosts that are not watched would
            // move no query's time.
            tracker.expire(now.before(LATE).min(cut), &mut sink);
        }
        for (index, error) in &read.failed {
            let name = self.interfaces.get(*index).cloned().unwrap_or_default();
            self.report(Report::InterfaceLost(name, error.to_string()));
        }
        (is_past_cut, read.is_empty)
    }

    fn publish(&mut self) {
        let Follower { live, tracker, outlet, .. } = self;
        outlet.turn(|| Ledger { kernel: live.kernel(), ..tracker.ledger() });
        self.show(&self.ledger());
        self.slot.turn();
    }

    fn ledger(&self) -> Ledger {
        Ledger { kernel: self.live.kernel(), ..self.tracker.ledger() }
    }

    fn show(&self, ledger: &Ledger) {
        let vitals = Vitals { out_of_order: self.live.released_early(), ..self.tracker.vitals() };
        let unopened = Link::default();
        let link = |place: &Option<usize>| self.live.links().get((*place)?);
        let links = self.places.iter().map(|place| link(place).unwrap_or(&unopened));
        counts::publish(&self.slot, ledger, &vitals, links);
    }

    /// Frames of several interfaces that could not wait for each other; once a minute.
    fn tell_disorder(&mut self, now: Duration) {
        let early = self.live.released_early();
        if early > self.disorder.0 && now >= self.disorder.1 {
            let count = early - self.disorder.0;
            let line = format!(
                "{count} packets were followed out of order: interfaces are read unevenly, or the memory for waiting is too \
                 small (memory_ulimit_kbytes)"
            );
            self.report(Report::Log(LogLevel::Warning, line));
            self.disorder = (early, now + TELL);
        }
    }

    fn report(&self, report: Report) {
        // When nobody listens any more the process is about to end.
        let _ = self.reports.send(report);
    }

    /// Other settings: the kernel's filter first, so that what it lets through from then on is judged by the new rules.
    /// Which change of the settings this was.
    fn reconfigure(&mut self) -> u64 {
        let generation = self.control.generation.load(Ordering::Acquire);
        let settings = self.control.settings();
        let filter = Filter::new(&settings);
        let refused: Vec<_> = self.live.sources().flatten().filter_map(|ring| ring.set_filter(&filter).err()).collect();
        for error in refused {
            self.report(Report::Log(LogLevel::Error, format!("the old filter stays in force: {error}")));
        }
        let rules = Rules::new(&settings, settings.run_capture_rd(), settings.interfaces.len());
        self.tracker.reconfigure(rules, Limits::of_thread(&settings, &self.budget), &mut self.outlet);
        generation
    }

    fn leave(mut self) {
        let Follower { live, tracker, outlet, timeline, since, control, .. } = &mut self;
        let cut = control.cut();
        live.flush(|frame| {
            let time = timeline.packet(frame.time, |by| clock_was_set(tracker, since, by));
            if time >= *since && time < cut {
                tracker.packet(&Frame { time, ..*frame }, outlet);
            }
        });
        if self.control.is_handed_over.load(Ordering::Relaxed) == 1 {
            self.tracker.hand_over(&mut self.outlet);
        } else {
            self.tracker.finish(&mut self.outlet);
        }
        self.live.look();
        let ledger = self.ledger();
        self.show(&ledger);
        self.outlet.finish(ledger);
    }
}

/// What waits is as old as it was, and `since` the moment that it was: on a clock set back it would be one to come.
fn clock_was_set(tracker: &mut Tracker, since: &mut Timestamp, by: i64) {
    tracker.clock_was_set(by);
    *since = since.shifted(by);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        capture::{
            LinkType,
            live::{Options, Ring},
        },
        config::{self, Compress, Interface},
        daemon::{SystemClock, page::Page},
        spool::{self, Output, Policy},
    };
    use nix::unistd::Uid;
    use std::{cell::Cell, fs, net::UdpSocket, sync::mpsc};

    /// A wall clock that is moved by hand.
    struct Wall(Cell<Timestamp>);

    impl Clock for &Wall {
        fn wall(&self) -> Timestamp {
            self.0.get()
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }

    fn follower<C: Clock>(clock: C, since: Timestamp, sets: &[&str]) -> (Follower<C, Feeder>, Output) {
        let name = format!("sie-follow-{}-{}", std::process::id(), sets.len());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        let policy =
            Policy { rotate: Duration::from_secs(60), compress: Compress::Off, min_free: 0, loss_record: false };
        let config = spool::Config {
            directory: directory.clone(),
            host: "h".into(),
            threads: 1,
            queue_bytes: 0,
            seed: 0,
            policy,
        };
        let (mut feeders, output) = spool::start(config, SystemClock::new(), 1, |_| ()).unwrap();
        fs::remove_dir(directory).unwrap();
        let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
        let settings = config::load(None, &sets).unwrap().0;
        let budget = Budget::new(&settings, 1, 1).unwrap();
        let follower = Follower {
            live: Live::new(Vec::new(), 0),
            tracker: Tracker::new(
                Rules::new(&settings, settings.run_capture_rd(), 1),
                Limits::of_thread(&settings, &budget),
            ),
            outlet: feeders.remove(0),
            sampler: Sampler::unwatched(),
            timeline: Timeline::new(clock),
            slot: Page::create(counts::layout(1, 1)).unwrap().0.slot(0).unwrap(),
            control: Arc::new(Control::new(settings)),
            since,
            budget,
            places: [None].into(),
            interfaces: Vec::new(),
            disorder: (0, Duration::ZERO),
            reports: mpsc::channel().0,
        };
        (follower, output)
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_packet_another_processs() {
        let hour = Duration::from_secs(3600);
        let since = Timestamp::new(1_700_000_000, 0);
        let clock = Wall(Cell::new(since + Duration::from_secs(10)));
        let (mut follower, output) = follower(&clock, since, &[]);
        clock.0.set(clock.0.get().before(hour));
        follower.turn(Timestamp::from_nanos(u64::MAX));
        assert_eq!(follower.since, since.before(hour));
        follower.outlet.finish(Ledger::default());
        output.finish();
    }

    /// Clocks of a host so busy that 100 ms go by between two looks.
    struct Busy(SystemClock, Cell<Duration>);

    impl Clock for &Busy {
        fn wall(&self) -> Timestamp {
            self.0.wall()
        }

        fn monotonic(&self) -> Duration {
            self.1.set(self.1.get() + Duration::from_millis(100));
            self.1.get()
        }
    }

    #[test]
    fn what_waits_in_the_ring_is_followed_before_it_leaves() {
        if !Uid::effective().is_root() {
            return eprintln!("skipped: needs root");
        }
        const PACKETS: usize = 10 * FRAMES;
        let clock = Busy(SystemClock::new(), Cell::default());
        let (mut follower, output) = follower(&clock, Timestamp::default(), &["DNSQR_RES_ADDRS=192.0.2.53"; 3]);
        let lo = Interface { name: "lo".into(), promiscuous: false };
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = receiver.local_addr().unwrap().port();
        let settings = config::load(None, &[format!("DNSQR_PORTS={port}")]).unwrap().0;
        let options = Options { buffer_bytes: 32 << 20, filter: Filter::new(&settings) };
        follower.live = Live::new(vec![Ring::open(&lo, &options).unwrap()], 0);
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..PACKETS {
            sender.send_to(&[0], ("127.0.0.1", port)).unwrap();
        }
        std::thread::sleep(Duration::from_millis(300));
        follower.control.leave(clock.0.wall(), false);
        let slot = follower.slot.clone();
        follower.run();
        let ledger = Ledger::from_words(slot.record().first_chunk().unwrap());
        assert!(ledger.packets.unwatched >= PACKETS as u64, "{ledger:?}");
        output.finish();
    }

    /// A query from 192.0.2.53 to 198.51.100.1 for the root.
    const QUERY: [u8; 45] = [
        0x45, 0, 0, 45, 0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 53, 198, 51, 100, 1, // IP
        16, 0, 0, 53, 0, 25, 0, 0, // UDP
        0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1,
    ];

    #[test]
    fn queries_time_out_while_there_are_only_packets_of_others() {
        if !Uid::effective().is_root() {
            return eprintln!("skipped: needs root");
        }
        let clock = SystemClock::new();
        let sets = ["DNSQR_RES_ADDRS=192.0.2.53", "DNSQR_QUERY_TIMEOUT=1"];
        let (mut follower, output) = follower(clock, Timestamp::default(), &sets);
        let lo = Interface { name: "lo".into(), promiscuous: false };
        let options = Options { buffer_bytes: 1 << 20, filter: Filter::new(&Settings::default()) };
        follower.live = Live::new(vec![Ring::open(&lo, &options).unwrap()], 0);
        let time = clock.wall().before(Duration::from_secs(2));
        let query = Frame { time, link_type: LinkType::Raw, bytes: &QUERY, wire_len: QUERY.len() as u32 };
        follower.tracker.packet(&query, &mut follower.outlet);
        assert_eq!(follower.tracker.ledger().queries.open, 1);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(&[0], "127.0.0.1:53").unwrap();
        std::thread::sleep(Duration::from_millis(300));
        follower.turn(Timestamp::from_nanos(u64::MAX));
        let ledger = follower.tracker.ledger();
        assert!(ledger.packets.unwatched > 0);
        assert_eq!((ledger.queries.open, ledger.queries.timed_out), (0, 1));
        follower.outlet.finish(Ledger::default());
        output.finish();
    }
}
