//! Where a command writes: standard output, a device or pipe in place, or a file that appears whole or not at all.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
    low_level::emulate_default_handler,
};

use crate::escape::escaped;

/// Where bytes go. A regular file is not touched until [`Output::publish`]; what was written is removed if that is never
/// called.
pub(super) struct Output {
    to: Box<dyn Write>,
    name: String,
    part: Option<Part>,
}

/// A file on its way to its name.
struct Part {
    file: File,
    part: PathBuf,
    path: PathBuf,
}

impl Output {
    /// Opens the place that the user named; none, or `-`, is standard output. What is no regular file (a device, a pipe)
    /// is written in place. A terminal is refused when what comes is `binary`.
    pub(super) fn open(path: Option<&Path>, binary: bool) -> io::Result<Output> {
        let Some(path) = path.filter(|path| path.as_os_str() != "-") else {
            let stdout = io::stdout();
            refuse_terminal(binary && stdout.is_terminal())?;
            return Ok(Output { to: Box::new(stdout), name: name(None), part: None });
        };
        if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            let file = OpenOptions::new().write(true).open(path)?;
            refuse_terminal(binary && file.is_terminal())?;
            return Ok(Output { to: Box::new(file), name: escaped(path), part: None });
        }
        // A symbolic link is followed: what it points to is replaced, not the link.
        let path = match fs::canonicalize(path) {
            Ok(path) => path,
            Err(_) if path.is_symlink() => return Err(refused("a symbolic link that leads nowhere; remove it")),
            Err(_) => path.to_owned(),
        };
        if path.exists() {
            // To replace a file asks for the directory only; whoever made it read-only meant the file.
            OpenOptions::new().write(true).open(&path)?;
        }
        let part = Part::beside(path)?;
        let to = Box::new(part.file.try_clone()?);
        let output = Output { to, name: escaped(&part.path), part: Some(part) };
        output.keep_permissions()?;
        Ok(output)
    }

    /// What it replaces was perhaps not for everyone to read.
    fn keep_permissions(&self) -> io::Result<()> {
        match &self.part {
            Some(Part { file, path, .. }) if path.exists() => file.set_permissions(fs::metadata(path)?.permissions()),
            _ => Ok(()),
        }
    }

    /// What to call it in a message.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Makes what was written appear under its name, on the disk.
    pub(super) fn publish(mut self) -> io::Result<()> {
        self.to.flush()?;
        if let Some(part) = &self.part {
            part.file.sync_all()?;
            fs::rename(&part.part, &part.path)?;
        }
        self.part = None;
        Ok(())
    }
}

/// What messages call the place that the user named.
pub(super) fn name(path: Option<&Path>) -> String {
    match path.filter(|path| path.as_os_str() != "-") {
        Some(path) => escaped(path),
        None => "standard output".to_string(),
    }
}

/// An input is not to be replaced by what is made of it. `option` is the one that named the output.
pub(super) fn refuse_input(path: &Path, files: &[PathBuf], option: &str) -> Result<(), String> {
    match files.iter().map(|input| behind(input)).find(|input| path.is_file() && is_same(input, path)) {
        None => Ok(()),
        Some(input) => Err(format!("{} is to be read and written; name another file with {option}", escaped(input))),
    }
}

/// What an input is a name of.
fn behind(input: &Path) -> &Path {
    if input.as_os_str() == "-" { Path::new("/dev/stdin") } else { input }
}

/// Whether two names mean one file, device or pipe.
pub(super) fn is_same(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

fn refuse_terminal(is_refused: bool) -> io::Result<()> {
    let message = "this is not for a terminal; name a file with -w, or write into a pipe";
    if is_refused { Err(refused(message)) } else { Ok(()) }
}

fn refused(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

impl Part {
    fn beside(path: PathBuf) -> io::Result<Part> {
        let name = path.file_name().ok_or_else(|| refused("not a file name"))?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.part", std::process::id()));
        let part = path.with_file_name(hidden);
        remove_on_signals(part.clone())?;
        let file = OpenOptions::new().write(true).create_new(true).open(&part)?;
        Ok(Part { file, part, path })
    }
}

/// Sees to it that SIGINT and SIGTERM remove the part file before they end the program as they always do. A thread waits
/// for them: a flag that is looked at between packets would not be seen while a read of a pipe blocks.
fn remove_on_signals(part: PathBuf) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("signals".to_string()).spawn(move || {
        for signal in signals.forever() {
            // It may not be there yet, or no more.
            let _ = fs::remove_file(&part);
            let _ = emulate_default_handler(signal);
        }
    })?;
    Ok(())
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
        if let Some(part) = &self.part {
            // Best effort: whoever called reports why it was not published.
            let _ = fs::remove_file(&part.part);
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
        let mut output = Output::open(Some(&path), true).unwrap();
        output.write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        output.publish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        drop(Output::open(Some(&path), true).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn who_may_read_what_is_replaced_may_read_what_replaces_it() {
        use std::os::unix::fs::PermissionsExt;
        let directory = directory("permissions");
        let path = directory.join("out.nmsg");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        Output::open(Some(&path), true).unwrap().publish().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_is_no_regular_file_is_written_in_place() {
        let mut output = Output::open(Some(Path::new("/dev/null")), true).unwrap();
        assert!(output.part.is_none());
        output.write_all(b"gone").unwrap();
        output.publish().unwrap();
    }
}
