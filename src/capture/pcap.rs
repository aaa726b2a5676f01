//! The pcap file format, pcap-savefile(5): a header, then packets one after the other.

use super::LinkType;
use super::bytes::{ByteOrder, Fields, to_usize};
use super::error::{Corruption, Part};
use super::record::{Fault, MAX_FRAME, Record, without_fcs};
use super::source::Source;
use crate::time::Timestamp;

/// Length of the file header.
const FILE_HEADER_LEN: usize = 24;

/// Length of the header before each packet.
const PACKET_HEADER_LEN: usize = 16;

/// The version that every current writer uses; in earlier ones the two lengths of a packet may be swapped.
const VERSION: (u16, u16) = (2, 4);

/// The bit of the link type field that says its upper four bits are a frame check sequence length.
const FCS_PRESENT: u32 = 0x0400_0000;

/// What the header of a pcap file says of its packets.
#[derive(Debug)]
pub(super) struct Pcap {
    order: ByteOrder,
    /// What the second half of a time counts: 1 000 or 1 nanoseconds.
    tick_nanos: u64,
    link_type: LinkType,
    /// Bytes at the end of each frame that are not the packet's.
    fcs_len: u32,
}

impl Pcap {
    /// Reads the file header, whose magic number gave the first two arguments.
    pub(super) fn open(order: ByteOrder, tick_nanos: u64, source: &mut Source) -> Result<Pcap, Fault> {
        if !source.fill(FILE_HEADER_LEN)? {
            return Err(Fault::Truncated(Part::FileHeader));
        }
        let (version, link) =
            file_header(Fields::new(source.buffered(), order)).ok_or(Fault::Truncated(Part::FileHeader))?;
        if version != VERSION {
            return Err(Corruption::PcapVersion(version.0, version.1).into());
        }
        let number = u16::try_from(link & 0xffff).unwrap_or(u16::MAX);
        let link_type = LinkType::from_number(number).ok_or(Fault::LinkType(number))?;
        // In units of 16 bits.
        let fcs_len = if link & FCS_PRESENT == 0 { 0 } else { (link >> 28) * 2 };
        source.take(FILE_HEADER_LEN);
        Ok(Pcap { order, tick_nanos, link_type, fcs_len })
    }

    /// Sees to it that the next packet is whole in the buffer; `None` at the end of the file.
    #[inline]
    pub(super) fn ready(&self, source: &mut Source) -> Result<Option<Record>, Fault> {
        if !source.fill(PACKET_HEADER_LEN)? {
            return cut_off(source);
        }
        let Some(header) = source.buffered().first_chunk::<PACKET_HEADER_LEN>() else {
            return cut_off(source);
        };
        let ([seconds, fraction, captured, wire], _) = header.as_chunks::<4>() else {
            return cut_off(source);
        };
        let time =
            Timestamp::new(u64::from(self.order.u32(*seconds)), u64::from(self.order.u32(*fraction)) * self.tick_nanos);
        let (captured, wire) = (self.order.u32(*captured), self.order.u32(*wire));
        if captured > MAX_FRAME {
            return Err(Corruption::FrameLength(captured).into());
        }
        let record_len = PACKET_HEADER_LEN + to_usize(captured);
        if !source.fill(record_len)? {
            return cut_off(source);
        }
        let (captured_len, wire_len) = without_fcs(captured, wire, self.fcs_len);
        Ok(Some(Record {
            time,
            link_type: self.link_type,
            header_len: PACKET_HEADER_LEN,
            captured_len: to_usize(captured_len),
            record_len,
            wire_len,
        }))
    }
}

/// Version and link type field of a file header.
fn file_header(mut fields: Fields<'_>) -> Option<((u16, u16), u32)> {
    let _magic = fields.u32()?;
    let version = (fields.u16()?, fields.u16()?);
    // Time zone and accuracy are zero in every file; the snap length bounds nothing that is checked here.
    let (_zone, _accuracy, _snap_len) = (fields.u32()?, fields.u32()?, fields.u32()?);
    Some((version, fields.u32()?))
}

