//! `sie-dns-sensor run`: the live sensor.

use super::exit::{FAILED, SETTINGS, of_user};
use crate::{
    config::{self, Settings, SubmitServer},
    daemon::{
        self, Log, Role, Signals, Source, Supervisor, Synchronised, cgroup,
        directories::{self, STAGES},
        limits,
        listen::Listeners,
        log,
        pidfile::PidFile,
        privileges,
        users::{User, Users},
    },
    escape::escaped,
    spool,
};
use clap::Args;
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid};
use std::{
    fs::{File, TryLockError},
    io::{self, Read, Write},
    iter,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

/// What was typed.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// Read settings from this file, not from /etc/default/sie-dns-sensor
    #[arg(short, long, value_name = "FILE", default_value_os_t = config::default_path().to_owned())]
    config: PathBuf,
    /// Set a setting, over what the configuration file says
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Stay in the foreground; it does so unless --daemon says otherwise
    #[arg(long, conflicts_with = "daemon")]
    foreground: bool,
    /// Go to the background; returns when the sensor is ready, with its exit code if it cannot
    #[arg(long)]
    daemon: bool,
    /// Write the process id there; refuse to start when another process holds it
    #[arg(short = 'P', long, value_name = "FILE")]
    pidfile: Option<PathBuf>,
    /// Said by --daemon to the process in the background
    #[arg(long, hide = true)]
    background: bool,
    /// Said by the sensor to its own processes
    #[arg(long, hide = true, value_name = "ROLE")]
    child: Option<Role>,
}

/// Runs the subcommand.
pub fn run(args: &RunArgs) -> ExitCode {
    let done = match args.child {
        Some(role) => daemon::run_child(role).map(|done| if done { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }),
        None if args.daemon => background(args),
        None => supervise(args),
    };
    done.unwrap_or_else(|error| {
        say(&error.to_string());
        ExitCode::from(FAILED)
    })
}

fn say(line: &str) {
    // Where standard error is closed, nobody can be told.
    let _ = writeln!(io::stderr(), "sie-dns-sensor run: {line}");
}

/// Starts the program again, in a session of its own, and waits until it says on its standard output that it is ready.
fn background(args: &RunArgs) -> io::Result<ExitCode> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["run", "--background", "--config"]).arg(std::path::absolute(&args.config)?);
    for set in &args.set {
        command.args(["--set", set]);
    }
    if let Some(pidfile) = &args.pidfile {
        command.arg("--pidfile").arg(std::path::absolute(pidfile)?);
    }
    let mut process = command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut said = Vec::new();
    if let Some(stdout) = &mut process.stdout {
        stdout.read_to_end(&mut said)?;
    }
    if said == READY {
        return Ok(ExitCode::SUCCESS);
    }
    let status = process.wait()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0);
    Ok(ExitCode::from(code.unwrap_or(FAILED)))
}

/// What the process in the background says when it is ready.
const READY: &[u8] = b"ready\n";

