//! The users that the children become.

use crate::config::Settings;
use nix::unistd::{self, Gid, Uid};
use std::{ffi::CString, fmt};

/// A user of this system, with what a process needs to become it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: Uid,
    /// Its own group.
    pub gid: Gid,
    /// All its groups, that one among them.
    pub groups: Vec<Gid>,
}

/// Why a child cannot become a user; says what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MissingUser {
    /// There is none of that name.
    Unknown {
        /// The name.
        name: String,
        /// The user whose group it must be in.
        shares_with: Option<String>,
    },
    /// It cannot write what the other child writes.
    Outside {
        /// The name.
        name: String,
        /// The user whose group it must be in.
        shares_with: String,
    },
    /// Becoming root would not be dropping anything.
    Root {
        /// The name.
        name: String,
    },
    /// The system's user database does not answer.
    Unreadable {
        /// The name.
        name: String,
        /// The cause.
        error: String,
    },
}

impl MissingUser {
    /// Whether another try may find it, with nothing changed here.
    pub fn may_pass(&self) -> bool {
        matches!(self, MissingUser::Unreadable { .. })
    }

    /// What is wrong, and what to do about it, if that is known.
    pub fn parts(&self) -> (String, String) {
        match self {
            MissingUser::Unknown { name, shares_with } => {
                (format!("there is no user {name:?}"), format!("make it: {}", making(name, shares_with.as_deref())))
            }
            MissingUser::Outside { name, shares_with } => (
                format!("user {name:?} is not in the group of {shares_with:?}, whose files it takes"),
                format!("add it: {}", joining(name, shares_with)),
            ),
            MissingUser::Root { name } => (format!("user {name:?} is root"), "name one without privileges".to_owned()),
            MissingUser::Unreadable { name, error } => {
                (format!("cannot look up user {name:?}: {error}"), String::new())
            }
        }
    }
}

impl fmt::Display for MissingUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, cure) = self.parts();
        if cure.is_empty() { f.write_str(&what) } else { write!(f, "{what}; {cure}") }
    }
}

impl std::error::Error for MissingUser {}

impl User {
    /// Looks up a user by name.
    pub fn find(name: &str) -> Result<User, MissingUser> {
        User::find_for(name, None)
    }

    /// Looks up a user that shares files with another one: it must be in its group.
    pub fn find_sharing(name: &str, with: &User) -> Result<User, MissingUser> {
        User::find_for(name, Some(with))
    }

    /// The user that this process is already, for a sensor that root did not start.
    pub fn current() -> Result<User, MissingUser> {
        let uid = unistd::geteuid();
        let unreadable =
            |error: nix::Error| MissingUser::Unreadable { name: uid.to_string(), error: error.to_string() };
        let name = unistd::User::from_uid(uid).map_err(unreadable)?.map_or_else(|| uid.to_string(), |user| user.name);
        Ok(User { name, uid, gid: unistd::getegid(), groups: unistd::getgroups().map_err(unreadable)? })
    }

    fn find_for(name: &str, with: Option<&User>) -> Result<User, MissingUser> {
        let unreadable = |error: String| MissingUser::Unreadable { name: name.to_string(), error };
        let entry = unistd::User::from_name(name).map_err(|error| unreadable(error.to_string()))?;
        let Some(entry) = entry else {
            let shares_with = with.map(|with| with.name.clone());
            return Err(MissingUser::Unknown { name: name.to_string(), shares_with });
        };
        if entry.uid.is_root() {
            return Err(MissingUser::Root { name: name.to_string() });
        }
        let bytes = CString::new(name).map_err(|error| unreadable(error.to_string()))?;
        let groups = unistd::getgrouplist(&bytes, entry.gid).map_err(|error| unreadable(error.to_string()))?;
        match with {
            Some(with) if !groups.contains(&with.gid) => {
                Err(MissingUser::Outside { name: name.to_string(), shares_with: with.name.clone() })
            }
            _ => Ok(User { name: name.to_string(), uid: entry.uid, gid: entry.gid, groups }),
        }
    }
}

/// The users that the sensor's processes become.
///
/// Looked up once, before anything is captured: a database on another host may be slow, or silent for a while, and no process
/// that is started anew is to wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Users {
    /// Of the capture and the views child; the spool is this one's.
    pub capture: User,
    /// Of the upload child.
    pub upload: User,
}

impl Users {
    /// Those of the settings, or the one that started the sensor, if that was not root.
    pub fn find(settings: &Settings) -> Result<Users, MissingUser> {
        let capture = of_capture(settings)?;
        let is_root = unistd::geteuid().is_root();
        let upload = if is_root { User::find_sharing(&settings.upload_user, &capture)? } else { capture.clone() };
        Ok(Users { capture, upload })
    }
}

/// The user of the capture child: the one of the settings, or the one that started the sensor, if that was not root.
pub fn of_capture(settings: &Settings) -> Result<User, MissingUser> {
    if unistd::geteuid().is_root() { User::find(&settings.user) } else { User::current() }
}

/// The user of the upload child, likewise.
pub fn of_upload(settings: &Settings) -> Result<User, MissingUser> {
    Users::find(settings).map(|users| users.upload)
}

/// The line that makes a user.
#[cfg(not(target_os = "freebsd"))]
fn making(name: &str, shares_with: Option<&str>) -> String {
    let groups = shares_with.map(|group| format!(" --groups {group}")).unwrap_or_default();
    format!("useradd --system --user-group{groups} --home-dir /var/spool/sie --shell /usr/sbin/nologin {name}")
}

/// The line that makes a user.
#[cfg(target_os = "freebsd")]
fn making(name: &str, shares_with: Option<&str>) -> String {
    let groups = shares_with.map(|group| format!(" -G {group}")).unwrap_or_default();
    format!("pw useradd -n {name}{groups} -d /var/spool/sie -s /usr/sbin/nologin")
}

/// The line that puts it into a group.
#[cfg(not(target_os = "freebsd"))]
fn joining(name: &str, group: &str) -> String {
    format!("usermod --append --groups {group} {name}")
}

/// The line that puts it into a group.
#[cfg(target_os = "freebsd")]
fn joining(name: &str, group: &str) -> String {
    format!("pw groupmod {group} -m {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_that_is_not_there_comes_with_the_line_that_makes_it() {
        let line = "--home-dir /var/spool/sie --shell /usr/sbin/nologin no-such-user";
        let missing = User::find("no-such-user").unwrap_err().to_string();
        let expected = "there is no user \"no-such-user\"; make it: ";
        assert!(missing.starts_with(expected), "{missing}");
        if cfg!(target_os = "linux") {
            assert_eq!(missing, format!("{expected}useradd --system --user-group {line}"));
            let missing = User::find_sharing("no-such-user", &nobody()).unwrap_err().to_string();
            assert_eq!(missing, format!("{expected}useradd --system --user-group --groups nobody {line}"));
        }
    }

    #[test]
    fn root_is_no_user_to_become() {
        assert_eq!(User::find("root"), Err(MissingUser::Root { name: "root".to_string() }));
    }

    #[test]
    fn a_user_outside_the_group_could_not_take_the_files() {
        let other = User { gid: Gid::from_raw(4_000_000_000), name: "sensor".to_string(), ..nobody() };
        let outside = User::find_sharing("nobody", &other).unwrap_err();
        assert!(matches!(outside, MissingUser::Outside { .. }), "{outside}");
        assert!(User::find_sharing("nobody", &nobody()).is_ok());
    }

    fn nobody() -> User {
        User::find("nobody").unwrap()
    }
}
