//! How the memory of the capture child is divided.

use std::fmt;

use super::Settings;

/// Memory of the child that no table counts: the program, its stacks, a container in the making.
const PROCESS: u64 = 16 << 20;
/// And for each capture thread: its stack and its writer's, a container being filled, one being compressed.
const PROCESS_PER_THREAD: u64 = 4 << 20;
/// What waits to be written: the share, as a part of what is left after the rings, and its bounds.
const OUTPUT_PART: u64 = 6;
const OUTPUT_MIN: u64 = 8 << 20;
const OUTPUT_MIN_PER_THREAD: u64 = 2 << 20;
const OUTPUT_MAX: u64 = 64 << 20;
/// Frames held back until the other interfaces have caught up, likewise. 200 ms at 850 000 packets a second of 200 bytes are
/// 34 MB.
const HELD_BACK_PART: u64 = 8;
const HELD_BACK_MIN_PER_RING: u64 = 1 << 20;
const HELD_BACK_MAX: u64 = 128 << 20;
/// The least that the tables of a thread can do with.
const TABLES_MIN_PER_THREAD: u64 = 8 << 20;
/// Datagrams in pieces: the largest answers of a second at 20 000 a second.
pub const FRAGMENT_BYTES: u64 = 32 << 20;
/// Responses that wait for their query, for each thread.
pub const EARLY_BYTES: u64 = 16 << 20;
/// Packets remembered as seen, for each thread.
pub const DUPLICATES_BYTES: u64 = 1 << 20;
/// What a TCP connection costs without any data, at least: the streams' share holds connections too.
pub const CONNECTION_BYTES: u64 = 512;
/// Capture buffers of all interfaces and threads. The kernel takes 10 ms and more to make one.
pub const RINGS_MAX: usize = 512;
/// RLIMIT_DATA over what is counted: thread stacks are counted whole, and allocators keep what was freed.
const BACKSTOP_SLACK: u64 = 64 << 20;
/// Two stacks of 2 MiB for each further thread.
const BACKSTOP_PER_THREAD: u64 = 4 << 20;

/// `memory_ulimit_kbytes` in parts, in bytes; for all threads together. The rings, the program and the lists of names have
/// what they need; the others share the rest. The sum never exceeds the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The setting.
    pub limit: u64,
    /// Capture buffers; libpcap may take twice their size.
    pub rings: u64,
    /// The program itself.
    pub process: u64,
    /// The lists of names to keep and to drop; twice, since a reload reads the new ones before the old ones go.
    pub names: u64,
    /// Frames that wait for those of other interfaces.
    pub held_back: u64,
    /// What waits to be compressed and written.
    pub output: u64,
    /// Datagrams in pieces.
    pub fragments: u64,
    /// TCP connections and their data.
    pub streams: u64,
    /// Responses that wait for their query.
    pub early: u64,
    /// Packets remembered to recognise duplicates.
    pub duplicates: u64,
    /// Queries that wait for their response: all that is left.
    pub queries: u64,
    /// So many rings share `held_back`.
    rings_count: u64,
    /// So many threads share everything.
    threads: u64,
}

impl Budget {
    /// For rings on so many `interfaces` in each of so many `threads`.
    pub fn new(settings: &Settings, interfaces: usize, threads: usize) -> Result<Budget, TooSmall> {
        let limit = settings.memory_limit;
        let threads = threads.max(1) as u64;
        let rings_count = threads.saturating_mul(interfaces.max(1) as u64);
        let rings = settings.capture_buffer.saturating_mul(2).saturating_mul(rings_count);
        let process = PROCESS + PROCESS_PER_THREAD * threads;
        let names = settings.name_filter.bytes().saturating_mul(2);
        let duplicates = settings.drop_duplicates.map_or(0, |_| DUPLICATES_BYTES * threads);
        let output_min = OUTPUT_MIN.max(OUTPUT_MIN_PER_THREAD * threads);
        let held_back_min = if interfaces > 1 { HELD_BACK_MIN_PER_RING * rings_count } else { 0 };

        let besides = process.saturating_add(names).saturating_add(duplicates);
        let shared_min = output_min + held_back_min + TABLES_MIN_PER_THREAD * threads;
        let besides_rings = besides.saturating_add(shared_min);
        let least = besides_rings.saturating_add(rings);
        let Some(shared) = limit.checked_sub(least).map(|more| more + shared_min) else {
            return Err(TooSmall::new(limit, besides_rings, rings, rings_count));
        };

        let output = (shared / OUTPUT_PART).min(OUTPUT_MAX).max(output_min);
        let held_back = match interfaces {
            0 | 1 => 0,
            _ => (shared / HELD_BACK_PART).min(HELD_BACK_MAX).max(held_back_min),
        };
        let tables = shared - output - held_back;
        let fragments = FRAGMENT_BYTES.min(tables / 8);
        let connections = (settings.tcp_connections_max as u64).saturating_mul(CONNECTION_BYTES);
        let streams = settings.tcp_bytes_max.saturating_add(connections).min(tables / 4);
        let early = match settings.pair_slack_for(interfaces).is_zero() {
            true => 0,
            false => (EARLY_BYTES * threads).min(tables / 8),
        };
        let queries = tables - fragments - streams - early;
        Ok(Budget {
            limit,
            rings,
            process,
            names,
            held_back,
            output,
            fragments,
            streams,
            early,
            duplicates,
            queries,
            rings_count,
            threads,
        })
    }

