//! The views child: says how things stand to whoever asks at its sockets. All it knows is the supervisor's document; it can
//! open nothing, connect to nobody, and change nothing.

mod clients;
mod history;
mod http;
mod openmetrics;

pub use history::SPANS;

use super::{
    SystemClock,
    board::Reader,
    channel::{Order, Report, Start},
    listen::Inherited,
    page::{Layout, Page, Slot},
    post::Post,
    privileges,
    samples::{Sample, Watch},
    sandbox::{self, Role},
};
use crate::time::Clock;
use clients::{Clients, Kind};
use history::History;
use serde_json::{Value, json};
use std::{rc::Rc, time::Duration};

/// Of the document; another one means that keys have changed their meaning.
pub const VERSION: u64 = 1;
/// What a client says to be told the document as one line of JSON.
pub const STATUS: &str = "status 1";
/// What it says for OpenMetrics text.
pub const OPENMETRICS: &str = "openmetrics 1";
/// What it says, each second, for the document with samples of the transactions since the document before.
pub const TOP: &str = "top 1";
/// What an answer begins with that is none.
pub const REFUSED: &str = "error: ";

/// Reasons of a degraded state: all there are, so that each has a time series before it holds.
pub const REASONS: [&str; 11] = [
    "starting",
    "interface",
    "kernel_drops",
    "output_drops",
    "restarts",
    "silence",
    "disk",
    "key",
    "upload",
    "listening",
    "paused",
];

/// It looks for a new document so often.
const LOOK: Duration = Duration::from_millis(250);
/// The supervisor shows one each second. Beyond this it hangs, and nobody knows how things stand.
const STALE: Duration = Duration::from_secs(10);
/// What it may hold: many times the document with samples (2 MB) and all clients' requests (2 MiB).
const MEMORY_MAX: u64 = 64 << 20;
/// One slot, to show that it turns.
pub const LAYOUT: Layout = Layout { slots: 1, words: 0 };

/// The process. Its channel is descriptor 0.
pub fn run(mut post: Post, start: &Start, inherited: Inherited) -> bool {
    match begin(&mut post, start) {
        Ok(slot) => {
            attend(post, inherited, &slot);
            true
        }
        Err(message) => {
            post.send(&Report::Hopeless(message));
            post.close();
            false
        }
    }
}

fn begin(post: &mut Post, start: &Start) -> Result<Slot, String> {
    let slot = Page::of_this_process(LAYOUT).ok().and_then(|page| page.slot(0));
    let slot = slot.ok_or("cannot map the page of counters")?;
    privileges::drop_to(&start.user).map_err(|error| error.to_string())?;
    privileges::limit_data(MEMORY_MAX).map_err(|error| error.to_string())?;
    let entered = sandbox::enter(&Role::Views).map_err(|error| error.to_string())?;
    post.confined("views", &entered);
    Ok(slot)
}

fn attend(mut post: Post, inherited: Inherited, slot: &Slot) {
    let clock = SystemClock::new();
    let Inherited { board, watch, status, metrics } = inherited;
    let mut clients = Clients::default();
    clients.listen(status, Kind::Status);
    clients.listen(metrics, Kind::Metrics);
    let mut answers = Answers::new(board, watch, clock.monotonic());
    post.send(&Report::Ready(clock.wall(), Vec::new()));
    while !post.is_to_leave() {
        clients.wait(&mut post, LOOK);
        slot.turn();
        // Settings are none of its business; those that are take effect at the next start.
        if post.orders().iter().any(|order| matches!(order, Order::Leave(_))) {
            break;
        }
        let now = clock.monotonic();
        answers.look(now);
        clients.serve(&mut answers, now);
    }
    post.close();
}

/// What is said, made once for each document.
struct Answers {
    board: Reader,
    version: u64,
    /// When it came, by the monotonic clock, and how old it is.
    came: Duration,
    age: Duration,
    history: History,
    document: Value,
    status: Option<Rc<str>>,
    metrics: Option<Rc<str>>,
    watch: Option<Watch>,
    now: Duration,
    top: Option<Rc<str>>,
}

impl Answers {
    fn new(board: Reader, watch: Option<Watch>, now: Duration) -> Answers {
        Answers {
            board,
            version: 0,
            came: now,
            age: Duration::ZERO,
            history: History::default(),
            document: Value::Null,
            status: None,
            metrics: None,
            watch,
            now,
            top: None,
        }
    }

    /// Takes the next document, if there is one.
    fn look(&mut self, now: Duration) {
        self.now = now;
        let watched = self.watch.as_mut().filter(|watch| watch.is_watched(now));
        watched.into_iter().for_each(Watch::look);
        let version = self.board.version();
        self.age = now.saturating_sub(self.came);
        if version == self.version {
            return;
        }
        let Ok(mut document) = serde_json::from_str::<Value>(&self.board.text()) else { return };
        (self.version, self.came, self.age) = (version, now, Duration::ZERO);
        self.history.rate(&mut document);
        (self.document, self.status, self.metrics, self.top) = (document, None, None, None);
    }

    /// One line of JSON.
    fn status(&mut self) -> Rc<str> {
        self.status.get_or_insert_with(|| format!("{}\n", self.document).into()).clone()
    }

    /// Why nothing can be said.
    fn fault(&self) -> Option<String> {
        match self.document.is_null() {
            _ if self.age > STALE => Some(format!("the supervisor has said nothing for {} s", self.age.as_secs())),
            true => Some("nothing is known yet".to_owned()),
            false => None,
        }
    }

    fn metrics(&mut self) -> Rc<str> {
        self.metrics.get_or_insert_with(|| openmetrics::text(&self.document).into()).clone()
    }

    /// The document with the samples that there are, which everybody is told who asks before the next document.
    fn top(&mut self) -> Rc<str> {
        let Answers { watch, version, document, .. } = self;
        if let Some(watch) = watch {
            watch.ask(self.now);
        }
        let top = self.top.get_or_insert_with(|| {
            let mut document = document.clone();
            let samples: Option<Vec<Value>> = watch.as_mut().map(|it| it.take().iter().map(Sample::to_json).collect());
            document["samples"] = json!({"number": version, "transactions": samples});
            format!("{document}\n").into()
        });
        top.clone()
    }

    /// To a client of the status socket; all who ask for the same share it.
    fn to(&mut self, request: &str) -> Rc<str> {
        if let Some(fault) = self.fault() {
            return format!("{REFUSED}{fault}\n").into();
        }
        match request.trim() {
            STATUS => self.status(),
            OPENMETRICS => self.metrics(),
            TOP => self.top(),
            _ => format!("{REFUSED}say \"{STATUS}\", \"{OPENMETRICS}\" or \"{TOP}\"\n").into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::board::Board, *};

    #[test]
    fn a_document_that_nobody_renews_is_none() {
        let board = Board::new().unwrap();
        let at = Duration::from_secs;
        let mut answers = Answers::new(Reader::new(board.descriptor().unwrap()).unwrap(), None, at(100));
        assert_eq!(&*answers.to(STATUS), "error: nothing is known yet\n");
        for began in [100, 200] {
            board.show("{\"state\":\"healthy\"}");
            answers.look(at(began));
            answers.look(at(began + 10));
            assert!(answers.to(STATUS).contains("healthy") && answers.fault().is_none());
            answers.look(at(began + 11));
            let said = "the supervisor has said nothing for 11 s";
            assert_eq!(*answers.to(STATUS), format!("error: {said}\n"));
            assert_eq!(*answers.to(OPENMETRICS), format!("error: {said}\n"));
            assert_eq!(answers.fault().as_deref(), Some(said));
        }
    }
}
