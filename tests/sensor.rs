//! The running sensor, for tests that watch it from outside.

use crate::{namespace::Namespace, program::SENSOR};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User},
};
use sie_dns_sensor::nmsg::reader::Reader;
use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io::{BufRead, BufReader, Read},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Who the children become: a user that every system has, so that no test makes one.
const USER: &str = "nobody";
/// How long a test waits for something that takes a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process that does not outlive the test that started it.
pub struct Running(Child);

impl Running {
    pub fn new(child: Child) -> Running {
        Running(child)
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id() as i32)
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// How it ended, within a time.
    pub fn ended(&mut self, within: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + within;
        loop {
            match self.0.try_wait().unwrap() {
                None if Instant::now() < end => thread::sleep(Duration::from_millis(10)),
                status => return status,
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// A directory that a user without rights can reach, wherever the project is.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("sie-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `sie-dns-sensor run` in a namespace, with a spool of its own.
pub struct Sensor {
    process: Running,
    directory: Directory,
    /// Its log, as it comes.
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

/// What a sensor has left behind.
pub struct Stopped {
    pub log: Vec<String>,
    /// The last ledger in its log.
    pub ledger: Counts,
    /// The payloads of all its files, in no order.
    pub payloads: Vec<Payload>,
}

/// When a payload is of, in seconds and nanoseconds, and its message.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Payload {
    pub time: (i64, u32),
    pub message: Vec<u8>,
}

impl Sensor {
    /// Starts it with this configuration; returns when it is ready.
    pub fn start(namespace: &Namespace, config: &str) -> Sensor {
        let directory = Directory::new();
        let spool = directory.0.join("spool");
        let user = User::from_name(USER).unwrap().unwrap();
        fs::create_dir(&spool).unwrap();
        chown(&spool, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
        let file = directory.0.join("config");
        fs::write(&file, config).unwrap();
        let mut command = Command::new(SENSOR);
        command.args(["run", "--foreground", "--config"]).arg(file);
        let spool = format!("spooldir={}", spool.display());
        let status_socket = format!("status_socket={}", directory.0.join("status.sock").display());
        for set in [&spool, &status_socket, "host_name=sensor", "min_free_kbytes=0"] {
            command.args(["--set", set]);
        }
        command.args(["--set", &format!("user={USER}"), "--set", &format!("upload_user={USER}")]);
        let mut child = namespace.spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()));
        let stderr = child.stderr.take().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let of_reader = lines.clone();
        let reader = thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let line = line.unwrap();
                of_reader.lock().unwrap().push(line.strip_prefix("sie: ").unwrap_or(&line).to_owned());
            }
        });
        let sensor = Sensor { process: Running::new(child), directory, lines, reader: Some(reader) };
        sensor.wait_for("ready: ");
        sensor
    }

    /// The first line of the log with this text; waits for it.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
        self.wait_for_another(text, 0)
    }

    /// The same, when it is there already so many times.
    #[track_caller]
    pub fn wait_for_another(&self, text: &str, known: usize) -> String {
        let found = self.until(|lines| lines.iter().filter(|line| line.contains(text)).nth(known).cloned());
        found.unwrap_or_else(|| panic!("no {text:?} in the log"))
    }

    /// What `find` finds in the log, as soon as it does.
    fn until<T>(&self, mut find: impl FnMut(&[String]) -> Option<T>) -> Option<T> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let found = find(&self.lines.lock().unwrap());
            if found.is_some() {
                return found;
            }
            thread::sleep(Duration::from_millis(10));
        }
        None
    }

    /// How many lines of the log have this text.
    pub fn count(&self, text: &str) -> usize {
        self.lines.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }

    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    pub fn spool(&self) -> PathBuf {
        self.directory.0.join("spool")
    }

    /// Gives it another configuration; returns when it goes by that.
    pub fn reload(&self, config: &str) {
        let before = self.count("settings read again");
        fs::write(self.directory.0.join("config"), config).unwrap();
        self.signal(Signal::SIGHUP);
        self.wait_for_another("settings read again", before);
    }

    /// Stops it. Its ledger must balance, and nothing may be left unpublished.
    pub fn stop(mut self) -> Stopped {
        self.signal(Signal::SIGTERM);
        let status = self.process.ended(PATIENCE);
        let status = status.expect("TERM ends it");
        // Its children have left before it.
        self.reader.take().unwrap().join().unwrap();
        let log = std::mem::take(&mut *self.lines.lock().unwrap());
        let all = log.join("\n");
        assert!(status.success(), "{status}:\n{all}");
        assert!(!all.contains("does not balance"), "{all}");
        let files = files(&self.spool());
        let unpublished = files.iter().find(|file| !file.to_string_lossy().ends_with(".nmsg"));
        assert_eq!(unpublished, None, "{all}");
        let payloads = files.iter().flat_map(|file| payloads(file)).collect();
        Stopped { ledger: Counts::last(&log), payloads, log }
    }
}

