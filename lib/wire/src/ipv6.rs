//! The IPv6 header and its extension headers (RFC 8200).

use core::fmt;
use core::net::Ipv6Addr;

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::header::Header;

/// The fixed IPv6 header, 40 bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Ipv6Header {
    /// Version (4 bits), traffic class (8), flow label (20).
    pub version_class_flow: U32,
    /// Length of everything behind this header.
    pub payload_len: U16,
    /// What follows.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address.
    pub src: [u8; 16],
    /// Destination address.
    pub dst: [u8; 16],
}

impl Ipv6Header {
    /// The version field; 6 in a genuine header.
    #[must_use]
    pub fn version(&self) -> u8 {
        (self.version_class_flow.get() >> 28) as u8
    }

    /// DSCP and ECN.
    #[must_use]
    pub fn traffic_class(&self) -> u8 {
        (self.version_class_flow.get() >> 20) as u8
    }

    /// The flow label.
    #[must_use]
    pub fn flow_label(&self) -> u32 {
        self.version_class_flow.get() & 0x000f_ffff
    }

    /// Source address.
    #[must_use]
    pub const fn src_addr(&self) -> Ipv6Addr {
        Ipv6Addr::from_octets(self.src)
    }

    /// Destination address.
    #[must_use]
    pub const fn dst_addr(&self) -> Ipv6Addr {
        Ipv6Addr::from_octets(self.dst)
    }
}

/// The first two bytes of most extension headers, and their numbers.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct ExtensionHeader {
    /// What follows.
    pub next_header: u8,
    /// Length in a unit that depends on the header.
    pub len: u8,
}

impl ExtensionHeader {
    /// Hop-by-hop options (RFC 8200 section 4.3).
    pub const HOP_BY_HOP: u8 = 0;
    /// Routing (RFC 8200 section 4.4).
    pub const ROUTING: u8 = 43;
    /// Fragment (RFC 8200 section 4.5).
    pub const FRAGMENT: u8 = 44;
    /// Encapsulating security payload (RFC 4303): what follows is not readable, so the walk ends
    /// here.
    pub const ESP: u8 = 50;
    /// Authentication (RFC 4302).
    pub const AUTHENTICATION: u8 = 51;
    /// Nothing follows (RFC 8200 section 4.7).
    pub const NO_NEXT: u8 = 59;
    /// Destination options (RFC 8200 section 4.6).
    pub const DESTINATION: u8 = 60;
    /// Mobility (RFC 6275).
    pub const MOBILITY: u8 = 135;
    /// Host identity (RFC 7401).
    pub const HOST_IDENTITY: u8 = 139;
    /// Shim6 (RFC 5533).
    pub const SHIM6: u8 = 140;

    /// How many extension headers a walk passes before it gives up.
    pub const MAX: usize = 8;
}

/// What a fragment header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Fragment {
    /// Place in the packet, in bytes.
    pub offset: u16,
    /// Whether more fragments follow.
    pub more: bool,
    /// Identification.
    pub id: u32,
}

/// Where the upper-layer protocol begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpperLayer {
    /// Its number. Behind a fragment header that is not the first this is what the first fragment
    /// begins with.
    pub protocol: u8,
    /// Its offset from the end of the fixed header.
    pub offset: u16,
    /// The fragment header on the way, if there was one.
    pub fragment: Option<Ipv6Fragment>,
}

