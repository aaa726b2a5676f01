//! Linux: Landlock for files, seccomp for system calls.

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
use super::syscalls;
use super::{Entered, Role, SandboxError, files};

pub(super) fn confine(role: &Role) -> Result<Entered, SandboxError> {
    let mut entered = Entered::default();
    // Files first: the system calls that confine them are not on the list.
    files::confine(role, &mut entered)?;
    syscalls::confine(role, &mut entered)?;
    Ok(entered)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
mod syscalls {
    use super::{Entered, Role, SandboxError};

    /// There is no list for this architecture.
    pub(super) fn confine(_role: &Role, entered: &mut Entered) -> Result<(), SandboxError> {
        let line = format!("no list of system calls for {}: any may be made", std::env::consts::ARCH);
        entered.missing.push(line);
        Ok(())
    }
}
