//! Settings that cannot be used, and interfaces that go.

use super::{CAPTURE_USER, Role, SOON, Sensor, World, wait_for};
use crate::namespace::skipped;
use nix::{
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::{Pid, mkfifo},
};
use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown},
    process::Command,
};

/// Starts it, and it ends with exit code 78; what it said.
#[track_caller]
fn refused(world: &World) -> String {
    let mut sensor = world.begin();
    let status = sensor.ends(SOON);
    let lines = sensor.lines().join("\n");
    assert_eq!(status.code(), Some(78), "{lines}");
    lines
}

#[test]
fn what_is_missing_is_named_with_the_line_that_makes_it() {
    let Some(world) = World::new() else { return };
    world.configure(&[("user", "sie-nobody")]);
    let lines = refused(&world);
    assert!(lines.contains("there is no user \"sie-nobody\"; make it: useradd --system"), "{lines}");
    world.configure(&[("upload_user", "sie-nobody")]);
    let lines = refused(&world);
    assert!(lines.contains("--groups sie-test-capture --home-dir"), "{lines}");
    let absent = world.path("absent");
    world.configure(&[("spooldir", absent.to_str().unwrap())]);
    let lines = refused(&world);
    let makes = format!("make it: install -d -o sie-test-capture -g 3059903 -m 2770 {}", absent.display());
    assert!(lines.contains(&makes), "{lines}");
    assert!(!absent.exists());
}

#[test]
fn all_problems_are_told_at_once() {
    let Some(world) = World::new() else { return };
    let config = world.path("config");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text + "spoldir=\"/x\"\nrotate_seconds=\"60s\"\n").unwrap();
    let lines = refused(&world);
    assert!(lines.contains("did you mean spooldir?") && lines.contains("rotate_seconds=\"60s\""), "{lines}");
}

#[test]
fn garbage_and_hup_change_nothing_and_every_problem_is_logged() {
    let Some(world) = World::new() else { return };
    let mut sensor = world.start();
    let load = world.send(1000);
    let pids = sensor.children();
    let garbage = [&b"\0\xff\xfe((\n"[..], b"interface=\"\nspoldir=\"/x\"\nrotate_seconds=\"60s\"\n", b""];
    for garbage in garbage {
        let skip = sensor.lines().len();
        fs::write(world.path("config"), garbage).unwrap();
        sensor.signal(Signal::SIGHUP);
        sensor.says_after(skip, "the settings are not used; the sensor goes on with those it has");
        let before = world.files("waiting");
        wait_for("a file", SOON, || world.files("waiting").difference(&before).next().cloned());
    }
    let lines = sensor.lines().join("\n");
    fs::remove_file(world.path("config")).unwrap();
    let skip = sensor.lines().len();
    sensor.signal(Signal::SIGHUP);
    sensor.says_after(skip, "No such file or directory");
    world.configure(&[("rotate_seconds", "2")]);
    let skip = sensor.lines().len();
    sensor.signal(Signal::SIGHUP);
    sensor.says_after(skip, "settings read again: rotate_seconds");
    assert_eq!(sensor.children(), pids, "{lines}");
    let account = sensor.leaves(Signal::SIGTERM);
    assert_eq!(world.waiting(), account.count("written"), "{account:?}");
    assert_eq!(account.count("gaps.count") + account.count("kernel.dropped"), 0, "{account:?}");
    drop(load);
}

