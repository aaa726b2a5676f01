//! Where the supervisor's log lines go: the journal, or syslog, and standard error when it runs in the foreground.
//!
//! Nothing here waits: a log that takes no lines loses them, and is told how many when it takes lines again. Nothing is
//! logged per packet.

use crate::{
    config::{LogLevel, SyslogPriority},
    escape::Escaped,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::{
    fs::File,
    io::{self, Write},
    os::{
        fd::AsFd,
        unix::{fs::MetadataExt, net::UnixDatagram},
    },
    path::{Path, PathBuf},
};

/// The tag of every line, as the sensor's lines always had.
const TAG: &str = "sie";
/// The longest text of a line, in bytes: with what goes before it, within the 2048 that every receiver should take
/// (RFC 5426 §3.2).
const TEXT_MAX: usize = 1900;
/// RFC 5424 §6.2.1.
const ERROR: u8 = 3;
const WARNING: u8 = 4;
const DEBUG: u8 = 7;

/// How lines are logged.
#[derive(Clone, Debug)]
pub struct Options {
    /// Lines of this level and more urgent ones.
    pub level: LogLevel,
    /// Facility of all lines, severity of informational ones.
    pub priority: SyslogPriority,
    /// Lines go to standard error too.
    pub foreground: bool,
    /// Where syslog listens: [`syslog_path`].
    pub syslog: PathBuf,
}

/// The socket of the system's syslog.
pub fn syslog_path() -> &'static Path {
    Path::new(if cfg!(target_os = "freebsd") { "/var/run/log" } else { "/dev/log" })
}

/// The log of the supervisor.
#[derive(Debug)]
pub struct Log {
    level: LogLevel,
    priority: SyslogPriority,
    sinks: Vec<Sink>,
}

impl Log {
    /// To the journal when standard error is one, else to syslog, and to standard error if so wished.
    pub fn new(options: Options) -> Log {
        let stderr = io::stderr().as_fd().try_clone_to_owned().map(File::from).ok();
        let targets = match stderr {
            Some(stderr) if is_journal(&stderr, std::env::var("JOURNAL_STREAM").ok().as_deref()) => {
                vec![Target::Journal(stderr)]
            }
            stderr => {
                let foreground = stderr.filter(|_| options.foreground).map(Target::Plain);
                let syslog = Target::Syslog(Syslog { path: options.syslog, socket: None });
                [Some(syslog), foreground].into_iter().flatten().collect()
            }
        };
        Log::to(targets, options.level, options.priority)
    }

    fn to(targets: Vec<Target>, level: LogLevel, priority: SyslogPriority) -> Log {
        let sinks = targets.into_iter().map(|target| Sink { target, lost: 0 }).collect();
        Log { level, priority, sinks }
    }

    /// For a process that is about to be confined: has what it needs for its lines.
    pub fn prepare(&mut self) {
        for sink in &mut self.sinks {
            if let Target::Syslog(syslog) = &mut sink.target {
                let _ = syslog.prepare(); // without one, each line tries again
            }
        }
    }

    /// From now on nothing goes to standard error that is not the journal.
    pub fn leave_terminal(&mut self) {
        self.sinks.retain(|sink| !matches!(sink.target, Target::Plain(_)));
    }

    /// From now on only lines of this level and more urgent ones.
    pub fn set_level(&mut self, level: LogLevel) {
        self.level = level;
    }

    /// From now on with this facility, and this severity of informational lines.
    pub fn set_priority(&mut self, priority: SyslogPriority) {
        self.priority = priority;
    }

    /// Logs one line. Control characters are escaped, what is too long is cut.
    pub fn line(&mut self, level: LogLevel, text: &str) {
        if level > self.level {
            return;
        }
        let severity = match level {
            LogLevel::Error => ERROR,
            LogLevel::Warning => WARNING,
            LogLevel::Info => self.priority.severity,
            LogLevel::Debug => DEBUG,
        };
        let mut text = Escaped(text).to_string();
        if text.len() > TEXT_MAX {
            text.truncate(text.floor_char_boundary(TEXT_MAX));
            text.push('…');
        }
        for sink in &mut self.sinks {
            sink.line(self.priority.facility, severity, &text);
        }
    }

    /// Something does not work, and does not come back by itself.
    pub fn error(&mut self, text: &str) {
        self.line(LogLevel::Error, text);
    }

    /// Something is not as it should be.
    pub fn warning(&mut self, text: &str) {
        self.line(LogLevel::Warning, text);
    }

