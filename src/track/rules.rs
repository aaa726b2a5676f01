//! From settings to what is watched, what is left out, and how much memory the tables get.

use super::{Capture, FragmentLimits, Hide, Limits, QueryLimits, Rules, StreamLimits};
use crate::config::{
    Budget, CaptureQr, CaptureRd, Settings,
    budget::{CONNECTION_BYTES, EARLY_BYTES, FRAGMENT_BYTES},
};
use std::time::Duration;

/// How long the first fragment of a datagram waits for the last; Linux and the BSDs wait as long.
const FRAGMENT_LIFETIME: Duration = Duration::from_secs(30);

impl Rules {
    /// The rules that `settings` ask for. The RD bit's default is the command's; packets come from so many `sources`, whose
    /// clocks and queues differ.
    pub fn new(settings: &Settings, capture_rd: CaptureRd, sources: usize) -> Rules {
        Rules {
            resolvers: settings.resolver_addresses.clone(),
            servers: settings.authority_addresses.clone(),
            ports: settings.ports.clone(),
            recursion_desired: match capture_rd {
                CaptureRd::Both => None,
                CaptureRd::Only(bit) => Some(bit),
            },
            capture: match settings.capture_qr {
                CaptureQr::Pair => Capture::Pairs,
                CaptureQr::Queries => Capture::Queries,
                CaptureQr::Responses => Capture::Responses,
            },
            names: settings.name_filter.clone(),
            hide: Hide { resolver_address: settings.zero_resolver_address, client_subnets: settings.strip_ecs },
            tcp: settings.capture_tcp,
            slack: Some(settings.pair_slack_for(sources)).filter(|slack| !slack.is_zero()),
            duplicates: settings.drop_duplicates,
        }
    }
}

impl Limits {
    /// The bounds that `settings` ask for, within the memory limit together: what fragments and streams may not take is the
    /// query table's. It needs that only when DNSQR_STATE_TABLE_MAX is far above its default. For replay, which has no
    /// capture buffers and queues.
    pub fn new(settings: &Settings) -> Limits {
        let memory = settings.memory_limit;
        let fragments = FRAGMENT_BYTES.min(memory / 8);
        let streams = settings.tcp_bytes_max.min(memory / 4);
        let early = EARLY_BYTES.min(memory / 8);
        let queries = memory - fragments - streams - settings.pair_slack.map_or(0, |_| early);
        Limits {
            queries: QueryLimits {
                queries: settings.state_table_max,
                bytes: size(queries),
                timeout: settings.query_timeout,
            },
            early: size(early),
            fragments: FragmentLimits { bytes: size(fragments), lifetime: FRAGMENT_LIFETIME },
            streams: StreamLimits {
                connections: settings.tcp_connections_max,
                bytes: size(streams),
                idle: settings.tcp_idle,
            },
        }
    }

    /// The bounds of one of the sensor's threads: its part of what `settings` ask for, within its part of `budget`. Streams
    /// that have connections without number keep half their share for data.
    pub fn of_thread(settings: &Settings, budget: &Budget) -> Limits {
        let part = |number: usize| number.div_ceil(size(budget.threads()).max(1));
        let streams = budget.of_thread(budget.streams);
        let connections = part(settings.tcp_connections_max).min(streams / 2 / size(CONNECTION_BYTES)).max(1);
        Limits {
            queries: QueryLimits {
                queries: part(settings.state_table_max),
                bytes: budget.of_thread(budget.queries),
                timeout: settings.query_timeout,
            },
            early: budget.of_thread(budget.early),
            fragments: FragmentLimits { bytes: budget.of_thread(budget.fragments), lifetime: FRAGMENT_LIFETIME },
            streams: StreamLimits {
                connections,
                bytes: streams - connections * size(CONNECTION_BYTES),
                idle: settings.tcp_idle,
            },
        }
    }
}

