//! `upload --test`: each step on the way, what is wrong with it and what helps.

use super::{ANYTHING, CAPTURE, RSYNC_ONLY, Run, SFTP_ONLY, UPLOADER, World, give, refusals::forced};
use crate::{name_server::NameServer, sshd::make_key};
use std::{
    fs::{self, Permissions},
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt,
    path::Path,
};

/// Tries; nothing is sent and nothing changed.
#[track_caller]
fn tried(world: &World) -> Run {
    let sample = world.publish("kept.nmsg", 100);
    let run = world.upload(&["--test"]);
    assert!(world.path("spool/new/ch202/kept.nmsg").exists() && !world.there("kept.nmsg").exists());
    assert_eq!(world.here(&sample.name).unwrap(), sample.bytes);
    assert!(run.out.chars().all(|character| character == '\n' || !character.is_control()), "{:?}", run.out);
    run
}

#[track_caller]
fn passes(world: &World, said: &str) {
    let run = tried(world);
    assert_eq!(run.code, 0, "{}{}", run.out, run.log);
    assert!(run.out.contains(said) && !run.out.contains("FAILED"), "{said}:\n{}", run.out);
}

/// This step fails for this reason, those before it pass, and this helps.
#[track_caller]
fn fails(world: &World, step: &str, reason: &str, cure: &str) {
    let run = tried(world);
    assert_eq!(run.code, 1, "{}{}", run.out, run.log);
    let lines: Vec<&str> = run.out.lines().collect();
    let at = lines.iter().position(|line| line.starts_with("FAILED")).unwrap_or_else(|| panic!("{}", run.out));
    assert!(
        lines[at].starts_with(&format!("FAILED  {step}")) && lines[at].contains(reason),
        "{step}, {reason}:\n{}",
        run.out
    );
    assert!(lines[at + 1].starts_with("        ") && lines[at + 1].contains(cure), "{cure}:\n{}", run.out);
    let passed = lines[..at].iter().filter(|line| line.starts_with("ok ")).count();
    let steps = ["server", "connect", "handshake", "host key", "key", "login", "command"];
    assert_eq!(Some(passed), steps.iter().position(|name| *name == step), "{}", run.out);
}

#[test]
fn all_is_well_with_each_transport() {
    for (may, transport, said) in [
        (RSYNC_ONLY, "rsync", "rsync, protocol 3"),
        (ANYTHING, "rsync", "rsync, protocol 3"),
        (SFTP_ONLY, "sftp", "sftp, up/ch202"),
    ] {
        let Some((world, server)) = World::with_server(may) else { return };
        world.send_to(server.port, &[("transport", transport)]);
        passes(&world, said);
        // There may be nothing else, not even a spool.
        fs::remove_dir_all(world.path("spool/waiting")).unwrap();
        passes(&world, said);
    }
}

#[test]
fn each_step_that_fails_is_named_with_what_helps() {
    let Some((world, server)) = World::with_server(RSYNC_ONLY) else { return };
    let right = |sets: &[(&str, &str)]| world.send_to(server.port, sets);
    world.configure(&[("submitserver", "submit.example")]);
    fails(&world, "server", "_rsync._tcp.submit.example", "resolver");
    world.send_to(world.free_port(), &[]);
    fails(&world, "connect", "Connection refused", "firewall");
    right(&[("login", "nobody-has-this-name")]);
    fails(&world, "login", "takes neither the login nobody-has-this-name", "keys/upload.pub to the service");
    let known = fs::read(world.path("known_hosts")).unwrap();
    right(&[]);
    fs::write(world.path("known_hosts"), "").unwrap();
    fails(&world, "host key", "SHA256:", "compare the fingerprint");
    fs::write(world.path("known_hosts"), known).unwrap();
    let key = world.path("keys/upload");
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    fails(&world, "key", "others can read", "sie-gen-key");
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    let ours = fs::read(&key).unwrap();
    fs::write(&key, "garbage").unwrap();
    fails(&world, "key", "is no private key", "sie-gen-key");
    let other = make_key(&world.keys, "other", "-t ed25519");
    fs::write(&key, fs::read(other).unwrap()).unwrap();
    fails(&world, "login", "nor this key", "keys/upload.pub to the service");
    fs::write(&key, ours).unwrap();
    right(&[("transport", "sftp")]);
    fails(&world, "command", "", "show the service this line");
    right(&[]);
    passes(&world, "ok      command    rsync");
}

#[test]
fn what_may_not_be_read_or_reached_comes_with_the_command_that_changes_it() {
    let Some((world, _server)) = World::with_server(RSYNC_ONLY) else { return };
    let (known, key, keys) = (world.path("known_hosts"), world.path("keys/upload"), world.path("keys"));
    fs::set_permissions(&known, Permissions::from_mode(0o600)).unwrap();
    let chown = |path: &Path| format!("chown {} {}", UPLOADER.1, path.display());
    fails(&world, "host key", "Permission denied", &chown(&known));
    fs::set_permissions(&known, Permissions::from_mode(0o644)).unwrap();
    give(&key, CAPTURE.1, 0o600);
    fails(&world, "key", &chown(&key), &chown(&key));
    give(&key, UPLOADER.1, 0o600);
    give(&keys, CAPTURE.1, 0o700);
    let enter = format!("let the user that uploads enter {0}: chmod a+x {0}", keys.display());
    fails(&world, "key", &enter, &enter);
    fs::set_permissions(&keys, Permissions::from_mode(0o711)).unwrap();
    passes(&world, "ok      command    rsync");
}

