//! A frame in one line, in the words of tcpdump.

use core::fmt;

use crate::arp::{ARP_REQUEST, ArpPacket, ArpRepr};
use crate::eth::ETHERTYPE_VLAN;
use crate::header::Header;
use crate::icmp::{IcmpCode, IcmpHeader, IcmpKind};
use crate::icmpv6::{Icmpv6Header, Icmpv6Kind, NeighbourAdvertisement, NeighbourSolicitation};
use crate::ipv4::Protocol;
use crate::ipv6::{Ipv6Header, UpperLayer};
use crate::parse::{EmbeddedL4, EmbeddedV4, Kind, L4, Parsed, Tcp, V4, parse_embedded_v4};
use crate::tcp::{TcpFlags, TcpHeader};
use crate::tcp_options::{TcpOption, TcpOptions};

/// Prints an Ethernet frame in one line, as `tcpdump -n -S` does; what does not parse is named and
/// counted.
///
/// ```
/// let line = weir_wire::Describe(&[0; 5]).to_string();
/// assert_eq!(line, "[Ethernet header truncated: needs 14 bytes, 5 are there] 5 bytes");
/// ```
#[derive(Clone, Copy)]
pub struct Describe<'a>(pub &'a [u8]);

impl fmt::Debug for Describe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Describe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(frame) = *self;
        let parsed = match Parsed::parse(frame) {
            Ok(parsed) => parsed,
            Err(error) => return write!(f, "[{error}] {} bytes", frame.len()),
        };
        if let Some(tci) = parsed.vlan {
            write!(f, "vlan {}, ", tci & 0x0fff)?;
        }
        let l3 = frame.get(parsed.l3 as usize..).unwrap_or_default();
        match &parsed.kind {
            Kind::Arp => arp(f, l3),
            Kind::Ipv4(v4) => ipv4(f, frame, parsed.l3, v4),
            Kind::Ipv6 => ipv6(f, l3),
            Kind::Other(ETHERTYPE_VLAN) => write!(f, "second VLAN tag, length {}", l3.len()),
            Kind::Other(ethertype) => write!(f, "ethertype {ethertype:#06x}, length {}", l3.len()),
        }
    }
}

fn arp(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let Some(ArpRepr {
        op,
        sender_mac,
        sender_ip,
        target_ip,
        ..
    }) = ArpRepr::parse(bytes)
    else {
        return write!(f, "ARP, not understood, length {}", bytes.len());
    };
    if op == ARP_REQUEST {
        write!(
            f,
            "ARP, Request who-has {target_ip} tell {sender_ip}, length {}",
            ArpPacket::LEN
        )
    } else {
        write!(
            f,
            "ARP, Reply {sender_ip} is-at {sender_mac}, length {}",
            ArpPacket::LEN
        )
    }
}

fn ipv4(f: &mut fmt::Formatter<'_>, frame: &[u8], l3: u16, v4: &V4) -> fmt::Result {
    let V4 { src, dst, .. } = v4;
    let len = v4.l4_len(l3);
    match &v4.l4_kind {
        L4::Tcp(it) => {
            write!(f, "{src}.{} > {dst}.{}: ", it.src_port, it.dst_port)?;
            tcp(f, it, v4.payload(frame, l3).unwrap_or_default())?;
        }
        L4::Udp {
            src_port,
            dst_port,
            len,
        } => {
            let len = len.saturating_sub(8);
            write!(f, "{src}.{src_port} > {dst}.{dst_port}: UDP, length {len}")?;
        }
        L4::Icmp { .. } => {
            write!(f, "{src} > {dst}: ICMP ")?;
            icmp(f, v4.payload(frame, l3).unwrap_or_default())?;
        }
        L4::NonFirstFragment => write!(f, "{src} > {dst}: ip-proto-{}", v4.protocol)?,
        L4::Other(protocol) => write!(f, "{src} > {dst}: ip-proto-{protocol} {len}")?,
    }
    if let Some(fragment) = v4.fragment {
        let more = if fragment.more { "+" } else { "" };
        write!(f, " (frag {}:{len}@{}{more})", fragment.id, fragment.offset)?;
    }
    Ok(())
}

