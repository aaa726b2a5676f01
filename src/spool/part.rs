//! A file while it is written, and how it gets its name.

use super::{
    directory::{Directory, is_same},
    names,
};
use crate::time::Timestamp;
use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
};

/// The upload child's user is in our group; the kernel (protected_hardlinks) lets it link into the archive only what it
/// could write.
const MODE: u32 = 0o660;

/// A hidden file of whole containers, locked for as long as it is open, so that everybody can see that somebody writes it.
#[derive(Debug)]
pub struct Part {
    file: File,
    name: String,
    began: Timestamp,
    written: Written,
}

/// What is in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Transactions.
    pub transactions: u64,
    /// Containers.
    pub containers: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Part {
    /// Makes one for an interval that began at `began`, or at one of the nanoseconds after it if there is one already.
    pub(super) fn create(directory: &Directory, host: &str, began: Timestamp) -> io::Result<Part> {
        let mut times = names::from(began);
        loop {
            let began = times.next().ok_or(io::ErrorKind::AlreadyExists)?;
            let name = names::part(host, began);
            let path = directory.join(&name);
            let file = match OpenOptions::new().write(true).create_new(true).mode(MODE).open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            };
            // Before the lock it looks left behind: another process that starts just then may take it, and remove it.
            match file.try_lock() {
                Ok(()) if is_at(&file, directory, &name) => {}
                Ok(()) | Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => {
                    let _ = fs::remove_file(&path);
                    return Err(error);
                }
            }
            return Ok(Part { file, name, began, written: Written::default() });
        }
    }

    /// Its name, hidden.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is in it.
    pub fn written(&self) -> Written {
        self.written
    }

    /// Adds a container, whole or not at all.
    pub(super) fn append(&mut self, container: &[u8], transactions: u64) -> io::Result<()> {
        if let Err(error) = self.file.write_all_at(container, self.written.bytes) {
            // If that fails too, the next container overwrites the torn one, or publishing cuts it.
            let _ = self.file.set_len(self.written.bytes);
            return Err(error);
        }
        self.written.transactions += transactions;
        self.written.containers += 1;
        self.written.bytes += container.len() as u64;
        Ok(())
    }

    /// Whether it still has its name.
    pub(super) fn is_there(&self, directory: &Directory) -> bool {
        is_at(&self.file, directory, &self.name)
    }

    /// Gives it its name, or removes it if it holds no container. First its bytes are made to last, then the name: what
    /// has a name is whole, whenever the power fails. On an error it stays what it is, without a lock: a part file left
    /// behind, which [`super::recover`] takes up.
    ///
    /// Nothing that has the name is replaced. That nobody takes it between looking and renaming is seen to by the part
    /// file, whose name is taken for as long as this one has it.
    pub(super) fn publish(self, directory: &Directory, host: &str) -> io::Result<Option<String>> {
        if self.written.containers == 0 {
            fs::remove_file(directory.join(&self.name))?;
            return Ok(None);
        }
        if self.file.metadata()?.len() != self.written.bytes {
            self.file.set_len(self.written.bytes)?;
        }
        rename(&self.file, &self.name, directory, host, self.began).map(Some)
    }
}

/// The steps of publishing.
pub(super) fn rename(
    file: &File,
    name: &str,
    directory: &Directory,
    host: &str,
    began: Timestamp,
) -> io::Result<String> {
    if file.metadata()?.mode() & 0o777 != MODE {
        file.set_permissions(Permissions::from_mode(MODE))?; // the umask took something off, or the old package wrote it
    }
    file.sync_all()?;
    let published = names::free(&[directory.path()], host, began).ok_or(io::ErrorKind::AlreadyExists)?;
    fs::rename(directory.join(name), directory.join(&published))?;
    directory.sync()?;
    Ok(published)
}

