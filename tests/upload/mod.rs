//! The uploader as it runs, `sie-dns-sensor upload`, confined and as its own user, against real servers, and what goes
//! wrong between the two. These tests need root and iproute2, and say so when they skip.
//!
//! Each has a network namespace of its own, with users that exist nowhere else. Whatever happens: each file is at the
//! server, whole and under its name, or still here.

mod alone;
mod changes;
mod cuts;
mod doctor;
mod input;
mod names;
mod probe;
mod proxy;
mod refusals;
mod servers;

use crate::{
    namespace::Namespace,
    program::{SENSOR, Scratch},
    sensor::{Directory, Running},
    sshd::{Setup, Sshd, make_key, public_half},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, Permissions},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Numbers that no system gives to its users, and their names.
const CAPTURE: (&str, u32) = ("sie-test-capture", 3_059_903);
const UPLOADER: (&str, u32) = ("sie-test-upload", 3_059_904);
/// The account at the server.
const LOGIN: (&str, u32) = ("sie-test-login", 3_059_905);

/// After so long a run is stuck: more than any deadline of its own.
const STUCK: Duration = Duration::from_secs(120);

/// Run in mount and network namespaces of its own: the users get their names, the resolver its servers, and /mnt is a home
/// below directories that are root's alone.
const PREPARE: &str = r#"
    for name in passwd group resolv.conf; do mount --bind "$0/$name" "/etc/$name" || exit 99; done
    mount --bind "$0/home" /mnt || exit 99
    exec "$@""#;

/// How an account may be used.
const ANYTHING: &str = "restrict";
const RSYNC_ONLY: &str = r#"command="rrsync -wo .",restrict"#;
const SFTP_ONLY: &str = r#"command="internal-sftp",restrict"#;

/// A sensor's spool, and a server's home, both empty.
struct World {
    namespace: Namespace,
    directory: Directory,
    keys: Scratch,
}

