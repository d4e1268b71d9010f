//! Putting the packets of a stream together again for the way through the kernel.
//!
//! Most of what a packet costs on AF_PACKET is one trip through the kernel. Packets that follow
//! each other in one TCP stream, as those do that a super-frame was cut into, take that trip
//! together; the device, or the kernel in front of it, cuts them at the same places again. Only
//! packets whose checksum is known to be good are joined: joining computes a new one.

use crate::gso::{
    GSO_TCPV4, GSO_TCPV6, Layout, NEEDS_CSUM, TCP, VnetHeader, fold, pseudo_sum, read_u16, sum,
};
use crate::{ChecksumState, Frame};

const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
/// An IP packet's length has 16 bits.
const LONGEST: usize = 65_535;
/// More would not fit a page's worth of fragments in the kernel.
pub(super) const MOST_FRAMES: usize = 60;

/// A run of packets that follow each other in one TCP stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    layout: Layout,
    /// Ethernet, IP and TCP header together.
    header_len: usize,
    /// Payload of each packet but the last.
    size: usize,
    /// Payload of all packets.
    payload: usize,
    frames: usize,
    next_seq: u32,
    next_id: u16,
    /// The last packet ends the run: it is shorter than the others, or pushes.
    ended: bool,
    push: bool,
}

impl Stream {
    /// Begins a run; none when nothing may follow this packet in one.
    pub(super) fn begin(frame: &Frame) -> Option<Self> {
        let (layout, header_len) = read(frame)?;
        let bytes = frame.bytes();
        let size = bytes.len() - header_len;
        Some(Self {
            layout,
            header_len,
            size,
            payload: size,
            frames: 1,
            next_seq: seq(bytes, layout)?.wrapping_add(size as u32),
            next_id: ip_id(bytes, layout)?.wrapping_add(1),
            ended: *bytes.get(layout.l4 + 13)? != ACK,
            push: false,
        })
    }

    /// Returns how many packets are in the run.
    pub(super) fn frames(&self) -> usize {
        self.frames
    }

    /// Returns the length of the headers, which the packets after the first go without.
    pub(super) fn header_len(&self) -> usize {
        self.header_len
    }

    /// Adds `next` where it goes on where the run ends.
    pub(super) fn extend(&mut self, first: &Frame, next: &Frame) -> bool {
        if self.ended || self.frames == MOST_FRAMES {
            return false;
        }
        let Some(added) = self.continued_by(first.bytes(), next) else {
            return false;
        };
        self.payload += added.payload;
        self.frames += 1;
        self.next_seq = self.next_seq.wrapping_add(added.payload as u32);
        self.next_id = self.next_id.wrapping_add(1);
        self.push = added.push;
        self.ended = added.push || added.payload < self.size;
        true
    }

    /// Makes the first packet's headers those of the whole run.
    pub(super) fn finish(&self, first: &mut [u8]) -> Option<VnetHeader> {
        let Layout { ip, l4, .. } = self.layout;
        let transport = self.header_len - l4 + self.payload;
        if self.layout.v6 {
            let length = u16::try_from(transport).ok()?;
            *first.get_mut(ip + 4..)?.first_chunk_mut()? = length.to_be_bytes();
        } else {
            let total = u16::try_from(l4 - ip + transport).ok()?;
            *first.get_mut(ip + 2..)?.first_chunk_mut()? = total.to_be_bytes();
            *first.get_mut(ip + 10..)?.first_chunk_mut()? = [0, 0];
            let checksum = !fold(sum(first.get(ip..l4)?));
            *first.get_mut(ip + 10..)?.first_chunk_mut()? = checksum.to_ne_bytes();
        }
        if self.push {
            *first.get_mut(l4 + 13)? |= PSH;
        }
        let pseudo = fold(pseudo_sum(first, self.layout, transport)?);
        let field = l4 + self.layout.checksum_offset();
        *first.get_mut(field..)?.first_chunk_mut()? = pseudo.to_ne_bytes();
        Some(VnetHeader {
            flags: NEEDS_CSUM,
            gso_type: if self.layout.v6 { GSO_TCPV6 } else { GSO_TCPV4 },
            header_len: self.header_len as u16,
            gso_size: self.size as u16,
            csum_start: l4 as u16,
            csum_offset: self.layout.checksum_offset() as u16,
        })
    }

    fn continued_by(&self, first: &[u8], next: &Frame) -> Option<Added> {
        let (layout, header_len) = read(next)?;
        let bytes = next.bytes();
        let payload = bytes.len() - header_len;
        let flags = *bytes.get(layout.l4 + 13)?;
        let fits = self.header_len - layout.ip + self.payload + payload <= LONGEST;
        let goes_on = layout == self.layout
            && header_len == self.header_len
            && payload <= self.size
            && fits
            && seq(bytes, layout)? == self.next_seq
            && flags & !PSH == ACK
            && same_headers(first, bytes, layout, header_len)?
            && (layout.v6
                || may_be_fragmented(bytes, layout) == Some(false)
                || ip_id(bytes, layout)? == self.next_id);
        goes_on.then_some(Added {
            payload,
            push: flags & PSH != 0,
        })
    }
}

