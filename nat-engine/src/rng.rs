//! A small generator of unpredictable numbers: SipHash-1-3 over a counter.

use core::hash::Hasher;

use siphasher::sip::SipHasher13;

/// Yields the same numbers for the same seed, and none that tell the next without it.
#[derive(Clone, Debug)]
pub struct Rng {
    key: [u8; 16],
    counter: u64,
}

impl Rng {
    /// Makes a generator from a seed, which must be secret where the numbers must be.
    #[must_use]
    pub const fn new(key: [u8; 16]) -> Self {
        Self { key, counter: 0 }
    }

    /// Returns the next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write_u64(self.counter);
        self.counter = self.counter.wrapping_add(1);
        hasher.finish()
    }

    /// Returns the next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    /// Returns a number below `bound`; zero when `bound` is zero.
    ///
    /// Some numbers are more likely than others by one part in 2^32 / `bound`, which neither a
    /// margin nor a starting place minds.
    pub fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.next_u32()) * u64::from(bound)) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_repeats_and_another_does_not() {
        let mut a = Rng::new([7; 16]);
        let mut b = Rng::new([7; 16]);
        let mut c = Rng::new([8; 16]);
        for _ in 0..100 {
            let value = a.next_u64();
            assert_eq!(value, b.next_u64());
            assert_ne!(value, c.next_u64());
        }
    }

    #[test]
    fn numbers_stay_below_the_bound_and_reach_all_of_it() {
        let mut rng = Rng::new([1; 16]);
        let mut seen = [0u32; 10];
        for _ in 0..10_000 {
            seen[rng.below(10) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| (800..1200).contains(&n)), "{seen:?}");
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.below(1), 0);
    }
}
