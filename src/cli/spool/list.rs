//! `sie-dns-sensor spool list`.

use super::{Entry, Outcome, Place, Spool, counted, entries, kilobytes};
use crate::{
    daemon::SystemClock,
    escape::escaped,
    time::{Clock, Timestamp},
    upload::{FailedFile, State, state},
};
use clap::Args;
use nix::{errno::Errno, sys::signal::kill, unistd::Pid};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    io::{self, Write},
    time::Duration,
};

/// What was typed.
#[derive(Args, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    pub(super) place: Place,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// All there is to show.
struct View<'a> {
    spool: &'a Spool,
    now: Timestamp,
    new: Vec<Entry>,
    waiting: Vec<Entry>,
    archive: Vec<Entry>,
    uploader: Option<State>,
}

/// Why a file of another name waits for ever.
const NOT_OURS: &str = "not a file of the sensor's: left alone";

pub(super) fn run(args: &ListArgs, spool: &Spool, output: &mut impl Write) -> io::Result<Outcome> {
    let [new, waiting, archive] = spool.stages().map(entries);
    let (Some(new), Some(waiting), Some(archive)) = (new, waiting, archive) else { return Ok(Outcome::Failed) };
    let (now, uploader) = (SystemClock::new().wall(), state::read(&spool.waiting));
    let view = View { spool, now, new, waiting, archive, uploader };
    if args.json {
        writeln!(output, "{}", view.json())?
    } else {
        view.text(output)?
    }
    Ok(Outcome::Done)
}

impl View<'_> {
    fn text(&self, output: &mut impl Write) -> io::Result<()> {
        let failed = self.failed();
        let width = self.waiting.iter().map(|entry| entry.name.chars().count()).max().unwrap_or(0);
        if width > 0 {
            writeln!(output, "{:width$} {:>12} {:>10} {:>5}  LAST ERROR", "NAME", "AGE", "KILOBYTES", "TRIES")?;
        }
        for entry in &self.waiting {
            let (tries, error) = trouble(entry, &failed);
            let (name, age, size) = (&entry.name, age(self.since(entry)), kilobytes(entry.bytes));
            let line = format!("{name:width$} {age:>12} {size:>10} {tries:>5}  {error}");
            writeln!(output, "{}", line.trim_end())?;
        }
        for (stage, entries) in self.stages() {
            let oldest = entries.first().map(|entry| format!(", the oldest {}", age(self.since(entry))));
            let (files, size) = (counted(entries.len() as u64, "file"), kilobytes(sum(entries)));
            writeln!(output, "{stage}: {files}, {size} kilobytes{}", oldest.unwrap_or_default())?;
        }
        writeln!(
            output,
            "uploader: {}",
            self.uploader.as_ref().map_or("none has said anything".into(), |it| self.says(it))
        )
    }

    /// What the uploader says, in words.
    fn says(&self, state: &State) -> String {
        let ago = |time: Timestamp| format!("{} ago", age(self.now.since(time)));
        let mut words = vec![match is_running(state.process) {
            true => format!("process {}", state.process),
            false => format!("process {}, which is not running any more", state.process),
        }];
        words.extend(state.word.server.as_ref().map(|server| format!("connected to {server}")));
        words.push(format!("sent {}, {} kilobytes", counted(state.word.files, "file"), kilobytes(state.word.bytes)));
        words.extend(state.word.last_success.map(|time| format!("the last {}", ago(time))));
        words.extend(state.word.last_error.as_ref().map(|(time, error)| format!("last error {}: {error}", ago(*time))));
        words.extend(state.word.next_try.map(|time| format!("next try in {}", age(time.since(self.now)))));
        words.join("; ")
    }

    fn json(&self) -> Value {
        let failed = self.failed();
        let file = |entry: &Entry| {
            let of = failed.get(entry.name.as_str());
            json!({
                "name": entry.name,
                "age": self.since(entry).as_secs(),
                "bytes": entry.bytes,
                "tries": of.map_or(0, |file| file.tries),
                "error": of.and_then(|file| file.error.as_deref()).or((!entry.is_ours).then_some(NOT_OURS)),
                "next_try": of.and_then(|file| file.next_try).map(Timestamp::seconds),
            })
        };
        let mut json = json!({"channel": self.spool.channel, "directory": escaped(&self.spool.waiting)});
        json["files"] = self.waiting.iter().map(file).collect();
        for (stage, entries) in self.stages() {
            let oldest = entries.first().map(|entry| self.since(entry).as_secs());
            json[stage] = json!({"files": entries.len(), "bytes": sum(entries), "oldest": oldest});
        }
        json["uploader"] = self.uploader.as_ref().map_or(Value::Null, |state| {
            let error =
                state.word.last_error.as_ref().map(|(time, error)| json!({"time": time.seconds(), "error": error}));
            json!({
                "process": state.process,
                "running": is_running(state.process),
                "server": state.word.server,
                "files": state.word.files,
                "bytes": state.word.bytes,
                "last_success": state.word.last_success.map(Timestamp::seconds),
                "last_error": error,
                "next_try": state.word.next_try.map(Timestamp::seconds),
            })
        });
        json
    }

    fn stages(&self) -> [(&'static str, &[Entry]); 3] {
        [("waiting", &self.waiting), ("new", &self.new), ("archive", &self.archive)]
    }

    fn since(&self, entry: &Entry) -> Duration {
        self.now.since(entry.time)
    }

    fn failed(&self) -> HashMap<&str, &FailedFile> {
        let failed = self.uploader.iter().flat_map(|state| &state.failed);
        failed.map(|file| (file.name.as_str(), file)).collect()
    }
}

fn trouble<'f>(entry: &Entry, failed: &HashMap<&str, &'f FailedFile>) -> (u32, &'f str) {
    match failed.get(entry.name.as_str()) {
        _ if !entry.is_ours => (0, NOT_OURS),
        Some(file) => (file.tries, file.error.as_deref().unwrap_or_default()),
        None => (0, ""),
    }
}

fn sum(entries: &[Entry]) -> u64 {
    entries.iter().map(|entry| entry.bytes).sum()
}

/// A process that is another user's is there too.
fn is_running(process: u32) -> bool {
    let pid = i32::try_from(process).ok().filter(|pid| *pid > 0);
    pid.is_some_and(|pid| kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH))
}

/// A time in two units at most.
fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_short() {
        let ages = [59, 60, 3599, 3660, 86_399, 90_000].map(|seconds| age(Duration::from_secs(seconds)));
        assert_eq!(ages, ["59 s", "1 min", "59 min", "1 h 1 min", "23 h 59 min", "1 d 1 h"]);
    }

    #[test]
    fn only_a_process_that_is_there_is_running() {
        assert!(is_running(std::process::id()) && is_running(1));
        assert!(!is_running(0) && !is_running(u32::MAX) && !is_running(i32::MAX as u32));
    }
}
