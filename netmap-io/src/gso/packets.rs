//! Super-frames that stayed whole: how they leave, whole again or cut into packets.

use super::{
    GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, Layout, NEEDS_CSUM, Segmenter, TCP, TCP_CWR,
    VnetHeader, fold, layout::UDP, pseudo_sum,
};
use crate::{ChecksumState, Frame, FramePool};

/// What is left in front of each packet, as drivers leave it.
const HEAD_ROOM: usize = 256;

/// The packets that a super-frame stands for, for a port that does not take it whole.
#[derive(Debug)]
pub struct Packets<'a> {
    whole: &'a [u8],
    cutter: Segmenter,
    next: usize,
}

impl<'a> Packets<'a> {
    /// Prepares to cut a super-frame; none when it is none, or its headers make no sense.
    #[must_use]
    pub fn of(frame: &'a Frame) -> Option<Self> {
        let whole = frame.bytes();
        let layout = Layout::parse(whole).filter(|layout| layout.protocol == TCP)?;
        let cutter = Segmenter::of(whole, layout, frame.segment_size())?;
        Some(Self {
            whole,
            cutter,
            next: 0,
        })
    }

    /// Says whether all packets were made.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.next >= self.cutter.count
    }

    /// Makes the next packet, with its own lengths, IP id, sequence number, flags and checksums;
    /// none when all were made, no chunk is free, or a packet is longer than one.
    pub fn next(&mut self, pool: &mut FramePool) -> Option<Frame> {
        let len = self.cutter.segment_len(self.whole, self.next)?;
        let mut packet = pool.alloc(FramePool::UMEM)?;
        let start = HEAD_ROOM.min(packet.capacity().saturating_sub(len));
        let written = packet.set_range(start..start + len)
            && self
                .cutter
                .write(self.whole, self.next, packet.bytes_mut())
                .is_some();
        if !written {
            pool.free(packet);
            return None;
        }
        packet.set_checksum(ChecksumState::Good);
        self.next += 1;
        Some(packet)
    }
}

