//! A real sshd on a loopback port, for the tests that need one.

use super::program::Scratch;
use nix::unistd::{User, geteuid};
use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const SSHD: &str = "/usr/sbin/sshd";

/// What a server is to be like.
#[derive(Default)]
pub struct Setup<'s> {
    /// Where it listens; 0: somewhere.
    pub port: u16,
    /// Files with its private keys.
    pub host_keys: Vec<PathBuf>,
    /// What authorized_keys has.
    pub authorized: String,
    /// More lines of its configuration, to be ended by `Match` blocks.
    pub extra: &'s str,
    /// A program that starts it, with its arguments.
    pub wrapper: Vec<String>,
}

/// A running server; it ends with this value.
pub struct Sshd {
    pub port: u16,
    child: Child,
    directory: Scratch,
}

impl Sshd {
    /// Starts one. None, and says so, where there is no sshd.
    pub fn start(setup: Setup) -> Option<Sshd> {
        if !Path::new(SSHD).exists() {
            eprintln!("skipped: needs {SSHD}");
            return None;
        }
        if geteuid().is_root() {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let directory = Scratch::new();
        let port = if setup.port == 0 { free_port() } else { setup.port };
        let authorized = directory.file("authorized_keys", setup.authorized);
        let mut config = format!("Port {port}\nListenAddress 127.0.0.1\nAuthorizedKeysFile {}\n", authorized.display());
        for key in &setup.host_keys {
            config += &format!("HostKey {}\n", key.display());
        }
        config +=
            "PidFile none\nUsePAM no\nStrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n";
        config += "PermitRootLogin yes\nMaxStartups 1000\nSubsystem sftp internal-sftp\n";
        let penalties = "PerSourcePenalties no\n";
        let path = directory.file("config", config.clone() + penalties + setup.extra);
        if !Command::new(SSHD).args(["-t", "-f"]).arg(&path).stderr(Stdio::null()).status().unwrap().success() {
            // Before version 9.8 it has none, and does not know the word.
            fs::write(&path, config + setup.extra).unwrap();
        }
        let mut words = setup.wrapper;
        words.push(SSHD.to_owned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["-D", "-f"]).arg(&path).arg("-E").arg(directory.path("log"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut server = Sshd { port, child, directory };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let has_ended = server.child.try_wait().unwrap().is_some();
            assert!(!has_ended && began.elapsed() < Duration::from_secs(30), "sshd does not start: {}", server.log());
            thread::sleep(Duration::from_millis(20));
        }
        Some(server)
    }

    /// Where it listens.
    pub fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).unwrap()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path("log")).unwrap_or_default()
    }

    /// Lets a key in.
    pub fn authorize(&self, key: &str) {
        self.directory.file("authorized_keys", key);
    }

    /// Processes that it started for connections.
    pub fn children(&self) -> Vec<i32> {
        children(self.child.id() as i32)
    }

    /// Those, and what they started.
    pub fn descendants(&self) -> Vec<i32> {
        let mut all = self.children();
        let mut next = 0;
        while let Some(&process) = all.get(next) {
            all.extend(children(process));
            next += 1;
        }
        all
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        for child in self.children() {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(child), nix::sys::signal::Signal::SIGKILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn children(process: i32) -> Vec<i32> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    children.split_whitespace().map(|child| child.parse().unwrap()).collect()
}

/// A port of the loopback address that nobody has.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Makes a key pair without a passphrase; `kind` is what ssh-keygen is told, as in `-t rsa -b 1024`.
pub fn make_key(directory: &Scratch, name: &str, kind: &str) -> PathBuf {
    let path = directory.path(name);
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-N", "", "-C", "test"]).args(kind.split(' ')).arg("-f").arg(&path);
    assert!(command.status().unwrap().success(), "ssh-keygen {kind}");
    path
}

/// The public half of a key that [`make_key`] made: type and base64.
pub fn public_half(key: &Path) -> String {
    let text = fs::read_to_string(key.with_extension("pub")).unwrap();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// Whose account a test can log in to.
pub fn login() -> String {
    User::from_uid(geteuid()).unwrap().unwrap().name
}
