//! Frames from interfaces.

mod filter;

pub use filter::{CompileError, Filter, Form, Program, Why};
