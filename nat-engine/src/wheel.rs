//! The timer wheel: every session's timeout, armed lazily, expired a few at a time.

use crate::{Session, SessionId, SessionTable, Timer};

/// Milliseconds per tick, as a shift: 16 ms.
const GRANULE_SHIFT: u32 = 4;
/// Ticks per slot of a level grow by this shift from level to level; also a level's slot count.
const LEVEL_SHIFT: u32 = 8;
const LEVELS: usize = 3;
const SLOTS: usize = 1 << LEVEL_SHIFT;
const SLOT_MASK: u32 = SLOTS as u32 - 1;
/// Words of a level's bitmap of slots in use.
const WORDS: usize = SLOTS / 64;

const _: () = assert!(
    LEVELS * SLOTS < Timer::UNARMED as usize,
    "a slot fits a session's link"
);

/// A hierarchical timer wheel of session ids; the links are in the sessions.
///
/// Three levels of 256 slots, of 16 ms, 4.1 s and 17.5 min each: 74 hours ahead; what lies further
/// waits in the furthest slot. Times are milliseconds that wrap, and [`next_due`](Self::next_due)
/// must be called at least every 24 days.
///
/// Arming is lazy: a packet only writes the session's `last_seen`. When a session's slot is
/// reached, its deadline is asked anew; a session that is not due is filed where its deadline now
/// lies. Moving from a coarse slot to a finer one is the same step, so deadlines need no memory. A
/// timer whose deadline moves *closer* must be [`arm`](Self::arm)ed again.
///
/// No timer fires early. One fires late by at most 16 ms plus what the turns' budgets leave over.
#[derive(Debug)]
pub struct TimerWheel {
    heads: [SessionId; LEVELS * SLOTS],
    /// Which slots of the first level hold anything, so that idle time is crossed in jumps.
    busy: [u64; WORDS],
    /// The tick that is to be processed next; its slots may be partly done.
    tick: u32,
    armed: u32,
}

impl TimerWheel {
    /// How far ahead a timer is filed at most; beyond, it is visited once in between.
    pub const RANGE_MS: u32 = ((SLOTS as u32 - 1) << (LEVEL_SHIFT * 2)) << GRANULE_SHIFT;

    /// The length of a tick, by which a timer may be late.
    pub const GRANULE_MS: u32 = 1 << GRANULE_SHIFT;

    /// Makes an empty wheel that begins to turn at `now_ms`.
    #[must_use]
    pub const fn new(now_ms: u32) -> Self {
        Self {
            heads: [SessionId::NONE; LEVELS * SLOTS],
            busy: [0; WORDS],
            tick: now_ms >> GRANULE_SHIFT,
            armed: 0,
        }
    }

    /// Files a session under a deadline, wherever it was before; one that is past fires at the next
    /// turn. An id without a session is ignored.
    pub fn arm(&mut self, table: &mut SessionTable, id: SessionId, deadline_ms: u32) {
        let slot = self.slot_for(deadline_ms);
        let Some(session) = table.get(id) else {
            return;
        };
        if session.timer.slot == slot {
            return;
        }
        self.disarm(table, id);
        let Some(head) = self.heads.get_mut(slot as usize) else {
            return;
        };
        let next = core::mem::replace(head, id);
        if let Some(session) = table.get_mut(id) {
            session.timer = Timer {
                next,
                prev: SessionId::NONE,
                slot,
            };
        }
        if let Some(session) = table.get_mut(next) {
            session.timer.prev = id;
        }
        if let Some(word) = self.busy.get_mut(slot as usize / 64) {
            *word |= 1 << (slot % 64);
        }
        self.armed += 1;
    }

