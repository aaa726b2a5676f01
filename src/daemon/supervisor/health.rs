//! Whether all is well; if not, why not.

use super::{
    super::{paused::Paused, views::REASONS},
    account::Account,
};
use crate::{
    config::{CaptureQr, LogLevel, Settings},
    stats::Ledger,
};
use std::time::Duration;

/// What happened so long ago is over: a check that looks every five minutes sees it once.
const LATELY: Duration = Duration::from_secs(300);
/// Between two lines about one silence.
const AGAIN: Duration = Duration::from_secs(3600);

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reason {
    /// For programs.
    pub(super) name: &'static str,
    /// For people.
    pub(super) text: String,
}

/// What there is to know of it from one look to the next.
#[derive(Debug, Default)]
pub(super) struct Health {
    kernel_drops: Recent,
    output_drops: Recent,
    restarts: Recent,
    silence: Silence,
}

/// How things are at a look.
pub(super) struct View<'v> {
    pub(super) settings: &'v Settings,
    pub(super) account: &'v Account,
    /// What somebody has paused.
    pub(super) paused: Paused,
    /// Why all is paused, when nobody has said so.
    pub(super) unknown: Option<&'v str>,
    /// Interfaces that are not captured from.
    pub(super) missing: Vec<String>,
    /// All processes have been ready once.
    pub(super) is_ready: bool,
    /// What the sensor cannot serve.
    pub(super) deaf: &'v [String],
    /// Children that ended and were not to.
    pub(super) restarts: u64,
    pub(super) now: Duration,
}

impl Health {
    /// Looks. What is wrong, and lines for the log.
    pub(super) fn look(&mut self, view: &View) -> (Vec<Reason>, Vec<(LogLevel, String)>) {
        let View { settings, account, now, .. } = *view;
        let ledger = &account.ledger;
        let mut reasons = Vec::new();
        let mut is = |name: &'static str, text: Option<String>| {
            debug_assert!(REASONS.contains(&name), "{name}");
            reasons.extend(text.map(|text| Reason { name, text }));
        };
        is("starting", (!view.is_ready).then(|| "not all processes are ready".to_owned()));
        let parts = [("capture", view.paused.capture), ("upload", view.paused.upload)];
        let parts: Vec<&str> = parts.iter().filter(|(_, until)| until.is_some()).map(|(part, _)| *part).collect();
        let paused = parts.join(" and ");
        let why = view.unknown.map(|why| format!(", since there is no telling what is: {why}")).unwrap_or_default();
        is("paused", (!parts.is_empty()).then(|| format!("{paused}{why}; to go on: sie-dns-sensor resume")));
        // Then nothing is expected.
        let is_capturing = view.paused.capture.is_none();
        let missing = if is_capturing { view.missing.join(", ") } else { String::new() };
        is("interface", (!missing.is_empty()).then(|| format!("nothing is captured from {missing}")));
        is(
            "kernel_drops",
            self.kernel_drops.look(ledger.kernel.dropped, now).map(|lately| {
                format!(
                    "the kernel dropped packets, {lately}: a larger capture_buffer_kbytes or more capture_threads help"
                )
            }),
        );
        is(
            "output_drops",
            self.output_drops
                .look(ledger.output.dropped_transactions, now)
                .map(|lately| format!("transactions could not be written, or not as fast as they came, {lately}")),
        );
        is(
            "restarts",
            self.restarts
                .look(view.restarts, now)
                .map(|lately| format!("a process ended and was started anew, {lately}; the log says why")),
        );
        let silence = match is_capturing {
            true => self.silence.look(ledger, settings, now),
            false => self.silence.forget(),
        };
        is("silence", self.silence.text(now));
        let delivery = &account.delivery;
        let free = delivery.free.filter(|free| *free < settings.min_free);
        is(
            "disk",
            free.map(|free| {
                let (free, wanted) = (free / 1024, settings.min_free / 1024);
                format!(
                    "{free} kilobytes are free in the spool, less than min_free_kbytes={wanted}: nothing is written"
                )
            }),
        );
        is(
            "key",
            delivery.lacks_key.then(|| {
                let path = crate::escape::escaped(&settings.upload_key_path());
                format!("there is no key to upload with in {path}; make one: sie-dns-sensor gen-key")
            }),
        );
        is(
            "upload",
            delivery.word.is_alarmed.then(|| {
                let why = delivery.word.last_error.as_ref().map(|(_, text)| format!("; {text}")).unwrap_or_default();
                let waiting = delivery.stocks[1].files;
                let minutes = settings.upload_alarm.as_secs() / 60;
                format!("no upload was confirmed for {minutes} minutes or more; {waiting} files wait{why}")
            }),
        );
        is("listening", (!view.deaf.is_empty()).then(|| view.deaf.join("; ")));
        (reasons, silence.into_iter().collect())
    }
}

