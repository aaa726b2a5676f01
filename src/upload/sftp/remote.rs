//! What is asked of an SFTP server, one request at a time.

use crate::upload::{
    Attendant, Failure, Step,
    ssh::{Connection, Wait},
};
use nix::poll::PollFlags;
use ssh2::{ErrorCode, FileStat, OpenFlags, OpenType, Sftp};
use std::{
    fmt::{self, Display, Formatter},
    io,
    time::Duration,
};

/// For the subsystem to start.
const START: Duration = Duration::from_secs(15);

/// For each answer, and for the receipt of each 30 kB. A disk that is asked to sync may take its time.
const ANSWER: Duration = Duration::from_secs(30);

/// SSH_FX_… in draft-ietf-secsh-filexfer-02 §7.
const NO_SUCH_FILE: i32 = 2;
const PERMISSION_DENIED: i32 = 3;
const FAILURE: i32 = 4;
const OP_UNSUPPORTED: i32 = 8;

/// LIBSSH2_ERROR_FILE in libssh2.h, with which ssh2 says that a directory has no more names.
const NO_MORE_NAMES: i32 = -16;

/// SFTP on a connection, begun once.
pub(in crate::upload) struct Subsystem {
    sftp: Sftp,
    has_fsync: bool,
    is_swept: bool,
}

/// What a server answers that does not do what it was asked.
pub(super) struct Status {
    code: i32,
    text: String,
}

impl Status {
    pub(super) fn is_no_such_file(&self) -> bool {
        self.code == NO_SUCH_FILE
    }

    pub(super) fn is_denied(&self) -> bool {
        self.code == PERMISSION_DENIED
    }
}

impl Display for Status {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.code {
            FAILURE => f.write_str("the server says only \"failure\""),
            _ => f.write_str(&self.text),
        }
    }
}

/// A server's files, and who looks after the work.
pub(super) struct Remote<'r> {
    connection: &'r mut Connection,
    subsystem: Subsystem,
    pub(super) attendant: &'r mut dyn Attendant,
}

impl<'r> Remote<'r> {
    pub(super) fn open(
        connection: &'r mut Connection,
        attendant: &'r mut dyn Attendant,
    ) -> Result<Remote<'r>, Failure> {
        let subsystem = match connection.sftp.take() {
            Some(subsystem) => subsystem,
            None => {
                let session = connection.session();
                let wait = Wait { step: Step::Command, what: "the start of sftp", limit: START };
                let place = connection.place().to_owned();
                let sftp = connection.drive(wait, attendant, || session.sftp())?.map_err(|error| {
                    connection.failed(Step::Command, format!("{place} does not start sftp: {}", error.message()))
                })?;
                Subsystem { sftp, has_fsync: true, is_swept: false }
            }
        };
        Ok(Remote { connection, subsystem, attendant })
    }

    /// For the next batch on this connection.
    pub(super) fn keep(self) {
        self.connection.sftp = Some(self.subsystem);
    }

    pub(super) fn leave(&mut self) -> Failure {
        self.connection.failed(Step::Transfer, "the uploader is told to leave")
    }

    pub(super) fn is_swept(&self) -> bool {
        self.subsystem.is_swept
    }

    pub(super) fn set_swept(&mut self) {
        self.subsystem.is_swept = true;
    }

    /// One request and its answer. The outer error is the connection's end.
    pub(super) fn ask<T>(
        &mut self,
        what: &'static str,
        mut request: impl FnMut(&Sftp) -> Result<T, ssh2::Error>,
    ) -> Result<Result<T, Status>, Failure> {
        let wait = Wait { step: Step::Transfer, what, limit: ANSWER };
        let sftp = &self.subsystem.sftp;
        match self.connection.drive(wait, self.attendant, || request(sftp))? {
            Ok(answer) => Ok(Ok(answer)),
            Err(error) => match error.code() {
                ErrorCode::SFTP(code @ 1..) => Ok(Err(Status { code, text: error.message().to_owned() })),
                _ => Err(self.connection.broken(Step::Transfer, &error)),
            },
        }
    }

    /// Some bytes of a file, to or from the server. The outer error is the connection's end; the other one may be that,
    /// too.
    pub(super) fn transfer(
        &mut self,
        what: &'static str,
        mut work: impl FnMut() -> io::Result<usize>,
    ) -> Result<io::Result<usize>, Failure> {
        let wait = Wait { step: Step::Transfer, what, limit: ANSWER };
        self.connection.turn(Step::Transfer, self.attendant)?;
        self.connection.drive(wait, self.attendant, &mut work)
    }

    /// So many bytes of a file came.
    pub(super) fn asked(&mut self, bytes: usize) {
        self.connection.asked(bytes as u64);
    }

    /// A new file.
    pub(super) fn create(&mut self, path: &str, mode: u32) -> Result<Result<ssh2::File, Status>, Failure> {
        let flags = OpenFlags::WRITE | OpenFlags::EXCLUSIVE;
        let mode = i32::try_from(mode).unwrap_or(0o600);
        self.ask("a new file", |sftp| sftp.open_mode(path, flags, mode, OpenType::File))
    }

    /// Has a file written to the disk, by servers that can.
    pub(super) fn sync(&mut self, file: &mut ssh2::File) -> Result<Result<(), Status>, Failure> {
        if !self.subsystem.has_fsync {
            return Ok(Ok(()));
        }
        match self.ask("a file to be on the disk", |_| file.fsync())? {
            Err(status) if status.code == OP_UNSUPPORTED => {
                self.subsystem.has_fsync = false;
                Ok(Ok(()))
            }
            result => Ok(result),
        }
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> Result<Result<(), Status>, Failure> {
        self.ask("a new name", |sftp| sftp.rename(from.as_ref(), to.as_ref(), None))
    }

    /// The next name in a directory; None behind the last.
    pub(super) fn next_name(
        &mut self,
        directory: &mut ssh2::File,
    ) -> Result<Result<Option<(String, FileStat)>, Status>, Failure> {
        let next = self.ask("the names in a directory", |_| match directory.readdir() {
            Err(error) if error.code() == ErrorCode::Session(NO_MORE_NAMES) => Ok(None),
            other => other.map(Some),
        })?;
        Ok(next.map(|found| found.map(|(name, stat)| (name.to_string_lossy().into_owned(), stat))))
    }

    /// Waits without asking for anything.
    pub(super) fn pause(&mut self, time: Duration) -> Result<(), Failure> {
        self.connection.turn(Step::Transfer, self.attendant)?;
        let waited = self.connection.wait_for(PollFlags::empty(), time);
        waited.map_err(|error| self.connection.failed(Step::Transfer, error))
    }
}
