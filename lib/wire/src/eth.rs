//! Ethernet II and 802.1Q.

use core::fmt;
use core::str::FromStr;

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `EtherType` of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// `EtherType` of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// `EtherType` of an 802.1Q tag.
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// `EtherType` of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// `EtherType` of an 802.1ad service tag.
pub const ETHERTYPE_QINQ: u16 = 0x88a8;

/// An Ethernet (MAC) address.
#[derive(
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    KnownLayout,
    Immutable,
    Unaligned,
)]
#[repr(transparent)]
pub struct EthAddr(pub [u8; 6]);

impl EthAddr {
    /// The address of every station on the link.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// The address that stands for "not known yet".
    pub const ZERO: Self = Self([0; 6]);

    /// Says whether this is a group address; broadcast is one.
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        let Self([first, ..]) = self;
        first & 1 == 1
    }

    /// Says whether this is the broadcast address.
    #[must_use]
    pub fn is_broadcast(self) -> bool {
        self == Self::BROADCAST
    }

    /// Says whether one station can own this address: neither a group nor all zeroes.
    #[must_use]
    pub fn is_unicast(self) -> bool {
        !self.is_multicast() && self != Self::ZERO
    }
}

impl From<[u8; 6]> for EthAddr {
    fn from(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for EthAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([first, rest @ ..]) = self;
        write!(f, "{first:02x}")?;
        rest.iter().try_for_each(|byte| write!(f, ":{byte:02x}"))
    }
}

impl fmt::Debug for EthAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for EthAddr {
    type Err = BadEthAddr;

    fn from_str(text: &str) -> Result<Self, BadEthAddr> {
        let mut bytes = [0u8; 6];
        let mut groups = text.split(':');
        for byte in &mut bytes {
            let group = groups.next().ok_or(BadEthAddr)?;
            // `from_str_radix` alone would take "+1".
            if group.len() != 2 || !group.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(BadEthAddr);
            }
            *byte = u8::from_str_radix(group, 16).map_err(|_| BadEthAddr)?;
        }
        if groups.next().is_some() {
            return Err(BadEthAddr);
        }
        Ok(Self(bytes))
    }
}

/// The text is not six pairs of hexadecimal digits with colons between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadEthAddr;

impl fmt::Display for BadEthAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an Ethernet address is six pairs of hexadecimal digits: 02:00:5e:10:00:01")
    }
}

impl core::error::Error for BadEthAddr {}

/// The Ethernet II header, 14 bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct EthHeader {
    /// Destination address.
    pub dst: [u8; 6],
    /// Source address.
    pub src: [u8; 6],
    /// What follows.
    pub ethertype: U16,
}

impl EthHeader {
    /// Builds a header.
    #[must_use]
    pub fn new(dst: EthAddr, src: EthAddr, ethertype: u16) -> Self {
        Self {
            dst: dst.0,
            src: src.0,
            ethertype: ethertype.into(),
        }
    }

    /// Destination address.
    #[must_use]
    pub const fn dst_addr(&self) -> EthAddr {
        EthAddr(self.dst)
    }

    /// Source address.
    #[must_use]
    pub const fn src_addr(&self) -> EthAddr {
        EthAddr(self.src)
    }

    /// Turns the frame round: a reply goes back to the station it came from.
    pub fn swap_addrs(&mut self) {
        core::mem::swap(&mut self.dst, &mut self.src);
    }
}

/// The 802.1Q tag as it stands after the first `EtherType`, 4 bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct VlanTag {
    /// Priority (3 bits), drop eligibility (1 bit), VLAN id (12 bits).
    pub tci: U16,
    /// What follows.
    pub ethertype: U16,
}

impl VlanTag {
    /// The VLAN id, 0 to 4095.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.tci.get() & 0x0fff
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;
    use crate::Header;

    #[test]
    fn an_address_prints_and_reads_back() {
        let addr = EthAddr([0x02, 0x00, 0x5e, 0xab, 0x00, 0x0f]);
        assert_eq!(addr.to_string(), "02:00:5e:ab:00:0f");
        assert_eq!("02:00:5E:AB:00:0f".parse(), Ok(addr));
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        for text in [
            "",
            "02",
            "02:00:5e:ab:00",
            "02:00:5e:ab:00:0f:11",
            "02:00:5e:ab:00:+f",
            "2:0:5:a:0:f",
        ] {
            assert_eq!(text.parse::<EthAddr>(), Err(BadEthAddr), "{text}");
        }
    }

    #[test]
    fn groups_and_zero_are_not_unicast() {
        assert!(EthAddr::BROADCAST.is_multicast() && EthAddr::BROADCAST.is_broadcast());
        assert!(EthAddr([1, 0, 0x5e, 0, 0, 1]).is_multicast());
        assert!(!EthAddr([2, 0, 0, 0, 0, 1]).is_multicast());
        assert!(EthAddr([2, 0, 0, 0, 0, 1]).is_unicast());
        assert!(!EthAddr::ZERO.is_unicast());
    }

    #[test]
    fn headers_have_their_size_on_the_wire() {
        assert_eq!((EthHeader::LEN, VlanTag::LEN), (14, 4));
    }

    #[test]
    fn a_vlan_id_excludes_priority() {
        assert_eq!(
            VlanTag {
                tci: 0xe064.into(),
                ethertype: 0.into()
            }
            .id(),
            100
        );
    }
}
