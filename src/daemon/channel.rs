//! What the supervisor and a child say to each other, over a Unix stream: orders down, reports up. The end of the stream
//! is an order too: to leave.
//!
//! A message is its length (4 bytes, big-endian), a letter for what it is, and text.

use super::{paused::Paused, users::User};
use crate::{config::LogLevel, spool::Recorded, stats::Ledger, sys::passing, time::Timestamp};
use nix::{
    poll::{PollFd, PollFlags},
    unistd::{Gid, Uid},
};
use std::{
    io::{self, ErrorKind, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
};

/// Log lines of a child that nobody has read. More is not kept: a stopped supervisor must not fill its children.
const UNREAD_MAX: usize = 1 << 20;
/// What is read of the other end before its messages are looked at: one that talks without pause gets its turn, no more.
const READ_MAX: usize = 1 << 20;
const LENGTH_LEN: usize = 4;

/// What the supervisor tells a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Begin; the first order.
    Start(Start),
    /// Go by other settings.
    Settings(String),
    /// There are new files.
    Look,
    /// What was counted elsewhere since this child began and is for its files' loss records to tell.
    Elsewhere(Box<Ledger>),
    /// Finish and exit. With a time, another child has the packets from there on.
    Leave(Option<Timestamp>),
}

/// What a child needs to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The settings as text.
    pub settings: String,
    /// The user that it becomes.
    pub user: User,
    /// Interfaces to open, of those in the settings.
    pub interfaces: Vec<String>,
    /// The host's name in file names.
    pub host: String,
    /// Nanoseconds that files begin after the multiple of their length.
    pub offset: u64,
    /// Another child captures still, and will until this one is ready.
    pub takes_over: bool,
    /// Another child has the packets up to there, and is leaving.
    pub since: Option<Timestamp>,
    /// Where there are any: if none of these can be opened, the other child goes on, and this one has nothing to do.
    pub only_for: Vec<String>,
}

/// What a child tells the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A line for the log.
    Log(LogLevel, String),
    /// Everything is open, every privilege dropped. What it captures from, and since when.
    Ready(Timestamp, Vec<String>),
    /// An interface could not be opened, or gives no packets any more.
    InterfaceLost(String, String),
    /// A file was published.
    Published,
    /// Up to here loss records tell what was counted: by the child, and elsewhere.
    Recorded(Box<Recorded>),
    /// The spool's directory is not there any more.
    DirectoryGone,
    /// A directory that its sandbox holds on to is another one now: a new child is wanted.
    Outdated,
    /// What somebody has paused.
    Paused(Paused),
    /// There is no telling what is paused, and why.
    PausedUnread(String),
    /// It cannot do its work, and a new one could not either, until somebody changes something.
    Hopeless(String),
}

/// Something that travels.
pub trait Message: Sized {
    /// What it is, and its text.
    fn encode(&self) -> (u8, String);
    /// Longest one; what is longer is none.
    const MAX: usize;

    /// `None` if it cannot be one.
    fn decode(kind: u8, text: &str) -> Option<Self>;

    /// Whether it may be dropped when the other end takes nothing.
    fn is_dispensable(&self) -> bool {
        false
    }
}

impl Message for Order {
    /// Settings with a few million names.
    const MAX: usize = 256 << 20;

    fn encode(&self) -> (u8, String) {
        match self {
            Order::Start(Start { settings, user, interfaces, host, offset, takes_over, since, only_for }) => {
                let since = since.map_or(0, Timestamp::as_nanos);
                let (user, interfaces, only_for) = (user_to_text(user), interfaces.join(","), only_for.join(","));
                (b'S', format!("{user}\n{interfaces}\n{host}\n{offset}\n{takes_over}\n{since}\n{only_for}\n{settings}"))
            }
            Order::Settings(text) => (b'C', text.clone()),
            Order::Look => (b'N', String::new()),
            Order::Elsewhere(ledger) => (b'E', to_text(ledger)),
            Order::Leave(cut) => (b'L', cut.map_or(String::new(), |cut| cut.as_nanos().to_string())),
        }
    }