fn tcp(f: &mut fmt::Formatter<'_>, tcp: &Tcp, segment: &[u8]) -> fmt::Result {
    let Tcp {
        seq,
        ack,
        flags,
        window,
        payload_len,
        ..
    } = tcp;
    write!(f, "Flags [{flags}]")?;
    if *payload_len != 0 {
        write!(f, ", seq {seq}:{}", *seq + *payload_len as u32)?;
    } else if flags.intersects(TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST) {
        write!(f, ", seq {seq}")?;
    }
    if flags.contains(TcpFlags::ACK) {
        write!(f, ", ack {ack}")?;
    }
    write!(f, ", win {window}")?;
    if flags.contains(TcpFlags::URG)
        && let Some(header) = TcpHeader::at(segment, 0)
    {
        write!(f, ", urg {}", header.urgent)?;
    }
    let options = segment
        .get(TcpHeader::LEN..tcp.header_len as usize)
        .unwrap_or_default();
    if !options.is_empty() {
        f.write_str(", options [")?;
        let mut walk = TcpOptions::new(options);
        let mut comma = "";
        for located in walk.by_ref() {
            write!(f, "{comma}{}", located.option)?;
            comma = ",";
        }
        if walk.is_malformed() {
            write!(f, "{comma}malformed")?;
        }
        f.write_str("]")?;
    }
    write!(f, ", length {payload_len}")
}

