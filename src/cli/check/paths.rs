//! The files and directories that the sensor would use, and whether its users may.

use super::{accounts::Account, report::Report};
use crate::{
    config::{Settings, SubmitServer},
    escape::escaped,
    upload::{Plan, directory, program},
};
use nix::{
    sys::statvfs::statvfs,
    unistd::{Gid, Group, Uid, User},
};
use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::Path,
};

/// A limit of what waits that is worth setting, in kilobytes.
const FITS_MIN: u64 = 1024;

/// Bits of a mode, for its owner.
const READ: u32 = 4;
const WRITE: u32 = 2;
const SEARCH: u32 = 1;

pub(super) fn describe(settings: &Settings, report: &mut Report) {
    report.heading("paths");
    if spool(settings, report) {
        free_space(settings, report);
    }
    if !settings.upload {
        return;
    }
    if let SubmitServer::Dir(target) = &settings.submit_server {
        return self::target(settings, target, report);
    }
    upload_key(settings, report);
    known_hosts(settings, report);
    ssh_program(settings, report);
}

/// The program in the place of the SSH built in.
pub(in crate::cli) fn ssh_program(settings: &Settings, report: &mut Report) {
    let Some(word) = settings.ssh_program.first() else { return };
    match program::find(word) {
        Ok(path) => report.row("ssh program", escaped(&path)),
        Err(error) => {
            report.row("ssh program", format!("{word}, missing"));
            report.fault(format!("cannot run ssh_program: {error}"), "nothing is uploaded without it");
        }
    }
}

/// The spool's directories; false when there is no spool.
pub(in crate::cli) fn spool(settings: &Settings, report: &mut Report) -> bool {
    let root = &settings.spool_dir;
    match fs::metadata(root) {
        Ok(metadata) if metadata.is_dir() => report.row("spool", described(root, &metadata)),
        Ok(_) => {
            report.row("spool", format!("{}, no directory", escaped(root)));
            report.fault(format!("{} is no directory", escaped(root)), "name one in spooldir");
            return false;
        }
        Err(error) => {
            report.row("spool", format!("{}, missing", escaped(root)));
            let user = &settings.user;
            let line = format!("install -d -m 2770 -o {user} -g {user} {}", escaped(root));
            report.fault(format!("cannot use {}: {error}", escaped(root)), format!("make it with:\n    {line}"));
            return false;
        }
    }
    let mut parts = vec![("new", &settings.user)];
    if settings.upload {
        parts.push(("waiting", &settings.upload_user));
    }
    if settings.archive {
        parts.push(("archive", &settings.upload_user));
    }
    for (part, user) in parts {
        let path = root.join(part).join(&settings.channel);
        match fs::metadata(&path) {
            Ok(metadata) => {
                report.row(part, described(&path, &metadata));
                permit(settings, report, user, &path, READ | WRITE | SEARCH);
            }
            Err(_) => report.row(part, format!("{}, made at the start", escaped(&path))),
        }
    }
    true
}

pub(in crate::cli) fn free_space(settings: &Settings, report: &mut Report) {
    let Ok(status) = statvfs(&settings.spool_dir) else { return };
    // The types differ between systems.
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
    let free = (status.blocks_available() as u64).saturating_mul(status.fragment_size() as u64);
    let (free, least) = (free / 1024, settings.min_free / 1024);
    report.row("free", format!("{free} kilobytes; nothing is written below {least}"));
    if free < least {
        let spool = escaped(&settings.spool_dir);
        let less = format!("{spool} has {free} kilobytes free, less than min_free_kbytes=\"{least}\"");
        report.fault(format!("{less}: nothing would be written"), "make room there, or set a lower min_free_kbytes");
        return;
    }
    let Some(limit) = settings.max_spool_size.filter(|_| settings.upload) else { return };
    // What waits while the server is away takes this much before the oldest goes.
    let (more, room) = (limit.saturating_sub(waiting(settings)) / 1024, free - least);
    report.row("to wait", format!("{more} kilobytes more at most, of {room} that may be written"));
    if room < more {
        let (limit, fits) = (limit / 1024, limit / 1024 - more + room);
        let other = match fits {
            FITS_MIN.. => format!(", or set max_spool_size_kbytes=\"{fits}\""),
            _ => String::new(), // 0 would be no limit
        };
        report.warn(
            format!("files that wait may take {limit} kilobytes (max_spool_size_kbytes), and writing stops before"),
            format!("make room there{other}"),
        );
    }
}

/// Bytes of the files that wait.
fn waiting(settings: &Settings) -> u64 {
    let files = fs::read_dir(settings.spool_dir.join("waiting").join(&settings.channel)).into_iter().flatten();
    files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len())).sum()
}

