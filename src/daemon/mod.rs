//! The live sensor: processes, signals, clocks; what wires the rest.
//!
//! [`Supervisor`] runs as root, or as a user with CAP_NET_RAW, and starts the others: a capture child that opens the
//! interfaces and then can do nothing but read packets and write files, an upload child that takes the files on, and a views
//! child that says how things stand. They share the spool's directories, a channel each and a page of counters.

mod alone;
mod backoff;
mod board;
mod capture;
pub mod cgroup;
mod channel;
pub mod child;
mod clock;
mod counts;
mod delivery;
pub mod directories;
mod follow;
mod interfaces;
pub mod limits;
pub mod listen;
pub mod log;
pub mod network;
pub mod notify;
mod orphans;
pub mod page;
pub mod paused;
pub mod pidfile;
mod post;
pub mod preview;
pub mod privileges;
pub mod samples;
pub mod sandbox;
mod signals;
mod supervisor;
mod synchronised;
mod timeline;
mod upload;
pub mod users;
pub mod views;

pub use alone::Alone;
pub use child::Role;
pub use clock::SystemClock;
pub use log::Log;
pub use signals::Signals;
pub use supervisor::{Source, Supervisor};
pub use synchronised::{Synchronised, synchronised};
pub use upload::confine;

use listen::Inherited;
pub(crate) use samples::Sample;

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
    // What is passed comes before the first order.
    Ok(match role {
        Role::Views => {
            let inherited = Inherited::take()?;
            let (post, start) = Post::open()?;
            views::run(post, &start, inherited)
        }
        Role::Capture => {
            let (_, mut passed) = Post::passed()?;
            let (post, start) = Post::open()?;
            capture::run(post, start, passed.pop())
        }
        Role::Upload => {
            let (post, start) = Post::open()?;
            upload::run(post, start)
        }
    })
}
