//! One queue of a device on AF_PACKET.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use nix::errno::Errno;

use super::ring::{RxFrame, RxRing};
use super::sys::PacketSocket;
use super::tx::TxQueue;
use crate::ethtool;
use crate::gso::{DATA_VALID, GSO_NONE, NEEDS_CSUM, Segmenter, VnetHeader, complete, tcp_is_right};
use crate::{Burst, ChecksumState, Frame, FramePool, Port, PortInfo, PortStats};

/// What is left in front of a received frame for options that are inserted.
const HEAD_ROOM: usize = 256;

/// Vnet header, Ethernet header with two tags, and the longest IP packet.
const LARGEST: usize = VnetHeader::LEN + 22 + 65_535;

/// A queue: a receive ring whose frames are copied into the pool, and a batch to transmit.
#[derive(Debug)]
pub(super) struct AfPacketPort {
    info: PortInfo,
    socket: PacketSocket,
    ring: RxRing,
    large: Large,
    /// Packets of the ring's oldest frame that were taken already: a super-frame may not fit the
    /// burst.
    taken: usize,
    tx: TxQueue,
    /// What the device is unfit for, until it is up again.
    fault: Option<Errno>,
    /// Calls in a row that received nothing.
    idle: u32,
    stats: PortStats,
}

/// After so many calls that received nothing the socket is asked why: one that nobody asks stays
/// readable, and its worker would never sleep again.
const PATIENCE: u32 = 64;

/// The frame that was too long for its slot in the ring.
#[derive(Debug)]
struct Large {
    buffer: Box<[u8]>,
    /// Zero when there is none.
    len: usize,
}

/// What became of one frame in the ring.
enum Taken {
    Whole,
    /// The burst or the pool is full; the rest stays in the ring.
    Full,
    Invalid,
}

impl AfPacketPort {
    pub(super) fn new(info: PortInfo, socket: PacketSocket, ring: RxRing) -> Self {
        Self {
            info,
            socket,
            ring,
            large: Large {
                buffer: vec![0; LARGEST].into_boxed_slice(),
                len: 0,
            },
            taken: 0,
            tx: TxQueue::new(),
            fault: None,
            idle: 0,
            stats: PortStats::default(),
        }
    }
}

impl AfPacketPort {
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
        while burst.room() > 0 {
            let Some(frame) = self.ring.peek() else {
                break;
            };
            let frame = if frame.cut {
                self.large.complete(frame, &self.socket)
            } else {
                Some(frame)
            };
            match frame.map(|frame| take(frame, &mut self.taken, pool, burst)) {
                Some(Taken::Whole) => {}
                Some(Taken::Full) => break,
                Some(Taken::Invalid) => self.stats.rx_invalid += 1,
                None => self.stats.rx_ring_lost += 1,
            }
            self.taken = 0;
            self.large.len = 0;
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
}

impl Large {
    /// Returns the whole of a frame that the ring has only the beginning of; none when the
    /// socket's queue had no room for it.
    fn complete<'a>(
        &'a mut self,
        frame: RxFrame<'a>,
        socket: &PacketSocket,
    ) -> Option<RxFrame<'a>> {
        if frame.status & libc::TP_STATUS_COPY == 0 {
            return None;
        }
        if self.len == 0 {
            self.len = socket.receive(&mut self.buffer).ok()?;
        }
        let whole = self.buffer.get(..self.len)?;
        let (vnet, bytes) = whole.split_at_checked(VnetHeader::LEN)?;
        Some(RxFrame {
            bytes,
            cut: false,
            vnet: VnetHeader::parse(vnet)?,
            ..frame
        })
    }
}

/// Copies a frame of the ring, or the packets that a super-frame is cut into, to the burst.
fn take(frame: RxFrame, taken: &mut usize, pool: &mut FramePool, burst: &mut Burst) -> Taken {
    if frame.bytes.is_empty() || frame.cut {
        return Taken::Invalid;
    }
    if frame.vnet.gso_type == GSO_NONE {
        return take_packet(frame, pool, burst);
    }
    let Some(cutter) = Segmenter::new(frame.bytes, frame.vnet) else {
        return Taken::Invalid;
    };
    while let Some(len) = cutter.segment_len(frame.bytes, *taken) {
        if burst.room() == 0 {
            return Taken::Full;
        }
        let Some(mut packet) = pool.alloc(FramePool::UMEM) else {
            return Taken::Full;
        };
        let written = place(&mut packet, len)
            && cutter
                .write(frame.bytes, *taken, packet.bytes_mut())
                .is_some();
        if !written {
            pool.free(packet);
            return Taken::Invalid;
        }
        packet.set_checksum(ChecksumState::Good);
        finish(packet, frame.tag, pool, burst);
        *taken += 1;
    }
    Taken::Whole
}

