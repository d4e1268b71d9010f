//! From a line of a walk to the frame that goes in.

use anyhow::{Context, Result, bail, ensure};
use weir_model::PortId;
use weir_wire::{
    ARP_REPLY, ARP_REQUEST, ArpRepr, EthAddr, Header, Ipv4Header, Protocol, SeqNumber, Sum,
    fill_checksums,
};

use super::play::{Faces, Player};
use super::script::{Body, Extra, Packet, Who};
use super::value::number;
use crate::{
    Checksum, IcmpSpec, Neighbourhood, PacketSpec, TcpSpec, Transport, UdpSpec, arp_frame,
    l3_offset, pattern,
};

/// Bytes of a packet that an ICMP error quotes at least (RFC 792).
const LEAST_QUOTED: usize = 28;

impl Player {
    /// Builds the frame that a line says goes in, and the port that it goes in by.
    pub(super) fn build(
        &mut self,
        around: &Neighbourhood,
        packet: &Packet,
    ) -> Result<(PortId, Vec<u8>)> {
        let (port, mut frame) = match &packet.body {
            Body::Raw(bytes) => (port_by_name(around, &packet.left.face)?, bytes.clone()),
            Body::Arp {
                request,
                first,
                second,
                to,
            } => {
                let port = port_by_name(around, &packet.left.face)?;
                let frame = if *request {
                    arp_request(around, &self.faces, first, second)?
                } else {
                    let to = to.as_deref().context("`to` is missing")?;
                    arp_reply(around, &self.faces, port, (first, second), to)?
                };
                (port, frame)
            }
            Body::Tcp { .. } | Body::Udp { .. } | Body::Icmp { .. } | Body::Proto { .. } => {
                self.build_ip(around, packet)?
            }
        };
        frame.resize(frame.len() + packet.extra.pad, 0xee);
        if let Some(len) = packet.extra.cut {
            frame.truncate(len);
        }
        Ok((port, frame))
    }

    fn build_ip(&mut self, around: &Neighbourhood, packet: &Packet) -> Result<(PortId, Vec<u8>)> {
        let mut spec = self.spec(packet)?;
        let port = if let Some(name) = &packet.extra.port {
            port_by_name(around, name)?
        } else {
            let reach = around.next_hop(spec.src);
            reach
                .with_context(|| format!("no port leads to {}", spec.src))?
                .0
        };
        let hop = around.next_hop(spec.src).map_or(spec.src, |(_, hop)| hop);
        spec.eth_src = packet.extra.mac.unwrap_or_else(|| around.mac_of(hop));
        spec.eth_dst = around.link(port).map_or(EthAddr::ZERO, |link| link.mac);
        let mut frame = spec.build();
        let l3 = l3_offset(&frame);
        insert_ip_options(&mut frame, l3, &packet.extra.ip_options)?;
        amend(&mut frame, l3, &packet.extra)?;
        if packet.extra.frag.is_some() && packet.extra.sum.is_none() {
            fill_checksums(&mut frame).context("the fragment is not whole")?;
        }
        Ok((port, frame))
    }

    /// Describes the packet of a line, with the numbers that its names stand for.
    pub(super) fn spec(&mut self, packet: &Packet) -> Result<PacketSpec> {
        let right = packet.right.as_ref().context("a packet has two faces")?;
        let (from, to) = if packet.rightward {
            (&packet.left, right)
        } else {
            (right, &packet.left)
        };
        let extra = &packet.extra;
        let transport = self.transport(from, to, &packet.body, extra)?;
        let checksum = match extra.sum.as_deref() {
            None => Checksum::Right,
            Some("bad") => Checksum::Wrong,
            Some("partial") => Checksum::Partial,
            Some("none") => Checksum::Exactly(0),
            Some(text) => Checksum::Exactly(u16::try_from(number(text)?)?),
        };
        Ok(PacketSpec {
            vlan: extra.vlan,
            src: self.faces.address(&from.face)?,
            dst: self.faces.address(&to.face)?,
            ttl: extra.ttl.unwrap_or(64),
            tos: extra.tos.unwrap_or(0),
            ident: extra.id.unwrap_or(0),
            dont_fragment: extra.df.unwrap_or(true),
            transport,
            checksum,
            ..PacketSpec::default()
        })
    }

    fn transport(&mut self, from: &Who, to: &Who, body: &Body, extra: &Extra) -> Result<Transport> {
        let mut port = |who: &Who| -> Result<u16> {
            let value = self.faces.port(who);
            Ok(self.names.give(&value)? as u16)
        };
        Ok(match body {
            Body::Tcp {
                flags,
                seq,
                len,
                ack,
                win,
                options,
            } => Transport::Tcp(TcpSpec {
                src_port: port(from)?,
                dst_port: port(to)?,
                seq: SeqNumber(self.names.give(seq)?),
                ack: match ack {
                    Some(ack) => SeqNumber(self.names.give(ack)?),
                    None => SeqNumber(0),
                },
                flags: *flags,
                window: win.unwrap_or(0),
                options: options.bytes(&mut self.names, &self.faces)?,
                payload: extra.payload(*len)?,
            }),
            Body::Udp { len } => Transport::Udp(UdpSpec {
                src_port: port(from)?,
                dst_port: port(to)?,
                payload: pattern(usize::from(*len)),
            }),
            Body::Icmp {
                kind,
                code,
                echo,
                mtu,
                len,
                quote,
            } => {
                let [high, low] = mtu.to_be_bytes();
                let mut rest = [0, 0, high, low];
                if let Some((id, seq)) = echo {
                    let ([a, b], [c, d]) = (id.to_be_bytes(), seq.to_be_bytes());
                    rest = [a, b, c, d];
                }
                let payload = match quote {
                    Some(quoted) => self.quoted(quoted)?,
                    None => pattern(usize::from(*len)),
                };
                Transport::Icmp(IcmpSpec {
                    kind: *kind,
                    code: *code,
                    rest,
                    payload,
                })
            }
            Body::Proto { protocol, len } => Transport::Other {
                protocol: *protocol,
                payload: pattern(usize::from(*len)),
            },
            Body::Arp { .. } | Body::Raw(_) => bail!("this has no IPv4 header"),
        })
    }

