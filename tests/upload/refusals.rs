//! Servers that are not there, are others than they should be, or do not take what they are sent.

use super::{ANYTHING, LOGIN, RSYNC_ONLY, SFTP_ONLY, World, give};
use crate::sshd::{Sshd, make_key, public_half};
use std::{
    fs::{self, Permissions},
    io::Write,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    process::Command,
    thread,
    time::Duration,
};

/// Nothing arrives with what was spoiled, all of it once that is undone.
#[track_caller]
fn refused(world: &World, why: &str, cure: impl FnOnce()) {
    let samples = world.publish_some();
    world.none_arrives(&samples, why);
    assert_eq!(world.names_there().len(), 0);
    cure();
    world.all_arrive(&samples);
}

#[test]
fn a_server_that_does_not_run_is_named_with_its_port() {
    let Some((world, server)) = World::with_server(RSYNC_ONLY) else { return };
    let port = world.free_port();
    world.send_to(port, &[]);
    refused(&world, &format!("127.0.0.1 port {port}: 127.0.0.1: Connection refused"), || {
        world.send_to(server.port, &[])
    });
}

#[test]
fn a_wrong_login_is_named() {
    let Some((world, server)) = World::with_server(RSYNC_ONLY) else { return };
    world.send_to(server.port, &[("login", "nobody-has-this-name")]);
    refused(&world, "takes neither the login nobody-has-this-name nor this key", || world.send_to(server.port, &[]));
}

#[test]
fn a_key_that_the_server_does_not_know_is_named_with_its_fingerprint() {
    let Some((world, _server)) = World::with_server(RSYNC_ONLY) else { return };
    let other = make_key(&world.keys, "other", "-t ed25519");
    let key = world.path("keys/upload");
    let ours = fs::read(&key).unwrap();
    fs::write(&key, fs::read(&other).unwrap()).unwrap();
    let output = Command::new("ssh-keygen").args(["-l", "-f"]).arg(other.with_extension("pub")).output().unwrap();
    let fingerprint = String::from_utf8(output.stdout).unwrap().split(' ').nth(1).unwrap().to_owned();
    refused(&world, &fingerprint, || fs::write(&key, ours).unwrap());
}

#[test]
fn another_key_of_the_server_is_refused_with_both_fingerprints() {
    let Some((world, _server)) = World::with_server(RSYNC_ONLY) else { return };
    let known = fs::read(world.path("known_hosts")).unwrap();
    let other = make_key(&world.keys, "other", "-t ed25519");
    fs::write(world.path("known_hosts"), format!("* {}\n", public_half(&other))).unwrap();
    refused(&world, "expected ssh-ed25519 SHA256:", || fs::write(world.path("known_hosts"), known).unwrap());
}

#[test]
fn a_server_that_is_not_known_is_refused_with_its_fingerprint() {
    let Some((world, _server)) = World::with_server(RSYNC_ONLY) else { return };
    let known = fs::read(world.path("known_hosts")).unwrap();
    fs::write(world.path("known_hosts"), "").unwrap();
    let spoiled = "whose key is ssh-ed25519 SHA256:";
    refused(&world, spoiled, || fs::write(world.path("known_hosts"), &known).unwrap());
    // The same without the file.
    fs::remove_file(world.path("known_hosts")).unwrap();
    let samples = [world.publish("other.nmsg", 5000)];
    world.none_arrives(&samples, "No such file or directory");
    fs::write(world.path("known_hosts"), known).unwrap();
    world.all_arrive(&samples);
}

#[test]
fn a_revoked_key_of_the_server_is_refused() {
    let Some((world, _server)) = World::with_server(RSYNC_ONLY) else { return };
    let known = fs::read_to_string(world.path("known_hosts")).unwrap();
    fs::write(world.path("known_hosts"), format!("{known}@revoked {known}")).unwrap();
    refused(&world, "is revoked", || fs::write(world.path("known_hosts"), known).unwrap());
}

/// The server runs this in a shell, whatever it is asked.
pub(super) fn forced(world: &World, command: &str) -> Option<Sshd> {
    let script = world.path("forced");
    fs::write(&script, format!("#!/bin/sh\n{command}\n")).unwrap();
    fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    world.serve(&format!("command=\"exec {}\",restrict", script.display()), &["-t ed25519"], "")
}

