//! The frames that are sent into the guest; both sides know them.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use weir_wire::{
    ETHERTYPE_IPV4, EthAddr, EthHeader, Header, Ipv4Repr, Protocol, TcpFlags, TcpRepr, UdpRepr,
};

/// The Ethernet address of the guest's network card.
pub const GUEST_MAC: [u8; 6] = [0x52, 0x54, 0, 0x77, 0, 1];
/// The local address that real servers answer to.
pub const LIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
/// The address that clients ask.
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 99);
/// The real server.
pub const REAL: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 77, 0, 2), 8080);
/// The range of local ports.
pub const PORTS: std::ops::RangeInclusive<u16> = 1024..=u16::MAX;
/// Packets of clients, of TCP and as many of UDP.
pub const CLIENTS: u32 = 4096;
/// The last frame of the first driver is UDP to this port of the VIP, that of the next to the next
/// port: it is sent again and again, and must not end what comes after.
pub const END: u16 = 9;

const HOST_MAC: [u8; 6] = [0x52, 0x54, 0, 0x77, 0, 2];

/// Makes all frames in the order in which they are sent.
///
/// # Errors
/// Never: the parts fit.
pub fn all() -> Result<Vec<Vec<u8>>> {
    let (real, real_port) = REAL;
    let mut frames = Vec::new();
    for port in PORTS {
        frames.push(frame(Protocol::TCP, (real, real_port), (LIP, port))?);
    }
    // Any spread will do, as long as it is the same in each run.
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..CLIENTS {
        for protocol in [Protocol::TCP, Protocol::UDP] {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let client = Ipv4Addr::from(0x2d00_0000 | random as u32 >> 8);
            let ports = (random >> 32) as u32;
            let listen = (ports as u16).max(1024);
            frames.push(frame(
                protocol,
                (client, (ports >> 16) as u16),
                (VIP, listen),
            )?);
        }
    }
    Ok(frames)
}

/// Makes the frame after which nothing comes.
///
/// # Errors
/// Never: the parts fit.
pub fn end(nth: u16) -> Result<Vec<u8>> {
    frame(Protocol::UDP, REAL, (VIP, END + nth))
}

fn frame(protocol: u8, src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16)) -> Result<Vec<u8>> {
    let mut bytes = vec![0; 60];
    let eth = EthHeader::new(EthAddr(GUEST_MAC), EthAddr(HOST_MAC), ETHERTYPE_IPV4);
    eth.put(&mut bytes, 0).context("no room for Ethernet")?;
    let ip = Ipv4Repr {
        src: src.0,
        dst: dst.0,
        protocol,
        ttl: 64,
        tos: 0,
        ident: 0,
        dont_fragment: true,
        payload_len: 20,
    };
    ip.emit(bytes.get_mut(14..).unwrap_or_default())
        .context("no room for IP")?;
    let payload = bytes.get_mut(34..).unwrap_or_default();
    let written = if protocol == Protocol::TCP {
        let tcp = TcpRepr {
            src_port: src.1,
            dst_port: dst.1,
            flags: TcpFlags::ACK,
            ..TcpRepr::default()
        };
        tcp.emit(payload)
    } else {
        let udp = UdpRepr {
            src_port: src.1,
            dst_port: dst.1,
            payload_len: 12,
        };
        udp.emit(payload)
    };
    written.context("no room for ports")?;
    Ok(bytes)
}
