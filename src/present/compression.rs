//! Compressed names (RFC 1035 §4.1.4).

use super::message::Malformed;
use super::names::{LABEL_MAX, NAME_MAX};

/// Most pointers one name may take: as many as it can have labels. Their targets descend, so a name ends without this;
/// the bound keeps a message of nothing but pointers from costing its length squared.
const POINTERS_MAX: usize = 127;

/// Appends the name at `start` of `message`, uncompressed, and says where the octets after it begin.
///
/// A pointer is followed only to before the run of labels it ends, so that targets descend and the name ends.
pub(crate) fn decompress(message: &[u8], start: usize, name: &mut Vec<u8>) -> Result<usize, Malformed> {
    let limit = name.len() + NAME_MAX;
    let mut run = start;
    let mut at = start;
    let mut after = None;
    for _ in 0..=POINTERS_MAX {
        at = append_run(message, at, name, limit)?;
        let Some((high, low)) = pointer(message, at)? else {
            return Ok(after.unwrap_or(at + 1));
        };
        after.get_or_insert(at + 2);
        at = usize::from(u16::from_be_bytes([high, low]));
        if at >= run {
            return Err(Malformed::Name);
        }
        run = at;
    }
    Err(Malformed::Name)
}

/// Appends labels up to a pointer, or up to and with the root label; gives the place of either.
fn append_run(message: &[u8], mut at: usize, name: &mut Vec<u8>, limit: usize) -> Result<usize, Malformed> {
    loop {
        let len = usize::from(*message.get(at).ok_or(Malformed::Name)?);
        if len > LABEL_MAX {
            return Ok(at);
        }
        let end = at + 1 + len;
        name.extend_from_slice(message.get(at..end).ok_or(Malformed::Name)?);
        if name.len() > limit {
            return Err(Malformed::Name);
        }
        if len == 0 {
            return Ok(at);
        }
        at = end;
    }
}

/// The pointer at `at`, its two type bits cleared; `None` where the root label is.
fn pointer(message: &[u8], at: usize) -> Result<Option<(u8, u8)>, Malformed> {
    match *message.get(at).ok_or(Malformed::Name)? {
        0 => Ok(None),
        high @ 0xc0.. => message.get(at + 1).map(|&low| Some((high & 0x3f, low))).ok_or(Malformed::Name),
        _ => Err(Malformed::Name), // label types 01 and 10 were never in use
    }
}
