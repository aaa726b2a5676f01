//! Giving up what a process does not need. What is given up for good is for a process that has one thread: capabilities
//! belong to threads, and a thread that kept them would be the way back.

use crate::daemon::users::User;
use nix::{
    errno::Errno,
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::{self, Gid, Uid},
};
use std::fmt;

/// What could not be given up. The process must end.
#[derive(Debug)]
pub struct PrivilegeError {
    what: &'static str,
    why: String,
}

impl fmt::Display for PrivilegeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.what, self.why)
    }
}

impl std::error::Error for PrivilegeError {}

/// Names an operation in its error.
fn failed<E: fmt::Display>(what: &'static str) -> impl Fn(E) -> PrivilegeError {
    move |error| PrivilegeError { what, why: error.to_string() }
}

/// Leaves the supervisor what it needs:
///
/// * NET_RAW for its children, which open the interfaces: a program that root executes has what the bounding set has;
/// * SETUID and SETGID for them to become their users, SETPCAP for them to empty the bounding set;
/// * CHOWN to hand a spool directory that it made anew to its user;
/// * KILL for a child that hangs and is another user's.
///
/// What the unit has taken away already stays away; so does everything for a supervisor that is not root, whose ambient
/// NET_RAW its children inherit.
pub fn bound() -> Result<(), PrivilegeError> {
    if !unistd::geteuid().is_root() {
        return Ok(());
    }
    capabilities::bound()
}

/// Becomes a user without any privilege, for good, before the first byte is parsed. A process that is not root stays
/// the user it is.
///
/// Only root can empty the bounding set (and nobody without SETPCAP); where it stays, it is idle: nothing is gained from
/// it without executing a program that has privileges, which no_new_privs rules out.
pub fn drop_to(user: &User) -> Result<(), PrivilegeError> {
    alone()?;
    capabilities::empty_bounding()?;
    if unistd::geteuid().is_root() {
        become_user(user)?;
    }
    capabilities::empty()?;
    protect()?;
    if unistd::setresuid(ROOT, ROOT, ROOT).is_ok() || unistd::setresgid(ROOT_GROUP, ROOT_GROUP, ROOT_GROUP).is_ok() {
        let why = "root could be taken back".to_string();
        return Err(PrivilegeError { what: "drop privileges", why });
    }
    Ok(())
}

const ROOT: Uid = Uid::from_raw(0);
const ROOT_GROUP: Gid = Gid::from_raw(0);

fn become_user(user: &User) -> Result<(), PrivilegeError> {
    unistd::setgroups(&user.groups).map_err(failed("set supplementary groups"))?;
    unistd::setresgid(user.gid, user.gid, user.gid).map_err(failed("set the group"))?;
    unistd::setresuid(user.uid, user.uid, user.uid).map_err(failed("set the user"))?;
    let users = unistd::getresuid().map_err(failed("ask for the user"))?;
    let groups = unistd::getresgid().map_err(failed("ask for the group"))?;
    let others = unistd::getgroups().map_err(failed("ask for the groups"))?;
    let is_user = [users.real, users.effective, users.saved].iter().all(|uid| *uid == user.uid);
    let is_group = [groups.real, groups.effective, groups.saved].iter().all(|gid| *gid == user.gid);
    if !(is_user && is_group && sorted(&others) == sorted(&user.groups)) {
        return Err(PrivilegeError {
            what: "become the user",
            why: format!("not all ids are those of {:?}", user.name),
        });
    }
    Ok(())
}

fn sorted(groups: &[Gid]) -> Vec<u32> {
    let mut groups: Vec<u32> = groups.iter().map(|group| group.as_raw()).collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

/// Bounds what the process can hold besides the rings, in bytes: a backstop, the tables have limits of their own. A lower
/// limit that it was started with stays.
pub fn limit_data(bytes: u64) -> Result<(), PrivilegeError> {
    let (_, hard) = getrlimit(Resource::RLIMIT_DATA).map_err(failed("ask for the memory limit"))?;
    let limit = hard.min(bytes as nix::sys::resource::rlim_t);
    setrlimit(Resource::RLIMIT_DATA, limit, limit).map_err(failed("limit memory"))
}

/// Does something as another user, so that a link which that user planted leads nowhere it could not go itself; then is
/// root again. As the same user, or not as root, it is simply done.
///
/// The C library changes the ids of all threads at once (nptl(7); elsewhere they are the process's). There may be one that
/// still asks for the host's name, which a name server that does not answer makes last, and which can do it as any user.
///
/// Not being able to return ends the process: a supervisor that is neither root nor the user cannot do its work. Who could
/// not set the groups has nothing to return from.
pub fn as_user<T>(user: &User, work: impl FnOnce() -> T) -> Result<T, PrivilegeError> {
    let was = unistd::geteuid();
    if !was.is_root() || was == user.uid {
        return Ok(work());
    }
    let groups = unistd::getgroups().map_err(failed("ask for the groups"))?;
    let group = unistd::getegid();
    unistd::setgroups(&user.groups).map_err(forbidden("set supplementary groups", user))?;
    let back = Back { groups, group };
    unistd::setegid(user.gid).map_err(forbidden("set the group", user))?;
    unistd::seteuid(user.uid).map_err(forbidden("set the user", user))?;
    let done = work();
    drop(back);
    Ok(done)
}

/// As [`failed`], with the cure where root is not all that it usually is.
fn forbidden(what: &'static str, user: &User) -> impl Fn(Errno) -> PrivilegeError {
    move |error| match error {
        Errno::EPERM if cfg!(target_os = "linux") => {
            let name = &user.name;
            let cure =
                format!("give root CAP_SETUID and CAP_SETGID, or start it as {name} with an ambient CAP_NET_RAW");
            PrivilegeError { what, why: format!("{error}; {cure}") }
        }
        _ => failed(what)(error),
    }
}

/// The way back to root, also when the work panics.
struct Back {
    groups: Vec<Gid>,
    group: Gid,
}

impl Drop for Back {
    fn drop(&mut self) {
        let returned = unistd::seteuid(ROOT)
            .and_then(|()| unistd::setegid(self.group))
            .and_then(|()| unistd::setgroups(&self.groups));
        if let Err(error) = returned {
            eprintln!("sie-dns-sensor: cannot become root again: {error}");
            std::process::exit(EX_OSERR);
        }
    }
}

/// EX_OSERR of sysexits.h.
const EX_OSERR: i32 = 71;

/// Fails if there are other threads. Without a /proc nobody knows; then there is nothing to say.
fn alone() -> Result<(), PrivilegeError> {
    match threads() {
        None | Some(1) => Ok(()),
        Some(threads) => {
            Err(PrivilegeError { what: "give up privileges", why: format!("the process has {threads} threads") })
        }
    }
}

/// How many threads this process has.
pub(crate) fn threads() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/task").ok()?.count())
}

