//! How a packet finds its session: in one step, or asked for in one and found in a later one.

use super::SessionTable;
use super::bucket::{Bucket, Record};
use crate::{Direction, FlowHash, FlowKey, SessionId};

impl SessionTable {
    /// Hashes a key with the table's secret.
    #[inline]
    #[must_use]
    pub fn hash(&self, key: &FlowKey) -> FlowHash {
        self.hasher.hash(key)
    }

    /// Hashes several keys side by side, given as their [words](FlowKey::words).
    #[inline]
    #[must_use]
    pub fn hash_lanes(&self, words: &[weir_simd::Lanes; 2]) -> weir_simd::Lanes {
        self.hasher.hash_lanes(words)
    }

    /// Asks for a session, so that [`get`](Self::get) need not wait for it.
    #[inline]
    pub(crate) fn prefetch_session(&self, id: SessionId) {
        weir_simd::prefetch_pair(&self.sessions, id.0 as usize);
    }

    /// Asks for the bucket of a hash, so that [`find`](Self::find) need not wait for it.
    #[inline]
    pub fn prefetch(&self, hash: FlowHash) {
        weir_simd::prefetch_index(&self.buckets, self.home(hash));
    }

    /// Looks up what the index says of a hash, and asks for the session that it names; worth it once
    /// the bucket is there.
    #[inline]
    #[must_use]
    pub fn probe(&self, hash: FlowHash) -> Probe {
        let Some(bucket) = self.buckets.get(self.home(hash)) else {
            return Probe(Index::Unclear);
        };
        let slot = bucket.matches(Bucket::tag(hash.0)).next();
        match slot.and_then(|slot| bucket.record(slot)) {
            Some(record) => {
                weir_simd::prefetch_pair(&self.sessions, record.id().0 as usize);
                Probe(Index::Names(record))
            }
            None if bucket.is_whole() => Probe(Index::LacksAt(self.inserted)),
            None => Probe(Index::Unclear),
        }
    }

    /// Finds the session that a packet belongs to as [`find`](Self::find) does, which was probed
    /// for before; the key is given as its [words](FlowKey::words). What became of the table since
    /// does not matter.
    #[inline]
    #[must_use]
    pub fn find_probed(
        &self,
        Probe(index): Probe,
        hash: FlowHash,
        words: [u64; 2],
    ) -> Option<(SessionId, Direction)> {
        match index {
            // Whatever session has this key now is the one that the index knows under it.
            Index::Names(record) => {
                let session = self.sessions.get(record.id().0 as usize);
                if session.is_some_and(|session| session.key(record.direction()).words() == words) {
                    return Some((record.id(), record.direction()));
                }
            }
            Index::LacksAt(inserted) if inserted == self.inserted => return None,
            Index::LacksAt(_) | Index::Unclear => {}
        }
        self.find_again(hash, words)
    }

    /// Finds what a probe did not: one packet in a hundred.
    #[cold]
    #[inline(never)]
    fn find_again(&self, hash: FlowHash, words: [u64; 2]) -> Option<(SessionId, Direction)> {
        self.find(hash, &FlowKey::from_words(words))
    }

    /// Finds the session that a packet belongs to and the packet's direction in it.
    #[inline]
    #[must_use]
    pub fn find(&self, hash: FlowHash, key: &FlowKey) -> Option<(SessionId, Direction)> {
        let home = self.home(hash);
        let tag = Bucket::tag(hash.0);
        let bucket = self.buckets.get(home)?;
        if let Some(found) = self.find_in(bucket, tag, key) {
            return Some(found);
        }
        for distance in bucket.distances() {
            let further = self.buckets.get(self.further(home, distance))?;
            if let Some(found) = self.find_in(further, tag, key) {
                return Some(found);
            }
        }
        None
    }

    /// Multiply-shift instead of a mask, so that the number of buckets need not be a power of two.
    #[inline]
    pub(super) fn home(&self, hash: FlowHash) -> usize {
        ((u64::from(hash.0 as u32) * self.buckets.len() as u64) >> 32) as usize
    }

    #[inline]
    pub(super) fn further(&self, home: usize, distance: u32) -> usize {
        let index = home + distance as usize;
        if index < self.buckets.len() {
            index
        } else {
            index - self.buckets.len()
        }
    }

    #[inline]
    fn find_in(&self, bucket: &Bucket, tag: u16, key: &FlowKey) -> Option<(SessionId, Direction)> {
        for slot in bucket.matches(tag) {
            let record = bucket.record(slot)?;
            let session = self.sessions.get(record.id().0 as usize)?;
            if session.key(record.direction()) == *key {
                return Some((record.id(), record.direction()));
            }
        }
        None
    }
}

/// What the index said of a hash.
#[derive(Clone, Copy, Debug, Default)]
pub struct Probe(Index);

#[derive(Clone, Copy, Debug, Default)]
enum Index {
    /// It names a record that is probably the one.
    Names(Record),
    /// It has none, when so many had been inserted.
    LacksAt(u32),
    /// Neither: the long way finds out.
    #[default]
    Unclear,
}

impl Probe {
    /// Says whether there was no session.
    #[inline]
    #[must_use]
    pub const fn is_absent(&self) -> bool {
        matches!(self.0, Index::LacksAt(_))
    }
}
