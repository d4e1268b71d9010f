//! SipHash-2-4 over whole words (Aumasson and Bernstein, 2012), state by state.
//!
//! The words of a handshake are known before its last one, so the state between them can be kept;
//! and a length that is known where the code is made costs no bookkeeping of half-filled words.
//! The tests hold it against the crate that derives the keys.

/// The key of one epoch.
#[derive(Clone, Copy)]
pub(crate) struct Key(pub(crate) u64, pub(crate) u64);

/// The state after a number of whole words.
#[derive(Clone, Copy)]
pub(crate) struct Sip {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl Sip {
    /// The state before the first word.
    #[inline]
    pub(crate) const fn new(key: Key) -> Self {
        let Key(k0, k1) = key;
        Self {
            v0: k0 ^ 0x736f_6d65_7073_6575,
            v1: k1 ^ 0x646f_7261_6e64_6f6d,
            v2: k0 ^ 0x6c79_6765_6e65_7261,
            v3: k1 ^ 0x7465_6462_7974_6573,
        }
    }

    /// The state after one more word of eight bytes, the first the lowest.
    #[inline]
    pub(crate) const fn add(mut self, word: u64) -> Self {
        self.v3 ^= word;
        self = self.round().round();
        self.v0 ^= word;
        self
    }

    /// The hash, with the last word: up to seven bytes, and the length of all in the highest.
    #[inline]
    pub(crate) const fn finish(self, last: u64) -> u64 {
        let mut end = self.add(last);
        end.v2 ^= 0xff;
        let Self { v0, v1, v2, v3 } = end.round().round().round().round();
        v0 ^ v1 ^ v2 ^ v3
    }

    #[inline]
    const fn round(self) -> Self {
        let Self {
            mut v0,
            mut v1,
            mut v2,
            mut v3,
        } = self;
        v0 = v0.wrapping_add(v1);
        v2 = v2.wrapping_add(v3);
        v1 = v1.rotate_left(13) ^ v0;
        v3 = v3.rotate_left(16) ^ v2;
        v0 = v0.rotate_left(32).wrapping_add(v3);
        v2 = v2.wrapping_add(v1);
        v1 = v1.rotate_left(17) ^ v2;
        v3 = v3.rotate_left(21) ^ v0;
        v2 = v2.rotate_left(32);
        Self { v0, v1, v2, v3 }
    }
}

#[cfg(test)]
mod tests {
    use core::hash::Hasher;

    use proptest::prelude::*;
    use siphasher::sip::SipHasher24;

    use super::*;

    #[test]
    fn the_example_of_the_paper_has_its_hash() {
        // Appendix A: the key is 00 01 .. 0f, the message 00 01 .. 0e.
        let key = Key(0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        let hash = Sip::new(key)
            .add(0x0706_0504_0302_0100)
            .finish(0x0f0e_0d0c_0b0a_0908);
        assert_eq!(hash, 0xa129_ca61_49be_45e5);
    }

    proptest! {
        #[test]
        fn whole_words_hash_as_their_bytes_do(
            key in any::<(u64, u64)>(),
            words in proptest::collection::vec(any::<u64>(), 0..8),
            last in any::<[u8; 7]>(),
        ) {
            let mut hasher = SipHasher24::new_with_keys(key.0, key.1);
            let mut sip = Sip::new(Key(key.0, key.1));
            for word in &words {
                hasher.write(&word.to_le_bytes());
                sip = sip.add(*word);
            }
            hasher.write(&last);
            let mut end = [0; 8];
            end[..7].copy_from_slice(&last);
            end[7] = (words.len() * 8 + 7) as u8;
            prop_assert_eq!(sip.finish(u64::from_le_bytes(end)), hasher.finish());
        }
    }
}
