//! The sensor that runs, as its documents tell.

use super::{
    Source,
    rows::{Sort, fill},
    shown::{Fact, Health, Series, Shown},
};
use crate::{
    cli::status::{
        Span,
        table::{Bytes, members, number, text},
    },
    daemon::Sample,
    escape::Escaped,
    report::gather::Gather,
    stats::DELAY_EDGES,
};
use serde_json::Value;
use std::collections::VecDeque;

/// Seconds of rates that are kept: more than any screen has columns.
const POINTS_MAX: usize = 600;
/// Documents whose counters are kept: what is recent.
const RECENT: usize = 60;
/// Milliseconds after which a table of zones and servers begins anew.
const BEGINS: u64 = 30_000;
/// Members of a list or map that are looked at.
const MEMBERS_MAX: usize = 64;

/// What is known of it.
#[derive(Default)]
pub(super) struct Live {
    document: Value,
    /// Why there is no newer one.
    fault: Option<String>,
    packets: VecDeque<u64>,
    transactions: VecDeque<u64>,
    past: VecDeque<Counts>,
    /// The number of the samples that were taken last.
    samples: Option<u64>,
    /// Two tables, of which each has begun half its time after the other; the older one is shown.
    older: Table,
    newer: Table,
}

/// Counters whose growth is shown, at a moment in milliseconds of the sensor's.
#[derive(Clone, Default)]
struct Counts {
    at: u64,
    delays: Vec<u64>,
    rcodes: Vec<(String, u64)>,
}

/// Zones and servers since a moment of the sensor's, in milliseconds, and transactions then.
#[derive(Default)]
struct Table {
    gather: Gather,
    since: u64,
    transactions: u64,
}

impl Table {
    fn new(document: &Value) -> Table {
        let transactions = made(document);
        Table { gather: Gather::default(), since: number(&document["milliseconds"]), transactions }
    }
}

impl Live {
    /// Takes an answer.
    pub(super) fn take(&mut self, mut document: Value) {
        let samples = document.get_mut("samples").map(Value::take).unwrap_or_default();
        let pid = |document: &Value| document["processes"][0]["pid"].clone();
        let milliseconds = number(&document["milliseconds"]);
        if self.document.is_null()
            || pid(&document) != pid(&self.document)
            || milliseconds < number(&self.document["milliseconds"])
        {
            // Another sensor counts from zero.
            let table = || Table::new(&document);
            *self = Live { older: table(), newer: table(), ..Live::default() };
        }
        self.fault = None;
        // They are of the time before the document, and belong to the tables that began before.
        let number_of = samples["number"].as_u64();
        if number_of != self.samples {
            self.samples = number_of;
            for sample in members(&samples["transactions"]).filter_map(Sample::from_json) {
                let exchange = sample.to_exchange();
                self.older.gather.add(&exchange);
                self.newer.gather.add(&exchange);
            }
        }
        if milliseconds != number(&self.document["milliseconds"]) || self.past.is_empty() {
            self.advance(&document, milliseconds);
        }
        self.document = document;
    }

    /// Nobody answers.
    pub(super) fn lose(&mut self, why: String) {
        self.fault = Some(why);
    }

    fn advance(&mut self, document: &Value, milliseconds: u64) {
        for (points, name) in [(&mut self.packets, "packets"), (&mut self.transactions, "transactions")] {
            if let Some(rate) = document["rates"][name]["1"].as_f64() {
                points.push_back(rate.max(0.0) as u64);
            }
            points.drain(..points.len().saturating_sub(POINTS_MAX));
        }
        self.past.push_back(Counts::of(document));
        self.past.drain(..self.past.len().saturating_sub(RECENT + 1));
        if milliseconds.saturating_sub(self.newer.since) >= BEGINS {
            self.older = std::mem::replace(&mut self.newer, Table::new(document));
        }
    }

