//! The sensor as the first process of a container: with few capabilities, and as the parent of all orphans.

use crate::{
    namespace::Namespace,
    program::SENSOR,
    sensor::{Directory, Running},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User},
};
use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::chown,
    path::PathBuf,
    process::{ChildStderr, Command, Stdio},
    time::{Duration, Instant},
};

/// What is left to root in the container: NET_RAW opens interfaces, the others give everything up, or end a child.
const CAPABILITIES: &str = "-all,+net_raw,+setuid,+setgid,+setpcap,+kill";
/// The same in /proc.
const BOUNDING: &str = "CapBnd:\t00000000000021e0";
/// How long a test waits for something that takes a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process and mount namespace in a network namespace, with the sensor as its first process.
struct Container {
    outer: Running,
    first: Pid,
    stderr: BufReader<ChildStderr>,
    config: PathBuf,
    _directory: Directory,
}

impl Container {
    /// Starts it; returns when the sensor is ready.
    fn start(namespace: &Namespace) -> Container {
        let directory = Directory::new();
        let (spool, config) = (directory.0.join("spool"), directory.0.join("config"));
        let nobody = User::from_name("nobody").unwrap().unwrap();
        fs::create_dir(&spool).unwrap();
        chown(&spool, Some(nobody.uid.as_raw()), Some(nobody.gid.as_raw())).unwrap();
        let lines = [
            "interface=a0",
            "DNSQR_RES_ADDRS=192.0.2.53",
            "upload=no",
            "host_name=sensor",
            "min_free_kbytes=0",
            "user=nobody",
            "upload_user=nobody",
            &format!("spooldir={}", spool.display()),
            &format!("status_socket={}", directory.0.join("status.sock").display()),
        ];
        fs::write(&config, lines.join("\n")).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "setpriv", "--inh-caps=-all"]);
        // In the sensor's group, to which it could not give its socket without CHOWN.
        command.args(["--clear-groups", "--regid", &nobody.gid.to_string()]);
        command.arg(format!("--bounding-set={CAPABILITIES}")).args([SENSOR, "run", "-c"]).arg(&config);
        let mut child = namespace.spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let outer = Running::new(child);
        let mut container = Container { first: outer.pid(), outer, stderr, config, _directory: directory };
        container.wait_for("ready: captures from a0");
        container.first = children(container.outer.pid())[0];
        container
    }

    /// The next line of the log with this text.
    fn wait_for(&mut self, text: &str) {
        let mut log = String::new();
        while !log.lines().any(|line| line.contains(text)) {
            assert!(self.stderr.read_line(&mut log).unwrap() > 0, "no {text:?} in:\n{log}");
        }
    }

    /// A shell in the container, beside the sensor: whether it ends with 0.
    fn run(&self, script: &str) -> bool {
        let target = self.first.to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &target, "--pid", "--mount", "sh", "-c", script]).status().unwrap().success()
    }

    /// The sensor's children with such a name, zombies among them.
    fn named(&self, name: &str) -> Vec<Pid> {
        let has_name =
            |pid: &Pid| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name);
        children(self.first).into_iter().filter(has_name).collect()
    }
}

/// The signal of `--kill-child` is lost when the first process gives up rights, so its end does not come by itself.
impl Drop for Container {
    fn drop(&mut self) {
        if self.first != self.outer.pid() && self.outer.ended(Duration::ZERO).is_none() {
            let _ = kill(self.first, Signal::SIGKILL);
        }
    }
}

/// The children of a process, seen from outside.
fn children(pid: Pid) -> Vec<Pid> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap())).collect()
}

fn status(pid: Pid) -> String {
    fs::read_to_string(format!("/proc/{pid}/status")).unwrap()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_first_process_of_a_container_captures_with_few_capabilities_and_ends_in_order() {
    let Some(namespace) = Namespace::new(1) else { return };
    let mut container = Container::start(&namespace);
    let first = status(container.first);
    assert!(first.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1")), "{first}");
    assert!(first.contains(BOUNDING), "{first}");
    for child in children(container.first) {
        let status = status(child);
        assert!(status.contains("CapEff:\t0000000000000000") && !status.contains("Uid:\t0"), "{status}");
    }
    let ask = format!("{SENSOR} status -c {} >/dev/null", container.config.display());
    until("all is well, says status", || container.run(&ask));
    kill(container.first, Signal::SIGTERM).unwrap();
    let status = container.outer.ended(PATIENCE).expect("TERM ends it");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn the_first_process_of_a_container_takes_leave_of_orphans() {
    let Some(namespace) = Namespace::new(1) else { return };
    let mut container = Container::start(&namespace);
    assert!(container.run("for i in 1 2 3; do sleep 3 & done"));
    until("they are the first process's", || container.named("sleep").len() == 3);
    until("they are gone", || container.named("sleep").is_empty());
    // Its own children it has not taken for orphans: it knows how this one ended, and starts another one.
    let capture = container.named("sie-capture")[0];
    kill(capture, Signal::SIGKILL).unwrap();
    container.wait_for("killed by signal 9");
    container.wait_for("captures from a0");
}
