//! `upload` by itself, without a sensor beside it.

use super::{CAPTURE, RSYNC_ONLY, UPLOADER, Uploader, World, give, wait_for};
use crate::program::{Ended, SENSOR};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs, io,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

#[test]
fn who_may_not_enter_the_spool_is_told_who_may_and_not_to_make_it() {
    let Some(world) = World::new() else { return };
    let words = world.wrapper();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.args([SENSOR, "upload", "--once", "-c"]).arg(world.path("config"));
    let Ok(output) = command.stdin(Stdio::null()).output() else { return eprintln!("skipped: needs setpriv") };
    if output.status.code().is_some_and(|code| code >= 126) {
        return eprintln!("skipped: another user cannot reach the program");
    }
    let said = Ended::from(output).with_code(2).stderr;
    let new = world.path("spool/new/ch202");
    let why = format!("cannot use {}: Permission denied (os error 13); run it as root or as ", new.display());
    assert!(said.contains(&why) && said.ends_with("sie-test-upload\n"), "{said}");
}

#[test]
fn a_single_run_that_may_not_send_says_so_and_how_many_files_wait() {
    let Some(world) = World::new() else { return };
    world.configure(&[("upload", "no")]);
    let run = world.upload(&["--once"]);
    assert_eq!((run.code, run.log.contains("nothing is sent")), (0, false), "{}", run.log);
    for (name, waits) in [("a.nmsg", "1 file waits"), ("b.nmsg", "2 files wait")] {
        fs::write(world.waiting(name), "NMSG").unwrap();
        give(&world.waiting(name), CAPTURE.1, 0o660);
        let run = world.upload(&["--once"]);
        assert_eq!(run.code, 1, "{}", run.log);
        assert!(run.log.contains(&format!("upload=\"no\": nothing is sent; {waits}\n")), "{}", run.log);
    }
}

#[test]
fn a_test_whose_reader_has_seen_enough_ends_quietly() {
    let Some(world) = World::new() else { return };
    world.send_to(world.free_port(), &[]);
    let config = world.path("config");
    let mut command = world.inside(&["upload", "--test", "-c", config.to_str().unwrap()]);
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let ended = Ended::from(command.stdout(writer).stderr(Stdio::piped()).output().unwrap());
    assert_eq!(ended.with_code(0).stderr, "");
}

fn tell(world: &World, words: &[&str]) {
    let config = world.path("config");
    let output = world.inside(&[words, &["-c", config.to_str().unwrap()]].concat()).output().unwrap();
    Ended::from(output).with_code(0);
}

#[test]
fn a_pause_holds_a_single_run_until_it_is_resumed() {
    let Some((world, _server)) = World::with_server(RSYNC_ONLY) else { return };
    tell(&world, &["pause", "upload"]);
    let sample = world.publish("a.nmsg", 1000);
    let run = world.upload(&["--once"]);
    assert_eq!(run.code, 1, "{}", run.log);
    assert!(
        run.log.contains("upload is paused (to go on: sie-dns-sensor resume upload): nothing is sent; 1 file waits")
    );
    assert!(world.here("a.nmsg").is_some() && world.names_there().is_empty());
    tell(&world, &["resume"]);
    world.all_arrive(&[sample]);
}

/// An uploader that runs, and puts files into a directory.
fn to_directory() -> Option<(World, Uploader)> {
    let world = World::new()?;
    let target = world.path("target");
    fs::create_dir(&target).unwrap();
    give(&target, UPLOADER.1, 0o755);
    world.configure(&[("submitserver", &format!("dir:{}", target.display()))]);
    let uploader = world.begin(&[]);
    arrives(&world, &uploader, "a.nmsg");
    Some((world, uploader))
}

#[track_caller]
fn arrives(world: &World, uploader: &Uploader, name: &str) {
    world.publish(name, 1000);
    has_arrived(world, uploader, name);
}

#[track_caller]
fn has_arrived(world: &World, uploader: &Uploader, name: &str) {
    let there = world.path("target").join(name);
    wait_for(&format!("{name} in the directory:\n{}", uploader.log()), || there.exists().then_some(()));
}