struct Added {
    payload: usize,
    push: bool,
}

/// Reads a packet that may be joined with others: TCP with payload, no tag, no IP options, its
/// checksum known to be good.
fn read(frame: &Frame) -> Option<(Layout, usize)> {
    if frame.checksum() != ChecksumState::Good {
        return None;
    }
    let bytes = frame.bytes();
    let layout = Layout::parse(bytes)?;
    let ip_len = if layout.v6 { 40 } else { 20 };
    if layout.protocol != TCP || layout.fragment || layout.ip != 14 || layout.l4 != 14 + ip_len {
        return None;
    }
    let length = if layout.v6 {
        read_u16(bytes, layout.ip + 4)? as usize + 40
    } else {
        read_u16(bytes, layout.ip + 2)? as usize
    };
    let header_len = layout.l4 + layout.transport_header_len(bytes)?;
    // A padded frame is longer than its packet.
    (layout.ip + length == bytes.len() && header_len < bytes.len()).then_some((layout, header_len))
}

/// Compares all header fields that the packets of a run share: all but lengths, id, checksums,
/// sequence number and flags.
fn same_headers(a: &[u8], b: &[u8], layout: Layout, header_len: usize) -> Option<bool> {
    let Layout { ip, l4, v6, .. } = layout;
    let same = |range: std::ops::Range<usize>| Some(a.get(range.clone())? == b.get(range)?);
    let ip_is_same = if v6 {
        same(ip..ip + 4)? && same(ip + 6..l4)?
    } else {
        same(ip..ip + 2)? && same(ip + 6..ip + 10)? && same(ip + 12..l4)?
    };
    Some(
        same(0..ip)?
            && ip_is_same
            && same(l4..l4 + 4)?
            && same(l4 + 8..l4 + 13)?
            && same(l4 + 14..l4 + 16)?
            && same(l4 + 18..header_len)?,
    )
}

fn seq(bytes: &[u8], layout: Layout) -> Option<u32> {
    let seq = bytes.get(layout.l4 + 4..)?.first_chunk()?;
    Some(u32::from_be_bytes(*seq))
}

fn ip_id(bytes: &[u8], layout: Layout) -> Option<u16> {
    read_u16(bytes, layout.ip + 4)
}

