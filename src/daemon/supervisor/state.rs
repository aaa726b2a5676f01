//! How things stand: one document, from which every view is made.

use super::{
    super::{child::Child, network, views},
    Supervisor,
    account::Account,
    health::{self, Reason},
};
use crate::{
    config::Budget,
    present::names::rcode,
    spool::sort::Stock,
    stats::{DELAY_EDGES, Histogram, Link, Rcodes, SIZE_EDGES, Vitals},
    time::{Clock, Timestamp},
    upload::one_line,
};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Between two documents.
const SHOW: Duration = Duration::from_secs(1);

impl Supervisor {
    /// Once a second: whether all is well, and the document.
    pub(super) fn show_state(&mut self) {
        let now = self.now();
        if now < self.next_show {
            return;
        }
        self.next_show = now + SHOW;
        let account = self.account();
        let (reasons, lines) = self.health.look(&health::View {
            settings: &self.settings,
            account: &account,
            paused: self.pauses.now,
            unknown: self.pauses.unknown(),
            missing: self.interfaces.missing(),
            is_ready: self.is_ready,
            deaf: &self.listeners.failed,
            restarts: self.restarts,
            now,
        });
        lines.into_iter().for_each(|(level, line)| self.log.line(level, &line));
        if let Some(board) = &self.board {
            board.show(&self.document(&account, &reasons, now).to_string());
        }
    }

    fn document(&self, account: &Account, reasons: &[Reason], now: Duration) -> Value {
        let reasons: Vec<Value> =
            reasons.iter().map(|it| json!({"reason": it.name, "text": one_line(&it.text)})).collect();
        let ledger: Value = serde_json::from_str(&account.ledger.to_json()).unwrap_or_default();
        json!({
            "version": views::VERSION,
            "program": env!("CARGO_PKG_VERSION"),
            "time": self.clock.wall().seconds(),
            "milliseconds": now.as_millis() as u64,
            "uptime": now.saturating_sub(self.began).as_secs(),
            "state": if reasons.is_empty() { "healthy" } else { "degraded" },
            "reasons": reasons,
            "paused": self.shown_pauses(),
            "processes": self.processes(now),
            "restarts": self.restarts,
            "interfaces": self.links(account, now),
            "ledger": ledger,
            "delay": histogram(&account.ledger.delays, &DELAY_EDGES),
            "response_size": histogram(&account.ledger.sizes, &SIZE_EDGES),
            "rcodes": rcodes(&account.ledger.rcodes),
            "tables": self.tables(account),
            "memory": self.memory(&account.vitals),
            "compression": compression(&account.vitals),
            "spool": self.spool(account),
            "upload": self.uploads(account),
        })
    }

    fn processes(&self, now: Duration) -> Vec<Value> {
        let one = |child: &Child| {
            let state = match (child.is_leaving(), child.is_ready) {
                (true, _) => "leaving",
                (false, true) => "ready",
                (false, false) => "starting",
            };
            json!({"role": child.role().name(), "pid": child.pid(), "uptime": child.age(now).as_secs(), "state": state})
        };
        let supervisor = json!({
            "role": "supervisor",
            "pid": std::process::id(),
            "uptime": now.saturating_sub(self.began).as_secs(),
            "state": "ready",
        });
        let children = self.capture.iter().chain(&self.successor).chain(&self.upload).chain(&self.views);
        std::iter::once(supervisor).chain(children.chain(&self.leaving).map(one)).collect()
    }

    fn links(&self, account: &Account, now: Duration) -> Vec<Value> {
        let (known, network) = (self.interfaces.states(now), network::interfaces());
        let one = |(name, state, since): (String, &str, Option<Duration>)| {
            let link = account.links.get(&name).cloned().unwrap_or_default();
            let Link { packets, bytes, received, dropped, interface_dropped } = link;
            let is_running = network.is_running(&name);
            json!({
                "name": name,
                "state": state,
                "link": is_running.map_or("unknown", |is| if is { "up" } else { "down" }),
                "missing_seconds": since.map(|since| since.as_secs()),
                "packets": packets,
                "bytes": bytes,
                "received": received,
                "dropped": dropped,
                "interface_dropped": interface_dropped,
            })
        };
        known.into_iter().map(one).collect()
    }

