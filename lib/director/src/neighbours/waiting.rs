//! Frames that wait for their neighbour, each in a place of its own.

use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use weir_model::PortId;
use weir_wire::{EthAddr, EthHeader, Header};

/// Frames that may wait in all, and for one neighbour.
pub(super) const HELD: usize = 256;
pub(super) const HELD_EACH: usize = 32;
/// The longest frame that may wait.
pub(super) const HELD_LEN: usize = 2048;
/// The longest that a frame waits.
const HOLD_MS: u32 = 5_000;

/// The frames that wait, and those whose neighbour has become known.
#[derive(Debug)]
pub(super) struct Waiting {
    frames: Vec<HeldFrame>,
    /// How many wait.
    blocked: usize,
    /// How many wait no longer, and have not been taken out.
    ready: usize,
    next_order: u64,
}

#[derive(Clone, Debug)]
struct HeldFrame {
    wait: Wait,
    order: u64,
    since_ms: u32,
    len: u16,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Wait {
    #[default]
    Free,
    For(PortId, Ipv4Addr),
    Ready(PortId),
}

impl Waiting {
    pub(super) fn new() -> Self {
        let free = HeldFrame {
            wait: Wait::Free,
            order: 0,
            since_ms: 0,
            len: 0,
            bytes: vec![0; HELD_LEN],
        };
        Self {
            frames: vec![free; HELD],
            blocked: 0,
            ready: 0,
            next_order: 0,
        }
    }

    /// Says whether some frame waits.
    pub(super) const fn is_waiting(&self) -> bool {
        self.blocked > 0
    }

    /// Says whether the neighbour of some frame has become known.
    pub(super) const fn has_ready(&self) -> bool {
        self.ready > 0
    }

    /// Keeps a copy of a frame until its neighbour is known; false when there is no room.
    pub(super) fn hold(
        &mut self,
        now_ms: u32,
        port: PortId,
        address: Ipv4Addr,
        frame: &[u8],
    ) -> bool {
        let wait = Wait::For(port, address);
        let same = self.frames.iter().filter(|held| held.wait == wait).count();
        if same >= HELD_EACH {
            return false;
        }
        let Some(free) = self.frames.iter_mut().find(|held| held.wait == Wait::Free) else {
            return false;
        };
        let Some(bytes) = free.bytes.get_mut(..frame.len()) else {
            return false;
        };
        bytes.copy_from_slice(frame);
        free.len = frame.len() as u16;
        free.wait = wait;
        free.since_ms = now_ms;
        free.order = self.next_order;
        self.next_order += 1;
        self.blocked += 1;
        true
    }

    /// Makes the frames that wait for a neighbour ready.
    pub(super) fn release(&mut self, port: PortId, address: Ipv4Addr, mac: EthAddr) {
        for held in &mut self.frames {
            if held.wait != Wait::For(port, address) {
                continue;
            }
            if let Some(eth) = EthHeader::at_mut(&mut held.bytes, 0) {
                eth.dst = mac.0;
            }
            held.wait = Wait::Ready(port);
            self.blocked -= 1;
            self.ready += 1;
        }
    }

    /// Takes out the oldest frame whose neighbour has become known.
    pub(super) fn next_ready(&mut self, buffer: &mut [u8]) -> Option<(PortId, usize)> {
        if self.ready == 0 {
            return None;
        }
        let ready = self
            .frames
            .iter_mut()
            .filter(|held| matches!(held.wait, Wait::Ready(_)));
        let held = ready.min_by_key(|held| held.order)?;
        let Wait::Ready(port) = held.wait else {
            return None;
        };
        let len = (held.len as usize).min(buffer.len());
        buffer
            .get_mut(..len)?
            .copy_from_slice(held.bytes.get(..len)?);
        held.wait = Wait::Free;
        self.ready -= 1;
        Some((port, len))
    }

    /// Gives up what has waited too long, and returns how many frames that were.
    pub(super) fn give_up_old(&mut self, now_ms: u32) -> u32 {
        self.give_up(|held| now_ms.wrapping_sub(held.since_ms) > HOLD_MS)
    }

    /// Gives up what waits for a neighbour, and returns how many frames that were.
    pub(super) fn give_up_for(&mut self, port: PortId, address: Ipv4Addr) -> u32 {
        self.give_up(|held| held.wait == Wait::For(port, address))
    }

    fn give_up(&mut self, hopeless: impl Fn(&HeldFrame) -> bool) -> u32 {
        let mut count = 0;
        for held in &mut self.frames {
            if matches!(held.wait, Wait::For(..)) && hopeless(held) {
                held.wait = Wait::Free;
                count += 1;
            }
        }
        self.blocked -= count as usize;
        count
    }
}
