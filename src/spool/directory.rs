//! The directory that files are made in.

use super::Event;
use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// What is free on a file system.
#[derive(Clone, Copy, Debug)]
pub(super) struct Space {
    /// Bytes that an unprivileged process may still write.
    pub(super) free: u64,
    /// The same if it held no file.
    pub(super) most: u64,
}

/// A directory, by its path and by what was there at start.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    open: File,
    opened: Metadata,
}

impl Directory {
    pub(super) fn open(path: &Path) -> io::Result<Directory> {
        let open = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path)?;
        let opened = open.metadata()?;
        Ok(Directory { path: path.to_owned(), open, opened })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether the path still leads to what was opened.
    pub(super) fn is_there(&self) -> bool {
        // A path that cannot be looked at for another reason than its absence says nothing.
        match self.path.metadata() {
            Ok(now) => is_same(&now, &self.opened),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Makes renames last.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.open.sync_all()
    }

    /// What is free where it is.
    pub(super) fn space(&self) -> io::Result<Space> {
        Ok(space(&nix::sys::statvfs::fstatvfs(&self.open)?))
    }

    /// What to say when something did not work that needs the directory.
    pub(super) fn failed(&self, doing: &'static str, name: &str, error: io::Error) -> Event {
        Event::Failed { doing, path: self.join(name), error }
    }
}

/// Bytes that an unprivileged process may write where a path leads.
pub fn free(path: &Path) -> io::Result<u64> {
    Ok(space(&nix::sys::statvfs::statvfs(path)?).free)
}

// The widths of these numbers differ from system to system.
#[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
fn space(status: &nix::sys::statvfs::Statvfs) -> Space {
    let (all, free) = (status.blocks() as u64, status.blocks_free() as u64);
    let available = status.blocks_available() as u64;
    let bytes = |blocks: u64| blocks.saturating_mul(status.fragment_size() as u64);
    // What is free and not available is kept for root.
    let kept = free.saturating_sub(available);
    Space { free: bytes(available), most: bytes(all.saturating_sub(kept)) }
}

/// Whether two paths led to one file.
pub(crate) fn is_same(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}
