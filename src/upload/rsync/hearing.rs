//! What a server says besides the protocol, and which of it is the reason why a file was not confirmed.

use crate::upload::{Ending, Outgoing, one_line};
use std::collections::BTreeMap;

/// Lines of one session that are passed on.
const LINES_MAX: usize = 200;
/// Of a line, no more is kept.
const LINE_MAX: usize = 1024;
/// Reasons of single files that are kept.
const REASONS_MAX: usize = 4096;
/// Letters that the server puts behind the name of a file that is not complete, and the dot before them.
const TEMPORARY_LEN: usize = 7;

/// Listens. Holds a bounded number of bounded lines.
#[derive(Default)]
pub struct Hearing {
    /// Of standard error, the line that has not ended.
    unfinished: Vec<u8>,
    lines: usize,
    /// The last error that says something of its own.
    error: Option<String>,
    /// The last line with which rsync sums up.
    summary: Option<String>,
    /// The last error that names a file, by the file's index.
    of_files: BTreeMap<usize, String>,
    /// The last error that names none.
    of_none: Option<String>,
}

impl Hearing {
    /// Takes bytes of standard error; gives the lines that are complete.
    pub fn standard_error(&mut self, bytes: &[u8], files: &[Outgoing]) -> Vec<String> {
        let mut lines = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE_MAX - self.unfinished.len().min(LINE_MAX);
            self.unfinished.extend(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                lines.extend(self.end_of_error(files));
            }
        }
        lines
    }

    /// Standard error has ended, with or without the end of a line.
    pub fn end_of_error(&mut self, files: &[Outgoing]) -> Option<String> {
        let line = std::mem::take(&mut self.unfinished);
        self.line(true, &line, files)
    }

    /// Takes a message; gives the lines to pass on.
    pub fn message(&mut self, is_error: bool, text: &[u8], files: &[Outgoing]) -> Vec<String> {
        text.split(|byte| *byte == b'\n').filter_map(|line| self.line(is_error, line, files)).collect()
    }

    fn line(&mut self, is_error: bool, line: &[u8], files: &[Outgoing]) -> Option<String> {
        let line = String::from_utf8_lossy(&line[..line.len().min(LINE_MAX)]);
        if line.trim().is_empty() {
            return None;
        }
        let shown = one_line(&line);
        if is_error {
            self.error(&line, &shown, files);
        }
        self.lines += 1;
        match self.lines {
            ..LINES_MAX => Some(shown),
            LINES_MAX => Some("the server goes on and on; what else it says is not shown".to_owned()),
            _ => None,
        }
    }

    fn error(&mut self, line: &str, shown: &str, files: &[Outgoing]) {
        if line.trim_start().starts_with("rsync error:") {
            self.summary = Some(shown.to_owned());
            return;
        }
        self.error = Some(shown.to_owned());
        match named(line, files) {
            Some(index) if self.of_files.len() < REASONS_MAX => drop(self.of_files.insert(index, shown.to_owned())),
            Some(_) => (),
            None => self.of_none = Some(shown.to_owned()),
        }
    }

    /// Why this file was not confirmed in a session that came to its end.
    pub fn of_file(&self, index: usize, ending: &Ending) -> String {
        let said = self.of_files.get(&index).or(self.of_none.as_ref()).cloned();
        said.or_else(|| in_words(ending)).unwrap_or_else(|| "not confirmed by the server".to_owned())
    }

    /// What the server said of this file.
    pub fn said_of(&self, index: usize) -> Option<&str> {
        self.of_files.get(&index).map(String::as_str)
    }

    /// Why a session broke off.
    pub fn of_session(&self, ending: &Ending) -> Option<String> {
        self.error.clone().or_else(|| self.summary.clone()).or_else(|| in_words(ending))
    }
}

