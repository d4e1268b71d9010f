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

    /// Writes the header with its checksum to the start of `bytes`; nothing is written when there is no room or the
    /// packet would be longer than 65,535 bytes.
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
