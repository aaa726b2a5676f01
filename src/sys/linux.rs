//! Linux: what kernels are asked.

use std::{ffi::CString, io, os::unix::ffi::OsStrExt, path::Path};

/// LANDLOCK_CREATE_RULESET_VERSION of linux/landlock.h.
const VERSION: libc::c_uint = 1;

/// Landlock's version in the running kernel; 0: none, or switched off.
pub(crate) fn landlock_abi() -> u32 {
    let nothing = std::ptr::null::<libc::c_void>();
    // SAFETY: asked for its version, the call takes a null pointer and reads no memory of ours.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, VERSION) };
    u32::try_from(version).unwrap_or(0)
}

/// Renames, if nothing has the name. EINVAL or ENOSYS where file system or kernel (before 3.15) cannot. The C library has a
/// function for it only since 2.28.
pub(crate) fn rename_to_free(from: &Path, to: &Path) -> io::Result<()> {
    let [from, to] = [from, to].map(|path| CString::new(path.as_os_str().as_bytes()));
    let (from, to) = (from?, to?);
    let (here, flags) = (libc::AT_FDCWD, libc::RENAME_NOREPLACE);
    // SAFETY: both paths end with a zero byte and live as long as the call.
    match unsafe { libc::syscall(libc::SYS_renameat2, here, from.as_ptr(), here, to.as_ptr(), flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
