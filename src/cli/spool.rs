//! `sie-dns-sensor spool`: what is in the spool, whether it is whole, and back into the queue with it.

mod list;
mod requeue;
mod verify;

use super::exit::{Outcome, SETTINGS};
use crate::{
    config::{self, Settings},
    escape::escaped,
    spool::names,
    time::Timestamp,
};
use clap::{Args, Subcommand};
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// What was typed.
#[derive(Args, Debug)]
pub struct SpoolArgs {
    #[command(subcommand)]
    command: SpoolCommand,
}

#[derive(Subcommand, Debug)]
enum SpoolCommand {
    /// Show the files that wait, their age and size, and why they were not uploaded so far
    List(list::ListArgs),
    /// Upload archived files again
    Requeue(requeue::RequeueArgs),
    /// Check that files are whole NMSG
    Verify(verify::VerifyArgs),
}

/// Where the spool is.
#[derive(Args, Debug)]
struct Place {
    /// Read settings from this file, not from that of the system
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set a setting, over what the configuration file says: spooldir="/srv/spool"
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
}

/// Runs the subcommand. Exit code 0: done; 1: some files are bad, or could not be put back; 2: failure. A broken pipe on
/// the output is no failure: whoever reads it has seen enough.
pub fn run(args: &SpoolArgs) -> ExitCode {
    let place = match &args.command {
        SpoolCommand::List(args) => &args.place,
        SpoolCommand::Requeue(args) => &args.place,
        SpoolCommand::Verify(args) => &args.place,
    };
    let file = place.config.as_deref().unwrap_or(config::default_path());
    let settings = match config::load(Some(file), &place.set) {
        Ok((settings, _)) => settings,
        Err(problems) => {
            let _ = writeln!(io::stderr(), "{problems}");
            return ExitCode::from(SETTINGS);
        }
    };
    let spool = Spool::new(&settings);
    if spool.stages().iter().all(|stage| matches!(stage.try_exists(), Ok(false))) {
        say(&format!("there is no channel {} in {}", spool.channel, escaped(&settings.spool_dir)));
        return ExitCode::from(Outcome::Failed as u8);
    }
    let mut output = io::BufWriter::new(io::stdout().lock());
    let done = match &args.command {
        SpoolCommand::List(args) => list::run(args, &spool, &mut output),
        SpoolCommand::Requeue(args) => requeue::run(args, &settings, &spool, &mut output),
        SpoolCommand::Verify(args) => verify::run(args, &spool, &mut output),
    };
    let outcome = match done.and_then(|outcome| output.flush().map(|()| outcome)) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Outcome::Done,
        Err(error) => {
            say(&format!("cannot write standard output: {error}"));
            Outcome::Failed
        }
        Ok(outcome) => outcome,
    };
    ExitCode::from(outcome as u8)
}

/// One line on standard error; where that is closed, nobody can be told.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "sie-dns-sensor spool: {line}");
}

/// The directories of a channel.
struct Spool {
    channel: String,
    new: PathBuf,
    waiting: PathBuf,
    archive: PathBuf,
}

/// A published file, or what has such a name.
struct Entry {
    path: PathBuf,
    /// As it is shown.
    name: String,
    bytes: u64,
    /// By its name, else by its last change.
    time: Timestamp,
    /// Whether it is a regular file.
    is_file: bool,
    /// Whether the sensor takes it for one of its own.
    is_ours: bool,
}

impl Spool {
    fn new(settings: &Settings) -> Spool {
        let below = |stage: &str| settings.spool_dir.join(stage).join(&settings.channel);
        let (new, waiting, archive) = (below("new"), below("waiting"), below("archive"));
        Spool { channel: settings.channel.clone(), new, waiting, archive }
    }

    fn stages(&self) -> [&Path; 3] {
        [&self.new, &self.waiting, &self.archive]
    }
}

/// The published files in a directory, the oldest first; none, and it has been said why, if that cannot be listed. One that
/// is not there has none: the old package had no archive unless it was wanted.
fn entries(directory: &Path) -> Option<Vec<Entry>> {
    let found = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(Vec::new()),
        Err(error) => {
            say(&format!("cannot list {}: {error}", escaped(directory)));
            return None;
        }
        Ok(found) => found,
    };
    let mut entries: Vec<Entry> = found.filter_map(|entry| Entry::new(&entry.ok()?)).collect();
    entries.sort_by(|a, b| (a.time, &a.name).cmp(&(b.time, &b.name)));
    Some(entries)
}

impl Entry {
    /// None when it is hidden, of another name, or gone by now.
    fn new(entry: &fs::DirEntry) -> Option<Entry> {
        let file_name = entry.file_name();
        let bytes = file_name.as_encoded_bytes();
        if bytes.starts_with(b".") || !bytes.ends_with(b".nmsg") {
            return None;
        }
        let metadata = entry.metadata().ok()?;
        let known = file_name.to_str().filter(|name| names::is_plain(name));
        let changed = Timestamp::new(metadata.mtime().try_into().unwrap_or(0), 0);
        Some(Entry {
            path: entry.path(),
            name: escaped(Path::new(&file_name)),
            bytes: metadata.len(),
            time: known.and_then(names::of_published).map_or(changed, |(_, time)| time),
            is_file: metadata.is_file(),
            is_ours: metadata.is_file() && known.is_some(),
        })
    }
}

/// A number and its noun.
fn counted(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn kilobytes(bytes: u64) -> u64 {
    bytes.div_ceil(1024)
}
