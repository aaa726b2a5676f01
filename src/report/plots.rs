//! Plots as inline SVG. Places are percentages of the width and heights are pixels, so that bars follow the width of the
//! screen and text keeps its size. Colours come from the page's style sheet, by class.

use super::{
    gather::Gather,
    html::{count, delay, duration, percent, permille, text},
    timeline::{Column, Timeline},
};
use crate::{
    present::stats::delays::Delays,
    time::{NANOS, Timestamp},
};
use std::fmt::Write;

/// Height of the bars of a plot, in pixels.
const HEIGHT: f64 = 130.0;
/// Columns of the delay plot in a power of ten.
const PER_DECADE: usize = 12;
/// Servers whose delays are drawn.
const SERVERS_DRAWN: usize = 15;
/// Lines of a table of bars.
const BARS_MAX: usize = 10;

/// A moment in UTC, with milliseconds where columns are that narrow.
pub(super) fn moment(time: Timestamp, width: u64) -> String {
    let format = if width < NANOS { "%Y-%m-%d %H:%M:%S%.3f" } else { "%Y-%m-%d %H:%M:%S" };
    let nanos = i32::try_from(time.subsec_nanos()).unwrap_or_default();
    let seconds = i64::try_from(time.seconds()).unwrap_or(i64::MAX);
    jiff::Timestamp::new(seconds, nanos)
        .map_or_else(|_| "(out of range)".to_string(), |time| time.strftime(format).to_string())
}

/// Transactions over time, stacked by what was seen of them.
pub(super) fn timeline(timeline: &Timeline, out: &mut String) {
    let width = timeline.width();
    let (columns, filled) = timeline.columns();
    let filled: Vec<(u64, &Column)> = filled.collect();
    let peak = filled.iter().map(|(_, column)| column.total()).max().unwrap_or_default();
    let _ = write!(
        out,
        "<p class=\"legend\"><span class=\"key answered\">answered</span> <span class=\"key unanswered\">unanswered</span> \
         <span class=\"key unsolicited\">unsolicited</span> <span class=\"key alone\">others</span></p>\n\
         <p class=\"axis\">peak {} in {}</p>\n\
         <svg class=\"plot\" width=\"100%\" height=\"156\" role=\"img\" aria-label=\"Transactions over time\">\n",
        count(peak),
        duration(width)
    );
    for (place, column) in filled {
        stack(place, columns, column, peak, &moment(timeline.begin(place), width), out);
    }
    axis_line(out);
    let ends = [("0%", "start", timeline.begin(0)), ("100%", "end", timeline.begin(columns))];
    for (x, anchor, time) in ends {
        let _ = writeln!(out, "<text x=\"{x}\" y=\"150\" text-anchor=\"{anchor}\">{}</text>", moment(time, width));
    }
    out.push_str("</svg>\n");
}

fn axis_line(out: &mut String) {
    let _ = writeln!(out, "<rect class=\"line\" x=\"0\" y=\"{HEIGHT}\" width=\"100%\" height=\"1\"/>");
}

/// One column: its parts on each other, with what they are as a tool tip.
fn stack(place: u64, columns: u64, column: &Column, peak: u64, when: &str, out: &mut String) {
    let x = place as f64 * 100.0 / columns as f64;
    let width = 100.0 / columns as f64;
    let _ = write!(out, "<g><title>{when}: {} transactions", count(column.total()));
    let parts = [
        ("answered", column.answered),
        ("unanswered", column.unanswered),
        ("unsolicited", column.unsolicited),
        ("alone", column.alone),
    ];
    for (class, part) in parts.into_iter().filter(|(class, part)| *part > 0 && *class != "answered") {
        let _ = write!(out, ", {} {class}", count(part));
    }
    out.push_str("</title>");
    let mut y = HEIGHT;
    for (class, part) in parts.into_iter().filter(|(_, part)| *part > 0) {
        let height = part as f64 * (HEIGHT - 4.0) / peak.max(1) as f64;
        y -= height;
        let _ = write!(
            out,
            "<rect class=\"{class}\" x=\"{x:.3}%\" y=\"{y:.2}\" width=\"{width:.3}%\" height=\"{height:.2}\"/>"
        );
    }
    out.push_str("</g>\n");
}

/// Numbers with a bar each, the most frequent first.
pub(super) fn bars(title: &str, rows: &[(String, u64)], whole: u64, out: &mut String) {
    let _ = writeln!(out, "<table class=\"bars\"><caption>{}</caption><tbody>", text(title));
    for (name, number) in rows {
        let permille = permille(*number, whole);
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td class=\"n\" data-v=\"{number}\">{}</td><td class=\"n\">{}</td>\
             <td class=\"bar\"><svg width=\"100%\" height=\"10\" aria-hidden=\"true\">\
             <rect class=\"answered\" width=\"{}.{}%\" height=\"10\"/></svg></td></tr>",
            text(name),
            count(*number),
            percent(*number, whole),
            permille / 10,
            permille % 10,
        );
    }
    if rows.is_empty() {
        out.push_str("<tr><td>none</td></tr>\n");
    }
    out.push_str("</tbody></table>\n");
}

/// How many lines [`bars`] is given at most, the line of all others apart.
pub(super) fn bars_max() -> usize {
    BARS_MAX
}

/// An axis of delays: powers of ten, from one to another.
struct Axis {
    low: i32,
    high: i32,
}