fn take_packet(frame: RxFrame, pool: &mut FramePool, burst: &mut Burst) -> Taken {
    let Some(mut packet) = pool.alloc(FramePool::UMEM) else {
        return Taken::Full;
    };
    if !place(&mut packet, frame.bytes.len()) {
        pool.free(packet);
        return Taken::Invalid;
    }
    packet.bytes_mut().copy_from_slice(frame.bytes);
    let vnet = frame.vnet;
    if vnet.flags & NEEDS_CSUM != 0 {
        // Only here is it known where the peer left its work to its device.
        let (start, offset) = (vnet.csum_start as usize, vnet.csum_offset as usize);
        if complete(packet.bytes_mut(), start, offset).is_none() {
            pool.free(packet);
            return Taken::Invalid;
        }
    }
    packet.set_checksum(checksum_state(&frame));
    finish(packet, frame.tag, pool, burst);
    Taken::Whole
}

/// Chooses where in the chunk a frame of `len` bytes stands: behind the usual head room, or less
/// of it for a long frame, but never without room for a tag.
fn place(packet: &mut Frame, len: usize) -> bool {
    let Some(spare) = packet.capacity().checked_sub(len) else {
        return false;
    };
    let start = HEAD_ROOM.min(spare);
    start >= TAG_LEN && packet.set_range(start..start + len)
}

const TAG_LEN: usize = 4;
/// Shorter packets are seldom part of a bulk transfer.
const WORTH_ADDING_UP: usize = 512;

fn finish(mut packet: Frame, tag: Option<[u8; 4]>, pool: &mut FramePool, burst: &mut Burst) {
    if let Some(tag) = tag {
        put_tag(&mut packet, tag);
    }
    // The caller has seen that the burst has room.
    if let Err(packet) = burst.push(packet) {
        pool.free(packet);
    }
}

/// Moves the addresses forward and puts the tag where it stood on the wire (IEEE 802.1Q).
fn put_tag(packet: &mut Frame, tag: [u8; 4]) {
    let range = packet.range();
    if range.len() < 12 || range.start < TAG_LEN {
        return;
    }
    let start = range.start - TAG_LEN;
    if packet.set_range(start..range.end) {
        let bytes = packet.bytes_mut();
        bytes.copy_within(TAG_LEN..TAG_LEN + 12, 0);
        if let Some(to) = bytes.get_mut(12..12 + TAG_LEN) {
            to.copy_from_slice(&tag);
        }
    }
}

