//! `sie-dns-sensor pause` and `resume`: a sensor that runs obeys within a second, one that is started later does too.

use super::exit::{FAILED, SETTINGS};
use crate::{
    config::{self, Settings},
    daemon::{
        SystemClock,
        paused::{Part, Paused, Until},
        privileges, users,
    },
    escape::escaped,
    time::{Clock, Timestamp},
};
use clap::Args;
use jiff::SignedDuration;
use std::{
    error::Error,
    io::{self, ErrorKind, Write},
    path::PathBuf,
    process::ExitCode,
};

/// What was typed.
#[derive(Args, Debug)]
pub struct PauseArgs {
    /// What to pause
    #[arg(value_enum)]
    part: Part,
    /// Resume by itself after so long: 2h, 90m, 1h 30m
    #[arg(long = "for", value_name = "TIME")]
    lasts: Option<SignedDuration>,
    #[command(flatten)]
    place: Place,
}

/// What was typed.
#[derive(Args, Debug)]
pub struct ResumeArgs {
    /// What to resume; all that is paused, if it is left out
    #[arg(value_enum)]
    part: Option<Part>,
    #[command(flatten)]
    place: Place,
}

#[derive(Args, Debug)]
struct Place {
    /// Read settings from this file, not from /etc/default/sie-dns-sensor
    #[arg(short, long, value_name = "FILE", default_value_os_t = config::default_path().to_owned())]
    config: PathBuf,
    /// Set a setting, over what the configuration file says
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
}

/// Runs `pause`.
pub fn pause(args: &PauseArgs) -> ExitCode {
    let now = SystemClock::new().wall();
    let until = match args.lasts {
        None => Until::Resumed,
        Some(lasts) => match u64::try_from(lasts.as_secs()) {
            Ok(seconds @ 1..) => Until::Time(Timestamp::new(now.seconds().saturating_add(seconds), 0)),
            _ => return failed("pause", FAILED, "--for: at least a second"),
        },
    };
    change("pause", &args.place, |paused| paused.set(args.part, Some(until)), now)
}

/// Runs `resume`.
pub fn resume(args: &ResumeArgs) -> ExitCode {
    let parts = args.part.map_or(vec![Part::Capture, Part::Upload], |part| vec![part]);
    let resume = |paused: &mut Paused| parts.iter().for_each(|part| paused.set(*part, None));
    change("resume", &args.place, resume, SystemClock::new().wall())
}

fn change(command: &str, place: &Place, change: impl FnOnce(&mut Paused), now: Timestamp) -> ExitCode {
    let settings = match config::load(Some(&place.config), &place.set) {
        Ok((settings, _)) => settings,
        Err(problems) => return failed(command, SETTINGS, &problems.to_string()),
    };
    match write(&settings, change, now) {
        Ok(paused) => match say(&paused) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => failed(command, FAILED, &error.to_string()),
            _ => ExitCode::SUCCESS,
        },
        Err(error) => failed(command, FAILED, &error.to_string()),
    }
}

fn failed(command: &str, code: u8, text: &str) -> ExitCode {
    text.lines().for_each(|line| eprintln!("sie-dns-sensor {command}: {line}"));
    ExitCode::from(code)
}

/// As the sensor's user, whose the directory is.
fn write(settings: &Settings, change: impl FnOnce(&mut Paused), now: Timestamp) -> Result<Paused, Box<dyn Error>> {
    let owner = users::of_capture(settings)?;
    let directory = &settings.spool_dir;
    let write = || {
        // What cannot be read is written anew: all may have been paused, and what is said of it now is shown.
        let mut paused = Paused::read(directory).unwrap_or(Paused::ALL).at(now);
        change(&mut paused);
        paused.write(directory)?;
        Ok(paused)
    };
    let written: io::Result<Paused> = privileges::as_user(&owner, write)?;
    Ok(written.map_err(|error| format!("cannot write to {}: {error}", escaped(directory)))?)
}

fn say(paused: &Paused) -> io::Result<()> {
    let mut output = io::stdout().lock();
    for (part, until) in [("capture", paused.capture), ("upload", paused.upload)] {
        match until {
            None => writeln!(output, "{part}: not paused")?,
            Some(Until::Resumed) => writeln!(output, "{part}: paused; to go on: sie-dns-sensor resume {part}")?,
            Some(Until::Time(time)) => {
                let seconds = i64::try_from(time.seconds()).unwrap_or(i64::MAX);
                let time = jiff::Timestamp::from_second(seconds).map_or(String::new(), |time| time.to_string());
                writeln!(output, "{part}: paused until {time}; to go on before: sie-dns-sensor resume {part}")?;
            }
        }
    }
    output.flush()
}
