//! A child's side of the channel, and the signal that it heeds.

use super::{
    channel::{self, Channel, Order, Report, Start},
    sandbox::Entered,
    signals::Signals,
};
use crate::config::LogLevel;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

/// How long a child waits for its first order, and for its last words to be taken.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a child hears from its supervisor, and reports to it.
pub struct Post {
    channel: Channel,
    signals: Signals,
    orders: Vec<Order>,
}

impl Post {
    /// Over the stream that is descriptor 0. The first order.
    pub fn open() -> io::Result<(Post, Start)> {
        let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        let mut post = Post { channel: Channel::new(stream)?, signals: Signals::for_child()?, orders: Vec::new() };
        let by = Instant::now() + PATIENCE;
        while !post.is_to_leave() && Instant::now() < by {
            post.wait(PATIENCE);
            if !post.orders.is_empty() {
                if let Order::Start(start) = post.orders.remove(0) {
                    return Ok((post, start));
                }
                break;
            }
        }
        Err(io::Error::other("no supervisor tells this process what to do; start it with: sie-dns-sensor run"))
    }

    /// The descriptors that the supervisor passes a child that needs some, and a byte about them. Called before [`Post::open`].
    pub fn passed() -> io::Result<(u8, Vec<OwnedFd>)> {
        channel::passed(&UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?))
    }

    /// Waits for an order or a signal, and sends what waits to be sent.
    pub fn wait(&mut self, limit: Duration) {
        self.wait_for(limit, None);
    }

    /// The same, or until this can be read.
    pub fn wait_also(&mut self, limit: Duration, also: BorrowedFd) {
        self.wait_for(limit, Some(also));
    }

    fn wait_for(&mut self, limit: Duration, also: Option<BorrowedFd>) {
        self.wait_among(limit, also.map(|also| (also, PollFlags::POLLIN)));
    }

    /// The same, or until what is waited for comes to pass at one of these; at which it did.
    pub fn wait_among<'p>(
        &mut self,
        limit: Duration,
        others: impl IntoIterator<Item = (BorrowedFd<'p>, PollFlags)>,
    ) -> Vec<bool> {
        let mut descriptors = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN), self.channel.to_poll()];
        descriptors.extend(others.into_iter().map(|(other, wanted)| PollFd::new(other, wanted)));
        // An interruption is a signal, which is looked for next.
        let _ = poll(&mut descriptors, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX));
        let ready = descriptors.iter().skip(2).map(|polled| polled.any().unwrap_or(true)).collect();
        drop(descriptors);
        self.signals.clear();
        self.channel.flush();
        self.orders.extend(self.channel.receive());
        let dropped = self.channel.take_dropped();
        if dropped > 0 && !self.channel.wants_to_send() {
            self.send(&Report::Log(LogLevel::Warning, format!("{dropped} reports of this process were dropped")));
        }
        ready
    }

    /// The orders that have come.
    pub fn orders(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.orders)
    }

    /// Whether the supervisor is gone, or a signal says to leave.
    pub fn is_to_leave(&self) -> bool {
        self.signals.leave() || !self.channel.is_open()
    }

    /// Whether there is a supervisor to say when to leave.
    pub fn is_supervised(&self) -> bool {
        self.channel.is_open()
    }

    /// Reports.
    pub fn send(&mut self, report: &Report) {
        self.channel.send(report);
    }

    /// Reports what the sandbox enforces.
    pub fn confined(&mut self, name: &str, entered: &Entered) {
        let enforced = format!("the {name} process is confined: {}", entered.enforced.join(", "));
        self.send(&Report::Log(LogLevel::Debug, enforced));
        for missing in &entered.missing {
            self.send(&Report::Log(LogLevel::Warning, format!("the {name} process is confined less: {missing}")));
        }
    }

    /// Waits until the last words are taken, for a while.
    pub fn close(&mut self) {
        let by = Instant::now() + PATIENCE;
        while self.channel.wants_to_send() && self.channel.is_open() && Instant::now() < by {
            self.wait(Duration::from_millis(100));
        }
    }
}
