//! Capture files merged by time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::PathBuf;

use super::error::{OpenError, ReadError};
use super::input::{InputError, Next, consumed_at_end};
use super::savefile::Savefile;
use crate::time::Timestamp;

/// Files read together: each time the earliest of their next frames, of equally early ones that of the file
/// named first. All are open, each with its buffer, until it ends.
pub(super) struct Merge {
    /// In the order they were named; `None` once one has ended.
    files: Vec<Option<Savefile>>,
    /// The files that have a next frame, by its time, then by their place in `files`.
    heads: BinaryHeap<Reverse<(Timestamp, usize)>>,
    /// The files whose next frame is not known. All of them at the start, where one can fail after the other;
    /// then the one that gave the last frame, since looking for its next would overwrite that.
    unknown: Vec<usize>,
    /// Bytes of the files that have ended.
    consumed: u64,
    /// Files that could not be opened, to be told first; the last of them at the front.
    failed: Vec<OpenError>,
}

impl Merge {
    /// Opens all files, as far as that goes; looks at no frame yet.
    pub(super) fn open(paths: &[PathBuf]) -> Merge {
        let (mut files, mut failed) = (Vec::new(), Vec::new());
        for path in paths {
            match Savefile::open(path) {
                Ok(file) => files.push(file),
                Err(error) => failed.push(error),
            }
        }
        failed.reverse();
        Merge { failed, ..Merge::new(files) }
    }

    fn new(files: Vec<Savefile>) -> Merge {
        let heads = BinaryHeap::with_capacity(files.len());
        // Taken from the back: errors come in the order of the files.
        let unknown = (0..files.len()).rev().collect();
        let files = files.into_iter().map(Some).collect();
        Merge { files, heads, unknown, consumed: 0, failed: Vec::new() }
    }

    /// As [`super::Input::next`].
    pub(super) fn next(&mut self) -> Next<'_> {
        if let Some(error) = self.failed.pop() {
            return Next::Failed(InputError::Open(error));
        }
        while let Some(index) = self.unknown.pop() {
            if let Err(error) = self.look(index) {
                return Next::Failed(InputError::Read(error));
            }
        }
        let Some(Reverse((_, index))) = self.heads.pop() else {
            return Next::End;
        };
        self.unknown.push(index);
        // `look` found a frame, which neither ends nor fails when asked for again.
        match self.files.get_mut(index).and_then(Option::as_mut).map(Savefile::next) {
            Some(Ok(Some(frame))) => Next::Frame(frame),
            Some(Err(error)) => Next::Failed(InputError::Read(error)),
            Some(Ok(None)) | None => Next::End,
        }
    }

    /// Bytes read of all files.
    pub(super) fn consumed(&self) -> u64 {
        self.files.iter().flatten().map(Savefile::consumed).fold(self.consumed, u64::saturating_add)
    }

    /// Finds when the next frame of a file was captured, and closes the file if there is none.
    fn look(&mut self, index: usize) -> Result<(), ReadError> {
        let Some(slot) = self.files.get_mut(index) else {
            return Ok(());
        };
        let Some(file) = slot else { return Ok(()) };
        let time = file.peek_time();
        if let Ok(Some(time)) = time {
            self.heads.push(Reverse((time, index)));
            return Ok(());
        }
        self.consumed = self.consumed.saturating_add(consumed_at_end(file));
        *slot = None;
        time.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    /// What a merge of files gives, frames by their text.
    fn merge(files: &[&[u8]]) -> Vec<String> {
        let mut merge = Merge::new(files.iter().map(|bytes| open(bytes).unwrap()).collect());
        let mut events = Vec::new();
        loop {
            events.push(match merge.next() {
                Next::Frame(frame) => String::from_utf8_lossy(frame.bytes).into_owned(),
                Next::StartsEarlier(warning) => warning.to_string(),
                Next::Failed(error) => error.to_string(),
                Next::End => break,
            });
        }
        assert!(matches!(merge.next(), Next::End));
        events
    }

    #[test]
    fn the_earliest_frame_comes_first_and_of_equals_that_of_the_first_file() {
        let a = PcapFile::new().packet(1, 0, b"a1").packet(4, 0, b"a4").packet(5, 0, b"a5").bytes;
        let b = PcapFile::new().packet(1, 0, b"b1").packet(2, 0, b"b2").packet(5, 0, b"b5").bytes;
        let none = PcapFile::new().bytes;
        assert_eq!(merge(&[&a, &none, &b]), ["a1", "b1", "b2", "a4", "a5", "b5"]);
        assert_eq!(merge(&[&b, &a]), ["b1", "a1", "b2", "a4", "b5", "a5"]);
    }

    #[test]
    fn frames_of_one_file_keep_their_order() {
        let a = PcapFile::new().packet(5, 0, b"a5").packet(1, 0, b"a1").packet(6, 0, b"a6").bytes;
        let b = PcapFile::new().packet(4, 0, b"b4").packet(6, 0, b"b6").bytes;
        assert_eq!(merge(&[&a, &b]), ["b4", "a5", "a1", "a6", "b6"]);
    }

    #[test]
    fn an_error_ends_its_file_and_not_the_others() {
        let a = PcapFile::new().packet(1, 0, b"a1").packet(3, 0, b"a3").bytes;
        let b = PcapFile::new().packet(2, 0, b"b2").packet(4, 0, b"b4").bytes;
        let events = merge(&[&a[..50], &b, &b[..30]]);
        assert_eq!(
            events,
            [
                "test: cut off in the middle of a packet at byte 30 (after 0 whole packets)",
                "a1",
                "test: cut off in the middle of a packet at byte 50 (after 1 whole packet)",
                "b2",
                "b4",
            ]
        );
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_told_and_the_others_are_read() {
        let path = std::env::temp_dir().join(format!("sie-merge-{}.pcap", std::process::id()));
        std::fs::write(&path, PcapFile::new().packet(1, 0, b"a1").bytes).unwrap();
        let mut merge = Merge::open(&["/nonexistent/1".into(), path.clone(), "/nonexistent/2".into()]);
        let named = |next: Next| matches!(next, Next::Failed(InputError::Open(_)));
        assert!(named(merge.next()) && named(merge.next()));
        assert!(matches!(merge.next(), Next::Frame(_)));
        assert!(matches!(merge.next(), Next::End));
        std::fs::remove_file(path).unwrap();
    }
}
