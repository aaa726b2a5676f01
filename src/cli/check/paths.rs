//! The files and directories that the sensor would use, and whether its users may.

use super::{accounts::Account, report::Report};
use crate::{
    config::{Settings, SubmitServer},
    escape::escaped,
    upload::program,
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
        return directory(settings, target, report);
    }
    upload_key(settings, report);
    known_hosts(settings, report);
    ssh_program(settings, report);
}

/// The program in the place of the SSH built in.
fn ssh_program(settings: &Settings, report: &mut Report) {
    let Some(word) = settings.ssh_program.first() else { return };
    match program::find(word) {
        Ok(path) => report.row("ssh program", escaped(&path)),
        Err(error) => {
            report.row("ssh program", format!("{word}, missing"));
            report.warn(format!("cannot run ssh_program: {error}; nothing is uploaded without it"));
        }
    }
}

/// The spool's directories; false when there is no spool.
fn spool(settings: &Settings, report: &mut Report) -> bool {
    let root = &settings.spool_dir;
    match fs::metadata(root) {
        Ok(metadata) if metadata.is_dir() => report.row("spool", described(root, &metadata)),
        Ok(_) => {
            report.row("spool", format!("{}, no directory", escaped(root)));
            report.warn(format!("{} is no directory; name one in spooldir", escaped(root)));
            return false;
        }
        Err(error) => {
            report.row("spool", format!("{}, missing", escaped(root)));
            let user = &settings.user;
            let line = format!("install -d -m 2770 -o {user} -g {user} {}", escaped(root));
            report.warn(format!("cannot use {}: {error}; make it with:\n    {line}", escaped(root)));
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

fn free_space(settings: &Settings, report: &mut Report) {
    let Ok(status) = statvfs(&settings.spool_dir) else { return };
    // The types differ between systems.
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
    let free = (status.blocks_available() as u64).saturating_mul(status.fragment_size() as u64);
    let (free, least) = (free / 1024, settings.min_free / 1024);
    report.row("free", format!("{free} kilobytes; nothing is written below {least}"));
    if free < least {
        report.warn(format!(
            "{} has {free} kilobytes free, less than min_free_kbytes=\"{least}\": nothing would be written",
            escaped(&settings.spool_dir)
        ));
    }
}

fn upload_key(settings: &Settings, report: &mut Report) {
    let key = settings.upload_key_path();
    match fs::metadata(&key) {
        Ok(metadata) => {
            report.row("upload key", described(&key, &metadata));
            permit(settings, report, &settings.upload_user, &key, READ);
            // As the uploader judges it, which refuses such a key.
            let (path, user) = (escaped(&key), &settings.upload_user);
            if metadata.mode() & 0o077 != 0 {
                report.warn(format!("others than {user} can use {path}; chmod 0600 {path}"));
            }
            let is_of = |account: Account| account.user.as_raw() == metadata.uid();
            if metadata.uid() != 0 && !Account::of(settings, user).is_none_or(is_of) {
                report.warn(format!("{path} is not the key of {user}; chown {user} {path}"));
            }
        }
        Err(error) => {
            report.row("upload key", format!("{}, missing", escaped(&key)));
            report.warn(format!("cannot read {}: {error}; nothing is uploaded without it", escaped(&key)));
        }
    }
}

/// The file of the server's keys.
fn known_hosts(settings: &Settings, report: &mut Report) {
    let hosts = settings.known_hosts_path();
    match fs::metadata(&hosts) {
        Ok(metadata) => {
            report.row("known hosts", described(&hosts, &metadata));
            permit(settings, report, &settings.upload_user, &hosts, READ);
        }
        Err(error) => {
            report.row("known hosts", format!("{}, missing", escaped(&hosts)));
            report.warn(format!("cannot read {}: {error}; no server is trusted", escaped(&hosts)));
        }
    }
}

/// The directory in the place of a server. It is not made: where a disk is not mounted, the one below would fill.
fn directory(settings: &Settings, target: &Path, report: &mut Report) {
    let below = settings.remote_dir.as_deref().map(|below| target.join(below.trim_start_matches('/')));
    let path = below.unwrap_or_else(|| target.to_owned());
    match fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => {
            report.row("upload directory", described(&path, &metadata));
            permit(settings, report, &settings.upload_user, &path, READ | WRITE | SEARCH);
        }
        Ok(_) => {
            report.row("upload directory", format!("{}, no directory", escaped(&path)));
            report.warn(format!("{} is no directory; nothing can be uploaded to it", escaped(&path)));
        }
        Err(error) => {
            report.row("upload directory", format!("{}, missing", escaped(&path)));
            report.warn(format!("cannot use {}: {error}; make it, it is not made by the sensor", escaped(&path)));
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
            report.warn(format!("user {user} may not {what} {}; see its owner and mode with ls -ld", escaped(path)));
        }
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
