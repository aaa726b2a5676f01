//! Numbers with a unit and a range.

use std::time::Duration;

use super::problem::{Fault, Remark};
use super::values::{Faults, Remarks};

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Minutes.
    Minutes,
    /// Days.
    Days,
    /// 1024 bytes.
    Kbytes,
}

impl Unit {
    /// ` of seconds`, for messages.
    pub(super) fn of(self) -> &'static str {
        match self {
            Unit::Count => "",
            Unit::Seconds => " of seconds",
            Unit::Milliseconds => " of milliseconds",
            Unit::Minutes => " of minutes",
            Unit::Days => " of days",
            Unit::Kbytes => " of kilobytes",
        }
    }

    /// The unit that the words of a setting begin with: `seconds, 1 to 60`.
    pub(super) fn of_words(words: &str) -> Unit {
        const UNITS: [Unit; 5] = [Unit::Seconds, Unit::Milliseconds, Unit::Minutes, Unit::Days, Unit::Kbytes];
        let begins = |unit: &&Unit| unit.plural().is_some_and(|plural| words.starts_with(plural));
        UNITS.iter().find(begins).copied().unwrap_or(Unit::Count)
    }

    fn plural(self) -> Option<&'static str> {
        self.of().strip_prefix(" of ")
    }

    /// How many of it the unit written as `suffix` is.
    fn factor(self, suffix: &str) -> Option<u64> {
        Some(match (self, suffix) {
            (_, "") => 1,
            (Unit::Seconds, "s" | "sec" | "secs" | "second" | "seconds") => 1,
            (Unit::Seconds, "m" | "min" | "minutes") => 60,
            (Unit::Seconds, "h") => 3600,
            (Unit::Milliseconds, "ms") => 1,
            (Unit::Milliseconds, "s") => 1000,
            (Unit::Minutes, "m" | "min" | "minutes") => 1,
            (Unit::Minutes, "h") => 60,
            (Unit::Days, "d" | "day" | "days") => 1,
            (Unit::Kbytes, "k" | "kb" | "kib") => 1,
            (Unit::Kbytes, "m" | "mb" | "mib") => 1 << 10,
            (Unit::Kbytes, "g" | "gb" | "gib") => 1 << 20,
            _ => return None,
        })
    }

    /// The number that somebody meant who wrote `+60` or `60s`.
    fn meant(self, text: &str) -> Option<u64> {
        let text = text.strip_prefix('+').unwrap_or(text).to_ascii_lowercase();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, suffix) = text.split_at_checked(digits)?;
        digits.parse::<u64>().ok()?.checked_mul(self.factor(suffix.trim_start())?)
    }
}

/// What a C `int` held, in which libnmsg kept its numbers.
pub(super) const INT_MAX: u64 = 2_147_483_647;
/// 8 EiB in kilobytes: in bytes it still is a u64.
pub(super) const KBYTES_MAX: u64 = 1 << 43;

/// Decimal digits within a range.
fn whole(text: &str, unit: Unit, min: u64, max: u64, remarks: &mut Remarks) -> Result<u64, Faults> {
    let range = (min, max);
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        let meant = unit.meant(text).filter(|number| (min..=max).contains(number));
        return Err(Fault::NotNumber { unit, meant, range }.into());
    }
    match text.parse() {
        Ok(number) if (min..=max).contains(&number) => {
            if text.len() > 1 && text.starts_with('0') {
                remarks.push(Remark::LeadingZero(number));
            }
            Ok(number)
        }
        _ => Err(Fault::OutOfRange { unit, range }.into()),
    }
}

/// A number of things.
pub(super) fn count(min: u64, max: u64) -> impl Fn(&str, &mut Remarks) -> Result<usize, Faults> {
    move |text, remarks| {
        let number = whole(text, Unit::Count, min, max, remarks)?;
        usize::try_from(number).map_err(|_| Fault::OutOfRange { unit: Unit::Count, range: (min, max) }.into())
    }
}

/// A time.
pub(super) fn time(unit: Unit, min: u64, max: u64) -> impl Fn(&str, &mut Remarks) -> Result<Duration, Faults> {
    move |text, remarks| {
        let number = whole(text, unit, min, max, remarks)?;
        Ok(match unit {
            Unit::Milliseconds => Duration::from_millis(number),
            Unit::Minutes => Duration::from_secs(number.saturating_mul(60)),
            Unit::Days => Duration::from_secs(number.saturating_mul(86_400)),
            _ => Duration::from_secs(number),
        })
    }
}

/// A size in kilobytes, given in bytes.
pub(super) fn kbytes(min: u64, max: u64) -> impl Fn(&str, &mut Remarks) -> Result<u64, Faults> {
    move |text, remarks| Ok(whole(text, Unit::Kbytes, min, max, remarks)?.saturating_mul(1024))
}

/// What `parse` makes of it; an empty text and zero are "off".
pub(super) fn zero_is_off<T: Default + PartialEq>(
    parse: impl Fn(&str, &mut Remarks) -> Result<T, Faults>,
) -> impl Fn(&str, &mut Remarks) -> Result<Option<T>, Faults> {
    move |text, remarks| match text {
        "" => Ok(None),
        _ => Ok(Some(parse(text, remarks)?).filter(|value| *value != T::default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal_and_the_cure_is_named() {
        let says = |unit, text: &str| whole(text, unit, 1, 1000, &mut Vec::new()).unwrap_err().0[0].to_string();
        assert_eq!(says(Unit::Seconds, "60s"), r#"not a whole number of seconds; write "60""#);
        assert_eq!(says(Unit::Seconds, "5m"), r#"not a whole number of seconds; write "300""#);
        assert_eq!(says(Unit::Kbytes, "1k"), r#"not a whole number of kilobytes; write "1""#);
        assert_eq!(says(Unit::Count, "+7"), r#"not a whole number; write "7""#);
        for text in ["-1", "0x10", "1e3", "é", "9999s", "99999999999999999999s"] {
            assert_eq!(says(Unit::Seconds, text), "not a whole number of seconds; write one from 1 to 1000", "{text}");
        }
        for text in ["0", "1001", "99999999999999999999999"] {
            assert_eq!(says(Unit::Count, text), "out of range; write a whole number from 1 to 1000");
        }
        let mut remarks = Vec::new();
        assert_eq!(whole("060", Unit::Seconds, 1, 1000, &mut remarks), Ok(60));
        assert_eq!(remarks, [Remark::LeadingZero(60)]);
    }

    #[test]
    fn the_largest_size_is_a_number_of_bytes() {
        assert_eq!(kbytes(0, KBYTES_MAX)("8796093022208", &mut Vec::new()), Ok(1 << 53));
        assert_eq!(zero_is_off(kbytes(0, 9))("0", &mut Vec::new()), Ok(None));
        assert_eq!(zero_is_off(kbytes(0, 9))("", &mut Vec::new()), Ok(None));
    }
}
