//! `sie-dns-sensor spool requeue`.

use super::{Entry, Outcome, Place, Spool, counted, entries, kilobytes, say};
use crate::{
    cli::read::parse_time,
    config::Settings,
    daemon::{privileges, users},
    escape::escaped,
    spool::{
        copy::sync_directory,
        link::{Placed, place},
        names,
    },
};
use clap::Args;
use nix::unistd::geteuid;
use std::{
    ffi::OsStr,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// What was typed.
#[derive(Args, Debug)]
pub struct RequeueArgs {
    #[command(flatten)]
    pub(super) place: Place,
    /// Names of archived files, or their paths
    #[arg(value_name = "FILE", required_unless_present_any = ["all", "since", "until"],
          conflicts_with_all = ["all", "since", "until"])]
    files: Vec<PathBuf>,
    /// All that is in the archive
    #[arg(long)]
    all: bool,
    /// Archived files of this time and later, by their names: 2026-09-21T14:30:00Z, 2026-09-21 [14:30[:00]] in UTC, or
    /// seconds since 1970
    #[arg(long, value_name = "TIME", conflicts_with = "all")]
    since: Option<String>,
    /// Archived files before this time
    #[arg(long, value_name = "TIME", conflicts_with = "all")]
    until: Option<String>,
}

/// Of a copy, where no link can be made.
const MODE: u32 = 0o660;

/// How many became what.
#[derive(Default)]
struct Counts {
    queued: u64,
    waiting: u64,
    failed: u64,
}

pub(super) fn run(
    args: &RequeueArgs,
    settings: &Settings,
    spool: &Spool,
    output: &mut impl Write,
) -> io::Result<Outcome> {
    let Some(names) = chosen(args, spool) else { return Ok(Outcome::Failed) };
    let requeue = || requeue(&names, spool);
    let Some(counts) = as_uploader(settings, requeue) else { return Ok(Outcome::Failed) };
    let Counts { queued, waiting, failed } = counts;
    write!(output, "requeued {}", counted(queued, "file"))?;
    if waiting > 0 {
        write!(output, "; {waiting} waiting already")?;
    }
    writeln!(output)?;
    warn_of_trimming(settings, spool);
    Ok(if failed > 0 { Outcome::SomeBad } else { Outcome::Done })
}

/// Names in the archive; none if that failed.
fn chosen(args: &RequeueArgs, spool: &Spool) -> Option<Vec<String>> {
    let time = |option: &str, typed: &Option<String>| match typed.as_deref().map(parse_time) {
        Some(Err(reason)) => {
            say(&format!("{option} {:?}: {reason}", typed.as_deref().unwrap_or_default()));
            None
        }
        Some(Ok(time)) => Some(Some(time)),
        None => Some(None),
    };
    let (since, until) = (time("--since", &args.since), time("--until", &args.until));
    let (since, until) = (since?, until?);
    if !args.files.is_empty() {
        let named: Vec<Option<String>> = args.files.iter().map(|file| named(file, spool)).collect();
        return named.into_iter().collect();
    }
    let is_within = |entry: &Entry| {
        let time = names::of_published(&entry.name).map(|(_, time)| i128::from(time.as_nanos()));
        let is_between = |time: i128| since.is_none_or(|since| since <= time) && until.is_none_or(|until| time < until);
        args.all || time.is_some_and(is_between)
    };
    let archived = entries(&spool.archive)?.into_iter().filter(|entry| entry.is_ours && is_within(entry));
    Some(archived.map(|entry| entry.name).collect())
}

/// The name that was typed, or that of the path in the archive.
fn named(file: &Path, spool: &Spool) -> Option<String> {
    let name = file.file_name().and_then(OsStr::to_str).filter(|name| names::is_plain(name));
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let is_archive = |parent: &Path| match (parent.canonicalize(), spool.archive.canonicalize()) {
        (Ok(parent), Ok(archive)) => parent == archive,
        _ => false,
    };
    if name.is_none() || !parent.is_none_or(is_archive) {
        let (file, archive) = (escaped(file), escaped(&spool.archive));
        say(&format!("{file} is not a file of the sensor's in {archive}"));
        return None;
    }
    name.map(str::to_owned)
}

/// Does it as the user who uploads, when root asks: that one must be able to read and remove what waits, and the
/// directories are not root's.
fn as_uploader<T>(settings: &Settings, work: impl FnOnce() -> T) -> Option<T> {
    if !geteuid().is_root() {
        return Some(work());
    }
    let user = users::of_upload(settings).map_err(|error| say(&error.to_string())).ok()?;
    privileges::as_user(&user, work).map_err(|error| say(&error.to_string())).ok()
}

fn requeue(names: &[String], spool: &Spool) -> Counts {
    let mut counts = Counts::default();
    for name in names {
        let path = spool.archive.join(name);
        match put_back(&path, name, spool) {
            Ok(Placed::Made) => counts.queued += 1,
            Ok(Placed::There) => counts.waiting += 1,
            Ok(Placed::Taken) => {
                counts.failed += 1;
                say(&format!("cannot requeue {}: another file of that name waits", escaped(&path)));
            }
            Err(error) => {
                counts.failed += 1;
                say(&format!("cannot requeue {}: {error}", escaped(&path)));
            }
        }
    }
    if counts.queued > 0
        && let Err(error) = sync_directory(&spool.waiting)
    {
        say(&format!("cannot sync {}: {error}", escaped(&spool.waiting)));
    }
    counts
}

fn put_back(path: &Path, name: &str, spool: &Spool) -> io::Result<Placed> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    place(path, &spool.waiting, name, MODE, &mut || {})
}

/// What was put back is old, and the old goes first.
fn warn_of_trimming(settings: &Settings, spool: &Spool) {
    let Some(limit) = settings.max_spool_size.filter(|limit| *limit > 0) else { return };
    let waiting: u64 = entries(&spool.waiting).unwrap_or_default().iter().map(|entry| entry.bytes).sum();
    if waiting > limit {
        let (waiting, limit) = (kilobytes(waiting), kilobytes(limit));
        say(&format!(
            "{waiting} kilobytes wait, more than max_spool_size_kbytes=\"{limit}\": the oldest will be removed"
        ));
    }
}