pub(in crate::cli) fn upload_key(settings: &Settings, report: &mut Report) {
    let key = settings.upload_key_path();
    match fs::metadata(&key) {
        Ok(metadata) => {
            report.row("upload key", described(&key, &metadata));
            permit(settings, report, &settings.upload_user, &key, READ);
            // As the uploader judges it, which refuses such a key.
            let (path, user) = (escaped(&key), &settings.upload_user);
            if metadata.mode() & 0o077 != 0 {
                report.fault(format!("others than {user} can use {path}"), format!("chmod 0600 {path}"));
            }
            let is_of = |account: Account| account.user.as_raw() == metadata.uid();
            if metadata.uid() != 0 && !Account::of(settings, user).is_none_or(is_of) {
                report.fault(format!("{path} is not the key of {user}"), format!("chown {user} {path}"));
            }
        }
        Err(error) => {
            report.row("upload key", format!("{}, missing", escaped(&key)));
            report.fault(format!("cannot read {}: {error}", escaped(&key)), "sie-gen-key makes one");
        }
    }
}

/// The file of the server's keys.
pub(in crate::cli) fn known_hosts(settings: &Settings, report: &mut Report) {
    let hosts = settings.known_hosts_path();
    match fs::metadata(&hosts) {
        Ok(metadata) => {
            report.row("known hosts", described(&hosts, &metadata));
            permit(settings, report, &settings.upload_user, &hosts, READ);
        }
        Err(error) => {
            report.row("known hosts", format!("{}, missing", escaped(&hosts)));
            report.fault(format!("cannot read {}: {error}", escaped(&hosts)), "put the server keys there");
        }
    }
}

/// The directory in the place of a server. It is not made: where a disk is not mounted, the one below would fill.
pub(in crate::cli) fn target(settings: &Settings, target: &Path, report: &mut Report) {
    let path = directory::destination(target, settings.remote_dir.as_deref());
    match fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => {
            report.row("upload directory", described(&path, &metadata));
            permit(settings, report, &settings.upload_user, &path, READ | WRITE | SEARCH);
            if directory::is_spool(&path, &Plan::new(settings).waiting) {
                let what = format!("cannot use {}: {}", escaped(&path), directory::IS_SPOOL);
                report.fault(what, "name another directory in submitserver");
            }
        }
        Ok(_) => {
            report.row("upload directory", format!("{}, no directory", escaped(&path)));
            report.fault(format!("{} is no directory", escaped(&path)), "nothing can be uploaded to it");
        }
        Err(error) => {
            report.row("upload directory", format!("{}, missing", escaped(&path)));
            report.fault(format!("cannot use {}: {error}", escaped(&path)), "make it, it is not made by the sensor");
        }
    }
}

/// A path with its mode and owner.
fn described(path: &Path, metadata: &Metadata) -> String {
    let (user, group) = (Uid::from_raw(metadata.uid()), Gid::from_raw(metadata.gid()));
    let user = User::from_uid(user).ok().flatten().map_or(user.to_string(), |user| user.name);
    let group = Group::from_gid(group).ok().flatten().map_or(group.to_string(), |group| group.name);
    format!("{}, mode {:04o}, {user}:{group}", escaped(path), metadata.mode() & 0o7777)
}

/// Warns when `user` may not use a path so, or not reach it.
fn permit(settings: &Settings, report: &mut Report, user: &str, path: &Path, wanted: u32) {
    let Some(account) = Account::of(settings, user) else { return }; // said with the users
    let reach = path.ancestors().skip(1).map(|above| (above, SEARCH));
    for (path, wanted) in [(path, wanted)].into_iter().chain(reach) {
        if fs::metadata(path).is_ok_and(|metadata| !allows(&account, &metadata, wanted)) {
            let what = match wanted {
                SEARCH => "enter",
                READ => "read",
                _ => "write",
            };
            report.fault(
                format!("user {user} may not {what} {}", escaped(path)),
                permitting(settings, user, path, wanted),
            );
        }
    }
}

/// What lets `user` use a path so.
fn permitting(settings: &Settings, user: &str, path: &Path, wanted: u32) -> String {
    let shown = escaped(path);
    match wanted {
        SEARCH => format!("chmod a+x {shown}"),
        READ => format!("chown {user} {shown}"),
        // The spool's directories are of the user that captures, and of its group, in which the other one is.
        _ if path.starts_with(&settings.spool_dir) => {
            let owner = &settings.user;
            format!("chown {owner}:{owner} {shown} && chmod 2770 {shown}")
        }
        _ => format!("chown {user} {shown} && chmod u+rwx {shown}"),
    }
}

/// Whether the mode allows it. Access lists are not looked at.
fn allows(account: &Account, metadata: &Metadata, wanted: u32) -> bool {
    let shift = match () {
        () if metadata.uid() == account.user.as_raw() => 6,
        () if metadata.gid() == account.group.as_raw() => 3,
        () => 0,
    };
    account.user.is_root() || (metadata.mode() >> shift) & wanted == wanted
}
