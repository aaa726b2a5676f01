//! The rate limit, the alarm, and what the uploader says of itself.

use super::{super::Role, SOON, Site, name, now, visible, wait_for};
use nix::sys::signal::Signal;
use std::{
    fs, thread,
    time::{Duration, Instant},
};

#[test]
fn two_megabytes_at_200_kilobytes_a_second_take_ten_seconds() {
    let Some(site) = Site::new() else { return };
    site.configure(&[("upload_rate_kbytes", "200")]);
    for number in 0..2 {
        site.put(&name(1_700_000_000 + number), &vec![7; 1_024_000]);
    }
    let mut uploader = site.upload(&["--once"]);
    let began = Instant::now();
    assert!(uploader.ends(SOON).success(), "{:?}", uploader.lines());
    println!("2 048 000 bytes in {:?}", began.elapsed());
    assert!(began.elapsed() >= Duration::from_secs(8));
    assert_eq!(site.arrived().len(), 2);
}

#[test]
fn who_is_told_to_leave_in_the_middle_of_a_file_leaves_soon_and_keeps_it() {
    let Some(site) = Site::new() else { return };
    let target = site.world.path("target");
    fs::create_dir(&target).unwrap();
    super::own(&target, super::UPLOAD_USER.1, 0o755);
    let target = format!("dir:{}", target.display());
    let to_directory = [("submitserver", target.as_str()), ("remote_dir", "")];
    for settings in [&[("transport", "rsync")][..], &[("transport", "sftp")], &to_directory] {
        site.configure(&[settings, &[("upload_rate_kbytes", "200")]].concat());
        let name = name(1_700_000_000);
        site.put(&name, &vec![7; 20 << 20]);
        let mut uploader = site.upload(&[]);
        let hidden = |directory: &str| {
            let entries = fs::read_dir(site.world.path(directory)).unwrap();
            entries.map(|entry| entry.unwrap()).any(|entry| entry.metadata().is_ok_and(|file| file.len() > 0))
        };
        wait_for("a part of the file", SOON, || ["there", "target"].into_iter().any(hidden).then_some(()));
        let told = Instant::now();
        uploader.signal(Signal::SIGTERM);
        assert!(uploader.ends(Duration::from_secs(10)).success(), "{:?}", uploader.lines());
        println!("{settings:?}: left {} ms after SIGTERM", told.elapsed().as_millis());
        assert_eq!(site.here(), [name.clone()].into(), "{settings:?}");
        fs::remove_file(site.world.path("spool/waiting/ch202").join(name)).unwrap();
        for directory in ["there", "target"] {
            // What receives it may still be about to remove what it has of it.
            assert!(visible(&site.world.path(directory)).is_empty(), "{settings:?}");
            wait_for("the end of who receives", SOON, || {
                site.server.as_ref().unwrap().children().is_empty().then_some(())
            });
            for entry in fs::read_dir(site.world.path(directory)).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
        }
    }
}

#[test]
fn what_fails_is_listed_with_its_tries_and_its_last_error() {
    let Some(mut site) = Site::new() else { return };
    let (bad, good) = (name(1_700_000_000), name(1_700_000_060));
    // What is in its way can be no file's place.
    fs::create_dir_all(site.there().join(&bad).join("x")).unwrap();
    site.put(&bad, b"bad");
    site.put(&good, b"good");
    let uploader = site.upload(&[]);
    uploader.says(&format!("successfully uploaded {}", site.world.path("spool/waiting/ch202").join(&good).display()));
    let list = || site.run(&["spool", "list"]).with_code(0).text().to_owned();
    wait_for("two tries", Duration::from_secs(30), || {
        let list = list();
        let line = list.lines().find(|line| line.starts_with(&bad)).unwrap().to_owned();
        line.contains(" 2  could not make way").then_some(())
    });
    let list = list();
    assert!(list.contains(&format!("uploader: process {}", uploader.child(Role::Upload))), "{list}");
    assert!(list.contains("sent 1 file"), "{list}");
    drop(uploader);
    site.server = None;
    let uploader = site.upload(&[]);
    let line = wait_for("the error", SOON, || {
        let list = site.run(&["spool", "list"]).with_code(0).text().to_owned();
        let process = format!("process {};", uploader.child(Role::Upload));
        let says = |line: &&str| line.contains(&process) && line.contains("Connection refused");
        list.lines().find(says).map(str::to_owned)
    });
    assert!(line.contains("last error ") && line.contains("next try in "), "{line}");
    // Another file is the first one now, for the same reason, which was said.
    site.put(&name(now()), b"fresh");
    let count = |words: &str| uploader.lines().iter().filter(|line| line.contains(words)).count();
    let tries = count("; next try in ");
    wait_for("another try", 2 * SOON, || (count("; next try in ") > tries).then_some(()));
    assert_eq!(count("failed to upload "), 1, "{:?}", uploader.lines());
}

/// `cargo test --test tests faults::upload::rate -- --ignored --nocapture`
#[test]
#[ignore = "takes two minutes"]
fn without_a_server_there_is_an_alarm_after_a_minute_and_word_of_its_end() {
    let Some(mut site) = Site::new() else { return };
    site.server = None;
    site.configure(&[("upload_alarm_minutes", "1")]);
    site.put(&name(now()), b"one");
    let began = Instant::now();
    let uploader = site.upload(&[]);
    let line = wait_for("the alarm", Duration::from_secs(75), || {
        uploader.lines().into_iter().find(|line| line.contains("no upload was confirmed for 1 minutes; 1 files wait"))
    });
    println!("after {:?}: {line}", began.elapsed());
    assert!(line.contains("Connection refused") && began.elapsed() >= Duration::from_secs(59), "{line}");
    thread::sleep(Duration::from_secs(1));
    site.serve();
    site.all_arrive(Duration::from_secs(100));
    let line = uploader.says("uploads work again after ");
    println!("after {:?}: {line}", began.elapsed());
    let alarms = uploader.lines().iter().filter(|line| line.contains("no upload was confirmed")).count();
    assert_eq!(alarms, 1);
}