/// The file that a line names: by its name, or by that of its temporary, which is `.NAME.XXXXXX`.
fn named(line: &str, files: &[Outgoing]) -> Option<usize> {
    let find = |name: &str| files.binary_search_by(|file| file.name().as_bytes().cmp(name.as_bytes())).ok();
    line.split(['"', '/', ' ', '\n']).find_map(|word| {
        let cut = word.len().checked_sub(TEMPORARY_LEN).and_then(|end| word.get(..end));
        find(word).or_else(|| cut.and_then(|word| word.strip_prefix('.')).and_then(find))
    })
}

/// An ending that says why.
pub fn in_words(ending: &Ending) -> Option<String> {
    let meaning = match ending {
        Ending::Code(0) | Ending::Unknown => return None,
        Ending::Signal(name) => return Some(format!("the remote command was killed by signal {name}")),
        Ending::Code(1) => "usage, or refused",
        Ending::Code(2) => "protocol incompatibility",
        Ending::Code(3) => "a directory that cannot be used",
        Ending::Code(4) => "not supported",
        Ending::Code(10) => "socket",
        Ending::Code(11) => "file input or output",
        Ending::Code(12) => "connection broken",
        Ending::Code(13) => "diagnostics",
        Ending::Code(14) => "between its processes",
        Ending::Code(20) => "killed by a signal",
        Ending::Code(22) => "out of memory",
        Ending::Code(23) => "not all files transferred",
        Ending::Code(24) => "files vanished",
        Ending::Code(25) => "too many deletions",
        Ending::Code(30) => "timeout",
        Ending::Code(35) => "timeout while connecting",
        Ending::Code(126) => "the command cannot be run",
        Ending::Code(127) => "no such command at the server",
        Ending::Code(255) => "ssh failed",
        Ending::Code(code) => return Some(format!("the remote command ended with exit code {code}")),
    };
    match ending {
        Ending::Code(code) => Some(format!("the remote command ended with exit code {code}: {meaning}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::part::tests::Scratch;

    fn files(scratch: &Scratch, names: &[&str]) -> Vec<Outgoing> {
        let open = |name: &&str| {
            std::fs::write(scratch.0.join(name), "x").unwrap();
            Outgoing::open(&scratch.0, name).unwrap()
        };
        names.iter().map(open).collect()
    }

    #[test]
    fn an_error_is_the_reason_of_the_file_that_it_names() {
        let scratch = Scratch::new();
        let files = files(&scratch, &["a.nmsg", "b.nmsg", "c.nmsg"]);
        let mut hearing = Hearing::default();
        let said = b"rsync: mkstemp \"/x/.b.nmsg.AbCdEf\" failed: Permission denied (13)\nERROR: a.nmsg fail";
        let lines = hearing.standard_error(said, &files);
        assert_eq!(lines, ["rsync: mkstemp \"/x/.b.nmsg.AbCdEf\" failed: Permission denied (13)"]);
        hearing.standard_error(b"ed verification -- update discarded.\nrsync error: some (code 23)\n", &files);
        assert_eq!(hearing.of_file(1, &Ending::Code(23)), lines[0]);
        assert_eq!(hearing.of_file(0, &Ending::Code(23)), "ERROR: a.nmsg failed verification -- update discarded.");
        let general = "the remote command ended with exit code 23: not all files transferred";
        assert_eq!(hearing.of_file(2, &Ending::Code(23)), general);
        assert_eq!(hearing.of_file(2, &Ending::Code(0)), "not confirmed by the server");
        assert_eq!(
            hearing.of_session(&Ending::Code(0)).unwrap(),
            "ERROR: a.nmsg failed verification -- update discarded."
        );
    }

    #[test]
    fn a_server_that_talks_without_end_is_cut_short() {
        let mut hearing = Hearing::default();
        let mut lines = 0;
        for _ in 0..100 {
            lines += hearing.standard_error(&b"x".repeat(100_000), &[]).len();
            assert!(hearing.unfinished.len() <= LINE_MAX);
            lines += hearing.standard_error(&b"y\n".repeat(1000), &[]).len();
            lines += hearing.message(false, &b"z\n".repeat(1000), &[]).len();
        }
        assert_eq!(lines, LINES_MAX);
    }
}
