//! Rdata as text, by one table: which fields a type's rdata has, and how each kind of field prints.
//!
//! Types that are not in the table print in RFC 3597 form. Some of those have a form of their own (LOC, KEY, CERT), but
//! libnmsg does not use it. The table is that of libwdns, with which libnmsg prints; so is what looks odd in it (SIG).

use std::borrow::Cow;

use super::compression::decompress;
use super::cursor::Cursor;
use super::message::Malformed;
use super::{PARSE_ERROR, names, numbers, put, svcb};

/// One field of rdata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    /// A domain name.
    Name,
    /// Numbers, printed in decimal.
    U8,
    U16,
    U32,
    /// Addresses.
    Ipv4,
    Ipv6,
    /// A character string (RFC 1035 §3.3), and as many as there are.
    Text,
    Texts,
    /// What is left, as upper-case hex, base64, or one quoted string (URI, RFC 7553 §4.4; CAA, RFC 8659 §4.1.1).
    Hex,
    Base64,
    Quoted,
    /// A salt with its length: lower-case hex, `-` when empty (RFC 5155 §3.3).
    Salt,
    /// A hash with its length, in base32 with the extended hex alphabet, unpadded (RFC 5155 §3.3).
    Hash,
    /// A set of types (RFC 4034 §4.1.2).
    Bitmap,
    /// One type, by name.
    Rrtype,
    /// `00-00-5e-...` (RFC 7043).
    Eui48,
    Eui64,
    /// Prefix length and the rest of an address (RFC 2874 §3.1).
    A6,
    /// Service parameters (RFC 9460 §2.2).
    SvcParams,
}

use Field::{
    A6, Base64, Bitmap, Eui48, Eui64, Hash, Hex, Ipv4, Ipv6, Name, Quoted, Rrtype, Salt, SvcParams, Text, Texts, U8,
    U16, U32,
};

/// The classes in which a type's rdata has this layout.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Classes {
    Internet,
    Any,
}

/// The fields of a type in the order of the wire; `None` for a type that prints in RFC 3597 form.
#[rustfmt::skip]
fn layout(rrtype: u16) -> Option<(Classes, &'static [Field])> {
    use Classes::{Any, Internet};
    Some(match rrtype {
        1 => (Internet, &[Ipv4]),                                           // A
        2..=5 | 7..=9 | 12 | 39 => (Any, &[Name]),                          // NS MD MF CNAME, MB MG MR, PTR, DNAME
        6 => (Any, &[Name, Name, U32, U32, U32, U32, U32]),                 // SOA
        10 => (Any, &[Hex]),                                                // NULL
        11 => (Internet, &[U32, U8, Hex]),                                  // WKS
        13 | 20 => (Any, &[Text, Text]),                                    // HINFO, ISDN
        14 | 17 => (Any, &[Name, Name]),                                    // MINFO, RP
        15 | 18 | 21 => (Any, &[U16, Name]),                                // MX, AFSDB, RT
        16 | 99 => (Any, &[Texts]),                                         // TXT, SPF
        19 => (Any, &[Text]),                                               // X25
        24 => (Any, &[U16, U8, U8, U32, U32, U32, U16, Name, Hex]),         // SIG
        26 => (Internet, &[U16, Name, Name]),                               // PX
        28 => (Internet, &[Ipv6]),                                          // AAAA
        30 => (Any, &[Name, Hex]),                                          // NXT
        33 => (Internet, &[U16, U16, U16, Name]),                           // SRV
        35 => (Internet, &[U16, U16, Text, Text, Text, Name]),              // NAPTR
        36 => (Internet, &[U16, Name]),                                     // KX
        38 => (Internet, &[A6, Name]),                                      // A6
        43 | 59 => (Any, &[U16, U8, U8, Hex]),                              // DS, CDS
        46 => (Any, &[Rrtype, U8, U8, U32, U32, U32, U16, Name, Base64]),   // RRSIG
        47 => (Any, &[Name, Bitmap]),                                       // NSEC
        48 | 60 => (Any, &[U16, U8, U8, Base64]),                           // DNSKEY, CDNSKEY
        50 => (Any, &[U8, U8, U16, Salt, Hash, Bitmap]),                    // NSEC3
        51 => (Any, &[U8, U8, U16, Salt]),                                  // NSEC3PARAM
        52 => (Any, &[U8, U8, U8, Hex]),                                    // TLSA
        61 => (Any, &[Base64]),                                             // OPENPGPKEY
        62 => (Any, &[U32, U16, Bitmap]),                                   // CSYNC
        64 | 65 => (Internet, &[U16, Name, SvcParams]),                     // SVCB, HTTPS
        108 => (Any, &[Eui48]),
        109 => (Any, &[Eui64]),
        256 => (Any, &[U16, U16, Quoted]),                                  // URI
        257 => (Internet, &[U8, Text, Quoted]),                             // CAA
        _ => return None,
    })
}

