//! One AF_XDP socket as a port.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use nix::errno::Errno;

use super::ring::{Consumer, Producer};
use super::sys::{RingKind, Socket};
use super::umem::{Access, Loans};
use super::{COMPLETION_LEN, FILL_LEN, RX_LEN, TX_LEN};
use crate::{Burst, Frame, FramePool, Port, PortInfo, PortStats};

/// Frames that one sendto transmits in copy mode, where the kernel lets us choose.
const TX_BUDGET: u32 = 256;

/// One queue of a device, through an AF_XDP socket.
#[derive(Debug)]
pub(super) struct XdpPort {
    info: PortInfo,
    rx: Consumer<libc::xdp_desc>,
    tx: Producer<libc::xdp_desc>,
    fill: Producer<u64>,
    completion: Consumer<u64>,
    socket: Arc<Socket>,
    access: Access,
    loans: Loans,
    /// Chunks that wait for a frame or hold one that was not taken yet.
    lent: u32,
    /// Chunks between `tx` and the completion ring.
    in_flight: u32,
    /// Whether `tx` put something into the ring that the kernel was not shown.
    unsubmitted: bool,
    chunk_shift: u32,
    /// Free chunks that the fill ring leaves to those who make frames.
    reserve: usize,
    stats: PortStats,
}

/// The rings of one socket, mapped.
#[derive(Debug)]
pub(super) struct Rings {
    rx: Consumer<libc::xdp_desc>,
    tx: Producer<libc::xdp_desc>,
    fill: Producer<u64>,
    completion: Consumer<u64>,
}

impl Rings {
    /// Maps the rings of a socket that is not bound yet.
    pub(super) fn map(socket: &Socket) -> Result<Self, Errno> {
        let desc = size_of::<libc::xdp_desc>();
        let (rx, rx_layout) = socket.map_ring(RingKind::Rx, RX_LEN, desc)?;
        let (tx, tx_layout) = socket.map_ring(RingKind::Tx, TX_LEN, desc)?;
        let (fill, fill_layout) = socket.map_ring(RingKind::Fill, FILL_LEN, 8)?;
        let (completion, completion_layout) =
            socket.map_ring(RingKind::Completion, COMPLETION_LEN, 8)?;
        Ok(Self {
            rx: Consumer::new(&rx, rx_layout)?,
            tx: Producer::new(&tx, tx_layout)?,
            fill: Producer::new(&fill, fill_layout)?,
            completion: Consumer::new(&completion, completion_layout)?,
        })
    }
}

impl XdpPort {
    pub(super) fn new(
        pool: &mut FramePool,
        info: PortInfo,
        socket: Arc<Socket>,
        rings: Rings,
        access: Access,
    ) -> Result<Self, Errno> {
        let chunk_len = pool.chunk_len(FramePool::UMEM).ok_or(Errno::EINVAL)?;
        let (_, bytes) = pool.mapping(FramePool::UMEM).ok_or(Errno::EINVAL)?;
        let chunks = (bytes / chunk_len as usize) as u32;
        socket.set_tx_budget(TX_BUDGET);
        let mut port = Self {
            info,
            rx: rings.rx,
            tx: rings.tx,
            fill: rings.fill,
            completion: rings.completion,
            socket,
            access,
            loans: Loans::new(chunks),
            lent: 0,
            in_flight: 0,
            unsubmitted: false,
            chunk_shift: chunk_len.trailing_zeros(),
            reserve: chunks as usize / 16,
            stats: PortStats::default(),
        };
        port.refill(pool);
        Ok(port)
    }

    /// Hands free chunks to the kernel for the frames to come: never more than the receive ring has
    /// slots. When the worker does not keep up, the kernel then finds no chunk, and drops the frame
    /// before it copies it; with a chunk at hand it would copy it and then find the ring full.
    #[inline]
    fn refill(&mut self, pool: &mut FramePool) {
        let spare = pool.available(FramePool::UMEM).saturating_sub(self.reserve);
        let wanted = RX_LEN.saturating_sub(self.lent);
        let wanted = wanted.min(self.fill.room(wanted)).min(spare as u32);
        if wanted == 0 {
            return;
        }
        for _ in 0..wanted {
            let Some(index) = pool.lend(FramePool::UMEM) else {
                break;
            };
            self.loans.begin(index);
            self.lent += 1;
            // There is room for `wanted` chunks, so none is turned away.
            self.fill.push(u64::from(index) << self.chunk_shift);
        }
        self.fill.submit();
        if self.access == Access::ZeroCopy && self.fill.needs_wakeup() {
            self.socket.kick_rx();
        }
    }