/// Whether `name` leads to this open file.
pub(super) fn is_at(file: &File, directory: &Directory, name: &str) -> bool {
    match (file.metadata(), directory.join(name).symlink_metadata()) {
        (Ok(open), Ok(named)) => is_same(&open, &named),
        _ => false,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::{env, path::PathBuf, process, thread};

    /// A directory that goes when the test does.
    pub(crate) struct Scratch(pub(crate) PathBuf);

    impl Scratch {
        pub(crate) fn new() -> Scratch {
            let test = thread::current().name().unwrap_or_default().replace(':', "-");
            let path = env::temp_dir().join(format!("sie-spool-{}-{test}", process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Scratch(path)
        }

        pub(in crate::spool) fn directory(&self) -> Directory {
            Directory::open(&self.0).unwrap()
        }

        /// Names in it, sorted.
        pub(crate) fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const TIME: Timestamp = Timestamp::from_nanos(1_700_000_000_000_000_000);

    #[test]
    fn a_part_is_hidden_locked_and_for_the_group() {
        let scratch = Scratch::new();
        let directory = scratch.directory();
        let part = Part::create(&directory, "h", TIME).unwrap();
        assert_eq!(scratch.names(), [".h.20231114.2213.1700000000.000000000.part"]);
        let other = File::open(directory.join(part.name())).unwrap();
        assert!(matches!(other.try_lock(), Err(fs::TryLockError::WouldBlock)));
        assert_eq!(other.metadata().unwrap().mode() & 0o007, 0);
    }

    #[test]
    fn a_published_file_is_the_groups_too_whatever_the_umask() {
        let scratch = Scratch::new();
        let directory = scratch.directory();
        let mut part = Part::create(&directory, "h", TIME).unwrap();
        part.append(b"container", 1).unwrap();
        part.file.set_permissions(Permissions::from_mode(0o600)).unwrap();
        let name = part.publish(&directory, "h").unwrap().unwrap();
        assert_eq!(directory.join(&name).metadata().unwrap().mode() & 0o777, 0o660);
    }

    #[test]
    fn two_parts_of_one_moment_have_two_names() {
        let scratch = Scratch::new();
        let directory = scratch.directory();
        for _ in 0..2 {
            let mut part = Part::create(&directory, "h", TIME).unwrap();
            let mut twin = Part::create(&directory, "h", TIME).unwrap();
            for part in [&mut part, &mut twin] {
                part.append(b"container", 3).unwrap();
            }
            part.publish(&directory, "h").unwrap();
            twin.publish(&directory, "h").unwrap();
        }
        assert_eq!(scratch.names().len(), 4, "{:?}", scratch.names());
        assert!(scratch.names().iter().all(|name| name.ends_with(".nmsg")));
    }

    #[test]
    fn an_empty_part_goes_without_a_trace() {
        let scratch = Scratch::new();
        let directory = scratch.directory();
        let part = Part::create(&directory, "h", TIME).unwrap();
        assert_eq!(part.publish(&directory, "h").unwrap(), None);
        assert!(scratch.names().is_empty());
    }

    #[test]
    fn a_torn_append_is_not_published() {
        let scratch = Scratch::new();
        let directory = scratch.directory();
        let mut part = Part::create(&directory, "h", TIME).unwrap();
        part.append(b"whole", 1).unwrap();
        part.file.write_all_at(b"torn", 5).unwrap(); // and could not be cut
        let name = part.publish(&directory, "h").unwrap().unwrap();
        assert_eq!(fs::read(directory.join(&name)).unwrap(), b"whole");
    }

    #[test]
    fn a_removed_part_is_noticed() {
        let scratch = Scratch::new();
        let directory = scratch.directory();
        let mut part = Part::create(&directory, "h", TIME).unwrap();
        part.append(b"whole", 1).unwrap();
        assert!(part.is_there(&directory));
        fs::remove_file(directory.join(part.name())).unwrap();
        assert!(!part.is_there(&directory));
        assert_eq!(part.publish(&directory, "h").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
