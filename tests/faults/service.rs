//! Signals, and what a service manager hears.

use super::{LEAVING, Load, Role, SOON, Sensor, World, wait_for};
use crate::build;
use nix::{
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::{Pid, mkfifo},
};
use std::{
    fs,
    io::Write,
    net::UdpSocket,
    os::unix::{fs::OpenOptionsExt, net::UnixDatagram},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A service manager, which hears what is sent to its socket.
struct Manager(UnixDatagram);

impl Manager {
    fn new(world: &World) -> Manager {
        let socket = UnixDatagram::bind(world.path("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        Manager(socket)
    }

    /// A sensor that is to feed its watchdog in this time.
    fn start(&self, world: &World, watchdog: Duration) -> Sensor {
        let mut command = world.run(&[]);
        command.env("NOTIFY_SOCKET", world.path("notify")).env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        Sensor::start(command)
    }

    fn hear(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        let len = self.0.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..len].to_vec()).unwrap())
    }

    /// The next that begins like this.
    #[track_caller]
    fn hears(&self, start: &str) -> String {
        wait_for(start, SOON, || self.hear().filter(|said| said.starts_with(start)))
    }

    /// All of a time.
    fn during(&self, time: Duration) -> Vec<String> {
        let by = Instant::now() + time;
        let mut heard = Vec::new();
        while Instant::now() < by {
            heard.extend(self.hear());
        }
        heard
    }
}

/// A sensor that reads its settings, and will as long as nobody writes to the list of names that it waits for.
fn reads_settings(world: &World) -> (Sensor, fs::File) {
    let list = world.path("names");
    mkfifo(&list, Mode::from_bits_truncate(0o600)).unwrap();
    world.configure(&[("DNSQR_FILTER_QNAMES_EXCLUDE_FILE", list.to_str().unwrap())]);
    let sensor = world.begin();
    let to_write = || fs::File::options().write(true).custom_flags(libc::O_NONBLOCK).open(&list).ok();
    let writer = wait_for("somebody who reads the list", SOON, to_write);
    (sensor, writer)
}

#[test]
fn a_hup_before_the_settings_are_read_is_obeyed_when_they_are() {
    let Some(world) = World::new() else { return };
    let (mut sensor, mut list) = reads_settings(&world);
    sensor.signal(Signal::SIGHUP);
    fs::write(world.path("other"), "example.net\nexample.org\n").unwrap();
    fs::rename(world.path("other"), world.path("names")).unwrap();
    list.write_all(b"example.net\n").unwrap();
    drop(list);
    sensor.says("ready: ");
    sensor.says("settings read again: DNSQR_FILTER_QNAMES_EXCLUDE");
    sensor.leaves(Signal::SIGTERM);
}

#[test]
fn it_leaves_at_once_when_nothing_has_begun() {
    let Some(world) = World::new() else { return };
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (mut sensor, _list) = reads_settings(&world);
        sensor.signal(signal);
        assert!(sensor.ends(LEAVING).success(), "{}", sensor.lines().join("\n"));
        fs::remove_file(world.path("names")).unwrap();
    }
}

#[test]
fn without_proc_nothing_is_tried_and_the_reason_is_said() {
    let Some(world) = World::new() else { return };
    let hidden = ["sh", "-c", "mount -t tmpfs sie-test /proc && exec \"$0\" \"$@\""];
    for (arguments, said) in
        [(&[][..], "cannot start processes: there is no /proc/self/exe; mount /proc"), (&["--daemon"], "/proc")]
    {
        let mut sensor = Sensor::start(world.run_by(&hidden, arguments));
        let status = sensor.ends(SOON);
        let lines = sensor.lines().join("\n");
        assert_eq!(status.code(), Some(2), "{lines}");
        assert!(lines.contains(said), "{lines}");
    }
}

