//! A payload out of its container.

use std::borrow::Cow;

use super::Payload;
use super::wire::{Fields, Malformed};

impl<'b> Payload<'b> {
    /// Decodes an `NmsgPayload`; its four required fields must be there.
    pub fn decode(bytes: &'b [u8]) -> Result<Payload<'b>, Malformed> {
        let (mut vid, mut msgtype, mut time_sec, mut time_nsec) = (None, None, None, None);
        let (mut message, mut source, mut operator, mut group) = (&[][..], 0, 0, 0);
        for field in Fields::new(bytes) {
            let (number, value) = field?;
            match number {
                1 => vid = Some(value.u32()?),
                2 => msgtype = Some(value.u32()?),
                3 => time_sec = Some(value.i64()?),
                4 => time_nsec = Some(value.fixed32()?),
                5 => message = value.bytes()?,
                7 => source = value.u32()?,
                8 => operator = value.u32()?,
                9 => group = value.u32()?,
                _ => {}
            }
        }
        Ok(Payload {
            vid: vid.ok_or(Malformed::Missing(1))?,
            msgtype: msgtype.ok_or(Malformed::Missing(2))?,
            time_sec: time_sec.ok_or(Malformed::Missing(3))?,
            time_nsec: time_nsec.ok_or(Malformed::Missing(4))?,
            message: Cow::Borrowed(message),
            source,
            operator,
            group,
        })
    }
}
