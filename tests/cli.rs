//! The program's command line: exit codes, what goes where, and what is left behind when something fails.

use super::{
    program::{Ended, SENSOR, Scratch, run, run_with_input, vector, vectors},
    synthetic::{self, Synthetic},
};
use sie_dns_sensor::{
    capture::{Input, Next},
    config,
};
use std::{
    ffi::OsString,
    fs,
    io::{Read, Write},
    path::Path,
    process::{Command, Stdio},
};

/// `replay` of a resolver's capture.
fn replay<A: Into<OsString>>(args: impl IntoIterator<Item = A>) -> Vec<OsString> {
    let mut all: Vec<OsString> = ["replay", "--set", synthetic::RESOLVER].map(Into::into).into();
    all.extend(args.into_iter().map(Into::into));
    all
}

/// What `replay -w -` gives, and nothing else.
#[track_caller]
fn nmsg_of(files: &[&Path]) -> Vec<u8> {
    let mut args = replay(["--summary=none", "-w", "-"]);
    args.extend(files.iter().map(Into::into));
    let Ended { code, stdout, stderr } = run(args);
    assert_eq!((code, stderr.as_str()), (0, ""));
    stdout
}

fn json(text: &str) -> serde_json::Value {
    assert_eq!(text.matches('\n').count(), 1, "one line: {text}");
    serde_json::from_str(text).unwrap()
}

fn sum(counters: &serde_json::Value) -> u64 {
    let counters = counters.as_object().unwrap().iter();
    let counters = counters.filter(|(name, _)| *name != "total");
    counters.map(|(_, count)| count.as_u64().unwrap_or_else(|| sum(count))).sum()
}

fn frames_in(capture: &Path) -> u64 {
    let mut input = Input::new(vec![capture.to_owned()], false);
    let mut frames = 0;
    while let Next::Frame(_) = input.next() {
        frames += 1;
    }
    frames
}

#[test]
fn a_file_standard_output_and_none_get_the_same_account() {
    let scratch = Scratch::new();
    let (out, capture) = (scratch.path("out.nmsg"), vector("udp4.pcap"));
    let to_file = run(replay(["-w".into(), out.clone(), capture.clone()])).with_code(0);
    let to_stdout = run(replay(["-w".into(), "-".into(), capture.clone()])).with_code(0);
    let nowhere = run(replay([capture])).with_code(0);
    assert_eq!(to_file.stdout, b"");
    assert_eq!(fs::read(&out).unwrap(), to_stdout.stdout);
    assert_eq!(to_file.stderr, to_stdout.stderr);
    assert!(to_file.stderr.starts_with("packets            10  query 5, response 5\n"), "{}", to_file.stderr);
    let but_written =
        |text: &str| text.lines().filter(|line| !line.starts_with("written") && !line.starts_with("made")).count();
    assert_eq!((nowhere.stdout.as_slice(), but_written(&nowhere.stderr)), (&b""[..], 4));
    assert_eq!(scratch.names(), ["out.nmsg"]);
}

#[test]
fn the_account_of_every_capture_balances() {
    for (name, sets) in vectors() {
        let capture = vector(&name);
        let mut args = vec!["replay".to_string(), "-q".into(), "--summary=json".into()];
        args.extend(sets);
        args.push(capture.to_str().unwrap().into());
        let ended = run(args).with_code(0);
        assert_eq!(ended.stderr, "", "{name}");
        let account = json(ended.text());
        assert_eq!(account["packets"]["total"], frames_in(&capture), "{name}");
        assert_eq!(sum(&account["packets"]), account["packets"]["total"], "{name}");
        assert_eq!(sum(&account["queries"]), account["messages"]["query"], "{name}");
        assert_eq!(sum(&account["responses"]), account["messages"]["response"], "{name}");
        assert_eq!(account["queries"]["open"], 0, "{name}");
    }
}

#[test]
fn the_account_in_json_gives_way_to_containers() {
    let capture = vector("udp4.pcap").into_os_string();
    let alone = run(replay(["--summary=json".into(), "-w".into(), "/dev/null".into(), capture.clone()])).with_code(0);
    assert_eq!(alone.stderr, "");
    let beside = run(replay(["--summary=json".into(), "-w".into(), "-".into(), capture])).with_code(0);
    assert_eq!(json(&beside.stderr), json(alone.text()));
    assert!(beside.stdout.starts_with(b"NMSG"));
}

