//! What was typed: the assignments of a settings file, which is a subset of shell, parsed and never executed.
//!
//! `[export ]NAME=word` with `'…'`, `"…"`, `\`, `#` comments, and `$NAME` or `${NAME}` of variables set earlier in the
//! file. Everything else a shell would do something with is refused, with its place, and parsing goes on at the next
//! line: a file that a shell reads differently must not be taken for one that was understood.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::problem::{Fault, Place, Problem, Subject};

/// One `NAME=value`, quotes taken off and variables expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The variable.
    pub name: String,
    /// What it is set to.
    pub value: String,
    /// Where the name starts.
    pub place: Place,
    /// Where the value starts, its quote included.
    pub value_place: Place,
}

impl Assignment {
    /// What a message about it is about.
    pub(super) fn subject(&self) -> Subject {
        Subject::value(&self.name, &self.value)
    }
}

/// A file's assignments in their order; the last one of a name counts.
#[derive(Debug)]
pub struct Parsed {
    /// All that could be read.
    pub assignments: Vec<Assignment>,
    /// All that could not.
    pub problems: Vec<Problem>,
    /// The lines that could not be read, with those that a quote without its other half took with them.
    pub refused: String,
    /// Variables that a later line used with `$NAME`.
    pub expanded: HashSet<String>,
}

/// How much text expansions may add to a file, in bytes. Thirty lines that double each other would fill memory.
const EXPANSION_MAX: usize = 1 << 20;

/// Parses the file at `path` (for messages only) with content `bytes`.
pub fn parse(path: &Path, bytes: &[u8]) -> Parsed {
    let mut parser = Parser {
        path: path.into(),
        chars: Vec::new(),
        at: START,
        values: HashMap::new(),
        budget: EXPANSION_MAX,
        parsed: Parsed {
            assignments: Vec::new(),
            problems: Vec::new(),
            refused: String::new(),
            expanded: HashSet::new(),
        },
    };
    parser.take_text(bytes);
    parser.file();
    parser.parsed
}

/// A position in the text.
#[derive(Clone, Copy)]
struct Mark {
    index: usize,
    line: usize,
    column: usize,
}

/// Before the first character.
const START: Mark = Mark { index: 0, line: 1, column: 1 };

impl Mark {
    /// Past `c`.
    fn after(self, c: char) -> Mark {
        let index = self.index + 1;
        match c {
            '\n' => Mark { index, line: self.line + 1, column: 1 },
            _ => Mark { index, column: self.column + 1, ..self },
        }
    }
}

/// A fault and where it is: ends the line.
type Refused = (Mark, Fault);

struct Parser {
    path: Arc<Path>,
    chars: Vec<char>,
    at: Mark,
    /// What `$NAME` expands to so far.
    values: HashMap<String, String>,
    /// What is left of [`EXPANSION_MAX`].
    budget: usize,
    parsed: Parsed,
}

impl Parser {
    fn place(&self, mark: Mark) -> Place {
        Place::Character { path: Arc::clone(&self.path), line: mark.line, column: mark.column }
    }

    fn refuse(&mut self, (mark, fault): Refused) {
        let place = self.place(mark);
        self.parsed.problems.push(Problem { place, subject: Subject::Text, fault });
    }

