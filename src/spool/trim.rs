//! Directories that may not grow for ever: the oldest files go first.

use super::names;
use crate::time::Timestamp;
use std::{
    collections::{BinaryHeap, binary_heap::PeekMut},
    fs::{self, DirEntry},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// What a directory may hold; zero is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes on the disk, as du counts them.
    pub bytes: u64,
    /// Age of a file, by the time in its name.
    pub age: Duration,
}

/// What a directory holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stock {
    /// Published files.
    pub files: u64,
    /// Their bytes on the disk, as du counts them.
    pub bytes: u64,
    /// The time of the oldest.
    pub oldest: Option<Timestamp>,
}

impl Stock {
    /// Counts a directory's files, as long as `goes_on` says so for each. One that is not there has none.
    pub fn of(directory: &Path, mut goes_on: impl FnMut() -> bool) -> Option<Stock> {
        let mut stock = Stock::default();
        for file in files(directory).into_iter().flatten() {
            if !goes_on() {
                return None;
            }
            stock.files += 1;
            stock.bytes += file.bytes;
            stock.oldest = Some(stock.oldest.map_or(file.time, |oldest| oldest.min(file.time)));
        }
        Some(stock)
    }
}

/// A published file.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Aged {
    time: Timestamp,
    name: String,
    bytes: u64,
}

/// What a pass removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Removed {
    /// The oldest of the files.
    pub(super) first: Option<PathBuf>,
    /// How many they are.
    pub(super) files: u64,
    /// Bytes on the disk, as du counts them.
    pub(super) bytes: u64,
}

/// Removes what is over the limits, the oldest first, and tells `failed` what could not be removed. Files of other kinds
/// are neither counted nor touched; what somebody else removes meanwhile (an uploader that got its confirmation) is not
/// counted.
pub(super) fn trim(
    directory: &Path,
    limits: Limits,
    now: Timestamp,
    mut failed: impl FnMut(PathBuf, io::Error),
) -> io::Result<Removed> {
    let mut removed = Removed::default();
    if limits == Limits::default() {
        return Ok(removed);
    }
    let is_old = |file: &Aged| !limits.age.is_zero() && now.since(file.time) > limits.age;
    let look = |(total, any_old), file: Aged| (total + file.bytes, any_old || is_old(&file));
    let (mut total, any_old) = files(directory)?.fold((0, false), look);
    let excess = |total: u64| if limits.bytes > 0 { total.saturating_sub(limits.bytes) } else { 0 };
    if !any_old && excess(total) == 0 {
        return Ok(removed);
    }
    for file in oldest(files(directory)?, excess(total), is_old) {
        if !is_old(&file) && excess(total) == 0 {
            break; // those that follow are younger
        }
        let path = directory.join(file.name);
        match fs::remove_file(&path) {
            Ok(()) => {
                removed.first.get_or_insert(path);
                removed.files += 1;
                removed.bytes += file.bytes;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                failed(path, error);
                continue;
            }
        }
        total = total.saturating_sub(file.bytes);
    }
    Ok(removed)
}

/// All that are too old, and of the others, the oldest that make up so many bytes; the oldest first. In memory there are
/// never more, however many are in the directory.
fn oldest(files: impl Iterator<Item = Aged>, excess: u64, is_old: impl Fn(&Aged) -> bool) -> Vec<Aged> {
    let mut oldest = BinaryHeap::new();
    let mut sum: u64 = 0;
    for file in files {
        sum += file.bytes;
        oldest.push(file);
        while let Some(youngest) = oldest.peek_mut().filter(|file| !is_old(file) && sum - file.bytes >= excess) {
            sum -= PeekMut::pop(youngest).bytes;
        }
    }
    oldest.into_sorted_vec()
}

/// The published files in a directory.
fn files(directory: &Path) -> io::Result<impl Iterator<Item = Aged>> {
    Ok(fs::read_dir(directory)?.filter_map(|entry| aged(&entry.ok()?)))
}

