//! Finding and reaching the server, with a real name server and real sockets.

use crate::name_server::{Between, NameServer, free_port};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrIn6, bind, getsockname, listen, socket};
use sie_dns_sensor::{
    config::SubmitServer,
    upload::{Attendant, Failure, Network, Step, Target, Turn},
};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsRawFd, OwnedFd},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// Longer than a turn even on a busy machine, and shorter than anything that is waited for.
const STALL: Duration = Duration::from_secs(2);

/// Watches how often it is asked.
pub struct Watch {
    started: Instant,
    last: Instant,
    longest: Duration,
    /// Added to its clock.
    later: Duration,
    leaves_after: Option<Duration>,
}

impl Watch {
    pub fn new() -> Watch {
        let now = Instant::now();
        Watch { started: now, last: now, longest: Duration::ZERO, later: Duration::ZERO, leaves_after: None }
    }
}

impl Attendant for Watch {
    fn now(&self) -> Duration {
        self.started.elapsed() + self.later
    }

    fn turn(&mut self) -> Turn {
        self.longest = self.longest.max(self.last.elapsed());
        self.last = Instant::now();
        if self.leaves_after.is_some_and(|after| self.started.elapsed() >= after) { Turn::Leave } else { Turn::GoOn }
    }

    fn allowance(&mut self) -> usize {
        unreachable!("nothing is sent")
    }

    fn sent(&mut self, _: usize) {}
    fn confirmed(&mut self, _: usize) {}
    fn failed(&mut self, _: usize, _: String) {}
    fn heard(&mut self, _: &str) {}
}

const ZONE: &str = "
_rsync._tcp.submit SRV 20 0 1003 Third.example.
_rsync._tcp.submit SRV 10 0 1002 second.example.
_rsync._tcp.submit SRV 5 0 1001 first.example.
_rsync._tcp.alias CNAME _rsync._tcp.submit
_rsync._tcp.again CNAME _rsync._tcp.alias
_rsync._tcp.loop CNAME _rsync._tcp.loop
_rsync._tcp.closed SRV 0 0 0 .
_rsync._tcp.short 1 SRV 0 0 1001 first.example.
_rsync._tcp.strange SRV 0 0 22 -oProxyCommand\\061x.example.
no-srv A 127.0.0.1
no-srv AAAA ::1
_rsync._tcp.text TXT text
both A 127.0.0.1
both AAAA ::1
v6 AAAA ::1
";

fn srv(name: &str) -> SubmitServer {
    SubmitServer::Srv(name.to_owned())
}

fn located(network: &mut Network, name: &str) -> Result<Vec<String>, Failure> {
    let found = network.targets(&srv(name), &mut Watch::new());
    found.map(|targets| targets.iter().map(Target::to_string).collect())
}

fn at(host: &str, port: u16) -> Target {
    Target { host: host.to_owned(), port }
}

fn reason(result: Result<impl Sized, Failure>, step: Step) -> String {
    let Err(failure) = result else { panic!("it succeeded") };
    assert_eq!((failure.step, failure.keeps_connection), (step, false), "{failure}");
    failure.reason
}

const ORDER: [&str; 3] = ["first.example port 1001", "second.example port 1002", "third.example port 1003"];

#[test]
fn srv_records_name_the_servers_in_their_order() {
    let Some(server) = NameServer::start(ZONE) else { return };
    let mut network = Network::asking(&[server.address]);
    for name in ["submit.example", "Submit.Example.", "alias.example", "again.example"] {
        assert_eq!(located(&mut network, name).unwrap(), ORDER, "{name}");
    }
    reason(located(&mut network, "loop.example"), Step::Locate);
}

#[test]
fn an_answer_too_long_for_a_datagram_comes_over_tcp() {
    let many: String = (0..60).map(|n| format!("_rsync._tcp.many SRV {n} 0 22 server-number-{n}.example.\n")).collect();
    let Some(server) = NameServer::start(&many) else { return };
    let found = located(&mut Network::asking(&[server.address]), "many.example").unwrap();
    assert_eq!((found.len(), found[31].as_str()), (32, "server-number-31.example port 22"));
}

