//! One pass over a frame: every length is checked here, once, and nobody behind has to check again.

mod embedded;
mod error;
mod plain;

use core::net::Ipv4Addr;

use crate::checksum::Sum;
use crate::eth::{
    ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_VLAN, EthHeader, VlanTag,
};
use crate::header::Header;
use crate::icmp::IcmpHeader;
use crate::ipv4::{Ipv4Header, Protocol};
use crate::seq::SeqNumber;
use crate::tcp::{TcpFlags, TcpHeader};
use crate::udp::UdpHeader;

pub use embedded::{EmbeddedL4, EmbeddedV4, parse_embedded_v4};
pub use error::{Layer, ParseError};

/// What a frame is and where its parts begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Offset of what the Ethernet header and tag carry: 14 or 18.
    pub l3: u16,
    /// Tag control information of the 802.1Q tag.
    pub vlan: Option<u16>,
    /// What the frame carries.
    pub kind: Kind,
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ARP, not yet looked into.
    Arp,
    /// IPv4.
    Ipv4(V4),
    /// IPv6, not yet looked into.
    Ipv6,
    /// Another `EtherType`, a second VLAN tag, or a length (below 0x600).
    Other(u16),
}

/// An IPv4 packet whose header is in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct V4 {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Protocol number.
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// Length of header and payload. The frame may be longer: Ethernet pads.
    pub total_len: u16,
    /// Offset in the frame of what follows the IPv4 header and its options.
    pub l4: u16,
    /// What is known of the fragment, if it is one.
    pub fragment: Option<Fragment>,
    /// Whether routers may not fragment the packet.
    pub dont_fragment: bool,
    /// What follows.
    pub l4_kind: L4,
}

/// A fragment's place in its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Place in bytes.
    pub offset: u16,
    /// Whether more fragments follow.
    pub more: bool,
    /// Identification.
    pub id: u16,
}

/// What an IPv4 packet carries. Of a first fragment this is what it has of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L4 {
    /// A TCP segment.
    Tcp(Tcp),
    /// A UDP datagram.
    Udp {
        /// Source port.
        src_port: u16,
        /// Destination port.
        dst_port: u16,
        /// Length of header and payload as the header says.
        len: u16,
    },
    /// An ICMP message.
    Icmp {
        /// Message type.
        kind: u8,
        /// Code.
        code: u8,
    },
    /// A middle or last fragment: there is no header.
    NonFirstFragment,
    /// Another protocol.
    Other(u8),
}

/// A TCP segment whose header is in order. Options are not looked into; see [`V4::tcp_options`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: SeqNumber,
    /// Acknowledgement number.
    pub ack: SeqNumber,
    /// Flags.
    pub flags: TcpFlags,
    /// Window, not scaled.
    pub window: u16,
    /// Length of the header with options: 20 to 60.
    pub header_len: u16,
    /// Length of the payload.
    pub payload_len: u16,
}

impl Tcp {
    /// How many sequence numbers the segment takes: its payload, SYN and FIN.
    #[inline]
    #[must_use]
    pub const fn seq_len(&self) -> u32 {
        self.payload_len as u32 + self.flags.seq_len()
    }

    /// Says whether the segment may open a connection: SYN, and nothing that contradicts it.
    #[inline]
    #[must_use]
    pub fn opens(&self) -> bool {
        let judged = TcpFlags::SYN | TcpFlags::ACK | TcpFlags::RST | TcpFlags::FIN;
        TcpFlags(self.flags.0 & judged.0) == TcpFlags::SYN
    }

    /// The sequence number behind the segment.
    #[inline]
    #[must_use]
    pub fn end(&self) -> SeqNumber {
        self.seq + self.seq_len()
    }
}

impl Parsed {
    /// Takes a frame apart. The IPv4 header checksum is verified; those of TCP, UDP and ICMP are
    /// not (RFC 1624 arithmetic keeps an error an error).
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<Self, ParseError> {
        let eth = header::<EthHeader>(frame, 0, Layer::Ethernet)?;
        let mut parsed = Self {
            l3: EthHeader::LEN as u16,
            vlan: None,
            kind: Kind::Other(eth.ethertype.get()),
        };
        let mut ethertype = eth.ethertype.get();
        if ethertype == ETHERTYPE_VLAN {
            let tag = header::<VlanTag>(frame, EthHeader::LEN, Layer::Vlan)?;
            parsed.l3 += VlanTag::LEN as u16;
            parsed.vlan = Some(tag.tci.get());
            ethertype = tag.ethertype.get();
        }
        parsed.kind = match ethertype {
            ETHERTYPE_IPV4 => Kind::Ipv4(V4::parse(frame, parsed.l3)?),
            ETHERTYPE_IPV6 => Kind::Ipv6,
            ETHERTYPE_ARP => Kind::Arp,
            other => Kind::Other(other),
        };
        Ok(parsed)
    }

