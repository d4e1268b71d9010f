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

/// A frame that was too long for its slot in the ring.
#[derive(Debug)]
struct Long {
    frame: Frame,
    vnet: VnetHeader,
}

/// What became of one frame in the ring.
#[derive(Debug)]
enum Taken {
    Whole,
    /// The burst or the pool is full; the rest stays in the ring.
    Full,
    Invalid,
    /// The socket's queue had no room for what did not fit the slot.
    Lost,
}

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

/// Where the frames of the ring go.
struct Target<'a> {
    /// Whether streams stay whole.
    keeps: bool,
    /// Super-frames that may still be taken in this call.
    room: &'a mut usize,
    /// See [`AfPacketPort`].
    taken: &'a mut usize,
    pool: &'a mut FramePool,
    burst: &'a mut Burst,
}

impl Target<'_> {
    /// Copies a frame of the ring to the burst: in one piece, or the packets that a super-frame is
    /// cut into.
    fn take(&mut self, frame: RxFrame) -> Taken {
        if frame.bytes.is_empty() || frame.cut {
            return Taken::Invalid;
        }
        if frame.vnet.gso_type == GSO_NONE {
            return self.take_packet(frame);
        }
        let Some(cutter) = Segmenter::new(frame.bytes, frame.vnet) else {
            return Taken::Invalid;
        };
        if self.keeps && cutter.is_stream() {
            return self.take_stream(frame);
        }
        while let Some(len) = cutter.segment_len(frame.bytes, *self.taken) {
            if self.burst.room() == 0 {
                return Taken::Full;
            }
            let Some(mut packet) = self.pool.alloc(FramePool::UMEM) else {
                return Taken::Full;
            };
            let written = place(&mut packet, len)
                && cutter
                    .write(frame.bytes, *self.taken, packet.bytes_mut())
                    .is_some();
            if !written {
                self.pool.free(packet);
                return Taken::Invalid;
            }
            packet.set_checksum(ChecksumState::Good);
            self.finish(packet, frame.tag);
            *self.taken += 1;
        }
        Taken::Whole
    }

    /// Takes a frame that the ring has only the beginning of. A stream stays whole in the chunk that
    /// it is read into; all else is cut or copied from there.
    fn take_long(
        &mut self,
        frame: RxFrame,
        socket: &PacketSocket,
        long: &mut Option<Long>,
    ) -> Taken {
        if frame.status & libc::TP_STATUS_COPY == 0 {
            return Taken::Lost;
        }
        let Long { frame: whole, vnet } = match long.take() {
            Some(begun) => begun,
            None => match self.read_long(socket) {
                Ok(read) => read,
                Err(taken) => return taken,
            },
        };
        let bytes = whole.bytes();
        if self.keeps && Segmenter::new(bytes, vnet).is_some_and(|cutter| cutter.is_stream()) {
            return self.keep(whole, vnet, frame.tag);
        }
        let outcome = self.take(RxFrame {
            bytes,
            cut: false,
            vnet,
            ..frame
        });
        if matches!(outcome, Taken::Full) {
            *long = Some(Long { frame: whole, vnet });
        } else {
            self.pool.free(whole);
        }
        outcome
    }

    /// Reads the frame that waits in the socket's queue into a chunk of its own.
    fn read_long(&mut self, socket: &PacketSocket) -> Result<Long, Taken> {
        const START: usize = HEAD_ROOM - VnetHeader::LEN;
        let Some(mut frame) = self.alloc_large() else {
            return Err(Taken::Full);
        };
        let mut read = || {
            let chunk = frame.chunk_mut().get_mut(START..)?;
            let len = socket.receive(chunk).ok()?;
            let vnet = VnetHeader::parse(chunk)?;
            // The length is the true one, and more than the chunk has for a frame that was cut.
            frame.set_range(HEAD_ROOM..START + len).then_some(vnet)
        };
        if let Some(vnet) = read() {
            return Ok(Long { frame, vnet });
        }
        self.pool.free(frame);
        Err(Taken::Lost)
    }

    fn alloc_large(&mut self) -> Option<Frame> {
        (*self.room > 0).then(|| self.pool.alloc_large()).flatten()
    }

    /// Copies a super-frame that fits its slot.
    fn take_stream(&mut self, frame: RxFrame) -> Taken {
        let Some(mut whole) = self.alloc_large() else {
            return Taken::Full;
        };
        if !place(&mut whole, frame.bytes.len()) {
            self.pool.free(whole);
            return Taken::Invalid;
        }
        whole.bytes_mut().copy_from_slice(frame.bytes);
        self.keep(whole, frame.vnet, frame.tag)
    }

    /// Adds a super-frame to the burst as it is.
    fn keep(&mut self, mut whole: Frame, vnet: VnetHeader, tag: Option<[u8; 4]>) -> Taken {
        whole.set_segment_size(vnet.gso_size);
        *self.room -= 1;
        self.finish(whole, tag);
        Taken::Whole
    }

    fn take_packet(&mut self, frame: RxFrame) -> Taken {
        let Some(mut packet) = self.pool.alloc(FramePool::UMEM) else {
            return Taken::Full;
        };
        if !place(&mut packet, frame.bytes.len()) {
            self.pool.free(packet);
            return Taken::Invalid;
        }
        packet.bytes_mut().copy_from_slice(frame.bytes);
        let vnet = frame.vnet;
        if vnet.flags & NEEDS_CSUM != 0 {
            // Only here is it known where the peer left its work to its device.
            let (start, offset) = (vnet.csum_start as usize, vnet.csum_offset as usize);
            if complete(packet.bytes_mut(), start, offset).is_none() {
                self.pool.free(packet);
                return Taken::Invalid;
            }
        }
        packet.set_checksum(checksum_state(&frame));
        self.finish(packet, frame.tag);
        Taken::Whole
    }

    fn finish(&mut self, mut packet: Frame, tag: Option<[u8; 4]>) {
        if let Some(tag) = tag {
            put_tag(&mut packet, tag);
        }
        // The caller has seen that the burst has room.
        if let Err(packet) = self.burst.push(packet) {
            self.pool.free(packet);
        }
    }
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
    use crate::Packets;

    fn frame(bytes: &[u8]) -> RxFrame<'_> {
        RxFrame {
            bytes,
            cut: false,
            vnet: VnetHeader::NONE,
            tag: None,
            status: libc::TP_STATUS_USER,
        }
    }

    fn take(f: RxFrame, taken: &mut usize, pool: &mut FramePool, burst: &mut Burst) -> Taken {
        take_within(&mut 1, f, taken, pool, burst)
    }

    fn take_within(
        room: &mut usize,
        f: RxFrame,
        taken: &mut usize,
        pool: &mut FramePool,
        burst: &mut Burst,
    ) -> Taken {
        let keeps = true;
        Target {
            keeps,
            room,
            taken,
            pool,
            burst,
        }
        .take(f)
    }

    fn received(f: RxFrame, pool: &mut FramePool) -> Frame {
        let mut burst = Burst::with_capacity(1);
        let mut taken = 0;
        let outcome = take(f, &mut taken, pool, &mut burst);
        assert!(matches!(outcome, Taken::Whole));
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

    /// A pool with chunks for super-frames.
    fn pool(chunks: u32) -> FramePool {
        let mut pool = FramePool::with_umem(chunks, 2048).unwrap();
        pool.add_large().unwrap();
        pool
    }

    fn outstanding(pool: &FramePool) -> usize {
        pool.outstanding(FramePool::UMEM) + pool.outstanding(pool.large().unwrap())
    }

    /// The headers of a datagram or of a segment, for `payload` bytes behind them.
    fn headers(protocol: u8, payload: usize) -> Vec<u8> {
        let tcp = protocol == 6;
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
        bytes.extend((20 + if tcp { 20 } else { 8 } + payload as u16).to_be_bytes());
        bytes.extend([0, 1, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.extend([0, 80, 0, 81, 0, 0, 0, 0]);
        if tcp {
            bytes.extend([0, 0, 0, 0, 0x50, 0x10, 1, 0, 0, 0, 0, 0]);
        }
        bytes
    }

    fn vnet(gso_type: u8, gso_size: u16) -> VnetHeader {
        VnetHeader {
            gso_type,
            gso_size,
            ..VnetHeader::NONE
        }
    }

    #[test]
    fn a_stream_stays_whole_and_says_where_it_is_to_be_cut() {
        let mut pool = pool(1);
        let mut bytes = headers(6, 1500);
        bytes.extend([7; 1500]);
        let mut f = frame(&bytes);
        f.vnet = vnet(crate::gso::GSO_TCPV4, 500);
        f.tag = Some([0x81, 0, 0x20, 7]);
        let whole = received(f, &mut pool);
        assert_eq!(whole.segment_size(), 500);
        assert_eq!(whole.checksum(), ChecksumState::Partial);
        assert_eq!(Some(whole.region()), pool.large());
        assert_eq!(whole.bytes()[12..16], [0x81, 0, 0x20, 7]);
        assert_eq!(whole.bytes()[16..], bytes[12..]);
        pool.free(whole);
    }

    #[test]
    fn a_stream_waits_in_the_ring_while_no_chunk_is_free_for_it() {
        let mut pool = pool(1);
        let taken: Vec<Frame> = std::iter::from_fn(|| pool.alloc_large()).collect();
        let mut bytes = headers(6, 1500);
        bytes.extend([7; 1500]);
        let mut f = frame(&bytes);
        f.vnet = vnet(crate::gso::GSO_TCPV4, 500);
        let mut burst = Burst::with_capacity(1);
        let outcome = take(f, &mut 0, &mut pool, &mut burst);
        assert!(matches!(outcome, Taken::Full));
        for frame in taken {
            pool.free(frame);
        }
        let whole = received(f, &mut pool);
        pool.free(whole);
        assert_eq!(outstanding(&pool), 0);
    }

    #[test]
    fn one_call_takes_so_many_streams_and_the_next_goes_on() {
        let mut pool = pool(1);
        let mut bytes = headers(6, 1500);
        bytes.extend([7; 1500]);
        let mut f = frame(&bytes);
        f.vnet = vnet(crate::gso::GSO_TCPV4, 500);
        let mut burst = Burst::with_capacity(64);
        let mut room = MOST_WHOLE;
        let mut next =
            |room: &mut usize, burst: &mut Burst| take_within(room, f, &mut 0, &mut pool, burst);
        for _ in 0..MOST_WHOLE {
            assert!(matches!(next(&mut room, &mut burst), Taken::Whole));
        }
        assert!(matches!(next(&mut room, &mut burst), Taken::Full));
        assert!(matches!(next(&mut 1, &mut burst), Taken::Whole));
        burst.drain().for_each(|whole| pool.free(whole));
        assert_eq!(outstanding(&pool), 0);
    }

    #[test]
    fn a_stream_of_one_packet_is_a_packet() {
        let mut pool = pool(1);
        let mut bytes = headers(6, 500);
        bytes.extend([7; 500]);
        let mut f = frame(&bytes);
        f.vnet = vnet(crate::gso::GSO_TCPV4, 500);
        let packet = received(f, &mut pool);
        assert_eq!(
            (packet.segment_size(), packet.region()),
            (0, FramePool::UMEM)
        );
        assert_eq!(packet.checksum(), ChecksumState::Good);
        pool.free(packet);
    }

    #[test]
    fn datagrams_that_do_not_fit_the_burst_go_on_in_the_next() {
        let mut pool = FramePool::with_umem(8, 2048).unwrap();
        let mut burst = Burst::with_capacity(2);
        let mut bytes = headers(17, 2500);
        bytes.extend([7; 2500]);
        let mut f = frame(&bytes);
        f.vnet = vnet(5, 1000);
        let mut taken = 0;
        assert!(matches!(
            take(f, &mut taken, &mut pool, &mut burst),
            Taken::Full
        ));
        let lengths: Vec<usize> = burst.frames().iter().map(Frame::len).collect();
        assert_eq!((taken, lengths), (2, vec![1042, 1042]));
        burst.drain().for_each(|packet| pool.free(packet));
        assert!(matches!(
            take(f, &mut taken, &mut pool, &mut burst),
            Taken::Whole
        ));
        let last = burst.drain().next().unwrap();
        assert_eq!((last.len(), last.checksum()), (542, ChecksumState::Good));
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
        let mut pool = pool(64);
        let mut numbers = Numbers(0x1234_5678_9abc_def1);
        // A sound super-frame to begin with: most of what a few changed bytes make of it is not.
        let mut sound = headers(6, 2960);
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
                    if let Some(mut packets) = Packets::of(&packet) {
                        while let Some(packet) = packets.next(&mut pool) {
                            pool.free(packet);
                        }
                    }
                    tx.push(packet);
                }
                match outcome {
                    Taken::Full => {}
                    Taken::Whole => {
                        whole += 1;
                        break;
                    }
                    Taken::Invalid | Taken::Lost => {
                        invalid += 1;
                        break;
                    }
                }
                tx.describe();
                tx.clear(&mut pool);
            }
            tx.describe();
            tx.clear(&mut pool);
            assert_eq!(outstanding(&pool), 0);
        }
        assert!(
            whole > 1000 && invalid > 1000,
            "{whole} whole, {invalid} invalid"
        );
    }
}
