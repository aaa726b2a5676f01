//! Beside a real resolver: several sensors, and tcpdump, which records what they should have seen.

use crate::{
    lab::{CLIENT, Lab, RESOLVER},
    namespace::Namespace,
    program::{self, Scratch},
    sensor::{Counts, Payload, Running, Sensor, Stopped, payloads},
};
use nix::sys::{
    signal::Signal,
    socket::{setsockopt, sockopt::ReceiveTimestampns},
};
use pcap::{Active, Capture};
use sie_dns_sensor::nmsg::dnsqr::{Dnsqr, Type};
use std::{
    borrow::Cow,
    collections::HashMap,
    fs,
    io::{BufRead, BufReader},
    net::{IpAddr, UdpSocket},
    path::Path,
    process::{Command, Stdio},
    sync::LazyLock,
    thread,
    time::{Duration, Instant},
};

/// Questions of clients a second, over each IP, and for how long.
const LOAD: (u32, u32) = (400, 10);

/// How often a capture process is replaced meanwhile.
const HAND_OVERS: usize = 9;

/// What everybody wrote down of the same traffic, from before the first packet until after the last.
struct Recording {
    /// tcpdump's file.
    savefile: Vec<u8>,
    /// What `replay` makes of it.
    replayed: Vec<Payload>,
    summary: Counts,
    /// A sensor that is left alone,
    steady: Stopped,
    /// one with two threads,
    threads: Stopped,
    /// one whose settings are changed,
    changed: Stopped,
    /// and one whose capture process is replaced.
    handed_over: Stopped,
}

/// Made once for all tests. None where it cannot be made, which has been said.
fn recording() -> Option<&'static Recording> {
    static RECORDING: LazyLock<Option<Recording>> = LazyLock::new(record);
    RECORDING.as_ref()
}

fn config(more: &str) -> String {
    format!("interface=\"eth0\"\n{}\n{more}\n", watched())
}

fn watched() -> String {
    format!("DNSQR_RES_ADDRS=\"{}\"", RESOLVER.join(", "))
}

fn record() -> Option<Recording> {
    let mut lab = Lab::new()?;
    // One socket that asks for it makes the kernel stamp a packet once, for all that listen.
    let stamping = UdpSocket::bind("127.0.0.1:0").unwrap();
    setsockopt(&stamping, ReceiveTimestampns, &true).unwrap();
    let savefile = lab.directory.0.join("all.pcap");
    let mut tcpdump = Tcpdump::start(&lab.resolver, &savefile);
    let steady = Sensor::start(&lab.resolver, &config(""));
    let threads = Sensor::start(&lab.resolver, &config("capture_threads=2"));
    let changed = Sensor::start(&lab.resolver, &config(""));
    let handed_over = Sensor::start(&lab.resolver, &config("log_level=debug"));
    lab.start_resolver();

    let started = Instant::now();
    let [mut first, mut second] = lab.load(LOAD.0, LOAD.1);
    let changes =
        ["rotate_seconds=2", "compress=off", &format!("DNSQR_RES_ADDRS=\"{}, 203.0.113.53\"", RESOLVER.join(", "))];
    for (number, change) in (0..HAND_OVERS).zip(changes.into_iter().cycle()) {
        thread::sleep(Duration::from_millis(900));
        changed.reload(&config(change));
        handed_over.reload(&config(&format!("log_level=debug\ncapture_buffer_kbytes={}", 16384 + number)));
    }
    for dnsperf in [&mut first, &mut second] {
        assert!(dnsperf.ended(Duration::from_secs(60)).expect("dnsperf ends").success());
    }
    lab.stop_resolver();
    eprintln!("load of {:?}", started.elapsed());
    // tcpdump lets the kernel keep a block that is not full for a second.
    thread::sleep(Duration::from_millis(1500));
    tcpdump.stop();
    let [steady, threads, changed, handed_over] = [steady, threads, changed, handed_over].map(Sensor::stop);

    let scratch = Scratch::new();
    let (summary, replayed) = replay(&savefile, &scratch);
    let savefile = fs::read(savefile).unwrap();
    Some(Recording { savefile, replayed, summary, steady, threads, changed, handed_over })
}

