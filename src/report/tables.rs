//! The tables of servers and zones, which the page's script sorts.

use super::{
    gather::{Server, Zone},
    html::{count, delay, percent, permille, text},
    top::{Entry, Top},
};
use crate::present::names::domain;
use std::{fmt::Write, net::IpAddr};

/// Lines of a table: with the longest names there are, a page stays below a megabyte.
pub(super) const ROWS_MAX: usize = 150;

/// A column: its title, and what it says in a tool tip.
type Column = (&'static str, &'static str);

const SERVER_COLUMNS: [Column; 12] = [
    ("server", "address of the server"),
    ("transactions", "exchanges, and queries and responses without the other"),
    ("answered", "queries that had a response, of all queries"),
    ("unanswered", "queries that had none"),
    ("unsolicited", "responses that had no query"),
    ("SERVFAIL", "of the responses"),
    ("REFUSED", "of the responses"),
    ("truncated", "responses with the TC bit"),
    ("fragments", "responses that came in IP fragments"),
    ("TCP", "of the transactions"),
    ("median", "half of the responses came within this time"),
    ("99 %", "nearly all responses came within this time"),
];

const ZONE_COLUMNS: [Column; 9] = [
    ("zone", "see the notes below"),
    ("transactions", "exchanges, and queries and responses without the other"),
    ("answered", "queries that had a response, of all queries"),
    ("unanswered", "queries that had none"),
    ("unsolicited", "responses that had no query"),
    ("NXDOMAIN", "of the responses"),
    ("SERVFAIL", "of the responses"),
    ("mean delay", "of the responses to queries"),
    ("known by", "records: a response had NS or SOA records of it; labels: the last two labels of the name"),
];

/// Servers, the busiest first.
pub(super) fn servers(servers: &Top<IpAddr, Server>, out: &mut String) {
    begin("servers", &SERVER_COLUMNS, out);
    let sorted = servers.sorted();
    for (address, entry) in sorted.iter().take(ROWS_MAX) {
        let server = &entry.value;
        let ends = &server.ends;
        row_head(&address.to_string(), Some(&sort_key(**address)), out);
        number(entry, out);
        share(ends.answered, ends.asked(), out);
        plain(ends.unanswered, out);
        plain(ends.unsolicited, out);
        for part in [server.failed, server.refused, server.truncated, server.fragmented] {
            share(part, server.responses, out);
        }
        share(server.tcp, entry.count, out);
        for quantile in [50, 99] {
            time(server.delays.as_ref().map(|delays| delays.quantile(quantile)), out);
        }
        out.push_str("</tr>\n");
    }
    end(sorted.len(), servers.forgotten(), "servers", out);
}

/// Zones, the busiest first.
pub(super) fn zones(zones: &Top<Vec<u8>, Zone>, out: &mut String) {
    begin("zones", &ZONE_COLUMNS, out);
    let sorted = zones.sorted();
    for (name, entry) in sorted.iter().take(ROWS_MAX) {
        let zone = &entry.value;
        let ends = &zone.ends;
        row_head(&domain(name), None, out);
        number(entry, out);
        share(ends.answered, ends.asked(), out);
        plain(ends.unanswered, out);
        plain(ends.unsolicited, out);
        share(zone.nxdomain, zone.responses, out);
        share(zone.failed, zone.responses, out);
        let mean = zone.delay.checked_div(ends.answered.into());
        time(mean.map(|mean| u64::try_from(mean).unwrap_or(u64::MAX)), out);
        let _ = writeln!(out, "<td class=\"t\">{}</td></tr>", if zone.is_seen { "records" } else { "labels" });
    }
    end(sorted.len(), zones.forgotten(), "zones", out);
}

/// The head: a button for each column. Text sorts from A at first, numbers from the largest.
fn begin(id: &str, columns: &[Column], out: &mut String) {
    let _ = write!(out, "<div class=\"wide\"><table class=\"sortable\" id=\"{id}\" aria-label=\"{id}\"><thead><tr>");
    for (place, (title, hint)) in columns.iter().enumerate() {
        let sorted = if place == 1 { " aria-sort=\"descending\"" } else { "" };
        let class = if matches!(*title, "server" | "zone" | "known by") { "" } else { " class=\"n\"" };
        let _ = write!(
            out,
            "<th scope=\"col\"{class}{sorted}><button type=\"button\" title=\"{}\">{}</button></th>",
            text(hint),
            text(title)
        );
    }
    out.push_str("</tr></thead><tbody>\n");
}

/// What a table leaves out is said below it.
fn end(known: usize, (forgotten, floor): (u64, u64), what: &str, out: &mut String) {
    out.push_str("</tbody></table></div>\n");
    if known > ROWS_MAX {
        let _ = writeln!(out, "<p class=\"cut\">{ROWS_MAX} of {} {what} are shown.</p>", count(known as u64));
    }
    if forgotten > 0 {
        let _ = writeln!(
            out,
            "<p class=\"cut\">There were more {what} than are kept in memory: {} times one was forgotten, each with \
             {} transactions at most. “+n” behind a number: up to n more, from before.</p>",
            count(forgotten),
            count(floor)
        );
    }
}

fn row_head(name: &str, key: Option<&str>, out: &mut String) {
    let key = key.map(|key| format!(" data-v=\"{}\"", text(key))).unwrap_or_default();
    let _ = write!(out, "<tr><th scope=\"row\"{key}>{}</th>", text(name));
}

fn number<V>(entry: &Entry<V>, out: &mut String) {
    let missed = if entry.missed > 0 { format!(" <small>+{}</small>", count(entry.missed)) } else { String::new() };
    let _ = write!(out, "<td data-v=\"{}\">{}{missed}</td>", entry.count, count(entry.count));
}

fn plain(number: u64, out: &mut String) {
    let _ = write!(out, "<td data-v=\"{number}\">{}</td>", count(number));
}

/// A share; where there is no whole, nothing to sort by.
fn share(part: u64, whole: u64, out: &mut String) {
    match whole {
        0 => out.push_str("<td data-v=\"\">–</td>"),
        _ => drop(write!(out, "<td data-v=\"{}\">{}</td>", permille(part, whole), percent(part, whole))),
    }
}

fn time(nanos: Option<u64>, out: &mut String) {
    match nanos {
        None => out.push_str("<td data-v=\"\">–</td>"),
        Some(nanos) => drop(write!(out, "<td data-v=\"{nanos}\">{}</td>", delay(nanos))),
    }
}

/// Text that sorts as addresses do, version 4 first.
fn sort_key(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("4 {:08x}", u32::from(address)),
        IpAddr::V6(address) => format!("6 {:032x}", u128::from(address)),
    }
}