/// A number of bytes as a size in memory.
fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn settings(sets: &[&str]) -> Settings {
        let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
        crate::config::load(None, &sets).unwrap().0
    }

    fn roles(rules: &Rules, from: (&str, u16), to: (&str, u16)) -> (bool, bool) {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let roles = rules.roles(address(from.0), address(to.0), from.1, to.1);
        (roles.query, roles.response)
    }

    const HOST: &str = "192.0.2.53";
    const OTHER: &str = "198.51.100.1";

    #[test]
    fn a_query_comes_from_a_resolver_of_the_list_and_its_answer_goes_there() {
        let rules = Rules::new(&settings(&["DNSQR_RES_ADDRS=192.0.2.0/24"]), CaptureRd::Both, 1);
        assert_eq!(roles(&rules, (HOST, 4000), (OTHER, 53)), (true, false));
        assert_eq!(roles(&rules, (OTHER, 53), (HOST, 4000)), (false, true));
        assert_eq!(roles(&rules, (OTHER, 4000), (HOST, 53)), (false, false)); // a client of the resolver
        assert_eq!(roles(&rules, (HOST, 53), (OTHER, 53)), (true, false));
        assert_eq!(roles(&rules, (HOST, 4000), (OTHER, 5353)), (false, false));
    }

    #[test]
    fn a_query_goes_to_a_server_of_the_list_and_either_list_suffices() {
        let both = ["DNSQR_AUTH_ADDRS=192.0.2.53", "DNSQR_RES_ADDRS=203.0.113.1"];
        for sets in [&both[..1], &both] {
            let rules = Rules::new(&settings(sets), CaptureRd::Both, 1);
            assert_eq!(roles(&rules, (OTHER, 4000), (HOST, 53)), (true, false));
            assert_eq!(roles(&rules, (HOST, 53), (OTHER, 4000)), (false, true));
            assert_eq!(roles(&rules, (HOST, 4000), (OTHER, 53)), (false, false));
            assert_eq!(roles(&rules, ("203.0.113.1", 4000), (OTHER, 53)).0, sets.len() == 2);
        }
    }

    #[test]
    fn without_lists_every_host_is_watched_at_the_ports_of_the_list() {
        let rules = Rules::new(&settings(&["DNSQR_PORTS=53,5353"]), CaptureRd::Both, 1);
        assert_eq!(roles(&rules, (OTHER, 4000), (HOST, 5353)), (true, false));
        assert_eq!(roles(&rules, (OTHER, 5353), (HOST, 53)), (true, true));
        assert_eq!(roles(&rules, (OTHER, 4000), (HOST, 54)), (false, false));
    }

    #[test]
    fn settings_become_rules_and_limits() {
        let settings =
            settings(&["DNSQR_CAPTURE_QR=1", "DNSQR_STRIP_ECS=1", "DNSQR_QUERY_TIMEOUT=9", "DNSQR_TCP_IDLE=7"]);
        let rules = Rules::new(&settings, CaptureRd::Only(false), 1);
        assert_eq!((rules.capture, rules.recursion_desired), (Capture::Responses, Some(false)));
        assert!(rules.tcp && rules.hide.client_subnets && !rules.hide.resolver_address);
        let limits = Limits::new(&settings);
        assert_eq!((limits.queries.timeout.as_secs(), limits.streams.idle.as_secs()), (9, 7));
        assert_eq!((limits.queries.queries, limits.streams.connections), (131_072, 16_384));
    }

    #[test]
    fn by_default_all_tables_together_stay_within_the_memory_limit() {
        for sets in [&[][..], &["DNSQR_STATE_TABLE_MAX=4000000"]] {
            let settings = settings(sets);
            let Limits { queries, fragments, streams, .. } = Limits::new(&settings);
            assert!(queries.bytes + fragments.bytes + streams.bytes <= settings.memory_limit as usize);
        }
    }

    #[test]
    fn threads_share_what_one_would_have() {
        let settings = settings(&["DNSQR_STATE_TABLE_MAX=10", "pair_slack_ms=2"]);
        let one = Limits::of_thread(&settings, &Budget::new(&settings, 1, 1).unwrap());
        assert_eq!((one.queries.queries, one.streams.connections), (10, 16_384));
        assert_eq!((one.streams.bytes, one.early), (64 << 20, 16 << 20));
        let budget = Budget::new(&settings, 1, 4).unwrap();
        let four = Limits::of_thread(&settings, &budget);
        assert_eq!((four.queries.queries, four.streams.connections), (3, 4096));
        assert!(4 * four.queries.bytes as u64 <= budget.queries && four.queries.bytes < one.queries.bytes);
        assert!(4 * four.early as u64 <= budget.early && 4 * four.fragments.bytes as u64 <= budget.fragments);
    }

    #[test]
    fn connections_stay_within_the_share_of_streams() {
        let settings = settings(&["DNSQR_TCP_CONNECTIONS_MAX=100000000"]);
        let budget = Budget::new(&settings, 1, 1).unwrap();
        let streams = Limits::of_thread(&settings, &budget).streams;
        assert!(streams.connections > 16_384 && streams.bytes as u64 >= budget.streams / 2);
        let all = streams.connections as u64 * CONNECTION_BYTES + streams.bytes as u64;
        assert!(all <= budget.streams);
    }
}
