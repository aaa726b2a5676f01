//! Wiring of the live sensor: processes, signals, clocks.

mod clock;
pub mod log;
pub mod notify;
mod synchronised;

pub use clock::SystemClock;
pub use log::Log;
pub use synchronised::{Synchronised, synchronised};
