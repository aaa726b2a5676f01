//! NMSG, the container format of the passive DNS world, and dnsqr, its message type for DNS transactions.
//!
//! A file is containers back to back. A container is a 10-byte header and a protobuf `Nmsg`: payloads, their
//! checksums, a sequence number where it travels by datagram. A payload is a vendor and type number, a time, and
//! the bytes of a message; here that message is [`dnsqr::Dnsqr`].

mod buffer;
pub mod container;
pub mod deflate;
pub mod dnsqr;
mod encode;
mod input;
pub mod packets;
mod payload;
pub mod reader;
mod reassembly;
#[cfg(test)]
pub(crate) mod samples;
pub mod wire;
pub mod writer;

use std::borrow::Cow;

/// Vendor number of `base`, the public message types.
pub const VENDOR_BASE: u32 = 1;
/// Message type of dnsqr within [`VENDOR_BASE`].
pub const MSGTYPE_DNSQR: u32 = 9;
/// Message type of encode within [`VENDOR_BASE`]: a text in some other encoding.
pub const MSGTYPE_ENCODE: u32 = 11;

/// One record of a container (`NmsgPayload`), its message still encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload<'b> {
    /// Vendor number.
    pub vid: u32,
    /// Message type, numbered by the vendor.
    pub msgtype: u32,
    /// Seconds since 1970.
    pub time_sec: i64,
    /// Nanoseconds past `time_sec`.
    pub time_nsec: u32,
    /// The encoded message.
    pub message: Cow<'b, [u8]>,
    /// Who collected it; 0 when not given.
    pub source: u32,
    /// Operator number; 0 when not given.
    pub operator: u32,
    /// Group number; 0 when not given.
    pub group: u32,
}
