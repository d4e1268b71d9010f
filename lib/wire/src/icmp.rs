//! ICMP (RFC 792).

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Sum;
use crate::header::Header;

/// ICMP message types.
#[derive(Clone, Copy, Debug)]
pub struct IcmpKind;

impl IcmpKind {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Source quench (deprecated by RFC 6633).
    pub const SOURCE_QUENCH: u8 = 4;
    /// Redirect.
    pub const REDIRECT: u8 = 5;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 8;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;
}

/// ICMP codes; each belongs to the message type in its name.
#[derive(Clone, Copy, Debug)]
pub struct IcmpCode;

impl IcmpCode {
    /// Unreachable: network.
    pub const UNREACHABLE_NET: u8 = 0;
    /// Unreachable: host.
    pub const UNREACHABLE_HOST: u8 = 1;
    /// Unreachable: protocol.
    pub const UNREACHABLE_PROTOCOL: u8 = 2;
    /// Unreachable: port.
    pub const UNREACHABLE_PORT: u8 = 3;
    /// Unreachable: fragmentation needed and forbidden; the next hop's MTU is in the rest (RFC 1191
    /// section 4).
    pub const UNREACHABLE_FRAG_NEEDED: u8 = 4;
    /// Unreachable: source route failed.
    pub const UNREACHABLE_SOURCE_ROUTE: u8 = 5;
    /// Unreachable: communication administratively prohibited (RFC 1812 section 5.2.7.1).
    pub const UNREACHABLE_PROHIBITED: u8 = 13;
    /// Time exceeded: in transit.
    pub const TIME_EXCEEDED_TTL: u8 = 0;
    /// Time exceeded: while waiting for fragments.
    pub const TIME_EXCEEDED_REASSEMBLY: u8 = 1;
}

/// The ICMP header, 8 bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct IcmpHeader {
    /// Message type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Checksum over header and payload.
    pub checksum: U16,
    /// Identifier and sequence number, next-hop MTU, or nothing.
    pub rest: [u8; 4],
}

impl IcmpHeader {
    /// Offset of the checksum in the header.
    pub const CHECKSUM_OFFSET: usize = 2;

    /// Says whether the message quotes a packet that went wrong: unreachable, source quench,
    /// redirect, time exceeded, parameter problem.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        is_error(self.kind)
    }

    /// The MTU that a frag-needed message names (RFC 1191 section 4); 0 from routers that do not
    /// say.
    #[must_use]
    pub const fn next_hop_mtu(&self) -> u16 {
        let [_, _, high, low] = self.rest;
        u16::from_be_bytes([high, low])
    }

    /// Sets the MTU of a frag-needed message; the checksum is the caller's.
    pub fn set_next_hop_mtu(&mut self, mtu: u16) {
        let [_, _, high, low] = &mut self.rest;
        [*high, *low] = mtu.to_be_bytes();
    }

    /// The identifier of an echo message.
    #[must_use]
    pub const fn echo_ident(&self) -> u16 {
        let [high, low, _, _] = self.rest;
        u16::from_be_bytes([high, low])
    }

    /// The sequence number of an echo message.
    #[must_use]
    pub const fn echo_seq(&self) -> u16 {
        let [_, _, high, low] = self.rest;
        u16::from_be_bytes([high, low])
    }
}

/// Says whether messages of this type quote a packet that went wrong.
#[must_use]
pub const fn is_error(kind: u8) -> bool {
    matches!(
        kind,
        IcmpKind::UNREACHABLE
            | IcmpKind::SOURCE_QUENCH
            | IcmpKind::REDIRECT
            | IcmpKind::TIME_EXCEEDED
            | IcmpKind::PARAMETER_PROBLEM
    )
}

/// An ICMP error that is legal to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpErrorRepr<'a> {
    /// Message type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Next-hop MTU of a frag-needed message, else 0.
    pub mtu: u16,
    /// The packet that went wrong, from its IPv4 header on.
    pub quoted: &'a [u8],
}

impl IcmpErrorRepr<'_> {
    /// The longest quotation: the whole message fits 576 bytes with its IPv4 header (RFC 1812
    /// section 4.3.2.3).
    pub const MAX_QUOTED: usize = 576 - 20 - 8;

    /// Length of the message: header and quotation, cut to its limit.
    #[must_use]
    pub fn buffer_len(&self) -> usize {
        IcmpHeader::LEN + self.quoted.len().min(Self::MAX_QUOTED)
    }

    /// Writes the message with its checksum to the start of `bytes`; nothing is written when there
    /// is no room.
    #[must_use]
    pub fn emit(&self, bytes: &mut [u8]) -> Option<()> {
        let bytes = bytes.get_mut(..self.buffer_len())?;
        let (head, tail) = bytes.split_at_mut_checked(IcmpHeader::LEN)?;
        let quoted = self.quoted.get(..tail.len())?;
        let mut header = IcmpHeader {
            kind: self.kind,
            code: self.code,
            checksum: 0.into(),
            rest: [0; 4],
        };
        header.set_next_hop_mtu(self.mtu);
        header.checksum = Sum::of(header.as_bytes())
            .add_bytes(quoted)
            .complement()
            .into();
        header.put(head, 0)?;
        tail.copy_from_slice(quoted);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn errors_quote_and_queries_do_not() {
        for kind in [3, 4, 5, 11, 12] {
            assert!(is_error(kind), "{kind}");
        }
        for kind in [0, 8, 9, 10, 13, 14, 17, 18, 255] {
            assert!(!is_error(kind), "{kind}");
        }
    }

    #[test]
    fn a_frag_needed_error_names_the_mtu_and_adds_up() {
        let quoted: Vec<u8> = (0..28).collect();
        let repr = IcmpErrorRepr {
            kind: IcmpKind::UNREACHABLE,
            code: IcmpCode::UNREACHABLE_FRAG_NEEDED,
            mtu: 1300,
            quoted: &quoted,
        };
        let mut bytes = [0xee; 37];
        assert_eq!(repr.emit(&mut bytes), Some(()));
        assert_eq!(bytes[..2], [3, 4]);
        assert_eq!(bytes[4..8], [0, 0, 0x05, 0x14]);
        assert_eq!((&bytes[8..36], bytes[36]), (&quoted[..], 0xee));
        assert!(Sum::of(&bytes[..36]).is_valid());
        let header = IcmpHeader::at(&bytes, 0).unwrap();
        assert!(header.is_error());
        assert_eq!(header.next_hop_mtu(), 1300);
    }

    #[test]
    fn a_long_packet_is_quoted_up_to_576_bytes() {
        let quoted = [0x5a; 1500];
        let repr = IcmpErrorRepr {
            kind: 11,
            code: 0,
            mtu: 0,
            quoted: &quoted,
        };
        assert_eq!(repr.buffer_len() + 20, 576);
        let mut bytes = [0; 1500];
        assert_eq!(repr.emit(&mut bytes), Some(()));
        assert_eq!(bytes[555..557], [0x5a, 0]);
        assert_eq!(repr.emit(&mut bytes[..555]), None);
    }

    #[test]
    fn an_echo_has_identifier_and_number() {
        let bytes = [8, 0, 0, 0, 0x12, 0x34, 0, 9];
        let header = IcmpHeader::at(&bytes, 0).unwrap();
        assert_eq!((header.echo_ident(), header.echo_seq()), (0x1234, 9));
    }
}
