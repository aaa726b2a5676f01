//! What a check has found, and how it is shown.

use crate::escape::Escaped;
use serde_json::{Value, json};
use std::{
    fmt::{self, Display, Formatter},
    io::{self, Write},
};

/// Where subjects start, what was found, and the cure below it.
const OUTCOME: usize = 5;
const SUBJECT: usize = 16;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// As it should be.
    Ok,
    /// It works, and may not for long or not as well as it could.
    Warn,
    /// It does not work.
    Fail,
    /// Not checked.
    Skip,
}

const OUTCOMES: [Outcome; 4] = [Outcome::Ok, Outcome::Warn, Outcome::Fail, Outcome::Skip];

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) outcome: Outcome,
    /// What was looked at.
    pub(super) subject: String,
    /// What was found, or why it was not looked at.
    pub(super) found: String,
    /// What helps: something to type. Empty where nothing is to be done.
    pub(super) cure: String,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Warn => "warn",
            Outcome::Fail => "fail",
            Outcome::Skip => "skip",
        }
    }
}

impl Finding {
    /// Of something that needs a cure.
    pub(super) fn new(outcome: Outcome, subject: &str, found: impl Into<String>, cure: impl Into<String>) -> Finding {
        Finding { outcome, subject: subject.to_owned(), found: found.into(), cure: cure.into() }
    }

    /// All is well.
    pub(super) fn ok(subject: &str, found: impl Into<String>) -> Finding {
        Finding::new(Outcome::Ok, subject, found, "")
    }

    /// It could be better.
    pub(super) fn warn(subject: &str, found: impl Into<String>, cure: impl Into<String>) -> Finding {
        Finding::new(Outcome::Warn, subject, found, cure)
    }

    /// It does not work.
    pub(super) fn fail(subject: &str, found: impl Into<String>, cure: impl Into<String>) -> Finding {
        Finding::new(Outcome::Fail, subject, found, cure)
    }

    /// It was not looked at.
    pub(super) fn skip(subject: &str, why: impl Into<String>) -> Finding {
        Finding::new(Outcome::Skip, subject, why, "")
    }

    /// One member of the document, one line of what another process of ours says.
    pub(super) fn to_json(&self) -> Value {
        let Finding { outcome, subject, found, cure } = self;
        json!({"outcome": outcome.name(), "subject": subject, "found": found, "cure": cure})
    }

    /// The other way; none, if it is none.
    pub(super) fn from_json(line: &[u8]) -> Option<Finding> {
        let value: Value = serde_json::from_slice(line).ok()?;
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        let outcome = OUTCOMES.into_iter().find(|outcome| value["outcome"] == outcome.name())?;
        Some(Finding { outcome, subject: text("subject")?, found: text("found")?, cure: text("cure")? })
    }
}

impl Display for Finding {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Finding { outcome, subject, found, cure } = self;
        let head = format!("{:OUTCOME$} {:SUBJECT$} ", outcome.name(), Escaped(subject).to_string());
        write!(f, "{}", format!("{head}{}", Escaped(found)).trim_end())?;
        if cure.is_empty() { Ok(()) } else { write!(f, "\n{:OUTCOME$} {}", "", Escaped(cure)) }
    }
}

/// Where findings go.
pub(super) struct Sheet<W> {
    output: W,
    /// For a document, which is written at the end.
    kept: Option<Vec<Finding>>,
    has_failed: bool,
}

impl<W: Write> Sheet<W> {
    /// Lines as they come, or a document.
    pub(super) fn new(output: W, is_document: bool) -> Sheet<W> {
        Sheet { output, kept: is_document.then(Vec::new), has_failed: false }
    }

    /// Whether something has failed so far.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Shows it.
    pub(super) fn add(&mut self, finding: Finding) -> io::Result<()> {
        self.has_failed |= finding.outcome == Outcome::Fail;
        match &mut self.kept {
            Some(kept) => kept.push(finding),
            None => {
                writeln!(self.output, "{finding}")?;
                self.output.flush()?;
            }
        }
        Ok(())
    }

    /// Nothing comes any more.
    pub(super) fn end(mut self) -> io::Result<()> {
        let Some(kept) = &self.kept else { return Ok(()) };
        let checks: Vec<Value> = kept.iter().map(Finding::to_json).collect();
        let state = if self.has_failed { "failed" } else { "passed" };
        writeln!(self.output, "{}", json!({"state": state, "checks": checks}))?;
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_survives_the_way_between_processes_and_moves_no_cursor() {
        let finding = Finding::fail("interface \u{1b}[2J", "a\nb", "ip link\n");
        let line = finding.to_json().to_string();
        assert!(!line.contains('\n'));
        assert_eq!(Finding::from_json(line.as_bytes()), Some(finding.clone()));
        let shown = finding.to_string();
        assert_eq!(shown, "fail  interface \\u{1b}[2J a\\nb\n      ip link\\n");
        for bad in ["", "{}", "[1]", r#"{"outcome":"good","subject":"","found":"","cure":""}"#] {
            assert_eq!(Finding::from_json(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn only_a_failure_makes_a_sheet_fail() {
        let mut out = Vec::new();
        let mut sheet = Sheet::new(&mut out, true);
        for finding in [Finding::ok("a", ""), Finding::warn("b", "", "c"), Finding::skip("d", "e")] {
            sheet.add(finding).unwrap();
        }
        assert!(!sheet.has_failed());
        sheet.add(Finding::fail("f", "g", "h")).unwrap();
        assert!(sheet.has_failed());
        sheet.end().unwrap();
        let document: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((&document["state"], &document["checks"][3]["cure"]), (&json!("failed"), &json!("h")));
    }
}
