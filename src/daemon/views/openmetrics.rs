//! The document as OpenMetrics text: what Prometheus reads.

use super::REASONS;
use serde_json::Value;
use std::fmt::Write;

/// What it is, for HTTP.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics.
pub fn text(document: &Value) -> String {
    let mut text = Text::default();
    let at = |place: &str| document.pointer(place).unwrap_or(&Value::Null);
    state(&mut text, document);
    ledger(&mut text, at("/ledger"));
    histogram(&mut text, "sie_response_delay_seconds", "Time from query to response.", at("/delay"), 1e-9);
    histogram(&mut text, "sie_response_size_bytes", "Size of DNS responses.", at("/response_size"), 1.0);
    text.family("sie_response_rcodes", "counter", "DNS responses by their response code.");
    for (rcode, count) in flat(at("/rcodes")) {
        text.sample("sie_response_rcodes_total", &[("rcode", &rcode)], count);
    }
    interfaces(&mut text, at("/interfaces"));
    memory(&mut text, document);
    let compression = at("/compression");
    text.gauge(
        "sie_compression_level",
        "Level last compressed by; 0: not compressed; adaptive: 2 quick, 3 dense.",
        &compression["level"],
    );
    text.counter("sie_compression_input_bytes", "Bytes of containers before compression.", &compression["in"]);
    text.counter("sie_compression_output_bytes", "Bytes of containers after compression.", &compression["out"]);
    text.gauge("sie_output_queue_containers", "Containers that wait to be written.", &compression["queued"]);
    spool(&mut text, at("/spool"));
    upload(&mut text, at("/upload"));
    text.0.push_str("# EOF\n");
    text.0
}

fn state(text: &mut Text, document: &Value) {
    // No "info", which the textfile collector does not know.
    text.family("sie_build_info", "gauge", "The program.");
    text.sample("sie_build_info", &[("version", document["program"].as_str().unwrap_or_default())], &Value::from(1));
    text.gauge("sie_uptime_seconds", "Since the sensor was started.", &document["uptime"]);
    let reasons: Vec<&str> = members(&document["reasons"]).filter_map(|reason| reason["reason"].as_str()).collect();
    text.family("sie_degraded", "gauge", "1 for each reason why not all is well.");
    for reason in REASONS {
        text.sample("sie_degraded", &[("reason", reason)], &u8::from(reasons.contains(&reason)).into());
    }
    text.family("sie_processes", "gauge", "Processes that are ready.");
    for role in ["supervisor", "capture", "upload", "views"] {
        let is_ready = |process: &&Value| process["role"] == role && process["state"] == "ready";
        let ready = members(&document["processes"]).filter(is_ready).count();
        text.sample("sie_processes", &[("role", role)], &ready.into());
    }
    text.counter("sie_process_restarts", "Processes that ended and were not to.", &document["restarts"]);
}

/// A group of the ledger: its family's name, the label for its members, what it is, and members that are no counters of it.
const GROUPS: [(&str, &str, &str, &str); 7] = [
    ("packets", "sie_packets", "fate", "Packets by what became of them."),
    ("messages", "sie_messages", "kind", "DNS messages out of datagrams and streams."),
    ("queries", "sie_queries", "end", "Queries by what became of them."),
    ("responses", "sie_responses", "use", "Responses by what they were used for."),
    ("datagrams", "sie_datagrams", "end", "Reassembled datagrams by what became of them."),
    ("connections", "sie_connections", "end", "TCP connections by how they ended."),
    ("kernel", "sie_kernel_packets", "state", "What the kernel says of the packets that passed its filter."),
];

