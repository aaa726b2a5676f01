//! Names to records and addresses, without the C library: its resolver loads code at run time, which the sandbox refuses.

use hickory_resolver::{
    Hosts, TokioResolver,
    config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{DnsError, NetError, NoRecords, runtime::TokioRuntimeProvider},
    proto::{
        op::{Query, ResponseCode},
        rr::{Name, RData, Record, RecordType, rdata::SRV},
    },
    system_conf::parse_resolv_conf,
};
use std::{
    fmt::{self, Display, Formatter},
    fs, io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::time::timeout;

/// How long one name server has for its answer; the file may say less.
const TRY: Duration = Duration::from_secs(5);

/// As many name servers are asked: MAXNS of resolv.conf(5).
const SERVERS_MAX: usize = 3;

/// As many names may stand between a service and its records.
const ALIASES_MAX: usize = 4;

const RESOLVER_FILE: &str = "/etc/resolv.conf";
const HOSTS_FILE: &str = "/etc/hosts";

/// Name servers, search list and hosts: what is known before anybody is asked.
///
/// The name servers are asked one after the other, so that one that fails does not hide what the next one knows, and an
/// error can tell what each of them did.
pub(super) struct Names {
    config: ResolverConfig,
    options: ResolverOpts,
    hosts: Hosts,
}

/// Why there is no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// The name exists; it has none of this type.
    Record,
    /// The name does not exist.
    Name,
    /// Nobody knows; what each name server did.
    Unknown(String),
}

impl Display for Missing {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Missing::Record => f.write_str("there is no such record"),
            Missing::Name => f.write_str("the name does not exist"),
            Missing::Unknown(what) => f.write_str(what),
        }
    }
}

impl Names {
    /// As the system's files say now: they change while the process runs.
    pub(super) fn of_system() -> Result<Names, Missing> {
        let text = match fs::read(RESOLVER_FILE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(|error| Missing::Unknown(format!("cannot read {RESOLVER_FILE}: {error}")))?,
        };
        let hosts = match fs::read(HOSTS_FILE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Hosts::default(),
            read => hosts(&read.map_err(|error| Missing::Unknown(format!("cannot read {HOSTS_FILE}: {error}")))?),
        };
        Names::new(&text, hosts).map_err(|error| Missing::Unknown(format!("{RESOLVER_FILE}: {error}")))
    }

    /// With these name servers and nothing else.
    pub(super) fn of_servers(servers: &[SocketAddr]) -> Names {
        let servers = servers.iter().map(|server| {
            let mut config = NameServerConfig::udp_and_tcp(server.ip());
            config.connections.iter_mut().for_each(|connection| connection.port = server.port());
            config
        });
        let config = ResolverConfig::from_name_servers(servers.collect());
        Names { config, options: options(ResolverOpts::default()), hosts: Hosts::default() }
    }

