//! The IPv4 header (RFC 791).

use core::net::Ipv4Addr;

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Sum;
use crate::header::Header;

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// Protocol numbers that Weir knows by name.
#[derive(Clone, Copy, Debug)]
pub struct Protocol;

impl Protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
}

/// The fixed part of the IPv4 header, 20 bytes; options may follow.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct Ipv4Header {
    /// Version (4 bits) and header length in words (4 bits).
    pub version_ihl: u8,
    /// DSCP (6 bits) and ECN (2 bits).
    pub tos: u8,
    /// Length of header and payload.
    pub total_len: U16,
    /// Identification, for fragments.
    pub id: U16,
    /// Flags (3 bits) and fragment offset in units of 8 bytes (13 bits).
    pub flags_frag: U16,
    /// Time to live.
    pub ttl: u8,
    /// What follows.
    pub protocol: u8,
    /// Checksum of the header.
    pub checksum: U16,
    /// Source address.
    pub src: [u8; 4],
    /// Destination address.
    pub dst: [u8; 4],
}

impl Ipv4Header {
    /// The version field; 4 in a genuine header.
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.version_ihl >> 4
    }

    /// Length of the header with options in bytes, as claimed: 0 to 60.
    #[must_use]
    pub const fn header_len(&self) -> usize {
        (self.version_ihl & 0x0f) as usize * 4
    }

    /// Source address.
    #[must_use]
    pub const fn src_addr(&self) -> Ipv4Addr {
        let [a, b, c, d] = self.src;
        Ipv4Addr::new(a, b, c, d)
    }

    /// Destination address.
    #[must_use]
    pub const fn dst_addr(&self) -> Ipv4Addr {
        let [a, b, c, d] = self.dst;
        Ipv4Addr::new(a, b, c, d)
    }

    /// Sets the source address; the checksum is the caller's.
    pub fn set_src(&mut self, addr: Ipv4Addr) {
        self.src = addr.octets();
    }

    /// Sets the destination address; the checksum is the caller's.
    pub fn set_dst(&mut self, addr: Ipv4Addr) {
        self.dst = addr.octets();
    }

    /// Says whether routers may not fragment the packet.
    #[must_use]
    pub fn dont_fragment(&self) -> bool {
        self.flags_frag.get() & DONT_FRAGMENT != 0
    }

    /// Says whether more fragments of the packet follow.
    #[must_use]
    pub fn more_fragments(&self) -> bool {
        self.flags_frag.get() & MORE_FRAGMENTS != 0
    }

    /// Place of this fragment in its packet, in bytes.
    #[must_use]
    pub fn frag_offset(&self) -> u16 {
        (self.flags_frag.get() & FRAGMENT_OFFSET) * 8
    }

    /// Says whether this is a fragment: the first, a middle one or the last.
    #[must_use]
    pub fn is_fragment(&self) -> bool {
        self.flags_frag.get() & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0
    }

    /// Differentiated services code point (RFC 2474 section 3).
    #[must_use]
    pub const fn dscp(&self) -> u8 {
        self.tos >> 2
    }

    /// The 16-bit word that holds time to live and protocol, as checksums see it.
    #[must_use]
    pub const fn ttl_word(&self) -> u16 {
        u16::from_be_bytes([self.ttl, self.protocol])
    }
}

/// An IPv4 header without options that is legal to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Repr {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// What follows.
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// Identification; of no meaning when the packet may not be fragmented (RFC 6864 section 4).
    pub ident: u16,
    /// Whether routers may not fragment the packet.
    pub dont_fragment: bool,
    /// Length of what follows.
    pub payload_len: u16,
}

impl Ipv4Repr {
    /// Length of the emitted header.
    pub const LEN: usize = 20;

    /// Writes the header with its checksum to the start of `bytes`; nothing is written when there
    /// is no room or the packet would be longer than 65,535 bytes.
    #[must_use]
    pub fn emit(&self, bytes: &mut [u8]) -> Option<()> {
        let mut header = Ipv4Header {
            version_ihl: 0x45,
            tos: self.tos,
            total_len: self.payload_len.checked_add(Self::LEN as u16)?.into(),
            id: self.ident.into(),
            flags_frag: if self.dont_fragment { DONT_FRAGMENT } else { 0 }.into(),
            ttl: self.ttl,
            protocol: self.protocol,
            checksum: 0.into(),
            src: self.src.octets(),
            dst: self.dst.octets(),
        };
        header.checksum = Sum::of(header.as_bytes()).complement().into();
        header.put(bytes, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_linux_is_emitted_bit_by_bit() {
        // Captured: 10.77.0.1 > 10.77.0.2, TCP, DF, id 0xc1c9.
        let expected = [
            0x45, 0x00, 0x00, 0x3c, 0xc1, 0xc9, 0x40, 0x00, 0x40, 0x06, 0x64, 0x56, 10, 77, 0, 1,
            10, 77, 0, 2,
        ];
        let repr = Ipv4Repr {
            src: Ipv4Addr::new(10, 77, 0, 1),
            dst: Ipv4Addr::new(10, 77, 0, 2),
            protocol: Protocol::TCP,
            ttl: 64,
            tos: 0,
            ident: 0xc1c9,
            dont_fragment: true,
            payload_len: 40,
        };
        let mut bytes = [0; 20];
        assert_eq!(repr.emit(&mut bytes), Some(()));
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_packet_of_more_than_65535_bytes_is_not_emitted() {
        let mut repr = Ipv4Repr {
            src: Ipv4Addr::UNSPECIFIED,
            dst: Ipv4Addr::BROADCAST,
            protocol: 0,
            ttl: 1,
            tos: 0,
            ident: 0,
            dont_fragment: false,
            payload_len: 65_516,
        };
        let mut bytes = [7; 20];
        assert_eq!(repr.emit(&mut bytes), None);
        assert_eq!(bytes, [7; 20]);
        repr.payload_len -= 1;
        assert_eq!(repr.emit(&mut bytes), Some(()));
    }

    #[test]
    fn fragment_bits_are_told_apart() {
        let mut bytes = [0u8; 20];
        let header = Ipv4Header::at_mut(&mut bytes, 0).unwrap();
        let mut say = |word: u16| {
            header.flags_frag = word.into();
            let flags = (
                header.dont_fragment(),
                header.more_fragments(),
                header.is_fragment(),
            );
            (flags, header.frag_offset())
        };
        assert_eq!(say(0x4000), ((true, false, false), 0));
        assert_eq!(say(0x2000), ((false, true, true), 0));
        assert_eq!(say(0x00b9), ((false, false, true), 1480));
        assert_eq!(say(0x1fff), ((false, false, true), 65528));
        assert_eq!(say(0x8000), ((false, false, false), 0));
    }

    #[test]
    fn fields_read_and_write_in_their_places() {
        let mut bytes = [0u8; 20];
        let header = Ipv4Header::at_mut(&mut bytes, 0).unwrap();
        header.version_ihl = 0x4f;
        header.tos = 0xb8;
        header.set_src(Ipv4Addr::new(1, 2, 3, 4));
        header.set_dst(Ipv4Addr::new(5, 6, 7, 8));
        (header.ttl, header.protocol) = (64, 6);
        assert_eq!(
            (header.version(), header.header_len(), header.dscp()),
            (4, 60, 46)
        );
        assert_eq!(header.src_addr(), Ipv4Addr::new(1, 2, 3, 4));
        assert_eq!(header.dst_addr(), Ipv4Addr::new(5, 6, 7, 8));
        assert_eq!(header.ttl_word(), 0x4006);
        assert_eq!(bytes[12..], [1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
