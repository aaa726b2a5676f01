//! What is wrong with the settings, where, and what to write instead.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::budget::{RINGS_MAX, TooSmall};
use super::numbers::Unit;
use crate::escape::escaped;

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A whole file.
    File(Arc<Path>),
    /// A character of a file; both numbers start at 1, the column counts characters.
    Character {
        /// The file.
        path: Arc<Path>,
        /// Line.
        line: usize,
        /// Column.
        column: usize,
    },
    /// `--set` on the command line.
    Set,
    /// What the supervisor gives its children.
    Supervisor,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(path) => write!(f, "{}:", escaped(path)),
            Place::Character { path, line, column } => {
                write!(f, "{}:{line}:{column}:", escaped(path))
            }
            Place::Set => f.write_str("--set"),
            Place::Supervisor => f.write_str("from the supervisor:"),
        }
    }
}

/// One thing that keeps the program from starting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is.
    pub place: Place,
    /// What it is about.
    pub subject: Subject,
    /// What is wrong.
    pub fault: Fault,
}

/// One thing that was accepted, but differs from what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Where it is.
    pub place: Place,
    /// What it is about.
    pub subject: Subject,
    /// What was made of it.
    pub remark: Remark,
}

/// What a [`Problem`] or [`Notice`] is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The place says it all.
    Text,
    /// A variable's name.
    Name(String),
    /// A variable and its value.
    Value(String, String),
}

impl Subject {
    /// `NAME="value"` of an assignment.
    pub fn value(name: &str, value: &str) -> Subject {
        Subject::Value(name.to_owned(), value.to_owned())
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Text => Ok(()),
            Subject::Name(name) => write!(f, " {}:", bare(name)),
            Subject::Value(name, value) => write!(f, " {}={}:", bare(name), quoted(value)),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} {}", self.place, self.subject, self.fault)
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} {}", self.place, self.subject, self.remark)
    }
}

/// Every problem there is, in the order of the file, then of the command line. Displayed one per line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// In the order in which a reader meets them.
    pub(super) fn new(mut problems: Vec<Problem>) -> Problems {
        problems.sort_by(|a, b| a.place.cmp(&b.place));
        Problems(problems)
    }

    /// One after the other.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }
}

/// A file with more problems than this is another file than the one that was meant.
const SHOWN_MAX: usize = 100;

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().take(SHOWN_MAX).enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        match self.0.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more problems"),
        }
    }
}

impl std::error::Error for Problems {}

