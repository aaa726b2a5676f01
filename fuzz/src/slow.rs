//! Readers written for being obviously right.

use std::ops::Range;

/// Id, flags and the question (name, type and class) of a message; `None` if it is malformed.
pub fn message(bytes: &[u8]) -> Option<(u16, u16, Option<Vec<u8>>)> {
    if bytes.len() < 12 {
        return None;
    }
    let number = |at: usize| u16::from(bytes[at]) * 256 + u16::from(bytes[at + 1]);
    let (id, flags, questions) = (number(0), number(2), number(4));
    if questions == 0 || (questions == 1 && bytes.len() == 12) {
        return Some((id, flags, None));
    }
    if questions > 1 {
        return None;
    }
    let mut labels: Vec<&[u8]> = Vec::new();
    let mut at = 12;
    loop {
        let len = usize::from(*bytes.get(at)?);
        if len >= 64 {
            return None;
        }
        if len == 0 {
            break;
        }
        labels.push(bytes.get(at + 1..at + 1 + len)?);
        at += 1 + len;
    }
    let mut question: Vec<u8> = Vec::new();
    for label in labels {
        question.push(label.len() as u8);
        question.extend(label);
    }
    question.push(0);
    if question.len() > 255 || bytes.len() < at + 5 {
        return None;
    }
    question.extend(&bytes[at + 1..at + 5]);
    Some((id, flags, Some(question)))
}

/// The bytes of the addresses in all Client Subnet options of a message whose records can all be walked, and what stands
/// behind them; `None` if they cannot.
pub fn client_subnets(bytes: &[u8]) -> Option<Vec<Range<usize>>> {
    let number = |at: usize| Some(usize::from(*bytes.get(at)?) * 256 + usize::from(*bytes.get(at + 1)?));
    let (questions, records) = (number(4)?, number(6)? + number(8)? + number(10)?);
    let mut found = Vec::new();
    let mut at = 12;
    for entry in 0..questions + records {
        if at == bytes.len() {
            break;
        }
        at = name_end(bytes, at)?;
        if entry < questions {
            at += 4;
            if at > bytes.len() {
                return None;
            }
            continue;
        }
        let (rrtype, len) = (number(at)?, number(at + 8)?);
        let end = at + 10 + len;
        if end > bytes.len() {
            return None;
        }
        let mut option = at + 10;
        while rrtype == 41 && option < end {
            let (code, len) = (number(option)?, number(option + 2)?);
            let option_end = option + 4 + len;
            if option + 4 > end || option_end > end {
                return None;
            }
            if code == 8 && len > 4 {
                found.push(option + 8..option_end);
            }
            option = option_end;
        }
        at = end;
    }
    if at < bytes.len() {
        found.push(at..bytes.len());
    }
    Some(found)
}

/// Where the name that starts at `start` ends: behind its root or its first pointer.
fn name_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let len = usize::from(*bytes.get(at)?);
        if len == 0 {
            return Some(at + 1);
        }
        if len >= 0xc0 {
            bytes.get(at + 1)?;
            return Some(at + 2);
        }
        if len >= 0x40 {
            return None;
        }
        at += 1 + len;
        if at > bytes.len() || at - start > 255 {
            return None;
        }
    }
}
