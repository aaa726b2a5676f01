//! From settings to what is watched, what is left out, and how much memory the tables get.

use super::{Capture, FragmentLimits, Hide, Limits, QueryLimits, Rules, StreamLimits};
use crate::config::{CaptureQr, CaptureRd, Settings};
use std::time::Duration;

/// How long the first fragment of a datagram waits for the last; Linux and the BSDs wait as long.
const FRAGMENT_LIFETIME: Duration = Duration::from_secs(30);
/// Datagrams in pieces: the largest answers of a second at 20 000 a second.
const FRAGMENT_BYTES: usize = 32 << 20;

impl Rules {
    /// The rules that `settings` ask for; the RD bit's default is the command's.
    pub fn new(settings: &Settings, capture_rd: CaptureRd) -> Rules {
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
                bytes: memory - fragments - streams,
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
