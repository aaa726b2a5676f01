//! `read --would-send`: what the sensor would send by its settings, captured now, shown and kept nowhere.

use super::{Outcome, Output, ReadArgs, Request, Run, say};
use crate::{
    cli::{captures, exit, output},
    config::{self, Notice, Settings, problem::Problems},
    daemon::preview::{Preview, PreviewError, Viewer},
    escape::Escaped,
    nmsg::writer::Builder,
    stats::Ledger,
    track::{Sink, Transaction},
};
use clap::Args;
use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

/// What was typed.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "What would be sent")]
pub(super) struct LiveArgs {
    /// Show what the sensor would send: captures from its interfaces by its settings, keeps and sends nothing, until interrupted
    #[arg(long, conflicts_with_all = ["files", "write"])]
    pub(super) would_send: bool,
    /// Capture from this interface, not from those of the settings; a + behind it: promiscuous, as one of the settings is
    /// that has it there
    #[arg(short, long, value_name = "INTERFACE", requires = "would_send")]
    interface: Vec<String>,
    /// Read settings from this file, not from /etc/default/sie-dns-sensor
    #[arg(long, value_name = "FILE", requires = "would_send")]
    config: Option<PathBuf>,
    /// Set a setting, over what the configuration file says
    #[arg(long, value_name = "NAME=VALUE", requires = "would_send")]
    set: Vec<String>,
}

/// Runs the subcommand in this mode.
pub(super) fn run(args: &ReadArgs, request: Request) -> ExitCode {
    match show(&args.live, request) {
        Ok(code) => code,
        Err(PreviewError { message, is_settings }) => {
            say(&message);
            ExitCode::from(if is_settings { exit::SETTINGS } else { exit::FAILED })
        }
    }
}

fn show(args: &LiveArgs, request: Request) -> Result<ExitCode, PreviewError> {
    let (settings, notices) = match settings(args) {
        Ok(loaded) => loaded,
        Err(problems) => {
            problems.iter().for_each(|problem| say(&problem.to_string()));
            return Ok(ExitCode::from(exit::SETTINGS));
        }
    };
    let cannot_write =
        |error| PreviewError { message: format!("cannot write {}: {error}", output::name(None)), is_settings: false };
    let target = output::Output::open(None, request.format.is_binary()).map_err(cannot_write)?;
    notices.iter().for_each(|notice| say(&notice.to_string()));
    differences(&settings).for_each(say);
    let preview = Preview::open(settings)?;
    preview.notices().iter().for_each(|notice| say(notice));
    let interfaces: Vec<String> = preview.interfaces().map(|name| Escaped(name).to_string()).collect();
    say(&format!("capturing from {}; nothing is kept or sent; an interrupt ends it", interfaces.join(", ")));

    let output = Output::live(request.format, target);
    let run = Run { output, request, outcome: Outcome::Done, payloads: 0 };
    let mut screen = Screen { run, container: Builder::default(), result: Ok(()) };
    screen.result = screen.run.output.begin();
    let seen = preview.follow(&mut screen);
    let Screen { run, result, .. } = screen;
    match result.and_then(|()| run.output.finish()) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        Err(error) => return Err(cannot_write(error)),
    }
    account(&seen.ledger);
    let outcome = if seen.lost > 0 { Outcome::SomeBad } else { run.outcome };
    Ok(captures::judge("read", &seen.ledger, false).unwrap_or(ExitCode::from(outcome as u8)))
}

/// Those of `run`, with the interfaces that were named. One of the settings' own is promiscuous if it is so there.
fn settings(args: &LiveArgs) -> Result<(Settings, Vec<Notice>), Problems> {
    let file = args.config.as_deref().unwrap_or(config::default_path());
    if args.interface.is_empty() {
        return config::load_for_run(file, &args.set);
    }
    let named = format!("interface={}", args.interface.join(","));
    let (mut settings, notices) = config::load_for_run(file, &[args.set.as_slice(), &[named]].concat())?;
    let (configured, _) = config::load(Some(file), &args.set)?;
    for interface in &mut settings.interfaces {
        interface.promiscuous |=
            configured.interfaces.iter().any(|other| other.name == interface.name && other.promiscuous);
    }
    Ok((settings, notices))
}

/// How what is shown differs from what is sent.
fn differences(settings: &Settings) -> impl Iterator<Item = &'static str> {
    let not_sent = (!settings.upload).then_some("upload is off: this is what would be collected; none of it is sent");
    let record =
        settings.loss_record.then_some("loss_record is on: each file also has a payload of counters, not shown");
    [not_sent, record].into_iter().flatten()
}

/// The account of what was captured, and what is missing in it. Where standard error is closed, nobody can be told.
fn account(ledger: &Ledger) {
    let _ = write!(io::stderr(), "{}", ledger.to_text());
    let lost = ledger.kernel.dropped + ledger.kernel.interface_dropped;
    if lost > 0 {
        say(&format!(
            "{lost} packets were lost, so there was more than is shown: the output is read too slowly, or \
             capture_buffer_kbytes is too small"
        ));
    }
}

/// Shows what comes as the bytes that would be sent, decoded again: transactions gather in a container as in the sensor,
/// until there is a turn.
struct Screen {
    run: Run,
    container: Builder,
    /// Of writing; after a failure nothing is written any more.
    result: io::Result<()>,
}

impl Screen {
    fn show(&mut self) {
        let Screen { run, container, result } = self;
        if !container.is_empty() && result.is_ok() && run.request.remaining > 0 {
            *result = run.read_stream("what was captured", container.finish()).and_then(|()| run.output.flush());
        }
        container.clear();
    }
}

impl Sink for Screen {
    fn transaction(&mut self, transaction: &Transaction) {
        if !self.container.push(transaction) {
            self.show();
            self.container.push(transaction);
        }
    }
}

impl Viewer for Screen {
    fn turn(&mut self) -> bool {
        self.show();
        self.result.is_ok() && self.run.request.remaining > 0
    }

    fn tell(&mut self, line: &str) {
        say(line);
    }
}