    fn decode(kind: u8, text: &str) -> Option<Order> {
        Some(match kind {
            b'S' => {
                let mut lines = text.splitn(8, '\n');
                let mut line = || lines.next();
                let (user, interfaces, host) = (user_from_text(line()?)?, line()?, line()?);
                let (offset, takes_over) = (line()?, line()?);
                let (since, only_for, settings) = (line()?.parse().ok()?, line()?, line()?);
                Order::Start(Start {
                    settings: settings.to_owned(),
                    user,
                    interfaces: list(interfaces),
                    host: host.to_owned(),
                    offset: offset.parse().ok()?,
                    takes_over: takes_over.parse().ok()?,
                    since: Some(Timestamp::from_nanos(since)).filter(|since| since.as_nanos() > 0),
                    only_for: list(only_for),
                })
            }
            b'C' => Order::Settings(text.to_owned()),
            b'N' => Order::Look,
            b'E' => Order::Elsewhere(Box::new(from_text(text)?)),
            b'L' if text.is_empty() => Order::Leave(None),
            b'L' => Order::Leave(Some(Timestamp::from_nanos(text.parse().ok()?))),
            _ => return None,
        })
    }
}

impl Message for Report {
    const MAX: usize = 1 << 16;

    fn encode(&self) -> (u8, String) {
        match self {
            Report::Log(level, line) => (letter(*level), line.clone()),
            Report::Ready(since, interfaces) => (b'R', format!("{}\n{}", since.as_nanos(), interfaces.join(","))),
            Report::InterfaceLost(name, reason) => (b'X', format!("{name}\n{reason}")),
            Report::Published => (b'P', String::new()),
            Report::Recorded(recorded) => {
                (b'B', format!("{}\n{}", to_text(&recorded.here), to_text(&recorded.elsewhere)))
            }
            Report::DirectoryGone => (b'G', String::new()),
            Report::Outdated => (b'O', String::new()),
            Report::Paused(paused) => (b'Z', paused.text()),
            Report::PausedUnread(error) => (b'z', error.clone()),
            Report::Hopeless(message) => (b'H', message.clone()),
        }
    }

    fn is_dispensable(&self) -> bool {
        matches!(self, Report::Log(..))
    }

    fn decode(kind: u8, text: &str) -> Option<Report> {
        let level = [LogLevel::Error, LogLevel::Warning, LogLevel::Info, LogLevel::Debug];
        if let Some(level) = level.into_iter().find(|level| letter(*level) == kind) {
            return Some(Report::Log(level, text.to_owned()));
        }
        Some(match kind {
            b'R' => {
                let (since, interfaces) = text.split_once('\n')?;
                Report::Ready(Timestamp::from_nanos(since.parse().ok()?), list(interfaces))
            }
            b'X' => {
                let (name, reason) = text.split_once('\n')?;
                Report::InterfaceLost(name.to_owned(), reason.to_owned())
            }
            b'P' => Report::Published,
            b'B' => {
                let (here, elsewhere) = text.split_once('\n')?;
                Report::Recorded(Box::new(Recorded { here: from_text(here)?, elsewhere: from_text(elsewhere)? }))
            }
            b'G' => Report::DirectoryGone,
            b'O' => Report::Outdated,
            b'Z' => Report::Paused(Paused::parse(text)?),
            b'z' => Report::PausedUnread(text.to_owned()),
            b'H' => Report::Hopeless(text.to_owned()),
            _ => return None,
        })
    }
}

fn letter(level: LogLevel) -> u8 {
    match level {
        LogLevel::Error => b'e',
        LogLevel::Warning => b'w',
        LogLevel::Info => b'i',
        LogLevel::Debug => b'd',
    }
}

fn to_text(ledger: &Ledger) -> String {
    ledger.to_words().map(|word| word.to_string()).join(" ")
}

fn from_text(text: &str) -> Option<Ledger> {
    let words: Vec<u64> = text.split(' ').map(|word| word.parse().ok()).collect::<Option<_>>()?;
    Some(Ledger::from_words(&words.try_into().ok()?))
}

