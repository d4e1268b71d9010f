//! The frames: templates as Linux sends them, and what differs from packet to packet.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use weir_rig::{LAN_MAC, ROUTER_MAC, SYN_OPTIONS, TIMESTAMPS, VIP, WAN_MAC, real_mac};
use weir_testkit::{PacketSpec, TcpSpec, Transport, UdpSpec};
use weir_wire::{
    EthAddr, Header, Ipv4Header, Protocol, TcpFlags, TcpHeader, UdpHeader, fill_checksums,
};

use crate::rig::REALS;

const L3: usize = 14;
const L4: usize = 34;

/// Bytes of data in a segment or datagram.
pub(crate) const DATA: usize = 32;

/// What a packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A SYN with all the options of Linux.
    Syn,
    /// A SYN without options.
    BareSyn,
    /// A SYN-ACK with all the options of Linux.
    SynAck,
    Ack,
    Data,
    Fin,
    /// A RST, which has no options.
    Rst,
    /// A datagram of UDP.
    Datagram,
}

/// Who sends a packet to Weir.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// A client, by the router.
    Client,
    /// A real server.
    Real(u8),
}

/// What a packet has that others of its kind have not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant {
    pub(crate) src: (Ipv4Addr, u16),
    pub(crate) dst: (Ipv4Addr, u16),
    pub(crate) seq: u32,
    pub(crate) ack: u32,
}

/// One frame of each kind from each sender.
pub(crate) struct Templates(Vec<Vec<u8>>);

impl Kind {
    const ALL: [Self; 8] = [
        Self::Syn,
        Self::BareSyn,
        Self::SynAck,
        Self::Ack,
        Self::Data,
        Self::Fin,
        Self::Rst,
        Self::Datagram,
    ];

    /// Returns how many numbers of the sequence it takes once the connection is open.
    pub(crate) const fn takes(self) -> u32 {
        match self {
            Self::Data => DATA as u32,
            Self::Fin => 1,
            Self::Syn | Self::BareSyn | Self::SynAck | Self::Ack | Self::Rst | Self::Datagram => 0,
        }
    }

    fn transport(self) -> Transport {
        let tcp = |flags, options: &[u8], data| {
            Transport::Tcp(TcpSpec {
                flags,
                window: 502,
                options: options.to_vec(),
                payload: vec![0x55; data],
                ..TcpSpec::default()
            })
        };
        let ack = TcpFlags::ACK;
        match self {
            Self::Syn => tcp(TcpFlags::SYN, &SYN_OPTIONS, 0),
            Self::BareSyn => tcp(TcpFlags::SYN, &[], 0),
            Self::SynAck => tcp(TcpFlags::SYN | ack, &SYN_OPTIONS, 0),
            Self::Ack => tcp(ack, &TIMESTAMPS, 0),
            Self::Data => tcp(ack | TcpFlags::PSH, &TIMESTAMPS, DATA),
            Self::Fin => tcp(ack | TcpFlags::FIN, &TIMESTAMPS, 0),
            Self::Rst => tcp(TcpFlags::RST, &[], 0),
            Self::Datagram => Transport::Udp(UdpSpec {
                payload: vec![0x55; DATA],
                ..UdpSpec::default()
            }),
        }
    }
}

impl Sender {
    const fn stations(self) -> (EthAddr, EthAddr) {
        match self {
            Self::Client => (ROUTER_MAC, WAN_MAC),
            Self::Real(number) => (real_mac(number), LAN_MAC),
        }
    }

    const fn place(self) -> usize {
        match self {
            Self::Client => 0,
            Self::Real(number) => 1 + number as usize,
        }
    }
}

impl Templates {
    pub(crate) fn new() -> Self {
        let senders = std::iter::once(Sender::Client).chain((0..REALS).map(Sender::Real));
        let frames = senders.flat_map(|sender| {
            let (eth_src, eth_dst) = sender.stations();
            Kind::ALL.map(|kind| {
                let spec = PacketSpec {
                    eth_src,
                    eth_dst,
                    dst: VIP,
                    transport: kind.transport(),
                    ..PacketSpec::default()
                };
                spec.build()
            })
        });
        Self(frames.collect())
    }

    /// Returns the frame of a kind from a sender.
    pub(crate) fn get(&self, sender: Sender, kind: Kind) -> Result<&[u8]> {
        let place = sender.place() * Kind::ALL.len() + kind as usize;
        let frame = self.0.get(place).context("no such template")?;
        Ok(frame)
    }
}

/// Makes a copy of a template the packet that it is to be.
pub(crate) fn make(frame: &mut [u8], variant: &Variant) -> Result<()> {
    let ip = Ipv4Header::at_mut(frame, L3).context("no IPv4")?;
    ip.set_src(variant.src.0);
    ip.set_dst(variant.dst.0);
    if ip.protocol == Protocol::UDP {
        let udp = UdpHeader::at_mut(frame, L4).context("no UDP")?;
        udp.src_port = variant.src.1.into();
        udp.dst_port = variant.dst.1.into();
    } else {
        let tcp = TcpHeader::at_mut(frame, L4).context("no TCP")?;
        tcp.src_port = variant.src.1.into();
        tcp.dst_port = variant.dst.1.into();
        tcp.seq = variant.seq.into();
        tcp.ack = variant.ack.into();
    }
    fill_checksums(frame).context("no checksums")
}

/// Reads addresses, ports and numbers of a packet; the numbers of a datagram mean nothing.
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