#[test]
fn every_wrong_setting_is_said_at_once_with_its_place() {
    let scratch = Scratch::new();
    let file = scratch.file("conf", "DNSQR_RES_ADDRS=\"192.0.2.300\"\nspoldir=/x\nDNSQR_QUERY_TIMEOUT=\"60s\"\n");
    let args = ["replay", "--set", "DNSQR_PORTS=0", "--set", "NOPE=1", "-c", file.to_str().unwrap(), "missing.pcap"];
    let ended = run(args).with_code(78);
    let file = file.display();
    let expected = format!(
        "{file}:1:17: DNSQR_RES_ADDRS=\"192.0.2.300\": \"192.0.2.300\" is not an address or prefix\n\
         {file}:2:1: spoldir: unknown variable; did you mean spooldir?\n\
         {file}:3:21: DNSQR_QUERY_TIMEOUT=\"60s\": not a whole number of seconds; write \"60\"\n\
         --set DNSQR_PORTS=\"0\": \"0\" is not a port; write one from 1 to 65535\n\
         --set NOPE: unknown variable; remove it\n"
    );
    assert_eq!((ended.text(), ended.stderr.as_str()), ("", expected.as_str()));
    let ended = run(["replay", "-c", "/nonexistent/conf", "missing.pcap"]).with_code(78);
    assert!(ended.stderr.starts_with("/nonexistent/conf: cannot be read: "), "{}", ended.stderr);
}

#[test]
fn settings_of_a_file_count_and_those_of_the_command_line_count_more() {
    let scratch = Scratch::new();
    let file = scratch.file("conf", "resolver=198.51.100.1\nDNSQR_RES_ADDRS=\"203.0.113.1\"\n");
    assert_eq!(run(["replay", "-c", file.to_str().unwrap(), "-"]).code, 78, "resolver is no setting");
    let file = scratch.file("conf", "DNSQR_RES_ADDRS=\"203.0.113.1\"\n").into_os_string();
    let capture = vector("udp4.pcap").into_os_string();
    let transactions = |args: Vec<OsString>| {
        let ended = run(args).with_code(0);
        json(ended.text())["output"]["transactions"].as_u64().unwrap()
    };
    let common = ["replay".into(), "--summary=json".into(), "-c".into(), file, capture];
    assert_eq!(transactions(common.to_vec()), 0);
    assert_eq!(transactions([&common[..], &["--set".into(), synthetic::RESOLVER.into()]].concat()), 5);
}

#[test]
fn without_addresses_the_user_is_told_that_clients_show() {
    let ended = run(["replay".into(), "--summary=none".into(), vector("udp4.pcap").into_os_string()]).with_code(0);
    assert!(ended.stderr.contains("neither DNSQR_RES_ADDRS nor DNSQR_AUTH_ADDRS is set"), "{}", ended.stderr);
}

#[test]
fn a_file_that_is_not_there_costs_only_itself() {
    let files = ["--summary=none".into(), "-w".into(), "-".into(), "missing.pcap".into(), vector("udp4.pcap")];
    let ended = run(replay(files)).with_code(1);
    let expected = "sie-dns-sensor replay: cannot open missing.pcap: No such file or directory (os error 2)\n";
    assert_eq!(ended.stderr, expected);
    assert_eq!(ended.stdout, nmsg_of(&[&vector("udp4.pcap")]));

    let ended = run(["read".into(), "missing.nmsg".into(), vector("expected/udp4.nmsg")]).with_code(1);
    let expected = "sie-dns-sensor read: cannot open missing.nmsg: No such file or directory (os error 2)\n";
    assert_eq!(ended.stderr, expected);
    assert_eq!(ended.text(), fs::read_to_string(vector("expected/udp4.pres")).unwrap());
}