    /// Every part with its name, largest purposes first as packets meet them.
    pub fn parts(&self) -> [(&'static str, u64); 10] {
        [
            ("capture buffers", self.rings),
            ("frames held back", self.held_back),
            ("duplicates", self.duplicates),
            ("fragments", self.fragments),
            ("TCP connections", self.streams),
            ("early responses", self.early),
            ("queries", self.queries),
            ("output queue", self.output),
            ("name lists", self.names),
            ("program", self.process),
        ]
    }

    /// So many threads share it.
    pub fn threads(&self) -> u64 {
        self.threads
    }

    /// A thread's share of a part, as a size in memory.
    pub fn of_thread(&self, part: u64) -> usize {
        usize::try_from(part / self.threads).unwrap_or(usize::MAX)
    }

    /// What may be held back of one interface in one thread.
    pub fn held_back_of_ring(&self) -> usize {
        usize::try_from(self.held_back / self.rings_count).unwrap_or(usize::MAX)
    }

    /// RLIMIT_DATA of the child: the backstop behind the tables' own counting. Rings are shared mappings, which the kernel
    /// does not count as data.
    pub fn data_limit(&self) -> u64 {
        (self.limit - self.rings) + BACKSTOP_SLACK + BACKSTOP_PER_THREAD * (self.threads - 1)
    }
}

/// The limit is less than the sensor needs: what to write instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSmall {
    /// What the rings alone take, in kilobytes.
    rings: u64,
    /// The least `memory_ulimit_kbytes`.
    limit: u64,
    /// The largest `capture_buffer_kbytes` within the present limit, unless it is too small to be of use.
    buffer: Option<u64>,
}