fn may_be_fragmented(bytes: &[u8], layout: Layout) -> Option<bool> {
    Some(read_u16(bytes, layout.ip + 6)? & 0x4000 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FramePool;
    use crate::gso::Segmenter;

    /// A super-frame of `payload` bytes, and its packets as frames.
    fn packets(pool: &mut FramePool, payload: usize, flags: u8, v6: bool) -> (Vec<u8>, Vec<Frame>) {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        if v6 {
            bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            bytes.extend((32 + payload as u16).to_be_bytes());
            bytes.extend([6, 64]);
            bytes.extend(0..32);
        } else {
            bytes.extend([8, 0, 0x45, 0]);
            bytes.extend((52 + payload as u16).to_be_bytes());
            bytes.extend([0x12, 0xff, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        }
        bytes.extend([
            0x9c, 0x40, 0, 80, 0xff, 0xff, 0xfe, 0, 0, 0, 0, 9, 0x80, flags, 1, 0,
        ]);
        bytes.extend([0, 0, 0, 0, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
        bytes.extend((0..payload).map(|i| (i * 7 + i / 253) as u8));
        let vnet = VnetHeader {
            gso_type: if v6 { GSO_TCPV6 } else { GSO_TCPV4 },
            gso_size: 1000,
            ..VnetHeader::NONE
        };
        let cutter = Segmenter::new(&bytes, vnet).unwrap();
        let mut frames = Vec::new();
        while let Some(len) = cutter.segment_len(&bytes, frames.len()) {
            let mut frame = pool.alloc(FramePool::UMEM).unwrap();
            assert!(frame.set_range(256..256 + len));
            cutter
                .write(&bytes, frames.len(), frame.bytes_mut())
                .unwrap();
            frame.set_checksum(ChecksumState::Good);
            frames.push(frame);
        }
        (bytes, frames)
    }

    /// Joins as many of the frames as go together.
    fn join(frames: &[Frame]) -> Stream {
        let mut stream = Stream::begin(&frames[0]).unwrap();
        for next in &frames[1..] {
            if !stream.extend(&frames[0], next) {
                break;
            }
        }
        stream
    }

    /// The oracle: cutting what was joined gives the same packets again.
    fn assert_cut_again_gives(frames: &[Frame], stream: Stream) {
        let mut joined = frames[0].bytes().to_vec();
        let vnet = stream.finish(&mut joined).unwrap();
        for next in &frames[1..stream.frames()] {
            joined.extend(&next.bytes()[stream.header_len()..]);
        }
        let cutter = Segmenter::new(&joined, vnet).unwrap();
        for (n, frame) in frames[..stream.frames()].iter().enumerate() {
            let mut out = vec![0; cutter.segment_len(&joined, n).unwrap()];
            cutter.write(&joined, n, &mut out).unwrap();
            assert_eq!(out, frame.bytes(), "packet {n}");
        }
        assert!(cutter.segment_len(&joined, stream.frames()).is_none());
    }

    #[test]
    fn the_packets_of_a_super_frame_are_joined_and_cut_into_the_same_again() {
        let mut pool = FramePool::with_umem(64, 2048).unwrap();
        for v6 in [false, true] {
            let (_, frames) = packets(&mut pool, 10_400, 0x18, v6);
            let stream = join(&frames);
            assert_eq!(stream.frames(), 11);
            assert_cut_again_gives(&frames, stream);
            for frame in frames {
                pool.free(frame);
            }
        }
    }

    #[test]
    fn the_joined_headers_are_those_of_the_super_frame_with_a_pseudo_header_sum() {
        let mut pool = FramePool::with_umem(64, 2048).unwrap();
        let (whole, frames) = packets(&mut pool, 5000, 0x10, false);
        let stream = join(&frames);
        let mut first = frames[0].bytes().to_vec();
        stream.finish(&mut first).unwrap();
        assert_eq!(first[16..18], whole[16..18], "total length");
        assert_eq!(fold(sum(&first[14..34])), 0xffff, "IP header checksum");
        let mut pseudo = whole[26..34].to_vec();
        pseudo.extend([0, 6]);
        pseudo.extend((32 + 5000u16).to_be_bytes());
        assert_eq!(first[50..52], fold(sum(&pseudo)).to_ne_bytes());
    }

    #[test]
    fn a_run_ends_where_the_stream_does_not_go_on() {
        let mut pool = FramePool::with_umem(64, 2048).unwrap();
        // Each change, made to the third packet of five, and how many packets then go together.
        let changes: [(usize, u8, usize); 9] = [
            (0, 4, 2),     // another destination
            (15, 8, 2),    // DSCP
            (22, 63, 2),   // TTL
            (29, 3, 2),    // source address
            (35, 65, 2),   // source port
            (41, 1, 2),    // sequence number
            (45, 8, 2),    // acknowledgement
            (47, 0x11, 2), // FIN
            (58, 9, 2),    // time stamp
        ];
        for (at, value, expected) in changes {
            let (_, mut frames) = packets(&mut pool, 5000, 0x10, false);
            assert_eq!(join(&frames).frames(), 5);
            assert_ne!(frames[2].bytes()[at], value);
            frames[2].bytes_mut()[at] = value;
            assert_eq!(join(&frames).frames(), expected, "byte {at}");
            for frame in frames {
                pool.free(frame);
            }
        }
    }

    #[test]
    fn a_packet_that_pushes_or_is_shorter_is_the_last_of_its_run() {
        let mut pool = FramePool::with_umem(64, 2048).unwrap();
        let (_, mut frames) = packets(&mut pool, 5000, 0x10, false);
        frames[2].bytes_mut()[47] = 0x18;
        let stream = join(&frames);
        assert_eq!(stream.frames(), 3);
        let mut first = frames[0].bytes().to_vec();
        stream.finish(&mut first).unwrap();
        assert_eq!(first[47], 0x18);
        frames[0].bytes_mut()[47] = 0x18;
        assert_eq!(join(&frames).frames(), 1);
        for frame in frames {
            pool.free(frame);
        }
        let (_, frames) = packets(&mut pool, 1500, 0x10, false);
        let (_, more) = packets(&mut pool, 1500, 0x10, false);
        let mut stream = join(&frames);
        assert_eq!(stream.frames(), 2);
        assert!(!stream.extend(&frames[0], &more[0]));
    }

    #[test]
    fn a_packet_whose_checksum_nobody_vouches_for_goes_alone() {
        let mut pool = FramePool::with_umem(64, 2048).unwrap();
        let (_, mut frames) = packets(&mut pool, 5000, 0x10, false);
        frames[3].set_checksum(ChecksumState::Unknown);
        assert_eq!(join(&frames).frames(), 3);
        frames[0].set_checksum(ChecksumState::Partial);
        assert!(Stream::begin(&frames[0]).is_none());
    }

    #[test]
    fn packets_without_payload_padded_ones_and_fragments_go_alone() {
        let mut pool = FramePool::with_umem(64, 2048).unwrap();
        let (_, frames) = packets(&mut pool, 0, 0x10, false);
        assert!(Stream::begin(&frames[0]).is_none());
        let (_, mut frames) = packets(&mut pool, 500, 0x10, false);
        assert!(Stream::begin(&frames[0]).is_some());
        frames[0].bytes_mut()[20] = 0x20;
        assert!(Stream::begin(&frames[0]).is_none());
        let (_, mut frames) = packets(&mut pool, 500, 0x10, false);
        let range = frames[0].range();
        assert!(frames[0].set_range(range.start..range.end + 4));
        assert!(Stream::begin(&frames[0]).is_none());
    }
}
