//! The interfaces of a pcapng file: link type, clock, and what else its packets need.

use super::LinkType;
use super::bytes::Fields;
use super::error::Corruption;
use super::record::Fault;
use crate::time::{NANOS, Timestamp};

/// Ends the options of a block.
const END_OF_OPTIONS: u16 = 0;
/// Unit of the clock.
const IF_TSRESOL: u16 = 9;
/// Length of the frame check sequence.
const IF_FCSLEN: u16 = 13;
/// Seconds to add to every time.
const IF_TSOFFSET: u16 = 14;

/// An Interface Description Block.
#[derive(Debug)]
pub(super) struct Interface {
    pub(super) link_type: LinkType,
    /// Bytes at the end of each frame that are not the packet's.
    pub(super) fcs_len: u32,
    /// Captured bytes at most; 0 for no limit.
    snap_len: u32,
    unit: Unit,
    offset_seconds: i64,
}

impl Interface {
    /// Reads the body of a block that is `block_len` bytes long as a whole.
    pub(super) fn parse(mut fields: Fields<'_>, block_len: u32) -> Result<Interface, Fault> {
        let (Some(number), Some(_reserved), Some(snap_len)) = (fields.u16(), fields.u16(), fields.u32()) else {
            return Err(Corruption::BlockLength(block_len).into());
        };
        let link_type = LinkType::from_number(number).ok_or(Fault::LinkType(number))?;
        let (unit, offset_seconds) = (Unit::MICROSECOND, 0);
        let mut interface = Interface { link_type, fcs_len: 0, snap_len, unit, offset_seconds };
        interface.options(fields)?;
        Ok(interface)
    }

    /// When a packet came, from the 64 bits its block has for that. What lies before 1970 or after 2554 is
    /// the nearest of these.
    #[inline]
    pub(super) fn time(&self, ticks: u64) -> Timestamp {
        match (self.unit, self.offset_seconds) {
            // What tcpdump, dumpcap and Wireshark write: no wide arithmetic needed.
            (Unit::Nanos(nanos), 0) => Timestamp::from_nanos(ticks.saturating_mul(nanos)),
            (unit, seconds) => {
                let offset = i128::from(seconds) * i128::from(NANOS);
                let nanos = (unit.to_nanos(ticks) + offset).clamp(0, i128::from(u64::MAX));
                Timestamp::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
            }
        }
    }

    /// How many bytes of a frame of `wire_len` bytes are captured.
    pub(super) fn cut(&self, wire_len: u32) -> u32 {
        if self.snap_len == 0 { wire_len } else { wire_len.min(self.snap_len) }
    }

