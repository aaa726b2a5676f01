//! `sie-dns-sensor replay`: from capture files to NMSG, and an account of every packet.

use super::{
    captures,
    exit::FAILED,
    output::{self, Output},
    progress::Progress,
};
use crate::{
    capture::{Input, Next},
    config::{Compress, Settings},
    nmsg::writer::{Level, Writer},
    stats::Ledger,
    track::{Limits, Rules, Sink, Tracker, Transaction},
};
use clap::{Args, ValueEnum};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// What was typed.
#[derive(Args, Debug)]
pub struct ReplayArgs {
    /// Capture files: pcap or pcapng, also compressed with gzip, xz or zstd; - is standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Write NMSG there; - is standard output. Without it only the summary is made
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Compress containers; -z=6: at this level, from 1 to 12, not at the sensor's
    #[arg(short = 'z', long, value_name = "LEVEL", num_args = 0..=1, require_equals = true,
          value_parser = clap::value_parser!(u8).range(1..=12))]
    compress: Option<Option<u8>>,
    /// Take the packets of all files in the order of their times, not file after file
    #[arg(long)]
    merge: bool,
    /// Read settings from a configuration file
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set a setting, over what the configuration file says: DNSQR_RES_ADDRS="192.0.2.53"
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// How to show the summary, on standard error (json: on standard output, unless that is written to)
    #[arg(long, value_enum, default_value_t = Summary::Text, value_name = "FORM")]
    summary: Summary,
    /// No progress bar, no notices
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Summary {
    /// For people
    Text,
    /// One JSON object, keys as documented
    Json,
    /// None
    None,
}

/// Packets between two looks at the progress bar.
const PROGRESS_EVERY: u32 = 4096;

/// Runs the subcommand.
pub fn run(args: &ReplayArgs) -> ExitCode {
    let settings = match captures::settings("replay", args.config.as_deref(), &args.set, args.quiet) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    captures::takes_all(&settings).filter(|_| !args.quiet).iter().for_each(say);
    match replay(args, &settings) {
        Ok(code) => code,
        Err(Failure::ReaderGone) => ExitCode::SUCCESS,
        Err(Failure::Said(message)) => {
            say(&message);
            ExitCode::from(FAILED)
        }
    }
}

/// What ends a replay early.
enum Failure {
    /// With a message.
    Said(String),
    /// Whoever read our output has seen enough.
    ReaderGone,
}

fn replay(args: &ReplayArgs, settings: &Settings) -> Result<ExitCode, Failure> {
    if args.merge {
        allow_open_files();
    }
    let mut input = Input::new(args.files.clone(), args.merge);
    let sources = if args.merge { args.files.len() } else { 1 };
    let rules = Rules::new(settings, settings.replay_capture_rd(), sources);
    let mut tracker = Tracker::new(rules, Limits::new(settings));
    let (bad_input, output) = match &args.write {
        Some(path) => write_to(path, args, settings, &mut input, &mut tracker)?,
        None => {
            let mut sink = Count::default();
            (follow(&mut input, &mut tracker, &mut sink, args.quiet, |_| false), sink.output)
        }
    };
    let mut ledger = tracker.ledger();
    ledger.output = output;
    Ok(conclude(args, &ledger, bad_input))
}

/// As many as the hard limit lets it: a merge has all its files open, and the usual 1024 are for programs that use
/// select(2), which this does not. Where that fails, the files that cannot be opened say so.
fn allow_open_files() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Reads all input and writes what comes out. Whether some of the input was bad, and what was written.
fn write_to(
    path: &Path,
    args: &ReplayArgs,
    settings: &Settings,
    input: &mut Input,
    tracker: &mut Tracker,
) -> Result<(bool, crate::stats::Output), Failure> {
    output::refuse_input(path, &args.files, "-w").map_err(Failure::Said)?;
    let name = output::name(Some(path));
    let cannot = |error: io::Error| Failure::Said(format!("cannot write {name}: {error}"));
    let output = Output::open(Some(path), true).map_err(cannot)?;
    let mut writer = Writer::new(output, level(args, settings));
    let bad_input = follow(input, tracker, &mut writer, args.quiet, Writer::has_failed);
    let (output, written, error) = writer.finish();
    if error.is_none() && bad_input && tracker.ledger().total == 0 {
        return Err(Failure::Said(format!("no packet could be read, so {name} is not written")));
    }
    match error.map_or_else(|| output.publish(), Err) {
        Ok(()) => Ok((bad_input, written)),
        // Standard output, by whatever name, or a named pipe.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::ReaderGone),
        Err(error) => Err(cannot(error)),
    }
}

/// `None`: uncompressed. `-z` alone is what the settings say, and where they say nothing of a level, the sensor's own.
fn level(args: &ReplayArgs, settings: &Settings) -> Option<Level> {
    let of_settings = match settings.compress {
        Compress::Level(level) => Level::Fixed(level),
        Compress::Off | Compress::Adaptive => Level::DENSE,
    };
    args.compress.map(|level| level.map_or(of_settings, Level::Fixed))
}

/// Reads all input. True if some of it was bad.
fn follow<S: Sink>(
    input: &mut Input,
    tracker: &mut Tracker,
    sink: &mut S,
    quiet: bool,
    has_failed: impl Fn(&S) -> bool,
) -> bool {
    let mut progress = Progress::new("replay", quiet);
    let mut bad_input = false;
    let mut until_progress = PROGRESS_EVERY;
    loop {
        match input.next() {
            Next::Frame(frame) => tracker.packet(&frame, sink),
            Next::StartsEarlier(warning) if quiet => drop(warning),
            Next::StartsEarlier(warning) => progress.say(&format!("{warning}; --merge takes all in order of time")),
            Next::Failed(error) => {
                progress.say(&error.to_string());
                bad_input = true;
            }
            Next::End => break,
        }
        if has_failed(sink) {
            break;
        }
        until_progress -= 1;
        if until_progress == 0 {
            until_progress = PROGRESS_EVERY;
            progress.show(|| input.progress());
        }
    }
    tracker.finish(sink);
    bad_input
}

/// Shows the summary; the exit code. Where standard error is closed, nobody can be told.
fn conclude(args: &ReplayArgs, ledger: &Ledger, bad_input: bool) -> ExitCode {
    let is_stdout = |path: &Path| path.as_os_str() == "-" || output::is_same(path, Path::new("/dev/stdout"));
    let to_stdout = !args.write.as_deref().is_some_and(is_stdout);
    let shown = match args.summary {
        Summary::None => Ok(()),
        Summary::Text => write!(io::stderr(), "{}", ledger.to_text()).or(Ok(())),
        Summary::Json if to_stdout => writeln!(io::stdout(), "{}", ledger.to_json()),
        Summary::Json => writeln!(io::stderr(), "{}", ledger.to_json()).or(Ok(())),
    };
    match (captures::judge("replay", ledger, args.quiet), shown) {
        (Some(code), _) => code,
        (None, Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
            say(&format!("cannot write standard output: {error}"));
            ExitCode::from(FAILED)
        }
        (None, _) if bad_input => ExitCode::FAILURE,
        (None, _) => ExitCode::SUCCESS,
    }
}

fn say(line: &impl std::fmt::Display) {
    captures::say("replay", line);
}

/// Counts transactions that are not written anywhere.
#[derive(Default)]
struct Count {
    output: crate::stats::Output,
}

impl Sink for Count {
    fn transaction(&mut self, _: &Transaction) {
        self.output.transactions += 1;
    }
}
