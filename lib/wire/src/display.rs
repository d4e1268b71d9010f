//! A frame in one line, in the words of tcpdump.

use core::fmt;

use crate::arp::{ARP_REQUEST, ArpPacket, ArpRepr};
use crate::eth::ETHERTYPE_VLAN;
use crate::header::Header;
use crate::icmp::{IcmpCode, IcmpHeader, IcmpKind};
use crate::ipv6::Ipv6Header;
use crate::parse::{Kind, L4, Parsed, Tcp, V4};
use crate::tcp_options::{TcpOption, TcpOptions};

/// Prints an Ethernet frame in one line, as `tcpdump -n -S` does; what does not parse is named and counted.
///
/// ```
/// assert_eq!(weir_wire::Describe(&[0; 5]).to_string(), "[Ethernet header truncated: needs 14 bytes, 5 are there] 5 bytes");
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
            tcp(f, it, v4.tcp_options(frame).unwrap_or_default())?;
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

fn tcp(f: &mut fmt::Formatter<'_>, tcp: &Tcp, options: &[u8]) -> fmt::Result {
    use crate::tcp::TcpFlags;

    let Tcp {
        seq,
        ack,
        flags,
        window,
        payload_len,
        ..
    } = tcp;
    write!(f, "Flags [{flags}], seq {seq}")?;
    if *payload_len != 0 {
        write!(f, ":{}", *seq + *payload_len as u32)?;
    }
    if flags.contains(TcpFlags::ACK) {
        write!(f, ", ack {ack}")?;
    }
    write!(f, ", win {window}")?;
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
    match header.kind {
        IcmpKind::ECHO_REQUEST | IcmpKind::ECHO_REPLY => {
            let name = if header.kind == IcmpKind::ECHO_REQUEST {
                "echo request"
            } else {
                "echo reply"
            };
            write!(
                f,
                "{name}, id {}, seq {}",
                header.echo_ident(),
                header.echo_seq()
            )?;
        }
        IcmpKind::UNREACHABLE => match header.code {
            IcmpCode::UNREACHABLE_FRAG_NEEDED => {
                write!(
                    f,
                    "unreachable - need to frag (mtu {})",
                    header.next_hop_mtu()
                )?;
            }
            IcmpCode::UNREACHABLE_NET => f.write_str("net unreachable")?,
            IcmpCode::UNREACHABLE_HOST => f.write_str("host unreachable")?,
            IcmpCode::UNREACHABLE_PROTOCOL => f.write_str("protocol unreachable")?,
            IcmpCode::UNREACHABLE_PORT => f.write_str("port unreachable")?,
            IcmpCode::UNREACHABLE_PROHIBITED => f.write_str("unreachable - admin prohibited")?,
            code => write!(f, "unreachable - code {code}")?,
        },
        IcmpKind::SOURCE_QUENCH => f.write_str("source quench")?,
        IcmpKind::TIME_EXCEEDED => match header.code {
            IcmpCode::TIME_EXCEEDED_TTL => f.write_str("time exceeded in-transit")?,
            IcmpCode::TIME_EXCEEDED_REASSEMBLY => f.write_str("ip reassembly time exceeded")?,
            code => write!(f, "time exceeded - code {code}")?,
        },
        kind => write!(f, "type {kind}, code {}", header.code)?,
    }
    if header.is_error()
        && let Ok(quoted) = crate::parse::parse_embedded_v4(message.get(8..).unwrap_or_default())
    {
        let (src, dst) = (quoted.src, quoted.dst);
        match quoted.ports() {
            Some((from, to)) => write!(f, " for {src}.{from} > {dst}.{to}")?,
            None => write!(f, " for {src} > {dst}")?,
        }
    }
    write!(f, ", length {}", message.len())
}

fn ipv6(f: &mut fmt::Formatter<'_>, packet: &[u8]) -> fmt::Result {
    let Some(ip) = Ipv6Header::at(packet, 0) else {
        return write!(f, "IP6 truncated, length {}", packet.len());
    };
    let (src, dst) = (ip.src_addr(), ip.dst_addr());
    write!(
        f,
        "IP6 {src} > {dst}: next header {}, length {}",
        ip.next_header, ip.payload_len
    )
}