    /// The IPv4 packet, if the frame carries one.
    #[inline]
    #[must_use]
    pub const fn v4(&self) -> Option<&V4> {
        match &self.kind {
            Kind::Ipv4(v4) => Some(v4),
            Kind::Arp | Kind::Ipv6 | Kind::Other(_) => None,
        }
    }
}

impl V4 {
    #[inline]
    fn parse(frame: &[u8], l3: u16) -> Result<Self, ParseError> {
        let ip = header::<Ipv4Header>(frame, l3 as usize, Layer::Ipv4)?;
        if ip.version() != 4 {
            return Err(ParseError::BadVersion(ip.version()));
        }
        let header_len = ip.header_len();
        if header_len < Ipv4Header::LEN {
            return Err(ParseError::BadHeaderLength(header_len as u8));
        }
        let total_len = ip.total_len.get();
        if (total_len as usize) < header_len {
            return Err(ParseError::BadTotalLength(total_len));
        }
        let packet = frame.get(l3 as usize..).unwrap_or_default();
        // What lies behind the total length is Ethernet padding.
        let packet = packet
            .get(..total_len as usize)
            .ok_or(ParseError::Truncated {
                layer: Layer::Ipv4,
                need: total_len,
                have: packet.len() as u16,
            })?;
        let Some((ip_bytes, payload)) = packet.split_at_checked(header_len) else {
            return Err(ParseError::BadHeaderLength(header_len as u8));
        };
        if !header_sum(ip_bytes).is_valid() {
            return Err(ParseError::BadIpChecksum);
        }
        let fragment = if ip.is_fragment() {
            Some(Fragment::of(ip, payload)?)
        } else {
            None
        };
        let l4_kind = match fragment {
            Some(Fragment { offset: 1.., .. }) => L4::NonFirstFragment,
            Some(_) | None => L4::parse(ip.protocol, payload, fragment.is_some())?,
        };
        Ok(Self {
            src: ip.src_addr(),
            dst: ip.dst_addr(),
            protocol: ip.protocol,
            ttl: ip.ttl,
            tos: ip.tos,
            total_len,
            l4: l3 + header_len as u16,
            fragment,
            dont_fragment: ip.dont_fragment(),
            l4_kind,
        })
    }

    /// Length of what follows the IPv4 header; `l3` is that of the same [`Parsed`].
    #[inline]
    #[must_use]
    pub const fn l4_len(&self, l3: u16) -> u16 {
        self.total_len.saturating_sub(self.l4.saturating_sub(l3))
    }

    /// What follows the IPv4 header, without Ethernet padding.
    #[inline]
    #[must_use]
    pub fn payload<'a>(&self, frame: &'a [u8], l3: u16) -> Option<&'a [u8]> {
        frame
            .get(self.l4 as usize..)?
            .get(..self.l4_len(l3) as usize)
    }

    /// What follows the IPv4 header, without Ethernet padding, for change.
    #[inline]
    #[must_use]
    pub fn payload_mut<'a>(&self, frame: &'a mut [u8], l3: u16) -> Option<&'a mut [u8]> {
        frame
            .get_mut(self.l4 as usize..)?
            .get_mut(..self.l4_len(l3) as usize)
    }

    /// The TCP segment, if that is what the packet carries.
    #[inline]
    #[must_use]
    pub const fn tcp(&self) -> Option<&Tcp> {
        match &self.l4_kind {
            L4::Tcp(tcp) => Some(tcp),
            L4::Udp { .. } | L4::Icmp { .. } | L4::NonFirstFragment | L4::Other(_) => None,
        }
    }

    /// Source and destination port, where there are any.
    #[inline]
    #[must_use]
    pub const fn ports(&self) -> Option<(u16, u16)> {
        match self.l4_kind {
            L4::Tcp(Tcp {
                src_port, dst_port, ..
            })
            | L4::Udp {
                src_port, dst_port, ..
            } => Some((src_port, dst_port)),
            L4::Icmp { .. } | L4::NonFirstFragment | L4::Other(_) => None,
        }
    }

    /// The TCP options: between the fixed header and the payload.
    #[inline]
    #[must_use]
    pub fn tcp_options<'a>(&self, frame: &'a [u8]) -> Option<&'a [u8]> {
        let tcp = self.tcp()?;
        let header = frame
            .get(self.l4 as usize..)?
            .get(..tcp.header_len as usize)?;
        header.get(TcpHeader::LEN..)
    }

    /// The TCP options for change.
    #[inline]
    #[must_use]
    pub fn tcp_options_mut<'a>(&self, frame: &'a mut [u8]) -> Option<&'a mut [u8]> {
        let tcp = self.tcp()?;
        let header = frame
            .get_mut(self.l4 as usize..)?
            .get_mut(..tcp.header_len as usize)?;
        header.get_mut(TcpHeader::LEN..)
    }
}