    fn new(text: &[u8], hosts: Hosts) -> Result<Names, String> {
        let text = String::from_utf8_lossy(text);
        let first = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
        // Without its interface, which the resolver forgets, such a server is nowhere.
        let (scoped, lines): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| first(line) == "nameserver" && line.contains('%'));
        if !scoped.is_empty() && !lines.iter().any(|line| first(line) == "nameserver") {
            return Err("name servers with link-local addresses cannot be asked, and there is no other".to_owned());
        }
        // Domains that cannot be read are no reason to find nothing: only names without a dot are looked for there.
        let is_list = |line: &&str| ["search", "domain"].contains(&first(line).as_str());
        let plain: Vec<&str> = lines.iter().copied().filter(|line| !is_list(line)).collect();
        // Where no name server is named, the one of this machine is meant.
        let parse = |lines: &[&str]| {
            let text = lines.join("\n");
            parse_resolv_conf(&text).or_else(|_| parse_resolv_conf(format!("{text}\nnameserver 127.0.0.1\n")))
        };
        let (config, found) = parse(&lines).or_else(|_| parse(&plain)).map_err(|error| error.to_string())?;
        Ok(Names { config, options: options(found), hosts })
    }

    /// The SRV records of a name, which is taken as it is, and how long they hold.
    pub(super) async fn services(&self, name: &str) -> Result<(Vec<SRV>, Duration), Missing> {
        let mut name = absolute(name)?;
        let mut seconds = u32::MAX;
        for _ in 0..=ALIASES_MAX {
            let missing = match self.ask(name.clone(), RecordType::SRV).await {
                Ok(records) => {
                    let shortest = records.iter().map(|record| record.ttl).min().unwrap_or_default();
                    let services = records.into_iter().filter_map(|record| match record.data {
                        RData::SRV(service) => Some(service),
                        _ => None,
                    });
                    let services: Vec<SRV> = services.collect();
                    let holds = Duration::from_secs(shortest.min(seconds).into());
                    return if services.is_empty() { Err(Missing::Record) } else { Ok((services, holds)) };
                }
                Err(unknown @ Missing::Unknown(_)) => return Err(unknown),
                Err(missing) => missing,
            };
            // The resolver follows aliases, but takes the target of an SRV record for one more of them, and so finds
            // nothing behind an alias.
            let Ok(records) = self.ask(name.clone(), RecordType::CNAME).await else { return Err(missing) };
            let alias = records.into_iter().find_map(|record| match record.data {
                RData::CNAME(alias) => Some((alias.0, record.ttl)),
                _ => None,
            });
            let Some((alias, holds)) = alias else { return Err(missing) };
            (name, seconds) = (alias, seconds.min(holds));
        }
        Err(Missing::Unknown(format!("more than {ALIASES_MAX} aliases")))
    }

    /// The addresses of one kind, A or AAAA. A name without a dot is looked for with the search list, as everywhere.
    pub(super) async fn addresses(&self, host: &str, kind: RecordType) -> Result<Vec<IpAddr>, Missing> {
        let name = if host.contains('.') { absolute(host)? } else { parse(host)? };
        let [here, elsewhere] = [kind, other(kind)]
            .map(|kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind)))
            .map(|found| found.map(|lookup| lookup.answers().to_vec()));
        let records = match (here, elsewhere) {
            (Some(records), _) => records,
            // A host that this machine knows by one kind of address is not to be reached by one that others tell.
            (None, Some(_)) => return Err(Missing::Record),
            (None, None) => self.ask(name, kind).await?,
        };
        let addresses = records.iter().filter(|record| record.record_type() == kind);
        let addresses: Vec<IpAddr> = addresses.filter_map(|record| record.data.ip_addr()).collect();
        if addresses.is_empty() { Err(Missing::Record) } else { Ok(addresses) }
    }

    async fn ask(&self, name: Name, kind: RecordType) -> Result<Vec<Record>, Missing> {
        let mut said = Vec::new();
        for server in self.config.name_servers.iter().take(SERVERS_MAX) {
            let failed = match self.ask_one(server, name.clone(), kind).await {
                Ok(records) => return Ok(records),
                Err(NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, .. }))) => {
                    let is_there = response_code != ResponseCode::NXDomain;
                    return Err(if is_there { Missing::Record } else { Missing::Name });
                }
                Err(error) => describe(error, self.options.timeout),
            };
            said.push(format!("name server {} {failed}", server.ip));
        }
        Err(Missing::Unknown(said.join(", ")))
    }

    async fn ask_one(&self, server: &NameServerConfig, name: Name, kind: RecordType) -> Result<Vec<Record>, NetError> {
        let (domain, search) = (self.config.domain.clone(), self.config.search.clone());
        let config = ResolverConfig::from_parts(domain, search, vec![server.clone()]);
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let resolver = resolver.with_options(self.options.clone()).build()?;
        let answer = timeout(self.options.timeout, resolver.lookup(name, kind)).await;
        Ok(answer.unwrap_or(Err(NetError::Timeout))?.answers().to_vec())
    }
}

/// What the hosts file says, comments in whatever encoding included.
fn hosts(bytes: &[u8]) -> Hosts {
    let mut hosts = Hosts::default();
    // It reads what it can; of text nothing fails.
    let _ = hosts.read_hosts_conf(String::from_utf8_lossy(bytes).as_bytes());
    hosts
}

/// What the file's options mean where one name server is asked once.
fn options(mut options: ResolverOpts) -> ResolverOpts {
    options.timeout = options.timeout.clamp(Duration::from_secs(1), TRY);
    options.attempts = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options
}

fn other(kind: RecordType) -> RecordType {
    if kind == RecordType::AAAA { RecordType::A } else { RecordType::AAAA }
}

fn absolute(name: &str) -> Result<Name, Missing> {
    let mut name = parse(name)?;
    name.set_fqdn(true);
    Ok(name)
}

