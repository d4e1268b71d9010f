//! Ports that rest after their session, in the order in which they were released.

use alloc::vec::Vec;

use weir_wire::SeqNumber;

use super::{Rest, SpaceId};
use crate::memory::reserve;
use crate::{OutOfMemory, Prepare};

/// The link of a record that is the last of its space.
const END: u32 = u32::MAX;
/// The space of a record that is dead.
const DEAD: SpaceId = SpaceId(u32::MAX);

/// What is remembered of a released port.
#[derive(Clone, Copy, Debug)]
struct Record {
    space: SpaceId,
    /// The record of the same space that was released next.
    next: u32,
    freed_at: u32,
    end_seq: SeqNumber,
    last_tsval: u32,
    port: u16,
}

const _: () = assert!(
    size_of::<Record>() == 24,
    "counted in the memory per session"
);

/// A space's resting ports, oldest first: where they are in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queue {
    head: u32,
    tail: u32,
}

impl Queue {
    pub(super) const EMPTY: Self = Self {
        head: END,
        tail: END,
    };
}

/// One ring of records for all spaces of a worker, in the order of time.
///
/// Because records are written in the order of time and a space takes its oldest first, the oldest
/// live record of the ring is always the head of its space's queue. So the ring can overwrite it by
/// moving one head, and no record needs a timer.
#[derive(Debug)]
pub(super) struct Resting {
    records: Vec<Record>,
    /// The record to be written next, which is the oldest.
    at: u32,
}

impl Resting {
    /// Makes a ring of dead records.
    pub(super) fn with_capacity(records: u32, prepare: Prepare<'_>) -> Result<Self, OutOfMemory> {
        let records = records.min(END - 1);
        let mut ring = Self {
            records: Vec::new(),
            at: 0,
        };
        reserve(&mut ring.records, records as usize, prepare)?;
        let dead = Record {
            space: DEAD,
            next: END,
            freed_at: 0,
            end_seq: SeqNumber(0),
            last_tsval: 0,
            port: 0,
        };
        ring.records.resize(records as usize, dead);
        Ok(ring)
    }

    /// Returns the space whose oldest record the next [`push`](Self::push) overwrites: that space
    /// must pop it first.
    pub(super) fn overwrites(&self) -> Option<SpaceId> {
        let space = self.records.get(self.at as usize)?.space;
        (space != DEAD).then_some(space)
    }

    /// Returns the port that will be overwritten so many pushes after the next, as it stands now.
    #[inline]
    pub(super) fn overwrites_after(&self, pushes: u32) -> Option<(SpaceId, u16)> {
        let record = self.records.get((self.at + pushes) as usize)?;
        (record.space != DEAD).then_some((record.space, record.port))
    }

    /// Appends a port to its space's queue; says false when the ring has no records at all.
    pub(super) fn push(
        &mut self,
        queue: &mut Queue,
        space: SpaceId,
        port: u16,
        rest: Rest,
    ) -> bool {
        let at = self.at;
        let Some(record) = self.records.get_mut(at as usize) else {
            return false;
        };
        *record = Record {
            space,
            next: END,
            freed_at: rest.freed_at,
            end_seq: rest.end_seq,
            last_tsval: rest.last_tsval,
            port,
        };
        match self.records.get_mut(queue.tail as usize) {
            Some(tail) => tail.next = at,
            None => queue.head = at,
        }
        queue.tail = at;
        self.at = if at + 1 < self.records.len() as u32 {
            at + 1
        } else {
            0
        };
        true
    }

    /// Asks for a queue's oldest port.
    #[inline]
    pub(super) fn prefetch(&self, queue: Queue) {
        weir_simd::prefetch_index(&self.records, queue.head as usize);
    }

    /// Returns a queue's oldest port.
    pub(super) fn peek(&self, queue: Queue) -> Option<(u16, Rest)> {
        let record = self.records.get(queue.head as usize)?;
        let rest = Rest {
            end_seq: record.end_seq,
            last_tsval: record.last_tsval,
            freed_at: record.freed_at,
        };
        Some((record.port, rest))
    }

    /// Takes a queue's oldest port out.
    pub(super) fn pop(&mut self, queue: &mut Queue) -> Option<(u16, Rest)> {
        let oldest = self.peek(*queue)?;
        let record = self.records.get_mut(queue.head as usize)?;
        record.space = DEAD;
        queue.head = record.next;
        if queue.head == END {
            queue.tail = END;
        }
        Some(oldest)
    }

    /// Takes those ports out of a queue that are not to be kept; for configuration changes.
    pub(super) fn retain(&mut self, queue: &mut Queue, mut keep: impl FnMut(u16) -> bool) {
        let mut at = core::mem::replace(queue, Queue::EMPTY).head;
        while let Some(record) = self.records.get_mut(at as usize) {
            let here = at;
            at = core::mem::replace(&mut record.next, END);
            if !keep(record.port) {
                record.space = DEAD;
                continue;
            }
            match self.records.get_mut(queue.tail as usize) {
                Some(tail) => tail.next = here,
                None => queue.head = here,
            }
            queue.tail = here;
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.records.capacity() * size_of::<Record>()
    }
}
