//! The settings: one row each, from which come the field, its parser, its default, and whatever text lists them.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::addresses::{AddressSet, PortSet};
use super::numbers::*;
use super::qnames::{self, Name, NameFilter};
use super::text::Written;
use super::values::*;

/// A program's part that uses a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `run`.
    Run,
    /// `replay`.
    Replay,
    /// `upload`.
    Upload,
    /// `status`.
    Status,
}

const RUN: &[Command] = &[Command::Run];
const TRACK: &[Command] = &[Command::Run, Command::Replay];
const UPLOAD: &[Command] = &[Command::Run, Command::Upload];
const STATUS: &[Command] = &[Command::Run, Command::Status];

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// On HUP.
    Hup,
    /// On HUP, by a new capture child.
    NewChild,
    /// When the program starts.
    Restart,
}

/// What an empty value means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Empty {
    /// The setting is not set.
    Unset,
    /// It is a value: "no" of a boolean, no limit of the spool.
    Value,
}

/// One row.
pub struct Setting {
    /// The variable.
    pub name: &'static str,
    /// What may be written, in words.
    pub values: &'static str,
    /// What holds when it is not set, as it would be written; empty when nothing does, or others decide.
    pub default: &'static str,
    /// What it is for.
    pub meaning: &'static str,
    /// Which commands use it.
    pub used_by: &'static [Command],
    /// When a change takes effect.
    pub reload: Reload,
    /// What an empty value means.
    pub empty: Empty,
    /// Parses a text and puts the value into its field.
    pub(super) set: fn(&mut Settings, &str, &mut Remarks) -> Result<(), Faults>,
    /// The value as it would be written; empty when it is not set.
    pub(super) written: fn(&Settings, Unit) -> String,
    /// Whether two have not the same value.
    pub(super) differs: fn(&Settings, &Settings) -> bool,
}

/// Old settings that do nothing any more.
pub(super) const OBSOLETE: [&str; 3] = ["interval", "rsync", "wrapsrv"];

/// Old settings that meant what the address lists say now. (bpfpat went with the others in 2011.)
pub(super) const REPLACED: [&str; 4] = ["dnstype", "bpfpat", "bpfpat_src", "bpfpat_dst"];

/// In the directory for what does not outlive a boot.
const STATUS_SOCKET: &str =
    if cfg!(target_os = "freebsd") { "/var/run/sie-dns-sensor/status.sock" } else { "/run/sie-dns-sensor/status.sock" };

