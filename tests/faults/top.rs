//! `top` on a sensor that runs.

use super::{Load, SOON, World, wait_for};
use crate::{
    build,
    program::Scratch,
    report::{self, Screen},
    terminal::Terminal,
};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::Path, time::Duration};

impl World {
    /// `top` in a terminal.
    fn top(&self, columns: u16, rows: u16) -> Terminal {
        let config = self.path("config");
        Terminal::start(&self.inside(&["top", "-c", config.to_str().unwrap()]), columns, rows)
    }

    /// The document with samples.
    fn samples(&self) -> Value {
        serde_json::from_str(&self.ask("top 1\n")).unwrap()
    }
}

#[test]
fn samples_are_taken_while_somebody_watches_and_only_then() {
    let Some(world) = World::new() else { return };
    world.configure(&[("upload", "no"), ("capture_threads", "2")]);
    let mut sensor = world.start();
    let load = world.send(5000);
    wait_for("packets", SOON, || (load.sent() > 5000).then_some(()));
    let first = world.samples();
    assert_eq!(first["samples"]["transactions"].as_array().unwrap().len(), 0, "nobody had watched");
    let mut batches = BTreeSet::new();
    let (mut seen, mut named) = (0, 0);
    wait_for("samples of ten seconds", 2 * SOON, || {
        std::thread::sleep(Duration::from_millis(300));
        let samples = world.samples()["samples"].take();
        if batches.insert(samples["number"].as_u64().unwrap()) {
            let transactions = samples["transactions"].as_array().unwrap();
            assert!(transactions.len() <= 2100, "{}", transactions.len());
            seen += transactions.len();
            for sample in transactions {
                let sample = sample.as_array().unwrap();
                assert_eq!(sample.len(), 6);
                assert!(["answered", "unanswered", "unsolicited"].contains(&sample[0].as_str().unwrap()));
                // A resolver's address is never told.
                assert!(!["192.0.2.53", "2001:db8:53::53"].contains(&sample[1].as_str().unwrap()));
                named += usize::from(sample[2].is_string());
            }
        }
        (batches.len() > 10).then_some(())
    });
    println!("{seen} samples in {} seconds", batches.len());
    assert!(seen > 2000 && named * 10 > seen * 9, "{seen} {named}");
    assert!(world.status(&["--json"]).stdout.windows(9).all(|word| word != b"\"samples\""));
    // A new capture process goes on with it.
    world.configure(&[("upload", "no"), ("capture_threads", "1")]);
    sensor.signal(Signal::SIGHUP);
    sensor.says("captures from a0");
    wait_for("samples of the new process", SOON, || {
        std::thread::sleep(Duration::from_millis(500));
        Some(world.samples()).filter(|it| it["samples"]["transactions"].as_array().unwrap().len() > 300)
    });
    load.stop();
    sensor.leaves(Signal::SIGTERM);
}

#[test]
fn who_watches_sees_zones_and_servers_and_when_the_sensor_goes_and_is_back() {
    let Some(world) = World::new() else { return };
    world.configure(&[("upload", "no")]);
    let mut sensor = world.start();
    let load = world.send(2000);
    let mut terminal = world.top(100, 40);
    let is_filled = |text: &str| {
        let tables = text.lines().skip_while(|line| !line.contains("zones by transactions"));
        let rows = tables.skip(2).filter(|line| line.trim_start().starts_with(|c: char| c.is_ascii_alphanumeric()));
        rows.count() > 2
    };
    let screen = terminal.shows("zones", is_filled);
    assert!(screen.contains("healthy") && screen.contains("0 transactions not written"), "{screen}");
    // While it is paused nothing moves.
    terminal.press("p");
    terminal.shows_text("PAUSED");
    std::thread::sleep(Duration::from_millis(1500));
    let still = terminal.text();
    std::thread::sleep(Duration::from_millis(2500));
    let lines = |text: &str| text.lines().take(8).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(&terminal.text()), lines(&still));
    terminal.press("p");
    load.stop();
    sensor.leaves(Signal::SIGTERM);
    terminal.shows_text("asked again every second: no sensor is running");
    terminal.shows_text("gone, up");
    let mut sensor = world.start();
    terminal.shows_text("healthy, up");
    terminal.press("q");
    assert_eq!(terminal.ends(), 0);
    sensor.leaves(Signal::SIGTERM);
}