#[test]
fn a_remote_command_that_is_no_rsync_confirms_nothing() {
    let Some(world) = World::new() else { return };
    let samples = world.publish_some();
    for (command, why) in [
        // A greeting, and the end.
        ("printf '\\037\\0\\0\\0'; exit 0", ""),
        ("echo 'Uploads are closed: ask root@example' >&2; exit 1", "Uploads are closed: ask root@example"),
        ("echo 'This account is currently not available.'; exit 1", "This account is currently not available."),
        ("printf 'a\\033[2J\\tb\\r\\0c' >&2; exit 1", "a\\u{1b}[2J"),
        ("exit 0", "ended before"),
        ("exit 7", "exit code 7"),
        ("kill -KILL $$", "signal KILL"),
        ("head -c 30000000 /dev/urandom", ""),
        ("yes 'a line that says nothing' | head -c 30000000", "a line that says nothing"),
        ("yes | head -c 3000000 >&2; exit 3", ""),
    ] {
        let Some(_server) = forced(&world, command) else { return };
        let run = world.none_arrives(&samples, why);
        println!("{command}: {:?}\n{}", run.took, run.log);
        assert!(run.took < Duration::from_secs(20), "{command}");
        assert!(run.log.lines().all(|line| line.len() < 4000), "{command}: {}", run.log);
        assert!(run.peak_kbytes < 60_000, "{command}: {} kB", run.peak_kbytes);
    }
    let Some(_server) = world.serve(RSYNC_ONLY, &["-t ed25519"], "") else { return };
    world.all_arrive(&samples);
}

#[test]
fn a_remote_rsync_that_is_killed_while_it_receives_confirms_nothing() {
    let Some(world) = World::new() else { return };
    let kill = "(sleep 0.4; kill -KILL $$) & exec $SSH_ORIGINAL_COMMAND";
    let Some(server) = forced(&world, kill) else { return };
    world.send_to(server.port, &[("upload_rate_kbytes", "300")]);
    let samples = [world.publish("a.nmsg", 900_000)];
    world.none_arrives(&samples, "killed by signal KILL");
    let Some(_server) = world.serve(RSYNC_ONLY, &["-t ed25519"], "") else { return };
    world.all_arrive(&samples);
}

#[test]
fn what_a_wrapper_has_not_stored_because_of_another_file_of_that_name_stays() {
    let Some(world) = World::new() else { return };
    let Some(_server) =
        forced(&world, "exec rsync --server -e.Lfx --ignore-existing --remove-source-files . up/ch202/")
    else {
        return;
    };
    fs::create_dir(world.path("home/up/ch202")).unwrap();
    give(&world.path("home/up/ch202"), LOGIN.1, 0o755);
    let sample = world.publish("a.nmsg", 5000);
    // Somebody else's.
    fs::write(world.there("a.nmsg"), b"other").unwrap();
    let run = world.upload(&["--once"]);
    assert_eq!(run.code, 1, "{}", run.log);
    assert!(run.log.contains(&format!("failed to upload {}: ", world.waiting("a.nmsg").display())), "{}", run.log);
    assert_eq!(world.here("a.nmsg").as_ref(), Some(&sample.bytes));
    assert_eq!(fs::read(world.there("a.nmsg")).unwrap(), b"other");
}

#[test]
fn a_directory_that_may_not_be_written_to_is_named() {
    for (may, transport) in [(RSYNC_ONLY, "rsync"), (ANYTHING, "rsync"), (SFTP_ONLY, "sftp")] {
        let Some((world, server)) = World::with_server(may) else { return };
        world.send_to(server.port, &[("transport", transport)]);
        fs::create_dir(world.path("home/up/ch202")).unwrap();
        refused(&world, "ermission denied", || give(&world.path("home/up/ch202"), LOGIN.1, 0o755));
    }
}

#[test]
fn a_directory_whose_parent_is_missing_is_named() {
    for (may, transport) in [(RSYNC_ONLY, "rsync"), (SFTP_ONLY, "sftp")] {
        let Some((world, server)) = World::with_server(may) else { return };
        world.send_to(server.port, &[("transport", transport)]);
        fs::remove_dir(world.path("home/up")).unwrap();
        let samples = world.publish_some();
        let run = world.none_arrives(&samples, "up/ch202");
        assert!(run.log.to_lowercase().contains("no such file"), "{}", run.log);
        fs::create_dir(world.path("home/up")).unwrap();
        give(&world.path("home/up"), LOGIN.1, 0o755);
        world.all_arrive(&samples);
    }
}

#[test]
fn the_spool_itself_in_the_place_of_a_server_is_refused_and_no_file_goes() {
    let Some(world) = World::new() else { return };
    let samples = world.publish_some();
    let spool = world.path("spool");
    symlink(spool.join("waiting"), world.path("link")).unwrap();
    for (target, remote_dir) in [
        (spool.join("waiting/ch202"), ""),
        (spool.join("waiting"), "ch202"),
        (world.path("link/ch202"), ""),
        (spool.join("new/ch202"), ""),
    ] {
        let server = format!("dir:{}", target.display());
        world.configure(&[("submitserver", server.as_str()), ("remote_dir", remote_dir)]);
        let run = world.upload(&["--once"]);
        assert!(samples.iter().all(|sample| world.here(&sample.name).as_ref() == Some(&sample.bytes)), "{}", run.log);
        assert!(run.code == 1 && run.log.contains("it is the spool itself"), "{}", run.log);
        let run = world.upload(&["--test"]);
        assert!(run.code == 1 && run.out.contains("it is the spool itself\n        name another"), "{}", run.out);
    }
}

