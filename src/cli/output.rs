//! Where a command writes: standard output, a device or pipe in place, or a file that appears whole or not at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

/// A place to write to, as the user named it.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// `-`.
    Stdout,
    /// Exists and is no regular file (a device, a named pipe): written in place.
    InPlace(PathBuf),
    /// A regular file: written beside it, then renamed.
    Replace(PathBuf),
}

impl Target {
    pub(super) fn new(path: &Path) -> Target {
        if path.as_os_str() == "-" {
            return Target::Stdout;
        }
        match fs::metadata(path) {
            Ok(metadata) if !metadata.is_file() => Target::InPlace(path.to_owned()),
            // A symbolic link is followed: what it points to is replaced, not the link.
            Ok(_) => Target::Replace(fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())),
            Err(_) => Target::Replace(path.to_owned()),
        }
    }
}

/// A target that is open. A file to be replaced is not touched until [`Output::publish`], and what was written is removed
/// if that is never called.
pub(super) struct Output {
    to: Box<dyn Write>,
    /// Where the bytes are, and where they belong.
    pending: Option<(PathBuf, PathBuf)>,
    file: Option<File>,
}

impl Output {
    /// Opens `target`. Fails for a terminal: containers would do it no good.
    pub(super) fn create(target: &Target) -> io::Result<Output> {
        match target {
            Target::Stdout if io::stdout().is_terminal() => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "standard output is a terminal; name a file or a pipe"))
            }
            Target::Stdout => Ok(Output { to: Box::new(io::stdout()), pending: None, file: None }),
            Target::InPlace(path) => {
                let file = OpenOptions::new().write(true).open(path)?;
                Ok(Output { to: Box::new(file), pending: None, file: None })
            }
            Target::Replace(path) => Output::beside(path),
        }
    }

    fn beside(path: &Path) -> io::Result<Output> {
        let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a file name"))?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.part", std::process::id()));
        let part = path.with_file_name(hidden);
        let file = OpenOptions::new().write(true).create_new(true).open(&part)?;
        let to = file.try_clone()?;
        Ok(Output { to: Box::new(to), pending: Some((part, path.to_owned())), file: Some(file) })
    }

    /// Makes what was written appear under its name.
    pub(super) fn publish(mut self) -> io::Result<()> {
        self.to.flush()?;
        if let Some(file) = &self.file {
            file.sync_all()?;
        }
        if let Some((part, path)) = &self.pending {
            fs::rename(part, path)?;
        }
        self.pending = None;
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some((part, _)) = &self.pending {
            // Best effort: whoever called reports why it was not published.
            let _ = fs::remove_file(part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("sie-output-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    #[test]
    fn a_file_appears_when_published_and_never_before() {
        let directory = directory("publish");
        let path = directory.join("out.nmsg");
        fs::write(&path, "old").unwrap();
        let mut output = Output::create(&Target::new(&path)).unwrap();
        output.write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        output.publish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        drop(Output::create(&Target::new(&path)).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_is_no_regular_file_is_written_in_place() {
        assert!(matches!(Target::new(Path::new("/dev/null")), Target::InPlace(_)));
        let mut output = Output::create(&Target::new(Path::new("/dev/null"))).unwrap();
        output.write_all(b"gone").unwrap();
        output.publish().unwrap();
    }
}