/// What is sent in a second.
const RATE: u64 = 2500;

/// A minute of a resolver that asks servers near and far, more and less, as Ethernet frames that are sent at [`RATE`]: where
/// nothing is to come, there is a frame that is no packet, which the kernel's filter keeps out.
fn life() -> Vec<Vec<u8>> {
    let mut state = 7_u64;
    let mut random = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let zones = ["example.net", "shop.example", "cdn.example.com", "mail.example.org", "slow.example", "lame.example"];
    let mut packets = Vec::new();
    let (mut number, mut time) = (0_u64, 0);
    while time < 60_000_000 {
        let wave = (time as f64 / 4e6).sin() + (time as f64 / 1.3e6).sin() / 2.0;
        time += random((2e6 / (600.0 + 250.0 * wave)) as u64);
        number += 1;
        let which = [0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 4, 5][random(12) as usize];
        let server = ([198, 51, 100, 1 + which as u8].into(), 53);
        let from = (build::resolver().0, 1024 + (number % 60_000) as u16);
        let name = format!("host{}.{}", random(90), zones[which]);
        let question = build::question_of(&name, [1, 28, 65][random(3) as usize]);
        packets.push((time, build::udp(from, server, &build::message(number as u16, 0, Some(&question)))));
        let (rcode, answers) = match (which, random(100)) {
            (5, ..60) => (2, true),
            (5, _) | (_, ..2) => (0, false),
            (2, ..20) | (_, ..6) => (3, true),
            _ => (0, true),
        };
        if answers {
            let far = [900, 9_000, 2_500, 24_000, 210_000, 35_000][which];
            let delay = far + random(far) * random(4) / 3;
            let mut answer = build::message(number as u16, build::QR | rcode, Some(&question));
            // NS records of the zone, whose name is that of the question behind its first label.
            answer[9] = 1;
            answer.extend([0xc0, 12 + 1 + question[0], 0, 2, 0, 1, 0, 0, 0, 60, 0, 2, 0xc0, 12]);
            packets.push((time + delay, build::udp(server, from, &answer)));
        }
    }
    packets.sort_by_key(|(time, _)| *time);
    let mut packets = packets.into_iter().peekable();
    let mut frames = Vec::new();
    while packets.peek().is_some() {
        let now = frames.len() as u64 * 1_000_000 / RATE;
        frames.push(match packets.next_if(|(time, _)| *time <= now) {
            Some((_, packet)) => [&[2; 12][..], &[0x08, 0x00], &packet].concat(),
            None => [&[2; 12][..], &[0x88, 0xb5], &[0; 46]].concat(),
        });
    }
    frames
}

/// Where TOP_PICTURE names a directory, the load lasts longer and the picture is left there, for the README.
#[test]
fn in_a_browser_a_picture_can_be_taken_of_the_screen() {
    let (Some(world), Some(browser)) = (World::new(), report::browser()) else { return };
    let directory = std::env::var_os("TOP_PICTURE");
    world.configure(&[("upload", "no")]);
    let mut sensor = world.start();
    let terminal = world.top(100, 36);
    let load = Load::start(&world.namespace, life(), RATE);
    std::thread::sleep(Duration::from_secs(if directory.is_some() { 58 } else { 1 }));
    // What was asked for, and what is known of it.
    for text in
        ["cdn.example.com.", "198.51.100.3", "slow.example.", "NXDOMAIN", "SERVFAIL", "by transactions", "healthy"]
    {
        terminal.shows_text(text);
    }
    let page = terminal.to_html();
    load.stop();
    let scratch = Scratch::new();
    let page = scratch.file("top.html", page);
    let picture = scratch.path("top.png");
    let screen = Screen { width: 875, height: 644, dark: true };
    let shown = report::open(&browser, &scratch, &page, screen, &[format!("--screenshot={}", picture.display())]);
    assert_eq!(shown.console, Vec::<String>::new());
    assert!(fs::metadata(&picture).unwrap().len() > 10_000);
    if let Some(directory) = directory {
        fs::copy(&picture, Path::new(&directory).join("top.png")).unwrap();
    }
    drop(terminal);
    sensor.leaves(Signal::SIGTERM);
}
