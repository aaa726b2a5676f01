//! The DNS header and question (RFC 1035 §4.1); the sensor reads no further.

use super::{Malformed, cursor::Cursor};

/// Length of the header.
pub const HEADER_LEN: usize = 12;
/// The longest name in wire form (RFC 1035 §2.3.4).
pub const NAME_MAX: usize = 255;
/// The longest label.
const LABEL_MAX: u8 = 63;

/// QTYPE of an incremental zone transfer (RFC 1995).
const IXFR: u16 = 251;
/// QTYPE of a zone transfer (RFC 5936).
const AXFR: u16 = 252;

/// A response code of the header, four bits.
pub mod rcode {
    /// The server could not read the query.
    pub const FORMERR: u8 = 1;
    /// The server failed.
    pub const SERVFAIL: u8 = 2;
    /// The server does not know this kind of query.
    pub const NOTIMP: u8 = 4;
    /// The server does not want to answer.
    pub const REFUSED: u8 = 5;
}

/// A DNS message as far as its question.
#[derive(Clone, Copy, Debug)]
pub struct Message<'m> {
    /// Message id.
    pub id: u16,
    flags: u16,
    /// The question, where there is one.
    pub question: Option<Question<'m>>,
}

/// A question: name, type and class, together as they stand in the message, the name uncompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<'m> {
    bytes: &'m [u8],
}

impl<'m> Question<'m> {
    /// Takes bytes that were a question before, out of a table.
    pub fn from_bytes(bytes: &'m [u8]) -> Option<Question<'m>> {
        (bytes.len() > 4).then_some(Question { bytes })
    }

    /// All of it: two questions are the same when these bytes are (case counts: a resolver that randomises case must
    /// see its own case back).
    pub fn bytes(&self) -> &'m [u8] {
        self.bytes
    }

    /// The name in wire form.
    pub fn qname(&self) -> &'m [u8] {
        self.bytes.split_last_chunk::<4>().map_or(&[], |(name, _)| name)
    }

    /// Type.
    pub fn qtype(&self) -> u16 {
        self.type_and_class().0
    }

    /// Class.
    pub fn qclass(&self) -> u16 {
        self.type_and_class().1
    }

    fn type_and_class(&self) -> (u16, u16) {
        let [t0, t1, c0, c1] = self.bytes.last_chunk().copied().unwrap_or_default();
        (u16::from_be_bytes([t0, t1]), u16::from_be_bytes([c0, c1]))
    }

    /// AXFR or IXFR.
    pub fn is_zone_transfer(&self) -> bool {
        matches!(self.qtype(), IXFR | AXFR)
    }
}

impl Message<'_> {
    /// The QR bit.
    pub fn is_response(&self) -> bool {
        self.flags & 0x8000 != 0
    }

    /// The RD bit: the asker wants recursion, as clients do and resolvers do not.
    pub fn recursion_desired(&self) -> bool {
        self.flags & 0x0100 != 0
    }

    /// Low four bits of the response code.
    pub fn rcode(&self) -> u8 {
        (self.flags & 0x000f) as u8
    }
}

/// Reads header and question of `bytes`.
///
/// QDCOUNT 0 and a message of the header alone have no question. QDCOUNT over 1 is malformed (RFC 9619), and so is a
/// question with a compression pointer (there is nothing before it to point to), a label over 63 bytes, a name over
/// 255, or a cut.
#[inline]
pub fn message(bytes: &[u8]) -> Result<Message<'_>, Malformed> {
    let mut cursor = Cursor::new(bytes);
    let [i0, i1, f0, f1, q0, q1, ..]: [u8; HEADER_LEN] = cursor.take().ok_or(Malformed::Dns)?;
    let question = match u16::from_be_bytes([q0, q1]) {
        0 => None,
        1 if cursor.rest().is_empty() => None,
        1 => Some(question(cursor.rest()).ok_or(Malformed::Dns)?),
        _ => return Err(Malformed::Dns),
    };
    Ok(Message { id: u16::from_be_bytes([i0, i1]), flags: u16::from_be_bytes([f0, f1]), question })
}

#[inline]
fn question(bytes: &[u8]) -> Option<Question<'_>> {
    let mut name_len = 0;
    loop {
        let label = *bytes.get(name_len)?;
        if label > LABEL_MAX {
            return None;
        }
        name_len += 1 + usize::from(label);
        if name_len > NAME_MAX {
            return None;
        }
        if label == 0 {
            let bytes = bytes.get(..name_len + 4)?; // type and class
            return Some(Question { bytes });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_question(qdcount: u8, question: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34, 0x81, 0x05, 0, qdcount, 0, 0, 0, 0, 0, 0];
        bytes.extend(question);
        bytes
    }

    #[test]
    fn header_and_question_are_read() {
        let bytes = with_question(1, b"\x01a\x02BC\0\0\x1c\0\x01trailing");
        let message = message(&bytes).unwrap();
        let question = message.question.unwrap();
        assert_eq!((message.id, message.rcode()), (0x1234, 5));
        assert!(message.is_response() && message.recursion_desired());
        assert_eq!((question.qname(), question.qtype(), question.qclass()), (&b"\x01a\x02BC\0"[..], 28, 1));
    }

    #[test]
    fn no_question_is_none_and_two_are_malformed() {
        assert!(message(&with_question(0, b"")).unwrap().question.is_none());
        assert!(message(&with_question(1, b"")).unwrap().question.is_none());
        assert!(message(&with_question(2, b"\0\0\x01\0\x01\0\0\x01\0\x01")).is_err());
    }

    #[test]
    fn pointers_long_labels_and_long_names_are_malformed() {
        assert!(message(&with_question(1, b"\xc0\x0c\0\x01\0\x01")).is_err());
        assert!(message(&with_question(1, &[&[64][..], &[b'a'; 64], &[0, 0, 1, 0, 1]].concat())).is_err());
        let labels = |count: usize, last: &[u8]| [&b"\x01a".repeat(count)[..], last, b"\0\0\x01\0\x01"].concat();
        assert!(message(&with_question(1, &labels(127, b""))).is_ok()); // 255 bytes with the root
        assert!(message(&with_question(1, &labels(127, b"\x01b"))).is_err());
    }

    #[test]
    fn every_cut_is_malformed() {
        let whole = with_question(1, b"\x03www\x07example\x03net\0\0\x01\0\x01");
        for cut in (0..12).chain(13..whole.len()) {
            assert!(message(&whole[..cut]).is_err(), "cut at {cut}");
        }
    }
}
