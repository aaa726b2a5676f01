//! Frames from interfaces: what one capture thread reads.

#[cfg(target_os = "linux")]
mod cooked;
mod error;
mod fanout;
mod filter;
mod holdback;
mod ring;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

pub use error::{FilterError, OpenError, OpenFault, ReadError};
pub use fanout::open;
pub use filter::{CompileError, Filter, Form, Program, Why};
pub use ring::{BLOCK_TIMEOUT, Options, Ring};

use super::{Frame, LinkType};
use crate::stats;
use crate::time::Timestamp;
use holdback::Holdback;

/// Something frames are read from.
pub trait Source {
    /// What its frames start with.
    fn link_type(&self) -> LinkType;

    /// Gives the frames that are there, at most `max`, without waiting. When they were fewer, it is empty.
    fn read(&mut self, max: usize, each: impl FnMut(&Frame)) -> Result<usize, ReadError>;
}

impl Source for Ring {
    fn link_type(&self) -> LinkType {
        Ring::link_type(self)
    }

    #[inline]
    fn read(&mut self, max: usize, each: impl FnMut(&Frame)) -> Result<usize, ReadError> {
        Ring::read(self, max, each)
    }
}

/// What one thread captures from. Frames of one interface go straight through, borrowed from its ring; those of several
/// are copied once and wait up to 200 ms for older ones of the others.
pub struct Live<S = Ring> {
    sources: Vec<Place<S>>,
    /// With several sources.
    holdback: Option<Holdback>,
    /// What came from each, that failed or not.
    links: Vec<stats::Link>,
}

/// A source's place in the list.
struct Place<S> {
    /// `None` once it is gone.
    source: Option<S>,
    /// It failed, and when that was: it goes a little later.
    failed: Option<(Timestamp, ReadError)>,
}

/// How long a source that failed is still read: the kernel may have kept the last packets back. Twice what it may.
const LAST: Duration = BLOCK_TIMEOUT.saturating_mul(2);

/// What came of reading.
#[derive(Debug)]
pub struct Turn {
    /// Frames given.
    pub frames: usize,
    /// All sources gave everything they had: nothing older waits in any of them.
    pub is_empty: bool,
    /// Sources that cannot be read any more, told once, a little after they failed: their place in the list, and why.
    /// The others go on.
    pub failed: Vec<(usize, ReadError)>,
}

impl<S: Source> Live<S> {
    /// Reads from these. Frames that wait for others take up to `holdback_bytes`, but room for the largest frame.
    pub fn new(sources: Vec<S>, holdback_bytes: usize) -> Live<S> {
        let several = sources.len() > 1;
        let holdback = several.then(|| Holdback::new(sources.iter().map(S::link_type), holdback_bytes));
        let links = vec![stats::Link::default(); sources.len()];
        let place = |source| Place { source: Some(source), failed: None };
        Live { sources: sources.into_iter().map(place).collect(), holdback, links }
    }

    /// The sources, in the order they were given; `None` for those that failed.
    pub fn sources(&mut self) -> impl Iterator<Item = Option<&mut S>> {
        self.sources.iter_mut().map(|place| place.source.as_mut())
    }

    /// Frames that left out of order because more came than can be held back.
    pub fn released_early(&self) -> u64 {
        self.holdback.as_ref().map_or(0, |holdback| holdback.early)
    }

    /// Gives all frames that wait, in order: the end.
    pub fn flush(&mut self, mut each: impl FnMut(&Frame)) -> usize {
        self.holdback.as_mut().map_or(0, |holdback| holdback.flush(&mut each))
    }

