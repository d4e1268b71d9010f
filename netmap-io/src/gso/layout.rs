//! Where the headers of a frame stand: no more than segmentation has to know.

/// The TCP protocol number.
pub(crate) const TCP: u8 = 6;
/// The UDP protocol number.
pub(crate) const UDP: u8 = 17;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;
/// More extension headers than a sane packet has.
const MAX_EXTENSIONS: usize = 4;

/// Names the offsets of a frame's headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Offset of the IP header.
    pub(crate) ip: usize,
    /// Offset of the transport header.
    pub(crate) l4: usize,
    /// The transport protocol.
    pub(crate) protocol: u8,
    /// IPv6, not IPv4.
    pub(crate) v6: bool,
    /// A fragment, whose transport header is not whole.
    pub(crate) fragment: bool,
}

impl Layout {
    /// Finds the headers of an IPv4 or IPv6 frame, at most two VLAN tags looked through.
    pub(crate) fn parse(frame: &[u8]) -> Option<Self> {
        let mut at = 12;
        for _ in 0..3 {
            match read_u16(frame, at)? {
                ETHERTYPE_VLAN | ETHERTYPE_QINQ => at += 4,
                ETHERTYPE_IPV4 => return Self::ipv4(frame, at + 2),
                ETHERTYPE_IPV6 => return Self::ipv6(frame, at + 2),
                _ => return None,
            }
        }
        None
    }

    /// Returns where the checksum stands in the transport header.
    pub(crate) fn checksum_offset(&self) -> usize {
        if self.protocol == UDP { 6 } else { 16 }
    }

    /// Returns the length of the TCP or UDP header.
    pub(crate) fn transport_header_len(&self, frame: &[u8]) -> Option<usize> {
        if self.protocol == UDP {
            return Some(8);
        }
        let words = frame.get(self.l4 + 12)? >> 4;
        (words >= 5).then_some(words as usize * 4)
    }

    fn ipv4(frame: &[u8], ip: usize) -> Option<Self> {
        let header = frame.get(ip..)?.first_chunk::<20>()?;
        let words = header[0] & 0xf;
        if header[0] >> 4 != 4 || words < 5 {
            return None;
        }
        Some(Self {
            ip,
            l4: ip + words as usize * 4,
            protocol: header[9],
            v6: false,
            fragment: u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0,
        })
    }

    fn ipv6(frame: &[u8], ip: usize) -> Option<Self> {
        let header = frame.get(ip..)?.first_chunk::<40>()?;
        if header[0] >> 4 != 6 {
            return None;
        }
        let mut protocol = header[6];
        let mut l4 = ip + 40;
        let mut fragment = false;
        for _ in 0..MAX_EXTENSIONS {
            match protocol {
                // RFC 8200 section 4: hop-by-hop, routing and destination options.
                0 | 43 | 60 => {
                    protocol = *frame.get(l4)?;
                    l4 += (*frame.get(l4 + 1)? as usize + 1) * 8;
                }
                44 => {
                    protocol = *frame.get(l4)?;
                    fragment = true;
                    l4 += 8;
                }
                _ => break,
            }
        }
        Some(Self {
            ip,
            l4,
            protocol,
            v6: true,
            fragment,
        })
    }
}

/// Reads a word in network order.
pub(crate) fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_options_are_looked_through() {
        let mut frame = vec![0; 12];
        frame.extend([0x81, 0, 0, 7, 8, 0, 0x46, 0, 0, 28, 0, 0, 0, 0, 64, 17]);
        frame.extend([0; 24]);
        let layout = Layout::parse(&frame).unwrap();
        assert_eq!((layout.ip, layout.l4, layout.protocol), (18, 42, UDP));
        assert!(!layout.fragment && !layout.v6);
    }

    #[test]
    fn ipv6_extension_headers_are_looked_through_and_fragments_seen() {
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 0, 64]);
        frame.extend([0; 32]);
        frame.extend([44, 0, 0, 0, 0, 0, 0, 0]);
        frame.extend([6, 0, 0, 0, 0, 0, 0, 0]);
        let layout = Layout::parse(&frame).unwrap();
        assert_eq!((layout.ip, layout.l4, layout.protocol), (14, 70, TCP));
        assert!(layout.fragment && layout.v6);
    }

    #[test]
    fn frames_cut_short_are_refused_and_never_read_past_their_end() {
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6]);
        frame.extend([0; 10]);
        for n in 0..34 {
            assert!(Layout::parse(&frame[..n]).is_none(), "{n} bytes");
        }
        assert!(Layout::parse(&frame).is_some());
    }
}
