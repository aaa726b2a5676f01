//! `sie-dns-sensor run` and all its processes are told to leave.

use crate::{background::Directory, reload::Sensor};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::{thread, time::Duration};

#[test]
fn the_upload_process_leaves_when_the_supervisor_says_so_and_not_before() {
    let config = "interface=nosuch0\nDNSQR_RES_ADDRS=192.0.2.53\nlog_level=debug\n";
    let (sensor, before) = Sensor::start(Directory::new(line!()), config);
    let upload = before.iter().find_map(|line| line.split_once("started the upload process, ")).unwrap().1;
    kill(Pid::from_raw(upload.parse().unwrap()), Signal::SIGTERM).unwrap();
    thread::sleep(Duration::from_millis(500));
    let rest = sensor.leave();
    assert!(rest.iter().any(|line| line.ends_with(&format!("the upload process, {upload}, has left"))), "{rest:?}");
}
