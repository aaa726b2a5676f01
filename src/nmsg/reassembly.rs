//! Containers that were cut into container fragments, until they are whole again.

use std::collections::{BTreeMap, VecDeque};

use super::container::{INFLATED_MAX, checksum};
use super::reader::Damage;
use super::wire::{Fields, Malformed};

/// Containers that may be incomplete at a time.
const CONTAINERS_MAX: usize = 64;
/// What an entry costs beside its bytes, so that empty container fragments are not free.
const ENTRY_COST: usize = 64;

/// One container fragment (`NmsgFragment`).
struct Fragment<'b> {
    id: u32,
    current: u32,
    last: u32,
    crc: Option<u32>,
    bytes: &'b [u8],
}

/// The container fragments of one container so far.
struct Partial {
    id: u32,
    last: u32,
    crc: Option<u32>,
    cost: usize,
    parts: BTreeMap<u32, Vec<u8>>,
}

/// Containers waiting for their missing fragments: at most 64, holding at most [`INFLATED_MAX`] bytes together. When
/// full, the one that was begun first is dropped and counted. There is no clock: a file has none.
#[derive(Default)]
pub(super) struct Reassembly {
    partials: VecDeque<Partial>,
    cost: usize,
    dropped: u64,
}

impl Reassembly {
    /// Adds the body of a container with the fragment flag; returns the whole body when nothing is missing any more.
    pub(super) fn add(&mut self, body: &[u8]) -> Result<Option<Vec<u8>>, Damage> {
        let fragment = Fragment::decode(body)?;
        if fragment.current > fragment.last {
            return Err(Damage::Fragment);
        }
        let position = match self.partials.iter().position(|partial| partial.id == fragment.id) {
            Some(position) => position,
            None => self.begin(&fragment),
        };
        let Some(partial) = self.partials.get_mut(position) else {
            return Ok(None);
        };
        if (partial.last, partial.crc) != (fragment.last, fragment.crc) {
            return Err(Damage::Fragment);
        }
        let cost = partial.insert(&fragment);
        self.cost += cost;
        if partial.is_whole() {
            return self.finish(position).map(Some);
        }
        while self.cost > INFLATED_MAX {
            self.drop_oldest();
        }
        Ok(None)
    }

    /// How many containers were never completed: those dropped, and those that still wait.
    pub(super) fn incomplete(&self) -> u64 {
        self.dropped + u64::try_from(self.partials.len()).unwrap_or(u64::MAX)
    }

    fn begin(&mut self, fragment: &Fragment<'_>) -> usize {
        if self.partials.len() == CONTAINERS_MAX {
            self.drop_oldest();
        }
        self.partials.push_back(Partial {
            id: fragment.id,
            last: fragment.last,
            crc: fragment.crc,
            cost: 0,
            parts: BTreeMap::new(),
        });
        self.partials.len() - 1
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.partials.pop_front() {
            self.cost -= oldest.cost;
            self.dropped += 1;
        }
    }

    fn finish(&mut self, position: usize) -> Result<Vec<u8>, Damage> {
        let Some(whole) = self.partials.remove(position) else {
            return Err(Damage::Fragment);
        };
        self.cost -= whole.cost;
        let bytes: Vec<u8> = whole.parts.into_values().flatten().collect();
        if whole.crc.is_some_and(|crc| crc != checksum(&bytes)) {
            return Err(Damage::FragmentChecksum);
        }
        Ok(bytes)
    }
}

impl Partial {
    /// Keeps the fragment unless it is there already; returns what it costs.
    fn insert(&mut self, fragment: &Fragment<'_>) -> usize {
        if self.parts.contains_key(&fragment.current) {
            return 0;
        }
        self.parts.insert(fragment.current, fragment.bytes.to_vec());
        let cost = fragment.bytes.len() + ENTRY_COST;
        self.cost += cost;
        cost
    }

    fn is_whole(&self) -> bool {
        // Every key is at most `last`, so as many as there can be are all of them.
        u64::try_from(self.parts.len()).unwrap_or(u64::MAX) == u64::from(self.last) + 1
    }
}

impl<'b> Fragment<'b> {
    fn decode(body: &'b [u8]) -> Result<Fragment<'b>, Malformed> {
        let (mut id, mut current, mut last, mut crc, mut bytes) = (None, None, None, None, None);
        for field in Fields::new(body) {
            let (number, value) = field?;
            match number {
                1 => id = Some(value.u32()?),
                2 => current = Some(value.u32()?),
                3 => last = Some(value.u32()?),
                4 => bytes = Some(value.bytes()?),
                5 => crc = Some(value.u32()?),
                _ => {}
            }
        }
        Ok(Fragment {
            id: id.ok_or(Malformed::Missing(1))?,
            current: current.ok_or(Malformed::Missing(2))?,
            last: last.ok_or(Malformed::Missing(3))?,
            crc,
            bytes: bytes.ok_or(Malformed::Missing(4))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nmsg::samples;

    #[test]
    fn fragments_in_any_order_become_whole() {
        let crc = Some(checksum(b"abcdef"));
        let mut reassembly = Reassembly::default();
        assert_eq!(reassembly.add(&samples::fragment(7, 2, 2, b"ef", crc)), Ok(None));
        assert_eq!(reassembly.add(&samples::fragment(7, 0, 2, b"ab", crc)), Ok(None));
        assert_eq!(reassembly.add(&samples::fragment(7, 0, 2, b"ab", crc)), Ok(None), "a repetition");
        assert_eq!(reassembly.incomplete(), 1);
        assert_eq!(reassembly.add(&samples::fragment(7, 1, 2, b"cd", crc)), Ok(Some(b"abcdef".to_vec())));
        assert_eq!((reassembly.incomplete(), reassembly.cost), (0, 0));
    }

    #[test]
    fn a_wrong_checksum_and_a_contradiction_are_damage() {
        let mut reassembly = Reassembly::default();
        assert_eq!(reassembly.add(&samples::fragment(1, 0, 0, b"ab", Some(1))), Err(Damage::FragmentChecksum));
        assert_eq!(reassembly.add(&samples::fragment(2, 2, 1, b"ab", None)), Err(Damage::Fragment));
        assert_eq!(reassembly.add(&samples::fragment(3, 0, 5, b"ab", None)), Ok(None));
        assert_eq!(reassembly.add(&samples::fragment(3, 1, 6, b"ab", None)), Err(Damage::Fragment));
    }

    #[test]
    fn waiting_containers_are_bounded_in_number() {
        let mut reassembly = Reassembly::default();
        for id in 0..1000 {
            assert_eq!(reassembly.add(&samples::fragment(id, 0, u32::MAX, b"", None)), Ok(None));
        }
        assert_eq!((reassembly.partials.len(), reassembly.incomplete()), (64, 1000));
    }

    #[test]
    fn waiting_containers_are_bounded_in_bytes_even_when_empty() {
        let mut reassembly = Reassembly::default();
        let big = vec![0; INFLATED_MAX / 4];
        for id in 0..20 {
            reassembly.add(&samples::fragment(id, 0, 1, &big, None)).unwrap();
        }
        assert!(reassembly.partials.len() <= 4 && reassembly.cost <= INFLATED_MAX);
        for current in 0..300_000 {
            reassembly.add(&samples::fragment(99, current, u32::MAX, b"", None)).unwrap();
        }
        assert!(reassembly.cost <= INFLATED_MAX);
    }
}
