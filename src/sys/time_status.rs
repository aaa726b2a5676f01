//! What the kernel knows of the clock's quality.

use std::io;
use std::mem::MaybeUninit;

/// Whether something (NTP, chrony, PTP) keeps the system clock synchronised, as far as it has told the kernel.
pub(crate) fn clock_is_synchronised() -> io::Result<bool> {
    // SAFETY: timex holds numbers only, for which zero is a value; with modes 0 the call reads the clock's state into it.
    let (state, status) = unsafe {
        let mut timex = MaybeUninit::<libc::timex>::zeroed().assume_init();
        #[cfg(target_os = "linux")]
        let state = libc::adjtimex(&raw mut timex);
        #[cfg(not(target_os = "linux"))]
        let state = libc::ntp_adjtime(&raw mut timex);
        (state, timex.status)
    };
    match state {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(state != libc::TIME_ERROR && status & libc::STA_UNSYNC == 0),
    }
}
