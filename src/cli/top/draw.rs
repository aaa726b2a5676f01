//! A frame.

use super::{
    rows::Sort,
    shown::{Fact, Health, Row, Series, Shown, delay_labels},
};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Bar, BarChart, BarGroup, Block, Borders, Clear, Paragraph, Sparkline},
};

/// How the user wants to see it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    pub sort: Sort,
    pub is_total: bool,
    pub is_paused: bool,
    pub helps: bool,
    pub palette: Palette,
}

/// Whether there are colours. Those of the terminal's own sixteen, which its user has chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Palette {
    #[default]
    Colours,
    Plain,
}

impl Palette {
    /// NO_COLOR (no-color.org) leaves them out, unless it is empty.
    pub(super) fn of_environment() -> Palette {
        match std::env::var_os("NO_COLOR") {
            Some(value) if !value.is_empty() => Palette::Plain,
            _ => Palette::Colours,
        }
    }

    fn in_colour(self, colour: Color) -> Style {
        match self {
            Palette::Colours => Style::new().fg(colour),
            Palette::Plain => Style::new(),
        }
    }

    fn caption(self) -> Style {
        self.in_colour(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    fn bad(self) -> Style {
        self.in_colour(Color::Red).add_modifier(Modifier::BOLD)
    }
}

/// What does not fit is left out, the less important first; whatever the size, that is no error.
pub(super) fn draw(frame: &mut Frame, shown: &Shown, look: &Look) {
    let area = frame.area();
    let heights = Heights::of(area.height, shown);
    let [title, notes, rates, spread, facts, tables, keys] = Layout::vertical(heights.constraints()).areas(area);
    draw_title(frame, title, shown, look);
    draw_notes(frame, notes, shown, look);
    let [left, right] = halves(rates);
    draw_rate(frame, left, &shown.packets, look);
    draw_rate(frame, right, &shown.transactions, look);
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Length(35)]).spacing(2).areas(spread);
    draw_delays(frame, left, shown, look);
    draw_rcodes(frame, right, shown, look);
    draw_facts(frame, facts, &shown.lines, look);
    draw_tables(frame, tables, shown, look);
    draw_keys(frame, keys, look);
    if look.helps {
        draw_help(frame, area, look);
    }
}

/// Lines of each part.
struct Heights {
    notes: u16,
    rates: u16,
    spread: u16,
    facts: u16,
    keys: u16,
}

impl Heights {
    fn of(height: u16, shown: &Shown) -> Heights {
        let count = |length: usize| u16::try_from(length).unwrap_or(u16::MAX);
        let is_tall = height >= 40;
        Heights {
            notes: count(shown.notes.len()).min(if is_tall { 6 } else { 1 + height / 20 }),
            rates: match height {
                0..10 => 0,
                10..24 => 3,
                24..40 => 4,
                40.. => 6,
            },
            spread: match height {
                0..22 => 0,
                22..40 => 6,
                40.. => 10,
            },
            facts: if height >= 13 { count(shown.lines.len()) } else { 0 },
            keys: u16::from(height >= 4),
        }
    }

    fn constraints(&self) -> [Constraint; 7] {
        let Heights { notes, rates, spread, facts, keys } = *self;
        let fixed = Constraint::Length;
        [fixed(1), fixed(notes), fixed(rates), fixed(spread), fixed(facts), Constraint::Fill(1), fixed(keys)]
    }
}

fn halves(area: Rect) -> [Rect; 2] {
    Layout::horizontal([Constraint::Fill(1); 2]).spacing(2).areas(area)
}

