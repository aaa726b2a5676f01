//! Files of the operator that are garbage, huge or hostile.

use super::{RSYNC_ONLY, World, give};
use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
};

/// What no program may be given.
const HUGE: usize = 50 << 20;
/// What the uploader may take, whatever it is given.
const MEMORY_KBYTES: u64 = 60_000;

/// Many kinds of what a file must not be.
fn spoilt(whole: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut flipped = whole.to_vec();
    flipped.iter_mut().step_by(3).for_each(|byte| *byte ^= 0x80);
    vec![
        ("empty", Vec::new()),
        ("one half", whole[..whole.len() / 2].to_vec()),
        ("bytes of any kind", (0..100_000_u32).map(|number| (number.wrapping_mul(0x9E37_79B9) >> 24) as u8).collect()),
        ("flipped bits", flipped),
        ("control characters", b"\x1b]0;title\x07\x1b[2J\x00\r\n".repeat(1000)),
        ("50 MB of zeros", vec![0; HUGE]),
        ("50 MB in one line", vec![b'a'; HUGE]),
        ("50 MB in short lines", b"* ssh-rsa AAAA\n".repeat(HUGE / 15)),
        (
            "the whole of it and 50 MB",
            [whole, &b"\n* ssh-ed25519 AAAA"[..]].concat().into_iter().chain(vec![b'\n'; HUGE]).collect(),
        ),
    ]
}

#[track_caller]
fn is_small(world: &World, what: &str, path: &Path, run: &super::Run) {
    println!("{what}: {} kB, {:?}\n{}", run.peak_kbytes, run.took, run.log);
    assert!(run.peak_kbytes < MEMORY_KBYTES, "{what}: {} kB", run.peak_kbytes);
    assert!(run.log.contains(&path.display().to_string()), "{what}: no {} in:\n{}", path.display(), run.log);
    assert!(run.log.len() < 20_000, "{what}: {} bytes of log", run.log.len());
    assert!(world.there("a.nmsg").metadata().is_err(), "{what}");
}

#[test]
fn a_spoilt_list_of_known_hosts_is_named_and_trusts_nobody() {
    let Some((world, _server)) = World::with_server(RSYNC_ONLY) else { return };
    let path = world.path("known_hosts");
    let whole = fs::read(&path).unwrap();
    let samples = world.publish_some();
    for (what, bytes) in spoilt(&whole) {
        fs::write(&path, bytes).unwrap();
        is_small(&world, what, &path, &world.none_arrives(&samples, ""));
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    is_small(&world, "a directory", &path, &world.none_arrives(&samples, "directory"));
    fs::remove_dir(&path).unwrap();
    symlink("/dev/zero", &path).unwrap();
    is_small(&world, "a device", &path, &world.none_arrives(&samples, ""));
    fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    give(&path, super::UPLOADER.1, 0o644);
    is_small(&world, "a pipe", &path, &world.none_arrives(&samples, ""));
    fs::remove_file(&path).unwrap();
    fs::write(&path, whole).unwrap();
    world.all_arrive(&samples);
}

#[test]
fn a_spoilt_key_is_named_and_nothing_of_it_is_said() {
    let Some((world, _server)) = World::with_server(RSYNC_ONLY) else { return };
    let path = world.path("keys/upload");
    let whole = fs::read(&path).unwrap();
    let secret = String::from_utf8(whole.clone()).unwrap().lines().nth(3).unwrap().to_owned();
    let samples = world.publish_some();
    for (what, bytes) in spoilt(&whole) {
        fs::write(&path, bytes).unwrap();
        let run = world.none_arrives(&samples, "");
        is_small(&world, what, &path, &run);
        assert!(!run.log.contains(&secret), "{what}");
    }
    fs::write(&path, &whole).unwrap();
    for mode in [0o644, 0o640, 0o604] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        is_small(&world, "others read it", &path, &world.none_arrives(&samples, "others can read the key"));
    }
    give(&path, super::LOGIN.1, 0o600);
    is_small(&world, "another user's", &path, &world.none_arrives(&samples, ""));
    fs::remove_file(&path).unwrap();
    is_small(&world, "missing", &path, &world.none_arrives(&samples, "No such file"));
    fs::write(&path, whole).unwrap();
    give(&path, super::UPLOADER.1, 0o600);
    world.all_arrive(&samples);
}