/// A count that should not grow.
#[derive(Debug, Default)]
struct Recent {
    count: u64,
    grew: Option<Duration>,
}

impl Recent {
    /// When it grew, if it did lately.
    fn look(&mut self, count: u64, now: Duration) -> Option<String> {
        if count > self.count {
            self.grew = Some(now);
        }
        self.count = count;
        let ago = now.saturating_sub(self.grew?);
        (ago < LATELY).then(|| format!("the last {} s ago, {count} since the start", ago.as_secs()))
    }
}

/// `silence_alarm_minutes`: somebody must learn that no packet arrives, or those of one direction only.
#[derive(Debug, Default)]
struct Silence {
    queries: Seen,
    responses: Seen,
    transactions: Seen,
    /// What it is about, since when, and when it is said next.
    on: Option<(&'static str, Duration, Duration)>,
}

/// A count that should grow.
#[derive(Debug, Default)]
struct Seen {
    count: u64,
    /// When it did last, or began to be looked at.
    last: Option<Duration>,
}

impl Seen {
    fn look(&mut self, count: u64, now: Duration) -> Duration {
        if count != self.count {
            (self.count, self.last) = (count, Some(now));
        }
        *self.last.get_or_insert(now)
    }
}

const NOTHING: &str = "nothing was seen of the hosts in DNSQR_RES_ADDRS and DNSQR_AUTH_ADDRS";
const QUERIES_ONLY: &str = "queries are seen, and no response";
const RESPONSES_ONLY: &str = "responses are seen, and no query";
const NO_TRANSACTION: &str = "queries and responses are seen, and no transaction came of them";

impl Silence {
    /// Looks. A line for the log when it begins, hourly while it lasts, and when it is over.
    fn look(&mut self, ledger: &Ledger, settings: &Settings, now: Duration) -> Option<(LogLevel, String)> {
        let limit = settings.silence_alarm;
        let output = &ledger.output;
        let queries = self.queries.look(ledger.messages.query, now);
        let responses = self.responses.look(ledger.messages.response, now);
        let made = output.transactions + output.dropped_transactions + output.lost_transactions + output.open;
        let transactions = self.transactions.look(made, now);
        let is_silent = |last: Duration| now.saturating_sub(last) >= limit;
        let finding = match (settings.capture_qr, is_silent(queries), is_silent(responses)) {
            // In the modes without pairs every message is a transaction.
            (CaptureQr::Queries | CaptureQr::Responses, ..) => {
                is_silent(transactions).then_some((NOTHING, transactions))
            }
            (CaptureQr::Pair, true, true) => Some((NOTHING, queries.max(responses))),
            (CaptureQr::Pair, false, true) => Some((QUERIES_ONLY, responses)),
            (CaptureQr::Pair, true, false) => Some((RESPONSES_ONLY, queries)),
            (CaptureQr::Pair, false, false) => is_silent(transactions).then_some((NO_TRANSACTION, transactions)),
        };
        match (finding, self.on) {
            (None, None) => None,
            (None, Some((_, since, _))) => {
                self.on = None;
                let minutes = now.saturating_sub(since).as_secs() / 60;
                Some((LogLevel::Info, format!("transactions come again after {minutes} minutes")))
            }
            (Some((what, _)), Some((before, _, next))) if what == before && now < next => None,
            (Some((what, since)), _) => {
                self.on = Some((what, since, now + AGAIN));
                self.text(now).map(|text| (LogLevel::Error, text))
            }
        }
    }

