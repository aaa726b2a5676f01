//! Which thread gets the processor first.
#![allow(unsafe_code)]

/// Steps of niceness between capture and what may wait for it: at 10 the scheduler gives a busy capture thread nine
/// tenths of a shared core.
#[cfg(target_os = "linux")]
const NICE: libc::c_int = 10;

/// Lets other threads go before this one. It is a wish: where it is refused, everything works, only less evenly.
#[cfg(target_os = "linux")]
pub(crate) fn yield_to_others() {
    // SAFETY: setpriority takes numbers only; on Linux 0 is the calling thread, not its process.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}

/// Elsewhere niceness is the whole process's, capture included, so nothing is done.
#[cfg(not(target_os = "linux"))]
pub(crate) fn yield_to_others() {}