/// The layout for a type in a class; `Some(&[])` where the class is one in which the type has no meaning.
fn fields(rrtype: u16, class: u16) -> Option<&'static [Field]> {
    const CLASS_IN: u16 = 1;
    let (classes, fields) = layout(rrtype)?;
    Some(if classes == Classes::Any || class == CLASS_IN { fields } else { &[] })
}

/// Checks rdata against its type's layout and decompresses its names. `raw` begins at `start` of `message`.
///
/// Fields may be missing at the end (dynamic updates have records without rdata), but none may be cut, and nothing may
/// follow the last.
pub(super) fn unpack<'b>(
    message: &'b [u8],
    start: usize,
    raw: &'b [u8],
    rrtype: u16,
    class: u16,
) -> Result<Cow<'b, [u8]>, Malformed> {
    match fields(rrtype, class) {
        None | Some([]) => Ok(Cow::Borrowed(raw)),
        Some(fields) if fields.contains(&Name) => {
            unpack_fields(message, start, start + raw.len(), fields).map(Cow::Owned)
        }
        Some(fields) => {
            let mut cursor = Cursor::new(raw);
            let fits = fields.iter().all(|field| cursor.is_empty() || field.skip(&mut cursor).is_some());
            if fits && cursor.is_empty() { Ok(Cow::Borrowed(raw)) } else { Err(Malformed::Rdata) }
        }
    }
}

fn unpack_fields(message: &[u8], start: usize, end: usize, fields: &[Field]) -> Result<Vec<u8>, Malformed> {
    let mut plain = Vec::with_capacity(end - start + 32);
    let mut at = start;
    for &field in fields {
        if at == end {
            break;
        }
        if field == Name {
            at = decompress(message, at, &mut plain)?;
            continue;
        }
        let rest = message.get(at..end).ok_or(Malformed::Rdata)?;
        let (bytes, _) = field.len(rest).and_then(|len| rest.split_at_checked(len)).ok_or(Malformed::Rdata)?;
        plain.extend_from_slice(bytes);
        at += bytes.len();
    }
    if at == end { Ok(plain) } else { Err(Malformed::Rdata) }
}

/// Appends rdata whose names are not compressed.
///
/// Nothing is printed for a type in a class that has no such type. Where the bytes stop to fit, ` ### PARSE ERROR ###`
/// follows what did. Returns whether the rdata is whole: every field that its type asks for, and nothing else.
pub fn write(rdata: &[u8], rrtype: u16, class: u16, out: &mut Vec<u8>) -> bool {
    let Some(fields) = fields(rrtype, class) else {
        write_generic(rdata, out);
        return true;
    };
    let start = out.len();
    let mut cursor = Cursor::new(rdata);
    for field in fields {
        if cursor.is_empty() {
            return field.may_be_missing(fields, rdata);
        }
        if out.len() > start {
            out.push(b' ');
        }
        if field.write(&mut cursor, out).is_none() {
            trim_space(start, out);
            out.extend_from_slice(PARSE_ERROR);
            return false;
        }
        trim_space(start, out);
    }
    if !cursor.is_empty() && !fields.is_empty() {
        out.extend_from_slice(PARSE_ERROR);
    }
    cursor.is_empty()
}

