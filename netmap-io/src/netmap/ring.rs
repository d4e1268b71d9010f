//! A netmap ring as its user sees it, over the words of `struct netmap_ring` and its slots.

use std::mem::{offset_of, size_of};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use netmap_sys::netmap::{netmap_if, netmap_ring, netmap_slot};

use crate::shared::SharedMemory;

/// The number of host transmit rings (version 14); older modules leave zero and have one.
const HOST_TX_RINGS: usize = offset_of!(netmap_if, ni_spare1);

/// One slot: a buffer, the bytes of it that are a frame, and `NS_*` flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) buffer: u32,
    pub(super) len: u16,
    pub(super) flags: u16,
}

/// A receive or a transmit ring; the slots from head to tail, tail excluded, are ours.
#[derive(Debug)]
pub(super) struct Ring {
    memory: SharedMemory,
    at: usize,
    slots: u32,
}

/// Where buffers lie in the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Buffers {
    /// Offset of buffer 0.
    pub(super) at: usize,
    pub(super) len: u32,
    pub(super) count: u32,
}

/// The rings of one registration.
#[derive(Debug)]
pub(super) struct Rings {
    pub(super) rx: Ring,
    pub(super) tx: Ring,
}

impl Rings {
    /// Finds the rings of a queue, or those of the host when `queue` is none.
    pub(super) fn find(
        memory: &SharedMemory,
        interface: usize,
        queue: Option<u16>,
    ) -> Option<Self> {
        let load = |offset: usize| Some(memory.word32(interface + offset)?.load(Relaxed) as usize);
        let tx_rings = load(offset_of!(netmap_if, ni_tx_rings))?;
        let rx_rings = load(offset_of!(netmap_if, ni_rx_rings))?;
        let host_tx_rings = load(HOST_TX_RINGS)?.max(1);
        let (tx, rx) = match queue {
            Some(queue) if (queue as usize) < tx_rings.min(rx_rings) => {
                (queue as usize, queue as usize)
            }
            Some(_) => return None,
            None => (tx_rings, rx_rings),
        };
        let ring = |index: usize| {
            let entry = interface + offset_of!(netmap_if, ring_ofs) + index * size_of::<isize>();
            let distance = memory.word64(entry)?.load(Relaxed);
            let at = interface.checked_add_signed(isize::try_from(distance).ok()?)?;
            Ring::new(memory.alias()?, at)
        };
        Some(Self {
            rx: ring(tx_rings + host_tx_rings + rx)?,
            tx: ring(tx)?,
        })
    }
}

impl Ring {
    fn new(memory: SharedMemory, at: usize) -> Option<Self> {
        let slots = memory
            .word32(at + offset_of!(netmap_ring, num_slots))?
            .load(Relaxed);
        let end = at + size_of::<netmap_ring>() + slots as usize * size_of::<netmap_slot>();
        (slots > 1 && end <= memory.len()).then_some(Self { memory, at, slots })
    }

    /// Returns where the buffers lie that this ring's slots name.
    pub(super) fn buffers(&self) -> Option<Buffers> {
        let distance = self.memory.word64(self.at)?.load(Relaxed);
        let len = self.load(offset_of!(netmap_ring, nr_buf_size))?;
        let at = self
            .at
            .checked_add_signed(isize::try_from(distance).ok()?)?;
        let room = self.memory.len().checked_sub(at)?;
        let count = u32::try_from(room.checked_div(len as usize)?).ok()?;
        Some(Buffers { at, len, count })
    }

    /// Returns how many slots are ours.
    pub(super) fn available(&self) -> u32 {
        let (head, tail) = (self.head(), self.tail());
        if head >= self.slots || tail >= self.slots {
            return 0;
        }
        if tail >= head {
            tail - head
        } else {
            tail + self.slots - head
        }
    }

    /// Returns our oldest slot.
    pub(super) fn slot(&self) -> Option<Slot> {
        let at = self.slot_at();
        Some(Slot {
            buffer: self.memory.word32(at)?.load(Relaxed),
            len: self
                .memory
                .word16(at + offset_of!(netmap_slot, len))?
                .load(Relaxed),
            flags: self
                .memory
                .word16(at + offset_of!(netmap_slot, flags))?
                .load(Relaxed),
        })
    }

    /// Changes our oldest slot and gives it to the kernel, which sees it at the next sync.
    pub(super) fn release(&mut self, slot: Slot) {
        let at = self.slot_at();
        if let Some(word) = self.memory.word32(at) {
            word.store(slot.buffer, Relaxed);
        }
        if let Some(word) = self.memory.word16(at + offset_of!(netmap_slot, len)) {
            word.store(slot.len, Relaxed);
        }
        if let Some(word) = self.memory.word16(at + offset_of!(netmap_slot, flags)) {
            word.store(slot.flags, Relaxed);
        }
        let next = self.head() + 1;
        let next = if next >= self.slots { 0 } else { next };
        // `cur`, the wake-up point, goes with `head`: we never wait for more than one slot.
        for word in [offset_of!(netmap_ring, cur), offset_of!(netmap_ring, head)] {
            if let Some(word) = self.memory.word32(self.at + word) {
                word.store(next, Release);
            }
        }
    }

    fn slot_at(&self) -> usize {
        self.at + size_of::<netmap_ring>() + self.head() as usize * size_of::<netmap_slot>()
    }

    fn head(&self) -> u32 {
        self.load(offset_of!(netmap_ring, head)).unwrap_or(0)
    }

    fn tail(&self) -> u32 {
        let tail = self.memory.word32(self.at + offset_of!(netmap_ring, tail));
        tail.map_or(0, |tail| tail.load(Acquire))
    }

    fn load(&self, offset: usize) -> Option<u32> {
        Some(self.memory.word32(self.at + offset)?.load(Relaxed))
    }
}

/// Takes the list of spare buffers that the kernel lent: each begins with the number of the next.
pub(super) fn take_spares(
    memory: &SharedMemory,
    interface: usize,
    buffers: Buffers,
    count: u32,
) -> Vec<u32> {
    let mut spares = Vec::new();
    let Some(head) = memory.word32(interface + offset_of!(netmap_if, ni_bufs_head)) else {
        return spares;
    };
    let mut next = head.load(Relaxed);
    while next != 0 && next < buffers.count && spares.len() < count as usize {
        spares.push(next);
        let at = buffers.at + next as usize * buffers.len as usize;
        next = memory.word32(at).map_or(0, |word| word.load(Relaxed));
    }
    // At the end the kernel frees what this list names. By then the buffers have moved between
    // rings and ports, so it names none; the allocator starts afresh when its last user is gone.
    head.store(0, Relaxed);
    spares
}