impl UpperLayer {
    /// Walks from the fixed header's `next_header` over `payload`, the bytes behind the fixed
    /// header.
    pub fn find(next_header: u8, payload: &[u8]) -> Result<Self, ExtensionError> {
        let mut upper = Self {
            protocol: next_header,
            offset: 0,
            fragment: None,
        };
        for passed in 0..=ExtensionHeader::MAX {
            let unit = match upper.protocol {
                ExtensionHeader::HOP_BY_HOP if passed != 0 => {
                    return Err(ExtensionError::HopByHopNotFirst);
                }
                ExtensionHeader::HOP_BY_HOP
                | ExtensionHeader::ROUTING
                | ExtensionHeader::DESTINATION
                | ExtensionHeader::MOBILITY
                | ExtensionHeader::HOST_IDENTITY
                | ExtensionHeader::SHIM6 => 8,
                ExtensionHeader::AUTHENTICATION => 4,
                ExtensionHeader::FRAGMENT => {
                    if upper.fragment.is_some() {
                        return Err(ExtensionError::FragmentTwice);
                    }
                    0
                }
                _ => return Ok(upper),
            };
            if passed == ExtensionHeader::MAX {
                break;
            }
            let rest = payload
                .get(upper.offset as usize..)
                .ok_or(ExtensionError::Truncated)?;
            let header = ExtensionHeader::at(rest, 0).ok_or(ExtensionError::Truncated)?;
            let len = match unit {
                4 => (header.len as usize + 2) * 4,
                8 => (header.len as usize + 1) * 8,
                _ => FragmentHeader::LEN,
            };
            if rest.len() < len {
                return Err(ExtensionError::Truncated);
            }
            if unit == 0 {
                let fragment = FragmentHeader::at(rest, 0).ok_or(ExtensionError::Truncated)?;
                upper.fragment = Some(fragment.read());
            }
            upper.protocol = header.next_header;
            // At most 8 headers of 2,048 bytes.
            upper.offset += len as u16;
            if upper.fragment.is_some_and(|fragment| fragment.offset != 0) {
                return Ok(upper);
            }
        }
        Err(ExtensionError::TooMany)
    }
}

/// Why the upper layer was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtensionError {
    /// The packet ends within an extension header.
    Truncated,
    /// More than [`ExtensionHeader::MAX`] extension headers.
    TooMany,
    /// Hop-by-hop options behind another header (RFC 8200 section 4.1).
    HopByHopNotFirst,
    /// A fragment of a fragment.
    FragmentTwice,
}

impl fmt::Display for ExtensionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the packet ends within an IPv6 extension header",
            Self::TooMany => "more than 8 IPv6 extension headers",
            Self::HopByHopNotFirst => "IPv6 hop-by-hop options are not the first extension header",
            Self::FragmentTwice => "two IPv6 fragment headers",
        })
    }
}

impl core::error::Error for ExtensionError {}

/// The fragment header, 8 bytes.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct FragmentHeader {
    next_header: u8,
    reserved: u8,
    offset_more: U16,
    id: U32,
}

