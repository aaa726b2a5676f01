//! Containers in, payloads out: reads what any NMSG writer makes, and goes on after what none should have made.

mod damage;

use std::hash::RandomState;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::ops::Range;

use libdeflater::Decompressor;
use lru::LruCache;

use super::Payload;
use super::container::{FLAG_FRAGMENT, FLAG_ZLIB, HEADER_LEN, INFLATED_MAX, MAGIC, READ_MAX, checksum};
use super::input::{Input, is_signature, may_begin};
use super::reassembly::Reassembly;
use super::wire::{Fields, Malformed, Value, low_32};

pub use self::damage::{Counts, Damage, ReadError};

/// Writers whose sequence numbers are remembered.
const WRITERS_MAX: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
/// The smallest payload: its four required fields (11 bytes) in a length-delimited field (2).
const PAYLOAD_MIN: usize = 13;
/// Deflate makes at most 258 bytes out of two bits (RFC 1951), so a longer declared length is a lie. Without this a
/// few bytes could make the reader clear [`INFLATED_MAX`] bytes, once for every container.
const INFLATE_RATIO_MAX: usize = 1032;

/// Where the body of the open container is.
enum Body {
    /// In the input's window, behind the header.
    Window(usize),
    /// At the front of `Reader::inflated`.
    Inflated(usize),
    /// Reassembled, not compressed.
    Reassembled(Vec<u8>),
}

/// What is known of where the open container ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Where its header says: its body was understood up to there.
    Right,
    /// Where its header says, or before: zlib streams do not mind what follows them.
    Doubtful,
    /// Perhaps elsewhere: it is damaged, and this has been said.
    Damaged,
}

/// Reads the payloads of a stream of containers. Its memory is bounded whatever the input says: a container of at most
/// [`READ_MAX`] bytes, [`INFLATED_MAX`] bytes inflated, and as much in container fragments.
pub struct Reader<R> {
    input: Input<R>,
    inflater: Decompressor,
    inflated: Vec<u8>,
    reassembly: Reassembly,
    /// The next sequence number of each writer. When full, the writer silent for longest is forgotten, and its next
    /// container begins anew.
    sequences: LruCache<u64, u32, RandomState>,
    body: Body,
    /// Bytes of the open container in the window, as its header says.
    open_len: usize,
    end: End,
    /// How far containers said to reach behind whose end nothing stands. What begins before is a container only if
    /// another one, or the end of the input, follows it. So those that a wrong length claims are found, bytes that look
    /// like one are not taken for it, and no byte is decoded more than twice, however false containers overlap.
    doubted_until: u64,
    /// Where the open container begins.
    offset: u64,
    payloads: Vec<Range<usize>>,
    checksums: Vec<u32>,
    /// Payloads of the open container that were looked at.
    index: usize,
    /// Payloads of the open container that were dropped.
    dropped: u64,
    finished: bool,
    counts: Counts,
}

impl<R: Read> Reader<R> {
    /// Reads from the beginning of `stream`; buffers by itself.
    pub fn new(stream: R) -> Reader<R> {
        Reader {
            input: Input::new(stream),
            inflater: Decompressor::new(),
            inflated: Vec::new(),
            reassembly: Reassembly::default(),
            sequences: LruCache::with_hasher(WRITERS_MAX, RandomState::new()),
            body: Body::Window(0),
            open_len: 0,
            end: End::Right,
            doubted_until: 0,
            offset: 0,
            payloads: Vec::new(),
            checksums: Vec::new(),
            index: 0,
            dropped: 0,
            finished: false,
            counts: Counts::default(),
        }
    }

    /// What was read so far.
    pub fn counts(&self) -> Counts {
        Counts { incomplete_fragments: self.reassembly.incomplete(), ..self.counts }
    }

