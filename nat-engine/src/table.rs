//! The session table: fixed capacity, two index records per session, one cache line per lookup.

mod bucket;
mod lookup;
mod scan;

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use self::bucket::{Bucket, MAX_DISTANCE, Record};
use crate::memory::reserve;
use crate::{
    Direction, FlowHash, FlowHasher, FlowKey, Prepare, Session, SessionId, Timer, TimerWheel,
};

pub use lookup::Probe;
pub use scan::Scan;

/// Records per bucket at full capacity, times two: 5.5 of 10, a load at which one record in a
/// hundred lives outside its home. At 6.5 a table of a million refuses its first session at 99.8 %.
const RECORDS_PER_TWO_BUCKETS: u64 = 11;

/// The protocol of a free session. It stands in the line that every packet needs, so that a stale
/// id is recognised without reading the other one.
const FREE: u8 = 0;

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

#[cfg(test)]
mod tests;
