//! What the reader counts, and what it has to say.

use std::io;

use crate::nmsg::container::READ_MAX;
use crate::nmsg::wire::Malformed;

/// What was read so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Containers that could be decoded; one that came as container fragments counts once.
    pub containers: u64,
    /// Payloads handed out.
    pub payloads: u64,
    /// Payloads dropped because their checksum was wrong.
    pub crc_mismatch: u64,
    /// Containers missing in the sequences of their writers.
    pub lost_containers: u64,
    /// Containers, or container fragments, that could not be decoded, were too long, or were cut.
    pub malformed_containers: u64,
    /// Containers whose fragments did not all come.
    pub incomplete_fragments: u64,
    /// Bytes that belong to no container.
    pub skipped_bytes: u64,
}

/// What is wrong inside a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// It is not the protobuf message it should be.
    Wire(Malformed),
    /// The zlib stream is damaged, or inflates to another length than declared.
    Zlib,
    /// The declared length after inflation is more than [`INFLATED_MAX`](crate::nmsg::container::INFLATED_MAX), or more
    /// than deflate can make of the stream.
    InflatedLength(u32),
    /// A container fragment contradicts itself or the others of its container.
    Fragment,
    /// The reassembled container does not have the checksum that its fragments say.
    FragmentChecksum,
}

impl From<Malformed> for Damage {
    fn from(malformed: Malformed) -> Damage {
        Damage::Wire(malformed)
    }
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Damage::Wire(malformed) => malformed.fmt(f),
            Damage::Zlib => f.write_str("its zlib stream is damaged"),
            Damage::InflatedLength(len) => write!(f, "it cannot inflate to {len} bytes"),
            Damage::Fragment => f.write_str("a container fragment contradicts the others"),
            Damage::FragmentChecksum => f.write_str("the reassembled fragments have the wrong checksum"),
        }
    }
}

/// Something that could not be read, and where. The reader goes on behind it.
#[derive(Debug)]
pub enum ReadError {
    /// The stream failed; nothing more will come.
    Io {
        /// Where the reader was.
        offset: u64,
        /// Why.
        error: io::Error,
    },
    /// No container stands at `offset`; the next one, if any, is `skipped` bytes further.
    NotContainer {
        /// Where the container should be.
        offset: u64,
        /// Bytes to the next container or the end.
        skipped: u64,
    },
    /// A container says that its body is longer than [`READ_MAX`].
    TooLong {
        /// Where the container begins.
        offset: u64,
        /// The length it says.
        len: u32,
        /// Bytes to the next container or the end.
        skipped: u64,
    },
    /// The length of the container, whose payloads were read, is wrong: the next one begins inside it.
    WrongLength {
        /// Where the container begins.
        offset: u64,
    },
    /// The file ends inside the container, or the container says that it is longer than it is.
    Cut {
        /// Where the container begins.
        offset: u64,
    },
    /// A container was skipped.
    Malformed {
        /// Where the container begins; for a reassembled one, its last fragment.
        offset: u64,
        /// What is wrong.
        damage: Damage,
    },
    /// Payloads were dropped for their checksum; said once behind the last payload of the container.
    Checksum {
        /// Where the container begins.
        offset: u64,
        /// How many payloads.
        payloads: u64,
    },
}

impl ReadError {
    /// Where it is: for a container, where that begins.
    pub fn offset(&self) -> u64 {
        match *self {
            ReadError::Io { offset, .. }
            | ReadError::NotContainer { offset, .. }
            | ReadError::TooLong { offset, .. }
            | ReadError::WrongLength { offset }
            | ReadError::Cut { offset }
            | ReadError::Malformed { offset, .. }
            | ReadError::Checksum { offset, .. } => offset,
        }
    }
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReadError::Io { offset, error } => write!(f, "offset {offset}: cannot read: {error}"),
            ReadError::NotContainer { offset, skipped } => {
                write!(f, "offset {offset}: no NMSG container; skipped {skipped} bytes")
            }
            ReadError::TooLong { offset, len, skipped } => write!(
                f,
                "offset {offset}: a container of {len} bytes, more than the {READ_MAX} allowed; skipped {skipped} bytes"
            ),
            ReadError::WrongLength { offset } => {
                write!(f, "offset {offset}: this container has the wrong length: another one begins inside it")
            }
            ReadError::Cut { offset } => {
                write!(f, "offset {offset}: the input ends inside this container")
            }
            ReadError::Malformed { offset, damage } => {
                write!(f, "offset {offset}: malformed container skipped: {damage}")
            }
            ReadError::Checksum { offset, payloads } => {
                write!(f, "offset {offset}: {payloads} payloads dropped for a wrong checksum")
            }
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ReadError::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}
