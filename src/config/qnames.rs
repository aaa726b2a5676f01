//! Which names are not collected.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::problem::{Fault, NameFault, Place, Problem, Subject};
use super::values::Faults;

/// The longest name in wire form (RFC 1035 §3.1).
const NAME_MAX: usize = 255;
/// The longest label.
const LABEL_MAX: usize = 63;
/// So many bad lines of one file are told apart; a file that is no list of names has no other kind.
const BAD_LINES_MAX: usize = 20;

/// A domain name in wire form, lower case.
pub type Name = Box<[u8]>;

/// Names, each with everything below it.
///
/// The set keeps std's keyed hasher: what is looked up comes from the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct NameSet {
    names: HashSet<Name>,
    /// Wire length of the longest name: longer parents are not looked up.
    longest: usize,
}

impl NameSet {
    fn insert(&mut self, name: Name) {
        self.longest = self.longest.max(name.len());
        self.names.insert(name);
    }

    /// Memory, roughly: a table half full, and for each name what an allocation costs besides its bytes.
    fn bytes(&self) -> u64 {
        let name = |name: &Name| (name.len() + 2 * size_of::<Name>() + 2 * size_of::<u64>()) as u64;
        self.names.iter().map(name).sum()
    }

    /// Whether `name` (valid and lower case) or one of its parents is in the set.
    fn covers(&self, name: &[u8]) -> bool {
        let mut rest = name;
        loop {
            if rest.len() <= self.longest && self.names.contains(rest) {
                return true;
            }
            match rest.split_first() {
                Some((&len @ 1.., labels)) => rest = labels.get(usize::from(len)..).unwrap_or_default(),
                _ => return false,
            }
        }
    }
}

/// The DNSQR_FILTER_QNAMES settings: a name of the include list, or below one, is kept at once; else one of the exclude
/// list, or below one, is dropped; all others are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameFilter {
    include: Arc<NameSet>,
    exclude: Arc<NameSet>,
}

impl NameFilter {
    /// Of names in wire form, as [`parse_name`] gives them.
    pub fn new(include: impl IntoIterator<Item = Name>, exclude: impl IntoIterator<Item = Name>) -> NameFilter {
        let set = |names: &mut dyn Iterator<Item = Name>| {
            let mut set = NameSet::default();
            names.for_each(|name| set.insert(name));
            Arc::new(set)
        };
        NameFilter { include: set(&mut include.into_iter()), exclude: set(&mut exclude.into_iter()) }
    }

    /// The names kept, in no order.
    pub fn included(&self) -> impl Iterator<Item = &Name> {
        self.include.names.iter()
    }

    /// The names dropped, in no order.
    pub fn excluded(&self) -> impl Iterator<Item = &Name> {
        self.exclude.names.iter()
    }

    /// Memory of the lists in bytes, roughly. Clones share it.
    pub fn bytes(&self) -> u64 {
        self.include.bytes() + self.exclude.bytes()
    }

    /// Whether it drops nothing, whatever the name.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.exclude.names.is_empty()
    }

    /// Whether a message with this qname (uncompressed wire form, as on the wire in case) is dropped. What is no such
    /// name is not dropped; nor, by the caller, is a message without a question.
    #[inline]
    pub fn drops(&self, qname_wire: &[u8]) -> bool {
        !self.is_empty() && self.drops_name(qname_wire)
    }

    fn drops_name(&self, qname_wire: &[u8]) -> bool {
        let mut buffer = [0; NAME_MAX];
        let Some(lower) = buffer.get_mut(..qname_wire.len()) else {
            return false;
        };
        lower.copy_from_slice(qname_wire);
        lower.make_ascii_lowercase(); // length bytes are below 'A' in a valid name
        is_name(qname_wire) && self.exclude.covers(lower) && !self.include.covers(lower)
    }
}

