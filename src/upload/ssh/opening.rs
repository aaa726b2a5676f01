//! From a socket to a connection: version, ciphers, host key, our key, login.

use super::{
    key::PrivateKey,
    known_hosts::{KnownHosts, Verdict, describe},
    session::{Connection, LIMIT, Wait},
};
use crate::{
    escape::escaped,
    sys::ssh as io_of,
    upload::{Attendant, Failure, Step, TURN, one_line},
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{setsockopt, sockopt},
};
use ssh2::{ErrorCode, MethodType, Session};
use std::{
    fmt::Display,
    io,
    net::{IpAddr, TcpStream},
    os::fd::AsFd,
    path::PathBuf,
    time::Duration,
};

/// Lines before the server's version (RFC 4253 §4.2), together with it.
const GREETING_MAX: usize = 8 << 10;

/// The version comes so soon behind other lines.
const BABBLE: Duration = Duration::from_secs(2);

/// LIBSSH2_ERROR_… in libssh2.h.
const AUTHENTICATION_FAILED: i32 = -18;
const PUBLICKEY_UNVERIFIED: i32 = -19;

/// Who logs in, and how both sides are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The name at the server.
    pub login: String,
    /// The file with our private key.
    pub key: PathBuf,
    /// The file with the keys of servers.
    pub known_hosts: PathBuf,
}

impl Connection {
    /// Makes a connection of a socket that is connected to `host`.
    pub fn open(
        stream: TcpStream,
        host: &str,
        port: u16,
        account: &Account,
        attendant: &mut dyn Attendant,
    ) -> Result<Connection, Failure> {
        let place = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let address = stream.peer_addr().ok().map(|peer| peer.ip());
        let of_name = address.filter(|_| host.parse::<IpAddr>().is_err());
        let place = one_line(&place) + &of_name.map(|address| format!(" ({address})")).unwrap_or_default();
        let at_start = |error: &dyn Display| {
            Failure::new(Step::Handshake, format!("cannot use the connection to {place}: {error}"))
        };
        prepare_socket(&stream).map_err(|error| at_start(&error))?;
        let mut session = Session::new().map_err(|error| at_start(&error))?;
        io_of::prepare(&session);
        session.set_tcp_stream(stream.try_clone().map_err(|error| at_start(&error))?);
        session.set_blocking(false);
        session.set_compress(false);
        let mut connection = Connection {
            session,
            stream,
            place,
            address,
            is_usable: true,
            remarks: Vec::new(),
            host_key: String::new(),
            unasked: 0,
            sftp: None,
        };
        let known_hosts = KnownHosts::read(&account.known_hosts);
        connection.greet(attendant)?;
        connection.shake_hands(known_hosts.as_ref().ok(), host, port, attendant)?;
        let is_let_in = connection
            .check_host_key(known_hosts, host, port, account)
            .and_then(|()| connection.log_in(account, attendant));
        match is_let_in {
            Ok(()) => Ok(connection),
            Err(failure) => Err(Failure { remarks: connection.remarks, ..failure }),
        }
    }

    /// Waits for the server's version, so that libssh2 reads no endless lines for it.
    fn greet(&mut self, attendant: &mut dyn Attendant) -> Result<(), Failure> {
        let mut buffer = [0; GREETING_MAX];
        let began = attendant.now();
        loop {
            let length = match self.stream.peek(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => {
                    return Err(self.failed(Step::Handshake, format!("{} does not answer: {error}", self.place)));
                }
            };
            let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
            if text.split_inclusive('\n').any(|line| line.starts_with("SSH-") && line.ends_with('\n')) {
                return Ok(());
            }
            // A server that is no SSH server, or wants no more clients, says so and is waited for no longer.
            let limit = if text.contains('\n') { BABBLE } else { LIMIT };
            let is_over = attendant.now().saturating_sub(began) >= limit;
            let has_ended = length == GREETING_MAX || self.has_ended();
            if is_over || has_ended {
                let heard = text.lines().next().unwrap_or_default();
                let reason = match (heard, has_ended) {
                    ("", true) => format!("{} closed the connection before it said anything", self.place),
                    ("", false) => format!("{} says nothing for {} s", self.place, LIMIT.as_secs()),
                    _ => format!("{} does not begin with SSH; it says: {}", self.place, one_line(heard)),
                };
                return Err(self.failed(Step::Handshake, reason));
            }
            self.turn(Step::Handshake, attendant)?;
            // What has come stays there to be read, so that there would be no waiting for more.
            let pause = if length == 0 { TURN } else { Duration::from_millis(20) };
            self.wait_for(if length == 0 { PollFlags::POLLIN } else { PollFlags::empty() }, pause)
                .map_err(|error| self.failed(Step::Handshake, error))?;
        }
    }

