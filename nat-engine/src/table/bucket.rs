//! One cache line of the session table's index.

use crate::{Direction, SessionId};

/// Records per bucket: as many as a cache line holds beside what is counted of displaced ones.
pub(super) const SLOTS: usize = 10;

/// How many buckets after its home a record may live: one nibble of [`Bucket::displaced`] each.
pub(super) const MAX_DISTANCE: u32 = 8;

/// The tag of an empty slot; no hash has it.
const EMPTY: u16 = 0;

/// A record of the index: which session, and in which direction the key belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record(u32);

impl Record {
    pub(super) const fn new(id: SessionId, direction: Direction) -> Self {
        Self(id.0 << 1 | direction as u32)
    }

    pub(super) const fn id(self) -> SessionId {
        SessionId(self.0 >> 1)
    }

    pub(super) const fn direction(self) -> Direction {
        if self.0 & 1 == Direction::Inbound as u32 {
            Direction::Inbound
        } else {
            Direction::Outbound
        }
    }
}

/// A bucket: what a lookup reads first, and in nine of ten cases alone.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Bucket {
    tags: [u16; SLOTS],
    records: [Record; SLOTS],
    /// Nibble *d* - 1 counts the records whose home is this bucket and that live *d* buckets
    /// further, at most [`SLOTS`]. So a miss ends here when it is zero, and otherwise visits only
    /// the buckets that hold something of this home's.
    displaced: u32,
}

const _: () = assert!(size_of::<Bucket>() == 64, "a bucket is a cache line");
const _: () = assert!(SLOTS < 16, "a nibble counts the records of one bucket");

impl Bucket {
    pub(super) const EMPTY: Self = Self {
        tags: [EMPTY; SLOTS],
        records: [Record(u32::MAX); SLOTS],
        displaced: 0,
    };

    /// Returns the tag of a hash: the lowest bits of the upper half, which choose neither the
    /// bucket (the lower half) nor, in effect, the owner (the highest bits).
    #[inline]
    pub(super) const fn tag(hash: u64) -> u16 {
        let tag = (hash >> 32) as u16;
        if tag == EMPTY { 1 } else { tag }
    }

    /// Returns the slots with this tag as bits, by one comparison of all tags at once.
    #[inline]
    pub(super) fn matches(&self, tag: u16) -> Slots {
        let [t0, t1, t2, t3, t4, t5, t6, t7, t8, t9] = self.tags;
        let last = u32::from(t8 == tag) << 8 | u32::from(t9 == tag) << 9;
        Slots(weir_simd::equal_bits(&[t0, t1, t2, t3, t4, t5, t6, t7], tag) | last)
    }

    /// Says whether no record of this home lives in another bucket.
    #[inline]
    pub(super) const fn is_whole(&self) -> bool {
        self.displaced == 0
    }

    /// Returns the record of a slot.
    #[inline]
    pub(super) fn record(&self, slot: usize) -> Option<Record> {
        self.records.get(slot).copied()
    }

    /// Puts a record into a free slot and says whether there was one.
    pub(super) fn put(&mut self, tag: u16, record: Record) -> bool {
        let Some(free) = self.matches(EMPTY).next() else {
            return false;
        };
        if let (Some(t), Some(r)) = (self.tags.get_mut(free), self.records.get_mut(free)) {
            *t = tag;
            *r = record;
        }
        true
    }

    /// Takes a record out and says whether it was here.
    pub(super) fn take(&mut self, tag: u16, record: Record) -> bool {
        let Some(slot) = self
            .matches(tag)
            .find(|&slot| self.record(slot) == Some(record))
        else {
            return false;
        };
        if let Some(t) = self.tags.get_mut(slot) {
            *t = EMPTY;
        }
        true
    }

    /// Returns the distances at which records of this home live, nearest first.
    #[inline]
    pub(super) const fn distances(&self) -> Distances {
        Distances(self.displaced)
    }

    /// Counts a record of this home that was put `distance` buckets further.
    pub(super) const fn displace(&mut self, distance: u32) {
        self.displaced += Self::nibble(distance);
    }

    /// Counts a record of this home out that lived `distance` buckets further.
    pub(super) const fn replace(&mut self, distance: u32) {
        self.displaced -= Self::nibble(distance);
    }

    const fn nibble(distance: u32) -> u32 {
        1 << ((distance - 1) * 4)
    }
}

/// Slots of a bucket, as bits.
#[derive(Clone)]
pub(super) struct Slots(u32);

impl Iterator for Slots {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let slot = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(slot)
    }
}

/// Distances from a home, as the nibbles that are not zero.
#[derive(Clone)]
pub(super) struct Distances(u32);

impl Iterator for Distances {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        if self.0 == 0 {
            return None;
        }
        let nibble = self.0.trailing_zeros() / 4;
        self.0 &= !(0xf << (nibble * 4));
        Some(nibble + 1)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn a_full_bucket_refuses_a_record_and_gives_each_of_its_own_back() {
        let mut bucket = Bucket::EMPTY;
        let record = |n| Record::new(SessionId(n), Direction::Outbound);
        for n in 0..SLOTS as u32 {
            assert!(bucket.put(7, record(n)));
        }
        assert!(!bucket.put(7, record(99)));
        assert_eq!(bucket.matches(7).count(), SLOTS);
        assert!(!bucket.take(7, Record::new(SessionId(3), Direction::Inbound)));
        assert!(bucket.take(7, record(3)));
        assert!(!bucket.take(7, record(3)));
        assert_eq!(
            bucket.matches(7).collect::<Vec<_>>(),
            [0, 1, 2, 4, 5, 6, 7, 8, 9]
        );
        assert!(bucket.put(9, record(99)));
        assert_eq!(bucket.matches(9).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn distances_are_those_that_hold_something() {
        let mut bucket = Bucket::EMPTY;
        assert_eq!(bucket.distances().next(), None);
        for _ in 0..SLOTS {
            bucket.displace(MAX_DISTANCE);
        }
        bucket.displace(1);
        bucket.displace(1);
        bucket.replace(1);
        assert_eq!(bucket.distances().collect::<Vec<_>>(), [1, MAX_DISTANCE]);
        bucket.replace(1);
        assert_eq!(bucket.distances().collect::<Vec<_>>(), [MAX_DISTANCE]);
    }

    #[test]
    fn no_hash_has_the_tag_of_an_empty_slot() {
        assert_ne!(Bucket::tag(0), EMPTY);
        assert_eq!(Bucket::tag(0xabcd_1234_0000_0000), 0x1234);
    }

    #[test]
    fn a_record_keeps_id_and_direction() {
        for direction in [Direction::Inbound, Direction::Outbound] {
            let record = Record::new(SessionId(0x7fff_fffe), direction);
            assert_eq!(record.id(), SessionId(0x7fff_fffe));
            assert_eq!(record.direction(), direction);
        }
    }
}
