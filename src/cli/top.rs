//! `sie-dns-sensor top`: a live view of the sensor that runs, or of a file.

mod draw;
mod file;
mod live;
mod rows;
mod screen;
mod shown;
#[cfg(test)]
mod tests;

use super::{
    exit::{FAILED, SETTINGS},
    status::{self, Failure},
};
use crate::{
    config::{self, Settings},
    daemon::{SystemClock, views},
    escape::escaped,
    time::Clock,
};
use clap::Args;
use draw::{Look, Palette};
use file::File;
use live::Live;
use ratatui::{Terminal, backend::TestBackend};
use rows::Sort;
use shown::Shown;
use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// Exit code: some input was bad.
const BAD_INPUT: u8 = 1;

/// Between two frames, and between two questions to the sensor.
const SECOND: Duration = Duration::from_secs(1);
/// What `--once` waits for samples.
const ONCE: Duration = Duration::from_millis(2500);
/// Columns and lines of `--once`.
const ONCE_SIZE: (u16, u16) = (100, 48);

/// Behind `--help`.
const AFTER_HELP: &str = "\
Keys: p or space pauses, s sorts by another column, t shows totals or what is recent, ? helps, q or Esc quits.

Zones and servers are of a sample of the transactions, up to 1000 a second, which the sensor takes only while somebody \
watches; of a file they are of all. NO_COLOR in the environment leaves the colours out.

Exit codes: 0 done; 2 no sensor is running, usage or failure; 3 cannot tell; 78 settings; with -r, 1 some input was bad.";

/// What was typed.
#[derive(Args, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct TopArgs {
    /// Read settings from this file, not from /etc/default/sie-dns-sensor; with -r, from no file unless told
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set a setting, over what the configuration file says
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Show what is in a capture or NMSG file, not what the sensor sees; - is standard input. May be given several times
    #[arg(short, long, value_name = "FILE")]
    read: Vec<PathBuf>,
    /// Print one frame as text, after a moment of watching, or when the files are read
    #[arg(long)]
    once: bool,
}

/// Runs the subcommand.
pub fn run(args: &TopArgs) -> ExitCode {
    match top(args) {
        Ok(code) => code,
        Err(Failure { code, text }) => {
            let _ = writeln!(io::stderr(), "sie-dns-sensor top: {text}"); // where that is closed, nobody can be told
            ExitCode::from(code)
        }
    }
}

fn failed(text: String) -> Failure {
    Failure { code: FAILED, text }
}

fn top(args: &TopArgs) -> Result<ExitCode, Failure> {
    if !args.once && !io::stdout().is_terminal() {
        return Err(failed("standard output is not a terminal; --once prints one frame".to_owned()));
    }
    let file = match args.config.as_deref() {
        None if args.read.is_empty() => Some(config::default_path()),
        file => file,
    };
    let loaded = config::load(file, &args.set);
    let (settings, _) = loaded.map_err(|problems| Failure { code: SETTINGS, text: problems.to_string() })?;
    match args.read.is_empty() {
        true => watch(args, &settings),
        false => read(args, settings),
    }
}

/// What is watched: it is shared with a thread that looks after it.
trait Source {
    /// What there is to see. With `is_total`, since the beginning; else lately.
    fn shown(&self, sort: Sort, is_total: bool, now: u64) -> Shown;
}

/// The sensor that runs. That there is one must be known before the terminal is taken.
fn watch(args: &TopArgs, settings: &Settings) -> Result<ExitCode, Failure> {
    let path = settings.status_socket.clone();
    let answer = move || status::answer(&path, views::TOP).and_then(|answer| status::parsed(&answer));
    let mut live = Live::default();
    live.take(answer()?);
    if args.once {
        thread::sleep(ONCE);
        live.take(answer()?);
        return print(&live, true);
    }
    let (live, paused) = (Arc::new(Mutex::new(live)), Arc::new(AtomicBool::new(false)));
    let (watched, is_paused) = (live.clone(), paused.clone());
    // It ends with the process.
    thread::spawn(move || {
        let clock = SystemClock::new();
        let mut next = SECOND;
        loop {
            thread::sleep(next.saturating_sub(clock.monotonic()));
            next = clock.monotonic().max(next) + SECOND;
            if is_paused.load(Ordering::Relaxed) {
                continue;
            }
            let answered = answer();
            let mut live = watched.lock().unwrap_or_else(PoisonError::into_inner);
            match answered {
                Ok(document) => live.take(document),
                Err(Failure { text, .. }) => live.lose(text),
            }
        }
    });
    attend(&*live, &paused)?;
    Ok(ExitCode::SUCCESS)
}

