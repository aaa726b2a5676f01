//! What somebody has paused, and until when: a file in the spool directory, so that a restart changes nothing about it.

use crate::time::Timestamp;
use clap::ValueEnum;
use std::{
    fmt::Write as _,
    fs::{self, OpenOptions, Permissions},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// Its name.
const NAME: &str = ".paused";
/// While it is written.
const PART: &str = ".paused.part";
const MODE: u32 = 0o640;
/// Longer ones are somebody else's.
const LENGTH_MAX: u64 = 4096;

/// What can be paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Packets are not captured: the interfaces are closed
    Capture,
    /// Files are not sent: they wait
    Upload,
}

impl Part {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Part::Capture => "capture",
            Part::Upload => "upload",
        }
    }
}

/// Until when something is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// It is resumed.
    Resumed,
    /// Then.
    Time(Timestamp),
}

/// What is paused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paused {
    /// Capture.
    pub capture: Option<Until>,
    /// Upload.
    pub upload: Option<Until>,
}

impl Paused {
    /// Everything: as long as nobody knows.
    pub const ALL: Paused = Paused { capture: Some(Until::Resumed), upload: Some(Until::Resumed) };

    /// What the file in this directory says; nothing is paused if there is none.
    pub fn read(directory: &Path) -> io::Result<Paused> {
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(directory.join(NAME)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Paused::default()),
            Err(error) => return Err(error),
        };
        if !file.metadata()?.is_file() {
            return Err(ErrorKind::InvalidData.into());
        }
        let mut text = String::new();
        file.take(LENGTH_MAX).read_to_string(&mut text)?;
        Paused::parse(&text).ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "it says nothing that is known"))
    }

    /// Writes the file, or removes it.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        let (path, part) = (directory.join(NAME), directory.join(PART));
        if *self == Paused::default() {
            return fs::remove_file(path).or_else(|error| match error.kind() {
                ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            });
        }
        let _ = fs::remove_file(&part); // of a command that was killed
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&part)?;
        // Whatever the umask of who writes it: the sensor's users are to read it.
        let written = file.set_permissions(Permissions::from_mode(MODE));
        let written = written.and_then(|()| file.write_all(self.text().as_bytes())).and_then(|()| file.sync_all());
        written.and_then(|()| fs::rename(&part, path)).inspect_err(|_| drop(fs::remove_file(&part)))
    }

    /// Changes one part.
    pub fn set(&mut self, part: Part, until: Option<Until>) {
        match part {
            Part::Capture => self.capture = until,
            Part::Upload => self.upload = until,
        }
    }

    /// Without what is over.
    pub fn at(self, now: Timestamp) -> Paused {
        let lasts = |until: &Until| match until {
            Until::Resumed => true,
            Until::Time(time) => *time > now,
        };
        Paused { capture: self.capture.filter(lasts), upload: self.upload.filter(lasts) }
    }

    /// A line for each part that is paused: its name, and the second of its end.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (part, until) in [(Part::Capture, self.capture), (Part::Upload, self.upload)] {
            let _ = match until {
                None => Ok(()),
                Some(Until::Resumed) => writeln!(text, "{}", part.name()),
                Some(Until::Time(time)) => writeln!(text, "{} {}", part.name(), time.seconds()),
            };
        }
        text
    }

    /// `None` if a line cannot be understood: it may have been to pause something.
    pub fn parse(text: &str) -> Option<Paused> {
        let mut paused = Paused::default();
        for line in text.lines() {
            let (name, until) = match line.split_once(' ') {
                None => (line, Until::Resumed),
                Some((name, time)) => (name, Until::Time(Timestamp::new(time.parse().ok()?, 0))),
            };
            paused.set(Part::from_str(name, false).ok()?, Some(until));
        }
        Some(paused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::part::tests::Scratch;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_is_written_is_read_and_nothing_leaves_no_file() {
        let scratch = Scratch::new();
        assert_eq!(Paused::read(&scratch.0).unwrap(), Paused::default());
        let until = Some(Until::Time(Timestamp::new(1_700_000_000, 0)));
        for paused in [
            Paused { capture: until, upload: Some(Until::Resumed) },
            Paused { capture: None, upload: until },
            Paused { capture: Some(Until::Resumed), upload: None },
        ] {
            paused.write(&scratch.0).unwrap();
            assert_eq!(Paused::read(&scratch.0).unwrap(), paused);
            assert_eq!(scratch.names(), [NAME]);
        }
        Paused::default().write(&scratch.0).unwrap();
        Paused::default().write(&scratch.0).unwrap();
        assert!(scratch.names().is_empty());
    }

    #[test]
    fn a_pause_with_an_end_ends_then() {
        let end = Timestamp::new(1_700_000_000, 0);
        let paused = Paused { capture: Some(Until::Time(end)), upload: Some(Until::Resumed) };
        assert_eq!(paused.at(Timestamp::new(1_699_999_999, 0)), paused);
        assert_eq!(paused.at(end), Paused { capture: None, ..paused });
    }

    #[test]
    fn nonsense_bytes_and_links_are_errors_and_not_nothing() {
        let scratch = Scratch::new();
        for bytes in [&b"capture soon"[..], b"things", b"\n", b" capture", b"capture\n\0", b"capture\n\xff"] {
            fs::write(scratch.0.join(NAME), bytes).unwrap();
            let error = Paused::read(&scratch.0).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{bytes:?}");
        }
        fs::remove_file(scratch.0.join(NAME)).unwrap();
        symlink("/etc/passwd", scratch.0.join(NAME)).unwrap();
        assert!(Paused::read(&scratch.0).is_err());
    }
}
