//! One binary for all tests of behaviour.

mod present;
mod read;
mod replay;