/// A field that printed nothing leaves no space behind.
fn trim_space(start: usize, out: &mut Vec<u8>) {
    if out.len() > start && out.last() == Some(&b' ') {
        out.pop();
    }
}

/// RFC 3597 §5, with the space that libnmsg leaves at the end.
fn write_generic(rdata: &[u8], out: &mut Vec<u8>) {
    put!(out, "\\# {} ", rdata.len());
    numbers::write_spaced_hex(rdata, out);
}

impl Field {
    /// Octets of this field at the front of `rest`, `None` when it is cut. Fields that take what is left are not looked
    /// into: what is wrong in them is for [`write`] to say.
    fn len(self, rest: &[u8]) -> Option<usize> {
        let mut cursor = Cursor::new(rest);
        self.skip(&mut cursor)?;
        Some(rest.len() - cursor.remaining())
    }

    fn skip(self, cursor: &mut Cursor) -> Option<()> {
        match self {
            Name => cursor.name()?,
            U8 => cursor.take(1)?,
            U16 | Rrtype => cursor.take(2)?,
            U32 | Ipv4 => cursor.take(4)?,
            Eui48 => cursor.take(6)?,
            Eui64 => cursor.take(8)?,
            Ipv6 => cursor.take(16)?,
            Text | Salt | Hash => cursor.counted()?,
            A6 => return a6(cursor).map(|_| ()),
            Texts => {
                while !cursor.is_empty() {
                    cursor.counted()?;
                }
                &[]
            }
            Hex | Base64 | Quoted | Bitmap | SvcParams => cursor.rest(),
        };
        Some(())
    }

    /// May rdata with these fields end before this one, and be whole?
    fn may_be_missing(self, fields: &[Field], rdata: &[u8]) -> bool {
        match self {
            // An empty set, no parameters, an empty text.
            Bitmap | SvcParams | Quoted => true,
            // NULL is anything at all (RFC 1035 §3.3.10); digests, keys and signatures are never empty.
            Hex => fields.len() == 1,
            // Without a prefix there is none to name (RFC 2874 §3.1).
            Name => fields.first() == Some(&A6) && rdata.first() == Some(&0),
            _ => false,
        }
    }

    fn write(self, cursor: &mut Cursor, out: &mut Vec<u8>) -> Option<()> {
        match self {
            Name => names::write_domain(cursor.name()?, out),
            U8 => put!(out, "{}", cursor.u8()?),
            U16 => put!(out, "{}", cursor.u16()?),
            U32 => put!(out, "{}", cursor.u32()?),
            Rrtype => names::write_rrtype(cursor.u16()?, out),
            Ipv4 => numbers::write_address(cursor.take(4)?, out),
            Ipv6 => numbers::write_address(cursor.take(16)?, out),
            Text => write_quoted(cursor.counted()?, out),
            Texts => write_texts(cursor, out)?,
            Hex => numbers::write_upper_hex(cursor.rest(), out),
            Base64 => numbers::write_base64(cursor.rest(), out),
            Quoted => write_quoted(cursor.rest(), out),
            Salt => write_salt(cursor.counted()?, out),
            Hash => write_base32(cursor.counted()?, out),
            Bitmap => write_bitmap(cursor, out)?,
            Eui48 => write_eui(cursor.take(6)?, out),
            Eui64 => write_eui(cursor.take(8)?, out),
            A6 => write_a6(cursor, out)?,
            SvcParams => svcb::write(cursor, out)?,
        }
        Some(())
    }
}

/// A character string in double quotes.
pub(super) fn write_quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    text.iter().for_each(|&byte| write_text_byte(byte, out));
    out.push(b'"');
}

/// One octet of a character string.
pub(super) fn write_text_byte(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b' '..=b'~' => out.push(byte),
        _ => put!(out, "\\{byte:03}"),
    }
}

fn write_texts(cursor: &mut Cursor, out: &mut Vec<u8>) -> Option<()> {
    write_quoted(cursor.counted()?, out);
    while !cursor.is_empty() {
        out.push(b' ');
        write_quoted(cursor.counted()?, out);
    }
    Some(())
}

