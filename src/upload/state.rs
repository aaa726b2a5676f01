//! What the running uploader tells others: a hidden file beside those that wait.

use super::{Backlog, Word, backlog::Trouble, one_line};
use crate::{spool::names, time::Timestamp};
use serde_json::{Map, Value, json};
use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// Its name.
const NAME: &str = ".uploader.json";
/// While it is written. Only the holder of the lock writes.
const PART: &str = ".uploader.json.part";
/// It is written so often at most.
const INTERVAL: Duration = Duration::from_secs(5);
/// Files in it.
const FILES_MAX: usize = 1000;
/// Characters of an error in it.
const ERROR_MAX: usize = 200;
/// No longer one is read; ours are shorter, with names of 255 bytes and errors that are all escapes.
const READ_MAX: u64 = 4 << 20;

/// What an uploader says of itself. Times are those of the wall.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Its process id.
    pub process: u32,
    /// How it fares; whether it is alarmed is not written.
    pub word: Word,
    /// Files that failed; 1 000 are written at most.
    pub failed: Vec<FailedFile>,
}

/// A file that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailedFile {
    /// Its name.
    pub name: String,
    /// How often.
    pub tries: u32,
    /// Why, the last time.
    pub error: Option<String>,
    /// When it is tried again.
    pub next_try: Option<Timestamp>,
}

/// The files of a backlog that failed, as many as are written.
pub fn failed_files(backlog: &Backlog, wall: Timestamp, now: Duration) -> Vec<FailedFile> {
    let file = |trouble: Trouble<'_>| FailedFile {
        name: trouble.name,
        tries: trouble.tries,
        error: trouble.reason.map(cut),
        // In whole seconds: with two clocks, it would be another time at each look.
        next_try: Some(Timestamp::new((wall + trouble.due.saturating_sub(now)).seconds(), 0)),
    };
    backlog.troubles().take(FILES_MAX).map(file).collect()
}

/// Writes the state of an uploader that holds the lock.
#[derive(Debug)]
pub struct Writer {
    directory: PathBuf,
    written: Option<State>,
    next: Duration,
}

impl Writer {
    /// Into `waiting/CHANNEL`.
    pub fn new(directory: &Path) -> Writer {
        Writer { directory: directory.to_owned(), written: None, next: Duration::ZERO }
    }

    /// Whether [`Writer::write`] may write again.
    pub fn is_due(&self, now: Duration) -> bool {
        now >= self.next
    }

    /// Writes it, if it has changed and some seconds have passed.
    pub fn write(&mut self, state: State, now: Duration) -> io::Result<()> {
        if !self.is_due(now) || self.written.as_ref() == Some(&state) {
            return Ok(());
        }
        self.next = now + INTERVAL; // after an error too
        let part = self.directory.join(PART);
        let _ = fs::remove_file(&part); // of one that was killed, perhaps another user's
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(&part)?;
        let written = file.write_all(state.text().as_bytes());
        written.and_then(|()| fs::rename(&part, self.directory.join(NAME))).inspect_err(|_| {
            let _ = fs::remove_file(&part);
        })?;
        self.written = Some(state);
        Ok(())
    }

    /// Removes it: the uploader leaves.
    pub fn remove(self) {
        for name in [NAME, PART] {
            let _ = fs::remove_file(self.directory.join(name)); // an old state says whose it is
        }
    }
}

/// The state in `waiting/CHANNEL`: of the uploader that runs, or of one that was killed. What is none is as good as absent.
pub fn read(directory: &Path) -> Option<State> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(directory.join(NAME)).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = Vec::new();
    file.take(READ_MAX + 1).read_to_end(&mut text).ok()?;
    let is_ours = u64::try_from(text.len()).is_ok_and(|len| len <= READ_MAX);
    State::from_json(&serde_json::from_slice(is_ours.then_some(&text)?).ok()?)
}

