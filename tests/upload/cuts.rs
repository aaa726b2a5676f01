//! Connections that end, or do not go on.

use super::{
    RSYNC_ONLY, SFTP_ONLY, Sample, World,
    proxy::{Cut, How, Proxy},
    refusals::forced,
    wait_for,
};
use nix::sys::signal::Signal;
use std::{fs, thread, time::Duration};

/// As many servers at once, each with a share of the points: a session that was cut is tried again after seconds.
const SHARES: usize = 4;

/// A session of its own for each point: so many each way, evenly over all bytes of a session, but that half of those to the
/// server are the denser the nearer its end is.
fn everywhere(may: &str, transport: &str, points: usize) {
    let arrived: Vec<usize> = thread::scope(|scope| {
        let start = |share| scope.spawn(move || cut_a_share(may, transport, points, share));
        let shares: Vec<_> = (0..SHARES).map(start).collect();
        shares.into_iter().filter_map(|share| share.join().unwrap()).collect()
    });
    println!("{} sessions cut, {arrived:?} files confirmed before", 2 * points);
    assert!(arrived.is_empty() || arrived.iter().any(|count| *count > 0));
}

/// How many files arrived before their session was cut.
fn cut_a_share(may: &str, transport: &str, points: usize, share: usize) -> Option<usize> {
    let (world, server) = World::with_server(may)?;
    let proxy = Proxy::start(&world, server.port);
    world.send_to(proxy.port, &[("transport", transport)]);
    let samples = world.publish_some();
    world.all_arrive(&samples);
    let whole = proxy.passed();
    let mut arrived = 0;
    for way in [0, 1] {
        for point in (share..points).step_by(SHARES) {
            // Most of what is sent is the last file's bytes; what is interesting is behind them.
            let after = match (way, point % 2) {
                (0, 1) => whole[0] - 4 * (points - point) * (points - point),
                _ => whole[way] * point / points,
            };
            let how = if point % 3 == 0 { How::Reset } else { How::Closed };
            again(&world, &samples);
            proxy.cut(Some(Cut { way, after, how }));
            let run = world.once(&samples);
            arrived += run.log.matches("successfully uploaded").count();
            // The last bytes are for the farewell.
            assert!(run.code == 1 || after * 2 > whole[way], "{after} of {whole:?}\n{}", run.log);
        }
    }
    proxy.cut(None);
    again(&world, &samples);
    world.rest();
    world.all_arrive(&samples);
    Some(arrived)
}

/// Publishes those that have arrived, which are removed at the server.
fn again(world: &World, samples: &[Sample]) {
    for Sample { name, bytes } in samples {
        if world.here(name).is_none() {
            let _ = fs::remove_file(world.there(name));
            assert_eq!(&world.publish(name, bytes.len()).bytes, bytes);
        }
    }
}

#[test]
fn wherever_an_rsync_session_is_cut_nothing_is_lost_and_nothing_torn() {
    everywhere(RSYNC_ONLY, "rsync", 24);
}

#[test]
fn wherever_an_sftp_session_is_cut_nothing_is_lost_and_nothing_torn() {
    everywhere(SFTP_ONLY, "sftp", 16);
}

/// A session that stalls there is given up within that time, for this reason.
fn stalled((may, transport): (&str, &str), seconds: u64, why: &str, cut: impl Fn([usize; 2]) -> (usize, usize)) {
    let Some((world, server)) = World::with_server(may) else { return };
    let proxy = Proxy::start(&world, server.port);
    world.send_to(proxy.port, &[("transport", transport)]);
    let samples = world.publish_some();
    world.all_arrive(&samples);
    let (way, after) = cut(proxy.passed());
    again(&world, &samples);
    proxy.cut(Some(Cut { way, after, how: How::Stalled }));
    let run = world.once(&samples);
    assert!(run.code == 1 && run.log.contains(&format!("{why} for {seconds} s")), "{}", run.log);
    assert!(run.took < Duration::from_secs(seconds + 20), "{:?}\n{}", run.took, run.log);
    println!("given up after {:?}", run.took);
    proxy.cut(None);
    world.rest();
    let left: Vec<Sample> = samples.into_iter().filter(|sample| world.here(&sample.name).is_some()).collect();
    world.all_arrive(&left);
}

/// A remote command that takes everything and says nothing.
fn silent() {
    let Some(world) = World::new() else { return };
    let Some(_server) = forced(&world, "exec cat >/dev/null") else { return };
    let run = world.none_arrives(&world.publish_some(), "no greeting of an rsync within 15 s");
    assert!(run.took < Duration::from_secs(35), "{:?}", run.took);
}

#[test]
fn a_server_that_stalls_anywhere_is_given_up_in_its_time() {
    const RSYNC: (&str, &str) = (RSYNC_ONLY, "rsync");
    const SFTP: (&str, &str) = (SFTP_ONLY, "sftp");
    // Side by side: they wait.
    thread::scope(|scope| {
        scope.spawn(silent);
        scope.spawn(|| stalled(RSYNC, 15, "says nothing", |_| (1, 0)));
        scope.spawn(|| stalled(RSYNC, 15, "without an agreement on ciphers", |_| (1, 500)));
        scope.spawn(|| stalled(RSYNC, 10, "nothing from or to the server", |whole| (0, whole[0] / 2)));
        scope.spawn(|| stalled(SFTP, 30, "without the receipt of data", |whole| (0, whole[0] / 2)));
    });
}

#[test]
fn an_uploader_that_runs_goes_on_by_itself_when_the_server_is_back() {
    let Some((world, server)) = World::with_server(RSYNC_ONLY) else { return };
    let proxy = Proxy::start(&world, server.port);
    world.send_to(proxy.port, &[]);
    let uploader = world.begin(&[]);
    let says = |words: &str| wait_for(words, || uploader.log().contains(words).then_some(()));
    let first = world.publish("a.nmsg", 5000);
    says("successfully uploaded");
    proxy.cut(Some(Cut { way: 0, after: 0, how: How::Closed }));
    let second = world.publish("b.nmsg", 5000);
    says("b.nmsg: ");
    assert!(world.here("b.nmsg").is_some());
    proxy.cut(None);
    says("uploads work again");
    uploader.process.signal(Signal::SIGTERM);
    world.nothing_is_lost(&[first, second], &uploader.end());
}
