//! EDNS Client Subnet options (RFC 7871 §6): where in a message the networks of clients stand.

use super::{Malformed, cursor::Cursor, dns};
use std::ops::Range;

const TYPE_OPT: u16 = 41;
const OPTION_CLIENT_SUBNET: u16 = 8;
/// Family, source prefix length, scope prefix length: these stay, so that readers can still parse the option.
const OPTION_FIXED_LEN: usize = 4;

/// Appends to `found` where, as offsets in `message`, the address bytes of every Client Subnet option stand, and what
/// stands behind the last record that is counted.
///
/// Fails when a record or option before the end cannot be read: an option may hide behind it, so the message cannot be
/// made safe. A message that ends at a record's border before its counts say so hides none; what follows it in its packets
/// may.
pub fn client_subnets(message: &[u8], found: &mut Vec<Range<usize>>) -> Result<(), Malformed> {
    walk(message, found).ok_or(Malformed::Dns)
}

fn walk(message: &[u8], found: &mut Vec<Range<usize>>) -> Option<()> {
    let mut cursor = Cursor::new(message);
    cursor.skip(4)?;
    let questions = cursor.u16()?;
    let records = u32::from(cursor.u16()?) + u32::from(cursor.u16()?) + u32::from(cursor.u16()?);
    for _ in 0..questions {
        if cursor.rest().is_empty() {
            return Some(());
        }
        skip_name(&mut cursor)?;
        cursor.skip(4)?;
    }
    for _ in 0..records {
        if cursor.rest().is_empty() {
            return Some(());
        }
        skip_name(&mut cursor)?;
        let rtype = cursor.u16()?;
        cursor.skip(6)?; // class and TTL
        let len = cursor.u16()?;
        let at = message.len() - cursor.rest().len();
        let rdata = cursor.slice(len.into())?;
        if rtype == TYPE_OPT {
            options(rdata, at, found)?;
        }
    }
    let rest = cursor.rest().len();
    if rest > 0 {
        found.push(message.len() - rest..message.len());
    }
    Some(())
}

/// `at` is where `rdata` stands in the message.
fn options(rdata: &[u8], at: usize, found: &mut Vec<Range<usize>>) -> Option<()> {
    let mut cursor = Cursor::new(rdata);
    while !cursor.rest().is_empty() {
        let code = cursor.u16()?;
        let len = usize::from(cursor.u16()?);
        let start = at + rdata.len() - cursor.rest().len();
        cursor.skip(len)?;
        if code == OPTION_CLIENT_SUBNET && len > OPTION_FIXED_LEN {
            found.push(start + OPTION_FIXED_LEN..start + len);
        }
    }
    Some(())
}

/// A name ends at its root or at its first pointer; where that leads does not matter here.
fn skip_name(cursor: &mut Cursor) -> Option<()> {
    let before = cursor.rest().len();
    loop {
        match cursor.u8()? {
            0 => return Some(()),
            label @ 1..=0x3f => cursor.skip(label.into())?,
            0xc0..=0xff => return cursor.skip(1),
            _ => return None, // 0x40 and 0x80 are not assigned
        }
        if before - cursor.rest().len() > dns::NAME_MAX {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A query with one record before an OPT record that holds a cookie and two Client Subnet options.
    fn message() -> Vec<u8> {
        let mut bytes = vec![0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1];
        bytes.extend(b"\x01a\0\0\x01\0\x01");
        bytes.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x09\0\x04\xcb\0\x71\x01");
        bytes.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0\x1f");
        bytes.extend(b"\0\x0a\0\x02zz");
        bytes.extend(b"\0\x08\0\x07\0\x01\x18\x00\xcb\x00\x71");
        bytes.extend(b"\0\x08\0\x06\0\x01\x10\x00\xc6\x33");
        bytes.extend(b"\0\x03\0\0");
        bytes
    }

    #[test]
    fn every_client_subnet_is_found() {
        let bytes = message();
        let mut found = Vec::new();
        client_subnets(&bytes, &mut found).unwrap();
        let hidden: Vec<&[u8]> = found.into_iter().map(|range| &bytes[range]).collect();
        assert_eq!(hidden, [&b"\xcb\x00\x71"[..], &b"\xc6\x33"[..]]);
    }

    #[test]
    fn a_message_that_cannot_be_walked_is_refused_at_every_cut_within_a_record() {
        let bytes = message();
        let borders = [19, 35];
        for cut in 12..bytes.len() {
            let walked = client_subnets(&bytes[..cut], &mut Vec::new());
            assert_eq!(walked.is_ok(), cut == 12 || borders.contains(&cut), "cut at {cut}");
        }
    }

    #[test]
    fn what_no_count_counts_is_found_whole() {
        let mut bytes = message();
        bytes[11] = 0; // no OPT record
        let mut found = Vec::new();
        client_subnets(&bytes, &mut found).unwrap();
        assert_eq!(found.as_slice(), std::slice::from_ref(&(35..bytes.len())));
    }

    #[test]
    fn an_option_longer_than_its_record_is_refused() {
        let mut bytes = message();
        let at = bytes.len() - 1;
        bytes[at] = 9;
        assert!(client_subnets(&bytes, &mut Vec::new()).is_err());
    }
}
