//! `upload` by itself, without a sensor beside it.

use super::{CAPTURE, RSYNC_ONLY, World, give};
use crate::program::{Ended, SENSOR};
use std::{
    fs, io,
    process::{Command, Stdio},
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

#[test]
fn a_pause_holds_a_single_run_until_it_is_resumed() {
    let Some((world, _server)) = World::with_server(RSYNC_ONLY) else { return };
    let config = world.path("config");
    let tell = |words: &[&str]| {
        let output = world.inside(&[words, &["-c", config.to_str().unwrap()]].concat()).output().unwrap();
        Ended::from(output).with_code(0);
    };
    tell(&["pause", "upload"]);
    let sample = world.publish("a.nmsg", 1000);
    let run = world.upload(&["--once"]);
    assert_eq!(run.code, 1, "{}", run.log);
    assert!(
        run.log.contains("upload is paused (to go on: sie-dns-sensor resume upload): nothing is sent; 1 file waits")
    );
    assert!(world.here("a.nmsg").is_some() && world.names_there().is_empty());
    tell(&["resume"]);
    world.all_arrive(&[sample]);
}
