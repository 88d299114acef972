//! Time as a plain number: the core has no clock, the caller owns it.
//!
//! Every entry point of the core that depends on time takes an [`Instant`]. Real drivers pass a
//! monotonic clock, simulations and tests pass a counter.

use core::fmt;
use core::num::NonZeroU64;
use core::ops::{Add, AddAssign, Sub};
use core::time::Duration;

const NANOS_PER_MICRO: u64 = 1_000;
pub(crate) const NANOS_PER_MILLI: u64 = 1_000_000;
const NANOS_PER_SEC: u64 = 1_000_000_000;

/// A point in time: nanoseconds since an epoch of the caller's choosing.
///
/// Range: 0 to 2^64 - 2 ns, about 584 years. An `Option` of it is no larger. All arithmetic saturates at the ends of that range, so
/// no reading of a clock and no configured duration can make it wrap or panic.
///
/// ```
/// use core::time::Duration;
/// use lastack_core::Instant;
///
/// let t = Instant::from_millis(200) + Duration::from_micros(5);
/// assert_eq!(t.as_micros(), 200_005);
/// assert_eq!(Instant::ZERO - t, Duration::ZERO);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(
    /// One more than the nanoseconds.
    NonZeroU64,
);

impl Default for Instant {
    fn default() -> Self {
        Self::ZERO
    }
}

impl Instant {
    /// The epoch itself.
    pub const ZERO: Instant = Instant::from_nanos(0);
    /// Later than, or equal to, every other instant.
    pub const FAR_FUTURE: Instant = Instant(NonZeroU64::MAX);

    /// The instant `nanos` nanoseconds after the epoch (saturating).
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Instant(NonZeroU64::MIN.saturating_add(nanos))
    }

    /// The instant `micros` microseconds after the epoch (saturating).
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self::from_nanos(micros.saturating_mul(NANOS_PER_MICRO))
    }

    /// The instant `millis` milliseconds after the epoch (saturating).
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self::from_nanos(millis.saturating_mul(NANOS_PER_MILLI))
    }

    /// The instant `secs` seconds after the epoch (saturating).
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self::from_nanos(secs.saturating_mul(NANOS_PER_SEC))
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0.get() - 1
    }

    /// Whole microseconds since the epoch, rounded down.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.as_nanos() / NANOS_PER_MICRO
    }

    /// Whole milliseconds since the epoch, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.as_nanos() / NANOS_PER_MILLI
    }

    /// Time from `earlier` to `self`; zero when `earlier` is in fact later.
    #[must_use]
    pub const fn saturating_since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.as_nanos().saturating_sub(earlier.as_nanos()))
    }

    /// The instant `nanos` nanoseconds later.
    #[inline]
    pub(crate) const fn plus_nanos(self, nanos: u64) -> Instant {
        Instant(self.0.saturating_add(nanos))
    }

    /// Nanoseconds from `earlier` to `self`; zero when `earlier` is in fact later.
    #[inline]
    pub(crate) fn nanos_since(self, earlier: Instant) -> u64 {
        self.as_nanos().saturating_sub(earlier.as_nanos())
    }

    /// Whole milliseconds from `earlier` to `self`; zero when `earlier` is in fact later.
    #[inline]
    pub(crate) fn millis_since(self, earlier: Instant) -> u64 {
        self.nanos_since(earlier) / NANOS_PER_MILLI
    }

    /// Whole microseconds from `earlier` to `self`, at most `u32::MAX`; zero when `earlier` is in fact later.
    #[inline]
    pub(crate) fn micros_since(self, earlier: Instant) -> u32 {
        let micros = self.nanos_since(earlier) / NANOS_PER_MICRO;
        u32::try_from(micros).unwrap_or(u32::MAX)
    }
}

/// A `Duration` in nanoseconds, saturated to what an `Instant` can hold.
#[inline]
pub(crate) fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(NANOS_PER_SEC).saturating_add(duration.subsec_nanos().into())
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, rhs: Duration) -> Instant {
        Instant(self.0.saturating_add(nanos(rhs)))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, rhs: Duration) {
        *self = *self + rhs;
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;

    fn sub(self, rhs: Duration) -> Instant {
        Instant::from_nanos(self.as_nanos().saturating_sub(nanos(rhs)))
    }
}

impl Sub<Instant> for Instant {
    type Output = Duration;

    fn sub(self, rhs: Instant) -> Duration {
        self.saturating_since(rhs)
    }
}

/// Seconds with nine decimals, as capture files print time.
impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.as_nanos() / NANOS_PER_SEC, self.as_nanos() % NANOS_PER_SEC)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instant({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        assert_eq!(Instant::FAR_FUTURE + Duration::from_secs(1), Instant::FAR_FUTURE);
        assert_eq!(Instant::ZERO + Duration::MAX, Instant::FAR_FUTURE);
        assert_eq!(Instant::from_secs(1) - Duration::from_secs(2), Instant::ZERO);
        assert_eq!(Instant::from_secs(1) - Instant::from_secs(2), Duration::ZERO);
        assert_eq!(Instant::from_secs(u64::MAX), Instant::FAR_FUTURE);
    }

    #[test]
    fn units_convert_and_round_down() {
        let t = Instant::from_nanos(1_999_999_999);
        assert_eq!((t.as_millis(), t.as_micros()), (1_999, 1_999_999));
        assert_eq!(Instant::from_millis(3), Instant::from_micros(3_000));
        assert_eq!(Instant::from_secs(3) - Instant::from_secs(1), Duration::from_secs(2));
        assert_eq!(format!("{}", Instant::from_micros(1_500_000)), "1.500000000");
    }
}
