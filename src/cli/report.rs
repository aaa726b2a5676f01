//! `sie-dns-sensor report`: a page about captures or NMSG files.

use super::{
    captures,
    exit::FAILED,
    output::{self, Output},
    progress::Progress,
};
use crate::{
    capture::Savefile,
    config::Settings,
    escape::escaped,
    nmsg::{MSGTYPE_DNSQR, VENDOR_BASE, container::MAGIC, dnsqr::Dnsqr, reader::Reader},
    report::{
        exchange::Exchange,
        gather::Gather,
        page::{Inputs, page},
    },
    track::{Limits, Rules, Sink, Tracker, Transaction},
};
use clap::Args;
use std::{
    fs::{self, File},
    io::{self, Cursor, Read, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Behind `--help`.
const AFTER_HELP: &str = "\
Captures are paired as replay does it, one after the other in the order given. Where each direction has a file of its own,
make one with replay --merge -w first.

Exit codes: 0 done; 1 some input was bad, the rest is in the page; 2 usage or failure; 3 a ledger does not balance (a bug);
78 settings.";

/// What was typed.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct ReportArgs {
    /// Captures (pcap or pcapng, also compressed with gzip, xz or zstd) or NMSG files, told apart by what is in them; - is
    /// standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write the page there; - is standard output
    #[arg(short, long, required = true, value_name = "FILE")]
    output: PathBuf,
    /// Read settings from a configuration file; they are for captures
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set a setting, over what the configuration file says: DNSQR_RES_ADDRS="192.0.2.53"
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// No progress bar, no notices
    #[arg(short, long)]
    quiet: bool,
}

/// Packets or payloads between two looks at the progress bar.
const PROGRESS_EVERY: u64 = 4096;
/// Damaged places of an input that are said one by one.
const PLACES_MAX: u64 = 100;

/// Runs the subcommand.
pub fn run(args: &ReportArgs) -> ExitCode {
    let settings = match captures::settings("report", args.config.as_deref(), &args.set, args.quiet) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    report(args, settings).unwrap_or_else(|message| {
        captures::say("report", &message);
        ExitCode::from(FAILED)
    })
}

fn report(args: &ReportArgs, settings: Settings) -> Result<ExitCode, String> {
    if let Some(input) = output::replaced(&args.output, &args.files) {
        return Err(format!("{} is to be read and written; name another file with -o", escaped(input)));
    }
    let name = output::name(Some(&args.output));
    let cannot = |error: io::Error| format!("cannot write {name}: {error}");
    let mut output = Output::open(Some(&args.output), false).map_err(cannot)?;
    let mut reading = Reading::new(settings, args);
    args.files.iter().for_each(|path| reading.read_file(path));
    let (gather, inputs) = reading.finish();
    let is_read = inputs.payloads > 0 || inputs.ledger.as_ref().is_some_and(|ledger| ledger.total > 0);
    if inputs.problems > 0 && !is_read {
        return Err(format!("nothing could be read, so {name} is not written"));
    }
    match output.write_all(page(&gather, &inputs).as_bytes()).and_then(|()| output.publish()) {
        Ok(()) => Ok(conclude(&inputs, args)),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(cannot(error)),
    }
}

/// What is still to be said, and the exit code.
fn conclude(inputs: &Inputs, args: &ReportArgs) -> ExitCode {
    let unbalanced = inputs.ledger.as_ref().and_then(|ledger| captures::judge("report", ledger, args.quiet));
    unbalanced.unwrap_or(if inputs.problems > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Counts what a tracker gives.
#[derive(Default)]
struct Pairs {
    gather: Gather,
    output: crate::stats::Output,
}

impl Sink for Pairs {
    fn transaction(&mut self, transaction: &Transaction) {
        self.output.transactions += 1;
        self.gather.add(&Exchange::of_transaction(transaction));
    }
}

/// The inputs, one after the other.
struct Reading<'a> {
    args: &'a ReportArgs,
    settings: Settings,
    pairs: Pairs,
    /// From the first capture on; of all captures, as a query's response may be in the next one.
    tracker: Option<Tracker>,
    inputs: Inputs,
    progress: Progress,
    /// Bytes read of all files, and bytes there are where that is known.
    consumed: Arc<AtomicU64>,
    total: Option<u64>,
    until_progress: u64,
}

impl<'a> Reading<'a> {
    fn new(settings: Settings, args: &'a ReportArgs) -> Reading<'a> {
        let size = |path: &PathBuf| match fs::metadata(path) {
            _ if path.as_os_str() == "-" => None,
            Ok(metadata) => metadata.is_file().then_some(metadata.len()),
            Err(_) => Some(0),
        };
        Reading {
            args,
            settings,
            pairs: Pairs::default(),
            tracker: None,
            inputs: Inputs::default(),
            progress: Progress::new("report", args.quiet),
            consumed: Arc::default(),
            total: args.files.iter().map(size).sum(),
            until_progress: PROGRESS_EVERY,
        }
    }

    fn read_file(&mut self, path: &Path) {
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
            self.progress.say(&format!("{shown}: empty file"));
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
                Ok(Some(frame)) => tracker.packet(&frame, &mut self.pairs),
                Ok(None) => break,
                Err(error) => self.problem(&error.to_string()),
            }
            self.show_progress();
        }
        self.tracker = Some(tracker);
    }

    fn new_tracker(&self) -> Tracker {
        let settings = &self.settings;
        let notice = captures::takes_all(settings).filter(|_| !self.args.quiet);
        notice.into_iter().for_each(|line| self.progress.say(line));
        Tracker::new(Rules::new(settings, settings.replay_capture_rd(), 1), Limits::new(settings))
    }

    fn read_nmsg(&mut self, name: &str, stream: impl Read) {
        let mut reader = Reader::new(stream);
        let (mut places, mut undecodable) = (0, 0);
        loop {
            match reader.next() {
                Ok(Some(payload)) if (payload.vid, payload.msgtype) == (VENDOR_BASE, MSGTYPE_DNSQR) => {
                    match Dnsqr::decode(&payload.message) {
                        Ok(dnsqr) => self.pairs.gather.add(&Exchange::of_payload(&payload, &dnsqr)),
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
            self.show_progress();
        }
        if places > PLACES_MAX {
            self.progress.say(&format!("{name}: {} more places could not be read", places - PLACES_MAX));
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
        self.progress.say(line);
    }

    fn show_progress(&mut self) {
        self.until_progress -= 1;
        if self.until_progress == 0 {
            self.until_progress = PROGRESS_EVERY;
            self.progress.show(|| (self.consumed.load(Ordering::Relaxed), self.total));
        }
    }

    /// Queries that wait leave as unanswered.
    fn finish(mut self) -> (Gather, Inputs) {
        if let Some(mut tracker) = self.tracker.take() {
            tracker.finish(&mut self.pairs);
            let mut ledger = tracker.ledger();
            ledger.output = self.pairs.output;
            self.inputs.ledger = Some(ledger);
        }
        (self.pairs.gather, self.inputs)
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