fn list(text: &str) -> Vec<String> {
    text.split(',').filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// The numbers, then the name, which may have whatever its database allows.
fn user_to_text(User { name, uid, gid, groups }: &User) -> String {
    let groups: Vec<String> = groups.iter().map(Gid::to_string).collect();
    format!("{uid} {gid} {} {name}", groups.join(","))
}

fn user_from_text(text: &str) -> Option<User> {
    let mut words = text.splitn(4, ' ');
    let uid = Uid::from_raw(words.next()?.parse().ok()?);
    let gid = Gid::from_raw(words.next()?.parse().ok()?);
    let groups =
        words.next()?.split(',').filter(|group| !group.is_empty()).map(|group| group.parse().map(Gid::from_raw));
    Some(User { uid, gid, groups: groups.collect::<Result<_, _>>().ok()?, name: words.next()?.to_owned() })
}

/// One end. It never blocks: what the other end does not take now is sent by the next call.
pub struct Channel {
    stream: UnixStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    is_open: bool,
    /// Messages that were not kept.
    dropped: u64,
}

impl Channel {
    /// Two ends; the second is for a child, to be made a channel there.
    pub fn pair() -> io::Result<(Channel, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Channel::new(ours)?, theirs.into()))
    }

    /// Over a connected stream.
    pub fn new(stream: UnixStream) -> io::Result<Channel> {
        stream.set_nonblocking(true)?;
        Ok(Channel { stream, incoming: Vec::new(), outgoing: Vec::new(), is_open: true, dropped: 0 })
    }

    /// Passes descriptors and a byte about them, before any message; the other end takes them with [`passed`].
    pub fn pass(&mut self, which: u8, descriptors: &[OwnedFd]) -> io::Result<()> {
        passing::send(&self.stream, &[which], descriptors)
    }

    /// Whether the other end is there, as far as we know.
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Whether something waits to be sent.
    pub fn wants_to_send(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// To poll for: something to receive, and room to send while something waits for it.
    pub fn to_poll(&self) -> PollFd<'_> {
        let to_send = if self.outgoing.is_empty() { PollFlags::empty() } else { PollFlags::POLLOUT };
        PollFd::new(self.stream.as_fd(), PollFlags::POLLIN | to_send)
    }

    /// Messages that were dropped since the last call, because the other end takes none.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Sends a message, now or later. When too much waits, log lines are dropped.
    pub fn send<M: Message>(&mut self, message: &M) {
        let (kind, text) = message.encode();
        let len = 1 + text.len();
        if message.is_dispensable() && self.outgoing.len() + len > UNREAD_MAX || len > M::MAX {
            self.dropped += 1;
            return;
        }
        self.outgoing.extend((len as u32).to_be_bytes());
        self.outgoing.push(kind);
        self.outgoing.extend(text.as_bytes());
        self.flush();
    }

    /// Sends what waits, as far as the other end takes it.
    pub fn flush(&mut self) {
        while self.is_open && !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(len) => drop(self.outgoing.drain(..len)),
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.is_open = false,
            }
        }
    }

    /// The messages that have come; there may be more, if there are any.
    pub fn receive<M: Message>(&mut self) -> Vec<M> {
        let mut buffer = [0; 1 << 16];
        let mut read = 0;
        while self.is_open && read < READ_MAX {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.is_open = false,
                Ok(len) => {
                    read += len;
                    self.incoming.extend(&buffer[..len]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.is_open = false,
            }
        }
        let mut messages = Vec::new();
        let mut taken = 0;
        while let Some((len, rest)) = self.incoming.get(taken..).and_then(|rest| rest.split_first_chunk::<LENGTH_LEN>())
        {
            let len = u32::from_be_bytes(*len) as usize;
            if len == 0 || len > M::MAX {
                self.is_open = false; // whoever sends this is not the program we started
                break;
            }
            let Some((kind, text)) = rest.get(..len).and_then(<[u8]>::split_first) else { break };
            messages.extend(M::decode(*kind, &String::from_utf8_lossy(text)));
            taken += LENGTH_LEN + len;
        }
        self.incoming.drain(..taken);
        messages
    }
}

/// What [`Channel::pass`] has passed over a stream, before it is made a channel.
pub fn passed(stream: &UnixStream) -> io::Result<(u8, Vec<OwnedFd>)> {
    let mut which = [0];
    let (_, descriptors) = passing::receive(stream, &mut which)?;
    Ok((which[0], descriptors))
}

#[cfg(test)]
mod tests {
    use super::{super::paused::Until, *};

    #[test]
    fn descriptors_come_before_the_messages_and_cost_none_of_them() {
        let (mut supervisor, theirs) = Channel::pair().unwrap();
        let (one, mut other) = UnixStream::pair().unwrap();
        supervisor.pass(5, &[one.into()]).unwrap();
        supervisor.send(&Order::Look);
        let stream = UnixStream::from(theirs);
        let (which, mut descriptors) = passed(&stream).unwrap();
        assert_eq!(Channel::new(stream).unwrap().receive::<Order>(), [Order::Look]);
        UnixStream::from(descriptors.remove(0)).write_all(b"x").unwrap();
        assert_eq!((which, descriptors.len(), other.read(&mut [0; 2]).unwrap()), (5, 0, 1));
    }

