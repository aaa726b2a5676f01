//! Processes that nobody else waits for. In a container the sensor is the first process, and so the parent of all whose
//! own parent has ended: of what `ssh_program` leaves behind, and of what somebody starts in the container.

use nix::sys::wait::{Id, WaitPidFlag, waitid, waitpid};

/// So many are taken leave of at once; the next turn has more.
const MAX: usize = 64;

/// Takes leave of orphans that have ended, if this is the first process. Those of `own` are left to who waits for them.
pub(crate) fn reap(own: &[u32]) {
    if std::process::id() != 1 {
        return;
    }
    let ended = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    for _ in 0..MAX {
        // Only looked at, as it may be one of our own: the first of them that nobody has waited for.
        let Some(pid) = waitid(Id::All, ended).ok().and_then(|status| status.pid()) else { return };
        if own.iter().any(|own| i32::try_from(*own) == Ok(pid.as_raw())) {
            return;
        }
        let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
    }
}
