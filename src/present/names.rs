//! What numbers and names in DNS messages are called.
//!
//! The tables are libnmsg's, not IANA's latest: a type that libnmsg does not know (SMIMEA, ZONEMD) is `TYPEn` here too.

use super::cursor::Cursor;
use super::put;

/// Longest label (RFC 1035 §2.3.4).
pub const LABEL_MAX: usize = 63;
/// Longest name on the wire, root label included (RFC 1035 §2.3.4).
pub const NAME_MAX: usize = 255;

/// Number and name, ascending by number.
type Table = [(u16, &'static str)];

#[rustfmt::skip]
const RRTYPES: &Table = &[
    (1, "A"), (2, "NS"), (3, "MD"), (4, "MF"), (5, "CNAME"), (6, "SOA"), (7, "MB"), (8, "MG"), (9, "MR"), (10, "NULL"),
    (11, "WKS"), (12, "PTR"), (13, "HINFO"), (14, "MINFO"), (15, "MX"), (16, "TXT"), (17, "RP"), (18, "AFSDB"),
    (19, "X25"), (20, "ISDN"), (21, "RT"), (22, "NSAP"), (23, "NSAP-PTR"), (24, "SIG"), (25, "KEY"), (26, "PX"),
    (27, "GPOS"), (28, "AAAA"), (29, "LOC"), (30, "NXT"), (31, "EID"), (32, "NIMLOC"), (33, "SRV"), (34, "ATMA"),
    (35, "NAPTR"), (36, "KX"), (37, "CERT"), (38, "A6"), (39, "DNAME"), (40, "SINK"), (41, "OPT"), (42, "APL"),
    (43, "DS"), (44, "SSHFP"), (45, "IPSECKEY"), (46, "RRSIG"), (47, "NSEC"), (48, "DNSKEY"), (49, "DHCID"),
    (50, "NSEC3"), (51, "NSEC3PARAM"), (52, "TLSA"), (55, "HIP"), (56, "NINFO"), (57, "RKEY"), (58, "TALINK"),
    (59, "CDS"), (60, "CDNSKEY"), (61, "OPENPGPKEY"), (62, "CSYNC"), (64, "SVCB"), (65, "HTTPS"), (99, "SPF"),
    (100, "UINFO"), (101, "UID"), (102, "GID"), (103, "UNSPEC"), (104, "NID"), (105, "L32"), (106, "L64"), (107, "LP"),
    (108, "EUI48"), (109, "EUI64"), (249, "TKEY"), (250, "TSIG"), (251, "IXFR"), (252, "AXFR"), (253, "MAILB"),
    (254, "MAILA"), (255, "ANY"), (256, "URI"), (257, "CAA"), (32768, "TA"), (32769, "DLV"),
];

const CLASSES: &Table = &[(1, "IN"), (3, "CH"), (4, "HS"), (254, "NONE"), (255, "ANY")];

const OPCODES: &Table = &[(0, "QUERY"), (1, "IQUERY"), (2, "STATUS"), (4, "NOTIFY"), (5, "UPDATE")];

#[rustfmt::skip]
const RCODES: &Table = &[
    (0, "NOERROR"), (1, "FORMERR"), (2, "SERVFAIL"), (3, "NXDOMAIN"), (4, "NOTIMP"), (5, "REFUSED"), (6, "YXDOMAIN"),
    (7, "YXRRSET"), (8, "NXRRSET"), (9, "NOTAUTH"), (10, "NOTZONE"), (16, "BADVERS"),
];

fn name_in(table: &'static Table, number: u16) -> Option<&'static str> {
    let found = table.binary_search_by_key(&number, |entry| entry.0).ok()?;
    table.get(found).map(|entry| entry.1)
}

fn number_in(table: &'static Table, name: &str) -> Option<u16> {
    table.iter().find(|entry| entry.1.eq_ignore_ascii_case(name)).map(|entry| entry.0)
}

/// The number in `TYPE123` or `CLASS123` (RFC 3597 §5).
fn generic_number(name: &str, prefix: &str) -> Option<u16> {
    let (head, digits) = name.split_at_checked(prefix.len())?;
    let generic = head.eq_ignore_ascii_case(prefix) && digits.bytes().all(|digit| digit.is_ascii_digit());
    generic.then(|| digits.parse().ok()).flatten()
}

/// The name of an RR type, `None` where it has to print as `TYPEn`.
pub fn rrtype(number: u16) -> Option<&'static str> {
    name_in(RRTYPES, number)
}

/// The number of an RR type: a name in any case, or `TYPEn`.
pub fn rrtype_number(name: &str) -> Option<u16> {
    number_in(RRTYPES, name).or_else(|| generic_number(name, "TYPE"))
}

/// The name of a class, `None` where it has to print as `CLASSn`.
pub fn class(number: u16) -> Option<&'static str> {
    name_in(CLASSES, number)
}

/// The name of an opcode.
pub fn opcode(number: u16) -> Option<&'static str> {
    name_in(OPCODES, number)
}

