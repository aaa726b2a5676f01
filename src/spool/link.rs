//! A file in a second directory: by a link, or where none can be made, as a copy.

use super::{
    copy::{Copy, STEP, fill, is_equal, open_file},
    directory::is_same,
};
use std::{
    fs::{self, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

/// What has the name now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    /// The file, since now.
    Made,
    /// The file, or a copy of it, since before.
    There,
    /// Another file, which is left in peace.
    Taken,
}

/// Puts `file` into `directory` under `name`. A copy gets `mode`, whatever the umask, and is whole and on the disk when it
/// has its name; the directory is to be synced. `turn` is called for each MiB that is copied or compared.
pub(crate) fn place(
    file: &Path,
    directory: &Path,
    name: &str,
    mode: u32,
    turn: &mut impl FnMut(),
) -> io::Result<Placed> {
    let place = directory.join(name);
    let placed = match fs::hard_link(file, &place) {
        // Between file systems that may be said before it is looked whether the name is taken.
        Err(error) if is_for_copying(&error) && place.symlink_metadata().is_err() => {
            copy(file, directory, name, mode, turn)
        }
        Err(error) if is_for_copying(&error) => Err(io::ErrorKind::AlreadyExists.into()),
        linked => linked,
    };
    match placed {
        Ok(()) => Ok(Placed::Made),
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Err(_) if is_the_same(file, &place, turn)? => Ok(Placed::There),
        Err(_) => Ok(Placed::Taken),
    }
}

/// Whether a link cannot be made where a copy perhaps can: to another file system, on one without links, to a file with
/// too many, or to one of the old package's, which this user may read but not write (protected_hardlinks of Linux).
fn is_for_copying(error: &io::Error) -> bool {
    let number = error.raw_os_error().unwrap_or_default();
    [libc::EXDEV, libc::EPERM, libc::EMLINK, libc::EOPNOTSUPP, libc::ENOSYS].contains(&number)
}

fn copy(file: &Path, directory: &Path, name: &str, mode: u32, turn: &mut impl FnMut()) -> io::Result<()> {
    let mut from = open_file(file)?;
    let mut to = Copy::create(directory, mode)?;
    to.file().set_permissions(Permissions::from_mode(mode))?;
    let mut buffer = vec![0; STEP];
    loop {
        let len = fill(&mut from, &mut buffer)?;
        to.file().write_all(buffer.get(..len).unwrap_or_default())?;
        turn();
        if len < STEP {
            return to.publish(name);
        }
    }
}

/// Whether what has the name is the file or a copy of it: whoever placed it was killed before it could go on.
fn is_the_same(file: &Path, place: &Path, turn: &mut impl FnMut()) -> io::Result<bool> {
    let (here, there) = (file.symlink_metadata()?, place.symlink_metadata()?);
    if is_same(&here, &there) {
        return Ok(true);
    }
    if !there.is_file() || here.len() != there.len() {
        return Ok(false);
    }
    is_equal(&mut open_file(file)?, &mut open_file(place)?, || {
        turn();
        true
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::part::tests::Scratch;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn a_file_is_placed_once_and_over_no_other() {
        let scratch = Scratch::new();
        let (file, other) = (scratch.0.join("a.nmsg"), scratch.0.join("other"));
        fs::write(&file, "one").unwrap();
        fs::create_dir(&other).unwrap();
        let placed = || place(&file, &other, "a.nmsg", 0o640, &mut || {}).unwrap();
        assert_eq!((placed(), placed()), (Placed::Made, Placed::There));
        assert_eq!(fs::metadata(&file).unwrap().nlink(), 2);
        fs::remove_file(other.join("a.nmsg")).unwrap();
        for (content, expected) in [("one", Placed::There), ("two", Placed::Taken), ("three", Placed::Taken)] {
            fs::write(other.join("a.nmsg"), content).unwrap();
            assert_eq!(placed(), expected);
            assert_eq!(fs::read_to_string(other.join("a.nmsg")).unwrap(), content);
        }
        fs::remove_file(other.join("a.nmsg")).unwrap();
        symlink("/nonexistent", other.join("a.nmsg")).unwrap();
        assert_eq!(placed(), Placed::Taken);
    }

    #[test]
    fn a_copy_is_made_of_what_may_not_be_linked() {
        for (error, expected) in
            [(libc::EXDEV, true), (libc::EPERM, true), (libc::EACCES, false), (libc::EEXIST, false)]
        {
            assert_eq!(is_for_copying(&io::Error::from_raw_os_error(error)), expected);
        }
        let scratch = Scratch::new();
        let file = scratch.0.join("a.nmsg");
        fs::write(&file, "one").unwrap();
        let mut turns = 0;
        copy(&file, &scratch.0, "b.nmsg", 0o640, &mut || turns += 1).unwrap();
        assert_eq!((scratch.names(), turns), (vec!["a.nmsg".to_owned(), "b.nmsg".into()], 1));
        assert_eq!(fs::metadata(scratch.0.join("b.nmsg")).unwrap().mode() & 0o7777, 0o640);
    }
}
