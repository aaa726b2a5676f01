//! Service parameters of SVCB and HTTPS records (RFC 9460 §2.1 and §14.3.2).

use super::cursor::Cursor;
use super::rdata::{write_quoted, write_text_byte};
use super::{numbers, put};

/// Keys 0 to 6; later ones print as `keyN`, as in libnmsg.
const KEYS: [&str; 7] = ["mandatory", "alpn", "no-default-alpn", "port", "ipv4hint", "ech", "ipv6hint"];

/// Appends the parameters, `None` when they are not well formed.
pub(super) fn write(cursor: &mut Cursor, out: &mut Vec<u8>) -> Option<()> {
    let start = out.len();
    while !cursor.is_empty() {
        let key = cursor.u16()?;
        let len = cursor.u16()?;
        let value = cursor.take(usize::from(len))?;
        if out.len() > start {
            out.push(b' ');
        }
        write_key(key, out);
        write_value(key, &mut Cursor::new(value), out)?;
    }
    Some(())
}

fn write_key(key: u16, out: &mut Vec<u8>) {
    match KEYS.get(usize::from(key)) {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None => put!(out, "key{key}"),
    }
}

fn write_value(key: u16, value: &mut Cursor, out: &mut Vec<u8>) -> Option<()> {
    if key == 2 {
        return value.is_empty().then_some(());
    }
    out.push(b'=');
    match key {
        0 => list(value, out, |value, out| value.u16().map(|key| write_key(key, out))),
        1 => {
            out.push(b'"');
            list(value, out, |value, out| value.counted().map(|protocol| write_protocol(protocol, out)))?;
            out.push(b'"');
            Some(())
        }
        3 => {
            put!(out, "{}", value.u16()?);
            value.is_empty().then_some(())
        }
        4 => list(value, out, |value, out| value.take(4).map(|octets| numbers::write_address(octets, out))),
        5 => {
            numbers::write_base64(value.rest(), out);
            Some(())
        }
        6 => list(value, out, |value, out| value.take(16).map(|octets| numbers::write_address(octets, out))),
        _ => {
            write_quoted(value.rest(), out);
            Some(())
        }
    }
}

/// Items until the value ends, with commas between; an empty list is not well formed.
fn list(value: &mut Cursor, out: &mut Vec<u8>, item: impl Fn(&mut Cursor, &mut Vec<u8>) -> Option<()>) -> Option<()> {
    item(value, out)?;
    while !value.is_empty() {
        out.push(b',');
        item(value, out)?;
    }
    Some(())
}

/// A protocol id: commas and backslashes are escaped for the list, and once more for the quotes (RFC 9460 §A.1).
fn write_protocol(protocol: &[u8], out: &mut Vec<u8>) {
    for &byte in protocol {
        if matches!(byte, b',' | b'\\') {
            out.extend_from_slice(b"\\\\");
        }
        write_text_byte(byte, out);
    }
}

#[cfg(test)]
mod tests {
    fn text(params: &[u8]) -> String {
        let mut out = Vec::new();
        super::super::rdata::write(&[&b"\0\x01\0"[..], params].concat(), 64, 1, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_key_has_its_form() {
        assert_eq!(text(b"\0\0\0\x04\0\x01\x02\x9b"), "1 . mandatory=alpn,key667");
        assert_eq!(text(b"\0\x01\0\x06\x02h2\x02h3"), "1 . alpn=\"h2,h3\"");
        assert_eq!(text(b"\0\x01\0\x08\x07f\\oo,ba"), "1 . alpn=\"f\\\\\\\\oo\\\\,ba\"");
        assert_eq!(text(b"\0\x02\0\0\0\x03\0\x02\x20\xfb"), "1 . no-default-alpn port=8443");
        assert_eq!(text(b"\0\x04\0\x08\xc0\0\x02\x01\xc0\0\x02\x02"), "1 . ipv4hint=192.0.2.1,192.0.2.2");
        assert_eq!(text(b"\0\x05\0\x03abc"), "1 . ech=YWJj");
        assert_eq!(text(b"\x02\x9b\0\x03a\"\0"), "1 . key667=\"a\\\"\\000\"");
    }

    #[test]
    fn a_value_that_does_not_fit_its_key_is_a_parse_error() {
        for params in [
            &b"\0\x03\0\x01\0"[..],
            b"\0\x03\0\x03\0\0\0",
            b"\0\x04\0\x05\xc0\0\x02\x01\0",
            b"\0\x01\0\x02\x05h",
            b"\0\x01\0",
        ] {
            assert!(text(params).ends_with(" ### PARSE ERROR ###"), "{params:?} {}", text(params));
        }
    }
}
