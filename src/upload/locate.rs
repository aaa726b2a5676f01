//! Finding the server: SRV records (RFC 2782), kept as long as they hold.

use super::{
    Attendant, Failure, Step, TURN, Turn, connect,
    resolve::{Missing, Names},
};
use crate::config::SubmitServer;
use hickory_resolver::proto::rr::rdata::SRV;
use std::{
    fmt::{self, Display, Formatter},
    hash::{BuildHasher, RandomState},
    net::{IpAddr, SocketAddr, TcpStream},
    pin::pin,
    time::Duration,
};
use tokio::{runtime::Builder, time::timeout};

/// How long a lookup may take, whatever the name servers do.
const LOOKUP: Duration = Duration::from_secs(15);

/// Records hold no longer, whatever they say: a sensor that was moved to another network asks again.
const HOLD: Duration = Duration::from_secs(3600);

/// As many servers are tried. No service has so many; an answer that names thousands must not keep the sensor busy.
const TARGETS_MAX: usize = 32;

/// A server's name or address, and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// In lower case, without a final dot; an IPv6 address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} port {}", self.host, self.port)
    }
}

/// The way to servers: finds them, connects to them.
#[derive(Debug, Default)]
pub struct Network {
    /// Asked instead of the system's.
    name_servers: Option<Vec<SocketAddr>>,
    known: Option<Known>,
    /// Addresses that connected and were of no use then, the last one at the end.
    shunned: Vec<IpAddr>,
}

/// Addresses that are remembered for that.
const SHUNNED_MAX: usize = 64;

/// SRV records that hold.
#[derive(Debug)]
struct Known {
    name: String,
    services: Vec<SRV>,
    until: Duration,
}

impl Network {
    /// As the system's files tell at the time of each question.
    pub fn new() -> Network {
        Network::default()
    }

    /// With these name servers, and no hosts file.
    pub fn asking(name_servers: &[SocketAddr]) -> Network {
        Network { name_servers: Some(name_servers.to_vec()), ..Network::default() }
    }

    /// The servers, in the order in which they are to be tried: by priority, and by weight at random. A directory has none.
    pub fn targets(&mut self, server: &SubmitServer, attendant: &mut dyn Attendant) -> Result<Vec<Target>, Failure> {
        match server {
            SubmitServer::Dir(_) => Ok(Vec::new()),
            SubmitServer::HostPort(host, port) => Ok(vec![Target { host: plain(host), port: *port }]),
            SubmitServer::Srv(name) => {
                let services = self.services(name, attendant)?;
                let targets: Vec<Target> = order(services, random).iter().filter_map(target).collect();
                let none = || Failure::new(Step::Locate, format!("{}: no usable server is named", service(name)));
                if targets.is_empty() { Err(none()) } else { Ok(targets.into_iter().take(TARGETS_MAX).collect()) }
            }
        }
    }

    /// Connects to a server, from an address of this machine if one is given. The stream is a blocking one.
    pub fn connect(
        &mut self,
        target: &Target,
        source: Option<IpAddr>,
        attendant: &mut dyn Attendant,
    ) -> Result<TcpStream, Failure> {
        let names = self.names();
        attend(attendant, Step::Connect, connect::race(names, target, source, &self.shunned, connect::LIMIT))?
    }

    /// Tries this address behind all others from now on: it connected, and nothing came of it, as where large packets are
    /// lost on the way, which for the other kind of address may be another one.
    pub fn shun(&mut self, address: IpAddr) {
        self.trust(address);
        self.shunned.push(address);
        let excess = self.shunned.len().saturating_sub(SHUNNED_MAX);
        self.shunned.drain(..excess);
    }

    /// It is of use.
    pub fn trust(&mut self, address: IpAddr) {
        self.shunned.retain(|shunned| *shunned != address);
    }

    /// Shuns no address any more.
    pub fn forgive(&mut self) {
        self.shunned.clear();
    }

    fn services(&mut self, name: &str, attendant: &mut dyn Attendant) -> Result<Vec<SRV>, Failure> {
        let now = attendant.now();
        if let Some(known) = self.known.as_ref().filter(|known| known.name == name && now < known.until) {
            return Ok(known.services.clone());
        }
        let full = service(name);
        let failed = |missing: Missing| Failure::new(Step::Locate, advise(name, &missing));
        let names = self.names().map_err(failed)?;
        let answer = attend(attendant, Step::Locate, async { timeout(LOOKUP, names.services(&full)).await })?;
        let late = || Missing::Unknown(format!("no answer within {} s", LOOKUP.as_secs()));
        let (services, hold) = answer.unwrap_or_else(|_| Err(late())).map_err(failed)?;
        if services.iter().all(|service| service.target.is_root()) {
            let reason = format!("{full}: this service is not there, its SRV record says (its target is \".\")");
            return Err(Failure::new(Step::Locate, reason));
        }
        self.known = Some(Known { name: name.to_owned(), services: services.clone(), until: now + hold.min(HOLD) });
        Ok(services)
    }

    /// The files are read each time: they are small, and what they say must not be older than the question.
    fn names(&self) -> Result<Names, Missing> {
        self.name_servers.as_deref().map_or_else(Names::of_system, |servers| Ok(Names::of_servers(servers)))
    }
}

/// Where the SRV records are.
fn service(name: &str) -> String {
    format!("_rsync._tcp.{}", plain(name))
}

