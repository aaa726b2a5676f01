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
pub(in crate::cli) struct Report {
    lines: Vec<Line>,
    notes: Vec<String>,
    warnings: Vec<Warning>,
}

#[derive(Debug)]
enum Line {
    Heading(String),
    Row { name: String, value: String },
    Plain(String),
}

/// What keeps the sensor from its work on this host, or endangers it.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Warning {
    /// Whether it keeps it from its work.
    pub(in crate::cli) is_fault: bool,
    /// What is wrong.
    pub(in crate::cli) what: String,
    /// What helps; may be empty.
    pub(in crate::cli) cure: String,
    /// The row that it is about, by its place among all rows.
    row: Option<usize>,
}

impl Report {
    /// Starts a section.
    pub(super) fn heading(&mut self, heading: &str) {
        self.lines.push(Line::Heading(heading.to_owned()));
    }

    /// A value with its name. One that is too long goes on below, broken at blanks.
    pub(super) fn row(&mut self, name: &str, value: impl AsRef<str>) {
        self.lines.push(Line::Row { name: name.to_owned(), value: value.as_ref().to_owned() });
    }

    /// A number with its name.
    pub(super) fn number(&mut self, name: &str, number: u64) {
        let width = NUMBERS.saturating_sub(2 + name.len());
        self.line(format!("{name}{number:>width$}"));
    }

    /// A line as it is.
    pub(super) fn line(&mut self, line: String) {
        self.lines.push(Line::Plain(line));
    }

    /// What was made of a setting.
    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// What endangers what the last row shows, and what helps.
    pub(super) fn warn(&mut self, what: impl Into<String>, cure: impl Into<String>) {
        let row = self.rows().count().checked_sub(1);
        self.warnings.push(Warning { is_fault: false, what: what.into(), cure: cure.into(), row });
    }

    /// The same of what does not work at all.
    pub(super) fn fault(&mut self, what: impl Into<String>, cure: impl Into<String>) {
        self.warn(what, cure);
        self.warnings.iter_mut().last().into_iter().for_each(|warning| warning.is_fault = true);
    }

    /// Names and values, each with what is wrong with it.
    pub(in crate::cli) fn judged(&self) -> impl Iterator<Item = (&str, &str, Vec<&Warning>)> {
        let of = |row| self.warnings.iter().filter(move |warning| warning.row == Some(row)).collect();
        self.rows().enumerate().map(move |(row, (name, value))| (name, value, of(row)))
    }

    fn rows(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines.iter().filter_map(|line| match line {
            Line::Row { name, value } => Some((name.as_str(), value.as_str())),
            _ => None,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| match line {
            Line::Heading(heading) => writeln!(f, "{heading}"),
            Line::Row { name, value } => row(f, name, value),
            Line::Plain(line) => writeln!(f, "  {line}"),
        })?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "warning: {warning}"))
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Warning { what, cure, .. } = self;
        if cure.is_empty() { f.write_str(what) } else { write!(f, "{what}; {cure}") }
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, value: &str) -> fmt::Result {
    let mut line = format!("  {name:<width$}", width = VALUES - 2);
    for word in value.split(' ') {
        let is_first = line.len() == VALUES;
        if !is_first && line.chars().count() + 1 + word.chars().count() > WIDTH {
            writeln!(f, "{line}")?;
            line = format!("{:VALUES$}{word}", "");
        } else {
            let blank = if line.ends_with(' ') { "" } else { " " };
            line.push_str(&format!("{blank}{word}"));
        }
    }
    writeln!(f, "{line}")
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
        report.warn("w", "c");
        report.note("n".into());
        let text = report.to_string();
        assert!(text.starts_with("packets\n  resolvers         192.0.2.0, 192.0.2.1, "), "{text}");
        assert!(text.lines().all(|line| line.len() <= WIDTH && !line.ends_with(' ')), "{text}");
        assert!(text.lines().nth(2).unwrap().starts_with("                    192.0.2."), "{text}");
        assert!(text.ends_with("  limit                               524288\nnote: n\nwarning: w; c\n"), "{text}");
        let read: Vec<&str> = text.split([' ', ',', '\n']).filter(|word| word.starts_with("192")).collect();
        assert_eq!(read, addresses);
    }

    #[test]
    fn a_warning_is_of_the_row_before_it() {
        let mut report = Report::default();
        report.warn("of none", "");
        report.row("one", "1");
        report.row("two", "2");
        report.fault("bad", "c");
        let judged: Vec<_> = report.judged().map(|(name, value, warnings)| (name, value, warnings.len())).collect();
        assert_eq!(judged, [("one", "1", 0), ("two", "2", 1)]);
        assert!(report.judged().nth(1).unwrap().2[0].is_fault);
    }
}
