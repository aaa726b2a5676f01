//! Names of files: `.HOST.YYYYMMDD.HHMM.EPOCH.NNNNNNNNN.part` while a file is written, `HOST.….nmsg` afterwards.
//!
//! The time, in UTC, is when the file's interval began. The file itself comes into being a little later, with the
//! first container; a name that said that time would leave a gap between one file and the next that was none.

use crate::{
    sys::host,
    time::{NANOS, Timestamp},
};
use jiff::tz::Offset;
use std::{path::Path, sync::mpsc, thread, time::Duration};

/// What a name ends in while the file is written.
const PART: &str = ".part";
/// What a published name ends in.
const PUBLISHED: &str = ".nmsg";
/// A host may be so long: with 40 characters around it, and the 8 that rsync adds at the far end, a name fits into the
/// 255 bytes of any file system.
const HOST_MAX: usize = 200;
/// How long the resolver library may take to find our canonical name.
const CANONICAL_MAX: Duration = Duration::from_secs(5);

/// The name of a file while it is written, for an interval of `host` that began at `began`.
pub fn part(host: &str, began: Timestamp) -> String {
    format!(".{}{PART}", stem(host, began))
}

/// The published name for the same.
pub fn published(host: &str, began: Timestamp) -> String {
    stem(host, began) + PUBLISHED
}

