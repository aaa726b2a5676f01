//! FreeBSD: rights of descriptors and of the process.

use std::{io, os::fd::RawFd};

/// CAP_RIGHTS_VERSION_00 of sys/caprights.h.
const RIGHTS_VERSION: libc::c_int = 0;

/// Leaves a capture device's descriptor what capturing needs: reading, waiting, asking (BIOC… for statistics and a new
/// filter). What is missing is writing: a frame can no longer be sent on it.
pub(crate) fn limit_to_capture(device: RawFd) -> io::Result<()> {
    let (read, wait, ask, change) = (libc::CAP_READ, libc::CAP_EVENT, libc::CAP_IOCTL, libc::CAP_FCNTL);
    // SAFETY: all zeroes are a value of cap_rights_t, which is an array of integers.
    let mut rights: libc::cap_rights_t = unsafe { std::mem::zeroed() };
    // SAFETY: `rights` lives through both calls; the list of rights ends with 0, as cap_rights_init's macro ends it.
    let done = unsafe {
        libc::__cap_rights_init(RIGHTS_VERSION, &mut rights, read, wait, ask, change, 0_u64);
        libc::cap_rights_limit(device, &rights)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Leaves the process what its descriptors can do, for good: no path, no address, no other process is known any more.
pub(crate) fn enter_capability_mode() -> io::Result<()> {
    // SAFETY: takes nothing and changes nothing in memory.
    let done = unsafe { libc::cap_enter() };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// No privileges from programs it executes (FreeBSD 14), no tracing and no core dumps.
pub(crate) fn protect() -> io::Result<()> {
    // A kernel before 14 does not know it; nothing is executed in a child anyway.
    let _ = control(libc::PROC_NO_NEW_PRIVS_CTL, libc::PROC_NO_NEW_PRIVS_ENABLE);
    control(libc::PROC_TRACE_CTL, libc::PROC_TRACE_CTL_DISABLE)
}

/// The largest buffer in bytes that the kernel gives a capture device; it makes a larger one smaller and does not say so.
pub(crate) fn capture_buffer_max() -> io::Result<u64> {
    let (mut bytes, mut size) = (0_u32, size_of::<u32>());
    // SAFETY: the name ends with a zero; the value is an unsigned int, and `size` says that there is room for one.
    let done = unsafe {
        let value = (&raw mut bytes).cast();
        libc::sysctlbyname(c"net.bpf.maxbufsize".as_ptr(), value, &raw mut size, std::ptr::null(), 0)
    };
    if done == 0 { Ok(bytes.into()) } else { Err(io::Error::last_os_error()) }
}

fn control(what: libc::c_int, mut value: libc::c_int) -> io::Result<()> {
    // SAFETY: both commands read one int, which lives through the call; process 0 is the calling one.
    let done = unsafe { libc::procctl(libc::P_PID, 0, what, (&raw mut value).cast()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