fn ledger(text: &mut Text, ledger: &Value) {
    for (group, family, label, help) in GROUPS {
        text.family(family, "counter", help);
        let total = format!("{family}_total");
        for (name, count) in flat(&ledger[group]) {
            if !["open", "total", "opened"].contains(&name.as_str()) {
                text.sample(&total, &[(label, &name)], count);
            }
        }
        if let Some(open) = ledger[group].get("open") {
            text.gauge(&format!("{family}_open"), "Those that wait still.", open);
        }
    }
    text.counter("sie_packets_read", "Packets, whatever became of them.", &ledger["packets"]["total"]);
    text.counter("sie_connections_opened", "TCP connections seen from their SYN.", &ledger["connections"]["opened"]);
    for (name, count) in flat(&ledger["output"]) {
        match name.as_str() {
            "open" => text.gauge("sie_output_open", "Transactions on their way to a file.", count),
            _ => text.counter(&format!("sie_output_{name}"), "What was written, or could not be.", count),
        }
    }
    text.counter("sie_gaps", "How often an interface was not captured from.", &ledger["gaps"]["count"]);
    let seconds = ledger["gaps"]["milliseconds"].as_u64().unwrap_or_default() as f64 / 1000.0;
    text.counter("sie_gap_seconds", "How long interfaces were not captured from.", &seconds.into());
}

/// The members of a group; of a group within it, with both names.
fn flat(group: &Value) -> Vec<(String, &Value)> {
    let mut all = Vec::new();
    for (name, value) in group.as_object().into_iter().flatten() {
        match value.as_object() {
            Some(inner) => all.extend(inner.iter().map(|(of, count)| (format!("{name}_{of}"), count))),
            None => all.push((name.clone(), value)),
        }
    }
    all
}

fn histogram(text: &mut Text, family: &str, help: &str, histogram: &Value, unit: f64) {
    text.family(family, "histogram", help);
    let bucket = format!("{family}_bucket");
    for pair in members(&histogram["upto"]) {
        let edge = pair[0].as_f64().unwrap_or_default() * unit;
        // The shortest of what is meant: 0.0005, not 0.0005000000000000001.
        let edge = (edge * 1e6).round() / 1e6;
        text.sample(&bucket, &[("le", &format!("{edge:?}"))], &pair[1]);
    }
    text.sample(&bucket, &[("le", "+Inf")], &histogram["count"]);
    let sum = histogram["sum"].as_f64().unwrap_or_default() * unit;
    text.sample(&format!("{family}_sum"), &[], &sum.into());
    text.sample(&format!("{family}_count"), &[], &histogram["count"]);
}

fn interfaces(text: &mut Text, interfaces: &Value) {
    let counters = [
        ("packets", "sie_interface_packets", "Packets read."),
        ("bytes", "sie_interface_bytes", "Their bytes on the wire."),
        ("received", "sie_interface_received_packets", "Packets that passed the kernel's filter."),
        ("dropped", "sie_interface_dropped_packets", "Packets for which the ring had no room."),
        (
            "interface_dropped",
            "sie_interface_driver_dropped_packets",
            "Packets that the interface or its driver dropped.",
        ),
    ];
    for (name, family, help) in counters {
        text.family(family, "counter", help);
        let total = format!("{family}_total");
        for interface in members(interfaces) {
            text.sample(&total, &[("interface", interface["name"].as_str().unwrap_or_default())], &interface[name]);
        }
    }
    text.family("sie_interface_captured", "gauge", "1 while packets are captured from it.");
    for interface in members(interfaces) {
        let is_captured = u8::from(interface["state"] == "captured");
        text.sample(
            "sie_interface_captured",
            &[("interface", interface["name"].as_str().unwrap_or_default())],
            &is_captured.into(),
        );
    }
}

fn memory(text: &mut Text, document: &Value) {
    let memory = &document["memory"];
    text.gauge("sie_memory_limit_bytes", "memory_ulimit_kbytes.", &memory["limit"]);
    text.gauge("sie_memory_used_bytes", "What the capture process may hold and holds of it.", &memory["used"]);
    for (of, family, help) in [
        ("used", "sie_memory_part_bytes", "Memory by what it is for."),
        ("limit", "sie_memory_part_limit_bytes", "Its share."),
    ] {
        text.family(family, "gauge", help);
        for (part, value) in memory["parts"].as_object().into_iter().flatten() {
            text.sample(family, &[("part", part)], &value[of]);
        }
    }
    for (of, family, help) in [
        ("used", "sie_table_entries", "Entries of tables."),
        ("limit", "sie_table_entries_limit", "How many there may be."),
    ] {
        text.family(family, "gauge", help);
        for (table, value) in document["tables"].as_object().into_iter().flatten() {
            text.sample(family, &[("table", table)], &value[of]);
        }
    }
}

