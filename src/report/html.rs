//! Text and numbers as HTML.

pub(super) use crate::present::stats::permille;
use std::{fmt::Write, time::Duration};

/// Text that is safe between tags and inside quoted attributes. Control characters and those that change the direction
/// of text, or cannot be seen, show as `\u{202e}`.
pub(super) fn text(plain: &str) -> String {
    let mut html = String::with_capacity(plain.len());
    for character in plain.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            _ if is_hidden(character) => drop(write!(html, "{}", character.escape_unicode())),
            _ => html.push(character),
        }
    }
    html
}

/// Control characters, and Unicode's format characters (general category Cf) and line separators.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            u32::from(character),
            0xad | 0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x890..=0x891 | 0x8e2 | 0x180e
                | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff | 0xfff9..=0xfffb
                | 0x110bd | 0x110cd | 0x13430..=0x1343f | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a | 0xe0000..=0xe007f
        )
}

/// A number in groups of three digits.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 2);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('\u{202f}'); // narrow no-break space
        }
        grouped.push(digit);
    }
    grouped
}

/// `part` of `whole` with one decimal, as `read --stats` has it; a dash where there is no whole.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_string();
    }
    let permille = permille(part, whole);
    format!("{}.{}\u{202f}%", permille / 10, permille % 10)
}

/// Nanoseconds with three digits that mean something.
pub(super) fn delay(nanos: u64) -> String {
    let (value, unit) = match nanos {
        0..1_000_000 => (nanos as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (nanos as f64 / 1e6, "ms"),
        _ => (nanos as f64 / 1e9, "s"),
    };
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$}\u{202f}{unit}")
}

/// A length of time that is a whole number of something.
pub(super) fn duration(nanos: u64) -> String {
    const UNITS: [(u64, &str); 5] = [
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "min"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
    ];
    let unit = UNITS.into_iter().find(|(unit, _)| nanos >= *unit && nanos.is_multiple_of(*unit));
    unit.map_or_else(|| delay(nanos), |(unit, name)| format!("{}\u{202f}{name}", count(nanos / unit)))
}

/// A length of time in its two largest units.
pub(super) fn length(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let shown: Vec<String> = units
        .into_iter()
        .skip_while(|(number, _)| *number == 0)
        .take(2)
        .filter(|(number, _)| *number > 0)
        .map(|(number, name)| format!("{}\u{202f}{name}", count(number)))
        .collect();
    match time.subsec_millis() {
        _ if !shown.is_empty() => shown.join(" "),
        0 => "less than 1\u{202f}ms".to_string(),
        milliseconds => format!("{milliseconds}\u{202f}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_becomes_text() {
        assert_eq!(
            text("<script>alert(\"x\")</script>&'"),
            "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;&#39;"
        );
        assert_eq!(text("a\u{202e}b\0\n\u{9b}\u{feff}\u{2066}é"), "a\\u{202e}b\\u{0}\\u{a}\\u{9b}\\u{feff}\\u{2066}é");
    }

    #[test]
    fn lengths_have_two_units() {
        let lengths = [0.0, 0.25, 59.9, 3600.0, 5_246_206.0].map(|seconds| length(Duration::from_secs_f64(seconds)));
        assert_eq!(lengths.join(", ").replace('\u{202f}', " "), "less than 1 ms, 250 ms, 59 s, 1 h, 60 d 17 h");
    }

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count).join(" "), "0 999 1\u{202f}000 1\u{202f}234\u{202f}567");
        assert_eq!([percent(14, 67), percent(0, 0), percent(7, 7)].join(" "), "20.9\u{202f}% – 100.0\u{202f}%");
        assert_eq!(
            [0, 1_500, 12_340_000, 999_000_000, 2_000_000_000].map(delay).join(" ").replace('\u{202f}', ""),
            "0.00µs 1.50µs 12.3ms 999ms 2.00s"
        );
        assert_eq!(
            [1_000_000, 1_200_000_000_000, 86_400_000_000_000].map(duration).join(" ").replace('\u{202f}', ""),
            "1ms 20min 1d"
        );
    }
}
