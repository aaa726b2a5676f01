//! Containers to files: filled by capture threads, compressed and written by others, published by the clock.
//!
//! ```text
//!  capture threads        queue, bounded in bytes        writers                     keeper
//!  ───────────────  ──────────────────────────────────  ─────────  ──────────────────────────────────────
//!  Feeder ── full containers ──→ ▮▮▮▮ ──→ compress → append to the part file → fsync, rename, fsync → NAME.nmsg
//!     ↑                                    │                                          (every rotate_seconds)
//!     └───────── empty containers ─────────┘
//! ```
//!
//! When the disk or the processor does not keep up, compression gets faster, then whole containers of transactions are
//! dropped and counted where they are filled. A capture thread waits for nothing but a lock that is held for a moment.
//! Every file is whole whenever it has its name; a process that is killed leaves a part file, which [`recover`] takes up.

pub(crate) mod copy;
mod directory;
mod event;
mod feeder;
mod files;
mod keeper;
pub(crate) mod link;
pub(crate) mod names;
pub(crate) mod part;
mod queue;
mod recover;
mod room;
mod schedule;
pub mod sort;
mod trim;
mod writer;

pub use directory::free;
pub use event::{Event, Reason, Recorded};
pub use feeder::Feeder;
pub use names::host_name;
pub use queue::CONTAINER_BYTES;
pub use recover::recover;
pub use writer::Output;

use crate::{config::Compress, time::Clock};
use directory::Directory;
use files::Files;
use keeper::Keeper;
use queue::Queue;
use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// How the spool is written.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where files are made: `SPOOL/new/CHANNEL`. It must be there.
    pub directory: PathBuf,
    /// HOST in their names; see [`host_name`].
    pub host: String,
    /// Threads that compress and write.
    pub threads: usize,
    /// Memory for containers, those being filled included. Each thread that compresses needs 2 MiB besides, 4 under load.
    pub queue_bytes: usize,
    /// Any number; files rotate at multiples of `rotate` and an offset that follows from it. The same number gives the
    /// same offset, so that a new capture process keeps the old one's.
    pub seed: u64,
    /// What may change while running.
    pub policy: Policy,
}

/// The part of [`Config`] that may change while running.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How long a file's interval is.
    pub rotate: Duration,
    /// How containers are compressed.
    pub compress: Compress,
    /// Bytes of the file system that are left free.
    pub min_free: u64,
    /// Whether every file ends in a payload with its ledger.
    pub loss_record: bool,
}

/// Starts the writers. There is a [`Feeder`] for each of so many capture threads. Part files left behind in the directory
/// are published first, which may take seconds; capture need not wait for it. `events` is called on a thread of ours.
pub fn start(
    config: Config,
    clock: impl Clock + Clone + Send + 'static,
    feeders: usize,
    events: impl FnMut(Event) + Send + 'static,
) -> io::Result<(Vec<Feeder>, Output)> {
    let writers = config.threads.max(1);
    let directory = Arc::new(Directory::open(&config.directory)?);
    let queue = Arc::new(Queue::new(config.queue_bytes, feeders, writers, config.policy));
    let keeper = Keeper::new(&config, Arc::clone(&directory), Arc::clone(&queue), clock.clone(), events);
    let files = keeper.files();
    let mut threads = Vec::new();
    for _ in 0..writers {
        let (queue, files, clock) = (Arc::clone(&queue), Arc::clone(&files), clock.clone());
        let run = move || writer::run(&queue, &files, &clock);
        threads.push(thread::Builder::new().name("writer".into()).spawn(run)?);
    }
    threads.push(thread::Builder::new().name("keeper".into()).spawn(move || keeper.run())?);
    let feeders = (0..feeders).map(|index| Feeder::new(Arc::clone(&queue), index)).collect();
    Ok((feeders, Output::new(queue, threads)))
}

/// The files, which writers append to and the keeper publishes.
type Shared = Arc<Mutex<Files>>;
