//! Settings: from the file's text and the command line to values that are valid.
//!
//! `spec` reads what was typed, `table` has a row for every setting, `numbers`, `values`, `addresses` and `qnames`
//! their types, `problem` the messages; `text` hands settings to another process, `budget` divides the memory.
//! [`load`] gives all settings, or every problem at once; [`load_for_run`] with what the live sensor requires, and
//! [`load_again`] so too when it runs.

pub mod addresses;
pub mod budget;
pub mod numbers;
pub mod problem;
pub mod qnames;
mod run;
pub mod spec;
pub mod table;
mod text;
pub mod values;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use addresses::{AddressSet, PortSet};
pub use budget::{Budget, RINGS_MAX};
pub use problem::{Notice, Problem, Problems};
pub use qnames::NameFilter;
pub(crate) use qnames::parse_name;
pub use run::{default_path, load_again, load_for_run};
pub use table::{Command, Empty, Reload, SETTINGS, Setting, Settings};
pub use values::{
    CaptureQr, CaptureRd, Compress, Interface, LogLevel, MetricsListen, SubmitServer, SyslogPriority, Transport,
};

use problem::{Fault, Place, Remark, Subject};
use qnames::Name;
use spec::Assignment;
use table::{OBSOLETE, REPLACED};

/// What a configuration file may have at most: more than a hundred times what the shipped one has.
const FILE_MAX: u64 = 1 << 20;
/// What a file of names may have at most: some ten million of the usual length.
const NAMES_MAX: u64 = 256 << 20;

/// Reads the settings: `sets` (each `NAME=VALUE`, as after `--set`) over `file` over defaults. Environment variables
/// are not read. What was accepted but differs from what was written comes with them, in the order of the places.
pub fn load(file: Option<&Path>, sets: &[String]) -> Result<(Settings, Vec<Notice>), Problems> {
    let mut loader = Loader::new(file, sets);
    let settings = loader.settings();
    loader.conclude(settings)
}

impl Settings {
    /// The RD bit that replay goes by: both unless set.
    pub fn replay_capture_rd(&self) -> CaptureRd {
        self.capture_rd.unwrap_or(CaptureRd::Both)
    }

    /// The RD bit that the live sensor goes by: 0 unless set, so that queries of clients are not collected.
    pub fn run_capture_rd(&self) -> CaptureRd {
        self.capture_rd.unwrap_or(CaptureRd::Only(false))
    }

    /// How much younger than its answer a query may be: what is set, else 2 ms when there are several interfaces, whose
    /// clocks and queues differ.
    pub fn pair_slack_for(&self, interfaces: usize) -> Duration {
        let unset = if interfaces > 1 { Duration::from_millis(2) } else { Duration::ZERO };
        self.pair_slack.unwrap_or(unset)
    }

    /// The private key's path.
    pub fn upload_key_path(&self) -> PathBuf {
        self.upload_key.clone().unwrap_or_else(|| self.spool_dir.join("keys/upload"))
    }

    /// The path of the far end's keys.
    pub fn known_hosts_path(&self) -> PathBuf {
        self.known_hosts.clone().unwrap_or_else(|| self.spool_dir.join("keys/known_hosts"))
    }

    /// The directory at the far end, with a slash at its end.
    pub fn remote_dir_path(&self) -> String {
        let set = self.remote_dir.as_ref().map(|dir| format!("{}/", dir.trim_end_matches('/')));
        set.unwrap_or_else(|| format!("up/{}/", self.channel))
    }
}

/// What has been gathered so far.
#[derive(Default)]
struct Loader {
    /// In ascending precedence.
    assignments: Vec<Assignment>,
    /// Lines of the file that say nothing for a problem of their own.
    refused: String,
    /// Variables that the file itself uses.
    expanded: HashSet<String>,
    problems: Vec<Problem>,
    notices: Vec<Notice>,
    /// Files were read before, by this process, which has other things to do than to wait for one.
    reads_again: bool,
}

