//! Word of files that are published, for an uploader that no capture process tells.

#[cfg(target_os = "linux")]
pub use linux::Events;
#[cfg(not(target_os = "linux"))]
pub use other::Events;

#[cfg(target_os = "linux")]
mod linux {
    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
    use std::{
        os::fd::{AsFd, BorrowedFd},
        path::Path,
    };

    /// Files that get their names in a directory.
    pub struct Events(Option<Inotify>);

    impl Events {
        /// Of this directory. Where the system has none to give, the scans find what is there.
        pub fn of(directory: &Path) -> Events {
            let flags = InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC;
            let events = Inotify::init(flags).ok();
            let named = AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CREATE;
            Events(events.filter(|events| events.add_watch(directory, named).is_ok()))
        }

        /// To poll for.
        pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
            self.0.as_ref().map(AsFd::as_fd)
        }

        /// Whether there were some since the last call.
        pub fn take(&self) -> bool {
            let Some(events) = &self.0 else { return false };
            let mut has_some = false;
            while events.read_events().is_ok_and(|events| !events.is_empty()) {
                has_some = true;
            }
            has_some
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use std::{os::fd::BorrowedFd, path::Path};

    /// There are none here: the scans find what is there.
    pub struct Events;

    impl Events {
        /// Of no directory.
        pub fn of(_: &Path) -> Events {
            Events
        }

        /// Nothing to poll for.
        pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
            None
        }

        /// None.
        pub fn take(&self) -> bool {
            false
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::spool::part::tests::Scratch;
    use std::{fs, path::Path};

    #[test]
    fn a_file_that_gets_its_name_is_an_event_and_one_that_is_written_to_is_none() {
        let scratch = Scratch::new();
        fs::write(scratch.0.join(".part"), "").unwrap();
        let events = Events::of(&scratch.0);
        assert!(!events.take());
        fs::write(scratch.0.join(".part"), "one").unwrap();
        assert!(!events.take());
        fs::rename(scratch.0.join(".part"), scratch.0.join("a.nmsg")).unwrap();
        assert!(events.take() && !events.take());
        assert!(Events::of(Path::new("/nowhere")).as_fd().is_none());
    }
}