/// What `replay` makes of a capture, with the settings of the sensors.
fn replay(savefile: &Path, scratch: &Scratch) -> (Counts, Vec<Payload>) {
    let out = scratch.path("replayed.nmsg");
    let [out_name, savefile] = [&out, savefile].map(|path| path.to_str().unwrap().to_owned());
    let ended = program::run([
        "replay",
        "--set",
        &watched().replace('"', ""),
        "--set",
        "DNSQR_CAPTURE_RD=0",
        "-w",
        &out_name,
        &savefile,
    ]);
    let ended = ended.with_code(0);
    let lines: Vec<&str> = ended.stderr.lines().collect();
    (Counts::last(&lines), payloads(&out))
}

/// tcpdump, which writes every packet it sees.
struct Tcpdump {
    process: Running,
    said: BufReader<std::process::ChildStderr>,
}

impl Tcpdump {
    /// Returns when it listens.
    fn start(namespace: &Namespace, savefile: &Path) -> Tcpdump {
        let mut command = Command::new("tcpdump");
        command.args(["-i", "eth0", "-s", "0", "-B", "65536", "--time-stamp-precision=nano", "-Z", "root", "-w"]);
        command.arg(savefile).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = namespace.spawn(&mut command);
        let stderr = child.stderr.take().unwrap();
        let mut tcpdump = Tcpdump { process: Running::new(child), said: BufReader::new(stderr) };
        tcpdump.until("listening on");
        tcpdump
    }

    /// It must have lost nothing.
    fn stop(&mut self) {
        self.process.signal(Signal::SIGTERM);
        assert_eq!(self.until("dropped by kernel"), "0 packets dropped by kernel");
        self.process.ended(Duration::from_secs(10)).expect("tcpdump ends");
    }

    fn until(&mut self, text: &str) -> String {
        let mut line = String::new();
        while self.said.read_line(&mut line).unwrap() > 0 {
            if line.contains(text) {
                return line.trim_end().to_owned();
            }
            line.clear();
        }
        panic!("tcpdump does not say {text:?}");
    }
}

/// What is in the first and not in the second, as often as it is there more often.
fn difference<'p>(first: &'p [Payload], second: &[Payload]) -> Vec<&'p Payload> {
    let mut left: HashMap<Cow<[u8]>, usize> = HashMap::new();
    for payload in second {
        *left.entry(comparable(payload)).or_default() += 1;
    }
    let mut missing = Vec::new();
    for payload in first {
        match left.get_mut(&comparable(payload)) {
            Some(count) if *count > 0 => *count -= 1,
            _ => missing.push(payload),
        }
    }
    missing
}

/// What must be the same for all that listen. How long a query had waited when its listener left is not. And what comes
/// in by TCP over a veth pair is stamped by the kernel for each of them anew: such packets carry the time at which they
/// were to be sent, where otherwise the time would be at which they came.
fn comparable(payload: &Payload) -> Cow<'_, [u8]> {
    let dnsqr = dnsqr(payload);
    let differs = match dnsqr.proto {
        6 => Dnsqr { response_time_sec: vec![], response_time_nsec: vec![], timeout: None, ..dnsqr },
        _ if dnsqr.timeout.is_some() => Dnsqr { timeout: None, ..dnsqr },
        _ => return Cow::Borrowed(&payload.message),
    };
    format!("{differs:?}").into_bytes().into()
}

fn dnsqr(payload: &Payload) -> Dnsqr<'_> {
    Dnsqr::decode(&payload.message).unwrap()
}

/// What tells it from others, for people.
fn shown(payload: &Payload) -> String {
    let dnsqr = dnsqr(payload);
    let sizes = [&dnsqr.query_packet, &dnsqr.response_packet].map(|packets| packets.concat().len());
    let query = (&dnsqr.query_time_sec, &dnsqr.query_time_nsec);
    let response = (&dnsqr.response_time_sec, &dnsqr.response_time_nsec);
    let Dnsqr { kind, proto, query_port, id, .. } = dnsqr;
    format!("{proto} kind {kind} port {query_port} id {id} {query:?} {response:?} bytes {sizes:?}\n")
}

/// The same transactions to the byte, and the same account of them.
#[track_caller]
fn assert_same(stopped: &Stopped, recording: &Recording) {
    let more = difference(&stopped.payloads, &recording.replayed);
    let less = difference(&recording.replayed, &stopped.payloads);
    let show = |payloads: &[&Payload]| payloads.iter().take(5).map(|payload| shown(payload)).collect::<String>();
    let counts = (more.len(), less.len(), recording.replayed.len());
    assert!(counts.0 + counts.1 == 0, "more, less, expected: {counts:?}\n{}missing:\n{}", show(&more), show(&less));
    for group in ["messages", "queries", "responses", "datagrams", "TCP"] {
        assert_eq!(stopped.ledger.group(group), recording.summary.group(group), "{group}");
    }
    for fate in ["query", "response", "fragment", "segment"] {
        assert_eq!(stopped.ledger.of("packets", fate), recording.summary.of("packets", fate), "{fate}");
    }
    assert_eq!(stopped.ledger.of("kernel", "dropped"), 0);
}

