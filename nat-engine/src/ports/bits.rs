//! A set of small numbers that finds its next member in constant time.

use alloc::vec::Vec;

/// Up to 65,536 numbers in a bitmap with two summaries above it: a word of a summary says which of
/// 64 words below it are not zero.
#[derive(Debug)]
pub(super) struct Bits {
    words: Vec<u64>,
    summary: [u64; 16],
    top: u64,
}

impl Bits {
    /// The most numbers that a set can have.
    pub(super) const MOST: u32 = 1 << 16;

    /// Makes a set of the numbers below `count`; none when the memory was not to be had.
    pub(super) fn full(count: u32) -> Option<Self> {
        let mut bits = Self::empty(count)?;
        bits.insert_range(0, count);
        Some(bits)
    }

    /// Makes an empty set for numbers below `bound`; none when the memory was not to be had.
    pub(super) fn empty(bound: u32) -> Option<Self> {
        let mut bits = Self {
            words: Vec::new(),
            summary: [0; 16],
            top: 0,
        };
        let words = bound.div_ceil(64) as usize;
        bits.words.try_reserve_exact(words).ok()?;
        bits.words.resize(words, 0);
        Some(bits)
    }

    /// Inserts the `count` numbers from `start` on.
    pub(super) fn insert_range(&mut self, start: u32, count: u32) {
        let end = start + count;
        let mut from = start;
        while from < end {
            let (word, bit) = (from as usize / 64, from % 64);
            let here = (64 - bit).min(end - from);
            if let Some(bits) = self.words.get_mut(word) {
                *bits |= (u64::MAX >> (64 - here)) << bit;
                self.summarise(word);
            }
            from += here;
        }
    }

    pub(super) fn insert(&mut self, number: u32) {
        let word = number as usize / 64;
        if let Some(bits) = self.words.get_mut(word) {
            *bits |= 1 << (number % 64);
            self.summarise(word);
        }
    }

    pub(super) fn remove(&mut self, number: u32) {
        let word = number as usize / 64;
        if let Some(bits) = self.words.get_mut(word) {
            *bits &= !(1 << (number % 64));
            self.summarise(word);
        }
    }

    /// Returns the smallest number from `start` on, or else the smallest of all.
    pub(super) fn next_cyclic(&self, start: u32) -> Option<u32> {
        self.next(start).or_else(|| self.next(0))
    }

    /// Asks for the word of a number.
    #[inline]
    pub(super) fn prefetch(&self, number: u32) {
        weir_simd::prefetch_index(&self.words, number as usize / 64);
    }

    pub(super) fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }

    fn next(&self, start: u32) -> Option<u32> {
        let word = start / 64;
        if let Some(bit) = first_from(self.words.get(word as usize).copied()?, start % 64) {
            return Some(word * 64 + bit);
        }
        let start = word + 1;
        let block = start / 64;
        let summary = self.summary.get(block as usize).copied().unwrap_or(0);
        let word = if let Some(bit) = first_from(summary, start % 64) {
            block * 64 + bit
        } else {
            let block = first_from(self.top, block + 1)?;
            block * 64 + first_from(self.summary.get(block as usize).copied()?, 0)?
        };
        Some(word * 64 + first_from(self.words.get(word as usize).copied()?, 0)?)
    }

    fn summarise(&mut self, word: usize) {
        let Some(&bits) = self.words.get(word) else {
            return;
        };
        let block = word / 64;
        if let Some(summary) = self.summary.get_mut(block) {
            set(summary, word % 64, bits != 0);
            set(&mut self.top, block, *summary != 0);
        }
    }
}

const fn set(word: &mut u64, bit: usize, value: bool) {
    *word = *word & !(1 << bit) | (value as u64) << bit;
}

const fn first_from(word: u64, start: u32) -> Option<u32> {
    if start > 63 {
        return None;
    }
    let rest = word & (u64::MAX << start);
    if rest == 0 {
        return None;
    }
    Some(rest.trailing_zeros())
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;
    use crate::Rng;

    #[test]
    fn it_finds_what_an_ordered_set_finds() {
        let mut rng = Rng::new([3; 16]);
        for count in [0, 1, 63, 64, 65, 1000, 4096, 4097, 65_535, 65_536] {
            let mut bits = Bits::full(count).unwrap();
            let mut model: BTreeSet<u32> = (0..count).collect();
            // Emptied down to a handful, so that each level of summary is crossed.
            for step in 0..3 * count {
                let number = rng.below(count);
                if step % 16 == 15 {
                    bits.insert(number);
                    model.insert(number);
                } else {
                    bits.remove(number);
                    model.remove(&number);
                }
                let start = rng.below(count);
                let expected = model.range(start..).next().or_else(|| model.first());
                assert_eq!(
                    bits.next_cyclic(start).as_ref(),
                    expected,
                    "{count} {start}"
                );
            }
        }
    }

    #[test]
    fn an_emptied_set_has_no_next_and_a_number_past_its_end_is_not_inserted() {
        let mut bits = Bits::full(130).unwrap();
        for number in 0..130 {
            bits.remove(number);
        }
        bits.insert(192);
        assert_eq!(bits.next_cyclic(5), None);
        bits.insert(129);
        assert_eq!(bits.next_cyclic(5), Some(129));
    }
}