impl Drop for Sensor {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the sensor's log:\n{}", self.lines.lock().unwrap().join("\n"));
        }
    }
}

/// All files below a directory.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => files.extend(self::files(&entry.path())),
            false => files.push(entry.path()),
        }
    }
    files.sort();
    files
}

/// The payloads of a file, which must be valid from end to end.
pub fn payloads(file: &Path) -> Vec<Payload> {
    let mut bytes = Vec::new();
    fs::File::open(file).unwrap().read_to_end(&mut bytes).unwrap();
    let mut reader = Reader::new(bytes.as_slice());
    let mut payloads = Vec::new();
    while let Some(payload) = reader.next().unwrap_or_else(|error| panic!("{}: {error}", file.display())) {
        let time = (payload.time_sec, payload.time_nsec);
        payloads.push(Payload { time, message: payload.message.to_vec() });
    }
    payloads
}

/// A ledger as it is shown to people: group and name, and what was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<(String, String), u64>);

impl Counts {
    /// The last of these lines that are a ledger.
    pub fn last(lines: &[impl AsRef<str>]) -> Counts {
        let mut counts = Counts::default();
        let starts = |line: &str| line.starts_with("packets ");
        let Some(start) = lines.iter().rposition(|line| starts(line.as_ref())) else { return counts };
        for line in &lines[start..] {
            counts.line(line.as_ref());
        }
        counts
    }

    fn line(&mut self, line: &str) {
        let Some((group, rest)) = line.split_once(' ') else { return };
        let (total, counted) = rest.trim_start().split_once("  ").unwrap_or((rest.trim(), ""));
        let total = total.trim().parse::<u64>().ok().map(|total| ("total", total));
        // A group without a total has only its counters.
        let counted = if total.is_some() { counted } else { rest };
        let counted = counted.split(", ").filter_map(|counter| {
            let (name, count) = counter.trim().rsplit_once(' ')?;
            Some((name, count.parse().ok()?))
        });
        for (name, count) in counted.chain(total) {
            self.0.insert((group.to_owned(), name.to_owned()), count);
        }
    }

    pub fn of(&self, group: &str, name: &str) -> u64 {
        self.0.get(&(group.to_owned(), name.to_owned())).copied().unwrap_or_default()
    }

    /// All counters of a group.
    pub fn group(&self, group: &str) -> BTreeMap<&str, u64> {
        self.0.iter().filter(|((of, _), _)| of == group).map(|((_, name), count)| (&name[..], *count)).collect()
    }
}

#[test]
fn a_ledger_is_read_as_it_is_shown() {
    let lines =
        ["ready: ", "packets            12  query 8, malformed ip 4", "kernel     received 14, dropped 2", "made  9"];
    let counts = Counts::last(&lines);
    let counted = [("packets", "total"), ("packets", "malformed ip"), ("kernel", "dropped"), ("made", "total")];
    assert_eq!(counted.map(|(group, name)| counts.of(group, name)), [12, 4, 2, 9]);
    assert_eq!(counts.group("packets").len(), 3);
}
