//! Frames of several interfaces put in order of time.

use super::ring::BLOCK_TIMEOUT;
use crate::capture::{Frame, LinkType};
use crate::time::Timestamp;
use std::time::Duration;

/// How long a frame waits at most for older ones of other interfaces.
const HOLD: Duration = BLOCK_TIMEOUT.saturating_mul(2);
/// A queue holds the largest frame there is.
const QUEUE_BYTES_MIN: usize = 512 << 10;

/// Frames that wait until no older one can come from another interface; a queue of fixed size for each interface. When
/// one is full, the oldest of all leave early. `now` is the clock that frames are stamped by; it may be set.
pub(super) struct Holdback {
    lanes: Vec<Lane>,
    /// Frames that left because a queue was full.
    pub(super) early: u64,
}

/// What one interface gave.
struct Lane {
    queue: Queue,
    /// Nothing older is to come.
    shown: Timestamp,
    /// It has more to be read, which may be of any age: the process was held up.
    behind: bool,
    /// Nothing is to come.
    ended: bool,
}

impl Holdback {
    /// For interfaces with these link types; `bytes` for all queues together.
    pub(super) fn new(link_types: impl ExactSizeIterator<Item = LinkType>, bytes: usize) -> Holdback {
        let each = (bytes / link_types.len().max(1)).max(QUEUE_BYTES_MIN);
        let lane = |link_type| Lane {
            queue: Queue::new(link_type, each),
            shown: Timestamp::default(),
            behind: false,
            ended: false,
        };
        Holdback { lanes: link_types.map(lane).collect(), early: 0 }
    }

    /// Takes a frame that came from the interface `lane`; when there is no room for it, the oldest go to `each`. Says
    /// how many.
    #[inline]
    pub(super) fn push(&mut self, lane: usize, frame: &Frame, each: &mut impl FnMut(&Frame)) -> usize {
        let mut left = 0;
        while let Some(it) = self.lanes.get_mut(lane) {
            it.show(frame.time);
            if it.queue.push(frame) {
                return left;
            }
            if !self.oldest_leaves(each) {
                each(frame); // larger than a queue; all before it have left
                return left + 1;
            }
            left += 1;
            self.early += 1;
        }
        left
    }

    /// The interface was read after `now`, and was empty then or was not.
    pub(super) fn read(&mut self, lane: usize, is_empty: bool, now: Timestamp) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.behind = !is_empty;
            if is_empty {
                lane.show(now.before(BLOCK_TIMEOUT));
            }
        }
    }

    /// The interface gives nothing any more.
    pub(super) fn end(&mut self, lane: usize) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.ended = true;
        }
    }

    /// Gives the frames that need not wait any more, and says how many.
    pub(super) fn release(&mut self, now: Timestamp, each: &mut impl FnMut(&Frame)) -> usize {
        let mut left = 0;
        while let Some(index) = self.oldest().filter(|index| self.may_leave(*index, now)) {
            self.leaves(index, each);
            left += 1;
        }
        left
    }

    /// Gives all.
    pub(super) fn flush(&mut self, each: &mut impl FnMut(&Frame)) -> usize {
        let mut left = 0;
        while self.oldest_leaves(each) {
            left += 1;
        }
        left
    }

    /// The lane whose first frame is the oldest; of equally old ones the first.
    #[inline]
    fn oldest(&self) -> Option<usize> {
        let heads = self.lanes.iter().enumerate().filter_map(|(index, lane)| Some((lane.queue.first()?, index)));
        heads.min().map(|(_, index)| index)
    }

    /// Whether the oldest frame, which is of the lane `index`, is older than all that is to come, or has waited long
    /// enough for interfaces that are read as they go. One that is of the future waits no longer either: the clock was
    /// set.
    #[inline]
    fn may_leave(&self, index: usize, now: Timestamp) -> bool {
        let Some(time) = self.lanes.get(index).and_then(|lane| lane.queue.first()) else { return false };
        let is_due = time.is_beyond(HOLD, now);
        let is_waited_for = |lane: &Lane| {
            let may_give_older = !lane.ended && lane.queue.frames == 0 && lane.shown < time;
            may_give_older && (lane.behind || !is_due)
        };
        !self.lanes.iter().any(is_waited_for)
    }

    fn oldest_leaves(&mut self, each: &mut impl FnMut(&Frame)) -> bool {
        let oldest = self.oldest();
        if let Some(index) = oldest {
            self.leaves(index, each);
        }
        oldest.is_some()
    }

    #[inline]
    fn leaves(&mut self, index: usize, each: &mut impl FnMut(&Frame)) {
        if let Some(lane) = self.lanes.get_mut(index) {
            lane.queue.pop(each);
        }
    }
}

