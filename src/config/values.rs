//! The types of settings, and how each is read from its text. A parser gets a text that is not empty, without blanks
//! around it, except where the table says that an empty text is a value.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::problem::{Fault, Remark};

/// All that is wrong with one value.
#[derive(Debug, PartialEq, Eq)]
pub struct Faults(pub(super) Vec<Fault>);

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Faults {
        Faults(vec![fault])
    }
}

/// What a parser notes about a value that it accepts.
pub(super) type Remarks = Vec<Remark>;

/// What `parse` makes of it: a setting without a default, or with one that others decide.
pub(super) fn optional<T>(
    parse: impl Fn(&str, &mut Remarks) -> Result<T, Faults>,
) -> impl Fn(&str, &mut Remarks) -> Result<Option<T>, Faults> {
    move |text, remarks| parse(text, remarks).map(Some)
}

/// One of a few words, in any case.
fn word<T: Copy>(text: &str, words: &'static str, known: &[(&str, T)]) -> Result<T, Faults> {
    let found = known.iter().find(|(word, _)| text.eq_ignore_ascii_case(word));
    found.map(|&(_, value)| value).ok_or_else(|| Fault::NotOneOf(words).into())
}

/// Yes or no.
pub(super) fn boolean(text: &str, _: &mut Remarks) -> Result<bool, Faults> {
    const KNOWN: [(&str, bool); 9] = [
        ("yes", true),
        ("true", true),
        ("1", true),
        ("on", true),
        ("no", false),
        ("false", false),
        ("0", false),
        ("off", false),
        ("", false),
    ];
    word(text, "yes or no", &KNOWN)
}

/// Which queries are collected, by their RD bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureRd {
    /// All.
    Both,
    /// Those whose RD bit is this.
    Only(bool),
}

pub(super) fn capture_rd(text: &str, _: &mut Remarks) -> Result<CaptureRd, Faults> {
    const KNOWN: [(&str, CaptureRd); 4] = [
        ("0", CaptureRd::Only(false)),
        ("1", CaptureRd::Only(true)),
        ("both", CaptureRd::Both),
        ("any", CaptureRd::Both),
    ];
    word(text, "0, 1 or both", &KNOWN)
}

/// What becomes a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CaptureQr {
    /// A query with its response, or what is left unmatched.
    #[default]
    Pair,
    /// Every query by itself; responses are not used.
    Queries,
    /// Every response by itself; queries are not used.
    Responses,
}

pub(super) fn capture_qr(text: &str, _: &mut Remarks) -> Result<CaptureQr, Faults> {
    const KNOWN: [(&str, CaptureQr); 5] = [
        ("0", CaptureQr::Queries),
        ("1", CaptureQr::Responses),
        ("pair", CaptureQr::Pair),
        ("both", CaptureQr::Pair),
        ("any", CaptureQr::Pair),
    ];
    word(text, "0 (queries), 1 (responses) or pair", &KNOWN)
}

/// How containers are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compress {
    /// Not at all.
    Off,
    /// Always at this level of libdeflate, 1 to 12.
    Level(u8),
    /// At the level that the writer finds best for the data.
    #[default]
    Adaptive,
}

impl std::str::FromStr for Compress {
    type Err = Fault;

    /// As in the file, for the command line too.
    fn from_str(text: &str) -> Result<Compress, Fault> {
        const WORDS: &str = "off, adaptive, or a level from 1 to 12";
        match text.parse() {
            Ok(level @ 1..=12) if text.bytes().all(|b| b.is_ascii_digit()) => Ok(Compress::Level(level)),
            _ if text.eq_ignore_ascii_case("off") => Ok(Compress::Off),
            _ if text.eq_ignore_ascii_case("adaptive") => Ok(Compress::Adaptive),
            _ => Err(Fault::NotOneOf(WORDS)),
        }
    }
}

pub(super) fn compress(text: &str, _: &mut Remarks) -> Result<Compress, Faults> {
    Ok(text.parse()?)
}

/// How files travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// The rsync protocol over SSH.
    #[default]
    Rsync,
    /// SFTP.
    Sftp,
}

pub(super) fn transport(text: &str, _: &mut Remarks) -> Result<Transport, Faults> {
    word(text, "rsync or sftp", &[("rsync", Transport::Rsync), ("sftp", Transport::Sftp)])
}

/// What is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Errors only.
    Error,
    /// And warnings.
    Warning,
    /// And what happened.
    #[default]
    Info,
    /// And why.
    Debug,
}

