//! `SipHash` of many short messages at once (Aumasson and Bernstein, 2012).
//!
//! One hash is a chain of additions and rotations, each waiting for the one before; eight of them
//! side by side fill the registers that a wide machine has. All messages are three words long:
//! that is what a flow key or a handshake comes to, the last word with the length in its highest
//! byte.

#[cfg(target_arch = "x86_64")]
mod avx2;

/// Messages that are hashed side by side.
pub const LANES: usize = 8;

/// One word of each message.
pub type Lanes = [u64; LANES];

/// The key of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SipKey(pub u64, pub u64);

/// Hashes messages of three words by `SipHash`-1-3.
#[inline]
#[must_use]
pub fn sip13(width: Width, key: SipKey, words: &[Lanes; 3]) -> Lanes {
    let SipKey(k0, k1) = key;
    hash::<1, 3>(width, &[[k0; LANES], [k1; LANES]], words)
}

/// Hashes messages of three words by `SipHash`-2-4, each by a key of its own.
#[inline]
#[must_use]
pub fn sip24(width: Width, keys: &[Lanes; 2], words: &[Lanes; 3]) -> Lanes {
    hash::<2, 4>(width, keys, words)
}

/// Hashes one message of three words by `SipHash`-1-3.
#[inline]
#[must_use]
pub const fn sip13_one(key: SipKey, words: [u64; 3]) -> u64 {
    let [first, second, last] = words;
    let SipKey(k0, k1) = key;
    let [hash] = hash_lanes::<1, 3, 1>(&[[k0], [k1]], &[[first], [second], [last]]);
    hash
}

/// How wide the registers of this machine are, found out once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Width(Registers);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Registers {
    Plain,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Width {
    /// What every machine has.
    pub const PLAIN: Self = Self(Registers::Plain);

    /// Asks the machine.
    #[must_use]
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx512f")
                && std::arch::is_x86_feature_detected!("avx512vl")
            {
                return Self(Registers::Avx512);
            }
            if std::arch::is_x86_feature_detected!("avx2") {
                return Self(Registers::Avx2);
            }
        }
        Self::PLAIN
    }
}