/// What is wrong, and the cure. Texts from the file are echoed escaped and cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operating system's reason.
    Unreadable(String),
    /// There is no such file, and the program cannot go without: the operating system's reason.
    Missing(String),
    /// A setting that is required: the line to write.
    Required(&'static str),
    /// Neither list of addresses.
    NoAddresses,
    /// More than one capture thread where there can be but one.
    OneThread,
    /// More capture buffers, so many, than are opened in time and fit the filters of system calls.
    Rings(usize),
    /// Linux's device for all interfaces beside others.
    AnyAndOthers,
    /// Metrics for other hosts, though that is off.
    RemoteMetrics,
    /// More memory is needed than the limit.
    Memory(TooSmall),
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// A NUL byte.
    Nul,
    /// CR LF line ends; the old shell put the CR into the value.
    DosLineEnds,
    /// A carriage return within a line.
    CarriageReturn,
    /// A quote without its other half.
    Unclosed(char),
    /// `$(…)` or backquotes.
    CommandSubstitution,
    /// `;`, `|` and the like outside quotes.
    Operator(char),
    /// `${x:-y}`, `$1`, `$'…'`.
    Expansion,
    /// `$NAME` of a variable not set so far.
    NotSetEarlier(String),
    /// Expansions that grow beyond all bounds.
    TooLong,
    /// `~` where a shell puts a home directory.
    Tilde,
    /// `NAME+=…`.
    Append(String),
    /// `NAME = value`.
    Blanks(String),
    /// Anything else that is no assignment.
    Command(String),
    /// `--set` without `=`.
    SetWithoutValue,
    /// No such setting; the nearest name there is.
    Unknown(Option<&'static str>),
    /// A setting of old that has to be written otherwise: the line to write.
    Replaced(String),
    /// Not a number; the number that was probably meant, or the range.
    NotNumber {
        /// What is counted.
        unit: Unit,
        /// The number probably meant.
        meant: Option<u64>,
        /// Smallest and largest value.
        range: (u64, u64),
    },
    /// A number outside its range.
    OutOfRange {
        /// What is counted.
        unit: Unit,
        /// Smallest and largest value.
        range: (u64, u64),
    },
    /// Not one of the words there are.
    NotOneOf(&'static str),
    /// An item of an address list.
    NotAddress(String),
    /// An IPv4-mapped IPv6 address or prefix, and its IPv4 form.
    Mapped(String, String),
    /// An item of a port list.
    NotPort(String),
    /// A list that names nothing.
    EmptyList,
    /// An item of the interface list that cannot be an interface.
    NotInterface(String),
    /// Digits without an interface before them.
    SnapLengthFirst(String),
    /// An interface listed twice.
    InterfaceTwice(String),
    /// A path that depends on the current directory.
    NotAbsolute,
    /// A program that is neither a whole path nor a name.
    NotProgram,
    /// Letters, digits, dot, underscore and hyphen only.
    NotIdentifier,
    /// Not a host or service name, address and port, or directory; the line to write when it can be guessed.
    NotServer(Option<String>),
    /// Not an IP address and port.
    NotSocketAddress,
    /// Not facility.severity of syslog.
    NotPriority,
    /// Control characters in a text.
    ControlCharacter,
    /// A domain name that is none.
    NotName(String, NameFault),
    /// So many bad lines are in the file from here on.
    MoreBadLines(usize),
}

/// What is wrong with a domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameFault {
    /// Two dots in a row, or one in front.
    EmptyLabel,
    /// A label of more than 63 bytes.
    LongLabel,
    /// More than 255 bytes.
    Long,
    /// A backslash that is neither `\DDD` up to 255 nor before a character.
    Escape,
    /// A blank or control character not written as `\DDD`.
    Blank,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Unreadable(reason) => write!(f, "cannot be read: {reason}"),
            Fault::Missing(reason) => {
                write!(
                    f,
                    "cannot be read: {reason}; write it with interface and DNSQR_RES_ADDRS, or name another with --config"
                )
            }
            Fault::Required(line) => write!(f, "not set; write {line}"),
            Fault::NoAddresses => {
                f.write_str("neither this nor DNSQR_AUTH_ADDRS is set; write DNSQR_RES_ADDRS=\"ADDRESS, ADDRESS\"")
            }
            Fault::OneThread => f.write_str("only Linux shares an interface between threads; write \"1\""),
            Fault::Rings(count) => write!(
                f,
                "{count} capture buffers, one for each interface and thread, are more than {RINGS_MAX}; write fewer of either"
            ),
            Fault::AnyAndOthers => f.write_str(
                "any is all interfaces: what comes from the others would come twice; write any alone, or the others",
            ),
            Fault::RemoteMetrics => {
                f.write_str("other hosts could read it; write 127.0.0.1:PORT, or metrics_allow_remote=\"yes\"")
            }
            Fault::Memory(small) => write!(f, "{small}"),
            Fault::NotUtf8 => f.write_str("not UTF-8; write it in UTF-8 or ASCII"),
            Fault::Nul => f.write_str("NUL byte; take it out"),
            Fault::DosLineEnds => f.write_str(r"lines end in CR LF; convert with sed -i 's/\r$//'"),
            Fault::CarriageReturn => f.write_str("carriage return within a line; take it out"),
            Fault::Unclosed(quote) => write!(f, "{quote} is never closed; close it at the end of the value"),
            Fault::CommandSubstitution => f.write_str("commands are never run; write the value itself"),
            Fault::Operator(c) => {
                write!(f, "{c} outside quotes is a shell command, never run; quote the value, one assignment a line")
            }
            Fault::Expansion => f.write_str("only $NAME and ${NAME} are expanded; write the value itself"),
            Fault::NotSetEarlier(name) => {
                write!(f, "${} is not set earlier in this file; set it above, or write the value itself", bare(name))
            }
            Fault::TooLong => f.write_str("the expanded values are too long; write the value itself"),
            Fault::Tilde => f.write_str("~ is not expanded; write the whole path"),
            Fault::Append(name) => write!(f, "+= is not understood; write {}=value", bare(name)),
            Fault::Blanks(name) => write!(f, "blanks before the equals sign; write {}=value", bare(name)),
            Fault::Command(word) => {
                write!(f, "{}: not an assignment; write NAME=value, with quotes if it has blanks", quoted(word))
            }
            Fault::SetWithoutValue => f.write_str("no name or no equals sign; write NAME=VALUE"),
            Fault::Unknown(Some(near)) => write!(f, "unknown variable; did you mean {near}?"),
            Fault::Unknown(None) => f.write_str("unknown variable; remove it"),
            Fault::Replaced(line) => write!(f, "replaced by address lists; write {line}"),
            Fault::NotNumber { unit, meant: Some(meant), .. } => {
                write!(f, "not a whole number{}; write \"{meant}\"", unit.of())
            }
            Fault::NotNumber { unit, meant: None, range } => {
                write!(f, "not a whole number{}; write one from {} to {}", unit.of(), range.0, range.1)
            }
            Fault::OutOfRange { unit, range } => {
                write!(f, "out of range; write a whole number{} from {} to {}", unit.of(), range.0, range.1)
            }
            Fault::NotOneOf(words) => write!(f, "not a value of this setting; write {words}"),
            Fault::NotAddress(item) => write!(f, "{} is not an address or prefix", quoted(item)),
            Fault::Mapped(item, cure) => write!(f, "{} is IPv4 written as IPv6; write \"{cure}\"", quoted(item)),
            Fault::NotPort(item) => write!(f, "{} is not a port; write one from 1 to 65535", quoted(item)),
            Fault::EmptyList => f.write_str("a list without an item; write one, or leave the value empty"),
            Fault::NotInterface(item) => {
                write!(f, "{} is not the name of an interface", quoted(item))
            }
            Fault::SnapLengthFirst(item) => {
                write!(f, "{} has no interface before it; write the name of one", quoted(item))
            }
            Fault::InterfaceTwice(item) => {
                write!(f, "{} is listed twice; write it once", quoted(item))
            }
            Fault::NotAbsolute => f.write_str("not a whole path; write it from / on"),
            Fault::NotProgram => {
                f.write_str("not a program; write its path from / on, or its name, then its arguments, without quotes")
            }
            Fault::NotIdentifier => f.write_str("use letters, digits, dot, underscore and hyphen only"),
            Fault::NotServer(Some(cure)) => write!(f, "an address needs a port; write \"{cure}\""),
            Fault::NotServer(None) => {
                f.write_str("not a server; write NAME, HOST:PORT, [ADDRESS]:PORT, HOST: or dir:/PATH")
            }
            Fault::NotSocketAddress => {
                f.write_str("neither an address and port nor a path; write 127.0.0.1:PORT, [::1]:PORT or /PATH")
            }
            Fault::NotPriority => f.write_str("not a syslog priority; write FACILITY.SEVERITY, as local5.info"),
            Fault::ControlCharacter => f.write_str("has a control character; take it out"),
            Fault::NotName(name, fault) => {
                write!(f, "{} is not a domain name: {fault}", quoted(name))
            }
            Fault::MoreBadLines(count) => {
                write!(f, "{count} lines from here on are no domain names")
            }
        }
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for NameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NameFault::EmptyLabel => "empty label",
            NameFault::LongLabel => "label over 63 bytes",
            NameFault::Long => "over 255 bytes",
            NameFault::Escape => r"write a backslash as \\, a byte as \DDD",
            NameFault::Blank => r"write a blank or control character as \DDD",
        })
    }
}