#[test]
fn without_srv_records_it_says_so_and_asks_for_no_address() {
    let Some(server) = NameServer::start(ZONE) else { return };
    let between = Between::start(server.address, |_| Duration::ZERO);
    let mut network = Network::asking(&[between.address]);
    let advice = |name: &str| {
        format!("a service has them, a single server is written with its port: submitserver=\"{name}:PORT\"")
    };
    for (name, why) in [("no-srv.example", "the name does not exist"), ("text.example", "there is no such record")] {
        let expected = format!("no SRV record _rsync._tcp.{name}: {why}; {}", advice(name));
        assert_eq!(reason(located(&mut network, name), Step::Locate), expected);
    }
    assert_eq!(between.questions.load(Ordering::Relaxed), 4);
}

#[test]
fn a_service_that_says_it_is_not_there_is_believed() {
    let Some(server) = NameServer::start(ZONE) else { return };
    let mut network = Network::asking(&[server.address]);
    let said = reason(located(&mut network, "closed.example"), Step::Locate);
    assert_eq!(
        said,
        "_rsync._tcp.closed.example: this service is not there, its SRV record says (its target is \".\")"
    );
    let said = reason(located(&mut network, "strange.example"), Step::Locate);
    assert_eq!(said, "_rsync._tcp.strange.example: no usable server is named");
}

#[test]
fn a_name_server_that_fails_is_named_and_the_next_one_asked() {
    let Some(server) = NameServer::start(ZONE) else { return };
    let failing = Between::start(server.address, |answer| {
        answer.truncate(12);
        answer[3] = answer[3] & 0xf0 | 2;
        answer[4..12].fill(0);
        // The question as it was asked.
        answer[5] = 1;
        answer.extend(b"\x06_rsync\x04_tcp\x06submit\x07example\x00\x00\x21\x00\x01");
        Duration::ZERO
    });
    let mut network = Network::asking(&[failing.address, server.address]);
    assert_eq!(located(&mut network, "submit.example").unwrap(), ORDER);
    // knot refuses what is not its own.
    let mut network = Network::asking(&[server.address]);
    let said = reason(located(&mut network, "submit.example.net"), Step::Locate);
    let start = "cannot look up the SRV records _rsync._tcp.submit.example.net: name server 127.0.0.1 answered:";
    assert!(said.starts_with(start), "{said}");
    let mut network = Network::asking(&[failing.address, failing.address]);
    let said = reason(located(&mut network, "submit.example"), Step::Locate);
    assert_eq!(said.matches("name server 127.0.0.1 answered: Server Failure").count(), 2, "{said}");
}

#[test]
fn garbage_instead_of_an_answer_is_an_error() {
    let Some(server) = NameServer::start(ZONE) else { return };
    let garbage = Between::start(server.address, |answer| {
        answer[12..].fill(0xff);
        Duration::ZERO
    });
    let said = reason(located(&mut Network::asking(&[garbage.address]), "submit.example"), Step::Locate);
    assert!(said.contains("name server 127.0.0.1 gave no usable answer"), "{said}");
}

#[test]
fn a_slow_name_server_is_waited_for_while_the_attendant_takes_its_turns() {
    let Some(server) = NameServer::start(ZONE) else { return };
    let slow = Between::start(server.address, |_| Duration::from_secs(3));
    let mut watch = Watch::new();
    let found = Network::asking(&[slow.address]).targets(&srv("submit.example"), &mut watch).unwrap();
    assert_eq!(found.len(), 3);
    assert!(watch.started.elapsed() >= Duration::from_secs(3) && watch.longest <= STALL, "{:?}", watch.longest);
}

#[test]
fn name_servers_that_do_not_answer_take_five_seconds_each() {
    let started = Instant::now();
    let nobody = [free_port(), free_port()];
    let said = reason(located(&mut Network::asking(&nobody), "submit.example"), Step::Locate);
    let silence = "name server 127.0.0.1 gave no answer within 5 s";
    let expected = format!("cannot look up the SRV records _rsync._tcp.submit.example: {silence}, {silence}");
    assert_eq!(said, expected);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}

#[test]
fn records_are_kept_as_long_as_they_hold_and_no_longer_than_an_hour() {
    let Some(server) = NameServer::start(ZONE) else { return };
    let counting = Between::start(server.address, |_| Duration::ZERO);
    let mut network = Network::asking(&[counting.address]);
    let mut asked = |name: &str, later: u64| {
        let mut watch = Watch { later: Duration::from_secs(later), ..Watch::new() };
        network.targets(&srv(name), &mut watch).unwrap();
        counting.questions.swap(0, Ordering::Relaxed)
    };
    let times = [(0, 1), (290, 0), (310, 1), (590, 0)];
    assert_eq!(times.map(|(later, _)| asked("submit.example", later)), times.map(|(_, questions)| questions));
    assert_eq!([asked("short.example", 600), asked("short.example", 602)], [1, 1]);
}