#[test]
fn too_few_open_files_are_raised_or_named() {
    let Some(world) = World::new() else { return };
    for limit in ["16:16", "20:20", "129:129"] {
        let mut sensor = Sensor::start(world.run_by(&["prlimit", &format!("--nofile={limit}")], &[]));
        let status = sensor.ends(SOON);
        let lines = sensor.lines().join("\n");
        assert_eq!(status.code(), Some(78), "{lines}");
        assert!(lines.contains("and 130 are needed; set LimitNOFILE=130 in the unit, or ulimit -n 130"), "{lines}");
    }
    let mut sensor = Sensor::start(world.run_by(&["prlimit", "--nofile=16:130"], &[]));
    sensor.says("ready: ");
    let limits = fs::read_to_string(format!("/proc/{}/limits", sensor.child(Role::Capture))).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().nth(3), Some("130"), "{limits}");
    sensor.leaves(Signal::SIGTERM);
}

fn stop(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
}

fn go_on(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGCONT).unwrap();
}

const WATCHDOG: &str = "WATCHDOG=1\n";

#[test]
fn the_service_manager_hears_of_readiness_reloads_interfaces_and_the_end() {
    let Some(world) = World::new() else { return };
    let manager = Manager::new(&world);
    let mut sensor = manager.start(&world, Duration::from_secs(2));
    assert_eq!(manager.hears("READY=1\n"), "READY=1\nSTATUS=captures from a0\n");
    assert_eq!(sensor.children().len(), 3);
    sensor.signal(Signal::SIGHUP);
    assert!(manager.hears("RELOADING=1\n").contains("MONOTONIC_USEC="));
    manager.hears("READY=1\n");
    world.namespace.link(&["set", "a0", "down"]);
    manager.hears("STATUS=waits for a0\n");
    // It waits knowingly.
    assert!(manager.during(Duration::from_secs(2)).iter().any(|said| said == WATCHDOG));
    world.namespace.link(&["set", "a0", "up"]);
    manager.hears("STATUS=captures from a0\n");
    sensor.leaves(Signal::SIGTERM);
    manager.hears("STOPPING=1\n");
}

#[test]
fn a_capture_process_that_hangs_starves_the_watchdog() {
    let Some(world) = World::new() else { return };
    let manager = Manager::new(&world);
    let mut sensor = manager.start(&world, Duration::from_secs(2));
    manager.hears("READY=1\n");
    let heard = manager.during(Duration::from_secs(3));
    assert!((2..=6).contains(&heard.len()) && heard.iter().all(|said| said == WATCHDOG), "{heard:?}");
    let capture = sensor.child(Role::Capture);
    stop(capture);
    manager.during(Duration::from_millis(1500));
    assert_eq!(manager.during(Duration::from_secs(2)), [""; 0]);
    go_on(capture);
    manager.hears(WATCHDOG);
    sensor.leaves(Signal::SIGTERM);
}

#[test]
#[ignore = "takes 40 s; tests/kill runs it"]
fn killing_what_hangs_makes_room_for_another_that_does_not() {
    let Some(world) = World::new() else { return };
    let mut sensor = world.start();
    let (capture, upload) = (sensor.child(Role::Capture), sensor.child(Role::Upload));
    stop(capture);
    let line = format!("the capture process, {capture}, hangs: it is killed");
    wait_for(&line, Duration::from_secs(40), || sensor.lines().iter().find(|said| said.contains(&line)).map(|_| ()));
    sensor.says("captures from a0 again");
    assert_eq!(sensor.child(Role::Upload), upload);
    let account = sensor.leaves(Signal::SIGTERM);
    assert_eq!(account.count("gaps.count"), 1, "{account:?}");
}

#[test]
#[ignore = "takes 45 s; tests/kill runs it"]
fn processes_that_were_frozen_together_go_on_together() {
    let Some(world) = World::new() else { return };
    let mut sensor = world.start();
    let children = sensor.children();
    stop(sensor.pid());
    children.keys().for_each(|child| stop(*child));
    thread::sleep(Duration::from_secs(40));
    go_on(sensor.pid());
    // The supervisor looks before the others have had a turn.
    sensor.says("the sensor stood still for ");
    children.keys().for_each(|child| go_on(*child));
    thread::sleep(Duration::from_secs(3));
    assert_eq!(sensor.children(), children, "{:?}", sensor.lines());
    sensor.leaves(Signal::SIGTERM);
}

