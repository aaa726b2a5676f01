//! The users that the sensor's processes would run as.

use super::report::Report;
use crate::{
    config::Settings,
    daemon::users::{MissingUser, User},
};
use nix::unistd::{Gid, Group, Uid};

/// Who a user is to the file system.
pub(super) struct Account {
    pub(super) user: Uid,
    pub(super) group: Gid,
}

impl Account {
    /// None when there is no such user. The capture user's group is shared by the upload user, whatever its own.
    pub(super) fn of(settings: &Settings, name: &str) -> Option<Account> {
        let shared = User::find(&settings.user).ok().map(|user| user.gid);
        User::find(name).ok().map(|user| Account { user: user.uid, group: shared.unwrap_or(user.gid) })
    }
}

pub(in crate::cli) fn describe(settings: &Settings, report: &mut Report) {
    report.heading("users");
    let capture = User::find(&settings.user);
    let mut users = vec![("capture", &settings.user, capture.clone())];
    if settings.upload {
        let upload = match &capture {
            Ok(capture) => User::find_sharing(&settings.upload_user, capture),
            Err(_) => User::find(&settings.upload_user).map_err(|missing| in_group_of(&settings.user, missing)),
        };
        users.push(("upload", &settings.upload_user, upload));
    }
    for (purpose, name, found) in users {
        match found {
            Ok(user) => {
                let group = Group::from_gid(user.gid).ok().flatten().map_or(user.gid.to_string(), |group| group.name);
                report.row(purpose, format!("{name}, group {group}"));
            }
            Err(missing) => {
                report.row(purpose, format!("{name}, not usable"));
                let (what, cure) = missing.parts();
                report.fault(what, cure);
            }
        }
    }
}

/// The line that makes the upload user names the group of the other one, missing or not.
fn in_group_of(capture: &str, missing: MissingUser) -> MissingUser {
    match missing {
        MissingUser::Unknown { name, .. } => MissingUser::Unknown { name, shares_with: Some(capture.to_owned()) },
        other => other,
    }
}
