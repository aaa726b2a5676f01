//! Why an interface cannot be opened or read.

use std::fmt;
use std::io;

use super::filter::CompileError;
use crate::capture::link_type;
use crate::escape::Escaped;

/// Why an interface could not be opened.
#[derive(Debug)]
pub struct OpenError {
    /// Its name.
    pub interface: String,
    /// What was wrong.
    pub fault: OpenFault,
}

/// What was wrong with an interface that could not be opened.
#[derive(Debug)]
pub enum OpenFault {
    /// There is none of this name.
    NoSuchInterface,
    /// It is down.
    Down,
    /// The process may not capture; libpcap's words.
    NoPermission(String),
    /// Its frames start with a header that is not decoded; DLT_ number.
    LinkType(i32),
    /// Its filter could not be set.
    Filter(FilterError),
    /// It could not be shared among threads.
    Fanout(io::Error),
    /// Several threads were asked for, and this system cannot share an interface among them.
    NoFanout,
    /// Something else, in libpcap's words.
    Other(String),
}

/// Why a filter could not be set; the one before is in force.
#[derive(Debug)]
pub enum FilterError {
    /// libpcap made no program of it.
    Compile(CompileError),
    /// The kernel did not take it.
    Attach(io::Error),
    /// libpcap could not set it.
    Set(pcap::Error),
}

/// Why an interface cannot be read any more. Everything that came before has been given.
#[derive(Debug)]
pub enum ReadError {
    /// It is down or gone; libpcap's words.
    Down(String),
    /// Something else, in libpcap's words.
    Other(String),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Escaped(&self.interface);
        write!(f, "cannot capture on {name}: ")?;
        match &self.fault {
            OpenFault::NoSuchInterface => f.write_str("no such interface; \"ip link\" or \"ifconfig\" lists them"),
            OpenFault::Down => write!(f, "the interface is down; \"ip link set {name} up\" brings it up"),
            OpenFault::NoPermission(message) => {
                write!(f, "no permission ({}); run it as root or with CAP_NET_RAW", Escaped(message))
            }
            OpenFault::LinkType(number) => match u16::try_from(*number) {
                Ok(number) => link_type::Unsupported(number).fmt(f),
                Err(_) => write!(f, "link type {number} is not supported"),
            },
            OpenFault::Filter(error) => error.fmt(f),
            OpenFault::Fanout(error) => {
                write!(f, "cannot share it among threads: {error}; capture_threads=1 does without")
            }
            OpenFault::NoFanout => {
                f.write_str("only Linux can share an interface among threads; set capture_threads=1")
            }
            OpenFault::Other(message) => Escaped(message).fmt(f),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            OpenFault::Filter(error) => error.source(),
            OpenFault::Fanout(error) => Some(error),
            _ => None,
        }
    }
}

impl FilterError {
    /// The kernel may have room for a shorter program.
    pub(super) fn is_no_room(&self) -> bool {
        matches!(self, FilterError::Attach(error) if error.raw_os_error() == Some(libc::ENOMEM))
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FilterError::Compile(error) => error.fmt(f),
            FilterError::Attach(error) => write!(f, "cannot set the filter: {error}"),
            FilterError::Set(error) => write!(f, "cannot set the filter: {error}"),
        }
    }
}

impl std::error::Error for FilterError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FilterError::Compile(error) => Some(error),
            FilterError::Attach(error) => Some(error),
            FilterError::Set(error) => Some(error),
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Down(message) | ReadError::Other(message) => Escaped(message).fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}
