//! Frames in: from savefiles, one after the other or merged by time, and from interfaces.

use crate::time::Timestamp;

mod bytes;
mod error;
mod gzip;
mod input;
mod interface;
mod link_type;
pub mod live;
mod merge;
mod pcap;
mod pcapng;
mod record;
mod savefile;
mod sequence;
mod source;
#[cfg(test)]
mod testing;

pub use error::{Corruption, OpenError, Part, Place, ReadError};
pub use input::{Input, InputError, Next, StartsEarlier};
pub use savefile::Savefile;
pub use source::Compression;

/// What the first bytes of a frame are. Names as libpcap's DLT_ and LINKTYPE_ (see <https://www.tcpdump.org/linktypes.html>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkType {
    /// Ethernet, LINKTYPE_ETHERNET (1).
    Ethernet,
    /// BSD loopback, LINKTYPE_NULL (0): the address family in the byte order of the machine that captured.
    Null,
    /// OpenBSD loopback, LINKTYPE_LOOP (108): the address family big-endian.
    Loop,
    /// Bare IP of either version, LINKTYPE_RAW (101; DLT_RAW is 12 or 14 in old files).
    Raw,
    /// Bare IPv4, LINKTYPE_IPV4 (228).
    Ipv4,
    /// Bare IPv6, LINKTYPE_IPV6 (229).
    Ipv6,
    /// Linux "cooked" capture, LINKTYPE_LINUX_SLL (113).
    LinuxSll,
    /// Linux "cooked" capture version 2, LINKTYPE_LINUX_SLL2 (276).
    LinuxSll2,
}

/// One frame as captured; borrowed from the reader's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'f> {
    /// When it was captured.
    pub time: Timestamp,
    /// What `bytes` starts with.
    pub link_type: LinkType,
    /// The bytes that were captured; fewer than `wire_len` when a snap length cut them.
    pub bytes: &'f [u8],
    /// Length on the wire.
    pub wire_len: u32,
}
