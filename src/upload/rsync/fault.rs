//! What a server may do that ends the session.

use super::sum;
use std::fmt::{self, Display, Formatter};

/// Not a server that one can go on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// What came is text, and not of rsync.
    NotRsync(String),
    /// Its protocol is too old or too new.
    Version(i32),
    /// It turned on what we did not offer.
    Compatibility(u32),
    /// The names of its sums are of this length.
    NamesLength(usize),
    /// It has none of the sums that this sender has, but these.
    NoSum(String),
    /// A message of a kind that is not for this sender.
    Tag(u8),
    /// A message of a wrong length.
    MessageLength(u8, usize),
    /// An index of a file that is not in the list, or a mark instead of one.
    Index(Option<i32>),
    /// A request before the list was complete, or after the last round.
    OutOfTurn,
    /// The same file, over and over.
    AskedTooOften(usize),
    /// A file was confirmed that it does not have.
    Confirmed(usize),
    /// What was confirmed is not in the list, or not yet.
    ConfirmedUnlisted(i32),
    /// Block sums beyond reason.
    Sums([i32; 4]),
    /// Something behind the goodbye.
    AfterGoodbye,
    /// Names that are not in order, or that cannot be in a list. Our own fault.
    List(String),
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NotRsync(text) if text.trim().is_empty() => f.write_str("what answers is not rsync"),
            Fault::NotRsync(text) => write!(f, "what answers is not rsync; it says: {}", text.trim()),
            Fault::Version(version) => {
                write!(f, "the server's rsync has protocol {version}; 30 (rsync 3.0) to 40 are understood")
            }
            Fault::Compatibility(flags) => write!(f, "the server chose features that were not offered: {flags:#x}"),
            Fault::NamesLength(len) => write!(f, "the server names its checksums in {len} bytes"),
            Fault::NoSum(names) => {
                write!(
                    f,
                    "the server has neither of the checksums {}; it has: {names}",
                    sum::OFFER.replace(' ', " and ")
                )
            }
            Fault::Tag(tag) => write!(f, "the server sent a message of kind {tag}, which is not for a sender"),
            Fault::MessageLength(tag, len) => write!(f, "the server sent a message of kind {tag} with {len} bytes"),
            Fault::Index(Some(index)) => write!(f, "the server asked for file {index}, which is not in the list"),
            Fault::Index(None) => f.write_str("the server sent a mark that is not for this sender"),
            Fault::OutOfTurn => f.write_str("the server asked out of turn"),
            Fault::AskedTooOften(index) => write!(f, "the server asked for file {index} over and over"),
            Fault::Confirmed(index) => write!(f, "the server confirmed file {index}, which it was not sent"),
            Fault::ConfirmedUnlisted(index) => {
                write!(f, "the server confirmed file {index}, which is not in the list")
            }
            Fault::Sums(head) => write!(f, "the server announced impossible block sums: {head:?}"),
            Fault::AfterGoodbye => f.write_str("the server went on after its goodbye"),
            Fault::List(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Fault {}
