//! What both sides say before the frames.

use super::{
    fault::Fault,
    outbox::Outbox,
    sum::{self, Kind},
    wire,
};
use std::mem;

/// The protocol that is announced, of rsync 3.1; with every newer server it is the one that is spoken.
pub const PROTOCOL: i32 = 31;
/// The oldest that is spoken, of rsync 3.0.
pub const OLDEST: i32 = 30;
/// What may stand in a greeting at all; else it is text.
const GREETINGS: std::ops::RangeInclusive<i32> = 20..=40;
/// A flag of compatibility, incremental recursion: it changes everything, and was not offered.
const RECURSES: u32 = 1 << 0;
/// Another: flags in the list are varints, and both sides name their sums.
const HAS_VARINTS: u32 = 1 << 7;
/// Of names of sums; those of rsync 3.5.0 have 35 bytes.
const NAMES_MAX: usize = 255;

/// What is kept of text that is not rsync's.
const TEXT_MAX: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Version,
    /// Not rsync: text.
    Text,
    Compatibility,
    /// Of its sums.
    Names,
    Seed,
    Over,
}

/// Takes the server's apart, and answers it; holds no more than one part of it.
#[derive(Debug)]
pub struct Greeting {
    stage: Stage,
    /// What has come and is not understood yet, or text.
    bytes: Vec<u8>,
    protocol: i32,
    has_varints: bool,
    sums: Kind,
}

