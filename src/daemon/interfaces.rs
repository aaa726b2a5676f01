//! Which of the configured interfaces are captured from, since when not, and when to try again.

use crate::stats::Gaps;
use std::time::Duration;

/// Between two tries of an interface that is there and cannot be captured from: twice as long each time, up to this.
const RETRY_MAX: Duration = Duration::from_secs(60);
const RETRY_MIN: Duration = Duration::from_secs(1);

/// The interfaces of the settings. Times are monotonic.
pub struct Interfaces {
    known: Vec<Known>,
    /// Of gaps that have ended.
    past: Gaps,
}

struct Known {
    name: String,
    state: State,
    /// Its number before it was opened; another one means another interface of that name.
    index: Option<u32>,
    /// Since when it is down, though open: then no packet comes, and when it is up again they come by themselves.
    down: Option<Duration>,
    /// How long to wait after the next failure.
    wait: Duration,
    /// It is there and could not be opened, since it was last captured from.
    is_refused: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the start.
    New,
    Captured,
    Lost {
        since: Duration,
        retry: Duration,
    },
}

impl Interfaces {
    /// None of them is captured from.
    pub fn new(names: impl IntoIterator<Item = String>) -> Interfaces {
        let known = |name| {
            let (state, wait) = (State::New, RETRY_MIN);
            Known { name, state, index: None, down: None, wait, is_refused: false }
        };
        Interfaces { known: names.into_iter().map(known).collect(), past: Gaps::default() }
    }

    /// Other settings. What is captured from stays so.
    pub fn rename(&mut self, names: impl IntoIterator<Item = String>, now: Duration) {
        let Interfaces { known, past } = Interfaces::new(names);
        let old = std::mem::replace(&mut self.known, known);
        debug_assert_eq!(past, Gaps::default());
        for known in old {
            match self.known.iter_mut().find(|new| new.name == known.name) {
                Some(new) => *new = known,
                None => self.past = add(self.past.clone(), known.gap(now)),
            }
        }
    }

    /// These are captured from, with their numbers; those of them that were lost.
    pub fn captured(&mut self, opened: &[(String, Option<u32>)], now: Duration) -> Vec<String> {
        let mut back = Vec::new();
        for known in &mut self.known {
            let Some((_, index)) = opened.iter().find(|(name, _)| *name == known.name) else { continue };
            known.index = *index;
            known.is_refused = false;
            if let State::Lost { .. } = known.state {
                back.push(known.name.clone());
                self.past = add(self.past.clone(), known.gap(now));
            }
            known.state = State::Captured;
        }
        back
    }

    /// Nothing comes from this one any more, or it is there and cannot be opened. True if that is new.
    pub fn lost(&mut self, name: &str, is_refused: bool, now: Duration) -> bool {
        let Some(known) = self.known.iter_mut().find(|known| known.name == name) else { return false };
        let (since, is_new) = match (known.state, known.down.take()) {
            (State::Lost { since, .. }, _) => (since, false),
            (_, Some(since)) => (since, false),
            (State::New | State::Captured, None) => (now, true),
        };
        if known.state == State::Captured {
            known.wait = RETRY_MIN;
        }
        known.state = State::Lost { since, retry: now + known.wait };
        known.wait = (known.wait * 2).min(RETRY_MAX);
        let is_news = is_new || is_refused && !known.is_refused;
        known.is_refused |= is_refused;
        is_news
    }

    /// The process that captured is gone: all it captured from is lost, to be tried at once.
    pub fn all_lost(&mut self, now: Duration) {
        for known in self.known.iter_mut().filter(|known| known.state == State::Captured) {
            known.state = State::Lost { since: known.down.take().unwrap_or(now), retry: now };
        }
    }

    /// Those that went down and those that came up since the last call, of those that are captured from.
    pub fn watch(&mut self, now: Duration, is_up: impl Fn(&str) -> bool) -> (Vec<String>, Vec<String>) {
        let (mut went, mut came) = (Vec::new(), Vec::new());
        for known in self.known.iter_mut().filter(|known| known.state == State::Captured) {
            match (known.down, is_up(&known.name)) {
                (None, false) => {
                    known.down = Some(now);
                    went.push(known.name.clone());
                }
                (Some(since), true) => {
                    known.down = None;
                    self.past = add(self.past.clone(), gap(since, now));
                    came.push(known.name.clone());
                }
                _ => {}
            }
        }
        (went, came)
    }

