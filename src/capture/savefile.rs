//! Capture files: opened, told apart by their first bytes, and read frame by frame.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;

use super::Frame;
use super::bytes::ByteOrder::{Big, Little};
use super::error::{OpenError, Place, ReadError};
use super::pcap::Pcap;
use super::pcapng::{self, Pcapng};
use super::record::{Fault, Record};
use super::source::Source;
use crate::time::Timestamp;

/// Nanoseconds in the unit of a pcap file of microseconds.
const MICROSECOND: u64 = 1_000;

/// A capture file, or anything that reads like one: pcap or pcapng, plain or compressed with gzip, xz or zstd.
///
/// Holds one buffer of 256 KiB, which grows up to 16 MiB for a frame that needs it.
///
/// ```no_run
/// # use sie_dns_sensor::capture::Savefile;
/// let mut file = Savefile::open("capture.pcap.gz".as_ref())?;
/// while let Some(frame) = file.next()? {
///     println!("{} bytes", frame.bytes.len());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Savefile {
    name: String,
    source: Source,
    format: Format,
    /// Frames delivered, for messages.
    packets: u64,
    size: Option<u64>,
}

/// What the bytes mean.
enum Format {
    Pcap(Pcap),
    Pcapng(Pcapng),
    /// Nothing any more: an error was reported, and what follows it has no meaning.
    Failed,
}

impl Savefile {
    /// Opens a file, or standard input for `-`, and reads up to its first packet.
    ///
    /// # Errors
    ///
    /// When it cannot be read, is not a capture, or has a link type that is not decoded.
    pub fn open(path: &Path) -> Result<Savefile, OpenError> {
        let name = file_name(path);
        let (file, size) = match open_file(path) {
            Ok(opened) => opened,
            Err(error) => return Err(OpenError::Io { file: name, error }),
        };
        Ok(Savefile { size, ..Savefile::from_reader(name, Box::new(file))? })
    }

    /// Reads a capture from anything; `name` stands for it in messages.
    ///
    /// # Errors
    ///
    /// As [`Savefile::open`].
    pub fn from_reader(name: String, reader: Box<dyn Read + Send>) -> Result<Savefile, OpenError> {
        let source = match Source::new(reader) {
            Ok(source) => source,
            Err(error) => return Err(OpenError::Io { file: name, error }),
        };
        let mut file = Savefile { name, source, format: Format::Failed, packets: 0, size: None };
        file.format = file.detect()?;
        Ok(file)
    }

