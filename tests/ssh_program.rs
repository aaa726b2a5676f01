//! Files to a real rsync through a real ssh and a real sshd on a loopback port.

use crate::rsync::{Witness, World};
use nix::unistd::{Uid, User};
use sie_dns_sensor::upload::{
    Failure, Outgoing,
    program::{Destination, Launcher},
    rsync,
};
use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A server of its own for one test, which lets our own account in with a key.
struct Sshd {
    process: Child,
    port: u16,
    directory: PathBuf,
}

impl Sshd {
    /// With this in front of the key in authorized_keys.
    fn start(directory: &Path, options: &str) -> Sshd {
        let directory = directory.join("sshd");
        fs::create_dir_all(&directory).unwrap();
        for name in ["host", "key"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(directory.join(name))
                .status();
            assert!(made.unwrap().success());
        }
        let public = fs::read_to_string(directory.join("key.pub")).unwrap();
        fs::write(directory.join("authorized"), format!("{options} {public}")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = fs::read_to_string(directory.join("host.pub")).unwrap();
        fs::write(directory.join("known_hosts"), format!("[127.0.0.1]:{port} {host}")).unwrap();
        let path = directory.display();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {path}/host\nAuthorizedKeysFile {path}/authorized\n\
             PidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\n"
        );
        fs::write(directory.join("config"), config).unwrap();
        let _ = fs::create_dir_all("/run/sshd"); // it wants one when it is root's
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-f"]).arg(directory.join("config")).stderr(Stdio::null()).stdin(Stdio::null());
        let process = command.spawn().unwrap();
        let by = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < by, "sshd does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        Sshd { process, port, directory }
    }

    fn destination(&self) -> Destination {
        Destination {
            host: "127.0.0.1".into(),
            port: self.port,
            login: User::from_uid(Uid::effective()).unwrap().unwrap().name,
            known_hosts: self.directory.join("known_hosts"),
            key: self.directory.join("key"),
            source: Some("127.0.0.1".parse().unwrap()),
            command: rsync::command("up/ch202/").unwrap(),
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn launcher() -> Launcher {
    let program = Path::new(env!("CARGO_BIN_EXE_sie-dns-sensor"));
    // As it stands in the setting; the user's own files must not matter here.
    Launcher::start_by(program, &["ssh", "-F", "none"].map(str::to_owned)).unwrap()
}

fn send(launcher: &mut Launcher, to: &Destination, files: &mut [Outgoing]) -> (Result<(), Failure>, Witness) {
    let mut process = launcher.open(to).unwrap();
    let mut witness = Witness::new();
    let done = rsync::send(&mut process, files, &mut witness);
    (done, witness)
}

#[test]
fn files_arrive_through_ssh_one_batch_after_the_other() {
    let world = World::new();
    let wrapper = format!("command=\"rrsync -wo {}\",restrict", world.home().display());
    let sshd = Sshd::start(&world.home(), &wrapper);
    let mut launcher = launcher();
    for round in 0..2 {
        let names = [10, 100_000, 2 << 20].map(|size: usize| (format!("{round}-{size:08}.nmsg"), size));
        let mut files = names.map(|(name, size)| world.file(&name, &vec![round; size]));
        let (done, witness) = send(&mut launcher, &sshd.destination(), &mut files);
        assert_eq!((done, witness.confirmed), (Ok(()), vec![0, 1, 2]), "{:?}", witness.heard);
        assert!(files.iter().all(|file| world.has(file)));
    }
}

#[test]
fn what_ssh_says_is_the_reason_when_it_does_not_get_there() {
    let world = World::new();
    let sshd = Sshd::start(&world.home(), "restrict");
    let mut launcher = launcher();
    let mut files = [world.file("a.nmsg", b"one")];
    let right = sshd.destination();
    let other_key = sshd.directory.join("host");
    let empty = sshd.directory.join("empty");
    fs::write(&empty, "").unwrap();
    for (to, reason) in [
        (Destination { key: other_key, ..right.clone() }, "Permission denied"),
        (Destination { known_hosts: empty, ..right.clone() }, "Host key verification failed"),
        (Destination { port: 1, ..right.clone() }, "Connection refused"),
        (Destination { command: "exit 9".into(), ..right.clone() }, "exit code 9"),
        (Destination { command: "kill -KILL $$".into(), ..right.clone() }, "exit code"),
    ] {
        let (done, witness) = send(&mut launcher, &to, &mut files);
        let failure = done.unwrap_err();
        assert!(failure.reason.contains(reason), "{reason}: {failure}");
        assert_eq!(witness.failed.len(), 1);
    }
    // Without a wrapper the account's own shell runs the command, in its home.
    let command = format!("cd {} && {}", world.home().display(), right.command);
    let (done, witness) = send(&mut launcher, &Destination { command, ..right }, &mut files);
    assert_eq!((done, witness.confirmed), (Ok(()), vec![0]), "{:?}", witness.heard);
}
