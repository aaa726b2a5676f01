//! A command at the server.

use super::session::{Connection, Wait};
use crate::upload::{Attendant, Ending, Failure, Pipe, Step, one_line};
use nix::poll::PollFlags;
use ssh2::Channel;
use std::{
    io::{self, Read, Write},
    time::Duration,
};

/// For the start of a command.
const START: Duration = Duration::from_secs(15);

/// For the server to take note of the end.
const CLOSE: Duration = Duration::from_secs(5);

/// libssh2's number for standard error.
const STDERR: i32 = 1;

/// A command that runs at the server. Dropped without [`Exec::close`], it takes the connection with it.
pub struct Exec<'c> {
    connection: &'c mut Connection,
    channel: Channel,
    is_closed: bool,
}

impl Connection {
    /// Starts a command, without a terminal.
    pub fn exec(&mut self, command: &str, attendant: &mut dyn Attendant) -> Result<Exec<'_>, Failure> {
        let wait = Wait { step: Step::Command, what: "the start of the command", limit: START };
        let session = self.session();
        let opened = self.drive(wait, attendant, || session.channel_session())?;
        let mut channel = opened.map_err(|error| self.broken(Step::Command, &error))?;
        let started = self.drive(wait, attendant, || channel.exec(command))?;
        let place = self.place().to_owned();
        let mut exec = Exec { connection: self, channel, is_closed: false };
        match started {
            Ok(()) => Ok(exec),
            Err(error) => {
                let failure =
                    Failure::new(Step::Command, format!("{place} does not run the command: {}", error.message()));
                Err(if exec.close(attendant) { failure.keeping_connection() } else { failure })
            }
        }
    }
}

impl Exec<'_> {
    /// Ends it, whether it runs or not; whether the connection can still be used.
    pub fn close(&mut self, attendant: &mut dyn Attendant) -> bool {
        if !self.is_closed && self.connection.is_usable {
            let wait = Wait { step: Step::Command, what: "the end of the command", limit: CLOSE };
            let channel = &mut self.channel;
            self.is_closed =
                self.connection.drive(wait, attendant, || channel.close()).is_ok_and(|closed| closed.is_ok());
        }
        self.connection.is_usable &= self.is_closed;
        self.connection.is_usable
    }

    fn read_stream(&mut self, stream: i32, buffer: &mut [u8]) -> io::Result<usize> {
        let mut stream = self.channel.stream(stream);
        let first = self.call(|| stream.read(buffer))?;
        // libssh2 gives 0 also when a message that is no data came. Its wait_eof looks at the end alone; but more data may
        // have come before that, in this stream too.
        let length = match first {
            0 if !buffer.is_empty() => {
                let channel = &mut self.channel.clone();
                self.call(|| channel.wait_eof().map_err(io::Error::from))?;
                self.call(|| stream.read(buffer))?
            }
            length => length,
        };
        self.connection.asked(length as u64);
        Ok(length)
    }

    fn call<T>(&mut self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self.connection.call(work) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            Ok(Err(error)) => Err(self.broken(&error.to_string())),
            Err(reason) => Err(self.broken(&reason)),
        }
    }

    fn broken(&mut self, reason: &str) -> io::Error {
        self.connection.is_usable = false;
        io::Error::new(io::ErrorKind::ConnectionAborted, one_line(reason))
    }
}

impl Pipe for Exec<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_stream(0, buffer)
    }

    fn read_error(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_stream(STDERR, buffer)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut stream = self.channel.stream(0);
        match self.call(|| stream.write(bytes))? {
            0 if !bytes.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            length => {
                // The server makes room for more in messages far smaller than this share.
                self.connection.asked(length as u64 / 64);
                Ok(length)
            }
        }
    }

    fn close_input(&mut self) -> io::Result<()> {
        let mut channel = self.channel.clone();
        self.call(|| channel.send_eof().map_err(io::Error::from))
    }

    fn ending(&mut self) -> io::Result<Ending> {
        let mut channel = self.channel.clone();
        // The first may have been content with a message that is not the end.
        self.call(|| channel.wait_close().map_err(io::Error::from))?;
        self.call(|| channel.wait_close().map_err(io::Error::from))?;
        // libssh2 gives code 0 for a command that was killed.
        let signal = self.call(|| channel.exit_signal().map_err(io::Error::from))?;
        match signal.exit_signal {
            Some(signal) => Ok(Ending::Signal(one_line(&signal))),
            None => self.call(|| channel.exit_status().map_err(io::Error::from)).map(Ending::Code),
        }
    }

    fn wait(&mut self, to_write: bool, limit: Duration) -> io::Result<()> {
        if self.channel.read_window().available > 0 {
            return Ok(());
        }
        // Room in the socket is no use where the server gives none in the channel.
        let has_room = to_write && self.channel.write_window().remaining > 0;
        self.connection
            .wait_for(if has_room { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN }, limit)
    }
}

impl Drop for Exec<'_> {
    fn drop(&mut self) {
        self.connection.is_usable &= self.is_closed;
    }
}