impl World {
    fn new() -> Option<World> {
        let namespace = Namespace::empty()?;
        namespace.link(&["set", "lo", "up"]);
        let world = World { namespace, directory: Directory::new(), keys: Scratch::new() };
        world.name_users();
        fs::write(world.path("resolv.conf"), "nameserver 127.0.0.1\n").unwrap();
        for stage in ["new", "waiting"] {
            fs::create_dir_all(world.path("spool").join(stage).join("ch202")).unwrap();
            let above = world.path("spool").join(stage);
            for directory in [&world.path("spool"), &above, &above.join("ch202")] {
                give(directory, CAPTURE.1, 0o2770);
            }
        }
        for home in ["home", "home/up"] {
            fs::create_dir(world.path(home)).unwrap();
        }
        give(&world.path("home/up"), LOGIN.1, 0o755);
        world.configure(&[]);
        let config = world.path("config");
        let made = world.inside(&["gen-key", "-c", config.to_str().unwrap()]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Some(world)
    }

    /// With a server that has one key and lets the sensor's key do this much.
    fn with_server(may: &str) -> Option<(World, Sshd)> {
        let world = World::new()?;
        let server = world.serve(may, &["-t ed25519"], "")?;
        Some((world, server))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.0.join(name)
    }

    fn name_users(&self) {
        let home = self.path("home");
        let entry = |(name, id): (&str, u32), shell: &str| format!("{name}:x:{id}:{id}::{}:{shell}\n", home.display());
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let users = [entry(CAPTURE, "/bin/false"), entry(UPLOADER, "/bin/false"), entry(LOGIN, "/bin/sh")];
        fs::write(self.path("passwd"), format!("{passwd}\n{}", users.concat())).unwrap();
        let groups = format!(
            "{}:x:{}:{}\n{}:x:{}:\n{}:x:{}:\n",
            CAPTURE.0, CAPTURE.1, UPLOADER.0, UPLOADER.0, UPLOADER.1, LOGIN.0, LOGIN.1
        );
        fs::write(self.path("group"), format!("{}\n{groups}", fs::read_to_string("/etc/group").unwrap())).unwrap();
    }

    /// Writes the configuration, with these settings over the usual ones.
    fn configure(&self, sets: &[(&str, &str)]) {
        let (spool, known, key) = (self.path("spool"), self.path("known_hosts"), self.path("keys/upload"));
        let mut settings = BTreeMap::from([
            ("spooldir", spool.to_str().unwrap()),
            ("knownhosts", known.to_str().unwrap()),
            ("uploadkey", key.to_str().unwrap()),
            ("user", CAPTURE.0),
            ("upload_user", UPLOADER.0),
            ("login", LOGIN.0),
            ("host_name", "test"),
            ("min_free_kbytes", "0"),
            ("log_level", "debug"),
        ]);
        settings.extend(sets.iter().copied());
        let lines: Vec<String> = settings.iter().map(|(name, value)| format!("{name}=\"{value}\"\n")).collect();
        fs::write(self.path("config"), lines.concat()).unwrap();
    }

    /// Sends to this port of 127.0.0.1, with these settings besides.
    fn send_to(&self, port: u16, sets: &[(&str, &str)]) {
        let server = format!("127.0.0.1:{port}");
        self.configure(&[&[("submitserver", server.as_str())], sets].concat());
    }

    /// The program with these arguments, in the namespaces.
    fn inside(&self, arguments: &[&str]) -> Command {
        let [program, words @ ..] = &self.wrapper()[..] else { unreachable!() };
        let mut command = Command::new(program);
        command.args(words).arg(SENSOR).args(arguments);
        command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC").env_remove("JOURNAL_STREAM");
        command.stdin(Stdio::null());
        command
    }

    /// The words in front of a command that is to run in the namespaces.
    fn wrapper(&self) -> Vec<String> {
        let words = ["ip", "netns", "exec", &self.namespace.0, "sh", "-c", PREPARE];
        words.into_iter().map(str::to_owned).chain([self.directory.0.display().to_string()]).collect()
    }

    /// Starts a server with these kinds of keys, which are known, and has the sensor send to it.
    fn serve(&self, may: &str, kinds: &[&str], extra: &str) -> Option<Sshd> {
        let key = |kind: &&str| match self.keys.path(&kind.replace(' ', "")) {
            known if known.exists() => known,
            _ => make_key(&self.keys, &kind.replace(' ', ""), kind),
        };
        let host_keys: Vec<PathBuf> = kinds.iter().map(key).collect();
        let known: String = host_keys.iter().map(|key| format!("* {}\n", public_half(key))).collect();
        fs::write(self.path("known_hosts"), known).unwrap();
        let authorized = format!("{may} {}", fs::read_to_string(self.path("keys/upload.pub")).unwrap());
        let wrapper = self.wrapper();
        let setup = Setup { host_keys, authorized, extra, wrapper, ..Setup::default() };
        let server = self.namespace.inside(|| Sshd::start(setup))?;
        self.send_to(server.port, &[]);
        Some(server)
    }

    /// A port of the namespace at which nobody listens.
    fn free_port(&self) -> u16 {
        self.namespace.inside(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port())
    }

    /// Publishes a file as capture does. Its bytes are the same nowhere.
    fn publish(&self, name: &str, size: usize) -> Sample {
        let bytes: Vec<u8> = (name.len() as u64..)
            .flat_map(|number| number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes())
            .take(size)
            .collect();
        let path = self.path("spool/new/ch202").join(name);
        let part = path.with_file_name(format!(".{name}.part"));
        fs::write(&part, &bytes).unwrap();
        give(&part, CAPTURE.1, 0o660);
        fs::rename(part, path).unwrap();
        Sample { name: name.to_owned(), bytes }
    }

    /// Some files of several sizes.
    fn publish_some(&self) -> Vec<Sample> {
        [("a.nmsg", 1), ("b.nmsg", 30_000), ("c.nmsg", 200_000)].map(|(name, size)| self.publish(name, size)).into()
    }

    /// A file here, if it is.
    fn here(&self, name: &str) -> Option<Vec<u8>> {
        ["new", "waiting"]
            .iter()
            .find_map(|stage| fs::read(self.path("spool").join(stage).join("ch202").join(name)).ok())
    }

    fn waiting(&self, name: &str) -> PathBuf {
        self.path("spool/waiting/ch202").join(name)
    }

    fn there(&self, name: &str) -> PathBuf {
        self.path("home/up/ch202").join(name)
    }

    /// Begins to upload.
    fn begin(&self, arguments: &[&str]) -> Uploader {
        let config = self.path("config");
        let mut command = self.inside(&[&["upload", "-c", config.to_str().unwrap()], arguments].concat());
        let (out, log) = (Directory::new(), Directory::new());
        let open = |directory: &Directory| File::create(directory.0.join("text")).unwrap();
        let child = command.stdout(open(&out)).stderr(open(&log)).spawn().unwrap();
        Uploader { process: Running::new(child), out, log, began: Instant::now() }
    }

    fn upload(&self, arguments: &[&str]) -> Run {
        self.begin(arguments).end()
    }

    /// Uploads once; nothing may be lost, however that went.
    #[track_caller]
    fn once(&self, samples: &[Sample]) -> Run {
        let run = self.upload(&["--once"]);
        self.nothing_is_lost(samples, &run);
        run
    }

    /// Uploads once; all of it arrives.
    #[track_caller]
    fn all_arrive(&self, samples: &[Sample]) -> Run {
        let run = self.once(samples);
        assert_eq!(run.code, 0, "{}", run.log);
        assert!(samples.iter().all(|sample| self.there(&sample.name).exists()), "{}", run.log);
        run
    }

    /// Uploads once; nothing arrives, and the log says why.
    #[track_caller]
    fn none_arrives(&self, samples: &[Sample], why: &str) -> Run {
        let run = self.once(samples);
        assert_eq!(run.code, 1, "{}", run.log);
        assert!(samples.iter().all(|sample| self.here(&sample.name).is_some()), "{}", run.log);
        let is_reason = |line: &str| line.contains("failed to upload /") && line.contains(why);
        assert!(run.log.lines().any(is_reason), "no {why:?} in:\n{}", run.log);
        run
    }

    /// What holds after every run: a file is at the server, whole and under its name, or here; one that is gone here was
    /// confirmed, and the log says so; what remains shows in the exit code, and one of it in the log, with a reason.
    #[track_caller]
    fn nothing_is_lost(&self, samples: &[Sample], run: &Run) {
        let log = &run.log;
        let mut remaining = Vec::new();
        for Sample { name, bytes } in samples {
            let (here, there) = (self.here(name), fs::read(self.there(name)).ok());
            let path = self.waiting(name);
            let is_said = log.lines().any(|line| line.ends_with(&format!("successfully uploaded {}", path.display())));
            assert!(there.as_ref().is_none_or(|there| there == bytes), "{name} is torn at the server\n{log}");
            assert!(here.as_ref().is_none_or(|here| here == bytes), "{name} is torn here\n{log}");
            assert!(here.is_some() || there.is_some(), "{name} is lost\n{log}");
            assert_eq!(here.is_none(), is_said, "{name}\n{log}");
            remaining.extend(here.map(|_| format!("failed to upload {}: ", path.display())));
        }
        assert_eq!(run.code, i32::from(!remaining.is_empty()), "{log}");
        assert!(remaining.is_empty() || remaining.iter().any(|words| log.contains(words)), "{log}");
        let is_fit = |character: char| character == '\n' || !character.is_control();
        assert!(log.chars().all(is_fit), "{log:?}");
        assert!(!log.contains("panicked"), "{log}");
    }

    /// Waits until nothing runs but the server: as long as a session is open, its rrsync lets no other in.
    #[track_caller]
    fn rest(&self) {
        wait_for("the end of all sessions", || {
            let pids = Command::new("ip").args(["netns", "pids", &self.namespace.0]).output().unwrap();
            (pids.stdout.iter().filter(|byte| **byte == b'\n').count() <= 1).then_some(())
        });
    }

    /// Names of all files at the server, hidden ones too.
    fn names_there(&self) -> BTreeSet<String> {
        let Ok(entries) = fs::read_dir(self.path("home/up/ch202")) else { return BTreeSet::new() };
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

/// A file as it was published.
#[derive(Clone)]
struct Sample {
    name: String,
    bytes: Vec<u8>,
}

/// An uploader that runs.
struct Uploader {
    process: Running,
    out: Directory,
    log: Directory,
    began: Instant,
}

impl Uploader {
    /// What it has said so far.
    fn log(&self) -> String {
        fs::read_to_string(self.log.0.join("text")).unwrap()
    }

    /// Waits for its end.
    #[track_caller]
    fn end(mut self) -> Run {
        let mut peak = 0;
        let status = loop {
            peak = peak.max(peak_kbytes(self.process.pid().as_raw()));
            if let Some(status) = self.process.ended(Duration::from_millis(10)) {
                break status;
            }
            assert!(self.began.elapsed() < STUCK, "it does not end:\n{}", self.log());
        };
        let log = self.log();
        let code = status.code().unwrap_or_else(|| panic!("{status}:\n{log}"));
        let out = fs::read_to_string(self.out.0.join("text")).unwrap();
        Run { code, log, out, peak_kbytes: peak, took: self.began.elapsed() }
    }
}

/// How a run went.
struct Run {
    code: i32,
    log: String,
    out: String,
    peak_kbytes: u64,
    took: Duration,
}

/// The most memory that the program has had, as long as it runs.
fn peak_kbytes(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or_default()
}

/// Gives a file to a user and the user's group.
fn give(path: &Path, id: u32, mode: u32) {
    chown(path, Some(id), Some(id)).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Waits until `look` gives something.
#[track_caller]
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let by = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < by, "not in time: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