    /// Sees to it that a session is looked at once a deadline has come: one whose slot has its turn
    /// before stays there and is filed anew then, so that states that follow each other quickly file
    /// it once.
    #[inline]
    pub fn arm_by(&mut self, table: &mut SessionTable, id: SessionId, deadline_ms: u32) {
        let armed = table.get(id).and_then(|it| self.turn_of(it.timer.slot));
        if armed.is_none_or(|turn| turn > self.ahead(deadline_ms)) {
            self.arm(table, id, deadline_ms);
        }
    }

    /// Takes a session out of the wheel; one that is not in it is left alone.
    pub fn disarm(&mut self, table: &mut SessionTable, id: SessionId) {
        let Some(session) = table.get_mut(id) else {
            return;
        };
        let Timer { next, prev, slot } = core::mem::take(&mut session.timer);
        let Some(head) = self.heads.get_mut(slot as usize) else {
            return; // Timer::UNARMED is past the last slot.
        };
        self.armed -= 1;
        if let Some(session) = table.get_mut(next) {
            session.timer.prev = prev;
        }
        if let Some(session) = table.get_mut(prev) {
            session.timer.next = next;
            return;
        }
        *head = next;
        if next == SessionId::NONE
            && let Some(word) = self.busy.get_mut(slot as usize / 64)
        {
            *word &= !(1 << (slot % 64));
        }
    }

    /// Returns the next session whose deadline has come, out of the wheel; the caller removes it or
    /// arms it again. None when nothing more is due or the budget is used up; the next call goes on
    /// where this one stopped.
    ///
    /// `budget` is reduced by one for every session looked at, due or not, and for every 4 s of
    /// idle time crossed, so a turn's work is bounded whatever expires at once. `deadline` says when
    /// a session expires, in the same milliseconds: usually `last_seen` plus its state's timeout.
    pub fn next_due(
        &mut self,
        table: &mut SessionTable,
        now_ms: u32,
        budget: &mut u32,
        mut deadline: impl FnMut(&Session) -> u32,
    ) -> Option<SessionId> {
        if self.armed == 0 && self.until_tick(now_ms) < 0 {
            self.tick = now_ms >> GRANULE_SHIFT;
        }
        while self.until_tick(now_ms) <= 0 && *budget > 0 {
            let id = self.first_of_tick();
            let Some(session) = table.get(id) else {
                self.jump(now_ms, budget);
                continue;
            };
            *budget -= 1;
            // What comes next is at hand by then.
            table.prefetch_session(session.timer.next);
            let deadline = deadline(session);
            self.disarm(table, id);
            if deadline.wrapping_sub(now_ms).cast_signed() <= 0 {
                return Some(id);
            }
            self.arm(table, id, deadline);
        }
        None
    }

    /// Returns how many milliseconds may pass before [`next_due`](Self::next_due) has work; at most
    /// 4.1 s, and none when no timer is armed.
    #[must_use]
    pub fn idle_ms(&self, now_ms: u32) -> Option<u32> {
        if self.armed == 0 {
            return None;
        }
        let until_tick = self.until_tick(now_ms);
        let ahead = if self.first_of_tick() == SessionId::NONE {
            self.next_busy_tick().wrapping_sub(self.tick) << GRANULE_SHIFT
        } else {
            0
        };
        Some(
            until_tick
                .saturating_add_unsigned(ahead)
                .max(0)
                .cast_unsigned(),
        )
    }

    /// Returns the number of sessions in the wheel.
    #[must_use]
    pub const fn armed(&self) -> u32 {
        self.armed
    }

    /// How long until the tick to be processed has come; negative when it is past.
    const fn until_tick(&self, now_ms: u32) -> i32 {
        (self.tick << GRANULE_SHIFT)
            .wrapping_sub(now_ms)
            .cast_signed()
    }

    /// How many ticks a deadline lies ahead.
    const fn ahead(&self, deadline_ms: u32) -> u32 {
        let ahead_ms = deadline_ms
            .wrapping_sub(self.tick << GRANULE_SHIFT)
            .cast_signed();
        if ahead_ms <= 0 {
            0
        } else {
            // Up, not down: a timer is never early.
            (ahead_ms.cast_unsigned() + (Self::GRANULE_MS - 1)) >> GRANULE_SHIFT
        }
    }

