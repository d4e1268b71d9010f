//! Where decisions come from: the bytes of a fuzzer, or a seeded generator.

use weir_testkit::Random;

/// A source of decisions that comes to an end.
pub(crate) enum Choice<'a> {
    /// The bytes that a fuzzer made up.
    Bytes(&'a [u8]),
    /// A generator, and how many actions are left.
    Seeded(Box<Random>, u64),
}

impl Choice<'_> {
    /// Says whether another action is to follow, and counts it.
    pub(crate) fn another(&mut self) -> bool {
        match self {
            Self::Bytes(rest) => !rest.is_empty(),
            Self::Seeded(_, left) => {
                let more = *left > 0;
                *left = left.saturating_sub(1);
                more
            }
        }
    }

    /// Returns the next byte; 0 when none is left.
    pub(crate) fn byte(&mut self) -> u8 {
        match self {
            Self::Bytes(rest) => {
                let Some((first, behind)) = rest.split_first() else {
                    return 0;
                };
                *rest = behind;
                *first
            }
            Self::Seeded(random, _) => random.next() as u8,
        }
    }

    /// Returns a number of two bytes.
    pub(crate) fn short(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// Returns a number of four bytes.
    pub(crate) fn long(&mut self) -> u32 {
        u32::from(self.short()) << 16 | u32::from(self.short())
    }

    /// Returns an index below `bound`, which is at most 256; 0 when the bound is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let byte = usize::from(self.byte());
        byte.checked_rem(bound).unwrap_or(0)
    }

    /// Says yes once in `times`.
    pub(crate) fn once_in(&mut self, times: usize) -> bool {
        // Not the first value, so that bytes that ran out say no.
        self.below(times) == times - 1
    }

    /// Returns one of these; there must be one.
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let at = self.below(from.len());
        from[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_taken_in_order_and_then_are_zero() {
        let mut choice = Choice::Bytes(&[7, 1, 2, 9]);
        assert_eq!((choice.byte(), choice.short()), (7, 0x0102));
        assert!(choice.another());
        assert_eq!(choice.pick(&[10, 20, 30, 40]), 20);
        assert!(!choice.another());
        assert_eq!((choice.byte(), choice.below(0)), (0, 0));
        assert!(!choice.once_in(5));
    }

    #[test]
    fn a_seed_gives_as_many_actions_as_were_asked_for() {
        let mut choice = Choice::Seeded(Box::new(Random::new(1)), 2);
        assert!(choice.another() && choice.another() && !choice.another());
    }
}
