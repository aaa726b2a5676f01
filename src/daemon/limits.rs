//! What the system lets a process have.

use crate::config::RINGS_MAX;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// Descriptors of the process that has most, with some to spare: the views process has 64 clients and 11 others, the
/// supervisor 21, and a few more while one process takes over from another.
const DESCRIPTORS: usize = 128;
/// More for each ring.
const RING: usize = 2;

/// Sees to it that this process and those that it starts may open as many files as these rings need, and where the system
/// allows it, as many as any settings need. The error says what it takes.
pub fn raise_open_files(rings: usize) -> Result<(), String> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)
        .map_err(|error| format!("cannot ask for the limit of open files: {error}"))?;
    let needed = (DESCRIPTORS + RING * rings) as rlim_t;
    if hard < needed {
        return Err(format!(
            "the limit of open files is {hard}, and {needed} are needed; set LimitNOFILE={needed} in the unit, or ulimit -n {needed}"
        ));
    }
    let most = hard.min((DESCRIPTORS + RING * RINGS_MAX) as rlim_t);
    if soft >= most {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NOFILE, most, hard)
        .map_err(|error| format!("cannot raise the limit of open files from {soft} to {most}: {error}"))
}
