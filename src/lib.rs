//! A passive DNS sensor: frames go in, NMSG containers of DNS transactions come out.
//!
//! ```text
//!  savefile            memory                                                    disk
//!  ────────  ──────────────────────────────────────────────────────  ─────────────────────────
//!  capture → decode → track (fragments, streams, transactions) → nmsg → a file, or standard output
//!     │        │        │                                         │
//!     └────────┴────────┴───────── stats: every packet one fate, every query one end
//! ```
//!
//! Reading the modules in the order below is following a packet. Arrows point one way: [`decode`] knows nothing
//! of [`track`], [`nmsg`] nothing of files. Time is always an argument (packet time), never a clock, so that the
//! same packets give the same bytes. `present` and `cli` are the other direction: from containers to people.
#![deny(unsafe_code)]
#![deny(missing_docs)]

pub mod capture;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod decode;
mod escape;
pub mod nmsg;
pub mod present;
pub mod spool;
pub mod stats;
mod sys;
pub mod time;
pub mod track;

pub use cli::main;
