//! `SipHash` (Aumasson and Bernstein, 2012) over words whose number is known.

/// The state before the first word, for one key.
#[derive(Clone, Copy)]
pub(crate) struct Sip([u64; 4]);

impl Sip {
    pub(crate) const fn new(k0: u64, k1: u64) -> Self {
        Self([
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ])
    }

    /// SipHash-1-3; the last word has the length in its highest byte.
    #[inline]
    pub(crate) fn hash13(self, words: [u64; 2]) -> u64 {
        let state = words
            .into_iter()
            .fold(self, |state, word| state.begin(word).round().end(word));
        state.last().round().round().round().fold()
    }

    /// SipHash-2-4; the last word has the length in its highest byte.
    #[inline]
    pub(crate) fn hash24(self, words: [u64; 3]) -> u64 {
        let state = words.into_iter().fold(self, |state, word| {
            state.begin(word).round().round().end(word)
        });
        state.last().round().round().round().round().fold()
    }

    #[inline]
    const fn begin(self, word: u64) -> Self {
        let Self([v0, v1, v2, v3]) = self;
        Self([v0, v1, v2, v3 ^ word])
    }

    #[inline]
    const fn end(self, word: u64) -> Self {
        let Self([v0, v1, v2, v3]) = self;
        Self([v0 ^ word, v1, v2, v3])
    }

    #[inline]
    const fn last(self) -> Self {
        let Self([v0, v1, v2, v3]) = self;
        Self([v0, v1, v2 ^ 0xff, v3])
    }

    #[inline]
    const fn fold(self) -> u64 {
        let Self([v0, v1, v2, v3]) = self;
        v0 ^ v1 ^ v2 ^ v3
    }

    #[inline]
    const fn round(self) -> Self {
        let Self([mut v0, mut v1, mut v2, mut v3]) = self;
        v0 = v0.wrapping_add(v1);
        v2 = v2.wrapping_add(v3);
        v1 = v1.rotate_left(13) ^ v0;
        v3 = v3.rotate_left(16) ^ v2;
        v0 = v0.rotate_left(32).wrapping_add(v3);
        v2 = v2.wrapping_add(v1);
        v1 = v1.rotate_left(17) ^ v2;
        v3 = v3.rotate_left(21) ^ v0;
        v2 = v2.rotate_left(32);
        Self([v0, v1, v2, v3])
    }
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher as _;

    use siphasher::sip::{SipHasher13, SipHasher24};

    use super::*;

    #[test]
    fn the_hashes_are_those_of_the_crate_that_weir_uses() {
        let (a, b, c) = (0x0123_4567_89ab_cdef, 0x1122_3344_5566, 7_u64);
        let mut short = SipHasher13::new_with_keys(3, 4);
        short.write(&u64::to_le_bytes(a));
        short.write(&u64::to_le_bytes(b)[..6]);
        assert_eq!(Sip::new(3, 4).hash13([a, b | 14 << 56]), short.finish());
        let mut long = SipHasher24::new_with_keys(3, 4);
        long.write(&u64::to_le_bytes(a));
        long.write(&u64::to_le_bytes(b));
        long.write(&u64::to_le_bytes(c)[..1]);
        assert_eq!(Sip::new(3, 4).hash24([a, b, c | 17 << 56]), long.finish());
    }
}
