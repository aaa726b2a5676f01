//! One uploader for a channel.

use super::state;
use crate::escape::escaped;
use std::{
    fmt::{self, Display, Formatter},
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Held by whoever uploads the files of a directory; the kernel takes it back when its process ends, however that does.
///
/// It is on the directory itself: whoever may list that can lock it, no file of another user's is in the way, and none is
/// left to be removed from under its holder. Two uploaders would lose nothing without it (files are removed only after
/// their confirmation, and only if they are what was sent), but send everything twice.
#[derive(Debug)]
pub struct Lock {
    /// Closing it unlocks.
    _directory: File,
}

/// Why the lock could not be had.
#[derive(Debug)]
pub enum LockError {
    /// Another process has it.
    Held {
        /// The directory.
        path: PathBuf,
        /// Its process id, if it has said so.
        by: Option<u32>,
    },
    /// The system refused.
    Failed {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl Lock {
    /// Takes the lock of `waiting/CHANNEL`, or says at once why not.
    pub fn take(directory: &Path) -> Result<Lock, LockError> {
        let failed = |error| LockError::Failed { path: directory.to_owned(), error };
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(directory).map_err(failed)?;
        match opened.try_lock() {
            Ok(()) => Ok(Lock { _directory: opened }),
            Err(TryLockError::WouldBlock) => {
                let by = state::read(directory).map(|state| state.process);
                Err(LockError::Held { path: directory.to_owned(), by })
            }
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

impl Display for LockError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            LockError::Held { path, by } => {
                let process = by.map(|by| format!(" (process {by})")).unwrap_or_default();
                write!(f, "another uploader{process} has the files of {}", escaped(path))
            }
            LockError::Failed { path, error } => write!(f, "cannot lock {}: {error}", escaped(path)),
        }
    }
}

impl std::error::Error for LockError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        spool::part::tests::Scratch,
        upload::state::{State, Writer},
    };
    use std::{
        io::{BufRead, BufReader},
        process::{Command, Stdio},
        time::Duration,
    };

    #[test]
    fn a_lock_is_held_by_one_and_freed_with_it() {
        let scratch = Scratch::new();
        let lock = Lock::take(&scratch.0).unwrap();
        let error = Lock::take(&scratch.0).unwrap_err().to_string();
        assert_eq!(error, format!("another uploader has the files of {}", scratch.0.display()));
        Writer::new(&scratch.0).write(State { process: 4711, ..State::default() }, Duration::ZERO).unwrap();
        assert!(Lock::take(&scratch.0).unwrap_err().to_string().contains(" (process 4711) "));
        drop(lock);
        Lock::take(&scratch.0).unwrap();
    }

    #[test]
    fn a_lock_dies_with_a_holder_that_is_killed() {
        let scratch = Scratch::new();
        let holder = "import fcntl, os, sys, time\n\
            fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)\nprint('held', flush=True)\ntime.sleep(60)";
        let command = Command::new("python3").args(["-c", holder]).arg(&scratch.0).stdout(Stdio::piped()).spawn();
        let Ok(mut child) = command else {
            eprintln!("skipped: needs python3");
            return;
        };
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "held\n");
        assert!(matches!(Lock::take(&scratch.0), Err(LockError::Held { by: None, .. })));
        child.kill().unwrap();
        child.wait().unwrap();
        Lock::take(&scratch.0).unwrap();
    }

    #[test]
    fn what_cannot_be_locked_is_named() {
        let error = Lock::take(Path::new("/nonexistent/ch202")).unwrap_err().to_string();
        assert_eq!(error, "cannot lock /nonexistent/ch202: No such file or directory (os error 2)");
    }
}