    /// What happened.
    pub fn info(&mut self, text: &str) {
        self.line(LogLevel::Info, text);
    }

    /// And why.
    pub fn debug(&mut self, text: &str) {
        self.line(LogLevel::Debug, text);
    }
}

/// Whether `stderr` is the stream that systemd connected to the journal: JOURNAL_STREAM names its device and inode. A
/// program that was started by a service, but whose standard error is another, has the variable too.
fn is_journal(stderr: &File, stream: Option<&str>) -> bool {
    let Ok(metadata) = stderr.metadata() else { return false };
    stream == Some(format!("{}:{}", metadata.dev(), metadata.ino()).as_str())
}

/// One place that lines go to.
#[derive(Debug)]
struct Sink {
    target: Target,
    /// Lines that it did not take and has not been told of.
    lost: u64,
}

#[derive(Debug)]
enum Target {
    Journal(File),
    Plain(File),
    Syslog(Syslog),
}

impl Sink {
    fn line(&mut self, facility: u8, severity: u8, text: &str) {
        if self.lost > 0 {
            let lines = if self.lost == 1 { "line" } else { "lines" };
            let told = format!("{} log {lines} before this could not be written", self.lost);
            if self.target.put(facility, WARNING, &told).is_ok() {
                self.lost = 0;
            }
        }
        if self.target.put(facility, severity, text).is_err() {
            self.lost = self.lost.saturating_add(1);
        }
    }
}

impl Target {
    fn put(&mut self, facility: u8, severity: u8, text: &str) -> io::Result<()> {
        match self {
            Target::Journal(stream) => put_line(stream, &format!("<{severity}>{text}\n")),
            Target::Plain(stream) => put_line(stream, &format!("{TAG}: {text}\n")),
            Target::Syslog(syslog) => syslog.put(facility, severity, text),
        }
    }
}

/// Writes a line that fits into what a stream takes once it takes anything (PIPE_BUF is 4096, sockets take more), so that
/// the write does not wait.
fn put_line(stream: &mut File, line: &str) -> io::Result<()> {
    let mut polled = [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)];
    match poll(&mut polled, PollTimeout::ZERO)? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        _ => stream.write_all(line.as_bytes()),
    }
}

/// The system's syslog, connected when there is a line for it.
#[derive(Debug)]
struct Syslog {
    path: PathBuf,
    socket: Option<UnixDatagram>,
}

impl Syslog {
    /// Sends a line as RFC 3164 has it, without a time: the receiver is on this host and puts its own (§4.3.2).
    fn put(&mut self, facility: u8, severity: u8, text: &str) -> io::Result<()> {
        let number = u16::from(facility) * 8 + u16::from(severity);
        let line = format!("<{number}>{TAG}[{}]: {text}", std::process::id());
        self.prepare()?;
        let socket = self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        match socket.send(line.as_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
            Err(_) => {} // not connected yet, or another syslogd may be there by now
            Ok(_) => return Ok(()),
        }
        socket.connect(&self.path)?;
        socket.send(line.as_bytes()).map(drop)
    }

