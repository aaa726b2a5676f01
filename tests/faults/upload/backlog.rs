//! What has become of files that nobody took for a day, and of many.

use super::{super::Role, SOON, Site, content, name, now, wait_for};
use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

/// Bytes of a file, whole blocks.
const SIZE: u64 = 20 << 10;
/// Kilobytes that may wait: 204 of them.
const CAP: u64 = 4096;

/// Kilobytes on the disk.
fn kilobytes(site: &Site) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let waiting = site.world.files("waiting");
    waiting.iter().map(|path| fs::metadata(path).unwrap().blocks() / 2).sum()
}

/// How many files a line says have been removed.
fn removed(line: &str) -> Option<u64> {
    let (_, gone) = line.split_once("spool overflow, removing ")?;
    let more = gone.split_once(" and ").and_then(|(_, more)| more.split(' ').next());
    Some(1 + more.map_or(0, |more| more.parse().unwrap()))
}

#[test]
fn after_a_day_without_a_server_the_youngest_files_arrive_the_fresh_ones_first() {
    let Some(mut site) = Site::new() else { return };
    let cap = CAP.to_string();
    site.configure(&[("max_spool_size_kbytes", &cap), ("upload_rate_kbytes", "400")]);
    site.server = None;
    // A file a minute, the last one a minute old.
    let end = now() / 60 * 60;
    let names: Vec<String> = (1..=1440).rev().map(|minutes| name(end - minutes * 60)).collect();
    let mut gone = 0;
    for (hours, names) in names.chunks(120).enumerate() {
        names.iter().for_each(|name| site.put(name, &vec![hours as u8; SIZE as usize]));
        let mut uploader = site.upload(&["--once"]);
        assert_eq!(uploader.ends(SOON).code(), Some(1), "{:?}", uploader.lines());
        let lines = uploader.lines();
        assert!(lines.iter().any(|line| line.contains("Connection refused")), "{lines:?}");
        let passes: Vec<u64> = lines.iter().filter_map(|line| removed(line)).collect();
        assert!(passes.len() <= 1, "{lines:?}");
        gone += passes.iter().sum::<u64>();
        assert!(kilobytes(&site) <= CAP, "{} kilobytes", kilobytes(&site));
    }
    let left: BTreeSet<String> = site.here();
    assert_eq!(gone as usize + left.len(), names.len());
    let expected: BTreeSet<String> = names[gone as usize..].iter().cloned().collect();
    assert_eq!(left, expected, "the oldest went first");
    println!("{gone} removed and counted, {} left in {} kilobytes", left.len(), kilobytes(&site));
    // Files are of whole minutes: which of them is an hour old must not change while the fresh ones are sent.
    wait_for("the middle of a minute", SOON, || (2..40).contains(&(now() % 60)).then_some(()));
    site.serve();
    let is_fresh = |name: &String| name > &super::name(now() - 3600);
    let fresh = left.iter().filter(|name| is_fresh(name)).count();
    let uploader = site.upload(&[]);
    wait_for("the backlog", SOON, || (uploader.uploaded().len() > fresh + 2).then_some(()));
    let late = super::name(now());
    site.put(&late, &vec![7; SIZE as usize]);
    let known = wait_for("the file to be taken on", SOON, || {
        (!site.world.path("spool/new/ch202").join(&late).exists()).then(|| uploader.uploaded().len())
    });
    site.all_arrive(Duration::from_secs(180));
    wait_for("the last lines", SOON, || (uploader.uploaded().len() > left.len()).then_some(()));
    let mut order = uploader.uploaded();
    let at = order.iter().position(|name| *name == late).unwrap();
    let of = order.len();
    println!("{fresh} fresh files first; the late one was {at} of {of}, {known} when it came");
    assert!(at <= known + 4 && at < of - 20, "{at} of {of}, {known} before it");
    order.remove(at);
    let mut sorted: Vec<String> = left.iter().cloned().collect();
    sorted.rotate_right(fresh); // all but the last hour's behind those
    assert_eq!(order, sorted);
    let lines = uploader.lines();
    assert!(!lines.iter().any(|line| line.contains("failed") || line.contains("put off")), "{lines:?}");
    assert_eq!(site.arrived().len(), left.len() + 1);
}

