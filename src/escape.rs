//! Names as messages show them.

use std::fmt::{self, Write};
use std::path::Path;

/// A file name that cannot move the cursor or colour the terminal.
pub(crate) struct Escaped<'s>(pub(crate) &'s str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c.is_control() {
            true => write!(f, "{}", c.escape_default()),
            false => f.write_char(c),
        })
    }
}

/// A path, escaped likewise.
pub(crate) fn escaped(path: &Path) -> String {
    Escaped(&path.to_string_lossy()).to_string()
}
