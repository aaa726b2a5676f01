//! The system's users, which may be known to a database that is far away.

use super::{Role, SOON, Sensor, World, wait_for};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{fs, os::unix::net::UnixListener};

/// Whose the capture, the upload and the views process are, and in which groups.
fn owners(sensor: &Sensor) -> [Vec<String>; 3] {
    let of_role = |role: Role| {
        let status = fs::read_to_string(format!("/proc/{}/status", sensor.child(role))).unwrap();
        let is_wanted = |line: &&str| ["Uid:", "Gid:", "Groups:"].iter().any(|name| line.starts_with(name));
        status.lines().filter(is_wanted).map(str::to_owned).collect()
    };
    [Role::Capture, Role::Upload, Role::Views].map(of_role)
}

#[test]
fn a_process_that_dies_is_the_same_user_again_though_nobody_knows_that_user_any_more() {
    let Some(world) = World::new() else { return };
    let mut sensor = world.start();
    // That the sensor is ready does not say that the views process is.
    let before = wait_for("three users", SOON, || Some(owners(&sensor)).filter(|[capture, _, views]| capture == views));
    let [capture, upload, _] = &before;
    assert!(capture[0].starts_with("Uid:\t3059903\t"), "{before:?}");
    assert!(upload[0].starts_with("Uid:\t3059904\t") && upload[2].contains("3059903"), "{before:?}");
    for database in ["passwd", "group"] {
        // In place: the file that the sensor has in the place of the system's is this one.
        fs::write(world.path(database), "root:x:0:0::/:/bin/false\n").unwrap();
    }
    let children = sensor.children();
    children.keys().for_each(|pid| kill(Pid::from_raw(*pid), Signal::SIGKILL).unwrap());
    wait_for("three other processes that have become users", SOON, || {
        let now = sensor.children();
        let is_new = now.len() == 3 && now.keys().all(|pid| !children.contains_key(pid));
        (is_new && owners(&sensor) == before).then_some(())
    });
    let load = world.send(1000);
    let seen = world.files("waiting");
    wait_for("a file", SOON, || world.files("waiting").difference(&seen).next().cloned());
    drop(load);
    sensor.leaves(Signal::SIGTERM);
}

#[test]
fn a_database_that_does_not_answer_is_a_failure_that_another_start_may_not_have() {
    let Some(world) = World::new() else { return };
    fs::remove_file(world.path("passwd")).unwrap();
    // A file that cannot be opened, not even by root.
    let _socket = UnixListener::bind(world.path("passwd")).unwrap();
    fs::write(world.path("nsswitch.conf"), "passwd: files\ngroup: files\n").unwrap();
    let mut sensor = world.begin();
    let status = sensor.ends(SOON);
    let lines = sensor.lines().join("\n");
    assert_eq!(status.code(), Some(2), "{lines}");
    assert!(lines.contains("cannot look up user \"sie-test-capture\": "), "{lines}");
}

#[test]
fn root_that_cannot_become_the_users_is_told_what_it_takes() {
    let Some(world) = World::new() else { return };
    for (kept, what) in [("+net_raw", "supplementary groups"), ("+net_raw,+setgid", "the user")] {
        let kept = format!("--bounding-set=-all,{kept}");
        let mut sensor = Sensor::start(world.run_by(&["setpriv", "--inh-caps=-all", &kept], &[]));
        let status = sensor.ends(SOON);
        let lines = sensor.lines().join("\n");
        assert_eq!(status.code(), Some(78), "{lines}");
        let said = format!("cannot make the spool: cannot set {what}: EPERM: Operation not permitted; ");
        let cure = "give root CAP_SETUID and CAP_SETGID, or start it as sie-test-capture with an ambient CAP_NET_RAW";
        assert!(lines.contains(&(said + cure)), "{lines}");
    }
}
