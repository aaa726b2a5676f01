//! EDNS options (RFC 6891 §6.1.2) as text.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::cursor::Cursor;
use super::message::Malformed;
use super::{PARSE_ERROR, numbers, put};

/// Client Subnet (RFC 7871).
const CLIENT_SUBNET: u16 = 8;
/// Extended DNS Error (RFC 8914).
const EXTENDED_ERROR: u16 = 15;

/// Purposes of the extended errors 0 to 24, as RFC 8914 §5.2 registers them and libwdns prints them.
#[rustfmt::skip]
const PURPOSES: [&str; 25] = [
    "Other Error", "Unsupported DNSKEY Algorithm", "Unsupported DS Digest Type", "Stale Answer", "Forged Answer",
    "DNSSEC Indeterminate", "DNSSEC Bogus", "Signature Expired", "Signature Not Yet Valid", "DNSKEY Missing",
    "RRSIGs Missing", "No Zone Key Bit Set", "NSEC Missing", "Cached Error", "Not Ready", "Blocked", "Censored",
    "Filtered", "Prohibited", "Stale NXDomain Answer", "Not Authoritative", "Not Supported", "No Reachable Authority",
    "Network Error", "Invalid Data",
];

/// Code and data of one option.
type Item<'b> = Result<(u16, &'b [u8]), Malformed>;

/// What libwdns puts where an option's data does not fit: its blank before the data, and its error with its number.
const DATA_ERROR: &[u8] = b"  ### PARSE ERROR #12 ###";

/// The options in OPT's rdata, in order; the last item is an error when the rdata does not end with an option. Behind
/// one whose data does not fit there is none, as in libwdns.
pub fn options(rdata: &[u8]) -> impl Iterator<Item = Item<'_>> {
    let mut cursor = Cursor::new(rdata);
    std::iter::from_fn(move || {
        if cursor.is_empty() {
            return None;
        }
        let item = option(&mut cursor).ok_or(Malformed::Rdata);
        if !item.is_ok_and(|(code, data)| fits(code, data)) {
            cursor.rest();
        }
        Some(item)
    })
}

fn option<'b>(cursor: &mut Cursor<'b>) -> Option<(u16, &'b [u8])> {
    let code = cursor.u16()?;
    let len = cursor.u16()?;
    Some((code, cursor.take(usize::from(len))?))
}

/// Does the data have the form of the code? A client subnet without an address octet (0.0.0.0/0, which RFC 7871 §7.1.2
/// allows) has not, to libwdns.
fn fits(code: u16, data: &[u8]) -> bool {
    match (code, data) {
        (CLIENT_SUBNET, [0, 1, _, _, address @ ..]) => (1..=4).contains(&address.len()),
        (CLIENT_SUBNET, [0, 2, _, _, address @ ..]) => (1..=16).contains(&address.len()),
        (CLIENT_SUBNET, _) => false,
        (EXTENDED_ERROR, _) => data.len() >= 2,
        _ => true,
    }
}

/// Appends an option as one line without its end.
pub fn write(option: Item, out: &mut Vec<u8>) {
    let written = match option {
        Ok((CLIENT_SUBNET, data)) => {
            out.extend_from_slice(b"CLIENT-SUBNET:");
            Some(data).filter(|data| fits(CLIENT_SUBNET, data)).and_then(|data| write_client_subnet(data, out))
        }
        Ok((EXTENDED_ERROR, data)) => {
            out.extend_from_slice(b"EDE:");
            write_extended_error(&mut Cursor::new(data), out)
        }
        Ok((code, data)) => {
            write_generic(code, data, out);
            Some(())
        }
        Err(_) => return out.extend_from_slice(PARSE_ERROR),
    };
    if written.is_none() {
        out.extend_from_slice(DATA_ERROR);
    }
}

/// `CLIENT-SUBNET: address/source/scope`; octets of the address that were not sent are zero.
fn write_client_subnet(data: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut data = Cursor::new(data);
    let (family, source, scope) = (data.u16()?, data.u8()?, data.u8()?);
    match family {
        1 => put!(out, " {}/{source}/{scope}", Ipv4Addr::from(padded(data.rest())?)),
        2 => put!(out, " {}/{source}/{scope}", Ipv6Addr::from(padded(data.rest())?)),
        _ => return None,
    }
    Some(())
}

/// `bytes` and zeros after them, `None` when there are more than `N`.
fn padded<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let mut all = [0; N];
    all.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(all)
}

/// `EDE: code (Purpose): (text)`.
fn write_extended_error(data: &mut Cursor, out: &mut Vec<u8>) -> Option<()> {
    let code = data.u16()?;
    put!(out, " {code}");
    if let Some(purpose) = PURPOSES.get(usize::from(code)) {
        put!(out, " ({purpose})");
    }
    out.extend_from_slice(b": (");
    write_visible(data.rest(), out);
    out.push(b')');
    Some(())
}

/// `OPT=code: 61 00 ("a.")`.
fn write_generic(code: u16, data: &[u8], out: &mut Vec<u8>) {
    put!(out, "OPT={code}: ");
    numbers::write_spaced_hex(data, out);
    out.extend_from_slice(b"(\"");
    write_visible(data, out);
    out.extend_from_slice(b"\")");
}

/// Text as it is, a dot for every byte that is not visible ASCII or a space.
fn write_visible(data: &[u8], out: &mut Vec<u8>) {
    out.extend(data.iter().map(|byte| match byte {
        b' '..=b'~' => *byte,
        _ => b'.',
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(rdata: &[u8]) -> Vec<String> {
        let line = |option| {
            let mut out = Vec::new();
            write(option, &mut out);
            String::from_utf8(out).unwrap()
        };
        options(rdata).map(line).collect()
    }

    #[test]
    fn options_print_as_lines() {
        assert_eq!(text(b"\0\x08\0\x07\0\x01\x18\0\xcb\0\x71"), ["CLIENT-SUBNET: 203.0.113.0/24/0"]);
        assert_eq!(text(b"\0\x08\0\x08\0\x02\x20\x10\x20\x01\x0d\xb8"), ["CLIENT-SUBNET: 2001:db8::/32/16"]);
        assert_eq!(text(b"\0\x0f\0\x02\0\x0f"), ["EDE: 15 (Blocked): ()"]);
        assert_eq!(text(b"\0\x0f\0\x04\0\x63a\x07"), ["EDE: 99: (a.)"]);
        assert_eq!(text(b"\0\x03\0\x02n\x1b\0\x0c\0\0"), ["OPT=3: 6e 1b (\"n.\")", "OPT=12: (\"\")"]);
    }

    #[test]
    fn options_that_do_not_fit_say_so_once() {
        assert_eq!(text(b"\0\x03\0\x01n\0\x03\0\x09n"), ["OPT=3: 6e (\"n\")", " ### PARSE ERROR ###"]);
        assert_eq!(text(b"\0\x08\0\x03\0\x01\x18"), ["CLIENT-SUBNET:  ### PARSE ERROR #12 ###"]);
        assert_eq!(text(b"\0\x08\0\x09\0\x01\x20\0abcde"), ["CLIENT-SUBNET:  ### PARSE ERROR #12 ###"]);
        assert_eq!(text(b"\0\x08\0\x04\0\x01\0\0\0\x0c\0\0"), ["CLIENT-SUBNET:  ### PARSE ERROR #12 ###"]);
        assert_eq!(text(b"\0\x0f\0\x01\0"), ["EDE:  ### PARSE ERROR #12 ###"]);
        assert_eq!(text(b"\0"), [" ### PARSE ERROR ###"]);
    }
}
