//! Servers that DNS names, or does not.

use super::{
    RSYNC_ONLY, World,
    refusals::{Small, forced},
    wait_for,
};
use crate::name_server::{Between, NameServer};
use nix::sys::signal::Signal;
use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    time::Duration,
};

/// Where the namespace's resolver asks.
const SYSTEM: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 53);

/// knot in the namespace.
fn start(world: &World, address: SocketAddr, records: &str) -> Option<NameServer> {
    world.namespace.inside(|| NameServer::start_at(address, records))
}

/// The server, behind one that is preferred and not there.
fn records(port: u16, dead: u16) -> String {
    format!(
        "_rsync._tcp.submit SRV 10 1 {dead} one\n_rsync._tcp.submit SRV 20 1 {port} two\n\
         one A 127.0.0.1\ntwo A 127.0.0.1\n"
    )
}

#[test]
fn the_second_server_of_an_srv_answer_is_used_where_the_first_is_dead() {
    let Some((world, server)) = World::with_server(RSYNC_ONLY) else { return };
    let Some(_names) = start(&world, SYSTEM.into(), &records(server.port, world.free_port())) else { return };
    world.configure(&[("submitserver", "submit.example")]);
    let run = world.all_arrive(&world.publish_some());
    assert!(!run.log.contains("failed"), "{}", run.log);
}

#[test]
fn the_second_server_of_an_srv_answer_is_used_where_the_first_takes_nothing() {
    let Some(world) = World::new() else { return };
    let _small = Small::new(world.path("home/full"));
    let full = "exec rsync --server -e.LsfxCIvu --timeout=10 --remove-source-files . full/";
    let Some(first) = forced(&world, full) else { return };
    let Some(second) = world.serve(RSYNC_ONLY, &["-t ed25519"], "") else { return };
    let Some(_names) = start(&world, SYSTEM.into(), &records(second.port, first.port)) else { return };
    world.configure(&[("submitserver", "submit.example")]);
    let samples = ["a.nmsg", "b.nmsg"].map(|name| world.publish(name, 500_000));
    let run = world.all_arrive(&samples);
    assert!(first.log().contains("Accepted publickey"), "{}", first.log());
    assert!(!run.log.contains("failed to upload"), "{}", run.log);
    // And where none takes it, each has been tried, and the log has what the first one said.
    drop(second);
    let samples = [world.publish("c.nmsg", 500_000)];
    let run = world.once(&samples);
    assert!(run.code == 1 && run.log.to_lowercase().contains("no space left"), "{}", run.log);
}

#[test]
fn without_an_srv_record_nothing_is_sent_and_the_log_says_what_is_missing() {
    let Some((world, server)) = World::with_server(RSYNC_ONLY) else { return };
    let Some(_names) = start(&world, SYSTEM.into(), &format!("{}other A 127.0.0.1\n", records(server.port, 1))) else {
        return;
    };
    let samples = world.publish_some();
    for (name, missing) in
        [("other.example", "_rsync._tcp.other.example"), ("nothing.example", "_rsync._tcp.nothing.example")]
    {
        world.configure(&[("submitserver", name)]);
        world.none_arrives(&samples, missing);
    }
    world.configure(&[("submitserver", "submit.example")]);
    world.all_arrive(&samples);
}

#[test]
fn a_name_server_that_fails_is_named_with_what_it_answers() {
    let Some((world, server)) = World::with_server(RSYNC_ONLY) else { return };
    let address = (Ipv4Addr::LOCALHOST, 5300).into();
    let Some(_names) = start(&world, address, &records(server.port, 1)) else { return };
    world.configure(&[("submitserver", "submit.example")]);
    let samples = world.publish_some();
    // Nobody is there.
    world.none_arrives(&samples, "127.0.0.1");
    let fail = |answer: &mut Vec<u8>| {
        answer[3] = answer[3] & 0xf0 | 2; // SERVFAIL
        answer[6..12].fill(0); // and nothing else
        answer.truncate(12 + answer[12..].iter().position(|byte| *byte == 0).unwrap() + 5);
        Duration::ZERO
    };
    let failing = world.namespace.inside(|| Between::start_at(SYSTEM.into(), address, fail));
    world.none_arrives(&samples, "Server Failure");
    drop(failing);
    let _whole = world.namespace.inside(|| Between::start_at(SYSTEM.into(), address, |_| Duration::ZERO));
    world.all_arrive(&samples);
}

#[test]
fn where_one_address_of_a_server_connects_and_is_silent_the_other_is_next() {
    let Some((world, server)) = World::with_server(RSYNC_ONLY) else { return };
    let Some(_names) = start(&world, SYSTEM.into(), "both A 127.0.0.1\nboth AAAA ::1\n") else { return };
    // Large packets that are lost on the way look the same.
    let _silent = world.namespace.inside(|| TcpListener::bind((Ipv6Addr::LOCALHOST, server.port)).unwrap());
    world.configure(&[("submitserver", &format!("both.example:{}", server.port))]);
    let sample = world.publish("a.nmsg", 5000);
    let uploader = world.begin(&[]);
    let says = |words: &str| wait_for(words, || uploader.log().contains(words).then_some(()));
    says(&format!("both.example:{} (::1) says nothing", server.port));
    says("successfully uploaded");
    assert_eq!(fs::read(world.there(&sample.name)).unwrap(), sample.bytes);
    uploader.process.signal(Signal::SIGTERM);
    assert_eq!(uploader.end().code, 0);
}

#[test]
fn a_slow_name_server_is_waited_for() {
    let Some((world, server)) = World::with_server(RSYNC_ONLY) else { return };
    let address = (Ipv4Addr::LOCALHOST, 5300).into();
    let Some(_names) = start(&world, address, &records(server.port, world.free_port())) else { return };
    let slow = |_: &mut Vec<u8>| Duration::from_millis(1500);
    let _slow = world.namespace.inside(|| Between::start_at(SYSTEM.into(), address, slow));
    world.configure(&[("submitserver", "submit.example")]);
    world.all_arrive(&world.publish_some());
}

#[test]
fn a_name_server_that_does_not_answer_is_given_up() {
    let Some((world, server)) = World::with_server(RSYNC_ONLY) else { return };
    let address = (Ipv4Addr::LOCALHOST, 5300).into();
    let Some(_names) = start(&world, address, &records(server.port, 1)) else { return };
    let late = |_: &mut Vec<u8>| Duration::from_secs(60);
    let silent = world.namespace.inside(|| Between::start_at(SYSTEM.into(), address, late));
    world.configure(&[("submitserver", "submit.example")]);
    let samples = world.publish_some();
    let run = world.none_arrives(&samples, "_rsync._tcp.submit.example");
    assert!(run.took < Duration::from_secs(20), "{:?}", run.took);
    drop(silent);
    world.send_to(server.port, &[]);
    world.all_arrive(&samples);
}
