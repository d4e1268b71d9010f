//! `ICMPv6` (RFC 4443) and neighbour discovery (RFC 4861).

use core::net::Ipv6Addr;

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::eth::EthAddr;
use crate::header::Header;

/// `ICMPv6` message types.
#[derive(Clone, Copy, Debug)]
pub struct Icmpv6Kind;

impl Icmpv6Kind {
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 1;
    /// Packet too big; the MTU follows.
    pub const PACKET_TOO_BIG: u8 = 2;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 3;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 128;
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 129;
    /// Router solicitation.
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// Router advertisement.
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    /// Neighbour solicitation.
    pub const NEIGHBOUR_SOLICITATION: u8 = 135;
    /// Neighbour advertisement.
    pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    /// Redirect.
    pub const REDIRECT: u8 = 137;
}

/// The `ICMPv6` header with the 4 bytes that every type has behind it, 8 bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Icmpv6Header {
    /// Message type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Checksum over pseudo header, header and payload.
    pub checksum: U16,
    /// Identifier and sequence number, MTU, flags, or nothing.
    pub rest: [u8; 4],
}

impl Icmpv6Header {
    /// Says whether the message quotes a packet that went wrong (RFC 4443 section 2.1: types below
    /// 128).
    #[must_use]
    pub const fn is_error(&self) -> bool {
        self.kind < 128
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

    /// The MTU that a packet-too-big message names.
    #[must_use]
    pub const fn mtu(&self) -> u32 {
        u32::from_be_bytes(self.rest)
    }
}

/// A neighbour solicitation without its options, 24 bytes (RFC 4861 section 4.3).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct NeighbourSolicitation {
    /// [`Icmpv6Kind::NEIGHBOUR_SOLICITATION`].
    pub kind: u8,
    /// 0.
    pub code: u8,
    /// Checksum.
    pub checksum: U16,
    /// 0.
    pub reserved: U32,
    /// The address asked for.
    pub target: [u8; 16],
}

impl NeighbourSolicitation {
    /// The address asked for.
    #[must_use]
    pub const fn target_addr(&self) -> Ipv6Addr {
        Ipv6Addr::from_octets(self.target)
    }
}

/// A neighbour advertisement without its options, 24 bytes (RFC 4861 section 4.4).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct NeighbourAdvertisement {
    /// [`Icmpv6Kind::NEIGHBOUR_ADVERTISEMENT`].
    pub kind: u8,
    /// 0.
    pub code: u8,
    /// Checksum.
    pub checksum: U16,
    /// [`ROUTER`](Self::ROUTER), [`SOLICITED`](Self::SOLICITED), [`OVERRIDE`](Self::OVERRIDE).
    pub flags: U32,
    /// The address that the sender has.
    pub target: [u8; 16],
}

impl NeighbourAdvertisement {
    /// The sender is a router.
    pub const ROUTER: u32 = 1 << 31;
    /// The answer to a solicitation.
    pub const SOLICITED: u32 = 1 << 30;
    /// Take this link-layer address even if another is known.
    pub const OVERRIDE: u32 = 1 << 29;

    /// The address that the sender has.
    #[must_use]
    pub const fn target_addr(&self) -> Ipv6Addr {
        Ipv6Addr::from_octets(self.target)
    }
}

/// The option that carries an Ethernet address, 8 bytes (RFC 4861 section 4.6.1).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct LinkLayerOption {
    /// [`SOURCE`](Self::SOURCE) or [`TARGET`](Self::TARGET).
    pub kind: u8,
    /// Length in units of 8 bytes: 1.
    pub len: u8,
    /// The address.
    pub addr: [u8; 6],
}

impl LinkLayerOption {
    /// The address of the sender, in a solicitation.
    pub const SOURCE: u8 = 1;
    /// The address of the target, in an advertisement.
    pub const TARGET: u8 = 2;

    /// Builds the option.
    #[must_use]
    pub const fn new(kind: u8, addr: EthAddr) -> Self {
        Self {
            kind,
            len: 1,
            addr: addr.0,
        }
    }

    /// Finds the first option of `kind` among the options of a neighbour message; nothing when
    /// there is none, when one before it has the length 0 (RFC 4861 section 4.6: discard), or when
    /// it is not that of Ethernet.
    #[must_use]
    pub fn find(options: &[u8], kind: u8) -> Option<EthAddr> {
        let mut rest = options;
        loop {
            let [found, len] = *rest.first_chunk()?;
            let bytes = len as usize * 8;
            if bytes == 0 {
                return None;
            }
            let (option, after) = rest.split_at_checked(bytes)?;
            if found == kind {
                return (len == 1).then(|| Self::at(option, 0).map(|it| EthAddr(it.addr)))?;
            }
            rest = after;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: EthAddr = EthAddr([2, 0, 0, 0, 0, 9]);

    #[test]
    fn structures_have_their_size_on_the_wire() {
        assert_eq!((Icmpv6Header::LEN, LinkLayerOption::LEN), (8, 8));
        assert_eq!(
            (NeighbourSolicitation::LEN, NeighbourAdvertisement::LEN),
            (24, 24)
        );
    }

    #[test]
    fn errors_are_the_types_below_128() {
        let header = |kind| Icmpv6Header {
            kind,
            code: 0,
            checksum: 0.into(),
            rest: [0, 0, 5, 0],
        };
        assert!(header(Icmpv6Kind::PACKET_TOO_BIG).is_error());
        assert!(!header(Icmpv6Kind::ECHO_REQUEST).is_error());
        assert_eq!(header(2).mtu(), 1280);
    }

    #[test]
    fn the_link_layer_option_is_found_behind_others() {
        let wanted = LinkLayerOption::new(LinkLayerOption::TARGET, MAC);
        let mut options = [0; 24];
        options[..2].copy_from_slice(&[14, 2]); // a nonce of two units
        wanted.put(&mut options, 16).unwrap();
        assert_eq!(
            LinkLayerOption::find(&options, LinkLayerOption::TARGET),
            Some(MAC)
        );
        assert_eq!(
            LinkLayerOption::find(&options, LinkLayerOption::SOURCE),
            None
        );
        assert_eq!(
            LinkLayerOption::find(&options[..23], LinkLayerOption::TARGET),
            None
        );
    }

    #[test]
    fn an_option_of_length_zero_ends_the_search() {
        let mut options = [0; 16];
        LinkLayerOption::new(LinkLayerOption::SOURCE, MAC)
            .put(&mut options, 8)
            .unwrap();
        assert_eq!(
            LinkLayerOption::find(&options, LinkLayerOption::SOURCE),
            None
        );
    }

    #[test]
    fn an_address_of_another_link_type_is_not_taken() {
        let mut options = [0; 16];
        options[..2].copy_from_slice(&[LinkLayerOption::SOURCE, 2]);
        assert_eq!(
            LinkLayerOption::find(&options, LinkLayerOption::SOURCE),
            None
        );
    }
}
