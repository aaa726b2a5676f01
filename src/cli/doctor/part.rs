//! The processes that do what root should not: they read packets, and what a server says.

use super::{DoctorArgs, finding::Finding};
use crate::{
    config::Settings,
    daemon::child::{ending, program},
};
use clap::ValueEnum;
use std::{
    error::Error,
    io::{self, BufRead, BufReader, Read, Take, Write},
    process::{Child, ChildStdout, Command, Stdio},
};

/// All that a part may say, in bytes: many times what it has to.
const SAID_MAX: u64 = 1 << 20;

/// What is done in a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Part {
    /// Listens at the interfaces, as the user that captures.
    Listen,
    /// Walks the way to the server, as the user that uploads.
    Way,
}

/// A part that runs. It ends with this value.
pub(super) struct Running {
    part: Part,
    child: Child,
    output: BufReader<Take<ChildStdout>>,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Listen => "listening",
            Part::Way => "upload",
        }
    }

    /// Starts it, with these settings on its standard input: a file may not be there to be read again.
    pub(super) fn start(self, args: &DoctorArgs, settings: &Settings) -> Result<Running, Finding> {
        let failed = |error: io::Error| Finding::fail(self.name(), format!("cannot start a process: {error}"), "");
        let mut command = Command::new(program().map_err(failed)?);
        let part = self.to_possible_value();
        let part = part.as_ref().map_or("", |value| value.get_name());
        command.args(["doctor", "--part", part, "--seconds", &args.seconds.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let broken = || failed(io::ErrorKind::BrokenPipe.into());
        let (input, output) = (child.stdin.take().ok_or_else(broken)?, child.stdout.take().ok_or_else(broken)?);
        let running = Running { part: self, child, output: BufReader::new(output.take(SAID_MAX)) };
        { input }.write_all(settings.to_text().as_bytes()).map_err(failed)?;
        Ok(running)
    }
}

impl Running {
    /// Hands on what it finds, as it does, until it ends.
    pub(super) fn tell(mut self, mut each: impl FnMut(Finding) -> io::Result<()>) -> io::Result<()> {
        let mut line = Vec::new();
        while self.output.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            if let Some(finding) = Finding::from_json(&line) {
                each(finding)?;
            }
            line.clear();
        }
        if self.output.get_ref().limit() == 0 {
            // It would wait for somebody to read the rest.
            let _ = self.child.kill();
        }
        let ended = match self.child.wait() {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => ending(status),
            Err(error) => error.to_string(),
        };
        each(Finding::fail(self.part.name(), format!("the process for this did not come to its end: {ended}"), ""))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended is no more to be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In a part: the settings of who started it.
pub(super) fn settings() -> Result<Settings, Box<dyn Error>> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    Ok(Settings::from_text(&text)?)
}

/// From a part to who started it.
pub(super) fn say(finding: &Finding) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{}", finding.to_json())?;
    output.flush()
}
