//! Names as messages show them.

use std::fmt::{self, Write};
use std::path::Path;

/// A file name that cannot move the cursor or colour the terminal.
pub(crate) struct Escaped<'s>(pub(crate) &'s str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match is_hidden(c) {
            true => write!(f, "{}", c.escape_default()),
            false => f.write_char(c),
        })
    }
}

/// What a terminal does instead of showing it: controls, and what turns the text around it or breaks the line (UAX 9, UAX 14).
fn is_hidden(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

/// A path, escaped likewise.
pub(crate) fn escaped(path: &Path) -> String {
    Escaped(&path.to_string_lossy()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_the_cursor_or_turns_the_text_is_shown_as_its_number() {
        for hidden in "\n\u{1b}\u{9b}\u{61c}\u{200e}\u{200f}\u{202a}\u{202e}\u{2028}\u{2029}\u{2066}\u{2069}".chars() {
            let text = format!("a{hidden}b");
            let shown = Escaped(&text).to_string();
            assert!(shown.starts_with("a\\") && shown.is_ascii(), "{shown:?}");
        }
        let plain = "Büro – 日本 שלום \u{200d}";
        assert_eq!(Escaped(plain).to_string(), plain);
    }
}