/// The name of a response code, extended ones (RFC 6891 §6.1.3) included.
pub fn rcode(number: u16) -> Option<&'static str> {
    name_in(RCODES, number)
}

/// The number of a response code: a name in any case, or the number itself.
pub fn rcode_number(name: &str) -> Option<u16> {
    number_in(RCODES, name).or_else(|| generic_number(name, ""))
}

/// Appends an RR type's name or `TYPEn`.
pub fn write_rrtype(number: u16, out: &mut Vec<u8>) {
    match rrtype(number) {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None => put!(out, "TYPE{number}"),
    }
}

/// Appends a class's name or `CLASSn`.
pub fn write_class(number: u16, out: &mut Vec<u8>) {
    match class(number) {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None => put!(out, "CLASS{number}"),
    }
}

/// An uncompressed wire name as text: `example.com.`, `.` for the root.
///
/// Dots and backslashes inside a label get a backslash, bytes that are not visible ASCII become `\DDD`. Bytes that are
/// no name still print: what a cut label has, up to the end.
pub fn domain(wire: &[u8]) -> String {
    let mut out = Vec::with_capacity(wire.len());
    write_domain(wire, &mut out);
    String::from_utf8(out).unwrap_or_default() // always ASCII
}

/// Appends what [`domain`] gives.
pub fn write_domain(wire: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let mut cursor = Cursor::new(wire);
    while let Some(len) = cursor.u8().filter(|&len| len != 0) {
        let label = cursor.take(usize::from(len)).unwrap_or_else(|| cursor.rest());
        label.iter().for_each(|&byte| write_label_byte(byte, out));
        out.push(b'.');
    }
    if out.len() == start {
        out.push(b'.');
    }
}

fn write_label_byte(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'.' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'!'..=b'~' => out.push(byte),
        _ => put!(out, "\\{byte:03}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_ascend_so_that_the_search_finds_every_entry() {
        for table in [RRTYPES, CLASSES, OPCODES, RCODES] {
            assert!(table.is_sorted_by(|a, b| a.0 < b.0));
        }
    }

    #[test]
    fn names_and_numbers_go_both_ways() {
        for number in 0..=u16::MAX {
            let mut name = Vec::new();
            write_rrtype(number, &mut name);
            assert_eq!(rrtype_number(str::from_utf8(&name).unwrap()), Some(number));
        }
        assert_eq!(rrtype_number("https"), Some(65));
        assert_eq!(rrtype_number("type+5"), None);
        assert_eq!(rrtype_number("TYPE65536"), None);
        assert_eq!(rrtype_number("TYPE"), None);
        assert_eq!(rcode_number("nxdomain"), Some(3));
        assert_eq!(rcode_number("23"), Some(23));
    }

    #[test]
    fn a_domain_escapes_what_would_change_its_meaning() {
        assert_eq!(domain(b"\x03a.b\x02\\c\x04\x00 \xff~\x00"), "a\\.b.\\\\c.\\000\\032\\255~.");
        assert_eq!(domain(b"\x00"), ".");
        assert_eq!(domain(b""), ".");
        assert_eq!(domain(b"\x07exa"), "exa.");
    }
}
