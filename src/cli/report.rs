//! `sie-dns-sensor report`: a page about captures or NMSG files.

use super::{
    captures,
    exit::FAILED,
    inputs::{Reading, Visitor},
    output::{self, Output},
    progress::Progress,
};
use crate::{
    config::Settings,
    report::{
        exchange::Exchange,
        gather::Gather,
        page::{Inputs, page},
    },
    stats::Ledger,
};
use clap::Args;
use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

/// Behind `--help`.
const AFTER_HELP: &str = "\
Captures are paired as replay does it, one after the other in the order given. Where each direction has a file of its own,
make one with replay --merge -w first.

Exit codes: 0 done; 1 some input was bad, the rest is in the page; 2 usage or failure; 3 a ledger does not balance (a bug);
78 settings.";

/// What was typed.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct ReportArgs {
    /// Captures (pcap or pcapng, also compressed with gzip, xz or zstd) or NMSG files, told apart by what is in them; - is
    /// standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write the page there; - is standard output
    #[arg(short, long, required = true, value_name = "FILE")]
    output: PathBuf,
    /// Read settings from a configuration file; they are for captures
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set a setting, over what the configuration file says: DNSQR_RES_ADDRS="192.0.2.53"
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// No progress bar, no notices
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the subcommand.
pub fn run(args: &ReportArgs) -> ExitCode {
    let settings = match captures::settings("report", args.config.as_deref(), &args.set, args.quiet) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    report(args, settings).unwrap_or_else(|message| {
        captures::say("report", &message);
        ExitCode::from(FAILED)
    })
}

fn report(args: &ReportArgs, settings: Settings) -> Result<ExitCode, String> {
    output::refuse_input(&args.output, &args.files, "-o")?;
    let name = output::name(Some(&args.output));
    let cannot = |error: io::Error| format!("cannot write {name}: {error}");
    let mut output = Output::open(Some(&args.output), false).map_err(cannot)?;
    let counting = Counting { gather: Gather::default(), progress: Progress::new("report", args.quiet) };
    let mut reading = Reading::new(settings, &args.files, counting, args.quiet);
    args.files.iter().for_each(|path| reading.read_file(path));
    let (Counting { gather, .. }, inputs) = reading.finish();
    let is_read = inputs.payloads > 0 || inputs.ledger.as_ref().is_some_and(|ledger| ledger.total > 0);
    if inputs.problems > 0 && !is_read {
        return Err(format!("nothing could be read, so {name} is not written"));
    }
    match output.write_all(page(&gather, &inputs).as_bytes()).and_then(|()| output.publish()) {
        Ok(()) => Ok(conclude(&inputs, args)),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(cannot(error)),
    }
}

/// What is still to be said, and the exit code.
fn conclude(inputs: &Inputs, args: &ReportArgs) -> ExitCode {
    let unbalanced = inputs.ledger.as_ref().and_then(|ledger| captures::judge("report", ledger, args.quiet));
    unbalanced.unwrap_or(if inputs.problems > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Counts for the page.
struct Counting {
    gather: Gather,
    progress: Progress,
}

impl Visitor for Counting {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        self.gather.add(exchange);
    }

    fn progress(&mut self, read: u64, total: Option<u64>, _: impl FnOnce() -> Option<Ledger>) {
        self.progress.show(|| (read, total));
    }

    fn say(&mut self, line: &str) {
        self.progress.say(line);
    }
}
