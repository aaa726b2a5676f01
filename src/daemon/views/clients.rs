//! Those who ask. Each is told one thing, and has so long to ask for it and to take it; however many there are, and
//! whatever they do, nobody waits for them.

use super::{super::post::Post, Answers, REFUSED, http};
use nix::{
    poll::PollFlags,
    sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname},
};
use std::{
    fs::File,
    io::{self, ErrorKind, Read, Write},
    net::TcpListener,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::net::UnixListener,
    },
    rc::Rc,
    time::Duration,
};

/// Clients of each kind at once.
const CLIENTS_MAX: usize = 64;
/// Clients that are let in, or turned away, before the others are served.
const ACCEPTED_MAX: usize = 256;
/// How long one has in all.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest request.
const REQUEST_MAX: usize = 8 << 10;

/// What is spoken at a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One line, one answer.
    Status,
    /// HTTP.
    Metrics,
}

/// Sockets and those who came to them.
#[derive(Default)]
pub struct Clients {
    listeners: Vec<(Listener, Kind)>,
    clients: Vec<Client>,
    /// What poll said of each listener, then of each client.
    ready: Vec<bool>,
    /// Nobody could be let in, for want of something: those who wait do so until the next look, and do not wake it.
    is_short: bool,
}

struct Client {
    stream: File,
    kind: Kind,
    request: Vec<u8>,
    /// Empty as long as it has not asked.
    answer: Rc<[u8]>,
    taken: usize,
    /// When it is dropped, once it is known when it came.
    until: Option<Duration>,
}

impl Clients {
    /// Lets clients in there.
    pub fn listen(&mut self, socket: Option<OwnedFd>, kind: Kind) {
        self.listeners.extend(socket.map(|socket| (Listener::new(socket), kind)));
    }

    /// Waits until one of them wants something, or the supervisor, but not longer than `limit`.
    pub fn wait(&mut self, post: &mut Post, limit: Duration) {
        let wanted = if std::mem::take(&mut self.is_short) { PollFlags::empty() } else { PollFlags::POLLIN };
        let listeners = self.listeners.iter().map(|(socket, _)| (socket.as_fd(), wanted));
        self.ready = post.wait_among(limit, listeners.chain(self.clients.iter().map(Client::to_poll)));
    }

    /// Answers those who have asked, lets in those who came, drops those whose time is up.
    pub fn serve(&mut self, answers: &mut Answers, now: Duration) {
        let (of_listeners, of_clients) = self.ready.split_at(self.listeners.len().min(self.ready.len()));
        let mut of_clients = of_clients.iter().copied();
        self.clients.retain_mut(|client| {
            let is_ready = of_clients.next().unwrap_or(true);
            now < *client.until.get_or_insert(now + PATIENCE) && (!is_ready || client.go_on(answers))
        });
        for ((listener, kind), is_ready) in self.listeners.iter().zip(of_listeners) {
            if *is_ready {
                self.is_short |= let_in(&mut self.clients, listener, *kind, answers, now).is_err();
            }
        }
    }
}

/// An error is that of a system that lets nobody in now.
fn let_in(
    clients: &mut Vec<Client>,
    listener: &Listener,
    kind: Kind,
    answers: &mut Answers,
    now: Duration,
) -> io::Result<()> {
    let mut count = clients.iter().filter(|client| client.kind == kind).count();
    for _ in 0..ACCEPTED_MAX {
        let stream = match listener.accept() {
            Ok(stream) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error),
        };
        let mut client =
            Client { stream, kind, request: Vec::new(), answer: Rc::default(), taken: 0, until: Some(now + PATIENCE) };
        if count >= CLIENTS_MAX {
            client.turn_away();
        } else if client.go_on(answers) {
            clients.push(client);
            count += 1;
        }
    }
    Ok(())
}

/// A socket that clients come to.
enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    fn new(socket: OwnedFd) -> Listener {
        let name = getsockname::<SockaddrStorage>(socket.as_raw_fd());
        match name.ok().and_then(|name| name.family()) {
            Some(AddressFamily::Unix) => Listener::Unix(socket.into()),
            _ => Listener::Tcp(socket.into()),
        }
    }

    /// The next who came. What cannot be let in for want of something stays in the queue for the next turn.
    fn accept(&self) -> io::Result<File> {
        let stream: OwnedFd = match self {
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                stream.into()
            }
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                stream.into()
            }
        };
        Ok(stream.into())
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Unix(listener) => listener.as_fd(),
            Listener::Tcp(listener) => listener.as_fd(),
        }
    }
}

impl Client {
    fn to_poll(&self) -> (BorrowedFd<'_>, PollFlags) {
        let wanted = if self.answer.is_empty() { PollFlags::POLLIN } else { PollFlags::POLLOUT };
        (self.stream.as_fd(), wanted)
    }

    /// Reads the request and writes the answer, as far as that goes now. False when it is done with.
    fn go_on(&mut self, answers: &mut Answers) -> bool {
        match self.try_go_on(answers) {
            Ok(()) => self.answer.is_empty() || self.taken < self.answer.len(),
            Err(error) => [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind()),
        }
    }

    fn try_go_on(&mut self, answers: &mut Answers) -> io::Result<()> {
        if self.answer.is_empty() {
            let mut buffer = [0; REQUEST_MAX];
            let len = self.stream.read(&mut buffer)?;
            if len == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.request.extend_from_slice(&buffer[..len]);
            self.answer = self.judge(answers);
        }
        while self.taken < self.answer.len() {
            self.taken += self.stream.write(&self.answer[self.taken..])?;
        }
        Ok(())
    }

    /// The answer, if the request is whole, or too long.
    fn judge(&self, answers: &mut Answers) -> Rc<[u8]> {
        let is_too_long = self.request.len() >= REQUEST_MAX;
        match self.kind {
            Kind::Status if is_too_long || self.request.contains(&b'\n') => {
                answers.to(&String::from_utf8_lossy(&self.request)).into()
            }
            Kind::Metrics if is_too_long || http::is_whole(&self.request) => {
                let metrics = || match answers.fault() {
                    Some(fault) => Err(fault),
                    None => Ok(answers.metrics()),
                };
                http::respond(&self.request, metrics).into()
            }
            Kind::Status | Kind::Metrics => Rc::default(),
        }
    }

    fn turn_away(&mut self) {
        let words = match self.kind {
            Kind::Status => format!("{REFUSED}too many clients\n").into_bytes(),
            Kind::Metrics => http::busy(),
        };
        let _ = self.stream.write(&words); // into an empty socket; who does not take it learns it from the end
    }
}