    /// The next frame, borrowed from the buffer until the next call; `None` at the end of the file and, once
    /// an error was returned, for good.
    ///
    /// # Errors
    ///
    /// Once, when the file is cut off, damaged or unreadable here. Every whole frame before it has been returned.
    #[expect(clippy::should_implement_trait, reason = "an Iterator cannot lend its buffer")]
    #[inline]
    pub fn next(&mut self) -> Result<Option<Frame<'_>>, ReadError> {
        match self.ready()? {
            Some(record) => Ok(Some(self.take(record))),
            None => Ok(None),
        }
    }

    /// When the next frame was captured, without taking it; `None` where `next` gives `None`.
    ///
    /// # Errors
    ///
    /// Those of `next`, which will not repeat them.
    #[inline]
    pub fn peek_time(&mut self) -> Result<Option<Timestamp>, ReadError> {
        Ok(self.ready()?.map(|record| record.time))
    }

    /// The file as it was named, not escaped: "standard input" for `-`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes read from the file so far; compressed ones, if it is compressed.
    pub fn consumed(&self) -> u64 {
        self.source.consumed()
    }

    /// Bytes of the whole file, when it was opened; `None` if it is not a regular file.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Sees to it that the next frame is whole in the buffer; calling it again changes nothing.
    #[inline]
    pub(super) fn ready(&mut self) -> Result<Option<Record>, ReadError> {
        let ready = match &mut self.format {
            Format::Pcap(pcap) => pcap.ready(&mut self.source),
            Format::Pcapng(pcapng) => pcapng.ready(&mut self.source),
            Format::Failed => Ok(None),
        };
        match ready {
            Ok(record) => Ok(record),
            Err(fault) => Err(self.fail(fault)),
        }
    }

    /// Takes the frame that `ready` just returned.
    #[inline]
    pub(super) fn take(&mut self, record: Record) -> Frame<'_> {
        self.packets += 1;
        let Record { time, link_type, header_len, captured_len, record_len, wire_len } = record;
        let bytes = self.source.take(record_len);
        let bytes = bytes.get(header_len..header_len + captured_len).unwrap_or_default();
        Frame { time, link_type, bytes, wire_len }
    }

    /// Tells by the first bytes what the file is and reads its header.
    fn detect(&mut self) -> Result<Format, OpenError> {
        if let Err(error) = self.source.fill(4) {
            return Err(OpenError::Read(self.fail(Fault::Source(error))));
        }
        let source = &mut self.source;
        let opened = match source.buffered() {
            [0xa1, 0xb2, 0xc3, 0xd4, ..] => Pcap::open(Big, MICROSECOND, source).map(Format::Pcap),
            [0xd4, 0xc3, 0xb2, 0xa1, ..] => Pcap::open(Little, MICROSECOND, source).map(Format::Pcap),
            [0xa1, 0xb2, 0x3c, 0x4d, ..] => Pcap::open(Big, 1, source).map(Format::Pcap),
            [0x4d, 0x3c, 0xb2, 0xa1, ..] => Pcap::open(Little, 1, source).map(Format::Pcap),
            bytes if bytes.starts_with(&pcapng::SECTION) => Pcapng::open(source).map(Format::Pcapng),
            _ => return Err(self.not_a_capture()),
        };
        opened.map_err(|fault| match fault {
            Fault::LinkType(number) => OpenError::LinkType { file: self.name.clone(), number },
            fault => OpenError::Read(self.fail(fault)),
        })
    }

    /// Says what the file is instead of a capture, as far as its first bytes tell.
    fn not_a_capture(&self) -> OpenError {
        let file = self.name.clone();
        let bytes = self.source.buffered();
        if bytes.is_empty() {
            return OpenError::Empty { file };
        }
        if let Some((_, format)) = UNREAD.iter().find(|(magic, _)| bytes.starts_with(magic)) {
            return OpenError::Format { file, format };
        }
        let first = bytes.iter().copied().take(4).collect();
        OpenError::NotACapture { file, first, compression: self.source.compression() }
    }

    /// Names file and place of a fault, and reads no further.
    #[cold]
    #[inline(never)]
    fn fail(&mut self, fault: Fault) -> ReadError {
        self.format = Format::Failed;
        let offset = match fault {
            Fault::Truncated(_) | Fault::Source(_) => self.source.end_offset(),
            Fault::Corrupt(_) | Fault::LinkType(_) => self.source.offset(),
        };
        let compression = self.source.compression();
        let (file, compressed) = (self.name.clone(), compression.is_some());
        let place = Place { file, offset, compressed, packets: self.packets };
        match (fault, compression) {
            (Fault::Truncated(part), _) => ReadError::Truncated(place, part),
            (Fault::Corrupt(corruption), _) => ReadError::Corrupt(place, corruption),
            (Fault::LinkType(number), _) => ReadError::LinkType(place, number),
            // A decoder's own errors have no number of the operating system's; those it passes on have.
            (Fault::Source(error), Some(compression)) if error.raw_os_error().is_none() => {
                ReadError::Compressed(place, compression, error)
            }
            (Fault::Source(error), _) => ReadError::Io(place, error),
        }
    }
}

/// First bytes of what one may take for a capture we read, but is not.
const UNREAD: [(&[u8], &str); 7] = [
    (&[0xa1, 0xb2, 0xcd, 0x34], "Kuznetzov's modified pcap"),
    (&[0x34, 0xcd, 0xb2, 0xa1], "Kuznetzov's modified pcap"),
    (b"snoop\0\0\0", "a snoop capture"),
    (b"GMBU", "a Network Monitor capture"),
    (b"BZh", "bzip2"),
    (&[0x04, 0x22, 0x4d, 0x18], "lz4"),
    (b"PK\x03\x04", "zip"),
];

/// What messages call a file.
fn file_name(path: &Path) -> String {
    match is_standard_input(path) {
        true => "standard input".to_owned(),
        false => path.to_string_lossy().into_owned(),
    }
}

/// Whether a path means standard input.
fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A file and its size, if it has one that means something.
fn open_file(path: &Path) -> io::Result<(File, Option<u64>)> {
    // A descriptor of its own: io::stdin() would copy everything through one more buffer.
    let file = match is_standard_input(path) {
        true => File::from(io::stdin().as_fd().try_clone_to_owned()?),
        false => File::open(path)?,
    };
    let metadata = file.metadata()?;
    Ok((file, metadata.is_file().then_some(metadata.len())))
}

#[cfg(test)]
mod tests {
    use super::super::error::Part;
    use super::super::testing::*;
    use super::*;
    use proptest::prelude::*;

    fn three_packets() -> Vec<u8> {
        PcapFile::new().packet(1, 1, b"one").packet(2, 2, b"two").packet(3, 3, b"three").bytes
    }

