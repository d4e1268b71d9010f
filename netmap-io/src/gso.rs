//! Super-frames: what the kernel hands over before it has cut a TCP stream into packets.
//!
//! A virtual peer sends up to 64 KiB in one frame and says in a [`VnetHeader`] how to cut it. Such
//! frames stay whole as long as they can: [`Packets`] cuts them for a port that takes none.

mod checksum;
mod layout;
mod packets;

use checksum::transport_checksum;
pub(crate) use checksum::{complete, fold, pseudo_sum, sum, tcp_is_right};
use layout::UDP;
pub(crate) use layout::{Layout, TCP, read_u16};
pub use packets::Packets;
pub(crate) use packets::leave_to_the_kernel;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: only the pseudo-header sum is in the checksum field.
pub(crate) const NEEDS_CSUM: u8 = 1;
/// `VIRTIO_NET_HDR_F_DATA_VALID`: the checksum was verified.
pub(crate) const DATA_VALID: u8 = 2;
/// `VIRTIO_NET_HDR_GSO_NONE`: one packet.
pub(crate) const GSO_NONE: u8 = 0;
/// `VIRTIO_NET_HDR_GSO_TCPV4`: a TCP stream over IPv4.
pub(crate) const GSO_TCPV4: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_TCPV6`: a TCP stream over IPv6.
pub(crate) const GSO_TCPV6: u8 = 4;
/// `VIRTIO_NET_HDR_GSO_UDP_L4`: equal UDP datagrams.
const GSO_UDP_L4: u8 = 5;
/// `VIRTIO_NET_HDR_GSO_ECN`: the first packet carries CWR.
const GSO_ECN: u8 = 0x80;

/// `struct virtio_net_hdr`, which stands in front of every frame of a `PACKET_VNET_HDR` socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VnetHeader {
    pub(crate) flags: u8,
    pub(crate) gso_type: u8,
    /// Length of all headers.
    pub(crate) header_len: u16,
    /// Payload of each packet but the last.
    pub(crate) gso_size: u16,
    /// Where the checksum begins.
    pub(crate) csum_start: u16,
    /// Where the checksum is stored, counted from `csum_start`.
    pub(crate) csum_offset: u16,
}

impl VnetHeader {
    pub(crate) const LEN: usize = 10;

    /// A packet that goes as it is.
    pub(crate) const NONE: Self = Self {
        flags: 0,
        gso_type: GSO_NONE,
        header_len: 0,
        gso_size: 0,
        csum_start: 0,
        csum_offset: 0,
    };

    /// Reads the header, which is in the machine's byte order.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let &[flags, gso_type, h0, h1, g0, g1, s0, s1, o0, o1] = bytes.first_chunk()?;
        Some(Self {
            flags,
            gso_type,
            header_len: u16::from_ne_bytes([h0, h1]),
            gso_size: u16::from_ne_bytes([g0, g1]),
            csum_start: u16::from_ne_bytes([s0, s1]),
            csum_offset: u16::from_ne_bytes([o0, o1]),
        })
    }

    /// Writes the header.
    pub(crate) fn to_bytes(self) -> [u8; Self::LEN] {
        let [h0, h1] = self.header_len.to_ne_bytes();
        let [g0, g1] = self.gso_size.to_ne_bytes();
        let [s0, s1] = self.csum_start.to_ne_bytes();
        let [o0, o1] = self.csum_offset.to_ne_bytes();
        [self.flags, self.gso_type, h0, h1, g0, g1, s0, s1, o0, o1]
    }
}

const TCP_FIN: u8 = 0x01;
const TCP_PSH: u8 = 0x08;
const TCP_CWR: u8 = 0x80;

/// Cuts one super-frame into packets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segmenter {
    layout: Layout,
    /// Ethernet, IP and transport header together.
    header_len: usize,
    size: usize,
    count: usize,
}

impl Segmenter {
    /// Reads the headers of a super-frame; none when it is not what its type says.
    pub(crate) fn new(frame: &[u8], vnet: VnetHeader) -> Option<Self> {
        let layout = Layout::parse(frame)?;
        let wanted = match vnet.gso_type & !GSO_ECN {
            GSO_TCPV4 => layout.protocol == TCP && !layout.v6,
            GSO_TCPV6 => layout.protocol == TCP && layout.v6,
            GSO_UDP_L4 => layout.protocol == UDP,
            _ => false,
        };
        if !wanted {
            return None;
        }
        Self::of(frame, layout, vnet.gso_size)
    }

    /// Prepares to cut a frame after every `size` bytes of payload.
    fn of(frame: &[u8], layout: Layout, size: u16) -> Option<Self> {
        if layout.fragment || size == 0 {
            return None;
        }
        let header_len = layout.l4 + layout.transport_header_len(frame)?;
        let payload = frame.len().checked_sub(header_len)?;
        let size = size as usize;
        Some(Self {
            layout,
            header_len,
            size,
            count: payload.div_ceil(size).max(1),
        })
    }

    /// Says whether this is a TCP stream of several packets, which may stay whole.
    pub(crate) fn is_stream(&self) -> bool {
        self.layout.protocol == TCP && self.count > 1
    }

    /// Returns the length of packet `n`, Ethernet header included; none past the last.
    pub(crate) fn segment_len(&self, frame: &[u8], n: usize) -> Option<usize> {
        Some(self.header_len + self.payload(frame, n)?.len())
    }

    /// Writes packet `n` with its own lengths, IP id, sequence number, flags and checksums into
    /// `out`, which has [`segment_len`](Self::segment_len) bytes.
    pub(crate) fn write(&self, frame: &[u8], n: usize, out: &mut [u8]) -> Option<()> {
        let payload = self.payload(frame, n)?;
        let (headers, body) = out.split_at_mut_checked(self.header_len)?;
        headers.copy_from_slice(frame.get(..self.header_len)?);
        if body.len() != payload.len() {
            return None;
        }
        body.copy_from_slice(payload);
        self.patch_ip(headers, payload.len(), n)?;
        match self.layout.protocol {
            TCP => self.patch_tcp(headers, n)?,
            _ => self.patch_udp(headers, payload.len())?,
        }
        transport_checksum(out, self.layout)
    }

    fn payload<'a>(&self, frame: &'a [u8], n: usize) -> Option<&'a [u8]> {
        if n >= self.count {
            return None;
        }
        let start = self.header_len + n * self.size;
        let end = (start + self.size).min(frame.len());
        frame.get(start..end)
    }

    fn patch_ip(&self, headers: &mut [u8], payload: usize, n: usize) -> Option<()> {
        let ip = headers.get_mut(self.layout.ip..)?;
        let transport = self.header_len - self.layout.ip + payload;
        if self.layout.v6 {
            let length = u16::try_from(transport - 40).ok()?;
            *ip.get_mut(4..)?.first_chunk_mut()? = length.to_be_bytes();
            return Some(());
        }
        let total = u16::try_from(transport).ok()?;
        *ip.get_mut(2..)?.first_chunk_mut()? = total.to_be_bytes();
        // RFC 6864: ids matter only to fragments, yet receivers coalesce ids that count up.
        let id = read_u16(ip, 4)?.wrapping_add(n as u16);
        *ip.get_mut(4..)?.first_chunk_mut()? = id.to_be_bytes();
        *ip.get_mut(10..)?.first_chunk_mut()? = [0, 0];
        let header = ip.get(..self.layout.l4 - self.layout.ip)?;
        let checksum = !fold(sum(header));
        *ip.get_mut(10..)?.first_chunk_mut()? = checksum.to_ne_bytes();
        Some(())
    }

    fn patch_tcp(&self, headers: &mut [u8], n: usize) -> Option<()> {
        let tcp = headers.get_mut(self.layout.l4..)?;
        let seq = tcp.get_mut(4..)?.first_chunk_mut()?;
        // A super-frame has at most 64 KiB, so the distance fits.
        *seq = u32::from_be_bytes(*seq)
            .wrapping_add((n * self.size) as u32)
            .to_be_bytes();
        let flags = tcp.get_mut(13)?;
        if n + 1 < self.count {
            *flags &= !(TCP_FIN | TCP_PSH);
        }
        if n > 0 {
            // RFC 3168 section 6.1.2: the window was reduced once.
            *flags &= !TCP_CWR;
        }
        Some(())
    }

    fn patch_udp(&self, headers: &mut [u8], payload: usize) -> Option<()> {
        let udp = headers.get_mut(self.layout.l4..)?;
        let length = u16::try_from(payload + 8).ok()?;
        *udp.get_mut(4..)?.first_chunk_mut()? = length.to_be_bytes();
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The oracle: RFC 1071 as written there, word by word.
    fn plain_sum(bytes: &[u8]) -> u16 {
        let mut total = 0u32;
        for pair in bytes.chunks(2) {
            total += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            total = (total & 0xffff) + (total >> 16);
        }
        total as u16
    }

    fn stream(n: usize) -> Vec<u8> {
        (0..n).map(|i| (i * 7 + i / 251) as u8).collect()
    }

    fn tcp4(payload: &[u8], flags: u8, options: &[u8]) -> Vec<u8> {
        let mut f = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        let total = (40 + options.len() + payload.len()) as u16;
        f.extend([0x45, 0]);
        f.extend(total.to_be_bytes());
        f.extend([0xff, 0xfe, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        f.extend([0x9c, 0x40, 0, 80]);
        f.extend(0xffff_fc00u32.to_be_bytes());
        f.extend([0, 0, 0, 9, (5 + options.len() as u8 / 4) << 4, flags, 1, 0]);
        f.extend([0xab, 0xcd, 0, 0]);
        f.extend(options);
        f.extend(payload);
        f
    }

    fn vnet(gso_type: u8, gso_size: u16) -> VnetHeader {
        VnetHeader {
            flags: NEEDS_CSUM,
            gso_type,
            gso_size,
            ..VnetHeader::NONE
        }
    }

    fn cut(frame: &[u8], vnet: VnetHeader) -> Vec<Vec<u8>> {
        let cutter = Segmenter::new(frame, vnet).unwrap();
        (0..cutter.count)
            .map(|n| {
                let mut out = vec![0; cutter.segment_len(frame, n).unwrap()];
                cutter.write(frame, n, &mut out).unwrap();
                out
            })
            .collect()
    }

    fn assert_valid_ipv4(segment: &[u8]) {
        let ip = &segment[14..];
        assert_eq!(plain_sum(&ip[..20]), 0xffff, "IP header checksum");
        assert_eq!(usize::from(u16::from_be_bytes([ip[2], ip[3]])), ip.len());
        let mut pseudo = ip[12..20].to_vec();
        pseudo.extend([0, ip[9]]);
        pseudo.extend(((ip.len() - 20) as u16).to_be_bytes());
        pseudo.extend(&ip[20..]);
        assert_eq!(plain_sum(&pseudo), 0xffff, "transport checksum");
    }

    #[test]
    fn a_stream_is_cut_into_valid_packets_that_carry_every_byte_once() {
        let payload = stream(4001);
        let options = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
        let frame = tcp4(&payload, 0x99, &options);
        let segments = cut(&frame, vnet(GSO_TCPV4 | GSO_ECN, 1448));
        assert_eq!(segments.len(), 3);
        let mut seen: Vec<u8> = Vec::new();
        for (n, s) in segments.iter().enumerate() {
            assert_valid_ipv4(s);
            let id = u16::from_be_bytes([s[18], s[19]]);
            assert_eq!(id, 0xfffe_u16.wrapping_add(n as u16));
            let seq = u32::from_be_bytes(*s[38..].first_chunk().unwrap());
            assert_eq!(seq, 0xffff_fc00u32.wrapping_add(seen.len() as u32));
            assert_eq!(&s[54..66], &options);
            seen.extend(&s[66..]);
        }
        assert_eq!(seen, payload);
        // FIN and PSH end the stream, CWR begins it; ACK is on all.
        let flags: Vec<u8> = segments.iter().map(|s| s[47]).collect();
        assert_eq!(flags, [0x90, 0x10, 0x19]);
    }

    #[test]
    fn a_stream_that_ends_on_a_packet_boundary_has_no_empty_packet() {
        let frame = tcp4(&stream(2000), 0x10, &[]);
        let segments = cut(&frame, vnet(GSO_TCPV4, 1000));
        let lengths: Vec<usize> = segments.iter().map(Vec::len).collect();
        assert_eq!(lengths, [1054, 1054]);
    }

    #[test]
    fn ipv6_is_cut_with_its_own_lengths() {
        let payload = stream(2500);
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd];
        frame.extend([0x60, 0, 0, 0, 0, 0, 6, 64]);
        frame.extend((0..32).map(|i| i * 3));
        frame.extend([0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 1, 0]);
        frame.extend([0xab, 0xcd, 0, 0]);
        frame.extend(&payload);
        let segments = cut(&frame, vnet(GSO_TCPV6, 1200));
        let mut seen: Vec<u8> = Vec::new();
        for s in &segments {
            let length = u16::from_be_bytes([s[18], s[19]]);
            assert_eq!(usize::from(length), s.len() - 54);
            let mut pseudo = s[22..54].to_vec();
            pseudo.extend([0, 0]);
            pseudo.extend(length.to_be_bytes());
            pseudo.extend([0, 0, 0, 6]);
            pseudo.extend(&s[54..]);
            assert_eq!(plain_sum(&pseudo), 0xffff);
            seen.extend(&s[74..]);
        }
        assert_eq!((segments.len(), seen), (3, payload));
    }

    #[test]
    fn udp_is_cut_into_datagrams_of_equal_size() {
        let payload = stream(2500);
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 0];
        frame.extend([0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0x9c, 0x40, 0, 53, 0, 0, 0, 0]);
        frame.extend(&payload);
        let segments = cut(&frame, vnet(GSO_UDP_L4, 1000));
        let mut seen: Vec<u8> = Vec::new();
        for s in &segments {
            assert_valid_ipv4(s);
            let length = u16::from_be_bytes([s[38], s[39]]);
            assert_eq!(usize::from(length), s.len() - 34);
            seen.extend(&s[42..]);
        }
        assert_eq!((segments.len(), seen), (3, payload));
    }

    #[test]
    fn a_frame_that_is_not_what_its_type_says_is_refused() {
        let frame = tcp4(&stream(3000), 0x10, &[]);
        assert!(Segmenter::new(&frame, vnet(GSO_TCPV6, 1000)).is_none());
        assert!(Segmenter::new(&frame, vnet(GSO_UDP_L4, 1000)).is_none());
        assert!(Segmenter::new(&frame, vnet(3, 1000)).is_none());
        assert!(Segmenter::new(&frame, vnet(GSO_TCPV4, 0)).is_none());
        for cut_at in 0..54 {
            assert!(Segmenter::new(&frame[..cut_at], vnet(GSO_TCPV4, 1000)).is_none());
        }
    }

    #[test]
    fn the_vnet_header_survives_a_round_trip() {
        let bytes = [1, 4, 66, 0, 0xa8, 5, 34, 0, 16, 0];
        let header = VnetHeader::parse(&bytes).unwrap();
        assert_eq!((header.header_len, header.gso_size), (66, 1448));
        assert_eq!(header.to_bytes(), bytes);
        assert!(VnetHeader::parse(&bytes[..9]).is_none());
    }
}
