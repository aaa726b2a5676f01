//! Settings to text and back: how a child gets them from the supervisor, without reading a file itself.
//!
//! A line `NAME=value` for every setting that is set, as the table's parsers read it; then `keep NAME` and `drop NAME`
//! for the names of the filter, those of files included. No value holds a line end.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::addresses::{AddressSet, PortSet};
use super::numbers::Unit;
use super::problem::{Fault, Place, Problems, Subject};
use super::qnames::{Name, NameFilter, name_text, parse_name};
use super::table::{SETTINGS, Setting, Settings};
use super::values::*;
use super::{Assignment, Loader};

impl Setting {
    /// The value in these settings as it would be written; empty when it is not set.
    pub fn written(&self, settings: &Settings) -> String {
        (self.written)(settings, Unit::of_words(self.values))
    }
}

impl Settings {
    /// All of it as text.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for setting in SETTINGS {
            let value = setting.written(self);
            if value != setting.default {
                text.push_str(&format!("{}={value}\n", setting.name));
            }
        }
        for (word, name) in names(&self.name_filter) {
            text.push_str(&format!("{word} {}\n", name_text(name)));
        }
        text
    }

    /// What [`Settings::to_text`] made a text of. A text that another version of the program made may have problems.
    pub fn from_text(text: &str) -> Result<Settings, Problems> {
        let mut loader = Loader::default();
        let (mut keep, mut drop) = (Vec::new(), Vec::new());
        for line in text.lines() {
            let list = match line.split_once([' ', '=']) {
                Some(("keep", name)) => Some((&mut keep, name)),
                Some(("drop", name)) => Some((&mut drop, name)),
                _ => None,
            };
            match (list, line.split_once('=')) {
                (Some((list, name)), _) => match parse_name(name) {
                    Ok(name) => list.push(name),
                    Err(fault) => loader.refuse(line, Fault::NotName(name.to_owned(), fault)),
                },
                (None, Some((name, value))) => loader.assignments.push(Assignment {
                    name: name.to_owned(),
                    value: value.to_owned(),
                    place: Place::Supervisor,
                    value_place: Place::Supervisor,
                }),
                (None, None) => loader.refuse(line, Fault::SetWithoutValue),
            }
        }
        let mut settings = loader.assigned();
        settings.name_filter = NameFilter::new(keep, drop);
        loader.conclude(settings).map(|(settings, _)| settings)
    }

    /// Leaves one setting as it is in `old`.
    pub fn keep(&mut self, setting: &Setting, old: &Settings) {
        // What has been a value once is one still.
        let _ = (setting.set)(self, &setting.written(old), &mut Vec::new());
    }

    /// The settings whose values in `other` are not the same. A list of names whose file has changed is among them.
    pub fn differences(&self, other: &Settings) -> Vec<&'static Setting> {
        let mut changed: Vec<&Setting> = SETTINGS.iter().filter(|setting| (setting.differs)(self, other)).collect();
        let is_filter = |setting: &Setting| setting.name.starts_with("DNSQR_FILTER_QNAMES_");
        if self.name_filter != other.name_filter && !changed.iter().any(|setting| is_filter(setting)) {
            let is_read = |setting: &&Setting| is_filter(setting) && setting.name.ends_with("_FILE");
            let is_set = |setting: &&Setting| !setting.written(other).is_empty();
            changed.extend(SETTINGS.iter().filter(is_read).filter(is_set));
        }
        changed
    }
}

impl Loader {
    fn refuse(&mut self, line: &str, fault: Fault) {
        self.problem(&Place::Supervisor, Subject::Name(line.to_owned()), fault);
    }
}

/// Every name of a filter with the word for its list.
fn names(filter: &NameFilter) -> impl Iterator<Item = (&'static str, &Name)> {
    filter.included().map(|name| ("keep", name)).chain(filter.excluded().map(|name| ("drop", name)))
}

/// A value as it is written in the file; a number in the setting's unit.
pub(super) trait Written {
    fn written(&self, unit: Unit) -> String;
}

impl<T: Written> Written for Option<T> {
    fn written(&self, unit: Unit) -> String {
        self.as_ref().map(|value| value.written(unit)).unwrap_or_default()
    }
}

impl Written for Duration {
    fn written(&self, unit: Unit) -> String {
        match unit {
            Unit::Milliseconds => self.as_millis().to_string(),
            Unit::Minutes => (self.as_secs() / 60).to_string(),
            Unit::Days => (self.as_secs() / 86_400).to_string(),
            _ => self.as_secs().to_string(),
        }
    }
}

impl Written for u64 {
    fn written(&self, _: Unit) -> String {
        (self / 1024).to_string()
    }
}

impl Written for bool {
    fn written(&self, _: Unit) -> String {
        if *self { "yes".into() } else { "no".into() }
    }
}

