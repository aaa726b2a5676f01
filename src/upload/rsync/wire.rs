//! The numbers of the wire, protocol 30 and later, all little-endian.

/// Longest piece of a file behind one length. Servers of 2025 and 2026 refuse longer ones.
pub const RUN_MAX: usize = 32_768;

/// In the fourth byte of a frame's header stands its tag and this.
const TAG_BASE: u8 = 7;
/// A frame's length has three bytes.
pub const FRAME_MAX: usize = 0x00ff_ffff;

/// A frame's header.
pub fn frame_header(tag: u8, len: usize) -> [u8; 4] {
    debug_assert!(len <= FRAME_MAX);
    let [low, middle, high, ..] = len.to_le_bytes();
    [low, middle, high, TAG_BASE.wrapping_add(tag)]
}

/// Tag and length of a frame with this header.
pub fn frame([low, middle, high, tag]: [u8; 4]) -> (u8, usize) {
    let len = u32::from_le_bytes([low, middle, high, 0]);
    // What is below the base wraps to a tag that does not exist.
    (tag.wrapping_sub(TAG_BASE), len as usize)
}

/// Appends a number that takes `least` bytes or more: the first says in its leading ones how many more than `least` there
/// are, and has, where they leave room, the highest bits. With 1, it is what the protocol calls a varint.
pub fn put_varlong(value: u64, least: usize, out: &mut Vec<u8>) {
    let bytes = value.to_le_bytes();
    let significant = bytes.len() - value.leading_zeros() as usize / 8;
    let (len, more) = (significant.max(least), significant.saturating_sub(least));
    let (lower, top) = (&bytes[..len - 1], bytes[len - 1]);
    let room = 0x80 >> more;
    if top < room {
        out.push(ones(more) | top);
        out.extend(lower);
    } else {
        out.push(ones(more + 1));
        out.extend(lower);
        out.push(top);
    }
}

/// A byte that begins with so many ones.
fn ones(count: usize) -> u8 {
    !(0xff_u8.checked_shr(count as u32).unwrap_or(0))
}

/// Takes a varint off the front of `bytes`; `None` where its end is missing. A byte of five and more leading ones, which
/// no 32-bit number has, is read as one with four.
pub fn take_varint(bytes: &mut &[u8]) -> Option<u32> {
    let (&first, rest) = bytes.split_first()?;
    let more = first.leading_ones().min(4) as usize;
    let (lower, rest) = rest.split_at_checked(more)?;
    let mut value = [0; 5];
    value[..more].copy_from_slice(lower);
    value[more] = first & (0x7f_u8 >> more);
    *bytes = rest;
    Some(u32::from_le_bytes([value[0], value[1], value[2], value[3]]))
}

/// Takes the length of what is at most 32 kB long.
pub fn take_length(bytes: &mut &[u8]) -> Option<usize> {
    let mut rest = *bytes;
    let [first] = take(&mut rest)?;
    let length = if first & 0x80 == 0 {
        first.into()
    } else {
        let [second] = take(&mut rest)?;
        u16::from_be_bytes([first & 0x7f, second]).into()
    };
    *bytes = rest;
    Some(length)
}

/// Takes so many bytes off the front.
pub fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

/// What stands where an index may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// Of a file in the list.
    File(i32),
    /// A round is done.
    Done,
    /// One of the marks that are not for this sender.
    Other,
}

/// Indexes of one direction: each is written as its distance from the one before.
#[derive(Clone, Debug)]
pub struct Indexes {
    previous: i32,
}

/// [`Index::Done`] in bytes.
pub const DONE: u8 = 0;

impl Default for Indexes {
    fn default() -> Indexes {
        Indexes { previous: -1 }
    }
}

impl Indexes {
    /// Appends the index of a file.
    pub fn put(&mut self, index: i32, out: &mut Vec<u8>) {
        let distance = i64::from(index) - i64::from(self.previous);
        self.previous = index;
        match distance {
            1..=0xfd => out.push(distance as u8),
            0..=0x7fff => out.extend([0xfe, (distance >> 8) as u8, distance as u8]),
            _ => {
                let [b0, b1, b2, b3] = index.to_le_bytes();
                out.extend([0xfe, 0x80 | b3, b0, b1, b2]);
            }
        }
    }

