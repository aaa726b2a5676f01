//! What it costs a capture thread to hand its transactions to the live sensor's output, beside replay's plain writer:
//!
//!     cargo bench --bench feeder -- tests/data/demo.pcap
//!
//! A third and a fourth number are of the feeder as a capture thread has it, which also shows samples to who watches: at
//! 50 000 transactions a second while nobody does, and while somebody does.
//!
//! All are given every transaction of the capture many times over. The containers are dropped behind the feeder, so that
//! nothing but its own work is measured, in processor time of its thread. The feeder is some nanoseconds dearer, all of them
//! cache misses: its containers take turns, the plain writer fills the same memory again and again.

use sie_dns_sensor::{
    capture::{Input, Next},
    config::{self, Compress},
    daemon::{
        SystemClock,
        samples::{Sampled, Sampler, Samples, Watch},
    },
    nmsg::writer::Writer,
    spool::{self, Config, Feeder, Output, Policy},
    stats::Ledger,
    track::{Limits, Rules, Sink, Tracker, Transaction},
};
use std::{fs, io, path::PathBuf, time::Duration};

/// How often each transaction is given, unless a second argument says.
const TIMES: u64 = 2_000;

fn main() {
    // cargo adds --bench, and without a capture there is nothing to measure.
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let Some(path) = arguments.next() else {
        println!("feeder: name a capture file");
        return;
    };
    let times = arguments.next().map_or(TIMES, |times| times.parse().expect("a number"));
    for _ in 0..3 {
        let mut writer = Repeat::new(Writer::new(io::sink(), None), times);
        replay(&path, &mut writer);
        println!("writer {:.1} ns a transaction", writer.nanos());
        let (feeder, output) = feeder();
        let mut feeder = Repeat::new(feeder, times);
        replay(&path, &mut feeder);
        println!("feeder {:.1} ns a transaction", feeder.nanos());
        feeder.sink.finish(Ledger::default());
        output.finish();
        for is_watched in [false, true] {
            let (feeder, output) = self::feeder();
            let mut sampled = Repeat::new(Sampling::new(feeder, is_watched), times);
            replay(&path, &mut sampled);
            let is = if is_watched { "watched" } else { "not watched" };
            println!("{is} {:.1} ns a transaction", sampled.nanos());
            sampled.sink.feeder.finish(Ledger::default());
            output.finish();
        }
    }
}

fn feeder() -> (Feeder, Output) {
    let policy = Policy {
        rotate: Duration::from_secs(3600),
        compress: Compress::Adaptive,
        min_free: u64::MAX,
        loss_record: false,
    };
    let config = Config {
        directory: std::env::temp_dir(),
        host: "bench".into(),
        threads: 1,
        queue_bytes: 64 << 20,
        seed: 0,
        policy,
    };
    let (mut feeders, output) = spool::start(config, SystemClock::new(), 1, drop).expect("the directory is there");
    (feeders.remove(0), output)
}

/// A turn of a capture thread, at 50 000 transactions a second.
const TURN: (u64, Duration) = (500, Duration::from_millis(10));

/// A feeder as a capture thread has it.
struct Sampling {
    feeder: Feeder,
    sampler: Sampler,
    watch: Watch,
    is_watched: bool,
    given: u64,
    now: Duration,
}

impl Sampling {
    fn new(feeder: Feeder, is_watched: bool) -> Sampling {
        let page = Samples::new().and_then(|samples| samples.descriptor()).expect("memory");
        let sampler = Sampler::of_threads(Some(&page), 1).expect("memory").remove(0);
        let watch = Watch::new(&page).expect("memory");
        Sampling { feeder, sampler, watch, is_watched, given: 0, now: Duration::ZERO }
    }
}

impl Sink for Sampling {
    #[inline]
    fn transaction(&mut self, transaction: &Transaction) {
        self.given += 1;
        if self.given.is_multiple_of(TURN.0) {
            self.now += TURN.1;
            if self.is_watched {
                self.watch.ask(self.now);
            }
            self.sampler.look(self.now);
        }
        Sampled { sink: &mut self.feeder, sampler: &mut self.sampler }.transaction(transaction);
    }
}

fn replay(path: &str, sink: &mut impl Sink) {
    let (settings, _) = config::load(None, &[]).unwrap_or_else(|problems| panic!("{problems}"));
    let mut input = Input::new(vec![PathBuf::from(path)], false);
    let mut tracker = Tracker::new(Rules::new(&settings, settings.replay_capture_rd(), 1), Limits::new(&settings));
    loop {
        match input.next() {
            Next::Frame(frame) => tracker.packet(&frame, sink),
            Next::End => break,
            other => panic!("{path}: {other:?}"),
        }
    }
    tracker.finish(sink);
}

/// Gives each transaction many times.
struct Repeat<S> {
    sink: S,
    times: u64,
    given: u64,
    spent: u64,
}

impl<S> Repeat<S> {
    fn new(sink: S, times: u64) -> Repeat<S> {
        Repeat { sink, times, given: 0, spent: 0 }
    }

    fn nanos(&self) -> f64 {
        self.spent as f64 / self.given as f64
    }
}

impl<S: Sink> Sink for Repeat<S> {
    fn transaction(&mut self, transaction: &Transaction) {
        let before = processor_time();
        for _ in 0..self.times {
            self.sink.transaction(transaction);
        }
        self.spent += processor_time() - before;
        self.given += self.times;
    }
}

/// Of this thread, in nanoseconds. Linux only.
fn processor_time() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("this is Linux");
    text.split(' ').next().and_then(|word| word.parse().ok()).expect("it starts with a number")
}
