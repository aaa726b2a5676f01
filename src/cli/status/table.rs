//! The document for people. Whatever texts it has, they move no cursor.

use super::Span;
use crate::escape::Escaped;
use serde_json::Value;
use std::io::{self, Write};

/// Width of the first column.
const NAME: usize = 13;

/// Writes it; `now` is the time in seconds since 1970.
pub fn write(document: &Value, now: u64, output: &mut impl Write) -> io::Result<()> {
    let mut lines = Lines { output, now };
    lines.state(document)?;
    lines.processes(document)?;
    lines.interfaces(document)?;
    lines.rates(&document["rates"])?;
    lines.ledger(&document["ledger"])?;
    lines.delays(&document["delay"])?;
    lines.memory(document)?;
    lines.compression(&document["compression"])?;
    lines.spool(&document["spool"])?;
    lines.upload(&document["upload"])
}

struct Lines<'o, W> {
    output: &'o mut W,
    now: u64,
}

impl<W: Write> Lines<'_, W> {
    fn line(&mut self, name: &str, text: &str) -> io::Result<()> {
        writeln!(self.output, "{}", format!("{name:NAME$} {}", Escaped(text)).trim_end())
    }

    fn ago(&self, time: &Value) -> Option<String> {
        time.as_u64().map(|time| format!("{} ago", Span(self.now.saturating_sub(time))))
    }

    fn state(&mut self, document: &Value) -> io::Result<()> {
        let uptime = Span(number(&document["uptime"]));
        self.line(
            "state",
            &format!("{}, up {uptime}, version {}", text(&document["state"]), text(&document["program"])),
        )?;
        for reason in members(&document["reasons"]) {
            self.line("", &format!("{}: {}", text(&reason["reason"]), text(&reason["text"])))?;
        }
        for part in ["capture", "upload"] {
            if let Some(until) = document["paused"][part]["until"].as_u64() {
                self.line("", &format!("{part} goes on in {}", Span(until.saturating_sub(self.now))))?;
            }
        }
        Ok(())
    }

    fn processes(&mut self, document: &Value) -> io::Result<()> {
        let one = |process: &Value| {
            let uptime = Span(number(&process["uptime"]));
            let state = Some(text(&process["state"])).filter(|state| *state != "ready");
            let state = state.map(|state| format!(" {state}")).unwrap_or_default();
            format!("{} {} ({uptime}{state})", text(&process["role"]), number(&process["pid"]))
        };
        let all: Vec<String> = members(&document["processes"]).map(one).collect();
        let restarts = number(&document["restarts"]);
        let restarts = if restarts > 0 { format!("; {restarts} ended and were started anew") } else { String::new() };
        self.line("processes", &format!("{}{restarts}", all.join(", ")))
    }

    fn interfaces(&mut self, document: &Value) -> io::Result<()> {
        for interface in members(&document["interfaces"]) {
            let state = text(&interface["state"]);
            let link = if interface["link"] == "down" { ", no link" } else { "" };
            let missing = interface["missing_seconds"].as_u64().map(|missing| format!(" for {}", Span(missing)));
            let (packets, bytes) = (number(&interface["packets"]), Bytes(number(&interface["bytes"])));
            let rates = rates(&interface["rates"]["packets"]);
            let (ring, driver) = (number(&interface["dropped"]), number(&interface["interface_dropped"]));
            self.line(
                "interface",
                &format!("{}: {state}{}{link}", text(&interface["name"]), missing.unwrap_or_default()),
            )?;
            self.line("", &format!("{packets} packets, {bytes}; per second {rates}"))?;
            self.line("", &format!("dropped {ring} by the kernel, {driver} by the interface"))?;
        }
        Ok(())
    }

    fn rates(&mut self, all: &Value) -> io::Result<()> {
        let of = |names: &[&str]| {
            let one = |name: &&str| format!("{name} {}", rates(&all[*name]));
            names.iter().map(one).collect::<Vec<_>>().join("; ")
        };
        self.line("per second", "over the last second, minute and hour:")?;
        self.line("", &of(&["packets", "transactions"]))?;
        self.line("", &of(&["queries", "responses"]))
    }

    /// The counters that are not zero, a line a group.
    fn ledger(&mut self, ledger: &Value) -> io::Result<()> {
        for (name, group) in ledger.as_object().into_iter().flatten() {
            let mut counts = Vec::new();
            for (counter, value) in group.as_object().into_iter().flatten() {
                match value.as_object() {
                    Some(inner) => {
                        counts.extend(inner.iter().map(|(of, count)| (format!("{counter} {of}"), number(count))));
                    }
                    None => counts.push((counter.replace('_', " "), number(value))),
                }
            }
            let shown: Vec<String> = counts
                .iter()
                .filter(|(name, count)| *count > 0 && name != "total")
                .map(|(name, count)| format!("{name} {count}"))
                .collect();
            let total = counts.iter().find(|(name, _)| name == "total").map(|(_, count)| format!("{count}: "));
            let shown = if shown.is_empty() { "none".to_owned() } else { shown.join(", ") };
            self.line(name, &format!("{}{shown}", total.unwrap_or_default()))?;
        }
        Ok(())
    }

    fn delays(&mut self, delay: &Value) -> io::Result<()> {
        let count = number(&delay["count"]);
        if count == 0 {
            return Ok(());
        }
        let below = |part: f64| {
            let mut edges = members(&delay["upto"]);
            let found = edges.find(|pair| number(&pair[1]) as f64 >= count as f64 * part);
            found.map_or("more than 5 s".to_owned(), |pair| format!("{} ms", number(&pair[0]) as f64 / 1e6))
        };
        let mean = number(&delay["sum"]) as f64 / count as f64 / 1e6;
        self.line("delay", &format!("mean {mean:.1} ms, half within {}, 95 % within {}", below(0.5), below(0.95)))
    }

    fn memory(&mut self, document: &Value) -> io::Result<()> {
        let tables = |(name, table): (&String, &Value)| {
            let limit = table["limit"].as_u64().map(|limit| format!(" of {limit}")).unwrap_or_default();
            format!("{} {}{limit}", name.replace('_', " "), number(&table["used"]))
        };
        let tables: Vec<String> = document["tables"].as_object().into_iter().flatten().map(tables).collect();
        self.line("tables", &tables.join(", "))?;
        let memory = &document["memory"];
        let (used, limit) = (Bytes(number(&memory["used"])), Bytes(number(&memory["limit"])));
        let part = |(name, part): (&String, &Value)| {
            (number(&part["used"]) > 0).then(|| {
                format!(
                    "{} {} of {}",
                    name.replace('_', " "),
                    Bytes(number(&part["used"])),
                    Bytes(number(&part["limit"]))
                )
            })
        };
        let parts: Vec<String> = memory["parts"].as_object().into_iter().flatten().filter_map(part).collect();
        let parts = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
        self.line("memory", &format!("{used} of {limit}{parts}"))
    }

    fn compression(&mut self, compression: &Value) -> io::Result<()> {
        let ratio = compression["ratio"].as_f64().map(|ratio| format!(", ratio {ratio:.2}")).unwrap_or_default();
        let queued = number(&compression["queued"]);
        self.line("compression", &format!("level {}{ratio}, {queued} containers wait", number(&compression["level"])))
    }

    fn spool(&mut self, spool: &Value) -> io::Result<()> {
        let free = spool["free"].as_u64().map_or("unknown".to_owned(), |free| Bytes(free).to_string());
        let min_free = Bytes(number(&spool["min_free"]));
        self.line("spool", &format!("{}: {free} free, {min_free} must stay so", text(&spool["directory"])))?;
        for stage in ["new", "waiting", "archive"] {
            let of = &spool[stage];
            let oldest = self.ago(&of["oldest"]).map(|ago| format!(", the oldest of {ago}")).unwrap_or_default();
            let (files, bytes) = (number(&of["files"]), Bytes(number(&of["bytes"])));
            self.line("", &format!("{stage}: {files} files, {bytes}{oldest}"))?;
        }
        Ok(())
    }

    fn upload(&mut self, upload: &Value) -> io::Result<()> {
        if upload["on"] != true {
            return self.line("upload", "off");
        }
        let server =
            upload["server"].as_str().map_or("not connected".to_owned(), |server| format!("connected to {server}"));
        let (files, bytes) = (number(&upload["files"]), Bytes(number(&upload["bytes"])));
        let last = self.ago(&upload["last_success"]).map(|ago| format!(", the last {ago}")).unwrap_or_default();
        self.line("upload", &format!("{server}; {files} files, {bytes} sent{last}"))?;
        let error = &upload["last_error"];
        if let Some(ago) = self.ago(&error["time"]) {
            self.line("", &format!("last error {ago}: {}", text(&error["text"])))?;
        }
        if let Some(due) = upload["next_try"].as_u64() {
            self.line("", &format!("next try in {}", Span(due.saturating_sub(self.now))))?;
        }
        Ok(())
    }
}

