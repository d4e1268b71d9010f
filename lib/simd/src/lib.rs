//! Prefetch and the batched keyed hash: the only unsafe lines outside the drivers.
//!
//! A table of a million sessions does not fit any cache, so a lookup is a wait for memory. The
//! director hashes a whole burst first and asks for every line that it will need; by the time it
//! comes back to a packet, its line has arrived.

mod sip;

pub use sip::{LANES, Lanes, SipKey, Width, sip13, sip13_one, sip24};

/// Asks for the cache line in which `value` begins, without waiting for it.
///
/// A hint and nothing else: on targets without one it does nothing.
#[inline]
pub fn prefetch_read<T>(value: &T) {
    prefetch_at(core::ptr::from_ref(value).cast::<u8>());
}

#[inline]
fn prefetch_at(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the instruction reads nothing that the program can observe and faults on no
        // address; this one lies in a value that a reference keeps valid, besides.
        #[expect(unsafe_code, reason = "the intrinsic takes a raw pointer")]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(address.cast::<i8>());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Asks for the cache line in which element `index` begins; does nothing when there is none.
#[inline]
pub fn prefetch_index<T>(values: &[T], index: usize) {
    if let Some(value) = values.get(index) {
        prefetch_read(value);
    }
}

/// Asks for all cache lines of element `index`, of which there are two at most; does nothing when
/// there is none.
#[inline]
pub fn prefetch_pair<T>(values: &[T], index: usize) {
    const { assert!(size_of::<T>() > LINE && size_of::<T>() <= 2 * LINE) };
    if let Some(value) = values.get(index) {
        prefetch_read(value);
        // Its last byte stands in the other line.
        prefetch_at(core::ptr::from_ref(value).cast::<u8>().wrapping_add(LINE));
    }
}

/// Returns which of eight values are `wanted`, as bits, the first the lowest.
#[cfg(target_arch = "x86_64")]
#[expect(
    unsafe_code,
    reason = "the compiler does not know what its own target has"
)]
#[inline]
#[must_use]
pub fn equal_bits(values: &[u16; 8], wanted: u16) -> u32 {
    // SAFETY: every machine of this architecture has SSE2.
    unsafe { equal_bits_sse2(values, wanted) }
}

/// Returns which of eight values are `wanted`, as bits, the first the lowest.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
#[must_use]
pub fn equal_bits(values: &[u16; 8], wanted: u16) -> u32 {
    let bits = values.iter().enumerate();
    bits.map(|(at, &value)| u32::from(value == wanted) << at)
        .sum()
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn equal_bits_sse2(values: &[u16; 8], wanted: u16) -> u32 {
    use core::arch::x86_64::{
        _mm_cmpeq_epi16, _mm_loadu_si128, _mm_movemask_epi8, _mm_packs_epi16, _mm_set1_epi16,
        _mm_setzero_si128,
    };
    #[expect(unsafe_code, reason = "the intrinsic takes a raw pointer")]
    // SAFETY: the load takes 16 bytes at any alignment, which is what the reference is of.
    let values = unsafe { _mm_loadu_si128(values.as_ptr().cast()) };
    let equal = _mm_cmpeq_epi16(values, _mm_set1_epi16(wanted.cast_signed()));
    _mm_movemask_epi8(_mm_packs_epi16(equal, _mm_setzero_si128())).cast_unsigned()
}

/// Bytes of a cache line.
const LINE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_past_the_end_is_ignored_and_values_stay_as_they_were() {
        let values = [1u64, 2, 3];
        for index in [0, 2, 3, usize::MAX] {
            prefetch_index(&values, index);
        }
        prefetch_index::<u64>(&[], 0);
        prefetch_read(&values);
        prefetch_pair(&[[1u64; 16]; 2], 1);
        prefetch_pair(&[[1u64; 16]; 2], 2);
        assert_eq!(values, [1, 2, 3]);
    }
    #[test]
    fn each_equal_value_has_its_bit() {
        let values = [7, 8, 7, 0, u16::MAX, 0x8000, 0x7fff, 7];
        assert_eq!(equal_bits(&values, 7), 0b1000_0101);
        assert_eq!(equal_bits(&values, u16::MAX), 1 << 4);
        assert_eq!(equal_bits(&values, 0x8000), 1 << 5);
        assert_eq!(equal_bits(&values, 1), 0);
    }
}
