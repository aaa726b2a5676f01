//! Descriptors that were open when the program began.

/// Sees to it that all but the first three are closed in programs that this one starts. On kernels that cannot (before
/// Linux 5.11) they stay as they are.
pub(crate) fn close_on_exec() {
    // SAFETY: close_range takes three numbers and, with this flag, closes nothing: no descriptor in use is affected.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}