#[test]
fn of_a_capture_that_was_cut_off_the_whole_packets_count() {
    let scratch = Scratch::new();
    let cut = scratch.file("cut.pcap", &fs::read(vector("udp4.pcap")).unwrap()[..500]);
    let ended = run(replay(["--summary=json".into(), cut.clone()])).with_code(1);
    let expected = "cut off in the middle of a packet at byte 500 (after 4 whole packets)";
    assert_eq!(ended.stderr, format!("sie-dns-sensor replay: {}: {expected}\n", cut.display()));
    assert_eq!(json(ended.text())["packets"]["total"], 4);
}

#[test]
fn of_damaged_nmsg_the_rest_is_read() {
    let scratch = Scratch::new();
    let whole = fs::read(vector("expected/udp4.nmsg")).unwrap();
    let damaged = scratch.file("damaged.nmsg", [&whole, &b"NMSG, but not quite"[..], &whole].concat());
    let ended = run(["read".into(), damaged.clone()]).with_code(1);
    let (file, offset) = (damaged.display(), whole.len());
    let expected = format!("sie-dns-sensor read: {file}: offset {offset}: no NMSG container; skipped 19 bytes\n");
    assert_eq!(ended.stderr, expected);
    assert_eq!(ended.text(), fs::read_to_string(vector("expected/udp4.pres")).unwrap().repeat(2));
}

#[test]
fn a_device_that_is_full_is_a_failure() {
    let full = "cannot write /dev/full: No space left on device (os error 28)\n";
    let ended = run(replay(["-w".into(), "/dev/full".into(), vector("udp4.pcap")])).with_code(2);
    assert_eq!(ended.stderr, format!("sie-dns-sensor replay: {full}"));
    let ended = run(["read".into(), "-w".into(), "/dev/full".into(), vector("expected/udp4.nmsg")]).with_code(2);
    assert_eq!(ended.stderr, format!("sie-dns-sensor read: {full}"));
}

/// Runs the program where no file may grow beyond 512 bytes: to a program much like a full disk.
fn run_without_room(args: Vec<OsString>) -> Ended {
    let script = "ulimit -f 1; trap '' XFSZ; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, SENSOR]).args(args).stdin(Stdio::null());
    command.output().unwrap().into()
}

#[test]
fn a_disk_that_is_full_leaves_nothing_half_written() {
    let scratch = Scratch::new();
    let (replayed, shown) = (scratch.path("out.nmsg"), scratch.path("out.txt"));
    let replay = replay(["-w".into(), replayed.clone(), vector("udp4.pcap")]);
    let read = vec!["read".into(), "-w".into(), shown.clone().into(), vector("expected/udp4.nmsg").into()];
    for (args, command, out) in [(replay, "replay", replayed), (read, "read", shown)] {
        let ended = run_without_room(args.clone()).with_code(2);
        let expected =
            format!("sie-dns-sensor {command}: cannot write {}: File too large (os error 27)\n", out.display());
        assert_eq!(ended.stderr, expected);
        assert_eq!(scratch.names(), [""; 0]);
        fs::write(&out, "old").unwrap();
        run_without_room(args).with_code(2);
        assert_eq!(fs::read(&out).unwrap(), b"old");
        fs::remove_file(out).unwrap();
    }
}

#[test]
fn a_target_that_cannot_be_made_is_a_failure() {
    let scratch = Scratch::new();
    for target in [scratch.path("missing/out"), scratch.path("")] {
        let ended = run(replay(["-w".into(), target.clone(), vector("udp4.pcap")])).with_code(2);
        assert!(ended.stderr.starts_with("sie-dns-sensor replay: cannot write "), "{}", ended.stderr);
        let ended = run(["read".into(), "-w".into(), target, vector("expected/udp4.nmsg")]).with_code(2);
        assert!(ended.stderr.starts_with("sie-dns-sensor read: cannot write "), "{}", ended.stderr);
    }
    assert_eq!(scratch.names(), [""; 0]);
}

