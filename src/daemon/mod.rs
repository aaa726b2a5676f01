//! The live sensor: processes, signals, clocks; what wires the rest.
//!
//! [`Supervisor`] runs as root, or as a user with CAP_NET_RAW, and starts the others: a capture child that opens the
//! interfaces and then can do nothing but read packets and write files, and an upload child that takes the files on.
//! They share the spool's directories, a channel each and a page of counters.

mod backoff;
mod capture;
pub mod cgroup;
mod channel;
pub mod child;
mod clock;
pub mod directories;
mod follow;
mod interfaces;
pub mod log;
pub mod network;
pub mod notify;
mod orphans;
pub mod page;
pub mod pidfile;
mod post;
pub mod privileges;
pub mod sandbox;
mod signals;
mod supervisor;
mod synchronised;
mod timeline;
mod upload;
pub mod users;

pub use child::Role;
pub use clock::SystemClock;
pub use log::Log;
pub use signals::Signals;
pub use supervisor::{Source, Supervisor};
pub use synchronised::{Synchronised, synchronised};
pub use upload::confine;

use post::Post;

/// What descriptors this process was given, beside the first three, its children do not get.
pub fn keep_descriptors() {
    #[cfg(target_os = "linux")]
    crate::sys::descriptors::close_on_exec();
}

/// A child process, as [`Supervisor`] starts it. False if it could not do its work, which it has reported, or an error if
/// there is nobody to report to.
pub fn run_child(role: Role) -> std::io::Result<bool> {
    role.name_process();
    let (post, start) = Post::open()?;
    Ok(match role {
        Role::Capture => capture::run(post, start),
        Role::Upload => upload::run(post, start),
    })
}
