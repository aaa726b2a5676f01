//! Part files that nobody writes any more: their process was killed, or the power failed.

use super::{
    Event,
    directory::Directory,
    names,
    part::{is_at, rename},
};
use crate::nmsg::reader::{ReadError, Reader};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Publishes what is whole in every part file of `path` that nobody holds a lock on, those of the old package included.
/// Whoever is killed in the middle of this leaves a part file again.
pub fn recover(path: &Path) -> io::Result<Vec<Event>> {
    Ok(in_directory(&Directory::open(path)?))
}

pub(super) fn in_directory(directory: &Directory) -> Vec<Event> {
    let entries = match fs::read_dir(directory.path()) {
        Ok(entries) => entries,
        Err(error) => return vec![directory.failed("list", "", error)],
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut parts: Vec<String> = names.filter(|name| names::of_part(name).is_some()).collect();
    parts.sort();
    let repair = |name: &String| {
        repair(directory, name).unwrap_or_else(|(doing, error)| Some(directory.failed(doing, name, error)))
    };
    parts.iter().filter_map(repair).collect()
}

/// What failed and why.
type Failure = (&'static str, io::Error);

fn while_doing(doing: &'static str) -> impl Fn(io::Error) -> Failure {
    move |error| (doing, error)
}

/// None if there is nothing to do: somebody writes it, or it has just been published.
fn repair(directory: &Directory, name: &str) -> Result<Option<Event>, Failure> {
    let Some((host, began)) = names::of_part(name) else {
        return Ok(None);
    };
    let path = directory.join(name);
    // Neither through a link to somewhere else, nor waiting for the other end of a pipe.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(("open", error)),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(("lock", error)),
    }
    let metadata = file.metadata().map_err(while_doing("look at"))?;
    if !metadata.is_file() || !is_at(&file, directory, name) {
        return Ok(None); // whoever wrote it published it before we had the lock
    }
    let whole = whole(&file).map_err(while_doing("read"))?;
    if whole.containers == 0 {
        fs::remove_file(&path).map_err(while_doing("remove"))?;
        return Ok(Some(Event::Removed { path, bytes: metadata.len() }));
    }
    let cut = metadata.len().saturating_sub(whole.bytes);
    if cut > 0 {
        file.set_len(whole.bytes).map_err(while_doing("cut"))?;
    }
    let published = rename(&file, name, directory, host, began).map_err(while_doing("publish"))?;
    let Whole { payloads, containers, .. } = whole;
    Ok(Some(Event::Repaired { path: directory.join(&published), payloads, containers, cut }))
}

/// The containers at the beginning of a file that a reader takes without complaint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Whole {
    containers: u64,
    payloads: u64,
    bytes: u64,
}

/// Reads up to the first complaint. A process that is killed tears only the end; after a power failure a hole may be
/// anywhere, and what stands behind it is given up with it: whole blocks of it may be from another file.
fn whole(file: &File) -> io::Result<Whole> {
    let mut reader = Reader::new(file);
    // As of the beginning of the container that is open, and the payloads of that one.
    let mut whole = Whole::default();
    let mut open = 0;
    loop {
        let (offset, is_open) = match reader.next() {
            Ok(Some(_)) => (reader.offset(), true),
            Ok(None) => (reader.offset(), false),
            Err(ReadError::Io { error, .. }) => return Err(error),
            Err(error) => {
                let is_open = matches!(error, ReadError::Checksum { .. });
                whole = whole.up_to(error.offset(), &mut open, reader.counts().containers - u64::from(is_open));
                return Ok(whole);
            }
        };
        whole = whole.up_to(offset, &mut open, reader.counts().containers - u64::from(is_open));
        if !is_open {
            return Ok(whole);
        }
        open += 1;
    }
}

