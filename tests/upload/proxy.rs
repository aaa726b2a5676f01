//! Between the sensor and its server: passes the bytes on, up to some point.

use super::World;
use nix::sys::socket::{setsockopt, sockopt};
use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// What happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Both of its halves are closed.
    Closed,
    /// Both ends get a reset.
    Reset,
    /// Nothing passes any more, and nobody is told.
    Stalled,
}

/// After so many bytes to the server (0) or from it (1), counted since [`Proxy::cut`].
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub way: usize,
    pub after: usize,
    pub how: How,
}

/// A listener that passes connections on to a server.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    cut: Mutex<Option<Cut>>,
    /// Bytes to the server and from it.
    passed: [AtomicUsize; 2],
    is_to_end: AtomicBool,
}

impl Proxy {
    pub fn start(world: &World, server: u16) -> Proxy {
        let passed = [AtomicUsize::new(0), AtomicUsize::new(0)];
        let shared = Arc::new(Shared { cut: Mutex::new(None), passed, is_to_end: AtomicBool::new(false) });
        let of_thread = shared.clone();
        let port = world.namespace.inside(move || {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            listener.set_nonblocking(true).unwrap();
            thread::spawn(move || accept(&listener, server, &of_thread));
            port
        });
        Proxy { port, shared }
    }

    /// What happens to connections from now on; all of them are whole if nothing does.
    pub fn cut(&self, cut: Option<Cut>) {
        self.shared.passed.iter().for_each(|passed| passed.store(0, Ordering::Relaxed));
        *self.shared.cut.lock().unwrap() = cut;
    }

    /// Bytes to the server and from it, since then.
    pub fn passed(&self) -> [usize; 2] {
        [0, 1].map(|way: usize| self.shared.passed[way].load(Ordering::Relaxed))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_to_end.store(true, Ordering::Relaxed);
    }
}

fn accept(listener: &TcpListener, server: u16, shared: &Arc<Shared>) {
    while !shared.is_to_end.load(Ordering::Relaxed) {
        let Ok((client, _)) = listener.accept() else {
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)) else { continue };
        client.set_nonblocking(false).unwrap();
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            stream.set_nodelay(true).unwrap();
        }
        let ends = Arc::new(Ends([client, server]));
        for way in [0, 1] {
            let (ends, shared) = (ends.clone(), shared.clone());
            thread::spawn(move || ends.pass(way, &shared));
        }
    }
}

/// The sensor's end and the server's.
struct Ends([TcpStream; 2]);

impl Ends {
    /// Passes bytes one way; one thread does it for each, and when both have left, the connections close.
    fn pass(&self, way: usize, shared: &Shared) {
        let (mut from, mut to) = (&self.0[way], &self.0[1 - way]);
        let mut buffer = [0; 4096];
        while !shared.is_to_end.load(Ordering::Relaxed) {
            let due = self.due(shared);
            match due {
                Some(How::Stalled) => {
                    thread::sleep(Duration::from_millis(20));
                    continue;
                }
                Some(how) => return self.end(how),
                None => {}
            }
            // No byte more than may pass.
            let left = shared.cut.lock().unwrap().filter(|cut| cut.way == way);
            let left = left.map_or(buffer.len(), |cut| cut.after - shared.passed[way].load(Ordering::Relaxed));
            let room = left.min(buffer.len());
            match from.read(&mut buffer[..room]) {
                Ok(0) => return drop(to.shutdown(Shutdown::Write)),
                Ok(len) if to.write_all(&buffer[..len]).is_ok() => {
                    shared.passed[way].fetch_add(len, Ordering::Relaxed);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => return self.end(How::Closed),
            }
        }
        self.end(How::Closed);
    }

    fn due(&self, shared: &Shared) -> Option<How> {
        let cut = shared.cut.lock().unwrap();
        cut.filter(|cut| shared.passed[cut.way].load(Ordering::Relaxed) >= cut.after).map(|cut| cut.how)
    }

    fn end(&self, how: How) {
        for end in &self.0 {
            if how == How::Reset {
                // When the other thread has left too.
                let _ = setsockopt(end, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 });
            } else {
                let _ = end.shutdown(Shutdown::Both);
            }
        }
    }
}
