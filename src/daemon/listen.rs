//! The sockets at which the views child is asked. The supervisor binds them, before it gives up the right to.

use super::{
    board::{self, Board},
    post::Post,
    samples::{Samples, Watch},
};
use crate::{
    config::{MetricsListen, Settings},
    escape::escaped,
};
use nix::{
    sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, UnixAddr, bind, listen, setsockopt, socket,
        sockopt::ReuseAddr,
    },
    sys::stat::{Mode, umask},
    unistd::Gid,
};
use std::{
    fs::{self, DirBuilder, Permissions},
    io,
    net::SocketAddr,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, lchown},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

/// What the views child has from the supervisor.
pub struct Inherited {
    /// Where the document is.
    pub board: board::Reader,
    /// Where samples of transactions are.
    pub watch: Option<Watch>,
    /// `status_socket`.
    pub status: Option<OwnedFd>,
    /// `metrics_listen`.
    pub metrics: Option<OwnedFd>,
}

impl Inherited {
    /// In the child: what was passed over descriptor 0, before everything else.
    pub fn take() -> io::Result<Inherited> {
        let (which, descriptors) = Post::passed()?;
        let mut descriptors = descriptors.into_iter();
        let missing =
            || io::Error::other("no supervisor tells this process what to do; start it with: sie-dns-sensor run");
        let board = board::Reader::new(descriptors.next().ok_or_else(missing)?)?;
        let mut next = |bit| if which & bit > 0 { descriptors.next() } else { None };
        let watch = next(SAMPLES).map(|page| Watch::new(&page)).transpose()?;
        Ok(Inherited { board, watch, status: next(STATUS), metrics: next(METRICS) })
    }
}

/// Bits of the byte that goes with the descriptors.
const STATUS: u8 = 1;
const METRICS: u8 = 2;
const SAMPLES: u8 = 4;

/// What a socket's file is made without: whoever may write to it may ask, which are its owner and its group.
const UMASK: Mode = Mode::from_bits_truncate(0o117);
/// Clients that wait to be let in.
const BACKLOG: i32 = 128;
/// Of the directory that is made for it.
const DIRECTORY: u32 = 0o755;

/// Sockets that somebody listens at. Their files go when this does.
#[derive(Debug, Default)]
pub struct Listeners {
    /// `status_socket`.
    pub status: Option<OwnedFd>,
    /// `metrics_listen`.
    pub metrics: Option<OwnedFd>,
    /// What is not listened at, and why.
    pub failed: Vec<String>,
    files: Vec<SocketFile>,
}

impl Listeners {
    /// Binds what the settings name. The group may ask for the status; that of a sensor that is not root's is its own.
    ///
    /// Changes the umask for a moment, which is the whole process's: no other thread is to make files meanwhile.
    pub fn bind(settings: &Settings, group: Gid) -> Listeners {
        let mut listeners = Listeners::default();
        let path = &settings.status_socket;
        let bound = listeners.unix(path, group);
        listeners.status = listeners.judge("status", &escaped(path), bound);
        match &settings.metrics_listen {
            None => {}
            Some(MetricsListen::Tcp(address)) => {
                listeners.metrics = listeners.judge("metrics", &address.to_string(), tcp(*address));
            }
            Some(MetricsListen::Unix(path)) => {
                let bound = listeners.unix(path, group);
                listeners.metrics = listeners.judge("metrics", &escaped(path), bound);
            }
        }
        listeners
    }

    /// What to pass to a child, and which of it there is.
    pub fn to_pass(&self, board: &Board, samples: Option<&Samples>) -> io::Result<(u8, Vec<OwnedFd>)> {
        let (mut which, mut descriptors) = (0, vec![board.descriptor()?]);
        if let Some(samples) = samples {
            which |= SAMPLES;
            descriptors.push(samples.descriptor()?);
        }
        for (bit, socket) in [(STATUS, &self.status), (METRICS, &self.metrics)] {
            if let Some(socket) = socket {
                which |= bit;
                descriptors.push(socket.try_clone()?);
            }
        }
        Ok((which, descriptors))
    }

    fn judge(&mut self, what: &str, place: &str, bound: io::Result<OwnedFd>) -> Option<OwnedFd> {
        bound.map_err(|error| self.failed.push(format!("no {what} at {place}: {error}"))).ok()
    }

    fn unix(&mut self, path: &Path, group: Gid) -> io::Result<OwnedFd> {
        if let Some(directory) = path.parent().filter(|directory| !directory.exists()) {
            DirBuilder::new().mode(DIRECTORY).create(directory)?;
            fs::set_permissions(directory, Permissions::from_mode(DIRECTORY))?; // whatever the umask
        }
        make_room(path)?;
        let listener = bind_for_group(path)?;
        listener.set_nonblocking(true)?;
        self.files.push(SocketFile::new(path)?);
        if fs::symlink_metadata(path)?.gid() != group.as_raw() {
            // A unit may have taken the right to; then it is for those who are root, or in the group that it is of.
            // A link, which only who may write to the directory could have put there, is not followed.
            if let Err(error) = lchown(path, None, Some(group.as_raw())) {
                self.failed.push(format!("the sensor's group cannot ask at {}: {error}", escaped(path)));
            }
        }
        Ok(listener.into())
    }
}

/// Makes the socket's file with its mode, so that there is no need to change it afterwards: where a link may have taken its
/// place meanwhile, that takes a call that C libraries of old (glibc before 2.32) refuse. Binding follows no link.
fn bind_for_group(path: &Path) -> io::Result<UnixListener> {
    let before = umask(UMASK);
    let bound = UnixListener::bind(path);
    umask(before);
    bound
}

