//! Bytes to literals and copies.

use super::{
    bits::Bits,
    block::{Block, FARTHEST, LONGEST},
    matches::{Match, SHORTEST, Tables, common},
};

/// A copy of this length is taken without looking for a better one.
const ENOUGH: usize = 32;
/// A copy as short as that may be worse than a literal and the copy behind it.
const SHORT: usize = 15;
/// Bytes at the end in which nothing is looked for: they are loaded eight at a time.
const MARGIN: usize = 16;
/// A block ends behind so many bytes.
const BLOCK: usize = 1 << 18;

/// What is on its way into a stream.
pub(super) struct Parse<'p, 'o> {
    pub(super) data: &'p [u8],
    /// All before it is in the block.
    at: usize,
    /// From here to `at` are literals.
    literals: usize,
    /// Where the block begins.
    start: usize,
    tables: &'p mut Tables,
    block: &'p mut Block,
    bits: Bits<'o>,
}

impl<'p, 'o> Parse<'p, 'o> {
    pub(super) fn new(data: &'p [u8], tables: &'p mut Tables, block: &'p mut Block, bits: Bits<'o>) -> Parse<'p, 'o> {
        Parse { data, at: 0, literals: 0, start: 0, tables, block, bits }
    }

    /// Where it has come to.
    #[inline(always)]
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Takes the bytes up to `to` as they are: they are like nothing before them, or not worth a look.
    #[inline(always)]
    pub(super) fn literals(&mut self, to: usize) {
        if let Some(bytes) = self.data.get(self.at..to) {
            bytes.iter().for_each(|&byte| self.block.literal(byte));
            self.at = to;
        }
    }

    #[inline(always)]
    fn literal(&mut self) {
        if let Some(&byte) = self.data.get(self.at) {
            self.block.literal(byte);
            self.at += 1;
        }
    }

    /// Goes to `to`, a little beyond it when a copy reaches that far, by the last occurrence of each beginning.
    pub(super) fn quick(&mut self, to: usize) {
        while self.at < self.stop(to) {
            let mut found = self.tables.long(self.data, self.at);
            if found.length == 0 {
                found = self.tables.short(self.data, self.at);
                if found.length > 0 {
                    let next = self.tables.long(self.data, self.at + 1);
                    if next.length > found.length {
                        self.literal();
                        found = next;
                    }
                }
            } else {
                self.tables.short(self.data, self.at);
            }
            if found.length == 0 {
                self.literal();
                continue;
            }
            for at in [self.at + 2, self.at + found.length - 2] {
                self.tables.long(self.data, at);
                self.tables.short(self.data, at);
            }
            self.copy(found);
        }
        self.literals(to);
    }

    /// The same, by the last `DEPTH`; without any like [`Parse::quick`].
    pub(super) fn dense<const DEPTH: usize>(&mut self, to: usize) {
        if DEPTH == 0 {
            return self.quick(to);
        }
        while self.at < self.stop(to) {
            let mut found = self.tables.long(self.data, self.at);
            if found.length < ENOUGH {
                found = self.tables.chained::<DEPTH>(self.data, self.at, found.length).unwrap_or(found);
            }
            // It goes a few literals ahead where a longer one begins there.
            while (SHORTEST..=SHORT).contains(&found.length) && self.at + MARGIN < self.data.len() {
                let next = self.tables.chained::<2>(self.data, self.at + 1, found.length);
                let Some(longer) = next else { break };
                self.literal();
                found = longer;
            }
            if found.length == 0 {
                self.literal();
                continue;
            }
            for at in [self.at + 2, self.at + found.length - 2] {
                self.tables.long(self.data, at);
                self.tables.short(self.data, at);
                self.tables.chained::<0>(self.data, at, 0);
            }
            self.copy(found);
        }
        self.literals(to);
    }

    #[inline(always)]
    fn stop(&self, to: usize) -> usize {
        to.min(self.data.len().saturating_sub(MARGIN))
    }

    /// Copies from `from`, where the bytes at `at` are expected to have stood before; or the rest of them, where an
    /// earlier copy has reached beyond `at`.
    #[inline(always)]
    pub(super) fn expect(&mut self, at: usize, from: usize) {
        let distance = at.wrapping_sub(from);
        if self.at < at || distance == 0 || distance > FARTHEST.min(at) {
            return;
        }
        let most = LONGEST.min(self.data.len() - self.at);
        let length = common(self.data, self.at - distance, self.at, 0, most);
        if length >= SHORTEST {
            self.copy(Match { length, distance });
        }
    }

    #[inline(always)]
    fn copy(&mut self, found: Match) {
        self.block.copy(self.at - self.literals, found.length, found.distance);
        self.at += found.length;
        self.literals = self.at;
        if self.block.is_full() || self.at - self.start > BLOCK {
            self.end_block(false);
        }
    }

    /// What follows is of another kind, or nothing.
    #[cold]
    pub(super) fn end_block(&mut self, is_last: bool) {
        let bytes = self.data.get(self.start..self.at).unwrap_or(&[]);
        self.block.write(bytes, self.at - self.literals, is_last, &mut self.bits);
        self.start = self.at;
        self.literals = self.at;
    }

    /// Ends the stream, all of the data being in it. How long the output is.
    pub(super) fn finish(mut self) -> usize {
        self.end_block(true);
        self.bits.finish()
    }
}
