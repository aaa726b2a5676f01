//! What a frame is drawn of.

use crate::stats::DELAY_EDGES;

/// Everything on the screen, as texts and numbers.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// What is watched, and for how long it has been there.
    pub title: String,
    pub health: Health,
    /// What is wrong.
    pub notes: Vec<String>,
    pub packets: Series,
    pub transactions: Series,
    /// What delays and response codes are of: since when.
    pub span: String,
    /// Responses by delay: one for each of [`DELAY_EDGES`], and those beyond.
    pub delays: Vec<u64>,
    pub rcodes: Vec<(String, u64)>,
    pub lines: Vec<Fact>,
    /// What zones and servers are of.
    pub basis: String,
    pub zones: Vec<Row>,
    pub servers: Vec<Row>,
    pub slowest: Vec<Row>,
}

/// Whether all is well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Health {
    #[default]
    Good,
    Degraded,
    /// Nobody answers.
    Gone,
}

/// A rate over time.
#[derive(Debug, Default)]
pub(super) struct Series {
    pub caption: String,
    pub points: Vec<u64>,
    /// They are all there is, and fill the plot; else the last ones are shown.
    pub is_whole: bool,
}

/// A line of text under a name.
#[derive(Debug)]
pub(super) struct Fact {
    pub name: &'static str,
    pub text: String,
    pub is_bad: bool,
}

impl Fact {
    pub(super) fn new(name: &'static str, text: String) -> Fact {
        Fact { name, text, is_bad: false }
    }
}

/// A zone or a server.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub name: String,
    /// Of all transactions.
    pub percent: f64,
    /// Of its responses, in nanoseconds; none came from it else.
    pub delay: Option<u64>,
    /// Of its responses.
    pub nxdomain_percent: f64,
    /// Of its transactions those that were not answered, or said that the server had failed or refused.
    pub failed_percent: f64,
}

/// What the ranges of delays are called.
pub(super) fn delay_labels() -> impl Iterator<Item = String> {
    let label = |edge: &u64| match edge / 1_000_000 {
        0 => ".5".to_owned(),
        milliseconds @ 1..100 => milliseconds.to_string(),
        milliseconds @ 100..1000 => format!(".{}s", milliseconds / 100),
        milliseconds => format!("{}s", milliseconds / 1000),
    };
    DELAY_EDGES.iter().map(label).chain(std::iter::once(">".to_owned()))
}
