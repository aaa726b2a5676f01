//! Where payloads go, and in which form.

use std::io::{self, BufWriter, Write};

use crate::cli::output;
use crate::nmsg::Payload;
use crate::nmsg::dnsqr::Dnsqr;
use crate::present::stats::Stats;
use crate::present::{cof, json, pres, savefile};

/// Tuples that are collected beside a capture, and their text: a third of what the memory limit has left over.
const LIVE_TUPLES_MAX: usize = 50_000;
const LIVE_TEXT_MAX: usize = 16 << 20;

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
    target: BufWriter<output::Output>,
    buffer: Vec<u8>,
}

impl Output {
    pub(super) fn new(format: Format, target: output::Output) -> Output {
        Output::with(format, target, cof::Table::new(cof::TUPLES_MAX))
    }

    /// One that fits into the memory that is left to a capture.
    pub(super) fn live(format: Format, target: output::Output) -> Output {
        Output::with(format, target, cof::Table::with_text(LIVE_TUPLES_MAX, LIVE_TEXT_MAX))
    }

    fn with(format: Format, target: output::Output, tuples: cof::Table) -> Output {
        let state = match format {
            Format::Cof => State::Tuples(tuples),
            Format::Stats => State::Stats(Box::default()),
            Format::Pres | Format::Json | Format::Pcap => State::None,
        };
        let target = BufWriter::with_capacity(64 * 1024, target);
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

    /// Writes what it has so far, but for what it still collects.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.target.flush()
    }

    /// Writes what stands behind the last payload, and gives the file its name.
    pub(super) fn finish(mut self) -> io::Result<()> {
        match &mut self.state {
            State::None => {}
            State::Tuples(table) => table.finish(&mut self.target)?,
            State::Stats(stats) => self.buffer.extend(stats.screen().into_bytes()),
        }
        self.write()?;
        self.target.into_inner()?.publish()
    }

    fn write(&mut self) -> io::Result<()> {
        self.target.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}