    /// How many ticks ahead a slot has its turn; none when it is no slot.
    const fn turn_of(&self, slot: u16) -> Option<u32> {
        let level = slot as u32 >> LEVEL_SHIFT;
        if level >= LEVELS as u32 {
            return None;
        }
        let shift = level * LEVEL_SHIFT;
        let now = self.tick >> shift;
        let rounds = (slot as u32).wrapping_sub(now) & SLOT_MASK;
        Some((now.wrapping_add(rounds) << shift).wrapping_sub(self.tick))
    }

    /// The slot whose turn comes first of those that hold the deadline's tick. On a level above the
    /// first it is never the one that the current tick belongs to: that one is being emptied, or is.
    const fn slot_for(&self, deadline_ms: u32) -> u16 {
        let ahead = self.ahead(deadline_ms);
        let tick = self.tick.wrapping_add(ahead);
        if ahead < SLOTS as u32 {
            return (tick & SLOT_MASK) as u16;
        }
        let within = self.tick & SLOT_MASK;
        if (within + ahead) >> LEVEL_SHIFT < SLOTS as u32 {
            return SLOTS as u16 + (tick >> LEVEL_SHIFT & SLOT_MASK) as u16;
        }
        let within = self.tick & (SLOTS * SLOTS - 1) as u32;
        let coarse = (within + ahead) >> (LEVEL_SHIFT * 2);
        let coarse = if coarse < SLOTS as u32 {
            coarse
        } else {
            SLOTS as u32 - 1
        };
        let slot = (self.tick >> (LEVEL_SHIFT * 2)).wrapping_add(coarse) & SLOT_MASK;
        (SLOTS * 2) as u16 + slot as u16
    }

    /// A session that waits for the current tick: first those to be filed in finer slots, when a
    /// coarser slot begins here, then the tick's own.
    fn first_of_tick(&self) -> SessionId {
        let head = |slot: usize| self.heads.get(slot).copied().unwrap_or(SessionId::NONE);
        if self.tick & SLOT_MASK == 0 {
            let second = self.tick >> LEVEL_SHIFT & SLOT_MASK;
            if second == 0 {
                let third = self.tick >> (LEVEL_SHIFT * 2) & SLOT_MASK;
                let id = head(SLOTS * 2 + third as usize);
                if id != SessionId::NONE {
                    return id;
                }
            }
            let id = head(SLOTS + second as usize);
            if id != SessionId::NONE {
                return id;
            }
        }
        head((self.tick & SLOT_MASK) as usize)
    }

    /// Goes on to the next tick that may have work, but not past the first one yet to come.
    fn jump(&mut self, now_ms: u32, budget: &mut u32) {
        let to_come = (self.until_tick(now_ms).unsigned_abs() >> GRANULE_SHIFT) + 1;
        let ahead = self.next_busy_tick().wrapping_sub(self.tick).min(to_come);
        self.tick = self.tick.wrapping_add(ahead);
        if self.tick & SLOT_MASK == 0 {
            *budget -= 1;
        }
    }

    /// The next tick after the current one whose slot holds anything, or else where the next slot
    /// of the second level begins.
    fn next_busy_tick(&self) -> u32 {
        let start = (self.tick & SLOT_MASK) + 1;
        let first = start as usize / 64;
        for (index, &word) in self.busy.iter().enumerate().skip(first) {
            let word = if index == first {
                word & (u64::MAX << (start % 64))
            } else {
                word
            };
            if word != 0 {
                let slot = index as u32 * 64 + word.trailing_zeros();
                return (self.tick & !SLOT_MASK) + slot;
            }
        }
        (self.tick & !SLOT_MASK).wrapping_add(SLOTS as u32)
    }
}
