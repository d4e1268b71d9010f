//! Four lanes in a register of AVX2, and twice that beside each other.
//!
//! Of plain loops over eight lanes, or over four, the compiler makes scalar code for this machine:
//! it unrolls them before it looks for what stands side by side.

use core::arch::x86_64::{
    __m256i, _mm256_add_epi64, _mm256_loadu_si256, _mm256_or_si256, _mm256_set1_epi64x,
    _mm256_setr_epi8, _mm256_shuffle_epi8, _mm256_shuffle_epi32, _mm256_slli_epi64,
    _mm256_srli_epi64, _mm256_storeu_si256, _mm256_xor_si256,
};

use super::{LANES, Lanes};

/// Lanes of a register.
const HALF: usize = LANES / 2;

/// Hashes eight messages.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn hash<const C: usize, const D: usize>(
    [k0, k1]: &[Lanes; 2],
    [first, second, last]: &[Lanes; 3],
) -> Lanes {
    let [k0, k1] = [load(k0), load(k1)];
    let mut state = State {
        v0: xor(all(0x736f_6d65_7073_6575), k0),
        v1: xor(all(0x646f_7261_6e64_6f6d), k1),
        v2: xor(all(0x6c79_6765_6e65_7261), k0),
        v3: xor(all(0x7465_6462_7974_6573), k1),
    };
    state = state.add::<C>(load(first));
    state = state.add::<C>(load(second));
    state = state.add::<C>(load(last));
    state.v2 = xor(state.v2, all(0xff));
    state = state.rounds::<D>();
    store(xor(xor(state.v0, state.v1), xor(state.v2, state.v3)))
}

/// A word of each of eight messages.
type Wide = [__m256i; 2];

#[derive(Clone, Copy)]
struct State {
    v0: Wide,
    v1: Wide,
    v2: Wide,
    v3: Wide,
}

impl State {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn add<const ROUNDS: usize>(mut self, word: Wide) -> Self {
        self.v3 = xor(self.v3, word);
        self = self.rounds::<ROUNDS>();
        self.v0 = xor(self.v0, word);
        self
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn rounds<const ROUNDS: usize>(mut self) -> Self {
        for _ in 0..ROUNDS {
            let Self { v0, v1, v2, v3 } = self;
            let v0 = sum(v0, v1);
            let v2 = sum(v2, v3);
            let v1 = xor(rotate::<13, 51>(v1), v0);
            let v3 = xor(rotate_16(v3), v2);
            let v0 = sum(rotate_32(v0), v3);
            let v2 = sum(v2, v1);
            let v1 = xor(rotate::<17, 47>(v1), v2);
            let v3 = xor(rotate::<21, 43>(v3), v0);
            let v2 = rotate_32(v2);
            self = Self { v0, v1, v2, v3 };
        }
        self
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn all(word: u64) -> Wide {
    [_mm256_set1_epi64x(word.cast_signed()); 2]
}

#[inline]
#[target_feature(enable = "avx2")]
fn sum([a, b]: Wide, [c, d]: Wide) -> Wide {
    [_mm256_add_epi64(a, c), _mm256_add_epi64(b, d)]
}

#[inline]
#[target_feature(enable = "avx2")]
fn xor([a, b]: Wide, [c, d]: Wide) -> Wide {
    [_mm256_xor_si256(a, c), _mm256_xor_si256(b, d)]
}

/// Rotates to the left by `LEFT`, which is 64 less `RIGHT`.
#[inline]
#[target_feature(enable = "avx2")]
fn rotate<const LEFT: i32, const RIGHT: i32>(wide: Wide) -> Wide {
    const { assert!(LEFT + RIGHT == 64) };
    wide.map(|half| {
        let (left, right) = (
            _mm256_slli_epi64::<LEFT>(half),
            _mm256_srli_epi64::<RIGHT>(half),
        );
        _mm256_or_si256(left, right)
    })
}

/// Rotates to the left by 16 bits: whole bytes change places.
#[inline]
#[target_feature(enable = "avx2")]
fn rotate_16(wide: Wide) -> Wide {
    let places = _mm256_setr_epi8(
        6, 7, 0, 1, 2, 3, 4, 5, 14, 15, 8, 9, 10, 11, 12, 13, //
        6, 7, 0, 1, 2, 3, 4, 5, 14, 15, 8, 9, 10, 11, 12, 13,
    );
    wide.map(|half| _mm256_shuffle_epi8(half, places))
}

/// Rotates by 32 bits: halves of words change places.
#[inline]
#[target_feature(enable = "avx2")]
fn rotate_32(wide: Wide) -> Wide {
    wide.map(|half| _mm256_shuffle_epi32::<0b10_11_00_01>(half))
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(lanes: &Lanes) -> Wide {
    let halves: &[[u64; HALF]; 2] = lanes.as_chunks().0.first_chunk().unwrap_or(&[[0; HALF]; 2]);
    let [low, high] = halves;
    [load_half(low), load_half(high)]
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_half(lanes: &[u64; HALF]) -> __m256i {
    #[expect(unsafe_code, reason = "the intrinsic takes a raw pointer")]
    // SAFETY: the load takes 32 bytes at any alignment, which is what the reference is of.
    unsafe {
        _mm256_loadu_si256(lanes.as_ptr().cast())
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store([low, high]: Wide) -> Lanes {
    let mut lanes = [0; LANES];
    if let [to_low, to_high] = lanes.as_chunks_mut::<HALF>().0 {
        store_half(to_low, low);
        store_half(to_high, high);
    }
    lanes
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_half(lanes: &mut [u64; HALF], half: __m256i) {
    #[expect(unsafe_code, reason = "the intrinsic takes a raw pointer")]
    // SAFETY: the store writes 32 bytes at any alignment, which are what is borrowed.
    unsafe {
        _mm256_storeu_si256(lanes.as_mut_ptr().cast(), half);
    }
}
