//! The page: one file of HTML that needs no other, and lets nothing run but its own script.

use super::{
    findings::findings,
    gather::{Edns, Gather},
    html::{count, delay, length, percent, text},
    plots, tables,
};
use crate::{
    present::stats::{qtype_name, rcode_name},
    stats::Ledger,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::fmt::Write;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Inputs that are named on the page, and characters of a name.
const NAMES_MAX: usize = 12;
const NAME_LEN_MAX: usize = 120;

/// What was read.
#[derive(Default)]
pub(crate) struct Inputs {
    /// As they were named.
    pub files: Vec<String>,
    /// The account of the packets, where there were captures.
    pub ledger: Option<Ledger>,
    /// Payloads of NMSG files.
    pub payloads: u64,
    /// Payloads that are no dnsqr.
    pub others: u64,
    /// Payloads that say they are dnsqr and are none.
    pub undecodable: u64,
    /// Containers that were lost on the way to a file.
    pub lost_containers: u64,
    /// Places, or whole files, that could not be read.
    pub problems: u64,
}

/// Writes the page.
pub(crate) fn page(gather: &Gather, inputs: &Inputs) -> String {
    let mut out = String::with_capacity(128 * 1024);
    head(&mut out);
    title(gather, inputs, &mut out);
    summary(gather, &mut out);
    findings_list(gather, inputs, &mut out);
    section("Time line", &mut out);
    match gather.timeline.span() {
        Some(_) => plots::timeline(&gather.timeline, &mut out),
        None => out.push_str("<p>No transactions.</p>\n"),
    }
    section("Response codes and types", &mut out);
    codes(gather, &mut out);
    section("Delay of responses", &mut out);
    plots::delays(gather, &mut out);
    section("Servers", &mut out);
    tables::servers(&gather.servers, &mut out);
    section("Zones", &mut out);
    tables::zones(&gather.zones, &mut out);
    section("EDNS: sizes of UDP payloads offered", &mut out);
    out.push_str("<div class=\"pair\">\n");
    edns("by queries", &gather.query_edns, &mut out);
    edns("by responses", &gather.response_edns, &mut out);
    out.push_str("</div>\n");
    account(inputs, &mut out);
    notes(&mut out);
    let _ = write!(out, "</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n");
    out
}

/// A source of the Content-Security-Policy: exactly this text.
fn source(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(openssl::sha::sha256(text.as_bytes())))
}

fn head(out: &mut String) {
    let (style, script) = (source(STYLE), source(SCRIPT));
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src {style}; \
         script-src {script}; img-src data:; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>DNS report</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
    );
}

fn section(title: &str, out: &mut String) {
    let _ = writeln!(out, "<h2>{}</h2>", text(title));
}

fn title(gather: &Gather, inputs: &Inputs, out: &mut String) {
    out.push_str("<header>\n<h1>DNS between resolvers and authoritative servers</h1>\n");
    if let Some((first, last)) = gather.timeline.span() {
        let width = gather.timeline.width();
        let (from, to) = (plots::moment(first, width), plots::moment(last, width));
        let _ = writeln!(out, "<p>{from} to {to} UTC, {}</p>", length(last.since(first)));
    }
    let names: Vec<String> = inputs.files.iter().take(NAMES_MAX).map(|name| text(&shortened(name))).collect();
    let more = inputs.files.len().saturating_sub(NAMES_MAX);
    let more = if more > 0 { format!(" and {} more", count(more as u64)) } else { String::new() };
    let _ = writeln!(
        out,
        "<p>from <code>{}</code>{more}; sie-dns-sensor {}</p>\n</header>",
        names.join("</code>, <code>"),
        env!("CARGO_PKG_VERSION")
    );
}

/// The end of a long name says more than its front.
fn shortened(name: &str) -> String {
    let len = name.chars().count();
    match len.checked_sub(NAME_LEN_MAX) {
        None | Some(0) => name.to_string(),
        Some(surplus) => format!("…{}", name.chars().skip(surplus).collect::<String>()),
    }
}

