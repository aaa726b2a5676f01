//! `sie-dns-sensor doctor`: a set-up from end to end, each check with its cure.
//!
//! What root should not touch is done by processes of their own: one listens as the user that captures, one walks the way
//! to the server as the user that uploads. They say what they find, and this one shows it.

mod finding;
mod host;
mod listen;
mod part;
mod traffic;
mod tunnels;
mod verdict;
mod way;

use crate::{
    config::{self, Settings},
    daemon,
    escape::escaped,
};
use clap::Args;
use finding::{Finding, Sheet};
use part::{Part, Running};
use std::{
    error::Error,
    io::{self, ErrorKind, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};

/// Exit code: a check failed.
const FAILED: u8 = 1;
/// Exit code: usage or failure.
const BROKEN: u8 = 2;
/// Exit code: settings (EX_CONFIG of sysexits.h).
const SETTINGS: u8 = 78;

/// What was typed.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit codes: 0 all is well, or only warned about, 1 something failed, 2 usage or failure, 78 settings"
)]
pub struct DoctorArgs {
    /// Read settings from this file, not from /etc/default/sie-dns-sensor
    #[arg(short, long, value_name = "FILE", default_value_os_t = config::default_path().to_owned())]
    config: PathBuf,
    /// Set a setting, over what the configuration file says
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Send nothing: no lookup of the server, no connection to it
    #[arg(long)]
    offline: bool,
    /// Listen for so long
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// Said by it to its own processes
    #[arg(long, hide = true, value_name = "PART")]
    part: Option<Part>,
}

/// Runs the subcommand.
pub fn run(args: &DoctorArgs) -> ExitCode {
    let done = match args.part {
        Some(Part::Listen) => listen::run(args).map(|()| 0),
        Some(Part::Way) => way::run().map(|()| 0),
        None => examine(args).map_err(Box::<dyn Error>::from),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        // Who started this part has gone.
        Err(error) if error.downcast_ref().is_some_and(|error: &io::Error| error.kind() == ErrorKind::BrokenPipe) => {
            ExitCode::from(BROKEN)
        }
        Err(error) => {
            // Where standard error is closed, nobody can be told.
            let _ = writeln!(io::stderr(), "sie-dns-sensor doctor: {error}");
            ExitCode::from(BROKEN)
        }
    }
}

fn examine(args: &DoctorArgs) -> io::Result<u8> {
    daemon::keep_descriptors();
    let mut sheet = Sheet::new(io::stdout().lock(), args.json);
    let (settings, notices) = match config::load_for_run(&args.config, &args.set) {
        Ok(loaded) => loaded,
        Err(problems) => {
            let shown = unreadable(&problems, &mut sheet).and_then(|()| sheet.end());
            return quiet(shown).map(|()| SETTINGS);
        }
    };
    let examined = host::configuration(&escaped(&args.config), &notices)
        .into_iter()
        .try_for_each(|finding| sheet.add(finding))
        .and_then(|()| body(args, &settings, &mut sheet));
    let code = if sheet.has_failed() { FAILED } else { 0 };
    quiet(examined.and_then(|()| sheet.end())).map(|()| code)
}

/// A reader who has seen enough is no failure.
fn quiet(shown: io::Result<()>) -> io::Result<()> {
    match shown {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), format!("cannot write standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// Without settings nobody knows what else to look at.
fn unreadable<W: Write>(problems: &config::Problems, sheet: &mut Sheet<W>) -> io::Result<()> {
    for problem in problems.iter() {
        let (what, cure) = host::parts(&problem.to_string());
        sheet.add(Finding::fail("configuration", what, cure))?;
    }
    sheet.add(host::clock())?;
    sheet.add(Finding::skip("all else", "it depends on the settings"))
}

/// Listening takes its time: the rest is done meanwhile.
fn body<W: Write>(args: &DoctorArgs, settings: &Settings, sheet: &mut Sheet<W>) -> io::Result<()> {
    let listening = Part::Listen.start(args, settings);
    if io::stderr().is_terminal() {
        let names: Vec<&str> = settings.interfaces.iter().map(|interface| interface.name.as_str()).collect();
        let _ = writeln!(
            io::stderr(),
            "listening at {} for {} s …",
            crate::escape::Escaped(&names.join(", ")),
            args.seconds
        );
    }
    host::findings(settings).into_iter().try_for_each(|finding| sheet.add(finding))?;
    match (settings.upload, args.offline) {
        (false, _) => sheet.add(Finding::skip("server", "upload=\"no\""))?,
        (true, true) => sheet.add(Finding::skip("server", "--offline: nothing was sent"))?,
        (true, false) => tell(Part::Way.start(args, settings), sheet)?,
    }
    tell(listening, sheet)
}

fn tell<W: Write>(started: Result<Running, Finding>, sheet: &mut Sheet<W>) -> io::Result<()> {
    match started {
        Ok(part) => part.tell(|finding| sheet.add(finding)),
        Err(finding) => sheet.add(finding),
    }
}