    fn tables(&self, account: &Account) -> Value {
        let ledger = &account.ledger;
        json!({
            "queries": {"used": ledger.queries.open, "limit": self.settings.state_table_max},
            "connections": {"used": ledger.connections.open, "limit": self.settings.tcp_connections_max},
            "datagrams": {"used": ledger.datagrams.open, "limit": null},
            "early_responses": {"used": ledger.responses.open, "limit": null},
        })
    }

    fn memory(&self, vitals: &Vitals) -> Value {
        let settings = &self.settings;
        let Ok(budget) = Budget::new(settings, settings.interfaces.len(), settings.capture_threads) else {
            return Value::Null;
        };
        let parts = [
            ("queries", vitals.queries_bytes, budget.queries),
            ("fragments", vitals.fragments_bytes, budget.fragments),
            ("connections", vitals.streams_bytes, budget.streams),
            ("early_responses", vitals.early_bytes, budget.early),
            ("duplicates", vitals.duplicates_bytes, budget.duplicates),
            ("output", vitals.output_bytes, budget.output),
        ];
        let used: u64 = parts.iter().map(|(_, used, _)| used).sum();
        let fixed = budget.rings + budget.process + budget.names + budget.held_back;
        let parts: Map<String, Value> = parts
            .into_iter()
            .map(|(name, used, limit)| (name.to_owned(), json!({"used": used, "limit": limit})))
            .collect();
        json!({"limit": budget.limit, "used": used + fixed, "fixed": fixed, "parts": parts})
    }

    fn spool(&self, account: &Account) -> Value {
        let delivery = &account.delivery;
        let mut spool = json!({
            "directory": one_line(&self.settings.spool_dir.to_string_lossy()),
            "channel": self.settings.channel,
            "free": delivery.free,
            "min_free": self.settings.min_free,
        });
        for (stage, stock) in ["new", "waiting", "archive"].iter().zip(&delivery.stocks) {
            let Stock { files, bytes, oldest } = *stock;
            spool[*stage] = json!({"files": files, "bytes": bytes, "oldest": oldest.map(Timestamp::seconds)});
        }
        spool
    }

    fn uploads(&self, account: &Account) -> Value {
        let word = &account.delivery.word;
        let error =
            word.last_error.as_ref().map(|(time, text)| json!({"time": time.seconds(), "text": one_line(text)}));
        json!({
            "on": self.settings.upload,
            "server": word.server.as_deref().map(one_line),
            "last_success": word.last_success.map(Timestamp::seconds),
            "last_error": error,
            "next_try": word.next_try.map(Timestamp::seconds),
            "files": word.files,
            "bytes": word.bytes,
        })
    }
}

/// Counts up to each edge; the last one, without edge, is all of them.
fn histogram<const N: usize>(histogram: &Histogram<N>, edges: &[u64]) -> Value {
    let mut sum = 0;
    let counts = histogram.counts().map(|count| {
        sum += count;
        sum
    });
    let upto: Vec<Value> = edges.iter().zip(counts).map(|(edge, count)| json!([edge, count])).collect();
    json!({"upto": upto, "count": sum, "sum": histogram.sum()})
}

/// Response codes by name, those that never came included.
fn rcodes(rcodes: &Rcodes) -> Map<String, Value> {
    let name = |number: u16| rcode(number).map_or_else(|| format!("RCODE{number}"), str::to_owned);
    (0..).zip(rcodes.counts()).map(|(number, count)| (name(number), json!(count))).collect()
}

fn compression(vitals: &Vitals) -> Value {
    let Vitals { level, raw_bytes, packed_bytes, queued_containers, .. } = *vitals;
    let ratio = (packed_bytes > 0).then(|| (raw_bytes as f64 * 100.0 / packed_bytes as f64).round() / 100.0);
    json!({"level": level, "in": raw_bytes, "out": packed_bytes, "ratio": ratio, "queued": queued_containers})
}