/// A name without a time, which only somebody else can have made, is as old as its last change.
fn aged(entry: &DirEntry) -> Option<Aged> {
    let name = entry.file_name().into_string().ok().filter(|name| names::is_plain(name))?;
    let metadata = entry.metadata().ok().filter(|metadata| metadata.is_file())?;
    let changed = || Timestamp::new(metadata.mtime().try_into().unwrap_or(0), 0);
    let time = names::of_published(&name).map_or_else(changed, |(_, time)| time);
    Some(Aged { time, name, bytes: metadata.blocks() * 512 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::part::tests::Scratch;
    use std::process::{Command, Stdio};

    const NOW: Timestamp = Timestamp::from_nanos(1_700_000_000_000_000_000);

    /// Files of 4096 bytes, so many days old; those that are left, and how many are not.
    fn trimmed(limits: Limits, days: &[u64]) -> (Vec<u64>, usize) {
        let scratch = Scratch::new();
        let path = |days: &u64| {
            // Hosts that sort against the age.
            let time = Timestamp::new(NOW.seconds() - days * 86_400, 0);
            scratch.0.join(names::published(&format!("h{days}"), time))
        };
        for days in days {
            fs::write(path(days), [1; 4096]).unwrap();
        }
        fs::write(scratch.0.join("notes.txt"), [1; 65_536]).unwrap();
        let removed = trim(&scratch.0, limits, NOW, |path, error| panic!("{path:?}: {error}")).unwrap();
        assert!(scratch.0.join("notes.txt").exists());
        let (kept, gone): (Vec<u64>, Vec<u64>) = days.iter().partition(|days| path(days).exists());
        assert_eq!((removed.files, removed.bytes), (gone.len() as u64, gone.len() as u64 * 4096));
        assert_eq!(removed.first, gone.iter().max().map(path));
        (kept, gone.len())
    }

    #[test]
    fn the_oldest_by_name_go_first_when_there_is_too_much() {
        let limits = Limits { bytes: 8192, age: Duration::ZERO };
        assert_eq!(trimmed(limits, &[1, 10, 2, 9]), (vec![1, 2], 2));
        assert_eq!(trimmed(limits, &[1, 2]), (vec![1, 2], 0));
    }

    #[test]
    fn what_is_too_old_goes_whatever_its_size() {
        let limits = Limits { bytes: 0, age: Duration::from_secs(5 * 86_400) };
        assert_eq!(trimmed(limits, &[1, 10, 2, 9]), (vec![1, 2], 2));
    }

    #[test]
    fn both_limits_hold_together() {
        let limits = Limits { bytes: 8192, age: Duration::from_secs(5 * 86_400) };
        assert_eq!(trimmed(limits, &[1, 10, 2, 3, 9]), (vec![1, 2], 3));
        assert_eq!(trimmed(limits, &[7, 8, 6]), (vec![], 3));
    }

    #[test]
    fn no_more_is_held_in_memory_than_is_to_go() {
        let file = |time| Aged { time: Timestamp::from_nanos(time), name: String::new(), bytes: 10 };
        let times = |excess| -> Vec<u64> {
            let files = (0..1000).map(|number| file(number * 7919 % 1000));
            oldest(files, excess, |_| false).iter().map(|file| file.time.as_nanos()).collect()
        };
        assert!(times(0).is_empty());
        assert_eq!(times(25), [0, 1, 2]);
        assert_eq!(times(30), [0, 1, 2]);
        assert_eq!(times(u64::MAX).len(), 1000);
    }

    #[test]
    fn what_cannot_be_removed_is_said_and_not_counted() {
        let scratch = Scratch::new();
        let path = scratch.0.join("a.nmsg");
        fs::write(&path, [1; 4096]).unwrap();
        let mut flags = Command::new("chattr");
        let is_done = |flags: &mut Command| flags.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        if !is_done(flags.arg("+i").arg(&path)) {
            eprintln!("skipped: needs root and a file system with immutable files");
            return;
        }
        let mut failed = Vec::new();
        let limits = Limits { bytes: 1, age: Duration::ZERO };
        let removed = trim(&scratch.0, limits, NOW, |path, error| failed.push((path, error.kind()))).unwrap();
        assert!(is_done(Command::new("chattr").arg("-i").arg(&path)));
        assert_eq!(removed, Removed::default());
        assert_eq!(failed, [(path, io::ErrorKind::PermissionDenied)]);
    }

    #[test]
    fn zero_is_no_limit() {
        assert_eq!(trimmed(Limits::default(), &[1, 10_000]), (vec![1, 10_000], 0));
    }

    /// `cargo test --lib trim -- --ignored --nocapture`
    #[test]
    #[ignore = "a measurement"]
    fn how_long_100_000_files_take() {
        let scratch = Scratch::new();
        for seconds in 0..100_000 {
            fs::write(scratch.0.join(names::published("h", NOW.before(Duration::from_secs(seconds)))), [1]).unwrap();
        }
        for (what, files) in [("nothing to do", 100_000), ("100 to go", 99_900)] {
            let started = std::time::Instant::now();
            let removed =
                trim(&scratch.0, Limits { bytes: files * 4096, age: Duration::ZERO }, NOW, |_, _| {}).unwrap();
            println!("{what}: {:?}, {} removed", started.elapsed(), removed.files);
        }
    }
}