#[test]
fn a_target_is_replaced_and_may_be_a_link() {
    let scratch = Scratch::new();
    let out = scratch.file("out.nmsg", "old");
    let link = scratch.path("link.nmsg");
    std::os::unix::fs::symlink(&out, &link).unwrap();
    run(replay(["-q".into(), "-w".into(), link.clone(), vector("udp4.pcap")])).with_code(0);
    assert_eq!(fs::read(&out).unwrap(), nmsg_of(&[&vector("udp4.pcap")]));
    assert!(link.is_symlink());
    run(["read".into(), "-w".into(), out.clone(), vector("expected/udp4.nmsg")]).with_code(0);
    assert_eq!(fs::read(&out).unwrap(), fs::read(vector("expected/udp4.pres")).unwrap());
    assert_eq!(scratch.names(), ["link.nmsg", "out.nmsg"]);
}

/// Takes ten bytes of what the program writes, and no more.
#[track_caller]
fn seen_enough(args: Vec<OsString>) {
    let mut command = Command::new(SENSOR);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 10]).unwrap();
    let ended = Ended::from(child.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
}

#[test]
fn whoever_has_seen_enough_may_go() {
    let scratch = Scratch::new();
    let capture = scratch.file("large.pcap", Synthetic::new(3000).file);
    seen_enough(replay(["-w".into(), "-".into(), capture.clone()]));
    seen_enough(replay(["-w".into(), "/dev/stdout".into(), capture.clone()]));
    let out = scratch.path("large.nmsg");
    run(replay(["-w".into(), out.clone(), capture])).with_code(0);
    for format in ["pres", "json", "pcap", "cof"] {
        seen_enough(vec!["read".into(), "-f".into(), format.into(), out.clone().into()]);
    }
}

#[test]
fn a_compressed_capture_and_standard_input_read_like_a_plain_file() {
    let scratch = Scratch::new();
    let plain = Synthetic::new(500).file;
    let expected = nmsg_of(&[&scratch.file("plain.pcap", &plain)]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 0);
    xz.write_all(&plain).unwrap();
    let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
    // The name does not say it: the content does.
    for bytes in [&plain, &gzip.finish().unwrap(), &xz.finish().unwrap(), &zstd] {
        assert!(nmsg_of(&[&scratch.file("capture", bytes)]) == expected);
        let piped = run_with_input(replay(["--summary=none", "-w", "-", "-"]), bytes).with_code(0);
        assert_eq!((piped.stdout, piped.stderr.as_str()), (expected.clone(), ""));
    }
}

#[test]
fn the_same_packets_give_the_same_bytes() {
    let scratch = Scratch::new();
    let capture = scratch.file("large.pcap", Synthetic::new(2000).file);
    for level in ["-z", "--compress=1", "--compress=12"] {
        let args = replay(["--summary=none".into(), level.into(), "-w".into(), "-".into(), capture.clone()]);
        let first = run(args.clone()).with_code(0).stdout;
        assert!(!first.is_empty() && first == run(args).stdout, "{level}");
    }
    assert!(nmsg_of(&[&capture]) == nmsg_of(&[&capture]));
}

/// The packets of a savefile dealt out to two.
fn deal(file: &[u8]) -> [Vec<u8>; 2] {
    let (header, mut rest) = file.split_at(24);
    let mut hands = [header.to_vec(), header.to_vec()];
    for hand in [0, 1, 1].into_iter().cycle() {
        let Some(len) = rest.get(8..12) else { break };
        let len = 16 + usize::try_from(u32::from_le_bytes(len.try_into().unwrap())).unwrap();
        let (packet, behind) = rest.split_at(len);
        hands[hand].extend(packet);
        rest = behind;
    }
    hands
}

#[test]
fn files_that_were_written_side_by_side_merge() {
    let scratch = Scratch::new();
    let whole = Synthetic::new(500).file;
    let hands = deal(&whole);
    let expected = nmsg_of(&[&scratch.file("whole.pcap", &whole)]);
    let (first, second) = (scratch.file("first.pcap", &hands[0]), scratch.file("second.pcap", &hands[1]));
    // Without the slack that merged captures get: it lets unsolicited responses leave later.
    let merged = nmsg_of(&[Path::new("--merge"), Path::new("--set=pair_slack_ms=0"), &second, &first]);
    assert!(merged == expected);

    let ended = run(replay(["--summary=none".into(), first.clone(), second.clone()])).with_code(0);
    let (earlier, later) = (second.display(), first.display());
    let warning = format!("{earlier}: starts before the last packet of {later}; --merge takes all in order of time");
    assert_eq!(ended.stderr, format!("sie-dns-sensor replay: {warning}\n"));
    let quiet = run(replay(["-q".into(), "--summary=none".into(), first, second])).with_code(0);
    assert_eq!(quiet.stderr, "");
}

