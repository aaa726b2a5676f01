//! `sie-dns-sensor upload`: the upload alone, without a capture.

use super::exit::{FAILED, SETTINGS, of_user};
use crate::escape::escaped;
use crate::{
    config::{self, Settings},
    daemon::{
        self, Alone, Log, Signals, SystemClock, confine,
        directories::{self, STAGES},
        log,
        paused::Paused,
        privileges,
        users::Users,
    },
    time::Clock,
    upload::{Done, Plan, Said, Service, Way, probe},
};
use clap::Args;
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::geteuid,
};
use std::{
    io::{self, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Exit code: files remain, or a check failed.
const REMAIN: u8 = 1;

/// What was typed.
#[derive(Args, Debug)]
pub struct UploadArgs {
    /// Read settings from this file, not from /etc/default/sie-dns-sensor
    #[arg(short, long, value_name = "FILE", default_value_os_t = config::default_path().to_owned())]
    config: PathBuf,
    /// Set a setting, over what the configuration file says
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Try each file that waits once, then exit: with 0 if none is left, with 1 otherwise
    #[arg(long)]
    once: bool,
    /// Walk the way to the server and say what works and what does not; send nothing
    #[arg(long, conflicts_with = "once")]
    test: bool,
}

/// Runs the subcommand.
pub fn run(args: &UploadArgs) -> ExitCode {
    match upload(args) {
        Ok(code) => ExitCode::from(code),
        Err((code, message)) => {
            message.lines().for_each(|line| eprintln!("sie-dns-sensor upload: {line}"));
            ExitCode::from(code)
        }
    }
}

/// An exit code, and why.
pub(super) type Failed = (u8, String);

fn upload(args: &UploadArgs) -> Result<u8, Failed> {
    let (settings, notices) =
        config::load(Some(&args.config), &args.set).map_err(|problems| (SETTINGS, problems.to_string()))?;
    let failed = |error: &dyn std::fmt::Display| (FAILED, error.to_string());
    daemon::keep_descriptors();
    let stages = become_uploader(&settings, args.test)?;
    if args.test {
        return test(&settings, &stages).map_err(|error| failed(&error));
    }
    let signals = Signals::for_supervisor().map_err(|error| failed(&error))?;
    signals.leave_in_order();
    let mut log = Log::new(log::Options {
        level: settings.log_level,
        priority: settings.syslog_priority,
        foreground: true,
        syslog: log::syslog_path().to_owned(),
    });
    log.prepare();
    notices.iter().for_each(|notice| log.warning(&notice.to_string()));
    if !args.once {
        let is_told = Alone::new(&settings, &stages, &signals, &mut log).and_then(Alone::run);
        return is_told.map(|is_told| if is_told { 0 } else { FAILED }).map_err(|error| failed(&error));
    }
    let mut service = Service::new(&settings, Done::Once, SystemClock::new()).map_err(|error| failed(&error))?;
    let entered = confine(&settings, &stages).map_err(|error| failed(&error))?;
    entered.missing.iter().for_each(|missing| log.warning(&format!("confined less: {missing}")));
    let held = held(&settings);
    service.pause(held.is_some());
    Ok(attend(service, held.as_deref(), &signals, &mut log))
}

/// Why nothing is to be sent, if so.
fn held(settings: &Settings) -> Option<String> {
    if !settings.upload {
        return Some("upload=\"no\"".to_owned());
    }
    match Paused::read(&settings.spool_dir) {
        Ok(paused) => {
            let is_paused = paused.at(SystemClock::new().wall()).upload.is_some();
            is_paused.then(|| "upload is paused (to go on: sie-dns-sensor resume upload)".to_owned())
        }
        Err(error) => {
            Some(format!("cannot tell whether upload is paused: .paused in {}: {error}", escaped(&settings.spool_dir)))
        }
    }
}

/// Drops root for the upload user; the directories that files go through.
pub(super) fn become_uploader(settings: &Settings, is_test: bool) -> Result<Vec<PathBuf>, Failed> {
    let (spool, channel) = (&settings.spool_dir, &settings.channel);
    let wrong = |error: &dyn std::fmt::Display| (SETTINGS, error.to_string());
    if geteuid().is_root() {
        let Users { capture: owner, upload: user } =
            Users::find(settings).map_err(|error| (of_user(&error), error.to_string()))?;
        if !is_test {
            directories::make_spool(spool, channel, &STAGES, &owner).map_err(|error| wrong(&error))?;
        }
        privileges::drop_to(&user).map_err(|error| (FAILED, error.to_string()))?;
    }
    let stages = STAGES.map(|stage| spool.join(stage).join(channel)).to_vec();
    if !is_test {
        stages.iter().try_for_each(|stage| enter(stage, &settings.upload_user))?;
    }
    Ok(stages)
}

/// Whether files can go through a directory. What this user may not look at may be there.
fn enter(stage: &Path, user: &str) -> Result<(), Failed> {
    let shown = escaped(stage);
    match stage.metadata() {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err((SETTINGS, format!("{shown} is no directory"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err((SETTINGS, format!("{shown} is not there; make it: install -d -m 2770 {shown}")))
        }
        Err(error) => Err((FAILED, format!("cannot use {shown}: {error}; run it as root or as {user}"))),
    }
}

/// One round, until it is done or a signal says to leave. It is `held` where nothing is to be sent.
fn attend(mut service: Service<SystemClock>, held: Option<&str>, signals: &Signals, log: &mut Log) -> u8 {
    let say = |lines: Vec<(config::LogLevel, String)>, log: &mut Log| {
        lines.into_iter().for_each(|(level, line)| log.line(level, &line));
    };
    while !signals.leave() {
        if service.is_due() {
            service.look(|| {}, || {});
        }
        say(service.lines(), log);
        if service.is_refused() {
            return FAILED;
        }
        if let Some(left) = service.ended() {
            say(service.leave(), log);
            if let (Some(held), Some(left @ 1..)) = (held, left) {
                let files = if left == 1 { "1 file waits".to_owned() } else { format!("{left} files wait") };
                log.warning(&format!("{held}: nothing is sent; {files}"));
            }
            return match left {
                Some(0) => 0,
                Some(_) => REMAIN,
                None => FAILED,
            };
        }
        let mut descriptors = [signals.as_fd(), service.bell()].map(|one| PollFd::new(one, PollFlags::POLLIN));
        // An interruption is a signal, which is looked for next.
        let _ = poll(&mut descriptors, PollTimeout::try_from(service.wait()).unwrap_or(PollTimeout::MAX));
        signals.clear();
    }
    say(service.leave(), log);
    REMAIN
}

fn test(settings: &Settings, stages: &[PathBuf]) -> io::Result<u8> {
    let mut out = io::stdout().lock();
    match walk(settings, stages, &mut |said| show(&said, &mut out)) {
        // Whoever reads it has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        walked => Ok(if walked? { 0 } else { REMAIN }),
    }
}

/// Walks the way to the server, confined as the sensor's own uploader is.
pub(super) fn walk(
    settings: &Settings,
    stages: &[PathBuf],
    told: &mut dyn FnMut(Said) -> io::Result<()>,
) -> io::Result<bool> {
    let plan = Plan::new(settings);
    let mut way = Way::new(&plan)?;
    // What the sensor may not do, the test may not either, or it would show another picture. The spool may be made later.
    let stages: Vec<PathBuf> = stages.iter().filter(|stage| stage.is_dir()).cloned().collect();
    let entered = confine(settings, &stages).map_err(io::Error::other)?;
    entered.missing.iter().try_for_each(|missing| told(Said::Note(format!("confined less: {missing}"))))?;
    probe(&plan, &mut way, &SystemClock::new(), told)
}

fn show(said: &Said, out: &mut impl Write) -> io::Result<()> {
    match said {
        Said::Server(name) => writeln!(out, "{name}"),
        Said::Passed(step, found) => writeln!(out, "{}", format!("ok      {step:10} {found}").trim_end()),
        Said::Failed { step, reason, cure } => writeln!(out, "FAILED  {step:10} {reason}\n        {cure}"),
        Said::Heard(line) => writeln!(out, "note    the server says: {line}"),
        Said::Note(note) => writeln!(out, "note    {note}"),
    }
}
