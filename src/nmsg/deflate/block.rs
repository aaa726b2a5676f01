//! A block of a deflate stream: literals and copies gathered, then written with the codes that suit them (RFC 1951,
//! section 3.2.7).

use super::{
    bits::{Bits, Code},
    huffman,
};

/// The longest copy.
pub(super) const LONGEST: usize = 258;
/// As far back as a copy may reach.
pub(super) const FARTHEST: usize = 1 << 15;

/// Symbols of literals, the end of a block, and lengths; of distances; of lengths of codes.
const LITERALS: usize = 286;
const DISTANCES: usize = 30;
const PRECODES: usize = 19;
const END: usize = 256;
/// Four literals, and a length with its extra bits, then fit in what may be added between two flushes.
const LITERAL_BITS: usize = 14;
const DISTANCE_BITS: usize = 15;
const PRECODE_BITS: usize = 7;
/// The order in which lengths of precodes are written.
const PRECODE_ORDER: [usize; PRECODES] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// After so many copies a block ends.
const COPIES: usize = 1 << 15;

/// What the symbols behind a first one stand for: the smallest value of each, and how many extra bits come with it.
struct Slots<const N: usize> {
    bases: [u16; N],
    extra: [u8; N],
}

const LENGTHS: Slots<29> = Slots {
    bases: [
        3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227,
        258,
    ],
    extra: [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0],
};
const FAR: Slots<DISTANCES> = Slots {
    bases: [
        1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097,
        6145, 8193, 12289, 16385, 24577,
    ],
    extra: [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13],
};

impl<const N: usize> Slots<N> {
    const fn of(&self, value: usize) -> u8 {
        let mut slot = N - 1;
        while self.bases[slot] as usize > value {
            slot -= 1;
        }
        slot as u8
    }
}

/// The slot of each length.
static LENGTH_SLOTS: [u8; 512] = {
    let mut slots = [0; 512];
    let mut length = 3;
    while length <= LONGEST {
        slots[length] = LENGTHS.of(length);
        length += 1;
    }
    slots
};

/// The slot of each distance up to 256, then of each 128th: the slots beyond are as coarse.
static DISTANCE_SLOTS: [u8; 512] = {
    let mut slots = [0; 512];
    let mut i = 0;
    while i < 512 {
        slots[i] = FAR.of(if i < 256 { i + 1 } else { ((i - 256) << 7) + 1 });
        i += 1;
    }
    slots
};

#[inline(always)]
fn length_slot(length: u16) -> usize {
    LENGTH_SLOTS[usize::from(length) & 511].into()
}

#[inline(always)]
fn distance_slot(distance: u16) -> usize {
    let before = usize::from(distance).wrapping_sub(1);
    DISTANCE_SLOTS[if before < 256 { before } else { 256 + (before >> 7) } & 511].into()
}

/// Bytes as they are, then a copy; without length where the block ends in such bytes.
#[derive(Clone, Copy)]
struct Sequence {
    literals: u32,
    length: u16,
    distance: u16,
}

/// What a block is made of, in the order of its bytes.
pub(super) struct Block {
    sequences: Vec<Sequence>,
    /// How often each symbol occurs.
    literals: [u32; LITERALS],
    distances: [u32; DISTANCES],
}

impl Default for Block {
    fn default() -> Block {
        Block { sequences: Vec::with_capacity(COPIES), literals: [0; LITERALS], distances: [0; DISTANCES] }
    }
}

impl Block {
    /// Counts a literal.
    #[inline(always)]
    pub(super) fn literal(&mut self, byte: u8) {
        self.literals[usize::from(byte)] += 1;
    }

    /// Adds a copy behind so many literals.
    #[inline(always)]
    pub(super) fn copy(&mut self, literals: usize, length: usize, distance: usize) {
        let sequence = Sequence { literals: literals as u32, length: length as u16, distance: distance as u16 };
        self.sequences.push(sequence);
        self.literals[END + 1 + length_slot(sequence.length)] += 1;
        if let Some(count) = self.distances.get_mut(distance_slot(sequence.distance)) {
            *count += 1;
        }
    }

    /// Whether it should end.
    #[inline(always)]
    pub(super) fn is_full(&self) -> bool {
        self.sequences.len() >= COPIES - 1
    }

    /// Writes the block that these bytes are, so many literals at their end, and begins the next.
    pub(super) fn write(&mut self, bytes: &[u8], literals: usize, is_last: bool, to: &mut Bits) {
        self.sequences.push(Sequence { literals: literals as u32, length: 0, distance: 0 });
        self.literals[END] = 1;
        let literal_lengths = huffman::lengths(&self.literals, LITERAL_BITS);
        let distance_lengths = huffman::lengths(&self.distances, DISTANCE_BITS);
        to.reserve(self.bits(&literal_lengths, &distance_lengths));
        to.add(Code::new(is_last.into(), 1));
        to.add(Code::new(2, 2)); // codes of its own
        write_lengths(&literal_lengths, &distance_lengths, to);
        let codes = Codes::new(&literal_lengths, &distance_lengths);
        self.write_sequences(bytes, &codes, to);
        self.sequences.clear();
        self.literals = [0; LITERALS];
        self.distances = [0; DISTANCES];
    }