/// Files: read as fast as that goes, then they stay.
fn read(args: &TopArgs, settings: Settings) -> Result<ExitCode, Failure> {
    // A pipe can be opened but once, and waits for its writer.
    let is_there = |path: &PathBuf| match fs::metadata(path)?.is_file() {
        true => fs::File::open(path).map(drop),
        false => Ok(()),
    };
    for path in args.read.iter().filter(|path| path.as_os_str() != "-") {
        is_there(path).map_err(|error| failed(format!("cannot open {}: {error}", escaped(path))))?;
    }
    let file = Arc::new(Mutex::new(File::new(&args.read)));
    let paused = Arc::new(AtomicBool::new(false));
    let (paths, reading, is_paused) = (args.read.clone(), file.clone(), paused.clone());
    let reader = thread::spawn(move || file::read(settings, &paths, &reading, &is_paused));
    if args.once {
        let _ = reader.join(); // a panic of ours has said so
        print(&*file, true)?;
    } else {
        attend(&*file, &paused)?;
    }
    let file = file.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(if file.is_bad() { ExitCode::from(BAD_INPUT) } else { ExitCode::SUCCESS })
}

impl<S: Source> Source for Mutex<S> {
    fn shown(&self, sort: Sort, is_total: bool, now: u64) -> Shown {
        self.lock().unwrap_or_else(PoisonError::into_inner).shown(sort, is_total, now)
    }
}

/// One frame as text.
fn print(source: &impl Source, is_total: bool) -> Result<ExitCode, Failure> {
    let look = Look { is_total, palette: Palette::Plain, ..Look::default() };
    let text = text(&source.shown(look.sort, is_total, SystemClock::new().wall().seconds()), &look, ONCE_SIZE);
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(failed(format!("cannot write: {error}"))),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// A frame of so many columns and lines, without the blanks at the ends.
fn text(shown: &Shown, look: &Look, (width, height): (u16, u16)) -> String {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
    let Ok(_) = terminal.draw(|frame| draw::draw(frame, shown, look));
    let buffer = terminal.backend().buffer();
    let line = |cells: &[ratatui::buffer::Cell]| cells.iter().map(|cell| cell.symbol()).collect::<String>();
    let lines: Vec<String> =
        buffer.content().chunks(usize::from(width).max(1)).map(|cells| line(cells).trim_end().to_owned()).collect();
    lines.join("\n").trim_end().to_owned() + "\n"
}

/// Draws a frame each second, and after each key, until the end.
fn attend(source: &impl Source, paused: &AtomicBool) -> Result<(), Failure> {
    let cannot = |error: io::Error| failed(format!("cannot use the terminal: {error}"));
    let clock = SystemClock::new();
    let mut screen = screen::Screen::open().map_err(cannot)?;
    let mut look = Look { palette: Palette::of_environment(), ..Look::default() };
    loop {
        look.is_paused = paused.load(Ordering::Relaxed);
        let shown = source.shown(look.sort, look.is_total, clock.wall().seconds());
        screen.draw(|frame| draw::draw(frame, &shown, &look)).map_err(cannot)?;
        match screen.wait(SECOND).map_err(cannot)? {
            screen::Said::Nothing | screen::Said::Stop => {}
            screen::Said::Quit => return Ok(()),
            screen::Said::Pause => drop(paused.fetch_xor(true, Ordering::Relaxed)),
            screen::Said::Sort => look.sort = look.sort.next(),
            screen::Said::Total => look.is_total = !look.is_total,
            screen::Said::Help => look.helps = !look.helps,
            screen::Said::Other => look.helps = false,
        }
    }
}