#[test]
fn files_one_after_the_other_are_one_stream() {
    let scratch = Scratch::new();
    let whole = Synthetic::new(500).file;
    let lens = whole.len() - 24;
    let mut end = 24;
    while end < 24 + lens / 2 {
        let len = u32::from_le_bytes(whole[end + 8..end + 12].try_into().unwrap());
        end += 16 + usize::try_from(len).unwrap();
    }
    let first = scratch.file("1.pcap", &whole[..end]);
    let second = scratch.file("2.pcap", [&whole[..24], &whole[end..]].concat());
    assert!(nmsg_of(&[&first, &second]) == nmsg_of(&[&scratch.file("whole.pcap", &whole)]));
}

#[test]
fn nothing_but_the_account_is_said_when_nobody_watches() {
    let scratch = Scratch::new();
    let capture = scratch.file("large.pcap", Synthetic::new(20_000).file);
    let ended = run(replay(["-w".into(), "/dev/null".into(), capture])).with_code(0);
    let firsts: Vec<&str> = ended.stderr.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(firsts, ["packets", "messages", "queries", "responses", "datagrams", "TCP", "written"]);
    assert!(ended.stderr.bytes().all(|byte| byte == b'\n' || (b' '..0x7f).contains(&byte)), "{}", ended.stderr);
}

#[test]
fn what_read_gives_back_as_packets_replays_to_the_same() {
    let scratch = Scratch::new();
    for name in ["udp4", "udp6", "frag4-in-order", "frag6-in-order", "nanosecond", "rdata-types", "unsolicited"] {
        let nmsg = scratch.file("first.nmsg", nmsg_of(&[&vector(&format!("{name}.pcap"))]));
        let packets = scratch.path("packets.pcap");
        run(["read".into(), "-f".into(), "pcap".into(), "-w".into(), packets.clone(), nmsg.clone()]).with_code(0);
        assert_eq!(nmsg_of(&[&packets]), fs::read(nmsg).unwrap(), "{name}");
    }
}

#[test]
fn the_demonstration_shows_every_kind_of_transaction_and_no_client() {
    let scratch = Scratch::new();
    let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/demo.pcap");
    let nmsg = scratch.file("demo.nmsg", nmsg_of(&[&capture]));
    let of_kind = |args: &[&str]| {
        let read = ["read", "-f", "json"].iter().chain(args).map(Into::into);
        run(read.chain([nmsg.clone().into_os_string()])).with_code(0).text().lines().count()
    };
    let kinds = ["answered", "unanswered", "unsolicited"].map(|kind| of_kind(&["--type", kind]));
    assert_eq!(kinds, [52, 2, 1]);
    assert_eq!(of_kind(&["--ip", "192.0.2.10"]), 0);
    assert_eq!([of_kind(&["--ip", "192.0.2.53"]), of_kind(&["--ip", "2001:db8:53::53"])], [31, 24]);
}

#[test]
fn standard_input_reads_like_a_file() {
    let nmsg = fs::read(vector("expected/udp4.nmsg")).unwrap();
    for args in [vec!["read", "-f", "json"], vec!["read", "-f", "json", "-"]] {
        let ended = run_with_input(args, &nmsg).with_code(0);
        assert_eq!(ended.text(), fs::read_to_string(vector("expected/udp4.json")).unwrap());
    }
}

/// The long options that a help text has a line for.
fn options(help: &str) -> Vec<&str> {
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let words = lines.filter_map(|line| line.split([' ', '=', '[']).find(|word| word.starts_with("--")));
    words.collect()
}

