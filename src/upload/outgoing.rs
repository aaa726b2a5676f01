//! A file on its way.

use nix::fcntl::OFlag;
use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// A file that is to be sent, open.
#[derive(Debug)]
pub struct Outgoing {
    receipt: Receipt,
    file: File,
}

/// With which a file that was opened is removed once it has arrived.
#[derive(Clone, Debug)]
pub struct Receipt {
    path: PathBuf,
    name: String,
    is: Identity,
}

/// What a file must still be when it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
    mode: u32,
}

impl Outgoing {
    /// Opens `name` in `directory`. What is not a regular file is an error ([`io::ErrorKind::InvalidInput`]).
    pub fn open(directory: &Path, name: &str) -> io::Result<Outgoing> {
        let path = directory.join(name);
        // Without O_NONBLOCK, a fifo of that name would be waited for.
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let file = File::options().read(true).custom_flags(flags.bits()).open(&path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let receipt = Receipt { path, name: name.to_owned(), is: Identity::new(&metadata) };
        Ok(Outgoing { receipt, file })
    }

    /// Its path here.
    pub fn path(&self) -> &Path {
        &self.receipt.path
    }

    /// With which it is removed.
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// Its name, here and at the far end.
    pub fn name(&self) -> &str {
        &self.receipt.name
    }

    /// What to read.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Its size in bytes when it was opened.
    pub fn size(&self) -> u64 {
        self.receipt.is.size
    }

    /// When it was last written to: seconds since 1970.
    pub fn modified(&self) -> i64 {
        self.receipt.is.modified.0
    }

    /// Type and permissions, as in `st_mode`.
    pub fn mode(&self) -> u32 {
        self.receipt.is.mode
    }

    /// Whether the open file is what it was when it was opened.
    pub fn is_unchanged(&self) -> bool {
        self.file.metadata().is_ok_and(|now| Identity::new(&now) == self.receipt.is)
    }
}

impl Receipt {
    /// The file's path here.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.is.size
    }

    /// Removes it here, if what has its name is still what was opened; whether it was. What is gone already is well gone.
    pub fn remove(&self) -> io::Result<bool> {
        let is_the_same = fs::symlink_metadata(&self.path).map(|now| Identity::new(&now) == self.is);
        match is_the_same.and_then(|same| if same { fs::remove_file(&self.path).map(|()| true) } else { Ok(false) }) {
            // Perhaps between the two: whoever trims the spool was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            result => result,
        }
    }
}

impl Identity {
    fn new(metadata: &Metadata) -> Identity {
        Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            mode: metadata.mode(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::part::tests::Scratch;

    #[test]
    fn only_what_was_opened_is_removed() {
        let scratch = Scratch::new();
        let path = scratch.0.join("a.nmsg");
        fs::write(&path, "one").unwrap();
        let outgoing = Outgoing::open(&scratch.0, "a.nmsg").unwrap();
        fs::write(scratch.0.join("b"), "two").unwrap();
        fs::rename(scratch.0.join("b"), &path).unwrap();
        assert!(!outgoing.receipt().remove().unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let outgoing = Outgoing::open(&scratch.0, "a.nmsg").unwrap();
        fs::write(&path, "three").unwrap();
        assert!(!outgoing.is_unchanged());
        assert!(!outgoing.receipt().remove().unwrap());
        let outgoing = Outgoing::open(&scratch.0, "a.nmsg").unwrap();
        assert!(outgoing.is_unchanged() && outgoing.receipt().remove().unwrap());
        assert!(outgoing.receipt().remove().unwrap() && !path.exists());
    }

    #[test]
    fn what_is_no_regular_file_is_not_sent() {
        let scratch = Scratch::new();
        fs::create_dir(scratch.0.join("d.nmsg")).unwrap();
        nix::unistd::mkfifo(&scratch.0.join("f.nmsg"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", scratch.0.join("l.nmsg")).unwrap();
        for name in ["d.nmsg", "f.nmsg", "l.nmsg"] {
            assert!(Outgoing::open(&scratch.0, name).is_err(), "{name}");
        }
    }
}
