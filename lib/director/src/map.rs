//! A map that is filled when the configuration changes and only read by packets.

use alloc::vec;
use alloc::vec::Vec;

/// Maps 64-bit keys to small values: open addressing at half load, no deletion.
///
/// The keys come from the configuration, so the hash need not withstand an attacker; a miss ends
/// at the first free place, two steps on average.
#[derive(Debug)]
pub(crate) struct FixedMap<V> {
    places: Vec<Option<(u64, V)>>,
    mask: usize,
}

impl<V: Copy> Default for FixedMap<V> {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl<V: Copy> FixedMap<V> {
    /// Makes a map of the entries; of two with the same key the first counts.
    pub(crate) fn new(entries: &[(u64, V)]) -> Self {
        let size = (entries.len() * 2).next_power_of_two().max(2);
        let mut map = Self {
            places: vec![None; size],
            mask: size - 1,
        };
        for &(key, value) in entries {
            map.insert(key, value);
        }
        map
    }

    /// Returns the value of a key.
    #[inline]
    pub(crate) fn get(&self, key: u64) -> Option<V> {
        let mut at = self.home(key);
        while let Some(Some((found, value))) = self.places.get(at) {
            if *found == key {
                return Some(*value);
            }
            at = (at + 1) & self.mask;
        }
        None
    }

    fn insert(&mut self, key: u64, value: V) {
        let mut at = self.home(key);
        while let Some(place) = self.places.get_mut(at) {
            match place {
                Some((found, _)) if *found == key => return,
                Some(_) => at = (at + 1) & self.mask,
                None => {
                    *place = Some((key, value));
                    return;
                }
            }
        }
    }

    fn home(&self, key: u64) -> usize {
        // Fibonacci hashing: the upper bits of the product depend on all bits of the key.
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & self.mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_and_no_other() {
        let entries: Vec<(u64, u32)> = (0..1000).map(|i| (i << 16 | 7, i as u32)).collect();
        let map = FixedMap::new(&entries);
        for (key, value) in &entries {
            assert_eq!(map.get(*key), Some(*value));
            assert_eq!(map.get(*key + 1), None);
        }
        assert_eq!(FixedMap::<u8>::new(&[]).get(0), None);
    }
}
