//! What the operating system offers and no crate wraps safely. All `unsafe` is below here.
#![allow(unsafe_code)]

#[cfg(target_os = "linux")]
pub(crate) mod descriptors;
#[cfg(target_os = "freebsd")]
pub(crate) mod freebsd;
#[cfg(target_os = "linux")]
pub(crate) mod linux;
#[cfg(target_os = "linux")]
pub mod packet_socket;
pub(crate) mod passing;
pub mod pcap;
pub(crate) mod shared;
pub(crate) mod time_status;

pub(crate) mod host;
pub(crate) mod priority;
pub(crate) mod ssh;