    /// Where the container of the last payload begins; for a reassembled one, its last fragment.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next payload; `None` at the end. An error is about one place in the input: call again, and it goes on
    /// behind that place. Every error takes input with it, so this ends.
    #[allow(clippy::should_implement_trait)] // it lends
    pub fn next(&mut self) -> Result<Option<Payload<'_>>, ReadError> {
        let range = loop {
            if let Some(range) = self.next_in_container() {
                break range;
            }
            if self.dropped > 0 {
                let payloads = std::mem::take(&mut self.dropped);
                return Err(ReadError::Checksum { offset: self.offset, payloads });
            }
            if self.finished {
                return Ok(None);
            }
            self.open_container()?;
        };
        self.counts.payloads += 1;
        // It was decoded before, when the container was opened, so this does not fail.
        Ok(Payload::decode(self.body().get(range).unwrap_or_default()).ok())
    }

    fn body(&self) -> &[u8] {
        locate(&self.body, &self.input, &self.inflated)
    }

    /// Where the next payload of the open container is that has the right checksum, or none.
    fn next_in_container(&mut self) -> Option<Range<usize>> {
        loop {
            let range = self.payloads.get(self.index)?.clone();
            let expected = self.checksums.get(self.index).copied();
            self.index += 1;
            let payload = Payload::decode(self.body().get(range.clone())?).ok()?;
            if expected.is_none_or(|expected| expected == checksum(&payload.message)) {
                return Some(range);
            }
            self.dropped += 1;
            self.end = End::Damaged;
            self.counts.crc_mismatch += 1;
        }
    }

    /// Reads the next container; afterwards its payloads are listed, or there are none.
    fn open_container(&mut self) -> Result<(), ReadError> {
        self.payloads.clear();
        self.checksums.clear();
        self.index = 0;
        self.leave_container()?;
        let offset = self.input.offset();
        self.offset = offset;
        let Some((flags, len)) = self.header()? else {
            return Ok(());
        };
        self.open_len = HEADER_LEN + len;
        if let Err(error) = self.input.fill(self.open_len) {
            return Err(self.failed(error));
        }
        if self.input.held().len() < self.open_len {
            self.end = End::Damaged;
            self.counts.malformed_containers += 1;
            return Err(ReadError::Cut { offset });
        }
        self.end = if flags & FLAG_ZLIB == 0 { End::Right } else { End::Doubtful };
        self.unpack(flags, len).map_err(|damage| {
            self.payloads.clear();
            self.end = End::Damaged;
            self.counts.malformed_containers += 1;
            ReadError::Malformed { offset, damage }
        })
    }

    /// Consumes the open container. Where neither another one nor the end of the input follows it, its length may be
    /// wrong, or it was cut and something put behind it: then up to the next one, which may begin inside it.
    fn leave_container(&mut self) -> Result<(), ReadError> {
        let len = std::mem::take(&mut self.open_len);
        let end = std::mem::replace(&mut self.end, End::Right);
        if end == End::Right || self.is_followed(len)? {
            self.input.consume(len);
            return Ok(());
        }
        let offset = self.offset;
        let declared = offset.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        self.doubted_until = self.doubted_until.max(declared);
        self.seek()?;
        let skipped = self.input.offset().saturating_sub(declared);
        self.counts.skipped_bytes += skipped;
        match end {
            _ if skipped > 0 => Err(ReadError::NotContainer { offset: declared, skipped }),
            End::Doubtful if self.input.offset() < declared => {
                self.counts.malformed_containers += 1;
                Err(ReadError::WrongLength { offset })
            }
            _ => Ok(()),
        }
    }

    /// Does a container, or the end of the input, stand `len` bytes behind the front of the window?
    fn is_followed(&mut self, len: usize) -> Result<bool, ReadError> {
        match self.input.fill(len + HEADER_LEN) {
            Ok(held) => Ok(held.get(len..).is_some_and(may_begin)),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Is what begins like a container at the front of the window one?
    fn is_credible(&mut self) -> Result<bool, ReadError> {
        if self.input.offset() >= self.doubted_until {
            return Ok(true);
        }
        let held = match self.input.fill(HEADER_LEN) {
            Ok(held) => held,
            Err(error) => return Err(self.failed(error)),
        };
        let Some(&[.., a, b, c, d]) = held.first_chunk::<HEADER_LEN>() else {
            return Ok(false);
        };
        match usize::try_from(u32::from_be_bytes([a, b, c, d])) {
            Ok(len) if len <= READ_MAX => self.is_followed(HEADER_LEN + len),
            _ => Ok(false),
        }
    }

    /// Flags and body length of the container at the front of the window; none at the end.
    fn header(&mut self) -> Result<Option<(u8, usize)>, ReadError> {
        let offset = self.offset;
        let held = match self.input.fill(HEADER_LEN) {
            Ok(held) => held,
            Err(error) => return Err(self.failed(error)),
        };
        if held.is_empty() {
            self.finished = true;
            return Ok(None);
        }
        let Some(&[_, _, _, _, flags, _, a, b, c, d]) = held.first_chunk::<HEADER_LEN>() else {
            if MAGIC.starts_with(held) || held.starts_with(&MAGIC) {
                self.finished = true;
                self.counts.malformed_containers += 1;
                return Err(ReadError::Cut { offset });
            }
            let skipped = self.skip()?;
            return Err(ReadError::NotContainer { offset, skipped });
        };
        if !is_signature(held) || !self.is_credible()? {
            let skipped = self.skip()?;
            return Err(ReadError::NotContainer { offset, skipped });
        }
        let len = u32::from_be_bytes([a, b, c, d]);
        match usize::try_from(len) {
            Ok(body_len) if body_len <= READ_MAX => Ok(Some((flags, body_len))),
            _ => {
                self.counts.malformed_containers += 1;
                let skipped = self.skip()?;
                Err(ReadError::TooLong { offset, len, skipped })
            }
        }
    }

    fn skip(&mut self) -> Result<u64, ReadError> {
        let skipped = self.seek()?;
        self.counts.skipped_bytes += skipped;
        Ok(skipped)
    }

    /// Consumes bytes, one at least, up to the next container or the end of the input.
    fn seek(&mut self) -> Result<u64, ReadError> {
        let mut sought = 0;
        loop {
            sought += self.input.seek_container().map_err(|error| self.failed(error))?;
            if self.input.held().is_empty() || self.is_credible()? {
                return Ok(sought);
            }
        }
    }

    fn failed(&mut self, error: io::Error) -> ReadError {
        self.finished = true;
        ReadError::Io { offset: self.input.offset(), error }
    }

    /// Undoes fragmentation and compression and lists the payloads.
    fn unpack(&mut self, flags: u8, len: usize) -> Result<(), Damage> {
        self.body = Body::Window(len);
        if flags & FLAG_FRAGMENT != 0 {
            let held = self.input.held().get(HEADER_LEN..).unwrap_or_default();
            match self.reassembly.add(held.get(..len).unwrap_or_default())? {
                Some(whole) => self.body = Body::Reassembled(whole),
                None => return Ok(()),
            }
        }
        if flags & FLAG_ZLIB != 0 {
            let compressed = locate(&self.body, &self.input, &[]);
            let len = inflate(&mut self.inflater, &mut self.inflated, compressed)?;
            self.body = Body::Inflated(len);
        }
        self.survey()
    }
}

impl<R: Read> Reader<R> {
    /// Lists payloads and checksums. All payloads must decode, as in every protobuf reader: else none is used.
    fn survey(&mut self) -> Result<(), Damage> {
        let body = locate(&self.body, &self.input, &self.inflated);
        let mut fields = Fields::new(body);
        let (mut sequence, mut sequence_id) = (None, 0);
        while let Some(field) = fields.next() {
            match field? {
                (1, value) => {
                    let bytes = value.bytes()?;
                    Payload::decode(bytes)?;
                    let end = body.len() - fields.rest().len();
                    self.payloads.push(end - bytes.len()..end);
                }
                (2, value) => collect_checksums(value, &mut self.checksums)?,
                (3, value) => sequence = Some(value.u32()?),
                (4, value) => sequence_id = value.u64()?,
                _ => {}
            }
        }
        self.counts.containers += 1;
        if let Some(sequence) = sequence {
            self.counts.lost_containers += gap(&mut self.sequences, sequence_id, sequence);
        }
        Ok(())
    }
}

/// Keeps no more checksums than a container can have payloads.
fn collect_checksums(value: Value<'_>, checksums: &mut Vec<u32>) -> Result<(), Malformed> {
    value.extend_varints(checksums, low_32)?;
    checksums.truncate(INFLATED_MAX / PAYLOAD_MIN);
    Ok(())
}

fn locate<'r, R: Read>(body: &'r Body, input: &'r Input<R>, inflated: &'r [u8]) -> &'r [u8] {
    match body {
        Body::Window(len) => input.held().get(HEADER_LEN..).and_then(|rest| rest.get(..*len)).unwrap_or_default(),
        Body::Inflated(len) => inflated.get(..*len).unwrap_or_default(),
        Body::Reassembled(bytes) => bytes,
    }
}

