//! In the background, for the old init systems.

use super::{LEAVING, SOON, World, children, is_alive, wait_for};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    os::unix::net::UnixDatagram,
    process::{Output, Stdio},
    time::Duration,
};

/// `run --daemon`, which returns.
fn start(world: &World) -> Output {
    let pidfile = world.path("pid");
    let mut command = world.run(&["--daemon", "-P", pidfile.to_str().unwrap()]);
    // A pipe would only end with the process in the background.
    command.stdout(Stdio::null()).stderr(fs::File::create(world.path("said")).unwrap());
    let mut process = command.spawn().unwrap();
    let status = wait_for("the return of run --daemon", SOON, || process.try_wait().unwrap());
    Output { status, stdout: Vec::new(), stderr: fs::read(world.path("said")).unwrap() }
}

fn pid(world: &World) -> i32 {
    fs::read_to_string(world.path("pid")).unwrap().trim().parse().unwrap()
}

#[test]
fn it_returns_when_it_is_ready_and_the_pid_file_is_held_until_it_ends() {
    let Some(world) = World::new() else { return };
    let started = start(&world);
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    let running = pid(&world);
    assert_eq!(children(running).len(), 3);
    // A session of its own, and nothing of whoever started it.
    let stat = fs::read_to_string(format!("/proc/{running}/stat")).unwrap();
    let session = stat.rsplit_once(") ").unwrap().1.split(' ').nth(3).unwrap();
    assert_eq!(session, running.to_string());
    for descriptor in 0..3 {
        let path = fs::read_link(format!("/proc/{running}/fd/{descriptor}")).unwrap();
        assert_eq!(path.to_str(), Some("/dev/null"));
    }

    let again = start(&world);
    assert_eq!((again.status.code(), pid(&world)), (Some(2), running));

    let load = world.send(1000);
    wait_for("a file", SOON, || world.files("waiting").pop_first());
    drop(load);
    let all: Vec<i32> = children(running).into_keys().chain([running]).collect();
    kill(Pid::from_raw(running), Signal::SIGTERM).unwrap();
    wait_for("its end", LEAVING, || all.iter().all(|pid| !is_alive(*pid)).then_some(()));
    assert!(!world.path("pid").exists());
    assert!(world.waiting() > 0);
}

#[test]
fn a_second_sensor_on_the_same_spool_is_refused() {
    let Some(world) = World::new() else { return };
    assert!(start(&world).status.success());
    let second = world.run(&["--foreground"]).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(2), "{said}");
    assert!(said.contains("already running: another sensor writes to ") && said.contains("/new/ch202"), "{said}");
    kill(Pid::from_raw(pid(&world)), Signal::SIGTERM).unwrap();
}

#[test]
fn it_returns_the_exit_code_of_a_sensor_that_cannot_begin() {
    let Some(world) = World::new() else { return };
    world.configure(&[("rotate_seconds", "60s"), ("compress", "13")]);
    let refused = start(&world);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(78), "{said}");
    assert!(said.contains("rotate_seconds=\"60s\"") && said.contains("compress=\"13\""), "{said}");
    assert!(!world.path("pid").exists());
    world.configure(&[("spooldir", "/nonexistent/spool")]);
    assert_eq!(start(&world).status.code(), Some(78));
}

#[test]
fn a_pid_file_that_a_killed_sensor_left_behind_is_taken_over() {
    let Some(world) = World::new() else { return };
    assert!(start(&world).status.success());
    let killed = pid(&world);
    let left = children(killed);
    kill(Pid::from_raw(killed), Signal::SIGKILL).unwrap();
    wait_for("its children leave", LEAVING, || left.keys().all(|pid| !is_alive(*pid)).then_some(()));
    std::thread::sleep(Duration::from_millis(10));
    assert!(start(&world).status.success());
    assert_ne!(pid(&world), killed);
}

#[test]
fn in_the_background_it_logs_to_syslog() {
    let Some(world) = World::new() else { return };
    let syslog = UnixDatagram::bind(world.path("log")).unwrap();
    syslog.set_read_timeout(Some(SOON)).unwrap();
    world.configure(&[("syslog_priority", "local3.notice"), ("log_level", "info")]);
    assert!(start(&world).status.success());
    let running = pid(&world);
    kill(Pid::from_raw(running), Signal::SIGTERM).unwrap();
    let mut lines = Vec::new();
    // "written" or "made" is the last line of the account.
    while !lines.last().is_some_and(|line: &String| line.contains(": made ")) {
        let mut buffer = [0; 2048];
        let len = syslog.recv(&mut buffer).unwrap();
        lines.push(String::from_utf8(buffer[..len].to_vec()).unwrap());
    }
    // local3 is 19; notice is 5.
    assert!(lines.contains(&format!("<157>sie[{running}]: ready: captures from a0")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with(&format!("<157>sie[{running}]: packets "))), "{lines:?}");
    // Until it is ready the one who starts it hears of it, and not afterwards.
    let said = fs::read_to_string(world.path("said")).unwrap();
    assert_eq!(said.lines().last(), Some("sie: ready: captures from a0"), "{said}");
}
