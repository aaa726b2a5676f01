//! Making the key that the sensor logs in with.

use crate::{daemon::users::User, escape::escaped};
use nix::{
    fcntl::{OFlag, openat},
    libc::mode_t,
    sys::stat::Mode,
    unistd::{UnlinkatFlags, unlinkat},
};
use openssl::{bn::BigNumRef, error::ErrorStack, pkey::PKey, rsa::Rsa};
use ssh_key::{
    HashAlg, LineEnding, Mpint, PrivateKey,
    private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData, RsaKeypair, RsaPrivateKey},
    public::{Ed25519PublicKey, RsaPublicKey},
};
use std::{
    fmt::{self, Display, Formatter},
    fs::{DirBuilder, File, Metadata, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

/// The size of RSA keys in bits, as ssh-keygen has it.
const RSA_BITS: u32 = 3072;

const DIRECTORY: u32 = 0o755;
const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// Types of keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyType {
    /// Short, and known to servers since 2014.
    #[default]
    Ed25519,
    /// For servers that are older.
    Rsa,
}

/// A key that was made, on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The file of the public key.
    pub public_path: PathBuf,
    /// Its line.
    pub public: String,
    /// Its fingerprint, as ssh-keygen shows it.
    pub fingerprint: String,
}

/// Why there is no new key.
#[derive(Debug)]
pub enum KeyError {
    /// One is there.
    Exists(PathBuf),
    /// The directory is another user's.
    Theirs {
        /// The directory.
        directory: PathBuf,
        /// The user who may.
        user: String,
    },
    /// Another user could exchange the key for one of his own.
    Foreign {
        /// The directory.
        directory: PathBuf,
        /// The user whose it should be.
        user: String,
    },
    /// Others may write to the directory, and could exchange the key for one of theirs.
    Open(PathBuf),
    /// The directory is a link, whose owner says where the key goes.
    Link(PathBuf),
    /// A file or directory cannot be made.
    Write(PathBuf, io::Error),
    /// The cryptographic library cannot make one.
    Make(String),
}

impl Display for KeyError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::Exists(path) => {
                write!(f, "{} exists and is not overwritten; use it, or move it away", escaped(path))
            }
            KeyError::Theirs { directory, user } => {
                write!(f, "{} is another user's: run this as root, or as {user}", escaped(directory))
            }
            KeyError::Foreign { directory, user } => {
                let directory = escaped(directory);
                write!(
                    f,
                    "{directory} is another user's, who could exchange the key; give it to its own: chown {user}: {directory}"
                )
            }
            KeyError::Open(directory) => {
                let directory = escaped(directory);
                write!(
                    f,
                    "others may write to {directory}, and could exchange the key; forbid it: chmod go-w {directory}"
                )
            }
            KeyError::Link(path) => {
                write!(f, "{} is a symbolic link; ", escaped(path))?;
                match path.canonicalize() {
                    Ok(target) => write!(f, "set uploadkey to a file in {}, where it leads", escaped(&target)),
                    Err(_) => f.write_str("it leads nowhere: remove it"),
                }
            }
            KeyError::Write(path, error) => write!(f, "cannot make {}: {error}", escaped(path)),
            KeyError::Make(error) => write!(f, "cannot make a key: {error}"),
        }
    }
}

impl std::error::Error for KeyError {}

