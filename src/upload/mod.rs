//! Published files to the far end: confirmed there, then removed here.
//!
//! ```text
//!  waiting/CHANNEL                                        the network                                far end
//!  ───────────────  ────────────────────────────────────────────────────────────────────────────  ─────────────
//!  backlog → worker ┬ locate (SRV) → connect → ssh (host key, login) ┬ rsync: the sending side ───→ rsync --server
//!              ↑    │                                                └ sftp ──────────────────────→ internal-sftp
//!              │    └ directory ─────────────────────────────────────────────────────────────────→ a directory
//!              └────────── confirmed: the file is removed, if it is still the one that was sent
//! ```
//!
//! A transport is given open files and an [`Attendant`], tells it what the far end has confirmed, and removes nothing
//! itself. Nothing waits without a limit: each wait asks the attendant once a second at least whether to go on.

mod alarm;
mod backlog;
mod below;
mod connect;
mod desk;
pub mod directory;
mod events;
pub mod keys;
mod locate;
mod lock;
mod outgoing;
mod pipe;
mod plan;
mod probe;
mod process;
pub mod program;
mod rate;
mod reach;
mod resolve;
mod retry;
pub mod rsync;
mod service;
pub mod sftp;
pub mod ssh;
pub mod state;
mod steady;
mod way;
mod worker;

pub use backlog::Backlog;
pub use desk::{Desk, Line, Word};
pub use events::Events;
pub use locate::{Network, Target};
pub use lock::{Lock, LockError};
pub use outgoing::{Outgoing, Receipt};
pub use pipe::{Ending, Pipe};
pub use plan::Plan;
pub use probe::{Said, WAY, probe};
pub use process::{Holder, Process};
pub use service::Service;
pub use state::{FailedFile, State};
pub use way::Way;
pub use worker::{Done, Worker};

use crate::escape::Escaped;
use std::{
    fmt::{self, Display, Formatter},
    time::Duration,
};

/// Between two calls of [`Attendant::turn`] there is never more.
pub const TURN: Duration = Duration::from_millis(500);

/// Who looks after a batch of files while a transport sends it.
pub trait Attendant {
    /// Monotonic time.
    fn now(&self) -> Duration;
    /// Shows that the work goes on, and says whether it is to; called at least every [`TURN`].
    fn turn(&mut self) -> Turn;
    /// Bytes of files that may be sent now; 0: wait for a [`TURN`] or less.
    fn allowance(&mut self) -> usize;
    /// Bytes of files that were sent.
    fn sent(&mut self, bytes: usize);
    /// The far end has the file of this index in the batch, whole and under its final name.
    fn confirmed(&mut self, index: usize);
    /// The file of this index will not be confirmed this time, and why. Others may be.
    fn failed(&mut self, index: usize, reason: String);
    /// A line that the far end said, escaped and cut.
    fn heard(&mut self, line: &str);
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// With everything.
    GoOn,
    /// With the file that is being sent; those that have not begun are for later: something fresher waits.
    CutShort,
    /// Not at all: the process is to leave. What was not confirmed stays.
    Leave,
}

/// Why a connection or a batch ended before it was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was being done.
    pub step: Step,
    /// What went wrong, on one line, without what the far end could do to a terminal.
    pub reason: String,
    /// Whether the SSH connection can still be used.
    pub keeps_connection: bool,
    /// What else there is to say of the key and of known_hosts, which may be the cause.
    pub remarks: Vec<String>,
}

/// What is done on the way, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Finding the server's names and addresses.
    Locate,
    /// Connecting to one of them.
    Connect,
    /// Agreeing on ciphers.
    Handshake,
    /// Knowing the server's key.
    HostKey,
    /// Reading our key.
    Key,
    /// Logging in with it.
    Login,
    /// Starting the remote command, or sftp.
    Command,
    /// Sending files.
    Transfer,
}

impl Failure {
    /// Of a connection that is of no use any more. `reason` may hold what a server said.
    pub fn new(step: Step, reason: impl Display) -> Failure {
        Failure { step, reason: one_line(&reason.to_string()), keeps_connection: false, remarks: Vec::new() }
    }

    /// Whether the far end was there to the end, and did not take what it was sent.
    pub fn is_refusal(&self) -> bool {
        self.step == Step::Transfer && self.keeps_connection
    }

    /// The same of one that can still be used.
    pub fn keeping_connection(self) -> Failure {
        Failure { keeps_connection: true, ..self }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Failure {}

/// Characters of a reason that are kept.
const REASON_MAX: usize = 500;

/// Text of the far end as a log line may show it: one line, escaped, cut.
pub fn one_line(text: &str) -> String {
    let text = text.trim();
    let end = text.char_indices().nth(REASON_MAX).map_or(text.len(), |(at, _)| at);
    let dots = if end < text.len() { "…" } else { "" };
    format!("{}{dots}", Escaped(text.get(..end).unwrap_or(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_one_short_line_without_control_characters() {
        let failure = Failure::new(Step::Login, "no\n\u{1b}[2Jaccess\r\n");
        assert_eq!(failure.to_string(), "no\\n\\u{1b}[2Jaccess");
        let long = Failure::new(Step::Login, "ü".repeat(100_000));
        assert_eq!(long.reason.chars().count(), REASON_MAX + 1);
    }
}
