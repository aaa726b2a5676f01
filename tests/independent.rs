//! What `replay` writes, through a reader that others wrote: the Go library of NMSG's authors, in tests/go-nmsg.

use super::{
    program::{self, Scratch},
    synthetic::{self, Synthetic},
};
use sie_dns_sensor::nmsg::{Payload, dnsqr::Dnsqr, reader::Reader};
use std::{
    fmt::{Display, Write},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

/// Where Debian's packages put Go sources.
const GOPATH: &str = "/usr/share/gocode";
const LIBRARY: &str = "golang-github-farsightsec-go-nmsg-dev";

/// The Go program, built once.
fn go_reader() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let library = Path::new(GOPATH).join("src/github.com/farsightsec/go-nmsg/nmsg_base");
        assert!(library.is_dir(), "the Go library is not here; install the package {LIBRARY}");
        let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let program = scratch.join("go-nmsg");
        let mut go = Command::new("go");
        go.args(["build", "-o"]).arg(&program).arg("main.go");
        go.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/go-nmsg"));
        // Nothing is fetched: GOPATH mode knows no other place than Debian's.
        go.env("GO111MODULE", "off").env("GOPATH", GOPATH).env("GOFLAGS", "").env("CGO_ENABLED", "0");
        go.env("GOCACHE", scratch.join("go-cache")).stdin(Stdio::null());
        let output =
            go.output().unwrap_or_else(|error| panic!("cannot run go ({error}); install the package golang-go"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        program
    })
}

/// What the Go program prints of a file.
fn others_see(nmsg: &Path) -> String {
    let output = Command::new(go_reader()).arg(nmsg).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The same of our own reader.
fn we_see(nmsg: &Path) -> String {
    let mut reader = Reader::new(fs::File::open(nmsg).unwrap());
    let mut text = String::new();
    while let Some(payload) = reader.next().unwrap() {
        line(&mut text, &payload);
    }
    let counts = reader.counts();
    assert_eq!((counts.crc_mismatch, counts.malformed_containers, counts.skipped_bytes), (0, 0, 0));
    writeln!(text, "file {}", counts.containers).unwrap();
    text
}

/// The form of tests/go-nmsg/main.go.
fn line(text: &mut String, payload: &Payload<'_>) {
    let dnsqr = Dnsqr::decode(&payload.message).unwrap();
    let (vid, msgtype) = (payload.vid, payload.msgtype);
    write!(text, "{vid} {msgtype} {}.{:09} 1={}", payload.time_sec, payload.time_nsec, dnsqr.kind).unwrap();
    let fields = [
        hex(dnsqr.query_ip),
        hex(dnsqr.response_ip),
        dnsqr.proto.to_string(),
        dnsqr.query_port.to_string(),
        dnsqr.response_port.to_string(),
        dnsqr.id.to_string(),
        optional(dnsqr.qname.map(hex)),
        optional(dnsqr.qtype),
        optional(dnsqr.qclass),
        optional(dnsqr.rcode),
        list(dnsqr.query_packet.iter().map(|packet| hex(packet))),
        list(&dnsqr.query_time_sec),
        list(&dnsqr.query_time_nsec),
        list(dnsqr.response_packet.iter().map(|packet| hex(packet))),
        list(&dnsqr.response_time_sec),
        list(&dnsqr.response_time_nsec),
        optional(dnsqr.tcp.map(hex)),
        optional(dnsqr.icmp.map(hex)),
        optional(dnsqr.timeout.map(|seconds| format!("{:016x}", seconds.to_bits()))),
        optional(dnsqr.udp_checksum),
        optional(dnsqr.resolver_address_zeroed),
    ];
    for (number, field) in (2..).zip(fields) {
        write!(text, " {number}={field}").unwrap();
    }
    text.push('\n');
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

fn optional(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_string(), |value| value.to_string())
}

fn list<T: Display>(values: impl IntoIterator<Item = T>) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(",")
}

/// Replays a capture plain and compressed and holds the two readers against each other; what they saw.
#[track_caller]
fn compare(scratch: &Scratch, capture: &Path, sets: &[String]) -> String {
    let nmsg = scratch.path("out.nmsg");
    let see = |compress: &[&str]| {
        let mut args =
            vec!["replay".into(), "--summary=none".into(), "-q".into(), "-w".into(), nmsg.clone().into_os_string()];
        args.extend(compress.iter().map(Into::into));
        args.extend(sets.iter().map(Into::into));
        args.push(capture.into());
        assert_eq!(program::run(args).with_code(0).stderr, "");
        let (others, ours) = (others_see(&nmsg), we_see(&nmsg));
        for (other, our) in others.lines().zip(ours.lines()) {
            assert_eq!(other, our, "{}", capture.display());
        }
        assert_eq!(others.lines().count(), ours.lines().count(), "{}", capture.display());
        others
    };
    let plain = see(&[]);
    assert_eq!(plain, see(&["-z"]), "{}: compression changes something", capture.display());
    plain
}

#[test]
fn another_reader_sees_the_same_in_every_capture_with_known_answers() {
    let scratch = Scratch::new();
    let mut payloads = 0;
    for (capture, sets) in program::vectors() {
        let text = compare(&scratch, &program::vector(&capture), &sets);
        payloads += text.lines().count() - 1;
    }
    assert!(payloads > 200, "{payloads}");
}

#[test]
fn another_reader_sees_the_same_in_many_containers() {
    let scratch = Scratch::new();
    let capture = Synthetic::new(20_000);
    let sets = ["--set".to_string(), synthetic::RESOLVER.to_string()];
    let text = compare(&scratch, &scratch.file("large.pcap", &capture.file), &sets);
    let of_kind = |kind: &str| text.lines().filter(|line| line.contains(kind)).count() as u64;
    assert_eq!(of_kind(" 1=1 "), capture.answered);
    assert_eq!(of_kind(" 1=2 "), capture.unanswered);
    assert_eq!(of_kind(" 1=3 "), capture.unsolicited);
    let containers: u32 = text.lines().last().unwrap().strip_prefix("file ").unwrap().parse().unwrap();
    assert!(containers > 5, "{containers}");
    let is_long = |line: &&str| line.len() > 2 * 20_000;
    let fragments = |line: &str| line.split(" 15=").nth(1).unwrap().split(' ').next().unwrap().split(',').count();
    let long: Vec<usize> = text.lines().filter(is_long).map(fragments).collect();
    assert!(long.contains(&1) && long.contains(&14), "responses of 20 kB, by TCP and in fragments: {long:?}");
}

#[test]
fn another_reader_refuses_what_is_damaged() {
    let scratch = Scratch::new();
    let mut nmsg = fs::read(program::vector("expected/udp4.nmsg")).unwrap();
    let last = nmsg.len() - 1;
    nmsg[last] ^= 1; // within the last checksum
    let output = Command::new(go_reader()).arg(scratch.file("damaged.nmsg", &nmsg)).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("offset 0: payload 4: crc "), "{stderr}");
}
