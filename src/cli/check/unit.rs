//! What of the settings the unit that comes with the sensor does not allow for, and the drop-in that does.

use super::report::Report;
use crate::{
    config::{Settings, SubmitServer, default_path},
    daemon::directories::STAGES,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Of the sensor, without a name.
const UNIT: &str = "sie-dns-sensor";
/// The spool of its unit; that of an instance has its name behind it.
const SPOOL: &str = "/var/spool/sie";
/// MemoryMax of the unit, and what of it is for all but the capture process, in kilobytes.
const MEMORY_MAX: u64 = 768 * 1024;
const MEMORY_BESIDE: u64 = 256 * 1024;
/// What ProtectHome hides.
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];
/// What PrivateTmp replaces.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

pub(super) fn describe(settings: &Settings, file: &Path, report: &mut Report) {
    let Some(drop_in) = drop_in(settings, file) else { return };
    report.heading("unit");
    report.row("drop-in", format!("where systemd starts the sensor; write it with: systemctl edit {}", unit(file)));
    drop_in.lines().for_each(|line| report.line(format!("    {line}")));
}

/// The drop-in; none where the unit is as it should be.
pub(super) fn drop_in(settings: &Settings, file: &Path) -> Option<String> {
    let paths = writable(settings, file);
    let mut used: Vec<PathBuf> = paths.clone();
    if settings.upload && !matches!(settings.submit_server, SubmitServer::Dir(_)) {
        used.extend([settings.upload_key_path(), settings.known_hosts_path()]);
    }
    let is_below = |roots: &[&str]| used.iter().any(|path| roots.iter().any(|root| path.starts_with(root)));
    let mut lines = Vec::new();
    if !paths.is_empty() {
        // The first empties the unit's list.
        let list: Vec<String> = paths.iter().map(|path| quoted(path)).collect();
        lines.extend(["ReadWritePaths=".to_owned(), format!("ReadWritePaths={}", list.join(" "))]);
    }
    if is_below(&HOMES) {
        lines.push("ProtectHome=read-only".to_owned());
    }
    if is_below(&TEMPORARY) {
        lines.push("PrivateTmp=no".to_owned());
    }
    let memory = settings.memory_limit / 1024 + MEMORY_BESIDE;
    if memory > MEMORY_MAX {
        lines.push(format!("MemoryMax={memory}K"));
    }
    (!lines.is_empty()).then(|| format!("[Service]\n{}\n", lines.join("\n")))
}

/// What the sensor writes below, if that is not what the unit lets it; the spool as one path, so that files can be moved in
/// it.
fn writable(settings: &Settings, file: &Path) -> Vec<PathBuf> {
    let spool = match instance(file) {
        Some(name) => PathBuf::from(format!("{SPOOL}-{name}")),
        None => PathBuf::from(SPOOL),
    };
    let mut paths = vec![settings.spool_dir.clone()];
    paths.extend(STAGES.iter().filter_map(|stage| elsewhere(&settings.spool_dir, stage)));
    if settings.upload
        && let SubmitServer::Dir(target) = &settings.submit_server
    {
        // A disk that is mounted there later is seen through the unit's own mount.
        paths.push(target.clone());
    }
    if paths == [spool] { Vec::new() } else { paths }
}

/// Where a stage is that somebody put on another disk, with a link in the spool.
fn elsewhere(spool: &Path, stage: &str) -> Option<PathBuf> {
    let stage = spool.join(stage);
    let target = fs::canonicalize(&stage).ok().filter(|_| stage.is_symlink())?;
    let is_inside = fs::canonicalize(spool).is_ok_and(|spool| target.starts_with(spool));
    (!is_inside).then_some(target)
}

fn unit(file: &Path) -> String {
    instance(file).map_or(UNIT.to_owned(), |name| format!("{UNIT}@{name}"))
}

/// The name of the instance that a configuration file is of.
fn instance(file: &Path) -> Option<&str> {
    let default = default_path().to_str()?;
    file.to_str()?.strip_prefix(default)?.strip_prefix('-')
}