pub(super) fn log_level(text: &str, _: &mut Remarks) -> Result<LogLevel, Faults> {
    const KNOWN: [(&str, LogLevel); 4] = [
        ("error", LogLevel::Error),
        ("warning", LogLevel::Warning),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
    ];
    word(text, "error, warning, info or debug", &KNOWN)
}

/// Facility, and severity of informational lines, by their numbers in RFC 5424 §6.2.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyslogPriority {
    /// 0 to 23.
    pub facility: u8,
    /// 0 (emergency) to 7 (debug).
    pub severity: u8,
}

/// Facilities by their numbers; those without a name are not to be set.
pub(super) const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "", "", "",
    "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
/// Severities likewise.
pub(super) const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// `FACILITY.SEVERITY` as logger(1) takes it.
pub(super) fn syslog_priority(text: &str, _: &mut Remarks) -> Result<SyslogPriority, Faults> {
    let number = |names: &[&str], name: &str| {
        let index = names.iter().position(|known| !name.is_empty() && known.eq_ignore_ascii_case(name));
        index.and_then(|index| u8::try_from(index).ok())
    };
    let (facility, severity) = text.split_once('.').ok_or(Fault::NotPriority)?;
    let severity = match severity {
        "error" => "err", // older names that logger takes too
        "warn" => "warning",
        _ => severity,
    };
    match (number(&FACILITIES, facility), number(&SEVERITIES, severity)) {
        (Some(facility), Some(severity)) => Ok(SyslogPriority { facility, severity }),
        _ => Err(Fault::NotPriority.into()),
    }
}

/// An interface to capture from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Whether it takes frames for other hosts too.
    pub promiscuous: bool,
}

/// A comma list: `NAME[+]`; digits are the old snap length of the interface before them.
pub(super) fn interfaces(text: &str, remarks: &mut Remarks) -> Result<Vec<Interface>, Faults> {
    let mut interfaces: Vec<Interface> = Vec::new();
    let mut faults = Vec::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let digits = item.bytes().all(|b| b.is_ascii_digit());
        let name = item.strip_suffix('+').unwrap_or(item);
        let known = interfaces.iter().any(|interface| interface.name == name);
        match interfaces.last() {
            Some(before) if digits => remarks.push(Remark::SnapLength(before.name.clone(), item.to_owned())),
            None if digits => faults.push(Fault::SnapLengthFirst(item.to_owned())),
            _ if !is_interface(name) => faults.push(Fault::NotInterface(item.to_owned())),
            _ if known => faults.push(Fault::InterfaceTwice(name.to_owned())),
            _ => interfaces.push(Interface { name: name.to_owned(), promiscuous: name.len() < item.len() }),
        }
    }
    if interfaces.is_empty() && faults.is_empty() {
        faults.push(Fault::EmptyList);
    }
    if faults.is_empty() { Ok(interfaces) } else { Err(Faults(faults)) }
}

/// What any kernel takes for a name; whether it exists is seen when it is opened.
fn is_interface(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && name.bytes().all(|b| b.is_ascii_graphic() && b != b'/')
}

/// Where files are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmitServer {
    /// What the SRV records `_rsync._tcp.NAME` name.
    Srv(String),
    /// This host and port.
    HostPort(String, u16),
    /// A directory of this machine.
    Dir(PathBuf),
}

impl Default for SubmitServer {
    fn default() -> SubmitServer {
        SubmitServer::Srv(String::new())
    }
}

/// The port of `HOST:`, which the documents of the service name.
const SUBMIT_PORT: u16 = 49222;

/// `NAME`, `HOST:PORT`, `[V6]:PORT`, `HOST:` or `dir:/PATH`.
pub(super) fn submit_server(text: &str, remarks: &mut Remarks) -> Result<SubmitServer, Faults> {
    if let Some(dir) = text.strip_prefix("dir:") {
        return path(dir, remarks).map(SubmitServer::Dir);
    }
    match text.parse() {
        Ok(IpAddr::V4(address)) => {
            return Err(Fault::NotServer(Some(format!("{address}:{SUBMIT_PORT}"))).into());
        }
        Ok(IpAddr::V6(address)) => {
            return Err(Fault::NotServer(Some(format!("[{address}]:{SUBMIT_PORT}"))).into());
        }
        Err(_) => {}
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return if is_host(text) { Ok(SubmitServer::Srv(text.to_owned())) } else { Err(Fault::NotServer(None).into()) };
    };
    let port = match port {
        "" => Some(SUBMIT_PORT),
        _ => port.parse().ok().filter(|&number| number > 0 && !port.starts_with('+')),
    };
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match v6 {
        Some(address) => matches!(address.parse(), Ok(IpAddr::V6(_))).then_some(address),
        None => is_host(host).then_some(host),
    };
    match (host, port) {
        (Some(host), Some(port)) => Ok(SubmitServer::HostPort(host.to_owned(), port)),
        _ => Err(Fault::NotServer(None).into()),
    }
}

