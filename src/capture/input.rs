//! Capture files as one stream, one after the other or merged by time.

use std::fmt;
use std::path::{Path, PathBuf};

use super::Frame;
use super::error::{OpenError, ReadError};
use super::merge::Merge;
use super::savefile::Savefile;
use super::sequence::Sequence;
use crate::escape::Escaped;

/// What replay reads: a list of capture files as one stream of frames.
///
/// An error in one file ends that file, not the stream.
///
/// ```no_run
/// # use sie_dns_sensor::capture::{Input, Next};
/// let mut input = Input::new(vec!["a.pcap".into(), "b.pcap".into()], false);
/// loop {
///     match input.next() {
///         Next::Frame(frame) => println!("{} bytes", frame.bytes.len()),
///         Next::StartsEarlier(warning) => eprintln!("{warning}"),
///         Next::Failed(error) => eprintln!("{error}"),
///         Next::End => break,
///     }
/// }
/// ```
pub struct Input {
    order: Order,
    /// Bytes of all files together.
    total: Option<u64>,
}

/// Which frame comes next.
enum Order {
    Sequence(Sequence),
    Merge(Merge),
}

/// What an [`Input`] gives next.
#[derive(Debug)]
pub enum Next<'i> {
    /// A frame, borrowed until the next call.
    Frame(Frame<'i>),
    /// The file that comes next starts before the last one ended; its frames follow.
    StartsEarlier(StartsEarlier),
    /// A file could not be read, or not to its end; the next file follows.
    Failed(InputError),
    /// All files are read.
    End,
}

impl Input {
    /// Takes the files in the order of `paths`, each opened when its turn comes; or, with `merge`, opens them
    /// all and takes the earliest frame of all each time (of equally early ones that of the earlier path).
    /// Within a file frames keep their order. `-` is standard input.
    pub fn new(paths: Vec<PathBuf>, merge: bool) -> Input {
        let total = paths.iter().map(|path| file_size(path)).sum();
        let order = match merge {
            true => Order::Merge(Merge::open(&paths)),
            false => Order::Sequence(Sequence::new(paths)),
        };
        Input { order, total }
    }

    /// The next frame, or what happened before it. After [`Next::End`] it stays at that.
    #[expect(clippy::should_implement_trait, reason = "an Iterator cannot lend its buffer")]
    #[inline]
    pub fn next(&mut self) -> Next<'_> {
        match &mut self.order {
            Order::Sequence(sequence) => sequence.next(),
            Order::Merge(merge) => merge.next(),
        }
    }

    /// Bytes of the files consumed so far and in total, as they lie on disk; the total is `None` when one of
    /// them is no regular file. A file that is done, even by an error, counts with its whole size.
    pub fn progress(&self) -> (u64, Option<u64>) {
        let consumed = match &self.order {
            Order::Sequence(sequence) => sequence.consumed(),
            Order::Merge(merge) => merge.consumed(),
        };
        (consumed, self.total)
    }
}

/// What a file that is no longer read adds to the bytes consumed.
pub(super) fn consumed_at_end(file: &Savefile) -> u64 {
    file.size().unwrap_or_default().max(file.consumed())
}

/// What a file adds to the total; `None` when nobody can know, as of a pipe. One that is not there adds nothing.
pub(super) fn file_size(path: &Path) -> Option<u64> {
    match std::fs::metadata(path) {
        _ if path.as_os_str() == "-" => None,
        Ok(metadata) => metadata.is_file().then_some(metadata.len()),
        Err(_) => Some(0),
    }
}

/// A file starts before the last frame of the one read before it: they may have been named in the wrong order,
/// and queries of one may have their responses in the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartsEarlier {
    /// The file that starts too early, as it was named.
    pub file: String,
    /// The one before it.
    pub previous: String,
}

impl fmt::Display for StartsEarlier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, previous) = (Escaped(&self.file), Escaped(&self.previous));
        write!(f, "{file}: starts before the last packet of {previous}")
    }
}

/// Why a file of an [`Input`] was not read, or not to its end.
#[derive(Debug)]
pub enum InputError {
    /// It could not be opened.
    Open(OpenError),
    /// It could not be read to its end; what came before that place was.
    Read(ReadError),
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InputError::Open(error) => error.fmt(f),
            InputError::Read(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for InputError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            InputError::Open(error) => error.source(),
            InputError::Read(error) => error.source(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    /// What an input gives, frames by their text, file names without their directory.
    fn events(input: &mut Input, directory: &Directory) -> Vec<String> {
        let mut events = Vec::new();
        loop {
            events.push(match input.next() {
                Next::Frame(frame) => String::from_utf8_lossy(frame.bytes).into_owned(),
                Next::StartsEarlier(warning) => warning.to_string(),
                Next::Failed(error) => error.to_string(),
                Next::End => break,
            });
        }
        assert!(matches!(input.next(), Next::End));
        let prefix = format!("{}/", directory.path().display());
        events.iter().map(|event| event.replace(&prefix, "")).collect()
    }

    #[test]
    fn files_are_read_one_after_the_other_and_one_that_starts_early_is_told_once() {
        let directory = Directory::new("sequence");
        let first = PcapFile::new().packet(5, 0, b"a5").packet(7, 0, b"a7");
        let empty = PcapFile::new();
        let early = PcapFile::new().packet(6, 0, b"c6").packet(4, 0, b"c4");
        let later = PcapFile::new().packet(4, 0, b"d4");
        let paths = vec![
            directory.file("a", &first.bytes),
            directory.file("b", &empty.bytes),
            directory.file("c", &early.bytes),
            directory.file("d", &later.bytes),
        ];
        let mut input = Input::new(paths, false);
        assert_eq!(
            events(&mut input, &directory),
            ["a5", "a7", "c: starts before the last packet of a", "c6", "c4", "d4"]
        );
    }

    #[test]
    fn an_error_ends_its_file_and_the_next_is_read() {
        let directory = Directory::new("errors");
        let file = PcapFile::new().packet(1, 0, b"x1").packet(2, 0, b"x2");
        let paths = vec![
            directory.path().join("missing"),
            directory.file("cut", &file.bytes[..50]),
            directory.file("text", b"hello"),
            directory.file("whole", &file.bytes),
        ];
        let mut input = Input::new(paths, false);
        let events = events(&mut input, &directory);
        assert!(events[0].starts_with("cannot open missing: No such file"), "{events:?}");
        assert_eq!(events[1], "x1");
        assert!(events[2].starts_with("cut: cut off in the middle of a packet"), "{events:?}");
        assert!(events[3].starts_with("text: not a capture file"), "{events:?}");
        assert_eq!(events[4..], ["x1", "x2"]);
        let (consumed, total) = input.progress();
        assert_eq!(Some(consumed), total);
        assert_eq!(consumed, 50 + 5 + 60);
    }

    #[test]
    fn merged_files_count_as_one_and_one_that_cannot_be_opened_is_told_at_once() {
        let directory = Directory::new("merged");
        let a = directory.file("a", &PcapFile::new().packet(1, 0, b"a1").bytes);
        let b = directory.file("b", &gzip(&PcapFile::new().packet(0, 0, b"b0").bytes));
        let mut input = Input::new(vec![a.clone(), b], true);
        assert_eq!(events(&mut input, &directory), ["b0", "a1"]);
        let (consumed, total) = input.progress();
        assert_eq!(Some(consumed), total);
    }

    #[test]
    fn the_total_is_unknown_with_standard_input_among_the_files() {
        let input = Input::new(vec!["-".into(), "/none".into()], false);
        assert_eq!(input.progress(), (0, None));
    }
}