    /// As long as it gets, or a little less than that.
    fn bits(&self, literal_lengths: &[u8; LITERALS], distance_lengths: &[u8; DISTANCES]) -> u64 {
        let extra = std::iter::repeat_n(0, END + 1).chain(LENGTHS.extra);
        let taken = |((&count, &length), extra)| u64::from(count) * u64::from(length + extra);
        let literals: u64 = self.literals.iter().zip(literal_lengths).zip(extra).map(taken).sum();
        let distances: u64 = self.distances.iter().zip(distance_lengths).zip(FAR.extra).map(taken).sum();
        let head = 17 + 3 * PRECODES + (PRECODE_BITS + 7) * (LITERALS + DISTANCES);
        literals + distances + head as u64
    }

    fn write_sequences(&self, bytes: &[u8], codes: &Codes, to: &mut Bits) {
        let mut rest = bytes;
        for sequence in &self.sequences {
            let Some((literals, behind)) = rest.split_at_checked(sequence.literals as usize) else { break };
            let (fours, last) = literals.as_chunks::<4>();
            for four in fours {
                four.iter().for_each(|&byte| to.add(codes.literals[usize::from(byte)]));
                to.flush();
            }
            last.iter().for_each(|&byte| to.add(codes.literals[usize::from(byte)]));
            to.flush();
            if sequence.length > 0 {
                to.add(codes.lengths[usize::from(sequence.length) & 511]);
                let slot = distance_slot(sequence.distance) & 31;
                let (code, base, extra) = codes.distances[slot];
                to.add(code);
                to.add(Code::new(u32::from(sequence.distance.wrapping_sub(base)), extra));
                to.flush();
            }
            rest = behind.get(sequence.length.into()..).unwrap_or(&[]);
        }
        to.add(codes.end);
        to.flush();
    }
}

/// Codes of a block, ready to be written.
struct Codes {
    literals: [Code; 256],
    end: Code,
    /// By length, the extra bits with them.
    lengths: [Code; 512],
    /// By slot: the code, the smallest distance, how many extra bits.
    distances: [(Code, u16, u8); 32],
}

impl Codes {
    fn new(literal_lengths: &[u8; LITERALS], distance_lengths: &[u8; DISTANCES]) -> Codes {
        let literals = huffman::codes(literal_lengths);
        let mut lengths = [Code::default(); 512];
        for length in 3..=LONGEST as u16 {
            let slot = length_slot(length);
            let behind = length - LENGTHS.bases[slot];
            lengths[usize::from(length)] = literals[END + 1 + slot].and(behind.into(), LENGTHS.extra[slot]);
        }
        let mut distances = [(Code::default(), 0, 0); 32];
        let each = huffman::codes(distance_lengths).into_iter().zip(FAR.bases).zip(FAR.extra);
        for (distance, ((code, base), extra)) in distances.iter_mut().zip(each) {
            *distance = (code, base, extra);
        }
        Codes { literals: std::array::from_fn(|byte| literals[byte]), end: literals[END], lengths, distances }
    }
}

/// Writes the lengths of codes: repetitions of them as such, all with a code of their own.
fn write_lengths(literals: &[u8; LITERALS], distances: &[u8; DISTANCES], to: &mut Bits) {
    let literals = without_zeros(literals, END + 1);
    let distances = without_zeros(distances, 1);
    let symbols = run_lengths([literals, distances].concat().as_slice());
    let mut counts = [0; PRECODES];
    symbols.iter().for_each(|&(symbol, ..)| counts[usize::from(symbol)] += 1);
    let lengths = huffman::lengths(&counts, PRECODE_BITS);
    let codes = huffman::codes(&lengths);
    let written = PRECODE_ORDER.map(|symbol| lengths[symbol]);
    let written = without_zeros(&written, 4);
    to.add(Code::new((literals.len() - END - 1) as u32, 5));
    to.add(Code::new((distances.len() - 1) as u32, 5));
    to.add(Code::new((written.len() - 4) as u32, 4));
    to.flush();
    for &length in written {
        to.add(Code::new(length.into(), 3));
        to.flush();
    }
    for (symbol, repeated, extra) in symbols {
        to.add(codes[usize::from(symbol)].and(repeated, extra));
        to.flush();
    }
}

/// All but the zeros at the end, and at least so many.
fn without_zeros(lengths: &[u8], least: usize) -> &[u8] {
    let zeros = lengths.iter().rev().take_while(|&&length| length == 0).count();
    &lengths[..(lengths.len() - zeros).max(least)]
}

/// Symbols of lengths: a length itself, or 16 to 18 with how often something is repeated and how many bits say so.
fn run_lengths(lengths: &[u8]) -> Vec<(u8, u32, u8)> {
    let mut symbols = Vec::with_capacity(lengths.len());
    for run in lengths.chunk_by(|a, b| a == b) {
        let (length, mut left) = (run[0], run.len());
        if length != 0 {
            symbols.push((length, 0, 0));
            left -= 1;
        }
        while left >= 3 {
            let (symbol, least, most, bits) = match (length, left) {
                (0, 11..) => (18, 11, 138, 7),
                (0, _) => (17, 3, 10, 3),
                _ => (16, 3, 6, 2),
            };
            let repeated = left.min(most);
            symbols.push((symbol, (repeated - least) as u32, bits));
            left -= repeated;
        }
        symbols.extend(std::iter::repeat_n((length, 0, 0), left));
    }
    symbols
}