/// Whether `wire` is labels of 63 bytes at most, and the root's empty one exactly at its end.
fn is_name(wire: &[u8]) -> bool {
    let mut rest = wire;
    while let Some((&len, labels)) = rest.split_first() {
        let len = usize::from(len);
        if len == 0 {
            return labels.is_empty();
        }
        match labels.get(len..) {
            Some(after) if len <= LABEL_MAX => rest = after,
            _ => return false,
        }
    }
    false
}

/// Parses a name in presentation form: `\DDD` is a byte, `\` before another character takes it as it is, the dot at
/// the end is optional, `.` is the root. The result is lower case.
pub fn parse_name(text: &str) -> Result<Name, NameFault> {
    let mut wire = vec![0]; // each label's length is put in when it ends
    let mut label = 0;
    let mut bytes = text.bytes();
    if text == "." {
        return Ok(wire.into());
    }
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'.' => {
                end_label(&mut wire, label)?;
                label = wire.len();
                wire.push(0);
                continue;
            }
            b'\\' => escaped(&mut bytes)?,
            0..=b' ' | 0x7f => return Err(NameFault::Blank),
            _ => byte,
        };
        wire.push(byte.to_ascii_lowercase());
    }
    if label + 1 < wire.len() || label == 0 {
        end_label(&mut wire, label)?;
        wire.push(0);
    }
    if wire.len() > NAME_MAX { Err(NameFault::Long) } else { Ok(wire.into()) }
}

/// The name in presentation form, as [`parse_name`] reads it; on one line, without blank, colon or equals sign.
pub fn name_text(name: &[u8]) -> String {
    let mut text = String::new();
    let mut rest = name;
    while let Some((&len @ 1.., after)) = rest.split_first() {
        let (label, after) = after.split_at_checked(usize::from(len)).unwrap_or((after, &[]));
        for &byte in label {
            match byte {
                b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' => text.push(char::from(byte)),
                _ => text.push_str(&format!("\\{byte:03}")),
            }
        }
        text.push('.');
        rest = after;
    }
    match text.len() {
        0 => ".".into(),
        len => text[..len - 1].to_owned(), // without the dot at its end
    }
}

/// What a backslash stands for, with what follows it.
fn escaped(bytes: &mut std::str::Bytes<'_>) -> Result<u8, NameFault> {
    let first = bytes.next().ok_or(NameFault::Escape)?;
    if !first.is_ascii_digit() {
        return Ok(first);
    }
    let mut value = u16::from(first - b'0');
    for _ in 0..2 {
        let digit = bytes.next().filter(u8::is_ascii_digit).ok_or(NameFault::Escape)?;
        value = value * 10 + u16::from(digit - b'0');
    }
    u8::try_from(value).map_err(|_| NameFault::Escape)
}

/// Writes the length of the label that started at `start` and ends with `wire`.
fn end_label(wire: &mut [u8], start: usize) -> Result<(), NameFault> {
    let len = wire.len() - start - 1;
    match u8::try_from(len) {
        Ok(0) => Err(NameFault::EmptyLabel),
        Ok(byte) if len <= LABEL_MAX => {
            wire[start] = byte;
            Ok(())
        }
        _ => Err(NameFault::LongLabel),
    }
}

/// Parses a colon list of names; a colon behind a backslash belongs to its name. An item may be empty.
pub(super) fn parse_list(text: &str) -> Result<Vec<Name>, Faults> {
    let mut names = Vec::new();
    let mut faults = Vec::new();
    for item in split_colons(text).into_iter().map(str::trim).filter(|item| !item.is_empty()) {
        match parse_name(item) {
            Ok(name) => names.push(name),
            Err(fault) => faults.push(Fault::NotName(item.to_owned(), fault)),
        }
    }
    if faults.is_empty() { Ok(names) } else { Err(Faults(faults)) }
}

