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
