//! Connecting to a server that has addresses of both kinds (RFC 8305): whichever answers first.

use super::{
    Failure, Step,
    locate::Target,
    resolve::{Missing, Names},
};
use hickory_resolver::proto::rr::RecordType;
use nix::errno::Errno;
use std::{
    collections::VecDeque,
    io,
    net::{self, IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};

/// How long it may take, finding the addresses included.
pub(super) const LIMIT: Duration = Duration::from_secs(15);

/// After which the next address is tried beside those that have not answered: "Connection Attempt Delay".
const STAGGER: Duration = Duration::from_millis(250);

/// How long IPv4 waits for IPv6 to be found: "Resolution Delay".
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);

/// As many addresses of a kind are tried.
const ADDRESSES_MAX: usize = 16;

/// Connects; the error tells what was tried. Addresses that are shunned are tried behind all others, in their order.
pub(super) async fn race(
    names: Result<Names, Missing>,
    target: &Target,
    source: Option<IpAddr>,
    shunned: &[IpAddr],
    limit: Duration,
) -> Result<net::TcpStream, Failure> {
    let mut race = Race::new(target.port, source, shunned.to_vec());
    let kinds = kinds(source);
    match (target.host.parse(), names) {
        (Ok(address), _) if kinds.contains(&kind(address)) => race.add(vec![address]),
        (Ok(_), _) => race.note("one of them is an IPv4 address, the other an IPv6 address".to_owned()),
        (Err(_), Ok(names)) => race.look_up(Arc::new(names), &target.host, kinds),
        (Err(_), Err(missing)) => race.note(missing.to_string()),
    }
    race.run(Instant::now() + limit).await.map_err(|(step, what)| {
        let from = source.map(|source| format!(" from rsync_source=\"{source}\"")).unwrap_or_default();
        Failure::new(step, format!("{target}{from}: {what}"))
    })
}

/// The kinds of addresses that can be reached from `source`; IPv6 first.
fn kinds(source: Option<IpAddr>) -> &'static [RecordType] {
    match source {
        None => &[RecordType::AAAA, RecordType::A],
        Some(IpAddr::V6(_)) => &[RecordType::AAAA],
        Some(IpAddr::V4(_)) => &[RecordType::A],
    }
}

fn kind(address: IpAddr) -> RecordType {
    if address.is_ipv6() { RecordType::AAAA } else { RecordType::A }
}

/// What is under way, and what came of it.
struct Race {
    port: u16,
    source: Option<IpAddr>,
    tasks: JoinSet<Event>,
    /// Kinds that are still looked up.
    sought: Vec<RecordType>,
    /// Addresses that were found and not tried.
    v6: VecDeque<IpAddr>,
    v4: VecDeque<IpAddr>,
    /// Those that were found, and the order in which they are tried behind the others.
    last: Vec<IpAddr>,
    shunned: Vec<IpAddr>,
    /// Those that are being tried, in order.
    trying: Vec<IpAddr>,
    was_v6: bool,
    was_any: bool,
    /// Before it no other address is tried.
    next: Instant,
    /// What went wrong so far.
    said: Vec<String>,
}

enum Event {
    Found(RecordType, Result<Vec<IpAddr>, Missing>),
    Tried(IpAddr, io::Result<TcpStream>),
}

impl Race {
    fn new(port: u16, source: Option<IpAddr>, shunned: Vec<IpAddr>) -> Race {
        Race {
            port,
            source,
            tasks: JoinSet::new(),
            sought: Vec::new(),
            v6: VecDeque::new(),
            v4: VecDeque::new(),
            last: Vec::new(),
            shunned,
            trying: Vec::new(),
            was_v6: false,
            was_any: false,
            next: Instant::now(),
            said: Vec::new(),
        }
    }

    fn look_up(&mut self, names: Arc<Names>, host: &str, kinds: &[RecordType]) {
        for &kind in kinds {
            let (names, host) = (names.clone(), host.to_owned());
            self.sought.push(kind);
            self.tasks.spawn(async move { Event::Found(kind, names.addresses(&host, kind).await) });
        }
    }