    /// Nothing is expected any more.
    fn forget(&mut self) -> Option<(LogLevel, String)> {
        *self = Silence::default();
        None
    }

    fn text(&self, now: Duration) -> Option<String> {
        let (what, since, _) = self.on?;
        let minutes = now.saturating_sub(since).as_secs() / 60;
        let cure = match what {
            NOTHING => "the mirror port, the interface or the addresses may be the wrong ones",
            NO_TRANSACTION => "all of them are left out by the settings",
            _ => "the mirror port shows one direction only, or the other one comes to another interface",
        };
        Some(format!("for {minutes} minutes {what}: {cure}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(number: u64) -> Duration {
        Duration::from_secs(number * 60)
    }

    fn lines(ledger: impl Fn(u64) -> Ledger, until: u64) -> Vec<(u64, LogLevel, String)> {
        let mut silence = Silence::default();
        let settings = Settings::default();
        let look = |minute| {
            silence.look(&ledger(minute), &settings, minutes(minute)).map(|(level, line)| (minute, level, line))
        };
        (0..until).filter_map(look).collect()
    }

    fn ledger(queries: u64, responses: u64) -> Ledger {
        let mut ledger = Ledger::default();
        (ledger.messages.query, ledger.messages.response) = (queries, responses);
        ledger.output.transactions = queries + responses;
        ledger
    }

    #[test]
    fn silence_is_told_after_the_limit_then_hourly_and_when_it_is_over() {
        let lines = lines(|minute| ledger(minute / 200, minute / 200), 203);
        let at: Vec<_> = lines.iter().map(|(minute, level, _)| (*minute, *level)).collect();
        let error = LogLevel::Error;
        assert_eq!(at, [(15, error), (75, error), (135, error), (195, error), (200, LogLevel::Info)]);
        assert!(lines[1].2.starts_with("for 75 minutes nothing was seen of the hosts"), "{lines:?}");
        assert_eq!(lines[4].2, "transactions come again after 200 minutes");
    }

    #[test]
    fn one_direction_alone_is_told_and_by_its_name() {
        let queries = lines(|minute| ledger(minute, 0), 20);
        assert!(queries.len() == 1 && queries[0].2.contains("queries are seen, and no response"), "{queries:?}");
        let responses = lines(|minute| ledger(0, minute), 20);
        assert!(responses.len() == 1 && responses[0].2.contains("responses are seen, and no query"), "{responses:?}");
        let unused = |minute| Ledger { output: Default::default(), ..ledger(minute, minute) };
        let filtered = lines(unused, 20);
        assert!(filtered.len() == 1 && filtered[0].2.contains("no transaction came of them"), "{filtered:?}");
        assert!(lines(|minute| ledger(minute, minute), 100).is_empty());
    }

    #[test]
    fn another_kind_of_silence_is_told_at_once() {
        let lines = lines(|minute| ledger(minute.saturating_sub(30), 0), 40);
        assert_eq!(lines.iter().map(|line| line.0).collect::<Vec<_>>(), [15, 31]);
    }

    #[test]
    fn what_happened_lately_is_a_reason_and_what_is_over_is_none() {
        let (mut health, settings) = (Health::default(), Settings::default());
        let mut account = Account::default();
        let mut names = |account: &Account, now| {
            let missing = Vec::new();
            let view = View {
                settings: &settings,
                paused: Paused::default(),
                unknown: None,
                account,
                missing,
                is_ready: true,
                deaf: &[],
                restarts: 0,
                now: minutes(now),
            };
            health.look(&view).0.iter().map(|reason| reason.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&account, 0), [""; 0]);
        account.ledger.kernel.dropped = 7;
        assert_eq!(names(&account, 1), ["kernel_drops"]);
        assert_eq!(names(&account, 5), ["kernel_drops"]);
        assert_eq!(names(&account, 6), [""; 0]);
        account.delivery.free = Some(settings.min_free - 1);
        account.delivery.lacks_key = true;
        account.delivery.word.is_alarmed = true;
        assert_eq!(names(&account, 7), ["disk", "key", "upload"]);
    }
}
