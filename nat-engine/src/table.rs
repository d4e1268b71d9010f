//! The session table: fixed capacity, two index records per session, one cache line per lookup.

mod bucket;

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use weir_model::{LipId, RealId, ServiceId};
use weir_wire::{SeqDelta, SeqNumber};

use self::bucket::{Bucket, MAX_DISTANCE, Record};
use crate::memory::reserve;
use crate::{
    Direction, FlowHash, FlowHasher, FlowKey, Prepare, Session, SessionFlags, SessionId, State,
    Timer, TimerWheel,
};

/// Records per bucket at full capacity, times two: 5.5 of 10, a load at which one record in a
/// hundred lives outside its home. At 6.5 a table of a million refuses its first session at 99.8 %.
const RECORDS_PER_TWO_BUCKETS: u64 = 11;

/// Says why a session was not inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsertError {
    /// There is no free session, or no free record near where one of the keys belongs.
    TableFull,
    /// Packets of one of the session's keys already belong to a session.
    Duplicate,
    /// The session has IP protocol 0, which marks sessions that are free.
    NoProtocol,
}

/// Says that the memory for a table was not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// The sessions of one worker.
///
/// A session is found by the key of either direction. The index is an array of cache-line buckets
/// with a 16-bit tag per record; a full bucket's records go on into the next ones, at most 8
/// further, and their home counts them, so that a miss nearly always costs one line. Nothing is
/// allocated after construction and nothing ever moves, so no packet waits for a rehash.
///
/// Memory: 128 bytes per session and, at 5.5 records of 10 per bucket, 23.3 bytes of index.
#[derive(Debug)]
pub struct SessionTable {
    /// Those that were ever used, with room for all.
    sessions: Vec<Session>,
    capacity: u32,
    buckets: Vec<Bucket>,
    /// The first of the used ones that are free again.
    free: SessionId,
    len: u32,
    /// How many were ever inserted, wrapping.
    inserted: u32,
    hasher: FlowHasher,
}

impl SessionTable {
    /// The most sessions that a table can hold: a record keeps the direction in the lowest bit.
    pub const MAX_CAPACITY: u32 = (1 << 31) - 1;

    /// Makes an empty table for this many sessions, at most [`Self::MAX_CAPACITY`].
    pub fn with_capacity(sessions: u32, hasher: FlowHasher) -> Result<Self, OutOfMemory> {
        Self::prepared(sessions, hasher, &|_| {})
    }

    /// Makes an empty table as [`with_capacity`](Self::with_capacity) does, and tells `prepare` of
    /// its memory before it touches it. The index is touched here; sessions, which are five sixths
    /// of it, where they are first used: whoever is told of them can have that done at leisure.
    pub fn prepared(
        sessions: u32,
        hasher: FlowHasher,
        prepare: Prepare<'_>,
    ) -> Result<Self, OutOfMemory> {
        let capacity = sessions.min(Self::MAX_CAPACITY);
        let buckets = (u64::from(capacity) * 4)
            .div_ceil(RECORDS_PER_TWO_BUCKETS)
            .max(1) as usize;
        let mut table = Self {
            sessions: Vec::new(),
            capacity,
            buckets: Vec::new(),
            free: SessionId::NONE,
            len: 0,
            inserted: 0,
            hasher,
        };
        reserve(&mut table.sessions, capacity as usize, prepare)?;
        reserve(&mut table.buckets, buckets, prepare)?;
        table.buckets.resize(buckets, Bucket::EMPTY);
        Ok(table)
    }

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

    /// Inserts a session under both of its keys, or under none. Its place in the timer wheel is
    /// cleared: [`TimerWheel::arm`] it next.
    pub fn insert(&mut self, session: Session) -> Result<SessionId, InsertError> {
        let inbound = self.hash(&session.key(Direction::Inbound));
        let outbound = self.hash(&session.key(Direction::Outbound));
        self.prefetch(outbound);
        self.insert_hashed(&session, [inbound, outbound])
    }

