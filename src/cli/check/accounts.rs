//! The users that the sensor's processes would run as.

use super::report::Report;
use crate::config::Settings;
use nix::unistd::{Gid, Group, Uid, User};

/// Who a user is to the file system.
pub(super) struct Account {
    pub(super) user: Uid,
    pub(super) group: Gid,
}

impl Account {
    /// None when there is no such user. The capture user's group is shared by the upload user, whatever its own.
    pub(super) fn of(settings: &Settings, name: &str) -> Option<Account> {
        let shared = find(&settings.user).map(|user| user.gid);
        find(name).map(|user| Account { user: user.uid, group: shared.unwrap_or(user.gid) })
    }
}

fn find(name: &str) -> Option<User> {
    User::from_name(name).ok().flatten()
}

pub(super) fn describe(settings: &Settings, report: &mut Report) {
    report.heading("users");
    let mut users = vec![("capture", &settings.user, None)];
    if settings.upload {
        users.push(("upload", &settings.upload_user, Some(&settings.user)));
    }
    for (purpose, name, group) in users {
        match find(name) {
            Some(user) => {
                let group = Group::from_gid(user.gid).ok().flatten().map_or(user.gid.to_string(), |group| group.name);
                report.row(purpose, format!("{name}, group {group}"));
            }
            None => {
                report.row(purpose, format!("{name}, missing"));
                let line = line_that_makes(name, group.map(String::as_str), settings);
                report.warn(format!("user {name} does not exist; make it with:\n    {line}"));
            }
        }
    }
}

/// The command for a user that does not exist: with a group of its own, or in `group`.
fn line_that_makes(name: &str, group: Option<&str>, settings: &Settings) -> String {
    let home = settings.spool_dir.display();
    if cfg!(target_os = "freebsd") {
        let group = group.map(|group| format!(" -g {group}")).unwrap_or_default();
        return format!("pw useradd {name}{group} -d {home} -s /usr/sbin/nologin");
    }
    let group = group.map_or("--user-group".to_owned(), |group| format!("--gid {group}"));
    format!("useradd --system {group} --no-create-home -d {home} -s /usr/sbin/nologin {name}")
}
