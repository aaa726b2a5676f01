//! Where bytes have occurred before.

use super::block::{FARTHEST, LONGEST};

/// The shortest copy that is looked for.
pub(super) const SHORTEST: usize = 4;
/// Positions are kept modulo this: twice as far as a copy reaches, so that what is out of reach does not seem near.
const POSITIONS: usize = 2 * FARTHEST;
/// Bits of the hashes of four and of eight bytes.
const SHORTS: u32 = 13;
const LONGS: u32 = 14;

/// The bytes from `at` to `at + length` are those `distance` before them; nothing is found while the length is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) length: usize,
    pub(super) distance: usize,
}

/// Positions by what stands there. What a position was kept for is looked at again before it is used: one that was
/// overwritten, or is of 64 KiB before, finds nothing.
pub(super) struct Tables {
    /// The last position of each eight bytes, by their hash.
    longs: Box<[u16; 1 << LONGS]>,
    /// Of each four bytes.
    shorts: Box<[u16; 1 << SHORTS]>,
    /// Of each four bytes where repetitions differ in length, as in names and answers, and below that the position before
    /// of the same hash. What stands elsewhere would only be in the way.
    heads: Box<[u16; 1 << SHORTS]>,
    before: Box<[u16; FARTHEST]>,
}

impl Default for Tables {
    fn default() -> Tables {
        Tables { longs: Box::new([0; _]), shorts: Box::new([0; _]), heads: Box::new([0; _]), before: Box::new([0; _]) }
    }
}

impl Tables {
    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.longs.fill(0);
        self.shorts.fill(0);
        self.heads.fill(0);
        self.before.fill(0);
    }

    /// Looks for a repetition of eight bytes and more, and remembers the position.
    #[inline(always)]
    pub(super) fn long(&mut self, data: &[u8], at: usize) -> Match {
        let eight = load(data, at);
        let hash = eight.wrapping_mul(0xcf1b_bcdc_b7a5_6463) >> (u64::BITS - LONGS);
        let candidate = std::mem::replace(&mut self.longs[hash as usize], at as u16);
        let distance = distance(at, candidate);
        if !reaches(at, distance) || load(data, at - distance) != eight {
            return Match::default();
        }
        Match { length: common(data, at - distance, at, 8, LONGEST.min(data.len() - at)), distance }
    }

    /// Of four bytes and more.
    #[inline(always)]
    pub(super) fn short(&mut self, data: &[u8], at: usize) -> Match {
        let four = load(data, at) as u32;
        let candidate = std::mem::replace(&mut self.shorts[hash(four)], at as u16);
        let distance = distance(at, candidate);
        if !reaches(at, distance) || load(data, at - distance) as u32 != four {
            return Match::default();
        }
        Match { length: common(data, at - distance, at, SHORTEST, LONGEST.min(data.len() - at)), distance }
    }

    /// Looks among the last `DEPTH` of the same four bytes for a repetition longer than `than`, and remembers the
    /// position.
    #[inline(always)]
    pub(super) fn chained<const DEPTH: usize>(&mut self, data: &[u8], at: usize, than: usize) -> Option<Match> {
        let four = load(data, at) as u32;
        let mut candidate = std::mem::replace(&mut self.heads[hash(four)], at as u16);
        self.before[at % FARTHEST] = candidate;
        let most = LONGEST.min(data.len() - at);
        let mut best = Match { length: than.max(SHORTEST - 1), distance: 0 };
        let mut nearer = 0;
        for _ in 0..DEPTH {
            let distance = distance(at, candidate);
            // One that is nearer than the one before has been overwritten, and so have those behind it.
            if distance <= nearer || !reaches(at, distance) {
                break;
            }
            nearer = distance;
            let from = at - distance;
            let may_be_longer = data.get(from + best.length) == data.get(at + best.length);
            if may_be_longer && load(data, from) as u32 == four {
                let length = common(data, from, at, SHORTEST, most);
                if length > best.length {
                    best = Match { length, distance };
                }
            }
            candidate = self.before[from % FARTHEST];
        }
        (best.distance > 0).then_some(best)
    }
}

#[inline(always)]
fn hash(four: u32) -> usize {
    (u64::from(four).wrapping_mul(0x9e37_79b9_7f4a_7c15 << 32) >> (u64::BITS - SHORTS)) as usize
}

#[inline(always)]
fn distance(at: usize, candidate: u16) -> usize {
    at.wrapping_sub(candidate.into()) % POSITIONS
}

/// Whether a copy may come from so far.
#[inline(always)]
fn reaches(at: usize, distance: usize) -> bool {
    distance != 0 && distance <= FARTHEST.min(at)
}

/// Eight bytes; zeros where there are fewer.
#[inline(always)]
fn load(data: &[u8], at: usize) -> u64 {
    data.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// How many bytes are the same from `a` and from `b` on, when `known` are, and at most `most`. `a` is before `b`, and
/// `most` bytes stand there.
#[inline(always)]
pub(super) fn common(data: &[u8], a: usize, b: usize, known: usize, most: usize) -> usize {
    let mut length = known;
    while length + 8 <= most {
        let differ = load(data, a + length) ^ load(data, b + length);
        if differ != 0 {
            return length + (differ.trailing_zeros() / 8) as usize;
        }
        length += 8;
    }
    while length < most && data.get(a + length) == data.get(b + length) {
        length += 1;
    }
    length
}