    /// Builds what an ICMP error quotes: the packet's first bytes.
    fn quoted(&mut self, packet: &Packet) -> Result<Vec<u8>> {
        let mut bytes = self.spec(packet)?.packet();
        amend(&mut bytes, 0, &packet.extra)?;
        bytes.truncate(packet.extra.cut.unwrap_or(LEAST_QUOTED));
        Ok(bytes)
    }
}

/// Inserts options behind the IPv4 header and mends the header.
fn insert_ip_options(frame: &mut Vec<u8>, l3: usize, options: &[u8]) -> Result<()> {
    if options.is_empty() {
        return Ok(());
    }
    ensure!(
        options.len().is_multiple_of(4) && options.len() <= 40,
        "IPv4 options are whole words, ten at most"
    );
    let at = l3 + Ipv4Header::LEN;
    frame.splice(at..at, options.iter().copied());
    let header = &mut frame[l3..at + options.len()];
    header[0] += (options.len() / 4) as u8;
    let total = u16::from_be_bytes([header[2], header[3]]) + options.len() as u16;
    header[2..4].copy_from_slice(&total.to_be_bytes());
    header[10..12].fill(0);
    let sum = Sum::of(header).complement();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    Ok(())
}

impl Extra {
    /// Returns the payload of a segment with so many bytes.
    pub(super) fn payload(&self, len: u16) -> Result<Vec<u8>> {
        let len = usize::from(len);
        if self.of.is_empty() {
            return Ok(pattern(len));
        }
        let whole: Vec<u8> = self.of.iter().flat_map(|len| pattern(*len)).collect();
        let part = whole.get(self.at..self.at + len);
        Ok(part.context("the payload ends too soon")?.to_vec())
    }
}

/// Writes fragment field and total length into the IPv4 header and mends its checksum.
fn amend(bytes: &mut [u8], l3: usize, extra: &Extra) -> Result<()> {
    if extra.frag.is_none() && extra.total.is_none() {
        return Ok(());
    }
    let ip = Ipv4Header::at_mut(bytes, l3).context("there is no IPv4 header")?;
    if let Some((offset, more)) = extra.frag {
        ip.flags_frag = ((offset / 8) | (u16::from(more) << 13)).into();
    }
    if let Some(total) = extra.total {
        ip.total_len = total.into();
    }
    ip.checksum = 0.into();
    let len = ip.header_len();
    let sum = Sum::of(&bytes[l3..l3 + len]).complement();
    Ipv4Header::at_mut(bytes, l3)
        .context("there is no IPv4 header")?
        .checksum = sum.into();
    Ok(())
}

pub(super) fn port_by_name(around: &Neighbourhood, name: &str) -> Result<PortId> {
    let link = around.links().iter().find(|link| link.name == name);
    Ok(link
        .with_context(|| format!("there is no port `{name}`"))?
        .port)
}

fn arp_request(around: &Neighbourhood, faces: &Faces, asked: &str, asks: &str) -> Result<Vec<u8>> {
    let sender_ip = faces.address(asks)?;
    Ok(arp_frame(&ArpRepr {
        op: ARP_REQUEST,
        sender_mac: around.mac_of(sender_ip),
        sender_ip,
        target_mac: EthAddr::ZERO,
        target_ip: faces.address(asked)?,
    }))
}

fn arp_reply(
    around: &Neighbourhood,
    faces: &Faces,
    port: PortId,
    (whose, mac): (&str, &str),
    to: &str,
) -> Result<Vec<u8>> {
    let sender_mac = match mac.parse() {
        Ok(mac) => mac,
        Err(_) => around.mac_of(faces.address(mac)?),
    };
    Ok(arp_frame(&ArpRepr {
        op: ARP_REPLY,
        sender_mac,
        sender_ip: faces.address(whose)?,
        target_mac: around.link(port).map_or(EthAddr::ZERO, |link| link.mac),
        target_ip: faces.address(to)?,
    }))
}

/// The protocol number of a body.
pub(super) const fn protocol(body: &Body) -> u8 {
    match body {
        Body::Tcp { .. } => Protocol::TCP,
        Body::Udp { .. } => Protocol::UDP,
        Body::Icmp { .. } => Protocol::ICMP,
        Body::Proto { protocol, .. } => *protocol,
        Body::Arp { .. } | Body::Raw(_) => 0,
    }
}