    fn rates(&self, name: &str, points: &VecDeque<u64>) -> Series {
        let rates = &self.document["rates"][name];
        let rate = |span: &str| rates[span].as_f64().map_or("-".to_owned(), |rate| format!("{rate:.0}"));
        let caption = format!("{name} {}/s, minute {}, hour {}", rate("1"), rate("60"), rate("3600"));
        Series { caption, points: points.iter().copied().collect(), is_whole: false }
    }

    fn lines(&self, now: u64) -> Vec<Fact> {
        let document = &self.document;
        vec![totals(document), drops(document), tables(document), spool(document, now), upload(document, now)]
    }
}

impl Source for Live {
    fn shown(&self, sort: Sort, is_total: bool, now: u64) -> Shown {
        let document = &self.document;
        let health = match (&self.fault, document["state"] == "healthy") {
            (Some(_), _) => Health::Gone,
            (None, true) => Health::Good,
            (None, false) => Health::Degraded,
        };
        let reasons = members(&document["reasons"]).take(MEMBERS_MAX);
        let notes: Vec<String> = match &self.fault {
            Some(fault) => vec![format!("asked again every second: {}", Escaped(fault))],
            None => reasons.map(|it| escaped(&format!("{}: {}", text(&it["reason"]), text(&it["text"])))).collect(),
        };
        let last = self.past.back().cloned().unwrap_or_default();
        let first = self.past.front().filter(|_| !is_total && self.past.len() > 1);
        let span = match first {
            Some(first) => format!("last {} s", last.at.saturating_sub(first.at) / 1000),
            None => "since the start".to_owned(),
        };
        let counts = first.map_or_else(|| last.clone(), |first| last.since(first));
        let transactions = made(document);
        let seconds = number(&document["milliseconds"]).saturating_sub(self.older.since) / 1000;
        let sampled = self.older.gather.totals.transactions;
        let of = transactions.saturating_sub(self.older.transactions).max(sampled);
        let mut shown = Shown {
            title: escaped(&format!(
                "sie-dns-sensor {}, {}, up {}",
                text(&document["program"]),
                if self.fault.is_some() { "gone" } else { text(&document["state"]) },
                Span(number(&document["uptime"]))
            )),
            health,
            notes,
            packets: self.rates("packets", &self.packets),
            transactions: self.rates("transactions", &self.transactions),
            span,
            delays: counts.delays,
            rcodes: counts.rcodes,
            lines: self.lines(now),
            basis: format!("{sampled} of {of}, {seconds} s"),
            ..Shown::default()
        };
        fill(&mut shown, &self.older.gather, sort);
        shown
    }
}

impl Counts {
    fn of(document: &Value) -> Counts {
        let delay = &document["delay"];
        let mut upto: Vec<u64> = members(&delay["upto"]).take(DELAY_EDGES.len()).map(|pair| number(&pair[1])).collect();
        upto.push(number(&delay["count"]));
        let below = std::iter::once(0).chain(upto.iter().copied());
        let delays = upto.iter().zip(below).map(|(upto, below)| upto.saturating_sub(below)).collect();
        let rcodes = document["rcodes"].as_object().into_iter().flatten().take(MEMBERS_MAX);
        Counts {
            at: number(&document["milliseconds"]),
            delays,
            rcodes: rcodes.map(|(name, count)| (escaped(name), number(count))).collect(),
        }
    }

    fn since(&self, first: &Counts) -> Counts {
        let mut since = self.clone();
        since.delays.iter_mut().zip(&first.delays).for_each(|(now, then)| *now = now.saturating_sub(*then));
        since.rcodes.iter_mut().zip(&first.rcodes).for_each(|((_, now), (_, then))| *now = now.saturating_sub(*then));
        since
    }
}

/// Transactions that have come out, whether they are in a file by now or not.
fn made(document: &Value) -> u64 {
    let output = &document["ledger"]["output"];
    let ways = ["transactions", "dropped_transactions", "lost_transactions", "open"];
    ways.iter().fold(0, |sum: u64, way| sum.saturating_add(number(&output[*way])))
}