impl Fragment {
    /// Only the last fragment may have a length that is not a multiple of 8, none may be empty, and
    /// none may reach beyond 65,535 bytes (RFC 791 section 3.2).
    fn of(ip: &Ipv4Header, payload: &[u8]) -> Result<Self, ParseError> {
        let fragment = Self {
            offset: ip.frag_offset(),
            more: ip.more_fragments(),
            id: ip.id.get(),
        };
        let end = ip.header_len() + fragment.offset as usize + payload.len();
        let ragged = fragment.more && !payload.len().is_multiple_of(8);
        if payload.is_empty() || ragged || end > u16::MAX as usize {
            return Err(ParseError::BadFragment);
        }
        Ok(fragment)
    }
}

impl L4 {
    /// Takes apart what follows an IP header; `fragment` says that it is the first piece only.
    #[expect(
        clippy::inline_always,
        reason = "returned through memory, byte by byte, it doubles the time of parse"
    )]
    #[inline(always)]
    pub(crate) fn parse(protocol: u8, payload: &[u8], fragment: bool) -> Result<Self, ParseError> {
        match protocol {
            Protocol::TCP => Tcp::parse(payload).map(Self::Tcp),
            Protocol::UDP => {
                let udp = header::<UdpHeader>(payload, 0, Layer::Udp)?;
                let len = udp.len.get();
                // The length is that of the whole datagram, which a fragment has a part of.
                if (len as usize) < UdpHeader::LEN || (len as usize > payload.len() && !fragment) {
                    return Err(ParseError::BadUdpLength(len));
                }
                Ok(Self::Udp {
                    src_port: udp.src_port.get(),
                    dst_port: udp.dst_port.get(),
                    len,
                })
            }
            Protocol::ICMP => {
                let icmp = header::<IcmpHeader>(payload, 0, Layer::Icmp)?;
                Ok(Self::Icmp {
                    kind: icmp.kind,
                    code: icmp.code,
                })
            }
            other => Ok(Self::Other(other)),
        }
    }
}

impl Tcp {
    #[expect(
        clippy::inline_always,
        reason = "returned through memory, byte by byte, it doubles the time of parse"
    )]
    #[inline(always)]
    fn parse(payload: &[u8]) -> Result<Self, ParseError> {
        let tcp = header::<TcpHeader>(payload, 0, Layer::Tcp)?;
        let header_len = tcp.header_len();
        if header_len < TcpHeader::LEN || header_len > payload.len() {
            return Err(ParseError::BadTcpOffset(header_len as u8));
        }
        Ok(Self {
            src_port: tcp.src_port.get(),
            dst_port: tcp.dst_port.get(),
            seq: tcp.seq_number(),
            ack: tcp.ack_number(),
            flags: tcp.flags(),
            window: tcp.window.get(),
            header_len: header_len as u16,
            payload_len: (payload.len() - header_len) as u16,
        })
    }
}

/// The sum of an IPv4 header, which nearly always has no options.
#[expect(clippy::inline_always, reason = "the call costs as much as the sum")]
#[inline(always)]
fn header_sum(bytes: &[u8]) -> Sum {
    match bytes.as_chunks::<4>().0.try_into() {
        Ok(words) => Sum::new().add_words::<5>(words),
        Err(_) => Sum::of(bytes),
    }
}

