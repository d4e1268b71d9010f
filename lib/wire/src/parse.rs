//! One pass over a frame: every length is checked here, once, and nobody behind has to check again.

mod embedded;
mod error;
mod l4;
mod plain;

use core::net::Ipv4Addr;

use crate::checksum::Sum;
use crate::eth::{
    ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_VLAN, EthHeader, VlanTag,
};
use crate::header::Header;
use crate::ipv4::Ipv4Header;
use crate::tcp::TcpHeader;

pub use embedded::{EmbeddedL4, EmbeddedV4, parse_embedded_v4};
pub use error::{Layer, ParseError};
pub use l4::{L4, Tcp};

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
mod tests;
