//! Wiring of the live sensor: processes, signals, clocks.

mod clock;
pub mod log;
pub mod notify;
mod synchronised;
pub mod directories;
pub mod page;
pub mod pidfile;
pub mod privileges;
pub mod sandbox;
pub mod users;

pub use clock::SystemClock;
pub use log::Log;
pub use synchronised::{Synchronised, synchronised};
