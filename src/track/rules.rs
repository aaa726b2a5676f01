//! From settings to what is watched, what is left out, and how much memory the tables get.

use super::{Capture, FragmentLimits, Hide, Limits, QueryLimits, Rules, StreamLimits, core::EARLY_BYTES};
use crate::config::{CaptureQr, CaptureRd, Settings};
use std::time::Duration;

/// How long the first fragment of a datagram waits for the last; Linux and the BSDs wait as long.
const FRAGMENT_LIFETIME: Duration = Duration::from_secs(30);
/// Datagrams in pieces: the largest answers of a second at 20 000 a second.
const FRAGMENT_BYTES: usize = 32 << 20;

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
    /// query table's. It needs that only when DNSQR_STATE_TABLE_MAX is far above its default.
    pub fn new(settings: &Settings) -> Limits {
        let memory = usize::try_from(settings.memory_limit).unwrap_or(usize::MAX);
        let fragments = FRAGMENT_BYTES.min(memory / 8);
        let streams = usize::try_from(settings.tcp_bytes_max).unwrap_or(usize::MAX).min(memory / 4);
        Limits {
            queries: QueryLimits {
                queries: settings.state_table_max,
                bytes: memory - fragments - streams - settings.pair_slack.map_or(0, |_| EARLY_BYTES.min(memory / 8)),
                timeout: settings.query_timeout,
            },
            fragments: FragmentLimits { bytes: fragments, lifetime: FRAGMENT_LIFETIME },
            streams: StreamLimits {
                connections: settings.tcp_connections_max,
                bytes: streams,
                idle: settings.tcp_idle,
            },
        }
    }
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
            let Limits { queries, fragments, streams } = Limits::new(&settings);
            assert!(queries.bytes + fragments.bytes + streams.bytes <= settings.memory_limit as usize);
        }
    }
}
