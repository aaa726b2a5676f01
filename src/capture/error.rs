//! What can be wrong with a capture file, and where.

use std::fmt;
use std::io;

use super::link_type;
use super::source::Compression;
use crate::escape::Escaped;

/// Too many open files, on every system there is.
const EMFILE: i32 = 24;

/// Why a capture file could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The operating system refused to open or read it.
    Io {
        /// The file as it was named.
        file: String,
        /// The system's reason.
        error: io::Error,
    },
    /// It holds no byte (after decompression, if it is compressed).
    Empty {
        /// The file as it was named.
        file: String,
    },
    /// It begins like none of the formats.
    NotACapture {
        /// The file as it was named.
        file: String,
        /// Its first bytes, at most four, uncompressed.
        first: Vec<u8>,
        /// What it is compressed with.
        compression: Option<Compression>,
    },
    /// It is a capture, or compressed, in a way that is not read.
    Format {
        /// The file as it was named.
        file: String,
        /// What it is.
        format: &'static str,
    },
    /// Its packets start with a header that is not decoded.
    LinkType {
        /// The file as it was named.
        file: String,
        /// LINKTYPE_ number.
        number: u16,
    },
    /// It breaks off or is damaged before its first packet.
    Read(ReadError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Io { file, error } => {
                write!(f, "cannot open {}: {error}", Escaped(file))?;
                match error.raw_os_error() {
                    Some(EMFILE) => f.write_str("; merge fewer files at once, or allow more with ulimit -n"),
                    _ => Ok(()),
                }
            }
            OpenError::Empty { file } => write!(f, "{}: empty file", Escaped(file)),
            OpenError::NotACapture { file, first, compression } => {
                write!(f, "{}: not a capture file (first bytes", Escaped(file))?;
                if let Some(compression) = compression {
                    write!(f, " inside {compression}")?;
                }
                first.iter().try_for_each(|byte| write!(f, " {byte:02x}"))?;
                f.write_str("); pcap, pcapng and these compressed with gzip, xz or zstd are read")
            }
            OpenError::Format { file, format } => {
                write!(f, "{}: {format} is not read; ", Escaped(file))?;
                f.write_str("pcap, pcapng and these compressed with gzip, xz or zstd are")
            }
            OpenError::LinkType { file, number } => {
                write!(f, "{}: {}", Escaped(file), link_type::Unsupported(*number))
            }
            OpenError::Read(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OpenError::Io { error, .. } => Some(error),
            OpenError::Read(error) => error.source(),
            _ => None,
        }
    }
}

/// Why reading ended before the end of the file; every whole packet before that place has been delivered.
#[derive(Debug)]
pub enum ReadError {
    /// The file ends inside a header or packet, as when its writer was killed.
    Truncated(Place, Part),
    /// What the file says cannot be right; where the next packet starts is unknown.
    Corrupt(Place, Corruption),
    /// The compressed data is cut off or damaged; the error is the decoder's.
    Compressed(Place, Compression, io::Error),
    /// The operating system could not read on.
    Io(Place, io::Error),
    /// An interface of a pcapng file has a link type (LINKTYPE_ number) that is not decoded.
    LinkType(Place, u16),
}

