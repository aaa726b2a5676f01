//! Wiring of the live sensor: processes, signals, clocks.

mod clock;
pub mod log;
pub mod notify;
mod synchronised;
pub mod page;
pub mod pidfile;

pub use clock::SystemClock;
pub use log::Log;
pub use synchronised::{Synchronised, synchronised};