impl State {
    fn text(&self) -> String {
        let State { process, word, failed } = self;
        let failed: Vec<Value> = failed.iter().take(FILES_MAX).map(FailedFile::to_json).collect();
        let mut text = json!({
            "process": process,
            "server": word.server,
            "last_success": word.last_success.map(nanos),
            "last_error": word.last_error.as_ref().map(|(time, error)| json!({"time": nanos(*time), "error": cut(error)})),
            "next_try": word.next_try.map(nanos),
            "files": word.files,
            "bytes": word.bytes,
            "failed": failed,
        })
        .to_string();
        text.push('\n');
        text
    }

    fn from_json(value: &Value) -> Option<State> {
        let value = value.as_object()?;
        let last_error = value.get("last_error").and_then(Value::as_object);
        let failed = value.get("failed").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Some(State {
            process: value.get("process")?.as_u64()?.try_into().ok()?,
            word: Word {
                server: text(value, "server"),
                last_success: time(value, "last_success"),
                last_error: last_error.and_then(|error| Some((time(error, "time")?, text(error, "error")?))),
                next_try: time(value, "next_try"),
                files: value.get("files")?.as_u64()?,
                bytes: value.get("bytes")?.as_u64()?,
                is_alarmed: false,
            },
            failed: failed.iter().take(FILES_MAX).filter_map(FailedFile::from_json).collect(),
        })
    }
}

impl FailedFile {
    fn to_json(&self) -> Value {
        let FailedFile { name, tries, error, next_try } = self;
        let error = error.as_ref().map(|error| cut(error));
        json!({"name": name, "tries": tries, "error": error, "next_try": next_try.map(nanos)})
    }

    fn from_json(value: &Value) -> Option<FailedFile> {
        let value = value.as_object()?;
        Some(FailedFile {
            name: text(value, "name").filter(|name| names::is_plain(name))?,
            tries: value.get("tries")?.as_u64()?.try_into().ok()?,
            error: text(value, "error"),
            next_try: time(value, "next_try"),
        })
    }
}

fn nanos(time: Timestamp) -> u64 {
    time.as_nanos()
}

fn time(value: &Map<String, Value>, key: &str) -> Option<Timestamp> {
    value.get(key)?.as_u64().map(Timestamp::from_nanos)
}

/// Somebody else may have written it, and it is shown on terminals.
fn text(value: &Map<String, Value>, key: &str) -> Option<String> {
    value.get(key)?.as_str().map(one_line)
}