fn write_salt(salt: &[u8], out: &mut Vec<u8>) {
    match salt {
        [] => out.push(b'-'),
        _ => numbers::write_hex(salt, out),
    }
}

/// A single `0` for an empty hash, as in libnmsg: RFC 5155 has no form for it, and a field must not vanish.
fn write_base32(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHIJKLMNOPQRSTUV";
    if bytes.is_empty() {
        out.push(b'0');
    }
    for chunk in bytes.chunks(5) {
        let mut padded = [0; 8];
        padded.iter_mut().skip(3).zip(chunk).for_each(|(to, from)| *to = *from);
        let bits = u64::from_be_bytes(padded);
        let digits = (chunk.len() * 8).div_ceil(5);
        for shift in (0..8).rev().map(|digit| digit * 5).take(digits) {
            let digit = usize::try_from(bits >> shift & 0x1f).unwrap_or(0);
            out.extend(DIGITS.get(digit));
        }
    }
}

/// Windows of 256 types: number, octets that follow, one bit a type.
fn write_bitmap(cursor: &mut Cursor, out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    while !cursor.is_empty() {
        let window = cursor.u8()?;
        let bits = cursor.counted().filter(|bits| (1..=32).contains(&bits.len()))?;
        for (low, _) in (0..=u8::MAX).zip(bits.iter().flat_map(bit_array)).filter(|(_, set)| *set) {
            if out.len() > start {
                out.push(b' ');
            }
            names::write_rrtype(u16::from_be_bytes([window, low]), out);
        }
    }
    Some(())
}

/// The bits of an octet, the highest first.
fn bit_array(byte: &u8) -> [bool; 8] {
    [0x80, 0x40, 0x20, 0x10, 0x08, 0x04, 0x02, 0x01].map(|bit| byte & bit != 0)
}

fn write_eui(octets: &[u8], out: &mut Vec<u8>) {
    for (index, octet) in octets.iter().enumerate() {
        let dash = if index == 0 { "" } else { "-" };
        put!(out, "{dash}{octet:02x}");
    }
}

/// A prefix length and the octets of the address that are not prefix.
fn a6<'b>(cursor: &mut Cursor<'b>) -> Option<(u8, &'b [u8])> {
    let prefix_len = cursor.u8()?;
    let suffix_bits = 128_u8.checked_sub(prefix_len)?;
    let suffix = cursor.take(usize::from(suffix_bits.div_ceil(8)))?;
    Some((prefix_len, suffix))
}