fn stem(host: &str, began: Timestamp) -> String {
    // A Timestamp ends in 2554, jiff's in 9999.
    let instant = jiff::Timestamp::from_nanosecond(began.as_nanos().into()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let time = Offset::UTC.to_datetime(instant);
    let (year, month, day, hour, minute) = (time.year(), time.month(), time.day(), time.hour(), time.minute());
    let (seconds, nanos) = (began.seconds(), began.subsec_nanos());
    format!("{host}.{year:04}{month:02}{day:02}.{hour:02}{minute:02}.{seconds}.{nanos:09}")
}

/// Host and time of a part file, if `name` is a part file's.
pub(super) fn of_part(name: &str) -> Option<(&str, Timestamp)> {
    of_stem(name.strip_prefix('.')?.strip_suffix(PART)?)
}

/// Host and time of a published file, if `name` is a published file's.
pub(crate) fn of_published(name: &str) -> Option<(&str, Timestamp)> {
    of_stem(name.strip_suffix(PUBLISHED)?)
}

/// Whether a published name is one that we could have made: nothing in it that means something to a shell or a terminal.
pub(crate) fn is_plain(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    name.ends_with(PUBLISHED) && !name.starts_with(['.', '-']) && name.bytes().all(allowed)
}

fn of_stem(stem: &str) -> Option<(&str, Timestamp)> {
    let mut parts = stem.rsplitn(5, '.');
    let mut digits = |len| parts.next().filter(|p| p.len() >= len && p.bytes().all(|b| b.is_ascii_digit()));
    let nanos: u64 = digits(9)?.parse().ok()?;
    let seconds: u64 = digits(1)?.parse().ok()?;
    let (_hour, _day) = (digits(4)?, digits(8)?);
    let host = parts.next().filter(|host| !host.is_empty())?;
    (nanos < NANOS).then(|| (host, Timestamp::new(seconds, nanos)))
}

/// The first published name that nothing has yet in any of `directories`: the time's own, or one of the nanoseconds
/// after it.
pub(super) fn free(directories: &[&Path], host: &str, began: Timestamp) -> Option<String> {
    from(began)
        .map(|time| published(host, time))
        .find(|name| directories.iter().all(|directory| directory.join(name).symlink_metadata().is_err()))
}

/// The nanoseconds to try for a name: a clock that was set back may come by the same one again, hardly a thousand times.
pub(super) fn from(began: Timestamp) -> impl Iterator<Item = Timestamp> {
    (0..1000).map(move |more| began + Duration::from_nanos(more))
}

/// HOST: what is set, else the kernel's name when it has a dot, else the canonical name when one is found within 5 s,
/// else the short name. It is fixed for the life of the process: a name server that answers later changes nothing.
pub fn host_name(setting: Option<&str>) -> String {
    let kernel = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    choose(setting, kernel.as_deref(), canonical_in_time)
}

/// getaddrinfo cannot be told to hurry, so it gets a thread that nobody waits for longer.
fn canonical_in_time(short: &str) -> Option<String> {
    let (to, found) = mpsc::channel();
    let short = short.to_owned();
    let ask = move || drop(to.send(host::canonical_name(&short)));
    thread::Builder::new().name("host name".into()).spawn(ask).ok()?;
    found.recv_timeout(CANONICAL_MAX).ok().flatten()
}

fn choose(setting: Option<&str>, kernel: Option<&str>, canonical: impl FnOnce(&str) -> Option<String>) -> String {
    let kernel = kernel.unwrap_or_default();
    let named = match setting.filter(|name| !name.is_empty()) {
        Some(name) => clean(name),
        None if kernel.is_empty() || kernel.contains('.') => clean(kernel),
        None => clean(&canonical(kernel).unwrap_or_default()).or_else(|| clean(kernel)),
    };
    named.unwrap_or_else(|| "unknown".to_owned()) // as the old package has it
}

/// A name that can stand in a file name: hidden by no dot, taken for an option by nobody, and not too long.
fn clean(name: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name: String = name.chars().map(|c| if allowed(c) { c } else { '-' }).take(HOST_MAX).collect();
    let name = name.trim_matches(['.', '-']);
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: u64 = 1_700_000_000_000_000_042;

    #[test]
    fn names_are_those_of_the_old_package() {
        let time = Timestamp::from_nanos(TIME);
        assert_eq!(part("ns.example.net", time), ".ns.example.net.20231114.2213.1700000000.000000042.part");
        assert_eq!(published("ns.example.net", time), "ns.example.net.20231114.2213.1700000000.000000042.nmsg");
        assert_eq!(of_part(&part("ns.example.net", time)), Some(("ns.example.net", time)));
        assert_eq!(of_published(&published("h", time)), Some(("h", time)));
    }

    #[test]
    fn other_names_have_no_time() {
        for name in [
            "",
            ".part",
            ".20231114.2213.1700000000.000000042",
            "h.20231114.2213.1700000000.42",
            "h.20231114.2213.x.000000042",
            "h.20231114.2213.1700000000.1000000000",
            "h.20231114.2213.1700000000.+00000042",
        ] {
            assert_eq!(of_published(&format!("{name}.nmsg")), None, "{name}");
        }
        assert_eq!(of_part("h.20231114.2213.1700000000.000000042.part"), None);
    }

    #[test]
    fn the_longest_host_leaves_room_in_a_file_name() {
        let host = choose(Some(&"a.".repeat(400)), None, |_| None);
        assert!(host.len() <= HOST_MAX && part(&host, Timestamp::from_nanos(u64::MAX)).len() + 8 <= 255);
    }

    #[test]
    fn a_host_is_found_in_the_documented_order() {
        let canonical = |name: &'static str| move |_: &str| Some(name.to_owned());
        assert_eq!(choose(Some("set"), Some("k.example"), canonical("c.example")), "set");
        assert_eq!(choose(None, Some("k.example"), canonical("c.example")), "k.example");
        assert_eq!(choose(None, Some("k"), canonical("c.example")), "c.example");
        assert_eq!(choose(None, Some("k"), |_| None), "k");
        assert_eq!(choose(None, None, canonical("c.example")), "unknown");
    }

    #[test]
    fn a_host_is_never_hidden_empty_or_a_path() {
        let host = |name| choose(Some(name), Some("k.example"), |_| None);
        assert_eq!(host("../etc/passwd"), "etc-passwd");
        assert_eq!(host(".hidden\n"), "hidden");
        assert_eq!(host("ns1.example.net."), "ns1.example.net");
        assert_eq!(host("ä b"), "b");
        assert_eq!(host("..."), "unknown");
        assert!(!host_name(None).is_empty());
    }
}
