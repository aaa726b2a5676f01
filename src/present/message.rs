//! A DNS message (RFC 1035 §4), read whole, its names decompressed.

use std::borrow::Cow;

use super::compression::decompress;
use super::cursor::Cursor;
use super::rdata;

/// Octets of a header.
const HEADER_LEN: usize = 12;
/// RR type OPT (RFC 6891).
const TYPE_OPT: u16 = 41;

/// Bytes that are no DNS message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Fewer than twelve octets.
    Header,
    /// A name that is cut, too long, or points anywhere but back.
    Name,
    /// The fixed part of a question or record is cut.
    Record,
    /// The rdata is cut, or is not what its type asks for.
    Rdata,
}

/// A message. OPT is not in the sections but in `edns`; of several the last counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message<'b> {
    /// Message id.
    pub id: u16,
    /// The second 16 bits of the header.
    pub flags: u16,
    /// Response code of the header, four bits; libnmsg prints it so, without the upper bits that OPT may hold.
    pub rcode: u16,
    /// Question section.
    pub question: Vec<Question>,
    /// Answer section.
    pub answer: Vec<Record<'b>>,
    /// Authority section.
    pub authority: Vec<Record<'b>>,
    /// Additional section.
    pub additional: Vec<Record<'b>>,
    /// What OPT said.
    pub edns: Option<Edns<'b>>,
}

/// An entry of the question section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Owner, uncompressed wire form.
    pub name: Vec<u8>,
    /// RR type.
    pub rrtype: u16,
    /// Class.
    pub class: u16,
}

/// A resource record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'b> {
    /// Owner, uncompressed wire form.
    pub name: Vec<u8>,
    /// RR type.
    pub rrtype: u16,
    /// Class.
    pub class: u16,
    /// Time to live, seconds.
    pub ttl: u32,
    /// Rdata, its names decompressed where the type is known to have names.
    pub rdata: Cow<'b, [u8]>,
}

/// The OPT pseudo record (RFC 6891 §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns<'b> {
    /// The sender's UDP payload size.
    pub size: u16,
    /// EDNS version.
    pub version: u8,
    /// DO and the rest.
    pub flags: u16,
    /// The options, undivided; `None` when OPT stood in the question section, where there is no rdata.
    pub options: Option<&'b [u8]>,
}

impl Edns<'_> {
    /// The DO bit (RFC 3225).
    pub fn dnssec_ok(&self) -> bool {
        self.flags & 0x8000 != 0
    }
}

impl<'b> Message<'b> {
    /// Reads a message.
    ///
    /// A message that ends where a record could begin is taken with what it has, whatever its counts say: answers that
    /// are a bare header with QDCOUNT 1 are common. Octets after the last record are ignored.
    pub fn parse(bytes: &'b [u8]) -> Result<Message<'b>, Malformed> {
        let mut header = Cursor::new(bytes);
        let mut field = || header.u16().ok_or(Malformed::Header);
        let (id, flags) = (field()?, field()?);
        let counts = [field()?, field()?, field()?, field()?];
        let mut message = Message { id, flags, rcode: flags & 0x0f, ..Message::default() };
        let mut reader = Reader { bytes, at: HEADER_LEN };
        message.fill(&mut reader, counts)?;
        Ok(message)
    }

    fn fill(&mut self, reader: &mut Reader<'b>, counts: [u16; 4]) -> Result<(), Malformed> {
        let [questions, answers, authorities, additionals] = counts;
        for _ in 0..questions {
            if reader.is_done() {
                return Ok(());
            }
            let question = reader.question()?;
            if question.rrtype == TYPE_OPT {
                self.set_edns(question.class, 0, None);
            } else {
                self.question.push(question);
            }
        }
        let sections =
            [(answers, Section::Answer), (authorities, Section::Authority), (additionals, Section::Additional)];
        for (count, section) in sections {
            for _ in 0..count {
                if reader.is_done() {
                    return Ok(());
                }
                self.add(section, reader.record()?);
            }
        }
        Ok(())
    }

    fn add(&mut self, section: Section, record: Record<'b>) {
        match (record, section) {
            (Record { rrtype: TYPE_OPT, class, ttl, rdata: Cow::Borrowed(rdata), .. }, _) => {
                self.set_edns(class, ttl, Some(rdata));
            }
            (record, Section::Answer) => self.answer.push(record),
            (record, Section::Authority) => self.authority.push(record),
            (record, Section::Additional) => self.additional.push(record),
        }
    }

    /// OPT's class is a size, and its TTL is upper bits of the response code, the version and the flags.
    fn set_edns(&mut self, size: u16, ttl: u32, options: Option<&'b [u8]>) {
        let [_, version, flags @ ..] = ttl.to_be_bytes();
        self.edns = Some(Edns { size, version, flags: u16::from_be_bytes(flags), options });
    }

    /// Number of the operation.
    pub fn opcode(&self) -> u16 {
        (self.flags >> 11) & 0x0f
    }

    /// The flags that are set, by name, in the order of the header.
    pub fn flag_names(&self) -> impl Iterator<Item = &'static str> {
        const FLAGS: [(u16, &str); 7] = [
            (0x8000, "qr"),
            (0x0400, "aa"),
            (0x0200, "tc"),
            (0x0100, "rd"),
            (0x0080, "ra"),
            (0x0020, "ad"),
            (0x0010, "cd"),
        ];
        let flags = self.flags;
        FLAGS.into_iter().filter(move |flag| flags & flag.0 != 0).map(|flag| flag.1)
    }
}

