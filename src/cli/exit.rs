//! Exit codes that commands have in common.

use crate::daemon::users::MissingUser;

/// Usage or failure.
pub(super) const FAILED: u8 = 2;
/// A ledger does not balance, which is our fault.
pub(super) const UNBALANCED: u8 = 3;
/// Settings (EX_CONFIG of sysexits.h).
pub(super) const SETTINGS: u8 = 78;

/// Where a user is not there it is a matter of settings, which another start would not change; not where nobody can tell.
pub(super) fn of_user(missing: &MissingUser) -> u8 {
    if missing.may_pass() { FAILED } else { SETTINGS }
}

/// How a command fared that goes through many inputs; its exit code is the worst of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Done = 0,
    /// The others were done.
    SomeBad = 1,
    Failed = 2,
}
