//! The container: its header, its limits, its checksum.

/// First bytes of every container.
pub const MAGIC: [u8; 4] = *b"NMSG";
/// The only version there is in the field.
pub const VERSION: u8 = 2;
/// Magic, flags, version, body length.
pub const HEADER_LEN: usize = 10;
/// Flag: the body is a 4-byte uncompressed length and one zlib stream.
pub const FLAG_ZLIB: u8 = 0x01;
/// Flag: the body is an `NmsgFragment`.
pub const FLAG_FRAGMENT: u8 = 0x02;
/// What a file writer fills before it closes a container: NMSG_WBUFSZ_MAX in libnmsg's constants.h, the ceiling its own
/// writer clamps to.
pub const WRITE_MAX: usize = 1_048_576;
/// The largest body a reader accepts, twice what any writer makes (NMSG_RBUFSZ in libnmsg).
pub const READ_MAX: usize = 2 * WRITE_MAX;
/// The largest body after inflation or reassembly that a reader accepts.
pub const INFLATED_MAX: usize = 16 * WRITE_MAX;

/// The checksum of a payload as it stands in `payload_crcs`: CRC-32C, byte-swapped, because libnmsg passes it through
/// htonl on little-endian machines and every reader expects that.
pub fn checksum(message: &[u8]) -> u32 {
    crc32c::crc32c(message).swap_bytes()
}
