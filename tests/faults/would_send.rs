//! What would be sent, as `read --would-send` shows it, beside what a sensor writes.

use super::{
    CAPTURE_USER, SOON, World,
    confined::{can_neither_open_sockets_nor_execute, has_nothing_left, open},
    frames, wait_for,
};
use crate::{build, program::SENSOR, sensor::Running};
use nix::{errno::Errno, sys::signal::Signal};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

/// How long it waits until a query counts as unanswered, and it is shown.
const TIMEOUT: (&str, &str) = ("DNSQR_QUERY_TIMEOUT", "1");
const UNTIL_ALL_TIMED_OUT: Duration = Duration::from_millis(2000);

/// `read --would-send` that captures.
struct Preview {
    process: Running,
    stdout: Option<ChildStdout>,
    shown: PathBuf,
    said: PathBuf,
}

impl Preview {
    /// With these arguments, once it captures. What it shows goes to a file of this name, or to who reads it.
    fn start(world: &World, name: &str, to_file: bool, arguments: &[&str]) -> Preview {
        let config = world.path("config");
        let command =
            world.inside(&[&["read", "--would-send", "--config", config.to_str().unwrap()], arguments].concat());
        Preview::of(world, name, to_file, command)
    }

    fn of(world: &World, name: &str, to_file: bool, mut command: Command) -> Preview {
        let (shown, said) = (world.path(name), world.path(&format!("{name}.said")));
        let stdout = if to_file { File::create(&shown).unwrap().into() } else { Stdio::piped() };
        let mut process = command.stdout(stdout).stderr(File::create(&said).unwrap()).spawn().unwrap();
        let stdout = process.stdout.take();
        let preview = Preview { process: Running::new(process), stdout, shown, said };
        wait_for("it captures", SOON, || preview.said().contains("capturing from ").then_some(()));
        preview
    }

    fn pid(&self) -> i32 {
        self.process.pid().as_raw()
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap()
    }

    fn shown(&self) -> Vec<u8> {
        fs::read(&self.shown).unwrap()
    }

    #[track_caller]
    fn ended(&mut self) -> ExitStatus {
        let ended = self.process.ended(SOON);
        ended.unwrap_or_else(|| panic!("it does not end: {}", self.said()))
    }

    /// It ends in order, at a signal.
    #[track_caller]
    fn leaves(&mut self, signal: Signal) {
        self.process.signal(signal);
        assert_eq!(self.ended().code(), Some(0), "{}", self.said());
        assert!(!self.said().contains("does not balance"), "{}", self.said());
    }
}

impl World {
    /// Sends each frame once on b0.
    fn send_once(&self, frames: &[Vec<u8>]) {
        self.namespace.inside(|| {
            let mut device = pcap::Capture::from_device("b0").unwrap().open().unwrap();
            for some in frames.chunks(50) {
                some.iter().for_each(|frame| device.sendpacket(&frame[..]).unwrap());
                thread::sleep(Duration::from_millis(5));
            }
        });
    }

    /// All there is below its directory.
    fn everything(&self) -> BTreeSet<PathBuf> {
        fn walk(path: &Path, found: &mut BTreeSet<PathBuf>) {
            for entry in fs::read_dir(path).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    walk(&entry.path(), found);
                }
                found.insert(entry.path());
            }
        }
        let mut found = BTreeSet::new();
        walk(&self.directory, &mut found);
        found
    }

    /// How many have a0 take frames for others.
    fn promiscuity(&self) -> u32 {
        let link = Command::new("ip").args(["-n", &self.namespace.0, "-d", "link", "show", "a0"]).output().unwrap();
        let words = String::from_utf8(link.stdout).unwrap();
        let count = words.split_whitespace().skip_while(|word| *word != "promiscuity").nth(1);
        count.unwrap_or_else(|| panic!("{words}")).parse().unwrap()
    }

    /// Keeps a copy of the program where every user can execute it.
    fn program(&self) -> PathBuf {
        let program = self.path("program");
        fs::copy(SENSOR, &program).unwrap();
        program
    }
}

