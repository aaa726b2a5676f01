//! What the live sensor requires of its settings, beyond what each of them requires by itself.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{getegid, geteuid};

use super::budget::{Budget, RINGS_MAX, TooSmall};
use super::problem::{Fault, Notice, Place, Problems, Remark, Subject};
use super::{Loader, MetricsListen, Settings};

/// The settings file that is read when none is named.
pub fn default_path() -> &'static Path {
    Path::new(if cfg!(target_os = "freebsd") { "/usr/local/etc/sie/dns-cache" } else { "/etc/default/sie-dns-sensor" })
}

/// As [`super::load`], and all that `run` requires: an interface, addresses, values that go together. A file that others
/// can write is among the notices.
pub fn load_for_run(file: &Path, sets: &[String]) -> Result<(Settings, Vec<Notice>), Problems> {
    of_run(file, Loader::new(None, sets))
}

/// The same once more, without ever waiting for a file: a pipe, which was read the first time, is refused.
pub fn load_again(file: &Path, sets: &[String]) -> Result<(Settings, Vec<Notice>), Problems> {
    of_run(file, Loader { reads_again: true, ..Loader::new(None, sets) })
}

fn of_run(file: &Path, mut loader: Loader) -> Result<(Settings, Vec<Notice>), Problems> {
    match std::fs::metadata(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            loader.problem(&Place::File(file.into()), Subject::Text, Fault::Missing(error.to_string()));
            let settings = loader.settings();
            return loader.conclude(settings); // what else is missing would be in the file
        }
        Err(_) => {} // reading says why
        Ok(metadata) => loader.notice_writers(file, &metadata),
    }
    let of_command_line = std::mem::take(&mut loader.assignments);
    loader.read(file);
    let is_read = !loader.problems.iter().any(|problem| matches!(problem.fault, Fault::Unreadable(_)));
    loader.assignments.extend(of_command_line);
    let settings = loader.settings();
    if is_read {
        loader.require(file, &settings);
    }
    loader.conclude(settings)
}

impl Loader {
    /// Who else can change what the sensor does, which starts as root.
    fn notice_writers(&mut self, file: &Path, metadata: &Metadata) {
        let mut notice = |remark| {
            self.notices.push(Notice { place: Place::File(file.into()), subject: Subject::Text, remark });
        };
        if metadata.mode() & 0o002 != 0 {
            notice(Remark::WorldWritable);
        }
        if metadata.mode() & 0o020 != 0 && ![0, getegid().as_raw()].contains(&metadata.gid()) {
            notice(Remark::GroupWritable(metadata.gid()));
        }
        if ![0, geteuid().as_raw()].contains(&metadata.uid()) {
            notice(Remark::OwnedBy(metadata.uid()));
        }
    }

    fn require(&mut self, file: &Path, settings: &Settings) {
        let file = Place::File(file.into());
        if !self.is_set(&["interface"]) {
            self.problem(&file, Subject::Name("interface".into()), Fault::Required("interface=\"eth0\""));
        }
        if !self.is_set(&["DNSQR_RES_ADDRS", "DNSQR_AUTH_ADDRS"]) {
            self.problem(&file, Subject::Name("DNSQR_RES_ADDRS".into()), Fault::NoAddresses);
        }
        if settings.capture_threads > 1 && !cfg!(target_os = "linux") {
            self.contradiction(&["capture_threads"], &file, Fault::OneThread);
        }
        let rings = settings.interfaces.len() * settings.capture_threads;
        if rings > RINGS_MAX {
            self.contradiction(&["capture_threads", "interface"], &file, Fault::Rings(rings));
        }
        let has_any = settings.interfaces.iter().any(|interface| interface.name == "any");
        if has_any && settings.interfaces.len() > 1 && cfg!(target_os = "linux") {
            self.contradiction(&["interface"], &file, Fault::AnyAndOthers);
        }
        if settings.metrics_listen.as_ref().is_some_and(MetricsListen::is_remote) && !settings.metrics_allow_remote {
            self.contradiction(&["metrics_listen"], &file, Fault::RemoteMetrics);
        }
        if let Err(small) = Budget::new(settings, settings.interfaces.len(), settings.capture_threads) {
            self.contradiction(&TooSmall::CAUSES, &file, Fault::Memory(small));
        }
    }

    /// Where the first of `names` that is set was set, else the file as a whole.
    fn contradiction(&mut self, names: &[&'static str], file: &Place, fault: Fault) {
        let found = names.iter().find_map(|name| self.assignment(name));
        let first = names.first().copied().unwrap_or_default();
        let (place, subject) = match found {
            Some(assignment) => (assignment.value_place.clone(), assignment.subject()),
            None => (file.clone(), Subject::Name(first.into())),
        };
        self.problem(&place, subject, fault);
    }
}