impl Axis {
    /// One that holds them all, between a microsecond and an hour.
    fn of(delays: &Delays) -> Axis {
        let power = |nanos: u64| (nanos.clamp(1_000, 3_600_000_000_000) as f64).log10();
        let low = power(delays.min).floor() as i32;
        Axis { low, high: (power(delays.max).ceil() as i32).max(low + 1) }
    }

    /// Where a delay stands, in per cent.
    fn place(&self, nanos: u64) -> f64 {
        let power = (nanos.max(1) as f64).log10();
        ((power - f64::from(self.low)) * 100.0 / f64::from(self.high - self.low)).clamp(0.0, 100.0)
    }

    /// The powers of ten, and what they are called.
    fn ticks(&self) -> impl Iterator<Item = (f64, String)> {
        let (low, width) = (self.low, f64::from(self.high - self.low));
        (self.low..=self.high).map(move |power| {
            let nanos = 10_u64.saturating_pow(u32::try_from(power).unwrap_or_default());
            let name = if nanos < 1_000_000 { format!("{}\u{202f}µs", nanos / 1000) } else { duration(nanos) };
            (f64::from(power - low) * 100.0 / width, name)
        })
    }

    /// The names below a plot; those at its ends stay within it.
    fn write(&self, y: f64, out: &mut String) {
        for (x, name) in self.ticks() {
            let anchor = match x {
                _ if x < 1.0 => "start",
                _ if x > 99.0 => "end",
                _ => "middle",
            };
            let _ = writeln!(out, "<text x=\"{x:.2}%\" y=\"{y}\" text-anchor=\"{anchor}\">{name}</text>");
        }
    }
}

/// All delays, and those of the servers that were asked most.
pub(super) fn delays(gather: &Gather, out: &mut String) {
    if gather.delays.count == 0 {
        out.push_str("<p>No query was answered.</p>\n");
        return;
    }
    let axis = Axis::of(&gather.delays);
    histogram(&gather.delays, &axis, out);
    let servers = gather.servers.sorted().into_iter();
    let servers = servers.filter_map(|(address, entry)| Some((address, entry.value.delays.as_deref()?)));
    let mut servers = servers.take(SERVERS_DRAWN).peekable();
    if servers.peek().is_none() {
        return; // a flood of others has pushed them all out
    }
    out.push_str(
        "<h3>By server</h3>\n<p class=\"axis\">bar: from 10 % to 90 % of the responses; mark: median; tick: 99 %; \
         right: median · 99 % · responses</p>\n<div class=\"spreads\">\n",
    );
    for (address, delays) in servers {
        spread(&address.to_string(), delays, &axis, out);
    }
    out.push_str("<div class=\"spread\"><span></span><svg width=\"100%\" height=\"14\" aria-hidden=\"true\">\n");
    axis.write(11.0, out);
    out.push_str("</svg><span></span></div>\n</div>\n");
}

fn histogram(delays: &Delays, axis: &Axis, out: &mut String) {
    let columns = usize::try_from(axis.high - axis.low).unwrap_or(1) * PER_DECADE;
    let mut heights = vec![0_u64; columns];
    for (nanos, number) in delays.buckets().filter(|(_, number)| *number > 0) {
        let column = (axis.place(nanos) * columns as f64 / 100.0) as usize;
        if let Some(height) = heights.get_mut(column.min(columns - 1)) {
            *height += number;
        }
    }
    let peak = heights.iter().copied().max().unwrap_or_default().max(1);
    out.push_str(
        "<svg class=\"plot\" width=\"100%\" height=\"156\" role=\"img\" aria-label=\"Delays of responses\">\n",
    );
    for (place, number) in heights.iter().enumerate().filter(|(_, number)| **number > 0) {
        let (x, width) = (place as f64 * 100.0 / columns as f64, 100.0 / columns as f64);
        let height = *number as f64 * (HEIGHT - 4.0) / peak as f64;
        let _ = writeln!(
            out,
            "<rect class=\"answered\" x=\"{x:.3}%\" y=\"{:.2}\" width=\"{width:.3}%\" height=\"{height:.2}\">\
             <title>{} responses</title></rect>",
            HEIGHT - height,
            count(*number)
        );
    }
    axis_line(out);
    axis.write(150.0, out);
    out.push_str("</svg>\n");
}

/// A server's delays on one line.
fn spread(name: &str, delays: &Delays, axis: &Axis, out: &mut String) {
    let [low, median, high, last] = [10, 50, 90, 99].map(|percent| delays.quantile(percent));
    let places = [low, median, high, last].map(|nanos| axis.place(nanos));
    let [from, middle, to, end] = places;
    let _ = writeln!(
        out,
        "<div class=\"spread\"><code>{}</code><svg width=\"100%\" height=\"14\" role=\"img\" aria-label=\"{}\">\
         <rect class=\"line\" x=\"0\" y=\"7\" width=\"100%\" height=\"1\"/>\
         <rect class=\"range\" x=\"{from:.2}%\" y=\"3\" width=\"{:.2}%\" height=\"8\"/>\
         <rect class=\"median\" x=\"{middle:.2}%\" y=\"0\" width=\"3\" height=\"14\"/>\
         <rect class=\"tick\" x=\"{end:.2}%\" y=\"2\" width=\"1.5\" height=\"10\"/></svg>\
         <span class=\"n\">{} · {} · {}</span></div>",
        text(name),
        text(&format!("median {}, 99 % within {}", delay(median), delay(last))),
        (to - from).max(0.4),
        delay(median),
        delay(last),
        count(delays.count),
    );
}
