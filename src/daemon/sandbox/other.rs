//! Systems without Landlock and seccomp.
//!
//! FreeBSD: capability mode (cap_enter) knows no paths, and the spool's files are opened, renamed and removed by path; it
//! also refuses connect(2), without which nothing is uploaded.
//! What is possible is to take from the capture devices the right to send. All else rests on the user's rights.

use super::{Entered, Role, SandboxError};

pub(super) fn confine(role: &Role) -> Result<Entered, SandboxError> {
    let mut entered = Entered::default();
    #[cfg(target_os = "freebsd")]
    if let Role::Capture { devices, .. } = role {
        for device in *devices {
            let limited = crate::sys::freebsd::limit_to_capture(*device);
            limited.map_err(|error| SandboxError::new("limit a capture device", error))?;
        }
        entered.enforced.push("capture devices can be read and asked only (cap_rights_limit)".to_string());
    }
    if let Role::Upload { .. } = role {
        // Nor could it connect there.
        entered.missing.push("the process that uploads may connect anywhere and read what its user may".to_string());
    }
    entered
        .missing
        .push("no sandbox for files and system calls on this system: the user's rights alone hold".to_string());
    Ok(entered)
}
