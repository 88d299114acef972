//! TCP sequence numbers: arithmetic modulo 2^32 (RFC 9293 section 3.4).

use core::fmt;
use core::ops::{Add, AddAssign, Sub, SubAssign};

/// A TCP sequence number. All arithmetic wraps.
///
/// There is deliberately no `Ord`: "earlier" and "later" hold only for two numbers less than 2^31 apart, and are
/// not transitive over the whole ring. Two numbers exactly 2^31 apart are each `before` the other, as in Linux.
///
/// ```
/// use lastack_wire::SeqNumber;
/// let last = SeqNumber(u32::MAX);
/// assert!(last.before(last + 1));
/// assert_eq!((last + 5) - last, 5);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeqNumber(pub u32);

impl SeqNumber {
    /// `self` is earlier than `other`.
    #[inline]
    #[must_use]
    pub const fn before(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// `self` is earlier than `other`, or equal.
    #[inline]
    #[must_use]
    pub const fn before_eq(self, other: Self) -> bool {
        !other.before(self)
    }

    /// `self` is later than `other`.
    #[inline]
    #[must_use]
    pub const fn after(self, other: Self) -> bool {
        other.before(self)
    }

    /// `self` is later than `other`, or equal.
    #[inline]
    #[must_use]
    pub const fn after_eq(self, other: Self) -> bool {
        !self.before(other)
    }

    /// `low <= self <= high`, both ends included, for a range that may wrap and may be longer than 2^31.
    #[inline]
    #[must_use]
    pub const fn between(self, low: Self, high: Self) -> bool {
        high.0.wrapping_sub(low.0) >= self.0.wrapping_sub(low.0)
    }

    /// How many bytes `self` lies after `earlier`: 0..=2^32-1.
    #[inline]
    #[must_use]
    pub const fn distance_from(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// The later of the two.
    #[inline]
    #[must_use]
    pub const fn max(self, other: Self) -> Self {
        if self.before(other) { other } else { self }
    }

    /// The earlier of the two.
    #[inline]
    #[must_use]
    pub const fn min(self, other: Self) -> Self {
        if other.before(self) { other } else { self }
    }
}

impl Add<u32> for SeqNumber {
    type Output = Self;
    #[inline]
    fn add(self, bytes: u32) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

impl Sub<u32> for SeqNumber {
    type Output = Self;
    #[inline]
    fn sub(self, bytes: u32) -> Self {
        Self(self.0.wrapping_sub(bytes))
    }
}

impl AddAssign<u32> for SeqNumber {
    #[inline]
    fn add_assign(&mut self, bytes: u32) {
        *self = *self + bytes;
    }
}

impl SubAssign<u32> for SeqNumber {
    #[inline]
    fn sub_assign(&mut self, bytes: u32) {
        *self = *self - bytes;
    }
}

/// The signed distance from `earlier` to `self`, in -2^31..=2^31-1.
impl Sub<SeqNumber> for SeqNumber {
    type Output = i32;
    #[inline]
    fn sub(self, earlier: SeqNumber) -> i32 {
        self.0.wrapping_sub(earlier.0) as i32
    }
}

impl From<u32> for SeqNumber {
    #[inline]
    fn from(value: u32) -> Self {
        Self(value)
    }
}

impl From<SeqNumber> for u32 {
    #[inline]
    fn from(value: SeqNumber) -> Self {
        value.0
    }
}

impl fmt::Display for SeqNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests;