    /// Bytes to characters. What no value may hold is a problem here (of each kind the first on a line, of DOS line
    /// ends the first in the file) and stays in the text so that columns stay right.
    fn take_text(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let lossless = matches!(text, std::borrow::Cow::Borrowed(_));
        let mut mark = START;
        let mut dos = false;
        let mut refused: Option<Refused> = None;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let fault = match c {
                '\r' if chars.peek() == Some(&'\n') => {
                    if !std::mem::replace(&mut dos, true) {
                        self.refuse((mark, Fault::DosLineEnds));
                    }
                    continue;
                }
                '\r' => Some(Fault::CarriageReturn),
                '\0' => Some(Fault::Nul),
                char::REPLACEMENT_CHARACTER if !lossless => Some(Fault::NotUtf8),
                _ => None,
            };
            if let Some(fault) = fault
                && refused.as_ref().is_none_or(|(before, old)| before.line != mark.line || *old != fault)
            {
                self.refuse((mark, fault.clone()));
                refused = Some((mark, fault));
            }
            self.chars.push(c);
            mark = mark.after(c);
        }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at.index).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at = self.at.after(c);
        Some(c)
    }

    /// Whether the text goes on with `c`, which is then consumed.
    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.next();
        }
        found
    }

    fn skip_to_line_end(&mut self) {
        while self.peek().is_some_and(|c| c != '\n') {
            self.next();
        }
    }

    /// Line ends behind a backslash: to a shell they are not there, in the midst of a name either.
    fn skip_joins(&mut self) {
        while self.peek() == Some('\\') && self.chars.get(self.at.index + 1) == Some(&'\n') {
            self.next();
            self.next();
        }
    }

    fn skip_blanks(&mut self) {
        self.skip_joins();
        while let Some(' ' | '\t') = self.peek() {
            self.next();
            self.skip_joins();
        }
    }

    /// Line by line; each consumes a character at least, or there is none left.
    fn file(&mut self) {
        while self.peek().is_some() {
            let start = self.at.index;
            if let Err(refused) = self.line() {
                self.at = refused.0;
                self.skip_to_line_end();
                self.parsed.refused.extend(self.chars.get(start..self.at.index).unwrap_or_default());
                self.refuse(refused);
            }
            self.eat('\n');
        }
    }

    /// One line up to its end, longer when quotes or backslashes carry it on.
    fn line(&mut self) -> Result<(), Refused> {
        let mut first = true;
        let mut exporting = false;
        loop {
            self.skip_blanks();
            let start = self.at;
            match self.peek() {
                None | Some('\n') => return Ok(()),
                Some('#') => self.skip_to_line_end(),
                Some(_) => {
                    let name = self.name();
                    let alone = matches!(self.peek(), None | Some(' ' | '\t' | '\n'));
                    if !name.is_empty() && self.eat('=') {
                        self.assignment(name, start)?;
                    } else if alone && first && name == "export" {
                        exporting = true;
                    } else if !(alone && exporting && !name.is_empty()) {
                        return Err(self.no_assignment(&name, start));
                    }
                }
            }
            first = false;
        }
    }

    /// A variable's name; empty when there is none here.
    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek() {
            if !(c == '_' || c.is_ascii_alphabetic() || (c.is_ascii_digit() && !name.is_empty())) {
                break;
            }
            name.push(c);
            self.next();
            self.skip_joins();
        }
        name
    }

    fn assignment(&mut self, name: String, start: Mark) -> Result<(), Refused> {
        let value_start = self.at;
        let value = self.word()?;
        self.values.insert(name.clone(), value.clone());
        let (place, value_place) = (self.place(start), self.place(value_start));
        self.parsed.assignments.push(Assignment { name, value, place, value_place });
        Ok(())
    }

    /// Why what starts at `start`, `name` read already, is not an assignment.
    fn no_assignment(&mut self, name: &str, start: Mark) -> Refused {
        let rest = self.chars.get(self.at.index..).unwrap_or_default();
        if !name.is_empty() && rest.starts_with(&['+', '=']) {
            return (start, Fault::Append(name.to_owned()));
        }
        self.skip_blanks();
        if !name.is_empty() && self.peek() == Some('=') {
            return (start, Fault::Blanks(name.to_owned()));
        }
        self.at = start;
        match self.word() {
            Ok(word) => (start, Fault::Command(word)),
            Err((_, fault @ (Fault::Unclosed(_) | Fault::NotSetEarlier(_)))) => (start, fault),
            Err(refused) => refused,
        }
    }

    /// The value of an assignment, up to a blank or line end outside quotes.
    fn word(&mut self) -> Result<String, Refused> {
        let mut value = String::new();
        self.skip_joins();
        if self.peek() == Some('~') {
            return Err((self.at, Fault::Tilde));
        }
        while let Some(c) = self.peek() {
            let here = self.at;
            match c {
                ' ' | '\t' | '\n' => break,
                '`' => return Err((here, Fault::CommandSubstitution)),
                ';' | '|' | '&' | '<' | '>' | '(' | ')' => return Err((here, Fault::Operator(c))),
                _ => {}
            }
            self.next();
            match c {
                '\'' => self.single_quoted(here, &mut value)?,
                '"' => self.double_quoted(here, &mut value)?,
                '$' => self.variable(here, false, &mut value)?,
                '\\' => match self.next() {
                    Some('\n') => {}
                    escaped => value.push(escaped.unwrap_or('\\')),
                },
                ':' => {
                    self.skip_joins();
                    if self.peek() == Some('~') {
                        return Err((self.at, Fault::Tilde));
                    }
                    value.push(c);
                }
                _ => value.push(c),
            }
        }
        Ok(value)
    }

    fn single_quoted(&mut self, opening: Mark, value: &mut String) -> Result<(), Refused> {
        loop {
            match self.next() {
                None => return Err((opening, Fault::Unclosed('\''))),
                Some('\'') => return Ok(()),
                Some(c) => value.push(c),
            }
        }
    }

    fn double_quoted(&mut self, opening: Mark, value: &mut String) -> Result<(), Refused> {
        loop {
            let here = self.at;
            match self.next() {
                None => return Err((opening, Fault::Unclosed('"'))),
                Some('"') => return Ok(()),
                Some('`') => return Err((here, Fault::CommandSubstitution)),
                Some('$') => self.variable(here, true, value)?,
                Some('\\') => match self.peek() {
                    Some(c @ ('"' | '\\' | '$' | '`')) => {
                        value.push(c);
                        self.next();
                    }
                    Some('\n') => {
                        self.next();
                    }
                    _ => value.push('\\'), // stays before any other character, as in a shell
                },
                Some(c) => value.push(c),
            }
        }
    }

    /// What follows a `$`; one that starts nothing is itself.
    fn variable(&mut self, dollar: Mark, in_quotes: bool, value: &mut String) -> Result<(), Refused> {
        self.skip_joins();
        let braced = self.eat('{');
        self.skip_joins();
        let name = self.name();
        if braced && (name.is_empty() || !self.eat('}')) {
            return Err((dollar, Fault::Expansion));
        }
        if !name.is_empty() {
            return self.expand(dollar, name, value);
        }
        match self.peek() {
            Some('(') => Err((dollar, Fault::CommandSubstitution)),
            Some('0'..='9' | '?' | '$' | '!' | '@' | '*' | '#' | '-' | '[') => Err((dollar, Fault::Expansion)),
            Some('\'' | '"') if !in_quotes => Err((dollar, Fault::Expansion)),
            _ => {
                value.push('$');
                Ok(())
            }
        }
    }

    fn expand(&mut self, dollar: Mark, name: String, value: &mut String) -> Result<(), Refused> {
        let Some(text) = self.values.get(&name) else {
            return Err((dollar, Fault::NotSetEarlier(name)));
        };
        self.budget = self.budget.checked_sub(text.len()).ok_or((dollar, Fault::TooLong))?;
        value.push_str(text);
        self.parsed.expanded.insert(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Parsed {
        parse(Path::new("f"), text.as_bytes())
    }

    /// The values of a file without problems, as `NAME=value`.
    fn read(text: &str) -> Vec<String> {
        let parsed = parsed(text);
        assert_eq!(parsed.problems, [], "{text}");
        parsed.assignments.iter().map(|a| format!("{}={}", a.name, a.value)).collect()
    }

    fn complaints(text: &str) -> Vec<String> {
        parsed(text).problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn words_quotes_escapes_and_comments_read_as_a_shell_reads_them() {
        assert_eq!(read("a=b#c # d\n#e=f\n\n\t g='h \"i\" $j `k`'"), ["a=b#c", "g=h \"i\" $j `k`"]);
        assert_eq!(read(r#"a="b \"c\" \\ \$d \` \e \.""#), [r#"a=b "c" \ $d ` \e \."#]);
        assert_eq!(read("a=1\na\\\n=x$\\\na\"$\\\n{a\\\n}\""), ["a=1", "a=x11"]);
        assert_eq!(read("a=b'c'\"d\"\\ e\\\nf"), ["a=bcd ef"]);
        assert_eq!(read("a=\"b\\\nc\nd\" e='f\ng'"), ["a=bc\nd", "e=f\ng"]);
        assert_eq!(read("export a=b c=d\nexport c\nexport e= f=$ g=\"$\""), ["a=b", "c=d", "e=", "f=$", "g=$"]);
        assert_eq!(read("a=* b={x,y} c=d\\"), ["a=*", "b={x,y}", "c=d\\"]);
    }

    #[test]
    fn variables_set_earlier_are_expanded() {
        let text = "a=1\nb=$a${a}x\"$a\"'$a'\na=2 c=$a";
        assert_eq!(read(text), ["a=1", "b=11x1$a", "a=2", "c=2"]);
        assert!(parsed(text).expanded.contains("a"));
        assert_eq!(
            complaints("b=x$a"),
            ["f:1:4: $a is not set earlier in this file; set it above, or write the value itself"]
        );
    }

    #[test]
    fn shell_is_refused_with_its_place_and_the_rest_is_read() {
        let refused = |text: &str, place: (usize, usize), fault: Fault| {
            let parsed = parsed(&format!("{text}\nz=1"));
            let (line, column) = place;
            let place = Place::Character { path: Path::new("f").into(), line, column };
            assert_eq!(parsed.problems, [Problem { place, subject: Subject::Text, fault }], "{text}");
            assert_eq!(parsed.assignments.last().unwrap().name, "z", "{text}");
        };
        refused("a=$(id)", (1, 3), Fault::CommandSubstitution);
        refused("a=\"x $(id)\"", (1, 6), Fault::CommandSubstitution);
        refused("a=`id`", (1, 3), Fault::CommandSubstitution);
        refused("`id`", (1, 1), Fault::CommandSubstitution);
        for c in [';', '|', '&', '<', '>', '(', ')'] {
            refused(&format!("a=b{c}"), (1, 4), Fault::Operator(c));
        }
        refused("( a=b", (1, 1), Fault::Operator('('));
        refused("a=1 b=${a:-y}", (1, 7), Fault::Expansion);
        refused("b=$1", (1, 3), Fault::Expansion);
        refused("b=$'x'", (1, 3), Fault::Expansion);
        refused("a=~/x", (1, 3), Fault::Tilde);
        refused("a=b:~/x", (1, 5), Fault::Tilde);
        refused("\n  if true", (2, 3), Fault::Command("if".into()));
        refused(". /etc/other", (1, 1), Fault::Command(".".into()));
        refused("a=1, 2", (1, 6), Fault::Command("2".into()));
        refused("a[0]=1", (1, 1), Fault::Command("a[0]=1".into()));
        refused("a+=1", (1, 1), Fault::Append("a".into()));
        refused("é=1 a = b", (1, 1), Fault::Command("é=1".into()));
        refused("a = b", (1, 1), Fault::Blanks("a".into()));
        refused("a='b", (1, 3), Fault::Unclosed('\''));
        refused("a=\"b", (1, 3), Fault::Unclosed('"'));
    }

    #[test]
    fn bytes_that_no_value_may_hold_are_refused_with_their_place() {
        let faults = |bytes: &[u8]| {
            let problems = parse(Path::new("f"), bytes).problems;
            problems.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(faults(b"a=1\nb=\xff\xfe"), ["f:2:3: not UTF-8; write it in UTF-8 or ASCII"]);
        assert_eq!(faults("a=\u{fffd}".as_bytes()), [""; 0]);
        assert_eq!(faults(b"a=1\0"), ["f:1:4: NUL byte; take it out"]);
        assert_eq!(faults(b"a=1\r\nb=2\r\n"), [r"f:1:4: lines end in CR LF; convert with sed -i 's/\r$//'"]);
        assert_eq!(faults(b"a=1\rb"), ["f:1:4: carriage return within a line; take it out"]);
    }

    #[test]
    fn lines_that_double_each_other_do_not_fill_memory() {
        let mut text = String::from("a=xxxxxxxxxxxxxxxx\n");
        text.push_str(&"a=$a$a\n".repeat(60));
        let parsed = parsed(&text);
        assert!(parsed.problems.iter().all(|p| p.fault == Fault::TooLong));
        assert!(!parsed.problems.is_empty());
    }

    /// What /bin/sh makes of a file that sets a, b and c, each value between angle brackets.
    fn shell(text: &str) -> String {
        let script = format!("{text}\nprintf '<%s>' \"$a\" \"$b\" \"$c\"");
        let mut shell = std::process::Command::new("/bin/sh");
        let output = shell.env_clear().arg("-c").arg(script).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{text}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    proptest! {
        // Nine texts of ten are accepted; only those are given to a shell.
        #[test]
        fn a_shell_reads_what_is_accepted_in_the_same_way(lines in proptest::collection::vec(
            concat!(
                "(export )?[abc]=([x#:*.é=~{}]|\\\\[abx$\"'` \\\\#.\n]|'[x $\"\\\\`\n]{0,3}'|",
                "\"([x $'#~*]|\\\\[$\"x`.\n\\\\]|\\$[abc]){0,3}\"|\\$\\{[abc]\\}|\\$[abc.]){0,5}( #.?)?",
            ), 1..5)
        ) {
            let text = format!("a=1 b=2 c=3\n{}\n", lines.join("\n"));
            let parsed = parsed(&text);
            if parsed.problems.is_empty() {
                let last = |name: &str| {
                    let found = parsed.assignments.iter().rev().find(|a| a.name == name);
                    found.map(|a| a.value.clone()).unwrap_or_default()
                };
                prop_assert_eq!(format!("<{}><{}><{}>", last("a"), last("b"), last("c")), shell(&text));
            }
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            parse(Path::new("f"), &bytes);
        }

        #[test]
        fn random_shell_never_panics_and_places_lie_inside(text in "[a-c=$ {}()\"'\\\\`#\n;~+x0-9]{0,60}") {
            for problem in parsed(&text).problems {
                let Place::Character { line, column, .. } = problem.place else { panic!("no place") };
                prop_assert!(column <= text.split('\n').nth(line - 1).unwrap().chars().count() + 1);
            }
        }

        #[test]
        fn what_is_quoted_reads_back(value in "\\PC{0,40}") {
            let single = value.replace('\'', r"'\''");
            let mut double = String::new();
            for c in value.chars() {
                if "\"\\$`".contains(c) {
                    double.push('\\');
                }
                double.push(c);
            }
            let text = format!("a='{single}' b=\"{double}\"");
            prop_assert_eq!(read(&text), [format!("a={value}"), format!("b={value}")]);
        }
    }
}
