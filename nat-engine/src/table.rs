//! The session table: fixed capacity, two index records per session, one cache line per lookup.

mod bucket;

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use weir_model::{LipId, RealId, ServiceId};
use weir_wire::{SeqDelta, SeqNumber};

use self::bucket::{Bucket, MAX_DISTANCE, Record};
use crate::{
    Direction, FlowHash, FlowHasher, FlowKey, Session, SessionFlags, SessionId, State, Timer,
    TimerWheel,
};

/// Records per bucket at full capacity, times two: 5.5 of 8, a load at which one record in forty
/// lives outside its home.
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
/// with a 16-bit tag per record; a full bucket's records go on into the next ones, at most 16
/// further, and their home counts them, so that a miss nearly always costs one line. Nothing is
/// allocated after construction and nothing ever moves, so no packet waits for a rehash.
///
/// Memory: 128 bytes per session and, at 5.5 records of 8 per bucket, 23.3 bytes of index.
#[derive(Debug)]
pub struct SessionTable {
    sessions: Vec<Session>,
    buckets: Vec<Bucket>,
    free: SessionId,
    len: u32,
    hasher: FlowHasher,
}

impl SessionTable {
    /// The most sessions that a table can hold: a record keeps the direction in the lowest bit.
    pub const MAX_CAPACITY: u32 = (1 << 31) - 1;

    /// Makes an empty table for this many sessions, at most [`Self::MAX_CAPACITY`], and touches all
    /// of its memory so that no packet pays for the first use of a page.
    pub fn with_capacity(sessions: u32, hasher: FlowHasher) -> Result<Self, OutOfMemory> {
        let capacity = sessions.min(Self::MAX_CAPACITY);
        let buckets = (u64::from(capacity) * 4)
            .div_ceil(RECORDS_PER_TWO_BUCKETS)
            .max(1) as usize;
        let mut table = Self {
            sessions: Vec::new(),
            buckets: Vec::new(),
            free: SessionId::NONE,
            len: 0,
            hasher,
        };
        table
            .sessions
            .try_reserve_exact(capacity as usize)
            .map_err(|_| OutOfMemory)?;
        table
            .buckets
            .try_reserve_exact(buckets)
            .map_err(|_| OutOfMemory)?;
        table.buckets.resize(buckets, Bucket::EMPTY);
        // Chained in ascending order: a table in light use stays in few pages.
        table.sessions.extend((1..=capacity).map(|next| {
            let next = if next == capacity {
                SessionId::NONE
            } else {
                SessionId(next)
            };
            free_session(next)
        }));
        if capacity > 0 {
            table.free = SessionId(0);
        }
        Ok(table)
    }

    /// Hashes a key with the table's secret.
    #[inline]
    #[must_use]
    pub fn hash(&self, key: &FlowKey) -> FlowHash {
        self.hasher.hash(key)
    }

    /// Asks for the bucket of a hash, so that [`find`](Self::find) need not wait for it.
    #[inline]
    pub fn prefetch(&self, hash: FlowHash) {
        weir_simd::prefetch_index(&self.buckets, self.home(hash));
    }

    /// Asks for the session that a hash probably belongs to; worth it once its bucket is there.
    #[inline]
    pub fn prefetch_session(&self, hash: FlowHash) {
        let Some(bucket) = self.buckets.get(self.home(hash)) else {
            return;
        };
        let slot = bucket.matches(Bucket::tag(hash.0)).next();
        if let Some(record) = slot.and_then(|slot| bucket.record(slot)) {
            weir_simd::prefetch_index(&self.sessions, record.id().0 as usize);
        }
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
        if session.protocol == FREE {
            return Err(InsertError::NoProtocol);
        }
        let id = self.free;
        let Some(free) = self.sessions.get(id.0 as usize) else {
            return Err(InsertError::TableFull);
        };
        let next_free = free.timer.next;

        let inbound = session.key(Direction::Inbound);
        let outbound = session.key(Direction::Outbound);
        let inbound_hash = self.hash(&inbound);
        let outbound_hash = self.hash(&outbound);
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
        if let Some(slot) = self.sessions.get_mut(id.0 as usize) {
            *slot = session;
            slot.timer = Timer::default();
        }
        self.free = next_free;
        self.len += 1;
        Ok(id)
    }

    /// Removes a session under both of its keys and from the wheel; none when it is not there.
    pub fn remove(&mut self, wheel: &mut TimerWheel, id: SessionId) -> Option<Session> {
        wheel.disarm(self, id);
        let session = *self.get(id)?;
        for direction in [Direction::Inbound, Direction::Outbound] {
            let hash = self.hash(&session.key(direction));
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
    pub fn capacity(&self) -> u32 {
        self.sessions.len() as u32
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
        (self.bytes() * 10).div_ceil(self.sessions.len().max(1))
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
    Session {
        client: Ipv4Addr::UNSPECIFIED,
        vip: Ipv4Addr::UNSPECIFIED,
        lip: Ipv4Addr::UNSPECIFIED,
        real: Ipv4Addr::UNSPECIFIED,
        client_port: 0,
        vip_port: 0,
        lip_port: 0,
        real_port: 0,
        inbound_seq: SeqDelta(0),
        outbound_seq: SeqDelta(0),
        inbound_ts: 0,
        outbound_ts: 0,
        last_seen: 0,
        isn: SeqNumber(0),
        real_id: RealId(0),
        service: ServiceId(0),
        flags: SessionFlags::default(),
        client_mss: 0,
        lip_id: LipId(0),
        state: State::Close,
        protocol: FREE,
        window_shift: 0,
        client_wscale: Session::NO_WSCALE,
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
        timer: Timer {
            next,
            prev: SessionId::NONE,
            slot: Timer::UNARMED,
        },
        real_wscale: Session::NO_WSCALE,
        port_space: 0,
    }
}