#[test]
fn the_help_names_every_option() {
    let replay = ["--write", "--compress", "--merge", "--config", "--set", "--summary", "--quiet", "--help"];
    let read = [
        "--format",
        "--write",
        "--count",
        "--stats",
        "--help",
        "--would-send",
        "--interface",
        "--config",
        "--set",
        "--qname",
        "--qtype",
        "--rcode",
        "--type",
        "--ip",
        "--since",
        "--until",
    ];
    for (command, expected) in [("replay", &replay[..]), ("read", &read[..])] {
        for flag in ["-h", "--help"] {
            let ended = run([command, flag]).with_code(0);
            assert_eq!((options(ended.text()), ended.stderr.as_str()), (expected.to_vec(), ""), "{command} {flag}");
        }
    }
    let ended = run(["-h"]).with_code(0);
    assert!(["replay", "read"].iter().all(|command| ended.text().contains(&format!("\n  {command} "))));
}

#[test]
fn usage_that_is_wrong_is_a_failure() {
    let live = [&["read", "-i", "lo"][..], &["read", "--would-send", "x"], &["read", "--would-send", "-w", "x"]];
    let usual = [&[][..], &["replay"], &["replay", "--frobnicate", "x"], &["replay", "-z=13", "x"], &["collect"]];
    for args in usual.into_iter().chain(live) {
        let ended = run(args).with_code(2);
        assert_eq!(ended.stdout, b"", "{args:?}");
        assert!(ended.stderr.contains("error: ") || ended.stderr.contains("Usage: "), "{args:?}: {}", ended.stderr);
    }
    let ended = run(["read", "-f", "xml", "--qtype", "AAAAA", "--ip", "nonsense", "-"]).with_code(2);
    assert_eq!(ended.stderr.lines().count(), 3, "{}", ended.stderr);
}

/// The values of `--set NAME="VALUE"` and `--set NAME=VALUE` in a text, as a shell would pass them.
fn sets_in(text: &str) -> Vec<String> {
    let written = text.split("--set ").skip(1);
    let passed = written.filter_map(|text| {
        let (name, value) = text.split_once('=')?;
        let value = match value.strip_prefix('"') {
            Some(value) => value.split('"').next()?,
            None => value.split_whitespace().next()?,
        };
        // Not the placeholder of a synopsis.
        let is_name = name != "NAME" && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        is_name.then(|| format!("{name}={value}"))
    });
    passed.collect()
}

#[test]
fn the_settings_that_the_readme_shows_are_settings() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let sets = sets_in(&readme);
    assert!(!sets.is_empty(), "the README shows how to set something");
    config::load(None, &sets).unwrap_or_else(|problems| panic!("{problems}"));
    // Lines of a configuration file.
    let assignments = readme.lines().map(str::trim).filter(|line| {
        let name = line.split('=').next().unwrap_or_default();
        line.contains('=') && name.starts_with("DNSQR_") && !name.contains(' ')
    });
    let file = assignments.collect::<Vec<_>>().join("\n");
    let scratch = Scratch::new();
    config::load(Some(&scratch.file("conf", file)), &[]).unwrap_or_else(|problems| panic!("{problems}"));
}

#[test]
fn an_input_is_never_replaced_by_its_own_output() {
    let scratch = Scratch::new();
    let capture = scratch.path("a.pcap");
    fs::copy(vector("udp4.pcap"), &capture).unwrap();
    let before = fs::read(&capture).unwrap();
    let ended = run(replay(["-w".into(), capture.clone(), capture.clone()])).with_code(2);
    assert!(ended.stderr.contains("is to be read and written"), "{}", ended.stderr);
    let args = replay(["-w".into(), capture.clone(), "-".into()]);
    let redirected = Command::new(SENSOR).args(args).stdin(fs::File::open(&capture).unwrap()).output();
    let ended = Ended::from(redirected.unwrap()).with_code(2);
    assert!(ended.stderr.contains("/dev/stdin is to be read and written"), "{}", ended.stderr);
    assert_eq!(fs::read(&capture).unwrap(), before);

    let nmsg = scratch.file("a.nmsg", nmsg_of(&[&capture]));
    let before = fs::read(&nmsg).unwrap();
    let no_mx = |file: OsString| ["read".into(), "--qtype=MX".into(), "-w".into(), nmsg.clone().into(), file];
    let ended = run(no_mx(nmsg.clone().into())).with_code(2);
    assert!(
        ended.stderr.ends_with("a.nmsg is to be read and written; name another file with -w\n"),
        "{}",
        ended.stderr
    );
    let redirected = Command::new(SENSOR).args(&no_mx("".into())[..4]).stdin(fs::File::open(&nmsg).unwrap()).output();
    let ended = Ended::from(redirected.unwrap()).with_code(2);
    assert!(ended.stderr.contains("/dev/stdin is to be read and written"), "{}", ended.stderr);
    assert_eq!(fs::read(&nmsg).unwrap(), before);
}

