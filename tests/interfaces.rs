//! Interfaces that go and come back while the sensor runs.

use crate::{
    build::{self, End},
    namespace::Namespace,
    sensor::Sensor,
    spool,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, SysconfVar, sysconf},
};
use pcap::{Active, Capture};
use std::{
    fs,
    ops::Range,
    thread,
    time::{Duration, Instant},
};

const CONFIG: &str = "DNSQR_RES_ADDRS=192.0.2.53\ninterface=a0\n";
const DOWN: &str = "it is down";
const LOST: &str = "nothing is captured from it";
const BACK: &str = "captures from a0 again";
/// How soon it must capture again: it looks every half second, and starts a process.
const SOON: Duration = Duration::from_secs(5);

fn ethernet(packet: &[u8]) -> Vec<u8> {
    [&[2; 12][..], &[0x08, 0x00], packet].concat()
}

/// Queries by their numbers, each with its answer, into b0.
fn send(namespace: &Namespace, numbers: Range<u16>) {
    let mut sender = namespace.inside(|| -> Capture<Active> { Capture::from_device("b0").unwrap().open().unwrap() });
    let (resolver, server): (End, End) = (build::resolver(), build::server());
    for number in numbers {
        let name = format!("n{number}.example.net");
        let query = build::udp(resolver, server, &build::query(number, &name));
        let response = build::udp(server, resolver, &build::response(number, &name));
        sender.sendpacket(ethernet(&query)).unwrap();
        sender.sendpacket(ethernet(&response)).unwrap();
    }
}

/// Queries that nobody answers.
fn ask(namespace: &Namespace, numbers: Range<u16>) {
    let mut sender = namespace.inside(|| -> Capture<Active> { Capture::from_device("b0").unwrap().open().unwrap() });
    for number in numbers {
        let query = build::query(number, &format!("n{number}.example.net"));
        sender.sendpacket(ethernet(&build::udp(build::resolver(), build::server(), &query))).unwrap();
    }
}

/// Does something to the interface that takes it away, waits, does what brings it back, and waits for the sensor.
fn outage(sensor: &Sensor, number: usize, away: impl FnOnce(), back: impl FnOnce()) -> Duration {
    let started = Instant::now();
    away();
    sensor.wait_for_another(LOST, number);
    let used = cpu_time(sensor);
    thread::sleep(Duration::from_secs(2));
    assert!(cpu_time(sensor) - used <= Duration::from_millis(100), "it spins while it waits");
    back();
    let is_back = Instant::now();
    sensor.wait_for_another(BACK, number);
    assert!(is_back.elapsed() < SOON, "{:?}", is_back.elapsed());
    started.elapsed()
}

/// User and system time of the supervisor.
fn cpu_time(sensor: &Sensor) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", sensor.pid())).unwrap();
    // Behind the name in brackets, which may contain anything: proc(5), fields 14 and 15.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    let per_second = sysconf(SysconfVar::CLK_TCK).unwrap().unwrap() as u64;
    Duration::from_millis(ticks * 1000 / per_second)
}

#[test]
fn an_interface_that_goes_down_or_away_is_captured_from_as_soon_as_it_is_back() {
    let Some(namespace) = Namespace::new(1) else { return };
    let sensor = Sensor::start(&namespace, CONFIG);
    send(&namespace, 0..100);
    let down = outage(&sensor, 0, || namespace.link(&["set", "a0", "down"]), || namespace.link(&["set", "a0", "up"]));
    send(&namespace, 100..200);
    let gone = outage(&sensor, 1, || namespace.link(&["del", "a0"]), || namespace.add_pair(0));
    send(&namespace, 200..300);
    // A block that is not full takes 100 ms, and the sensor looks again as often.
    thread::sleep(Duration::from_millis(500));
    let stopped = sensor.stop();
    let count = |text| stopped.log.iter().filter(|line| line.contains(text)).count();
    assert_eq!((count(LOST), count(BACK)), (2, 2), "{:#?}", stopped.log);
    assert!(count(DOWN) > 0, "{:#?}", stopped.log);
    assert_eq!(stopped.payloads.len(), 300, "{:#?}", stopped.log);
    assert_eq!(stopped.ledger.of("queries", "answered"), 300);
    assert_eq!(stopped.ledger.of("gaps", "count"), 2);
    let (lasted, counted) = (down + gone, Duration::from_millis(stopped.ledger.of("gaps", "milliseconds")));
    // It was not captured from for longer than it was away, and less than we waited.
    assert!(counted > Duration::from_secs(4) && counted <= lasted, "{counted:?} of {lasted:?}");
}

#[test]
fn loss_records_tell_of_gaps_and_of_what_was_lost_with_a_killed_process() {
    let Some(namespace) = Namespace::new(1) else { return };
    let sensor = Sensor::start(&namespace, &format!("{CONFIG}loss_record=yes\nrotate_seconds=1\nlog_level=debug\n"));
    let capture = |number| {
        let line = sensor.wait_for_another("started the capture process, ", number);
        Pid::from_raw(line.rsplit_once(' ').unwrap().1.parse().unwrap())
    };
    send(&namespace, 0..100);
    sensor.wait_for("published ");
    outage(&sensor, 0, || namespace.link(&["set", "a0", "down"]), || namespace.link(&["set", "a0", "up"]));
    send(&namespace, 100..200);
    sensor.wait_for_another("published ", 1);
    ask(&namespace, 200..300);
    // It shows what it has counted ten times a second.
    thread::sleep(Duration::from_millis(500));
    kill(capture(0), Signal::SIGKILL).unwrap();
    sensor.wait_for_another(BACK, 1);
    send(&namespace, 300..400);
    thread::sleep(Duration::from_millis(500));
    let stopped = sensor.stop();
    let is_record = |message: &&[u8]| message.ends_with(b"}");
    let messages = stopped.payloads.iter().map(|payload| &payload.message[..]);
    let records: Vec<_> = messages.filter(is_record).map(spool::json).collect();
    let told =
        |group: &str, name: &str| -> u64 { records.iter().map(|record| record[group][name].as_u64().unwrap()).sum() };
    let log = &stopped.log;
    assert_eq!((told("gaps", "count"), stopped.ledger.of("gaps", "count")), (2, 2), "{log:#?}");
    assert_eq!((told("queries", "lost"), stopped.ledger.of("queries", "lost")), (100, 100), "{log:#?}");
    assert_eq!(told("queries", "answered"), stopped.ledger.of("queries", "answered"));
    assert_eq!(told("output", "transactions"), stopped.ledger.of("written", "total"), "{:?}", stopped.ledger);
    let milliseconds = stopped.ledger.of("gaps", "milliseconds");
    assert!(told("gaps", "milliseconds").abs_diff(milliseconds) < 100, "{milliseconds}");
}