fn parse(name: &str) -> Result<Name, Missing> {
    Name::from_ascii(name).map_err(|error| Missing::Unknown(format!("{name:?} is no domain name: {error}")))
}

/// What a name server did instead of answering.
fn describe(error: NetError, limit: Duration) -> String {
    match error {
        NetError::Timeout => format!("gave no answer within {} s", limit.as_secs()),
        NetError::Dns(DnsError::ResponseCode(code)) => format!("answered: {code}"),
        NetError::Io(error) => format!("cannot be asked: {error}"),
        error => format!("gave no usable answer: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(resolv_conf: &str, in_hosts: &str) -> Names {
        Names::new(resolv_conf.as_bytes(), hosts(in_hosts.as_bytes())).unwrap()
    }

    fn servers(names: &Names) -> Vec<String> {
        names.config.name_servers.iter().map(|server| server.ip.to_string()).collect()
    }

    fn addresses(names: &Names, host: &str, kind: RecordType) -> Result<Vec<String>, Missing> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let found = runtime.block_on(names.addresses(host, kind));
        found.map(|addresses| addresses.iter().map(IpAddr::to_string).collect())
    }

    #[test]
    fn the_resolver_file_names_the_servers_and_without_one_it_is_this_machine() {
        let found = names("nameserver 192.0.2.53\nnameserver 2001:db8::53\noptions timeout:30 attempts:9\n", "");
        assert_eq!(servers(&found), ["192.0.2.53", "2001:db8::53"]);
        assert_eq!((found.options.timeout, found.options.attempts), (TRY, 0));
        for text in ["", "search example.net\n", "nameserver nonsense\n", "\u{0}\u{ff}garbage"] {
            assert_eq!(servers(&names(text, "")), ["127.0.0.1"], "{text:?}");
        }
        assert_eq!(names("options timeout:0\n", "").options.timeout, Duration::from_secs(1));
    }

    #[test]
    fn a_host_in_the_hosts_file_has_the_addresses_it_says_and_no_others() {
        // Nobody listens at that name server; asking it would take its time-out.
        let names = names("nameserver 127.0.0.1\n", "192.0.2.7 Collector.example short # more\n192.0.2.8 short\n");
        assert_eq!(addresses(&names, "collector.example", RecordType::A), Ok(vec!["192.0.2.7".to_owned()]));
        assert_eq!(addresses(&names, "COLLECTOR.example.", RecordType::A), Ok(vec!["192.0.2.7".to_owned()]));
        assert_eq!(addresses(&names, "collector.example", RecordType::AAAA), Err(Missing::Record));
        let both = ["192.0.2.7", "192.0.2.8"].map(str::to_owned).to_vec();
        assert_eq!(addresses(&names, "short", RecordType::A), Ok(both));
    }

    #[test]
    fn a_comment_in_another_encoding_hides_no_host() {
        let names = Names::new(b"", hosts(b"# B\xfcro\n192.0.2.7 collector.example\n")).unwrap();
        assert_eq!(addresses(&names, "collector.example", RecordType::A), Ok(vec!["192.0.2.7".to_owned()]));
    }

    #[test]
    fn what_only_the_c_library_can_read_of_the_resolver_file_takes_nothing_else_along() {
        let odd = "search a..b example.net\nnameserver 192.0.2.53\n";
        assert_eq!(servers(&names(odd, "")), ["192.0.2.53"]);
        assert_eq!(servers(&names("domain a..b\n", "")), ["127.0.0.1"]);
        assert_eq!(servers(&names("nameserver fe80::1%eth0\nnameserver 192.0.2.53\n", "")), ["192.0.2.53"]);
        let alone = Names::new(b"nameserver fe80::1%eth0\n", Hosts::default()).err();
        assert!(alone.is_some_and(|error| error.contains("link-local")));
    }

    #[test]
    fn localhost_needs_nobody() {
        let names = names("", "");
        assert_eq!(addresses(&names, "localhost", RecordType::A), Ok(vec!["127.0.0.1".to_owned()]));
        assert_eq!(addresses(&names, "localhost", RecordType::AAAA), Ok(vec!["::1".to_owned()]));
    }

    #[test]
    fn what_is_no_name_is_said_and_not_asked_for() {
        let names = names("", "");
        for host in ["a..b", &"a".repeat(64), &"a.".repeat(200)] {
            assert!(matches!(addresses(&names, host, RecordType::A), Err(Missing::Unknown(_))), "{host}");
        }
    }
}
