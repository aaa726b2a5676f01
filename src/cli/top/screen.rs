//! The terminal: taken for the view, and given back as it was when the program ends.

use crate::{daemon::SystemClock, time::Clock};
use ratatui::{
    Frame, Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor::{Hide, Show},
        event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
        execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP},
    flag, low_level,
};
use std::{
    io::{self, Stdout, stdout},
    panic,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Between two looks at signals.
const GLANCE: Duration = Duration::from_millis(100);

/// What the user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Time has passed, or the terminal has another size.
    Nothing,
    Quit,
    Pause,
    Sort,
    Total,
    Help,
    /// To stop, as a shell's job.
    Stop,
    /// Some other key.
    Other,
}

/// The terminal.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    /// The signal that came and ends it.
    signal: Arc<AtomicUsize>,
    /// It is to stop, until somebody lets it go on.
    stops: Arc<AtomicBool>,
}

impl Screen {
    /// Takes it.
    pub(super) fn open() -> io::Result<Screen> {
        let signal = Arc::new(AtomicUsize::new(0));
        for number in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            flag::register_usize(number, signal.clone(), number.unsigned_abs() as usize)?;
        }
        let stops = Arc::new(AtomicBool::new(false));
        flag::register(SIGTSTP, stops.clone())?;
        // A panic ends a release without dropping anything.
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            restore();
            before(panic);
        }));
        let opened = take().and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        match opened {
            Ok(terminal) => Ok(Screen { terminal, signal, stops }),
            Err(error) => {
                restore();
                Err(error)
            }
        }
    }

    /// Draws a frame, as large as the terminal is now.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame)) -> io::Result<()> {
        // A terminal that has gone is told by its signal.
        let drawn = self.terminal.draw(draw).map(|_| ());
        if self.signal() > 0 { Ok(()) } else { drawn }
    }

    /// Waits for a key, or another size, but not longer than this. After a signal it does not return: the program ends by it.
    pub(super) fn wait(&mut self, limit: Duration) -> io::Result<Said> {
        let clock = SystemClock::new();
        loop {
            if let Ok(signal @ 1..) = i32::try_from(self.signal()) {
                restore();
                low_level::emulate_default_handler(signal)?;
            }
            if self.stops.swap(false, Ordering::Relaxed) {
                self.stop()?;
                return Ok(Said::Nothing);
            }
            let left = limit.saturating_sub(clock.monotonic());
            if left.is_zero() {
                return Ok(Said::Nothing);
            }
            let said = match event::poll(left.min(GLANCE)) {
                Ok(true) => event::read().map(said),
                Ok(false) => continue,
                Err(error) => Err(error),
            };
            match said {
                Ok(None) => {}
                Ok(Some(Said::Stop)) => self.stops.store(true, Ordering::Relaxed),
                Ok(Some(said)) => return Ok(said),
                Err(error) if error.kind() == io::ErrorKind::Interrupted || self.signal() > 0 => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives the terminal back and stops; when it goes on, it takes it again.
    fn stop(&mut self) -> io::Result<()> {
        restore();
        low_level::emulate_default_handler(SIGTSTP)?;
        take()?;
        // It knows nothing of what the screen shows.
        self.terminal = Terminal::new(CrosstermBackend::new(stdout()))?;
        Ok(())
    }

    fn signal(&self) -> usize {
        self.signal.load(Ordering::Relaxed)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Takes the terminal.
fn take() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen, Hide)
}

/// Gives the terminal back; twice does no harm. Where it is gone, nothing is to be done.
fn restore() {
    let _ = disable_raw_mode();
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
}

fn said(event: Event) -> Option<Said> {
    let Event::Key(key) = event else {
        return matches!(event, Event::Resize(..)).then_some(Said::Nothing);
    };
    if key.kind == KeyEventKind::Release {
        return None;
    }
    Some(match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Said::Quit,
        KeyCode::Char('z') if key.modifiers.contains(KeyModifiers::CONTROL) => Said::Stop,
        KeyCode::Char('q') | KeyCode::Esc => Said::Quit,
        KeyCode::Char('p' | ' ') => Said::Pause,
        KeyCode::Char('s') => Said::Sort,
        KeyCode::Char('t') => Said::Total,
        KeyCode::Char('?' | 'h') => Said::Help,
        _ => Said::Other,
    })
}
