//! Directories that may not grow for ever: the oldest files go first.

use super::names;
use crate::time::Timestamp;
use std::{
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

/// A published file.
struct Aged {
    time: Timestamp,
    path: PathBuf,
    bytes: u64,
}

/// Removes what is over the limits, the oldest first, and tells `removed` of each: its path, its length, and what became
/// of it. Files of other kinds are neither counted nor touched.
pub(super) fn trim(
    directory: &Path,
    limits: Limits,
    now: Timestamp,
    mut removed: impl FnMut(PathBuf, u64, io::Result<()>),
) -> io::Result<()> {
    if limits == Limits::default() {
        return Ok(());
    }
    let mut files: Vec<Aged> = fs::read_dir(directory)?.filter_map(|entry| aged(&entry.ok()?)).collect();
    files.sort_by(|a, b| (a.time, &a.path).cmp(&(b.time, &b.path)));
    let mut total: u64 = files.iter().map(|file| file.bytes).sum();
    for file in files {
        let is_old = !limits.age.is_zero() && now.since(file.time) > limits.age;
        let is_too_much = limits.bytes > 0 && total > limits.bytes;
        if !is_old && !is_too_much {
            break; // those that follow are younger
        }
        let result = match fs::remove_file(&file.path) {
            // Whoever uploads it was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                total -= file.bytes;
                continue;
            }
            result => result,
        };
        if result.is_ok() {
            total -= file.bytes;
        }
        removed(file.path, file.bytes, result);
    }
    Ok(())
}

/// A name without a time, which only somebody else can have made, is as old as its last change.
fn aged(entry: &DirEntry) -> Option<Aged> {
    let name = entry.file_name().into_string().ok()?;
    let metadata = entry.metadata().ok().filter(|metadata| metadata.is_file())?;
    if !names::is_plain(&name) {
        return None;
    }
    let changed = || Timestamp::new(metadata.mtime().try_into().unwrap_or(0), 0);
    let time = names::of_published(&name).map_or_else(changed, |(_, time)| time);
    Some(Aged { time, path: entry.path(), bytes: metadata.blocks() * 512 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::part::tests::Scratch;

    const NOW: Timestamp = Timestamp::from_nanos(1_700_000_000_000_000_000);

    /// Files of 4096 bytes, so many days old; what is left of them, and what is said of the others.
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
        let mut said = 0;
        trim(&scratch.0, limits, NOW, |_, bytes, result| {
            assert!(bytes >= 4096 && result.is_ok());
            said += 1;
        })
        .unwrap();
        assert!(scratch.0.join("notes.txt").exists());
        (days.iter().copied().filter(|days| path(days).exists()).collect(), said)
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
    fn zero_is_no_limit() {
        assert_eq!(trimmed(Limits::default(), &[1, 10_000]), (vec![1, 10_000], 0));
    }
}