/// A query of the resolver, in a frame, that nobody answers.
fn query(number: u16) -> Vec<u8> {
    let packet = build::udp(build::resolver(), build::server(), &build::query(number, "example.net"));
    [&[2; 12][..], &[0x08, 0x00], &packet].concat()
}

/// Transactions as JSON but for their times, which each socket takes by itself; sorted.
fn timeless(lines: &[u8]) -> Vec<String> {
    let lines = std::str::from_utf8(lines).unwrap().lines();
    let mut all: Vec<String> = lines
        .map(|line| {
            let mut object: Value = serde_json::from_str(line).unwrap();
            object.as_object_mut().unwrap().remove("time");
            let message = object["message"].as_object_mut().unwrap();
            message.retain(|key, _| !(key.contains("_time_") || key == "delay" || key == "timeout"));
            object.to_string()
        })
        .collect();
    all.sort();
    all
}

#[test]
fn what_would_be_sent_is_what_a_sensor_beside_it_writes() {
    let Some(world) = World::new() else { return };
    let excluded: Vec<String> = (1000..1200).map(|number| format!("n{number}.example.net")).collect();
    let excluded = excluded.join(":");
    let sets = [
        TIMEOUT,
        ("DNSQR_ZERO_RESOLVER_ADDRESS", "1"),
        ("DNSQR_FILTER_QNAMES_EXCLUDE", &excluded),
        ("loss_record", "no"),
    ];
    world.configure(&sets);
    let mut sensor = world.start();
    let mut shown = Preview::start(&world, "json", true, &["-f", "json"]);
    let mut packets = Preview::start(&world, "pcap", true, &["-i", "a0", "-f", "pcap"]);
    world.send_once(&frames());
    thread::sleep(UNTIL_ALL_TIMED_OUT);
    shown.leaves(Signal::SIGINT);
    packets.leaves(Signal::SIGTERM);
    sensor.leaves(Signal::SIGTERM);

    let mut files = Command::new(SENSOR);
    files.args(["read", "-f", "json"]).args(world.files("new").into_iter().chain(world.files("waiting")));
    let written = timeless(&files.output().unwrap().stdout);
    let seen = timeless(&shown.shown());
    assert!(seen.len() > 3500, "{}", seen.len());
    assert_eq!(seen.len(), written.len(), "{}", shown.said());
    assert!(seen == written);

    for line in &seen {
        let transaction: Value = serde_json::from_str(line).unwrap();
        let message = &transaction["message"];
        assert!(["0.0.0.0", "::"].contains(&message["query_ip"].as_str().unwrap()), "{line}");
        let name = message["qname"].as_str().unwrap();
        assert!(!excluded.split(':').any(|excluded| name.trim_end_matches('.') == excluded), "{line}");
    }
    let packets = packets.shown();
    assert!(packets.len() > 100_000);
    let resolver: [&[u8]; 2] = [&[192, 0, 2, 53], &[0x20, 1, 0xd, 0xb8, 0, 0x53, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x53]];
    for address in resolver {
        assert!(!packets.windows(address.len()).any(|bytes| bytes == address), "{address:?}");
    }
    let made = shown.said().lines().find_map(|line| line.strip_prefix("made ")?.trim().parse().ok());
    assert_eq!(made, Some(seen.len()), "{}", shown.said());
}

