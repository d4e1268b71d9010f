//! One queue of a device on AF_PACKET.

mod target;

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use nix::errno::Errno;

use super::ring::RxRing;
use super::sys::PacketSocket;
use super::tx::TxQueue;
use crate::ethtool;
use crate::{Burst, Frame, FramePool, Port, PortInfo, PortStats};
use target::{Long, Taken, Target};

/// A queue: a receive ring whose frames are copied into the pool, and a batch to transmit.
#[derive(Debug)]
pub(super) struct AfPacketPort {
    info: PortInfo,
    socket: PacketSocket,
    ring: RxRing,
    /// The ring's oldest frame, where it did not fit its slot and waits to be cut into packets.
    long: Option<Long>,
    /// Whether streams stay whole.
    keeps: bool,
    /// Packets of the ring's oldest frame that were taken already: they may not all fit the burst.
    taken: usize,
    tx: TxQueue,
    /// What the device is unfit for, until it is up again.
    fault: Option<Errno>,
    /// Calls in a row that received nothing.
    idle: u32,
    stats: PortStats,
}

/// Super-frames that one call receives at most: each takes as long as 40 packets, and other ports
/// wait for their turn and for chunks.
const MOST_WHOLE: usize = 16;

/// After so many calls that received nothing the socket is asked why: one that nobody asks stays
/// readable, and its worker would never sleep again.
const PATIENCE: u32 = 64;

impl AfPacketPort {
    pub(super) fn new(info: PortInfo, socket: PacketSocket, ring: RxRing) -> Self {
        Self {
            info,
            socket,
            ring,
            long: None,
            keeps: false,
            taken: 0,
            tx: TxQueue::new(),
            fault: None,
            idle: 0,
            stats: PortStats::default(),
        }
    }

    /// Looks for what happened to the device.
    #[cold]
    fn look_for_fault(&mut self) {
        self.idle = 0;
        if let Some(fault) = self.socket.take_error() {
            self.fault = Some(fault);
        } else if self.fault.is_some()
            && ethtool::facts(&self.info.device).is_ok_and(|facts| facts.up)
        {
            self.fault = None;
        }
    }
}

impl Port for AfPacketPort {
    fn rx(&mut self, pool: &mut FramePool, burst: &mut Burst) -> usize {
        let before = burst.len();
        let mut room = MOST_WHOLE;
        while burst.room() > 0 {
            let Some(frame) = self.ring.peek() else {
                break;
            };
            let mut to = Target {
                keeps: self.keeps,
                room: &mut room,
                taken: &mut self.taken,
                pool,
                burst,
            };
            let taken = if frame.cut {
                to.take_long(frame, &self.socket, &mut self.long)
            } else {
                to.take(frame)
            };
            match taken {
                Taken::Whole => {}
                Taken::Full => break,
                Taken::Invalid => self.stats.rx_invalid += 1,
                Taken::Lost => self.stats.rx_ring_lost += 1,
            }
            self.taken = 0;
            self.ring.advance();
        }
        let received = burst.frames().get(before..).unwrap_or_default();
        if received.is_empty() {
            self.idle += 1;
            if self.idle >= PATIENCE {
                self.look_for_fault();
            }
            return 0;
        }
        self.idle = 0;
        self.stats.rx_frames += received.len() as u64;
        self.stats.rx_bytes += received.iter().map(|f| f.len() as u64).sum::<u64>();
        received.len()
    }

    fn tx(&mut self, pool: &mut FramePool, frame: Frame) -> Result<(), Frame> {
        if self.tx.is_full() {
            // A refusal by the device is told by the next `flush`, which sees it again.
            let _ = self.tx.send(&self.socket, pool, &mut self.stats);
        }
        self.stats.tx_frames += 1;
        self.stats.tx_bytes += frame.len() as u64;
        self.tx.push(frame);
        Ok(())
    }

    fn flush(&mut self, pool: &mut FramePool) -> io::Result<()> {
        self.tx.send(&self.socket, pool, &mut self.stats)?;
        match self.fault {
            Some(fault) => Err(fault.into()),
            None => Ok(()),
        }
    }

    fn keep_super_frames(&mut self) {
        self.keeps = true;
    }

    fn takes_super_frames(&self) -> bool {
        true
    }

    fn poll_fd(&self) -> Option<RawFd> {
        Some(self.socket.as_raw_fd())
    }

    fn stats(&mut self) -> PortStats {
        self.stats.rx_ring_lost += self.socket.take_losses().unwrap_or(0);
        self.stats
    }

    fn info(&self) -> &PortInfo {
        &self.info
    }

    fn close(mut self: Box<Self>, pool: &mut FramePool) {
        self.tx.clear(pool);
        if let Some(long) = self.long.take() {
            pool.free(long.frame);
        }
    }
}
