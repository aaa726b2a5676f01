//! `top` over files, in a terminal and as text.

use crate::{
    program::{Scratch, run, run_with_input},
    report::hostile_capture,
    terminal::Terminal,
};
use nix::sys::signal::Signal;
use std::{fs, process::Command};

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/demo.pcap");
const SET: [&str; 2] = ["--set", "DNSQR_RES_ADDRS=192.0.2.53, 2001:db8:53::53"];
const TOP: [&str; 5] = ["top", "-r", DEMO, SET[0], SET[1]];

#[test]
fn keys_pause_sort_help_and_quit_and_the_terminal_is_left_as_it_was() {
    let mut terminal = Terminal::sensor(&TOP, 80, 24);
    let screen = terminal.shows_text("demo.pcap, read");
    assert!(screen.contains("55 transactions in ") && screen.contains("zones by transactions"), "{screen}");
    assert!(terminal.is_coloured());
    terminal.press("s");
    terminal.shows_text("zones by delay");
    terminal.press("s");
    terminal.shows_text("servers by failures");
    terminal.press("p");
    terminal.shows_text("PAUSED");
    terminal.press(" ");
    terminal.shows_no_text("PAUSED");
    terminal.press("?");
    terminal.shows_text("slowest zones are those with more than a few");
    terminal.press("x");
    terminal.shows_no_text("slowest zones are those");
    terminal.press("h");
    terminal.shows_text(" Help ");
    terminal.press("t");
    terminal.shows_text("t recent");
    terminal.press("q");
    assert_eq!(terminal.ends(), 0);
    for key in ["\u{1b}", "\u{3}"] {
        let mut terminal = Terminal::sensor(&TOP, 80, 24);
        terminal.shows_text("demo.pcap, read");
        terminal.press(key);
        assert_eq!(terminal.ends(), 0);
    }
}

#[test]
fn it_fits_whatever_size_the_terminal_gets() {
    let mut terminal = Terminal::sensor(&TOP, 80, 24);
    terminal.shows_text("q quit");
    for (columns, rows) in [(60, 15), (200, 60), (20, 5), (3, 1), (80, 24)] {
        terminal.resize(columns, rows);
        let last = terminal.shows("the keys in the last line", |text| {
            let lines: Vec<&str> = text.lines().collect();
            rows == 1
                || lines.len() == usize::from(rows)
                    && lines.last().unwrap().starts_with(&"q quit"[..columns.min(6).into()])
        });
        assert!(last.lines().all(|line| line.chars().count() <= columns.into()), "{last}");
    }
    terminal.press("q");
    assert_eq!(terminal.ends(), 0);
}

#[test]
fn signals_end_it_and_the_terminal_is_left_as_it_was() {
    for (signal, code) in [(Signal::SIGTERM, 128 + 15), (Signal::SIGINT, 128 + 2), (Signal::SIGHUP, 128 + 1)] {
        let terminal = Terminal::sensor(&TOP, 80, 24);
        terminal.shows_text("q quit");
        terminal.signal(signal);
        assert_eq!(terminal.ends(), code, "{signal}");
    }
}

#[test]
fn it_stops_as_a_shells_job_and_goes_on() {
    let mut terminal = Terminal::sensor(&TOP, 80, 24);
    terminal.shows_text("q quit");
    for by_key in [true, false] {
        if by_key {
            terminal.press("\u{1a}"); // Ctrl-Z
        } else {
            terminal.signal(Signal::SIGTSTP);
        }
        terminal.is_taken(false);
        terminal.signal(Signal::SIGCONT);
        terminal.is_taken(true);
        terminal.shows_text("q quit");
    }
    terminal.press("q");
    assert_eq!(terminal.ends(), 0);
}

#[test]
fn a_named_pipe_is_opened_once() {
    let scratch = Scratch::new();
    let pipe = scratch.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::write(pipe, fs::read(DEMO).unwrap()).unwrap()
    });
    let ended = run(["top", "--once", "-r", pipe.to_str().unwrap()].into_iter().chain(SET)).with_code(0);
    assert!(ended.text().contains("139 packets in"), "{}", ended.text());
    writer.join().unwrap();
}