fn cut(error: &str) -> String {
    error.chars().take(ERROR_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::part::tests::Scratch;
    use std::os::unix::fs::symlink;

    fn state() -> State {
        let at = |seconds: u64| Timestamp::new(1_700_000_000 + seconds, 5);
        State {
            process: 4711,
            word: Word {
                server: Some("192.0.2.1:49222".into()),
                last_success: Some(at(0)),
                last_error: Some((at(1), "no route to host".into())),
                next_try: Some(at(2)),
                files: 3,
                bytes: 1 << 60,
                is_alarmed: false,
            },
            failed: vec![
                FailedFile { name: "a.nmsg".into(), tries: 2, error: Some("no".into()), next_try: Some(at(9)) },
                FailedFile { name: "b.nmsg".into(), tries: 1, error: None, next_try: None },
            ],
        }
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_written_is_read() {
        let scratch = Scratch::new();
        assert_eq!(read(&scratch.0), None);
        let mut writer = Writer::new(&scratch.0);
        for state in [state(), State::default()] {
            writer.next = Duration::ZERO;
            writer.write(state.clone(), secs(9)).unwrap();
            assert_eq!(read(&scratch.0), Some(state));
            assert_eq!(scratch.names(), [NAME]);
        }
        writer.remove();
        assert!(scratch.names().is_empty());
    }

    #[test]
    fn the_times_of_failed_files_are_those_of_the_wall() {
        let mut backlog = Backlog::new(PathBuf::new());
        backlog.add("a.nmsg");
        backlog.postpone("a.nmsg", "no\n", secs(100));
        let wall = Timestamp::new(1_700_000_000, 0);
        for (now, next) in [(101, 4), (105, 0), (200, 0)] {
            let next_try = Some(wall + secs(next));
            let expected = FailedFile { name: "a.nmsg".into(), tries: 1, error: Some("no".into()), next_try };
            assert_eq!(failed_files(&backlog, wall, secs(now)), [expected]);
        }
    }

    #[test]
    fn it_is_written_only_when_it_has_changed_and_now_and_then() {
        let scratch = Scratch::new();
        let mut writer = Writer::new(&scratch.0);
        let with = |files| State { word: Word { files, ..state().word }, ..state() };
        let files = || read(&scratch.0).map(|state| state.word.files);
        writer.write(with(1), secs(0)).unwrap();
        writer.write(with(2), secs(4)).unwrap();
        assert_eq!(files(), Some(1));
        writer.write(with(2), secs(5)).unwrap();
        assert_eq!(files(), Some(2));
        fs::remove_file(scratch.0.join(NAME)).unwrap();
        writer.write(with(2), secs(20)).unwrap();
        assert_eq!(files(), None);
    }

    #[test]
    fn an_error_is_told_and_not_repeated_at_once() {
        let mut writer = Writer::new(Path::new("/nonexistent"));
        assert!(writer.write(state(), secs(0)).is_err());
        assert!(!writer.is_due(secs(4)) && writer.is_due(secs(5)));
        assert!(writer.write(state(), secs(5)).is_err());
    }

    #[test]
    fn a_part_that_a_killed_uploader_left_is_in_nobodys_way() {
        let scratch = Scratch::new();
        symlink("/etc/passwd", scratch.0.join(PART)).unwrap();
        Writer::new(&scratch.0).write(state(), secs(0)).unwrap();
        assert_eq!(read(&scratch.0), Some(state()));
        assert_eq!(scratch.names(), [NAME]);
    }

    #[test]
    fn what_is_no_state_is_as_good_as_absent() {
        let scratch = Scratch::new();
        let path = scratch.0.join(NAME);
        let long = format!("{{\"process\": 1, \"files\": 0, \"bytes\": 0, \"server\": \"{}\"}}", "x".repeat(5 << 20));
        let deep = "[".repeat(1 << 20);
        for text in ["", "{", "[]", "null", "{\"process\": -1}", "{\"process\": 1e99}", "\u{0}\u{1}", &long, &deep] {
            fs::write(&path, text).unwrap();
            assert_eq!(read(&scratch.0), None, "{}", text.get(..20).unwrap_or(text));
        }
        fs::write(&path, b"\xff\xfe").unwrap();
        assert_eq!(read(&scratch.0), None);
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(read(&scratch.0), None);
        fs::remove_file(&path).unwrap();
        symlink("/dev/zero", &path).unwrap();
        assert_eq!(read(&scratch.0), None);
    }

    #[test]
    fn hostile_text_moves_no_cursor_and_hostile_names_are_left_out() {
        let scratch = Scratch::new();
        let failed =
            json!([{"name": "../x.nmsg", "tries": 1}, {"name": "x.nmsg", "tries": 1, "error": "\u{1b}[2J"}, 7]);
        let text = json!({"process": 1, "files": 0, "bytes": 0, "server": "a\nb", "failed": failed}).to_string();
        fs::write(scratch.0.join(NAME), text).unwrap();
        let state = read(&scratch.0).unwrap();
        assert_eq!(state.word.server.as_deref(), Some("a\\nb"));
        assert_eq!(state.failed.len(), 1);
        assert_eq!(state.failed[0].error.as_deref(), Some("\\u{1b}[2J"));
    }

    #[test]
    fn the_longest_that_is_written_is_not_too_long_to_be_read() {
        let scratch = Scratch::new();
        let name = format!("{}.nmsg", "x".repeat(250));
        let failed = FailedFile { name, tries: u32::MAX, error: Some("\u{1}".repeat(500)), next_try: None };
        let state = State { failed: vec![failed; 2 * FILES_MAX], ..state() };
        Writer::new(&scratch.0).write(state, secs(0)).unwrap();
        assert_eq!(read(&scratch.0).unwrap().failed.len(), FILES_MAX);
    }
}
