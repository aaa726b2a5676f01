//! How many transactions began when.

use super::exchange::Seen;
use crate::time::{NANOS, Timestamp};
use std::collections::BTreeMap;

/// Columns of the plot at most: 1.4 pixels each on a narrow screen.
const COLUMNS_MAX: u64 = 240;

const MILLISECOND: u64 = NANOS / 1000;
const HOUR: u64 = 3600 * NANOS;
const DAY: u64 = 24 * HOUR;

/// Widths of a column. Each is a multiple of the one before; [`COLUMNS_MAX`] of the last are more than a [`Timestamp`]
/// can tell apart.
#[rustfmt::skip]
const WIDTHS: [u64; 24] = [
    MILLISECOND, 2 * MILLISECOND, 10 * MILLISECOND, 20 * MILLISECOND, 100 * MILLISECOND, 200 * MILLISECOND,
    NANOS, 2 * NANOS, 10 * NANOS, 20 * NANOS, 60 * NANOS, 120 * NANOS, 600 * NANOS, 1200 * NANOS,
    HOUR, 2 * HOUR, 6 * HOUR, DAY, 2 * DAY, 14 * DAY, 28 * DAY, 364 * DAY, 728 * DAY, 1456 * DAY,
];

/// What began within one column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Column {
    pub answered: u64,
    pub unanswered: u64,
    pub unsolicited: u64,
    pub alone: u64,
}

impl Column {
    pub(crate) fn total(&self) -> u64 {
        self.answered + self.unanswered + self.unsolicited + self.alone
    }

    fn add(&mut self, other: &Column) {
        self.answered += other.answered;
        self.unanswered += other.unanswered;
        self.unsolicited += other.unsolicited;
        self.alone += other.alone;
    }
}

/// Columns of equal width, [`COLUMNS_MAX`] at most: when time goes beyond them they become wider.
#[derive(Default)]
pub(crate) struct Timeline {
    /// By time divided by width.
    columns: BTreeMap<u64, Column>,
    /// Index into [`WIDTHS`].
    width: usize,
    span: Option<(Timestamp, Timestamp)>,
}

impl Timeline {
    pub(crate) fn add(&mut self, time: Timestamp, seen: Seen) {
        let (first, last) = self.span.unwrap_or((time, time));
        let span = (first.min(time), last.max(time));
        self.span = Some(span);
        while self.columns_of(span) > COLUMNS_MAX && self.width + 1 < WIDTHS.len() {
            self.widen();
        }
        let column = self.columns.entry(time.as_nanos() / self.width()).or_default();
        *match seen {
            Seen::Answered => &mut column.answered,
            Seen::Unanswered => &mut column.unanswered,
            Seen::Unsolicited => &mut column.unsolicited,
            Seen::QueryAlone | Seen::ResponseAlone | Seen::Other => &mut column.alone,
        } += 1;
    }

    fn columns_of(&self, (first, last): (Timestamp, Timestamp)) -> u64 {
        last.as_nanos() / self.width() - first.as_nanos() / self.width() + 1
    }

    fn widen(&mut self) {
        let before = self.width();
        self.width += 1;
        let times = self.width() / before;
        let mut wider: BTreeMap<u64, Column> = BTreeMap::new();
        for (index, column) in &self.columns {
            wider.entry(index / times).or_default().add(column);
        }
        self.columns = wider;
    }

    /// Nanoseconds that a column is wide.
    pub(crate) fn width(&self) -> u64 {
        WIDTHS.get(self.width).copied().unwrap_or(u64::MAX)
    }

    /// The first and the last moment.
    pub(crate) fn span(&self) -> Option<(Timestamp, Timestamp)> {
        self.span
    }

    /// How many columns the plot has, and those in which something began, by their place in it.
    pub(crate) fn columns(&self) -> (u64, impl Iterator<Item = (u64, &Column)>) {
        let first = self.columns.first_key_value().map_or(0, |(index, _)| *index);
        let last = self.columns.last_key_value().map_or(0, |(index, _)| *index);
        (last - first + 1, self.columns.iter().map(move |(index, column)| (index - first, column)))
    }

    /// When the column at this place begins.
    pub(crate) fn begin(&self, place: u64) -> Timestamp {
        let first = self.columns.first_key_value().map_or(0, |(index, _)| *index);
        Timestamp::from_nanos((first + place).saturating_mul(self.width()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_width_is_a_multiple_of_the_one_before_and_the_last_holds_all_time() {
        assert!(WIDTHS.windows(2).all(|pair| pair[1] % pair[0] == 0 && pair[1] > pair[0]));
        assert!(u64::MAX / WIDTHS[WIDTHS.len() - 1] < COLUMNS_MAX);
    }

    #[test]
    fn whatever_the_times_there_are_few_columns_and_nothing_is_lost() {
        let mut timeline = Timeline::default();
        let mut added = 0;
        for power in 0..64 {
            for nanos in [1 << power, u64::MAX >> power, 1_790_000_000 * NANOS + power] {
                timeline.add(Timestamp::from_nanos(nanos), Seen::Unanswered);
                added += 1;
                let (columns, filled) = timeline.columns();
                assert!(columns <= COLUMNS_MAX);
                assert_eq!(filled.map(|(_, column)| column.unanswered).sum::<u64>(), added);
            }
        }
    }

    #[test]
    fn a_minute_has_columns_of_a_second() {
        let mut timeline = Timeline::default();
        for second in (0..60).rev() {
            timeline.add(Timestamp::new(1_790_000_000 + second, 0), Seen::Answered);
        }
        assert_eq!((timeline.width(), timeline.columns().0), (NANOS, 60));
        assert_eq!(timeline.begin(3).seconds(), 1_790_000_003);
    }
}
