//! The standard streams of a command at the far end.

use std::{io, time::Duration};

/// A command that runs at the far end, over whatever carries it. No call but [`Pipe::wait`] waits: where nothing can be
/// done now, they give [`io::ErrorKind::WouldBlock`].
pub trait Pipe {
    /// Reads its standard output; 0 at the end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Reads its standard error; 0 at the end.
    fn read_error(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes to its standard input; how many of the bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Ends its standard input.
    fn close_input(&mut self) -> io::Result<()>;
    /// How it ended, once both of its outputs have.
    fn ending(&mut self) -> io::Result<Ending>;
    /// Waits until one of the outputs may have something, or the input, if `to_write`, may have room; `limit` at most.
    fn wait(&mut self, to_write: bool, limit: Duration) -> io::Result<()>;
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With an exit code.
    Code(i32),
    /// By a signal of this name, without SIG.
    Signal(String),
    /// Nobody said how.
    Unknown,
}