#[inline]
fn hash<const C: usize, const D: usize>(
    width: Width,
    keys: &[Lanes; 2],
    words: &[Lanes; 3],
) -> Lanes {
    match width.0 {
        Registers::Plain => {
            // Side by side they would not fit the registers.
            let ([k0, k1], [first, second, last]) = (keys, words);
            core::array::from_fn(|lane| {
                let of = |lanes: &Lanes| [lanes.get(lane).copied().unwrap_or_default()];
                let keys = [of(k0), of(k1)];
                let [hash] = hash_lanes::<C, D, 1>(&keys, &[of(first), of(second), of(last)]);
                hash
            })
        }
        #[cfg(target_arch = "x86_64")]
        Registers::Avx2 => {
            // SAFETY: only `Width::detect` makes this value, where the machine has AVX2.
            #[expect(unsafe_code, reason = "the caller vouches for the machine")]
            unsafe {
                avx2::hash::<C, D>(keys, words)
            }
        }
        #[cfg(target_arch = "x86_64")]
        Registers::Avx512 => {
            // SAFETY: only `Width::detect` makes this value, where the machine has AVX-512 F and VL.
            #[expect(unsafe_code, reason = "the caller vouches for the machine")]
            unsafe {
                hash_avx512::<C, D>(keys, words)
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl")]
fn hash_avx512<const C: usize, const D: usize>(keys: &[Lanes; 2], words: &[Lanes; 3]) -> Lanes {
    hash_lanes::<C, D, LANES>(keys, words)
}

/// The hash itself, in plain loops over the lanes: the compiler makes wide instructions of them.
#[expect(
    clippy::inline_always,
    reason = "it takes on the features of the function that it is inlined into"
)]
#[inline(always)]
const fn hash_lanes<const C: usize, const D: usize, const N: usize>(
    [k0, k1]: &[[u64; N]; 2],
    words: &[[u64; N]; 3],
) -> [u64; N] {
    let mut state = State {
        v0: xor([0x736f_6d65_7073_6575; N], k0),
        v1: xor([0x646f_7261_6e64_6f6d; N], k1),
        v2: xor([0x6c79_6765_6e65_7261; N], k0),
        v3: xor([0x7465_6462_7974_6573; N], k1),
    };
    let [first, second, last] = words;
    state = state.add::<C>(first).add::<C>(second).add::<C>(last);
    state.v2 = xor(state.v2, &[0xff; N]);
    state = state.rounds::<D>();
    xor(xor(state.v0, &state.v1), &xor(state.v2, &state.v3))
}

#[derive(Clone, Copy)]
struct State<const N: usize> {
    v0: [u64; N],
    v1: [u64; N],
    v2: [u64; N],
    v3: [u64; N],
}

#[expect(clippy::inline_always, reason = "as `hash_lanes`")]
impl<const N: usize> State<N> {
    #[inline(always)]
    const fn add<const ROUNDS: usize>(mut self, word: &[u64; N]) -> Self {
        self.v3 = xor(self.v3, word);
        self = self.rounds::<ROUNDS>();
        self.v0 = xor(self.v0, word);
        self
    }

    #[inline(always)]
    const fn rounds<const ROUNDS: usize>(mut self) -> Self {
        let mut round = 0;
        while round < ROUNDS {
            let Self { v0, v1, v2, v3 } = self;
            let v0 = sum(v0, &v1);
            let v2 = sum(v2, &v3);
            let v1 = xor(rotate::<13, N>(v1), &v0);
            let v3 = xor(rotate::<16, N>(v3), &v2);
            let v0 = sum(rotate::<32, N>(v0), &v3);
            let v2 = sum(v2, &v1);
            let v1 = xor(rotate::<17, N>(v1), &v2);
            let v3 = xor(rotate::<21, N>(v3), &v0);
            let v2 = rotate::<32, N>(v2);
            self = Self { v0, v1, v2, v3 };
            round += 1;
        }
        self
    }
}

macro_rules! lanewise {
    ($(fn $name:ident($a:ident, $b:ident) $body:expr;)*) => {$(
        #[expect(clippy::indexing_slicing, reason = "the loop ends where the array does")]
        #[inline(always)]
        const fn $name<const N: usize>(mut left: [u64; N], right: &[u64; N]) -> [u64; N] {
            let mut lane = 0;
            while lane < N {
                let ($a, $b) = (left[lane], right[lane]);
                left[lane] = $body;
                lane += 1;
            }
            left
        }
    )*};
}

lanewise! {
    fn sum(a, b) a.wrapping_add(b);
    fn xor(a, b) a ^ b;
}

#[expect(clippy::inline_always, reason = "as `hash_lanes`")]
#[expect(
    clippy::indexing_slicing,
    reason = "the loop ends where the array does"
)]
#[inline(always)]
const fn rotate<const BITS: u32, const N: usize>(mut words: [u64; N]) -> [u64; N] {
    let mut lane = 0;
    while lane < N {
        words[lane] = words[lane].rotate_left(BITS);
        lane += 1;
    }
    words
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher;

    use proptest::prelude::*;
    use siphasher::sip::{SipHasher13, SipHasher24};

    use super::*;

    impl Width {
        /// Every one that this machine has.
        fn all() -> Vec<Self> {
            #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut, reason = "none other"))]
            let mut widths = vec![Self::PLAIN, Self::detect()];
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("avx2") {
                widths.push(Self(Registers::Avx2));
            }
            widths
        }
    }

    /// Messages of 23 bytes: two words and seven bytes, which are the last word below its length.
    fn message(words: &[Lanes; 3], lane: usize) -> Vec<u8> {
        let [first, second, last] = words.map(|word| word[lane]);
        let mut bytes = [first, second, last].map(u64::to_le_bytes).concat();
        bytes.truncate(23);
        bytes
    }

    proptest! {
        #[test]
        fn every_width_hashes_as_the_reference_does(
            keys in any::<[Lanes; 2]>(),
            mut words in any::<[[u64; LANES]; 3]>(),
        ) {
            for last in &mut words[2] {
                *last = *last & u64::MAX >> 8 | 23 << 56;
            }
            let widths = Width::all();
            for lane in 0..LANES {
                let bytes = message(&words, lane);
                let sip = SipKey(keys[0][lane], keys[1][lane]);
                let mut once = SipHasher13::new_with_keys(sip.0, sip.1);
                let mut twice = SipHasher24::new_with_keys(sip.0, sip.1);
                once.write(&bytes);
                twice.write(&bytes);
                prop_assert_eq!(
                    sip13_one(sip, words.map(|word| word[lane])),
                    once.finish()
                );
                for &width in &widths {
                    prop_assert_eq!(sip13(width, sip, &words)[lane], once.finish());
                    prop_assert_eq!(sip24(width, &keys, &words)[lane], twice.finish());
                }
            }
        }
    }
}