    /// Inserts a session as [`insert`](Self::insert) does, whose keys were hashed before, the
    /// inbound one first; best with both buckets [asked for](Self::prefetch).
    pub fn insert_hashed(
        &mut self,
        session: &Session,
        [inbound_hash, outbound_hash]: [FlowHash; 2],
    ) -> Result<SessionId, InsertError> {
        if session.protocol == FREE {
            return Err(InsertError::NoProtocol);
        }
        let id = self.next_place();
        if id == SessionId::NONE {
            return Err(InsertError::TableFull);
        }

        let inbound = session.key(Direction::Inbound);
        let outbound = session.key(Direction::Outbound);
        if inbound == outbound
            || self.find(inbound_hash, &inbound).is_some()
            || self.find(outbound_hash, &outbound).is_some()
        {
            return Err(InsertError::Duplicate);
        }

        let first = Record::new(id, Direction::Inbound);
        if !self.put(inbound_hash, first) {
            return Err(InsertError::TableFull);
        }
        if !self.put(outbound_hash, Record::new(id, Direction::Outbound)) {
            self.take(inbound_hash, first);
            return Err(InsertError::TableFull);
        }
        match self.sessions.get_mut(id.0 as usize) {
            Some(place) => {
                self.free = place.timer.next;
                *place = *session;
                place.timer = Timer::default();
                // The next session will be there when it is wanted.
                weir_simd::prefetch_pair(&self.sessions, self.free.0 as usize);
            }
            // Room for it was reserved at the start.
            None => self.sessions.push(Session {
                timer: Timer::default(),
                ..*session
            }),
        }
        self.len += 1;
        self.inserted = self.inserted.wrapping_add(1);
        Ok(id)
    }

    /// Removes a session under both of its keys and from the wheel; none when it is not there.
    pub fn remove(&mut self, wheel: &mut TimerWheel, id: SessionId) -> Option<Session> {
        let leaving = self.leaving(id)?;
        self.remove_leaving(wheel, leaving)
    }

    /// Hashes both keys of a session that is to be [removed](Self::remove_leaving) soon, and asks
    /// for their buckets; none when it is not there.
    #[must_use]
    pub fn leaving(&self, id: SessionId) -> Option<Leaving> {
        let session = self.get(id)?;
        let hashes = [Direction::Inbound, Direction::Outbound].map(|direction| {
            let hash = self.hash(&session.key(direction));
            self.prefetch(hash);
            hash
        });
        Some(Leaving { id, hashes })
    }

    /// Removes a session as [`remove`](Self::remove) does, whose keys were hashed before. They must
    /// be its keys still.
    pub fn remove_leaving(
        &mut self,
        wheel: &mut TimerWheel,
        Leaving { id, hashes }: Leaving,
    ) -> Option<Session> {
        wheel.disarm(self, id);
        let session = *self.get(id)?;
        let directions = [Direction::Inbound, Direction::Outbound];
        for (hash, direction) in hashes.into_iter().zip(directions) {
            self.take(hash, Record::new(id, direction));
        }
        *self.sessions.get_mut(id.0 as usize)? = free_session(self.free);
        self.free = id;
        self.len -= 1;
        Some(session)
    }

    /// Returns a session; none when the id's session was removed.
    #[inline]
    #[must_use]
    pub fn get(&self, id: SessionId) -> Option<&Session> {
        self.sessions
            .get(id.0 as usize)
            .filter(|session| session.protocol != FREE)
    }

