//! A terminal that a program runs in, and what is to be seen on it.

use crate::program::{SENSOR, Scratch};
use nix::{
    pty::{Winsize, openpty},
    sys::signal::{Signal, kill},
    unistd::{Pid, ttyname},
};
use std::{
    fs::{self, File},
    io::{Read, Write},
    num::NonZeroU16,
    path::PathBuf,
    process::{Child, Command},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};
use vt100::Parser;

/// How long a program has to show what is wanted.
const SOON: Duration = Duration::from_secs(20);

/// Runs the program whose words follow; how the terminal is set before and afterwards, and the exit code, are in files.
const AROUND: &str = r#"stty -g >"$0/before"; "$@" 2>"$0/stderr"; echo $? >"$0/code"; stty -g >"$0/after""#;

/// The terminal.
pub struct Terminal {
    keys: File,
    name: PathBuf,
    parser: Arc<Mutex<Parser>>,
    process: Child,
    scratch: Scratch,
}

fn size(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

impl Terminal {
    /// Runs a command in a terminal of so many columns and rows.
    pub fn start(command: &Command, columns: u16, rows: u16) -> Terminal {
        let scratch = Scratch::new();
        let pair =
            openpty(&Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }, None).expect("a terminal");
        let name = ttyname(&pair.slave).unwrap();
        let mut around = Command::new("setsid");
        around.args(["--ctty", "--wait", "sh", "-c", AROUND]).arg(scratch.path(""));
        around.arg(command.get_program()).args(command.get_args());
        around.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        for (name, value) in command.get_envs() {
            value.map(|value| around.env(name, value));
        }
        let ends = [(); 3].map(|()| pair.slave.try_clone().unwrap());
        let [input, output, error] = ends;
        let process = around.stdin(input).stdout(output).stderr(error).spawn().unwrap();
        drop((around, pair.slave));
        let parser = Arc::new(Mutex::new(Parser::new(size(rows), size(columns), 0)));
        let keys = File::from(pair.master);
        let (mut output, screen) = (keys.try_clone().unwrap(), parser.clone());
        thread::spawn(move || {
            let mut bytes = [0; 8192];
            // The end is an error, when nobody has it open any more.
            while let Ok(len @ 1..) = output.read(&mut bytes) {
                screen.lock().unwrap().process(&bytes[..len]);
            }
        });
        Terminal { keys, name, parser, process, scratch }
    }

    /// The sensor with these arguments.
    pub fn sensor(arguments: &[&str], columns: u16, rows: u16) -> Terminal {
        Terminal::start(Command::new(SENSOR).args(arguments), columns, rows)
    }

    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.parser.lock().unwrap().set_size(size(rows), size(columns));
        let sizes = ["rows", &rows.to_string(), "cols", &columns.to_string()].map(str::to_owned);
        assert!(Command::new("stty").arg("-F").arg(&self.name).args(sizes).status().unwrap().success());
    }

    /// What is on the screen.
    pub fn text(&self) -> String {
        self.parser.lock().unwrap().screen().contents()
    }

    /// Waits until the screen is as wanted.
    #[track_caller]
    pub fn shows(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let by = Instant::now() + SOON;
        loop {
            let text = self.text();
            if wanted(&text) {
                return text;
            }
            let stderr = fs::read_to_string(self.scratch.path("stderr")).unwrap_or_default();
            assert!(Instant::now() < by, "it never shows {what}: {stderr}\n{text}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    #[track_caller]
    pub fn shows_text(&self, text: &str) -> String {
        self.shows(text, |screen| screen.contains(text))
    }

    #[track_caller]
    pub fn shows_no_text(&self, text: &str) {
        self.shows(&format!("no {text}"), |screen| !screen.contains(text));
    }

    /// Sends a signal to the sensor in it.
    pub fn signal(&self, signal: Signal) {
        let by = Instant::now() + SOON;
        let pid = loop {
            if let Some(pid) = descendants(self.process.id()).into_iter().find(|pid| is_sensor(*pid)) {
                break pid;
            }
            assert!(Instant::now() < by, "no sensor runs");
        };
        kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
    }

    /// Waits until the program has the terminal, or has given it back.
    #[track_caller]
    pub fn is_taken(&self, wanted: bool) {
        self.shows(&format!("taken: {wanted}"), |_| {
            let parser = self.parser.lock().unwrap();
            parser.screen().alternate_screen() == wanted && parser.screen().hide_cursor() == wanted
        });
    }

    /// Waits for its end: the exit code. The terminal must be as it was before.
    #[track_caller]
    pub fn ends(mut self) -> i32 {
        let by = Instant::now() + SOON;
        while self.process.try_wait().unwrap().is_none() {
            assert!(Instant::now() < by, "it does not end:\n{}", self.text());
            thread::sleep(Duration::from_millis(10));
        }
        let read = |name: &str| fs::read_to_string(self.scratch.path(name)).unwrap();
        assert_eq!(read("before"), read("after"), "the terminal's settings");
        self.is_taken(false);
        read("code").trim().parse().unwrap()
    }

    /// Whether there is any colour.
    pub fn is_coloured(&self) -> bool {
        let parser = self.parser.lock().unwrap();
        let screen = parser.screen();
        let (rows, columns) = screen.size();
        let cells = (0..rows.get()).flat_map(|row| (0..columns.get()).map(move |column| (row, column)));
        cells
            .filter_map(|(row, column)| screen.cell(row, column))
            .any(|cell| cell.fgcolor() != vt100::Color::Default || cell.bgcolor() != vt100::Color::Default)
    }

    /// The screen as a page, in the colours of a dark terminal.
    pub fn to_html(&self) -> String {
        let parser = self.parser.lock().unwrap();
        let screen = parser.screen();
        let (rows, columns) = screen.size();
        let mut html = "<!doctype html><meta charset=utf-8><link rel=icon href='data:,'><style>body{margin:16px;\
            background:#14181b}pre{margin:0;font:14px/17px 'DejaVu Sans Mono',monospace;color:#d8dcde}\
            span{display:inline-block;width:8.43px;height:17px;overflow:visible}</style><pre>"
            .to_owned();
        for row in 0..rows.get() {
            for column in 0..columns.get() {
                let Some(cell) = screen.cell(row, column) else { continue };
                let (mut colour, mut ground) = (colour(cell.fgcolor(), "#d8dcde"), colour(cell.bgcolor(), "#14181b"));
                if cell.inverse() {
                    (colour, ground) = (ground, colour);
                }
                let weight = if cell.bold() { "bold" } else { "normal" };
                let opacity = if cell.dim() { "opacity:.6;" } else { "" };
                let text = match cell.contents() {
                    "" => " ".to_owned(),
                    text => text.replace('&', "&amp;").replace('<', "&lt;"),
                };
                let style = format!("color:{colour};background:{ground};font-weight:{weight};{opacity}");
                html += &format!("<span style=\"{style}\">{text}</span>");
            }
            html.push('\n');
        }
        html + "</pre>"
    }
}

fn colour(colour: vt100::Color, default: &'static str) -> &'static str {
    match colour {
        vt100::Color::Idx(1 | 9) => "#e5534b",
        vt100::Color::Idx(2 | 10) => "#57ab5a",
        vt100::Color::Idx(3 | 11) => "#d4a72c",
        vt100::Color::Idx(4 | 12) => "#539bf5",
        vt100::Color::Idx(6 | 14) => "#56b6c2",
        vt100::Color::Idx(8) => "#545d68",
        _ => default,
    }
}

fn descendants(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    children.flat_map(|child| [vec![child], descendants(child)].concat()).collect()
}

fn is_sensor(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "sie-dns-sensor")
}

impl Drop for Terminal {
    fn drop(&mut self) {
        for pid in descendants(self.process.id()) {
            let _ = kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
