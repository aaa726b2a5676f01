//! The sensor with all its processes and a server: from the capture to the far end.

use super::{
    super::{Role, Sensor, is_alive},
    SOON, Site, UPLOAD_USER, name_of, now, own, visible, wait_for,
};
use crate::sshd::free_port;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{collections::BTreeSet, fs, path::Path, time::Instant};

/// What a file may take from the end of its second to its name at the server, where much else runs.
const DELAY: u64 = 5;

/// The seconds in a name.
fn began(name: &str) -> u64 {
    name.rsplit('.').nth(2).unwrap().parse().unwrap()
}

/// Waits for a file there of after now; how long that took after the end of its second, in whole seconds.
#[track_caller]
fn arrives(directory: &Path) -> u64 {
    let after = now();
    wait_for("a file at the far end", SOON, || {
        let newest = visible(directory).iter().map(|name| began(name)).max()?;
        (newest > after).then(|| now().saturating_sub(newest + 1))
    })
}

/// Waits for a file that is published here.
#[track_caller]
fn is_published(site: &Site) {
    let after = now();
    wait_for("a published file", SOON, || {
        let stages = ["new", "waiting", "archive"];
        let names = stages.iter().flat_map(|stage| site.world.files(stage)).map(|path| name_of(&path));
        names.into_iter().any(|name| began(&name) > after).then_some(())
    });
}

/// Gives it other settings by HUP; the process that uploads afterwards.
#[track_caller]
fn reload(site: &Site, sensor: &Sensor, sets: &[(&str, &str)]) -> i32 {
    let skip = sensor.lines().len();
    site.configure(&[sets, &[("archive", "yes")]].concat());
    sensor.signal(Signal::SIGHUP);
    sensor.says_after(skip, "settings read again: ");
    sensor.child(Role::Upload)
}

/// Waits until another process than this uploads.
#[track_caller]
fn is_replaced(sensor: &Sensor, uploader: i32) -> i32 {
    wait_for("another process that uploads", SOON, || {
        let next = sensor.child(Role::Upload);
        (next != uploader && !is_alive(uploader)).then_some(next)
    })
}

#[test]
fn what_is_captured_is_at_the_server_in_seconds_and_other_settings_lose_nothing() {
    let Some(site) = Site::new() else { return };
    site.configure(&[("archive", "yes")]);
    let mut sensor = site.world.start();
    let load = site.world.send(1000);
    let mut delays: Vec<u64> = (0..3).map(|_| arrives(&site.there())).collect();
    let uploader = sensor.child(Role::Upload);
    let (other, target) = (site.world.path("other"), site.world.path("target"));
    for directory in [&other, &target] {
        fs::create_dir(directory).unwrap();
        own(directory, UPLOAD_USER.1, 0o755);
    }
    // By the same process: another directory, by sftp.
    let other_dir = ("remote_dir", other.to_str().unwrap());
    assert_eq!(reload(&site, &sensor, &[("transport", "sftp"), other_dir]), uploader);
    delays.push(arrives(&other));
    // An account that there is none of: files wait.
    let skip = sensor.lines().len();
    assert_eq!(reload(&site, &sensor, &[("login", "sie-nobody"), other_dir]), uploader);
    sensor.says_after(skip, "failed to upload ");
    is_published(&site);
    assert_eq!(reload(&site, &sensor, &[other_dir]), uploader);
    sensor.says_after(skip, "uploads work again");
    delays.push(arrives(&other));
    // Another server, to which another process goes.
    let port = site.world.namespace.inside(free_port);
    let second = site.another_server(port).unwrap();
    let server = format!("127.0.0.1:{port}");
    reload(&site, &sensor, &[("submitserver", &server)]);
    let next = is_replaced(&sensor, uploader);
    delays.push(arrives(&site.there()));
    assert!(!second.children().is_empty());
    // Another key, where the process may look for it.
    let key = site.world.path("keys/other");
    fs::rename(site.world.path("keys/upload"), &key).unwrap();
    reload(&site, &sensor, &[("uploadkey", key.to_str().unwrap())]);
    let next = is_replaced(&sensor, next);
    delays.push(arrives(&site.there()));
    let to_directory = format!("dir:{}", target.display());
    reload(&site, &sensor, &[("submitserver", &to_directory), ("remote_dir", "")]);
    delays.push(arrives(&target));
    assert!(!sensor.lines().iter().any(|line| line.contains("another uploader")));
    println!("seconds from the end of a file's second to its arrival: {delays:?}");
    assert!(delays.iter().all(|delay| *delay <= DELAY), "{delays:?}");
    // Nothing is sent any more; what is captured is archived.
    let uploader = is_replaced(&sensor, next);
    assert_eq!(
        reload(&site, &sensor, &[("upload", "no"), ("submitserver", &to_directory), ("remote_dir", "")]),
        uploader
    );
    wait_for("the end of uploads", SOON, || {
        let before = visible(&target);
        is_published(&site);
        is_published(&site);
        (visible(&target) == before).then_some(())
    });
    drop(load);
    let account = sensor.leaves(Signal::SIGTERM);
    assert_eq!((account.count("gaps.count"), account.count("written.lost transactions")), (0, 0), "{account:?}");
    let archived: BTreeSet<String> = site.world.files("archive").iter().map(|path| name_of(path)).collect();
    let all = [site.there(), other, target].map(|directory| (visible(&directory), directory));
    let last = all[2].0.last().unwrap().clone();
    for name in archived.iter().filter(|name| **name <= last) {
        let bytes = fs::read(site.world.path("spool/archive/ch202").join(name)).unwrap();
        let places: Vec<_> = all.iter().filter(|(names, _)| names.contains(name)).collect();
        assert!(!places.is_empty() || site.here().contains(name), "{name} is nowhere");
        assert!(
            places.iter().all(|(_, directory)| fs::read(directory.join(name)).unwrap() == bytes),
            "{name} is another"
        );
    }
    assert!(all.iter().all(|(names, _)| names.iter().all(|name| archived.contains(name))));
}

