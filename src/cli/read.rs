//! `sie-dns-sensor read`: what NMSG files hold, or the sensor would send, as text, JSON, packets, tuples or counts.

mod filter;
mod output;
mod would_send;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use self::filter::Filter;
pub(super) use self::filter::parse_time;
use self::output::{Format, Output};
use super::exit::Outcome;
use crate::escape::escaped;
use crate::nmsg::dnsqr::Dnsqr;
use crate::nmsg::reader::Reader;
use crate::nmsg::{MSGTYPE_DNSQR, Payload, VENDOR_BASE};

/// Behind `--help`.
const AFTER_HELP: &str = "\
Exit codes: 0 done; 1 some input was bad, or an interface was lost, the rest was read; 2 usage or failure; with --would-send \
3 an account does not balance (a bug), 78 settings.

Payloads that are not dnsqr pass only where no filter but --since and --until is given.";

/// Damaged places of an input that are said one by one. Ten bytes suffice for one, so a hostile file has millions.
const PLACES_MAX: u64 = 100;

/// What was typed. The values stay text until all of them are checked, so that every mistake is said at once.
#[derive(Args, Debug, Default)]
#[command(after_help = AFTER_HELP)]
pub struct ReadArgs {
    /// NMSG files; none, or -, is standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// pres, json (one object a line), pcap (the IP packets), or cof (passive DNS Common Output Format)
    #[arg(short, long, value_name = "FORMAT", default_value = "pres", conflicts_with = "stats")]
    format: String,
    /// Write there, not to standard output
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Stop after N payloads have passed
    #[arg(short, long, value_name = "N")]
    count: Option<String>,
    /// Show one screen of counts, not the payloads
    #[arg(long)]
    stats: bool,
    #[command(flatten)]
    live: would_send::LiveArgs,
    /// Only queries for this name and names below it
    #[arg(long, value_name = "SUFFIX", help_heading = "Filters (all must hold; of one repeated, any)")]
    qname: Vec<String>,
    /// Only queries of this type: A, TYPE65, 28
    #[arg(long, value_name = "TYPE", help_heading = "Filters (all must hold; of one repeated, any)")]
    qtype: Vec<String>,
    /// Only this response code: NXDOMAIN, 3
    #[arg(long, value_name = "RCODE", help_heading = "Filters (all must hold; of one repeated, any)")]
    rcode: Vec<String>,
    /// Only answered, unanswered or unsolicited, or a dnsqr type: UDP_QUERY_ONLY
    #[arg(long = "type", value_name = "TYPE", help_heading = "Filters (all must hold; of one repeated, any)")]
    kind: Vec<String>,
    /// Only where query_ip or response_ip is this address or inside this prefix
    #[arg(long, value_name = "PREFIX", help_heading = "Filters (all must hold; of one repeated, any)")]
    ip: Vec<String>,
    /// Only payloads of this time and later: 2026-09-21T14:30:00Z, 2026-09-21 [14:30[:00]] in UTC, or seconds since 1970
    #[arg(long, value_name = "TIME", help_heading = "Filters (all must hold; of one repeated, any)")]
    since: Option<String>,
    /// Only payloads before this time
    #[arg(long, value_name = "TIME", help_heading = "Filters (all must hold; of one repeated, any)")]
    until: Option<String>,
}

/// What was asked for, valid.
#[derive(Debug)]
struct Request {
    filter: Filter,
    format: Format,
    /// Payloads that may still pass.
    remaining: u64,
}

impl Request {
    fn new(args: &ReadArgs) -> Result<Request, Vec<String>> {
        let mut problems = Vec::new();
        let format = Format::new(&args.format, args.stats).unwrap_or_else(|problem| {
            problems.push(problem);
            Format::Pres
        });
        let remaining = match args.count.as_deref().map(str::parse) {
            None => u64::MAX,
            Some(Ok(count)) if count > 0 => count,
            Some(_) => {
                let typed = args.count.as_deref().unwrap_or_default();
                problems.push(format!("--count {typed:?}: write a whole number from 1"));
                0
            }
        };
        let filter = Filter::new(args, &mut problems);
        if problems.is_empty() { Ok(Request { filter, format, remaining }) } else { Err(problems) }
    }
}

/// Runs the subcommand. Exit code 0: done; 1: some input was bad, the rest was read; 2: usage or failure. A broken pipe
/// on the output is no failure: whoever reads it has seen enough.
pub fn run(args: &ReadArgs) -> ExitCode {
    let outcome = match Request::new(args) {
        Ok(request) if args.live.would_send => return would_send::run(args, request),
        Ok(request) => read_all(request, args),
        Err(problems) => {
            problems.iter().for_each(|problem| say(problem));
            Outcome::Failed
        }
    };
    ExitCode::from(outcome as u8)
}