impl FragmentHeader {
    fn read(&self) -> Ipv6Fragment {
        let word = self.offset_more.get();
        Ipv6Fragment {
            offset: word & 0xfff8,
            more: word & 1 != 0,
            id: self.id.get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const TCP: u8 = 6;

    /// An extension header that says what follows and is `units` units of 8 bytes long.
    fn extension(next: u8, units: u8) -> Vec<u8> {
        let mut bytes = std::vec![0; units as usize * 8];
        bytes[0] = next;
        bytes[1] = units - 1;
        bytes
    }

    fn fragment(next: u8, word: u16) -> [u8; 8] {
        let [high, low] = word.to_be_bytes();
        [next, 0, high, low, 0, 0, 0, 77]
    }

    #[test]
    fn a_packet_without_extensions_begins_at_once() {
        let upper = UpperLayer {
            protocol: TCP,
            offset: 0,
            fragment: None,
        };
        assert_eq!(UpperLayer::find(TCP, &[]), Ok(upper));
        let none = UpperLayer {
            protocol: ExtensionHeader::NO_NEXT,
            ..upper
        };
        assert_eq!(
            UpperLayer::find(ExtensionHeader::NO_NEXT, &[1, 2]),
            Ok(none)
        );
        let esp = UpperLayer {
            protocol: ExtensionHeader::ESP,
            ..upper
        };
        assert_eq!(UpperLayer::find(ExtensionHeader::ESP, &[0; 32]), Ok(esp));
    }

    #[test]
    fn every_kind_of_extension_is_passed() {
        let payload = [
            extension(ExtensionHeader::DESTINATION, 1),
            extension(ExtensionHeader::ROUTING, 2),
            extension(ExtensionHeader::AUTHENTICATION, 3),
            // Counted in units of 4 bytes, without the first two.
            [&[ExtensionHeader::MOBILITY, 4][..], &[0; 22]].concat(),
            extension(ExtensionHeader::HOST_IDENTITY, 1),
            extension(ExtensionHeader::SHIM6, 1),
            extension(TCP, 1),
        ]
        .concat();
        let upper = UpperLayer::find(ExtensionHeader::HOP_BY_HOP, &payload);
        let offset = payload.len() as u16;
        assert_eq!(
            upper,
            Ok(UpperLayer {
                protocol: TCP,
                offset,
                fragment: None
            })
        );
        for len in 0..payload.len() {
            let cut = UpperLayer::find(ExtensionHeader::HOP_BY_HOP, &payload[..len]);
            assert_eq!(cut, Err(ExtensionError::Truncated), "{len}");
        }
    }

    #[test]
    fn the_first_fragment_is_looked_into_and_later_ones_are_not() {
        let payload = [
            &fragment(ExtensionHeader::DESTINATION, 1)[..],
            &extension(TCP, 1),
        ]
        .concat();
        let first = Some(Ipv6Fragment {
            offset: 0,
            more: true,
            id: 77,
        });
        assert_eq!(
            UpperLayer::find(ExtensionHeader::FRAGMENT, &payload),
            Ok(UpperLayer {
                protocol: TCP,
                offset: 16,
                fragment: first
            })
        );
        // What looks like an extension header here is the middle of a packet.
        let payload = [&fragment(ExtensionHeader::DESTINATION, 1448)[..], &[9; 8]].concat();
        let last = Some(Ipv6Fragment {
            offset: 1448,
            more: false,
            id: 77,
        });
        assert_eq!(
            UpperLayer::find(ExtensionHeader::FRAGMENT, &payload),
            Ok(UpperLayer {
                protocol: ExtensionHeader::DESTINATION,
                offset: 8,
                fragment: last
            })
        );
    }

    #[test]
    fn endless_chains_and_forbidden_orders_are_refused() {
        let chain = |count: usize| {
            let mut payload = extension(ExtensionHeader::DESTINATION, 1).repeat(count);
            payload[(count - 1) * 8] = TCP;
            UpperLayer::find(ExtensionHeader::DESTINATION, &payload)
        };
        assert_eq!(chain(8).map(|upper| upper.offset), Ok(64));
        assert_eq!(chain(9), Err(ExtensionError::TooMany));
        let late = extension(ExtensionHeader::HOP_BY_HOP, 2);
        let late = UpperLayer::find(ExtensionHeader::ROUTING, &late);
        assert_eq!(late, Err(ExtensionError::HopByHopNotFirst));
        let twice = [fragment(ExtensionHeader::FRAGMENT, 1), fragment(TCP, 1)].concat();
        let twice = UpperLayer::find(ExtensionHeader::FRAGMENT, &twice);
        assert_eq!(twice, Err(ExtensionError::FragmentTwice));
    }

    #[test]
    fn fields_of_the_fixed_header_are_told_apart() {
        let mut bytes = [0u8; 40];
        bytes[..4].copy_from_slice(&[0x6b, 0x8c, 0x12, 0x34]);
        bytes[23] = 1;
        let header = Ipv6Header::at(&bytes, 0).unwrap();
        assert_eq!((header.version(), header.traffic_class()), (6, 0xb8));
        assert_eq!(header.flow_label(), 0xc1234);
        assert_eq!(header.src_addr(), Ipv6Addr::LOCALHOST);
        assert_eq!(header.dst_addr(), Ipv6Addr::UNSPECIFIED);
    }

    proptest! {
        #[test]
        fn a_walk_ends_within_the_packet(
            next in prop::sample::select(&[0u8, 43, 44, 51, 60, 135][..]),
            payload in proptest::collection::vec(0u8..62, 0..200),
        ) {
            if let Ok(upper) = UpperLayer::find(next, &payload) {
                prop_assert!(upper.offset as usize <= payload.len());
            }
        }
    }
}
