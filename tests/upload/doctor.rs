//! `doctor`: a set-up that works, then each fault by itself, found and named with what cures it.

use super::{CAPTURE, LOGIN, RSYNC_ONLY, UPLOADER, World, give, wait_for};
use crate::{
    build::{self, End, RD},
    faults::Load,
    inject::status,
    name_server::NameServer,
    namespace::{Namespace, skipped},
    program::SENSOR,
    sensor::Running,
    sshd::{Sshd, make_key, public_half},
};
use serde_json::Value;
use std::{
    fs::{self, Permissions},
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

const RESOLVER: &str = "192.0.2.53";
/// Frames sent a second: each of a list in turn.
const RATE: u64 = 200;

/// What a run has found.
struct Sheet {
    code: i32,
    checks: Vec<Value>,
}

impl Sheet {
    fn of(output: &Output) -> Sheet {
        let said = String::from_utf8_lossy(&output.stderr);
        let document: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        assert_eq!(said, "");
        let checks = document["checks"].as_array().unwrap().clone();
        let has_failed = checks.iter().any(|check| check["outcome"] == "fail");
        assert_eq!(document["state"] == "failed", has_failed);
        Sheet { code: output.status.code().unwrap(), checks }
    }

    fn text(&self) -> String {
        self.checks.iter().map(|check| format!("{check}\n")).collect()
    }

    /// The check of this subject that ended so.
    #[track_caller]
    fn find(&self, outcome: &str, subject: &str) -> (&str, &str) {
        let found = self.checks.iter().find(|check| check["outcome"] == outcome && check["subject"] == subject);
        let check = found.unwrap_or_else(|| panic!("no {outcome} {subject}:\n{}", self.text()));
        (check["found"].as_str().unwrap(), check["cure"].as_str().unwrap())
    }

    /// This is what was found, and this helps.
    #[track_caller]
    fn has(&self, outcome: &str, subject: &str, found: &str, cure: &str) {
        let (was, with) = self.find(outcome, subject);
        assert!(was.contains(found) && with.contains(cure), "{subject}: {was:?}, {with:?}");
    }

    /// Subjects that ended so.
    fn subjects(&self, outcome: &str) -> Vec<&str> {
        let of = self.checks.iter().filter(|check| check["outcome"] == outcome);
        of.map(|check| check["subject"].as_str().unwrap()).collect()
    }

    /// Nothing failed but this; and then the exit code says so.
    #[track_caller]
    fn fails(&self, subjects: &[&str]) {
        assert_eq!(self.subjects("fail"), subjects, "{}", self.text());
        assert_eq!(self.code, i32::from(!subjects.is_empty()), "{}", self.text());
    }
}

impl World {
    /// With an interface a0, at which arrives what is sent at b0.
    fn with_interface() -> Option<World> {
        let world = World::new()?;
        for name in ["all", "default"] {
            world.namespace.sysctl(&format!("net.ipv6.conf.{name}.disable_ipv6=1"));
        }
        world.namespace.add_pair(0);
        world.watch(&[]);
        Some(world)
    }

    /// Captures at a0, uploads nothing, and these settings over that.
    fn watch(&self, sets: &[(&str, &str)]) {
        let socket = self.path("status.sock");
        let usual = [
            ("interface", "a0"),
            ("DNSQR_RES_ADDRS", RESOLVER),
            ("status_socket", socket.to_str().unwrap()),
            ("upload", "no"),
            ("archive", "yes"),
        ];
        self.configure(&[&usual, sets].concat());
    }

    fn examine(&self, arguments: &[&str]) -> Output {
        let config = self.path("config");
        let usual = ["doctor", "-c", config.to_str().unwrap(), "--seconds", "1"];
        self.inside(&[&usual, arguments].concat()).output().unwrap()
    }

    fn doctor(&self, arguments: &[&str]) -> Sheet {
        Sheet::of(&self.examine(&[&["--json"], arguments].concat()))
    }

    /// While these frames come.
    fn doctor_while(&self, frames: Vec<Vec<u8>>) -> Sheet {
        let _load = Load::start(&self.namespace, frames, RATE);
        self.doctor(&[])
    }

    /// Uploads to this server, too.
    fn upload_to(&self, port: u16, sets: &[(&str, &str)]) {
        let server = format!("127.0.0.1:{port}");
        self.watch(&[&[("upload", "yes"), ("archive", "no"), ("submitserver", server.as_str())], sets].concat());
    }

    /// Packets that left the namespace's interfaces so far, loopback included.
    fn sent(&self) -> u64 {
        let table = self.namespace.inside(|| fs::read_to_string("/proc/thread-self/net/dev").unwrap());
        let sent = |line: &str| line.split_once(':')?.1.split_whitespace().nth(9)?.parse::<u64>().ok();
        table.lines().filter_map(sent).sum()
    }
}

fn with_server() -> Option<(World, Sshd)> {
    let world = World::with_interface()?;
    let server = world.serve(RSYNC_ONLY, &["-t ed25519"], "")?;
    world.upload_to(server.port, &[]);
    Some((world, server))
}

/// An IPv4 packet in an Ethernet frame with VLAN tags.
fn ethernet(tags: &[u16], packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    tags.iter().for_each(|tag| frame.extend([[0x81, 0], tag.to_be_bytes()].as_flattened()));
    frame.extend([0x08, 0x00]);
    frame.extend(packet);
    frame
}

fn resolver() -> End {
    (RESOLVER.parse().unwrap(), 4000)
}

fn server() -> End {
    ([198, 51, 100, 1].into(), 53)
}

fn query(from: End) -> Vec<u8> {
    build::udp(from, server(), &build::query(7, "example.net"))
}

fn response(to: End) -> Vec<u8> {
    build::udp(server(), to, &build::response(7, "example.net"))
}

/// What a resolver and a server say to each other.
fn exchange() -> Vec<Vec<u8>> {
    [query(resolver()), response(resolver())].map(|packet| ethernet(&[], &packet)).into()
}

/// Not a fault of the set-up, but of this machine: nothing keeps its clock.
const OF_THE_MACHINE: [&str; 1] = ["clock"];

#[test]
fn a_set_up_that_works_passes_every_check_each_with_what_was_found() {
    let Some((world, _server)) = with_server() else { return };
    let sheet = world.doctor_while(exchange());
    sheet.fails(&[]);
    let warned = sheet.subjects("warn");
    assert!(warned.iter().all(|subject| OF_THE_MACHINE.contains(subject)), "{}", sheet.text());
    assert_eq!(sheet.subjects("skip"), ["sensor"], "{}", sheet.text());
    let [capture, uploader] = [CAPTURE.0, UPLOADER.0];
    for (subject, found) in [
        ("configuration", "/config"),
        ("interface a0", "up, Ethernet"),
        ("user to capture", capture),
        ("user to upload", uploader),
        ("spool", "mode 2770, sie-test-capture:sie-test-capture"),
        ("waiting", "/waiting/ch202, mode 2770"),
        ("free", "kilobytes"),
        ("to wait", "524288 kilobytes more at most"),
        ("upload key", "mode 0600, sie-test-upload"),
        ("known hosts", "/known_hosts"),
        ("login", LOGIN.0),
        ("server", "127.0.0.1 port"),
        ("host key", "ssh-ed25519 SHA256:"),
        ("command", "rsync, protocol 3"),
        ("packets a0", " with DNS in 1 s"),
        ("directions", " queries, "),
        ("addresses", "192.0.2.53 ("),
        ("VLAN tags", "none"),
        ("tunnels", "none"),
        ("truncation", "no packet was cut"),
        ("offload a0", "no frame is longer"),
        ("drops", "none of "),
    ] {
        sheet.has("ok", subject, found, "");
    }
    for subject in ["connect", "handshake", "key"] {
        sheet.find("ok", subject);
    }
}

#[test]
fn lines_come_one_for_each_check_with_the_cure_below() {
    let Some(world) = World::with_interface() else { return };
    let output = world.examine(&[]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("ok    configuration    /"), "{text}");
    let at =
        lines.iter().position(|line| line.starts_with("fail  packets a0       no DNS in 1 s; a0 received 0 packets"));
    let cure = lines[at.unwrap_or_else(|| panic!("{text}")) + 1];
    assert!(
        cure.starts_with("      what a mirror port sends is for other hosts: interface=\"a0+\"; tcpdump"),
        "{text}"
    );
    for line in ["skip  server           upload=\"no\"", "skip  sensor           none is running"] {
        assert!(lines.contains(&line), "{line}\n{text}");
    }
    let outcomes = ["ok    ", "warn  ", "fail  ", "skip  ", "      "];
    assert!(lines.iter().all(|line| outcomes.iter().any(|outcome| line.starts_with(outcome))), "{text}");
}

#[test]
fn one_direction_alone_is_a_failure_that_names_the_mirror_port() {
    let Some(world) = World::with_interface() else { return };
    let cure = "the mirror port must copy both directions";
    for (number, found) in [" queries, no response", "no query, "].into_iter().enumerate() {
        let sheet = world.doctor_while(vec![exchange().swap_remove(number)]);
        sheet.fails(&["directions"]);
        sheet.has("fail", "directions", found, cure);
        sheet.has("ok", "addresses", RESOLVER, "");
    }
    let mut many = vec![exchange()[0].clone(); 19];
    many.push(exchange()[1].clone());
    let sheet = world.doctor_while(many);
    sheet.fails(&[]);
    sheet.has("warn", "directions", " queries, ", cure);
}

#[test]
fn wrong_addresses_are_a_failure_that_names_the_right_ones() {
    let Some(world) = World::with_interface() else { return };
    world.watch(&[("DNSQR_RES_ADDRS", "192.0.2.1, 192.0.3.0/24")]);
    let other = ([192, 0, 2, 54].into(), 5000);
    // A client is none, however often it asks.
    let client = ([10, 0, 0, 1].into(), 6000);
    let asks = build::udp(client, resolver_at_53(), &build::message(1, RD, Some(&build::question("example.net"))));
    let frames = [query(resolver()), response(resolver()), query(other), response(other), asks.clone(), asks.clone()];
    let sheet = world.doctor_while(frames.map(|packet| ethernet(&[], &packet)).into());
    sheet.fails(&["addresses"]);
    sheet.has("fail", "addresses", "none of DNSQR_RES_ADDRS=\"192.0.2.1, 192.0.3.0/24\" in ", "");
    let (found, cure) = sheet.find("fail", "addresses");
    assert!(found.contains("seen like resolvers: 192.0.2.") && !found.contains("10.0.0.1"), "{found}");
    assert!(cure.contains(RESOLVER) && cure.contains("192.0.2.54") && cure.starts_with("DNSQR_RES_ADDRS=\""), "{cure}");
    world.watch(&[("DNSQR_RES_ADDRS", ""), ("DNSQR_AUTH_ADDRS", "203.0.113.1")]);
    let sheet = world.doctor_while(exchange());
    sheet.has("fail", "addresses", "seen like servers: 198.51.100.1 (", "DNSQR_AUTH_ADDRS=\"198.51.100.1\"");
    world.watch(&[("DNSQR_RES_ADDRS", "192.0.2.1")]);
    let sheet = world.doctor_while(vec![ethernet(&[], &asks)]);
    sheet.has("fail", "addresses", "all of them ask for recursion", "mirror the port where the resolver asks servers");
}

fn resolver_at_53() -> End {
    (RESOLVER.parse().unwrap(), 53)
}

#[test]
fn a_host_of_the_settings_that_only_forwards_is_told_from_one_that_is_not_seen() {
    let Some(world) = World::with_interface() else { return };
    let forwards = build::udp(resolver(), server(), &build::message(1, RD, Some(&build::question("example.net"))));
    let sheet = world.doctor_while(vec![ethernet(&[], &forwards)]);
    sheet.has("fail", "recursion", "are left out for their RD bit", "DNSQR_CAPTURE_RD=\"1\"");
    sheet.has("ok", "addresses", "192.0.2.53 (", "");
    world.watch(&[("DNSQR_CAPTURE_RD", "1")]);
    let sheet = world.doctor_while(vec![ethernet(&[], &forwards)]);
    sheet.fails(&["directions"]);
}

#[test]
fn vlans_are_named_and_tunnels_come_with_the_command_that_ends_them() {
    let Some(world) = World::with_interface() else { return };
    let tagged = [query(resolver()), response(resolver())].map(|packet| ethernet(&[7, 100], &packet));
    let sheet = world.doctor_while(tagged.into());
    sheet.fails(&[]);
    sheet.has("ok", "VLAN tags", "7.100 (", "");
    sheet.has("ok", "directions", " queries, ", "");
    let inner: Vec<u8> = [&[0, 0, 0x65, 0x58][..], &exchange()[0]].concat();
    let gre = build::ip([203, 0, 113, 1].into(), [203, 0, 113, 2].into(), 47, &inner);
    let sheet = world.doctor_while(vec![ethernet(&[], &gre)]);
    let made = "ip link add mirror0 type gretap remote 203.0.113.1 local 203.0.113.2";
    sheet.fails(&["packets a0", "tunnels"]);
    sheet.has("fail", "tunnels", "Ethernet in GRE from 203.0.113.1 to 203.0.113.2: ", made);
    let sheet = world.doctor_while([exchange(), vec![ethernet(&[], &gre)]].concat());
    sheet.fails(&[]);
    sheet.has("warn", "tunnels", "Ethernet in GRE", made);
    // Tagged, and below IP.
    let mut mpls = ethernet(&[9], &[0; 60]);
    mpls[16..18].copy_from_slice(&[0x88, 0x47]);
    world.doctor_while(vec![mpls]).has("fail", "tunnels", "MPLS", "not inside of it");
}

#[test]
fn packets_that_were_cut_before_they_came_are_a_failure() {
    let Some(world) = World::with_interface() else { return };
    let cut = exchange().into_iter().map(|frame| frame[..50].to_vec()).collect();
    let sheet = world.doctor_while(cut);
    sheet.has("fail", "truncation", "were cut, to 36 bytes or less", "let the mirror copy whole packets");
    assert_eq!(sheet.code, 1);
}

#[test]
fn frames_that_were_joined_are_warned_about_with_the_command_that_splits_them() {
    let Some(world) = World::with_interface() else { return };
    let Some(other) = Namespace::empty() else { return };
    let address = |last: u8| std::iter::once(format!("10.9.9.{last}/24"));
    world.namespace.connect(address(1), &other, address(2));
    world.watch(&[("interface", "eth0"), ("DNSQR_RES_ADDRS", "10.9.9.1")]);
    let listener = other.inside(|| TcpListener::bind("10.9.9.2:53").unwrap());
    let talk = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // Until nobody reads any more.
        while stream.write_all(&[0; 60_000]).is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    let mut reads = world.namespace.inside(|| TcpStream::connect("10.9.9.2:53").unwrap());
    let stream = reads.try_clone().unwrap();
    let reader = thread::spawn(move || while reads.read(&mut [0; 60_000]).is_ok_and(|length| length > 0) {});
    let sheet = world.doctor(&[]);
    stream.shutdown(Shutdown::Both).unwrap();
    talk.join().unwrap();
    reader.join().unwrap();
    sheet.has("warn", "offload eth0", "longer than the MTU of 1500 allows, up to ", "ethtool -K eth0 gro off lro off");
}

#[test]
fn a_configuration_from_a_pipe_is_for_all_its_processes() {
    let Some(world) = World::with_interface() else { return };
    let _load = Load::start(&world.namespace, exchange(), RATE);
    let mut command = world.inside(&["doctor", "-c", "/dev/stdin", "--seconds", "1", "--json"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&fs::read(world.path("config")).unwrap()).unwrap();
    let sheet = Sheet::of(&child.wait_with_output().unwrap());
    sheet.fails(&[]);
    sheet.has("ok", "addresses", RESOLVER, "");
}

#[test]
fn an_interface_that_is_missing_or_down_is_a_failure_and_nothing_else_is_hidden() {
    let Some(world) = World::with_interface() else { return };
    world.watch(&[("interface", "sienone0")]);
    let sheet = world.doctor(&[]);
    sheet.fails(&["interface sienone0"]);
    sheet.has("fail", "interface sienone0", "no such interface", "");
    sheet.has("skip", "listening", "sienone0 is missing", "");
    sheet.has("skip", "traffic", "no interface could be listened to", "");
    world.namespace.link(&["set", "a0", "down"]);
    world.watch(&[]);
    let sheet = world.doctor(&[]);
    sheet.fails(&["interface a0"]);
    sheet.has("fail", "interface a0", "the interface is down", "ip link set a0 up");
    sheet.has("skip", "listening", "a0 is down", "");
    // One of two.
    world.namespace.add_pair(1);
    world.watch(&[("interface", "a0, a1")]);
    let sheet = world.doctor(&[]);
    sheet.fails(&["interface a0", "packets a1"]);
}

#[test]
fn without_the_right_to_capture_it_says_who_has_it() {
    let Some(world) = World::with_interface() else { return };
    let config = world.path("config");
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &world.namespace.0, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.args(["--bounding-set=-all", SENSOR, "doctor", "--json", "--seconds", "1", "-c"]).arg(config);
    let Ok(output) = command.stdin(Stdio::null()).output() else { return skipped("needs setpriv") };
    if !output.status.success() && output.stdout.is_empty() {
        return skipped("another user cannot reach the program");
    }
    let sheet = Sheet::of(&output);
    sheet.has("fail", "listening", "no permission to capture on a0", "root may, and who has CAP_NET_RAW");
}

#[test]
fn a_key_that_is_missing_or_for_others_too_is_a_failure_with_the_command() {
    let Some((world, server)) = with_server() else { return };
    let key = world.path("keys/upload");
    let quiet = || world.doctor_while(exchange());
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    let sheet = quiet();
    sheet.fails(&["upload key", "key"]);
    sheet.has("fail", "upload key", "others than", &format!("chmod 0600 {}", key.display()));
    for step in ["login", "command"] {
        sheet.has("skip", step, "key failed", "");
    }
    give(&key, CAPTURE.1, 0o600);
    let sheet = quiet();
    let chown = format!("chown {} {}", UPLOADER.0, key.display());
    sheet.has("fail", "upload key", &format!("user {} may not read", UPLOADER.0), &chown);
    give(&key, UPLOADER.1, 0o600);
    world.upload_to(server.port, &[("uploadkey", "/nonexistent/key")]);
    let sheet = quiet();
    sheet.fails(&["upload key", "key"]);
    sheet.has("fail", "upload key", "cannot read /nonexistent/key", "sie-gen-key");
}

#[test]
fn each_step_to_the_server_that_fails_is_named_and_those_behind_it_are_skipped() {
    let Some((world, server)) = with_server() else { return };
    let known = fs::read(world.path("known_hosts")).unwrap();
    let fails = |step: &str, found: &str, cure: &str, skipped: usize| {
        let sheet = world.doctor_while(exchange());
        sheet.fails(&[step]);
        sheet.has("fail", step, found, cure);
        // The sensor that does not run is one more.
        assert_eq!(sheet.subjects("skip").len(), skipped + 1, "{}", sheet.text());
    };
    world.watch(&[("upload", "yes"), ("submitserver", "submit.example")]);
    fails("server", "_rsync._tcp.submit.example", "resolver", 6);
    world.upload_to(world.free_port(), &[]);
    fails("connect", "Connection refused", "firewalls", 5);
    world.upload_to(server.port, &[]);
    // A line that is no key is known_hosts' own fault, and told of a key that is refused, too.
    fs::write(world.path("known_hosts"), "* ssh-ed25519\n").unwrap();
    fails("host key", "has no key for", "compare the fingerprint", 3);
    world.doctor_while(exchange()).has("warn", "note", "known_hosts:1: ", "");
    let other = make_key(&world.keys, "other", "-t ed25519");
    fs::write(world.path("known_hosts"), format!("* {}\n", public_half(&other))).unwrap();
    fails("host key", "has another key than", "ask the service", 3);
    fs::write(world.path("known_hosts"), known).unwrap();
    world.upload_to(server.port, &[("login", "nobody-has-this-name")]);
    fails("login", "takes neither the login", "upload.pub to the service", 1);
}

#[test]
fn of_several_servers_one_is_enough_and_the_others_are_warned_about() {
    let Some((world, server)) = with_server() else { return };
    let dead = world.free_port();
    let records = format!(
        "_rsync._tcp.submit SRV 10 1 {dead} one\n_rsync._tcp.submit SRV 20 1 {} two\n\
         one A 127.0.0.1\ntwo A 127.0.0.1\n",
        server.port
    );
    let names = world.namespace.inside(|| NameServer::start_at((Ipv4Addr::LOCALHOST, 53).into(), &records));
    let Some(_names) = names else { return };
    world.watch(&[("upload", "yes"), ("archive", "no"), ("submitserver", "submit.example")]);
    let sheet = world.doctor_while(exchange());
    sheet.fails(&[]);
    sheet.has("warn", "connect", &format!("one.example port {dead}: "), "firewalls");
    sheet.has("ok", "command", "two.example port", "");
    // Offline, not a packet.
    let before = world.sent();
    let sheet = world.doctor(&["--offline"]);
    assert_eq!(world.sent(), before);
    sheet.has("skip", "server", "--offline", "");
    assert!(!sheet.checks.iter().any(|check| check["subject"] == "connect"), "{}", sheet.text());
    world.doctor(&[]);
    assert!(world.sent() > before, "the counters count");
}

#[test]
fn a_disk_without_room_is_a_failure_and_one_with_little_is_warned_about() {
    let Some(world) = World::with_interface() else { return };
    let small = world.path("small");
    fs::create_dir(&small).unwrap();
    let _disk = Mounted::new(&small, "size=20m");
    give(&small, CAPTURE.1, 0o2770);
    let spool = small.to_str().unwrap();
    world.watch(&[("spooldir", spool), ("min_free_kbytes", "30000")]);
    let sheet = world.doctor_while(exchange());
    sheet.fails(&["free"]);
    sheet.has("fail", "free", "less than min_free_kbytes=\"30000\"", "make room there");
    let key = world.path("keys/upload");
    let sets =
        [("spooldir", spool), ("min_free_kbytes", "10000"), ("upload", "yes"), ("uploadkey", key.to_str().unwrap())];
    world.watch(&sets);
    let _load = Load::start(&world.namespace, exchange(), RATE);
    fs::write(world.path("known_hosts"), "").unwrap();
    let sheet = world.doctor(&["--offline"]);
    sheet.fails(&[]);
    sheet.has("warn", "to wait", "max_spool_size_kbytes", "set max_spool_size_kbytes=\"10480\"");
}

/// A file system in memory.
struct Mounted<'p>(&'p Path);

impl Mounted<'_> {
    fn new<'p>(path: &'p Path, options: &str) -> Mounted<'p> {
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", options, "sie-test"]).arg(path).status();
        assert!(status.unwrap().success());
        Mounted(path)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

