//! Wiring of the live sensor: processes, signals, clocks.

mod clock;
mod synchronised;

pub use clock::SystemClock;
pub use synchronised::{Synchronised, synchronised};