impl Whole {
    /// With the container that was open until now, if another begins at `offset`.
    fn up_to(self, offset: u64, open: &mut u64, containers: u64) -> Whole {
        if offset == self.bytes {
            return self;
        }
        Whole { containers, payloads: self.payloads + std::mem::take(open), bytes: offset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        nmsg::{
            container::FLAG_ZLIB,
            samples::{container, nmsg, zlib},
        },
        spool::part::tests::Scratch,
        time::Timestamp,
    };

    const TIME: Timestamp = Timestamp::from_nanos(1_700_000_000_000_000_000);

    /// What recovery makes of a part file with these bytes: its event, and the file afterwards.
    fn recovered(bytes: &[u8]) -> (Event, Option<Vec<u8>>) {
        let scratch = Scratch::new();
        let directory = scratch.directory();
        fs::write(directory.join(&names::part("h", TIME)), bytes).unwrap();
        let mut events = in_directory(&directory);
        assert_eq!(events.len(), 1);
        assert!(in_directory(&directory).is_empty());
        let published = fs::read(directory.join(&names::published("h", TIME))).ok();
        assert_eq!(scratch.names().len(), usize::from(published.is_some()));
        (events.remove(0), published)
    }

    #[test]
    fn a_part_cut_at_any_length_gives_its_whole_containers() {
        let first = container(FLAG_ZLIB, &zlib(&nmsg(&["one", "two"]).encoded()));
        let second = container(0, &nmsg(&["three"]).encoded());
        let both = [&first[..], &second].concat();
        for len in 0..=both.len() {
            let (event, published) = recovered(&both[..len]);
            let (expected, containers, payloads) = match len {
                _ if len < first.len() => (None, 0, 0),
                _ if len < both.len() => (Some(&first), 1, 2),
                _ => (Some(&both), 2, 3),
            };
            assert_eq!(published.as_ref(), expected, "{len}");
            match event {
                Event::Removed { bytes, .. } => assert_eq!(bytes as usize, len),
                Event::Repaired { payloads: p, containers: c, cut, .. } => {
                    assert_eq!((p, c), (payloads, containers));
                    assert_eq!(cut as usize, len - expected.unwrap().len());
                }
                other => panic!("{other}"),
            }
        }
    }

    #[test]
    fn what_stands_behind_damage_is_given_up() {
        let good = container(0, &nmsg(&["one", "two"]).encoded());
        let mut wrong = nmsg(&["three", "four", "five"]);
        wrong.payload_crcs[1] ^= 1;
        let wrong = container(0, &wrong.encoded());
        let mut all_wrong = nmsg(&["three"]);
        all_wrong.payload_crcs[0] ^= 1;
        let all_wrong = container(0, &all_wrong.encoded());
        let too_long = b"NMSG\0\x02\xff\xff\xff\xff";
        for damage in [&[0; 4096][..], too_long, b"NMSG\0\x02\0\0\0\x02\x0b\x0b", &wrong, &all_wrong] {
            let (event, published) = recovered(&[&good, &good, damage, &good].concat());
            assert_eq!(published.unwrap(), [&good[..], &good].concat());
            let expected = (4, 2, (damage.len() + good.len()) as u64);
            assert!(
                matches!(event, Event::Repaired { payloads, containers, cut, .. } if (payloads, containers, cut) == expected),
                "{event}"
            );
        }
    }

    #[test]
    fn a_locked_part_is_left_alone_and_so_are_other_names() {
        let scratch = Scratch::new();
        let directory = scratch.directory();
        let good = container(0, &nmsg(&["one"]).encoded());
        let path = directory.join(&names::part("h", TIME));
        fs::write(&path, &good).unwrap();
        fs::write(directory.join(".other.part"), &good).unwrap();
        std::os::unix::fs::symlink("/dev/null", directory.join(&names::part("link", TIME))).unwrap();
        let writer = File::open(&path).unwrap();
        writer.try_lock().unwrap();
        let events = in_directory(&directory);
        assert!(matches!(&events[..], [Event::Failed { doing: "open", .. }]), "{events:?}");
        assert_eq!(scratch.names().len(), 3);
        drop(writer);
        assert_eq!(in_directory(&directory).len(), 2);
    }

    #[test]
    fn a_published_file_of_that_name_is_not_replaced() {
        let scratch = Scratch::new();
        let directory = scratch.directory();
        let good = container(0, &nmsg(&["one"]).encoded());
        fs::write(directory.join(&names::published("h", TIME)), b"there before").unwrap();
        fs::write(directory.join(&names::part("h", TIME)), &good).unwrap();
        in_directory(&directory);
        assert_eq!(fs::read(directory.join(&names::published("h", TIME))).unwrap(), b"there before");
        let later = TIME + std::time::Duration::from_nanos(1);
        assert_eq!(fs::read(directory.join(&names::published("h", later))).unwrap(), good);
    }
}