    fn pair() -> (Channel, Channel) {
        let (ours, theirs) = Channel::pair().unwrap();
        (ours, Channel::new(theirs.into()).unwrap())
    }

    fn user(groups: &[u32]) -> User {
        let groups = groups.iter().copied().map(Gid::from_raw).collect();
        User { name: "EXAMPLE\\a user".into(), uid: Uid::from_raw(7), gid: Gid::from_raw(8), groups }
    }

    fn ledger(number: u64) -> Ledger {
        Ledger { total: number, ..Ledger::default() }
    }

    #[test]
    fn every_message_arrives_as_it_was_sent() {
        let (mut supervisor, mut child) = pair();
        let start = Start {
            settings: "a=1\nb='2\n3'\n".into(),
            user: user(&[4, 4_294_967_294]),
            interfaces: vec!["eth0".into(), "eth1".into()],
            host: "ns.example.net".into(),
            offset: 17,
            takes_over: true,
            since: None,
            only_for: vec!["eth1".into()],
        };
        let cut = Timestamp::from_nanos(u64::MAX);
        let alone = Start {
            user: user(&[]),
            interfaces: vec![],
            takes_over: false,
            since: Some(cut),
            only_for: vec![],
            ..start.clone()
        };
        let orders = [
            Order::Start(start),
            Order::Start(alone),
            Order::Settings("x=1\n".into()),
            Order::Look,
            Order::Elsewhere(Box::new(ledger(7))),
            Order::Leave(None),
            Order::Leave(Some(cut)),
        ];
        orders.iter().for_each(|order| supervisor.send(order));
        assert_eq!(child.receive::<Order>(), orders);
        let reports = [
            Report::Log(LogLevel::Error, "no".into()),
            Report::Log(LogLevel::Warning, String::new()),
            Report::Log(LogLevel::Info, "a\nb".into()),
            Report::Log(LogLevel::Debug, "d".into()),
            Report::Ready(cut, vec!["eth0".into()]),
            Report::InterfaceLost("eth0".into(), "down\nreally".into()),
            Report::Published,
            Report::Recorded(Box::new(Recorded { here: ledger(0), elsewhere: ledger(u64::MAX) })),
            Report::DirectoryGone,
            Report::Outdated,
            Report::Paused(Paused::default()),
            Report::Paused(Paused { upload: Some(Until::Time(Timestamp::new(17, 0))), ..Paused::ALL }),
            Report::PausedUnread("no".into()),
            Report::Hopeless("h".into()),
        ];
        reports.iter().for_each(|report| child.send(report));
        assert_eq!(supervisor.receive::<Report>(), reports);
    }

    #[test]
    fn a_message_larger_than_the_socket_takes_arrives_in_parts() {
        let (mut supervisor, mut child) = pair();
        let large = Order::Settings("x".repeat(10 << 20));
        supervisor.send(&large);
        let mut received = Vec::new();
        assert!(supervisor.wants_to_send());
        while received.is_empty() {
            received = child.receive::<Order>();
            supervisor.flush();
        }
        assert_eq!(received, [large]);
    }

    #[test]
    fn a_reader_that_stopped_costs_a_bounded_amount_and_is_told() {
        let (mut child, mut supervisor) = pair();
        let line = Report::Log(LogLevel::Info, "x".repeat(1000));
        (0..10_000).for_each(|_| child.send(&line));
        assert!(child.outgoing.len() <= UNREAD_MAX);
        let mut received = 0;
        while child.wants_to_send() {
            received += supervisor.receive::<Report>().len() as u64;
            child.flush();
        }
        received += supervisor.receive::<Report>().len() as u64;
        assert_eq!(received + child.take_dropped(), 10_000);
    }

    #[test]
    fn the_end_of_the_other_side_is_seen_after_what_it_said() {
        let (mut child, mut supervisor) = pair();
        child.send(&Report::Published);
        drop(child);
        assert_eq!(supervisor.receive::<Report>(), [Report::Published]);
        assert!(!supervisor.is_open());
    }

    #[test]
    fn nonsense_ends_the_channel_and_nothing_else() {
        let (mut child, mut supervisor) = pair();
        child.stream.write_all(&[0, 0, 0, 1, b'?', 0, 0, 0, 2, b'R', b'x', 255, 255, 255, 255, 0]).unwrap();
        assert_eq!(supervisor.receive::<Report>(), []);
        assert!(!supervisor.is_open());
    }
}
