//! The syntax of JSON: what stands between the values.
//!
//! Whether a comma is due is read off the last byte written, so there is no state to keep.

use std::fmt::Display;

use crate::present::{numbers, put};

/// Appends text as it stands between the quotes of a JSON string.
pub fn escape_json(text: &str, out: &mut Vec<u8>) {
    for character in text.chars() {
        match character {
            '"' | '\\' => put!(out, "\\{character}"),
            _ if character.is_control() => put!(out, "\\u{:04x}", u32::from(character)),
            _ => put!(out, "{character}"),
        }
    }
}

/// A comma, unless this is the first thing in its object or array.
fn separate(out: &mut Vec<u8>) {
    if !matches!(out.last(), Some(b'{' | b'[')) {
        out.push(b',');
    }
}

/// An object of what `members` writes.
pub(super) fn object(out: &mut Vec<u8>, members: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'{');
    members(out);
    out.push(b'}');
}

/// A key, and what `value` writes.
pub(super) fn member(key: &str, out: &mut Vec<u8>, value: impl FnOnce(&mut Vec<u8>)) {
    separate(out);
    out.push(b'"');
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
    value(out);
}

/// An array of what `item` writes for each item.
pub(super) fn array<T>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>, item: impl Fn(T, &mut Vec<u8>)) {
    out.push(b'[');
    for one in items {
        separate(out);
        item(one, out);
    }
    out.push(b']');
}

/// A string of what `content` writes. That is presentation form: visible ASCII, most often without anything to escape.
pub(super) fn string(out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    let start = out.len();
    content(out);
    let written = out.get(start..).unwrap_or_default();
    if written.iter().any(|byte| !matches!(byte, b' '..=b'~') || matches!(byte, b'"' | b'\\')) {
        let written = out.split_off(start);
        escape_json(&String::from_utf8_lossy(&written), out);
    }
    out.push(b'"');
}

/// A string of base64.
pub(super) fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    numbers::write_base64(bytes, out);
    out.push(b'"');
}

/// A key and a string of base64.
pub(super) fn base64_member(key: &str, bytes: &[u8], out: &mut Vec<u8>) {
    member(key, out, |out| base64(bytes, out));
}

/// A key and a number.
pub(super) fn number_member(key: &str, number: impl Into<u64>, out: &mut Vec<u8>) {
    let number = number.into();
    member(key, out, |out| put!(out, "{number}"));
}

/// A number.
pub(super) fn number(number: impl Display, out: &mut Vec<u8>) {
    put!(out, "{number}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_escape_quotes_backslashes_and_control_characters_only() {
        let mut out = Vec::new();
        escape_json("a\"b\\c/d\n\u{1b}\u{7f}\u{9b}é", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "a\\\"b\\\\c/d\\u000a\\u001b\\u007f\\u009bé");
    }
}
