//! Making the key that the sensor logs in with.

use crate::{daemon::users::User, escape::escaped};
use nix::fcntl::OFlag;
use openssl::{bn::BigNumRef, error::ErrorStack, pkey::PKey, rsa::Rsa};
use ssh_key::{
    HashAlg, LineEnding, Mpint, PrivateKey,
    private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData, RsaKeypair, RsaPrivateKey},
    public::{Ed25519PublicKey, RsaPublicKey},
};
use std::{
    fmt::{self, Display, Formatter},
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
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
    prepare(directory, owner)?;
    let unmade = |error: ssh_key::Error| KeyError::Make(error.to_string());
    let key = PrivateKey::new(pair(of).map_err(KeyError::Make)?, comment).map_err(unmade)?;
    let private = key.to_openssh(LineEnding::LF).map_err(unmade)?;
    let public = key.public_key().to_openssh().map_err(unmade)?;
    write(path, private.as_bytes(), PRIVATE, owner)?;
    let written = write(&public_path, format!("{public}\n").as_bytes(), PUBLIC, owner).and_then(|()| {
        let synced = File::open(directory).and_then(|directory| directory.sync_all());
        synced.map_err(|error| KeyError::Write(directory.to_owned(), error))
    });
    if written.is_err() {
        // This run made it; half a pair would only be in the way of the next one.
        let _ = fs::remove_file(path);
    }
    written?;
    Ok(Made { public_path, public, fingerprint: key.fingerprint(HashAlg::Sha256).to_string() })
}

/// Makes the directory, if its parent is there. Who is not root can only use one that is the own.
fn prepare(directory: &Path, owner: &User) -> Result<(), KeyError> {
    let failed = |error| KeyError::Write(directory.to_owned(), error);
    let theirs = || KeyError::Theirs { directory: directory.to_owned(), user: owner.name.clone() };
    match DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => hand_over(directory, owner).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(theirs()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found = fs::metadata(directory).map_err(failed)?;
            let me = nix::unistd::geteuid();
            if me.is_root() || found.uid() == me.as_raw() { Ok(()) } else { Err(theirs()) }
        }
        Err(error) => Err(failed(error)),
    }
}

/// Gives away the directory that was just made; by descriptor, so that it is that one.
fn hand_over(path: &Path, owner: &User) -> io::Result<()> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let directory = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    directory.set_permissions(Permissions::from_mode(DIRECTORY))?;
    give(&directory, owner)
}

/// Who is not root is the owner already.
fn give(file: &File, owner: &User) -> io::Result<()> {
    if nix::unistd::geteuid().is_root() {
        fchown(file, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))?;
    }
    Ok(())
}

/// Writes a file that must not be there, whole or not at all.
fn write(path: &Path, bytes: &[u8], mode: u32, owner: &User) -> Result<(), KeyError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => KeyError::Exists(path.to_owned()),
        _ => KeyError::Write(path.to_owned(), error),
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(path).map_err(failed)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.set_permissions(Permissions::from_mode(mode)))
        .and_then(|()| give(&file, owner))
        .and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written.map_err(failed)
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
    use std::process::Command;

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
    fn a_directory_whose_parent_is_missing_is_not_made() {
        let scratch = Scratch::new();
        let error = make(&scratch.0.join("no/keys/upload"), KeyType::Ed25519, "", &me()).unwrap_err().to_string();
        assert!(error.starts_with("cannot make ") && error.contains("no/keys: No such file"), "{error}");
        assert!(!scratch.0.join("no").exists());
    }
}