fn split_colons(text: &str) -> Vec<&str> {
    let mut escaped = false;
    text.split(|c| {
        let colon = c == ':' && !escaped;
        escaped = c == '\\' && !escaped;
        colon
    })
    .collect()
}

/// Parses a list of names, one a line; blank lines and what follows a `#` do not count. A `#` of a name is `\035`.
pub(super) fn parse_file(path: &Path, bytes: &[u8], problems: &mut Vec<Problem>) -> Vec<Name> {
    let path: Arc<Path> = path.into();
    let mut names = Vec::new();
    let mut bad = Vec::new();
    for (index, line) in bytes.split(|&b| b == b'\n').enumerate() {
        let parsed = match std::str::from_utf8(line) {
            Ok(line) => parse_line(line),
            Err(_) => Err(Fault::NotUtf8),
        };
        match parsed {
            Ok(name) => names.extend(name),
            Err(fault) => bad.push((index + 1, fault)),
        }
    }
    if let Some(more @ 2..) = bad.len().checked_sub(BAD_LINES_MAX) {
        bad.truncate(BAD_LINES_MAX + 1);
        if let Some((_, fault)) = bad.last_mut() {
            *fault = Fault::MoreBadLines(more);
        }
    }
    problems.extend(bad.into_iter().map(|(line, fault)| {
        let place = Place::Character { path: Arc::clone(&path), line, column: 1 };
        Problem { place, subject: Subject::Text, fault }
    }));
    names
}