/// Makes a key at `path`, and at `path`.pub the public one, both `owner`'s. What is there is never overwritten.
pub fn make(path: &Path, of: KeyType, comment: &str, owner: &User) -> Result<Made, KeyError> {
    let public_path = PathBuf::from(format!("{}.pub", path.display()));
    for path in [path, &public_path] {
        if path.symlink_metadata().is_ok() {
            return Err(KeyError::Exists(path.to_owned()));
        }
    }
    let directory =
        path.parent().ok_or_else(|| KeyError::Write(path.to_owned(), io::ErrorKind::IsADirectory.into()))?;
    let opened = prepare(directory, owner)?;
    let unmade = |error: ssh_key::Error| KeyError::Make(error.to_string());
    let key = PrivateKey::new(pair(of).map_err(KeyError::Make)?, comment).map_err(unmade)?;
    let private = key.to_openssh(LineEnding::LF).map_err(unmade)?;
    let public = key.public_key().to_openssh().map_err(unmade)?;
    write(&opened, path, private.as_bytes(), PRIVATE, owner)?;
    let written = write(&opened, &public_path, format!("{public}\n").as_bytes(), PUBLIC, owner)
        .and_then(|()| opened.sync_all().map_err(|error| KeyError::Write(directory.to_owned(), error)));
    if written.is_err() {
        // This run made it; half a pair would only be in the way of the next one.
        remove(&opened, path);
    }
    written?;
    Ok(Made { public_path, public, fingerprint: key.fingerprint(HashAlg::Sha256).to_string() })
}

/// Makes the directory, if its parent is there, and opens it: what is made there is made in that one, whatever its name
/// leads to by then. Root uses one that is there if it is root's or the key's user's; who is not root, only one's own.
fn prepare(directory: &Path, owner: &User) -> Result<File, KeyError> {
    let failed = |error| KeyError::Write(directory.to_owned(), error);
    let theirs = || KeyError::Theirs { directory: directory.to_owned(), user: owner.name.clone() };
    match DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => {
            let made = open(directory).map_err(failed)?;
            // Who may write above it can have put another one in its place.
            if made.metadata().map_err(failed)?.uid() != nix::unistd::geteuid().as_raw() {
                return Err(KeyError::Foreign { directory: directory.to_owned(), user: owner.name.clone() });
            }
            hand_over(&made, owner).map_err(failed)?;
            Ok(made)
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(theirs()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if directory.is_symlink() {
                return Err(KeyError::Link(directory.to_owned()));
            }
            let found = open(directory).map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => theirs(),
                _ => failed(error),
            })?;
            let state = found.metadata().map_err(failed)?;
            let (me, of) = (nix::unistd::geteuid(), state.uid());
            match me.is_root() {
                true if of != me.as_raw() && of != owner.uid.as_raw() => {
                    Err(KeyError::Foreign { directory: directory.to_owned(), user: owner.name.clone() })
                }
                false if of != me.as_raw() => Err(theirs()),
                _ if is_open(&state, owner) => Err(KeyError::Open(directory.to_owned())),
                _ => Ok(found),
            }
        }
        Err(error) => Err(failed(error)),
    }
}

/// Whether others than root and the owner can replace what is in a directory. Where it has the sticky bit they cannot.
fn is_open(directory: &Metadata, owner: &User) -> bool {
    let (mode, group) = (directory.mode(), directory.gid());
    let by_group = mode & 0o020 != 0 && group != 0 && group != owner.gid.as_raw();
    mode & 0o1000 == 0 && (mode & 0o002 != 0 || by_group)
}

/// Opens a directory, and follows no link that its name may have become.
fn open(directory: &Path) -> io::Result<File> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags.bits()).open(directory)
}

/// Gives away the directory that was just made.
fn hand_over(directory: &File, owner: &User) -> io::Result<()> {
    directory.set_permissions(Permissions::from_mode(DIRECTORY))?;
    give(directory, owner)
}

/// Who is not root is the owner already.
fn give(file: &File, owner: &User) -> io::Result<()> {
    if nix::unistd::geteuid().is_root() {
        fchown(file, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))?;
    }
    Ok(())
}

/// Writes a file of the directory that must not be there, whole or not at all.
fn write(directory: &File, path: &Path, bytes: &[u8], mode: u32, owner: &User) -> Result<(), KeyError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => KeyError::Exists(path.to_owned()),
        _ => KeyError::Write(path.to_owned(), error),
    };
    let name = path.file_name().unwrap_or_default();
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let made = openat(directory, name, flags, Mode::from_bits_truncate(PRIVATE as mode_t));
    let mut file = made.map(File::from).map_err(|error| failed(error.into()))?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.set_permissions(Permissions::from_mode(mode)))
        .and_then(|()| give(&file, owner))
        .and_then(|()| file.sync_all());
    if written.is_err() {
        remove(directory, path);
    }
    written.map_err(failed)
}

