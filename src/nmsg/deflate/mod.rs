//! Deflate (RFC 1951) for containers of dnsqr. Most of what repeats in them does so at places that are known: a name stands
//! in a field, in the query's packet and in the response's; a server's address where the one of the payload before stood.
//! And what is by chance is known too, ports, identifiers, the low bytes of times, and is not searched. Anything else,
//! and any other data, is compressed as usual, by copies that hash tables find.

mod bits;
mod block;
mod huffman;
mod matches;
mod parse;
mod payload;

use bits::Bits;
use block::Block;
use matches::Tables;
use parse::Parse;

/// How hard to look for repetitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// At the last occurrence of each beginning.
    Quick,
    /// At the last four.
    Dense,
}

/// A compressor: its memory, about 400 kB.
#[derive(Default)]
pub struct Deflate {
    tables: Tables,
    block: Block,
}

impl Deflate {
    /// Writes the deflate stream of `data`, best the body of a container, to `out` from `start` on; where it ends. What is
    /// behind that counts for nothing: `out` only grows. The same data give the same stream.
    pub fn compress(&mut self, data: &[u8], effort: Effort, out: &mut Vec<u8>, start: usize) -> usize {
        self.tables.clear();
        let mut parse = Parse::new(data, &mut self.tables, &mut self.block, Bits::new(out, start));
        payload::container(&mut parse, effort);
        parse.finish()
    }
}

#[cfg(test)]
mod tests;
