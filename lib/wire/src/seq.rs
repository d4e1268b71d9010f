//! TCP sequence numbers (RFC 9293 section 3.4): a circle of 2^32, never a line.

use core::fmt;
use core::ops::{Add, AddAssign, Sub, SubAssign};

/// A place on the circle of sequence numbers. There is no order on a circle, so this is not `Ord`: ask
/// [`before`](Self::before).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct SeqNumber(pub u32);

impl SeqNumber {
    /// Says whether `self` lies in the half circle before `other`. At exactly 2^31 apart each is before the other.
    #[inline]
    #[must_use]
    pub const fn before(self, other: Self) -> bool {
        other.distance(self) < 0
    }

    /// Says whether `self` lies in the half circle after `other`.
    #[inline]
    #[must_use]
    pub const fn after(self, other: Self) -> bool {
        other.before(self)
    }

    /// Says whether `self` is `other` or before it.
    #[inline]
    #[must_use]
    pub const fn leq(self, other: Self) -> bool {
        !self.after(other)
    }

    /// Says whether `self` is `other` or after it.
    #[inline]
    #[must_use]
    pub const fn geq(self, other: Self) -> bool {
        !self.before(other)
    }

    /// The way from `self` to `other`: positive when `other` is ahead.
    #[inline]
    #[must_use]
    pub const fn distance(self, other: Self) -> i32 {
        other.0.wrapping_sub(self.0).cast_signed()
    }

    /// Says whether `self` is one of the `len` numbers that begin with `start`.
    #[inline]
    #[must_use]
    pub const fn in_window(self, start: Self, len: u32) -> bool {
        self.0.wrapping_sub(start.0) < len
    }

    /// The one of the two that is ahead.
    #[inline]
    #[must_use]
    pub const fn later(self, other: Self) -> Self {
        if self.before(other) { other } else { self }
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
        fmt::Display::fmt(&self.0, f)
    }
}

impl Add<u32> for SeqNumber {
    type Output = Self;

    #[inline]
    fn add(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count))
    }
}

impl AddAssign<u32> for SeqNumber {
    #[inline]
    fn add_assign(&mut self, count: u32) {
        *self = *self + count;
    }
}

impl Sub<u32> for SeqNumber {
    type Output = Self;

    #[inline]
    fn sub(self, count: u32) -> Self {
        Self(self.0.wrapping_sub(count))
    }
}

impl SubAssign<u32> for SeqNumber {
    #[inline]
    fn sub_assign(&mut self, count: u32) {
        *self = *self - count;
    }
}

/// The sequence shift between two sides of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct SeqDelta(pub u32);

impl SeqDelta {
    /// No shift.
    pub const ZERO: Self = Self(0);

    /// The shift that turns `from` into `to`.
    #[inline]
    #[must_use]
    pub const fn between(from: SeqNumber, to: SeqNumber) -> Self {
        Self(to.0.wrapping_sub(from.0))
    }

    /// Shifts.
    #[inline]
    #[must_use]
    pub const fn apply(self, seq: SeqNumber) -> SeqNumber {
        SeqNumber(seq.0.wrapping_add(self.0))
    }

    /// Shifts back.
    #[inline]
    #[must_use]
    pub const fn unapply(self, seq: SeqNumber) -> SeqNumber {
        SeqNumber(seq.0.wrapping_sub(self.0))
    }

    /// Says whether nothing moves.
    #[inline]
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The shift the other way.
    #[inline]
    #[must_use]
    pub const fn inverse(self) -> Self {
        Self(self.0.wrapping_neg())
    }
}