/// The file ends here: well, when between two packets.
#[cold]
fn cut_off(source: &Source) -> Result<Option<Record>, Fault> {
    match source.buffered() {
        [] => Ok(None),
        _ => Err(Fault::Truncated(Part::Packet)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    const MICRO: u32 = 0xa1b2_c3d4;
    const NANO: u32 = 0xa1b2_3c4d;

    #[test]
    fn both_byte_orders_and_both_units_are_read() {
        for order in [ByteOrder::Big, ByteOrder::Little] {
            for (magic, nanos) in [(MICRO, 7_000_000_042_000), (NANO, 7_000_000_000_042)] {
                let file = PcapFile::with(order, magic, 101).cut_packet(7_000, 42, b"abc", 60);
                let (link_type, bytes) = (LinkType::Raw, b"abc".to_vec());
                let expected = Owned { nanos, link_type, bytes, wire_len: 60 };
                assert_eq!(frames(&file.bytes), [expected]);
            }
        }
    }

    #[test]
    fn every_supported_link_type_has_its_numbers() {
        let types = [
            (0, LinkType::Null),
            (1, LinkType::Ethernet),
            (12, LinkType::Raw),
            (14, LinkType::Raw),
            (101, LinkType::Raw),
            (108, LinkType::Loop),
            (113, LinkType::LinuxSll),
            (228, LinkType::Ipv4),
            (229, LinkType::Ipv6),
            (276, LinkType::LinuxSll2),
        ];
        for (number, link_type) in types {
            let file = PcapFile::with(ByteOrder::Big, MICRO, number).packet(1, 0, b"x");
            assert_eq!(frames(&file.bytes)[0].link_type, link_type);
        }
    }

    #[test]
    fn another_link_type_is_refused_by_name() {
        let supported = "supported: NULL, EN10MB, RAW, LOOP, LINUX_SLL, IPV4, IPV6, LINUX_SLL2";
        assert_eq!(
            complaint(&PcapFile::with(ByteOrder::Big, MICRO, 127).bytes),
            format!("test: link type IEEE802_11_RADIO (127) is not supported; {supported}")
        );
        assert_eq!(
            complaint(&PcapFile::with(ByteOrder::Big, MICRO, 999).bytes),
            format!("test: link type 999 is not supported; {supported}")
        );
    }

    #[test]
    fn a_frame_check_sequence_is_cut_from_what_was_captured_and_from_the_wire_length() {
        let file = PcapFile::with(ByteOrder::Little, MICRO, 0x2400_0001)
            .packet(1, 0, b"whole frame+fcs!")
            .cut_packet(2, 0, b"cut inside it", 15)
            .cut_packet(3, 0, b"cut before", 100)
            .packet(4, 0, b"fcs");
        let lengths: Vec<_> = frames(&file.bytes).iter().map(|frame| (frame.bytes.len(), frame.wire_len)).collect();
        assert_eq!(lengths, [(12, 12), (11, 11), (10, 96), (0, 0)]);
    }

    #[test]
    fn a_length_in_the_upper_bits_means_nothing_without_its_flag() {
        let file = PcapFile::with(ByteOrder::Little, MICRO, 0x2000_0001).packet(1, 0, b"12345678");
        assert_eq!(frames(&file.bytes)[0].bytes, b"12345678");
    }

    #[test]
    fn a_wire_length_below_the_captured_length_is_raised_to_it() {
        let frames = frames(&PcapFile::new().cut_packet(1, 0, b"12345678", 0).bytes);
        assert_eq!((frames[0].bytes.len(), frames[0].wire_len), (8, 8));
    }

    #[test]
    fn a_frame_larger_than_the_buffer_is_read_and_those_after_it() {
        let large = vec![7; MAX_FRAME as usize];
        let file = PcapFile::new().packet(1, 0, b"a").packet(2, 0, &large).packet(3, 0, b"b");
        let frames = frames(&file.bytes);
        assert_eq!(frames.len(), 3);
        assert!(frames[1].bytes == large);
        assert_eq!(frames[2].bytes, b"b");
    }

    #[test]
    fn a_captured_length_above_16_mib_is_damage() {
        let file = PcapFile::new().packet(1, 0, b"a").packet_header(2, 0, MAX_FRAME + 1, 60);
        let (frames, error) = read(&file.bytes);
        assert_eq!(frames.len(), 1);
        assert_eq!(
            error.unwrap().to_string(),
            "test: damaged: a packet of 16777217 bytes, more than 16 MiB, \
             at byte 41 (after 1 whole packet)"
        );
    }

    #[test]
    fn a_version_with_other_lengths_is_refused() {
        let mut file = PcapFile::new();
        file.bytes[6] = 2;
        assert_eq!(
            complaint(&file.bytes),
            "test: pcap version 2.2, where only 2.4 is read, at byte 0 (after 0 whole packets)"
        );
    }

    #[test]
    fn a_file_cut_anywhere_gives_its_whole_packets() {
        let file = PcapFile::new().packet(1, 0, b"first").packet(2, 0, b"").packet(3, 0, b"third");
        assert_every_cut_is_clean(&file.bytes, &frames(&file.bytes), &[24, 45, 61]);
    }

    #[test]
    fn a_file_cut_in_a_packet_is_told_with_the_place() {
        let file = PcapFile::new().packet(1, 0, b"first").packet(2, 0, b"second");
        assert_eq!(
            complaint(&file.bytes[..62]),
            "test: cut off in the middle of a packet at byte 62 (after 1 whole packet)"
        );
    }
}