#[test]
fn what_the_sensor_writes_is_what_replay_makes_of_tcpdumps_file() {
    let Some(recording) = recording() else { return };
    assert_same(&recording.steady, recording);
}

#[test]
fn the_traffic_is_of_every_kind() {
    let Some(recording) = recording() else { return };
    let all: Vec<Dnsqr> = recording.steady.payloads.iter().map(dnsqr).collect();
    let count = |wanted: &dyn Fn(&Dnsqr) -> bool| all.iter().filter(|dnsqr| wanted(dnsqr)).count();
    let is_udp = |dnsqr: &Dnsqr| dnsqr.proto == 17;
    let is_tcp = |dnsqr: &Dnsqr| dnsqr.proto == 6;
    let counts = [
        count(&|dnsqr| dnsqr.query_ip.len() == 4 && is_udp(dnsqr)),
        count(&|dnsqr| dnsqr.query_ip.len() == 16 && is_udp(dnsqr)),
        count(&|dnsqr| dnsqr.query_ip.len() == 4 && is_tcp(dnsqr)),
        count(&|dnsqr| dnsqr.query_ip.len() == 16 && is_tcp(dnsqr)),
        count(&|dnsqr| dnsqr.query_ip.len() == 4 && dnsqr.response_packet.len() > 1 && is_udp(dnsqr)),
        count(&|dnsqr| dnsqr.query_ip.len() == 16 && dnsqr.response_packet.len() > 1 && is_udp(dnsqr)),
        count(&|dnsqr| dnsqr.response_packet.is_empty()),
    ];
    eprintln!(
        "{} transactions: UDP/IPv4, UDP/IPv6, TCP/IPv4, TCP/IPv6, fragments/IPv4, fragments/IPv6, unanswered: {counts:?}",
        all.len()
    );
    let least = [1000, 1000, 5, 5, 20, 20, 1];
    assert!(counts.iter().zip(least).all(|(count, least)| *count >= least), "{counts:?}");
}

