//! A file that is made under a hidden name, and gets its own when it is whole and on the disk.

use super::directory::is_same;
use std::{
    fs::{self, File, Metadata, OpenOptions, TryLockError},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process,
};

/// What hidden names begin with. Process and number follow: no longer than any name it may get.
const HIDDEN: &str = ".sie-copy.";
/// Hidden names that a process tries.
const NUMBERS: std::ops::Range<u32> = 0..1000;
/// What is read or written at once.
pub(crate) const STEP: usize = 1 << 20;

/// A file on its way; it goes when this is dropped before it got its name. Its maker holds a lock on it, so that one that
/// a killed process left can be told from one that is being made.
#[derive(Debug)]
pub(crate) struct Copy {
    file: File,
    directory: PathBuf,
    /// None when it has a name that is its own.
    hidden: Option<PathBuf>,
}

impl Copy {
    /// An empty one. `mode` is subject to the umask.
    pub(crate) fn create(directory: &Path, mode: u32) -> io::Result<Copy> {
        for number in NUMBERS {
            let hidden = directory.join(format!("{HIDDEN}{}.{number}", process::id()));
            let file = match OpenOptions::new().write(true).create_new(true).mode(mode).open(&hidden) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                opened => opened?,
            };
            let copy = Copy { file, directory: directory.to_owned(), hidden: Some(hidden) };
            // Before the lock it looks left behind, and may be taken away.
            match copy.file.try_lock() {
                Ok(()) if copy.is_there() => return Ok(copy),
                Ok(()) | Err(TryLockError::WouldBlock) => {}
                // A file system without locks: those left behind there are told by their age.
                Err(TryLockError::Error(_)) => return Ok(copy),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn is_there(&self) -> bool {
        let named = self.hidden.as_ref().and_then(|path| path.symlink_metadata().ok());
        named.zip(self.file.metadata().ok()).is_some_and(|(named, open)| is_same(&named, &open))
    }

    /// What to write to.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Puts it on the disk and gives it its name, in the place of whatever has that. The directory is to be synced.
    pub(crate) fn replace(mut self, name: &str) -> io::Result<()> {
        self.file.sync_all()?;
        if let Some(hidden) = &self.hidden {
            fs::rename(hidden, self.directory.join(name))?;
        }
        self.hidden = None;
        Ok(())
    }

    /// The same, but nothing is replaced: [`io::ErrorKind::AlreadyExists`].
    pub(crate) fn publish(self, name: &str) -> io::Result<()> {
        self.file.sync_all()?;
        let path = self.directory.join(name);
        let linked = self.hidden.as_ref().map_or(Ok(()), |hidden| fs::hard_link(hidden, &path));
        match linked {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            Ok(()) => Ok(()), // the hidden name goes
            // A file system without links: looking first is the best there is.
            Err(_) if path.symlink_metadata().is_ok() => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => self.replace(name),
        }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Some(hidden) = &self.hidden {
            let _ = fs::remove_file(hidden); // else it is left behind, and found some day
        }
    }
}

/// Removes the hidden files of [`Copy`] that `is_left` says were left behind. It is housekeeping: nobody waits for it to
/// succeed.
pub(crate) fn remove_left(directory: &Path, is_left: impl Fn(&File, &Metadata) -> bool) {
    for entry in fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok) {
        if !entry.file_name().as_encoded_bytes().starts_with(HIDDEN.as_bytes()) {
            continue;
        }
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(entry.path());
        let found = file.and_then(|file| file.metadata().map(|metadata| (file, metadata)));
        if found.is_ok_and(|(file, metadata)| metadata.is_file() && is_left(&file, &metadata)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether nobody makes it any more.
pub(crate) fn is_unlocked(file: &File, _: &Metadata) -> bool {
    file.try_lock().is_ok()
}

/// Reads until the buffer is full, or to the end; how much.
pub(crate) fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Makes renames and links last.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// What opens a file that is to be one, not a link or a pipe.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}

/// Whether two files hold the same bytes; `turn` is called for every [`STEP`], and false ends it: then they are not.
pub(crate) fn is_equal(a: &mut File, b: &mut File, mut turn: impl FnMut() -> bool) -> io::Result<bool> {
    if a.metadata()?.len() != b.metadata()?.len() {
        return Ok(false);
    }
    let (mut of_a, mut of_b) = (vec![0; STEP], vec![0; STEP]);
    loop {
        let (len_a, len_b) = (fill(a, &mut of_a)?, fill(b, &mut of_b)?);
        if of_a.get(..len_a) != of_b.get(..len_b) || !turn() {
            return Ok(false);
        }
        if len_a < STEP {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::part::tests::Scratch;
    use std::io::Write;

    fn copy(scratch: &Scratch, text: &str) -> Copy {
        let mut copy = Copy::create(&scratch.0, 0o640).unwrap();
        copy.file().write_all(text.as_bytes()).unwrap();
        copy
    }

    #[test]
    fn a_copy_has_a_name_only_when_it_is_given_one() {
        let scratch = Scratch::new();
        let (one, two) = (copy(&scratch, "one"), copy(&scratch, "two"));
        assert!(scratch.names().iter().all(|name| name.starts_with(HIDDEN)));
        drop(one);
        two.publish("a.nmsg").unwrap();
        assert_eq!(scratch.names(), ["a.nmsg"]);
        let error = copy(&scratch, "three").publish("a.nmsg").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(scratch.0.join("a.nmsg")).unwrap(), b"two");
        copy(&scratch, "four").replace("a.nmsg").unwrap();
        assert_eq!(fs::read(scratch.0.join("a.nmsg")).unwrap(), b"four");
        assert_eq!(scratch.names(), ["a.nmsg"]);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_made_is_not() {
        let scratch = Scratch::new();
        let left = scratch.0.join(format!("{HIDDEN}1.0"));
        fs::write(&left, "torn").unwrap();
        fs::write(scratch.0.join(".other"), "").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", scratch.0.join(format!("{HIDDEN}2.0"))).unwrap();
        let made = copy(&scratch, "x");
        remove_left(&scratch.0, is_unlocked);
        assert!(!left.exists());
        assert_eq!(scratch.names().len(), 3);
        made.publish("a.nmsg").unwrap();
    }

    #[test]
    fn files_are_equal_when_all_their_bytes_are() {
        let scratch = Scratch::new();
        let mut long = vec![7; STEP + 1];
        fs::write(scratch.0.join("a"), &long).unwrap();
        let equal = |bytes: &[u8], turn: bool| {
            fs::write(scratch.0.join("b"), bytes).unwrap();
            let open = |name: &str| open_file(&scratch.0.join(name)).unwrap();
            is_equal(&mut open("a"), &mut open("b"), || turn).unwrap()
        };
        assert!(equal(&long, true));
        assert!(!equal(&long, false) && !equal(&long[1..], true));
        long[STEP] = 8;
        assert!(!equal(&long, true));
    }
}