    async fn run(mut self, end: Instant) -> Result<net::TcpStream, (Step, String)> {
        loop {
            // For one that is not shunned it is waited as long as it may still be found.
            let is_left = !self.last.is_empty() && (self.sought.is_empty() || self.was_any);
            let is_waiting = !(self.v6.is_empty() && self.v4.is_empty()) || is_left;
            let now = Instant::now();
            if now >= end || !is_waiting && self.tasks.is_empty() {
                return Err(self.account());
            }
            if is_waiting && now >= self.next {
                self.start();
                continue;
            }
            let wake = if is_waiting { self.next.min(end) } else { end };
            if self.tasks.is_empty() {
                sleep_until(wake).await;
            } else if let Ok(Some(Ok(event))) = timeout_at(wake, self.tasks.join_next()).await {
                match event {
                    Event::Found(kind, found) => self.found(kind, found),
                    Event::Tried(address, tried) => match tried.and_then(blocking) {
                        Ok(stream) => return Ok(stream),
                        Err(error) => self.failed(address, &error),
                    },
                }
            }
        }
    }

    /// Tries the next address: the two kinds take turns.
    fn start(&mut self) {
        let is_v6 = if self.was_v6 { self.v4.is_empty() } else { !self.v6.is_empty() };
        let next = if is_v6 { self.v6.pop_front() } else { self.v4.pop_front() };
        let Some(address) = next.or_else(|| self.take_shunned()) else { return };
        (self.was_v6, self.was_any) = (is_v6, true);
        self.trying.push(address);
        self.next = Instant::now() + STAGGER;
        let (to, source) = (SocketAddr::new(address, self.port), self.source);
        self.tasks.spawn(async move { Event::Tried(address, connect(to, source).await) });
    }

    /// The one that has been shunned for the longest time.
    fn take_shunned(&mut self) -> Option<IpAddr> {
        let place = |address: &IpAddr| self.shunned.iter().position(|shunned| shunned == address);
        let (index, _) = self.last.iter().enumerate().min_by_key(|(_, address)| place(address))?;
        Some(self.last.swap_remove(index))
    }

    fn add(&mut self, addresses: Vec<IpAddr>) {
        for address in addresses {
            if self.shunned.contains(&address) {
                if self.last.len() < 2 * ADDRESSES_MAX && !self.last.contains(&address) {
                    self.last.push(address);
                }
                continue;
            }
            let known = if address.is_ipv6() { &mut self.v6 } else { &mut self.v4 };
            if known.len() < ADDRESSES_MAX && !known.contains(&address) {
                known.push_back(address);
            }
        }
    }

    fn found(&mut self, kind: RecordType, found: Result<Vec<IpAddr>, Missing>) {
        self.sought.retain(|sought| *sought != kind);
        match found {
            Ok(addresses) => self.add(addresses),
            Err(Missing::Record) => self.note(format!("no {kind} record")),
            Err(Missing::Name) => self.note(Missing::Name.to_string()),
            Err(Missing::Unknown(what)) => self.note(format!("no {kind} record known ({what})")),
        }
        if !self.was_any {
            let is_first = kind == RecordType::A && self.sought.contains(&RecordType::AAAA);
            self.next = Instant::now() + if is_first { RESOLUTION_DELAY } else { Duration::ZERO };
        }
    }

    /// The next one need not wait any longer.
    fn failed(&mut self, address: IpAddr, error: &io::Error) {
        self.trying.retain(|trying| *trying != address);
        self.note(format!("{}: {}", shown(address), text(error)));
        self.next = Instant::now();
    }

    fn note(&mut self, what: String) {
        if !self.said.contains(&what) {
            self.said.push(what);
        }
    }

    /// Why there is no connection.
    fn account(mut self) -> (Step, String) {
        for address in std::mem::take(&mut self.trying) {
            self.note(format!("{}: timed out", shown(address)));
        }
        for kind in std::mem::take(&mut self.sought) {
            self.note(format!("no {kind} record known (no answer in time)"));
        }
        (if self.was_any { Step::Connect } else { Step::Locate }, self.said.join("; "))
    }
}

async fn connect(to: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if to.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(to).await
}

fn blocking(stream: TcpStream) -> io::Result<net::TcpStream> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// An address as it is written beside a port.
fn shown(address: IpAddr) -> String {
    if address.is_ipv6() { format!("[{address}]") } else { address.to_string() }
}

/// The system's words, without its number.
fn text(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |number| Errno::from_raw(number).desc().to_owned())
}