impl TooSmall {
    /// The settings that it comes from, the likeliest first.
    pub(super) const CAUSES: [&'static str; 4] =
        ["memory_ulimit_kbytes", "capture_buffer_kbytes", "capture_threads", "interface"];

    /// Capture buffers below this are of no use: libpcap fails with some, and a burst of 5 ms fills it.
    const BUFFER_MIN: u64 = 1 << 20;

    fn new(limit: u64, besides_rings: u64, rings: u64, rings_count: u64) -> TooSmall {
        let for_each = limit.saturating_sub(besides_rings) / rings_count / 2;
        TooSmall {
            rings: rings / 1024,
            limit: besides_rings.saturating_add(rings).div_ceil(1024),
            buffer: (for_each >= TooSmall::BUFFER_MIN).then_some(for_each / 1024),
        }
    }
}

impl fmt::Display for TooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TooSmall { rings, limit, buffer } = self;
        write!(
            f,
            "too little memory, {rings} kilobytes of it for capture buffers; write memory_ulimit_kbytes=\"{limit}\""
        )?;
        match buffer {
            Some(buffer) => write!(f, " or capture_buffer_kbytes=\"{buffer}\""),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{load, table::Reload};
    use proptest::prelude::*;

    fn settings(sets: &[&str]) -> Settings {
        load(None, &sets.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap().0
    }

    fn sum(budget: &Budget) -> u64 {
        budget.parts().iter().map(|(_, bytes)| bytes).sum()
    }

    #[test]
    fn the_default_leaves_most_to_queries() {
        let budget = Budget::new(&Settings::default(), 1, 1).unwrap();
        assert_eq!((budget.rings, budget.output, budget.fragments), (64 << 20, 64 << 20, 32 << 20));
        assert_eq!((budget.held_back, budget.early, budget.duplicates, budget.names), (0, 0, 0, 0));
        assert_eq!(sum(&budget), 512 << 20);
        assert!(budget.queries >= 192 << 20, "{budget:?}");
        assert_eq!(budget.data_limit(), 512 << 20);
    }

    #[test]
    fn several_interfaces_hold_frames_back_and_wait_for_queries() {
        let settings = settings(&["drop_duplicates_ms=5"]);
        let budget = Budget::new(&settings, 2, 2).unwrap();
        assert_eq!(budget.rings, 4 * (64 << 20));
        assert!(budget.held_back_of_ring() >= 1 << 20 && budget.early > 0);
        assert_eq!((budget.duplicates, budget.of_thread(budget.duplicates)), (2 << 20, 1 << 20));
    }

    #[test]
    fn what_is_too_small_says_what_to_write_and_that_suffices() {
        let few = settings(&["memory_ulimit_kbytes=65536"]);
        let small = Budget::new(&few, 1, 1).unwrap_err();
        assert_eq!(
            small.to_string(),
            "too little memory, 65536 kilobytes of it for capture buffers; write memory_ulimit_kbytes=\"102400\" \
             or capture_buffer_kbytes=\"14336\""
        );
        for cure in ["memory_ulimit_kbytes=102400", "capture_buffer_kbytes=14336"] {
            let cured = settings(&["memory_ulimit_kbytes=65536", cure]);
            assert!(Budget::new(&cured, 1, 1).is_ok(), "{cure}");
        }
        let hopeless = Budget::new(&settings(&["memory_ulimit_kbytes=1"]), 1, 1).unwrap_err().to_string();
        assert!(!hopeless.contains("capture_buffer_kbytes"), "{hopeless}");
    }

    #[test]
    fn long_lists_of_names_are_counted() {
        let mut settings = Settings::default();
        let names = (0..1000u32).map(|n| [&[4][..], &n.to_be_bytes(), &[0]].concat().into());
        settings.name_filter = super::super::NameFilter::new([], names);
        let budget = Budget::new(&settings, 1, 1).unwrap();
        assert!(budget.names > 2 * 1000 * 6, "{}", budget.names);
        assert_eq!(sum(&budget), settings.memory_limit);
    }

    #[test]
    fn what_divides_memory_otherwise_needs_a_new_child() {
        let old = settings(&[]);
        for set in ["pair_slack_ms=5", "DNSQR_TCP_BYTES_MAX_KBYTES=1024", "DNSQR_TCP_CONNECTIONS_MAX=100"] {
            let new = settings(&[set]);
            assert_ne!(Budget::new(&old, 1, 1), Budget::new(&new, 1, 1), "{set}");
            let changed = old.differences(&new);
            assert!(changed.iter().all(|setting| setting.reload == Reload::NewChild), "{set}");
        }
    }

    proptest! {
        #[test]
        fn the_parts_never_exceed_the_limit_and_each_table_has_some(
            limit in prop_oneof![1u64..4_000_000, Just(1 << 43)],
            buffer in prop_oneof![1u64..100_000, Just(2_147_483_647)],
            (interfaces, threads) in (1usize..9, prop_oneof![1usize..9, Just(256)]),
            (slack, duplicates) in (0u64..3, 0u64..2),
            (streams, connections) in (1u64..1_000_000, 1u64..100_000_000),
        ) {
            let mut settings = settings(&[
                &format!("memory_ulimit_kbytes={limit}"),
                &format!("capture_buffer_kbytes={buffer}"),
                &format!("pair_slack_ms={slack}"),
                &format!("drop_duplicates_ms={duplicates}"),
                &format!("DNSQR_TCP_BYTES_MAX_KBYTES={streams}"),
                &format!("DNSQR_TCP_CONNECTIONS_MAX={connections}"),
            ]);
            match Budget::new(&settings, interfaces, threads) {
                Ok(budget) => {
                    prop_assert_eq!(sum(&budget), settings.memory_limit);
                    let tables = budget.fragments + budget.streams + budget.early + budget.queries;
                    prop_assert!(tables >= threads as u64 * (4 << 20), "{:?}", budget);
                    prop_assert!(budget.queries >= tables / 2 && budget.fragments > 0 && budget.streams > 0);
                    prop_assert!(budget.output >= 8 << 20);
                    prop_assert!(interfaces == 1 || budget.held_back_of_ring() >= 1 << 20);
                    prop_assert!(budget.data_limit() >= budget.limit - budget.rings);
                }
                Err(small) if small.limit <= 1 << 43 => {
                    settings.memory_limit = small.limit * 1024;
                    prop_assert!(Budget::new(&settings, interfaces, threads).is_ok(), "{}", small);
                    settings.memory_limit -= 1024;
                    prop_assert!(Budget::new(&settings, interfaces, threads).is_err(), "{}", small);
                }
                Err(_) => {}
            }
        }
    }
}