#[test]
fn a_server_with_its_port_needs_no_name_server() {
    let mut network = Network::asking(&[]);
    let mut watch = Watch::new();
    let direct = SubmitServer::HostPort("Sink.Example.".to_owned(), 7);
    assert_eq!(network.targets(&direct, &mut watch).unwrap(), [at("sink.example", 7)]);
    assert_eq!(network.targets(&SubmitServer::Dir("/var/tmp".into()), &mut watch).unwrap(), []);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = at("127.0.0.1", listener.local_addr().unwrap().port());
    network.connect(&target, None, &mut watch).unwrap();
}

#[test]
fn the_files_of_the_system_are_asked_first() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = at("localhost", listener.local_addr().unwrap().port());
    let stream = Network::new().connect(&target, None, &mut Watch::new()).unwrap();
    assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
}

/// A socket of ::1 that takes no connection on, nor refuses one.
struct Hole {
    port: u16,
    _socket: OwnedFd,
    _filling: Vec<TcpStream>,
}

impl Hole {
    fn new() -> Hole {
        let hole = socket(AddressFamily::Inet6, SockType::Stream, SockFlag::empty(), None).unwrap();
        bind(hole.as_raw_fd(), &SockaddrIn6::from(std::net::SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0, 0, 0))).unwrap();
        let port = getsockname::<SockaddrIn6>(hole.as_raw_fd()).unwrap().port();
        listen(&hole, Backlog::new(0).unwrap()).unwrap();
        let to = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        let filling = (0..8).map_while(|_| TcpStream::connect_timeout(&to, Duration::from_millis(200)).ok());
        Hole { port, _filling: filling.collect(), _socket: hole }
    }
}

#[test]
fn where_ipv6_refuses_ipv4_connects_at_once() {
    let Some(server) = NameServer::start(ZONE) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = at("both.example", listener.local_addr().unwrap().port());
    // Once of three times even where others keep the machine busy.
    let took = (0..3).map(|_| {
        let mut watch = Watch::new();
        let stream = Network::asking(&[server.address]).connect(&target, None, &mut watch).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
        watch.started.elapsed()
    });
    let took = took.min().unwrap();
    assert!(took < Duration::from_millis(200), "{took:?}");
}

#[test]
fn where_ipv6_is_silent_ipv4_connects_a_little_later() {
    let Some(server) = NameServer::start(ZONE) else { return };
    let hole = Hole::new();
    let listener = TcpListener::bind(("127.0.0.1", hole.port)).unwrap();
    let mut watch = Watch::new();
    let target = at("both.example", hole.port);
    let stream = Network::asking(&[server.address]).connect(&target, None, &mut watch).unwrap();
    assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
    let took = watch.started.elapsed().as_millis();
    assert!((250..5000).contains(&took), "{took} ms");
}

#[test]
fn where_both_connect_it_is_ipv6_and_nothing_is_left_of_the_other() {
    let Some(server) = NameServer::start(ZONE) else { return };
    let v6 = TcpListener::bind("[::1]:0").unwrap();
    let port = v6.local_addr().unwrap().port();
    let v4 = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let target = at("both.example", port);
    v4.set_nonblocking(true).unwrap();
    // Once of ten times even where others keep the machine busy: an answer for IPv6 that comes 50 ms later is not waited for.
    let is_v6_alone = (0..10).any(|_| {
        let stream = Network::asking(&[server.address]).connect(&target, None, &mut Watch::new()).unwrap();
        let is_v6 = stream.peer_addr().unwrap().is_ipv6();
        is_v6 && v4.accept().is_err()
    });
    assert!(is_v6_alone);
}