/// Letters, digits, hyphens and underscores between dots.
fn is_host(host: &str) -> bool {
    let labels = host.strip_suffix('.').unwrap_or(host);
    let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    host.len() <= 254
        && labels.split('.').all(|l| !l.is_empty() && !l.starts_with('-') && l.len() < 64 && l.bytes().all(letter))
}

/// A path from the root on.
pub(super) fn path(text: &str, _: &mut Remarks) -> Result<PathBuf, Faults> {
    match text {
        _ if text.contains(char::is_control) => Err(Fault::ControlCharacter.into()),
        _ if text.starts_with('/') => Ok(text.into()),
        _ => Err(Fault::NotAbsolute.into()),
    }
}

/// Words between blanks: a program, by its path or its name, and arguments.
pub(super) fn program(text: &str, remarks: &mut Remarks) -> Result<Vec<String>, Faults> {
    let words: Vec<String> = line(text, remarks)?.split_ascii_whitespace().map(str::to_owned).collect();
    match words.first() {
        Some(first) if first.starts_with('/') => Ok(words),
        Some(first) if !first.starts_with('-') && !first.contains(['/', '"', '\'', '\\']) => Ok(words),
        _ => Err(Fault::NotProgram.into()),
    }
}

/// A text that ends up in a path or command: `[A-Za-z0-9._-]+`, neither a directory nor an option.
pub(super) fn identifier(text: &str, _: &mut Remarks) -> Result<String, Faults> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    match text.bytes().all(allowed) && !matches!(text, "" | "." | "..") && !text.starts_with('-') {
        true => Ok(text.to_owned()),
        false => Err(Fault::NotIdentifier.into()),
    }
}

/// Any text on one line.
pub(super) fn line(text: &str, _: &mut Remarks) -> Result<String, Faults> {
    match text.contains(char::is_control) {
        true => Err(Fault::ControlCharacter.into()),
        false => Ok(text.to_owned()),
    }
}

/// An address.
pub(super) fn address(text: &str, _: &mut Remarks) -> Result<IpAddr, Faults> {
    text.parse().map_err(|_| Fault::NotAddress(text.to_owned()).into())
}

/// Where metrics are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricsListen {
    /// At an address and a port.
    Tcp(SocketAddr),
    /// At a socket in the file system.
    Unix(PathBuf),
}

impl MetricsListen {
    /// Whether other hosts reach it.
    pub fn is_remote(&self) -> bool {
        matches!(self, MetricsListen::Tcp(address) if !address.ip().is_loopback())
    }
}