fn write_a6(cursor: &mut Cursor, out: &mut Vec<u8>) -> Option<()> {
    let (prefix_len, suffix) = a6(cursor)?;
    put!(out, "{prefix_len}");
    if !suffix.is_empty() {
        let mut address = [0; 16];
        address.iter_mut().rev().zip(suffix.iter().rev()).for_each(|(to, from)| *to = *from);
        out.push(b' ');
        numbers::write_address(&address, out);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(rrtype: u16, class: u16, rdata: &[u8]) -> String {
        let mut out = Vec::new();
        write(rdata, rrtype, class, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_type_in_a_class_that_lacks_it_prints_nothing() {
        assert_eq!(text(1, 3, &[1, 2, 3]), "");
        assert_eq!(text(16, 3, b"\x0512.01"), "\"12.01\"");
    }

    #[test]
    fn unknown_types_print_as_rfc_3597_says() {
        assert_eq!(text(65400, 1, &[1, 0xab]), "\\# 2 01 ab ");
        assert_eq!(text(65400, 1, &[]), "\\# 0 ");
    }

    #[test]
    fn fields_may_be_missing_but_not_cut() {
        assert_eq!(text(15, 1, &[0, 10]), "10");
        assert_eq!(text(15, 1, b"\0\x0a\x01a"), "10 ### PARSE ERROR ###");
        assert_eq!(text(1, 1, &[1, 2, 3, 4, 5]), "1.2.3.4 ### PARSE ERROR ###");
        assert!(unpack(&[1, 2, 3, 4, 5], 0, &[1, 2, 3, 4, 5], 1, 1).is_err());
        assert_eq!(unpack(&[], 0, &[], 1, 1), Ok(Cow::Borrowed(&[][..])));
    }

    #[test]
    fn rdata_is_whole_with_every_field_and_nothing_else() {
        let is_whole = |rrtype, rdata: &[u8]| write(rdata, rrtype, 1, &mut Vec::new());
        let whole: [(u16, &[u8]); 10] = [
            (1, &[192, 0, 2, 1]),
            (10, b""),
            (15, b"\0\x0a\0"),
            (16, b"\0"),
            (38, &[0; 17]),
            (43, b"\0\x01\x08\x02\xab"),
            (47, b"\0"),
            (50, b"\x01\0\0\0\0\x01a"),
            (64, b"\0\0\0"),
            (65400, b""),
        ];
        for (rrtype, rdata) in whole {
            assert!(is_whole(rrtype, rdata), "{rrtype}");
            let is_cut_whole = |len| is_whole(rrtype, &rdata[..len]);
            assert!(!(0..rdata.len()).any(is_cut_whole), "{rrtype}");
        }
        for (rrtype, rdata) in [(1, &[1, 2, 3, 4, 5][..]), (47, b"\0\xff\xff"), (64, b"\0\x01\0\0\x03\0\x01\0")] {
            assert!(!is_whole(rrtype, rdata), "{rrtype}");
        }
    }

    #[test]
    fn names_in_rdata_are_decompressed_within_the_rdata() {
        let message = b"\x01a\0\0\x0a\x01b\xc0\x00";
        assert_eq!(unpack(message, 3, &message[3..], 15, 1), Ok(Cow::Owned(b"\0\x0a\x01b\x01a\0".to_vec())));
        assert!(unpack(message, 3, &message[3..8], 15, 1).is_err(), "the pointer is cut by RDLENGTH");
    }

    #[test]
    fn bitmaps_are_checked_where_they_print() {
        assert_eq!(text(47, 1, b"\0\0\x01\x40"), ". A");
        assert_eq!(text(47, 1, b"\0\0\x01\x40\xff\x20"), ". A ### PARSE ERROR ###");
        assert_eq!(text(47, 1, b"\0\0\0"), ". ### PARSE ERROR ###");
        assert_eq!(text(47, 1, b"\0\x80\x01\x40"), ". DLV");
    }

    #[test]
    fn hashes_of_every_length_are_base32() {
        let hash = |bytes: &[u8]| {
            let mut out = Vec::new();
            write_base32(bytes, &mut out);
            String::from_utf8(out).unwrap()
        };
        for (input, output) in
            [("", "0"), ("f", "CO"), ("fo", "CPNG"), ("foo", "CPNMU"), ("foob", "CPNMUOG"), ("foobar", "CPNMUOJ1E8")]
        {
            assert_eq!(hash(input.as_bytes()), output);
        }
    }

    #[test]
    fn old_types_print_as_libwdns_has_them() {
        assert_eq!(text(10, 1, b"\x01\xab"), "01AB");
        assert_eq!(text(11, 1, b"\xc0\0\x02\x01\x06\0\x40"), "3221225985 6 0040");
        assert_eq!(
            text(24, 1, b"\0\x01\x05\x02\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\x04\x01a\0\xff"),
            "1 5 2 1 2 3 4 a. FF"
        );
        assert_eq!(text(30, 1, b"\x01a\0\x40\x01"), "a. 4001");
        for generic in [23, 25, 37, 32768, 32769] {
            assert_eq!(text(generic, 1, &[0, 1, 2, 3, 4]), "\\# 5 00 01 02 03 04 ", "{generic}");
        }
        assert_eq!(text(257, 3, b"\0\x05issuea"), "");
    }

    #[test]
    fn a6_prints_prefix_length_suffix_and_name() {
        assert_eq!(text(38, 1, b"\x40\0\x01\0\x02\0\x03\0\x04\x01p\0"), "64 ::1:2:3:4 p.");
        assert_eq!(text(38, 1, b"\x80\x01p\0"), "128 p.");
        assert_eq!(text(38, 1, b"\x81"), " ### PARSE ERROR ###");
    }
}
