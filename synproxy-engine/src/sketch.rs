//! The keys that come most often, in bounded memory (Space-Saving: Metwally, Agrawal and El Abbadi,
//! 2005).

/// One watched key.
#[derive(Clone, Copy, Debug, Default)]
struct Watched {
    key: u64,
    /// What was counted, including what it took over from the key whose place it has; 0 marks an
    /// empty place.
    count: u32,
    /// What it took over.
    inherited: u32,
    /// How often it was seen since the last ageing.
    fresh: u32,
    /// How often it was seen between the last two.
    last: u32,
}

/// Watches the `N` keys that come most often.
///
/// A key that is more than one in `N` of what was added is always among them. Counts are what was
/// really seen of a key since it is watched: never too high, and too low by what was seen before.
#[derive(Clone, Debug)]
pub struct TopKeys<const N: usize> {
    places: [Watched; N],
}

impl<const N: usize> TopKeys<N> {
    /// Watches nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        let empty = Watched {
            key: 0,
            count: 0,
            inherited: 0,
            fresh: 0,
            last: 0,
        };
        Self { places: [empty; N] }
    }

    /// Counts a key; a new one takes the place of the one that was seen least.
    pub fn add(&mut self, key: u64) {
        let mut least: Option<&mut Watched> = None;
        for place in &mut self.places {
            if place.count != 0 && place.key == key {
                place.count = place.count.saturating_add(1);
                place.fresh = place.fresh.saturating_add(1);
                return;
            }
            if least.as_ref().is_none_or(|least| place.count < least.count) {
                least = Some(place);
            }
        }
        if let Some(place) = least {
            *place = Watched {
                key,
                count: place.count.saturating_add(1),
                inherited: place.count,
                fresh: 1,
                last: 0,
            };
        }
    }

    /// Halves all counts, so that what was gives way to what is; to be called once a second.
    pub fn age(&mut self) {
        for place in &mut self.places {
            place.count /= 2;
            place.inherited /= 2;
            place.last = core::mem::take(&mut place.fresh);
        }
    }

    /// Returns the watched keys and what was counted of each, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.watched()
            .map(|place| (place.key, u64::from(place.count - place.inherited)))
    }

    /// Returns the watched keys and how often each came in the second before the last ageing, where
    /// one in `every` was added.
    pub fn per_second(&self, every: u32) -> impl Iterator<Item = (u64, u64)> {
        self.watched()
            .map(move |place| (place.key, u64::from(place.last) * u64::from(every)))
    }

    fn watched(&self) -> impl Iterator<Item = &Watched> {
        self.places.iter().filter(|place| place.count != 0)
    }
}

impl<const N: usize> Default for TopKeys<N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn sorted(counts: impl Iterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
        let mut counts: Vec<_> = counts.collect();
        counts.sort_unstable();
        counts
    }

    #[test]
    fn few_keys_are_counted_exactly() {
        let mut tops = TopKeys::<4>::new();
        for key in [7, 0, 7, 9, 7] {
            tops.add(key);
        }
        assert_eq!(sorted(tops.iter()), [(0, 1), (7, 3), (9, 1)]);
    }

    #[test]
    fn a_newcomer_does_not_inherit_what_it_did_not_do() {
        let mut tops = TopKeys::<2>::new();
        for key in [1, 1, 1, 2, 2, 3] {
            tops.add(key);
        }
        assert_eq!(sorted(tops.iter()), [(1, 3), (3, 1)]);
    }

    #[test]
    fn what_was_inherited_ages_with_the_rest() {
        let mut tops = TopKeys::<1>::new();
        for key in [1, 1, 1, 1, 2, 2] {
            tops.add(key);
        }
        assert_eq!(sorted(tops.iter()), [(2, 2)]);
        tops.age();
        assert_eq!(sorted(tops.iter()), [(2, 1)]);
    }

    #[test]
    fn rates_are_those_of_the_last_full_second() {
        let mut tops = TopKeys::<4>::new();
        for (second, expected) in [(10, 640), (10, 640), (2, 128), (0, 0)] {
            (0..second).for_each(|_| tops.add(5));
            tops.age();
            assert_eq!(tops.per_second(64).collect::<Vec<_>>(), [(5, expected)]);
            tops.add(6);
            assert!(
                tops.per_second(64)
                    .all(|(key, rate)| key == 5 || rate <= 64)
            );
        }
    }

    #[test]
    fn what_no_longer_comes_is_forgotten() {
        let mut tops = TopKeys::<4>::new();
        (0..1000).for_each(|_| tops.add(5));
        for _ in 0..9 {
            tops.age();
        }
        assert_eq!(sorted(tops.iter()), [(5, 1)]);
        tops.age();
        assert_eq!(tops.iter().count(), 0);
    }

    #[test]
    fn a_sketch_without_places_watches_nothing() {
        let mut tops = TopKeys::<0>::new();
        tops.add(1);
        assert_eq!(tops.iter().count(), 0);
    }

    proptest! {
        /// The two promises of the paper, and that no key is given what was not its own.
        #[test]
        fn frequent_keys_are_there_and_no_count_is_too_high(
            keys in proptest::collection::vec((0u64..40).prop_map(|key| key * key / 50), 0..600),
        ) {
            const N: usize = 8;
            let mut tops = TopKeys::<N>::new();
            let mut exact = BTreeMap::<u64, u64>::new();
            for &key in &keys {
                tops.add(key);
                *exact.entry(key).or_default() += 1;
            }
            for (key, count) in tops.iter() {
                prop_assert!(count >= 1 && count <= exact[&key]);
            }
            for place in &tops.places {
                if place.count != 0 {
                    prop_assert!(u64::from(place.count) >= exact[&place.key]);
                }
            }
            for (&key, &count) in &exact {
                if count > (keys.len() / N) as u64 {
                    prop_assert!(tops.iter().any(|(watched, _)| watched == key), "{}", key);
                }
            }
            let watched = tops.iter().map(|(key, _)| key).collect::<std::collections::BTreeSet<_>>();
            prop_assert_eq!(watched.len(), tops.iter().count(), "no key has two places");
        }
    }
}