#[test]
fn merge_reads_the_files_that_are_there() {
    let args = ["--merge".into(), "--summary=json".into(), "/nonexistent.pcap".into(), vector("udp4.pcap")];
    let ended = run(replay(args)).with_code(1);
    assert_eq!(json(std::str::from_utf8(&ended.stdout).unwrap())["queries"]["answered"], 5);
}

/// A tap often gives each direction a capture of its own, and their clocks are not quite the same.
#[test]
fn merged_captures_pair_although_an_answer_seems_older_than_its_query() {
    let scratch = Scratch::new();
    let whole = fs::read(vector("udp4.pcap")).unwrap();
    let (mut queries, mut responses) = (whole[..24].to_vec(), whole[..24].to_vec());
    let mut rest = &whole[24..];
    while let Some((header, behind)) = rest.split_first_chunk::<16>() {
        let field = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
        let (frame, next) = behind.split_at(field(8) as usize);
        // The answers' clock is 21 ms behind; they took 20.
        let is_response = frame[12..14] == [8, 0] && frame[34..36] == [0, 53];
        let micros = if is_response { (field(4) + 979_000) % 1_000_000 } else { field(4) };
        let seconds = if is_response && field(4) < 21_000 { field(0) - 1 } else { field(0) };
        let file = if is_response { &mut responses } else { &mut queries };
        file.extend([seconds.to_le_bytes(), micros.to_le_bytes()].concat());
        file.extend([&header[8..], frame].concat());
        rest = next;
    }
    let files = [scratch.file("queries.pcap", queries), scratch.file("responses.pcap", responses)];
    let answered = |options: &[&str]| {
        let mut args: Vec<OsString> = options.iter().map(Into::into).collect();
        args.extend(files.iter().map(Into::into));
        let ended = run(replay(args)).with_code(0);
        json(std::str::from_utf8(&ended.stdout).unwrap())["queries"]["answered"].as_u64().unwrap()
    };
    assert_eq!(answered(&["--merge", "--summary=json"]), 5);
    assert_eq!(answered(&["--merge", "--summary=json", "--set", "pair_slack_ms=0"]), 0);
}

#[test]
fn no_file_name_can_write_to_the_terminal() {
    let name = "a\x1b[2J";
    for args in [
        vec!["read", name],
        vec!["read", "-w", "a\x1b[2J/x", "-"],
        vec!["replay", "-q", "-w", "a\x1b[2J/x", "-"],
        vec!["replay", "-c", name, "-"],
        vec!["replay", "-q", name],
    ] {
        let stderr = run(&args).stderr;
        assert!(stderr.contains("a\\u{1b}[2J") && !stderr.contains('\x1b'), "{args:?}: {stderr:?}");
    }
}

#[test]
fn a_link_to_nothing_is_not_replaced() {
    let scratch = Scratch::new();
    let link = scratch.path("link");
    std::os::unix::fs::symlink("missing/target", &link).unwrap();
    let ended = run(replay(["-q".into(), "-w".into(), link.clone(), vector("udp4.pcap")])).with_code(2);
    assert!(ended.stderr.contains("a symbolic link that leads nowhere"), "{}", ended.stderr);
    assert!(link.is_symlink());
}

