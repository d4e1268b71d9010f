//! A set of small numbers that finds its next member in constant time.

use alloc::vec::Vec;

/// Up to 65,536 numbers, each of which is free or not and in use or not: two bitmaps, word beside
/// word, with two summaries above the free ones. A word of a summary says which of 64 words below it
/// are not zero.
///
/// Words are written when they are first reached, in cyclic order from where the search began, so
/// that a set is made without a step in latency. Until then `fresh` says which numbers of a word are
/// free.
#[derive(Debug)]
pub(super) struct Bits {
    /// Those that were reached, the first of which is the word `first`.
    words: Vec<Word>,
    first: u32,
    /// How many there are in the end.
    count: u32,
    /// What was not reached may have free numbers.
    summary: [u64; 16],
    top: u64,
}

/// 64 numbers.
#[derive(Clone, Copy, Debug)]
struct Word {
    free: u64,
    used: u64,
}

impl Bits {
    /// The most numbers that a set can have.
    pub(super) const MOST: u32 = 1 << 16;

    /// Makes a set for numbers below `bound`, which is to be searched from `start` on; none when the
    /// memory was not to be had.
    pub(super) fn new(bound: u32, start: u32) -> Option<Self> {
        let count = bound.div_ceil(64);
        let mut bits = Self {
            words: Vec::new(),
            first: (start / 64).checked_rem(count).unwrap_or(0),
            count,
            summary: [0; 16],
            top: low(count.div_ceil(64)),
        };
        bits.words.try_reserve_exact(count as usize).ok()?;
        for (block, summary) in (0..).zip(&mut bits.summary) {
            *summary = low(count.saturating_sub(block * 64));
        }
        Some(bits)
    }

    /// Frees a number.
    pub(super) fn insert(&mut self, number: u32, fresh: impl Fn(u32) -> u64) {
        if let Some(word) = self.reach(number / 64, fresh) {
            word.free |= 1 << (number % 64);
            self.summarise(number / 64);
        }
    }

    /// Takes a number out of the free ones.
    pub(super) fn remove(&mut self, number: u32, fresh: impl Fn(u32) -> u64) {
        if let Some(word) = self.reach(number / 64, fresh) {
            word.free &= !(1 << (number % 64));
            self.summarise(number / 64);
        }
    }

    /// Says whether a number is in use.
    pub(super) fn is_used(&self, number: u32) -> bool {
        self.place(number / 64)
            .and_then(|place| self.words.get(place))
            .is_some_and(|word| word.used >> (number % 64) & 1 == 1)
    }

    /// Notes whether a number is in use.
    pub(super) fn mark_used(&mut self, number: u32, used: bool, fresh: impl Fn(u32) -> u64) {
        if let Some(word) = self.reach(number / 64, fresh) {
            let bit = number % 64;
            word.used = word.used & !(1 << bit) | u64::from(used) << bit;
        }
    }

    /// Returns the numbers in use, in no order.
    pub(super) fn numbers_used(&self) -> impl Iterator<Item = u32> {
        let words = (0..).zip(&self.words);
        words.flat_map(|(place, word)| {
            let number = (self.first + place) % self.count.max(1) * 64;
            (0..64).filter_map(move |bit| (word.used >> bit & 1 == 1).then_some(number + bit))
        })
    }

    /// Returns the smallest free number from `start` on, or else the smallest of all.
    pub(super) fn next_cyclic(&mut self, start: u32, fresh: impl Fn(u32) -> u64) -> Option<u32> {
        self.next(start, &fresh).or_else(|| self.next(0, &fresh))
    }

