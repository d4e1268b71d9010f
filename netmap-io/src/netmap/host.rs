//! The way to the host's own network stack and back, over netmap's host rings.
//!
//! There is one pair of host rings, and the worker of queue 0 owns it. The other workers pass it
//! their frames over a ring of their own each, and get a buffer back for each: nothing is copied,
//! and no pool loses a buffer to another.

use netmap_sys::netmap::NS_BUF_CHANGED;
use nix::errno::Errno;
use rtrb::{Consumer, Producer, RingBuffer};

use super::port::put;
use super::ring::{Ring, Rings, Slot};
use super::sys::Sync;
use crate::{Frame, FramePool, PortStats, RegionId};

/// Frames that may wait between a worker and the worker of queue 0.
const WAITING: usize = 256;

/// The worker's end of a way to the host rings.
#[derive(Debug)]
pub(super) struct HostTail {
    frames: Producer<Frame>,
    returned: Consumer<u32>,
}

/// The host rings' end of a way from another worker.
#[derive(Debug)]
pub(super) struct HostHead {
    frames: Consumer<Frame>,
    returned: Producer<u32>,
}

/// Makes a way from a worker to the worker of queue 0.
pub(super) fn way() -> (HostTail, HostHead) {
    let (frames, from) = RingBuffer::new(WAITING);
    let (back, returned) = RingBuffer::new(WAITING);
    let tail = HostTail { frames, returned };
    let head = HostHead {
        frames: from,
        returned: back,
    };
    (tail, head)
}

impl HostTail {
    /// Passes a frame on, copied where it is of foreign memory.
    pub(super) fn deliver(
        &mut self,
        pool: &mut FramePool,
        region: RegionId,
        frame: Frame,
    ) -> Result<(), Frame> {
        if self.frames.is_full() {
            return Err(frame);
        }
        let frame = if frame.region() == region {
            frame
        } else {
            let Some(mut copy) = pool.alloc(region) else {
                return Err(frame);
            };
            if !copy.set_range(0..frame.len()) {
                pool.free(copy);
                return Err(frame);
            }
            copy.bytes_mut().copy_from_slice(frame.bytes());
            pool.free(frame);
            copy
        };
        let rtrb::PushError::Full(frame) = match self.frames.push(frame) {
            Ok(()) => return Ok(()),
            Err(full) => full,
        };
        Err(frame)
    }

    /// Takes the buffers back that came for delivered frames.
    pub(super) fn reclaim(&mut self, pool: &mut FramePool, region: RegionId) {
        while let Ok(buffer) = self.returned.pop() {
            pool.give_back(region, buffer);
        }
    }
}

/// The host rings.
#[derive(Debug)]
pub(super) struct HostRings<K> {
    kernel: K,
    rings: Rings,
    others: Vec<HostHead>,
    /// Frames stand in the ring to the host that the kernel has not looked at.
    dirty: bool,
    /// Calls until the kernel is asked for frames although the device is busy.
    patience: u8,
}

/// A busy device's queue asks for the host's frames every so many bursts.
const PATIENCE: u8 = 16;

impl<K: Sync> HostRings<K> {
    pub(super) fn new(kernel: K, rings: Rings, others: Vec<HostHead>) -> Self {
        Self {
            kernel,
            rings,
            others,
            dirty: false,
            patience: 0,
        }
    }

    pub(super) fn deliver(
        &mut self,
        pool: &mut FramePool,
        region: RegionId,
        frame: Frame,
        stats: &mut PortStats,
    ) -> Result<(), Frame> {
        if self.rings.tx.available() == 0 {
            // The host's stack takes everything at once, so there is room after this.
            let _ = self.flush();
        }
        put(&mut self.rings.tx, pool, region, frame, stats)?;
        self.dirty = true;
        Ok(())
    }

    /// Moves what the host sends to the device, and what other workers have for the host to it.
    /// Returns how many frames wait in `out` for the device's next sync.
    pub(super) fn carry(&mut self, out: &mut Ring, busy: bool) -> u32 {
        self.collect();
        if busy && self.patience > 0 {
            self.patience -= 1;
            return 0;
        }
        self.patience = PATIENCE;
        // An error means that the device is gone, which the device's own sync tells.
        let _ = self.kernel.sync_rx();
        let mut moved = 0;
        while self.rings.rx.available() > 0 && out.available() > 0 {
            let (Some(from), Some(to)) = (self.rings.rx.slot(), out.slot()) else {
                break;
            };
            out.release(Slot {
                flags: NS_BUF_CHANGED,
                ..from
            });
            self.rings.rx.release(Slot {
                flags: NS_BUF_CHANGED,
                ..to
            });
            moved += 1;
        }
        moved
    }

    pub(super) fn flush(&mut self) -> Result<(), Errno> {
        if self.dirty {
            self.dirty = false;
            self.kernel.sync_tx()?;
        }
        Ok(())
    }

    /// Takes the frames that other workers have for the host.
    fn collect(&mut self) {
        for other in &mut self.others {
            while self.rings.tx.available() > 0 && !other.returned.is_full() {
                let Ok(frame) = other.frames.pop() else {
                    break;
                };
                let displaced = swap_in(&mut self.rings.tx, frame);
                self.dirty = true;
                // There is room: it was seen above, and this end alone fills it.
                let _ = other.returned.push(displaced);
            }
        }
    }
}

/// Puts a frame of the ring's own memory into the ring, which has room, and returns the buffer
/// that was there.
pub(super) fn swap_in(ring: &mut Ring, mut frame: Frame) -> u32 {
    let range = frame.range();
    let len = range.len() as u16;
    if range.start > 0 {
        // A slot's frame begins where its buffer does.
        frame.chunk_mut().copy_within(range, 0);
    }
    let buffer = frame.index();
    let displaced = ring.slot().map_or(buffer, |slot| slot.buffer);
    ring.release(Slot {
        buffer,
        len,
        flags: NS_BUF_CHANGED,
    });
    displaced
}