/// What was made of a value that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// A prefix with bits right of its length, and the prefix without them.
    HostBits(String, String),
    /// An old setting.
    Unused,
    /// An old snap length of the interface named.
    SnapLength(String, String),
    /// Decimal all the same; libnmsg took it for octal.
    LeadingZero(u64),
    /// A settings file that anybody can write.
    WorldWritable,
    /// A settings file that another group can write, by its number.
    GroupWritable(u32),
    /// A settings file of another user, by its number.
    OwnedBy(u32),
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remark::HostBits(item, taken) => write!(f, "{item}: host bits set, taken as {taken}"),
            Remark::Unused => f.write_str("accepted, unused"),
            Remark::SnapLength(interface, digits) => {
                write!(f, "snap length {} of {}: accepted, unused", bare(digits), bare(interface))
            }
            Remark::WorldWritable => f.write_str("anybody can write it; chmod o-w keeps others out"),
            Remark::GroupWritable(group) => write!(f, "group {group} can write it; chmod g-w keeps it out"),
            Remark::OwnedBy(user) => {
                write!(f, "user {user} owns it and can write it; chown root makes it the system's")
            }
            Remark::LeadingZero(number) => write!(f, "leading zero, taken as decimal {number}"),
        }
    }
}

/// Longest echo of a text, in characters: enough to recognise it, short enough for a log line.
const ECHO_MAX: usize = 80;

/// The text in double quotes, cut at [`ECHO_MAX`] characters, nothing in it that a terminal obeys.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", bare(text))
}

/// As [`quoted`], without the quotes: for names.
fn bare(text: &str) -> String {
    let mut echo = String::new();
    for (index, c) in text.chars().enumerate() {
        match c {
            _ if index == ECHO_MAX => {
                echo.push('…');
                break;
            }
            '\'' => echo.push(c),
            _ => echo.extend(c.escape_debug()),
        }
    }
    echo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_is_escaped_and_cut() {
        assert_eq!(quoted("a\x1b[2J\n\"é'"), r#""a\u{1b}[2J\n\"é'""#);
        assert_eq!(quoted(&"x".repeat(100)), format!("\"{}…\"", "x".repeat(80)));
        assert_eq!(quoted(&"x".repeat(80)), format!("\"{}\"", "x".repeat(80)));
        assert!(!quoted("\u{202e}").contains('\u{202e}'));
    }
}
