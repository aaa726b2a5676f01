//! The sensor as it runs, with all its processes, and what goes wrong around it. These tests need root and iproute2, and
//! say so when they skip.
//!
//! Each has a network namespace of its own, with two users that exist nowhere else, and a spool below the system's
//! directory for temporary files. However it ends, its processes are killed by their ids, then everything else goes.

#[cfg(target_arch = "x86_64")]
mod confined;
mod daemon;
mod disk;
mod kill;
mod monitoring;
mod service;
mod settings;
mod top;
mod upload;
mod users;
mod views;
#[cfg(target_arch = "x86_64")]
mod would_send;

use crate::{namespace::Namespace, program::SENSOR, synthetic::Synthetic};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, Permissions},
    io::{BufRead, BufReader},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Numbers that no system gives to its users, and their names.
const CAPTURE_USER: (&str, u32) = ("sie-test-capture", 3_059_903);
const UPLOAD_USER: (&str, u32) = ("sie-test-upload", 3_059_904);

/// How long something is waited for that happens at once when nothing else runs. Only a test that fails waits so long.
const SOON: Duration = Duration::from_secs(30);
/// What leaving may take: two seconds are the aim of a release build, which tests/kill tries. A build without optimisation
/// beside other work only must not hang.
const LEAVING: Duration = Duration::from_secs(if cfg!(debug_assertions) { 12 } else { 2 });

/// Waits until `look` gives something, for a while.
#[track_caller]
fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let by = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < by, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Run in mount and network namespaces of its own: the users get their names, the files that a test makes are those of /etc,
/// its system-run is /run, and where it listens, /dev/log is there.
const PREPARE: &str = r#"
    mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/group" /etc/group || exit 99
    for file in hosts nsswitch.conf resolv.conf; do
        [ ! -e "$0/$file" ] || [ ! -e "/etc/$file" ] || mount --bind "$0/$file" "/etc/$file" || exit 99
    done
    if [ -d "$0/system-run" ]; then
        mount --bind "$0/system-run" /run || exit 99
    fi
    if [ -S "$0/log" ]; then
        mount -t tmpfs sie-test /dev && mknod -m 666 /dev/null c 1 3 && ln -s "$0/log" /dev/log || exit 99
    fi
    exec "$@""#;

/// Where a sensor runs: an interface a0, at which what is sent on b0 arrives, and a spool.
struct World {
    namespace: Namespace,
    directory: PathBuf,
}