#[test]
fn who_looks_on_has_no_privilege_no_socket_but_the_rings_and_leaves_no_file() {
    let Some(world) = World::new() else { return };
    world.configure(&[TIMEOUT]);
    let mut preview = Preview::start(&world, "shown", true, &[]);
    let before = world.everything();
    let pid = preview.pid();
    has_nothing_left(pid, CAPTURE_USER, &[CAPTURE_USER.1]);
    can_neither_open_sockets_nor_execute(pid, &[libc::AF_INET, libc::AF_INET6, libc::AF_UNIX]);
    can_neither_open_sockets_nor_execute(pid, &[libc::AF_PACKET, libc::AF_NETLINK]);
    if fs::read_to_string("/sys/kernel/security/lsm").is_ok_and(|modules| modules.contains("landlock")) {
        for path in ["spool/x", "x"] {
            let path = world.path(path);
            let created = open(pid, path.to_str().unwrap(), libc::O_WRONLY | libc::O_CREAT);
            assert_eq!(created, Err(Errno::EACCES));
        }
    }
    world.send_once(&frames());
    thread::sleep(UNTIL_ALL_TIMED_OUT);

    let open_files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let open_files: Vec<PathBuf> = open_files.map(|entry| fs::read_link(entry.unwrap().path()).unwrap()).collect();
    // Of its network, that is: it inherits what other tests hold open in theirs.
    let tables = ["packet", "raw", "raw6", "tcp", "tcp6", "udp", "udp6", "unix", "netlink"];
    let sockets = tables.map(|table| {
        let rows = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        let is_open = |inode: &&str| open_files.contains(&PathBuf::from(format!("socket:[{inode}]")));
        rows.split_whitespace().filter(is_open).count()
    });
    assert_eq!(sockets, [1, 0, 0, 0, 0, 0, 0, 0, 0]);
    let of_spool = open_files.iter().find(|path| path.starts_with(world.path("spool")));
    assert_eq!(of_spool, None);
    assert_eq!(world.promiscuity(), 0);
    preview.leaves(Signal::SIGINT);
    assert!(payloads_shown(&preview.shown()) > 3500);
    assert_eq!(world.everything(), before);
}

/// Transactions as people read them.
fn payloads_shown(text: &[u8]) -> usize {
    String::from_utf8_lossy(text).lines().filter(|line| line.starts_with("type: ")).count()
}

#[test]
fn an_interface_is_promiscuous_where_the_settings_say_so() {
    let Some(world) = World::new() else { return };
    world.configure(&[TIMEOUT, ("interface", "a0+")]);
    let _preview = Preview::start(&world, "shown", true, &["-i", "a0"]);
    assert_eq!(world.promiscuity(), 1);
}

#[test]
fn a_query_is_shown_when_it_has_waited_and_enough_is_enough() {
    let Some(world) = World::new() else { return };
    world.configure(&[TIMEOUT]);
    let mut preview = Preview::start(&world, "shown", false, &["-f", "json", "--type", "unanswered", "-c", "3"]);
    let mut lines = BufReader::new(preview.stdout.take().unwrap()).lines().map(Result::unwrap);
    world.send_once(&[query(1)]);
    let line: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    assert_eq!(line["message"]["type"], "UDP_UNANSWERED_QUERY");
    assert_eq!(preview.process.ended(Duration::ZERO), None);
    world.send_once(&[query(2), query(3), query(4), query(5)]);
    assert_eq!(lines.count(), 2);
    assert_eq!(preview.ended().code(), Some(0), "{}", preview.said());
}

#[test]
fn queries_that_wait_at_the_end_are_shown_as_a_sensor_that_ends_writes_them() {
    let Some(world) = World::new() else { return };
    world.configure(&[("DNSQR_QUERY_TIMEOUT", "60")]);
    let mut preview = Preview::start(&world, "shown", true, &["--set", "upload=no"]);
    assert!(preview.said().contains("upload is off: "), "{}", preview.said());
    world.send_once(&[query(1), query(2)]);
    preview.leaves(Signal::SIGINT);
    assert_eq!(payloads_shown(&preview.shown()), 2);
    assert!(preview.said().contains("at exit 2"), "{}", preview.said());
}

#[test]
fn a_reader_that_is_gone_ends_it_quietly() {
    let Some(world) = World::new() else { return };
    world.configure(&[TIMEOUT]);
    let mut preview = Preview::start(&world, "shown", false, &[]);
    let said = preview.said();
    drop(preview.stdout.take());
    world.send_once(&[query(1)]);
    assert_eq!(preview.ended().code(), Some(0));
    assert_eq!(preview.said(), said);
}