    /// Reads at most `max` frames of each source, and gives those whose turn it is. `now` is the wall clock's time
    /// before the call. `drop_source` is told of a source before it goes.
    fn read_with(
        &mut self,
        now: Timestamp,
        max: usize,
        mut each: impl FnMut(&Frame),
        mut drop_source: impl FnMut(&mut stats::Link, S),
    ) -> Turn {
        let mut turn = Turn { frames: 0, is_empty: true, failed: Vec::new() };
        let Live { sources, holdback, links } = self;
        for (index, (place, link)) in sources.iter_mut().zip(links).enumerate() {
            let Some(source) = &mut place.source else { continue };
            let (mut left, mut frames, mut bytes) = (0, 0, 0);
            let count = |frame: &Frame| {
                frames += 1;
                bytes += u64::from(frame.wire_len);
            };
            let read = match holdback {
                None => counted(source, max, count, &mut each).inspect(|frames| left = *frames),
                Some(holdback) => counted(source, max, count, |frame| left += holdback.push(index, frame, &mut each)),
            };
            link.packets += frames;
            link.bytes += bytes;
            turn.frames += left;
            let is_empty = !matches!(read, Ok(frames) if frames == max);
            turn.is_empty &= is_empty;
            if let Some(holdback) = holdback {
                holdback.read(index, is_empty, now);
            }
            if let Err(error) = read {
                place.failed.get_or_insert((now, error));
            }
            if let Some((_, error)) = place.failed.take_if(|(since, _)| now.is_beyond(LAST, *since)) {
                turn.failed.push((index, error));
                holdback.iter_mut().for_each(|holdback| holdback.end(index));
                place.source.take().into_iter().for_each(|source| drop_source(link, source));
            }
        }
        if let Some(holdback) = holdback {
            turn.frames += holdback.release(now, &mut each);
        }
        turn
    }
}

impl Live {
    /// Waits until there are packets to read, or something to read at one of the `others`, but not longer than
    /// `timeout`, and 100 ms: some kernels do not wake who waits, and frames that wait for others must go on. True when
    /// it is one of the `others`. [`Live::read`] is due in every case.
    pub fn wait(&self, timeout: Duration, others: &[BorrowedFd]) -> io::Result<bool> {
        let timeout = PollTimeout::try_from(timeout.min(BLOCK_TIMEOUT)).unwrap_or(PollTimeout::ZERO);
        let rings = self.sources.iter().filter_map(|place| Some(place.source.as_ref()?.as_fd()));
        let all = others.iter().copied().chain(rings);
        let mut waited: Vec<PollFd> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut waited, timeout) {
            Ok(_) => Ok(waited.iter().take(others.len()).any(|fd| fd.any().unwrap_or(true))),
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads at most `max` frames of each ring, without waiting, and gives those whose turn it is. `now` is the wall
    /// clock's time before the call.
    #[inline]
    pub fn read(&mut self, now: Timestamp, max: usize, each: impl FnMut(&Frame)) -> Turn {
        self.read_with(now, max, each, |link, mut ring| add(link, &ring.statistics()))
    }

    /// Asks the kernel for what it counted.
    pub fn look(&mut self) {
        for (place, link) in self.sources.iter_mut().zip(&mut self.links) {
            place.source.iter_mut().for_each(|ring| add(link, &ring.statistics()));
        }
    }

    /// What the kernel had counted for all of them when it was asked last.
    pub fn kernel(&self) -> stats::Kernel {
        let mut kernel = stats::Kernel::default();
        for link in &self.links {
            kernel.received += link.received;
            kernel.dropped += link.dropped;
            kernel.interface_dropped += link.interface_dropped;
        }
        kernel
    }

    /// What came from each source.
    pub fn links(&self) -> &[stats::Link] {
        &self.links
    }
}

/// Reads, and counts what comes.
#[inline]
fn counted<S: Source>(
    source: &mut S,
    max: usize,
    mut count: impl FnMut(&Frame),
    mut each: impl FnMut(&Frame),
) -> Result<usize, ReadError> {
    source.read(max, |frame| {
        count(frame);
        each(frame);
    })
}

fn add(link: &mut stats::Link, more: &stats::Kernel) {
    link.received += more.received;
    link.dropped += more.dropped;
    link.interface_dropped += more.interface_dropped;
}
