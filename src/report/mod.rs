//! A page about DNS traffic: transactions in, one HTML file out.
//!
//! [`gather`] counts [`exchange::Exchange`]s, made of transactions or of NMSG payloads, in memory that is bounded
//! whatever comes; [`page`] writes what was counted. The page needs nothing but itself: no network, no other file.

pub(crate) mod exchange;
pub(crate) mod gather;
pub(crate) mod page;

mod findings;
mod html;
mod message;
mod plots;
mod tables;
mod timeline;
pub(crate) mod top;