fn checksum_state(frame: &RxFrame) -> ChecksumState {
    let good = frame.vnet.flags & (NEEDS_CSUM | DATA_VALID) != 0;
    if good || frame.status & libc::TP_STATUS_CSUM_VALID != 0 {
        return ChecksumState::Good;
    }
    // Adding up a long packet costs a twentieth of what sending it alone does, and only packets
    // that somebody vouches for are joined.
    if frame.bytes.len() >= WORTH_ADDING_UP && tcp_is_right(frame.bytes) {
        return ChecksumState::Good;
    }
    ChecksumState::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: &[u8]) -> RxFrame<'_> {
        RxFrame {
            bytes,
            cut: false,
            vnet: VnetHeader::NONE,
            tag: None,
            status: libc::TP_STATUS_USER,
        }
    }

    fn received(f: RxFrame, pool: &mut FramePool) -> Frame {
        let mut burst = Burst::with_capacity(1);
        let mut taken = 0;
        assert!(matches!(
            take(f, &mut taken, pool, &mut burst),
            Taken::Whole
        ));
        burst.drain().next().unwrap()
    }

    #[test]
    fn the_tag_that_the_kernel_took_off_is_put_back() {
        let mut pool = FramePool::with_umem(1, 2048).unwrap();
        let bytes: Vec<u8> = (0..60).collect();
        let tagged = RxFrame {
            tag: Some([0x81, 0, 0x20, 7]),
            ..frame(&bytes)
        };
        let packet = received(tagged, &mut pool);
        assert_eq!(packet.bytes()[..12], bytes[..12]);
        assert_eq!(packet.bytes()[12..16], [0x81, 0, 0x20, 7]);
        assert_eq!(packet.bytes()[16..], bytes[12..]);
        assert_eq!(packet.range().start, HEAD_ROOM - 4);
        pool.free(packet);
    }

    #[test]
    fn the_checksum_state_is_what_the_kernel_said() {
        let mut pool = FramePool::with_umem(1, 2048).unwrap();
        let cases = [
            (0, 0, ChecksumState::Unknown),
            (NEEDS_CSUM, 0, ChecksumState::Good),
            (DATA_VALID, 0, ChecksumState::Good),
            (0, libc::TP_STATUS_CSUM_VALID, ChecksumState::Good),
        ];
        for (flags, status, expected) in cases {
            let mut f = frame(&[0; 60]);
            f.vnet.flags = flags;
            f.vnet.csum_start = 34;
            f.vnet.csum_offset = 16;
            f.status |= status;
            let packet = received(f, &mut pool);
            assert_eq!(packet.checksum(), expected);
            pool.free(packet);
        }
    }

    #[test]
    fn a_checksum_field_outside_the_frame_makes_the_frame_invalid() {
        let mut pool = FramePool::with_umem(1, 2048).unwrap();
        let mut burst = Burst::with_capacity(1);
        let mut f = frame(&[0; 60]);
        f.vnet.flags = NEEDS_CSUM;
        f.vnet.csum_start = 50;
        f.vnet.csum_offset = 9;
        assert!(matches!(
            take(f, &mut 0, &mut pool, &mut burst),
            Taken::Invalid
        ));
        assert_eq!(pool.available(FramePool::UMEM), 1);
    }

    #[test]
    fn a_frame_longer_than_a_chunk_or_cut_by_the_ring_is_invalid_and_costs_no_chunk() {
        let mut pool = FramePool::with_umem(1, 2048).unwrap();
        let mut burst = Burst::with_capacity(1);
        let mut taken = 0;
        let long = frame(&[0; 2045]);
        assert!(matches!(
            take(long, &mut taken, &mut pool, &mut burst),
            Taken::Invalid
        ));
        let cut = RxFrame {
            cut: true,
            ..frame(&[0; 60])
        };
        assert!(matches!(
            take(cut, &mut taken, &mut pool, &mut burst),
            Taken::Invalid
        ));
        assert_eq!(pool.available(FramePool::UMEM), 1);
        let fits = [0; 2044];
        let packet = received(frame(&fits), &mut pool);
        assert_eq!(packet.range(), 4..2048);
        pool.free(packet);
    }

    #[test]
    fn a_super_frame_that_does_not_fit_the_burst_goes_on_in_the_next() {
        let mut pool = FramePool::with_umem(8, 2048).unwrap();
        let mut burst = Burst::with_capacity(2);
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 0];
        bytes.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.extend([
            0, 80, 0, 81, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 1, 0, 0, 0, 0, 0,
        ]);
        bytes.extend([7; 2500]);
        let mut f = frame(&bytes);
        f.vnet = VnetHeader {
            gso_type: crate::gso::GSO_TCPV4,
            gso_size: 1000,
            ..VnetHeader::NONE
        };
        let mut taken = 0;
        assert!(matches!(
            take(f, &mut taken, &mut pool, &mut burst),
            Taken::Full
        ));
        let lengths: Vec<usize> = burst.frames().iter().map(Frame::len).collect();
        assert_eq!((taken, lengths), (2, vec![1054, 1054]));
        burst.drain().for_each(|packet| pool.free(packet));
        assert!(matches!(
            take(f, &mut taken, &mut pool, &mut burst),
            Taken::Whole
        ));
        let last = burst.drain().next().unwrap();
        assert_eq!((last.len(), last.checksum()), (554, ChecksumState::Good));
        pool.free(last);
    }

    /// Numbers that are the same in each run.
    struct Numbers(u64);

    impl Numbers {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }
    }

    #[test]
    fn no_bytes_and_no_vnet_header_cost_a_chunk_or_stop_the_port() {
        let mut pool = FramePool::with_umem(64, 2048).unwrap();
        let mut numbers = Numbers(0x1234_5678_9abc_def1);
        // A sound super-frame to begin with: most of what a few changed bytes make of it is not.
        let mut sound = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 11, 0xb8];
        sound.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        sound.extend([
            0, 80, 0, 81, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 1, 0, 0, 0, 0, 0,
        ]);
        sound.extend([7; 2960]);
        let (mut whole, mut invalid) = (0, 0);
        for _ in 0..20_000 {
            let mut bytes = sound.clone();
            for _ in 0..numbers.next() % 4 {
                let at = numbers.next() as usize % 60;
                bytes[at] = numbers.next() as u8;
            }
            bytes.truncate(match numbers.next() % 4 {
                0 => numbers.next() as usize % bytes.len(),
                _ => bytes.len(),
            });
            let random: [u8; 10] = std::array::from_fn(|_| numbers.next() as u8);
            let mut f = frame(&bytes);
            f.vnet = VnetHeader::parse(&random).unwrap();
            if numbers.next().is_multiple_of(2) {
                f.vnet.gso_type = [1, 1, 1, 1, 3, 4, 5][numbers.next() as usize % 7];
                f.vnet.gso_size = 500 + (numbers.next() % 1000) as u16;
            }
            let (mut taken, mut burst) = (0, Burst::with_capacity(64));
            let mut tx = TxQueue::new();
            loop {
                let outcome = take(f, &mut taken, &mut pool, &mut burst);
                for packet in burst.drain() {
                    assert!(packet.len() <= bytes.len().max(60) + TAG_LEN);
                    tx.push(packet);
                }
                match outcome {
                    Taken::Full => {}
                    Taken::Whole => {
                        whole += 1;
                        break;
                    }
                    Taken::Invalid => {
                        invalid += 1;
                        break;
                    }
                }
                tx.describe();
                tx.clear(&mut pool);
            }
            tx.describe();
            tx.clear(&mut pool);
            assert_eq!(pool.outstanding(FramePool::UMEM), 0);
        }
        assert!(
            whole > 1000 && invalid > 1000,
            "{whole} whole, {invalid} invalid"
        );
    }
}
