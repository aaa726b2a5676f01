//! `upload_alarm_minutes`: somebody must learn that nothing arrives.

use std::time::Duration;

/// Between two alarms of one trouble.
const AGAIN: Duration = Duration::from_secs(3600);

/// What an alarm says.
pub fn text(silence: Duration) -> String {
    format!("no upload was confirmed for {} minutes", silence.as_secs() / 60)
}

/// Goes off when files wait and none was confirmed for a while, then hourly.
#[derive(Debug, Default)]
pub struct Alarm {
    /// Since when files have waited without one being confirmed.
    since: Option<Duration>,
    /// When it goes off next.
    next: Option<Duration>,
}

impl Alarm {
    /// A file was confirmed. For how long none was, if there was an alarm.
    pub fn confirmed(&mut self, now: Duration) -> Option<Duration> {
        let was_on = self.next.take().is_some();
        let since = self.since.replace(now);
        since.filter(|_| was_on).map(|since| now.saturating_sub(since))
    }

    /// Whether it has gone off, and nothing was confirmed since.
    pub fn is_on(&self) -> bool {
        self.next.is_some()
    }

    /// Looks: for how long no file was confirmed, if that is to be said now.
    pub fn look(&mut self, waits: bool, limit: Duration, now: Duration) -> Option<Duration> {
        if !waits {
            self.since = None;
            self.next = None;
            return None;
        }
        let since = *self.since.get_or_insert(now);
        if now < self.next.unwrap_or(since + limit) {
            return None;
        }
        self.next = Some(now + AGAIN);
        Some(now.saturating_sub(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(number: u64) -> Duration {
        Duration::from_secs(number * 60)
    }

    #[test]
    fn it_goes_off_after_the_limit_then_hourly_and_says_when_it_is_over() {
        let mut alarm = Alarm::default();
        let on: Vec<u64> =
            (10..300).filter(|minute| alarm.look(true, minutes(30), minutes(*minute)).is_some()).collect();
        assert_eq!(on, [40, 100, 160, 220, 280]);
        assert!(alarm.is_on());
        assert_eq!(alarm.confirmed(minutes(300)), Some(minutes(290)));
        assert!(!alarm.is_on());
        assert_eq!(alarm.confirmed(minutes(301)), None);
        assert_eq!(alarm.look(true, minutes(30), minutes(330)), None);
        assert_eq!(alarm.look(true, minutes(30), minutes(331)), Some(minutes(30)));
    }

    #[test]
    fn where_nothing_waits_nothing_is_missed() {
        let mut alarm = Alarm::default();
        assert_eq!(alarm.look(true, minutes(30), minutes(0)), None);
        assert_eq!(alarm.look(false, minutes(30), minutes(29)), None);
        assert_eq!(alarm.look(true, minutes(30), minutes(50)), None);
    }
}
