//! TCP sequence numbers (RFC 9293 section 3.4): a circle of 2^32, never a line.

use core::fmt;
use core::ops::{Add, AddAssign, Sub, SubAssign};

/// A place on the circle of sequence numbers. There is no order on a circle, so this is not `Ord`:
/// ask [`before`](Self::before).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct SeqNumber(pub u32);

impl SeqNumber {
    /// Says whether `self` lies in the half circle before `other`. At exactly 2^31 apart each is
    /// before the other.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NEAR_WRAP: SeqNumber = SeqNumber(0xffff_ff00);

    #[test]
    fn order_holds_across_the_wrap() {
        let after = NEAR_WRAP + 0x200;
        assert_eq!(after, SeqNumber(0x100));
        assert!(NEAR_WRAP.before(after) && after.after(NEAR_WRAP));
        assert!(NEAR_WRAP.leq(after) && after.geq(NEAR_WRAP));
        assert!(!after.before(NEAR_WRAP) && !after.leq(NEAR_WRAP));
        assert_eq!(NEAR_WRAP.distance(after), 0x200);
        assert_eq!(after.distance(NEAR_WRAP), -0x200);
        assert_eq!(after - 0x200, NEAR_WRAP);
        assert_eq!(NEAR_WRAP.later(after), after);
        assert_eq!(after.later(NEAR_WRAP), after);
    }

    #[test]
    fn a_number_is_neither_before_nor_after_itself() {
        assert!(!NEAR_WRAP.before(NEAR_WRAP) && !NEAR_WRAP.after(NEAR_WRAP));
        assert!(NEAR_WRAP.leq(NEAR_WRAP) && NEAR_WRAP.geq(NEAR_WRAP));
    }

    #[test]
    fn a_window_may_wrap_and_may_be_empty() {
        assert!(NEAR_WRAP.in_window(NEAR_WRAP, 1));
        assert!(SeqNumber(0xff).in_window(NEAR_WRAP, 0x200));
        assert!(!SeqNumber(0x100).in_window(NEAR_WRAP, 0x200));
        assert!(!(NEAR_WRAP - 1).in_window(NEAR_WRAP, 0x200));
        assert!(!NEAR_WRAP.in_window(NEAR_WRAP, 0));
    }

    #[test]
    fn half_a_circle_apart_does_not_panic() {
        let (a, b) = (SeqNumber(0), SeqNumber(1 << 31));
        assert_eq!(a.distance(b), i32::MIN);
        assert!(a.before(b) && b.before(a));
    }

    proptest! {
        #[test]
        fn a_shift_is_undone(from in any::<u32>(), to in any::<u32>(), seq in any::<u32>()) {
            let (from, to, seq) = (SeqNumber(from), SeqNumber(to), SeqNumber(seq));
            let delta = SeqDelta::between(from, to);
            prop_assert_eq!(delta.apply(from), to);
            prop_assert_eq!(delta.unapply(to), from);
            prop_assert_eq!(delta.unapply(delta.apply(seq)), seq);
            prop_assert_eq!(delta.inverse().apply(seq), delta.unapply(seq));
            prop_assert_eq!(delta.is_zero(), from == to);
            // Distances are what a shift keeps.
            prop_assert_eq!(from.distance(seq), delta.apply(from).distance(delta.apply(seq)));
        }

        #[test]
        fn what_is_ahead_by_less_than_half_is_after(seq in any::<u32>(), ahead in 1u32..1 << 31) {
            let (seq, far) = (SeqNumber(seq), SeqNumber(seq) + ahead);
            prop_assert!(far.after(seq) && seq.before(far) && !far.leq(seq) && !seq.geq(far));
            prop_assert_eq!(seq.distance(far).cast_unsigned(), ahead);
            prop_assert!(far.in_window(seq, ahead + 1) && !far.in_window(seq, ahead));
        }
    }
}