/// What to do without SRV records.
fn advise(name: &str, missing: &Missing) -> String {
    let full = service(name);
    match missing {
        Missing::Unknown(what) => format!("cannot look up the SRV records {full}: {what}"),
        _ => format!(
            "no SRV record {full}: {missing}; a service has them, \
             a single server is written with its port: submitserver=\"{}:PORT\"",
            plain(name)
        ),
    }
}

/// A name as known_hosts and log lines have it.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// The record's server, if it is one that can be connected to. Its name ends up in commands and files.
fn target(service: &SRV) -> Option<Target> {
    let host = plain(&service.target.to_ascii());
    let is_name = !host.starts_with('-') && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    (is_name && !host.is_empty() && service.port > 0).then_some(Target { host, port: service.port })
}

/// By priority; within one, each next record is drawn by its weight. `random` gives a number below its argument.
fn order(mut services: Vec<SRV>, mut random: impl FnMut(u64) -> u64) -> Vec<SRV> {
    // Those of weight 0 stand first, so that they are drawn with a very small chance where others have weight.
    services.sort_by_key(|service| (service.priority, service.weight != 0));
    let mut ordered: Vec<SRV> = Vec::with_capacity(services.len());
    while let Some(priority) = services.first().map(|service| service.priority) {
        let rest = || services.iter().take_while(|service| service.priority == priority);
        let drawn = random(rest().map(|service| u64::from(service.weight)).sum::<u64>() + 1);
        let mut running = 0;
        let next = rest().position(|service| {
            running += u64::from(service.weight);
            running >= drawn
        });
        ordered.push(services.remove(next.unwrap_or_default()));
    }
    ordered
}

/// A number below `end`. What the standard library keys its hash tables with comes from the system.
fn random(end: u64) -> u64 {
    RandomState::new().hash_one(()) % end
}

/// Does the work on this thread while the attendant takes its turns. What the work started ends with it.
fn attend<T>(attendant: &mut dyn Attendant, step: Step, work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(|error| Failure::new(step, format!("cannot wait for the network: {error}")))?;
    runtime.block_on(async {
        let mut work = pin!(work);
        loop {
            if attendant.turn() == Turn::Leave {
                return Err(Failure::new(step, "interrupted: the process is to leave"));
            }
            if let Ok(done) = timeout(TURN / 2, &mut work).await {
                return Ok(done);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::proto::rr::Name;

    fn srv(priority: u16, weight: u16, host: &str) -> SRV {
        SRV::new(priority, weight, 49222, Name::from_ascii(host).unwrap())
    }

    /// xorshift64*, whose numbers are the same on every run.
    fn fixed() -> impl FnMut(u64) -> u64 {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        move |end| {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % end
        }
    }

    fn hosts(services: &[SRV]) -> Vec<String> {
        services.iter().map(|service| service.target.to_ascii()).collect()
    }

    #[test]
    fn lower_priorities_come_first_whatever_their_weight() {
        let services = vec![srv(20, 60_000, "c."), srv(10, 0, "b."), srv(0, 1, "a.")];
        let mut random = fixed();
        for _ in 0..1000 {
            assert_eq!(hosts(&order(services.clone(), &mut random)), ["a.", "b.", "c."]);
        }
    }

    #[test]
    fn within_a_priority_each_is_first_as_often_as_its_weight_says() {
        let services = vec![srv(1, 10, "a."), srv(1, 60, "b."), srv(1, 0, "c."), srv(1, 30, "d.")];
        let mut random = fixed();
        let mut counts = [0; 4];
        for _ in 0..101_000 {
            let first = order(services.clone(), &mut random).remove(0).target.to_ascii();
            counts[["a.", "b.", "c.", "d."].iter().position(|host| *host == first).unwrap()] += 1;
        }
        // 101 numbers, of which one is that of weight 0; three standard deviations of a binomial.
        for (count, expected) in counts.into_iter().zip([10_000_i64, 60_000, 1000, 30_000]) {
            let deviation = (expected as f64 * (1.0 - expected as f64 / 101_000.0)).sqrt();
            assert!(((count - expected) as f64).abs() < 3.0 * deviation, "{counts:?}");
        }
    }

    #[test]
    fn none_is_lost_and_none_drawn_twice() {
        let services: Vec<SRV> = (0..3000).map(|n| srv(n % 7, n * 20, &format!("s{n}."))).collect();
        let mut ordered = hosts(&order(services.clone(), random));
        ordered.sort();
        let mut all = hosts(&services);
        all.sort();
        assert_eq!(ordered, all);
    }

    #[test]
    fn weights_are_drawn_anew_each_time() {
        let services: Vec<SRV> = (0..10).map(|n| srv(0, 1, &format!("s{n}."))).collect();
        let firsts: Vec<String> = (0..40).map(|_| hosts(&order(services.clone(), random)).remove(0)).collect();
        assert!(firsts.iter().any(|first| *first != firsts[0]), "{firsts:?}");
    }

    #[test]
    fn only_names_that_hosts_have_become_targets() {
        let found = target(&srv(0, 0, "Sink-1.Example.NET."));
        assert_eq!(found, Some(Target { host: "sink-1.example.net".to_owned(), port: 49222 }));
        for label in ["", "-oProxyCommand", "a b", "a\u{1b}[2J", "a;b", "*", "ü"] {
            let labels = Some(label.as_bytes()).filter(|label| !label.is_empty());
            let host = Name::from_labels(labels).unwrap();
            assert_eq!(target(&SRV::new(0, 0, 22, host)), None, "{label}");
        }
        assert_eq!(target(&SRV::new(0, 0, 0, Name::from_ascii("a.example.").unwrap())), None);
    }
}
