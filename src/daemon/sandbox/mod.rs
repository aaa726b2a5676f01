//! What is left to a child once it works: a list of files, a list of system calls.
//!
//! The lists hold whatever the child parses, also when a fault in a parser lets a packet run code of its sender's choice.
//! A kernel without a feature is a warning, since a sensor on it is still better off than the one before, which had none.

use std::{
    fmt,
    os::fd::RawFd,
    path::{Path, PathBuf},
};

#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other;
// The architectures that seccompiler knows.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
mod syscalls;

#[cfg(target_os = "linux")]
use linux::confine;
#[cfg(not(target_os = "linux"))]
use other::confine;

/// What a child does, and so what it needs.
#[derive(Clone, Copy, Debug)]
pub enum Role<'p> {
    /// Parses packets; writes containers, or shows what they would be at a descriptor that is open.
    Capture {
        /// Where it creates, writes, renames and removes files: SPOOL/new/CHANNEL. Nowhere, if it only shows.
        output: Option<&'p Path>,
        /// The open capture devices. They can be read and asked; they can be neither written to (a packet socket sends
        /// what is written to it), nor duplicated, nor closed before the process ends: a number that was free again
        /// would become a file's.
        devices: &'p [RawFd],
    },
    /// Moves files through the spool and sends them. It connects where it wants, since DNS says where the servers are;
    /// nobody can connect to it. It also reads the resolver's files, and descriptors can be passed to it.
    ///
    /// FreeBSD: there is no sandbox for it, since capability mode knows no connect(2).
    Upload {
        /// STAGE/CHANNEL of the stages it moves files between; it creates none of them.
        stages: &'p [PathBuf],
        /// The files and directories that it only reads: of the key and the known hosts, the directories, so that files
        /// that are replaced or made later are seen. What is not there is left out.
        keys: &'p [PathBuf],
        /// The directory that it sends files to, if it does: it creates, writes, renames and removes files there. If it
        /// is not there, it is left out.
        target: Option<&'p Path>,
    },
    /// Answers at sockets that were bound before. It opens no file and connects to nobody.
    Views,
}

/// What holds from now on, for the log.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Entered {
    /// What is enforced.
    pub enforced: Vec<String>,
    /// What the system does not offer: warnings.
    pub missing: Vec<String>,
}

/// Why a child is not confined though the system could do it. The process must end.
#[derive(Debug)]
pub struct SandboxError {
    what: &'static str,
    why: String,
}

impl SandboxError {
    fn new(what: &'static str, why: impl fmt::Display) -> SandboxError {
        SandboxError { what, why: why.to_string() }
    }
}

impl fmt::Display for SandboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.what, self.why)
    }
}

impl std::error::Error for SandboxError {}

/// Where the resolver's files are: the directories, since the files are replaced when the network changes.
const RESOLVER: [&str; 5] =
    ["/etc", "/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager", "/run/netconfig"];
const RESOLVER_FILE: &str = "/etc/resolv.conf";

/// The directories of the resolver's files that there are now, that of what the file links to among them. A process that is
/// confined reads only those that were there then.
pub fn resolver_directories() -> Vec<PathBuf> {
    let linked = std::fs::canonicalize(RESOLVER_FILE).ok();
    let linked = linked.as_deref().and_then(Path::parent);
    let mut directories: Vec<PathBuf> = RESOLVER.iter().map(Path::new).chain(linked).map(Path::to_owned).collect();
    directories.retain(|directory| directory.is_dir());
    directories.sort();
    directories.dedup();
    directories
}

/// Confines the process to its role, for good. It must have one thread (those it starts later inherit all of it), its
/// devices, sockets, pipes and signal handlers, and it must have dropped its privileges.
pub fn enter(role: &Role) -> Result<Entered, SandboxError> {
    if let Some(threads) = super::privileges::threads().filter(|threads| *threads != 1) {
        return Err(SandboxError::new("enter the sandbox", format!("the process has {threads} threads")));
    }
    if let Role::Upload { .. } = role {
        // Reads its configuration now, and may load what that names: afterwards it could do neither.
        openssl::init();
    }
    confine(role)
}