    /// Makes the frame of a descriptor; none, and counted, when it makes no sense.
    #[inline]
    fn receive(&mut self, pool: &mut FramePool, desc: libc::xdp_desc) -> Option<Frame> {
        let index = (desc.addr >> self.chunk_shift) as u32;
        let start = (desc.addr & ((1 << self.chunk_shift) - 1)) as usize;
        let whole = desc.options & libc::XDP_PKT_CONTD == 0;
        let frame = if self.loans.end(index) {
            self.lent = self.lent.saturating_sub(1);
            pool.claim(FramePool::UMEM, index)
        } else {
            None
        };
        if let Some(mut frame) = frame {
            if whole && frame.set_range(start..start + desc.len as usize) {
                self.stats.rx_frames += 1;
                self.stats.rx_bytes += u64::from(desc.len);
                frame.prefetch_headers();
                return Some(frame);
            }
            pool.free(frame);
        }
        self.stats.rx_invalid += 1;
        None
    }

    /// Takes the chunks back that the device is done with.
    #[inline]
    fn reclaim(&mut self, pool: &mut FramePool) {
        if self.in_flight == 0 || self.completion.available() == 0 {
            return;
        }
        while let Some(address) = self.completion.pop() {
            let index = (address >> self.chunk_shift) as u32;
            if self.loans.end(index) {
                pool.give_back(FramePool::UMEM, index);
                self.in_flight -= 1;
            }
        }
        self.completion.release();
    }

    /// Shows the kernel what `tx` queued and makes it send, for as long as it makes progress.
    fn send(&mut self, pool: &mut FramePool) -> Result<(), Errno> {
        if self.unsubmitted {
            self.tx.submit();
            self.unsubmitted = false;
        }
        let mut left = self.tx.pending();
        while left > 0 && self.tx.needs_wakeup() {
            match self.socket.kick_tx() {
                Ok(()) => break,
                // The device dropped the frame that the kernel had taken for it.
                Err(Errno::EBUSY) if self.access == Access::Copy => self.stats.tx_ring_lost += 1,
                // A budget is used up, the completion ring is full, or a buffer is missing.
                Err(Errno::EAGAIN | Errno::EBUSY | Errno::ENOBUFS | Errno::EINTR) => {}
                Err(cause) => return Err(cause),
            }
            self.reclaim(pool);
            let now = self.tx.pending();
            if now == left {
                // The device is full; the next flush asks again.
                break;
            }
            left = now;
        }
        Ok(())
    }

    /// Moves a frame of foreign memory into a chunk of ours.
    fn adopt(pool: &mut FramePool, frame: Frame) -> Result<Frame, Frame> {
        let Some(mut copy) = pool.alloc(FramePool::UMEM) else {
            return Err(frame);
        };
        if !copy.set_range(0..frame.len()) {
            pool.free(copy);
            return Err(frame);
        }
        copy.bytes_mut().copy_from_slice(frame.bytes());
        pool.free(frame);
        Ok(copy)
    }
}

impl Port for XdpPort {
    fn rx(&mut self, pool: &mut FramePool, burst: &mut Burst) -> usize {
        let mut taken = 0;
        let waiting = self.rx.available();
        while burst.room() > 0 {
            let Some(desc) = self.rx.pop() else {
                break;
            };
            let Some(frame) = self.receive(pool, desc) else {
                continue;
            };
            if let Err(frame) = burst.push(frame) {
                pool.free(frame);
                break;
            }
            taken += 1;
        }
        if waiting > 0 {
            self.rx.release();
        }
        self.refill(pool);
        taken
    }

    fn tx(&mut self, pool: &mut FramePool, frame: Frame) -> Result<(), Frame> {
        if self.tx.room(1) == 0 {
            // An error is met again by `flush`, which reports it.
            let _ = self.send(pool);
            self.reclaim(pool);
            if self.tx.room(1) == 0 {
                return Err(frame);
            }
        }
        let frame = if frame.region() == FramePool::UMEM {
            frame
        } else {
            Self::adopt(pool, frame)?
        };
        let len = frame.len() as u32;
        self.loans.begin(frame.index());
        self.tx.push(libc::xdp_desc {
            addr: (u64::from(frame.index()) << self.chunk_shift) + frame.range().start as u64,
            len,
            options: 0,
        });
        self.in_flight += 1;
        self.unsubmitted = true;
        self.stats.tx_frames += 1;
        self.stats.tx_bytes += u64::from(len);
        Ok(())
    }

    fn flush(&mut self, pool: &mut FramePool) -> io::Result<()> {
        let sent = self.send(pool);
        self.reclaim(pool);
        Ok(sent?)
    }

    fn poll_fd(&self) -> Option<RawFd> {
        Some(self.socket.as_raw_fd())
    }

    fn stats(&mut self) -> PortStats {
        let Ok(kernel) = self.socket.statistics() else {
            return self.stats;
        };
        PortStats {
            rx_ring_lost: kernel.rx_dropped + kernel.rx_ring_full,
            rx_invalid: self.stats.rx_invalid + kernel.rx_invalid_descs,
            tx_ring_lost: self.stats.tx_ring_lost + kernel.tx_invalid_descs,
            ..self.stats
        }
    }

    fn info(&self) -> &PortInfo {
        &self.info
    }

    fn close(self: Box<Self>, pool: &mut FramePool) {
        let Self { socket, loans, .. } = *self;
        // Closing waits until the kernel has let go of the memory.
        drop(socket);
        for index in loans.held() {
            pool.give_back(FramePool::UMEM, index);
        }
    }
}