impl fmt::Display for TcpOption<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nop => f.write_str("nop"),
            Self::EndOfList => f.write_str("eol"),
            Self::Mss(mss) => write!(f, "mss {mss}"),
            Self::WindowScale(shift) => write!(f, "wscale {shift}"),
            Self::SackPermitted => f.write_str("sackOK"),
            Self::Sack(blocks) => {
                write!(f, "sack {} ", blocks.len() / 8)?;
                let (edges, _) = blocks.as_chunks::<4>();
                edges.as_chunks::<2>().0.iter().try_for_each(|pair| {
                    let [left, right] = pair.map(u32::from_be_bytes);
                    write!(f, "{{{left}:{right}}}")
                })
            }
            Self::Timestamps { tsval, tsecr } => write!(f, "TS val {tsval} ecr {tsecr}"),
            Self::Toa(toa) => write!(f, "toa {}", toa.client),
            Self::Unknown { kind, data } => {
                write!(f, "unknown-{kind}")?;
                if !data.is_empty() {
                    f.write_str(" 0x")?;
                }
                data.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

fn icmp(f: &mut fmt::Formatter<'_>, message: &[u8]) -> fmt::Result {
    let Some(header) = IcmpHeader::at(message, 0) else {
        return write!(f, "truncated, length {}", message.len());
    };
    let quoted = header
        .is_error()
        .then(|| parse_embedded_v4(message.get(IcmpHeader::LEN..).unwrap_or_default()).ok())
        .flatten();
    match (header.kind, &quoted) {
        (IcmpKind::ECHO_REQUEST, _) => {
            write!(
                f,
                "echo request, id {}, seq {}",
                header.echo_ident(),
                header.echo_seq()
            )?;
        }
        (IcmpKind::ECHO_REPLY, _) => {
            write!(
                f,
                "echo reply, id {}, seq {}",
                header.echo_ident(),
                header.echo_seq()
            )?;
        }
        (IcmpKind::UNREACHABLE, Some(quoted)) => unreachable(f, *header, quoted)?,
        (IcmpKind::SOURCE_QUENCH, _) => f.write_str("source quench")?,
        (IcmpKind::TIME_EXCEEDED, _) if header.code == IcmpCode::TIME_EXCEEDED_TTL => {
            f.write_str("time exceeded in-transit")?;
        }
        (IcmpKind::TIME_EXCEEDED, _) if header.code == IcmpCode::TIME_EXCEEDED_REASSEMBLY => {
            f.write_str("ip reassembly time exceeded")?;
        }
        (kind, _) => write!(f, "type {kind}, code {}", header.code)?,
    }
    write!(f, ", length {}", message.len())?;
    // tcpdump says this only when asked for more; whoever debugs a NAT wants it first.
    let Some(EmbeddedV4 {
        src, dst, l4_kind, ..
    }) = quoted
    else {
        return Ok(());
    };
    match l4_kind {
        EmbeddedL4::Tcp {
            src_port,
            dst_port,
            seq,
            ..
        } => {
            write!(f, " [about {src}.{src_port} > {dst}.{dst_port}: seq {seq}]")
        }
        EmbeddedL4::Udp { src_port, dst_port } => {
            write!(f, " [about {src}.{src_port} > {dst}.{dst_port}: UDP]")
        }
        EmbeddedL4::Icmp { kind, ident, .. } => {
            write!(f, " [about {src} > {dst}: ICMP type {kind}, id {ident}]")
        }
        EmbeddedL4::NonFirstFragment => write!(f, " [about a fragment {src} > {dst}]"),
        EmbeddedL4::Other(protocol) => write!(f, " [about {src} > {dst}: ip-proto-{protocol}]"),
    }
}

fn unreachable(f: &mut fmt::Formatter<'_>, header: IcmpHeader, quoted: &EmbeddedV4) -> fmt::Result {
    let EmbeddedV4 {
        dst,
        protocol,
        l4_kind,
        ..
    } = quoted;
    match (header.code, l4_kind) {
        (IcmpCode::UNREACHABLE_NET, _) => write!(f, "net {dst} unreachable"),
        (IcmpCode::UNREACHABLE_HOST, _) => write!(f, "host {dst} unreachable"),
        (IcmpCode::UNREACHABLE_PROTOCOL, _) => {
            write!(f, "{dst} protocol {protocol} unreachable")
        }
        (IcmpCode::UNREACHABLE_PORT, EmbeddedL4::Tcp { dst_port, .. }) => {
            write!(f, "{dst} tcp port {dst_port} unreachable")
        }
        (IcmpCode::UNREACHABLE_PORT, EmbeddedL4::Udp { dst_port, .. }) => {
            write!(f, "{dst} udp port {dst_port} unreachable")
        }
        (IcmpCode::UNREACHABLE_FRAG_NEEDED, _) => {
            write!(
                f,
                "{dst} unreachable - need to frag (mtu {})",
                header.next_hop_mtu()
            )
        }
        (IcmpCode::UNREACHABLE_PROHIBITED, _) => {
            write!(f, "host {dst} unreachable - admin prohibited filter")
        }
        (code, _) => write!(f, "{dst} unreachable - code {code}"),
    }
}

fn ipv6(f: &mut fmt::Formatter<'_>, packet: &[u8]) -> fmt::Result {
    let Some(ip) = Ipv6Header::at(packet, 0) else {
        return write!(f, "IP6 truncated, length {}", packet.len());
    };
    let (src, dst) = (ip.src_addr(), ip.dst_addr());
    let payload = packet.get(Ipv6Header::LEN..).unwrap_or_default();
    let payload = payload
        .get(..ip.payload_len.get() as usize)
        .unwrap_or(payload);
    let upper = match UpperLayer::find(ip.next_header, payload) {
        Ok(upper) => upper,
        Err(error) => return write!(f, "IP6 {src} > {dst}: [{error}], length {}", payload.len()),
    };
    let segment = payload.get(upper.offset as usize..).unwrap_or_default();
    if let Some(fragment) = upper.fragment {
        let more = if fragment.more { "+" } else { "" };
        let (offset, len) = (fragment.offset, segment.len());
        return write!(
            f,
            "IP6 {src} > {dst}: frag {}:{len}@{offset}{more}",
            fragment.id
        );
    }
    match L4::parse(upper.protocol, segment, false) {
        Ok(L4::Tcp(it)) => {
            write!(f, "IP6 {src}.{} > {dst}.{}: ", it.src_port, it.dst_port)?;
            tcp(f, &it, segment)
        }
        Ok(L4::Udp {
            src_port,
            dst_port,
            len,
        }) => {
            let len = len.saturating_sub(8);
            write!(
                f,
                "IP6 {src}.{src_port} > {dst}.{dst_port}: UDP, length {len}"
            )
        }
        Ok(_) if upper.protocol == Protocol::ICMPV6 => {
            write!(f, "IP6 {src} > {dst}: ICMP6, ")?;
            icmpv6(f, segment)?;
            write!(f, ", length {}", segment.len())
        }
        Ok(_) => write!(
            f,
            "IP6 {src} > {dst}: ip-proto-{} {}",
            upper.protocol,
            segment.len()
        ),
        Err(error) => write!(f, "IP6 {src} > {dst}: [{error}], length {}", segment.len()),
    }
}

fn icmpv6(f: &mut fmt::Formatter<'_>, message: &[u8]) -> fmt::Result {
    let Some(header) = Icmpv6Header::at(message, 0) else {
        return f.write_str("truncated");
    };
    match header.kind {
        Icmpv6Kind::ECHO_REQUEST => {
            write!(
                f,
                "echo request, id {}, seq {}",
                header.echo_ident(),
                header.echo_seq()
            )
        }
        Icmpv6Kind::ECHO_REPLY => {
            write!(
                f,
                "echo reply, id {}, seq {}",
                header.echo_ident(),
                header.echo_seq()
            )
        }
        Icmpv6Kind::NEIGHBOUR_SOLICITATION => match NeighbourSolicitation::at(message, 0) {
            Some(it) => write!(f, "neighbor solicitation, who has {}", it.target_addr()),
            None => f.write_str("neighbor solicitation, truncated"),
        },
        Icmpv6Kind::NEIGHBOUR_ADVERTISEMENT => match NeighbourAdvertisement::at(message, 0) {
            Some(it) => write!(f, "neighbor advertisement, tgt is {}", it.target_addr()),
            None => f.write_str("neighbor advertisement, truncated"),
        },
        kind => write!(f, "type {kind}, code {}", header.code),
    }
}