fn escaped(text: &str) -> String {
    Escaped(text).to_string()
}

fn totals(document: &Value) -> Fact {
    let ledger = &document["ledger"];
    let of = |place: &str| number(ledger.pointer(place).unwrap_or(&Value::Null));
    let text = format!(
        "{} packets, {} queries, {} responses, {} transactions",
        of("/packets/total"),
        of("/messages/query"),
        of("/messages/response"),
        of("/output/transactions")
    );
    Fact::new("total", text)
}

fn drops(document: &Value) -> Fact {
    let ledger = &document["ledger"];
    let (ring, driver) = (number(&ledger["kernel"]["dropped"]), number(&ledger["kernel"]["interface_dropped"]));
    let output = number(&ledger["output"]["dropped_transactions"]);
    let lately = document["rates"]["dropped"]["60"].as_f64().unwrap_or_default();
    let lately = if lately > 0.0 { format!(" ({lately:.1}/s in the last minute)") } else { String::new() };
    let text = format!("{ring} by the kernel{lately}, {driver} by the interface, {output} transactions not written");
    Fact { is_bad: ring > 0 || output > 0, ..Fact::new("drops", text) }
}

fn tables(document: &Value) -> Fact {
    let tables = document["tables"].as_object().into_iter().flatten().take(MEMBERS_MAX);
    let one = |(name, table): (&String, &Value)| {
        let used = number(&table["used"]);
        let limit = table["limit"].as_u64().map(|limit| format!(" of {limit}"));
        (used > 0 || limit.is_some()).then(|| format!("{used}{} {}", limit.unwrap_or_default(), name.replace('_', " ")))
    };
    let memory = &document["memory"];
    let memory = format!("{} of {}", Bytes(number(&memory["used"])), Bytes(number(&memory["limit"])));
    let all: Vec<String> = tables.filter_map(one).chain([memory]).collect();
    Fact::new("tables", escaped(&all.join(", ")))
}

fn spool(document: &Value, now: u64) -> Fact {
    let spool = &document["spool"];
    let one = |stage: &str| {
        let of = &spool[stage];
        let files = number(&of["files"]);
        let oldest = of["oldest"].as_u64().map(|oldest| format!(", oldest {}", Span(now.saturating_sub(oldest))));
        match files {
            0 => format!("{stage} empty"),
            _ => format!(
                "{stage} {files} {} {}{}",
                if files == 1 { "file" } else { "files" },
                Bytes(number(&of["bytes"])),
                oldest.unwrap_or_default()
            ),
        }
    };
    let free = spool["free"].as_u64().map_or("unknown".to_owned(), |free| Bytes(free).to_string());
    let (new, waiting, archive) = (one("new"), one("waiting"), one("archive"));
    Fact::new("spool", format!("{free} free, {waiting}, {new}, {archive}"))
}

fn upload(document: &Value, now: u64) -> Fact {
    let upload = &document["upload"];
    if upload["on"] != true {
        return Fact::new("upload", "off".to_owned());
    }
    let server = upload["server"].as_str().map_or("not connected".to_owned(), |server| format!("to {server}"));
    let (files, bytes) = (number(&upload["files"]), Bytes(number(&upload["bytes"])));
    let ago = |time: &Value| time.as_u64().map(|time| format!("{} ago", Span(now.saturating_sub(time))));
    let last = ago(&upload["last_success"]).map(|ago| format!(", last {ago}")).unwrap_or_default();
    let error = &upload["last_error"];
    let is_bad = number(&error["time"]) > number(&upload["last_success"]);
    let error = ago(&error["time"]).filter(|_| is_bad).map(|ago| format!("; {ago}: {}", text(&error["text"])));
    let text = format!("{server}, {files} files, {bytes} sent{last}{}", error.unwrap_or_default());
    Fact { is_bad, ..Fact::new("upload", escaped(&text)) }
}