#[derive(Clone, Copy)]
enum Section {
    Answer,
    Authority,
    Additional,
}

/// A place in a message; names need all of it, since they point back.
struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    fn is_done(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// The next `len` octets, or `missing` when there are fewer.
    fn take(&mut self, len: usize, missing: Malformed) -> Result<&'b [u8], Malformed> {
        let end = self.at.checked_add(len).ok_or(missing)?;
        let taken = self.bytes.get(self.at..end).ok_or(missing)?;
        self.at = end;
        Ok(taken)
    }

    fn name(&mut self) -> Result<Vec<u8>, Malformed> {
        let mut name = Vec::with_capacity(32);
        self.at = decompress(self.bytes, self.at, &mut name)?;
        Ok(name)
    }

    fn question(&mut self) -> Result<Question, Malformed> {
        let name = self.name()?;
        let mut fixed = Cursor::new(self.take(4, Malformed::Record)?);
        let mut field = || fixed.u16().ok_or(Malformed::Record);
        Ok(Question { name, rrtype: field()?, class: field()? })
    }

    fn record(&mut self) -> Result<Record<'b>, Malformed> {
        let Question { name, rrtype, class } = self.question()?;
        let mut fixed = Cursor::new(self.take(6, Malformed::Record)?);
        let ttl = fixed.u32().ok_or(Malformed::Record)?;
        let len = fixed.u16().ok_or(Malformed::Record)?;
        let start = self.at;
        let raw = self.take(usize::from(len), Malformed::Rdata)?;
        let rdata = rdata::unpack(self.bytes, start, raw, rrtype, class)?;
        Ok(Record { name, rrtype, class, ttl, rdata })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with these counts, then `body`.
    fn message(counts: [u8; 4], body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34, 0x84, 0x00];
        bytes.extend(counts.iter().flat_map(|&count| [0, count]));
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn a_header_whose_counted_records_are_missing_is_a_message() {
        let bytes = message([1, 2, 3, 4], b"");
        let parsed = Message::parse(&bytes).unwrap();
        assert_eq!((parsed.id, parsed.question.len(), parsed.answer.len()), (0x1234, 0, 0));
        assert_eq!(Message::parse(&bytes[..11]), Err(Malformed::Header));
    }

    #[test]
    fn a_message_cut_inside_a_record_is_malformed() {
        let bytes = message([1, 1, 0, 0], b"\x01a\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01");
        let parsed = Message::parse(&bytes).unwrap();
        assert_eq!(parsed.answer[0].name, b"\x01a\0");
        for len in 13..bytes.len() {
            assert_eq!(Message::parse(&bytes[..len]).is_ok(), len == 19, "cut at {len}");
        }
    }

    #[test]
    fn octets_after_the_last_record_are_ignored() {
        assert!(Message::parse(&message([0; 4], b"\xff\xff\xff")).is_ok());
    }

    #[test]
    fn a_pointer_that_does_not_go_back_is_malformed() {
        for body in [&b"\xc0\x0c\0\x01\0\x01"[..], b"\x01a\xc0\x0c\0\x01\0\x01", b"\xc0\x0e\0\x01\0\x01", b"\xc0"] {
            assert_eq!(Message::parse(&message([1, 0, 0, 0], body)), Err(Malformed::Name), "{body:x?}");
        }
        let two = message([2, 0, 0, 0], b"\x01a\xc0\x14\0\x01\0\x01\xc0\x0c\0\x01\0\x01");
        assert_eq!(Message::parse(&two), Err(Malformed::Name));
    }

    #[test]
    fn a_name_of_255_octets_is_the_longest() {
        let labels = |last: usize| {
            let mut name: Vec<u8> = Vec::new();
            for len in [63, 63, 63, last] {
                name.push(u8::try_from(len).unwrap());
                name.extend(vec![b'x'; len]);
            }
            name.extend(b"\0\0\x01\0\x01");
            name
        };
        assert!(Message::parse(&message([1, 0, 0, 0], &labels(61))).is_ok());
        assert_eq!(Message::parse(&message([1, 0, 0, 0], &labels(62))), Err(Malformed::Name));
        assert_eq!(Message::parse(&message([1, 0, 0, 0], b"\x40x\0")), Err(Malformed::Name));
    }

    #[test]
    fn opt_leaves_its_section_and_the_last_one_counts() {
        let opt = |size: u8, ttl: &[u8]| [b"\0\0\x29\0".as_slice(), &[size], ttl, b"\0\0"].concat();
        let body = [opt(1, b"\0\0\0\0"), opt(2, b"\x01\x03\x80\0")].concat();
        let bytes = message([0, 1, 0, 1], &body);
        let parsed = Message::parse(&bytes).unwrap();
        let edns = parsed.edns.unwrap();
        assert_eq!((edns.size, edns.version, edns.dnssec_ok(), parsed.rcode), (2, 3, true, 0));
        assert!(parsed.answer.is_empty() && parsed.additional.is_empty());
        let bytes = message([1, 0, 0, 0], b"\0\0\x29\0\x01");
        let parsed = Message::parse(&bytes).unwrap();
        assert!(parsed.question.is_empty() && parsed.edns.unwrap().options.is_none());
    }
}