/// A path that need not be there, as systemd reads words and its own specifiers. In lists of paths it takes no \x20 for a
/// blank; quotes are what all its versions know.
fn quoted(path: &Path) -> String {
    let mut quoted = "-".to_owned();
    for character in path.to_string_lossy().chars() {
        match character {
            '%' => quoted.push_str("%%"),
            '"' | '\'' | '\\' => quoted.extend(['\\', character]),
            character => quoted.push(character),
        }
    }
    if quoted.contains(char::is_whitespace) { format!("\"{quoted}\"") } else { quoted }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn of(file: &str, sets: &[&str]) -> Option<String> {
        let required = ["interface=lo", "DNSQR_RES_ADDRS=192.0.2.1"];
        let sets: Vec<String> = required.iter().chain(sets).map(|set| set.to_string()).collect();
        let (settings, _) = config::load(None, &sets).unwrap();
        drop_in(&settings, Path::new(file))
    }

    fn default(sets: &[&str]) -> String {
        of(default_path().to_str().unwrap(), sets).unwrap_or_default()
    }

    #[test]
    fn the_unit_allows_for_the_settings_as_they_are_shipped() {
        assert_eq!(default(&[]), "");
        assert_eq!(default(&["memory_ulimit_kbytes=524288", "archive=yes"]), "");
        assert_eq!(of("/elsewhere/sie-dns-sensor-b", &[]), None);
    }

    #[test]
    fn the_units_have_room_for_two_capture_processes_with_all_threads_that_can_be_set() {
        let required = ["interface=lo", "DNSQR_RES_ADDRS=192.0.2.1"].map(str::to_owned);
        let threads = |count: u64| config::load(None, &[&required[..], &[format!("capture_threads={count}")]].concat());
        let most = (1..=4096).rev().find(|count| threads(*count).is_ok()).unwrap();
        // Each thread has another that compresses; two more of the process, and what the other processes are.
        let wanted = 2 * (2 * most + 2) + 64;
        for unit in ["sie-dns-sensor.service", "sie-dns-sensor@.service", "sie-dns-sensor-one-user.service"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("initscripts/systemd").join(unit);
            let text = fs::read_to_string(path).unwrap();
            let limit: u64 = text.lines().find_map(|line| line.strip_prefix("TasksMax=")?.parse().ok()).unwrap();
            assert!(limit >= wanted, "{unit}: {limit} < {wanted}");
        }
    }

    #[test]
    fn another_spool_is_the_one_path_to_write_to() {
        let expected = "[Service]\nReadWritePaths=\nReadWritePaths=\"-/data/a b%%\"\n";
        assert_eq!(default(&["spooldir=/data/a b%"]), expected);
    }

    #[test]
    fn a_stage_that_is_a_link_to_another_disk_is_written_to_where_it_is() {
        let scratch = std::env::temp_dir().join(format!("sie-unit-{}", std::process::id()));
        let _ = fs::remove_dir_all(&scratch);
        for name in ["disk", "spool/waiting", "spool/inside"] {
            fs::create_dir_all(scratch.join(name)).unwrap();
        }
        std::os::unix::fs::symlink(scratch.join("disk"), scratch.join("spool/archive")).unwrap();
        std::os::unix::fs::symlink("inside", scratch.join("spool/new")).unwrap();
        let text = default(&[&format!("spooldir={}/spool", scratch.display())]);
        let (spool, disk) = (scratch.join("spool"), fs::canonicalize(scratch.join("disk")).unwrap());
        fs::remove_dir_all(&scratch).unwrap();
        let expected = format!("ReadWritePaths=-{} -{}\n", spool.display(), disk.display());
        assert!(text.contains(&expected), "{text}");
    }

    #[test]
    fn more_memory_for_capturing_is_more_for_all() {
        assert_eq!(default(&["memory_ulimit_kbytes=1048576"]), "[Service]\nMemoryMax=1310720K\n");
    }

    #[test]
    fn a_key_in_a_home_directory_can_be_read() {
        assert_eq!(default(&["uploadkey=/home/sie/.ssh/id_rsa"]), "[Service]\nProtectHome=read-only\n");
        assert_eq!(default(&["uploadkey=/home/sie/.ssh/id_rsa", "upload=no"]), "");
        assert!(default(&["spooldir=/var/tmp/sie"]).ends_with("-/var/tmp/sie\nPrivateTmp=no\n"));
    }

    #[test]
    fn the_directory_that_takes_files_can_be_written_to() {
        let expected = "[Service]\nReadWritePaths=\nReadWritePaths=-/var/spool/sie -/mnt/disk\n";
        assert_eq!(default(&["submitserver=dir:/mnt/disk"]), expected);
    }

    #[test]
    fn an_instance_has_a_spool_of_its_name() {
        let file = format!("{}-b", default_path().display());
        assert_eq!(of(&file, &["spooldir=/var/spool/sie-b"]), None);
        let expected = "[Service]\nReadWritePaths=\nReadWritePaths=-/var/spool/sie\n";
        assert_eq!(of(&file, &[]).as_deref(), Some(expected));
        assert_eq!(unit(Path::new(&file)), "sie-dns-sensor@b");
    }
}
