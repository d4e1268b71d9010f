//! The frames: templates as Linux sends them, and what differs from packet to packet.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use weir_testkit::{PacketSpec, TcpSpec, Transport};
use weir_wire::{EthAddr, Header, Ipv4Header, TcpFlags, TcpHeader, fill_checksums};

use crate::rig::{LAN_MAC, ROUTER_MAC, VIP, WAN_MAC, real_mac};

const L3: usize = 14;
const L4: usize = 34;
/// Where a template has its `TSval`.
const TSVAL: usize = 58;

/// What Linux offers in a SYN: MSS, SACK, timestamps, window scale.
const SYN_OPTIONS: [u8; 20] = [
    2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7,
];
/// Timestamps, as Linux sends them in every other segment.
const TIMESTAMPS: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 9];
/// Bytes of data in a segment.
pub(crate) const DATA: usize = 32;

/// A TCP segment of one kind, of which each packet is a variant.
pub(crate) struct Segment(Vec<u8>);

/// What a packet has that others of its kind have not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant {
    pub(crate) src: (Ipv4Addr, u16),
    pub(crate) dst: (Ipv4Addr, u16),
    pub(crate) seq: u32,
    pub(crate) ack: u32,
}

impl Segment {
    /// A SYN of a client or a SYN-ACK of a real server, with the options that Linux offers.
    pub(crate) fn opening(from: From, flags: TcpFlags) -> Self {
        Self::new(from, flags, &SYN_OPTIONS, 0)
    }

    /// A SYN or SYN-ACK without any option.
    pub(crate) fn bare(from: From, flags: TcpFlags) -> Self {
        Self::new(from, flags, &[], 0)
    }

    /// Any later segment, with timestamps.
    pub(crate) fn later(from: From, flags: TcpFlags, data: usize) -> Self {
        Self::new(from, flags, &TIMESTAMPS, data)
    }

    fn new(from: From, flags: TcpFlags, options: &[u8], data: usize) -> Self {
        let tcp = TcpSpec {
            flags,
            window: 502,
            options: options.to_vec(),
            payload: vec![0x55; data],
            ..TcpSpec::default()
        };
        let (eth_src, eth_dst) = from.stations();
        let spec = PacketSpec {
            eth_src,
            eth_dst,
            dst: VIP,
            transport: Transport::Tcp(tcp),
            ..PacketSpec::default()
        };
        Self(spec.build())
    }

    /// Says whether it begins a connection.
    pub(crate) fn is_syn(&self) -> bool {
        TcpHeader::at(&self.0, L4).is_some_and(|tcp| tcp.flags() == TcpFlags::SYN)
    }

    /// Returns the bytes that all variants share.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Who sends a frame to Weir.
#[derive(Clone, Copy)]
pub(crate) enum From {
    /// A client, by the router.
    Client,
    /// A real server.
    Real(u8),
}

impl From {
    pub(crate) const fn stations(self) -> (EthAddr, EthAddr) {
        match self {
            Self::Client => (ROUTER_MAC, WAN_MAC),
            Self::Real(number) => (real_mac(number), LAN_MAC),
        }
    }
}

/// Makes a copy of a [`Segment`] the packet that it is to be.
pub(crate) fn make_segment(frame: &mut [u8], variant: &Variant, tsval: u32) -> Result<()> {
    put_addresses(frame, variant.src.0, variant.dst.0)?;
    let tcp = TcpHeader::at_mut(frame, L4).context("no TCP")?;
    tcp.src_port = variant.src.1.into();
    tcp.dst_port = variant.dst.1.into();
    tcp.seq = variant.seq.into();
    tcp.ack = variant.ack.into();
    if tcp.header_len() == TcpHeader::LEN + TIMESTAMPS.len() {
        let place = frame.get_mut(TSVAL..).context("no timestamps")?;
        let place = place.first_chunk_mut().context("no timestamps")?;
        *place = tsval.to_be_bytes();
    }
    fill_checksums(frame).context("no checksums")
}

/// Reads addresses, ports and numbers of a segment that Weir sent.
pub(crate) fn read(frame: &[u8]) -> Result<Variant> {
    let ip = Ipv4Header::at(frame, L3).context("no IPv4")?;
    let tcp = TcpHeader::at(frame, L4).context("no TCP")?;
    Ok(Variant {
        src: (ip.src_addr(), tcp.src_port.get()),
        dst: (ip.dst_addr(), tcp.dst_port.get()),
        seq: tcp.seq.get(),
        ack: tcp.ack.get(),
    })
}

fn put_addresses(frame: &mut [u8], src: Ipv4Addr, dst: Ipv4Addr) -> Result<()> {
    let ip = Ipv4Header::at_mut(frame, L3).context("no IPv4")?;
    ip.set_src(src);
    ip.set_dst(dst);
    Ok(())
}