    /// Has a socket. It stays the same when syslogd does not: a process may be confined by then, and not get another.
    fn prepare(&mut self) -> io::Result<()> {
        if self.socket.is_none() {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            self.socket = Some(socket);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::time::Duration;

    const PRIORITY: SyslogPriority = SyslogPriority { facility: 21, severity: 6 };

    /// A syslogd of one test's own.
    struct Receiver {
        path: PathBuf,
        socket: Option<UnixDatagram>,
    }

    impl Receiver {
        fn new(name: &str) -> Receiver {
            let path = std::env::temp_dir().join(format!("sie-log-{name}-{}", std::process::id()));
            let mut receiver = Receiver { path, socket: None };
            receiver.start();
            receiver
        }

        fn start(&mut self) {
            let _ = std::fs::remove_file(&self.path);
            let socket = UnixDatagram::bind(&self.path).unwrap();
            socket.set_nonblocking(true).unwrap();
            self.socket = Some(socket);
        }

        fn stop(&mut self) {
            self.socket = None;
            let _ = std::fs::remove_file(&self.path);
        }

        /// All that has come, our pid taken out.
        fn lines(&self) -> Vec<String> {
            let mut lines = Vec::new();
            let mut buffer = [0; 4096];
            while let Ok(len) = self.socket.as_ref().unwrap().recv(&mut buffer) {
                let line = String::from_utf8(buffer[..len].to_vec()).unwrap();
                lines.push(line.replace(&format!("[{}]", std::process::id()), "[PID]"));
            }
            lines
        }

        fn log(&self, level: LogLevel) -> Log {
            let syslog = Syslog { path: self.path.clone(), socket: None };
            Log::to(vec![Target::Syslog(syslog)], level, PRIORITY)
        }
    }

    impl Drop for Receiver {
        fn drop(&mut self) {
            self.stop();
        }
    }

    #[test]
    fn syslog_gets_lines_with_facility_severity_tag_and_pid() {
        let receiver = Receiver::new("lines");
        let mut log = receiver.log(LogLevel::Info);
        log.error("an error");
        log.warning("a warning");
        log.info("some\nnews\x1b[2J");
        log.debug("not logged");
        log.set_level(LogLevel::Debug);
        log.set_priority(SyslogPriority { facility: 3, severity: 5 });
        log.debug("why");
        log.info("noticed");
        let expected = [
            "<171>sie[PID]: an error",
            "<172>sie[PID]: a warning",
            "<174>sie[PID]: some\\nnews\\u{1b}[2J",
            "<31>sie[PID]: why",
            "<29>sie[PID]: noticed",
        ];
        assert_eq!(receiver.lines(), expected);
    }

    #[test]
    fn a_long_line_is_cut_at_a_character() {
        let receiver = Receiver::new("long");
        receiver.log(LogLevel::Info).info(&"é".repeat(100_000));
        let lines = receiver.lines();
        assert!(lines[0].len() <= 2048 && lines[0].ends_with("éé…"), "{}", lines[0].len());
    }

    #[test]
    fn a_stuck_syslog_delays_nothing_and_is_told_what_it_lost() {
        let receiver = Receiver::new("stuck");
        let mut log = receiver.log(LogLevel::Info);
        let started = std::time::Instant::now();
        for number in 0..5000 {
            log.info(&format!("line {number}"));
        }
        assert!(started.elapsed() < Duration::from_secs(5));
        let taken = receiver.lines();
        assert!(taken.len() < 5000 && taken[0].ends_with("line 0"), "its queue was never full");
        log.info("after");
        let told = format!("<172>sie[PID]: {} log lines before this could not be written", 5000 - taken.len());
        assert_eq!(receiver.lines(), [told, "<174>sie[PID]: after".to_string()]);
    }

    #[test]
    fn a_syslog_that_goes_and_comes_back_is_found_again() {
        let mut receiver = Receiver::new("restart");
        let mut log = receiver.log(LogLevel::Info);
        log.info("one");
        assert_eq!(receiver.lines().len(), 1);
        receiver.stop();
        log.info("nobody listens");
        receiver.start();
        log.info("two");
        let told = "<172>sie[PID]: 1 log line before this could not be written";
        assert_eq!(receiver.lines(), [told, "<174>sie[PID]: two"]);
        receiver.start();
        log.info("three");
        assert_eq!(receiver.lines(), ["<174>sie[PID]: three"], "a restart between two lines loses none");
    }

    #[test]
    fn a_stream_gets_lines_and_one_that_nobody_reads_loses_them() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut log =
            Log::to(vec![Target::Journal(std::os::fd::OwnedFd::from(writer).into())], LogLevel::Info, PRIORITY);
        log.error("an error");
        log.info("news");
        let mut buffer = vec![0; 1 << 20];
        let len = reader.read(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"<3>an error\n<6>news\n");
        for _ in 0..1000 {
            log.info(&"x".repeat(1000));
        }
        assert!(log.sinks[0].lost > 0);
        assert!(reader.read(&mut buffer).unwrap() > 0);
        log.info("after");
        assert_eq!(log.sinks[0].lost, 0);
    }

    #[test]
    fn the_journal_is_known_by_its_inode() {
        let file = File::open("/dev/null").unwrap();
        let metadata = file.metadata().unwrap();
        assert!(is_journal(&file, Some(&format!("{}:{}", metadata.dev(), metadata.ino()))));
        assert!(!is_journal(&file, Some(&format!("{}:{}", metadata.dev(), metadata.ino() + 1))));
        assert!(!is_journal(&file, None));
    }

    #[test]
    fn the_foreground_has_syslog_and_standard_error() {
        let options =
            Options { level: LogLevel::Info, priority: PRIORITY, foreground: true, syslog: "/nonexistent/log".into() };
        let log = Log::new(options.clone());
        assert!(matches!(log.sinks[0].target, Target::Syslog(_)) && matches!(log.sinks[1].target, Target::Plain(_)));
        assert_eq!(Log::new(Options { foreground: false, ..options }).sinks.len(), 1);
    }
}