#[test]
fn a_configuration_that_came_through_a_pipe_is_not_waited_for() {
    let Some(world) = World::new() else { return };
    let (config, text) = (world.path("config"), fs::read(world.path("config")).unwrap());
    fs::remove_file(&config).unwrap();
    mkfifo(&config, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let pipe = config.clone();
    let writer = std::thread::spawn(move || fs::write(pipe, text));
    let mut sensor = world.start();
    writer.join().unwrap().unwrap();
    let skip = sensor.lines().len();
    sensor.signal(Signal::SIGHUP);
    sensor.says_after(skip, "config: cannot be read: a pipe gives what it has once; use a file");
    sensor.says_after(skip, "the settings are not used; the sensor goes on with those it has");
    sensor.leaves(Signal::SIGTERM);
}

#[test]
fn files_that_root_reads_as_another_users_at_the_start_alone_are_told_of() {
    let Some(world) = World::new() else { return };
    let (config, names) = (world.path("config"), world.path("names"));
    fs::write(&names, "example.org\n").unwrap();
    world.configure(&[("DNSQR_FILTER_QNAMES_EXCLUDE_FILE", names.to_str().unwrap())]);
    for file in [&config, &names] {
        fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
        chown(file, Some(CAPTURE_USER.1), None).unwrap();
    }
    let mut sensor = world.start();
    for file in [&config, &names] {
        let file = file.display();
        sensor.says(&format!("{file} could be read, and cannot be again at HUP; let root in: chown root {file}"));
    }
    let hup = |expected: &str| {
        let skip = sensor.lines().len();
        sensor.signal(Signal::SIGHUP);
        sensor.says_after(skip, expected);
    };
    hup("config: cannot be read: Permission denied");
    [&config, &names].iter().for_each(|file| chown(file, Some(0), None).unwrap());
    hup("settings read again: nothing has changed");
    sensor.leaves(Signal::SIGTERM);
}

#[test]
fn a_new_capture_process_takes_over_without_a_gap() {
    let Some(world) = World::new() else { return };
    let mut sensor = world.start();
    let load = world.send(2000);
    let descriptors = |sensor: &Sensor| fs::read_dir(format!("/proc/{}/fd", sensor.pid())).unwrap().count();
    let before = descriptors(&sensor);
    for kbytes in ["16384", "8192", "32768"] {
        let skip = sensor.lines().len();
        world.configure(&[("capture_buffer_kbytes", kbytes)]);
        sensor.signal(Signal::SIGHUP);
        sensor.says_after(skip, "settings read again: capture_buffer_kbytes");
        sensor.says_after(skip, "has left");
    }
    assert_eq!(descriptors(&sensor), before);
    let sent = load.stop();
    std::thread::sleep(std::time::Duration::from_millis(500));
    let account = sensor.leaves(Signal::SIGTERM);
    assert_eq!((account.count("packets"), account.count("gaps.count")), (sent, 0), "{account:?}");
    assert_eq!(world.waiting(), account.count("written"), "{account:?}");
}

#[test]
fn an_interface_that_goes_is_told_once_each_way() {
    let Some(world) = World::new() else { return };
    let mut sensor = world.start();
    let lose = |sensor: &Sensor, arguments: &[&[&str]], back: &[&[&str]], because: &str| {
        let skip = sensor.lines().len();
        arguments.iter().for_each(|arguments| world.namespace.link(arguments));
        let line = sensor.says_after(skip, "nothing is captured from it until it is back");
        assert!(line.contains(because), "{line}");
        std::thread::sleep(std::time::Duration::from_millis(2500));
        let lines = sensor.lines().split_off(skip);
        assert!(lines.iter().filter(|line| line.contains("interface a0")).count() == 1, "{lines:?}");
        assert!(lines.len() < 12, "{lines:?}");
        back.iter().for_each(|arguments| world.namespace.link(arguments));
        sensor.says_after(skip, "captures from a0 again");
        assert!(world.files("new").is_empty());
    };
    lose(&sensor, &[&["set", "a0", "down"]], &[&["set", "a0", "up"]], "down");
    let make: &[&[&str]] =
        &[&["add", "a0", "type", "veth", "peer", "name", "b0"], &["set", "a0", "up"], &["set", "b0", "up"]];
    lose(&sensor, &[&["del", "a0"]], make, "");
    let rename: &[&[&str]] = &[&["set", "a0", "down"], &["set", "a0", "name", "c0"], &["set", "c0", "up"]];
    let back: &[&[&str]] = &[&["set", "c0", "down"], &["set", "c0", "name", "a0"], &["set", "a0", "up"]];
    lose(&sensor, rename, back, "");
    let load = world.send(1000);
    wait_for("a file", SOON, || world.files("waiting").pop_first());
    drop(load);
    let account = sensor.leaves(Signal::SIGTERM);
    assert_eq!(account.count("gaps.count"), 3, "{account:?}");
    assert!((7000..30_000).contains(&account.count("gaps.milliseconds")), "{account:?}");
    assert_eq!(world.waiting(), account.count("written"), "{account:?}");
}

#[test]
fn an_interface_that_cannot_be_opened_costs_the_others_nothing() {
    let Some(world) = World::new() else { return };
    // By its name libpcap takes it for the kernel's firewall log, which is no packets of this kind or not to be had.
    let refused = "nflog";
    world.configure(&[("interface", "a0, nflog, a1"), ("DNSQR_QUERY_TIMEOUT", "60")]);
    let mut sensor = world.start();
    let child = sensor.child(Role::Capture);
    let load = world.send(1000);
    std::thread::sleep(std::time::Duration::from_secs(1));
    load.stop();
    let skip = sensor.lines().len();
    world.namespace.link(&["add", refused, "type", "veth", "peer", "name", "peer"]);
    world.namespace.link(&["set", refused, "up"]);
    sensor.says_after(skip, "interface nflog: cannot capture on nflog: ");
    let tries = || sensor.lines().iter().skip(skip).filter(|line| line.contains("started the capture process")).count();
    wait_for("another try, and a third", SOON, || (tries() >= 3).then_some(()));
    assert_eq!(sensor.child(Role::Capture), child, "{:?}", sensor.lines());
    let skip = sensor.lines().len();
    sensor.signal(Signal::SIGUSR1);
    sensor.says_after(skip, "sie: written");
    let account = sensor.account();
    assert!(account.count("queries.open") > 0 && account.count("queries.handover") == 0, "{account:?}");
    let lines = sensor.lines();
    let told = lines.iter().filter(|line| line.contains("nothing is captured from it until it is back")).count();
    assert_eq!(told, 3, "a1 and nflog were not there, then nflog was: {lines:?}");
    assert!(!lines.iter().any(|line| line.contains("a new one starts")), "{lines:?}");
    // Others are taken over all the same.
    world.namespace.add_pair(1);
    sensor.says_after(skip, "captures from a1 again");
    wait_for("the old process's end", SOON, || (sensor.child(Role::Capture) != child).then_some(()));
    let account = sensor.leaves(Signal::SIGTERM);
    assert_eq!(world.waiting(), account.count("written"), "{account:?}");
}

#[test]
fn an_interface_that_is_not_there_yet_is_waited_for() {
    let Some(world) = World::new() else { return };
    world.namespace.link(&["set", "a0", "down"]);
    let mut sensor = world.begin();
    sensor.says("interface a0: it is down; nothing is captured from it until it is back");
    sensor.says("ready: waits for a0");
    world.namespace.link(&["set", "a0", "up"]);
    sensor.says("captures from a0 again");
    assert_eq!(sensor.leaves(Signal::SIGTERM).count("gaps.count"), 1);
}

#[test]
fn new_settings_may_name_an_interface_that_is_not_there_yet() {
    let Some(world) = World::new() else { return };
    let mut sensor = world.start();
    let load = world.send(1000);
    let hup = |interfaces: &str| {
        let skip = sensor.lines().len();
        world.configure(&[("interface", interfaces)]);
        sensor.signal(Signal::SIGHUP);
        sensor.says_after(skip, "settings read again: interface");
        skip
    };
    hup("a0, later");
    sensor.says("interface later: there is no such interface");
    world.namespace.link(&["add", "later", "type", "veth", "peer", "name", "peer"]);
    world.namespace.link(&["set", "later", "up"]);
    world.namespace.link(&["set", "peer", "up"]);
    sensor.says("captures from later again");
    // With none that is there, nothing is captured.
    let skip = hup("never");
    sensor.says_after(skip, "interface never: there is no such interface");
    sensor.says_after(skip, "started the capture process");
    sensor.child(Role::Capture);
    wait_for("the last file", SOON, || (world.parts().is_empty() && world.files("new").is_empty()).then_some(()));
    let before = world.files("waiting");
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(world.files("waiting"), before);
    hup("a0");
    wait_for("a file", SOON, || world.files("waiting").difference(&before).next().cloned());
    drop(load);
    let account = sensor.leaves(Signal::SIGTERM);
    assert_eq!(world.waiting(), account.count("written"), "{account:?}");
}

#[test]
fn an_interface_that_is_renamed_while_its_ring_is_opened_is_not_taken_for_the_one_that_has_its_name_then() {
    let Some(world) = World::new() else { return };
    let mut sensor = world.begin();
    let capture = Pid::from_raw(sensor.child(Role::Capture));
    let has_ring = || {
        let sockets = fs::read_to_string(format!("/proc/{capture}/net/packet")).unwrap();
        sockets.lines().count() > 1 // below the heading
    };
    // By small steps, so that it is open and not ready.
    wait_for("a ring", SOON, || {
        kill(capture, Signal::SIGSTOP).unwrap();
        if !has_ring() {
            kill(capture, Signal::SIGCONT).unwrap();
            return None;
        }
        Some(())
    });
    // One that is up, which gives no error: kernels before 6.2 refuse it.
    let arguments = ["-n", &world.namespace.0, "link", "set", "a0", "name", "c0"];
    if !Command::new("ip").args(arguments).output().unwrap().status.success() {
        return skipped("this kernel renames no interface that is up");
    }
    world.namespace.link(&["add", "a0", "type", "veth", "peer", "name", "d0"]);
    world.namespace.link(&["set", "a0", "up"]);
    world.namespace.link(&["set", "d0", "up"]);
    kill(capture, Signal::SIGCONT).unwrap();
    sensor.says("interface a0: it has another name now, or another one has its name");
    sensor.says("captures from a0 again");
    sensor.leaves(Signal::SIGTERM);
}