#[test]
fn a_server_without_srv_records_is_named_once() {
    let Some((world, server)) = World::with_server(RSYNC_ONLY) else { return };
    let run = tried(&world);
    let start = format!("ok      server     127.0.0.1 port {}\nok      connect\nok      handshake\n", server.port);
    assert!(run.out.starts_with(&start), "{}", run.out);
    assert!(run.out.contains("ok      host key   ssh-ed25519 SHA256:"), "{}", run.out);
}

#[test]
fn what_is_to_be_known_is_said_too_when_the_server_or_we_are_refused() {
    let Some(world) = World::new() else { return };
    let banner = world.path("banner");
    fs::write(&banner, "closed until \u{1b}[2Jmonday\n").unwrap();
    let extra = format!("Banner {}\n", banner.display());
    let Some(server) = world.serve(RSYNC_ONLY, &["-t ed25519"], &extra) else { return };
    world.send_to(server.port, &[("login", "nobody-has-this-name")]);
    let run = tried(&world);
    let said = "note    the server says: closed until \\u{1b}[2Jmonday\nFAILED  login";
    assert!(run.out.contains(said), "{}", run.out);
    fs::write(world.path("known_hosts"), "127.0.0.1 ssh-ed25519 %%%\n").unwrap();
    let run = tried(&world);
    assert!(run.out.contains("known_hosts:1: ") && run.out.contains("FAILED  host key"), "{}", run.out);
}

#[test]
fn a_remote_command_that_refuses_is_named_with_what_it_says() {
    let Some(world) = World::new() else { return };
    for (command, said) in [
        ("printf 'no \\033[2Juploads\\n' >&2; exit 1", "no \\u{1b}[2Juploads"),
        ("exit 0", "ends at once"),
        ("echo 'This account is currently not available.'", "This account is currently not available."),
        ("echo 'Your password has expired. New one:'; exec sleep 60", "Your password has expired."),
    ] {
        let Some(_server) = forced(&world, command) else { return };
        fails(&world, "command", said, "show the service this line");
    }
}

#[test]
fn every_server_of_an_srv_answer_is_tried_and_one_is_enough() {
    let Some((world, server)) = World::with_server(RSYNC_ONLY) else { return };
    let dead = world.free_port();
    let records = format!(
        "_rsync._tcp.submit SRV 10 1 {dead} one\n_rsync._tcp.submit SRV 20 1 {} two\n\
         one A 127.0.0.1\ntwo A 127.0.0.1\n",
        server.port
    );
    let names = world.namespace.inside(|| NameServer::start_at((Ipv4Addr::LOCALHOST, 53).into(), &records));
    let Some(_names) = names else { return };
    world.configure(&[("submitserver", "submit.example")]);
    let run = tried(&world);
    assert_eq!(run.code, 0, "{}", run.out);
    let said = format!("one.example port {dead}");
    assert!(
        run.out.contains(&said) && run.out.contains("FAILED  connect") && run.out.contains("ok      command"),
        "{}",
        run.out
    );
}

#[test]
fn a_directory_is_tried_too() {
    let Some(world) = World::new() else { return };
    let target = world.path("home/up");
    world.configure(&[("submitserver", &format!("dir:{}", target.display()))]);
    let run = tried(&world);
    assert_eq!(run.code, 1, "{}", run.out);
    assert!(
        run.out.contains("FAILED  directory") && run.out.contains("let the upload user write there"),
        "{}",
        run.out
    );
    super::give(&target, super::UPLOADER.1, 0o755);
    passes(&world, "ok      directory");
    world.configure(&[("submitserver", &format!("dir:{}", target.display())), ("remote_dir", "/sub/")]);
    let run = tried(&world);
    let said = format!("FAILED  directory  {}: No such file", target.join("sub").display());
    assert!(run.code == 1 && run.out.contains(&said), "{}", run.out);
    fs::create_dir(target.join("sub")).unwrap();
    super::give(&target.join("sub"), super::UPLOADER.1, 0o755);
    passes(&world, &format!("ok      directory  {}\n", target.join("sub").display()));
}

#[test]
fn a_directory_that_sftp_could_not_make_is_not_promised() {
    let Some((world, server)) = World::with_server(SFTP_ONLY) else { return };
    let remote_dir = |below: &str| world.send_to(server.port, &[("transport", "sftp"), ("remote_dir", below)]);
    remote_dir("up/new");
    passes(&world, "sftp, up/new will be made with the first file");
    remote_dir("missing/new");
    fails(&world, "command", "cannot make missing/new at the server: missing: no such file", "show the service");
    fs::write(world.path("home/file"), "").unwrap();
    remote_dir("file/new");
    fails(&world, "command", "", "show the service");
}

#[test]
fn a_program_that_says_much_before_it_connects_is_waited_for() {
    let Some((world, server)) = World::with_server(RSYNC_ONLY) else { return };
    let program = world.path("program");
    let script = |last: &str| {
        let lines = "yes 'a line of a banner' | head -c 30000 >&2";
        fs::write(&program, format!("#!/bin/sh\n{lines}\n{last}\n")).unwrap();
    };
    script("exec ssh \"$@\"");
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    world.send_to(server.port, &[("ssh_program", program.to_str().unwrap())]);
    let run = tried(&world);
    assert!(run.code == 0 && run.out.contains("rsync, protocol 3"), "{}", run.out);
    // Where it fails, the end of what it says is what counts.
    script("echo 'no route to there' >&2; exit 255");
    let run = tried(&world);
    assert!(run.code == 1 && run.out.contains("no route to there"), "{}", run.out);
}