/// The name on a line, if there is one.
fn parse_line(line: &str) -> Result<Option<Name>, Fault> {
    let name = line.split('#').next().unwrap_or_default().trim();
    match name {
        "" => Ok(None),
        _ => parse_name(name).map(Some).map_err(|fault| Fault::NotName(name.to_owned(), fault)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filter(include: &str, exclude: &str) -> NameFilter {
        NameFilter::new(parse_list(include).unwrap(), parse_list(exclude).unwrap())
    }

    /// As on the wire, in the case written.
    fn wire(labels: &[&str]) -> Vec<u8> {
        let mut wire = Vec::new();
        for label in labels {
            wire.push(u8::try_from(label.len()).unwrap());
            wire.extend(label.bytes());
        }
        wire.push(0);
        wire
    }

    #[test]
    fn an_excluded_name_and_all_below_it_are_dropped_in_any_case() {
        let filter = filter("", "Example.COM:arpa.");
        assert!(filter.drops(&wire(&["example", "com"])));
        assert!(filter.drops(&wire(&["a", "b", "eXaMpLe", "cOm"])));
        assert!(filter.drops(&wire(&["arpa"])));
        assert!(!filter.drops(&wire(&["com"])));
        assert!(!filter.drops(&wire(&["notexample", "com"])));
        assert!(!filter.drops(&wire(&["example", "com", "net"])));
    }

    #[test]
    fn include_protects_from_exclude_and_drops_nothing_itself() {
        let both = filter("keep.example.com", "example.com");
        assert!(!both.drops(&wire(&["x", "keep", "example", "com"])));
        assert!(both.drops(&wire(&["x", "example", "com"])));
        let alone = filter("example.com", "");
        assert!(alone.is_empty());
        assert!(!alone.drops(&wire(&["example", "net"])));
    }

    #[test]
    fn the_root_excludes_everything() {
        let filter = filter("org", ".");
        assert!(filter.drops(&wire(&[])) && filter.drops(&wire(&["com"])));
        assert!(!filter.drops(&wire(&["org"])));
    }

    #[test]
    fn escapes_name_bytes_dots_and_colons() {
        assert_eq!(&*parse_name(r"a\.b.c\065\:\092").unwrap(), b"\x03a.b\x04ca:\\\0");
        let filter = filter("", r"a\.b:c\:d.e:");
        assert!(filter.drops(&wire(&["a.b"])) && filter.drops(&wire(&["c:d", "e"])));
        assert!(!filter.drops(&wire(&["a", "b"])));
    }

    #[test]
    fn names_that_are_none_say_why() {
        for (text, fault) in [
            ("a..b", NameFault::EmptyLabel),
            (".a", NameFault::EmptyLabel),
            ("..", NameFault::EmptyLabel),
            ("", NameFault::EmptyLabel),
            (r"a\256", NameFault::Escape),
            (r"a\25", NameFault::Escape),
            (r"a\", NameFault::Escape),
            ("a b", NameFault::Blank),
        ] {
            assert_eq!(parse_name(text), Err(fault), "{text}");
        }
        let label = "x".repeat(63);
        assert_eq!(parse_name(&"x".repeat(64)), Err(NameFault::LongLabel));
        assert_eq!(parse_name(&[&*label; 4].join(".")), Err(NameFault::Long));
        let longest = format!("{label}.{label}.{label}.{}", "x".repeat(61));
        assert_eq!(parse_name(&longest).unwrap().len(), NAME_MAX);
        assert_eq!(parse_name(&format!("{longest}.")).unwrap().len(), NAME_MAX);
    }

    #[test]
    fn what_is_no_name_on_the_wire_is_not_dropped() {
        let filter = filter("", ".");
        let long = [1u8; 300];
        let pointer = [0xc0, 0x0c];
        for wire in [&b""[..], b"\x03ab", b"\x03abc", b"\0\0", b"\x40", &pointer, &long, &[0x41; 67]] {
            assert!(!filter.drops(wire), "{wire:?}");
        }
    }

    #[test]
    fn a_file_of_a_hundred_thousand_names_is_read_and_matched() {
        let mut text = String::from("# ours\n\n");
        for number in 0..100_000 {
            text.push_str(&format!("host{number}.Example.net # comment\n"));
        }
        let mut problems = Vec::new();
        let names = parse_file(Path::new("names"), text.as_bytes(), &mut problems);
        assert_eq!((names.len(), problems.len()), (100_000, 0));
        let filter = NameFilter::new([], names);
        assert!(filter.drops(&wire(&["www", "HOST99999", "example", "net"])));
        assert!(!filter.drops(&wire(&["host100000", "example", "net"])));
    }

    #[test]
    fn bad_lines_of_a_file_are_problems_with_their_line() {
        let mut problems = Vec::new();
        let names = parse_file(Path::new("names"), b"good\r\nba..d\n\xff\n", &mut problems);
        assert_eq!(names.len(), 1);
        assert_eq!(problems[0].to_string(), r#"names:2:1: "ba..d" is not a domain name: empty label"#);
        assert_eq!(problems[1].to_string(), "names:3:1: not UTF-8; write it in UTF-8 or ASCII");
        problems.clear();
        parse_file(Path::new("names"), &b"a b\n".repeat(1000), &mut problems);
        assert_eq!(problems.len(), BAD_LINES_MAX + 1);
        assert_eq!(problems[20].to_string(), "names:21:1: 980 lines from here on are no domain names");
    }

    proptest! {
        #[test]
        fn any_wire_and_any_text_is_safe(wire in proptest::collection::vec(any::<u8>(), 0..300), text in ".{0,80}") {
            let _ = filter("b", "a:c.d").drops(&wire);
            let _ = parse_name(&text);
        }

        #[test]
        fn an_escaped_name_reads_back(labels in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 1..20), 1..6)) {
            let mut wire = Vec::new();
            let mut text = String::new();
            for label in &labels {
                wire.push(u8::try_from(label.len()).unwrap());
                wire.extend(label.iter().map(u8::to_ascii_lowercase));
                label.iter().for_each(|byte| text.push_str(&format!("\\{byte:03}")));
                text.push('.');
            }
            wire.push(0);
            let name = parse_name(&text).unwrap();
            prop_assert_eq!(parse_name(&name_text(&name)).unwrap(), name.clone());
            prop_assert_eq!(name.into_vec(), wire);
        }
    }
}
