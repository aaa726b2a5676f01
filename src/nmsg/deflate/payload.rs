//! Where in a container repetitions begin and where there can be none: its fields, as the encoder writes them. What is of
//! another form is searched like anything else.

use super::{Effort, parse::Parse};
use std::ops::Range;

/// Tags of protobuf fields: number and wire type.
mod tag {
    pub const PAYLOAD: u8 = 0x0a; // Nmsg.payloads
    pub const CHECKSUM: u8 = 0x10; // Nmsg.payload_crcs
    pub const TIME_NSEC: u8 = 0x25; // NmsgPayload
    pub const MESSAGE: u8 = 0x2a;
    pub const QUERY_PORT: u8 = 0x28; // Dnsqr
    pub const ID: u8 = 0x38;
    pub const QNAME: u8 = 0x42;
    pub const QUERY_PACKET: u8 = 0x62;
    pub const QUERY_TIME_NSEC: u8 = 0x75;
    pub const RESPONSE_PACKET: u8 = 0x7a;
    pub const RESPONSE_TIME_NSEC: u8 = 0x8d;
}

const UDP: u8 = 17;
/// Of a nanosecond's four bytes, those that are by chance.
const CHANCE: usize = 2;

/// Goes through a container's body.
pub(super) fn container(parse: &mut Parse, effort: Effort) {
    match effort {
        Effort::Quick => through::<0>(parse),
        Effort::Dense => through::<3>(parse),
    }
}

fn through<const DEPTH: usize>(parse: &mut Parse) {
    let data = parse.data;
    let mut at = 0;
    while let Some(payload) = bytes_field(data, at, data.len()).filter(|_| data.get(at) == Some(&tag::PAYLOAD)) {
        at = payload.end;
        // Whether or not it is of the expected form: the rest of it is searched.
        let _ = walk::<DEPTH>(parse, payload);
        parse.quick(at);
    }
    if at < data.len() && data.get(at) == Some(&tag::CHECKSUM) {
        // Checksums are like nothing else, not even each other; with codes of their own they take least.
        if parse.at() == at && at > 0 {
            parse.end_block(false);
        }
        parse.literals(data.len());
    }
    parse.quick(data.len());
}

/// Goes through a payload as far as it is of the expected form.
fn walk<const DEPTH: usize>(parse: &mut Parse, payload: Range<usize>) -> Option<()> {
    let data = parse.data;
    let mut time = 0;
    let mut at = payload.start;
    while *data.get(at)? != tag::MESSAGE {
        let next = skip(data, at, payload.end)?;
        if *data.get(at)? == tag::TIME_NSEC {
            time = at + 1;
            parse.quick(time);
            parse.literals(time + CHANCE);
        }
        at = next;
    }
    let message = bytes_field(data, at, payload.end)?;
    let (mut name, mut names) = (0..0, 0);
    let mut at = message.start;
    while at < message.end {
        let next = skip(data, at, message.end)?;
        match *data.get(at)? {
            tag::QUERY_PORT => by_chance::<DEPTH>(parse, at, next),
            tag::ID => by_chance::<0>(parse, at, next),
            tag::QNAME => {
                name = bytes_field(data, at, next)?;
                names = name.start;
                parse.dense::<DEPTH>(next);
            }
            tag::QUERY_PACKET => names = packet::<DEPTH>(parse, bytes_field(data, at, next)?, name.len(), names, 0)?,
            tag::QUERY_TIME_NSEC => {
                parse.quick(at + 1);
                parse.expect(at + 1, time);
            }
            tag::RESPONSE_PACKET => {
                packet::<DEPTH>(parse, bytes_field(data, at, next)?, name.len(), names, 2)?;
                parse.dense::<DEPTH>(next);
            }
            tag::RESPONSE_TIME_NSEC => {
                parse.quick(next - 4);
                parse.literals(next - 4 + CHANCE);
            }
            _ => {}
        }
        at = next;
    }
    Some(())
}

/// A number between two tags, all of whose bytes but the last are by chance.
fn by_chance<const DEPTH: usize>(parse: &mut Parse, at: usize, next: usize) {
    parse.dense::<DEPTH>(at + 1);
    parse.literals(next - 1);
}

/// Goes through an IP packet to the end of the question in it, whose name, so long, is expected to stand at `from` too.
/// The resolver's port is `port` bytes into the UDP header. Where the name stands here.
fn packet<const DEPTH: usize>(
    parse: &mut Parse,
    packet: Range<usize>,
    name: usize,
    from: usize,
    port: usize,
) -> Option<usize> {
    let data = parse.data;
    let ip = data.get(packet.clone())?;
    let first = *ip.first()?;
    let (header, protocol) = match first >> 4 {
        4 => (usize::from(first & 15) * 4, *ip.get(9)?),
        6 => (40, *ip.get(6)?),
        _ => return None,
    };
    let udp = packet.start + header;
    let message = udp + 8;
    let question = message + 12;
    if protocol != UDP || question + name > packet.end {
        return None;
    }
    if first >> 4 == 4 {
        parse.quick(packet.start + 4);
        parse.literals(packet.start + 6); // identification
        parse.quick(packet.start + 10);
        parse.literals(packet.start + 12); // checksum
    } else {
        parse.quick(packet.start + 2);
        parse.literals(packet.start + 4); // flow label
    }
    if port == 0 {
        parse.quick(udp);
        parse.literals(udp + 2);
        parse.dense::<DEPTH>(message);
    } else {
        parse.dense::<DEPTH>(udp + port);
        parse.literals(udp + port + 2);
        parse.quick(message);
    }
    parse.literals(message + 2); // ID
    parse.quick(question);
    parse.expect(question, from);
    Some(question)
}

/// Where the content of a field of bytes is that begins at `at` and ends at `end` at most.
fn bytes_field(data: &[u8], at: usize, end: usize) -> Option<Range<usize>> {
    let (len, start) = varint(data, at + 1, end)?;
    let field = start..start.checked_add(len)?;
    (field.end <= end).then_some(field)
}

/// Where the field behind the one at `at` begins; at `end` at most.
#[inline(always)]
fn skip(data: &[u8], at: usize, end: usize) -> Option<usize> {
    let tag = *data.get(at)?;
    let content = if tag < 0x80 { at + 1 } else { varint(data, at, end)?.1 };
    let next = match tag & 7 {
        0 => varint(data, content, end)?.1,
        1 => content + 8,
        2 => {
            let (len, start) = varint(data, content, end)?;
            start.checked_add(len)?
        }
        5 => content + 4,
        _ => return None,
    };
    (next <= end).then_some(next)
}

/// A varint of at most 28 bits, and where it ends.
#[inline(always)]
fn varint(data: &[u8], at: usize, end: usize) -> Option<(usize, usize)> {
    let mut value = 0;
    for (i, &byte) in data.get(at..end)?.iter().take(10).enumerate() {
        if i < 4 {
            value |= usize::from(byte & 0x7f) << (7 * i);
        }
        if byte < 0x80 {
            return Some((value, at + i + 1));
        }
    }
    None
}