/// Describes a frame whose checksum, and cutting where it is a super-frame, is the kernel's work,
/// and puts the pseudo-header sum where the kernel wants it; none when there is nothing to do.
pub(crate) fn leave_to_the_kernel(frame: &mut Frame) -> Option<VnetHeader> {
    let size = frame.segment_size();
    let bytes = frame.bytes_mut();
    let layout = Layout::parse(bytes)?;
    if layout.fragment || !matches!(layout.protocol, TCP | UDP) {
        return None;
    }
    let header_len = layout.l4 + layout.transport_header_len(bytes)?;
    let payload = bytes.len().checked_sub(header_len)?;
    let pseudo = fold(pseudo_sum(bytes, layout, bytes.len() - layout.l4)?);
    let field = bytes.get_mut(layout.l4 + layout.checksum_offset()..)?;
    *field.first_chunk_mut()? = pseudo.to_ne_bytes();
    let mut header = VnetHeader {
        flags: NEEDS_CSUM,
        gso_type: GSO_NONE,
        header_len: header_len as u16,
        gso_size: 0,
        csum_start: layout.l4 as u16,
        csum_offset: layout.checksum_offset() as u16,
    };
    // What is left of a super-frame after an answer was written over it is one packet.
    if size > 0 && layout.protocol == TCP && payload > size as usize {
        header.gso_type = if layout.v6 { GSO_TCPV6 } else { GSO_TCPV4 };
        header.gso_size = size;
        if *bytes.get(layout.l4 + 13)? & TCP_CWR != 0 {
            header.gso_type |= GSO_ECN;
        }
    }
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gso::sum;

    /// A stream of `payload` bytes with a checksum field that says nothing.
    fn stream(pool: &mut FramePool, payload: usize, flags: u8) -> Frame {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
        bytes.extend((40 + payload as u16).to_be_bytes());
        bytes.extend([0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        bytes.extend([0, 80, 0, 81, 0, 0, 0, 7, 0, 0, 0, 9, 0x50, flags, 1, 0]);
        bytes.extend([0xab, 0xcd, 0, 0]);
        bytes.extend((0..payload).map(|i| (i * 7 + i / 253) as u8));
        let mut frame = pool.alloc_large().unwrap();
        assert!(frame.set_range(256..256 + bytes.len()));
        frame.bytes_mut().copy_from_slice(&bytes);
        frame
    }

    fn pool(chunks: u32) -> FramePool {
        let mut pool = FramePool::with_umem(chunks, 2048).unwrap();
        pool.add_large().unwrap();
        pool
    }

    #[test]
    fn the_longest_super_frame_is_cut_into_packets_that_carry_every_byte_once() {
        let mut pool = pool(64);
        let mut frame = stream(&mut pool, 65_495, 0x18);
        frame.set_segment_size(1460);
        let mut packets = Packets::of(&frame).unwrap();
        let mut seen = Vec::new();
        while let Some(packet) = packets.next(&mut pool) {
            assert_eq!(packet.checksum(), ChecksumState::Good);
            assert_eq!(packet.segment_size(), 0);
            let transport = &packet.bytes()[34..];
            let pseudo = [10, 0, 0, 1, 10, 0, 0, 2, 0, 6];
            let length = (transport.len() as u16).to_be_bytes();
            let total = sum(&pseudo) + sum(&length) + sum(transport);
            assert_eq!(fold(total), 0xffff);
            seen.extend_from_slice(&packet.bytes()[54..]);
            pool.free(packet);
        }
        assert!(packets.is_done());
        assert_eq!(seen, frame.bytes()[54..]);
        pool.free(frame);
    }

    #[test]
    fn cutting_stops_where_no_chunk_is_free_and_goes_on_when_one_is() {
        let mut pool = pool(2);
        let mut frame = stream(&mut pool, 3000, 0x10);
        frame.set_segment_size(1000);
        let mut packets = Packets::of(&frame).unwrap();
        let first = packets.next(&mut pool).unwrap();
        let second = packets.next(&mut pool).unwrap();
        assert!(packets.next(&mut pool).is_none() && !packets.is_done());
        pool.free(first);
        let third = packets.next(&mut pool).unwrap();
        assert!(packets.is_done() && packets.next(&mut pool).is_none());
        assert_eq!(third.bytes()[54..], frame.bytes()[54 + 2000..]);
        for frame in [second, third, frame] {
            pool.free(frame);
        }
    }

    #[test]
    fn the_kernel_is_told_where_to_cut_and_what_to_add_up() {
        let mut pool = pool(1);
        let mut frame = stream(&mut pool, 3000, 0x90);
        frame.set_segment_size(1000);
        let header = leave_to_the_kernel(&mut frame).unwrap();
        let expected = VnetHeader {
            flags: NEEDS_CSUM,
            gso_type: GSO_TCPV4 | GSO_ECN,
            header_len: 54,
            gso_size: 1000,
            csum_start: 34,
            csum_offset: 16,
        };
        assert_eq!(header, expected);
        let pseudo = [10, 0, 0, 1, 10, 0, 0, 2, 0, 6, 0x0b, 0xcc];
        assert_eq!(frame.bytes()[50..52], fold(sum(&pseudo)).to_ne_bytes());
        pool.free(frame);
    }

    #[test]
    fn what_was_written_over_a_super_frame_leaves_as_one_packet_or_as_it_is() {
        let mut pool = pool(1);
        let mut frame = stream(&mut pool, 3000, 0x10);
        frame.set_segment_size(1000);
        assert!(frame.set_range(256..256 + 54));
        let header = leave_to_the_kernel(&mut frame).unwrap();
        assert_eq!((header.gso_type, header.flags), (GSO_NONE, NEEDS_CSUM));
        frame.bytes_mut()[23] = 1;
        let before = frame.bytes().to_vec();
        assert!(leave_to_the_kernel(&mut frame).is_none());
        assert_eq!(frame.bytes(), before);
        assert!(Packets::of(&frame).is_none());
        pool.free(frame);
    }
}