/// An address and a port, or a path.
pub(super) fn metrics_listen(text: &str, remarks: &mut Remarks) -> Result<MetricsListen, Faults> {
    match text.starts_with('/') {
        true => path(text, remarks).map(MetricsListen::Unix),
        false => text.parse().map(MetricsListen::Tcp).map_err(|_| Fault::NotSocketAddress.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> Option<SubmitServer> {
        submit_server(text, &mut Vec::new()).ok()
    }

    #[test]
    fn metrics_are_at_an_address_or_a_path_of_one_line() {
        let of = |text: &str| metrics_listen(text, &mut Vec::new());
        assert_eq!(of("/run/metrics.sock"), Ok(MetricsListen::Unix("/run/metrics.sock".into())));
        assert_eq!(of("/run/a\nuser=root"), Err(Fault::ControlCharacter.into()));
        assert!(of("[::1]:9353").is_ok() && of("metrics.sock").is_err());
    }

    #[test]
    fn booleans_are_the_words_listed_in_any_case() {
        for text in ["yes", "TRUE", "1", "On"] {
            assert_eq!(boolean(text, &mut Vec::new()), Ok(true));
        }
        for text in ["no", "False", "0", "OFF", ""] {
            assert_eq!(boolean(text, &mut Vec::new()), Ok(false));
        }
        for text in ["2", "y", "enable", "yes!"] {
            assert_eq!(boolean(text, &mut Vec::new()), Err(Fault::NotOneOf("yes or no").into()));
        }
    }

    #[test]
    fn what_libnmsg_took_silently_for_both_is_an_error() {
        assert_eq!(capture_rd("ANY", &mut Vec::new()), Ok(CaptureRd::Both));
        let faults = capture_rd("2", &mut Vec::new()).unwrap_err();
        assert_eq!(faults.0[0].to_string(), "not a value of this setting; write 0, 1 or both");
        assert!(capture_qr("2", &mut Vec::new()).is_err());
    }

    #[test]
    fn compression_is_off_a_level_or_adaptive() {
        assert_eq!(compress("off", &mut Vec::new()), Ok(Compress::Off));
        assert_eq!(compress("12", &mut Vec::new()), Ok(Compress::Level(12)));
        for text in ["0", "13", "+3", "fast"] {
            assert!(text.parse::<Compress>().is_err());
        }
    }

    #[test]
    fn interfaces_keep_their_promiscuous_flag_and_lose_their_snap_length() {
        let mut remarks = Vec::new();
        let listed = interfaces("eth0+,1522, eth1", &mut remarks).unwrap();
        assert_eq!(listed[0], Interface { name: "eth0".into(), promiscuous: true });
        assert_eq!(listed[1], Interface { name: "eth1".into(), promiscuous: false });
        assert_eq!(remarks[0].to_string(), "snap length 1522 of eth0: accepted, unused");
        let faults = interfaces("1522,eth0,a/b,eth0+,+", &mut remarks).unwrap_err();
        assert_eq!(
            faults.0,
            [
                Fault::SnapLengthFirst("1522".into()),
                Fault::NotInterface("a/b".into()),
                Fault::InterfaceTwice("eth0".into()),
                Fault::NotInterface("+".into()),
            ]
        );
    }

    #[test]
    fn a_server_is_a_service_a_host_with_port_or_a_directory() {
        let at = |host: &str, port| Some(SubmitServer::HostPort(host.into(), port));
        assert_eq!(server("submit.sie-network.net"), Some(SubmitServer::Srv("submit.sie-network.net".into())));
        assert_eq!(server("host:22"), at("host", 22));
        assert_eq!(server("host:"), at("host", 49222));
        assert_eq!(server("192.0.2.1:22"), at("192.0.2.1", 22));
        assert_eq!(server("[2001:db8::1]:22"), at("2001:db8::1", 22));
        assert_eq!(server("dir:/var/tmp"), Some(SubmitServer::Dir("/var/tmp".into())));
        for text in
            ["192.0.2.1", "2001:db8::1", "[::1]", "[host]:1", "a b", "host:0", "host:65536", "-o:1", "dir:x", ":1"]
        {
            assert_eq!(server(text), None, "{text}");
        }
        let faults = submit_server("2001:db8::1", &mut Vec::new()).unwrap_err();
        assert_eq!(faults.0[0].to_string(), r#"an address needs a port; write "[2001:db8::1]:49222""#);
    }

    #[test]
    fn texts_that_reach_paths_and_commands_are_tame() {
        assert!(identifier("ch202", &mut Vec::new()).is_ok());
        for text in ["..", ".", "a/b", "a b", "-o", "é"] {
            assert!(identifier(text, &mut Vec::new()).is_err(), "{text}");
        }
        assert!(path("var/spool", &mut Vec::new()).is_err());
        assert!(line("a\x1b", &mut Vec::new()).is_err());
        assert_eq!(program("ssh  -J jump", &mut Vec::new()).unwrap(), ["ssh", "-J", "jump"]);
        assert_eq!(program("/usr/bin/ssh", &mut Vec::new()).unwrap(), ["/usr/bin/ssh"]);
        for text in ["-J", "bin/ssh", "./ssh", "\"/a b/ssh\"", "ssh\n", " "] {
            assert!(program(text, &mut Vec::new()).is_err(), "{text}");
        }
    }

    #[test]
    fn syslog_priorities_have_their_rfc_numbers() {
        assert_eq!(syslog_priority("local5.info", &mut Vec::new()), Ok(SyslogPriority { facility: 21, severity: 6 }));
        for text in ["local5", "local8.info", ".info", "info.local5"] {
            assert!(syslog_priority(text, &mut Vec::new()).is_err());
        }
    }
}