fn read_all(request: Request, args: &ReadArgs) -> Outcome {
    let stdin = [PathBuf::from("-")];
    let files = if args.files.is_empty() { &stdin } else { args.files.as_slice() };
    if let Some(Err(message)) = args.write.as_deref().map(|path| super::output::refuse_input(path, files, "-w")) {
        say(&message);
        return Outcome::Failed;
    }
    let target = match super::output::Output::open(args.write.as_deref(), request.format.is_binary()) {
        Ok(target) => target,
        Err(error) => {
            say(&format!("cannot write {}: {error}", super::output::name(args.write.as_deref())));
            return Outcome::Failed;
        }
    };
    let place = target.name().to_string();
    let mut run = Run { output: Output::new(request.format, target), request, outcome: Outcome::Done, payloads: 0 };
    let result = run.read_files(files);
    if result.is_ok() && run.outcome == Outcome::SomeBad && run.payloads == 0 && args.write.is_some() {
        say(&format!("no payload could be read, so {place} is not written"));
        return Outcome::Failed;
    }
    match result.and_then(|()| run.output.finish()) {
        Ok(()) => run.outcome,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Outcome::Done,
        Err(error) => {
            say(&format!("cannot write {place}: {error}"));
            Outcome::Failed
        }
    }
}

/// One line on standard error; where that is closed, nobody can be told.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "sie-dns-sensor read: {line}");
}

/// Payloads of an input that say they are dnsqr and are none.
#[derive(Default)]
struct Undecodable {
    count: u64,
    /// Where the container of the first one begins.
    first: Option<u64>,
}

/// A run over the inputs. Errors in here are those of the output.
struct Run {
    request: Request,
    output: Output,
    outcome: Outcome,
    /// Payloads of all inputs, whether they passed or not.
    payloads: u64,
}

impl Run {
    fn read_files(&mut self, files: &[PathBuf]) -> io::Result<()> {
        self.output.begin()?;
        for file in files {
            if self.request.remaining == 0 {
                break;
            }
            self.read_file(file)?;
        }
        Ok(())
    }

    fn read_file(&mut self, path: &Path) -> io::Result<()> {
        if path.as_os_str() == OsStr::new("-") {
            return self.read_stream("standard input", io::stdin().lock());
        }
        let name = escaped(path);
        match File::open(path) {
            Ok(file) => self.read_stream(&name, file),
            Err(error) => {
                self.problem(Outcome::SomeBad, &format!("cannot open {name}: {error}"));
                Ok(())
            }
        }
    }

    fn read_stream(&mut self, name: &str, stream: impl Read) -> io::Result<()> {
        let mut reader = Reader::new(stream);
        let mut undecodable = Undecodable::default();
        let mut places = 0;
        while self.request.remaining > 0 {
            match reader.next() {
                Ok(Some(payload)) => {
                    if !self.take(&payload)? {
                        undecodable.count += 1;
                        undecodable.first.get_or_insert(reader.offset());
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    places += 1;
                    if places <= PLACES_MAX {
                        self.problem(Outcome::SomeBad, &format!("{name}: {error}"));
                    }
                }
            }
        }
        if places > PLACES_MAX {
            let more = places - PLACES_MAX;
            self.problem(Outcome::SomeBad, &format!("{name}: {more} more places could not be read"));
        }
        self.summarize(name, &reader, undecodable);
        Ok(())
    }

    /// Passes the payload on if the filter lets it; false where it says it is a dnsqr and is none.
    fn take(&mut self, payload: &Payload<'_>) -> io::Result<bool> {
        let decoded = match (payload.vid, payload.msgtype) {
            (VENDOR_BASE, MSGTYPE_DNSQR) => Some(Dnsqr::decode(&payload.message)),
            _ => None,
        };
        let undecodable = matches!(decoded, Some(Err(_)));
        let dnsqr = decoded.and_then(Result::ok);
        if self.request.filter.passes(payload, dnsqr.as_ref()) {
            self.request.remaining -= 1;
            self.output.payload(payload, dnsqr.as_ref())?;
        }
        Ok(!undecodable)
    }

    /// What can only be said at the end of an input.
    fn summarize<R: Read>(&mut self, name: &str, reader: &Reader<R>, undecodable: Undecodable) {
        let counts = reader.counts();
        self.payloads += counts.payloads;
        if let Undecodable { count, first: Some(offset) } = undecodable {
            let line =
                format!("{name}: offset {offset}: {count} dnsqr payloads are malformed, the first in this container");
            self.problem(Outcome::SomeBad, &line);
        }
        if self.request.remaining > 0 && counts.incomplete_fragments > 0 {
            let incomplete = counts.incomplete_fragments;
            let line = format!("{name}: {incomplete} containers whose container fragments did not all come");
            self.problem(Outcome::SomeBad, &line);
        }
        if counts.lost_containers > 0 {
            // The input is as it was written; what is missing was lost on the way to it.
            self.problem(Outcome::Done, &format!("{name}: {} containers were lost before it", counts.lost_containers));
        }
    }

    fn problem(&mut self, outcome: Outcome, line: &str) {
        self.outcome = self.outcome.max(outcome);
        say(line);
    }
}

#[cfg(test)]
mod tests;