    /// Whether nothing more will come.
    fn has_ended(&self) -> bool {
        let mut polled = [PollFd::new(self.stream.as_fd(), PollFlags::POLLIN)];
        let readable = poll(&mut polled, PollTimeout::ZERO).is_ok_and(|count| count > 0);
        readable && matches!(self.stream.peek(&mut [0]), Ok(0))
            || polled
                .first()
                .and_then(PollFd::revents)
                .is_some_and(|events| events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR))
    }

    fn shake_hands(
        &mut self,
        known: Option<&KnownHosts>,
        host: &str,
        port: u16,
        attendant: &mut dyn Attendant,
    ) -> Result<(), Failure> {
        let mut session = self.session();
        let known = known.map(|known| known.key_types(host, port)).unwrap_or_default();
        // The other types behind them: a server that has nothing else is to be refused for its key, with its fingerprint.
        let offered = session.supported_algs(MethodType::HostKey).and_then(|mut types| {
            types.retain(|name| !name.contains("-cert-"));
            types.sort_by_key(|name| known.iter().position(|known| known == name).unwrap_or(usize::MAX));
            session.method_pref(MethodType::HostKey, &types.join(","))
        });
        offered.map_err(|error| self.broken(Step::Handshake, &error))?;
        let wait = Wait { step: Step::Handshake, what: "an agreement on ciphers", limit: LIMIT };
        self.drive(wait, attendant, || session.handshake())?.map_err(|error| self.broken(Step::Handshake, &error))
    }

    fn check_host_key(
        &mut self,
        known: io::Result<KnownHosts>,
        host: &str,
        port: u16,
        account: &Account,
    ) -> Result<(), Failure> {
        let file = escaped(&account.known_hosts);
        let refused = |reason: String| Failure::new(Step::HostKey, reason);
        let Some(key) = self.session.host_key().map(|(key, _)| key.to_vec()) else {
            return Err(refused(format!("{} has shown no key", self.place)));
        };
        let (hosts, unreadable) = match known {
            Ok(hosts) => (hosts, None),
            Err(error) => (KnownHosts::default(), Some(error)),
        };
        let problems = hosts.problems().iter();
        self.remarks
            .extend(problems.take(10).map(|problem| format!("{file}:{}: {}: ignored", problem.line, problem.what)));
        let place = &self.place;
        match hosts.judge(host, port, &key) {
            Verdict::Known => {
                self.host_key = describe(&key);
                Ok(())
            }
            Verdict::Unknown { offered } => Err(refused(match unreadable {
                Some(error) => format!("cannot read {file}: {error}; {place} has the key {offered}"),
                None => format!(
                    "{file} has no key for {place}, whose key is {offered}: if its operator confirms that, add it to the file"
                ),
            })),
            Verdict::Changed { expected, offered } => Err(refused(format!(
                "{place} has another key than {file} says: expected {}, offered {offered}: ask its operator; it may be an \
                 impostor",
                expected.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(" or ")
            ))),
            Verdict::Revoked { offered } => {
                Err(refused(format!("{place} has the key {offered}, which {file} says is revoked: do not trust it")))
            }
        }
    }

    fn log_in(&mut self, account: &Account, attendant: &mut dyn Attendant) -> Result<(), Failure> {
        let key = PrivateKey::read(&account.key).map_err(|reason| self.failed(Step::Key, reason))?;
        self.remarks.extend(key.warning());
        let session = self.session();
        let wait = Wait { step: Step::Login, what: "an answer to the login", limit: LIMIT };
        let result =
            self.drive(wait, attendant, || session.userauth_pubkey_memory(&account.login, None, key.text(), None))?;
        if result.as_ref().is_err_and(is_refusal) {
            // libssh2 takes up what the server said meanwhile only when it asks for ways to log in.
            let _ = self.drive(wait, attendant, || session.auth_methods(&account.login).map(|_| ()));
        }
        if let Ok(Some(banner)) = session.userauth_banner() {
            banner.lines().take(10).for_each(|line| attendant.heard(&one_line(line)));
        }
        result.map_err(|error| match is_refusal(&error) {
            true => self.failed(
                Step::Login,
                format!(
                    "{} takes neither the login {} nor this key ({} {})",
                    self.place,
                    account.login,
                    key.algorithm(),
                    key.fingerprint()
                ),
            ),
            false => self.broken(Step::Login, &error),
        })
    }
}

/// Whether the server does not want us, as opposed to not answering.
fn is_refusal(error: &ssh2::Error) -> bool {
    matches!(error.code(), ErrorCode::Session(AUTHENTICATION_FAILED | PUBLICKEY_UNVERIFIED))
}

fn prepare_socket(stream: &TcpStream) -> nix::Result<()> {
    stream.set_nonblocking(true).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
    setsockopt(stream, sockopt::TcpNoDelay, &true)?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    // A server that is gone is known to be gone when it has acknowledged nothing for so long (ms).
    #[cfg(target_os = "linux")]
    setsockopt(stream, sockopt::TcpUserTimeout, &30_000)?;
    Ok(())
}