fn octets(address: &str) -> Vec<u8> {
    match address.parse().unwrap() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[test]
fn no_client_and_nothing_that_a_client_asked_occurs_in_the_output() {
    let Some(recording) = recording() else { return };
    let addresses = CLIENT.map(octets);
    let contains = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    for address in &addresses {
        assert!(contains(&recording.savefile, address), "the clients are on the cable");
    }
    let all = [&recording.steady, &recording.threads, &recording.changed, &recording.handed_over];
    for payload in all.iter().flat_map(|stopped| &stopped.payloads) {
        assert!(!addresses.iter().any(|address| contains(&payload.message, address)));
        let dnsqr = dnsqr(payload);
        let messages = [dnsqr.query_message(), dnsqr.response_message()];
        let wants_recursion = |message: &[u8]| message.get(2).is_some_and(|flags| flags & 1 != 0);
        assert!(!messages.iter().flatten().any(|message| wants_recursion(message)), "{dnsqr:?}");
    }
}

#[test]
fn two_capture_threads_write_what_one_writes() {
    let Some(recording) = recording() else { return };
    assert_same(&recording.threads, recording);
    assert_eq!(recording.threads.ledger.of("packets", "total"), recording.steady.ledger.of("packets", "total"));
}

#[test]
fn other_settings_lose_no_packet() {
    let Some(recording) = recording() else { return };
    let log = &recording.changed.log;
    assert_eq!(log.iter().filter(|line| line.starts_with("settings read again: ")).count(), HAND_OVERS, "{log:#?}");
    assert_same(&recording.changed, recording);
    assert_eq!(recording.changed.ledger.of("packets", "total"), recording.steady.ledger.of("packets", "total"));
}

/// A query that waits leaves alone, and its response comes to a process that has not seen it; so far each packet is in
/// one of them. What is in several packets, a datagram in fragments or a connection, can only be lost if the cut goes
/// through it.
#[test]
fn a_new_capture_process_has_every_packet_that_the_old_one_does_not_have() {
    let Some(recording) = recording() else { return };
    let Recording { steady, handed_over, .. } = recording;
    let starts = |line: &&String| line.starts_with("started the capture process");
    assert_eq!(handed_over.log.iter().filter(starts).count(), 1 + HAND_OVERS, "{:#?}", handed_over.log);
    assert_eq!(handed_over.ledger.group("packets"), steady.ledger.group("packets"));
    assert_eq!(handed_over.ledger.of("kernel", "dropped"), 0);

    let whole = difference(&steady.payloads, &handed_over.payloads);
    let halves = difference(&handed_over.payloads, &steady.payloads);
    let (whole, halves): (Vec<_>, Vec<_>) =
        (whole.into_iter().map(dnsqr).collect(), halves.into_iter().map(dnsqr).collect());
    eprintln!("{} transactions cut into {} halves", whole.len(), halves.len());
    for half in &halves {
        assert!(half.query_packet.is_empty() != half.response_packet.is_empty(), "{half:?}");
        let is_of = |whole: &&Dnsqr| match half.query_packet.is_empty() {
            true => whole.response_packet == half.response_packet,
            false => whole.query_packet == half.query_packet,
        };
        assert!(whole.iter().any(|whole| is_of(&whole)), "of no transaction: {half:?}");
    }
    for whole in &whole {
        assert_eq!(whole.kind, Type::UdpQueryResponse as u32);
        let has_query = halves.iter().any(|half| half.query_packet == whole.query_packet);
        let has_response = halves.iter().any(|half| half.response_packet == whole.response_packet);
        let is_in_one_packet_each = whole.proto == 17 && whole.response_packet.len() == 1;
        assert!(has_query && has_response || !is_in_one_packet_each, "lost: {whole:?}");
    }
}

/// Sends the packets of a capture into b0 if they come from the resolver, else into b1, and writes those it has sent.
fn mirror(savefile: &Path, sent: &Path, packets: usize) {
    let open = |name| Capture::from_device(name).unwrap().open().unwrap();
    let [mut outgoing, mut incoming]: [Capture<Active>; 2] = ["b0", "b1"].map(open);
    let sources = RESOLVER.map(octets);
    let mut all = Capture::from_file(savefile).unwrap();
    let mut written = all.savefile(sent).unwrap();
    for number in 0..packets {
        let packet = all.next_packet().unwrap();
        // Where an Ethernet frame has the source of an IPv4 and of an IPv6 packet.
        let is_outgoing =
            packet.data.get(26..30) == Some(&sources[0][..]) || packet.data.get(22..38) == Some(&sources[1][..]);
        let direction = if is_outgoing { &mut outgoing } else { &mut incoming };
        direction.sendpacket(packet.data).unwrap();
        written.write(&packet);
        if number % 20 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A transaction without its times, which are others each time it is sent.
fn timeless(payload: &Payload) -> String {
    let [query_time_sec, response_time_sec] = [vec![], vec![]];
    let [query_time_nsec, response_time_nsec] = [vec![], vec![]];
    let dnsqr = dnsqr(payload);
    let dnsqr =
        Dnsqr { query_time_sec, query_time_nsec, response_time_sec, response_time_nsec, timeout: None, ..dnsqr };
    format!("{dnsqr:?}")
}

#[test]
fn queries_on_one_interface_pair_with_responses_on_another() {
    let Some(recording) = recording() else { return };
    let Some(namespace) = Namespace::new(2) else { return };
    for name in ["a0", "b0", "a1", "b1"] {
        // What the resolver sends and gets over TCP is in longer frames than any cable would take.
        namespace.link(&["set", name, "mtu", "65535"]);
    }
    let scratch = Scratch::new();
    let all = scratch.file("all.pcap", &recording.savefile);
    let sent = scratch.path("sent.pcap");
    let sensor = Sensor::start(&namespace, &format!("interface=\"a0, a1+\"\n{}\n", watched()));
    namespace.inside(|| mirror(&all, &sent, 20_000));
    // Longer than the kernel keeps a block that is not full, and than one interface waits for the other.
    thread::sleep(Duration::from_millis(500));
    let stopped = sensor.stop();
    let [mut expected, mut seen] =
        [replay(&sent, &scratch).1, stopped.payloads].map(|all| all.iter().map(timeless).collect::<Vec<_>>());
    expected.sort();
    seen.sort();
    let same = expected.iter().zip(&seen).take_while(|(expected, seen)| expected == seen).count();
    assert!(expected == seen, "{} of {} are as expected:\n{:#?}", same, expected.len(), stopped.log);
    let answered = stopped.ledger.of("queries", "answered");
    assert!(answered > 1000, "{:?}", stopped.ledger);
}
