//! Where payloads go, and in which form.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use crate::nmsg::Payload;
use crate::nmsg::dnsqr::Dnsqr;
use crate::present::stats::Stats;
use crate::present::{cof, json, pres, savefile};

/// A form of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Pres,
    Json,
    Pcap,
    Cof,
    Stats,
}

impl Format {
    pub(super) fn new(typed: &str, stats: bool) -> Result<Format, String> {
        match typed {
            _ if stats => Ok(Format::Stats),
            "pres" => Ok(Format::Pres),
            "json" => Ok(Format::Json),
            "pcap" => Ok(Format::Pcap),
            "cof" => Ok(Format::Cof),
            _ => Err(format!("--format {typed:?}: write one of pres, json, pcap, cof")),
        }
    }

    /// Is it nothing to look at?
    pub(super) fn is_binary(self) -> bool {
        self == Format::Pcap
    }
}

/// Standard output, or a file. A regular file appears under its name only when it is complete, so it may be one of the
/// inputs; anything else (a device, a FIFO) is written in place.
pub(super) struct Target {
    stream: BufWriter<Box<dyn Write>>,
    /// Part file and final name.
    rename: Option<(PathBuf, PathBuf)>,
    name: String,
}

impl Target {
    /// Opens the place to write to; `-` is standard output. Refuses to show a terminal what is binary.
    pub(super) fn open(path: Option<&Path>, binary: bool) -> Result<Target, String> {
        let target = match path {
            Some(path) if path.as_os_str() != "-" => {
                Target::open_file(path, binary).map_err(|error| format!("cannot write {}: {error}", path.display()))?
            }
            _ => {
                let stdout = io::stdout();
                let terminal = stdout.is_terminal();
                (!(binary && terminal)).then(|| Target::new(Box::new(stdout), None, "standard output".to_string()))
            }
        };
        target.ok_or_else(|| "pcap is not for a terminal; write to a file with -w, or into a pipe".to_string())
    }

    fn open_file(path: &Path, binary: bool) -> io::Result<Option<Target>> {
        let name = path.display().to_string();
        if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            let file = File::options().write(true).open(path)?;
            let terminal = file.is_terminal();
            return Ok((!(binary && terminal)).then(|| Target::new(Box::new(file), None, name)));
        }
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf()); // a link stays a link
        let mut part_name = OsString::from(".");
        part_name.push(path.file_name().unwrap_or_default());
        part_name.push(format!(".{}.part", std::process::id()));
        let part = path.with_file_name(part_name);
        let file = File::create_new(&part)?;
        Ok(Some(Target::new(Box::new(file), Some((part, path)), name)))
    }

    fn new(stream: Box<dyn Write>, rename: Option<(PathBuf, PathBuf)>, name: String) -> Target {
        Target { stream: BufWriter::with_capacity(64 * 1024, stream), rename, name }
    }

    /// What to call it in a message.
    pub(super) fn name(&self) -> String {
        self.name.clone()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.stream.flush()?;
        if let Some((part, path)) = &self.rename {
            fs::rename(part, path)?;
        }
        self.rename = None;
        Ok(())
    }
}

impl Drop for Target {
    /// A part file that was not finished is no use to anybody.
    fn drop(&mut self) {
        if let Some((part, _)) = self.rename.take() {
            let _ = fs::remove_file(part);
        }
    }
}

/// What collects payloads before there is something to write.
enum State {
    None,
    Tuples(cof::Table),
    Stats(Box<Stats>),
}

/// Writes payloads in one form.
pub(super) struct Output {
    format: Format,
    state: State,
    target: Target,
    buffer: Vec<u8>,
}

impl Output {
    pub(super) fn new(format: Format, target: Target) -> Output {
        let state = match format {
            Format::Cof => State::Tuples(cof::Table::new(cof::TUPLES_MAX)),
            Format::Stats => State::Stats(Box::default()),
            Format::Pres | Format::Json | Format::Pcap => State::None,
        };
        Output { format, state, target, buffer: Vec::new() }
    }

    /// Writes what stands before the first payload.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        if self.format == Format::Pcap {
            savefile::write_header(&mut self.buffer);
        }
        self.write()
    }

    /// Takes a payload and what it decodes to. Forms that show DNS only leave out other payloads.
    pub(super) fn payload(&mut self, payload: &Payload<'_>, dnsqr: Option<&Dnsqr<'_>>) -> io::Result<()> {
        match (&mut self.state, self.format, dnsqr) {
            (State::Tuples(table), _, Some(dnsqr)) => table.add(payload, dnsqr, &mut self.buffer),
            (State::Stats(stats), _, _) => stats.add(payload, dnsqr),
            (State::None, Format::Pres, _) => pres::write(payload, &mut self.buffer),
            (State::None, Format::Json, _) => json::write(payload, &mut self.buffer),
            (State::None, Format::Pcap, Some(dnsqr)) => {
                savefile::write(payload, dnsqr, &mut self.buffer);
            }
            _ => {}
        }
        self.write()
    }

    /// Writes what stands behind the last payload, and gives the file its name.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        match &mut self.state {
            State::None => {}
            State::Tuples(table) => table.finish(&mut self.target.stream)?,
            State::Stats(stats) => self.buffer.extend(stats.screen().into_bytes()),
        }
        self.write()?;
        self.target.finish()
    }

    fn write(&mut self) -> io::Result<()> {
        self.target.stream.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}
