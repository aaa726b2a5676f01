//! A progress bar on a terminal, for what takes longer than a second.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

/// Inputs that are done before this need no bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// The bar. Shown on standard error if that is a terminal.
pub(super) struct Progress {
    command: &'static str,
    started: Option<Instant>,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// For the subcommand of this name.
    pub(super) fn new(command: &'static str, quiet: bool) -> Progress {
        let wanted = !quiet && io::stderr().is_terminal();
        Progress { command, started: wanted.then(Instant::now), bar: None }
    }

    /// Brings the bar up to date: `state` gives bytes read, and bytes there are if that is known.
    pub(super) fn show(&mut self, state: impl FnOnce() -> (u64, Option<u64>)) {
        let Some(started) = self.started else { return };
        if self.bar.is_none() && started.elapsed() < PATIENCE {
            return;
        }
        let (read, total) = state();
        let bar = self.bar.get_or_insert_with(|| new_bar(total, started));
        bar.set_position(read);
    }

    /// A line for the user, above the bar.
    pub(super) fn say(&self, line: &str) {
        let line = format!("sie-dns-sensor {}: {line}", self.command);
        match &self.bar {
            Some(bar) => bar.println(line),
            // Where standard error is closed, nobody can be told.
            None => drop(writeln!(io::stderr(), "{line}")),
        }
    }
}

fn new_bar(total: Option<u64>, started: Instant) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(5);
    let bar = ProgressBar::with_draw_target(total, target).with_elapsed(started.elapsed());
    let template = match total {
        Some(_) => "{bytes}/{total_bytes} {wide_bar} {bytes_per_sec} {eta}",
        None => "{spinner} {bytes} {bytes_per_sec}",
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.with_style(style)
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
