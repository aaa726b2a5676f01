//! The sum of a file, by which the far end knows that it has all of it: MD5, or one that both sides have.

use md5::{Digest, Md5};
use twox_hash::XxHash3_128;

/// Of each kind.
pub const LEN: usize = 16;

/// The names of those that this sender has. The first of them that the server has too is used; XXH128 takes both ends a
/// twentieth of the time of MD5, which is what a server built without libxxhash 0.8 has.
///
/// Servers of rsync 3.5.0 go by their own order instead, which is the same, unless somebody has set RSYNC_CHECKSUM_LIST
/// there; then rsync's own clients fail as well.
pub const OFFER: &str = "xxh128 md5";

/// Which sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What all have from 3.0 on, where nothing is said of sums.
    Md5,
    /// What those from 3.2 on have in common with recent clients.
    Xxh128,
}

impl Kind {
    /// The one to use with a server that has these names.
    pub fn agreed(theirs: &[u8]) -> Option<Kind> {
        let has = |name: &&str| theirs.split(|byte| *byte == b' ').any(|their| their == name.as_bytes());
        match OFFER.split(' ').find(has)? {
            "xxh128" => Some(Kind::Xxh128),
            _ => Some(Kind::Md5),
        }
    }
}

/// A sum of what came so far. Neither is seeded.
pub enum Sum {
    /// See [`Kind::Md5`].
    Md5(Md5),
    /// See [`Kind::Xxh128`].
    Xxh128(Box<XxHash3_128>),
}

impl Sum {
    /// Of nothing.
    pub fn new(kind: Kind) -> Sum {
        match kind {
            Kind::Md5 => Sum::Md5(Md5::new()),
            Kind::Xxh128 => Sum::Xxh128(Box::default()),
        }
    }

    /// More comes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Sum::Md5(sum) => sum.update(bytes),
            Sum::Xxh128(sum) => sum.write(bytes),
        }
    }

    /// As it is written. xxHash's own tools write the bytes the other way round.
    pub fn finish(self) -> [u8; LEN] {
        match self {
            Sum::Md5(sum) => sum.finalize().into(),
            Sum::Xxh128(sum) => sum.finish_128().to_le_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(kind: Kind, parts: &[&[u8]]) -> [u8; LEN] {
        let mut sum = Sum::new(kind);
        parts.iter().for_each(|part| sum.update(part));
        sum.finish()
    }

    #[test]
    fn sums_are_those_that_rsync_writes() {
        // What a client of rsync 3.5.0 sent behind an empty file and behind "hello\n".
        for (kind, parts, expected) in [
            (Kind::Xxh128, &[][..], "7f498d4624c30160d8984701d306aa99"),
            (Kind::Xxh128, &[&b"hello\n"[..]], "9ce4c8f135b4105a6df569e0c786ba6b"),
            (Kind::Xxh128, &[b"he", b"", b"llo\n"], "9ce4c8f135b4105a6df569e0c786ba6b"),
            (Kind::Md5, &[], "d41d8cd98f00b204e9800998ecf8427e"),
            (Kind::Md5, &[b"hel", b"lo\n"], "b1946ac92492d2347c6235b4d2611184"),
        ] {
            let hex: String = sum(kind, parts).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expected);
        }
    }

    #[test]
    fn the_first_sum_that_both_have_is_used() {
        for (theirs, expected) in [
            (&b"xxh128 xxh3 xxh64 md5 md4 sha1 none"[..], Some(Kind::Xxh128)),
            (b"md5 xxh128", Some(Kind::Xxh128)),
            (b"md5 md4 none", Some(Kind::Md5)),
            (b"xxh64 md5", Some(Kind::Md5)),
            (b"md4", None),
            (b"", None),
            (b"xxh1 28 md55 \xff", None),
        ] {
            assert_eq!(Kind::agreed(theirs), expected, "{}", String::from_utf8_lossy(theirs));
        }
    }
}