#[inline]
fn header<T: Header>(bytes: &[u8], offset: usize, layer: Layer) -> Result<&T, ParseError> {
    T::at(bytes, offset).ok_or_else(|| ParseError::Truncated {
        layer,
        need: T::LEN as u16,
        have: bytes.len().saturating_sub(offset) as u16,
    })
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::eth::{ETHERTYPE_QINQ, EthAddr};
    use crate::ipv4::Ipv4Repr;
    use crate::tcp::TcpRepr;

    pub(super) const IP: usize = 14;
    pub(super) const L4_AT: usize = 34;

    /// A frame that carries `payload` under IPv4.
    pub(super) fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = std::vec![0; L4_AT];
        EthHeader::new(EthAddr::BROADCAST, EthAddr([2; 6]), ETHERTYPE_IPV4)
            .put(&mut frame, 0)
            .unwrap();
        let repr = Ipv4Repr {
            src: Ipv4Addr::new(10, 0, 0, 1),
            dst: Ipv4Addr::new(10, 0, 0, 2),
            protocol,
            ttl: 63,
            tos: 0xb8,
            ident: 7,
            dont_fragment: true,
            payload_len: payload.len() as u16,
        };
        repr.emit(&mut frame[IP..]).unwrap();
        frame.extend(payload);
        frame
    }

    pub(super) fn tcp(payload: &[u8]) -> Vec<u8> {
        let repr = TcpRepr {
            src_port: 1234,
            dst_port: 80,
            seq: SeqNumber(0xffff_fffe),
            ack: SeqNumber(9),
            flags: TcpFlags::ACK | TcpFlags::FIN,
            window: 500,
            mss: Some(1460),
            ..TcpRepr::default()
        };
        let mut segment = std::vec![0; repr.buffer_len()];
        repr.emit(&mut segment).unwrap();
        segment.extend(payload);
        segment
    }

    /// Changes bytes of a frame and mends its IPv4 header checksum.
    pub(super) fn with(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        let len = (frame[IP] & 15) as usize * 4;
        frame[IP + 10..IP + 12].fill(0);
        let sum = Sum::of(frame.get(IP..IP + len).unwrap_or_default()).complement();
        frame[IP + 10..IP + 12].copy_from_slice(&sum.to_be_bytes());
        frame
    }

    fn error(frame: &[u8]) -> ParseError {
        Parsed::parse(frame).unwrap_err()
    }

    fn l4(frame: &[u8]) -> L4 {
        Parsed::parse(frame).unwrap().v4().unwrap().l4_kind
    }

    #[test]
    fn every_field_of_a_segment_is_read() {
        let frame = ipv4(Protocol::TCP, &tcp(b"hello"));
        let parsed = Parsed::parse(&frame).unwrap();
        assert_eq!((parsed.l3, parsed.vlan), (14, None));
        let segment = Tcp {
            src_port: 1234,
            dst_port: 80,
            seq: SeqNumber(0xffff_fffe),
            ack: SeqNumber(9),
            flags: TcpFlags::ACK | TcpFlags::FIN,
            window: 500,
            header_len: 24,
            payload_len: 5,
        };
        let expected = V4 {
            src: Ipv4Addr::new(10, 0, 0, 1),
            dst: Ipv4Addr::new(10, 0, 0, 2),
            protocol: 6,
            ttl: 63,
            tos: 0xb8,
            total_len: 49,
            l4: 34,
            fragment: None,
            dont_fragment: true,
            l4_kind: L4::Tcp(segment),
        };
        assert_eq!(parsed.kind, Kind::Ipv4(expected));
        assert_eq!(expected.tcp_options(&frame), Some(&[2, 4, 5, 0xb4][..]));
        assert_eq!(expected.ports(), Some((1234, 80)));
        assert_eq!((segment.seq_len(), segment.end()), (6, SeqNumber(4)));
    }

    #[test]
    fn ethernet_padding_is_not_payload() {
        let mut frame = ipv4(Protocol::TCP, &tcp(b""));
        frame.resize(60, 0xaa);
        let parsed = Parsed::parse(&frame).unwrap();
        let v4 = parsed.v4().unwrap();
        assert_eq!(v4.tcp().unwrap().payload_len, 0);
        assert_eq!(v4.payload(&frame, parsed.l3).unwrap().len(), 24);
        assert_eq!(v4.payload_mut(&mut frame, parsed.l3).unwrap().len(), 24);
    }

    #[test]
    fn one_tag_is_looked_under_and_two_are_not() {
        let mut frame = ipv4(Protocol::TCP, &tcp(b"hello"));
        frame.splice(12..12, [0x81, 0x00, 0xe0, 0x05]);
        let parsed = Parsed::parse(&frame).unwrap();
        assert_eq!((parsed.l3, parsed.vlan), (18, Some(0xe005)));
        assert_eq!(parsed.v4().unwrap().l4, 38);
        assert_eq!(
            parsed.v4().unwrap().tcp_options_mut(&mut frame).unwrap(),
            [2, 4, 5, 0xb4]
        );
        let cut = Parsed::parse(&frame[..17]);
        assert_eq!(
            cut,
            Err(ParseError::Truncated {
                layer: Layer::Vlan,
                need: 4,
                have: 3
            })
        );

        frame.splice(12..12, [0x81, 0x00, 0x00, 0x06]);
        assert_eq!(
            Parsed::parse(&frame).unwrap().kind,
            Kind::Other(ETHERTYPE_VLAN)
        );
        frame[12..14].copy_from_slice(&ETHERTYPE_QINQ.to_be_bytes());
        assert_eq!(
            Parsed::parse(&frame).unwrap().kind,
            Kind::Other(ETHERTYPE_QINQ)
        );
    }

    #[test]
    fn other_ethertypes_are_named() {
        for (ethertype, kind) in [
            (ETHERTYPE_ARP, Kind::Arp),
            (ETHERTYPE_IPV6, Kind::Ipv6),
            (0x88cc, Kind::Other(0x88cc)),
            (38, Kind::Other(38)),
        ] {
            let mut frame = [0; 14];
            frame[12..].copy_from_slice(&ethertype.to_be_bytes());
            assert_eq!(Parsed::parse(&frame).unwrap().kind, kind);
        }
    }

    #[test]
    fn options_of_ipv4_are_passed_over() {
        let mut frame = ipv4(Protocol::TCP, &tcp(b""));
        frame.splice(L4_AT..L4_AT, [0x94, 4, 0, 0]);
        let frame = with(with(frame, IP, &[0x46]), IP + 2, &[0, 48]);
        let parsed = Parsed::parse(&frame).unwrap();
        let v4 = parsed.v4().unwrap();
        assert_eq!((v4.l4, v4.l4_len(parsed.l3)), (38, 24));
        assert_eq!(v4.tcp().unwrap().dst_port, 80);
    }

    #[test]
    fn a_frame_cut_anywhere_is_truncated() {
        let frame = ipv4(Protocol::TCP, &tcp(b"hello"));
        for len in 0..frame.len() {
            let (layer, need, have) = match len {
                0..14 => (Layer::Ethernet, 14, len),
                14..34 => (Layer::Ipv4, 20, len - 14),
                _ => (Layer::Ipv4, 49, len - 14),
            };
            let expected = ParseError::Truncated {
                layer,
                need,
                have: have as u16,
            };
            assert_eq!(error(&frame[..len]), expected, "{len}");
        }
    }

    #[test]
    fn a_header_that_lies_about_lengths_is_refused() {
        let frame = ipv4(Protocol::TCP, &tcp(b"hello"));
        assert_eq!(
            error(&with(frame.clone(), IP, &[0x65])),
            ParseError::BadVersion(6)
        );
        assert_eq!(
            error(&with(frame.clone(), IP, &[0x44])),
            ParseError::BadHeaderLength(16)
        );
        assert_eq!(
            error(&with(frame.clone(), IP + 2, &[0, 19])),
            ParseError::BadTotalLength(19)
        );
        assert_eq!(
            error(&with(frame.clone(), IP + 2, &[0, 0])),
            ParseError::BadTotalLength(0)
        );
        let long = ParseError::Truncated {
            layer: Layer::Ipv4,
            need: 50,
            have: 49,
        };
        assert_eq!(error(&with(frame.clone(), IP + 2, &[0, 50])), long);
        // Down to the TCP header the rest is padding; below that it is missing.
        let bare = Parsed::parse(&with(frame.clone(), IP + 2, &[0, 44])).unwrap();
        assert_eq!(bare.v4().unwrap().tcp().unwrap().payload_len, 0);
        assert_eq!(
            error(&with(frame, IP + 2, &[0, 43])),
            ParseError::BadTcpOffset(24)
        );
    }

    #[test]
    fn a_wrong_header_checksum_is_refused() {
        let mut frame = ipv4(Protocol::TCP, &tcp(b"hello"));
        frame[IP + 8] -= 1;
        assert_eq!(error(&frame), ParseError::BadIpChecksum);
    }

    #[test]
    fn a_tcp_offset_outside_the_segment_is_refused() {
        let frame = ipv4(Protocol::TCP, &tcp(b"hello"));
        assert_eq!(
            error(&with(frame.clone(), L4_AT + 12, &[0x40])),
            ParseError::BadTcpOffset(16)
        );
        assert_eq!(
            error(&with(frame.clone(), L4_AT + 12, &[0x80])),
            ParseError::BadTcpOffset(32)
        );
        assert_eq!(
            error(&ipv4(Protocol::TCP, &[0; 19])),
            ParseError::Truncated {
                layer: Layer::Tcp,
                need: 20,
                have: 19
            }
        );
    }

    #[test]
    fn a_udp_length_is_at_least_the_header_and_at_most_the_packet() {
        let datagram = |len: u16| {
            let mut bytes = [0x12, 0x34, 0, 53, 0, 0, 0, 0, 1, 2, 3];
            bytes[4..6].copy_from_slice(&len.to_be_bytes());
            ipv4(Protocol::UDP, &bytes)
        };
        for len in [8, 10, 11] {
            assert_eq!(
                l4(&datagram(len)),
                L4::Udp {
                    src_port: 0x1234,
                    dst_port: 53,
                    len
                }
            );
        }
        for len in [0, 7, 12, 65535] {
            assert_eq!(error(&datagram(len)), ParseError::BadUdpLength(len));
        }
        assert_eq!(
            error(&ipv4(Protocol::UDP, &[0; 7])),
            ParseError::Truncated {
                layer: Layer::Udp,
                need: 8,
                have: 7
            }
        );
    }

    #[test]
    fn icmp_and_other_protocols_are_named() {
        assert_eq!(
            l4(&ipv4(Protocol::ICMP, &[3, 4, 0, 0, 0, 0, 0, 0])),
            L4::Icmp { kind: 3, code: 4 }
        );
        assert_eq!(
            error(&ipv4(Protocol::ICMP, &[3, 4, 0, 0, 0, 0, 0])),
            ParseError::Truncated {
                layer: Layer::Icmp,
                need: 8,
                have: 7
            }
        );
        assert_eq!(l4(&ipv4(47, &[])), L4::Other(47));
    }

    #[test]
    fn fragments_are_told_apart() {
        let datagram = [0x12, 0x34, 0, 53, 7, 0xd0, 0, 0];
        let frame = |word: u16, payload: &[u8]| {
            with(ipv4(Protocol::UDP, payload), IP + 6, &word.to_be_bytes())
        };
        let first = Parsed::parse(&frame(0x2000, &datagram)).unwrap();
        let first = first.v4().unwrap();
        assert_eq!(
            first.fragment,
            Some(Fragment {
                offset: 0,
                more: true,
                id: 7
            })
        );
        assert_eq!(
            first.l4_kind,
            L4::Udp {
                src_port: 0x1234,
                dst_port: 53,
                len: 2000
            }
        );

        let last = Parsed::parse(&frame(185, b"rest")).unwrap();
        let last = last.v4().unwrap();
        assert_eq!(
            last.fragment,
            Some(Fragment {
                offset: 1480,
                more: false,
                id: 7
            })
        );
        assert_eq!(last.l4_kind, L4::NonFirstFragment);
        assert_eq!(last.ports(), None);
    }

    #[test]
    fn impossible_fragments_are_refused() {
        let frame =
            |word: u16, payload: &[u8]| with(ipv4(47, payload), IP + 6, &word.to_be_bytes());
        assert_eq!(error(&frame(0x2001, b"ragged!")), ParseError::BadFragment);
        assert_eq!(error(&frame(0x0001, b"")), ParseError::BadFragment);
        // 20 + 65,512 + 3 is the last byte that a packet can have.
        assert!(Parsed::parse(&frame(8189, b"end")).is_ok());
        assert_eq!(error(&frame(8189, b"over")), ParseError::BadFragment);
    }
}
