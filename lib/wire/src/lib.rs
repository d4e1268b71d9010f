//! Header views, TCP options, checksums and sequence arithmetic.
//!
//! Bytes that pass through are *viewed* ([`Header::at`], [`Header::at_mut`]); packets that Weir
//! creates are described by a `Repr` and emitted. Lengths are checked once, by [`Parsed::parse`];
//! nothing here reads past the end of what it was given or panics, whatever the bytes.
//!
//! ```
//! use weir_wire::{Header, Kind, L4, Parsed, TcpHeader};
//!
//! fn window_of(frame: &[u8]) -> Option<u16> {
//!     let parsed = Parsed::parse(frame).ok()?;
//!     let Kind::Ipv4(v4) = parsed.kind else { return None };
//!     let L4::Tcp(_) = v4.l4_kind else { return None };
//!     Some(TcpHeader::at(frame, v4.l4 as usize)?.window.get())
//! }
//! assert_eq!(window_of(&[]), None);
//! ```

#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing)]

#[cfg(test)]
extern crate std;

pub mod arp;
pub mod checksum;
pub mod display;
pub mod eth;
pub mod frame_buf;
pub mod header;
pub mod icmp;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod parse;
pub mod seq;
mod syn_options;
pub mod tcp;
pub mod tcp_options;
pub mod toeplitz;
pub mod udp;
pub mod verify;

pub use arp::{ARP_REPLY, ARP_REQUEST, ArpPacket, ArpRepr};
pub use checksum::{Delta, Sum, pseudo_v4, pseudo_v6};
pub use display::Describe;
pub use eth::{
    ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_QINQ, ETHERTYPE_VLAN, EthAddr,
    EthHeader, VlanTag,
};
pub use frame_buf::FrameBuf;
pub use header::Header;
pub use icmp::{IcmpCode, IcmpErrorRepr, IcmpHeader, IcmpKind};
pub use icmpv6::{
    Icmpv6Header, Icmpv6Kind, LinkLayerOption, NeighbourAdvertisement, NeighbourSolicitation,
};
pub use ipv4::{Ipv4Header, Ipv4Repr, Protocol};
pub use ipv6::{ExtensionError, ExtensionHeader, Ipv6Fragment, Ipv6Header, UpperLayer};
pub use parse::{
    EmbeddedL4, EmbeddedV4, Fragment, Kind, L4, Layer, ParseError, Parsed, Tcp, V4,
    parse_embedded_v4,
};
pub use seq::{SeqDelta, SeqNumber};
pub use syn_options::SynOptions;
pub use tcp::{TcpFlags, TcpHeader, TcpRepr};
pub use tcp_options::{
    KindSet, LocatedOption, OptionKind, OptionSummary, TcpOption, TcpOptions, Timestamps, Toa,
    ToaOption, ToaOptions,
};
pub use toeplitz::Toeplitz;
pub use udp::{UdpHeader, UdpRepr};
pub use verify::{BadChecksum, Completed, complete_partial, fill_checksums, verify_frame};
pub use zerocopy;
pub use zerocopy::network_endian::{U16, U32};