    /// Those that are lost and may be tried again, or are new, if `is_there` says so.
    pub fn to_try(&self, now: Duration, is_there: impl Fn(&str) -> bool) -> Vec<String> {
        let due = |known: &Known| match known.state {
            State::New => true,
            State::Captured => false,
            State::Lost { retry, .. } => retry <= now,
        };
        self.names(|known| due(known) && is_there(&known.name))
    }

    /// Those of which nothing is known yet.
    pub fn untried(&self) -> Vec<String> {
        self.names(|known| known.state == State::New)
    }

    /// Those that are captured from under a name that is another interface's now, or nobody's.
    pub fn renamed(&self, index: impl Fn(&str) -> Option<u32>) -> Vec<String> {
        let renamed = |known: &Known| index(&known.name) != known.index;
        self.names(|known| known.state == State::Captured && renamed(known))
    }

    /// All that are not known to be missing, or may be tried again.
    pub fn to_open(&self, now: Duration, is_there: impl Fn(&str) -> bool) -> Vec<String> {
        self.names(|known| match known.state {
            State::New | State::Captured => is_there(&known.name),
            State::Lost { retry, .. } => retry <= now && is_there(&known.name),
        })
    }

    /// Those that are captured from.
    pub fn active(&self) -> Vec<String> {
        self.names(Known::is_active)
    }

    /// The others.
    pub fn missing(&self) -> Vec<String> {
        self.names(|known| !known.is_active())
    }

    /// Each with what is the matter with it, and since when it is not captured from.
    pub fn states(&self, now: Duration) -> Vec<(String, &'static str, Option<Duration>)> {
        let state = |known: &Known| match (known.state, known.down) {
            (State::New, _) => ("starting", None),
            (State::Captured, None) => ("captured", None),
            (State::Captured, Some(since)) => ("down", Some(since)),
            (State::Lost { since, .. }, _) => ("missing", Some(since)),
        };
        let all = self.known.iter().map(|known| (known.name.clone(), state(known)));
        all.map(|(name, (state, since))| (name, state, since.map(|since| now.saturating_sub(since)))).collect()
    }

    /// All gaps, those that last included.
    pub fn gaps(&self, now: Duration) -> Gaps {
        self.known.iter().map(|known| known.gap(now)).fold(self.past.clone(), add)
    }

    fn names(&self, wanted: impl Fn(&Known) -> bool) -> Vec<String> {
        self.known.iter().filter(|known| wanted(known)).map(|known| known.name.clone()).collect()
    }
}

impl Known {
    fn is_active(&self) -> bool {
        self.state == State::Captured && self.down.is_none()
    }

    fn gap(&self, now: Duration) -> Gaps {
        match (self.state, self.down) {
            (State::Lost { since, .. }, _) | (_, Some(since)) => gap(since, now),
            (State::New | State::Captured, None) => Gaps::default(),
        }
    }
}

fn gap(since: Duration, now: Duration) -> Gaps {
    Gaps { count: 1, milliseconds: now.saturating_sub(since).as_millis() as u64 }
}