#[test]
fn directories_and_users_that_do_not_fit_come_with_the_command() {
    let Some(world) = World::with_interface() else { return };
    let new = world.path("spool/new/ch202");
    give(&new, 0, 0o755);
    let sheet = world.doctor_while(exchange());
    sheet.fails(&["new"]);
    let owner = CAPTURE.0;
    let cure = format!("chown {owner}:{owner} {0} && chmod 2770 {0}", new.display());
    sheet.has("fail", "new", &format!("user {owner} may not write"), &cure);
    world.watch(&[("user", "sie-nobody-a"), ("spooldir", "/nonexistent/spool")]);
    let sheet = world.doctor(&[]);
    sheet.has("fail", "user to capture", "there is no user", "useradd --system");
    sheet.has("fail", "spool", "cannot use /nonexistent/spool", "install -d -m 2770");
    sheet.has("skip", "listening", "there is no user", "");
}

#[test]
fn settings_that_are_wrong_are_all_told_and_end_it_with_78() {
    let Some(world) = World::with_interface() else { return };
    world.watch(&[("rotate_seconds", "60s"), ("spoldir", "/x")]);
    let sheet = world.doctor(&[]);
    assert_eq!((sheet.code, sheet.subjects("fail")), (78, vec!["configuration", "configuration"]));
    sheet.has("fail", "configuration", "rotate_seconds=\"60s\"", "write \"60\"");
    sheet.has("skip", "all else", "it depends on the settings", "");
}