    /// Enough packets to refill the buffer many times, of sizes that never fit it evenly.
    fn many_packets() -> Vec<u8> {
        let mut state = 1_u32;
        let mut file = PcapFile::new();
        for second in 0..3_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let frame: Vec<_> = (0..state >> 22).map(|i| (state.rotate_left(i) ^ i) as u8).collect();
            file = file.packet(second, 0, &frame);
        }
        file.bytes
    }

    #[test]
    fn what_is_no_capture_is_told_by_its_first_bytes() {
        assert_eq!(
            complaint(b"\x89PNG\r\n"),
            "test: not a capture file (first bytes 89 50 4e 47); \
             pcap, pcapng and these compressed with gzip, xz or zstd are read"
        );
        assert_eq!(
            complaint(&gzip(b"\x1f\x8b")),
            "test: not a capture file (first bytes inside gzip 1f 8b); \
             pcap, pcapng and these compressed with gzip, xz or zstd are read"
        );
    }

    #[test]
    fn an_empty_file_is_called_empty_even_inside_gzip() {
        assert_eq!(complaint(b""), "test: empty file");
        assert_eq!(complaint(&gzip(b"")), "test: empty file");
    }

    #[test]
    fn formats_that_are_not_read_are_refused_by_name() {
        for magic in [b"\xa1\xb2\xcd\x34", b"\x34\xcd\xb2\xa1"] {
            assert_eq!(
                complaint(&[magic.as_slice(), &[0; 20]].concat()),
                "test: Kuznetzov's modified pcap is not read; \
                 pcap, pcapng and these compressed with gzip, xz or zstd are"
            );
        }
        assert!(complaint(b"BZh91AY").starts_with("test: bzip2 is not read"));
    }

    #[test]
    fn compressed_files_give_the_same_frames() {
        let plain = many_packets();
        let expected = frames(&plain);
        assert_eq!(expected.len(), 3_000);
        for compress in [gzip, xz, zstd] {
            assert!(frames(&compress(&plain)) == expected);
        }
    }

    #[test]
    fn a_file_compressed_in_several_pieces_is_read_to_the_end() {
        let plain = three_packets();
        let (head, tail) = plain.split_at(50);
        for compress in [gzip, xz, zstd] {
            let pieces = [compress(head), compress(tail)].concat();
            assert_eq!(frames(&pieces), frames(&plain));
        }
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9], &zstd(&plain)[..]].concat();
        assert_eq!(frames(&skippable), frames(&plain));
    }

    #[test]
    fn zeros_behind_gzip_are_padding_and_anything_else_is_damage() {
        let plain = three_packets();
        for zeros in [1, 512, 100_000] {
            let padded = [gzip(&plain), vec![0; zeros]].concat();
            assert_eq!(frames(&padded), frames(&plain));
            let (some, error) = read(&[&padded[..], b"x"].concat());
            assert_eq!((some, error.is_some()), (frames(&plain), true));
        }
        let (head, tail) = plain.split_at(50);
        assert_eq!(frames(&[gzip(head), vec![0; 512], gzip(tail)].concat()), frames(&plain));
    }

    #[test]
    fn a_compressed_file_cut_anywhere_gives_only_whole_frames_and_an_error() {
        let plain = three_packets();
        for compress in [gzip, xz, zstd] {
            assert_every_cut_is_clean(&compress(&plain), &frames(&plain), &[]);
        }
    }

    #[test]
    fn damaged_compression_is_told_with_the_words_of_the_decoder() {
        let plain = many_packets();
        let expected = frames(&plain);
        for compress in [gzip, xz, zstd] {
            let mut bytes = compress(&plain);
            bytes.truncate(bytes.len() * 3 / 4);
            let (frames, error) = read(&bytes);
            assert!(expected.starts_with(&frames));
            assert!(frames.len() > 1_500, "{}", frames.len());
            let error = error.unwrap();
            assert!(matches!(error, ReadError::Compressed(..)), "{error:?}");
            assert!(error.to_string().contains("of the uncompressed stream"), "{error}");
        }
        let mut bytes = gzip(&plain);
        let crc = bytes.len() - 8;
        bytes[crc] ^= 1;
        let (frames, error) = read(&bytes);
        assert!(frames == expected);
        assert!(error.unwrap().to_string().contains("gzip data cut off or damaged"));
    }

    #[test]
    fn a_file_cannot_make_its_decoder_take_more_memory_than_the_limit() {
        // A window of 2^28 bytes, and one byte of content.
        let zstd = [0x28, 0xb5, 0x2f, 0xfd, 0, 18 << 3, 9, 0, 0, b'x'];
        let error = complaint(&zstd);
        assert!(error.contains("too much memory"), "{error}");

        // A dictionary of 4 GiB in the header of the first block, which ends with its own checksum.
        let mut xz = xz(&three_packets());
        assert_eq!(xz[14..16], [0x21, 1]);
        xz[16] = 40;
        let end = 12 + 4 * usize::from(xz[12]);
        let mut crc = flate2::Crc::new();
        crc.update(&xz[12..end]);
        xz[end..end + 4].copy_from_slice(&crc.sum().to_le_bytes());
        let error = complaint(&xz);
        assert!(error.contains("memory"), "{error}");
    }

    #[test]
    fn packets_from_a_slow_pipe_are_whole() {
        let expected = frames(&many_packets());
        for step in [1, 7, 1_000] {
            let pipe = Trickle::new(many_packets(), step);
            let mut file = Savefile::from_reader("pipe".into(), Box::new(pipe)).unwrap();
            assert!(rest(&mut file).0 == expected);
        }
    }

    #[test]
    fn peeking_tells_the_time_of_the_frame_that_comes() {
        let mut file = open(&three_packets()).unwrap();
        for second in 1..=3_u64 {
            for _ in 0..2 {
                assert_eq!(file.peek_time().unwrap().unwrap().seconds(), second);
            }
            assert_eq!(file.next().unwrap().unwrap().time.seconds(), second);
        }
        assert!(file.peek_time().unwrap().is_none());
    }

    #[test]
    fn an_error_met_by_peeking_is_not_repeated() {
        let bytes = three_packets();
        let mut file = open(&bytes[..30]).unwrap();
        let error = file.peek_time().unwrap_err();
        assert!(matches!(error, ReadError::Truncated(_, Part::Packet)), "{error:?}");
        assert!(file.next().unwrap().is_none());
    }

    #[test]
    fn a_file_of_the_disk_has_a_size_and_all_of_it_is_consumed() {
        let directory = Directory::new("size");
        let bytes = gzip(&many_packets());
        let path = directory.file("a.pcap.gz", &bytes);
        let mut file = Savefile::open(&path).unwrap();
        let size = u64::try_from(bytes.len()).unwrap();
        assert_eq!(file.size(), Some(size));
        assert!(file.consumed() < size);
        assert!(rest(&mut file).1.is_none());
        assert_eq!(file.consumed(), size);
        assert_eq!(file.name(), path.to_string_lossy());
    }

    #[test]
    fn an_error_of_the_system_is_kept() {
        let directory = Directory::new("system");
        let missing = Savefile::open(&directory.path().join("none")).err().unwrap();
        assert!(matches!(&missing, OpenError::Io { error, .. } if error.raw_os_error() == Some(2)));
        assert!(missing.to_string().starts_with("cannot open "), "{missing}");
        let directory = Savefile::open(directory.path()).err().unwrap();
        assert!(matches!(directory, OpenError::Io { .. }), "{directory:?}");
    }

    #[test]
    fn a_read_that_fails_later_leaves_the_frames_before_it() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from_raw_os_error(5))
            }
        }
        let bytes = io::Cursor::new(three_packets()[..70].to_vec());
        let mut file = Savefile::from_reader("disk".into(), Box::new(bytes.chain(Broken))).unwrap();
        let (frames, error) = rest(&mut file);
        assert_eq!(frames.len(), 2);
        let error = error.unwrap().to_string();
        assert!(error.starts_with("disk: cannot read on at byte 70 (after 2 whole p"), "{error}");
    }

    #[test]
    fn a_file_name_cannot_write_to_the_terminal() {
        let reader = Box::new(io::empty());
        let error = Savefile::from_reader("a\x1b[2Jé\n".into(), reader).err().unwrap();
        assert_eq!(error.to_string(), "a\\u{1b}[2Jé\\n: empty file");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn random_bytes_after_any_magic_never_panic(
            magic in prop::sample::select(vec![
                &b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0"[..],
                b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1a\x01\0\0\0",
                b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"",
            ]),
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            complaint(&[magic, &bytes].concat());
        }

        #[test]
        fn a_file_with_a_few_bytes_changed_never_panics(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            compressed in 0..4_usize,
        ) {
            let plain = PcapngFile::new(Little)
                .interface(1, 64, &[(9, &[9]), (14, &[0; 8]), (13, &[4])])
                .packet(0, 1, b"one")
                .block(5, b"statistics")
                .simple_packet(3, b"two")
                .obsolete_packet(0, 3, b"three")
                .bytes;
            let mut bytes = match compressed {
                0 => plain,
                1 => gzip(&plain),
                2 => xz(&plain),
                _ => zstd(&plain),
            };
            for (index, value) in changes {
                let at = index.index(bytes.len());
                bytes[at] = value;
            }
            complaint(&bytes);
        }
    }
}
