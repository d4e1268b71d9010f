//! Where the frames of the ring go: into chunks of the pool, whole or cut into packets.

use super::super::ring::RxFrame;
use super::super::sys::PacketSocket;
use crate::gso::{DATA_VALID, GSO_NONE, NEEDS_CSUM, Segmenter, VnetHeader, complete, tcp_is_right};
use crate::{Burst, ChecksumState, Frame, FramePool};

/// What is left in front of a received frame for options that are inserted.
const HEAD_ROOM: usize = 256;

const TAG_LEN: usize = 4;
/// Shorter packets are seldom part of a bulk transfer.
const WORTH_ADDING_UP: usize = 512;

/// A frame that was too long for its slot in the ring.
#[derive(Debug)]
pub(super) struct Long {
    pub(super) frame: Frame,
    vnet: VnetHeader,
}

/// What became of one frame in the ring.
#[derive(Debug)]
pub(super) enum Taken {
    Whole,
    /// The burst or the pool is full; the rest stays in the ring.
    Full,
    Invalid,
    /// The socket's queue had no room for what did not fit the slot.
    Lost,
}

/// Where the frames of the ring go.
pub(super) struct Target<'a> {
    /// Whether streams stay whole.
    pub(super) keeps: bool,
    /// Super-frames that may still be taken in this call.
    pub(super) room: &'a mut usize,
    /// See [`AfPacketPort`](super::AfPacketPort).
    pub(super) taken: &'a mut usize,
    pub(super) pool: &'a mut FramePool,
    pub(super) burst: &'a mut Burst,
}

impl Target<'_> {
    /// Copies a frame of the ring to the burst: in one piece, or the packets that a super-frame is
    /// cut into.
    pub(super) fn take(&mut self, frame: RxFrame) -> Taken {
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
    pub(super) fn take_long(
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
mod tests;
