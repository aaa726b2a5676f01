//! Exit codes that commands have in common.

/// Usage or failure.
pub(super) const FAILED: u8 = 2;
/// A ledger does not balance, which is our fault.
pub(super) const UNBALANCED: u8 = 3;
/// Settings (EX_CONFIG of sysexits.h).
pub(super) const SETTINGS: u8 = 78;

/// How a command fared that goes through many inputs; its exit code is the worst of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Done = 0,
    /// The others were done.
    SomeBad = 1,
    Failed = 2,
}
