//! A spool that does not take files, or is taken away.

use super::{Role, SOON, Sensor, World, payloads, wait_for};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{collections::BTreeSet, fs, os::unix::fs::symlink, path::PathBuf, process::Command, thread, time::Duration};

/// A small file system where the spool is.
struct Small(PathBuf);

impl Small {
    fn at_spool(world: &World) -> Small {
        Small::of(32, world)
    }

    /// With so many MiB.
    fn of(size: u64, world: &World) -> Small {
        let path = world.path("spool");
        mount(&["-t", "tmpfs", "-o", &format!("size={size}m"), "sie-test", path.to_str().unwrap()]);
        world.own_spool();
        Small(path)
    }

    fn remount(&self, how: &str) {
        assert!(self.can_remount(how));
    }

    /// Not read-only as long as a file is open for writing.
    fn can_remount(&self, how: &str) -> bool {
        let output = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.0).output().unwrap();
        output.status.success()
    }
}

#[track_caller]
fn mount(arguments: &[&str]) {
    let output = Command::new("mount").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

fn count(sensor: &Sensor, words: &str) -> usize {
    sensor.lines().iter().filter(|line| line.contains(words)).count()
}

/// Leaves; everything that counts as written is in the files that wait, and something was dropped and counted.
#[track_caller]
fn ends_with_all_that_was_written(world: &World, sensor: &mut Sensor) {
    let account = sensor.leaves(Signal::SIGTERM);
    assert_eq!(world.waiting(), account.count("written"), "{account:?}");
    assert!(account.count("written.dropped transactions") > 0, "{account:?}");
}

#[track_caller]
fn a_full_disk(size: u64, min_free_kbytes: &str, said: &str) {
    let Some(world) = World::new() else { return };
    let _small = Small::of(size, &world);
    world.configure(&[("min_free_kbytes", min_free_kbytes)]);
    let mut sensor = world.start();
    let _load = world.send(4000);
    wait_for("a first file", SOON, || world.files("waiting").pop_first());
    // Up to the last byte: the system writes what there is room for.
    let filler = world.path("spool/filler");
    assert!(fs::write(&filler, vec![1; 40 << 20]).is_err());
    sensor.says(said);
    let before = world.files("waiting");
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(count(&sensor, "transactions are dropped and counted until that changes"), 1);
    let pids = sensor.children();
    fs::remove_file(filler).unwrap();
    let line = sensor.says("writing again; ");
    assert!(!line.contains("; 0 transactions"), "{line}");
    wait_for("another file", SOON, || world.files("waiting").difference(&before).next().cloned());
    assert_eq!(sensor.children(), pids);
    assert!(before.iter().all(|path| payloads(path).is_some()));
    ends_with_all_that_was_written(&world, &mut sensor);
}

#[test]
fn a_disk_full_to_the_last_byte_is_told_once_and_writing_goes_on_when_there_is_room() {
    a_full_disk(32, "0", "No space left on device");
}

#[test]
fn what_must_stay_free_stays_free() {
    a_full_disk(32, "2048", "2048 kB must stay free; it goes on with 9728 kB");
}

#[test]
fn a_file_system_smaller_than_the_usual_spare_room_is_written_to_again() {
    a_full_disk(8, "2048", "2048 kB must stay free; it goes on with 3584 kB");
}

#[test]
fn a_file_system_that_becomes_read_only_is_told_once_and_writing_goes_on_when_it_is_not() {
    let Some(world) = World::new() else { return };
    let small = Small::at_spool(&world);
    let mut sensor = world.start();
    let load = world.send(2000);
    wait_for("a first file", SOON, || world.files("waiting").pop_first());
    drop(load);
    let all_waits = || (world.parts().is_empty() && world.files("new").is_empty()).then_some(());
    wait_for("the last file, then no writer", SOON * 2, || {
        thread::sleep(Duration::from_millis(500));
        all_waits().and_then(|()| small.can_remount("ro").then_some(()))
    });
    let before = world.files("waiting");
    let _load = world.send(2000);
    sensor.says("Read-only file system");
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(count(&sensor, "transactions are dropped and counted until that changes"), 1);
    small.remount("rw");
    sensor.says("writing again; ");
    wait_for("another file", SOON, || world.files("waiting").difference(&before).next().cloned());
    ends_with_all_that_was_written(&world, &mut sensor);
}

#[test]
fn a_spool_that_is_deleted_is_made_anew() {
    let Some(world) = World::new() else { return };
    let mut sensor = world.start();
    let _load = world.send(2000);
    for gone in ["spool/new/ch202", "spool/new", "spool", "spool/waiting"] {
        wait_for("a file", SOON, || world.files("waiting").pop_first());
        let skip = sensor.lines().len();
        // Files may come while it goes.
        wait_for("an end", SOON, || fs::remove_dir_all(world.path(gone)).ok());
        if gone != "spool/waiting" {
            sensor.says_after(skip, "the spool directory was gone; it is made anew");
        }
        let before = world.files("waiting");
        wait_for("a new file", SOON * 2, || world.files("waiting").difference(&before).next().cloned());
    }
    let account = sensor.leaves(Signal::SIGTERM);
    assert!(account.count("written.dropped transactions") > 0, "{account:?}");
    world.waiting();
}

#[test]
fn a_process_that_begins_without_its_directory_gets_a_new_one() {
    let Some(world) = World::new() else { return };
    let mut sensor = world.start();
    let _load = world.send(2000);
    for (gone, role) in [("spool/new/ch202", Role::Capture), ("spool/waiting/ch202", Role::Upload)] {
        wait_for("a file", SOON, || world.files("waiting").pop_first());
        let skip = sensor.lines().len();
        // Before it can notice.
        wait_for("an end", SOON, || fs::remove_dir_all(world.path(gone)).ok());
        kill(Pid::from_raw(sensor.child(role)), Signal::SIGKILL).unwrap();
        sensor.says_after(skip, "the spool directory was gone; it is made anew");
        let before = world.files("waiting");
        wait_for("a new file", SOON * 2, || world.files("waiting").difference(&before).next().cloned());
    }
    sensor.leaves(Signal::SIGTERM);
    world.waiting();
}

#[test]
fn a_spool_that_is_taken_away_and_brought_back_is_used_again() {
    let Some(world) = World::new() else { return };
    let (disk, away) = (world.path("disk"), world.path("away"));
    fs::create_dir(&disk).unwrap();
    fs::rename(world.path("spool"), disk.join("spool")).unwrap();
    symlink(disk.join("spool"), world.path("spool")).unwrap();
    world.configure(&[("spooldir", disk.join("spool").to_str().unwrap())]);
    let mut sensor = world.start();
    let _load = world.send(2000);
    wait_for("a file", SOON, || world.files("waiting").pop_first());
    fs::rename(&disk, &away).unwrap();
    let line = sensor.says("the spool directory is gone: ");
    assert!(line.contains("No such file or directory"), "{line}");
    let gone = sensor.lines().len() - 1;
    thread::sleep(Duration::from_millis(6500));
    let lines = sensor.lines().split_off(gone);
    let said: BTreeSet<&String> = lines.iter().collect();
    assert!(said.len() == lines.len() && said.len() <= 8, "each process says once what it misses: {lines:?}");
    fs::rename(&away, &disk).unwrap();
    let before = world.files("waiting");
    wait_for("a new file", SOON, || world.files("waiting").difference(&before).next().cloned());
    let account = sensor.leaves(Signal::SIGTERM);
    assert!(account.count("written.dropped transactions") > 0, "{account:?}");
    world.waiting();
}

#[test]
fn a_part_file_that_is_removed_is_told_and_counted() {
    let Some(world) = World::new() else { return };
    world.configure(&[("rotate_seconds", "3")]);
    let mut sensor = world.start();
    let _load = world.send(8000);
    // Something must be in it, or another one is begun in its place.
    let is_begun = |path: &PathBuf| fs::metadata(path).is_ok_and(|part| part.len() > 0);
    let part = wait_for("a part file", SOON, || world.parts().into_iter().find(is_begun));
    fs::remove_file(&part).unwrap();
    let line = sensor.says("was removed while it was written");
    assert!(line.contains(part.file_name().unwrap().to_str().unwrap()), "{line}");
    wait_for("a file", SOON, || world.files("waiting").pop_first());
    ends_with_all_that_was_written(&world, &mut sensor);
}

#[test]
fn an_interval_without_packets_publishes_nothing() {
    let Some(world) = World::new() else { return };
    let mut sensor = world.start();
    thread::sleep(Duration::from_millis(2500));
    assert!(fs::read_dir(world.path("spool/new/ch202")).unwrap().next().is_none());
    let account = sensor.leaves(Signal::SIGTERM);
    assert_eq!((account.count("packets"), world.waiting()), (0, 0));
}