/// Draws a line with a caption; what is below it is left.
fn below_caption(frame: &mut Frame, area: Rect, caption: &str, look: &Look) -> Rect {
    let title =
        Line::styled(format!("{} ", cut_right(caption, area.width.saturating_sub(1).into())), look.palette.caption());
    let block = Block::new().borders(Borders::TOP).border_style(look.palette.in_colour(Color::DarkGray)).title(title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    inner
}

fn draw_title(frame: &mut Frame, area: Rect, shown: &Shown, look: &Look) {
    let colour = match shown.health {
        Health::Good => Color::Green,
        Health::Degraded => Color::Yellow,
        Health::Gone => Color::Red,
    };
    let style = look.palette.in_colour(colour).add_modifier(Modifier::BOLD | Modifier::REVERSED);
    let state = if look.is_paused { " PAUSED " } else { "" };
    let width = usize::from(area.width).saturating_sub(state.len());
    let title = cut_right(&format!(" {}", shown.title), width);
    frame.render_widget(Paragraph::new(format!("{title:<width$}{state}")).style(style), area);
}

fn draw_notes(frame: &mut Frame, area: Rect, shown: &Shown, look: &Look) {
    let colour = if shown.health == Health::Gone { Color::Red } else { Color::Yellow };
    let style = look.palette.in_colour(colour);
    let lines: Vec<Line> =
        shown.notes.iter().map(|note| Line::styled(cut_right(note, area.width.into()), style)).collect();
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_rate(frame: &mut Frame, area: Rect, series: &Series, look: &Look) {
    let plot = below_caption(frame, area, &series.caption, look);
    let width = usize::from(plot.width);
    let points: Vec<u64> = match (series.is_whole, series.points.len()) {
        (_, 0) => Vec::new(),
        (false, count) => series.points.iter().skip(count.saturating_sub(width)).copied().collect(),
        (true, count) => {
            // Each column is of a part of the time; where that is several points, of the largest.
            let begin = |column: usize| column * count / width;
            let column = |column: usize| begin(column)..begin(column + 1).max(begin(column) + 1);
            (0..width)
                .map(|at| series.points.get(column(at)).into_iter().flatten().max().copied().unwrap_or_default())
                .collect()
        }
    };
    frame.render_widget(Sparkline::default().data(&points).style(look.palette.in_colour(Color::Green)), plot);
}

/// Columns of a bar.
const BAR: u16 = 3;

fn draw_delays(frame: &mut Frame, area: Rect, shown: &Shown, look: &Look) {
    let total: u64 = shown.delays.iter().sum();
    let caption = format!("delay in ms, {} ({total})", shown.span);
    let plot = below_caption(frame, area, &caption, look);
    if plot.height < 2 {
        return;
    }
    let count = u16::try_from(shown.delays.len()).unwrap_or(u16::MAX).max(1);
    let gap = u16::from(plot.width >= count.saturating_mul(BAR + 1));
    let bars: Vec<Bar> = delay_labels()
        .zip(&shown.delays)
        .map(|(label, value)| Bar::default().value(*value).label(Line::from(label)).text_value(String::new()))
        .collect();
    let chart = BarChart::default()
        .data(BarGroup::default().bars(&bars))
        .bar_width(BAR)
        .bar_gap(gap)
        .bar_style(look.palette.in_colour(Color::Blue));
    frame.render_widget(chart, plot);
}

fn draw_rcodes(frame: &mut Frame, area: Rect, shown: &Shown, look: &Look) {
    let list = below_caption(frame, area, &format!("response codes, {}", shown.span), look);
    let total: u64 = shown.rcodes.iter().map(|(_, count)| count).sum();
    let mut rcodes: Vec<_> = shown.rcodes.iter().filter(|(_, count)| *count > 0).collect();
    rcodes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let line = |(name, count): &(String, u64)| {
        let percent = *count as f64 * 100.0 / total.max(1) as f64;
        let bar = "\u{2588}".repeat((percent * f64::from(list.width.saturating_sub(18)) / 100.0).round() as usize);
        let colour = match name.as_str() {
            "NOERROR" => Color::Green,
            "NXDOMAIN" => Color::Yellow,
            _ => Color::Red,
        };
        let name = cut_right(name, 9);
        Line::from(vec![
            Span::raw(format!("{name:<9} {percent:>5.1} % ")),
            Span::styled(bar, look.palette.in_colour(colour)),
        ])
    };
    let lines: Vec<Line> = rcodes.into_iter().take(list.height.into()).map(line).collect();
    frame.render_widget(Paragraph::new(lines), list);
}

fn draw_facts(frame: &mut Frame, area: Rect, facts: &[Fact], look: &Look) {
    let line = |fact: &Fact| {
        let style = if fact.is_bad { look.palette.bad() } else { Style::new() };
        let width = usize::from(area.width).saturating_sub(NAME + 1);
        Line::from(vec![
            Span::styled(format!("{:NAME$} ", fact.name), look.palette.caption()),
            Span::styled(cut_right(&fact.text, width), style),
        ])
    };
    frame.render_widget(Paragraph::new(facts.iter().map(line).collect::<Vec<_>>()), area);
}

/// Width of the facts' names.
const NAME: usize = 11;
/// From so many columns on the tables stand side by side.
const WIDE: u16 = 120;

fn draw_tables(frame: &mut Frame, area: Rect, shown: &Shown, look: &Look) {
    let third = Constraint::Fill(1);
    let [zones, servers, slowest] = if area.width >= WIDE {
        Layout::horizontal([third; 3]).spacing(2).areas(area)
    } else {
        let [left, right] = halves(area);
        let [above, below] = Layout::vertical([third; 2]).areas(right);
        [left, above, below]
    };
    let by = look.sort.name();
    let zones_caption = format!("zones by {by}, {}", shown.basis);
    draw_rows(frame, zones, &zones_caption, &shown.zones, true, look);
    let servers_caption = format!("servers by {by}");
    draw_rows(frame, servers, &servers_caption, &shown.servers, false, look);
    draw_rows(frame, slowest, "slowest zones", &shown.slowest, false, look);
}

fn draw_rows(frame: &mut Frame, area: Rect, caption: &str, rows: &[Row], has_nxdomain: bool, look: &Look) {
    let list = below_caption(frame, area, caption, look);
    let numbers = |share: &str, delay: &str, nxdomain: &str, failed: &str| {
        let mut text = format!("{share:>6}{delay:>7}");
        // Names need room first.
        if has_nxdomain && list.width >= 36 {
            text.push_str(&format!("{nxdomain:>4}"));
        }
        if list.width >= 32 {
            text.push_str(&format!("{failed:>5}"));
        }
        text
    };
    let head = numbers("%", "ms", "nx%", "bad%");
    let width = usize::from(list.width).saturating_sub(head.len());
    let row = |row: &Row| {
        let delay = row.delay.map_or("-".to_owned(), milliseconds);
        let (share, nxdomain) = (format!("{:.1}", row.percent), format!("{:.0}", row.nxdomain_percent));
        let numbers = numbers(&share, &delay, &nxdomain, &format!("{:.0}", row.failed_percent));
        let name = cut_left(&row.name, width);
        let style = if row.failed_percent >= 50.0 { look.palette.in_colour(Color::Red) } else { Style::new() };
        Line::styled(format!("{name:<width$}{numbers}"), style)
    };
    let head = Line::styled(format!("{:width$}{head}", ""), Style::new().add_modifier(Modifier::DIM));
    let rows = rows.iter().take(list.height.saturating_sub(1).into()).map(row);
    frame.render_widget(Paragraph::new(std::iter::once(head).chain(rows).collect::<Vec<_>>()), list);
}

/// In as few characters as tell.
fn milliseconds(nanoseconds: u64) -> String {
    let milliseconds = nanoseconds as f64 / 1e6;
    match milliseconds {
        ..10.0 => format!("{milliseconds:.1}"),
        ..100_000.0 => format!("{milliseconds:.0}"),
        _ => ">100 s".to_owned(),
    }
}

fn draw_keys(frame: &mut Frame, area: Rect, look: &Look) {
    let pause = if look.is_paused { "goes on" } else { "pause" };
    let total = if look.is_total { "recent" } else { "total" };
    let text = format!("q quit  p {pause}  s sort  t {total}  ? help");
    frame.render_widget(Paragraph::new(text).style(look.palette.caption()), area);
}

/// Fits 60 columns and 15 lines.
const HELP: [&str; 11] = [
    "q, Esc, Ctrl-C  quit",
    "p, space        pause, and go on",
    "s               sort by transactions, delay, failures",
    "t               delays and codes: recent, or in total",
    "?, h            this help",
    "",
    "%     of the transactions, those of the sample if live",
    "ms    delay of responses: mean; of servers the median",
    "nx%   of the responses: NXDOMAIN",
    "bad%  not answered, SERVFAIL, by servers also REFUSED",
    "slowest zones are those with more than a few",
];

fn draw_help(frame: &mut Frame, area: Rect, look: &Look) {
    let width = 57.min(area.width);
    let height = 13.min(area.height);
    let (x, y) = (area.x + (area.width - width) / 2, area.y + (area.height - height) / 2);
    let area = Rect { x, y, width, height };
    let lines: Vec<Line> = HELP.iter().map(|line| Line::from(*line)).collect();
    let block = Block::bordered().title(" Help ").border_style(look.palette.caption());
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

/// At most so many characters; what is cut is shown to be.
fn cut_right(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    if width > 0 { kept + "\u{2026}" } else { kept }
}

/// The same from the other end: what names end with tells more.
fn cut_left(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().skip(count + 1 - width.max(1)).collect();
    if width > 0 { format!("\u{2026}{kept}") } else { String::new() }
}