fn supervise(args: &RunArgs) -> io::Result<ExitCode> {
    // First: lists of names may take seconds to read, and a HUP meanwhile is for the sensor.
    let signals = Signals::for_supervisor()?;
    let (settings, notices) = match config::load_for_run(&args.config, &args.set) {
        Ok(loaded) => loaded,
        Err(problems) => {
            problems.iter().for_each(|problem| say(&problem.to_string()));
            let mut log = new_log(&Settings::default(), false);
            problems.iter().for_each(|problem| log.error(&problem.to_string()));
            return Ok(ExitCode::from(SETTINGS));
        }
    };
    // From here on no descriptor of who starts it is for its children.
    daemon::keep_descriptors();
    let mut log = new_log(&settings, true);
    if args.background {
        // The log has its own descriptor of it. Children would hold this one, and whoever reads what --daemon says would
        // wait for them.
        let_go_of_stderr();
    }
    notices.iter().for_each(|notice| log.warning(&notice.to_string()));
    if let Err(error) = daemon::child::program() {
        log.error(&format!("cannot start processes: {error}"));
        return Ok(ExitCode::from(FAILED));
    }
    if let Err(error) = limits::raise_open_files(settings.interfaces.len() * settings.capture_threads) {
        log.error(&error);
        return Ok(ExitCode::from(SETTINGS));
    }
    let users = match Users::find(&settings) {
        Ok(users) => users,
        Err(error) => {
            log.error(&error.to_string());
            return Ok(ExitCode::from(of_user(&error)));
        }
    };
    signals.leave_in_order();
    if let Err(error) = directories::make_spool(&settings.spool_dir, &settings.channel, &STAGES, &users.capture) {
        log.error(&error.to_string());
        return Ok(ExitCode::from(SETTINGS));
    }
    let mut pidfile = match args.pidfile.as_deref().map(PidFile::lock).transpose() {
        Ok(pidfile) => pidfile,
        Err(error) => {
            log.error(&error.to_string());
            return Ok(ExitCode::from(FAILED));
        }
    };
    let _lock = match lock_spool(&settings, &users.capture) {
        Ok(lock) => lock,
        Err(message) => {
            log.error(&message);
            return Ok(ExitCode::from(FAILED));
        }
    };
    if args.background {
        setsid()?;
    }
    if let Some(Err(error)) = pidfile.as_mut().map(PidFile::write) {
        log.error(&error.to_string());
        return Ok(ExitCode::from(FAILED));
    }
    // The right to a port below 1024, and to directories of others, goes with the rest.
    let listeners = Listeners::bind(&settings, users.capture.gid);
    if let Err(error) = privileges::bound() {
        log.error(&error.to_string());
        return Ok(ExitCode::from(FAILED));
    }
    shut_out(&args.config, &settings).iter().for_each(|warning| log.warning(warning));
    if daemon::synchronised() == Synchronised::No {
        log.warning("the system clock is not synchronised; what is collected with a wrong clock is worthless");
    }
    no_key(&settings, &users.upload).iter().for_each(|warning| log.warning(warning));
    let too_little = cgroup::memory_limit().and_then(|limit| cgroup::too_little(limit, &settings));
    too_little.iter().for_each(|warning| log.warning(warning));
    let host = spool::host_name(settings.host_name.as_deref());
    let source = Source { file: args.config.clone(), sets: args.set.clone() };
    let on_ready = args.background.then(|| Box::new(let_go) as Box<dyn FnOnce()>);
    Ok(Supervisor::new(source, settings, users, host, log, signals, listeners).run(on_ready))
}

fn new_log(settings: &Settings, stderr: bool) -> Log {
    Log::new(log::Options {
        level: settings.log_level,
        priority: settings.syslog_priority,
        foreground: stderr,
        syslog: log::syslog_path().to_owned(),
    })
}

/// What to say of files that HUP reads again, if root could read them as every user's and now is no more than their
/// permissions make it.
fn shut_out(config: &Path, settings: &Settings) -> Vec<String> {
    let lists = [&settings.filter_include_file, &settings.filter_exclude_file];
    let files = iter::once(config).chain(lists.into_iter().flatten().map(PathBuf::as_path));
    let shut = files.filter(|file| {
        let opened = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(file);
        opened.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    });
    let warning = |file| format!("{file} could be read, and cannot be again at HUP; let root in: chown root {file}");
    shut.map(|file| warning(escaped(file))).collect()
}

/// What to say where there is no key yet, which is no reason not to capture.
fn no_key(settings: &Settings, reader: &User) -> Option<String> {
    if !settings.upload || matches!(settings.submit_server, SubmitServer::Dir(_)) {
        return None;
    }
    let key = settings.upload_key_path();
    let found = privileges::as_user(reader, || key.metadata()).ok()?;
    let is_missing = found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let key = escaped(&key);
    is_missing.then(|| format!("there is no upload key {key}: files are kept until there is; make it: sie-gen-key"))
}

/// One sensor for each channel of a spool: two would collect everything twice. Held as long as the process lives.
fn lock_spool(settings: &Settings, owner: &User) -> Result<File, String> {
    let path = settings.spool_dir.join("new").join(&settings.channel);
    // As its owner: where a unit bounds capabilities, root is not let into the directories of others.
    let opened = privileges::as_user(owner, || File::open(&path)).map_err(|error| error.to_string())?;
    let lock = opened.map_err(|error| format!("cannot open {}: {error}", escaped(&path)))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(format!("already running: another sensor writes to {}", escaped(&path))),
        Err(TryLockError::Error(error)) => Err(format!("cannot lock {}: {error}", escaped(&path))),
    }
}

/// Tells who started it that it is ready, and lets go of the terminal.
fn let_go() {
    let _ = io::stdout().write_all(READY).and_then(|()| io::stdout().flush());
    let Ok(null) = null() else { return };
    // What cannot be replaced stays open, and does no harm.
    let _ = (dup2_stdin(&null), dup2_stdout(&null));
}

fn let_go_of_stderr() {
    let _ = null().map(|null| dup2_stderr(&null));
}

fn null() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/null")
}