    /// Reads the options that packets depend on. One that does not parse is an error, since without it the
    /// times would be wrong and nobody would know.
    fn options(&mut self, mut fields: Fields<'_>) -> Result<(), Corruption> {
        while let Some(code) = fields.u16()
            && code != END_OF_OPTIONS
        {
            let bad = Corruption::InterfaceOption(code);
            let len = usize::from(fields.u16().ok_or(bad)?);
            let mut value = fields;
            fields.bytes(len.next_multiple_of(4)).ok_or(bad)?;
            match (code, len) {
                (IF_TSRESOL, 1) => self.unit = Unit::new(value.u8().ok_or(bad)?),
                (IF_FCSLEN, 1) => self.fcs_len = fcs_bytes(value.u8().ok_or(bad)?),
                (IF_TSOFFSET, 8) => self.offset_seconds = value.i64().ok_or(bad)?,
                (IF_TSRESOL | IF_FCSLEN | IF_TSOFFSET, _) => return Err(bad),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The draft gives if_fcslen in bits, with 4 as its example, which only makes sense in bytes; writers differ.
/// No link has a check sequence of less than two bytes or more than eight, which tells them apart.
fn fcs_bytes(value: u8) -> u32 {
    u32::from(if value > 8 { value / 8 } else { value })
}

/// What a clock counts.
#[derive(Clone, Copy, Debug)]
enum Unit {
    /// This many nanoseconds.
    Nanos(u64),
    /// This fraction of a nanosecond.
    NanosDividedBy(u128),
    /// A second halved this many times.
    SecondHalved(u32),
}

impl Unit {
    /// What counts when the option is absent.
    const MICROSECOND: Unit = Unit::Nanos(1_000);

    /// From the if_tsresol option: a negative power of two if the highest bit is set, else of ten.
    fn new(tsresol: u8) -> Unit {
        let exponent = u32::from(tsresol & 0x7f);
        match (tsresol & 0x80, exponent) {
            (0, 0..=9) => Unit::Nanos(10_u64.pow(9 - exponent)),
            // Past 10^29 no 64-bit time is as long as a nanosecond; saturating keeps it so.
            (0, _) => Unit::NanosDividedBy(10_u128.saturating_pow(exponent - 9)),
            _ => Unit::SecondHalved(exponent),
        }
    }

    /// `ticks` of this unit, in nanoseconds. At most 2^64 · 10^9 < 2^94, so nothing overflows.
    fn to_nanos(self, ticks: u64) -> i128 {
        let ticks = u128::from(ticks);
        let nanos = match self {
            Unit::Nanos(nanos) => ticks * u128::from(nanos),
            Unit::NanosDividedBy(divisor) => ticks / divisor,
            Unit::SecondHalved(times) => (ticks * u128::from(NANOS)) >> times,
        };
        i128::try_from(nanos).unwrap_or(i128::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(tsresol: u8, offset_seconds: i64, ticks: u64) -> u64 {
        let (link_type, unit) = (LinkType::Raw, Unit::new(tsresol));
        let interface = Interface { link_type, fcs_len: 0, snap_len: 0, unit, offset_seconds };
        interface.time(ticks).as_nanos()
    }

    #[test]
    fn clocks_count_powers_of_ten_and_of_two() {
        assert_eq!(time(0, 0, 3), 3_000_000_000);
        assert_eq!(time(6, 0, 1_500_000), 1_500_000_000);
        assert_eq!(time(9, 0, 42), 42);
        assert_eq!(time(12, 0, 42_999), 42);
        assert_eq!(time(0x80, 0, 3), 3_000_000_000);
        assert_eq!(time(0x80 | 10, 0, 1_536), 1_500_000_000);
        assert_eq!(time(0x80 | 32, 0, 3 << 31), 1_500_000_000);
    }

    #[test]
    fn an_offset_is_added_and_may_be_negative() {
        assert_eq!(time(6, 10, 1), 10_000_001_000);
        assert_eq!(time(6, -1, 1_500_000), 500_000_000);
    }

    #[test]
    fn times_out_of_range_are_the_end_of_the_range() {
        assert_eq!(time(6, -10, 1), 0);
        assert_eq!(time(6, i64::MIN, u64::MAX), 0);
        assert_eq!(time(0, 0, u64::MAX), u64::MAX);
        assert_eq!(time(9, i64::MAX, 0), u64::MAX);
    }

    #[test]
    fn no_clock_overflows_and_a_finer_one_is_never_later() {
        for base in [0, 0x80] {
            let times: Vec<_> = (0..=0x7f).map(|exponent| time(base | exponent, 0, u64::MAX)).collect();
            assert!(times.is_sorted_by(|coarse, fine| coarse >= fine), "{times:?}");
            assert_eq!(times.last(), Some(&0));
        }
    }

    #[test]
    fn an_option_of_the_wrong_length_or_past_the_block_is_damage() {
        use super::super::bytes::ByteOrder::Big;
        use super::super::testing::{PcapngFile, complaint};
        for options in [&[(9, &[6_u8, 6][..])], &[(14, &[0; 7][..])], &[(13, &[][..])]] {
            let error = complaint(&PcapngFile::new(Big).interface(1, 0, options).bytes);
            assert!(error.contains("a bad length in interface option"), "{error}");
        }
        let mut body = vec![0, 1, 0, 0, 0, 0, 0, 0];
        body.extend([0, 9, 0, 200, 6, 0, 0, 0]);
        let error = complaint(&PcapngFile::new(Big).block(1, &body).bytes);
        assert!(error.contains("interface option 9"), "{error}");
    }
}