fn add(one: Gaps, other: Gaps) -> Gaps {
    Gaps { count: one.count + other.count, milliseconds: one.milliseconds + other.milliseconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn interfaces() -> Interfaces {
        let mut interfaces = Interfaces::new(["a".to_owned(), "b".to_owned()]);
        assert_eq!(interfaces.captured(&[("a".to_owned(), Some(1)), ("b".to_owned(), Some(2))], secs(0)), [""; 0]);
        interfaces
    }

    #[test]
    fn a_lost_interface_is_told_once_and_its_gap_lasts_until_it_is_back() {
        let mut interfaces = interfaces();
        assert!(interfaces.lost("a", false, secs(10)));
        assert!(!interfaces.lost("a", false, secs(11)));
        let states = interfaces.states(secs(12));
        assert_eq!(states[0], ("a".to_owned(), "missing", Some(secs(2))));
        assert_eq!(states[1], ("b".to_owned(), "captured", None));
        assert_eq!(interfaces.gaps(secs(15)), Gaps { count: 1, milliseconds: 5000 });
        assert_eq!((interfaces.active(), interfaces.missing()), (vec!["b".to_owned()], vec!["a".to_owned()]));
        assert_eq!(interfaces.captured(&[("a".to_owned(), Some(3))], secs(20)), ["a"]);
        assert_eq!(interfaces.gaps(secs(99)), Gaps { count: 1, milliseconds: 10_000 });
    }

    #[test]
    fn what_is_there_at_last_and_cannot_be_opened_is_told_once_more() {
        let mut interfaces = interfaces();
        assert!(interfaces.lost("a", false, secs(10)));
        assert!(interfaces.lost("a", true, secs(11)));
        assert!(!interfaces.lost("a", true, secs(12)));
        assert!(!interfaces.lost("a", false, secs(13)));
        assert_eq!(interfaces.gaps(secs(15)), Gaps { count: 1, milliseconds: 5000 });
        interfaces.captured(&[("a".to_owned(), Some(3))], secs(20));
        assert!(interfaces.lost("a", true, secs(30)));
        assert!(!interfaces.lost("a", true, secs(31)));
    }

    #[test]
    fn what_fails_again_and_again_is_tried_less_and_less_often() {
        let mut interfaces = interfaces();
        let mut now = secs(0);
        let mut waits = Vec::new();
        for _ in 0..9 {
            interfaces.lost("a", false, now);
            let failed = now;
            while interfaces.to_try(now, |_| true).is_empty() {
                now += secs(1);
            }
            waits.push((now - failed).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert!(interfaces.to_try(now, |_| false).is_empty());
    }

    #[test]
    fn an_open_interface_that_is_down_makes_a_gap_and_needs_no_new_process() {
        let mut interfaces = interfaces();
        assert_eq!(interfaces.watch(secs(5), |name| name != "a"), (vec!["a".to_owned()], vec![]));
        assert_eq!(interfaces.watch(secs(6), |name| name != "a"), (vec![], vec![]));
        assert_eq!((interfaces.active(), interfaces.missing()), (vec!["b".to_owned()], vec!["a".to_owned()]));
        assert!(interfaces.to_try(secs(100), |_| true).is_empty());
        assert_eq!(interfaces.watch(secs(7), |_| true), (vec![], vec!["a".to_owned()]));
        assert_eq!(interfaces.gaps(secs(99)), Gaps { count: 1, milliseconds: 2000 });
    }

    #[test]
    fn one_that_is_down_and_then_deleted_is_one_gap() {
        let mut interfaces = interfaces();
        interfaces.watch(secs(5), |name| name != "a");
        assert!(!interfaces.lost("a", false, secs(6)));
        interfaces.captured(&[("a".to_owned(), Some(3))], secs(8));
        assert_eq!(interfaces.gaps(secs(99)), Gaps { count: 1, milliseconds: 3000 });
    }

    #[test]
    fn with_their_process_all_are_lost_and_to_be_opened_at_once() {
        let mut interfaces = interfaces();
        interfaces.all_lost(secs(5));
        assert_eq!(interfaces.to_open(secs(5), |_| true), ["a", "b"]);
        assert_eq!(interfaces.gaps(secs(6)), Gaps { count: 2, milliseconds: 2000 });
    }

    #[test]
    fn a_new_one_that_was_not_opened_with_the_others_is_tried() {
        let mut interfaces = interfaces();
        interfaces.rename(["a".to_owned(), "c".to_owned()], secs(3));
        assert_eq!(interfaces.untried(), ["c"]);
        assert!(interfaces.to_try(secs(3), |_| false).is_empty());
        assert_eq!(interfaces.to_try(secs(3), |_| true), ["c"]);
    }

    #[test]
    fn an_interface_under_another_name_is_not_the_configured_one() {
        let interfaces = interfaces();
        assert_eq!(interfaces.renamed(|name| (name == "a").then_some(1)), ["b"]);
        assert_eq!(interfaces.renamed(|_| Some(1)), ["b"]);
        assert!(interfaces.renamed(|name| Some(if name == "a" { 1 } else { 2 })).is_empty());
    }

    #[test]
    fn other_settings_keep_what_is_captured_and_close_gaps_of_what_is_not_wanted_any_more() {
        let mut interfaces = interfaces();
        interfaces.lost("b", false, secs(1));
        interfaces.rename(["a".to_owned(), "c".to_owned()], secs(3));
        assert_eq!(interfaces.active(), ["a"]);
        assert_eq!(interfaces.to_open(secs(3), |_| true), ["a", "c"]);
        assert_eq!(interfaces.gaps(secs(9)), Gaps { count: 1, milliseconds: 2000 });
    }
}
