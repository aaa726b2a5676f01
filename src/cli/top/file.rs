//! Files, as far as they have been read.

use super::{
    Source,
    rows::{Sort, fill},
    shown::{Fact, Health, Series, Shown},
};
use crate::{
    cli::{
        inputs::{Reading, Visitor},
        status::table::Bytes,
    },
    config::Settings,
    escape::{Escaped, escaped},
    present::stats::rcode_name,
    report::{
        exchange::{Exchange, Seen},
        gather::Gather,
        timeline::Timeline,
    },
    stats::Ledger,
    time::{NANOS, Timestamp},
};
use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// Between two looks whether it goes on.
const PAUSE: Duration = Duration::from_millis(50);
/// Of what is wrong, the last are kept.
const NOTES_MAX: usize = 8;
/// Response codes that have a line of their own.
const RCODES: usize = 8;

/// What is known of them.
pub(super) struct File {
    name: String,
    gather: Gather,
    packets: Timeline,
    /// Packets of captures, and their account.
    count: u64,
    ledger: Option<Ledger>,
    /// Has the delays of all transactions.
    delays: Ledger,
    notes: Vec<String>,
    read: u64,
    total: Option<u64>,
    is_done: bool,
    is_bad: bool,
}

impl File {
    pub(super) fn new(paths: &[PathBuf]) -> File {
        let name = |path: &PathBuf| match path.as_os_str() == "-" {
            true => "standard input".to_owned(),
            false => escaped(path),
        };
        File {
            name: paths.iter().map(name).collect::<Vec<_>>().join(", "),
            gather: Gather::default(),
            packets: Timeline::default(),
            count: 0,
            ledger: None,
            delays: Ledger::default(),
            notes: Vec::new(),
            read: 0,
            total: None,
            is_done: false,
            is_bad: false,
        }
    }

    /// Whether some input was bad.
    pub(super) fn is_bad(&self) -> bool {
        self.is_bad
    }
}

/// Reads them; while it is paused it waits.
pub(super) fn read(settings: Settings, paths: &[PathBuf], file: &Arc<Mutex<File>>, is_paused: &Arc<AtomicBool>) {
    let telling = Telling { file: file.clone(), is_paused: is_paused.clone() };
    let mut reading = Reading::new(settings, paths, telling, false);
    paths.iter().for_each(|path| reading.read_file(path));
    let (telling, inputs) = reading.finish();
    let mut file = telling.file();
    (file.is_done, file.is_bad) = (true, inputs.problems > 0);
    file.ledger = inputs.ledger;
}

/// Lets those see who look what is read.
struct Telling {
    file: Arc<Mutex<File>>,
    is_paused: Arc<AtomicBool>,
}

impl Telling {
    fn file(&self) -> std::sync::MutexGuard<'_, File> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visitor for Telling {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        let mut file = self.file();
        file.gather.add(exchange);
        if let Some(delay) = exchange.delay {
            file.delays.delay(Timestamp::default(), Timestamp::from_nanos(delay));
        }
    }

    fn packet(&mut self, time: Timestamp) {
        let mut file = self.file();
        file.count += 1;
        file.packets.add(time, Seen::Other);
    }

    fn progress(&mut self, read: u64, total: Option<u64>, ledger: impl FnOnce() -> Option<Ledger>) {
        let mut file = self.file();
        (file.read, file.total) = (read, total);
        if let Some(ledger) = ledger() {
            file.ledger = Some(ledger);
        }
        drop(file);
        while self.is_paused.load(Ordering::Relaxed) {
            thread::sleep(PAUSE);
        }
    }

    fn say(&mut self, line: &str) {
        let mut file = self.file();
        if file.notes.len() >= NOTES_MAX {
            file.notes.remove(0);
        }
        file.notes.push(Escaped(line).to_string());
    }
}

impl Source for File {
    fn shown(&self, sort: Sort, _: bool, _: u64) -> Shown {
        let state = match (self.is_done, self.total) {
            (true, _) => "read".to_owned(),
            (false, Some(total)) if total > 0 => format!("{} % read", (self.read * 100 / total).min(100)),
            (false, _) => format!("{} read", Bytes(self.read)),
        };
        let transactions = self.gather.totals.transactions;
        let mut shown = Shown {
            title: format!("{}, {state}", self.name),
            health: if self.notes.is_empty() { Health::Good } else { Health::Degraded },
            notes: self.notes.clone(),
            packets: series("packets", self.count, &self.packets),
            transactions: series("transactions", transactions, &self.gather.timeline),
            span: "all".to_owned(),
            delays: self.delays.delays.counts().to_vec(),
            rcodes: self.gather.rcodes.top(RCODES, rcode_name),
            lines: self.ledger.as_ref().map(lines).unwrap_or_default(),
            basis: format!("all {transactions}"),
            ..Shown::default()
        };
        fill(&mut shown, &self.gather, sort);
        shown
    }
}

/// The whole time of the file.
fn series(name: &str, count: u64, timeline: &Timeline) -> Series {
    let Some((first, last)) = timeline.span() else {
        return Series { caption: format!("{name}: none"), is_whole: true, points: Vec::new() };
    };
    let seconds = last.since(first).as_secs_f64();
    let (columns, filled) = timeline.columns();
    let mut points = vec![0; usize::try_from(columns).unwrap_or_default()];
    let per_second = |count: u64| (u128::from(count) * u128::from(NANOS) / u128::from(timeline.width().max(1))) as u64;
    for (place, column) in filled {
        if let Some(point) = usize::try_from(place).ok().and_then(|place| points.get_mut(place)) {
            *point = per_second(column.total());
        }
    }
    let mean = if seconds > 0.0 { count as f64 / seconds } else { count as f64 };
    let busiest = points.iter().max().copied().unwrap_or_default();
    let caption = format!("{count} {name} in {seconds:.0} s, mean {mean:.0}/s, most {busiest}/s");
    Series { caption, points, is_whole: true }
}

/// Groups of the ledger: what is not zero.
fn lines(ledger: &Ledger) -> Vec<Fact> {
    let shown = ["packets", "queries", "responses", "connections"];
    let one = |(name, counters): (&'static str, Vec<(&'static str, u64)>)| {
        let counted = counters.iter().filter(|(_, count)| *count > 0);
        let text: Vec<String> = counted.map(|(name, count)| format!("{count} {}", name.replace('_', " "))).collect();
        Fact::new(name, if text.is_empty() { "none".to_owned() } else { text.join(", ") })
    };
    ledger.groups().into_iter().filter(|(name, _)| shown.contains(name)).map(one).collect()
}
