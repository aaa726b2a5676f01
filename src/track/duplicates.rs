//! Packets that come twice: many mirror ports copy what enters one port and leaves another both times.

use super::keyed;
use crate::{config::budget::DUPLICATES_BYTES, time::Timestamp};
use foldhash::quality::SeedableRandomState;
use std::{hash::BuildHasher, time::Duration};

/// Packets remembered. At 100 000 packets a second it is two thirds of one.
const SLOTS: usize = DUPLICATES_BYTES as usize / size_of::<Slot>();

/// The IP packets of the last moment, each as a keyed hash of 64 bits. A packet whose place another one has taken since is
/// not recognised; one is taken for another by chance once in 2⁶⁴ comparisons. `now` is packet time.
pub(super) struct Duplicates {
    within: Duration,
    slots: Box<[Slot]>,
    hasher: SeedableRandomState,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    hash: u64,
    time: Timestamp,
}

impl Duplicates {
    /// Recognises what comes again within this time.
    pub(super) fn new(within: Duration) -> Duplicates {
        Duplicates { within, slots: vec![Slot::default(); SLOTS].into(), hasher: keyed::hasher() }
    }

    /// Memory in use.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }

    /// Whether this packet, from its IP header on, has just been seen. It is remembered.
    pub(super) fn is_duplicate(&mut self, packet: &[u8], now: Timestamp) -> bool {
        let hash = self.hasher.hash_one(packet);
        let Some(slot) = self.slots.get_mut(hash as usize % SLOTS) else { return false };
        let seen = slot.hash == hash && !now.is_beyond(self.within, slot.time);
        if !seen {
            *slot = Slot { hash, time: now };
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_packet_is_a_duplicate_within_its_time_and_not_after() {
        let at = |millis: u64| Timestamp::from_nanos(1_000_000_000_000 + millis * 1_000_000);
        let mut duplicates = Duplicates::new(Duration::from_millis(5));
        assert!(!duplicates.is_duplicate(b"packet", at(0)));
        assert!(!duplicates.is_duplicate(b"packeu", at(0)));
        assert!(duplicates.is_duplicate(b"packet", at(5)));
        assert!(!duplicates.is_duplicate(b"packet", at(6)));
        assert!(duplicates.is_duplicate(b"packet", at(7)));
        assert!(duplicates.is_duplicate(b"packet", at(4)), "capture order is not exact");
        assert!(!duplicates.is_duplicate(b"packet", at(0)));
    }
}