impl Greeting {
    /// Nothing has come.
    pub fn new() -> Greeting {
        Greeting { stage: Stage::Version, bytes: Vec::new(), protocol: PROTOCOL, has_varints: false, sums: Kind::Md5 }
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// Whether something came that is not rsync's.
    pub fn is_text(&self) -> bool {
        self.stage == Stage::Text
    }

    /// The protocol that is spoken.
    pub fn protocol(&self) -> i32 {
        self.protocol
    }

    /// Whether flags in the list are varints.
    pub fn has_varints(&self) -> bool {
        self.has_varints
    }

    /// Of files.
    pub fn sums(&self) -> Kind {
        self.sums
    }

    /// The server's output has ended: what is wrong with that, if it was not rsync's.
    pub fn ended(&self) -> Option<Fault> {
        let is_early = matches!(self.stage, Stage::Text | Stage::Version) && !self.bytes.is_empty();
        is_early.then(|| not_rsync(&self.bytes))
    }

    /// Takes it off the front of `bytes`, as far as it is there.
    pub fn take(&mut self, bytes: &mut &[u8], outbox: &mut Outbox) -> Result<(), Fault> {
        // No greeting is so long; of text, no more is kept.
        let (first, behind) = bytes.split_at(bytes.len().min(TEXT_MAX));
        let mut said = mem::take(&mut self.bytes);
        said.extend(first);
        let mut rest = &said[..];
        while let Some(next) = self.next(&mut rest, outbox)? {
            self.stage = next;
        }
        if self.is_over() {
            // What is left of the bytes is what the last of them left.
            *bytes = &bytes[bytes.len() - rest.len() - behind.len()..];
        } else {
            *bytes = &[];
            self.bytes.extend(rest);
        }
        Ok(())
    }

    /// Takes its next part; what is to come behind it, or `None` when more must come first.
    fn next(&mut self, bytes: &mut &[u8], outbox: &mut Outbox) -> Result<Option<Stage>, Fault> {
        Ok(match self.stage {
            Stage::Version => self.version(bytes)?,
            Stage::Text if bytes.len() >= TEXT_MAX => return Err(not_rsync(bytes)),
            Stage::Compatibility => self.compatibility(bytes, outbox)?,
            Stage::Names => self.names(bytes)?,
            Stage::Seed => wire::take::<4>(bytes).map(|_seed| Stage::Over),
            Stage::Text | Stage::Over => None,
        })
    }

    fn version(&mut self, bytes: &mut &[u8]) -> Result<Option<Stage>, Fault> {
        let mut rest = *bytes;
        match wire::take(&mut rest).map(i32::from_le_bytes) {
            None => return Ok(None),
            Some(theirs) if !GREETINGS.contains(&theirs) => return Ok(Some(Stage::Text)),
            Some(theirs) if theirs < OLDEST => return Err(Fault::Version(theirs)),
            Some(theirs) => self.protocol = PROTOCOL.min(theirs),
        }
        *bytes = rest;
        Ok(Some(Stage::Compatibility))
    }

    fn compatibility(&mut self, bytes: &mut &[u8], outbox: &mut Outbox) -> Result<Option<Stage>, Fault> {
        let Some(flags) = wire::take_varint(bytes) else { return Ok(None) };
        if flags & RECURSES != 0 {
            return Err(Fault::Compatibility(flags));
        }
        self.has_varints = flags & HAS_VARINTS != 0;
        if !self.has_varints {
            return Ok(Some(Stage::Seed));
        }
        // An older server would take the names for the list: they wait until it is known.
        outbox.raw(&[sum::OFFER.len() as u8]);
        outbox.raw(sum::OFFER.as_bytes());
        Ok(Some(Stage::Names))
    }

    fn names(&mut self, bytes: &mut &[u8]) -> Result<Option<Stage>, Fault> {
        let mut rest = *bytes;
        let Some(len) = wire::take_length(&mut rest) else { return Ok(None) };
        if len > NAMES_MAX {
            return Err(Fault::NamesLength(len));
        }
        let Some((names, rest)) = rest.split_at_checked(len) else { return Ok(None) };
        let sums = Kind::agreed(names);
        self.sums = sums.ok_or_else(|| Fault::NoSum(String::from_utf8_lossy(names).into_owned()))?;
        *bytes = rest;
        Ok(Some(Stage::Seed))
    }
}

fn not_rsync(text: &[u8]) -> Fault {
    Fault::NotRsync(String::from_utf8_lossy(&text[..text.len().min(TEXT_MAX)]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Takes a greeting in portions; what it left of them, and what it said.
    fn take(said: &[u8], portion: usize) -> Result<(Greeting, Vec<u8>, Vec<u8>), Fault> {
        let (mut greeting, mut outbox, mut left) = (Greeting::new(), Outbox::default(), Vec::new());
        for mut bytes in said.chunks(portion) {
            if !greeting.is_over() {
                greeting.take(&mut bytes, &mut outbox)?;
                assert!(greeting.bytes.len() < 2 * TEXT_MAX);
            }
            left.extend(bytes);
        }
        Ok((greeting, left, outbox.waiting().to_vec()))
    }

    #[test]
    fn where_a_greeting_is_split_does_not_matter_and_what_is_behind_it_stays() {
        for (said, protocol, sums, answer) in [
            (&b"\x1e\0\0\0\x0aSEED"[..], 30, Kind::Md5, &b""[..]),
            (b"\x1f\0\0\0\x1aSEED", 31, Kind::Md5, b""),
            (b"\x20\0\0\0\x80\xfe\x03md5SEED", 31, Kind::Md5, b"\x0axxh128 md5"),
            (b"\x20\0\0\0\x81\xfe\x0dmd4 xxh128 xySEED", 31, Kind::Xxh128, b"\x0axxh128 md5"),
            (b"\x20\0\0\0\x81\xfe\x80\x03md5SEED", 31, Kind::Md5, b"\x0axxh128 md5"),
        ] {
            let behind = vec![7; 2 * TEXT_MAX];
            let said = [said, &behind].concat();
            for portion in (1..50).chain([said.len()]) {
                let (greeting, left, answered) = take(&said, portion).unwrap();
                assert!(greeting.is_over() && greeting.ended().is_none());
                assert_eq!((greeting.protocol(), greeting.sums()), (protocol, sums));
                assert_eq!(greeting.has_varints(), !answer.is_empty());
                assert_eq!((&left, &answered[..]), (&behind, answer));
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_is_said_the_same_is_heard_in_any_portions(
            flags in prop_oneof![Just(&b"\x1a"[..]), Just(&b"\x81\xfe"[..]), Just(&b""[..])],
            bytes in prop::collection::vec(any::<u8>(), 0..3000),
            portion in 1..300_usize,
        ) {
            let said = [b"\x20\0\0\0", flags, &bytes].concat();
            let (whole, parts) = (take(&said, said.len()), take(&said, portion));
            prop_assert_eq!(whole.map(|(_, left, answer)| (left, answer)), parts.map(|(_, left, answer)| (left, answer)));
        }
    }
}