/// Rows to a struct and a table, so that neither has what the other lacks.
macro_rules! settings {
    ($(
        #[doc = $meaning:literal]
        $field:ident: $type:ty, $name:literal = $default:expr, $values:literal, $parse:expr,
            $used_by:ident, $reload:ident, $empty:ident;
    )+) => {
        /// All settings, valid. The default is that of every row of [`SETTINGS`].
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Settings {
            $(#[doc = $meaning] pub $field: $type,)+
            /// The DNSQR_FILTER_QNAMES settings together, files included.
            pub name_filter: NameFilter,
        }

        impl Settings {
            /// Before the defaults.
            fn blank() -> Settings {
                Settings { $($field: Default::default(),)+ name_filter: NameFilter::default() }
            }
        }

        /// Every setting there is.
        pub const SETTINGS: &[Setting] = &[$(Setting {
            name: $name,
            values: $values,
            default: $default,
            meaning: $meaning.trim_ascii(),
            used_by: $used_by,
            reload: Reload::$reload,
            empty: Empty::$empty,
            set: |settings, text, remarks| {
                settings.$field = ($parse)(text, remarks)?;
                Ok(())
            },
            written: |settings, unit| settings.$field.written(unit),
            differs: |one, other| one.$field != other.$field,
        },)+];
    };
}

settings! {
    /// Interfaces to capture from, a comma list; a plus after a name: promiscuous.
    interfaces: Vec<Interface>, "interface" = "", "names", interfaces,
        RUN, Hup, Unset;
    /// Hosts whose outgoing queries are watched: resolvers.
    resolver_addresses: AddressSet, "DNSQR_RES_ADDRS" = "", "addresses and prefixes", AddressSet::parse,
        TRACK, Hup, Unset;
    /// Hosts whose incoming queries are watched: authoritative servers.
    authority_addresses: AddressSet, "DNSQR_AUTH_ADDRS" = "", "addresses and prefixes", AddressSet::parse,
        TRACK, Hup, Unset;
    /// Ports of DNS servers, a comma list.
    ports: PortSet, "DNSQR_PORTS" = "53", "ports", PortSet::parse,
        TRACK, Hup, Unset;
    /// Queries to collect, by their RD bit. Not set: 0 for run, both for replay.
    capture_rd: Option<CaptureRd>, "DNSQR_CAPTURE_RD" = "", "0, 1 or both", optional(capture_rd),
        TRACK, Hup, Unset;
    /// Pairs, or queries (0) or responses (1) by themselves.
    capture_qr: CaptureQr, "DNSQR_CAPTURE_QR" = "pair", "0, 1 or pair", capture_qr,
        TRACK, Hup, Unset;
    /// How long a query waits for its response.
    query_timeout: Duration, "DNSQR_QUERY_TIMEOUT" = "60", "seconds, 1 to 2147483647", time(Unit::Seconds, 1, INT_MAX),
        TRACK, Hup, Unset;
    /// How many queries wait at most; when more do, the oldest leaves unanswered.
    state_table_max: usize, "DNSQR_STATE_TABLE_MAX" = "131072", "number, 1 to 100000000", count(1, 100_000_000),
        TRACK, Hup, Unset;
    /// Put zero in the place of the resolver's address.
    zero_resolver_address: bool, "DNSQR_ZERO_RESOLVER_ADDRESS" = "0", "yes or no", boolean,
        TRACK, Hup, Value;
    /// Names to keep with all below them although they are excluded, a colon list.
    filter_include: Vec<Name>, "DNSQR_FILTER_QNAMES_INCLUDE" = "", "names", names,
        TRACK, Hup, Unset;
    /// Names to drop with all below them, a colon list.
    filter_exclude: Vec<Name>, "DNSQR_FILTER_QNAMES_EXCLUDE" = "", "names", names,
        TRACK, Hup, Unset;
    /// A file of names to keep, one a line.
    filter_include_file: Option<PathBuf>, "DNSQR_FILTER_QNAMES_INCLUDE_FILE" = "", "path", optional(path),
        TRACK, Hup, Unset;
    /// A file of names to drop, one a line.
    filter_exclude_file: Option<PathBuf>, "DNSQR_FILTER_QNAMES_EXCLUDE_FILE" = "", "path", optional(path),
        TRACK, Hup, Unset;
    /// Collect DNS over TCP too.
    capture_tcp: bool, "DNSQR_CAPTURE_TCP" = "1", "yes or no", boolean,
        TRACK, Hup, Value;
    /// How many TCP connections are followed at most.
    tcp_connections_max: usize, "DNSQR_TCP_CONNECTIONS_MAX" = "16384", "number, 1 to 100000000", count(1, 100_000_000),
        TRACK, NewChild, Unset;
    /// How many bytes of TCP streams are held at most.
    tcp_bytes_max: u64, "DNSQR_TCP_BYTES_MAX_KBYTES" = "65536", "kilobytes, 1 to 8796093022208", kbytes(1, KBYTES_MAX),
        TRACK, NewChild, Unset;
    /// How long a TCP connection may be silent before it is forgotten.
    tcp_idle: Duration, "DNSQR_TCP_IDLE" = "30", "seconds, 1 to 2147483647", time(Unit::Seconds, 1, INT_MAX),
        TRACK, Hup, Unset;
    /// Put zero in the place of addresses in EDNS Client Subnet options.
    strip_ecs: bool, "DNSQR_STRIP_ECS" = "0", "yes or no", boolean,
        TRACK, Hup, Value;
    /// Capture buffer per interface and thread.
    capture_buffer: u64, "capture_buffer_kbytes" = "32768", "kilobytes, 1 to 2147483647", kbytes(1, INT_MAX),
        RUN, NewChild, Unset;
    /// Threads that share the packets of an interface (Linux).
    capture_threads: usize, "capture_threads" = "1", "number, 1 to 256", count(1, 256),
        RUN, NewChild, Unset;
    /// A query this much younger than its answer still pairs. Not set: 2 ms with several interfaces, else none.
    pair_slack: Option<Duration>, "pair_slack_ms" = "", "milliseconds, 0 to 60000",
        optional(time(Unit::Milliseconds, 0, 60_000)),
        TRACK, NewChild, Unset;
    /// An identical packet within this time is counted as a duplicate and not used; none: off.
    drop_duplicates: Option<Duration>, "drop_duplicates_ms" = "0", "milliseconds, 0 to 60000; 0: off",
        zero_is_off(time(Unit::Milliseconds, 0, 60_000)),
        TRACK, Hup, Unset;
    /// How long a file is written to.
    rotate: Duration, "rotate_seconds" = "60", "seconds, 1 to 86400", time(Unit::Seconds, 1, 86_400),
        RUN, Hup, Unset;
    /// The host's name in file names. Not set: the kernel's, or its canonical form.
    host_name: Option<String>, "host_name" = "", "text", optional(line),
        RUN, Restart, Unset;
    /// How files are compressed.
    compress: Compress, "compress" = "adaptive", "off, adaptive, or a level from 1 to 12", compress,
        TRACK, Hup, Unset;
    /// Write a record of what was lost into each file.
    loss_record: bool, "loss_record" = "no", "yes or no", boolean,
        RUN, Hup, Value;
    /// The directory of new, waiting and archive.
    spool_dir: PathBuf, "spooldir" = "/var/spool/sie", "path", path,
        UPLOAD, Restart, Unset;
    /// The channel's directory, here and at the far end.
    channel: String, "channel" = "ch202", "letters, digits, dot, underscore, hyphen", identifier,
        UPLOAD, Restart, Unset;
    /// Keep a copy of each file.
    archive: bool, "archive" = "no", "yes or no", boolean,
        RUN, Hup, Value;
    /// Upload files.
    upload: bool, "upload" = "yes", "yes or no", boolean,
        UPLOAD, Hup, Value;
    /// How large the archive may grow, in bytes; none: no limit.
    archive_max_size: Option<u64>, "archive_max_size_kbytes" = "0", "kilobytes, 0 to 8796093022208; 0: no limit",
        zero_is_off(kbytes(0, KBYTES_MAX)),
        RUN, Hup, Unset;
    /// How old an archived file may grow; none: no limit.
    archive_max_age: Option<Duration>, "archive_max_days" = "0", "days, 0 to 36500; 0: no limit",
        zero_is_off(time(Unit::Days, 0, 36_500)),
        RUN, Hup, Unset;
    /// How large the waiting files may grow before the oldest go, in bytes; none: no limit.
    max_spool_size: Option<u64>, "max_spool_size_kbytes" = "524288",
        "kilobytes, 0 to 8796093022208; 0 or empty: no limit", zero_is_off(kbytes(0, KBYTES_MAX)),
        RUN, Hup, Value;
    /// Space on the disk, in bytes, below which nothing is written.
    min_free: u64, "min_free_kbytes" = "262144", "kilobytes, 0 to 8796093022208", kbytes(0, KBYTES_MAX),
        RUN, Hup, Unset;
    /// Memory of the capture child in bytes: tables, queues and rings.
    memory_limit: u64, "memory_ulimit_kbytes" = "524288", "kilobytes, 1 to 8796093022208", kbytes(1, KBYTES_MAX),
        TRACK, Restart, Unset;
    /// The account at the far end.
    login: Option<String>, "login" = "", "letters, digits, dot, underscore, hyphen", optional(identifier),
        UPLOAD, Hup, Unset;
    /// The private key. Not set: keys/upload below the spool directory.
    upload_key: Option<PathBuf>, "uploadkey" = "", "path", optional(path),
        UPLOAD, Hup, Unset;
    /// The far end's keys. Not set: keys/known_hosts below the spool directory.
    known_hosts: Option<PathBuf>, "knownhosts" = "", "path", optional(path),
        UPLOAD, Hup, Unset;
    /// Where files are sent.
    submit_server: SubmitServer, "submitserver" = "submit.sie-network.net",
        "NAME (SRV), HOST:PORT, [ADDRESS]:PORT, HOST: (port 49222) or dir:/PATH", submit_server,
        UPLOAD, Hup, Unset;
    /// How files travel; a directory needs neither.
    transport: Transport, "transport" = "rsync", "rsync or sftp", transport,
        UPLOAD, Hup, Unset;
    /// The directory at the far end. Not set: up/ and the channel.
    remote_dir: Option<String>, "remote_dir" = "", "text", optional(line),
        UPLOAD, Hup, Unset;
    /// The address to upload from.
    rsync_source: Option<IpAddr>, "rsync_source" = "", "address", optional(address),
        UPLOAD, Hup, Unset;
    /// A program to run in the place of the SSH built in, with its first arguments.
    ssh_program: Vec<String>, "ssh_program" = "", "words", program,
        UPLOAD, Restart, Unset;
    /// Bytes per second of uploads; none: no limit.
    upload_rate: Option<u64>, "upload_rate_kbytes" = "0", "kilobytes, 0 to 8796093022208; 0: no limit",
        zero_is_off(kbytes(0, KBYTES_MAX)),
        UPLOAD, Hup, Unset;
    /// Without a confirmed upload for so long there is an alarm.
    upload_alarm: Duration, "upload_alarm_minutes" = "30", "minutes, 1 to 525600", time(Unit::Minutes, 1, 525_600),
        RUN, Hup, Unset;
    /// Without packets, or with those of one direction only, for so long there is an alarm.
    silence_alarm: Duration, "silence_alarm_minutes" = "15", "minutes, 1 to 525600", time(Unit::Minutes, 1, 525_600),
        RUN, Hup, Unset;
    /// Files in one batch of rsync.
    max_per_batch: usize, "maxper" = "512", "number, 1 to 65536", count(1, 65_536),
        UPLOAD, Hup, Unset;
    /// Facility of log lines, and severity of informational ones.
    syslog_priority: SyslogPriority, "syslog_priority" = "local5.info", "FACILITY.SEVERITY", syslog_priority,
        UPLOAD, Hup, Unset;
    /// What is logged.
    log_level: LogLevel, "log_level" = "info", "error, warning, info or debug", log_level,
        UPLOAD, Hup, Unset;
    /// The socket that status asks.
    status_socket: PathBuf, "status_socket" = STATUS_SOCKET, "path", path,
        STATUS, Restart, Unset;
    /// Where metrics are served.
    metrics_listen: Option<MetricsListen>, "metrics_listen" = "", "ADDRESS:PORT or path", optional(metrics_listen),
        RUN, Restart, Unset;
    /// Serve metrics to other hosts.
    metrics_allow_remote: bool, "metrics_allow_remote" = "no", "yes or no", boolean,
        RUN, Restart, Value;
    /// The user that captures.
    user: String, "user" = "sie-dns-sensor", "letters, digits, dot, underscore, hyphen", identifier,
        RUN, Restart, Unset;
    /// The user that uploads.
    upload_user: String, "upload_user" = "sie-upload", "letters, digits, dot, underscore, hyphen", identifier,
        UPLOAD, Restart, Unset;
}

/// Colon lists of names, with the arguments of every parser.
fn names(text: &str, _: &mut Remarks) -> Result<Vec<Name>, Faults> {
    qnames::parse_list(text)
}

impl Default for Settings {
    fn default() -> Settings {
        let mut settings = Settings::blank();
        for setting in SETTINGS.iter().filter(|setting| !setting.default.is_empty()) {
            let set = (setting.set)(&mut settings, setting.default, &mut Vec::new());
            debug_assert_eq!(set, Ok(()), "default of {}", setting.name);
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_of_its_setting() {
        for setting in SETTINGS.iter().filter(|setting| !setting.default.is_empty()) {
            let mut remarks = Vec::new();
            let set = (setting.set)(&mut Settings::blank(), setting.default, &mut remarks);
            assert_eq!((set, remarks), (Ok(()), vec![]), "{}", setting.name);
        }
    }

    #[test]
    fn every_range_in_words_is_the_range_accepted() {
        let accepts = |setting: &Setting, number: u64| {
            (setting.set)(&mut Settings::blank(), &number.to_string(), &mut Vec::new()).is_ok()
        };
        let mut ranges = 0;
        for setting in SETTINGS.iter().filter(|setting| setting.values.contains(", ")) {
            let (_, range) = setting.values.split_once(", ").unwrap();
            let Some((min, max)) = range.split(';').next().unwrap().split_once(" to ") else {
                continue;
            };
            let (Ok(min), Ok(max)) = (min.parse::<u64>(), max.parse::<u64>()) else {
                continue;
            };
            assert!(accepts(setting, min) && accepts(setting, max), "{}", setting.name);
            assert!(!accepts(setting, max + 1), "{}", setting.name);
            assert!(min == 0 || !accepts(setting, min - 1), "{}", setting.name);
            ranges += 1;
        }
        assert_eq!(ranges, 19);
    }

    #[test]
    fn names_are_told_apart_and_meanings_are_there() {
        for (index, setting) in SETTINGS.iter().enumerate() {
            assert!(SETTINGS[..index].iter().all(|other| other.name != setting.name), "{}", setting.name);
            assert!(!OBSOLETE.contains(&setting.name) && !REPLACED.contains(&setting.name));
            assert!(setting.meaning.ends_with('.') && !setting.values.is_empty() && !setting.used_by.is_empty());
        }
    }

    #[test]
    fn defaults_are_those_of_the_specification() {
        let settings = Settings::default();
        assert!(settings.ports.iter().eq([53]));
        assert_eq!(settings.query_timeout, Duration::from_secs(60));
        assert_eq!(settings.state_table_max, 131_072);
        assert_eq!((settings.capture_rd, settings.capture_qr), (None, CaptureQr::Pair));
        assert_eq!((settings.tcp_connections_max, settings.tcp_bytes_max), (16_384, 64 << 20));
        assert_eq!(settings.tcp_idle, Duration::from_secs(30));
        assert!(settings.capture_tcp && settings.upload && !settings.archive && !settings.strip_ecs);
        assert_eq!(settings.max_spool_size, Some(512 << 20));
        assert_eq!((settings.drop_duplicates, settings.pair_slack), (None, None));
        assert_eq!(settings.compress, Compress::Adaptive);
    }
}
