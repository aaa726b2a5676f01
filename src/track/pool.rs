//! Memory for bytes that wait: chunks of one size, chained.

use super::slab;

/// Chunks of `N` bytes. Chains share them, so that any mix of short and long byte strings fills the same memory and a
/// chunk that one gives back serves the next; nothing moves. Grows to the most that was ever held at once: whoever
/// holds the chains bounds them.
pub(super) struct Pool<const N: usize> {
    chunks: Vec<Chunk<N>>,
    /// First of the free chunks, chained like the others.
    free: u32,
    held: usize,
}

struct Chunk<const N: usize> {
    data: [u8; N],
    next: u32,
}

/// Bytes in a pool. Lost chunks if dropped: give it back with [`Pool::release`].
#[derive(Clone, Copy)]
pub(super) struct Chain {
    first: u32,
    last: u32,
    len: u32,
}

/// No chunk.
const NONE: u32 = u32::MAX;

impl Chain {
    pub(super) const EMPTY: Chain = Chain { first: NONE, last: NONE, len: 0 };

    pub(super) fn len(&self) -> usize {
        self.len as usize
    }
}

impl<const N: usize> Pool<N> {
    pub(super) fn new() -> Pool<N> {
        Pool { chunks: Vec::new(), free: NONE, held: 0 }
    }

    /// Memory of the chunks in chains.
    pub(super) fn bytes(&self) -> usize {
        self.held * size_of::<Chunk<N>>()
    }

    /// Copies `bytes` to the end of `chain`.
    #[inline]
    pub(super) fn append(&mut self, chain: &mut Chain, mut bytes: &[u8]) {
        let filled = chain.len() % N;
        if filled != 0 {
            let room = &mut self.chunks[chain.last as usize].data[filled..];
            let (now, later) = bytes.split_at(bytes.len().min(room.len()));
            room[..now.len()].copy_from_slice(now);
            chain.len += now.len() as u32;
            bytes = later;
        }
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(N));
            let chunk = self.chunk();
            let data = &mut self.chunks[chunk as usize].data;
            match now.first_chunk::<N>() {
                Some(whole) => *data = *whole,
                None => data[..now.len()].copy_from_slice(now),
            }
            match chain.last {
                NONE => chain.first = chunk,
                last => self.chunks[last as usize].next = chunk,
            }
            chain.last = chunk;
            chain.len += now.len() as u32;
            bytes = later;
        }
    }

    fn chunk(&mut self) -> u32 {
        self.held += 1;
        if self.free == NONE {
            slab::grow(&mut self.chunks);
            self.chunks.push(Chunk { data: [0; N], next: NONE });
            return (self.chunks.len() - 1) as u32;
        }
        let chunk = self.free;
        self.free = std::mem::replace(&mut self.chunks[chunk as usize].next, NONE);
        chunk
    }

    /// The bytes of `chain`, in pieces.
    pub(super) fn slices(&self, chain: Chain) -> impl Iterator<Item = &[u8]> {
        let mut next = chain.first;
        let mut left = chain.len();
        std::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let chunk = &self.chunks[next as usize];
            let data = &chunk.data[..left.min(N)];
            left -= data.len();
            next = chunk.next;
            Some(data)
        })
    }

    /// Whether `bytes` stand in `chain` from `at` on.
    pub(super) fn holds(&self, chain: Chain, at: usize, bytes: &[u8]) -> bool {
        let (mut skip, mut rest) = (at, bytes);
        for slice in self.slices(chain) {
            let here = slice.get(skip..).unwrap_or(&[]);
            skip = skip.saturating_sub(slice.len());
            let (now, later) = rest.split_at(rest.len().min(here.len()));
            if !here.starts_with(now) {
                return false;
            }
            rest = later;
        }
        rest.is_empty()
    }

    /// Copies the bytes of `chain` to the end of `out`.
    #[inline]
    pub(super) fn copy_to(&self, chain: Chain, out: &mut Vec<u8>) {
        let end = out.len() + chain.len();
        let mut next = chain.first;
        // Whole chunks: a copy of a fixed size is cheaper than one of the right size.
        while out.len() < end {
            let chunk = &self.chunks[next as usize];
            out.extend_from_slice(&chunk.data);
            next = chunk.next;
        }
        out.truncate(end);
    }

    /// Takes the chunks of `chain` back.
    #[inline]
    pub(super) fn release(&mut self, chain: Chain) {
        if chain.first != NONE {
            self.chunks[chain.last as usize].next = self.free;
            self.free = chain.first;
            self.held -= chain.len().div_ceil(N);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_keep_their_bytes_and_chunks_are_used_again() {
        let mut pool = Pool::<7>::new();
        let bytes: Vec<u8> = (0..=255).collect();
        for len in 0..100 {
            let (mut one, mut other) = (Chain::EMPTY, Chain::EMPTY);
            for part in bytes[..len].chunks(5) {
                pool.append(&mut one, part);
                pool.append(&mut other, &[9]);
            }
            let mut copy = Vec::new();
            pool.copy_to(one, &mut copy);
            assert_eq!(copy, bytes[..len]);
            for at in 0..len {
                assert!(pool.holds(one, at, &bytes[at..len]) && pool.holds(one, at, &bytes[at..(at + 3).min(len)]));
                assert!(!pool.holds(one, at, &bytes[at + 1..len + 1]));
            }
            pool.release(one);
            pool.release(other);
            assert_eq!(pool.bytes(), 0);
        }
        assert!(pool.chunks.len() <= 15 + 3 && pool.chunks.capacity() <= 32);
    }
}