impl Loader {
    /// With all that was typed.
    fn new(file: Option<&Path>, sets: &[String]) -> Loader {
        let mut loader = Loader::default();
        if let Some(file) = file {
            loader.read(file);
        }
        for set in sets {
            loader.set(set);
        }
        loader
    }

    fn read(&mut self, file: &Path) {
        match self.read_some(file, FILE_MAX) {
            Ok(bytes) => {
                let parsed = spec::parse(file, &bytes);
                self.assignments.extend(parsed.assignments);
                self.problems.extend(parsed.problems);
                self.refused.push_str(&parsed.refused);
                self.expanded.extend(parsed.expanded);
            }
            Err(error) => {
                let place = Place::File(file.into());
                self.problem(&place, Subject::Text, Fault::Unreadable(error.to_string()));
            }
        }
    }

    /// A file, unless it is so large that it cannot be what was meant.
    fn read_some(&self, file: &Path, max: u64) -> io::Result<Vec<u8>> {
        let flags = if self.reads_again { libc::O_NONBLOCK } else { 0 };
        let open = File::options().read(true).custom_flags(flags).open(file)?;
        if self.reads_again && open.metadata()?.file_type().is_fifo() {
            return Err(io::Error::other("a pipe gives what it has once; use a file"));
        }
        let mut bytes = Vec::new();
        open.take(max + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {} MiB", max >> 20)));
        }
        Ok(bytes)
    }

    fn set(&mut self, set: &str) {
        match set.split_once('=') {
            Some((name, value)) if !name.is_empty() => self.assignments.push(Assignment {
                name: name.to_owned(),
                value: value.to_owned(),
                place: Place::Set,
                value_place: Place::Set,
            }),
            _ => self.problem(&Place::Set, Subject::Name(set.to_owned()), Fault::SetWithoutValue),
        }
    }

    fn problem(&mut self, place: &Place, subject: Subject, fault: Fault) {
        self.problems.push(Problem { place: place.clone(), subject, fault });
    }

    /// The meaning of it all, files of names included.
    fn settings(&mut self) -> Settings {
        let mut settings = self.assigned();
        let include = self.names(
            &settings.filter_include,
            settings.filter_include_file.as_deref(),
            "DNSQR_FILTER_QNAMES_INCLUDE_FILE",
        );
        let exclude = self.names(
            &settings.filter_exclude,
            settings.filter_exclude_file.as_deref(),
            "DNSQR_FILTER_QNAMES_EXCLUDE_FILE",
        );
        settings.name_filter = NameFilter::new(include, exclude);
        settings
    }

    /// The defaults, and over them the last assignment of each setting.
    fn assigned(&mut self) -> Settings {
        let assignments = std::mem::take(&mut self.assignments);
        let last: HashMap<&str, &Assignment> = assignments.iter().map(|a| (a.name.as_str(), a)).collect();
        let mut settings = Settings::default();
        for setting in SETTINGS {
            if let Some(assignment) = last.get(setting.name) {
                self.apply(setting, assignment, &mut settings);
            }
        }
        for assignment in &assignments {
            self.check_name(assignment);
        }
        self.assignments = assignments;
        settings
    }

    /// The settings, unless there is a problem.
    fn conclude(mut self, settings: Settings) -> Result<(Settings, Vec<Notice>), Problems> {
        self.notices.sort_by(|a, b| a.place.cmp(&b.place));
        if self.problems.is_empty() { Ok((settings, self.notices)) } else { Err(Problems::new(self.problems)) }
    }

    /// The assignment of `name` that counts, if it is not to an empty value.
    fn assignment(&self, name: &str) -> Option<&Assignment> {
        let last = self.assignments.iter().rev().find(|assignment| assignment.name == name);
        last.filter(|assignment| !assignment.value.trim_ascii().is_empty())
    }