impl Lane {
    /// Nothing older than `time` is to come. It goes back when the clock was set back.
    #[inline]
    fn show(&mut self, time: Timestamp) {
        if time > self.shown || self.shown.is_beyond(HOLD, time) {
            self.shown = time;
        }
    }
}

/// Frames one behind the other in a buffer that is allocated once; each in one piece, so that it can be borrowed.
struct Queue {
    link_type: LinkType,
    buffer: Box<[u8]>,
    /// Where the first frame starts.
    start: usize,
    /// Where the next frame goes: behind the last.
    end: usize,
    /// Once `end` has begun anew before `start`: where the frames behind `start` end.
    wrapped: Option<usize>,
    frames: usize,
}

/// Before each frame: time, length on the wire, length captured.
const RECORD: usize = 16;

impl Queue {
    fn new(link_type: LinkType, bytes: usize) -> Queue {
        Queue { link_type, buffer: vec![0; bytes].into(), start: 0, end: 0, wrapped: None, frames: 0 }
    }

    /// Whether there was room.
    #[inline]
    fn push(&mut self, frame: &Frame) -> bool {
        let len = RECORD + frame.bytes.len();
        let room_ends = if self.wrapped.is_some() { self.start } else { self.buffer.len() };
        if room_ends - self.end < len {
            if self.wrapped.is_some() || self.start < len {
                return false;
            }
            self.wrapped = Some(self.end);
            self.end = 0;
        }
        let Some(record) = self.buffer.get_mut(self.end..self.end + len) else { return false };
        let (head, bytes) = record.split_at_mut(RECORD);
        let captured_len = frame.bytes.len() as u32; // within the buffer, which no 4 GiB are given
        head[..8].copy_from_slice(&frame.time.as_nanos().to_ne_bytes());
        head[8..12].copy_from_slice(&frame.wire_len.to_ne_bytes());
        head[12..].copy_from_slice(&captured_len.to_ne_bytes());
        bytes.copy_from_slice(frame.bytes);
        self.end += len;
        self.frames += 1;
        true
    }

    /// When the first frame came.
    #[inline]
    fn first(&self) -> Option<Timestamp> {
        let time = self.buffer.get(self.start..)?.first_chunk().filter(|_| self.frames > 0)?;
        Some(Timestamp::from_nanos(u64::from_ne_bytes(*time)))
    }

    /// Takes out the first frame.
    #[inline]
    fn pop(&mut self, each: &mut impl FnMut(&Frame)) {
        let Some(time) = self.first() else { return };
        let Some((head, rest)) = self.buffer.get(self.start + 8..).and_then(<[u8]>::split_first_chunk::<8>) else {
            return;
        };
        let [a, b, c, d, e, f, g, h] = *head;
        let wire_len = u32::from_ne_bytes([a, b, c, d]);
        let captured_len = u32::from_ne_bytes([e, f, g, h]) as usize;
        let bytes = rest.get(..captured_len).unwrap_or_default();
        each(&Frame { time, link_type: self.link_type, bytes, wire_len });
        self.start += RECORD + captured_len;
        self.frames -= 1;
        if self.frames == 0 {
            (self.start, self.end, self.wrapped) = (0, 0, None);
        } else if self.wrapped == Some(self.start) {
            (self.start, self.wrapped) = (0, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn frame(time: u64, bytes: &[u8]) -> Frame<'_> {
        let wire_len = bytes.len() as u32 + 3;
        Frame { time: Timestamp::from_nanos(time), link_type: LinkType::Raw, bytes, wire_len }
    }

    proptest! {
        #[test]
        fn a_queue_is_a_queue(steps in proptest::collection::vec((any::<bool>(), 0usize..400), 0..400)) {
            let mut queue = Queue::new(LinkType::Raw, 1000);
            let mut model = VecDeque::new();
            let mut model_bytes = 0;
            for (number, (push, len)) in (0..).zip(steps) {
                let bytes = vec![number as u8; len];
                if push {
                    let taken = queue.push(&frame(number, &bytes));
                    // What is left at the buffer's end is less than one frame (of 416 bytes at most).
                    prop_assert!(taken || model_bytes + RECORD + len + 416 > 1000);
                    if taken {
                        model_bytes += RECORD + len;
                        model.push_back((number, bytes));
                    }
                } else {
                    let mut popped = None;
                    queue.pop(&mut |frame| {
                        assert_eq!(frame.wire_len as usize, frame.bytes.len() + 3);
                        popped = Some((frame.time.as_nanos(), frame.bytes.to_vec()));
                    });
                    prop_assert_eq!(&popped, &model.pop_front());
                    model_bytes -= popped.map_or(0, |(_, bytes)| RECORD + bytes.len());
                }
                prop_assert_eq!(queue.frames, model.len());
                prop_assert_eq!(queue.first().map(Timestamp::as_nanos), model.front().map(|(time, _)| *time));
            }
        }
    }
}
