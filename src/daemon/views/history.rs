//! How fast counters grow: samples of them, a minute of seconds and an hour of minutes.

use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, VecDeque};

/// Over how many seconds rates are.
pub const SPANS: [u64; 3] = [1, 60, 3600];
/// Samples of each kind: those that make up the span, and one before.
const SAMPLES: usize = 62;
/// Documents come once a second, not on the dot.
const SLACK: u64 = 100;

/// Counters of the document with a rate: its name, and where they are.
const COUNTERS: [(&str, &str); 8] = [
    ("packets", "/ledger/packets/total"),
    ("dropped", "/ledger/kernel/dropped"),
    ("queries", "/ledger/messages/query"),
    ("responses", "/ledger/messages/response"),
    ("transactions", "/ledger/output/transactions"),
    ("written_bytes", "/ledger/output/bytes"),
    ("uploaded_files", "/upload/files"),
    ("uploaded_bytes", "/upload/bytes"),
];
/// Those of an interface.
const OF_INTERFACE: [&str; 3] = ["packets", "bytes", "dropped"];

/// Samples; bounded, however long it runs.
#[derive(Debug, Default)]
pub struct History {
    seconds: VecDeque<Sample>,
    minutes: VecDeque<Sample>,
}

/// Counters at a moment, in milliseconds of the supervisor's.
#[derive(Debug)]
struct Sample {
    at: u64,
    counts: BTreeMap<String, u64>,
}

impl History {
    /// Takes a sample of the document if it is time, and writes rates into it.
    pub fn rate(&mut self, document: &mut Value) {
        let Some(at) = document.get("milliseconds").and_then(Value::as_u64) else { return };
        let counts = counts(document);
        let rates = |name: &str| -> Value {
            let now = counts.get(name).copied().unwrap_or_default();
            SPANS.map(|span| (span.to_string(), json!(self.over(name, now, span, at)))).into_iter().collect()
        };
        let all: Map<String, Value> = COUNTERS.iter().map(|(name, _)| ((*name).to_owned(), rates(name))).collect();
        let interfaces: Vec<Value> = names(document)
            .map(|interface| {
                OF_INTERFACE.map(|name| (name.to_owned(), rates(&key(interface, name)))).into_iter().collect()
            })
            .collect();
        document["rates"] = Value::Object(all);
        for (interface, rates) in document["interfaces"].as_array_mut().into_iter().flatten().zip(interfaces) {
            interface["rates"] = rates;
        }
        for (samples, apart) in [(&mut self.seconds, 1000), (&mut self.minutes, 60_000)] {
            if samples.back().is_none_or(|last| at.saturating_sub(last.at) + SLACK >= apart) {
                samples.push_back(Sample { at, counts: counts.clone() });
                if samples.len() > SAMPLES {
                    samples.pop_front();
                }
            }
        }
    }

    /// Per second, over so many seconds, or as long as it is known.
    fn over(&self, name: &str, now: u64, span: u64, at: u64) -> Option<f64> {
        let samples = if span > 60 { &self.minutes } else { &self.seconds };
        let is_long_ago = |sample: &&Sample| at.saturating_sub(sample.at) + SLACK >= span * 1000;
        let sample = samples.iter().rev().find(is_long_ago).or(samples.front())?;
        let elapsed = at.checked_sub(sample.at).filter(|elapsed| *elapsed > 0)?;
        let grown = now.saturating_sub(*sample.counts.get(name)?);
        Some((grown as f64 * 10_000.0 / elapsed as f64).round() / 10.0)
    }
}

fn key(interface: &str, name: &str) -> String {
    format!("{name} of {interface}")
}

fn names(document: &Value) -> impl Iterator<Item = &str> {
    let interfaces = document["interfaces"].as_array().into_iter().flatten();
    interfaces.map(|interface| interface["name"].as_str().unwrap_or_default())
}

fn counts(document: &Value) -> BTreeMap<String, u64> {
    let of = |value: Option<&Value>| value.and_then(Value::as_u64).unwrap_or_default();
    let mut counts: BTreeMap<String, u64> =
        COUNTERS.iter().map(|(name, place)| ((*name).to_owned(), of(document.pointer(place)))).collect();
    for interface in document["interfaces"].as_array().into_iter().flatten() {
        let interface_name = interface["name"].as_str().unwrap_or_default();
        counts.extend(OF_INTERFACE.map(|name| (key(interface_name, name), of(interface.get(name)))));
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At so many milliseconds, with so many packets, all of eth0.
    fn document(at: u64, packets: u64) -> Value {
        json!({
            "milliseconds": at,
            "ledger": {"packets": {"total": packets}},
            "interfaces": [{"name": "eth0", "packets": packets, "bytes": packets * 100, "dropped": 0}],
        })
    }

    fn rates(document: &Value) -> [Option<f64>; 3] {
        SPANS.map(|span| document["rates"]["packets"][span.to_string()].as_f64())
    }

    #[test]
    fn rates_are_over_a_second_a_minute_and_an_hour() {
        let mut history = History::default();
        let mut packets = 0;
        let mut last = Value::Null;
        for tick in 0..2 * 3700 {
            // The last minute at 1 000 a second, the last two seconds at none.
            packets += match tick {
                ..7280 => 5,
                7280..7396 => 500,
                _ => 0,
            };
            last = document(tick * 500, packets);
            history.rate(&mut last);
        }
        let [second, minute, hour] = rates(&last).map(Option::unwrap);
        assert_eq!(second, 0.0);
        assert!((940.0..975.0).contains(&minute), "{minute}");
        assert!((25.0..27.0).contains(&hour), "{hour}");
        let bytes = last["interfaces"][0]["rates"]["bytes"]["60"].as_f64().unwrap();
        assert!((bytes / 100.0 - minute).abs() < 1.0, "{bytes}");
        assert!(history.seconds.len() <= SAMPLES && history.minutes.len() <= SAMPLES);
    }

    #[test]
    fn a_rate_that_is_not_known_is_null_and_then_over_the_time_there_was() {
        let mut history = History::default();
        let mut first = document(5000, 100);
        history.rate(&mut first);
        assert_eq!(rates(&first), [None; 3]);
        let mut second = document(7000, 300);
        history.rate(&mut second);
        assert_eq!(rates(&second), [Some(100.0); 3]);
        let mut other = document(8000, 300);
        other["interfaces"][0]["name"] = json!("eth1");
        history.rate(&mut other);
        assert!(other["interfaces"][0]["rates"]["packets"]["1"].is_null());
    }

    #[test]
    fn what_is_no_document_is_left_alone() {
        let mut value = json!("nonsense");
        History::default().rate(&mut value);
        assert_eq!(value, json!("nonsense"));
    }
}
