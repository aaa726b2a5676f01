//! `sie-dns-sensor spool verify`.

use super::{Outcome, Place, Spool, counted, entries, say};
use crate::{
    escape::escaped,
    nmsg::reader::{ReadError, Reader},
    spool::copy::open_file,
};
use clap::Args;
use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// What was typed.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub(super) place: Place,
    /// Files, by their paths or by their names in the spool; none: all of new/, waiting/ and archive/
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Places of a file that are said one by one.
const PLACES_MAX: usize = 10;

/// How it went so far.
struct Verification<'o, W> {
    output: &'o mut W,
    checked: u64,
    bad: u64,
    outcome: Outcome,
}

pub(super) fn run(args: &VerifyArgs, spool: &Spool, output: &mut impl Write) -> io::Result<Outcome> {
    let mut verification = Verification { output, checked: 0, bad: 0, outcome: Outcome::Done };
    for file in &args.files {
        verification.file(&found(file, spool), true)?;
    }
    if args.files.is_empty() {
        for stage in spool.stages() {
            match entries(stage) {
                Some(entries) => {
                    let mut files = entries.iter().filter(|entry| entry.is_file);
                    files.try_for_each(|entry| verification.file(&entry.path, false))?;
                }
                None => verification.outcome = Outcome::Failed,
            }
        }
    }
    let Verification { output, checked, bad, outcome } = verification;
    writeln!(output, "checked {}: {bad} bad", counted(checked, "file"))?;
    Ok(outcome)
}

/// A plain name that is not here is looked for in the spool.
fn found(file: &Path, spool: &Spool) -> PathBuf {
    let is_name = file.parent().is_some_and(|parent| parent.as_os_str().is_empty());
    let is_there = |path: &PathBuf| path.symlink_metadata().is_ok();
    let in_spool = || spool.stages().map(|stage| stage.join(file)).into_iter().find(is_there);
    match is_name && !is_there(&file.to_owned()) {
        true => in_spool().unwrap_or_else(|| file.to_owned()),
        false => file.to_owned(),
    }
}

impl<W: Write> Verification<'_, W> {
    /// One that nobody named may be gone by now: it was uploaded.
    fn file(&mut self, path: &Path, is_named: bool) -> io::Result<()> {
        match open_file(path) {
            Ok(file) => self.open(path, file),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_named => Ok(()),
            Err(error) => {
                say(&format!("cannot read {}: {error}", escaped(path)));
                self.outcome = Outcome::Failed;
                Ok(())
            }
        }
    }

    fn open(&mut self, path: &Path, file: File) -> io::Result<()> {
        self.checked += 1;
        let (complaints, more, is_readable) = complaints(file);
        for complaint in &complaints {
            writeln!(self.output, "{}: {complaint}", escaped(path))?;
        }
        if more > 0 {
            writeln!(self.output, "{}: {}", escaped(path), counted(more, "more place"))?;
        }
        if !complaints.is_empty() {
            self.bad += 1;
            self.outcome = self.outcome.max(if is_readable { Outcome::SomeBad } else { Outcome::Failed });
        }
        Ok(())
    }
}

/// The first places where a file is not whole, how many more there are, and whether it could be read to its end.
fn complaints(file: File) -> (Vec<String>, u64, bool) {
    let mut reader = Reader::new(file);
    let (mut complaints, mut more, mut is_readable) = (Vec::new(), 0, true);
    loop {
        match reader.next() {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(error) => {
                is_readable &= !matches!(error, ReadError::Io { .. });
                match complaints.len() < PLACES_MAX {
                    true => complaints.push(error.to_string()),
                    false => more += 1,
                }
            }
        }
    }
    let counts = reader.counts();
    if counts.incomplete_fragments > 0 {
        complaints
            .push(format!("{} containers whose container fragments did not all come", counts.incomplete_fragments));
    }
    if counts.containers == 0 && complaints.is_empty() {
        complaints.push("no container".to_owned());
    }
    (complaints, more, is_readable)
}