#[test]
fn no_color_leaves_colours_out() {
    let mut command = Command::new(crate::program::SENSOR);
    command.args(TOP).env("NO_COLOR", "1");
    let mut terminal = Terminal::start(&command, 80, 24);
    terminal.shows_text("q quit");
    assert!(!terminal.is_coloured());
    terminal.press("q");
    assert_eq!(terminal.ends(), 0);
}

#[test]
fn without_a_terminal_there_is_one_frame_or_none() {
    let ended = run(TOP).with_code(2);
    assert!(ended.stderr.contains("standard output is not a terminal; --once prints one frame"), "{}", ended.stderr);
    let once = run(TOP.into_iter().chain(["--once"])).with_code(0);
    // What replay and read --stats say of it.
    for text in ["139 packets in", "55 transactions in", "52 answered", "NOERROR", "servers by transactions"] {
        assert!(once.text().contains(text), "{text}: {}", once.text());
    }
    assert!(once.text().lines().all(|line| line.chars().count() <= 100 && !line.contains('\u{1b}')));
    let piped = run_with_input(["top", "--once", "-r", "-"].into_iter().chain(SET), &fs::read(DEMO).unwrap());
    assert_eq!(piped.with_code(0).text(), once.text().replacen(DEMO, "standard input", 1));
}

#[test]
fn of_nmsg_it_shows_what_it_shows_of_the_capture_but_packets() {
    let scratch = Scratch::new();
    let nmsg = scratch.path("out.nmsg");
    run(["replay", "-q", "-w", nmsg.to_str().unwrap(), DEMO].into_iter().chain(SET)).with_code(0);
    let tables = |text: &str| text.lines().skip_while(|line| !line.contains("zones by")).map(str::to_owned).collect();
    let of_capture: Vec<String> = tables(run(TOP.into_iter().chain(["--once"])).with_code(0).text());
    let of_nmsg = run(["top", "--once", "-r", nmsg.to_str().unwrap()]).with_code(0);
    let of_nmsg_tables: Vec<String> = tables(of_nmsg.text());
    // Without the account of packets there is more room.
    let rows = |lines: &[String]| lines.iter().skip(2).take(8).map(|line| line[..48].to_owned()).collect::<Vec<_>>();
    assert_eq!(rows(&of_nmsg_tables), rows(&of_capture), "{}", of_nmsg.text());
    assert!(of_nmsg.text().contains("packets: none"), "{}", of_nmsg.text());
}

#[test]
fn bad_input_is_shown_and_is_the_exit_code() {
    let scratch = Scratch::new();
    let cut = scratch.file("cut.pcap", &fs::read(DEMO).unwrap()[..20_000]);
    let ended = run(["top", "--once", "-r", cut.to_str().unwrap()]).with_code(1);
    assert!(ended.text().contains("cut off"), "{}", ended.text());
    let missing = scratch.path("missing");
    let ended = run(["top", "--once", "-r", missing.to_str().unwrap()]).with_code(2);
    assert!(ended.stderr.contains("cannot open"), "{}", ended.stderr);
    run(["top", "--once", "-r", DEMO, "--set", "rotate_seconds=60s"]).with_code(78);
    let nobody = scratch.path("none.sock");
    let ended = run(["top", "--once", "-c", "/dev/null", "--set", &format!("status_socket={}", nobody.display())]);
    let ended = ended.with_code(2);
    assert!(ended.stderr.contains("no sensor is running"), "{}", ended.stderr);
}

#[test]
fn hostile_names_of_files_and_zones_move_no_cursor() {
    let scratch = Scratch::new();
    let file = scratch.file("a\u{1b}[2J\nb.pcap", hostile_capture());
    let text = run(["top", "--once", "-r", file.to_str().unwrap()]).with_code(0);
    assert!(!text.text().chars().any(|c| c.is_control() && c != '\n'), "{:?}", text.text());
    assert!(text.text().contains("a\\u{1b}[2J\\nb.pcap") && text.text().contains("\\010.example."), "{}", text.text());
}