fn spool(text: &mut Text, spool: &Value) {
    for (of, family, help) in [
        ("files", "sie_spool_files", "Files in the spool."),
        ("bytes", "sie_spool_bytes", "Their bytes on the disk."),
        ("oldest", "sie_spool_oldest_timestamp_seconds", "When the oldest began."),
    ] {
        text.family(family, "gauge", help);
        for stage in ["new", "waiting", "archive"] {
            text.sample(family, &[("stage", stage)], &spool[stage][of]);
        }
    }
    text.gauge("sie_spool_free_bytes", "Free where the spool is.", &spool["free"]);
    text.gauge("sie_spool_min_free_bytes", "min_free_kbytes.", &spool["min_free"]);
}

fn upload(text: &mut Text, upload: &Value) {
    text.counter("sie_upload_files", "Files that the server confirmed.", &upload["files"]);
    text.counter("sie_upload_bytes", "Their bytes.", &upload["bytes"]);
    text.gauge("sie_upload_enabled", "Whether files are uploaded.", &number(upload["on"] == true));
    text.gauge("sie_upload_connected", "Whether a server is connected.", &number(upload["server"].is_string()));
    text.gauge("sie_upload_last_success_timestamp_seconds", "When a file was last confirmed.", &upload["last_success"]);
    let error = &upload["last_error"]["time"];
    text.gauge("sie_upload_last_error_timestamp_seconds", "When an upload last failed.", error);
    text.gauge("sie_upload_next_try_timestamp_seconds", "When it is tried again.", &upload["next_try"]);
}

fn number(is: bool) -> Value {
    u8::from(is).into()
}

fn members(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# TYPE {name} {kind}\n# HELP {name} {help}");
    }

    /// What is not known has no sample.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: &Value) {
        let Some(value) = value.as_number() else { return };
        self.0.push_str(name);
        if !labels.is_empty() {
            let labels: Vec<String> =
                labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
            let _ = write!(self.0, "{{{}}}", labels.join(","));
        }
        let _ = writeln!(self.0, " {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: &Value) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: &Value) {
        self.family(name, "counter", help);
        self.sample(&format!("{name}_total"), &[], value);
    }
}

/// A label's value. Control characters that the format has no escape for are shown as elsewhere.
fn escaped(value: &str) -> String {
    let mut escaped = String::new();
    for c in value.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            c if c.is_control() => {
                escaped.extend(c.escape_default().flat_map(|c| if c == '\\' { vec![c, c] } else { vec![c] }))
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_label_ends_where_it_should_whatever_is_in_it() {
        let name = "a\"b\\c\nd\u{1b}[2J\u{e9}";
        let document = json!({"interfaces": [{"name": name, "packets": 7, "state": "captured"}]});
        let text = text(&document);
        let line = "sie_interface_packets_total{interface=\"a\\\"b\\\\c\\nd\\\\u{1b}[2J\u{e9}\"} 7\n";
        assert!(text.contains(line), "{text}");
        assert!(text.ends_with("# EOF\n"));
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
    }

    #[test]
    fn a_histogram_counts_up_to_each_edge() {
        let delay = json!({"upto": [[500_000, 1], [5_000_000_000_u64, 3]], "count": 4, "sum": 9_500_000_000_u64});
        let text = text(&json!({"delay": delay}));
        for line in ["bucket{le=\"0.0005\"} 1", "bucket{le=\"5.0\"} 3", "bucket{le=\"+Inf\"} 4", "sum 9.5", "count 4"] {
            assert!(text.contains(&format!("\nsie_response_delay_seconds_{line}\n")), "{line}: {text}");
        }
    }

    #[test]
    fn what_is_not_known_has_no_sample_and_no_family_comes_twice() {
        let text = text(&Value::Null);
        assert!(!text.contains("null") && text.contains("sie_degraded{reason=\"disk\"} 0\n"), "{text}");
        let mut families: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let count = families.len();
        families.sort();
        families.dedup();
        assert_eq!(families.len(), count);
    }
}
