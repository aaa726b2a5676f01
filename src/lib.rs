//! A passive DNS sensor: frames go in, NMSG containers of DNS transactions come out.
//!
//! ```text
//!  interface                          memory                                     disk                     network
//!  or savefile  ─────────────────────────────────────────────────────  ──────────────────────────────  ────────────
//!  capture → decode → track (fragments, streams, transactions) → nmsg ┬→ spool: part → new ┬→ waiting → upload → SSH
//!     │        │        │                                         │   │                    └→ archive
//!     │        │        │                                         │   └→ replay: a file, or standard output
//!     └────────┴────────┴─ stats: every packet one fate, every query one end, every transaction one way out
//!
//!  └────────── the capture process, whose end is a published file ─────────────────────┘└─ the upload process ─┘
//!  └────────── daemon: the supervisor, which starts both, watches over them and logs; views, which tell of them ┘
//! ```
//!
//! Replay of a savefile and live capture are the same path with another [`capture`] in front and another end behind:
//! [`spool`] writes files by the clock, and its other half takes them on. The live processes share the spool's
//! directories, a channel each and a page of counters.
//!
//! Following a packet is reading [`capture`], [`decode`], [`track`], [`nmsg`], [`spool`], [`upload`], with [`stats`]
//! beside them; then [`config`], which says what is captured, [`daemon`], which runs it for months, and [`cli`].
//! [`present`] is the other direction: from containers to people; `report` makes a page of either end. `sys` has all
//! that is unsafe.
//!
//! Arrows point one way: [`decode`] knows nothing of [`track`], [`nmsg`] nothing of files, [`spool`] nothing of packets
//! or processes, [`upload`] nothing of what a file holds. Time is always an argument (packet time, or a
//! [`time::Clock`]), never a clock that is read on the way, so that the same packets give the same bytes;
//! [`daemon::SystemClock`] is the one that is asked.
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
mod report;
pub mod spool;
pub mod stats;
mod sys;
pub mod time;
pub mod track;
pub mod upload;

pub use cli::main;