    /// Returns a session for changes. What its keys are made of must stay: to change that, remove
    /// it and insert it again.
    #[inline]
    #[must_use]
    pub fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions
            .get_mut(id.0 as usize)
            .filter(|session| session.protocol != FREE)
    }

    /// Returns the number of sessions.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Says whether there is no session.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the most sessions that the table holds.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Looks at up to `places` places from `cursor` on for a dump that goes on over many turns;
    /// begin with cursor 0. Sessions that live through the whole dump are seen exactly once.
    #[must_use]
    pub fn scan(&self, cursor: u32, places: u32) -> Scan<'_> {
        let start = (cursor as usize).min(self.sessions.len());
        let end = start
            .saturating_add(places as usize)
            .min(self.sessions.len());
        Scan {
            places: self.sessions.get(start..end).unwrap_or_default().iter(),
            next: start as u32,
            after: (end < self.sessions.len()).then_some(end as u32),
        }
    }

    /// Returns the bytes of memory that the table occupies, from its construction on.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.sessions.capacity() * size_of::<Session>()
            + self.buckets.capacity() * size_of::<Bucket>()
    }

    /// Returns the bytes of memory per session at full capacity, in tenths.
    #[must_use]
    pub fn decibytes_per_session(&self) -> usize {
        (self.bytes() * 10).div_ceil(self.capacity.max(1) as usize)
    }

    /// The place of the next session: one that is free again, so that a table in light use stays in
    /// few pages, or the next that was never used; none when all are taken.
    fn next_place(&self) -> SessionId {
        if self.free == SessionId::NONE && (self.sessions.len() as u32) < self.capacity {
            return SessionId(self.sessions.len() as u32);
        }
        self.free
    }

    /// Multiply-shift instead of a mask, so that the number of buckets need not be a power of two.
    #[inline]
    fn home(&self, hash: FlowHash) -> usize {
        ((u64::from(hash.0 as u32) * self.buckets.len() as u64) >> 32) as usize
    }

    #[inline]
    fn further(&self, home: usize, distance: u32) -> usize {
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

    fn put(&mut self, hash: FlowHash, record: Record) -> bool {
        let home = self.home(hash);
        let tag = Bucket::tag(hash.0);
        let furthest = MAX_DISTANCE.min(self.buckets.len() as u32 - 1);
        for distance in 0..=furthest {
            let index = self.further(home, distance);
            let Some(bucket) = self.buckets.get_mut(index) else {
                return false;
            };
            if !bucket.put(tag, record) {
                continue;
            }
            if distance > 0
                && let Some(bucket) = self.buckets.get_mut(home)
            {
                bucket.displace(distance);
            }
            return true;
        }
        false
    }

    fn take(&mut self, hash: FlowHash, record: Record) {
        let home = self.home(hash);
        let tag = Bucket::tag(hash.0);
        let Some(bucket) = self.buckets.get_mut(home) else {
            return;
        };
        if bucket.take(tag, record) {
            return;
        }
        for distance in bucket.distances() {
            let index = self.further(home, distance);
            if self
                .buckets
                .get_mut(index)
                .is_some_and(|bucket| bucket.take(tag, record))
            {
                if let Some(bucket) = self.buckets.get_mut(home) {
                    bucket.replace(distance);
                }
                return;
            }
        }
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

/// A session that is about to be removed, and what its keys are found by.
#[derive(Clone, Copy, Debug)]
pub struct Leaving {
    id: SessionId,
    hashes: [FlowHash; 2],
}

impl Leaving {
    /// Returns the session.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.id
    }
}

/// The sessions at some places of a table, as [`SessionTable::scan`] yields them.
#[derive(Clone, Debug)]
pub struct Scan<'a> {
    places: core::slice::Iter<'a, Session>,
    next: u32,
    after: Option<u32>,
}

