//! A real name server on a loopback port, and one between it and who asks, which spoils what it says.

use crate::sensor::{Directory, Running};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// knot, with the zone "example".
pub struct NameServer {
    pub address: SocketAddr,
    _process: Running,
    _directory: Directory,
}

impl NameServer {
    /// Returns when it answers. None, and says so, where there is no knot.
    pub fn start(records: &str) -> Option<NameServer> {
        NameServer::start_at(free_port(), records)
    }

    /// The same at this address.
    pub fn start_at(address: SocketAddr, records: &str) -> Option<NameServer> {
        let directory = Directory::new();
        let (path, port) = (directory.0.display(), address.port());
        let zone =
            format!("$ORIGIN example.\n$TTL 300\n@ SOA ns host 1 3600 600 86400 1\n@ NS ns\nns A 127.0.0.1\n{records}");
        fs::write(directory.0.join("example"), zone).unwrap();
        let conf = format!(
            "server:\n  rundir: {path}\n  listen: [127.0.0.1@{port}]\n  udp-workers: 1\n  tcp-workers: 1\n  \
             background-workers: 1\ndatabase:\n  storage: {path}\ntemplate:\n- id: default\n  storage: {path}\n  \
             zonefile-sync: -1\n  journal-content: none\nzone:\n- domain: example\n  file: example\n"
        );
        fs::write(directory.0.join("knot.conf"), conf).unwrap();
        let mut command = Command::new("knotd");
        command.arg("-c").arg(directory.0.join("knot.conf"));
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(child) = command.spawn() else {
            eprintln!("skipped: needs knotd");
            return None;
        };
        let server = NameServer { address, _process: Running::new(child), _directory: directory };
        let socket = asking();
        let end = Instant::now() + Duration::from_secs(20);
        // example. SOA
        let query = b"\x00\x07\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x00\x00\x06\x00\x01";
        loop {
            let _ = socket.send_to(query, address);
            match socket.recv(&mut [0; 512]) {
                Ok(len) if len > query.len() => return Some(server),
                _ => assert!(Instant::now() < end, "knot does not answer"),
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A loopback port that was free just now.
pub fn free_port() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

fn asking() -> UdpSocket {
    asking_from((Ipv4Addr::LOCALHOST, 0).into())
}

fn asking_from(address: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    socket
}

/// Asks another server over UDP and passes its answers on, after what `spoil` does to them and so much later.
pub struct Between {
    pub address: SocketAddr,
    /// How many questions came.
    pub questions: Arc<AtomicUsize>,
    is_to_end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Between {
    pub fn start(server: SocketAddr, spoil: impl Fn(&mut Vec<u8>) -> Duration + Send + 'static) -> Between {
        Between::start_at((Ipv4Addr::LOCALHOST, 0).into(), server, spoil)
    }

    /// The same at this address.
    pub fn start_at(
        address: SocketAddr,
        server: SocketAddr,
        spoil: impl Fn(&mut Vec<u8>) -> Duration + Send + 'static,
    ) -> Between {
        let socket = asking_from(address);
        let address = socket.local_addr().unwrap();
        let (is_to_end, questions) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (ends, counted) = (is_to_end.clone(), questions.clone());
        let thread = thread::spawn(move || {
            let mut buffer = [0; 65535];
            while !ends.load(Ordering::Relaxed) {
                let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
                counted.fetch_add(1, Ordering::Relaxed);
                let other = asking();
                other.send_to(&buffer[..len], server).unwrap();
                let Ok(len) = other.recv(&mut buffer) else { continue };
                let mut answer = buffer[..len].to_vec();
                let (later, socket) = (spoil(&mut answer), socket.try_clone().unwrap());
                thread::spawn(move || {
                    thread::sleep(later);
                    let _ = socket.send_to(&answer, from);
                });
            }
        });
        Between { address, questions, is_to_end, thread: Some(thread) }
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.is_to_end.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
