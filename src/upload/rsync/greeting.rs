//! What the server says before the frames.

use super::{fault::Fault, wire};
use std::mem;

/// The protocol that is announced, of rsync 3.1; with every newer server it is the one that is spoken.
pub const PROTOCOL: i32 = 31;
/// The oldest that is spoken, of rsync 3.0.
pub const OLDEST: i32 = 30;
/// What may stand in a greeting at all; else it is text.
const GREETINGS: std::ops::RangeInclusive<i32> = 20..=40;
/// Incremental recursion, and variable-length flags: they change everything, and were not offered.
const UNWANTED: u32 = 1 << 0 | 1 << 7;

/// What is kept of text that is not rsync's.
const TEXT_MAX: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Version,
    /// Not rsync: text.
    Text,
    Compatibility,
    Seed,
    Over,
}

/// Takes it apart; holds no more than one part of it.
#[derive(Debug)]
pub struct Greeting {
    stage: Stage,
    /// What has come and is not understood yet, or text.
    bytes: Vec<u8>,
    protocol: i32,
}

impl Greeting {
    /// Nothing has come.
    pub fn new() -> Greeting {
        Greeting { stage: Stage::Version, bytes: Vec::new(), protocol: PROTOCOL }
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

    /// The server's output has ended: what is wrong with that, if it was not rsync's.
    pub fn ended(&self) -> Option<Fault> {
        let is_early = matches!(self.stage, Stage::Text | Stage::Version) && !self.bytes.is_empty();
        is_early.then(|| not_rsync(&self.bytes))
    }

    /// Takes it off the front of `bytes`, as far as it is there.
    pub fn take(&mut self, bytes: &mut &[u8]) -> Result<(), Fault> {
        // No greeting is so long; of text, no more is kept.
        let (first, behind) = bytes.split_at(bytes.len().min(TEXT_MAX));
        let mut said = mem::take(&mut self.bytes);
        said.extend(first);
        let mut rest = &said[..];
        while let Some(next) = self.next(&mut rest)? {
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
    fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Stage>, Fault> {
        Ok(match self.stage {
            Stage::Version => self.version(bytes)?,
            Stage::Text if bytes.len() >= TEXT_MAX => return Err(not_rsync(bytes)),
            Stage::Compatibility => compatibility(bytes)?,
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
}

fn compatibility(bytes: &mut &[u8]) -> Result<Option<Stage>, Fault> {
    match wire::take_varint(bytes) {
        Some(flags) if flags & UNWANTED != 0 => Err(Fault::Compatibility(flags)),
        flags => Ok(flags.map(|_| Stage::Seed)),
    }
}

fn not_rsync(text: &[u8]) -> Fault {
    Fault::NotRsync(String::from_utf8_lossy(&text[..text.len().min(TEXT_MAX)]).into_owned())
}