    /// Asks for the word of a number.
    #[inline]
    pub(super) fn prefetch(&self, number: u32) {
        if let Some(place) = self.place(number / 64) {
            weir_simd::prefetch_index(&self.words, place);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<Word>()
    }

    fn next(&mut self, start: u32, fresh: &impl Fn(u32) -> u64) -> Option<u32> {
        let mut from = start;
        loop {
            let word = self.word_from(from / 64)?;
            let bit = if word == from / 64 { from % 64 } else { 0 };
            // One that was not reached yet may turn out to have none.
            if let Some(bit) = first_from(self.reach(word, fresh)?.free, bit) {
                return Some(word * 64 + bit);
            }
            from = (word + 1) * 64;
        }
    }

    /// Returns the first word from this one on that may have free numbers.
    fn word_from(&self, word: u32) -> Option<u32> {
        let block = word / 64;
        let summary = self.summary.get(block as usize).copied()?;
        if let Some(bit) = first_from(summary, word % 64) {
            return Some(block * 64 + bit);
        }
        let block = first_from(self.top, block + 1)?;
        let summary = self.summary.get(block as usize).copied()?;
        Some(block * 64 + first_from(summary, 0)?)
    }

    /// Returns a word, which it and those before it become when they were not reached yet.
    fn reach(&mut self, word: u32, fresh: impl Fn(u32) -> u64) -> Option<&mut Word> {
        let place = self.place(word)?;
        while self.words.len() <= place {
            let next = self.first + self.words.len() as u32;
            let next = if next < self.count {
                next
            } else {
                next - self.count
            };
            let free = fresh(next);
            // There was room for all from the beginning.
            self.words.push(Word { free, used: 0 });
            if free == 0 {
                self.summarise(next);
            }
        }
        self.words.get_mut(place)
    }

    #[inline]
    fn place(&self, word: u32) -> Option<usize> {
        if word >= self.count {
            return None;
        }
        let place = if word >= self.first {
            word - self.first
        } else {
            word + self.count - self.first
        };
        Some(place as usize)
    }

    fn summarise(&mut self, word: u32) {
        let Some(&Word { free, .. }) = self.place(word).and_then(|place| self.words.get(place))
        else {
            return;
        };
        let block = word as usize / 64;
        if let Some(summary) = self.summary.get_mut(block) {
            set(summary, word as usize % 64, free != 0);
            set(&mut self.top, block, *summary != 0);
        }
    }
}

/// Returns the lowest `count` bits, at most all.
pub(super) const fn low(count: u32) -> u64 {
    if count >= 64 {
        u64::MAX
    } else {
        (1 << count) - 1
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
            let fresh = |word| low(count - word * 64);
            let mut bits = Bits::new(count, rng.below(count)).unwrap();
            let mut model: BTreeSet<u32> = (0..count).collect();
            // Emptied down to a handful, so that each level of summary is crossed.
            for step in 0..3 * count {
                let number = rng.below(count);
                if step % 16 == 15 {
                    bits.insert(number, fresh);
                    model.insert(number);
                } else {
                    bits.remove(number, fresh);
                    model.remove(&number);
                }
                let start = rng.below(count);
                let expected = model.range(start..).next().or_else(|| model.first());
                assert_eq!(
                    bits.next_cyclic(start, fresh).as_ref(),
                    expected,
                    "{count} {start}"
                );
            }
        }
    }

    #[test]
    fn an_emptied_set_has_no_next_and_a_number_past_its_end_is_not_inserted() {
        let fresh = |word| low(130 - word * 64);
        let mut bits = Bits::new(130, 70).unwrap();
        for number in 0..130 {
            bits.remove(number, fresh);
        }
        bits.insert(192, fresh);
        assert_eq!(bits.next_cyclic(5, fresh), None);
        bits.insert(129, fresh);
        assert_eq!(bits.next_cyclic(5, fresh), Some(129));
    }

    #[test]
    fn a_set_is_written_where_it_is_searched_and_words_without_free_numbers_are_passed_by() {
        let fresh = |word| if word % 2 == 0 { 0 } else { u64::MAX };
        let mut bits = Bits::new(65_536, 1000).unwrap();
        assert_eq!(bits.words.len(), 0);
        assert_eq!(bits.next_cyclic(1000, fresh), Some(1000));
        assert_eq!(bits.next_cyclic(1024, fresh), Some(1088));
        assert_eq!(bits.words.len(), 3);
        // Once around.
        bits.mark_used(130, true, fresh);
        assert_eq!(bits.next_cyclic(65_472, fresh), Some(65_472));
        bits.remove(65_535, fresh);
        assert_eq!(bits.next_cyclic(65_535, fresh), Some(64));
        assert_eq!(bits.words.len(), 1024 - 15 + 3);
        assert!(bits.is_used(130) && !bits.is_used(131));
        assert_eq!(bits.numbers_used().collect::<Vec<_>>(), [130]);
    }
}