#[test]
fn a_spoilt_configuration_is_refused_before_anything_is_touched() {
    let Some((world, _server)) = World::with_server(RSYNC_ONLY) else { return };
    let path = world.path("config");
    let whole = fs::read(&path).unwrap();
    let samples = world.publish_some();
    for (what, bytes) in spoilt(&whole) {
        if what == "empty" {
            continue; // the defaults, and this machine's spool
        }
        fs::write(&path, bytes).unwrap();
        let run = world.upload(&["--once"]);
        assert_eq!(run.code, 78, "{what}\n{}", run.log);
        is_small(&world, what, &path, &run);
        assert!(run.log.chars().all(|character| character == '\n' || !character.is_control()), "{what}: {:?}", run.log);
        assert!(samples.iter().all(|sample| world.path("spool/new/ch202").join(&sample.name).exists()), "{what}");
    }
    fs::write(&path, whole).unwrap();
    world.all_arrive(&samples);
}

#[test]
fn without_a_login_the_log_says_what_to_write() {
    let Some((world, server)) = World::with_server(RSYNC_ONLY) else { return };
    world.send_to(server.port, &[("login", "")]);
    let samples = world.publish_some();
    world.none_arrives(&samples, "login=\"NAME\"");
    world.send_to(server.port, &[]);
    world.all_arrive(&samples);
}

#[test]
fn what_waits_and_is_no_file_of_ours_stays_and_holds_nothing_up() {
    let Some((world, _server)) = World::with_server(RSYNC_ONLY) else { return };
    fs::write(world.path("secret"), "secret").unwrap();
    symlink(world.path("secret"), world.waiting("link.nmsg")).unwrap();
    fs::create_dir(world.waiting("directory.nmsg")).unwrap();
    assert!(Command::new("mkfifo").arg(world.waiting("pipe.nmsg")).status().unwrap().success());
    let samples = world.publish_some();
    world.all_arrive(&samples);
    assert_eq!(world.names_there().len(), samples.len(), "{:?}", world.names_there());
    assert_eq!(fs::read_dir(world.path("spool/waiting/ch202")).unwrap().count() - 3, left_by_us(&world));
}

#[test]
fn files_with_names_that_are_none_of_ours_stay_are_said_and_remain() {
    for stage in ["waiting", "new"] {
        let Some((world, _server)) = World::with_server(RSYNC_ONLY) else { return };
        let put = |name: &str| drop(File::create(world.path("spool").join(stage).join("ch202").join(name)).unwrap());
        ["-e sh x.nmsg", "a\n\u{1b}[2J.nmsg", "ü.nmsg"].into_iter().for_each(put);
        let samples = world.publish_some();
        let run = world.upload(&["--once"]);
        assert_eq!(run.code, 1, "{}", run.log);
        assert!(run.log.contains("left alone") && !run.log.contains('\u{1b}'), "{}", run.log);
        assert!(samples.iter().all(|sample| world.there(&sample.name).exists()), "{}", run.log);
        assert_eq!(world.names_there().len(), samples.len(), "{:?}", world.names_there());
        let kept = fs::read_dir(world.path("spool").join(stage).join("ch202")).unwrap();
        let is_kept = |name: &[u8]| name.ends_with(b".nmsg") && !name.starts_with(b".");
        let kept = kept.filter(|entry| is_kept(entry.as_ref().unwrap().file_name().as_encoded_bytes()));
        assert_eq!(kept.count(), 3, "{stage}");
    }
}

#[test]
fn files_that_somebody_put_into_directories_below_arrive_too() {
    let Some((world, _server)) = World::with_server(RSYNC_ONLY) else { return };
    let samples = world.publish_some();
    let below = world.waiting("saved").join("older");
    fs::create_dir_all(&below).unwrap();
    fs::set_permissions(&below, Permissions::from_mode(0o777)).unwrap();
    for sample in &samples {
        fs::rename(world.path("spool/new/ch202").join(&sample.name), below.join(&sample.name)).unwrap();
    }
    let run = world.all_arrive(&samples);
    assert!(run.log.contains(&format!("{} files in directories below ", samples.len())), "{}", run.log);
}

/// The uploader's own files, whose names begin with a point.
fn left_by_us(world: &World) -> usize {
    let names = fs::read_dir(world.path("spool/waiting/ch202")).unwrap();
    names.filter(|entry| entry.as_ref().unwrap().file_name().as_encoded_bytes().starts_with(b".")).count()
}

#[test]
fn a_file_that_may_not_be_read_is_named_and_holds_nothing_up() {
    let Some((world, _server)) = World::with_server(RSYNC_ONLY) else { return };
    let mut samples = world.publish_some();
    let closed = world.publish("closed.nmsg", 1000);
    give(&world.path("spool/new/ch202/closed.nmsg"), super::LOGIN.1, 0o600);
    samples.push(closed);
    let run = world.once(&samples);
    assert_eq!(run.code, 1);
    assert!(run.log.contains("closed.nmsg: cannot open it: Permission denied"), "{}", run.log);
    assert_eq!(world.names_there().len(), 3, "{}", run.log);
}
