//! The pcapng file format (draft-ietf-opsawg-pcapng): sections of blocks, each block with its length before
//! and after it.

use super::bytes::{ByteOrder, Fields, to_u64, to_usize};
use super::error::{Corruption, Part};
use super::interface::Interface;
use super::record::{Fault, MAX_FRAME, Record, without_fcs};
use super::source::Source;
use crate::time::Timestamp;

/// Block type of a section header; the same in both byte orders, since it comes before the order is known.
pub(super) const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Interface Description Block.
const INTERFACE: u32 = 1;
/// Packet Block, obsolete since 2004.
const OBSOLETE_PACKET: u32 = 2;
/// Simple Packet Block.
const SIMPLE_PACKET: u32 = 3;
/// Enhanced Packet Block.
const ENHANCED_PACKET: u32 = 6;

/// Type and length before the body of a block.
const BLOCK_HEADER_LEN: usize = 8;

/// The length again, after the body of a block.
const TRAILER_LEN: usize = 4;

/// Length of a block with no body.
const MIN_BLOCK: u32 = 12;

/// Length of a section header without options.
const MIN_SECTION: u32 = 28;

/// The longest block that is held whole: the largest frame, its header, and room for options.
const MAX_BLOCK: u32 = MAX_FRAME + (64 << 10);

/// Bounds what a file of nothing but interfaces can make us remember (2.5 MB); the obsolete packet block
/// cannot number more.
const MAX_INTERFACES: usize = 1 << 16;

/// The section being read.
#[derive(Debug)]
pub(super) struct Pcapng {
    order: ByteOrder,
    interfaces: Vec<Interface>,
    /// Time of the previous packet, for those that have none; 1970 before the first.
    time: Timestamp,
}

/// The first words of a block, not yet taken from the source.
#[derive(Clone, Copy, Debug)]
struct Block {
    kind: Kind,
    /// Of the whole block, in bytes.
    len: u32,
}

/// What a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Section,
    Interface,
    EnhancedPacket,
    SimplePacket,
    ObsoletePacket,
    /// Names, statistics, secrets, custom blocks: nothing a packet needs.
    Other,
}

impl Kind {
    /// Whether the block holds a packet.
    fn is_packet(self) -> bool {
        matches!(self, Kind::EnhancedPacket | Kind::SimplePacket | Kind::ObsoletePacket)
    }
}

/// The fields of a packet block.
struct Packet {
    interface: u32,
    /// Units of the interface's clock; `None` in a simple packet block.
    ticks: Option<u64>,
    /// `None` in a simple packet block, where it follows from the other lengths.
    captured_len: Option<u32>,
    wire_len: u32,
}

impl Pcapng {
    /// Reads the blocks before the first packet, so that an interface we cannot decode is known at once.
    pub(super) fn open(source: &mut Source) -> Result<Pcapng, Fault> {
        // The order is that of the first section header, which `block` meets before anything else.
        let (order, interfaces, time) = (ByteOrder::Little, Vec::new(), Timestamp::default());
        let mut pcapng = Pcapng { order, interfaces, time };
        while let Some(block) = pcapng.block(source)?
            && !block.kind.is_packet()
        {
            pcapng.pass(block, source)?;
        }
        Ok(pcapng)
    }

    /// Sees to it that the next packet is whole in the buffer; `None` at the end of the file.
    #[inline]
    pub(super) fn ready(&mut self, source: &mut Source) -> Result<Option<Record>, Fault> {
        while let Some(block) = self.block(source)? {
            if block.kind.is_packet() {
                return self.packet(block, source).map(Some);
            }
            self.pass(block, source)?;
        }
        Ok(None)
    }

    /// The next block, left in the source; `None` at the end of the file.
    fn block(&mut self, source: &mut Source) -> Result<Option<Block>, Fault> {
        // Every block has twelve bytes, and those of a section header tell its byte order.
        source.fill(to_usize(MIN_BLOCK))?;
        let (kind, len, magic) = match source.buffered().as_chunks::<4>().0 {
            [kind, len, magic, ..] => (*kind, *len, *magic),
            _ if source.buffered().is_empty() => return Ok(None),
            _ => return Err(Fault::Truncated(Part::Block)),
        };
        let kind = match self.order.u32(kind) {
            _ if kind == SECTION => Kind::Section,
            INTERFACE => Kind::Interface,
            ENHANCED_PACKET => Kind::EnhancedPacket,
            SIMPLE_PACKET => Kind::SimplePacket,
            OBSOLETE_PACKET => Kind::ObsoletePacket,
            _ => Kind::Other,
        };
        if kind == Kind::Section {
            self.order = section_order(magic)?;
        }
        let len = self.order.u32(len);
        let min = if kind == Kind::Section { MIN_SECTION } else { MIN_BLOCK };
        if len < min || !len.is_multiple_of(4) {
            return Err(Corruption::BlockLength(len).into());
        }
        Ok(Some(Block { kind, len }))
    }

