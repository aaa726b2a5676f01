//! The spool's directories: made and made usable by the supervisor, for the users of its children.

use crate::{
    daemon::{
        privileges::{PrivilegeError, as_user},
        users::User,
    },
    escape::escaped,
};
use std::{
    fmt,
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown},
    path::{Path, PathBuf},
};

/// Of directories that are made: both users write, files in them get the group.
const MODE: u32 = 0o2770;
/// What the directories that hold files must allow the group.
const SHARED: u32 = 0o2070;
/// What the directories above them must allow it.
const SEARCH: u32 = 0o010;
const SEARCH_BY_ALL: u32 = 0o001;

/// Where files are, one after the other, each with a directory for the channel. Files of a sensor that archived or
/// uploaded before are there still, and settings may change while it runs: all are made, used or not.
pub const STAGES: [&str; 3] = ["new", "waiting", "archive"];

/// A directory of the spool that cannot be used, and the line that helps.
#[derive(Debug)]
pub enum SpoolError {
    /// It is not there, and cannot be made.
    Missing {
        /// The directory.
        path: PathBuf,
        /// Why not.
        error: io::Error,
        /// Whose it should be.
        owner: User,
    },
    /// It is there, and one of the users cannot use it.
    Closed {
        /// The directory.
        path: PathBuf,
        /// Whose it should be.
        owner: User,
    },
    /// The process cannot become the user that makes them.
    Privileges(PrivilegeError),
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpoolError::Missing { path, error, owner: User { name, gid, .. } } => {
                let path = escaped(path);
                write!(f, "cannot use {path}: {error}; ")?;
                if error.kind() == io::ErrorKind::NotADirectory {
                    return f.write_str("move away the file that is in its way");
                }
                write!(f, "make it: install -d -o {name} -g {gid} -m 2770 {path}")?;
                // A mount of the unit's own, which is gone with the directory; "check" prints what a new one needs.
                let is_closed = error.kind() == io::ErrorKind::ReadOnlyFilesystem;
                if is_closed { f.write_str(", and start the sensor again") } else { Ok(()) }
            }
            SpoolError::Closed { path, owner: User { name, gid, .. } } => {
                let path = escaped(path);
                write!(
                    f,
                    "{path} is not for the sensor's group; make it so: chown {name}:{gid} {path} && chmod g+rwxs {path}"
                )
            }
            SpoolError::Privileges(error) => write!(f, "cannot make the spool: {error}"),
        }
    }
}

impl std::error::Error for SpoolError {}

/// Makes STAGE/CHANNEL below the spool directory, for each stage (`new`, `waiting`, `archive`), if they are missing, and
/// lets the owner's group into those of the package before, which were the owner's alone. Nobody is shut out of them.
///
/// The spool directory itself must be there: a misspelt `spooldir` is no reason to fill a disk.
pub fn make_spool(spooldir: &Path, channel: &str, stages: &[&str], owner: &User) -> Result<(), SpoolError> {
    let make = || {
        let missing = |error| SpoolError::Missing { path: target(spooldir), error, owner: owner.clone() };
        fs::metadata(spooldir).map_err(missing)?;
        open_to_group(spooldir, SEARCH, owner)?;
        for stage in stages {
            let stage = spooldir.join(stage);
            make_or_open(&stage, SEARCH, owner)?;
            make_or_open(&stage.join(channel), SHARED, owner)?;
        }
        Ok(())
    };
    as_user(owner, make).map_err(SpoolError::Privileges)?
}

/// The same after somebody deleted the spool under the running sensor: it was there, so its path is right.
pub fn remake_spool(spooldir: &Path, channel: &str, stages: &[&str], owner: &User) -> Result<(), SpoolError> {
    let missing = |error| SpoolError::Missing { path: spooldir.to_path_buf(), error, owner: owner.clone() };
    match DirBuilder::new().mode(0o700).create(spooldir) {
        Ok(()) => hand_over(spooldir, owner).map_err(missing)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(missing(error)),
    }
    make_spool(spooldir, channel, stages, owner)
}

/// Gives a directory that this process has just made to its owner; by descriptor, so that it is that one. Its mode
/// comes first: afterwards it is another user's.
fn hand_over(path: &Path, owner: &User) -> io::Result<()> {
    let directory = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path)?;
    directory.set_permissions(Permissions::from_mode(MODE))?;
    fchown(&directory, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))
}

/// As the owner: makes a directory, or makes one that is there usable.
fn make_or_open(path: &Path, needed: u32, owner: &User) -> Result<(), SpoolError> {
    let missing = |error| SpoolError::Missing { path: path.to_path_buf(), error, owner: owner.clone() };
    // Below a directory that has the set-group bit it is inherited, and nobody has to set it, which a unit may forbid.
    match DirBuilder::new().mode(MODE & 0o777).create(path) {
        Ok(()) if is_as_made(path, owner).map_err(missing)? => Ok(()),
        Ok(()) => give_to_group(path, MODE, owner).map_err(missing),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => open_to_group(path, needed, owner),
        Err(error) => Err(missing(error)),
    }
}