/// A file system that goes with this value, before the directory that it is in.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_file_for_which_there_is_no_room_keeps_no_other_waiting() {
    let Some(site) = Site::new() else { return };
    let target = site.world.path("target");
    fs::create_dir(&target).unwrap();
    let mount = ["-t", "tmpfs", "-o", "size=1m,mode=0777", "sie-test"];
    let mounted = Command::new("mount").args(mount).arg(&target).status();
    if !mounted.is_ok_and(|mounted| mounted.success()) {
        return crate::namespace::skipped("no file system can be mounted here");
    }
    let _mounted = Mounted(target.clone());
    let target_setting = format!("dir:{}", target.display());
    let large = name(1_700_000_000);
    site.put(&large, &vec![7; 2 << 20]);
    let there = ("remote_dir", target.to_str().unwrap());
    let to_directory = [("submitserver", target_setting.as_str()), ("remote_dir", "")];
    for settings in [&[("transport", "rsync"), there], &[("transport", "sftp"), there], &to_directory] {
        site.configure(settings);
        let small: Vec<String> = (1..10).map(|number| name(1_700_000_000 + 60 * number)).collect();
        small.iter().for_each(|name| site.put(name, &content(name, 10_000)));
        let uploader = site.upload(&[]);
        wait_for("all but one", SOON, || (site.here() == [large.clone()].into()).then_some(()));
        drop(uploader);
        for entry in fs::read_dir(&target).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
}

/// Seconds of a processor that a process has had.
fn processor(pid: i32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn memory(pid: i32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap()
        .split_whitespace()
        .skip(1)
        .collect::<Vec<_>>()
        .join(" ")
}

fn fill(site: &Site, files: u64) {
    let waiting = site.world.path("spool/waiting/ch202");
    (0..files).for_each(|number| fs::write(waiting.join(name(1_700_000_000 + 60 * number)), [7; 100]).unwrap());
}

/// How many have arrived, by the uploader's lines, and that without copying them.
fn until(uploader: &super::Sensor, files: usize, began: Instant) -> Duration {
    wait_for("files at the server", Duration::from_secs(300), || (uploader.uploaded().len() >= files).then_some(()));
    began.elapsed()
}

/// `cargo test --test tests faults::upload::backlog -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn a_hundred_thousand_files_begin_at_once_and_go_as_fast_as_two_thousand() {
    let Some(mut site) = Site::new() else { return };
    site.configure(&[("max_spool_size_kbytes", "524288")]);
    fill(&site, 2000);
    let began = Instant::now();
    let uploader = site.upload(&[]);
    let (first, all) = (until(&uploader, 1, began), until(&uploader, 2000, began));
    println!("2 000 files: the first after {first:?}, all after {all:?}; {}", memory(uploader.child(Role::Upload)));
    drop(uploader);
    site.server = None;
    fill(&site, 100_000);
    let uploader = site.upload(&[]);
    uploader.says("Connection refused");
    std::thread::sleep(Duration::from_secs(3));
    let (before, began) = (processor(uploader.child(Role::Upload)), Instant::now());
    std::thread::sleep(Duration::from_secs(30));
    let used = processor(uploader.child(Role::Upload)) - before;
    println!("100 000 files without a server: {used:.2} s of a processor in {:?}", began.elapsed());
    println!("memory {}", memory(uploader.child(Role::Upload)));
    drop(uploader);
    site.serve();
    let began = Instant::now();
    let uploader = site.upload(&[]);
    let first = until(&uploader, 1, began);
    println!("100 000 files: the first after {first:?}");
    let mut before = began.elapsed();
    for thousands in (2..=20).step_by(2) {
        let at = until(&uploader, thousands * 1000, began);
        println!(
            "{thousands} 000 after {at:?}: {:?} for the last 2 000; {}",
            at - before,
            memory(uploader.child(Role::Upload))
        );
        before = at;
    }
}
