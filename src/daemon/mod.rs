//! Wiring of the live sensor: processes, signals, clocks.

mod clock;
pub mod notify;
mod synchronised;

pub use clock::SystemClock;
pub use synchronised::{Synchronised, synchronised};
