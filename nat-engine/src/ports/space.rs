//! The ports of one LIP towards one endpoint.

use alloc::vec::Vec;

use weir_model::LipId;

use super::bits::Bits;
use super::resting::{Queue, Resting};
use super::share::Share;
use super::{Picked, Rest, SpaceId};

/// How long the memory of a port's last connection is of use: nothing of it can be under way any
/// more, and the longest `TIME_WAIT` of a real server is over.
pub(super) const FULL_REST_MS: u32 = 120_000;

/// Each port is in use, resting, or free (fully rested or never used).
#[derive(Debug)]
pub(super) struct Space {
    pub(super) lip: LipId,
    pub(super) share: Share,
    /// The LIP set that takes from here; none when the configuration no longer has it.
    pub(super) set: Option<u32>,
    /// Ports of the share in use.
    pub(super) used: u32,
    /// Ports in use that an earlier range had, in ascending order.
    outside: Vec<u16>,
    /// Where the search for a free port goes on, as an index of the share.
    cursor: u32,
    resting: Queue,
    /// Which are free and which in use; made when the first is taken.
    ports: Option<Bits>,
}

/// Where the next port comes from.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// The free one at an index.
    Free(u32),
    /// The one that rests longest.
    Oldest,
}

impl Space {
    pub(super) const fn new(lip: LipId, share: Share, cursor: u32) -> Self {
        Self {
            lip,
            share,
            set: None,
            used: 0,
            outside: Vec::new(),
            cursor,
            resting: Queue::EMPTY,
            ports: None,
        }
    }

    /// Takes a port: the one that rests longest if it is fully rested, else a free one, else the
    /// one that rests longest whatever its age.
    pub(super) fn take(
        &mut self,
        ring: &mut Resting,
        now_ms: u32,
        reuse_after_ms: u32,
    ) -> Option<Picked> {
        if self.ports.is_none() {
            self.ports = Some(Bits::new(self.share.bound(), self.cursor)?);
        }
        let next = self.next(ring, now_ms, reuse_after_ms)?;
        let share = &self.share;
        let ports = self.ports.as_mut()?;
        let (index, rest) = match next {
            Next::Free(index) => {
                ports.remove(index, |word| share.word(word));
                self.cursor = index + 1;
                (index, None)
            }
            Next::Oldest => {
                let (port, rest) = ring.pop(&mut self.resting)?;
                (share.index(port)?, Some(rest))
            }
        };
        ports.mark_used(index, true, |word| share.word(word));
        self.used += 1;
        let age = |rest: Rest| now_ms.wrapping_sub(rest.freed_at);
        Some(Picked {
            port: share.port(index)?,
            rest,
            early: rest.is_some_and(|rest| age(rest) < reuse_after_ms),
        })
    }

    /// Returns the port that [`take`](Self::take) takes next, if nothing comes between; none before
    /// the first was taken.
    pub(super) fn foresee(
        &mut self,
        ring: &Resting,
        now_ms: u32,
        reuse_after_ms: u32,
    ) -> Option<u16> {
        match self.next(ring, now_ms, reuse_after_ms)? {
            Next::Free(index) => self.share.port(index),
            Next::Oldest => ring.peek(self.resting).map(|(port, _)| port),
        }
    }

    fn next(&mut self, ring: &Resting, now_ms: u32, reuse_after_ms: u32) -> Option<Next> {
        if self.used >= self.share.count() {
            return None;
        }
        let share = &self.share;
        let ports = self.ports.as_mut()?;
        let oldest = ring.peek(self.resting);
        let age = oldest.map(|(_, rest)| now_ms.wrapping_sub(rest.freed_at));
        let rested = age.is_some_and(|age| age >= reuse_after_ms.max(FULL_REST_MS));
        if rested {
            return Some(Next::Oldest);
        }
        let free = ports.next_cyclic(self.cursor, |word| share.word(word));
        free.map(Next::Free)
            .or_else(|| oldest.map(|_| Next::Oldest))
    }

    /// Asks for what [`take`](Self::take) reads next.
    #[inline]
    pub(super) fn prefetch(&self, ring: &Resting) {
        ring.prefetch(self.resting);
        if let Some(ports) = &self.ports {
            ports.prefetch(self.cursor);
        }
    }

    /// Asks for what giving a port up or freeing it writes.
    #[inline]
    pub(super) fn prefetch_port(&self, port: u16) {
        if let (Some(index), Some(ports)) = (self.share.index(port), &self.ports) {
            ports.prefetch(index);
        }
    }

    /// Gives a port up and says whether it has to rest; none when it was not in use.
    pub(super) fn give_up(&mut self, port: u16) -> Option<bool> {
        let Some(index) = self.share.index(port) else {
            let place = self.outside.binary_search(&port).ok()?;
            self.outside.remove(place);
            return Some(false);
        };
        let ports = self.ports.as_mut()?;
        if !ports.is_used(index) {
            return None;
        }
        let share = &self.share;
        ports.mark_used(index, false, |word| share.word(word));
        self.used -= 1;
        Some(true)
    }

    /// Lets a port that was given up rest, or frees it when the ring has no records.
    pub(super) fn rest(&mut self, ring: &mut Resting, space: SpaceId, port: u16, rest: Rest) {
        if !ring.push(&mut self.resting, space, port, rest) {
            self.free(port);
        }
    }

    /// Frees the port that rests longest, because the ring needs its record.
    pub(super) fn forget_oldest(&mut self, ring: &mut Resting) {
        if let Some((port, _)) = ring.pop(&mut self.resting) {
            self.free(port);
        }
    }

    /// Frees all memory that is kept of resting ports.
    pub(super) fn forget_all(&mut self, ring: &mut Resting) {
        ring.retain(&mut self.resting, |_| false);
        self.ports = None;
    }

    /// Takes over another range or share of it: ports in use stay in use, those outside are not
    /// taken again.
    pub(super) fn change_share(&mut self, ring: &mut Resting, share: Share) {
        if self.share == share {
            return;
        }
        let old = core::mem::replace(&mut self.share, share);
        self.cursor = 0;
        let Some(ports) = self.ports.take() else {
            return; // No port was ever taken.
        };
        let mut in_use = core::mem::take(&mut self.outside);
        in_use.extend(ports.numbers_used().filter_map(|index| old.port(index)));
        in_use.sort_unstable();

        self.used = 0;
        let share = &self.share;
        let word = |word| share.word(word);
        let mut ports = Bits::new(share.bound(), 0);
        for port in in_use {
            match (share.index(port), ports.as_mut()) {
                (Some(index), Some(ports)) => {
                    ports.mark_used(index, true, word);
                    ports.remove(index, word);
                    self.used += 1;
                }
                (Some(_) | None, _) => self.outside.push(port),
            }
        }
        ring.retain(&mut self.resting, |port| {
            let Some(index) = share.index(port) else {
                return false;
            };
            if let Some(ports) = ports.as_mut() {
                ports.remove(index, word);
            }
            true
        });
        self.ports = ports;
    }

    /// Says whether any session has a port of this space.
    pub(super) fn is_in_use(&self) -> bool {
        self.used > 0 || !self.outside.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.outside.capacity() * size_of::<u16>() + self.ports.as_ref().map_or(0, Bits::bytes)
    }

    fn free(&mut self, port: u16) {
        let share = &self.share;
        if let (Some(index), Some(ports)) = (share.index(port), self.ports.as_mut()) {
            ports.insert(index, |word| share.word(word));
        }
    }
}
