//! The file that says which process is the sensor, for init systems that want one.

use crate::escape::escaped;
use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Why there is no pid file.
#[derive(Debug)]
pub enum PidFileError {
    /// Another process holds it.
    Held {
        /// The file.
        path: PathBuf,
        /// What the other one wrote, if it is a number.
        pid: Option<u32>,
    },
    /// It cannot be opened, locked or written.
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
}

impl fmt::Display for PidFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PidFileError::Held { path, pid: Some(pid) } => {
                write!(f, "already running: process {pid} holds {}", escaped(path))
            }
            PidFileError::Held { path, pid: None } => {
                write!(f, "already running: another process holds {}", escaped(path))
            }
            PidFileError::Io { path, error } => write!(f, "cannot write {}: {error}", escaped(path)),
        }
    }
}

impl std::error::Error for PidFileError {}

/// A locked pid file. The lock, not the number in it, says that the process lives: numbers are used again.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    file: File,
    /// The process that wrote itself into it.
    owner: Option<u32>,
}

impl PidFile {
    /// Takes the lock. It goes with the descriptor to a forked child, which then writes its own number.
    pub fn lock(path: &Path) -> Result<PidFile, PidFileError> {
        let failed = |error| PidFileError::Io { path: path.to_path_buf(), error };
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o644).custom_flags(libc::O_NOFOLLOW);
            let mut file = options.open(path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(PidFileError::Held { path: path.to_path_buf(), pid: number_in(&mut file) });
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // The holder before may have removed the name between our opening and our locking.
            if is_at(path, &file) {
                return Ok(PidFile { path: path.to_path_buf(), file, owner: None });
            }
        }
    }

    /// Writes this process's number.
    pub fn write(&mut self) -> Result<(), PidFileError> {
        let pid = std::process::id();
        let written =
            self.file.set_len(0).and_then(|()| self.file.rewind()).and_then(|()| writeln!(self.file, "{pid}"));
        written.map_err(|error| PidFileError::Io { path: self.path.clone(), error })?;
        self.owner = Some(pid);
        Ok(())
    }
}

impl Drop for PidFile {
    /// Only the process that wrote it removes it, or took the lock and has nothing to write: it may have made it then. And
    /// only if the name still means this file.
    fn drop(&mut self) {
        let is_empty = || self.file.metadata().is_ok_and(|metadata| metadata.len() == 0);
        let is_ours = self.owner.map_or_else(is_empty, |owner| owner == std::process::id());
        if is_ours && is_at(&self.path, &self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether the name means this open file.
fn is_at(path: &Path, file: &File) -> bool {
    let (Ok(named), Ok(open)) = (fs::symlink_metadata(path), file.metadata()) else { return false };
    (named.dev(), named.ino()) == (open.dev(), open.ino())
}

fn number_in(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(20).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("sie-pidfile-{}-{name}", std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    #[test]
    fn a_second_holder_is_refused_with_the_first_ones_number() {
        let path = scratch("held");
        let mut first = PidFile::lock(&path).unwrap();
        first.write().unwrap();
        let refused = PidFile::lock(&path).unwrap_err();
        let expected = format!("already running: process {} holds {}", std::process::id(), path.display());
        assert_eq!(refused.to_string(), expected);
        drop(first);
        assert!(!path.exists());
    }

    #[test]
    fn a_file_left_by_a_dead_process_is_taken_over() {
        let path = scratch("stale");
        fs::write(&path, "4194304 and more that was there\n").unwrap();
        let mut file = PidFile::lock(&path).unwrap();
        file.write().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        drop(file);
    }

    #[test]
    fn a_file_that_was_never_written_goes_and_one_of_a_dead_process_stays() {
        let path = scratch("unwritten");
        drop(PidFile::lock(&path).unwrap());
        assert!(!path.exists());
        fs::write(&path, "4194304\n").unwrap();
        drop(PidFile::lock(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "4194304\n");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn only_its_own_file_is_removed() {
        let path = scratch("replaced");
        let mut file = PidFile::lock(&path).unwrap();
        file.write().unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another's").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "another's");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let (link, target) = (scratch("link"), scratch("target"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(PidFile::lock(&link).is_err());
        assert!(!target.exists());
        fs::remove_file(&link).unwrap();
    }
}