fn summary(gather: &Gather, out: &mut String) {
    let totals = &gather.totals;
    let ends = &totals.ends;
    let all = totals.transactions;
    out.push_str("<dl>\n");
    entry("transactions", "transactions", all, None, out);
    entry("answered", "answered", ends.answered, Some(percent(ends.answered, all)), out);
    entry("unanswered", "unanswered", ends.unanswered, Some(percent(ends.unanswered, all)), out);
    entry("unsolicited", "unsolicited", ends.unsolicited, Some(percent(ends.unsolicited, all)), out);
    if ends.queries_alone + ends.responses_alone > 0 {
        entry("queries-alone", "queries alone", ends.queries_alone, Some(percent(ends.queries_alone, all)), out);
        entry(
            "responses-alone",
            "responses alone",
            ends.responses_alone,
            Some(percent(ends.responses_alone, all)),
            out,
        );
    }
    if ends.others > 0 {
        entry("others", "of other types", ends.others, Some(percent(ends.others, all)), out);
    }
    entry("tcp", "over TCP", totals.tcp, Some(percent(totals.tcp, all)), out);
    let responses = totals.responses;
    entry("responses", "responses", responses, None, out);
    entry("truncated", "truncated (TC)", totals.truncated, Some(percent(totals.truncated, responses)), out);
    entry("fragmented", "in fragments", totals.fragmented, Some(percent(totals.fragmented, responses)), out);
    if gather.delays.count > 0 {
        for (key, title, quantile) in [("median", "median delay", 50), ("p99", "99 % within", 99)] {
            let nanos = gather.delays.quantile(quantile);
            let _ = writeln!(
                out,
                "<div><dt>{title}</dt><dd data-key=\"{key}\" data-v=\"{nanos}\">{}</dd></div>",
                delay(nanos)
            );
        }
    }
    out.push_str("</dl>\n");
}

fn entry(key: &str, title: &str, number: u64, share: Option<String>, out: &mut String) {
    let share = share.map(|share| format!(" <small>{share}</small>")).unwrap_or_default();
    let _ = writeln!(
        out,
        "<div><dt>{}</dt><dd data-key=\"{key}\" data-v=\"{number}\">{}{share}</dd></div>",
        text(title),
        count(number)
    );
}

fn findings_list(gather: &Gather, inputs: &Inputs, out: &mut String) {
    section("What stands out", out);
    let mut all = Vec::new();
    if inputs.problems > 0 {
        let places = count(inputs.problems);
        all.push(format!("{places} places of the input, or files, could not be read; the rest is shown."));
    }
    if inputs.lost_containers > 0 {
        all.push(format!("{} containers were lost on the way to their file.", count(inputs.lost_containers)));
    }
    all.extend(findings(gather));
    out.push_str("<ul class=\"findings\">\n");
    for finding in &all {
        let _ = writeln!(out, "<li>{}</li>", text(finding));
    }
    if all.is_empty() {
        out.push_str("<li class=\"none\">Nothing by the rules of this page.</li>\n");
    }
    out.push_str("</ul>\n");
}

fn codes(gather: &Gather, out: &mut String) {
    let lines = plots::bars_max();
    out.push_str("<div class=\"pair\">\n");
    plots::bars("Response codes", &gather.rcodes.top(lines, rcode_name), gather.totals.responses, out);
    plots::bars("Types asked for", &gather.qtypes.top(lines, qtype_name), gather.totals.transactions, out);
    out.push_str("</div>\n");
}

fn edns(title: &str, edns: &Edns, out: &mut String) {
    let mut rows = edns.sizes.top(plots::bars_max(), |size| format!("{size} bytes"));
    if edns.without > 0 {
        rows.push(("no EDNS".to_string(), edns.without));
    }
    plots::bars(title, &rows, edns.with + edns.without, out);
}

