//! Files that do not stay as they are while they are sent.

use super::{RSYNC_ONLY, SFTP_ONLY, Sample, Uploader, World, give, wait_for};
use nix::sys::signal::Signal;
use std::{
    fs::{self, File},
    io::Write,
    thread,
    time::Duration,
};

const TRANSPORTS: [(&str, &str); 2] = [(RSYNC_ONLY, "rsync"), (SFTP_ONLY, "sftp")];

/// A file of which a part is at the server; the rest takes a second.
fn in_the_middle(may: &str, transport: &str) -> Option<(World, crate::sshd::Sshd, Sample, Uploader)> {
    let (world, server) = World::with_server(may)?;
    world.send_to(server.port, &[("transport", transport), ("upload_rate_kbytes", "300")]);
    let sample = world.publish("a.nmsg", 500_000);
    let uploader = world.begin(&["--once"]);
    wait_for("a part at the server", || {
        let parts = world.names_there();
        let sizes = parts.iter().filter_map(|part| fs::metadata(world.there(part)).ok());
        sizes.map(|part| part.len()).find(|size| *size > 0)
    });
    Some((world, server, sample, uploader))
}

#[test]
fn a_file_that_vanishes_while_it_is_sent_arrives_whole_or_not_at_all() {
    for (may, transport) in TRANSPORTS {
        let Some((world, _server, sample, uploader)) = in_the_middle(may, transport) else { return };
        fs::remove_file(world.waiting("a.nmsg")).unwrap();
        let run = uploader.end();
        assert_eq!(run.code, 0, "{}", run.log);
        let there = fs::read(world.there("a.nmsg")).ok();
        assert!(there.is_none_or(|there| there == sample.bytes), "{}", run.log);
        assert!(world.names_there().iter().all(|name| name == "a.nmsg"), "{:?}", world.names_there());
    }
}

#[test]
fn a_file_that_grows_while_it_is_sent_stays_and_arrives_whole_another_time() {
    for (may, transport) in TRANSPORTS {
        let Some((world, server, mut sample, uploader)) = in_the_middle(may, transport) else { return };
        let mut file = File::options().append(true).open(world.waiting("a.nmsg")).unwrap();
        file.write_all(&[7; 1000]).unwrap();
        sample.bytes.extend([7; 1000]);
        let run = uploader.end();
        world.nothing_is_lost(&[sample.clone()], &run);
        assert_eq!(run.code, 1, "{}", run.log);
        assert!(run.log.contains("changed while it was sent"), "{}", run.log);
        world.send_to(server.port, &[("transport", transport)]);
        world.rest();
        world.all_arrive(&[sample]);
    }
}

#[test]
fn a_file_that_gets_shorter_while_it_is_sent_stays_and_arrives_whole_another_time() {
    for (may, transport) in TRANSPORTS {
        let Some((world, server, mut sample, uploader)) = in_the_middle(may, transport) else { return };
        File::options().write(true).open(world.waiting("a.nmsg")).unwrap().set_len(1000).unwrap();
        sample.bytes.truncate(1000);
        let run = uploader.end();
        world.nothing_is_lost(&[sample.clone()], &run);
        assert_eq!(run.code, 1, "{}", run.log);
        world.send_to(server.port, &[("transport", transport)]);
        world.rest();
        world.all_arrive(&[sample]);
    }
}

#[test]
fn a_file_that_another_replaces_while_it_is_sent_is_not_removed_for_it() {
    for (may, transport) in TRANSPORTS {
        let Some((world, server, _, uploader)) = in_the_middle(may, transport) else { return };
        let other = world.path("spool/waiting/ch202/.other");
        fs::write(&other, b"another one").unwrap();
        give(&other, super::CAPTURE.1, 0o660);
        fs::rename(&other, world.waiting("a.nmsg")).unwrap();
        let run = uploader.end();
        assert_eq!(run.code, 1, "{}", run.log);
        assert_eq!(world.here("a.nmsg").unwrap(), b"another one", "{}", run.log);
        world.send_to(server.port, &[("transport", transport)]);
        world.rest();
        world.all_arrive(&[Sample { name: "a.nmsg".to_owned(), bytes: b"another one".into() }]);
    }
}

#[test]
fn an_uploader_that_is_told_to_leave_leaves_in_time_and_the_file_stays() {
    for (may, transport) in TRANSPORTS {
        let Some((world, server, sample, uploader)) = in_the_middle(may, transport) else { return };
        uploader.process.signal(Signal::SIGTERM);
        let told = std::time::Instant::now();
        let run = uploader.end();
        assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
        assert_eq!(world.here("a.nmsg").as_ref(), Some(&sample.bytes), "{}", run.log);
        assert!(!world.there("a.nmsg").exists());
        assert_eq!(run.code, 1, "a file remains\n{}", run.log);
        world.send_to(server.port, &[("transport", transport)]);
        world.rest();
        world.all_arrive(&[sample]);
    }
}

#[test]
fn an_uploader_that_is_killed_at_any_moment_loses_nothing() {
    let Some((world, server)) = World::with_server(RSYNC_ONLY) else { return };
    world.send_to(server.port, &[("upload_rate_kbytes", "3000")]);
    let samples: Vec<_> = (0..20).map(|number| world.publish(&format!("{number:02}.nmsg"), 40_000)).collect();
    let mut confirmed = 0;
    for kill in 0..30 {
        let uploader = world.begin(&["--once"]);
        thread::sleep(Duration::from_millis(100 + 13 * kill));
        uploader.process.signal(Signal::SIGKILL);
        wait_for("its end", || {
            fs::read_to_string(format!("/proc/{}/stat", uploader.process.pid()))
                .ok()
                .filter(|stat| stat.contains(") Z "))
        });
        confirmed += uploader.log().matches("successfully uploaded").count();
        for Sample { name, bytes } in &samples {
            let (here, there) = (world.here(name), fs::read(world.there(name)).ok());
            assert!(here.is_some() || there.is_some(), "{name} is lost");
            assert!([here, there].iter().flatten().all(|found| found == bytes), "{name} is torn");
            if world.here(name).is_none() {
                fs::remove_file(world.there(name)).unwrap();
                world.publish(name, bytes.len());
            }
        }
    }
    println!("{confirmed} files confirmed between 30 kills");
    world.send_to(server.port, &[]);
    world.rest();
    world.all_arrive(&samples);
}

#[test]
fn of_two_uploaders_one_does_the_work() {
    let Some((world, _server, sample, first)) = in_the_middle(RSYNC_ONLY, "rsync") else { return };
    let run = world.upload(&["--once"]);
    assert_eq!(run.code, 2, "{}", run.log);
    assert!(!run.log.contains("successfully"), "{}", run.log);
    let run = first.end();
    world.nothing_is_lost(&[sample], &run);
    assert_eq!(run.code, 0, "{}", run.log);
}