    /// Whether anything sets one of `names`, or a line that could not be read would.
    fn is_set(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.assignment(name).is_some() || self.refused.contains(name))
    }

    /// Sets one setting to the value that counts.
    fn apply(&mut self, setting: &Setting, assignment: &Assignment, settings: &mut Settings) {
        let text = assignment.value.trim_ascii();
        if text.is_empty() && setting.empty == Empty::Unset {
            return;
        }
        let mut remarks = Vec::new();
        let set = (setting.set)(settings, text, &mut remarks);
        let subject = Subject::value(&assignment.name, &assignment.value);
        for fault in set.err().into_iter().flat_map(|faults| faults.0) {
            self.problem(&assignment.value_place, subject.clone(), fault);
        }
        self.notices.extend(remarks.into_iter().map(|remark| Notice {
            place: assignment.value_place.clone(),
            subject: subject.clone(),
            remark,
        }));
    }

    /// Says what is no setting, or none any more. A variable that the file uses itself is its own affair.
    fn check_name(&mut self, assignment: &Assignment) {
        let Assignment { name, value, place, value_place } = assignment;
        let in_use = !value.trim_ascii().is_empty();
        if SETTINGS.iter().any(|setting| setting.name == name) {
        } else if OBSOLETE.contains(&name.as_str()) {
            if in_use {
                let subject = Subject::value(name, value);
                self.notices.push(Notice { place: value_place.clone(), subject, remark: Remark::Unused });
            }
        } else if REPLACED.contains(&name.as_str()) {
            if in_use {
                self.problem(value_place, Subject::value(name, value), Fault::Replaced(replacement(name, value)));
            }
        } else if !self.expanded.contains(name) || *place == Place::Set {
            self.problem(place, Subject::Name(name.clone()), Fault::Unknown(nearest(name)));
        }
    }

    /// The names of a list and of the file that the setting `name` names.
    fn names(&mut self, list: &[Name], file: Option<&Path>, name: &str) -> Vec<Name> {
        let mut names = list.to_vec();
        if let (Some(file), Some(assignment)) = (file, self.assignment(name)) {
            match self.read_some(file, NAMES_MAX) {
                Ok(bytes) => names.extend(qnames::parse_file(file, &bytes, &mut self.problems)),
                Err(error) => {
                    let (place, subject) = (assignment.value_place.clone(), assignment.subject());
                    self.problem(&place, subject, Fault::Unreadable(error.to_string()));
                }
            }
        }
        names
    }
}

/// The line to write in the place of an old setting. The usual `src host A or src host B` gives the addresses.
fn replacement(name: &str, value: &str) -> String {
    let setting = match (name, value.trim_ascii()) {
        ("dnstype", "auth") => "DNSQR_AUTH_ADDRS",
        _ => "DNSQR_RES_ADDRS",
    };
    let mut addresses = Vec::new();
    for word in value.split(|c: char| c.is_ascii_whitespace() || "()".contains(c)).filter(|word| !word.is_empty()) {
        match addresses::prefix(word) {
            Ok(_) => addresses.push(word),
            Err(_) if ["src", "dst", "host", "net", "or", "ip", "ip6"].contains(&word) => {}
            Err(_) => {
                addresses.clear(); // a filter of another form: half of it would be wrong
                break;
            }
        }
    }
    addresses.dedup();
    let list = if addresses.is_empty() { "ADDRESS, ADDRESS".to_owned() } else { addresses.join(", ") };
    format!("{setting}=\"{list}\"")
}

/// The setting whose name is most like `name`, when one is: no more than a third of it differs.
fn nearest(name: &str) -> Option<&'static str> {
    let near = SETTINGS.iter().map(|setting| (distance(name, setting.name), setting.name)).min()?;
    (near.0 * 3 <= name.len()).then_some(near.1)
}

/// How many characters must be put in, taken out or changed to make one of the other (Levenshtein), whatever their
/// case. Names longer than any setting's are not compared.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 64 {
        return usize::MAX / 3;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(!x.eq_ignore_ascii_case(&y));
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