#[test]
fn what_a_slow_reader_makes_it_lose_is_said_and_a_second_signal_ends_one_that_is_stuck() {
    let Some(world) = World::new() else { return };
    world.configure(&[TIMEOUT, ("capture_buffer_kbytes", "1024")]);
    let mut preview = Preview::start(&world, "shown", false, &[]);
    let mut stuck = Preview::start(&world, "stuck", false, &[]);
    let load = world.send(10_000);
    wait_for("packets", SOON, || (load.sent() > 20_000).then_some(()));
    drop(load);
    stuck.process.signal(Signal::SIGINT);
    thread::sleep(Duration::from_millis(500));
    assert_eq!(stuck.process.ended(Duration::ZERO), None);
    stuck.process.signal(Signal::SIGINT);
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&stuck.ended()), Some(libc::SIGINT));

    let mut stdout = preview.stdout.take().unwrap();
    let reader = thread::spawn(move || {
        let mut shown = Vec::new();
        stdout.read_to_end(&mut shown).map(|_| shown).unwrap()
    });
    preview.leaves(Signal::SIGINT);
    assert!(payloads_shown(&reader.join().unwrap()) > 0);
    let said = preview.said();
    assert!(said.contains(" packets were lost, so there was more than is shown"), "{said}");
    assert!(said.lines().any(|line| line.starts_with("kernel") && line.contains(", dropped ")), "{said}");
}

#[test]
fn a_lost_interface_is_said_and_the_last_one_ends_it() {
    let Some(world) = World::new() else { return };
    world.namespace.add_pair(1);
    world.configure(&[TIMEOUT]);
    let mut preview = Preview::start(&world, "shown", true, &["-i", "a0", "-i", "a1"]);
    assert!(preview.said().contains("capturing from a0, a1; "), "{}", preview.said());
    world.namespace.link(&["del", "a1"]);
    wait_for("the loss", SOON, || preview.said().contains("a1: no packets come from it any more").then_some(()));
    world.send_once(&[query(1)]);
    wait_for("the query", SOON, || (payloads_shown(&preview.shown()) == 1).then_some(()));
    world.namespace.link(&["del", "a0"]);
    assert_eq!(preview.ended().code(), Some(1), "{}", preview.said());
}

#[test]
fn why_nothing_can_be_seen_is_said() {
    let Some(world) = World::new() else { return };
    let (config, program) = (world.path("config"), world.program());
    let read = ["read", "--would-send", "--config", config.to_str().unwrap()];
    let fails = |mut command: Command, code: i32, words: &str| {
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(words) && output.stdout.is_empty(), "{said}");
    };
    fails(world.inside(&[&read[..], &["-i", "nosuch0"]].concat()), 2, "cannot capture on nosuch0: no such interface");
    fails(world.inside(&[&read[..], &["--set", "user=nosuchuser"]].concat()), 78, "there is no user \"nosuchuser\"");
    fails(world.inside(&[&read[..], &["--set", "intreface=a0"]].concat()), 78, "intreface: unknown");
    fails(world.inside(&[&read[..3], &["/nonexistent"]].concat()), 78, "/nonexistent: cannot be read");

    let unprivileged = |capabilities: &str| {
        let mut command = Command::new("ip");
        let id = CAPTURE_USER.1.to_string();
        command.args([
            "netns",
            "exec",
            &world.namespace.0,
            "setpriv",
            "--reuid",
            &id,
            "--regid",
            &id,
            "--clear-groups",
        ]);
        command.args(["--inh-caps", capabilities, "--ambient-caps", capabilities]).arg(&program).args(read);
        command
    };
    fails(unprivileged("-all"), 2, "cannot capture on a0: no permission (");

    // The capability is enough, and is gone afterwards.
    let mut preview = Preview::of(&world, "shown", true, unprivileged("+net_raw"));
    assert_eq!(crate::inject::status(preview.pid(), "CapEff"), "0000000000000000");
    preview.leaves(Signal::SIGTERM);
}
