//! What there is to say of the spool; whoever receives it logs it.

use crate::{escape::escaped, stats::Ledger};
use std::{
    fmt::{self, Display, Formatter},
    io,
    path::PathBuf,
};

/// What happened. Its text is a log line.
#[derive(Debug)]
pub enum Event {
    /// A file is complete under its name, and on the disk.
    Published {
        /// Where it is.
        path: PathBuf,
        /// Transactions in it.
        transactions: u64,
        /// Containers in it.
        containers: u64,
        /// Its length.
        bytes: u64,
    },
    /// A loss record is in the file that is about to be published.
    Recorded(Box<Recorded>),
    /// A part file that a process left behind was published.
    Repaired {
        /// Where it is now.
        path: PathBuf,
        /// Payloads in it.
        payloads: u64,
        /// Whole containers, all of which were kept.
        containers: u64,
        /// Bytes of a torn end that were cut.
        cut: u64,
    },
    /// A part file that a process left behind had no whole container.
    Removed {
        /// Where it was.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// From now on transactions are dropped, and counted. Said once.
    Stopped(Reason),
    /// A container could be written again.
    Resumed {
        /// Transactions dropped for the reason why writing was stopped.
        dropped: u64,
    },
    /// The directory that was opened at start is not at its path any more. It does not come back: a sandbox holds on to
    /// the old one. Said once; from then on transactions are dropped, and counted.
    DirectoryGone {
        /// Its path.
        path: PathBuf,
    },
    /// A part file was removed by somebody else; what was in it counts as dropped.
    Lost {
        /// Where it was.
        path: PathBuf,
        /// Transactions in it.
        transactions: u64,
    },
    /// Something else did not work.
    Failed {
        /// What: a verb.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// How far loss records tell what was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// By this process.
    pub here: Ledger,
    /// What it was told of others.
    pub elsewhere: Ledger,
}

/// Why nothing is written.
#[derive(Debug)]
pub enum Reason {
    /// Less space is free than must stay free.
    Space {
        /// Where.
        path: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that must stay free.
        min_free: u64,
        /// Bytes that must be free for writing to go on.
        resume_at: u64,
    },
    /// The system refused.
    Error {
        /// What was to be written.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl Display for Event {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Event::Published { path, transactions, containers, bytes } => {
                let path = escaped(path);
                write!(f, "published {path}: {transactions} transactions, {containers} containers, {bytes} bytes")
            }
            Event::Recorded(_) => f.write_str("made a loss record"),
            Event::Repaired { path, payloads, containers, cut } => write!(
                f,
                "published {}, left behind unfinished: {payloads} payloads, {containers} whole containers; cut {cut} bytes",
                escaped(path)
            ),
            Event::Removed { path, bytes } => {
                write!(f, "removed {}, left behind unfinished: no whole container in {bytes} bytes", escaped(path))
            }
            Event::Stopped(reason) => write!(f, "{reason}; transactions are dropped and counted until that changes"),
            Event::Resumed { dropped } => write!(f, "writing again; {dropped} transactions were dropped"),
            Event::DirectoryGone { path } => write!(
                f,
                "{} is not the directory any more that it was at start; transactions are dropped and counted",
                escaped(path)
            ),
            Event::Lost { path, transactions } => {
                write!(f, "{} was removed while it was written; {transactions} transactions are lost", escaped(path))
            }
            Event::Failed { doing, path, error } => write!(f, "cannot {doing} {}: {error}", escaped(path)),
        }
    }
}

impl Display for Reason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Space { path, free, min_free, resume_at } => {
                let (free, min_free, resume_at) = (free / 1024, min_free / 1024, resume_at.div_ceil(1024));
                let path = escaped(path);
                write!(
                    f,
                    "cannot write to {path}: {free} kB are free, {min_free} kB must stay free; it goes on with {resume_at} kB"
                )
            }
            Reason::Error { path, error } => write!(f, "cannot write {}: {error}", escaped(path)),
        }
    }
}