#[test]
fn an_address_that_was_of_no_use_is_tried_behind_the_others() {
    let Some(server) = NameServer::start(ZONE) else { return };
    let v6 = TcpListener::bind("[::1]:0").unwrap();
    let port = v6.local_addr().unwrap().port();
    let _v4 = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut network = Network::asking(&[server.address]);
    let (one, other) = (Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into());
    let goes_to = |network: &mut Network| {
        let stream = network.connect(&at("both.example", port), None, &mut Watch::new()).unwrap();
        stream.peer_addr().unwrap().ip()
    };
    network.shun(one);
    assert_eq!(goes_to(&mut network), other);
    network.shun(other);
    assert_eq!(goes_to(&mut network), one, "shunned for longer");
    network.shun(one);
    assert_eq!(goes_to(&mut network), other);
    network.trust(one);
    // Once of ten times even where others keep the machine busy: it is waited for 50 ms.
    assert!((0..10).any(|_| goes_to(&mut network) == one));
}

#[test]
fn an_answer_for_ipv6_that_is_late_does_not_hold_ipv4_up() {
    let Some(server) = NameServer::start(ZONE) else { return };
    // AAAA, type 28, in the question for both.example.
    let late = Between::start(server.address, |answer| Duration::from_secs(if answer[27] == 28 { 2 } else { 0 }));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut watch, port) = (Watch::new(), listener.local_addr().unwrap().port());
    Network::asking(&[late.address]).connect(&at("both.example", port), None, &mut watch).unwrap();
    let took = watch.started.elapsed().as_millis();
    assert!((50..2000).contains(&took), "{took} ms");
    // And is used where IPv4 refuses.
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let (mut watch, port) = (Watch::new(), listener.local_addr().unwrap().port());
    Network::asking(&[late.address]).connect(&at("both.example", port), None, &mut watch).unwrap();
    assert!(watch.started.elapsed() >= Duration::from_secs(2));
}

#[test]
fn the_error_tells_what_was_tried() {
    let Some(server) = NameServer::start(ZONE) else { return };
    let mut network = Network::asking(&[server.address]);
    let port = free_port().port();
    let said = |network: &mut Network, host: &str, step| {
        reason(network.connect(&at(host, port), None, &mut Watch::new()), step)
    };
    let refused = "Connection refused";
    let both = format!("both.example port {port}: [::1]: {refused}; 127.0.0.1: {refused}");
    assert_eq!(said(&mut network, "both.example", Step::Connect), both);
    let literal = format!("::1 port {port}: [::1]: {refused}");
    assert_eq!(said(&mut network, "::1", Step::Connect), literal);
    let nowhere = format!("nowhere.example port {port}: the name does not exist");
    assert_eq!(said(&mut network, "nowhere.example", Step::Locate), nowhere);
}

#[test]
fn a_server_that_never_answers_is_given_up_after_fifteen_seconds() {
    let hole = Hole::new();
    let mut watch = Watch::new();
    let said = reason(Network::asking(&[]).connect(&at("::1", hole.port), None, &mut watch), Step::Connect);
    assert_eq!(said, format!("::1 port {}: [::1]: timed out", hole.port));
    let took = watch.started.elapsed().as_secs();
    assert!((15..25).contains(&took) && watch.longest <= STALL, "{took} s, {:?}", watch.longest);
}

#[test]
fn who_is_to_leave_waits_no_longer() {
    let hole = Hole::new();
    let mut watch = Watch { leaves_after: Some(Duration::from_millis(300)), ..Watch::new() };
    let said = reason(Network::asking(&[]).connect(&at("::1", hole.port), None, &mut watch), Step::Connect);
    assert_eq!(said, "interrupted: the process is to leave");
    assert!(watch.started.elapsed() < Duration::from_secs(5));
}

#[test]
fn connections_come_from_the_address_that_was_set() {
    let Some(server) = NameServer::start(ZONE) else { return };
    let mut network = Network::asking(&[server.address]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let mut connect = |host: &str, source| network.connect(&at(host, port), Some(source), &mut Watch::new());
    assert_eq!(connect("both.example", source).unwrap().local_addr().unwrap().ip(), source);
    let from = "from rsync_source=\"127.0.0.2\"";
    let said = reason(connect("v6.example", source), Step::Locate);
    assert_eq!(said, format!("v6.example port {port} {from}: no A record"));
    let said = reason(connect("::1", source), Step::Locate);
    assert_eq!(said, format!("::1 port {port} {from}: one of them is an IPv4 address, the other an IPv6 address"));
    let elsewhere = "192.0.2.77".parse().unwrap();
    let said = reason(connect("both.example", elsewhere), Step::Connect);
    let from = "from rsync_source=\"192.0.2.77\"";
    assert_eq!(said, format!("both.example port {port} {from}: 127.0.0.1: Cannot assign requested address"));
}