#[track_caller]
fn ends_in_order(world: &World, uploader: Uploader) {
    uploader.process.signal(Signal::SIGTERM);
    let run = uploader.end();
    assert_eq!(run.code, 0, "{}", run.log);
    assert!(!run.log.contains("ended by itself") && !run.log.contains("panicked"), "{}", run.log);
    assert!(world.here("a.nmsg").is_none());
}

fn replace(directory: &Path, owner: u32, mode: u32) {
    fs::rename(directory, directory.with_extension("old")).unwrap();
    fs::create_dir(directory).unwrap();
    give(directory, owner, mode);
}

#[test]
fn an_uploader_that_runs_goes_on_with_directories_that_were_replaced() {
    let Some((world, uploader)) = to_directory() else { return };
    replace(&world.path("target"), UPLOADER.1, 0o755);
    arrives(&world, &uploader, "b.nmsg");
    replace(&world.path("spool/waiting/ch202"), CAPTURE.1, 0o2770);
    arrives(&world, &uploader, "c.nmsg");
    replace(&world.path("spool/new/ch202"), CAPTURE.1, 0o2770);
    arrives(&world, &uploader, "d.nmsg");
    ends_in_order(&world, uploader);
}

#[test]
fn an_uploader_that_runs_waits_for_directories_that_are_gone() {
    let Some((world, uploader)) = to_directory() else { return };
    let waiting = world.path("spool/waiting/ch202");
    fs::rename(&waiting, waiting.with_extension("old")).unwrap();
    let missing = format!("{} is gone; nothing is uploaded until it is there again", waiting.display());
    wait_for("word of it", || uploader.log().contains(&missing).then_some(()));
    fs::create_dir(&waiting).unwrap();
    give(&waiting, CAPTURE.1, 0o2770);
    arrives(&world, &uploader, "b.nmsg");
    ends_in_order(&world, uploader);
}

#[test]
fn a_pause_holds_an_uploader_that_runs() {
    let Some((world, uploader)) = to_directory() else { return };
    tell(&world, &["pause", "upload"]);
    wait_for("the pause", || uploader.log().contains("upload is paused").then_some(()));
    world.publish("b.nmsg", 1000);
    wait_for("the file to wait", || world.waiting("b.nmsg").exists().then_some(()));
    thread::sleep(Duration::from_secs(2));
    assert!(!world.path("target/b.nmsg").exists(), "{}", uploader.log());
    tell(&world, &["resume"]);
    has_arrived(&world, &uploader, "b.nmsg");
    assert!(uploader.log().contains("upload is resumed"), "{}", uploader.log());
    ends_in_order(&world, uploader);
}

/// The process that does the work.
fn worker(uploader: &Uploader) -> i32 {
    let pid = uploader.process.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.trim().parse().unwrap_or_else(|_| panic!("{children:?}"))
}

#[test]
fn neither_process_of_an_uploader_goes_on_without_the_other() {
    let Some((_world, uploader)) = to_directory() else { return };
    kill(Pid::from_raw(worker(&uploader)), Signal::SIGKILL).unwrap();
    let run = uploader.end();
    assert_eq!(run.code, 2, "{}", run.log);
    assert!(run.log.contains("the upload process ended by itself: killed by signal 9"), "{}", run.log);
    let Some((_world, uploader)) = to_directory() else { return };
    let worker = worker(&uploader);
    uploader.process.signal(Signal::SIGKILL);
    wait_for("its end", || (!Path::new(&format!("/proc/{worker}")).exists()).then_some(()));
}

#[test]
fn both_processes_of_an_uploader_are_the_upload_users_and_have_no_rights() {
    let Some((_world, uploader)) = to_directory() else { return };
    for pid in [uploader.process.pid().as_raw(), worker(&uploader)] {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let uid = format!("Uid:\t{0}\t{0}\t{0}\t{0}\n", UPLOADER.1);
        for line in [&uid, "CapPrm:\t0000000000000000\n", "CapEff:\t0000000000000000\n", "NoNewPrivs:\t1\n"] {
            assert!(status.contains(line), "no {line:?} in:\n{status}");
        }
    }
}
