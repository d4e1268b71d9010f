//! The packet within an ICMP error.

use core::net::Ipv4Addr;

use super::{Layer, ParseError, header};
use crate::header::Header;
use crate::ipv4::{Ipv4Header, Protocol};
use crate::seq::SeqNumber;
use crate::tcp::TcpHeader;
use crate::udp::UdpHeader;

/// The packet that an ICMP error quotes: its beginning, at least 8 bytes behind its IPv4 header
/// (RFC 792).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddedV4 {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Protocol number.
    pub protocol: u8,
    /// Total length of the packet before it was cut.
    pub total_len: u16,
    /// Offset of what follows its IPv4 header, from the start of the quotation.
    pub l4: u16,
    /// How many bytes of what follows are quoted: 8 or more where there are ports.
    pub l4_quoted: u16,
    /// What follows.
    pub l4_kind: EmbeddedL4,
}

/// What a quoted packet carries, as far as 8 bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmbeddedL4 {
    /// A TCP segment.
    Tcp {
        /// Source port.
        src_port: u16,
        /// Destination port.
        dst_port: u16,
        /// Sequence number.
        seq: SeqNumber,
        /// Offset of the sequence number, from the start of the quotation.
        seq_offset: u16,
    },
    /// A UDP datagram.
    Udp {
        /// Source port.
        src_port: u16,
        /// Destination port.
        dst_port: u16,
    },
    /// An ICMP message.
    Icmp {
        /// Message type.
        kind: u8,
        /// Code.
        code: u8,
        /// Identifier, of an echo message.
        ident: u16,
    },
    /// A middle or last fragment: there is no header.
    NonFirstFragment,
    /// Another protocol.
    Other(u8),
}

impl EmbeddedV4 {
    /// Source and destination port, where there are any.
    #[must_use]
    pub const fn ports(&self) -> Option<(u16, u16)> {
        match self.l4_kind {
            EmbeddedL4::Tcp {
                src_port, dst_port, ..
            }
            | EmbeddedL4::Udp { src_port, dst_port } => Some((src_port, dst_port)),
            EmbeddedL4::Icmp { .. } | EmbeddedL4::NonFirstFragment | EmbeddedL4::Other(_) => None,
        }
    }

    /// Offset of the quoted packet's TCP or UDP checksum from the start of the quotation, where it
    /// is quoted.
    #[must_use]
    pub const fn l4_checksum_offset(&self) -> Option<u16> {
        let within = match self.l4_kind {
            EmbeddedL4::Tcp { .. } => TcpHeader::CHECKSUM_OFFSET as u16,
            EmbeddedL4::Udp { .. } => UdpHeader::CHECKSUM_OFFSET as u16,
            EmbeddedL4::Icmp { .. } | EmbeddedL4::NonFirstFragment | EmbeddedL4::Other(_) => {
                return None;
            }
        };
        if self.l4_quoted < within + 2 {
            None
        } else {
            Some(self.l4 + within)
        }
    }
}

