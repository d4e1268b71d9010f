//! What an IPv4 packet carries: TCP, UDP, ICMP.

use super::{Layer, ParseError, header};
use crate::header::Header as _;
use crate::icmp::IcmpHeader;
use crate::ipv4::Protocol;
use crate::seq::SeqNumber;
use crate::tcp::{TcpFlags, TcpHeader};
use crate::udp::UdpHeader;

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

/// A TCP segment whose header is in order. Options are not looked into; see [`V4::tcp_options`](super::V4::tcp_options).
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