fn account(inputs: &Inputs, out: &mut String) {
    section("Account of the input", out);
    if let Some(ledger) = &inputs.ledger {
        let _ = writeln!(out, "<pre id=\"ledger\" tabindex=\"0\">{}</pre>", ledger_text(ledger));
    }
    if inputs.payloads > 0 || inputs.ledger.is_none() {
        let _ = writeln!(
            out,
            "<p>NMSG files: {} payloads, of which {} are of other types than dnsqr and {} are malformed.</p>",
            count(inputs.payloads),
            count(inputs.others),
            count(inputs.undecodable)
        );
    }
}

/// Its lines, each escaped by itself: a line feed is no text.
fn ledger_text(ledger: &Ledger) -> String {
    ledger.to_text().lines().map(text).collect::<Vec<_>>().join("\n")
}

fn notes(out: &mut String) {
    section("Notes", out);
    out.push_str(
        "<ul class=\"notes\">\n\
         <li>A transaction is a query with its response, or one of them alone. Shares of answered queries are of answered \
         and unanswered ones together; queries that were still waiting when the input ended count as unanswered.</li>\n\
         <li>Delays run from the first packet of a query to the first of its response, where the capture was made. \
         Medians and percentiles are at most a sixteenth too high.</li>\n\
         <li>The zone is the owner of NS or SOA records in the response, where that is the name asked for or above it: \
         in a referral, the zone referred to. A response without such records, or a query without response, \
         belongs to the deepest zone of two labels or more that was so named before, in the order of the input. Where \
         there is none, the last two labels of the name stand in (“labels”), which is right for example.com and wrong for \
         example.co.uk.</li>\n\
         <li>EDNS sizes are those of messages that could be read; the size in a response is what its server takes, not what \
         it sends.</li>\n\
         <li>What was counted is held in bounded memory; where a table left something out, the line below it says so.</li>\n\
         </ul>\n",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::exchange::{Exchange, Seen};
    use crate::time::Timestamp;
    use std::net::IpAddr;

    /// A name of four long labels of one byte each, so that most of it must be escaped.
    fn name(byte: u8, number: u16) -> Vec<u8> {
        let mut name = vec![4];
        name.extend(format!("{number:04x}").into_bytes());
        for len in [62, 63, 60, 60] {
            name.push(len);
            name.extend(vec![byte; usize::from(len)]);
        }
        name.push(0);
        name
    }

    fn exchange(number: u16, qname: &[u8]) -> Exchange<'_> {
        Exchange {
            seen: Seen::Answered,
            server: Some(IpAddr::from([
                0x20,
                1,
                0xd,
                0xb8,
                0,
                1,
                0,
                2,
                0,
                3,
                0,
                4,
                0,
                5,
                (number >> 8) as u8,
                number as u8,
            ])),
            is_tcp: false,
            time: Some(Timestamp::new(1_790_000_000 + u64::from(number), 0)),
            qname: Some(qname),
            qtype: Some(number.into()),
            rcode: Some(u32::from(number) % 16),
            delay: Some(1_000_000),
            query: None,
            response: None,
            zone: None,
            response_packets: 1,
        }
    }

    #[test]
    fn the_largest_page_is_below_a_megabyte() {
        for byte in [b'&', b'"', 0, 0xff] {
            let mut gather = Gather::default();
            for number in 0..2000 {
                gather.add(&exchange(number, &name(byte, number)));
            }
            let files = vec!["\u{202e}".repeat(4096); 100_000];
            let page = page(&gather, &Inputs { files, problems: 1, ..Inputs::default() });
            assert!((100_000..1_000_000).contains(&page.len()), "{}", page.len());
        }
    }

    #[test]
    fn an_empty_input_is_a_page_too() {
        let page = page(&Gather::default(), &Inputs::default());
        assert!(page.ends_with("</html>\n") && page.contains("No transactions."));
    }

    #[test]
    fn style_and_script_end_where_they_should() {
        assert!(!STYLE.contains("</") && !SCRIPT.contains("</") && !SCRIPT.contains("<!--"));
    }
}
