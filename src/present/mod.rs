//! From payloads to people: the text and JSON forms of NMSG payloads, equal to libnmsg's byte for byte.
//!
//! [`pres`] and [`json`] write one payload each, to the end of a buffer. Both read the DNS messages inside with
//! [`message`], whose records [`rdata`] and [`edns`] print; [`names`] knows what numbers are called. [`savefile`] gives
//! the packets back, [`cof`] the records as tuples, [`stats`] one screen of counts. Whatever a payload
//! holds, writing it never fails, and no control byte from the wire reaches the output.

pub mod cof;
pub(crate) mod compression;
pub(crate) mod cursor;
pub mod edns;
pub mod json;
pub mod message;
pub mod names;
mod numbers;
mod payload;
pub mod pres;
pub mod rdata;
pub mod savefile;
pub mod stats;
mod svcb;

pub use json::escape_json;

/// What stands where bytes do not have the form their type asks for.
const PARSE_ERROR: &[u8] = b" ### PARSE ERROR ###";

/// Appends formatted text to a `Vec<u8>`, which cannot fail.
macro_rules! put {
    ($out:expr, $($text:tt)*) => {{
        use std::io::Write;
        let _ = write!($out, $($text)*);
    }};
}
use put;
