//! A port without a device: tests and benches push frames in and take frames out.

use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;

use crate::{Burst, DriverKind, Frame, FramePool, Port, PortInfo, PortStats};

/// A port whose wire is two queues in memory.
#[derive(Debug)]
pub struct MemoryPort {
    info: PortInfo,
    waiting: VecDeque<Frame>,
    sent: VecDeque<Frame>,
    depth: usize,
    stats: PortStats,
}

impl MemoryPort {
    /// Makes a port with `depth` slots each way.
    #[must_use]
    pub fn new(device: &str, mac: [u8; 6], mtu: u16, depth: usize) -> Self {
        let info = PortInfo {
            device: device.to_owned(),
            queue: 0,
            driver: DriverKind::Memory,
            mode: "memory",
            mac,
            mtu,
        };
        Self {
            info,
            waiting: VecDeque::with_capacity(depth),
            sent: VecDeque::with_capacity(depth),
            depth,
            stats: PortStats::default(),
        }
    }

    /// Puts bytes on the wire towards the worker; false when the ring or the pool is full or the
    /// bytes do not fit a chunk, which the port counts as the ring's loss.
    pub fn inject(&mut self, pool: &mut FramePool, bytes: &[u8]) -> bool {
        let lost = match pool.alloc(FramePool::UMEM) {
            Some(mut frame) if self.waiting.len() < self.depth => {
                let start = HEAD_ROOM.min(frame.capacity());
                if frame.set_range(start..start + bytes.len()) {
                    frame.bytes_mut().copy_from_slice(bytes);
                    self.waiting.push_back(frame);
                    false
                } else {
                    pool.free(frame);
                    true
                }
            }
            Some(frame) => {
                pool.free(frame);
                true
            }
            None => true,
        };
        self.stats.rx_ring_lost += u64::from(lost);
        !lost
    }

    /// Takes the oldest frame that the worker transmitted.
    pub fn take(&mut self) -> Option<Frame> {
        self.sent.pop_front()
    }
}

/// What the drivers leave in front of a frame for options that are inserted.
const HEAD_ROOM: usize = 256;

impl Port for MemoryPort {
    fn rx(&mut self, _pool: &mut FramePool, burst: &mut Burst) -> usize {
        let mut taken = 0;
        while burst.room() > 0 {
            let Some(frame) = self.waiting.pop_front() else {
                break;
            };
            self.stats.rx_frames += 1;
            self.stats.rx_bytes += frame.len() as u64;
            if let Err(frame) = burst.push(frame) {
                self.waiting.push_front(frame);
                break;
            }
            taken += 1;
        }
        taken
    }

    fn tx(&mut self, _pool: &mut FramePool, frame: Frame) -> Result<(), Frame> {
        if self.sent.len() == self.depth {
            return Err(frame);
        }
        self.stats.tx_frames += 1;
        self.stats.tx_bytes += frame.len() as u64;
        self.sent.push_back(frame);
        Ok(())
    }

    fn flush(&mut self, _pool: &mut FramePool) -> io::Result<()> {
        Ok(())
    }

    fn poll_fd(&self) -> Option<RawFd> {
        None
    }

    fn stats(&mut self) -> PortStats {
        self.stats
    }

    fn info(&self) -> &PortInfo {
        &self.info
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_moves_from_one_port_to_the_other_without_a_copy() {
        let mut pool = FramePool::with_umem(4, 2048).unwrap();
        let mut wan = MemoryPort::new("wan", [2, 0, 0, 0, 0, 1], 1500, 4);
        let mut lan = MemoryPort::new("lan", [2, 0, 0, 0, 0, 2], 1500, 4);
        assert!(wan.inject(&mut pool, b"hello"));
        let mut burst = Burst::with_capacity(4);
        assert_eq!(wan.rx(&mut pool, &mut burst), 1);
        let index = burst.frames()[0].index();
        for frame in burst.drain() {
            lan.tx(&mut pool, frame).unwrap();
        }
        let sent = lan.take().unwrap();
        assert_eq!((sent.index(), sent.bytes()), (index, b"hello".as_slice()));
        pool.free(sent);
        assert_eq!(pool.outstanding(FramePool::UMEM), 0);
    }

    #[test]
    fn a_full_ring_loses_the_frame_and_counts_it() {
        let mut pool = FramePool::with_umem(4, 2048).unwrap();
        let mut port = MemoryPort::new("wan", [2, 0, 0, 0, 0, 1], 1500, 1);
        assert!(port.inject(&mut pool, b"a"));
        assert!(!port.inject(&mut pool, b"b"));
        assert_eq!(
            (port.stats().rx_ring_lost, pool.outstanding(FramePool::UMEM)),
            (1, 1)
        );
    }
}