/// Types that are written as they are shown.
macro_rules! shown {
    ($($type:ty),+) => {
        $(impl Written for $type {
            fn written(&self, _: Unit) -> String {
                self.to_string()
            }
        })+
    };
}

shown!(usize, String, IpAddr, AddressSet);

impl Written for PortSet {
    fn written(&self, _: Unit) -> String {
        joined(self.iter().map(|port| port.to_string()), ",")
    }
}

impl Written for PathBuf {
    fn written(&self, _: Unit) -> String {
        Path::to_string_lossy(self).into_owned() // it came from a text
    }
}

impl Written for MetricsListen {
    fn written(&self, unit: Unit) -> String {
        match self {
            MetricsListen::Tcp(address) => address.to_string(),
            MetricsListen::Unix(path) => path.written(unit),
        }
    }
}

impl Written for Vec<String> {
    fn written(&self, _: Unit) -> String {
        self.join(" ")
    }
}

impl Written for Vec<Interface> {
    fn written(&self, _: Unit) -> String {
        let one = |interface: &Interface| format!("{}{}", interface.name, if interface.promiscuous { "+" } else { "" });
        joined(self.iter().map(one), ",")
    }
}

impl Written for Vec<Name> {
    fn written(&self, _: Unit) -> String {
        joined(self.iter().map(|name| name_text(name)), ":")
    }
}

impl Written for CaptureRd {
    fn written(&self, _: Unit) -> String {
        match self {
            CaptureRd::Both => "both".into(),
            CaptureRd::Only(bit) => u8::from(*bit).to_string(),
        }
    }
}

impl Written for CaptureQr {
    fn written(&self, _: Unit) -> String {
        match self {
            CaptureQr::Pair => "pair".into(),
            CaptureQr::Queries => "0".into(),
            CaptureQr::Responses => "1".into(),
        }
    }
}

impl Written for Compress {
    fn written(&self, _: Unit) -> String {
        match self {
            Compress::Off => "off".into(),
            Compress::Level(level) => level.to_string(),
            Compress::Adaptive => "adaptive".into(),
        }
    }
}

impl Written for Transport {
    fn written(&self, _: Unit) -> String {
        match self {
            Transport::Rsync => "rsync".into(),
            Transport::Sftp => "sftp".into(),
        }
    }
}

impl Written for LogLevel {
    fn written(&self, _: Unit) -> String {
        match self {
            LogLevel::Error => "error".into(),
            LogLevel::Warning => "warning".into(),
            LogLevel::Info => "info".into(),
            LogLevel::Debug => "debug".into(),
        }
    }
}

