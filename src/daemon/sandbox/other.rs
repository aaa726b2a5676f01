//! Systems without Landlock and seccomp.
//!
//! FreeBSD: who opens nothing enters capability mode. It knows no paths, and the spool's files are opened, renamed and removed
//! by path; it also refuses connect(2), without which nothing is uploaded. Those have their user's rights, and from their
//! capture devices the right to send is taken.

use super::{Entered, Role, SandboxError};

pub(super) fn confine(role: &Role) -> Result<Entered, SandboxError> {
    let mut entered = Entered::default();
    #[cfg(target_os = "freebsd")]
    freebsd(role, &mut entered)?;
    if let Role::Upload { .. } = role {
        // Nor could it connect there.
        entered.missing.push("the process that uploads may connect anywhere and read what its user may".to_string());
    }
    if entered.enforced.iter().all(|what| what != CAPABILITY_MODE) {
        entered
            .missing
            .push("no sandbox for files and system calls on this system: the user's rights alone hold".to_string());
    }
    Ok(entered)
}

const CAPABILITY_MODE: &str = "no file, no connection, no other process (capability mode)";

#[cfg(target_os = "freebsd")]
fn freebsd(role: &Role, entered: &mut Entered) -> Result<(), SandboxError> {
    use crate::sys::freebsd;
    if let Role::Capture { devices, .. } = role {
        for device in *devices {
            let limited = freebsd::limit_to_capture(*device);
            limited.map_err(|error| SandboxError::new("limit a capture device", error))?;
        }
        entered.enforced.push("capture devices can be read and asked only (cap_rights_limit)".to_string());
    }
    if let Role::Views | Role::Capture { output: None, .. } = role {
        match freebsd::enter_capability_mode() {
            Ok(()) => entered.enforced.push(CAPABILITY_MODE.to_string()),
            // A kernel that was built without it.
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {}
            Err(error) => return Err(SandboxError::new("enter capability mode", error)),
        }
    }
    Ok(())
}
