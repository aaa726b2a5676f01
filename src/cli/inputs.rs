//! Captures and NMSG files, one after the other, as exchanges: what the subcommands read that count.

use super::captures;
use crate::{
    capture::Savefile,
    config::Settings,
    escape::escaped,
    nmsg::{MSGTYPE_DNSQR, VENDOR_BASE, container::MAGIC, dnsqr::Dnsqr, reader::Reader},
    report::{exchange::Exchange, page::Inputs},
    stats::Ledger,
    time::Timestamp,
    track::{Limits, Rules, Sink, Tracker, Transaction},
};
use std::{
    fs::{self, File},
    io::{self, Cursor, Read},
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Packets or payloads between two words about progress.
const PROGRESS_EVERY: u64 = 4096;
/// Damaged places of an input that are said one by one.
const PLACES_MAX: u64 = 100;

/// Who is told what is read.
pub(super) trait Visitor {
    /// A transaction.
    fn exchange(&mut self, exchange: &Exchange<'_>);

    /// A packet of a capture; its transactions come before.
    fn packet(&mut self, _time: Timestamp) {}

    /// Every now and then: bytes read, bytes there are if that is known, and the account so far of captures.
    fn progress(&mut self, read: u64, total: Option<u64>, ledger: impl FnOnce() -> Option<Ledger>);

    /// Something is wrong with an input, or worth knowing.
    fn say(&mut self, line: &str);
}

/// Hands on what a tracker gives.
struct Pairs<V> {
    visitor: V,
    output: crate::stats::Output,
}

impl<V: Visitor> Sink for Pairs<V> {
    fn transaction(&mut self, transaction: &Transaction) {
        self.output.transactions += 1;
        self.visitor.exchange(&Exchange::of_transaction(transaction));
    }
}

/// The inputs, one after the other.
pub(super) struct Reading<V> {
    settings: Settings,
    is_quiet: bool,
    pairs: Pairs<V>,
    /// From the first capture on; of all captures, as a query's response may be in the next one.
    tracker: Option<Tracker>,
    inputs: Inputs,
    /// Bytes read of all files, and bytes there are where that is known.
    consumed: Arc<AtomicU64>,
    total: Option<u64>,
    until_progress: u64,
}

impl<V: Visitor> Reading<V> {
    /// Of these files; `is_quiet`: no notices.
    pub(super) fn new(settings: Settings, files: &[PathBuf], visitor: V, is_quiet: bool) -> Reading<V> {
        let size = |path: &PathBuf| match fs::metadata(path) {
            _ if path.as_os_str() == "-" => None,
            Ok(metadata) => metadata.is_file().then_some(metadata.len()),
            Err(_) => Some(0),
        };
        Reading {
            settings,
            is_quiet,
            pairs: Pairs { visitor, output: Default::default() },
            tracker: None,
            inputs: Inputs::default(),
            consumed: Arc::default(),
            total: files.iter().map(size).sum(),
            until_progress: PROGRESS_EVERY,
        }
    }

    /// Reads one; what is wrong with it is said.
    pub(super) fn read_file(&mut self, path: &Path) {
        let (name, shown) = match path.as_os_str() == "-" {
            true => ("standard input".to_string(), "standard input".to_string()),
            false => (path.to_string_lossy().into_owned(), escaped(path)),
        };
        self.inputs.files.push(name.clone());
        if let Err(error) = self.open(path, name, &shown) {
            self.problem(&format!("cannot open {shown}: {error}"));
        }
    }

    /// The first bytes tell what it is.
    fn open(&mut self, path: &Path, name: String, shown: &str) -> io::Result<()> {
        let file = match path.as_os_str() == "-" {
            true => File::from(io::stdin().as_fd().try_clone_to_owned()?),
            false => File::open(path)?,
        };
        let mut file = Counted { file, consumed: Arc::clone(&self.consumed) };
        let mut first = Vec::new();
        file.by_ref().take(MAGIC.len() as u64).read_to_end(&mut first)?;
        if first.is_empty() {
            // So is an NMSG file of no transaction; it is no error.
            self.pairs.visitor.say(&format!("{shown}: empty file"));
            return Ok(());
        }
        let is_nmsg = first == MAGIC;
        let stream = Cursor::new(first).chain(file);
        match is_nmsg {
            true => self.read_nmsg(shown, stream),
            false => self.read_capture(name, stream),
        }
        Ok(())
    }

    fn read_capture(&mut self, name: String, stream: impl Read + Send + 'static) {
        let mut file = match Savefile::from_reader(name, Box::new(stream)) {
            Ok(file) => file,
            Err(error) => return self.problem(&error.to_string()),
        };
        let mut tracker = match self.tracker.take() {
            Some(tracker) => tracker,
            None => self.new_tracker(),
        };
        loop {
            match file.next() {
                Ok(Some(frame)) => {
                    tracker.packet(&frame, &mut self.pairs);
                    self.pairs.visitor.packet(frame.time);
                }
                Ok(None) => break,
                Err(error) => self.problem(&error.to_string()),
            }
            self.show_progress(Some(&tracker));
        }
        self.tracker = Some(tracker);
    }

    fn new_tracker(&mut self) -> Tracker {
        let settings = &self.settings;
        if let Some(line) = captures::takes_all(settings).filter(|_| !self.is_quiet) {
            self.pairs.visitor.say(line);
        }
        Tracker::new(Rules::new(settings, settings.replay_capture_rd(), 1), Limits::new(settings))
    }

    fn read_nmsg(&mut self, name: &str, stream: impl Read) {
        let mut reader = Reader::new(stream);
        let (mut places, mut undecodable) = (0, 0);
        loop {
            match reader.next() {
                Ok(Some(payload)) if (payload.vid, payload.msgtype) == (VENDOR_BASE, MSGTYPE_DNSQR) => {
                    match Dnsqr::decode(&payload.message) {
                        Ok(dnsqr) => self.pairs.visitor.exchange(&Exchange::of_payload(&payload, &dnsqr)),
                        Err(_) => undecodable += 1,
                    }
                }
                Ok(Some(_)) => self.inputs.others += 1,
                Ok(None) => break,
                Err(error) => {
                    places += 1;
                    match places {
                        ..=PLACES_MAX => self.problem(&format!("{name}: {error}")),
                        _ => self.inputs.problems += 1,
                    }
                }
            }
            self.show_progress(None);
        }
        if places > PLACES_MAX {
            self.pairs.visitor.say(&format!("{name}: {} more places could not be read", places - PLACES_MAX));
        }
        if undecodable > 0 {
            self.inputs.undecodable += undecodable;
            self.problem(&format!("{name}: {undecodable} dnsqr payloads are malformed"));
        }
        let counts = reader.counts();
        if counts.incomplete_fragments > 0 {
            let incomplete = counts.incomplete_fragments;
            self.problem(&format!("{name}: {incomplete} containers whose container fragments did not all come"));
        }
        self.inputs.payloads += counts.payloads;
        self.inputs.lost_containers += counts.lost_containers;
    }

    fn problem(&mut self, line: &str) {
        self.inputs.problems += 1;
        self.pairs.visitor.say(line);
    }

    fn show_progress(&mut self, tracker: Option<&Tracker>) {
        self.until_progress -= 1;
        if self.until_progress == 0 {
            self.until_progress = PROGRESS_EVERY;
            let (read, output) = (self.consumed.load(Ordering::Relaxed), &self.pairs.output);
            let ledger = || tracker.map(|tracker| Ledger { output: output.clone(), ..tracker.ledger() });
            self.pairs.visitor.progress(read, self.total, ledger);
        }
    }

    /// Queries that wait leave as unanswered.
    pub(super) fn finish(mut self) -> (V, Inputs) {
        if let Some(mut tracker) = self.tracker.take() {
            tracker.finish(&mut self.pairs);
            let mut ledger = tracker.ledger();
            ledger.output = self.pairs.output;
            self.inputs.ledger = Some(ledger);
        }
        (self.pairs.visitor, self.inputs)
    }
}

/// Counts the bytes read of a file.
struct Counted {
    file: File,
    consumed: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read(buffer)?;
        self.consumed.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }
}