    /// Takes a block without a packet.
    #[cold]
    fn pass(&mut self, block: Block, source: &mut Source) -> Result<(), Fault> {
        match block.kind {
            Kind::Section => self.section(source)?,
            Kind::Interface => return self.interface(block, source),
            _ => {}
        }
        // However long it is, nobody needs it: streamed past.
        if !source.skip(u64::from(block.len) - to_u64(TRAILER_LEN))? || !source.fill(TRAILER_LEN)? {
            return Err(Fault::Truncated(Part::Block));
        }
        let trailer = source.take(TRAILER_LEN);
        check_trailer(block, Fields::new(trailer, self.order))
    }

    /// Starts a new section: what the one before it said of interfaces ends.
    fn section(&mut self, source: &mut Source) -> Result<(), Fault> {
        source.fill(to_usize(MIN_SECTION))?;
        let mut fields = Fields::new(source.buffered(), self.order);
        let _header_and_magic = fields.bytes(to_usize(MIN_BLOCK));
        let (Some(major), Some(minor)) = (fields.u16(), fields.u16()) else {
            return Err(Fault::Truncated(Part::Block));
        };
        // 1.2 was written by some tools for what is 1.0; the draft has readers take both.
        if major != 1 || (minor != 0 && minor != 2) {
            return Err(Corruption::PcapngVersion(major, minor).into());
        }
        self.interfaces.clear();
        Ok(())
    }

    /// Takes an interface description.
    fn interface(&mut self, block: Block, source: &mut Source) -> Result<(), Fault> {
        let body = whole(block, self.order, source)?;
        let interface = Interface::parse(Fields::new(body, self.order), block.len)?;
        if self.interfaces.len() >= MAX_INTERFACES {
            return Err(Corruption::TooManyInterfaces.into());
        }
        self.interfaces.push(interface);
        source.take(to_usize(block.len));
        Ok(())
    }

    /// The packet of a block, left in the source.
    #[inline]
    fn packet(&mut self, block: Block, source: &mut Source) -> Result<Record, Fault> {
        let mut fields = Fields::new(whole(block, self.order, source)?, self.order);
        let body_len = fields.len();
        let packet = packet(block.kind, &mut fields).ok_or(Corruption::BlockLength(block.len))?;
        let interface = usize::try_from(packet.interface)
            .ok()
            .and_then(|number| self.interfaces.get(number))
            .ok_or(Corruption::UnknownInterface(packet.interface))?;
        let room = u32::try_from(fields.len()).unwrap_or(u32::MAX);
        let captured = packet.captured_len.unwrap_or_else(|| interface.cut(packet.wire_len).min(room));
        if captured > MAX_FRAME {
            return Err(Corruption::FrameLength(captured).into());
        }
        if captured > room {
            return Err(Corruption::FrameOutsideBlock(captured).into());
        }
        if let Some(ticks) = packet.ticks {
            self.time = interface.time(ticks);
        }
        let (captured_len, wire_len) = without_fcs(captured, packet.wire_len, interface.fcs_len);
        Ok(Record {
            time: self.time,
            link_type: interface.link_type,
            header_len: BLOCK_HEADER_LEN + (body_len - fields.len()),
            captured_len: to_usize(captured_len),
            record_len: to_usize(block.len),
            wire_len,
        })
    }
}

/// The fields before the frame; `None` when the block is too short for them.
#[inline]
fn packet(kind: Kind, fields: &mut Fields<'_>) -> Option<Packet> {
    if kind == Kind::SimplePacket {
        let wire_len = fields.u32()?;
        return Some(Packet { interface: 0, ticks: None, captured_len: None, wire_len });
    }
    let interface = if kind == Kind::ObsoletePacket {
        let interface = u32::from(fields.u16()?);
        let _drops = fields.u16()?;
        interface
    } else {
        fields.u32()?
    };
    let (high, low) = (fields.u32()?, fields.u32()?);
    let ticks = Some(u64::from(high) << 32 | u64::from(low));
    Some(Packet { interface, ticks, captured_len: Some(fields.u32()?), wire_len: fields.u32()? })
}

