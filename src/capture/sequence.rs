//! Capture files one after the other.

use std::path::PathBuf;
use std::vec;

use super::input::{InputError, Next, StartsEarlier, consumed_at_end, file_size};
use super::savefile::Savefile;
use crate::time::Timestamp;

/// Files read in the order they were named; one of them is open at a time.
pub(super) struct Sequence {
    paths: vec::IntoIter<PathBuf>,
    current: Option<Savefile>,
    /// Whether the first frame of `current` has still to be compared with `previous`.
    unchecked: bool,
    /// The last file before `current` that had a frame, and the time of its last one.
    previous: Option<(String, Timestamp)>,
    /// Time of the last frame given out from `current`.
    last: Option<Timestamp>,
    /// Bytes of the files before `current`.
    consumed: u64,
}

impl Sequence {
    /// Opens nothing yet.
    pub(super) fn new(paths: Vec<PathBuf>) -> Sequence {
        Sequence { paths: paths.into_iter(), current: None, unchecked: false, previous: None, last: None, consumed: 0 }
    }

    /// As [`super::Input::next`].
    #[inline]
    pub(super) fn next(&mut self) -> Next<'_> {
        loop {
            let Some(file) = &mut self.current else {
                match self.open() {
                    Some(Ok(())) => continue,
                    Some(Err(error)) => return Next::Failed(error),
                    None => return Next::End,
                }
            };
            match file.ready() {
                Ok(Some(record)) => {
                    if self.unchecked
                        && let Some(warning) = self.check(record.time)
                    {
                        return Next::StartsEarlier(warning);
                    }
                    self.last = Some(record.time);
                    match &mut self.current {
                        Some(file) => return Next::Frame(file.take(record)),
                        None => return Next::End,
                    }
                }
                Ok(None) => self.close(),
                Err(error) => {
                    self.close();
                    return Next::Failed(InputError::Read(error));
                }
            }
        }
    }

    /// Bytes read of all files.
    pub(super) fn consumed(&self) -> u64 {
        let current = self.current.as_ref().map_or(0, Savefile::consumed);
        self.consumed.saturating_add(current)
    }

    /// Opens the next file; `None` when there is none.
    #[cold]
    fn open(&mut self) -> Option<Result<(), InputError>> {
        let path = self.paths.next()?;
        match Savefile::open(&path) {
            Ok(file) => {
                self.current = Some(file);
                self.unchecked = true;
                Some(Ok(()))
            }
            Err(error) => {
                // As `consumed_at_end` does for one that fails later.
                let size = file_size(&path).unwrap_or_default();
                self.consumed = self.consumed.saturating_add(size);
                Some(Err(InputError::Open(error)))
            }
        }
    }

    /// Forgets the current file, but for when it ended.
    #[cold]
    fn close(&mut self) {
        let Some(file) = self.current.take() else {
            return;
        };
        self.consumed = self.consumed.saturating_add(consumed_at_end(&file));
        if let Some(last) = self.last.take() {
            self.previous = Some((file.name().to_owned(), last));
        }
    }

    /// Compares the first frame of a file, captured at `first`, with the last of the file before.
    #[cold]
    fn check(&mut self, first: Timestamp) -> Option<StartsEarlier> {
        self.unchecked = false;
        let (previous, last) = self.previous.as_ref()?;
        let file = self.current.as_ref()?.name().to_owned();
        (first < *last).then(|| StartsEarlier { file, previous: previous.clone() })
    }
}
