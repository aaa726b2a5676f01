//! Network namespaces of a test's own, which go when the test does.

use nix::sched::{CloneFlags, setns};
use std::{
    fs::File,
    io::Write,
    process::{Child, Command},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

/// A network namespace.
pub struct Namespace(pub String);

impl Namespace {
    /// A namespace with veth pairs: a0 and b0, a1 and b1, …; what is sent on b0 arrives at a0. None, and says so, where
    /// there cannot be one.
    pub fn new(pairs: usize) -> Option<Namespace> {
        let namespace = Namespace::empty()?;
        for name in ["all", "default"] {
            // Otherwise the kernel itself sends packets.
            namespace.sysctl(&format!("net.ipv6.conf.{name}.disable_ipv6=1"));
        }
        for pair in 0..pairs {
            namespace.add_pair(pair);
        }
        Some(namespace)
    }

    /// A namespace without interfaces.
    pub fn empty() -> Option<Namespace> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        if !nix::unistd::geteuid().is_root() {
            skipped("needs root");
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let namespace = Namespace(format!("sie-test-{}-{number}", std::process::id()));
        ip(&["netns", "add", &namespace.0]);
        Some(namespace)
    }

    /// Adds a veth pair by its number.
    pub fn add_pair(&self, pair: usize) {
        let (a, b) = (format!("a{pair}"), format!("b{pair}"));
        self.link(&["add", &a, "type", "veth", "peer", "name", &b]);
        self.link(&["set", &a, "up"]);
        self.link(&["set", &b, "up"]);
    }

    /// A cable: eth0 here and eth0 there, with these addresses, up.
    pub fn connect(
        &self,
        addresses: impl Iterator<Item = String>,
        other: &Namespace,
        others: impl Iterator<Item = String>,
    ) {
        self.link(&["add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", &other.0]);
        let all = addresses.map(|address| (self, address)).chain(others.map(|address| (other, address)));
        for (namespace, address) in all {
            // IPv6 addresses would wait for an answer of others that have them too.
            let nodad: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
            namespace.ip(&[&["address", "add", &address, "dev", "eth0"], nodad].concat());
        }
        for namespace in [self, other] {
            namespace.link(&["set", "eth0", "up"]);
            namespace.link(&["set", "lo", "up"]);
        }
    }

    /// `ip` in the namespace.
    pub fn ip(&self, arguments: &[&str]) {
        ip(&[&["-n", &self.0], arguments].concat());
    }

    /// `ip link` in the namespace.
    pub fn link(&self, arguments: &[&str]) {
        self.ip(&[&["link"], arguments].concat());
    }

    /// Sets NAME=VALUE.
    pub fn sysctl(&self, setting: &str) {
        ip(&["netns", "exec", &self.0, "sysctl", "-qw", setting]);
    }

    /// Starts a process there.
    pub fn spawn(&self, command: &mut Command) -> Child {
        let program = command.get_program().to_owned();
        self.inside(|| command.spawn().unwrap_or_else(|error| panic!("cannot start {program:?}: {error}")))
    }

    /// Runs in the namespace, with all threads that it starts.
    pub fn inside<T: Send>(&self, run: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.0)).unwrap();
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                setns(file, CloneFlags::CLONE_NEWNET).unwrap();
                run()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Says that a test does not test anything here: past the test harness, which keeps what tests that pass print.
pub fn skipped(why: &str) {
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "skipped: {name}: {why}");
}
