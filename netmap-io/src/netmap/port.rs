//! One queue of a device in netmap mode.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use netmap_sys::netmap::{NS_BUF_CHANGED, NS_MOREFRAG};

use super::host::{HostRings, HostTail, swap_in};
use super::ring::{Ring, Rings, Slot};
use super::sys::Sync;
use crate::shared::SharedMemory;
use crate::{Burst, Frame, FramePool, Port, PortInfo, PortStats, RegionId};

/// The way to the host's stack.
#[derive(Debug)]
pub(super) enum Host<K> {
    /// This port has the host rings.
    Rings(HostRings<K>),
    /// The port of queue 0 has them.
    Tail(HostTail),
}

/// A queue: a frame is received by taking its buffer out of the slot and leaving a spare, and
/// transmitted by swapping it for the buffer in the slot.
#[derive(Debug)]
pub(super) struct NetmapPort<K> {
    info: PortInfo,
    /// Closed first: the rings leave netmap mode.
    kernel: K,
    rings: Rings,
    host: Host<K>,
    region: RegionId,
    /// Readable when the device or the host has frames.
    wake: Option<OwnedFd>,
    fd: Option<RawFd>,
    /// The frame before was not the last slot of its packet.
    in_chain: bool,
    stats: PortStats,
    /// Keeps the mapping known to later ports of the same memory.
    _memory: Arc<SharedMemory>,
}

/// What a port is made of.
pub(super) struct Parts<K> {
    pub(super) info: PortInfo,
    pub(super) kernel: K,
    pub(super) rings: Rings,
    pub(super) host: Host<K>,
    pub(super) region: RegionId,
    pub(super) wake: Option<OwnedFd>,
    pub(super) fd: Option<RawFd>,
    pub(super) memory: Arc<SharedMemory>,
}

impl<K: Sync> NetmapPort<K> {
    pub(super) fn new(parts: Parts<K>) -> Self {
        Self {
            info: parts.info,
            kernel: parts.kernel,
            rings: parts.rings,
            host: parts.host,
            region: parts.region,
            wake: parts.wake,
            fd: parts.fd,
            in_chain: false,
            stats: PortStats::default(),
            _memory: parts.memory,
        }
    }

    /// Takes the frame out of the oldest slot; none when no spare is left to put there.
    fn take(&mut self, pool: &mut FramePool) -> Option<Result<Frame, Invalid>> {
        let slot = self.rings.rx.slot()?;
        let in_chain = slot.flags & NS_MOREFRAG != 0;
        if in_chain || self.in_chain {
            self.in_chain = in_chain;
            self.rings.rx.release(slot);
            // The last slot of a packet counts for all of them.
            return Some(Err(Invalid { counts: !in_chain }));
        }
        let spare = pool.lend(self.region)?;
        let frame = pool.claim(self.region, slot.buffer).and_then(|mut frame| {
            // A frame that is given up here was never ours: its slot keeps the buffer.
            frame.set_range(0..slot.len as usize).then_some(frame)
        });
        let Some(frame) = frame else {
            pool.give_back(self.region, spare);
            self.rings.rx.release(slot);
            return Some(Err(Invalid { counts: true }));
        };
        self.rings.rx.release(Slot {
            buffer: spare,
            len: slot.len,
            flags: NS_BUF_CHANGED,
        });
        Some(Ok(frame))
    }

    /// Exchanges frames with the host's stack; not for every burst of a busy device.
    fn serve_host(&mut self, pool: &mut FramePool, busy: bool) {
        match &mut self.host {
            Host::Tail(tail) => tail.reclaim(pool, self.region),
            Host::Rings(host) => {
                let moved = host.carry(&mut self.rings.tx, busy);
                // Errors are told by the next `flush`.
                let _ = host.flush();
                if moved > 0 {
                    let _ = self.kernel.sync_tx();
                }
            }
        }
    }
}

/// A slot that held no frame of ours.
struct Invalid {
    counts: bool,
}

impl<K: Sync> Port for NetmapPort<K> {
    fn rx(&mut self, pool: &mut FramePool, burst: &mut Burst) -> usize {
        if self.rings.rx.available() == 0 {
            // An error means that the device is gone, which `flush` tells.
            let _ = self.kernel.sync_rx();
        }
        let before = burst.len();
        while burst.room() > 0 && self.rings.rx.available() > 0 {
            match self.take(pool) {
                Some(Ok(frame)) => {
                    self.stats.rx_bytes += frame.len() as u64;
                    if let Err(frame) = burst.push(frame) {
                        pool.free(frame);
                        break;
                    }
                }
                Some(Err(invalid)) => self.stats.rx_invalid += u64::from(invalid.counts),
                None => break,
            }
        }
        let received = burst.len() - before;
        self.stats.rx_frames += received as u64;
        self.serve_host(pool, received > 0);
        received
    }

    fn tx(&mut self, pool: &mut FramePool, frame: Frame) -> Result<(), Frame> {
        if self.rings.tx.available() == 0 {
            // A refusal is told by the next `flush`.
            let _ = self.kernel.sync_tx();
        }
        let len = frame.len() as u64;
        put(
            &mut self.rings.tx,
            pool,
            self.region,
            frame,
            &mut self.stats,
        )?;
        self.stats.tx_frames += 1;
        self.stats.tx_bytes += len;
        Ok(())
    }

    fn flush(&mut self, pool: &mut FramePool) -> io::Result<()> {
        match &mut self.host {
            Host::Rings(host) => host.flush()?,
            Host::Tail(tail) => tail.reclaim(pool, self.region),
        }
        Ok(self.kernel.sync_tx()?)
    }

    fn deliver(&mut self, pool: &mut FramePool, frame: Frame) -> Result<(), Frame> {
        match &mut self.host {
            Host::Rings(host) => host.deliver(pool, self.region, frame, &mut self.stats),
            Host::Tail(tail) => tail.deliver(pool, self.region, frame),
        }
    }

    fn poll_fd(&self) -> Option<RawFd> {
        self.wake.as_ref().map(AsRawFd::as_raw_fd).or(self.fd)
    }

    fn stats(&mut self) -> PortStats {
        self.stats
    }

    fn info(&self) -> &PortInfo {
        &self.info
    }
}

/// Puts a frame into a transmit ring: by swapping buffers where it is of the ring's memory, else
/// by a copy. A frame that no buffer can hold is counted as lost.
pub(super) fn put(
    ring: &mut Ring,
    pool: &mut FramePool,
    region: RegionId,
    frame: Frame,
    stats: &mut PortStats,
) -> Result<(), Frame> {
    if ring.available() == 0 {
        return Err(frame);
    }
    if frame.region() == region {
        let displaced = swap_in(ring, frame);
        pool.give_back(region, displaced);
        return Ok(());
    }
    let Some(slot) = ring.slot() else {
        return Err(frame);
    };
    // The slot is ours, and so is its buffer until `release`.
    let Some(mut target) = pool.claim(region, slot.buffer) else {
        return Err(frame);
    };
    if target.set_range(0..frame.len()) {
        target.bytes_mut().copy_from_slice(frame.bytes());
        ring.release(Slot {
            len: frame.len() as u16,
            flags: 0,
            ..slot
        });
    } else {
        stats.tx_ring_lost += 1;
    }
    pool.free(frame);
    Ok(())
}