    /// Takes an index off the front of `bytes`; `None` where its end is missing.
    pub fn take(&mut self, bytes: &mut &[u8]) -> Option<Index> {
        let mut rest = *bytes;
        let [first] = take(&mut rest)?;
        let index = match first {
            DONE => Index::Done,
            0xff => Index::Other,
            0xfe => {
                let [high] = take(&mut rest)?;
                if high & 0x80 == 0 {
                    let [low] = take(&mut rest)?;
                    Index::File(self.previous.wrapping_add(i32::from(u16::from_be_bytes([high, low]))))
                } else {
                    let [b0, b1, b2] = take(&mut rest)?;
                    Index::File(i32::from_le_bytes([b0, b1, b2, high & 0x7f]))
                }
            }
            distance => Index::File(self.previous.wrapping_add(i32::from(distance))),
        };
        if let Index::File(index) = index {
            self.previous = index;
        }
        *bytes = rest;
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn varlong(value: u64, least: usize) -> String {
        let mut out = Vec::new();
        put_varlong(value, least, &mut out);
        hex(&out)
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn numbers_are_written_as_rsync_writes_them() {
        for (value, bytes) in [
            (0, "00"),
            (1, "01"),
            (127, "7f"),
            (128, "80 80"),
            (300, "81 2c"),
            (16_383, "bf ff"),
            (16_384, "c0 00 40"),
            (123_456_789, "e7 15 cd 5b"),
            (0x7fff_ffff, "f0 ff ff ff 7f"),
        ] {
            assert_eq!(varlong(value, 1), bytes);
        }
        for (value, bytes) in [
            (0, "00 00 00"),
            (1, "00 01 00"),
            (300, "00 2c 01"),
            (65_536, "01 00 00"),
            (1_000_000, "0f 40 42"),
            (8_388_607, "7f ff ff"),
            (8_388_608, "80 00 00 80"),
            (20_000_000, "81 00 2d 31"),
            (1 << 31, "c0 00 00 00 80"),
            (1_000_000_000_000, "e0 00 10 a5 d4 e8"),
        ] {
            assert_eq!(varlong(value, 3), bytes);
        }
        for (value, bytes) in [
            (1_735_689_600, "67 80 85 74"),
            (1_795_238_079, "6b bf 28 01"),
            (1 << 31, "80 00 00 00 80"),
            (1 << 32, "81 00 00 00 00"),
        ] {
            assert_eq!(varlong(value, 4), bytes);
        }
        // Of the whole range, none stops the program.
        assert_eq!(varlong(u64::MAX, 3).len(), 9 * 3 - 1);
        assert_eq!(varlong(u64::MAX, 4).len(), 9 * 3 - 1);
    }

    #[test]
    fn indexes_are_written_as_rsync_writes_them() {
        let (mut indexes, mut out) = (Indexes::default(), Vec::new());
        for index in [0, 1, 1, 0x246, 0x246, 0x345, 0x8345, 2] {
            indexes.put(index, &mut out);
        }
        assert_eq!(hex(&out), "01 01 fe 00 00 fe 02 45 fe 00 00 fe 00 ff fe 80 45 83 00 fe 80 02 00 00");
    }

    #[test]
    fn frames_have_their_length_and_tag_in_four_bytes() {
        assert_eq!(frame_header(0, 66), [0x42, 0, 0, 7]);
        assert_eq!(frame([0x04, 0, 0, 0x6b]), (100, 4));
        assert_eq!(frame([0x8b, 1, 2, 0x08]), (1, 0x02018b));
        assert_eq!(frame([0, 0, 0, 6]), (255, 0));
    }

    proptest! {
        #[test]
        fn a_varint_is_read_as_it_was_written_and_not_before_its_end(value: u32, behind: u8) {
            let mut out = Vec::new();
            put_varlong(value.into(), 1, &mut out);
            for end in 0..out.len() {
                prop_assert_eq!(take_varint(&mut &out[..end]), None);
            }
            out.push(behind);
            let mut rest = &out[..];
            prop_assert_eq!(take_varint(&mut rest), Some(value));
            prop_assert_eq!(rest, [behind]);
        }

        #[test]
        fn indexes_are_read_as_they_were_written_and_not_before_their_end(
            indexes in prop::collection::vec(prop_oneof![0..i32::MAX, 0..1000, Just(7)], 1..20),
        ) {
            let (mut writer, mut reader) = (Indexes::default(), Indexes::default());
            for index in indexes {
                let mut out = Vec::new();
                writer.put(index, &mut out);
                for end in 0..out.len() {
                    prop_assert_eq!(reader.clone().take(&mut &out[..end]), None);
                }
                prop_assert_eq!(reader.take(&mut &out[..]), Some(Index::File(index)));
            }
        }
    }
}
