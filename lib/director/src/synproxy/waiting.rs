//! Handshakes that a cookie completed on the client's side and that wait for their real servers.

use alloc::vec::Vec;

use nat_engine::Session;
use weir_model::Time;
use weir_wire::{EthAddr, SeqNumber};

use super::early::Early;

/// Handshakes that wait at the same time, on one worker.
pub(super) const ROOM: usize = 1 << 16;

/// One such handshake.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    /// When the cookie was verified.
    pub(crate) began: Time,
    /// When the SYN is sent again, or given up, in milliseconds.
    pub(crate) due_ms: u32,
    pub(crate) retries: u8,
    /// The last timestamp that the client was told; what the real server's are moved to.
    pub(crate) told_tsval: u32,
    /// The real server's first timestamp, as it is told back.
    pub(crate) real_tsval: Option<u32>,
    /// The largest segment that the real server takes; 0 when it said nothing.
    pub(crate) real_mss: u16,
    /// The next number that the real server is sent (*client*).
    pub(crate) next_seq: SeqNumber,
    /// Where the real server's frames go, once it has answered.
    pub(crate) to: Option<EthAddr>,
    /// Packets that the data came in.
    pub(crate) packets: u32,
    pub(crate) fin: bool,
    /// Whether what is held is being sent.
    pub(crate) released: bool,
    pub(crate) early: Early,
}

/// All of one worker's; the memory is reserved from the first configuration that needs it, and
/// touched when first used.
#[derive(Debug, Default)]
pub(crate) struct Waitings {
    /// Those that were ever used, with room for all.
    places: Vec<Option<Waiting>>,
    free: Vec<u32>,
    room: usize,
}

impl Waitings {
    pub(crate) fn make_room(&mut self) {
        if self.room == 0 {
            self.places.reserve_exact(ROOM);
            self.free.reserve_exact(ROOM);
            self.room = ROOM;
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.free.is_empty() && self.places.len() == self.room
    }

    /// Adds a handshake and returns its place.
    pub(crate) fn insert(&mut self, waiting: Waiting) -> Option<u32> {
        if let Some(at) = self.free.pop() {
            *self.places.get_mut(at as usize)? = Some(waiting);
            return Some(at);
        }
        if self.is_full() {
            return None;
        }
        // Within what was reserved: nothing is allocated.
        let at = self.places.len() as u32;
        self.places.push(Some(waiting));
        Some(at)
    }

    pub(crate) fn get(&self, at: u32) -> Option<&Waiting> {
        self.places.get(at as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, at: u32) -> Option<&mut Waiting> {
        self.places.get_mut(at as usize)?.as_mut()
    }

    pub(crate) fn remove(&mut self, at: u32) -> Option<Waiting> {
        let waiting = self.places.get_mut(at as usize)?.take()?;
        self.free.push(at);
        Some(waiting)
    }

    /// Returns when a session's SYN is due, if it waits for its real server.
    pub(crate) fn due_ms(&self, session: &Session) -> Option<u32> {
        if !session.waits() || session.state != nat_engine::State::SynSent {
            return None;
        }
        self.get(session.waiting).map(|waiting| waiting.due_ms)
    }
}