/// Inflates a body with the zlib flag to the front of `out`, which only ever grows; returns the length.
fn inflate(inflater: &mut Decompressor, out: &mut Vec<u8>, body: &[u8]) -> Result<usize, Damage> {
    let (declared, stream) = body.split_first_chunk().ok_or(Malformed::Cut)?;
    let declared = u32::from_be_bytes(*declared);
    let len = usize::try_from(declared).map_err(|_| Damage::InflatedLength(declared))?;
    if len > INFLATED_MAX || len / INFLATE_RATIO_MAX > stream.len() {
        return Err(Damage::InflatedLength(declared));
    }
    if out.len() < len {
        out.resize(len, 0);
    }
    let target = out.get_mut(..len).unwrap_or_default();
    match inflater.zlib_decompress(stream, target) {
        Ok(inflated) if inflated == len => Ok(len),
        _ => Err(Damage::Zlib),
    }
}

/// How many containers are missing before this one. One that comes late, or again, is none missing: it was counted
/// when the gap was seen, and the expectation stays.
fn gap(sequences: &mut LruCache<u64, u32, RandomState>, id: u64, sequence: u32) -> u64 {
    let next = sequence.wrapping_add(1);
    let Some(expected) = sequences.get_mut(&id) else {
        sequences.put(id, next);
        return 0;
    };
    let missing = sequence.wrapping_sub(*expected);
    if missing > u32::MAX / 2 {
        return 0;
    }
    *expected = next;
    u64::from(missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nmsg::container::WRITE_MAX;
    use crate::nmsg::samples::{self, container, nmsg};

    /// Everything of a stream: the messages of its payloads, what was wrong, the counts.
    fn read_all(bytes: &[u8]) -> (Vec<Vec<u8>>, Vec<ReadError>, Counts) {
        let mut reader = Reader::new(bytes);
        let (mut messages, mut errors) = (Vec::new(), Vec::new());
        loop {
            match reader.next() {
                Ok(Some(payload)) => messages.push(payload.message.into_owned()),
                Ok(None) => return (messages, errors, reader.counts()),
                Err(error) => errors.push(error),
            }
        }
    }

    fn words(words: &[&str]) -> Vec<Vec<u8>> {
        words.iter().map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn plain_and_compressed_containers_read_the_same() {
        let body = nmsg(&["one", "two"]).encoded();
        let mut bytes = container(0, &body);
        bytes.extend(container(FLAG_ZLIB, &samples::zlib(&body)));
        let (messages, errors, counts) = read_all(&bytes);
        assert_eq!(messages, words(&["one", "two", "one", "two"]));
        assert!(errors.is_empty());
        assert_eq!(counts, Counts { containers: 2, payloads: 4, ..Counts::default() });
    }

    #[test]
    fn absent_checksums_pass_and_wrong_ones_drop_the_payload() {
        let mut absent = nmsg(&["one", "two"]);
        absent.payload_crcs.clear();
        let mut wrong = nmsg(&["bad", "good"]);
        wrong.payload_crcs[0] ^= 1;
        let bytes = [container(0, &absent.encoded()), container(0, &wrong.encoded())].concat();
        let (messages, errors, counts) = read_all(&bytes);
        assert_eq!(messages, words(&["one", "two", "good"]));
        let offset = u64::try_from(container(0, &absent.encoded()).len()).unwrap();
        assert!(matches!(errors[..], [ReadError::Checksum { offset: at, payloads: 1 }] if at == offset));
        assert_eq!((counts.crc_mismatch, counts.payloads), (1, 3));
    }

    #[test]
    fn container_fragments_of_a_compressed_container_are_put_together() {
        let body = samples::zlib(&nmsg(&["one", "two"]).encoded());
        let crc = Some(checksum(&body));
        let (front, back) = body.split_at(10);
        let flags = FLAG_FRAGMENT | FLAG_ZLIB;
        let mut bytes = container(flags, &samples::fragment(5, 1, 1, back, crc));
        bytes.extend(container(FLAG_FRAGMENT, &samples::fragment(6, 0, 1, front, crc)));
        bytes.extend(container(flags, &samples::fragment(5, 0, 1, front, crc)));
        let (messages, errors, counts) = read_all(&bytes);
        assert_eq!(messages, words(&["one", "two"]));
        assert!(errors.is_empty());
        assert_eq!((counts.containers, counts.incomplete_fragments), (1, 1));
    }

    #[test]
    fn bytes_between_containers_are_skipped_and_their_offset_said() {
        let good = container(0, &nmsg(&["one"]).encoded());
        let mut bytes = good.clone();
        bytes.extend(b"garbage NMSG\x00\x01 more");
        bytes.extend(&good);
        let (messages, errors, counts) = read_all(&bytes);
        assert_eq!(messages, words(&["one", "one"]));
        let expected = u64::try_from(good.len()).unwrap();
        assert!(
            matches!(errors[..], [ReadError::NotContainer { offset, skipped: 19 }] if offset == expected),
            "{errors:?}"
        );
        assert_eq!(counts.skipped_bytes, 19);
    }

    #[test]
    fn a_malformed_container_is_skipped_by_its_length() {
        let mut bytes = container(0, b"\x0b nonsense");
        bytes.extend(container(0, &nmsg(&["one"]).encoded()));
        let (messages, errors, counts) = read_all(&bytes);
        assert_eq!(messages, words(&["one"]));
        let damage = Damage::Wire(Malformed::WireType);
        assert!(matches!(errors[..], [ReadError::Malformed { offset: 0, damage: d }] if d == damage));
        assert_eq!((counts.malformed_containers, counts.skipped_bytes), (1, 0));
    }

    #[test]
    fn containers_that_a_damaged_length_claims_are_read() {
        let plain = container(0, &nmsg(&["one", "two"]).encoded());
        let zlib = container(FLAG_ZLIB, &samples::zlib(&nmsg(&["one", "two"]).encoded()));
        for good in [plain, zlib] {
            for len in [0x0000_0400_u32, 0x000f_ff00, 0x001f_ffff] {
                let mut bytes = good.repeat(400);
                bytes[6..10].copy_from_slice(&len.to_be_bytes());
                let (messages, errors, _) = read_all(&bytes);
                assert!(messages.len() >= 399 * 2, "{} {len}", messages.len());
                assert!(errors.len() == 1 && errors[0].offset() == 0, "{errors:?}");
            }
        }
    }

    #[test]
    fn what_stands_behind_a_file_that_was_cut_is_read() {
        for good in [nmsg(&["one", "two"]).encoded(), samples::zlib(&nmsg(&["one", "two"]).encoded())] {
            let flags = if good.starts_with(&[0]) { FLAG_ZLIB } else { 0 };
            let good = container(flags, &good);
            for len in 1..good.len() {
                for cuts in [1, 3] {
                    let bytes = [good[..len].repeat(cuts), good.repeat(2)].concat();
                    let (messages, errors, _) = read_all(&bytes);
                    assert!(messages.ends_with(&words(&["one", "two", "one", "two"])), "{len} {cuts} {errors:?}");
                    assert!((1..=2 * cuts).contains(&errors.len()), "{len} {cuts} {errors:?}");
                }
            }
        }
    }

    #[test]
    fn what_looks_like_a_container_inside_one_is_none() {
        let good = container(0, &nmsg(&["one"]).encoded());
        let inside = String::from_utf8(container(0, b"")).unwrap().repeat(2);
        let around = container(0, &nmsg(&[&inside]).encoded());
        let malformed = container(0, &[&[0x0b], &good[..], &good].concat());
        for (bytes, expected) in [
            ([&around[..], &good].concat(), [&inside[..], "one"]),
            ([&around[..], b"garbage", &good].concat(), [&inside[..], "one"]),
            ([&malformed[..], &good, &good].concat(), ["one", "one"]),
        ] {
            assert_eq!(read_all(&bytes).0, words(&expected));
        }
    }

    /// Decoding each of these up to where it says it ends would take hours.
    #[test]
    fn false_containers_inside_each_other_are_not_decoded_again_and_again() {
        let length = u32::try_from(READ_MAX - 5).unwrap().to_be_bytes();
        let endless = [&b"NMSG\0\x02"[..], &length].concat();
        let empty = container(0, b"");
        // Field 13, which nobody knows, holds the next false container, so that each is well formed for two megabytes.
        for inside in [endless.clone(), [&empty[..], &endless].concat()] {
            let field = [&[0x6a, u8::try_from(inside.len()).unwrap()], &inside[..]].concat();
            let units = 8 * READ_MAX / field.len();
            let bytes = [&endless[..], &field.repeat(units), &container(0, &nmsg(&["one"]).encoded())].concat();
            let (messages, _, counts) = read_all(&bytes);
            assert_eq!(messages, words(&["one"]));
            assert!(counts.malformed_containers < 20, "{counts:?}");
        }
    }

    #[test]
    fn a_cut_at_every_length_is_an_error_and_never_a_panic() {
        let good = container(FLAG_ZLIB, &samples::zlib(&nmsg(&["one", "two"]).encoded()));
        for len in 1..good.len() {
            let bytes = [&good, &good[..len]].concat();
            let (messages, errors, _) = read_all(&bytes);
            assert_eq!(messages.len(), 2);
            let offset = u64::try_from(good.len()).unwrap();
            assert!(matches!(errors[..], [ReadError::Cut { offset: at }] if at == offset), "{len}");
        }
    }

    #[test]
    fn every_flipped_byte_leaves_the_container_behind_readable() {
        let body = nmsg(&["one", "two"]).encoded();
        for good in [container(0, &body), container(FLAG_ZLIB, &samples::zlib(&body))] {
            for index in 0..good.len() {
                for flip in [0x01, 0x80, 0xff] {
                    let mut bad = good.clone();
                    bad[index] ^= flip;
                    let bytes = [&bad[..], &good, &good].concat();
                    let (messages, _, counts) = read_all(&bytes);
                    assert!(messages.len() >= 4, "{index} {flip}: {counts:?}");
                }
            }
        }
    }

    #[test]
    fn lengths_beyond_the_limits_are_refused() {
        let mut bytes = b"NMSG\x00\x02\xff\xff\xff\xff".to_vec();
        bytes.extend(container(FLAG_ZLIB, &[255, 0, 0, 0, 0x78, 0x9c]));
        bytes.extend(container(FLAG_ZLIB, &[0, 255, 0, 0, 0x78, 0x9c]));
        let mut short = samples::zlib(&nmsg(&["one"]).encoded());
        short[3] += 1;
        bytes.extend(container(FLAG_ZLIB, &short));
        bytes.extend(container(FLAG_ZLIB, &[0, 0]));
        bytes.extend(container(0, &nmsg(&["one"]).encoded()));
        let (messages, errors, counts) = read_all(&bytes);
        assert_eq!(messages, words(&["one"]));
        let said: Vec<String> = errors.iter().map(ReadError::to_string).collect();
        assert!(said[0].contains("4294967295"), "{said:?}");
        assert!(said[1].contains("4278190080") && said[2].contains("16711680"), "{said:?}");
        assert!(said[3].contains("zlib") && said[4].contains("inside a field"), "{said:?}");
        assert_eq!(counts.malformed_containers, 5);
    }

    #[test]
    fn the_largest_body_is_read() {
        let big = "x".repeat(2 * WRITE_MAX - 100);
        let (messages, errors, _) = read_all(&container(0, &nmsg(&[&big]).encoded()));
        assert_eq!((messages.len(), errors.len()), (1, 0));
    }

    #[test]
    fn gaps_in_a_sequence_are_lost_containers_of_that_writer() {
        let mut bytes = Vec::new();
        for (id, sequence) in [(1, 5), (2, 100), (1, 6), (1, 9), (2, 101), (1, 7), (1, 10)] {
            let mut body = nmsg(&["x"]);
            (body.sequence, body.sequence_id) = (Some(sequence), Some(id));
            bytes.extend(container(0, &body.encoded()));
        }
        assert_eq!(read_all(&bytes).2.lost_containers, 2);
    }

    #[test]
    fn a_sequence_wraps_without_loss() {
        let mut sequences = LruCache::with_hasher(WRITERS_MAX, RandomState::new());
        assert_eq!(gap(&mut sequences, 1, u32::MAX), 0);
        assert_eq!(gap(&mut sequences, 1, 0), 0);
        for id in 0..5000 {
            gap(&mut sequences, id, 0);
        }
        assert_eq!(sequences.len(), 1024);
    }

    #[test]
    fn a_stream_that_fails_is_said_once() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("worn out"))
            }
        }
        let mut reader = Reader::new(Failing);
        assert_eq!(reader.next().unwrap_err().to_string(), "offset 0: cannot read: worn out");
        assert!(matches!(reader.next(), Ok(None)));
    }
}