#[test]
fn what_cannot_be_read_replaces_nothing() {
    let scratch = Scratch::new();
    let out = scratch.file("out", "old");
    let ended = run(replay(["-w".into(), out.clone(), "missing.pcap".into()])).with_code(2);
    assert!(ended.stderr.ends_with(&format!("so {} is not written\n", out.display())), "{}", ended.stderr);
    let ended = run(["read".into(), "-w".into(), out.clone(), "missing.nmsg".into()]).with_code(2);
    assert!(ended.stderr.ends_with(&format!("so {} is not written\n", out.display())), "{}", ended.stderr);
    assert_eq!(fs::read(&out).unwrap(), b"old");
    assert_eq!(scratch.names(), ["out"]);
}

#[test]
fn an_account_that_cannot_be_written_is_a_failure() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let args = replay(["--summary=json".into(), vector("udp4.pcap")]);
    let ended = Ended::from(Command::new(SENSOR).args(args).stdout(full).output().unwrap()).with_code(2);
    assert!(ended.stderr.contains("cannot write standard output: No space left"), "{}", ended.stderr);
}

#[test]
fn the_account_in_the_readme_is_what_replay_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let scratch = Scratch::new();
    let args = ["-w".into(), scratch.path("out.nmsg"), root.join("tests/data/demo.pcap")];
    let set: [OsString; 3] = ["replay".into(), "--set".into(), "DNSQR_RES_ADDRS=192.0.2.53, 2001:db8:53::53".into()];
    let ended = run(set.into_iter().chain(args.map(Into::into))).with_code(0);
    let indented: String = ended.stderr.lines().map(|line| format!("    {line}\n")).collect();
    assert!(readme.contains(&indented), "{indented}");
}

#[test]
fn who_is_interrupted_leaves_nothing_behind() {
    use std::os::unix::process::ExitStatusExt;
    let scratch = Scratch::new();
    let out = scratch.path("out.nmsg");
    let replay = replay(["-q".into(), "-w".into(), out.clone(), "-".into()]);
    let read = vec!["read".into(), "-w".into(), out.into(), "-".into()];
    for (args, signal, number) in [(replay, "INT", 2), (read, "TERM", 15)] {
        let mut child = Command::new(SENSOR).args(args).stdin(Stdio::piped()).spawn().unwrap();
        // Held, because `wait` would close it: the input never comes, and the signal finds a read that blocks.
        let _stdin = child.stdin.take();
        while scratch.names().is_empty() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().signal(), Some(number));
        assert_eq!(scratch.names(), [""; 0]);
    }
}

#[test]
fn damage_without_end_is_counted() {
    let scratch = Scratch::new();
    let damaged = scratch.file("damaged", b"NMSG\0\x02\xff\xff\xff\xff".repeat(150));
    let ended = run(["read".into(), damaged]).with_code(1);
    assert_eq!(ended.stderr.lines().count(), 101);
    assert!(ended.stderr.ends_with(": 50 more places could not be read\n"), "{}", ended.stderr);
}

#[test]
fn too_many_files_to_merge_are_said_with_the_cure() {
    let mut args = replay(["-q", "--merge"]);
    args.extend(std::iter::repeat_n(vector("udp4.pcap").into_os_string(), 30));
    let with = |limit: &str| {
        let script = format!("ulimit {limit} 16; exec \"$0\" \"$@\"");
        let output = Command::new("sh").args(["-c", &script, SENSOR]).args(&args).stdin(Stdio::null()).output();
        Ended::from(output.unwrap())
    };
    with("-S -n").with_code(0); // as far as the hard limit lets it, it does by itself
    let ended = with("-n").with_code(1);
    assert!(ended.stderr.contains("; merge fewer files at once, or allow more with ulimit -n\n"), "{}", ended.stderr);
}

#[test]
fn a_target_that_is_read_only_stays() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let out = scratch.file("out", "old");
    fs::set_permissions(&out, fs::Permissions::from_mode(0o444)).unwrap();
    if fs::OpenOptions::new().write(true).open(&out).is_ok() {
        return; // root may write anything
    }
    let ended = run(replay(["-q".into(), "-w".into(), out.clone(), vector("udp4.pcap")])).with_code(2);
    assert!(ended.stderr.contains(": Permission denied"), "{}", ended.stderr);
    assert_eq!(fs::read(&out).unwrap(), b"old");
}
