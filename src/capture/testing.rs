//! Capture files built in memory, and what reading them gives.

use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};

use super::bytes::ByteOrder;
use super::error::{OpenError, ReadError};
use super::savefile::Savefile;
use super::{Frame, LinkType};

/// A frame that outlives the buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) nanos: u64,
    pub(super) link_type: LinkType,
    pub(super) bytes: Vec<u8>,
    pub(super) wire_len: u32,
}

impl From<Frame<'_>> for Owned {
    fn from(frame: Frame<'_>) -> Owned {
        let Frame { time, link_type, bytes, wire_len } = frame;
        Owned { nanos: time.as_nanos(), link_type, bytes: bytes.to_vec(), wire_len }
    }
}

/// Opens bytes as a file called "test".
pub(super) fn open(bytes: &[u8]) -> Result<Savefile, OpenError> {
    Savefile::from_reader("test".into(), Box::new(Cursor::new(bytes.to_vec())))
}

/// All frames of an open file, and the error that ended them.
pub(super) fn rest(file: &mut Savefile) -> (Vec<Owned>, Option<ReadError>) {
    let mut frames = Vec::new();
    let error = loop {
        match file.next() {
            Ok(Some(frame)) => frames.push(frame.into()),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    assert!(matches!(file.next(), Ok(None)));
    (frames, error)
}

/// All frames of bytes that must open, and the error that ended them.
pub(super) fn read(bytes: &[u8]) -> (Vec<Owned>, Option<ReadError>) {
    rest(&mut open(bytes).unwrap())
}

/// All frames of bytes that must open and be read to the end.
pub(super) fn frames(bytes: &[u8]) -> Vec<Owned> {
    let (frames, error) = read(bytes);
    assert!(error.is_none(), "{error:?}");
    frames
}

/// What `open` or else reading to the end says is wrong.
pub(super) fn complaint(bytes: &[u8]) -> String {
    match open(bytes) {
        Err(error) => error.to_string(),
        Ok(mut file) => rest(&mut file).1.map(|error| error.to_string()).unwrap_or_default(),
    }
}

/// Asserts that a file cut at every byte gives only whole frames, in order, and complains unless the cut is
/// between two of them.
pub(super) fn assert_every_cut_is_clean(whole: &[u8], expected: &[Owned], clean_cuts: &[usize]) {
    for len in 0..whole.len() {
        let cut = &whole[..len];
        match open(cut) {
            Err(_) => assert!(!clean_cuts.contains(&len), "cut at {len}: not opened"),
            Ok(mut file) => {
                let (frames, error) = rest(&mut file);
                assert!(expected.starts_with(&frames), "cut at {len}: {frames:?}");
                assert_eq!(error.is_none(), clean_cuts.contains(&len), "cut at {len}: {error:?}");
            }
        }
    }
}

fn u16_bytes(order: ByteOrder, number: u16) -> [u8; 2] {
    if order == ByteOrder::Big { number.to_be_bytes() } else { number.to_le_bytes() }
}

fn u32_bytes(order: ByteOrder, number: u32) -> [u8; 4] {
    if order == ByteOrder::Big { number.to_be_bytes() } else { number.to_le_bytes() }
}

/// A pcap file.
pub(super) struct PcapFile {
    order: ByteOrder,
    pub(super) bytes: Vec<u8>,
}

impl PcapFile {
    /// Microseconds, little-endian, Ethernet.
    pub(super) fn new() -> PcapFile {
        PcapFile::with(ByteOrder::Little, 0xa1b2_c3d4, 1)
    }

    pub(super) fn with(order: ByteOrder, magic: u32, link: u32) -> PcapFile {
        let mut bytes = u32_bytes(order, magic).to_vec();
        bytes.extend(u16_bytes(order, 2));
        bytes.extend(u16_bytes(order, 4));
        for field in [0, 0, 262_144, link] {
            bytes.extend(u32_bytes(order, field));
        }
        PcapFile { order, bytes }
    }

    /// A packet that was captured whole.
    pub(super) fn packet(self, seconds: u32, fraction: u32, frame: &[u8]) -> PcapFile {
        let wire = u32::try_from(frame.len()).unwrap();
        self.cut_packet(seconds, fraction, frame, wire)
    }

    pub(super) fn cut_packet(self, sec: u32, fraction: u32, frame: &[u8], wire: u32) -> PcapFile {
        let captured = u32::try_from(frame.len()).unwrap();
        let mut file = self.packet_header(sec, fraction, captured, wire);
        file.bytes.extend(frame);
        file
    }

    pub(super) fn packet_header(mut self, sec: u32, frac: u32, captured: u32, wire: u32) -> Self {
        for field in [sec, frac, captured, wire] {
            self.bytes.extend(u32_bytes(self.order, field));
        }
        self
    }
}

/// A pcapng file.
pub(super) struct PcapngFile {
    order: ByteOrder,
    pub(super) bytes: Vec<u8>,
}

impl PcapngFile {
    /// Starts with a section header.
    pub(super) fn new(order: ByteOrder) -> PcapngFile {
        PcapngFile { order, bytes: Vec::new() }.section(order)
    }

    pub(super) fn section(mut self, order: ByteOrder) -> PcapngFile {
        self.order = order;
        let mut body = u32_bytes(order, 0x1a2b_3c4d).to_vec();
        body.extend(u16_bytes(order, 1));
        body.extend(u16_bytes(order, 0));
        body.extend([0xff; 8]);
        self.block(0x0a0d_0d0a, &body)
    }

    /// `options` are code and value.
    pub(super) fn interface(self, link: u16, snap_len: u32, options: &[(u16, &[u8])]) -> Self {
        let mut body = u16_bytes(self.order, link).to_vec();
        body.extend([0; 2]);
        body.extend(u32_bytes(self.order, snap_len));
        for (code, value) in options {
            body.extend(u16_bytes(self.order, *code));
            body.extend(u16_bytes(self.order, u16::try_from(value.len()).unwrap()));
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        if !options.is_empty() {
            body.extend([0; 4]);
        }
        self.block(1, &body)
    }

    pub(super) fn packet(self, interface: u32, ticks: u64, frame: &[u8]) -> PcapngFile {
        let interface = u32_bytes(self.order, interface);
        self.timed_packet(6, interface, ticks, frame)
    }

    /// The obsolete packet block, with 7 drops.
    pub(super) fn obsolete_packet(self, interface: u16, ticks: u64, frame: &[u8]) -> PcapngFile {
        let [a, b] = u16_bytes(self.order, interface);
        let [c, d] = u16_bytes(self.order, 7);
        self.timed_packet(2, [a, b, c, d], ticks, frame)
    }

    fn timed_packet(self, kind: u32, interface: [u8; 4], ticks: u64, frame: &[u8]) -> PcapngFile {
        let len = u32::try_from(frame.len()).unwrap();
        let mut body = interface.to_vec();
        for field in [(ticks >> 32) as u32, ticks as u32, len, len] {
            body.extend(u32_bytes(self.order, field));
        }
        body.extend(frame);
        self.block(kind, &body)
    }

    pub(super) fn simple_packet(self, wire_len: u32, frame: &[u8]) -> PcapngFile {
        let mut body = u32_bytes(self.order, wire_len).to_vec();
        body.extend(frame);
        self.block(3, &body)
    }

    /// Any block; the body is padded.
    pub(super) fn block(self, kind: u32, body: &[u8]) -> PcapngFile {
        let len = u32::try_from(12 + body.len().next_multiple_of(4)).unwrap();
        self.raw_block(kind, len, body, len)
    }

    pub(super) fn raw_block(mut self, kind: u32, len: u32, body: &[u8], trailer: u32) -> Self {
        self.bytes.extend(u32_bytes(self.order, kind));
        self.bytes.extend(u32_bytes(self.order, len));
        self.bytes.extend(body);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.bytes.extend(u32_bytes(self.order, trailer));
        self
    }
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// Gives its bytes a few at a time, as a slow pipe does, with an interrupt between them.
pub(super) struct Trickle {
    bytes: Cursor<Vec<u8>>,
    step: usize,
    interrupt: bool,
}

impl Trickle {
    pub(super) fn new(bytes: Vec<u8>, step: usize) -> Trickle {
        Trickle { bytes: Cursor::new(bytes), step, interrupt: false }
    }
}

impl Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.interrupt = !self.interrupt;
        if self.interrupt {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        let len = buffer.len().min(self.step);
        self.bytes.read(&mut buffer[..len])
    }
}

/// A directory of files that goes when the test ends.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new(test: &str) -> Directory {
        let name = format!("sie-dns-sensor-{}-{test}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
