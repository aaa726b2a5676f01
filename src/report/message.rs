//! What a report reads in a DNS message: truncation, the EDNS size, and the zone that the message itself names.

use crate::{
    nmsg::dnsqr::suffixes,
    present::{compression::decompress, cursor::Cursor},
};

const HEADER_LEN: usize = 12;
const TYPE_NS: u16 = 2;
const TYPE_SOA: u16 = 6;
const TYPE_OPT: u16 = 41;
/// Of so many NS and SOA records the owner is looked at: those of a zone have one owner, and each look takes a walk along
/// compression pointers, of the sender's choice.
const OWNERS_MAX: usize = 8;
/// TC, in the header's flags.
const TRUNCATED: u16 = 0x0200;

/// What was found; of a message that is cut, what stands before the cut.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The TC bit.
    pub is_truncated: bool,
    /// The sender's UDP payload size.
    pub edns_size: Option<u16>,
    /// The owner of one of the first NS or SOA records, in answer or authority section, that is the question's name or
    /// above it; wire form in lower case.
    pub zone: Option<Vec<u8>>,
}

/// Reads `message`, which asks for `qname`.
pub(crate) fn facts(message: &[u8], qname: Option<&[u8]>) -> Facts {
    let mut facts = Facts::default();
    // What is malformed ends the reading, not the counting.
    let _ = read(message, qname, &mut facts);
    facts
}

fn read(message: &[u8], qname: Option<&[u8]>, facts: &mut Facts) -> Option<()> {
    let mut header = Cursor::new(message);
    let [_, flags, questions, answers, authorities, additionals] = std::array::from_fn(|_| header.u16());
    facts.is_truncated = flags? & TRUNCATED != 0;
    let mut at = HEADER_LEN;
    for _ in 0..questions? {
        at = skip_name(message, at)? + 4;
    }
    let named = u32::from(answers?) + u32::from(authorities?);
    let mut owners = 0;
    for index in 0..named + u32::from(additionals?) {
        let owner = at;
        let mut fixed = Cursor::new(message.get(skip_name(message, at)?..)?);
        let (rrtype, class) = (fixed.u16()?, fixed.u16()?);
        let (_ttl, len) = (fixed.u32()?, fixed.u16()?);
        at = message.len() - fixed.remaining() + usize::from(len);
        match rrtype {
            TYPE_OPT => facts.edns_size = Some(class),
            TYPE_NS | TYPE_SOA if index < named && facts.zone.is_none() && owners < OWNERS_MAX => {
                owners += 1;
                facts.zone = qname.and_then(|qname| zone_above(message, owner, qname));
            }
            _ => {}
        }
    }
    Some(())
}

/// The name at `owner`, where it is `qname` or above it.
fn zone_above(message: &[u8], owner: usize, qname: &[u8]) -> Option<Vec<u8>> {
    let mut zone = Vec::with_capacity(32);
    decompress(message, owner, &mut zone).ok()?;
    zone.make_ascii_lowercase();
    suffixes(qname).any(|suffix| suffix.eq_ignore_ascii_case(&zone)).then_some(zone)
}

/// Where what follows a name begins.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            0xc0.. => return Some(at + 2),
            len => at += 1 + usize::from(len),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A response to www.Example.net with NS of `owner` in the authority section, and OPT.
    fn response(owner: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 1, 0x86, 0, 0, 1, 0, 0, 0, 1, 0, 1];
        bytes.extend(b"\x03www\x07Example\x03net\0\0\x01\0\x01");
        bytes.extend(owner);
        bytes.extend(b"\0\x02\0\x01\0\0\0\x3c\0\x02\xc0\x0c");
        bytes.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0\0");
        bytes
    }

    const QNAME: &[u8] = b"\x03wWw\x07example\x03net\0";

    #[test]
    fn the_owner_of_ns_records_is_the_zone() {
        let facts = facts(&response(b"\xc0\x10"), Some(QNAME));
        assert_eq!(facts.zone.unwrap(), b"\x07example\x03net\0");
        assert_eq!((facts.is_truncated, facts.edns_size), (true, Some(1232)));
    }

    #[test]
    fn an_owner_that_is_not_above_the_question_is_no_zone() {
        let facts = facts(&response(b"\x04evil\x03org\0"), Some(QNAME));
        assert_eq!((facts.zone, facts.edns_size), (None, Some(1232)));
    }

    #[test]
    fn owners_are_not_looked_at_without_an_end() {
        let with_others = |others: usize| {
            let mut bytes = response(b"\xc0\x10");
            let zone = bytes.split_off(33);
            bytes.extend(b"\x04evil\x03org\0\0\x02\0\x01\0\0\0\x3c\0\x02\xc0\x0c".repeat(others));
            bytes[9] += others as u8;
            facts(&[bytes, zone].concat(), Some(QNAME))
        };
        assert!(with_others(OWNERS_MAX - 1).zone.is_some());
        let beyond = with_others(OWNERS_MAX);
        assert_eq!((beyond.zone, beyond.edns_size), (None, Some(1232)));
    }

    #[test]
    fn no_cut_of_a_message_panics_and_its_front_counts() {
        let bytes = response(b"\xc0\x10");
        for len in 0..bytes.len() {
            assert_eq!(facts(&bytes[..len], Some(QNAME)).is_truncated, len >= 4, "{len}");
        }
    }
}
