//! How `check` shows what it finds.

use std::fmt;

/// Columns of a report.
const WIDTH: usize = 120;
/// Where values start.
const VALUES: usize = 20;
/// Where numbers end.
const NUMBERS: usize = 44;

/// Sections of rows, then notes, then warnings.
#[derive(Debug, Default)]
pub(super) struct Report {
    text: String,
    notes: Vec<String>,
    warnings: Vec<String>,
}

impl Report {
    /// Starts a section.
    pub(super) fn heading(&mut self, heading: &str) {
        self.text.push_str(&format!("{heading}\n"));
    }

    /// A value with its name. One that is too long goes on below, broken at blanks.
    pub(super) fn row(&mut self, name: &str, value: impl AsRef<str>) {
        let mut line = format!("  {name:<width$}", width = VALUES - 2);
        for word in value.as_ref().split(' ') {
            let is_first = line.len() == VALUES;
            if !is_first && line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.text.push_str(&format!("{line}\n"));
                line = format!("{:VALUES$}{word}", "");
            } else {
                let blank = if line.ends_with(' ') { "" } else { " " };
                line.push_str(&format!("{blank}{word}"));
            }
        }
        self.text.push_str(&format!("{line}\n"));
    }

    /// A number with its name.
    pub(super) fn number(&mut self, name: &str, number: u64) {
        let width = NUMBERS.saturating_sub(2 + name.len());
        self.text.push_str(&format!("  {name}{number:>width$}\n"));
    }

    /// A line as it is.
    pub(super) fn line(&mut self, line: String) {
        self.text.push_str(&format!("  {line}\n"));
    }

    /// What was made of a setting.
    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// What keeps the sensor from its work on this host, or endangers it.
    pub(super) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "warning: {warning}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_go_on_below_their_name() {
        let mut report = Report::default();
        report.heading("packets");
        let addresses: Vec<String> = (0..40).map(|n| format!("192.0.2.{n}")).collect();
        report.row("resolvers", addresses.join(", "));
        report.number("limit", 524_288);
        report.warn("w".into());
        report.note("n".into());
        let text = report.to_string();
        assert!(text.starts_with("packets\n  resolvers         192.0.2.0, 192.0.2.1, "), "{text}");
        assert!(text.lines().all(|line| line.len() <= WIDTH && !line.ends_with(' ')), "{text}");
        assert!(text.lines().nth(2).unwrap().starts_with("                    192.0.2."), "{text}");
        assert!(text.ends_with("  limit                               524288\nnote: n\nwarning: w\n"), "{text}");
        let read: Vec<&str> = text.split([' ', ',', '\n']).filter(|word| word.starts_with("192")).collect();
        assert_eq!(read, addresses);
    }
}
