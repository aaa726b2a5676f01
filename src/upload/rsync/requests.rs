//! The server's stream: which files it wants, and when a round is done.

use super::{
    fault::Fault,
    wire::{self, Index, Indexes},
};

/// Flags of an item that say what stands behind them, or that data is wanted.
pub const HAS_BASIS: u16 = 0x0800;
/// The same for a name.
pub const HAS_NAME: u16 = 0x1000;
const WANTS_DATA: u16 = 0x8000;

/// Block sums of a file at the far end, which are of no use to us: at most so many bytes.
const SUMS_MAX: u64 = 64 << 20;
const BLOCK_MAX: i32 = 1 << 17;
const SUM_MAX: i32 = 16;

/// Something that the server wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// The data of a file.
    Transfer(i32, u16),
    /// A file's attributes to be said again.
    Echo(i32, u16),
    /// A round is done.
    Done,
}

/// Reads them; holds no more than the beginning of one.
#[derive(Debug, Default)]
pub struct Requests {
    indexes: Indexes,
    bytes: Vec<u8>,
    /// Bytes of a name or of sums that have not come yet, and are not looked at.
    skip: u64,
    /// The file whose sums' head is next.
    head_of: Option<(i32, u16)>,
}

impl Requests {
    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// The next item; `None` when more must come first.
    pub fn next(&mut self) -> Result<Option<Item>, Fault> {
        let mut bytes = &self.bytes[..];
        let found = take_item(&mut self.indexes, &mut self.skip, &mut self.head_of, &mut bytes);
        let used = self.bytes.len() - bytes.len();
        self.bytes.drain(..used);
        found
    }
}

fn take_item(
    indexes: &mut Indexes,
    skip: &mut u64,
    head_of: &mut Option<(i32, u16)>,
    bytes: &mut &[u8],
) -> Result<Option<Item>, Fault> {
    loop {
        let now = usize::try_from(*skip).unwrap_or(usize::MAX).min(bytes.len());
        *bytes = bytes.get(now..).unwrap_or_default();
        *skip -= now as u64;
        if *skip > 0 {
            return Ok(None);
        }
        if let Some((index, flags)) = *head_of {
            let Some(head) = take_head(bytes) else { return Ok(None) };
            *skip = sums_len(head)?;
            *head_of = None;
            return Ok(Some(Item::Transfer(index, flags)));
        }
        let before = *bytes;
        let mut state = indexes.clone();
        let index = match state.take(bytes) {
            Some(Index::File(index)) => index,
            Some(Index::Done) => return Ok(Some(Item::Done)),
            Some(Index::Other) => return Err(Fault::Index(None)),
            None => return Ok(None),
        };
        let Some((flags, name_len)) = take_flags(bytes) else {
            *bytes = before;
            return Ok(None);
        };
        *indexes = state;
        *skip = name_len;
        if flags & WANTS_DATA == 0 {
            return Ok(Some(Item::Echo(index, flags)));
        }
        *head_of = Some((index, flags));
    }
}

/// Flags, and the length of the name behind them.
fn take_flags(bytes: &mut &[u8]) -> Option<(u16, u64)> {
    let flags = u16::from_le_bytes(wire::take(bytes)?);
    if flags & HAS_BASIS != 0 {
        let [_basis] = wire::take(bytes)?;
    }
    if flags & HAS_NAME == 0 {
        return Some((flags, 0));
    }
    Some((flags, wire::take_length(bytes)? as u64))
}

fn take_head(bytes: &mut &[u8]) -> Option<[i32; 4]> {
    let mut rest = *bytes;
    let mut head = [0; 4];
    for number in &mut head {
        *number = i32::from_le_bytes(wire::take(&mut rest)?);
    }
    *bytes = rest;
    Some(head)
}

/// How many bytes of sums stand behind their head.
fn sums_len(head: [i32; 4]) -> Result<u64, Fault> {
    let [count, block, sum, remainder] = head;
    let is_sane = (0..=BLOCK_MAX).contains(&block) && (0..=SUM_MAX).contains(&sum) && (0..=block).contains(&remainder);
    let len = u64::try_from(count).ok().zip(u64::try_from(sum).ok()).map(|(count, sum)| count * (4 + sum));
    len.filter(|len| is_sane && *len <= SUMS_MAX).ok_or(Fault::Sums(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(bytes: &[u8], size: usize) -> Result<Vec<Item>, Fault> {
        let (mut requests, mut items) = (Requests::default(), Vec::new());
        for part in bytes.chunks(size) {
            requests.push(part);
            while let Some(item) = requests.next()? {
                items.push(item);
            }
            assert!(requests.bytes.len() < 32);
        }
        Ok(items)
    }

    #[test]
    fn where_requests_are_split_does_not_matter() {
        let mut bytes = b"\x01\x00\xa0".to_vec();
        bytes.extend([0; 16]);
        // Again over an existing copy, with a basis, a name of 300 bytes and two sums.
        bytes.extend(b"\xfe\0\0\x08\x98\x01\x81\x2c");
        bytes.extend([7; 300]);
        bytes.extend(b"\x02\0\0\0\xbc\x02\0\0\x02\0\0\0\x0d\0\0\0");
        bytes.extend([9; 12]);
        bytes.extend(b"\x05\x04\x00\x00");
        for size in 1..=bytes.len() {
            let found = items(&bytes, size).unwrap();
            assert_eq!(found, [Item::Transfer(0, 0xa000), Item::Transfer(0, 0x9808), Item::Echo(5, 4), Item::Done]);
        }
    }

    #[test]
    fn sums_beyond_reason_are_refused_before_they_come() {
        let head = |numbers: [i32; 4]| {
            let mut bytes = b"\x01\x00\x80".to_vec();
            numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
            items(&bytes, 5)
        };
        assert!(head([3_000_000, 1 << 17, 16, 1 << 17]).is_ok());
        for numbers in [
            [-1, 700, 2, 0],
            [i32::MAX, 700, 2, 0],
            [1, -1, 2, 0],
            [1, (1 << 17) + 1, 2, 0],
            [1, 700, 17, 0],
            [1, 700, -1, 0],
            [1, 700, 2, 701],
            [4_000_000, 700, 16, 0],
        ] {
            assert_eq!(head(numbers), Err(Fault::Sums(numbers)));
        }
        assert_eq!(items(&[0xff, 1], 1), Err(Fault::Index(None)));
    }
}
