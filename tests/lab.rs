//! A resolver at work: unbound asks knot, which has a root, top-level domains and domains below them; dnsperf asks
//! unbound. One cable between two namespaces: the resolver at one end, clients and servers at the other. All addresses
//! are for documentation.

use crate::{
    build::{self, RD},
    namespace::{Namespace, skipped},
    sensor::{Directory, Running},
};
use nix::sys::signal::Signal;
use std::{
    collections::VecDeque,
    env,
    fmt::Write,
    fs,
    net::UdpSocket,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

pub const RESOLVER: [&str; 2] = ["192.0.2.53", "2001:db8:53::53"];
pub const CLIENT: [&str; 2] = ["192.0.2.10", "2001:db8::10"];
const ROOT: [&str; 2] = ["198.51.100.1", "2001:db8:100::1"];
const TOP: [&str; 2] = ["198.51.100.2", "2001:db8:100::2"];
const BELOW: [&str; 2] = ["198.51.100.3", "2001:db8:100::3"];
/// Where another server of these is, which takes its time.
const SLOW: &str = "198.51.100.9";
/// How long.
const SLOWNESS: Duration = Duration::from_millis(200);
/// Domains below each top-level domain.
const DOMAINS: u32 = 50;
/// How many of them have only the slow server.
const SLOW_DOMAINS: u32 = 10;

/// The resolver and what is around it.
pub struct Lab {
    unbound: Option<Running>,
    _servers: [Running; 3],
    _slow: Slow,
    pub resolver: Namespace,
    world: Namespace,
    pub directory: Directory,
}

impl Lab {
    /// The cable, as yet without any packet on it. None, and says so, where it cannot be.
    pub fn new() -> Option<Lab> {
        let missing = ["unbound", "knotd", "dnsperf", "tcpdump"].into_iter().find(|program| !is_installed(program));
        if let Some(missing) = missing {
            skipped(&format!("needs {missing}"));
            return None;
        }
        let (resolver, world) = (Namespace::empty()?, Namespace::empty()?);
        let prefixed = |address: &&str| format!("{address}/{}", if address.contains(':') { 32 } else { 24 });
        let theirs = [CLIENT, ROOT, TOP, BELOW].as_flattened().iter().chain(&[SLOW]).map(prefixed);
        resolver.connect(RESOLVER.iter().map(prefixed), &world, theirs);
        resolver.ip(&["route", "add", "198.51.100.0/24", "dev", "eth0"]);
        let directory = Directory::new();
        write_zones(&directory);
        let servers = [("root", ROOT), ("top", TOP), ("below", BELOW)].map(|(level, addresses)| {
            // Each of its own: one for all would answer from the lowest zone wherever it is asked.
            let conf = directory.0.join(format!("{level}.conf"));
            let storage = directory.0.join(format!("{level}.d"));
            fs::create_dir(&storage).unwrap();
            fs::write(&conf, knot_conf(level, addresses, &directory.0, &storage)).unwrap();
            Running::new(world.spawn(quiet(Command::new("knotd").arg("-c").arg(conf))))
        });
        let slow = Slow::start(&world);
        Some(Lab { unbound: None, _servers: servers, _slow: slow, resolver, world, directory })
    }

    /// Starts the resolver; returns when it answers.
    pub fn start_resolver(&mut self) {
        let conf = self.directory.0.join("unbound.conf");
        fs::write(&conf, unbound_conf(&self.directory.0.display().to_string())).unwrap();
        let unbound = self.resolver.spawn(quiet(Command::new("unbound").arg("-d").arg("-c").arg(conf)));
        self.unbound = Some(Running::new(unbound));
        self.world.inside(|| {
            let socket = UdpSocket::bind((CLIENT[0], 0)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            let end = Instant::now() + Duration::from_secs(60);
            let query = build::message(1, RD, Some(&build::question("first.www.d40.com")));
            // An answer with records.
            let is_answer = |message: &[u8]| message.get(6..8).is_some_and(|count| count != [0, 0]);
            let mut buffer = [0; 512];
            loop {
                let _ = socket.send_to(&query, (RESOLVER[0], 53));
                match socket.recv(&mut buffer) {
                    Ok(len) if is_answer(&buffer[..len]) => break,
                    _ => assert!(Instant::now() < end, "the resolver does not answer"),
                }
            }
        });
    }

    /// Stops it: no packet after this.
    pub fn stop_resolver(&mut self) {
        let mut unbound = self.unbound.take().unwrap();
        unbound.signal(Signal::SIGTERM);
        unbound.ended(Duration::from_secs(30)).expect("unbound ends");
    }

    /// Starts asking it, over both IPs, so many questions a second each, for so many seconds; none is asked twice.
    pub fn load(&self, per_second: u32, seconds: u32) -> [Running; 2] {
        [0, 1].map(|which| {
            let file = self.directory.0.join(format!("queries{which}"));
            fs::write(&file, queries(which, per_second * seconds)).unwrap();
            let (rate, seconds) = (per_second.to_string(), seconds.to_string());
            let mut dnsperf = Command::new("dnsperf");
            dnsperf.args(["-s", RESOLVER[which], "-a", CLIENT[which], "-Q", &rate, "-l", &seconds]);
            // It does not wait for those that take long.
            dnsperf.args(["-t", "1", "-q", "1000", "-c", "10", "-d"]);
            Running::new(self.world.spawn(quiet(dnsperf.arg(file))))
        })
    }
}

/// A server that asks another one, and keeps the answer for a while; one in two hundred for good: a
/// resolver that misses many does not ask any more.
struct Slow {
    thread: Option<JoinHandle<()>>,
    is_to_end: Arc<AtomicBool>,
}

impl Slow {
    fn start(namespace: &Namespace) -> Slow {
        let open = || [(SLOW, 53), (CLIENT[0], 0)].map(|address| UdpSocket::bind(address).unwrap());
        let sockets = namespace.inside(open);
        for socket in &sockets {
            socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        }
        let is_to_end = Arc::new(AtomicBool::new(false));
        let ends = is_to_end.clone();
        let thread = thread::spawn(move || Slow::serve(&sockets, &ends));
        Slow { thread: Some(thread), is_to_end }
    }

    fn serve([socket, other]: &[UdpSocket; 2], is_to_end: &AtomicBool) {
        let mut waiting = VecDeque::new();
        let mut buffer = [0; 65535];
        let mut count = 0;
        while !is_to_end.load(Ordering::Relaxed) {
            if let Ok((len, from)) = socket.recv_from(&mut buffer) {
                let _ = other.send_to(&buffer[..len], (BELOW[0], 53));
                count += 1;
                if let Ok(len) = other.recv(&mut buffer)
                    && count % 200 > 0
                {
                    waiting.push_back((Instant::now() + SLOWNESS, from, buffer[..len].to_vec()));
                }
            }
            while waiting.front().is_some_and(|(due, ..)| *due <= Instant::now()) {
                let (_, to, message) = waiting.pop_front().unwrap();
                let _ = socket.send_to(&message, to);
            }
        }
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.is_to_end.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn is_installed(program: &str) -> bool {
    env::split_paths(&env::var_os("PATH").unwrap_or_default()).any(|directory| directory.join(program).exists())
}

/// With nothing on its standard streams.
fn quiet(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

/// Questions for ordinary names, aliases, names that are not there, answers in fragments and answers over TCP.
fn queries(which: usize, count: u32) -> String {
    let mut queries = String::new();
    for number in 0..count {
        let (kind, qtype) = match number % 50 {
            0 => ("huge", "TXT"),
            1 | 26 => ("big", "TXT"),
            2..10 => ("alias", "A"),
            10..14 => ("none", "A"),
            14..26 => ("www", "AAAA"),
            _ => ("www", "A"),
        };
        let top = if number % 2 == 0 { "com" } else { "net" };
        let domain = number / 2 % DOMAINS;
        writeln!(queries, "q{number}-{which}.{kind}.d{domain}.{top} {qtype}").unwrap();
    }
    queries
}

fn write_zones(directory: &Directory) {
    let head = "$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\n";
    let server = |[v4, v6]: [&str; 2]| format!("ns A {v4}\nns AAAA {v6}\n");
    let mut root = head.replace("SOA ns ", "SOA ns. ").replace("NS ns\n", "NS ns.\n") + &server(ROOT);
    for top in ["com", "net"] {
        write!(root, "{top} NS ns.{top}\nns.{top} A {}\nns.{top} AAAA {}\n", TOP[0], TOP[1]).unwrap();
    }
    let mut top = head.to_owned() + &server(TOP);
    for domain in 0..DOMAINS {
        let name = format!("d{domain}");
        let addresses = match domain < SLOW_DOMAINS {
            true => format!("ns.{name} A {SLOW}\n"),
            false => format!("ns.{name} A {}\nns.{name} AAAA {}\n", BELOW[0], BELOW[1]),
        };
        write!(top, "{name} NS ns.{name}\n{addresses}").unwrap();
    }
    let mut below = String::new();
    below += "*.www A 203.0.113.7\n*.www AAAA 2001:db8:cafe::7\n*.alias CNAME target.www\n";
    for (name, strings) in [("big", 9), ("huge", 30)] {
        // About 2200 bytes, which go in fragments, and 7500, for which a datagram has no room.
        for number in 0..strings {
            writeln!(below, "*.{name} TXT \"{}{number}\"", "x".repeat(235)).unwrap();
        }
    }
    let slow = format!("{head}ns A {SLOW}\n{below}");
    let below = head.to_owned() + &server(BELOW) + &below;
    for (name, text) in [("root", root), ("top", top), ("below", below), ("slow", slow)] {
        fs::write(directory.0.join(name), text).unwrap();
    }
    let hints = format!(". 3600000 NS ns.\nns. 3600000 A {}\nns. 3600000 AAAA {}\n", ROOT[0], ROOT[1]);
    fs::write(directory.0.join("hints"), hints).unwrap();
}

/// A server of the zones of a level.
fn knot_conf(level: &str, addresses: [&str; 2], zones: &Path, storage: &Path) -> String {
    let (zones, storage) = (zones.display(), storage.display());
    let [v4, v6] = addresses;
    let mut conf = format!(
        "server:
  rundir: {storage}
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
  udp-max-payload: 4096
  listen: [{v4}@53, {v6}@53]
database:
  storage: {storage}
template:
- id: default
  storage: {zones}
  zonefile-sync: -1
  journal-content: none
zone:
"
    );
    let mut zone = |name: &str, file: &str| write!(conf, "- domain: {name}\n  file: {file}\n").unwrap();
    match level {
        "root" => zone(".", "root"),
        "top" => ["com", "net"].iter().for_each(|top| zone(top, "top")),
        _ => {
            for (domain, top) in (0..DOMAINS).flat_map(|domain| ["com", "net"].map(|top| (domain, top))) {
                zone(&format!("d{domain}.{top}"), if domain < SLOW_DOMAINS { "slow" } else { "below" });
            }
        }
    }
    conf
}

fn unbound_conf(path: &str) -> String {
    let [v4, v6] = RESOLVER;
    format!(
        "server:
  directory: \"{path}\"
  pidfile: \"{path}/unbound.pid\"
  username: \"\"
  chroot: \"\"
  use-syslog: no
  interface: {v4}
  interface: {v6}
  access-control: 192.0.2.0/24 allow
  access-control: 2001:db8::/32 allow
  num-threads: 1
  edns-buffer-size: 4096
  cache-max-ttl: 1
  root-hints: \"{path}/hints\"
  module-config: \"iterator\"
remote-control:
  control-enable: no
"
    )
}