/// The body of a block, once it is whole in the buffer.
#[inline]
fn whole(block: Block, order: ByteOrder, source: &mut Source) -> Result<&[u8], Fault> {
    if block.len > MAX_BLOCK {
        return Err(Corruption::BlockTooLong(block.len).into());
    }
    let len = to_usize(block.len);
    let part = if block.kind.is_packet() { Part::Packet } else { Part::Block };
    if !source.fill(len)? {
        return Err(Fault::Truncated(part));
    }
    let mut fields = Fields::new(source.buffered(), order);
    let _header = fields.bytes(BLOCK_HEADER_LEN);
    let body = fields.bytes(len - BLOCK_HEADER_LEN - TRAILER_LEN).unwrap_or_default();
    check_trailer(block, fields)?;
    Ok(body)
}

/// Compares the length after the body with the one before it.
#[inline]
fn check_trailer(block: Block, mut fields: Fields<'_>) -> Result<(), Fault> {
    match fields.u32() {
        Some(len) if len == block.len => Ok(()),
        Some(len) => Err(Corruption::TrailingLength(block.len, len).into()),
        None => Err(Fault::Truncated(Part::Block)),
    }
}

/// The byte order a section header tells.
fn section_order(magic: [u8; 4]) -> Result<ByteOrder, Corruption> {
    match u32::from_be_bytes(magic) {
        0x1a2b_3c4d => Ok(ByteOrder::Big),
        0x4d3c_2b1a => Ok(ByteOrder::Little),
        _ => Err(Corruption::ByteOrderMagic(magic)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::LinkType;
    use super::super::testing::*;
    use super::*;
    use ByteOrder::{Big, Little};

    fn ethernet() -> PcapngFile {
        PcapngFile::new(Little).interface(1, 0, &[])
    }

    #[test]
    fn both_byte_orders_are_read() {
        for order in [Big, Little] {
            let file = PcapngFile::new(order).interface(1, 0, &[]).packet(0, 5 << 32, b"frame");
            let (nanos, link_type) = ((5 << 32) * 1_000, LinkType::Ethernet);
            let expected = Owned { nanos, link_type, bytes: b"frame".to_vec(), wire_len: 5 };
            assert_eq!(frames(&file.bytes), [expected]);
        }
    }

    #[test]
    fn a_new_section_may_change_the_byte_order_and_forgets_the_interfaces() {
        let file = PcapngFile::new(Little)
            .interface(1, 0, &[])
            .interface(101, 0, &[])
            .packet(1, 1, b"raw")
            .section(Big)
            .interface(108, 0, &[])
            .packet(0, 2, b"loop")
            .packet(1, 3, b"lost");
        let (frames, error) = read(&file.bytes);
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[0].link_type, LinkType::Raw);
        assert_eq!(frames[1].link_type, LinkType::Loop);
        let error = error.unwrap().to_string();
        assert!(error.contains("interface 1, which is not described"), "{error}");
    }

    #[test]
    fn interfaces_of_different_link_types_and_clocks_mix() {
        let file = PcapngFile::new(Little)
            .interface(1, 0, &[(9, &[9])])
            .interface(101, 0, &[(2, b"eth1"), (9, &[3])])
            .packet(0, 1_500, b"a")
            .packet(1, 1_500, b"b");
        let frames = frames(&file.bytes);
        assert_eq!((frames[0].nanos, frames[0].link_type), (1_500, LinkType::Ethernet));
        assert_eq!((frames[1].nanos, frames[1].link_type), (1_500_000_000, LinkType::Raw));
    }

    #[test]
    fn a_simple_packet_has_the_time_of_the_one_before() {
        let file = PcapngFile::new(Little)
            .interface(1, 4, &[])
            .simple_packet(9, b"four")
            .packet(0, 77, b"x")
            .simple_packet(3, b"abc");
        let got: Vec<_> =
            frames(&file.bytes).into_iter().map(|frame| (frame.nanos, frame.bytes, frame.wire_len)).collect();
        assert_eq!(got, [(0, b"four".to_vec(), 9), (77_000, b"x".to_vec(), 1), (77_000, b"abc".to_vec(), 3)]);
    }

    #[test]
    fn the_obsolete_packet_block_is_read_without_its_drop_count() {
        let file = PcapngFile::new(Big).interface(1, 0, &[]).interface(101, 0, &[]).obsolete_packet(1, 5, b"old");
        let frames = frames(&file.bytes);
        assert_eq!((frames[0].link_type, frames[0].nanos), (LinkType::Raw, 5_000));
        assert_eq!(frames[0].bytes, b"old");
    }

    #[test]
    fn other_blocks_are_streamed_past_however_long() {
        // Longer than a block that is held may be.
        let huge = vec![0; (MAX_BLOCK as usize) + 4];
        let file = ethernet().block(0xbad, &huge).block(5, b"").packet(0, 1, b"found");
        assert_eq!(frames(&file.bytes)[0].bytes, b"found");
    }

    #[test]
    fn options_after_a_frame_are_not_part_of_it() {
        let mut body = vec![0; 12];
        body.extend(3_u32.to_le_bytes());
        body.extend(3_u32.to_le_bytes());
        body.extend(b"abc\0\x02\0\x04\0\xff\xff\xff\xff\0\0\0\0");
        assert_eq!(frames(&ethernet().block(6, &body).bytes)[0].bytes, b"abc");
    }

    #[test]
    fn a_frame_check_sequence_is_cut() {
        for value in [4, 32] {
            let file = PcapngFile::new(Big).interface(1, 0, &[(13, &[value])]);
            let frames = frames(&file.packet(0, 1, b"frame+fcs!").bytes);
            assert_eq!((frames[0].bytes.as_slice(), frames[0].wire_len), (&b"frame+"[..], 6));
        }
    }

    #[test]
    fn bad_lengths_are_damage_at_the_block_that_has_them() {
        let ok = ethernet().packet(0, 1, b"good");
        let offset = ok.bytes.len();
        let place = format!(" at byte {offset} (after 1 whole packet)");
        let bad = |file: PcapngFile| complaint(&file.bytes);
        let with = || ethernet().packet(0, 1, b"good");
        for len in [0, 8, 11, 13, 14, u32::MAX] {
            let expected = format!("test: damaged: a block length of {len}{place}");
            assert_eq!(bad(with().raw_block(6, len, b"", 12)), expected);
        }
        assert_eq!(
            bad(with().raw_block(6, 36, &[0; 24], 40)),
            format!("test: damaged: a block begins with length 36 and ends with 40{place}")
        );
        assert_eq!(
            bad(with().raw_block(6, 1 << 30, b"", 0)),
            format!("test: damaged: a packet or interface block of 1073741824 bytes{place}")
        );
        // Too short for the fields of an enhanced packet block.
        assert_eq!(bad(with().block(6, &[0; 8])), format!("test: damaged: a block length of 20{place}"));
        let mut body = [0; 24];
        body[12] = 5;
        assert_eq!(
            bad(with().block(6, &body)),
            format!("test: damaged: a packet of 5 bytes that does not fit in its block{place}")
        );
    }

    #[test]
    fn a_mismatch_after_a_block_that_is_passed_over_is_damage() {
        let error = complaint(&ethernet().raw_block(5, 16, &[0; 4], 20).bytes);
        assert!(error.contains("begins with length 16 and ends with 20"), "{error}");
    }

    #[test]
    fn an_unknown_link_type_before_the_first_packet_is_refused_at_open() {
        let file = ethernet().block(4, b"names").interface(127, 0, &[]).packet(0, 1, b"x");
        let error = open(&file.bytes).err().unwrap().to_string();
        assert!(error.starts_with("test: link type IEEE802_11_RADIO (127) is not"), "{error}");
    }

    #[test]
    fn an_unknown_link_type_later_ends_the_file_there() {
        let file = ethernet().packet(0, 1, b"x").interface(999, 0, &[]).packet(0, 2, b"y");
        let (frames, error) = read(&file.bytes);
        assert_eq!(frames.len(), 1);
        let error = error.unwrap().to_string();
        assert!(error.starts_with("test: at byte 84 (after 1 whole packet): link type 999"), "{error}");
    }

    #[test]
    fn another_version_or_byte_order_magic_is_refused() {
        let mut file = PcapngFile::new(Big);
        file.bytes[13] = 2;
        assert!(complaint(&file.bytes).contains("pcapng version 2.0"));
        file.bytes[8] = 0;
        assert!(complaint(&file.bytes).contains("byte-order magic 00 2b 3c 4d"));
    }

    #[test]
    fn more_interfaces_than_the_bound_are_damage() {
        let mut file = ethernet();
        let interface = file.bytes[28..].to_vec();
        for _ in 0..MAX_INTERFACES {
            file.bytes.extend(&interface);
        }
        assert!(complaint(&file.bytes).contains("more than 65536 interfaces"));
    }

    #[test]
    fn a_file_cut_anywhere_gives_its_whole_packets() {
        let file = PcapngFile::new(Little).interface(1, 0, &[(9, &[6])]);
        let mut ends = vec![28, file.bytes.len()];
        let file = file.packet(0, 1, b"one");
        ends.push(file.bytes.len());
        let file = file.block(5, b"statistics");
        ends.push(file.bytes.len());
        let file = file.simple_packet(3, b"two");
        ends.push(file.bytes.len());
        let file = file.section(Big);
        ends.push(file.bytes.len());
        let file = file.interface(101, 0, &[]);
        ends.push(file.bytes.len());
        let file = file.obsolete_packet(0, 2, b"three");
        let whole = frames(&file.bytes);
        assert_eq!(whole.len(), 3);
        assert_every_cut_is_clean(&file.bytes, &whole, &ends);
    }
}
