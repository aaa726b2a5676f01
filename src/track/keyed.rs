//! The keyed hash of the query table's index, the only table that is asked twice for every transaction.

use foldhash::{SharedSeed, quality::SeedableRandomState};
use std::{
    hash::{BuildHasher, RandomState},
    sync::LazyLock,
};

/// foldhash with seeds that the operating system gave, once per process.
///
/// What it hashes comes from the wire. Somebody who knew the seeds could make flows collide, and somebody who could see
/// hashes or measure how long a look-up takes could in time learn the seeds; foldhash promises nothing against that. A
/// passive sensor shows neither: it answers nobody. For that std's SipHash would cost 20 ns more a look-up, an eighth of
/// all that a packet costs.
pub(super) fn hasher() -> SeedableRandomState {
    static SHARED: LazyLock<SharedSeed> = LazyLock::new(|| SharedSeed::from_u64(random()));
    SeedableRandomState::with_seed(random(), &SHARED)
}

/// std seeds its hasher from the operating system.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}
