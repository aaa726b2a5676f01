//! Linux: what kernels are asked.

/// LANDLOCK_CREATE_RULESET_VERSION of linux/landlock.h.
const VERSION: libc::c_uint = 1;

/// Landlock's version in the running kernel; 0: none, or switched off.
pub(crate) fn landlock_abi() -> u32 {
    let nothing = std::ptr::null::<libc::c_void>();
    // SAFETY: asked for its version, the call takes a null pointer and reads no memory of ours.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, VERSION) };
    u32::try_from(version).unwrap_or(0)
}