/// What cannot be removed stays, and the next run says that it is there.
fn remove(directory: &File, path: &Path) {
    let _ = unlinkat(directory, path.file_name().unwrap_or_default(), UnlinkatFlags::NoRemoveDir);
}

fn pair(of: KeyType) -> Result<KeypairData, String> {
    match of {
        KeyType::Ed25519 => ed25519().map_err(|error| error.to_string()),
        KeyType::Rsa => rsa(),
    }
}

fn ed25519() -> Result<KeypairData, ErrorStack> {
    let key = PKey::generate_ed25519()?;
    let (mut public, mut private) = ([0; 32], [0; 32]);
    // Both are 32 bytes (RFC 8032 §5.1.5).
    for (into, bytes) in [(&mut public, key.raw_public_key()?), (&mut private, key.raw_private_key()?)] {
        into.iter_mut().zip(bytes).for_each(|(into, byte)| *into = byte);
    }
    Ok(KeypairData::Ed25519(Ed25519Keypair {
        public: Ed25519PublicKey(public),
        private: Ed25519PrivateKey::from_bytes(&private),
    }))
}

fn rsa() -> Result<KeypairData, String> {
    let key = Rsa::generate(RSA_BITS).map_err(|error| error.to_string())?;
    let number = |part: Option<&BigNumRef>| {
        let bytes = part.ok_or("an RSA key without a part")?.to_vec();
        Mpint::from_positive_bytes(&bytes).map_err(|error| error.to_string())
    };
    let public = RsaPublicKey { n: number(Some(key.n()))?, e: number(Some(key.e()))? };
    let private = RsaPrivateKey {
        d: number(Some(key.d()))?,
        iqmp: number(key.iqmp())?,
        p: number(key.p())?,
        q: number(key.q())?,
    };
    Ok(KeypairData::Rsa(RsaKeypair { public, private }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::part::tests::Scratch;
    use std::{fs, process::Command};

    fn me() -> User {
        User::current().unwrap()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn ssh_keygen_reads_both_files_and_finds_the_same_key_in_them() {
        let scratch = Scratch::new();
        for (of, name, bits) in [(KeyType::Ed25519, "ssh-ed25519", "256"), (KeyType::Rsa, "ssh-rsa", "3072")] {
            let path = scratch.0.join(format!("keys-{bits}/upload"));
            let made = make(&path, of, "sensor.example", &me()).unwrap();
            assert_eq!(fs::read_to_string(&made.public_path).unwrap(), format!("{}\n", made.public));
            assert!(made.public.starts_with(name) && made.public.ends_with(" sensor.example"), "{}", made.public);
            assert_eq!((mode(&path), mode(&made.public_path), mode(path.parent().unwrap())), (0o600, 0o644, 0o755));
            let keygen = |arguments: &[&str]| {
                let output = Command::new("ssh-keygen").args(arguments).arg("-f").arg(&path).output().ok()?;
                assert!(output.status.success(), "{output:?}");
                Some(String::from_utf8(output.stdout).unwrap())
            };
            let Some(public) = keygen(&["-y"]) else { return eprintln!("skipped in part: needs ssh-keygen") };
            assert_eq!(public.trim_end(), made.public);
            let kind = if bits == "256" { "ED25519" } else { "RSA" };
            let listed = format!("{bits} {} sensor.example ({kind})\n", made.fingerprint);
            assert_eq!(keygen(&["-l"]), Some(listed));
        }
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_refused_with_the_cure() {
        let scratch = Scratch::new();
        let path = scratch.0.join("upload");
        for (mode, is_refused) in [(0o757, true), (0o1777, false), (0o775, false)] {
            fs::set_permissions(&scratch.0, Permissions::from_mode(mode)).unwrap();
            let made = make(&path, KeyType::Ed25519, "", &me());
            assert_eq!(made.is_err(), is_refused, "{mode:o}");
            if let Err(error) = made {
                assert!(error.to_string().ends_with(&format!("chmod go-w {}", scratch.0.display())), "{error}");
            }
            assert_eq!(path.exists(), !is_refused);
            let _ = (fs::remove_file(&path), fs::remove_file(path.with_extension("pub")));
        }
        let group = User { gid: nix::unistd::Gid::from_raw(3_059_901), ..me() };
        fs::set_permissions(&scratch.0, Permissions::from_mode(0o775)).unwrap();
        let state = fs::metadata(&scratch.0).unwrap();
        assert_eq!(is_open(&state, &group), state.gid() != 0, "a group of others");
    }

    #[test]
    fn a_key_that_is_there_is_not_touched() {
        let scratch = Scratch::new();
        for name in ["upload", "upload.pub"] {
            let path = scratch.0.join(name);
            std::os::unix::fs::symlink("/nowhere", &path).unwrap();
            let error = make(&scratch.0.join("upload"), KeyType::Ed25519, "", &me()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{} exists", path.display())), "{error}");
            assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1);
            fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn a_directory_that_is_a_link_is_refused_and_where_it_leads_is_said() {
        let scratch = Scratch::new();
        let (real, link) = (scratch.0.join("real"), scratch.0.join("keys"));
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let refused = || make(&link.join("upload"), KeyType::Ed25519, "", &me()).unwrap_err().to_string();
        assert!(refused().ends_with("keys is a symbolic link; it leads nowhere: remove it"), "{}", refused());
        fs::create_dir(&real).unwrap();
        let cure = format!("set uploadkey to a file in {}, where it leads", real.canonicalize().unwrap().display());
        assert!(refused().ends_with(&cure), "{}", refused());
        assert_eq!(fs::read_dir(&real).unwrap().count(), 0);
        // Links on the way there are the system's: /var/run, /usr/local/etc.
        let way = scratch.0.join("way");
        std::os::unix::fs::symlink(&scratch.0, &way).unwrap();
        make(&way.join("real/upload"), KeyType::Ed25519, "", &me()).unwrap();
        assert!(real.join("upload.pub").exists());
    }

    #[test]
    fn root_makes_no_key_in_a_directory_of_a_third() {
        if !nix::unistd::geteuid().is_root() {
            return eprintln!("skipped: needs root");
        }
        let scratch = Scratch::new();
        let owner = User { name: "sie-upload".into(), uid: 3_059_904.into(), ..me() };
        let made = |name: &str, uid: u32| {
            let directory = scratch.0.join(name);
            fs::create_dir(&directory).unwrap();
            std::os::unix::fs::chown(&directory, Some(uid), None).unwrap();
            make(&directory.join("upload"), KeyType::Ed25519, "", &owner)
        };
        let said = made("third", 3_059_903).unwrap_err().to_string();
        let directory = scratch.0.join("third");
        let cure = format!("give it to its own: chown sie-upload: {}", directory.display());
        assert!(said.contains("is another user's") && said.ends_with(&cure), "{said}");
        assert_eq!(fs::read_dir(directory).unwrap().count(), 0);
        made("of-root", 0).unwrap();
        let made = made("of-owner", 3_059_904).unwrap();
        assert_eq!(fs::metadata(made.public_path).unwrap().uid(), 3_059_904);
    }

    #[test]
    fn a_directory_whose_parent_is_missing_is_not_made() {
        let scratch = Scratch::new();
        let error = make(&scratch.0.join("no/keys/upload"), KeyType::Ed25519, "", &me()).unwrap_err().to_string();
        assert!(error.starts_with("cannot make ") && error.contains("no/keys: No such file"), "{error}");
        assert!(!scratch.0.join("no").exists());
    }
}