/// Listens at an address, also when no interface has it yet, as may be while the system starts.
fn tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let listener = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    setsockopt(&listener, ReuseAddr, &true)?;
    #[cfg(target_os = "linux")]
    setsockopt(&listener, nix::sys::socket::sockopt::IpFreebind, &true)?;
    bind(listener.as_raw_fd(), &SockaddrStorage::from(address))?;
    listen(&listener, Backlog::new(BACKLOG)?)?;
    Ok(listener)
}

/// Connects without waiting: where nobody lets clients in, and many wait, that would be for ever. Then the error is
/// [`io::ErrorKind::WouldBlock`].
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    nix::sys::socket::connect(stream.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(stream.into())
}

/// Removes a socket that a killed sensor left behind. Anything else stays.
fn make_room(path: &Path) -> io::Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(io::Error::other("there is something else of that name"));
    }
    match connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Err(io::Error::other("another sensor is asked there; give this one a status_socket of its own")),
    }
}

/// A socket's file, by what it was when it was made.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    is: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<SocketFile> {
        Ok(SocketFile { path: path.to_owned(), is: identity(path)? })
    }
}

/// Device and inode of what is at a path.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.is) {
            let _ = fs::remove_file(&self.path); // the next start finds nobody there, and removes it
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::part::tests::Scratch;
    use nix::unistd::getegid;
    use std::{net::TcpListener, os::unix::fs::symlink, thread};

    fn bind(path: &Path) -> Listeners {
        bind_all(&Settings { status_socket: path.to_owned(), ..Settings::default() })
    }

    fn bind_all(settings: &Settings) -> Listeners {
        apart(|| Listeners::bind(settings, getegid()))
    }

    /// In a thread with a umask of its own, as far as the system has that: other tests make files meanwhile.
    fn apart<T: Send>(run: impl FnOnce() -> T + Send) -> T {
        let run = || {
            #[cfg(target_os = "linux")]
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).unwrap();
            run()
        };
        thread::scope(|scope| scope.spawn(run).join().unwrap())
    }

    #[test]
    fn the_umask_neither_matters_nor_changes() {
        let scratch = Scratch::new();
        for mask in [0o000, 0o022, 0o077, 0o777] {
            let path = scratch.0.join(format!("{mask:o}.sock"));
            let mask = Mode::from_bits_truncate(mask);
            let after = apart(|| {
                let before = umask(mask);
                let bound = bind_for_group(&path).map(drop);
                (bound.unwrap(), umask(before)).1
            });
            assert_eq!((fs::symlink_metadata(&path).unwrap().mode() & 0o7777, after), (0o660, mask));
        }
    }

    #[test]
    fn a_link_in_the_place_of_a_socket_is_not_followed() {
        let scratch = Scratch::new();
        let (path, target) = (scratch.0.join("status.sock"), scratch.0.join("elsewhere"));
        symlink(&target, &path).unwrap();
        assert!(apart(|| bind_for_group(&path).is_err()));
        assert!(!bind(&path).failed.is_empty() && !target.exists());
    }

    #[test]
    fn a_socket_is_for_the_group_and_goes() {
        let scratch = Scratch::new();
        let path = scratch.0.join("run/status.sock");
        let listeners = bind(&path);
        assert_eq!(listeners.failed, [""; 0]);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o660);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o7777, 0o755);
        assert!(UnixStream::connect(&path).is_ok());
        drop(listeners);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_left_over_is_replaced() {
        let scratch = Scratch::new();
        let path = scratch.0.join("status.sock");
        drop(UnixListener::bind(&path).unwrap());
        let first = bind(&path);
        assert_eq!(first.failed, [""; 0]);
        let second = bind(&path);
        assert!(second.status.is_none() && second.failed[0].contains("another sensor is asked there"), "{second:?}");
        drop(second);
        assert!(UnixStream::connect(&path).is_ok());
        drop(first);
        fs::write(&path, "a file").unwrap();
        assert!(bind(&path).failed[0].contains("something else of that name"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "a file");
    }

    #[test]
    fn nobody_waits_for_one_that_lets_nobody_in() {
        let scratch = Scratch::new();
        let path = scratch.0.join("status.sock");
        let _first = bind(&path);
        let full = |_| connect(&path).map_err(|error| error.kind());
        let waiting: Vec<_> = (0..100_000).map(full).take_while(Result::is_ok).collect();
        assert!(!waiting.is_empty() && connect(&path).is_err());
        let second = bind(&path);
        assert!(second.failed[0].contains("another sensor is asked there"), "{second:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_address_that_is_not_there_yet_is_listened_at() {
        assert!(tcp("192.0.2.1:0".parse().unwrap()).is_ok());
        if tcp("[::1]:0".parse().unwrap()).is_ok() {
            assert!(tcp("[2001:db8::1]:0".parse().unwrap()).is_ok());
        }
    }

    #[test]
    fn metrics_are_where_they_are_set() {
        let scratch = Scratch::new();
        let of = |metrics: MetricsListen| {
            let settings = Settings {
                status_socket: scratch.0.join("status.sock"),
                metrics_listen: Some(metrics),
                ..Settings::default()
            };
            bind_all(&settings)
        };
        assert!(of(MetricsListen::Tcp("127.0.0.1:0".parse().unwrap())).metrics.is_some());
        assert!(of(MetricsListen::Unix(scratch.0.join("metrics.sock"))).metrics.is_some());
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let failed = of(MetricsListen::Tcp(taken.local_addr().unwrap()));
        assert!(failed.metrics.is_none() && failed.status.is_some(), "{failed:?}");
    }
}