impl World {
    fn new() -> Option<World> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let namespace = Namespace::new(1)?;
        for end in ["a0", "b0"] {
            namespace.link(&["set", end, "mtu", "9000"]); // the longest frames are longer than usual
        }
        let name = format!("sie-faults-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let world = World { namespace, directory: std::env::temp_dir().join(name) };
        fs::create_dir(&world.directory).unwrap();
        // Every user gets there, whatever the umask.
        fs::set_permissions(&world.directory, Permissions::from_mode(0o755)).unwrap();
        world.make_spool();
        world.name_users();
        world.configure(&[]);
        Some(world)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn make_spool(&self) {
        fs::create_dir(self.path("spool")).unwrap();
        self.own_spool();
    }

    fn own_spool(&self) {
        chown(self.path("spool"), Some(CAPTURE_USER.1), Some(CAPTURE_USER.1)).unwrap();
        fs::set_permissions(self.path("spool"), Permissions::from_mode(0o2770)).unwrap();
    }

    /// The users' entries, for the sensor alone: [`PREPARE`] puts them over the system's.
    fn name_users(&self) {
        let (one, other) = (CAPTURE_USER, UPLOAD_USER);
        let entry = |(name, id): (&str, u32)| format!("{name}:x:{id}:{id}::/:/bin/false\n");
        let passwd = fs::read_to_string("/etc/passwd").unwrap() + "\n" + &entry(one) + &entry(other);
        let groups = format!("\n{}:x:{}:{}\n{}:x:{}:\n", one.0, one.1, other.0, other.0, other.1);
        fs::write(self.path("passwd"), passwd).unwrap();
        fs::write(self.path("group"), fs::read_to_string("/etc/group").unwrap() + &groups).unwrap();
    }

    /// Writes the configuration, with these settings over the usual ones.
    fn configure(&self, sets: &[(&str, &str)]) {
        let (spool, status_socket) = (self.path("spool"), self.path("run/status.sock"));
        let mut settings = BTreeMap::from([
            ("interface", "a0"),
            ("DNSQR_RES_ADDRS", "192.0.2.53, 2001:db8:53::53"),
            ("DNSQR_QUERY_TIMEOUT", "5"),
            ("spooldir", spool.to_str().unwrap()),
            ("status_socket", status_socket.to_str().unwrap()),
            ("user", CAPTURE_USER.0),
            ("upload_user", UPLOAD_USER.0),
            ("login", "nobody"),
            ("host_name", "test"),
            ("rotate_seconds", "1"),
            ("min_free_kbytes", "0"),
            ("max_spool_size_kbytes", "0"),
            ("log_level", "debug"),
        ]);
        settings.extend(sets.iter().copied());
        let lines: Vec<String> = settings.iter().map(|(name, value)| format!("{name}=\"{value}\"\n")).collect();
        fs::write(self.path("config"), lines.concat()).unwrap();
    }

    /// The program with these arguments, in the namespace, with the users there.
    fn inside(&self, arguments: &[&str]) -> Command {
        self.inside_by(&[], arguments)
    }

    /// The same, executed by another one.
    fn inside_by(&self, other: &[&str], arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace.0, "sh", "-c", PREPARE]);
        command.arg(&self.directory).args(other).arg(SENSOR).args(arguments);
        command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC").env_remove("JOURNAL_STREAM");
        command.stdin(Stdio::null());
        command
    }

    /// `run` with the configuration as it stands.
    fn run(&self, arguments: &[&str]) -> Command {
        self.run_by(&[], arguments)
    }

    /// The same, executed by another program.
    fn run_by(&self, other: &[&str], arguments: &[&str]) -> Command {
        let config = self.path("config");
        self.inside_by(other, &[&["run", "-c", config.to_str().unwrap()], arguments].concat())
    }

    /// A sensor that is ready.
    #[track_caller]
    fn start(&self) -> Sensor {
        let sensor = self.begin();
        sensor.says("ready: ");
        sensor
    }

    /// A sensor that has just been started.
    fn begin(&self) -> Sensor {
        Sensor::start(self.run(&[]))
    }

    /// Published files of a stage.
    fn files(&self, stage: &str) -> BTreeSet<PathBuf> {
        let directory = self.path("spool").join(stage).join("ch202");
        let Ok(entries) = fs::read_dir(directory) else { return BTreeSet::new() };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        paths.filter(|path| path.extension().is_some_and(|kind| kind == "nmsg")).collect()
    }

    /// Part files.
    fn parts(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.path("spool/new/ch202")) else { return Vec::new() };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        paths.filter(|path| path.extension().is_some_and(|kind| kind == "part")).collect()
    }

    /// Transactions in all files that wait; everything published waits, and every file must be whole.
    #[track_caller]
    fn waiting(&self) -> u64 {
        assert_eq!(self.files("new"), BTreeSet::new());
        self.files("waiting").iter().map(|path| payloads(path).unwrap()).sum()
    }

    fn send(&self, rate: u64) -> Load {
        Load::start(&self.namespace, frames(), rate)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Ok(pids) = Command::new("ip").args(["netns", "pids", &self.namespace.0]).output() {
            for pid in String::from_utf8_lossy(&pids.stdout).lines().filter_map(|line| line.parse().ok()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// How many payloads a file has, if a reader has nothing to say against it. None if it is not there any more.
fn payloads(path: &Path) -> Option<u64> {
    let file = fs::File::open(path).ok()?;
    let mut reader = sie_dns_sensor::nmsg::reader::Reader::new(file);
    let mut payloads = 0;
    while let Some(_payload) = reader.next().unwrap_or_else(|error| panic!("{}: {error}", path.display())) {
        payloads += 1;
    }
    assert!(payloads > 0, "{} is empty", path.display());
    Some(payloads)
}

/// Everything that may be sent, all kinds of transactions, as Ethernet frames.
fn frames() -> Vec<Vec<u8>> {
    let file = Synthetic::new(4000).file;
    let mut rest = &file[24..];
    let mut frames = Vec::new();
    while let Some((header, after)) = rest.split_at_checked(16) {
        let len = u32::from_le_bytes(header[8..12].try_into().unwrap()) as usize;
        let (packet, after) = after.split_at(len);
        let kind: [u8; 2] = if packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
        frames.push([&[2; 12][..], &kind, packet].concat());
        rest = after;
    }
    frames
}

/// A thread that sends frames on b0, over and over.
pub struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// So many packets a second.
    pub fn start(namespace: &Namespace, frames: Vec<Vec<u8>>, rate: u64) -> Load {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counter) = (stop.clone(), sent.clone());
        let file = fs::File::open(format!("/run/netns/{}", namespace.0)).unwrap();
        let thread = thread::spawn(move || {
            nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let mut device = pcap::Capture::from_device("b0").unwrap().open().unwrap();
            let started = Instant::now();
            let mut frames = frames.iter().cycle();
            let mut tried = 0;
            while !stopped.load(Ordering::Relaxed) {
                let due = (started.elapsed().as_nanos() * u128::from(rate) / 1_000_000_000) as u64;
                for _ in tried..due {
                    // With the interface down, or gone, there is nobody to send to.
                    let is_sent = device.sendpacket(&frames.next().unwrap()[..]).is_ok();
                    counter.fetch_add(is_sent.into(), Ordering::Relaxed);
                }
                tried = due;
                thread::sleep(Duration::from_millis(2));
            }
        });
        Load { stop, sent, thread: Some(thread) }
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends it; how many were sent.
    fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        self.sent()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

/// A sensor that runs.
struct Sensor {
    process: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Sensor {
    fn start(mut command: Command) -> Sensor {
        let mut process = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = log.clone();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        Sensor { process, log }
    }

    fn pid(&self) -> i32 {
        self.process.id() as i32
    }

    /// Its children that run, with their roles.
    fn children(&self) -> BTreeMap<i32, Role> {
        children(self.pid())
    }

    /// The one child with this role, once there is one.
    #[track_caller]
    fn child(&self, role: Role) -> i32 {
        wait_for("one child", SOON, || {
            let all = self.children();
            let mut of_role = all.iter().filter(|(_, other)| **other == role);
            of_role.next().filter(|_| of_role.next().is_none()).map(|(pid, _)| *pid)
        })
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    fn lines(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a line with these words.
    #[track_caller]
    fn says(&self, words: &str) -> String {
        self.says_after(0, words)
    }

    /// The same among the lines behind the first so many.
    #[track_caller]
    fn says_after(&self, skip: usize, words: &str) -> String {
        let by = Instant::now() + SOON;
        loop {
            let lines = self.lines();
            if let Some(line) = lines.iter().skip(skip).find(|line| line.contains(words)) {
                return line.clone();
            }
            assert!(Instant::now() < by, "it never says {words:?}:\n{}", lines.join("\n"));
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends the signal, and it leaves in order, in time.
    #[track_caller]
    fn leaves(&mut self, signal: Signal) -> Account {
        let pids: Vec<i32> = self.children().into_keys().collect();
        let told = Instant::now();
        self.signal(signal);
        assert!(self.ends(LEAVING).success(), "{}", self.lines().join("\n"));
        println!("left {} ms after {signal}", told.elapsed().as_millis());
        assert!(pids.iter().all(|pid| !is_alive(*pid)));
        self.has_no_bug();
        self.account()
    }

    /// Waits for its end.
    #[track_caller]
    fn ends(&mut self, limit: Duration) -> ExitStatus {
        let by = Instant::now() + limit;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                // Its last lines may still be on their way.
                wait_for("the end of the log", SOON, || (Arc::strong_count(&self.log) == 1).then_some(()));
                return status;
            }
            assert!(Instant::now() < by, "it does not end within {limit:?}:\n{}", self.lines().join("\n"));
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Nothing in the log that must never be there.
    #[track_caller]
    fn has_no_bug(&self) {
        let lines = self.lines();
        let bug = lines.iter().find(|line| ["panicked", "does not balance"].iter().any(|bug| line.contains(bug)));
        assert!(bug.is_none(), "{}", lines.join("\n"));
    }

    /// The last account in the log.
    fn account(&self) -> Account {
        Account::of(&self.lines())
    }
}

impl Drop for Sensor {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("{}", self.lines().join("\n"));
        }
        for pid in self.children().into_keys().chain([self.pid()]) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = self.process.wait();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Capture,
    Upload,
    Views,
}

fn children(supervisor: i32) -> BTreeMap<i32, Role> {
    let pids = fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children")).unwrap_or_default();
    let pids = pids.split_whitespace().filter_map(|pid| pid.parse().ok());
    pids.filter_map(|pid: i32| Some((pid, role(pid)?))).collect()
}

/// What a child is, once it runs and as long as it does.
fn role(pid: i32) -> Option<Role> {
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let roles = [
        (Role::Capture, "sie-dns-sensor: capture\0"),
        (Role::Upload, "sie-dns-sensor: upload\0"),
        (Role::Views, "sie-dns-sensor: views\0"),
    ];
    roles.iter().find(|(_, name)| command.starts_with(name.as_bytes())).map(|(role, _)| *role)
}

/// Whether a process runs; one that has ended and nobody has asked for does not.
fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// A ledger out of the log.
#[derive(Debug)]
struct Account(HashMap<String, u64>);

impl Account {
    fn of(lines: &[String]) -> Account {
        let mut counts = HashMap::new();
        for line in lines {
            let Some((section, rest)) = line.strip_prefix("sie: ").and_then(|line| line.split_once(' ')) else {
                continue;
            };
            if !["packets", "queries", "responses", "kernel", "gaps", "written"].contains(&section) {
                continue;
            }
            if section == "packets" {
                counts.clear();
            }
            let mut rest = rest.trim();
            if let Some((total, parts)) = rest.split_once("  ").filter(|(total, _)| total.parse::<u64>().is_ok()) {
                counts.insert(section.to_string(), total.parse().unwrap());
                rest = parts;
            }
            for (name, count) in rest.split(", ").filter_map(|part| part.rsplit_once(' ')) {
                counts.insert(format!("{section}.{name}"), count.parse().unwrap_or_default());
            }
        }
        Account(counts)
    }

    fn count(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }
}