#[test]
fn without_a_key_files_wait_and_uploads_begin_when_there_is_one() {
    let Some(site) = Site::new() else { return };
    let keys = site.world.path("keys");
    fs::remove_file(keys.join("upload")).unwrap();
    let mut sensor = site.world.start();
    let load = site.world.send(1000);
    let line = sensor.says("failed to upload ");
    assert!(line.contains("keys/upload"), "{line}");
    let gone = Instant::now();
    let made = site.run(&["gen-key"]).with_code(0);
    let public = fs::read_to_string(keys.join("upload.pub")).unwrap();
    assert!(made.text().contains(&public));
    // As somebody at the server does with what was mailed.
    site.server.as_ref().unwrap().authorize(&public);
    sensor.says("uploads work again");
    println!("{:?} after the key was made", gone.elapsed());
    arrives(&site.there());
    let told = sensor.lines().iter().filter(|line| line.contains("failed to upload ")).count();
    assert!(told <= 2, "{:?}", sensor.lines()); // another line if it knew the key before the server did
    drop(load);
    let account = sensor.leaves(Signal::SIGTERM);
    assert_eq!(account.count("gaps.count"), 0, "{account:?}");
}

#[test]
fn a_place_of_the_resolvers_files_that_comes_later_is_found_by_another_process() {
    let Some(site) = Site::new() else { return };
    let run = site.world.path("system-run");
    fs::create_dir(&run).unwrap();
    let mut sensor = site.world.start();
    let uploader = sensor.child(Role::Upload);
    fs::create_dir_all(run.join("systemd/resolve")).unwrap();
    let next = is_replaced(&sensor, uploader);
    let load = site.world.send(1000);
    arrives(&site.there());
    drop(load);
    assert_eq!(sensor.child(Role::Upload), next, "and by one only");
    sensor.leaves(Signal::SIGTERM);
}

#[test]
fn directories_made_anew_are_found_by_another_process() {
    let Some(site) = Site::new() else { return };
    let mut sensor = site.world.start();
    let load = site.world.send(1000);
    arrives(&site.there());
    // The sandbox holds on to a directory, and another one of the same name is another.
    let uploader = sensor.child(Role::Upload);
    fs::rename(site.world.path("keys"), site.world.path("old")).unwrap();
    site.give_keys();
    let next = is_replaced(&sensor, uploader);
    arrives(&site.there());
    // As of a disk that is mounted over an empty directory.
    let target = site.world.path("target");
    let make = || {
        fs::create_dir(&target).unwrap();
        own(&target, UPLOAD_USER.1, 0o755);
    };
    make();
    let to_directory = format!("dir:{}", target.display());
    reload(&site, &sensor, &[("submitserver", &to_directory), ("remote_dir", "")]);
    let next = is_replaced(&sensor, next);
    arrives(&target);
    fs::rename(&target, site.world.path("unmounted")).unwrap();
    make();
    is_replaced(&sensor, next);
    arrives(&target);
    drop(load);
    let account = sensor.leaves(Signal::SIGTERM);
    assert_eq!((account.count("gaps.count"), account.count("written.lost transactions")), (0, 0), "{account:?}");
}

#[test]
fn capture_goes_on_whatever_becomes_of_the_upload() {
    let Some(site) = Site::new() else { return };
    let mut sensor = site.world.start();
    let load = site.world.send(1000);
    arrives(&site.there());
    let uploader = Pid::from_raw(sensor.child(Role::Upload));
    kill(uploader, Signal::SIGSTOP).unwrap();
    let before = site.world.files("new");
    wait_for("published files", SOON, || (site.world.files("new").len() >= before.len() + 3).then_some(()));
    kill(uploader, Signal::SIGCONT).unwrap();
    arrives(&site.there());
    kill(uploader, Signal::SIGKILL).unwrap();
    sensor.says(&format!("the upload process, {uploader}, ended: killed by signal 9"));
    arrives(&site.there());
    drop(load);
    let account = sensor.leaves(Signal::SIGTERM);
    assert_eq!((account.count("gaps.count"), account.count("kernel.dropped")), (0, 0), "{account:?}");
    let written: u64 = site
        .here()
        .iter()
        .chain(&site.arrived())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .map(|name| {
            let places = [site.there(), site.world.path("spool/waiting/ch202"), site.world.path("spool/new/ch202")];
            places.iter().find_map(|place| super::super::payloads(&place.join(name))).unwrap()
        })
        .sum();
    assert_eq!(written, account.count("written"), "{account:?}");
}
