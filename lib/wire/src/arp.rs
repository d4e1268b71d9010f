//! ARP for IPv4 over Ethernet (RFC 826).

use core::net::Ipv4Addr;

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::eth::{ETHERTYPE_IPV4, EthAddr};
use crate::header::Header;

/// Operation: who has this address?
pub const ARP_REQUEST: u16 = 1;
/// Operation: I have this address.
pub const ARP_REPLY: u16 = 2;

const HTYPE_ETHERNET: u16 = 1;

/// The ARP packet for IPv4 over Ethernet, 28 bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct ArpPacket {
    /// Hardware type: 1 is Ethernet.
    pub htype: U16,
    /// Protocol type: 0x0800 is IPv4.
    pub ptype: U16,
    /// Length of a hardware address.
    pub hlen: u8,
    /// Length of a protocol address.
    pub plen: u8,
    /// Operation.
    pub op: U16,
    /// Sender hardware address.
    pub sha: [u8; 6],
    /// Sender protocol address.
    pub spa: [u8; 4],
    /// Target hardware address.
    pub tha: [u8; 6],
    /// Target protocol address.
    pub tpa: [u8; 4],
}

impl ArpPacket {
    /// Says whether the four type and length fields are those of IPv4 over Ethernet and the
    /// operation is one of the two.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.htype.get() == HTYPE_ETHERNET
            && self.ptype.get() == ETHERTYPE_IPV4
            && self.hlen == 6
            && self.plen == 4
            && matches!(self.op.get(), ARP_REQUEST | ARP_REPLY)
    }
}

/// An ARP request or reply that is legal to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpRepr {
    /// [`ARP_REQUEST`] or [`ARP_REPLY`].
    pub op: u16,
    /// Who speaks.
    pub sender_mac: EthAddr,
    /// The address that the sender claims.
    pub sender_ip: Ipv4Addr,
    /// Who is meant; zero in a request.
    pub target_mac: EthAddr,
    /// The address asked for, or that of the one who asked.
    pub target_ip: Ipv4Addr,
}

impl ArpRepr {
    /// Length of the emitted packet, without the Ethernet header.
    pub const LEN: usize = 28;

    /// Reads the packet behind the Ethernet header; nothing when it is short or not IPv4 over
    /// Ethernet.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let packet = ArpPacket::at(bytes, 0)?;
        if !packet.is_valid() {
            return None;
        }
        Some(Self {
            op: packet.op.get(),
            sender_mac: EthAddr(packet.sha),
            sender_ip: packet.spa.into(),
            target_mac: EthAddr(packet.tha),
            target_ip: packet.tpa.into(),
        })
    }

    /// Writes the packet to the start of `bytes`; nothing is written when there is no room.
    #[must_use]
    pub fn emit(&self, bytes: &mut [u8]) -> Option<()> {
        let packet = ArpPacket {
            htype: HTYPE_ETHERNET.into(),
            ptype: ETHERTYPE_IPV4.into(),
            hlen: 6,
            plen: 4,
            op: self.op.into(),
            sha: self.sender_mac.0,
            spa: self.sender_ip.octets(),
            tha: self.target_mac.0,
            tpa: self.target_ip.octets(),
        };
        packet.put(bytes, 0)
    }

    /// The reply of the station `mac` to this request; nothing when this is not a request.
    #[must_use]
    pub fn reply_from(&self, mac: EthAddr) -> Option<Self> {
        if self.op != ARP_REQUEST {
            return None;
        }
        Some(Self {
            op: ARP_REPLY,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        })
    }

    /// Says whether the sender announces its own address (RFC 5227 section 3).
    #[must_use]
    pub fn is_announcement(&self) -> bool {
        self.sender_ip == self.target_ip
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request and its reply as Linux sent them.
    const REQUEST: [u8; 28] = [
        0, 1, 8, 0, 6, 4, 0, 1, 0x1a, 0x08, 0x02, 0x6c, 0x48, 0x2d, 10, 77, 0, 1, 0, 0, 0, 0, 0, 0,
        10, 77, 0, 2,
    ];
    const REPLY: [u8; 28] = [
        0, 1, 8, 0, 6, 4, 0, 2, 0x4e, 0xca, 0xc2, 0x76, 0xe4, 0x4a, 10, 77, 0, 2, 0x1a, 0x08, 0x02,
        0x6c, 0x48, 0x2d, 10, 77, 0, 1,
    ];

    #[test]
    fn the_answer_to_a_request_is_that_of_linux() {
        let request = ArpRepr::parse(&REQUEST).unwrap();
        let mac = EthAddr([0x4e, 0xca, 0xc2, 0x76, 0xe4, 0x4a]);
        let mut bytes = [0; 28];
        assert_eq!(request.reply_from(mac).unwrap().emit(&mut bytes), Some(()));
        assert_eq!(bytes, REPLY);
        assert_eq!(ArpRepr::parse(&REPLY).unwrap().reply_from(mac), None);
    }

    #[test]
    fn what_is_not_ipv4_over_ethernet_is_not_read() {
        for (at, value) in [
            (0, 1),
            (1, 6),
            (2, 0x86),
            (4, 8),
            (5, 16),
            (6, 1),
            (7, 3),
            (7, 0),
        ] {
            let mut bytes = REQUEST;
            bytes[at] = value;
            assert_eq!(ArpRepr::parse(&bytes), None, "byte {at} = {value}");
        }
        assert_eq!(ArpRepr::parse(&REQUEST[..27]), None);
    }

    #[test]
    fn an_announcement_names_one_address_twice() {
        let request = ArpRepr::parse(&REQUEST).unwrap();
        assert!(!request.is_announcement());
        assert!(
            ArpRepr {
                target_ip: request.sender_ip,
                ..request
            }
            .is_announcement()
        );
    }

    #[test]
    fn a_buffer_one_byte_short_is_not_touched() {
        let mut bytes = [7; 27];
        assert_eq!(ArpRepr::parse(&REQUEST).unwrap().emit(&mut bytes), None);
        assert_eq!(bytes, [7; 27]);
    }
}