/// A reload that needs a new capture process: the old one, and the new one as soon as it is there.
fn hand_over(world: &World, sensor: &Sensor) -> (i32, i32) {
    let old = sensor.child(Role::Capture);
    world.configure(&[("capture_buffer_kbytes", "16384")]);
    sensor.signal(Signal::SIGHUP);
    let successor = wait_for("a successor", SOON, || {
        sensor.children().into_iter().find(|(pid, role)| *role == Role::Capture && *pid != old).map(|(pid, _)| pid)
    });
    (old, successor)
}

#[track_caller]
fn ends_without_a_gap(world: &World, mut sensor: Sensor, load: Load) {
    let sent = load.stop();
    thread::sleep(Duration::from_millis(500));
    let account = sensor.leaves(Signal::SIGTERM);
    assert_eq!((account.count("packets"), account.count("gaps.count")), (sent, 0), "{account:?}");
    assert_eq!(world.waiting(), account.count("written"));
}

#[test]
fn a_successor_that_dies_before_it_is_ready_is_started_again() {
    let Some(world) = World::new() else { return };
    let sensor = world.start();
    let load = world.send(1000);
    let (old, successor) = hand_over(&world, &sensor);
    kill(Pid::from_raw(successor), Signal::SIGKILL).unwrap();
    sensor.says(&format!("the capture process, {successor}, ended: killed by signal 9"));
    sensor.says(&format!("the capture process, {old}, has left"));
    ends_without_a_gap(&world, sensor, load);
}

#[test]
#[ignore = "takes 40 s; tests/kill runs it"]
fn a_successor_that_hangs_before_it_is_ready_is_killed_and_another_one_takes_over() {
    let Some(world) = World::new() else { return };
    let sensor = world.start();
    let load = world.send(1000);
    let (old, successor) = hand_over(&world, &sensor);
    stop(successor);
    let line = format!("the capture process, {successor}, hangs: it is killed");
    wait_for(&line, Duration::from_secs(40), || sensor.lines().iter().find(|said| said.contains(&line)).map(|_| ()));
    sensor.says(&format!("the capture process, {old}, has left"));
    ends_without_a_gap(&world, sensor, load);
}

#[test]
fn a_stopped_supervisor_does_not_stop_capture() {
    let Some(world) = World::new() else { return };
    let sensor = world.start();
    let load = world.send(2000);
    wait_for("a file", SOON, || world.files("waiting").pop_first());
    let pids = sensor.children();
    stop(sensor.pid());
    let files = || world.files("new").len() + world.files("waiting").len();
    let before = files();
    wait_for("files", SOON, || (files() >= before + 3).then_some(()));
    go_on(sensor.pid());
    assert_eq!(sensor.children(), pids);
    ends_without_a_gap(&world, sensor, load);
}

/// Queries that nobody answers, and as many that are answered.
fn talk(world: &World, number: u16) {
    let (resolver, server) = (build::resolver().0, build::server());
    let frame = |packet: Vec<u8>| [&[2; 12][..], &[8, 0], &packet].concat();
    world.namespace.inside(|| {
        let mut device = pcap::Capture::from_device("b0").unwrap().open().unwrap();
        for id in 0..number {
            let resolver = (resolver, 1024 + id);
            let (lonely, lucky) = (format!("{id}.lonely.example"), format!("{id}.lucky.example"));
            device.sendpacket(frame(build::udp(resolver, server, &build::query(id, &lonely)))).unwrap();
            device.sendpacket(frame(build::udp(resolver, server, &build::query(id, &lucky)))).unwrap();
            device.sendpacket(frame(build::udp(server, resolver, &build::response(id, &lucky)))).unwrap();
        }
    });
}

#[track_caller]
fn leaves_with_everything(signal: Signal, tell: impl FnOnce(&Sensor)) {
    let Some(world) = World::new() else { return };
    world.configure(&[("rotate_seconds", "3600"), ("DNSQR_QUERY_TIMEOUT", "600")]);
    let mut sensor = world.start();
    talk(&world, 500);
    // At once: what is still in the ring belongs to it too.
    tell(&sensor);
    let account = sensor.leaves(signal);
    let counts = ["packets", "queries.answered", "queries.at exit", "written"].map(|name| account.count(name));
    assert_eq!(counts, [1500, 500, 500, 1000], "{account:?}");
    let files: Vec<_> = world.files("new").into_iter().chain(world.files("waiting")).collect();
    assert_eq!(files.iter().map(|path| super::payloads(path).unwrap()).collect::<Vec<_>>(), [1000]);
    assert!(!sensor.lines().iter().any(|line| line.contains("ended") || line.contains("did not leave")));
}

