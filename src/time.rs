//! Packet time.

use std::time::Duration;

/// Nanoseconds in a second.
pub const NANOS: u64 = 1_000_000_000;

/// A moment as captures give it: nanoseconds since 1970-01-01 00:00:00 UTC, until the year 2554.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From whole seconds and the nanoseconds past them; more than a second of nanoseconds carries over, and
    /// what lies beyond the range is its end.
    pub fn new(seconds: u64, nanoseconds: u64) -> Timestamp {
        Timestamp(seconds.saturating_mul(NANOS).saturating_add(nanoseconds))
    }

    /// From nanoseconds since 1970.
    pub const fn from_nanos(nanos: u64) -> Timestamp {
        Timestamp(nanos)
    }

    /// Nanoseconds since 1970.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole seconds since 1970.
    pub const fn seconds(self) -> u64 {
        self.0 / NANOS
    }

    /// Nanoseconds past the whole second.
    pub const fn subsec_nanos(self) -> u32 {
        (self.0 % NANOS) as u32
    }

    /// Whether `other` lies more than `limit` before this, or as far ahead: one wrong time stamp must not keep for ever
    /// what carries it.
    pub fn is_beyond(self, limit: Duration, other: Timestamp) -> bool {
        // As numbers: a Duration of nanoseconds is a division, and this is asked for every packet.
        u128::from(self.0.abs_diff(other.0)) > limit.as_nanos()
    }

    /// The same moment on a clock that has been set by so many nanoseconds since.
    pub fn shifted(self, nanoseconds: i64) -> Timestamp {
        Timestamp(self.0.saturating_add_signed(nanoseconds))
    }

    /// The moment so long before.
    pub fn before(self, earlier: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(u64::try_from(earlier.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero when it lies ahead (packets of a capture may be out of order).
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The clocks of the live sensor. Only [`crate::daemon`] reads the system's; everything else is given one, or a time.
pub trait Clock {
    /// What packets are stamped with; it can be set, forwards and backwards.
    fn wall(&self) -> Timestamp;
    /// Since some moment; it only goes forward, and at its own pace.
    fn monotonic(&self) -> Duration;
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Timestamp;

    fn add(self, later: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(u64::try_from(later.as_nanos()).unwrap_or(u64::MAX)))
    }
}
