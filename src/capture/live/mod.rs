//! Frames from interfaces.

mod error;
mod fanout;
mod filter;
mod ring;

pub use error::{FilterError, OpenError, OpenFault, ReadError};
pub use fanout::open;
pub use filter::{CompileError, Filter, Form, Program, Why};
pub use ring::{BLOCK_TIMEOUT, Options, Ring};
