//! Nothing goes wrong.

use super::{ANYTHING, LOGIN, RSYNC_ONLY, SFTP_ONLY, World, give};
use std::{fs, time::Duration};

#[test]
fn files_arrive_at_a_login_with_a_plain_shell() {
    let Some((world, _server)) = World::with_server(ANYTHING) else { return };
    let samples = world.publish_some();
    let run = world.all_arrive(&samples);
    assert!(!run.log.contains("confined less"), "{}", run.log);
    assert_eq!(world.names_there().len(), samples.len());
    // Another time there is nothing to do. It ends when its work does, not at the next look some seconds later.
    let took = (0..10).map(|_| {
        let run = world.upload(&["--once"]);
        assert_eq!(run.code, 0);
        run.took
    });
    let took = took.min().unwrap();
    assert!(took < Duration::from_secs(4), "{took:?}");
}

#[test]
fn files_arrive_behind_the_wrapper_of_rsync_whatever_keys_the_server_has() {
    let Some(world) = World::new() else { return };
    let both = ["-t ed25519", "-t rsa -b 2048"];
    for (number, kinds) in [&both[..1], &both[1..], &both].into_iter().enumerate() {
        let Some(_server) = world.serve(RSYNC_ONLY, kinds, "") else { return };
        let samples = [world.publish(&format!("{number}.nmsg"), 100_000)];
        world.all_arrive(&samples);
    }
}

#[test]
fn of_several_keys_of_a_server_one_known_is_enough() {
    let Some(world) = World::new() else { return };
    let both = ["-t ed25519", "-t rsa -b 2048"];
    let Some(_server) = world.serve(RSYNC_ONLY, &both, "") else { return };
    let known = fs::read_to_string(world.path("known_hosts")).unwrap();
    for (number, line) in known.lines().enumerate() {
        fs::write(world.path("known_hosts"), format!("{line}\n")).unwrap();
        world.all_arrive(&[world.publish(&format!("{number}.nmsg"), 5000)]);
    }
}

#[test]
fn files_arrive_by_sftp_in_a_chroot() {
    let Some(world) = World::new() else { return };
    let extra = format!("Match User {}\nChrootDirectory /mnt\nForceCommand internal-sftp\n", LOGIN.0);
    let Some(server) = world.serve(ANYTHING, &["-t ed25519"], &extra) else { return };
    world.send_to(server.port, &[("transport", "sftp")]);
    let samples = world.publish_some();
    world.all_arrive(&samples);
    assert_eq!(world.names_there().len(), samples.len());
}

#[test]
fn files_arrive_by_sftp_where_nothing_else_may_be_done() {
    let Some((world, server)) = World::with_server(SFTP_ONLY) else { return };
    world.send_to(server.port, &[("transport", "sftp")]);
    world.all_arrive(&world.publish_some());
}

#[test]
fn files_arrive_in_a_directory() {
    let Some(world) = World::new() else { return };
    let target = world.path("home/up/ch202");
    fs::create_dir(&target).unwrap();
    give(&target, super::UPLOADER.1, 0o755);
    world.configure(&[("submitserver", &format!("dir:{}", target.display()))]);
    world.all_arrive(&world.publish_some());
    assert_eq!(world.names_there().len(), 3);
}

#[test]
fn an_rsa_key_made_by_gen_key_lets_us_in() {
    let Some(world) = World::new() else { return };
    for name in ["keys/upload", "keys/upload.pub"] {
        fs::remove_file(world.path(name)).unwrap();
    }
    let config = world.path("config");
    let made = world.inside(&["gen-key", "-t", "rsa", "-c", config.to_str().unwrap()]).output().unwrap();
    assert!(made.status.success());
    let Some(_server) = world.serve(RSYNC_ONLY, &["-t ed25519"], "") else { return };
    world.all_arrive(&world.publish_some());
}

#[test]
fn many_files_arrive_in_several_batches_over_one_connection() {
    let Some((world, server)) = World::with_server(RSYNC_ONLY) else { return };
    world.send_to(server.port, &[("maxper", "7")]);
    let samples: Vec<_> = (0..30).map(|number| world.publish(&format!("{number:02}.nmsg"), number * 1000)).collect();
    world.all_arrive(&samples);
    assert_eq!(server.log().matches("Accepted publickey").count(), 1, "{}", server.log());
}