/// Takes apart the packet that an ICMP error quotes: `quoted` is what follows the 8 bytes of the
/// ICMP header.
///
/// Its header checksum and total length are not judged: routers on the way change the one and
/// everybody cuts the other.
pub fn parse_embedded_v4(quoted: &[u8]) -> Result<EmbeddedV4, ParseError> {
    let ip = header::<Ipv4Header>(quoted, 0, Layer::Ipv4)?;
    if ip.version() != 4 {
        return Err(ParseError::BadVersion(ip.version()));
    }
    let header_len = ip.header_len();
    if header_len < Ipv4Header::LEN {
        return Err(ParseError::BadHeaderLength(header_len as u8));
    }
    // Behind its total length a quotation may carry extensions (RFC 4884) or padding.
    let packet = quoted.get(..ip.total_len.get() as usize).unwrap_or(quoted);
    let l4 = packet
        .get(header_len..)
        .ok_or(ParseError::BadHeaderLength(header_len as u8))?;
    let first8 = |layer| {
        l4.first_chunk::<8>().copied().ok_or(ParseError::Truncated {
            layer,
            need: 8,
            have: l4.len() as u16,
        })
    };
    let l4_kind = match ip.protocol {
        _ if ip.frag_offset() != 0 => EmbeddedL4::NonFirstFragment,
        Protocol::TCP => {
            let [a, b, c, d, seq @ ..] = first8(Layer::Tcp)?;
            EmbeddedL4::Tcp {
                src_port: u16::from_be_bytes([a, b]),
                dst_port: u16::from_be_bytes([c, d]),
                seq: SeqNumber(u32::from_be_bytes(seq)),
                seq_offset: header_len as u16 + 4,
            }
        }
        Protocol::UDP => {
            let [a, b, c, d, ..] = first8(Layer::Udp)?;
            EmbeddedL4::Udp {
                src_port: u16::from_be_bytes([a, b]),
                dst_port: u16::from_be_bytes([c, d]),
            }
        }
        Protocol::ICMP => {
            let [kind, code, _, _, high, low, ..] = first8(Layer::Icmp)?;
            EmbeddedL4::Icmp {
                kind,
                code,
                ident: u16::from_be_bytes([high, low]),
            }
        }
        other => EmbeddedL4::Other(other),
    };
    Ok(EmbeddedV4 {
        src: ip.src_addr(),
        dst: ip.dst_addr(),
        protocol: ip.protocol,
        total_len: ip.total_len.get(),
        l4: header_len as u16,
        l4_quoted: l4.len() as u16,
        l4_kind,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{IP, L4_AT, ipv4, tcp, with};
    use super::*;
    use crate::verify::fill_checksums;

    #[test]
    fn eight_bytes_of_a_quoted_segment_are_enough() {
        let mut frame = ipv4(Protocol::TCP, &tcp(b"hello"));
        fill_checksums(&mut frame).unwrap();
        let quoted = parse_embedded_v4(&frame[IP..L4_AT + 8]).unwrap();
        let expected = EmbeddedV4 {
            src: Ipv4Addr::new(10, 0, 0, 1),
            dst: Ipv4Addr::new(10, 0, 0, 2),
            protocol: 6,
            total_len: 49,
            l4: 20,
            l4_quoted: 8,
            l4_kind: EmbeddedL4::Tcp {
                src_port: 1234,
                dst_port: 80,
                seq: SeqNumber(0xffff_fffe),
                seq_offset: 24,
            },
        };
        assert_eq!(quoted, expected);
        assert_eq!(quoted.ports(), Some((1234, 80)));
        assert_eq!(quoted.l4_checksum_offset(), None);
        let more = parse_embedded_v4(&frame[IP..L4_AT + 18]).unwrap();
        assert_eq!(more.l4_checksum_offset(), Some(36));
        assert_eq!(
            parse_embedded_v4(&frame[IP..L4_AT + 7]),
            Err(ParseError::Truncated {
                layer: Layer::Tcp,
                need: 8,
                have: 7
            })
        );
    }

    #[test]
    fn a_quotation_is_read_without_trust_in_its_header() {
        let mut frame = ipv4(Protocol::UDP, &[0, 1, 0, 2, 0, 8, 0, 0]);
        frame[IP + 8] = 1; // a router took from the TTL and left the checksum
        let quoted = parse_embedded_v4(&frame[IP..]).unwrap();
        assert_eq!(
            quoted.l4_kind,
            EmbeddedL4::Udp {
                src_port: 1,
                dst_port: 2
            }
        );
        assert_eq!(quoted.l4_checksum_offset(), Some(26));

        let echo = ipv4(Protocol::ICMP, &[8, 0, 0, 0, 0x12, 0x34, 0, 1]);
        let echo = parse_embedded_v4(&echo[IP..]).unwrap();
        assert_eq!(
            echo.l4_kind,
            EmbeddedL4::Icmp {
                kind: 8,
                code: 0,
                ident: 0x1234
            }
        );

        let fragment = with(ipv4(Protocol::TCP, b"middle"), IP + 6, &[0, 1]);
        let fragment = parse_embedded_v4(&fragment[IP..]).unwrap();
        assert_eq!(
            (fragment.l4_kind, fragment.ports()),
            (EmbeddedL4::NonFirstFragment, None)
        );

        // Extensions behind the quoted packet are no part of it (RFC 4884).
        let mut short = ipv4(47, b"gre");
        short.extend([0xee; 20]);
        assert_eq!(parse_embedded_v4(&short[IP..]).unwrap().l4_quoted, 3);
        assert_eq!(
            parse_embedded_v4(&[0x65; 40]),
            Err(ParseError::BadVersion(6))
        );
        assert_eq!(
            parse_embedded_v4(&[0x44; 40]),
            Err(ParseError::BadHeaderLength(16))
        );
        assert_eq!(
            parse_embedded_v4(&[0x4f; 40]),
            Err(ParseError::BadHeaderLength(60))
        );
    }
}
