//! Exit codes that commands have in common.

/// Usage or failure.
pub(super) const FAILED: u8 = 2;
/// A ledger does not balance, which is our fault.
pub(super) const UNBALANCED: u8 = 3;
/// Settings (EX_CONFIG of sysexits.h).
pub(super) const SETTINGS: u8 = 78;
