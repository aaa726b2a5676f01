//! `sie-dns-sensor status`: how the sensor that runs is doing.

pub(super) mod table;

use super::exit::SETTINGS;
use crate::{
    config,
    daemon::{SystemClock, listen, views},
    escape::{Escaped, escaped},
    time::Clock,
};
use clap::Args;
use serde_json::Value;
use std::{
    fmt::{self, Display, Formatter},
    io::{self, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Duration,
};

/// Exit code: not all is well.
const DEGRADED: u8 = 1;
/// Exit code: no sensor runs.
const NOT_RUNNING: u8 = 2;
/// Exit code: there is no telling.
const UNKNOWN: u8 = 3;

/// How long the sensor has for its answer. It takes a moment.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries to be let in.
const AGAIN: Duration = Duration::from_millis(50);
/// The longest answer that is read: many times what one with as many interfaces has as are shown.
const ANSWER_MAX: u64 = 4 << 20;

/// What was typed.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit codes: 0 all is well, 1 degraded (the reasons are listed), 2 no sensor is running, 3 cannot tell"
)]
pub struct StatusArgs {
    /// Read settings from this file, not from /etc/default/sie-dns-sensor
    #[arg(short, long, value_name = "FILE", default_value_os_t = config::default_path().to_owned())]
    config: PathBuf,
    /// Set a setting, over what the configuration file says
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// One JSON object
    #[arg(long, conflicts_with = "openmetrics")]
    json: bool,
    /// OpenMetrics text, as at metrics_listen: for node_exporter's textfile collector. The exit code is 0 when there is some
    #[arg(long)]
    openmetrics: bool,
}

/// Runs the subcommand.
pub fn run(args: &StatusArgs) -> ExitCode {
    let code = match show(args) {
        Ok(code) => code,
        Err(Failure { code, text }) => {
            eprintln!("sie-dns-sensor status: {text}");
            code
        }
    };
    ExitCode::from(code)
}

/// Why nothing can be shown.
pub(super) struct Failure {
    pub(super) code: u8,
    pub(super) text: String,
}

impl Failure {
    fn unknown(text: impl Display) -> Failure {
        Failure { code: UNKNOWN, text: text.to_string() }
    }
}

fn show(args: &StatusArgs) -> Result<u8, Failure> {
    let loaded = config::load(Some(&args.config), &args.set);
    let (settings, _) = loaded.map_err(|problems| Failure { code: SETTINGS, text: problems.to_string() })?;
    let path = &settings.status_socket;
    let answer = answer(path, if args.openmetrics { views::OPENMETRICS } else { views::STATUS })?;
    let mut output = io::stdout().lock();
    if args.openmetrics {
        return printed(output.write_all(answer.as_bytes()), 0);
    }
    let document = parsed(&answer)?;
    let code = if document["state"] == "healthy" { 0 } else { DEGRADED };
    let shown = match args.json {
        true => output.write_all(answer.as_bytes()),
        false => table::write(&document, SystemClock::new().wall().seconds(), &mut output),
    };
    printed(shown.and_then(|()| output.flush()), code)
}

/// What the sensor says when it is asked there.
pub(super) fn answer(path: &Path, request: &str) -> Result<String, Failure> {
    let answer = ask(path, request).map_err(|error| failure(path, &error))?;
    match answer.strip_prefix(views::REFUSED) {
        Some(refused) => Err(Failure::unknown(format!("the sensor says: {}", Escaped(refused.trim_end())))),
        None => Ok(answer),
    }
}

/// Its document.
pub(super) fn parsed(answer: &str) -> Result<Value, Failure> {
    serde_json::from_str(answer).map_err(|_| Failure::unknown("the sensor's answer is not whole"))
}

/// A reader who has seen enough is no failure.
fn printed(shown: io::Result<()>, code: u8) -> Result<u8, Failure> {
    match shown {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::unknown(format!("cannot write: {error}"))),
        _ => Ok(code),
    }
}

/// What the sensor answers.
pub(super) fn ask(path: &Path, request: &str) -> io::Result<String> {
    let mut stream = connect(path)?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // Who is turned away may have been told so before it says anything.
    let asked = writeln!(stream, "{request}");
    match (asked, read(stream)) {
        (Err(error), Ok(answer)) if answer.is_empty() => Err(error),
        (_, Ok(answer)) if answer.is_empty() => Err(ErrorKind::UnexpectedEof.into()),
        (_, Ok(answer)) => String::from_utf8(answer).map_err(|error| io::Error::new(ErrorKind::InvalidData, error)),
        (_, Err(error)) => Err(error),
    }
}

/// All of an answer, within the time that there is for it.
fn read(mut stream: UnixStream) -> io::Result<Vec<u8>> {
    let clock = SystemClock::new();
    let (mut answer, mut chunk) = (Vec::new(), [0; 1 << 16]);
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(answer),
            Ok(len) => answer.extend(chunk.iter().take(len)),
            Err(error) if answer.is_empty() => return Err(error),
            Err(_) => return Ok(answer),
        }
        if answer.len() as u64 > ANSWER_MAX || clock.monotonic() > PATIENCE {
            return Err(ErrorKind::TimedOut.into());
        }
    }
}

/// There may be many who wait to be let in.
fn connect(path: &Path) -> io::Result<UnixStream> {
    for _ in 1..PATIENCE.as_millis() / AGAIN.as_millis() {
        match listen::connect(path) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(AGAIN),
            connected => return connected,
        }
    }
    listen::connect(path)
}

fn failure(path: &Path, error: &io::Error) -> Failure {
    let place = escaped(path);
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            let text = format!("no sensor is running: nobody listens at {place} ({error})");
            Failure { code: NOT_RUNNING, text }
        }
        ErrorKind::PermissionDenied => Failure::unknown(format!(
            "no permission to ask at {place}; ask as root, or as a member of the sensor's group (usermod -aG sie-dns-sensor USER)"
        )),
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            Failure::unknown(format!("no answer at {place} within {} s", PATIENCE.as_secs()))
        }
        _ => Failure::unknown(format!("cannot ask at {place}: {error}")),
    }
}

/// A duration for people: its two largest units.
pub(super) struct Span(pub(super) u64);

impl Display for Span {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Span(seconds) = *self;
        match seconds {
            0..120 => write!(f, "{seconds} s"),
            120..7200 => write!(f, "{} min {} s", seconds / 60, seconds % 60),
            7200..172_800 => write!(f, "{} h {} min", seconds / 3600, seconds / 60 % 60),
            _ => write!(f, "{} days {} h", seconds / 86_400, seconds / 3600 % 24),
        }
    }
}