#[test]
fn the_clock_is_what_the_kernel_says() {
    let Some(world) = World::with_interface() else { return };
    for (state, outcome) in [("0", "ok"), ("5", "warn")] {
        // TIME_OK and TIME_ERROR of sys/timex.h.
        let inject = format!("inject=adjtimex,clock_adjtime:retval={state}");
        let mut traced = Command::new("strace");
        traced.args(["-q", "-o", "/dev/null", "-e", "trace=adjtimex,clock_adjtime", "-e", &inject]);
        traced.args([SENSOR, "doctor", "--json", "--offline", "--seconds", "1", "-c"]).arg(world.path("config"));
        let Ok(output) = traced.stdin(Stdio::null()).output() else { return skipped("needs strace") };
        Sheet::of(&output).find(outcome, "clock");
    }
}

#[test]
fn all_interfaces_at_once_are_listened_to_as_well() {
    let Some(world) = World::with_interface() else { return };
    world.watch(&[("interface", "any")]);
    let sheet = world.doctor_while(exchange());
    sheet.fails(&[]);
    sheet.has("ok", "packets any", " with DNS in 1 s", "");
}

#[test]
fn what_looks_at_packets_has_no_rights() {
    let Some(world) = World::with_interface() else { return };
    let config = world.path("config");
    let arguments = ["doctor", "--offline", "--seconds", "60", "-c", config.to_str().unwrap()];
    let doctor = Running::new(world.inside(&arguments).stdout(Stdio::null()).spawn().unwrap());
    let uid = CAPTURE.1.to_string();
    let pid = wait_for("a process of the user that captures", || {
        let children = format!("/proc/{0}/task/{0}/children", doctor.pid());
        let children = fs::read_to_string(children).unwrap_or_default();
        let pids = children.split_whitespace().map(|pid| pid.parse::<i32>().unwrap());
        pids.filter(|pid| Path::new(&format!("/proc/{pid}")).exists())
            .find(|pid| status(*pid, "Uid") == [&uid[..]; 4].join(" ") && status(*pid, "Seccomp") == "2")
    });
    for set in ["CapEff", "CapPrm", "CapBnd", "CapAmb", "CapInh"] {
        assert_eq!(status(pid, set), "0000000000000000", "{set}");
    }
    assert_eq!(status(pid, "NoNewPrivs"), "1");
    // Nor does it outlive who would be told.
    drop(doctor);
    wait_for("its end", || (!Path::new(&format!("/proc/{pid}")).exists()).then_some(()));
}

#[test]
fn a_sensor_that_runs_is_asked_and_not_disturbed() {
    let Some(world) = World::with_interface() else { return };
    let config = world.path("config");
    let child = world
        .inside(&["run", "-c", config.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _sensor = Running::new(child);
    let _load = Load::start(&world.namespace, exchange(), RATE);
    let by = Instant::now() + Duration::from_secs(20);
    let sheet = loop {
        let sheet = world.doctor(&[]);
        if sheet.subjects("ok").contains(&"sensor") {
            break sheet;
        }
        assert!(Instant::now() < by, "{}", sheet.text());
        thread::sleep(Duration::from_millis(100));
    };
    sheet.fails(&[]);
    sheet.has("ok", "sensor", "runs, healthy; dropped 0 of ", "");
}