#[test]
fn term_writes_every_transaction_and_every_query_that_waits() {
    leaves_with_everything(Signal::SIGTERM, |_| ());
}

#[test]
fn a_terminal_that_interrupts_all_processes_is_the_same() {
    leaves_with_everything(Signal::SIGINT, |sensor| {
        for pid in sensor.children().into_keys() {
            kill(Pid::from_raw(pid), Signal::SIGINT).unwrap();
            kill(Pid::from_raw(pid), Signal::SIGHUP).unwrap();
        }
    });
}

#[test]
fn term_to_all_processes_at_once_is_the_same() {
    leaves_with_everything(Signal::SIGTERM, |sensor| {
        sensor.signal(Signal::SIGTERM);
        for pid in sensor.children().into_keys() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    });
}

#[test]
fn usr1_logs_the_account() {
    let Some(world) = World::new() else { return };
    world.configure(&[("log_level", "info")]);
    let mut sensor = world.start();
    talk(&world, 10);
    wait_for("an account of all packets", SOON, || {
        let skip = sensor.lines().len();
        sensor.signal(Signal::SIGUSR1);
        sensor.says_after(skip, "sie: made");
        (sensor.account().count("packets") == 30).then_some(())
    });
    sensor.leaves(Signal::SIGTERM);
}

#[test]
fn children_of_a_killed_supervisor_write_what_they_have_and_leave() {
    let Some(world) = World::new() else { return };
    world.configure(&[("rotate_seconds", "3600"), ("DNSQR_QUERY_TIMEOUT", "600")]);
    let mut sensor = world.start();
    talk(&world, 500);
    let children = sensor.children();
    sensor.signal(Signal::SIGKILL);
    sensor.process.wait().unwrap();
    wait_for("the children leave", LEAVING, || children.keys().all(|pid| !super::is_alive(*pid)).then_some(()));
    // The upload process was told nothing any more: the next one takes it on.
    let files: Vec<_> = world.files("new").into_iter().chain(world.files("waiting")).collect();
    assert_eq!(files.iter().map(|path| super::payloads(path).unwrap()).sum::<u64>(), 1000);
    assert!(world.parts().is_empty() && fs::exists(world.path("spool/waiting/ch202")).unwrap());
    let mut next = world.start();
    next.leaves(Signal::SIGTERM);
    assert_eq!(world.waiting(), 1000);
}

#[test]
fn a_name_server_that_does_not_answer_makes_the_host_name_short_and_pauses_nothing() {
    let Some(world) = World::new() else { return };
    world.configure(&[("host_name", "")]);
    world.namespace.link(&["set", "lo", "up"]);
    let silent = world.namespace.inside(|| UdpSocket::bind("127.0.0.1:53").unwrap());
    for (file, text) in [
        ("hosts", "127.0.0.1 localhost\n"),
        ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
        ("resolv.conf", "nameserver 127.0.0.1\noptions timeout:30\n"),
    ] {
        fs::write(world.path(file), text).unwrap();
    }
    let run = world.run(&[]);
    let mut command = Command::new("unshare");
    command.args(["--uts", "sh", "-c", r#"hostname short && exec "$0" "$@""#]).arg(run.get_program());
    command.args(run.get_args()).stdin(Stdio::null());
    let mut sensor = Sensor::start(command);
    sensor.says("ready: captures from a0");
    // The question is still open.
    let tasks = fs::read_dir(format!("/proc/{}/task", sensor.pid())).unwrap();
    assert_eq!(tasks.count(), 2);
    assert!(!sensor.lines().iter().any(|line| line.contains("paused")), "{:?}", sensor.lines());
    let load = world.send(1000);
    let file = wait_for("a file", SOON, || world.files("waiting").pop_first());
    assert!(file.file_name().unwrap().to_str().unwrap().starts_with("short."), "{file:?}");
    drop(load);
    sensor.leaves(Signal::SIGTERM);
    silent.set_nonblocking(true).unwrap();
    assert!(silent.recv(&mut [0; 512]).is_ok());
}