/// Whether a new directory needs neither mode nor group, as the umask and the directory above it made it.
fn is_as_made(path: &Path, owner: &User) -> io::Result<bool> {
    let made = fs::metadata(path)?;
    Ok(made.mode() & 0o7777 == MODE && made.gid() == owner.gid.as_raw())
}

/// As the owner: adds what is needed to a directory's mode.
fn open_to_group(path: &Path, needed: u32, owner: &User) -> Result<(), SpoolError> {
    let closed = || SpoolError::Closed { path: path.to_path_buf(), owner: owner.clone() };
    let missing = |path, error| SpoolError::Missing { path, error, owner: owner.clone() };
    let now = match fs::metadata(path) {
        Ok(now) => now,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing(target(path), error)),
        Err(_) => return Err(closed()),
    };
    if !now.is_dir() {
        return Err(missing(path.to_path_buf(), io::ErrorKind::NotADirectory.into()));
    }
    let for_group = now.gid() == owner.gid.as_raw() && now.mode() & needed == needed;
    let for_all = needed == SEARCH && now.mode() & SEARCH_BY_ALL != 0;
    if for_group || for_all {
        return Ok(());
    }
    // Only its owner may; for anyone else this fails.
    give_to_group(path, now.mode() & 0o7777 | needed, owner).map_err(|_| closed())
}

/// Where a path leads: a link that leads nowhere is there, what is missing is elsewhere.
fn target(path: &Path) -> PathBuf {
    let link = fs::read_link(path).ok().zip(path.parent());
    link.map_or_else(|| path.to_path_buf(), |(link, directory)| directory.join(link))
}

fn give_to_group(path: &Path, mode: u32, owner: &User) -> io::Result<()> {
    if fs::metadata(path)?.gid() != owner.gid.as_raw() {
        chown(path, None, Some(owner.gid.as_raw()))?;
    }
    fs::set_permissions(path, Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("sie-directories-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            Scratch(path)
        }

        fn mode(&self, name: &str) -> u32 {
            fs::metadata(self.0.join(name)).unwrap().mode() & 0o7777
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn me() -> User {
        User::current().unwrap()
    }

    #[test]
    fn only_what_is_asked_for_is_made_and_the_group_may_write() {
        let spool = Scratch::new("made");
        make_spool(&spool.0, "ch202", &["new", "waiting"], &me()).unwrap();
        assert_eq!((spool.mode("new/ch202"), spool.mode("waiting/ch202")), (0o2770, 0o2770));
        assert!(!spool.0.join("archive").exists());
    }

    #[test]
    fn directories_of_the_package_before_are_opened_to_the_group_and_closed_to_nobody() {
        let spool = Scratch::new("before");
        fs::create_dir_all(spool.0.join("archive/ch202")).unwrap();
        for directory in ["archive", "archive/ch202"] {
            fs::set_permissions(spool.0.join(directory), Permissions::from_mode(0o755)).unwrap();
        }
        make_spool(&spool.0, "ch202", &["archive"], &me()).unwrap();
        assert_eq!((spool.mode("archive"), spool.mode("archive/ch202")), (0o755, 0o2775));
    }

    #[test]
    fn a_spool_that_is_missing_at_start_comes_with_the_line_that_makes_it() {
        let spool = Scratch::new("missing");
        let path = spool.0.join("spol");
        let User { name, gid, .. } = me();
        let error = make_spool(&path, "ch202", &["new"], &me()).unwrap_err().to_string();
        let cure = format!("make it: install -d -o {name} -g {gid} -m 2770 {}", path.display());
        assert!(error.ends_with(&cure), "{error}");
        assert!(!path.exists());
        remake_spool(&path, "ch202", &["new"], &me()).unwrap();
        assert_eq!((spool.mode("spol"), spool.mode("spol/new/ch202")), (0o2770, 0o2770));
    }

    #[test]
    fn a_file_in_the_place_of_a_directory_is_an_error() {
        let spool = Scratch::new("file");
        fs::write(spool.0.join("new"), "").unwrap();
        let error = make_spool(&spool.0, "ch202", &["new"], &me()).unwrap_err().to_string();
        assert!(error.ends_with("/new: not a directory; move away the file that is in its way"), "{error}");
    }

    #[test]
    fn a_link_that_leads_nowhere_comes_with_the_line_that_makes_what_it_leads_to() {
        let spool = Scratch::new("link");
        std::os::unix::fs::symlink("disk", spool.0.join("new")).unwrap();
        let error = make_spool(&spool.0, "ch202", &["new"], &me()).unwrap_err().to_string();
        let disk = spool.0.join("disk");
        assert!(error.contains(&format!("{}: No such file or directory", disk.display())), "{error}");
        assert!(error.ends_with(&format!("-m 2770 {}", disk.display())), "{error}");
        fs::create_dir(disk).unwrap();
        make_spool(&spool.0, "ch202", &["new"], &me()).unwrap();
        std::os::unix::fs::symlink("/nonexistent/sie", spool.0.join("spool")).unwrap();
        let error = make_spool(&spool.0.join("spool"), "ch202", &["new"], &me()).unwrap_err().to_string();
        assert!(error.ends_with("-m 2770 /nonexistent/sie"), "{error}");
    }
}
