//! `sie-dns-sensor run --daemon`, as an init script calls it.

use crate::program::SENSOR;
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, Uid, User, chown},
};
use std::{
    env,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{self, Command, Output},
    sync::mpsc,
    thread,
    time::Duration,
};

/// That a user without rights can reach, with a spool.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new(number: u32) -> Directory {
        let directory = Directory(env::temp_dir().join(format!("sie-background-{}-{number}", process::id())));
        let spool = directory.path("spool");
        fs::create_dir_all(&spool).unwrap();
        fs::set_permissions(&directory.0, Permissions::from_mode(0o755)).unwrap();
        if Uid::effective().is_root() {
            let nobody = User::from_name("nobody").unwrap().unwrap();
            chown(&spool, Some(nobody.uid), Some(nobody.gid)).unwrap();
        }
        directory
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What it says on a pipe, and its exit code; none when the pipe is still open long after it has returned. It captures
/// from nothing, for which no rights are needed.
fn start(directory: &Directory, spool: &str) -> Option<Output> {
    let mut command = Command::new(SENSOR);
    command.args(["run", "--daemon", "--pidfile"]).arg(directory.path("pid"));
    fs::write(directory.path("config"), "interface=nosuch0\nDNSQR_RES_ADDRS=192.0.2.53\n").unwrap();
    command.arg("--config").arg(directory.path("config"));
    command.args(["--set", "user=nobody", "--set", "upload_user=nobody"]);
    command.args(["--set", &format!("spooldir={}", directory.path(spool).display())]);
    let (to, said) = mpsc::channel();
    thread::spawn(move || to.send(command.output().unwrap()));
    said.recv_timeout(Duration::from_secs(20)).ok()
}

#[test]
fn nothing_of_it_holds_the_output_of_who_started_it() {
    let directory = Directory::new(line!());
    let started = start(&directory, "spool");
    let pid = fs::read_to_string(directory.path("pid")).unwrap().trim().parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    let started = started.expect("the pipe is closed");
    assert!(started.status.success(), "{started:?}");
    while directory.path("pid").exists() {
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn who_starts_it_is_told_why_it_cannot_begin() {
    let directory = Directory::new(line!());
    let started = start(&directory, "spol").unwrap();
    let said = String::from_utf8(started.stderr).unwrap();
    assert_eq!(started.status.code(), Some(78), "{said}");
    assert!(said.contains("; make it: install -d "), "{said}");
}