/// No privileges from executing programs, no core dumps, which would hold traffic, and no other process of the same user
/// that looks into this one.
#[cfg(target_os = "linux")]
fn protect() -> Result<(), PrivilegeError> {
    use nix::sys::prctl;
    prctl::set_no_new_privs().map_err(failed("set no_new_privs"))?;
    prctl::set_dumpable(false).map_err(failed("forbid core dumps"))?;
    no_core()
}

/// The same, as far as the system has it.
#[cfg(not(target_os = "linux"))]
fn protect() -> Result<(), PrivilegeError> {
    #[cfg(target_os = "freebsd")]
    crate::sys::freebsd::protect().map_err(failed("forbid tracing"))?;
    no_core()
}

fn no_core() -> Result<(), PrivilegeError> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(failed::<Errno>("forbid core dumps"))
}

#[cfg(target_os = "linux")]
mod capabilities {
    use super::{PrivilegeError, failed};
    use caps::{CapSet, Capability, CapsHashSet};

    /// What [`super::bound`] leaves.
    const KEPT: [Capability; 6] = [
        Capability::CAP_NET_RAW,
        Capability::CAP_SETUID,
        Capability::CAP_SETGID,
        Capability::CAP_SETPCAP,
        Capability::CAP_CHOWN,
        Capability::CAP_KILL,
    ];

    /// Reduces all sets to what is kept; the bounding set first, as that needs SETPCAP.
    pub(super) fn bound() -> Result<(), PrivilegeError> {
        let kept: CapsHashSet = KEPT.into_iter().collect();
        if may_bound()? {
            for capability in caps::all().difference(&kept) {
                drop_bounding(*capability)?;
            }
        }
        caps::clear(None, CapSet::Inheritable).map_err(failed("drop inheritable capabilities"))?;
        for set in [CapSet::Effective, CapSet::Permitted] {
            let had = caps::read(None, set).map_err(failed("read capabilities"))?;
            let left = had.intersection(&kept).copied().collect();
            caps::set(None, set, &left).map_err(failed("drop capabilities"))?;
        }
        Ok(())
    }

    /// Empties the bounding set if the process may.
    pub(super) fn empty_bounding() -> Result<(), PrivilegeError> {
        if may_bound()? { caps::all().into_iter().try_for_each(drop_bounding) } else { Ok(()) }
    }

    fn may_bound() -> Result<bool, PrivilegeError> {
        caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).map_err(failed("read capabilities"))
    }

    /// One that the kernel does not know, or that is gone, is none.
    fn drop_bounding(capability: Capability) -> Result<(), PrivilegeError> {
        match caps::has_cap(None, CapSet::Bounding, capability) {
            Ok(true) => caps::drop(None, CapSet::Bounding, capability).map_err(failed("bound capabilities")),
            Ok(false) | Err(_) => Ok(()),
        }
    }

    /// Empties the other four sets, and looks.
    pub(super) fn empty() -> Result<(), PrivilegeError> {
        // The ambient set first: it is empty on kernels before 4.3, which do not know it.
        let _ = caps::clear(None, CapSet::Ambient);
        for set in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
            caps::clear(None, set).map_err(failed("drop capabilities"))?;
        }
        let ambient = caps::read(None, CapSet::Ambient).unwrap_or_default();
        for set in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
            let mut left = caps::read(None, set).map_err(failed("read capabilities"))?;
            left.extend(&ambient);
            if !left.is_empty() {
                return Err(PrivilegeError { what: "drop capabilities", why: format!("{left:?} are left") });
            }
        }
        Ok(())
    }
}

/// Other systems have no capabilities apart from being root.
#[cfg(not(target_os = "linux"))]
mod capabilities {
    use super::PrivilegeError;

    pub(super) fn bound() -> Result<(), PrivilegeError> {
        Ok(())
    }

    pub(super) fn empty_bounding() -> Result<(), PrivilegeError> {
        Ok(())
    }

    pub(super) fn empty() -> Result<(), PrivilegeError> {
        Ok(())
    }
}