impl Written for SyslogPriority {
    fn written(&self, _: Unit) -> String {
        let name = |names: &[&'static str], index: u8| names.get(usize::from(index)).copied().unwrap_or_default();
        format!("{}.{}", name(&FACILITIES, self.facility), name(&SEVERITIES, self.severity))
    }
}

impl Written for SubmitServer {
    fn written(&self, unit: Unit) -> String {
        match self {
            SubmitServer::Srv(name) => name.clone(),
            SubmitServer::HostPort(host, port) if host.contains(':') => format!("[{host}]:{port}"),
            SubmitServer::HostPort(host, port) => format!("{host}:{port}"),
            SubmitServer::Dir(path) => format!("dir:{}", path.written(unit)),
        }
    }
}

fn joined(items: impl Iterator<Item = String>, separator: &str) -> String {
    items.collect::<Vec<_>>().join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::table::Reload;
    use crate::config::{Empty, load};
    use proptest::prelude::*;

    /// Texts that settings may be given: some of every kind, so that each row takes a few.
    const TEXTS: &[&str] = &[
        "0",
        "1",
        "2",
        "7",
        "60",
        "53",
        "1024",
        "30000",
        "65536",
        "",
        "no",
        "yes",
        "both",
        "pair",
        "off",
        "adaptive",
        "12",
        "sftp",
        "rsync",
        "debug",
        "error",
        "warning",
        "kern.emerg",
        "local7.debug",
        "authpriv.err",
        "eth0",
        "eth0+,eth1, lo",
        "vlan.7+,1522",
        "192.0.2.1, 2001:db8::/32",
        "10.1.2.3/8",
        "::1",
        "192.0.2.9",
        "127.0.0.1:80",
        "[::1]:9",
        "host.example",
        "host:22",
        "host:",
        "[2001:db8::1]:22",
        "dir:/var/tmp",
        "/var/spool/sie",
        "/",
        "/with blank/and = sign",
        "Example.COM:a\\.b.c\\:d:.",
        "ch9",
        "sie-upload",
        "a = 'b' \"c\" \\ $d `e` #f",
        "53, 5353,65535",
        "8796093022208",
        "keep",
        "drop x",
        "/x\u{2028}y",
    ];

    /// The settings after those of `assignments` that are valid have been made.
    fn assigned(assignments: &[(usize, usize)]) -> Settings {
        let mut settings = Settings::default();
        for &(setting, text) in assignments {
            let (setting, text) = (&SETTINGS[setting % SETTINGS.len()], TEXTS[text % TEXTS.len()]);
            let mut next = settings.clone();
            let is_unset = text.is_empty() && setting.empty == Empty::Unset;
            if !is_unset && (setting.set)(&mut next, text, &mut Vec::new()).is_ok() {
                settings = next;
            }
        }
        let lists = [settings.filter_include.clone(), settings.filter_exclude.clone()];
        let [include, exclude] = lists;
        settings.name_filter = NameFilter::new(include, exclude);
        settings
    }

    #[test]
    fn every_setting_takes_at_least_one_text_besides_its_default_and_reads_back() {
        for (index, setting) in SETTINGS.iter().enumerate() {
            let mut taken = 0;
            for (number, text) in TEXTS.iter().enumerate() {
                let settings = assigned(&[(index, number)]);
                let read = Settings::from_text(&settings.to_text());
                assert_eq!(read.as_ref(), Ok(&settings), "{} {text}", setting.name);
                taken += usize::from(settings != Settings::default());
            }
            assert!(taken > 0, "{}", setting.name);
        }
    }

    #[test]
    fn every_facility_and_severity_is_written_by_its_name() {
        for facility in FACILITIES.iter().filter(|name| !name.is_empty()) {
            for severity in SEVERITIES {
                let text = format!("{facility}.{severity}");
                assert_eq!(syslog_priority(&text, &mut Vec::new()).unwrap().written(Unit::Count), text);
            }
        }
    }

    #[test]
    fn names_of_files_travel_with_the_rest() {
        let path = std::env::temp_dir().join(format!("sie-config-names-{}", std::process::id()));
        std::fs::write(&path, "b.example\n\\000\\255.example\n.\n").unwrap();
        let set = format!("DNSQR_FILTER_QNAMES_EXCLUDE_FILE={}", path.display());
        let settings = load(None, &[set, "DNSQR_FILTER_QNAMES_INCLUDE=a.example".into()]).unwrap().0;
        std::fs::remove_file(&path).unwrap();
        let text = settings.to_text();
        assert!(text.contains("\ndrop \\000\\255.example\n") && text.contains("keep a.example\n"), "{text}");
        assert_eq!(Settings::from_text(&text), Ok(settings));
    }

    #[test]
    fn a_hundred_thousand_names_travel_too() {
        let names = (0..100_000).map(|number| parse_name(&format!("host{number}.example.net")).unwrap());
        let settings = Settings { name_filter: NameFilter::new([], names), ..Settings::default() };
        let read = Settings::from_text(&settings.to_text());
        assert!(read.as_ref() == Ok(&settings) && settings.differences(&read.unwrap()).is_empty());
    }

    #[test]
    fn a_text_of_another_version_is_refused_with_what_is_wrong() {
        let problems = Settings::from_text("new_setting=1\nmaxper=x\nwhat\ndrop a..b\n").unwrap_err().to_string();
        assert_eq!(problems.lines().count(), 4, "{problems}");
        assert!(problems.contains("from the supervisor: maxper=\"x\": not a whole number"), "{problems}");
    }

    #[test]
    fn differences_are_told_with_what_they_need() {
        let old = load(None, &["DNSQR_FILTER_QNAMES_EXCLUDE_FILE=/dev/null".into()]).unwrap().0;
        let names = |changed: Vec<&Setting>| changed.iter().map(|s| (s.name, s.reload)).collect::<Vec<_>>();
        assert!(old.differences(&old.clone()).is_empty());
        let new = Settings { spool_dir: "/srv".into(), capture_threads: 2, upload: false, ..old.clone() };
        let expected = [("capture_threads", Reload::NewChild), ("spooldir", Reload::Restart), ("upload", Reload::Hup)];
        assert_eq!(names(old.differences(&new)), expected);
        let filled = Settings { name_filter: NameFilter::new([], [parse_name("a").unwrap()]), ..old.clone() };
        assert_eq!(names(old.differences(&filled)), [("DNSQR_FILTER_QNAMES_EXCLUDE_FILE", Reload::Hup)]);
    }

    proptest! {
        #[test]
        fn settings_read_back_from_their_text(assignments in proptest::collection::vec(any::<(usize, usize)>(), 0..60)) {
            let settings = assigned(&assignments);
            prop_assert_eq!(Settings::from_text(&settings.to_text()), Ok(settings));
        }
    }
}
