//! What helps where a file may not be read.

use crate::escape::escaped;
use nix::{
    errno::Errno,
    unistd::{AccessFlags, access, geteuid},
};
use std::path::Path;

/// For a file that this user may not read: the first directory on the way that may not be entered, or else the file, and the
/// command. None where it may be read, or for another reason may not.
pub(super) fn cure(path: &Path) -> Option<String> {
    let is_denied = |path: &Path, how: AccessFlags| access(path, how) == Err(Errno::EACCES);
    if !is_denied(path, AccessFlags::R_OK) {
        return None;
    }
    let mut directories: Vec<&Path> = path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()).collect();
    directories.reverse();
    Some(match directories.into_iter().find(|directory| is_denied(directory, AccessFlags::X_OK)) {
        Some(closed) => format!("let the user that uploads enter {0}: chmod a+x {0}", escaped(closed)),
        None => format!("give it to the user that uploads: chown {} {}", geteuid(), escaped(path)),
    })
}
