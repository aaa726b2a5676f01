//! A connection to a server that is known and knows us.

use crate::{
    sys::ssh as io_of,
    upload::{Attendant, Failure, Step, TURN, Turn, one_line, sftp::Subsystem},
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use ssh2::{BlockDirections, ErrorCode, Session};
use std::{
    io,
    net::{IpAddr, TcpStream},
    os::fd::AsFd,
    time::Duration,
};

/// For agreeing on ciphers, for logging in, for a sign of life.
pub(super) const LIMIT: Duration = Duration::from_secs(15);

/// An idle connection is to be tried so often: servers that ask whether we are alive want an answer.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What one call of libssh2 may read. Between two calls there is time to see that the time is over.
const RECEIVE_MAX: usize = 256 << 10;

/// libssh2 keeps what nobody asked for; a server that sends more of it than this is left.
const UNASKED_MAX: u64 = 16 << 20;

/// What is known to be the answer to one request, at most.
const ANSWER: u64 = 512;

/// LIBSSH2_ERROR_… in libssh2.h.
const CHANNEL_FAILURE: i32 = -21;
const EAGAIN: i32 = -37;

/// An SSH connection, logged in.
pub struct Connection {
    pub(super) session: Session,
    /// The same socket, to wait for it.
    pub(super) stream: TcpStream,
    /// HOST:PORT, with the address where that is a name, for messages.
    pub(super) place: String,
    /// The server's: a connection that was lost does not tell it any more.
    pub(super) address: Option<IpAddr>,
    pub(super) is_usable: bool,
    pub(super) remarks: Vec<String>,
    pub(super) host_key: String,
    /// Bytes that came, less those that were asked for.
    pub(super) unasked: i64,
    /// SFTP, once it was begun.
    pub(in crate::upload) sftp: Option<Subsystem>,
}

impl Connection {
    /// What is to be said of the key and of known_hosts, though both work.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// Type and fingerprint of the server's key.
    pub fn host_key(&self) -> &str {
        &self.host_key
    }

    /// HOST:PORT, with the address where that is a name.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The server's address.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Whether it can be used, as far as is known.
    pub fn is_usable(&self) -> bool {
        self.is_usable
    }

    /// Asks the server for something that it refuses, which shows that it lives, and reads what it sent meanwhile. For an
    /// idle connection, every [`KEEP_ALIVE`].
    pub fn keep_alive(&mut self, attendant: &mut dyn Attendant) -> Result<(), Failure> {
        let session = self.session();
        let wait = Wait { step: Step::Command, what: "a sign of life", limit: LIMIT };
        match self.drive(wait, attendant, || session.channel_open("keep-alive", 1 << 15, 1 << 15, None)) {
            Ok(Err(error)) if error.code() == ErrorCode::Session(CHANNEL_FAILURE) => Ok(()),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.broken(Step::Command, &error)),
            Err(failure) => Err(failure),
        }
    }

    /// A handle for libssh2, to be used in [`Connection::drive`] alone.
    pub(in crate::upload) fn session(&self) -> Session {
        self.session.clone()
    }

    /// Repeats a call of libssh2 until it no longer says that it would wait. The outer error is the connection's end.
    pub(in crate::upload) fn drive<T, E: Blocking>(
        &mut self,
        wait: Wait,
        attendant: &mut dyn Attendant,
        mut work: impl FnMut() -> Result<T, E>,
    ) -> Result<Result<T, E>, Failure> {
        let began = attendant.now();
        loop {
            match self.call(&mut work) {
                Ok(Err(error)) if error.would_block() => {}
                Ok(result) => {
                    self.asked(ANSWER);
                    return Ok(result);
                }
                Err(reason) => return Err(self.failed(wait.step, reason)),
            }
            let waited = attendant.now().saturating_sub(began);
            let Some(left) = wait.limit.checked_sub(waited).filter(|left| !left.is_zero()) else {
                let reason = format!("{} left us without {} for {} s", self.place, wait.what, wait.limit.as_secs());
                return Err(self.failed(wait.step, reason));
            };
            self.turn(wait.step, attendant)?;
            self.wait_for_libssh2(left).map_err(|error| self.failed(wait.step, error))?;
        }
    }

    /// One call of libssh2, which does not wait. The error says why the connection ends.
    pub(super) fn call<T>(&mut self, work: impl FnOnce() -> T) -> Result<T, String> {
        if !self.is_usable {
            return Err(format!("the connection to {} has ended", self.place));
        }
        let called = io_of::call(RECEIVE_MAX, work);
        self.unasked = self.unasked.saturating_add_unsigned(called.received as u64);
        if let Some(farewell) = called.farewell {
            return Err(format!("{} ended the connection: {}", self.place, one_line(&farewell)));
        }
        if self.unasked > UNASKED_MAX as i64 {
            return Err(format!("{} sends much that nobody asked for", self.place));
        }
        Ok(called.result)
    }

    /// So many bytes of what came had been asked for.
    pub(in crate::upload) fn asked(&mut self, bytes: u64) {
        self.unasked = self.unasked.saturating_sub_unsigned(bytes).max(0);
    }

    /// Waits for what libssh2 waits for.
    pub(in crate::upload) fn wait_for_libssh2(&self, limit: Duration) -> io::Result<()> {
        let flags = match self.session.block_directions() {
            BlockDirections::Outbound => PollFlags::POLLOUT,
            BlockDirections::Both => PollFlags::POLLIN | PollFlags::POLLOUT,
            BlockDirections::Inbound | BlockDirections::None => PollFlags::POLLIN,
        };
        self.wait_for(flags, limit)
    }

    /// Waits for the socket, a [`TURN`] at most.
    pub(in crate::upload) fn wait_for(&self, flags: PollFlags, limit: Duration) -> io::Result<()> {
        let limit = u16::try_from(limit.min(TURN).as_millis().max(1)).unwrap_or(u16::MAX);
        match poll(&mut [PollFd::new(self.stream.as_fd(), flags)], PollTimeout::from(limit)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Shows that the work goes on.
    pub(in crate::upload) fn turn(&mut self, step: Step, attendant: &mut dyn Attendant) -> Result<(), Failure> {
        match attendant.turn() {
            Turn::Leave => Err(self.failed(step, "the uploader is told to leave")),
            Turn::GoOn | Turn::CutShort => Ok(()),
        }
    }

    /// A failure after which the connection is of no use.
    pub(in crate::upload) fn failed(&mut self, step: Step, reason: impl std::fmt::Display) -> Failure {
        self.is_usable = false;
        Failure::new(step, reason)
    }

    /// The same, for what libssh2 says.
    pub(in crate::upload) fn broken(&mut self, step: Step, error: &ssh2::Error) -> Failure {
        let doing = match step {
            Step::Handshake => "cannot agree on ciphers with",
            Step::Login => "cannot log in at",
            _ => "lost the connection to",
        };
        let reason = format!("{doing} {}: {}", self.place, error.message());
        self.failed(step, reason)
    }
}

/// Errors that may say that the call is to be repeated.
pub(in crate::upload) trait Blocking {
    fn would_block(&self) -> bool;
}

impl Blocking for ssh2::Error {
    fn would_block(&self) -> bool {
        self.code() == ErrorCode::Session(EAGAIN)
    }
}

impl Blocking for io::Error {
    fn would_block(&self) -> bool {
        self.kind() == io::ErrorKind::WouldBlock
    }
}

/// How long an answer is waited for.
#[derive(Clone, Copy)]
pub(in crate::upload) struct Wait {
    /// What is being done.
    pub(in crate::upload) step: Step,
    /// What is waited for.
    pub(in crate::upload) what: &'static str,
    /// So long.
    pub(in crate::upload) limit: Duration,
}
