//! Wiring of the live sensor: processes, signals, clocks.

mod clock;

pub use clock::SystemClock;
