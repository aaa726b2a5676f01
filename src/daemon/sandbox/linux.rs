//! Linux: Landlock for files, seccomp for system calls.

use super::{Entered, Role, SandboxError, files, syscalls};

pub(super) fn confine(role: &Role) -> Result<Entered, SandboxError> {
    let mut entered = Entered::default();
    // Files first: the system calls that confine them are not on the list.
    files::confine(role, &mut entered)?;
    syscalls::confine(role, &mut entered)?;
    Ok(entered)
}
