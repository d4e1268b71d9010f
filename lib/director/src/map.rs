//! A map that is filled when the configuration changes and only read by packets.

use alloc::vec;
use alloc::vec::Vec;

/// Maps 64-bit keys to small values: open addressing at a quarter of the load, no deletion.
///
/// The keys come from the configuration, so the hash need not withstand an attacker; a miss ends
/// at the first free place, mostly the first.
#[derive(Debug)]
pub(crate) struct FixedMap<V> {
    places: Vec<Option<(u64, V)>>,
    mask: usize,
    /// A bit for each of the keys: who is not there has another one, nearly always.
    filter: [u64; FILTER],
}

/// Words of a map's filter: half a kilobyte.
const FILTER: usize = 64;

impl<V: Copy> Default for FixedMap<V> {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl<V: Copy> FixedMap<V> {
    /// Makes a map of the entries; of two with the same key the first counts.
    pub(crate) fn new(entries: &[(u64, V)]) -> Self {
        let size = (entries.len() * 4).next_power_of_two().max(2);
        let mut map = Self {
            places: vec![None; size],
            mask: size - 1,
            filter: [0; FILTER],
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

    /// Says whether the map has a key: nearly always after one look into few lines.
    #[inline]
    pub(crate) fn has(&self, key: u64) -> bool {
        let (word, bit) = Self::filter_place(key);
        let maybe = self.filter.get(word).is_some_and(|word| word & bit != 0);
        maybe && self.get(key).is_some()
    }

    fn insert(&mut self, key: u64, value: V) {
        let (word, bit) = Self::filter_place(key);
        if let Some(word) = self.filter.get_mut(word) {
            *word |= bit;
        }
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

    #[inline]
    const fn filter_place(key: u64) -> (usize, u64) {
        let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
        (hash as usize % FILTER, 1 << (hash >> 10))
    }

    #[inline]
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
            assert!(map.has(*key) && !map.has(*key + 1));
        }
        assert_eq!(FixedMap::<u8>::new(&[]).get(0), None);
    }
}