impl Scan<'_> {
    /// Returns where the next scan goes on; none when this one reaches the table's end.
    #[must_use]
    pub const fn cursor(&self) -> Option<u32> {
        self.after
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = (SessionId, &'a Session);

    fn next(&mut self) -> Option<Self::Item> {
        for session in self.places.by_ref() {
            let id = SessionId(self.next);
            self.next += 1;
            if session.protocol != FREE {
                return Some((id, session));
            }
        }
        None
    }
}

/// The protocol of a free session. It stands in the line that every packet needs, so that a stale
/// id is recognised without reading the other one.
const FREE: u8 = 0;

fn free_session(next: SessionId) -> Session {
    let nobody = FlowKey {
        src: Ipv4Addr::UNSPECIFIED,
        dst: Ipv4Addr::UNSPECIFIED,
        src_port: 0,
        dst_port: 0,
        protocol: FREE,
    };
    let mut session = Session::new(nobody, nobody);
    session.timer.next = next;
    session
}

impl Session {
    /// Makes a session between two ends, in no service and with every number at zero: `inbound` is
    /// the key of what the client sends, `outbound` of what the real server sends.
    #[must_use]
    pub fn new(inbound: FlowKey, outbound: FlowKey) -> Self {
        Self {
            client: inbound.src,
            vip: inbound.dst,
            lip: outbound.dst,
            real: outbound.src,
            client_port: inbound.src_port,
            vip_port: inbound.dst_port,
            lip_port: outbound.dst_port,
            real_port: outbound.src_port,
            inbound_seq: SeqDelta::ZERO,
            outbound_seq: SeqDelta::ZERO,
            inbound_ts: 0,
            outbound_ts: 0,
            last_seen: 0,
            isn: SeqNumber(0),
            real_id: RealId(0),
            service: ServiceId(0),
            flags: SessionFlags::default(),
            client_mss: 0,
            lip_id: LipId(0),
            state: State::SynSent,
            protocol: inbound.protocol,
            window_shift: 0,
            client_wscale: Self::NO_WSCALE,
            client_end: SeqNumber(0),
            client_ack: SeqNumber(0),
            real_end: SeqNumber(0),
            real_ack: SeqNumber(0),
            client_fin: SeqNumber(0),
            real_fin: SeqNumber(0),
            client_window: 0,
            real_window: 0,
            last_tsval: 0,
            opened: 0,
            timer: Timer::default(),
            real_wscale: Self::NO_WSCALE,
            port_space: 0,
            storm: 0,
            waiting: Self::NOT_WAITING,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::bucket::SLOTS;
    use super::*;

    /// Records that find room in their home and the buckets after it.
    const CROWD: usize = SLOTS * (MAX_DISTANCE as usize + 1);

    fn hasher() -> FlowHasher {
        FlowHasher::new([9; 16])
    }

    fn key(src: u32, dst: u32) -> FlowKey {
        FlowKey {
            src: src.into(),
            dst: dst.into(),
            src_port: 1,
            dst_port: 2,
            protocol: 6,
        }
    }

    fn displaced(table: &SessionTable) -> usize {
        let homes = table.buckets.iter();
        homes.map(|bucket| bucket.distances().count()).sum()
    }

    #[test]
    fn a_session_and_its_index_take_less_than_152_bytes() {
        let table = SessionTable::with_capacity(100_000, hasher()).unwrap();
        assert!(
            table.decibytes_per_session() <= 1520,
            "{}",
            table.decibytes_per_session()
        );
        let index = table.buckets.len() * 64;
        assert!(index <= 24 * 100_000, "{index}");
    }

    #[test]
    fn keys_that_crowd_one_bucket_fill_the_next_eight_and_leave_nothing_behind() {
        let mut table = SessionTable::with_capacity(2000, hasher()).unwrap();
        let mut wheel = TimerWheel::new(0);
        let crowd: Vec<FlowKey> = (0..u32::MAX)
            .map(|n| key(n, 0))
            .filter(|key| table.home(table.hash(key)) == table.buckets.len() - 3)
            .take(CROWD + 1)
            .collect();
        // The second key is found first in a bucket far from the crowd.
        let far = |table: &SessionTable, n: u32| {
            (0..1 << 16)
                .map(|m| key(n << 16 | m, 1))
                .find(|key| (100..600).contains(&table.home(table.hash(key))))
                .unwrap()
        };
        let mut ids = Vec::new();
        for (n, &inbound) in crowd.iter().enumerate() {
            let outbound = far(&table, n as u32);
            let inserted = table.insert(Session::new(inbound, outbound));
            if n < CROWD {
                ids.push(inserted.unwrap());
                continue;
            }
            assert_eq!(inserted, Err(InsertError::TableFull));
            // Neither as the second key.
            let inserted = table.insert(Session::new(outbound, inbound));
            assert_eq!(inserted, Err(InsertError::TableFull));
            assert_eq!(table.find(table.hash(&outbound), &outbound), None);
        }
        assert_eq!((table.len() as usize, displaced(&table)), (CROWD, 8));
        for (&inbound, &id) in crowd.iter().zip(&ids) {
            let found = table.find(table.hash(&inbound), &inbound);
            assert_eq!(found, Some((id, Direction::Inbound)));
        }
        for &id in &ids {
            assert!(table.remove(&mut wheel, id).is_some());
        }
        assert_eq!((table.len(), displaced(&table)), (0, 0));
        assert!(
            table
                .buckets
                .iter()
                .all(|bucket| bucket.matches(0).count() == SLOTS)
        );
    }

    #[test]
    fn in_a_full_table_one_record_in_a_hundred_lives_outside_its_home() {
        let mut table = SessionTable::with_capacity(100_000, hasher()).unwrap();
        for n in 0..100_000 {
            table.insert(Session::new(key(n, 1), key(n, 2))).unwrap();
        }
        let mut outside = 0;
        for (id, session) in table.scan(0, u32::MAX) {
            for direction in [Direction::Inbound, Direction::Outbound] {
                let hash = table.hash(&session.key(direction));
                let record = Record::new(id, direction);
                let home = &table.buckets[table.home(hash)];
                let mut slots = home.matches(Bucket::tag(hash.0));
                outside += usize::from(!slots.any(|slot| home.record(slot) == Some(record)));
            }
        }
        assert!((1000..3000).contains(&outside), "{outside} of 200,000");
        // So a miss reads a second line at one home in fifty.
        let homes = table.buckets.iter();
        let not_alone = homes
            .filter(|bucket| bucket.distances().count() > 0)
            .count();
        assert!(not_alone * 25 < table.buckets.len(), "{not_alone}");
    }

    #[test]
    fn the_id_of_a_removed_session_gives_nothing() {
        let mut table = SessionTable::with_capacity(4, hasher()).unwrap();
        let mut wheel = TimerWheel::new(0);
        let id = table.insert(Session::new(key(1, 2), key(3, 4))).unwrap();
        wheel.arm(&mut table, id, 500);
        assert_eq!(
            table.remove(&mut wheel, id).unwrap().client,
            Ipv4Addr::from(1)
        );
        assert!(table.get(id).is_none() && table.get_mut(id).is_none());
        assert!(table.remove(&mut wheel, id).is_none());
        assert!(table.get(SessionId::NONE).is_none());
        wheel.arm(&mut table, id, 500);
        assert_eq!((wheel.armed(), table.len()), (0, 0));
    }

    #[test]
    fn a_key_belongs_to_one_session_only() {
        let mut table = SessionTable::with_capacity(4, hasher()).unwrap();
        let first = Session::new(key(1, 2), key(3, 4));
        table.insert(first).unwrap();
        for (inbound, outbound) in [
            (key(1, 2), key(5, 6)),
            (key(5, 6), key(3, 4)),
            (key(3, 4), key(5, 6)),
            (key(7, 8), key(7, 8)),
        ] {
            let inserted = table.insert(Session::new(inbound, outbound));
            assert_eq!(inserted, Err(InsertError::Duplicate));
        }
        let mut nameless = first;
        nameless.protocol = 0;
        assert_eq!(table.insert(nameless), Err(InsertError::NoProtocol));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_table_without_places_is_full() {
        let mut table = SessionTable::with_capacity(0, hasher()).unwrap();
        let session = Session::new(key(1, 2), key(3, 4));
        assert_eq!(table.insert(session), Err(InsertError::TableFull));
        assert_eq!(table.find(table.hash(&key(1, 2)), &key(1, 2)), None);
        assert_eq!(table.scan(0, 10).count(), 0);
        assert_eq!(table.scan(0, 10).cursor(), None);
    }

    #[test]
    fn all_memory_of_a_table_is_told_before_it_is_touched() {
        let told = core::cell::RefCell::new(Vec::new());
        let table = SessionTable::prepared(100, hasher(), &|memory| {
            told.borrow_mut().push(memory);
        })
        .unwrap();
        let told = told.into_inner();
        let first = (
            table.sessions.as_ptr().addr(),
            table.buckets.as_ptr().addr(),
        );
        assert_eq!((told[0].start, told[1].start), first);
        assert_eq!(
            told[0].len() + told[1].len() + size_of::<SessionTable>(),
            table.bytes()
        );
        assert!(table.sessions.is_empty(), "they are not touched");
    }

    #[test]
    fn a_table_uses_places_again_before_it_goes_on_to_fresh_ones_and_never_moves() {
        let mut table = SessionTable::with_capacity(3, hasher()).unwrap();
        let mut wheel = TimerWheel::new(0);
        let start = table.sessions.as_ptr();
        let open = |table: &mut SessionTable, n| table.insert(Session::new(key(n, 1), key(n, 2)));
        let ids = [0, 1].map(|n| open(&mut table, n).unwrap());
        assert_eq!(ids, [SessionId(0), SessionId(1)]);
        for id in ids {
            table.remove(&mut wheel, id).unwrap();
        }
        let again = [2, 3, 4].map(|n| open(&mut table, n).unwrap().0);
        assert_eq!(again, [1, 0, 2]);
        assert_eq!(open(&mut table, 5), Err(InsertError::TableFull));
        assert_eq!((table.len(), table.capacity()), (3, 3));
        assert_eq!(table.sessions.as_ptr(), start);
    }

    #[test]
    fn more_memory_than_there_is_is_refused_with_an_error() {
        let table = SessionTable::with_capacity(u32::MAX, hasher());
        assert!(table.is_err_and(|error| error == OutOfMemory));
    }
}
