//! `sie-dns-sensor run` is told to read its settings again. It captures from nothing, for which no rights are needed.

use crate::{background::Directory, program::SENSOR};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStderr, Command, Stdio},
};

pub struct Sensor {
    process: Child,
    log: Lines<BufReader<ChildStderr>>,
    directory: Directory,
}

impl Sensor {
    /// And what it logged until it was ready.
    pub fn start(directory: Directory, config: &str) -> (Sensor, Vec<String>) {
        fs::write(directory.path("config"), config).unwrap();
        let mut command = Command::new(SENSOR);
        command.args(["run", "--set", "user=nobody", "--set", "upload_user=nobody"]);
        command.args(["--set", &format!("spooldir={}", directory.path("spool").display())]);
        command.arg("--config").arg(directory.path("config")).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let log = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut sensor = Sensor { process, log, directory };
        let before = sensor.log.by_ref().map(Result::unwrap).take_while(|line| !line.contains("ready: ")).collect();
        (sensor, before)
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id() as i32), signal).unwrap();
    }

    fn reload(&self, config: &str) {
        fs::write(self.directory.path("config"), config).unwrap();
        self.signal(Signal::SIGHUP);
    }

    /// The next line with these words. It waits for it.
    fn line(&mut self, words: &str) -> String {
        self.log.by_ref().map(Result::unwrap).find(|line| line.contains(words)).unwrap()
    }

    /// All that follows until it has left.
    /// What it logs until it has left.
    pub fn leave(mut self) -> Vec<String> {
        self.signal(Signal::SIGTERM);
        let rest = self.log.by_ref().map(Result::unwrap).collect();
        assert!(self.process.wait().unwrap().success());
        rest
    }
}

impl Drop for Sensor {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const CONFIG: &str = "interface=nosuch0\nDNSQR_RES_ADDRS=192.0.2.53\nmemory_ulimit_kbytes=102400\n";

#[test]
fn settings_that_need_one_that_waits_for_the_next_start_are_refused() {
    let (mut sensor, _) = Sensor::start(Directory::new(line!()), CONFIG);
    sensor.reload(&CONFIG.replace("102400", "512000\ncapture_threads=2"));
    sensor.line("memory_ulimit_kbytes: the change takes effect at the next start");
    sensor.line("too little memory, ");
    sensor.line("the settings are not used");
    sensor.reload(CONFIG);
    assert!(sensor.line("settings read again").ends_with(": nothing has changed"));
    sensor.leave();
}