impl ReadError {
    /// Where it happened.
    pub fn place(&self) -> &Place {
        match self {
            ReadError::Truncated(place, _)
            | ReadError::Corrupt(place, _)
            | ReadError::Compressed(place, ..)
            | ReadError::Io(place, _)
            | ReadError::LinkType(place, _) => place,
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", Escaped(&self.place().file))?;
        match self {
            ReadError::Truncated(place, part) => {
                write!(f, "cut off in the middle of {part} at {place}")
            }
            ReadError::Corrupt(place, corruption) => write!(f, "{corruption} at {place}"),
            ReadError::Compressed(place, compression, error) => {
                write!(f, "{compression} data cut off or damaged at {place}: {error}")
            }
            ReadError::Io(place, error) => write!(f, "cannot read on at {place}: {error}"),
            ReadError::LinkType(place, number) => {
                write!(f, "at {place}: {}", link_type::Unsupported(*number))
            }
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ReadError::Compressed(_, _, error) | ReadError::Io(_, error) => Some(error),
            _ => None,
        }
    }
}

/// A place in a capture file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named.
    pub file: String,
    /// Bytes from its start; of a compressed file, from the start of the uncompressed stream. For what is cut
    /// off or unreadable this is where the bytes end, for what is corrupt where the bad record starts (of a block
    /// that was passed over, where its second length is).
    pub offset: u64,
    /// Whether `offset` is one in the uncompressed stream of a compressed file.
    pub compressed: bool,
    /// Whole packets delivered before it.
    pub packets: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = if self.compressed { " of the uncompressed stream" } else { "" };
        let plural = if self.packets == 1 { "" } else { "s" };
        let (offset, packets) = (self.offset, self.packets);
        write!(f, "byte {offset}{of} (after {packets} whole packet{plural})")
    }
}

/// What a file ended in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The header of a pcap file.
    FileHeader,
    /// A packet and its header.
    Packet,
    /// A pcapng block that holds no packet, or the start of any block.
    Block,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::FileHeader => "the file header",
            Part::Packet => "a packet",
            Part::Block => "a block",
        })
    }
}

/// What in a capture file cannot be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corruption {
    /// A pcap version other than 2.4: major, minor. Before 2.4 the two lengths of a packet may be swapped.
    PcapVersion(u16, u16),
    /// A pcapng version other than 1.0 and 1.2, which are the same: major, minor.
    PcapngVersion(u16, u16),
    /// A captured length above 16 MiB, in bytes.
    FrameLength(u32),
    /// A frame that is longer than the block it is in: its captured length in bytes.
    FrameOutsideBlock(u32),
    /// A pcapng block length below its minimum or no multiple of four, in bytes.
    BlockLength(u32),
    /// A block of a packet or an interface that is longer than any frame and its options can be, in bytes.
    BlockTooLong(u32),
    /// The lengths at the start and at the end of a block, in bytes, which should be equal.
    TrailingLength(u32, u32),
    /// Neither 1a2b3c4d nor its reverse where the byte order of a section is told.
    ByteOrderMagic([u8; 4]),
    /// A packet of an interface (its number) that the section does not describe.
    UnknownInterface(u32),
    /// More interfaces in a section than any machine has.
    TooManyInterfaces,
    /// An option of an interface (its code) of the wrong length, or that ends outside its block.
    InterfaceOption(u16),
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Corruption::PcapVersion(major, minor) => {
                write!(f, "pcap version {major}.{minor}, where only 2.4 is read,")
            }
            Corruption::PcapngVersion(major, minor) => {
                write!(f, "pcapng version {major}.{minor}, where only 1.0 and 1.2 are read,")
            }
            Corruption::FrameLength(len) => {
                write!(f, "damaged: a packet of {len} bytes, more than 16 MiB,")
            }
            Corruption::FrameOutsideBlock(len) => {
                write!(f, "damaged: a packet of {len} bytes that does not fit in its block")
            }
            Corruption::BlockLength(len) => write!(f, "damaged: a block length of {len}"),
            Corruption::BlockTooLong(len) => {
                write!(f, "damaged: a packet or interface block of {len} bytes")
            }
            Corruption::TrailingLength(first, last) => {
                write!(f, "damaged: a block begins with length {first} and ends with {last}")
            }
            Corruption::ByteOrderMagic([a, b, c, d]) => {
                write!(f, "damaged: byte-order magic {a:02x} {b:02x} {c:02x} {d:02x}")
            }
            Corruption::UnknownInterface(number) => {
                write!(f, "damaged: a packet of interface {number}, which is not described,")
            }
            Corruption::TooManyInterfaces => f.write_str("damaged: more than 65536 interfaces in a section"),
            Corruption::InterfaceOption(code) => {
                write!(f, "damaged: a bad length in interface option {code}")
            }
        }
    }
}