/// A file system of 256 KiB.
pub(super) struct Small(PathBuf);

impl Small {
    pub(super) fn new(path: PathBuf) -> Small {
        fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        assert!(mount.args(["-t", "tmpfs", "-o", "size=256k", "sie-test"]).arg(&path).status().unwrap().success());
        give(&path, LOGIN.1, 0o755);
        Small(path)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_at_the_server_is_named_and_what_fits_arrives() {
    for (may, transport) in [(RSYNC_ONLY, "rsync"), (SFTP_ONLY, "sftp")] {
        let Some(world) = World::new() else { return };
        // Before the server has its own view of what is mounted.
        let small = Small::new(world.path("home/up/ch202"));
        let Some(server) = world.serve(may, &["-t ed25519"], "") else { return };
        world.send_to(server.port, &[("transport", transport)]);
        let samples =
            [("a.nmsg", 100_000), ("b.nmsg", 900_000), ("c.nmsg", 1000)].map(|(name, size)| world.publish(name, size));
        let run = world.once(&samples);
        assert_eq!(run.code, 1);
        assert!(run.log.to_lowercase().contains("no space left"), "{}", run.log);
        assert!(world.here("b.nmsg").is_some() && world.here("a.nmsg").is_none(), "{}", run.log);
        let arrived_then = world.here("c.nmsg").is_none();
        // There is room again.
        let mut mount = Command::new("mount");
        assert!(mount.args(["-o", "remount,size=4m"]).arg(&small.0).status().unwrap().success());
        world.all_arrive(if arrived_then { &samples[1..2] } else { &samples[1..] });
        assert!(world.there("a.nmsg").exists());
    }
}

#[test]
fn a_single_run_tries_each_file_though_the_first_ones_do_not_fit() {
    for transport in ["rsync", "sftp", "directory"] {
        let Some(world) = World::new() else { return };
        let small = Small::new(world.path("home/up/ch202"));
        let may = if transport == "sftp" { SFTP_ONLY } else { RSYNC_ONLY };
        let Some(server) = world.serve(may, &["-t ed25519"], "") else { return };
        match transport {
            "directory" => {
                give(&small.0, super::UPLOADER.1, 0o755);
                world.configure(&[("submitserver", &format!("dir:{}", small.0.display()))]);
            }
            _ => world.send_to(server.port, &[("transport", transport)]),
        }
        let sizes = [("a", 900_000), ("b", 900_000), ("c", 900_000), ("d", 900_000), ("e", 1000), ("f", 1000)];
        let samples = sizes.map(|(name, size)| world.publish(&format!("{name}.nmsg"), size));
        let run = world.once(&samples);
        assert_eq!(run.code, 1, "{transport}\n{}", run.log);
        for sample in &samples {
            let is_small = sample.bytes.len() == 1000;
            assert_eq!(world.here(&sample.name).is_none(), is_small, "{transport}, {}\n{}", sample.name, run.log);
        }
        assert!(run.took < Duration::from_secs(15), "{transport}: {:?}\n{}", run.took, run.log);
    }
}

#[test]
fn what_is_no_ssh_server_is_named_with_what_it_says() {
    let Some(world) = World::new() else { return };
    fs::write(world.path("known_hosts"), "").unwrap();
    let samples = world.publish_some();
    let garbage = vec![b'x'; 1 << 20];
    let lines = b"one line after another\r\n".repeat(50_000);
    let (mut after, mut long) = (b"SSH-2.0-garbage\r\n".to_vec(), b"SSH-2.0-".to_vec());
    after.extend((0..3_000_000_u32).flat_map(|number| (number.wrapping_mul(0x9E37_79B9) >> 24).to_be_bytes()));
    long.extend(&garbage);
    for (said, why) in [
        (&b""[..], "closed the connection before it said anything"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "it says: HTTP/1.1 400 Bad Request"),
        (b"Exceeded MaxStartups\r\n", "Exceeded MaxStartups"),
        (b"\x1b]0;title\x07\x00\xff\r\n", "\\u{1b}]0;title\\u{7}"),
        (&garbage, "does not begin with SSH"),
        (&lines, "one line after another"),
        (&after, "cannot agree on ciphers"),
        (&long, ""),
        (b"SSH-1.5-old\r\n", ""),
    ] {
        let said = said.to_vec();
        let port = world.namespace.inside(move || {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            thread::spawn(move || {
                let mut client = listener.accept().unwrap().0;
                let _ = client.write_all(&said);
            });
            port
        });
        world.send_to(port, &[]);
        let run = world.none_arrives(&samples, why);
        println!("{:?}\n{}", run.took, run.log);
        assert!(run.peak_kbytes < 60_000, "{} kB", run.peak_kbytes);
        assert!(run.took < Duration::from_secs(20), "{:?}", run.took);
    }
}