pub(in crate::cli) fn members(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

pub(in crate::cli) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

pub(in crate::cli) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("unknown")
}

/// Over the last second, minute and hour.
fn rates(rates: &Value) -> String {
    let one = |span: &u64| {
        let rate = rates[span.to_string()].as_f64();
        rate.map_or("-".to_owned(), |rate| if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") })
    };
    crate::daemon::views::SPANS.iter().map(one).collect::<Vec<_>>().join(" / ")
}

/// Bytes for people.
pub(in crate::cli) struct Bytes(pub(in crate::cli) u64);

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let units = [(1 << 40, "TB"), (1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "kB")];
        match units.iter().find(|(unit, _)| self.0 >= *unit) {
            Some((unit, name)) => write!(f, "{:.1} {name}", self.0 as f64 / *unit as f64),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(document: &Value) -> String {
        let mut output = Vec::new();
        write(document, 1_700_000_100, &mut output).unwrap();
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn hostile_text_moves_no_cursor_wherever_it_stands() {
        let hostile = "x\u{1b}[2J\r\ny";
        let document = json!({
            "state": hostile,
            "program": hostile,
            "reasons": [{"reason": hostile, "text": hostile}],
            "processes": [{"role": hostile, "state": hostile}],
            "interfaces": [{"name": hostile, "state": hostile}],
            "spool": {"directory": hostile},
            "upload": {"on": true, "server": hostile, "last_error": {"time": 1, "text": hostile}},
        });
        let text = shown(&document);
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        assert_eq!(text.matches("x\\u{1b}[2J\\r\\ny").count(), 11, "{text}");
    }

    #[test]
    fn what_is_no_document_is_shown_without_harm() {
        for document in [Value::Null, json!([]), json!({"ledger": 7, "interfaces": {"a": 1}, "delay": {"count": 5}})] {
            assert!(shown(&document).starts_with("state         unknown"));
        }
    }

    #[test]
    fn uploads_are_told_with_their_times() {
        let upload = json!({
            "on": true,
            "server": null,
            "files": 3,
            "bytes": 3 << 20,
            "last_success": 1_700_000_040,
            "last_error": {"time": 1_700_000_000, "text": "no route"},
            "next_try": 1_700_000_110,
        });
        let text = shown(&json!({"upload": upload}));
        assert!(text.contains("upload        not connected; 3 files, 3.0 MB sent, the last 60 s ago\n"), "{text}");
        assert!(text.contains("last error 100 s ago: no route\n") && text.contains("next try in 10 s\n"), "{text}");
        assert!(shown(&json!({"upload": {"on": false}})).ends_with("upload        off\n"));
    }
}
