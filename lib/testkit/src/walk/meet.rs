//! Compares a frame that came out with the line that expects it.

use anyhow::{Context, Result, bail, ensure};
use weir_wire::{
    ARP_REQUEST, ArpRepr, EmbeddedL4, EthHeader, Header, IcmpHeader, Ipv4Header, Kind, L4, Parsed,
    Sum, TcpHeader, UdpHeader, V4, parse_embedded_v4, verify_frame,
};

use super::build::{port_by_name, protocol};
use super::play::Player;
use super::script::{Body, Extra, Packet, Who};
use super::value::number;
use crate::{Emitted, Neighbourhood, l3_offset};

impl Player {
    /// Compares; names that are not bound yet are bound by what the frame has.
    pub(super) fn meet(
        &mut self,
        around: &Neighbourhood,
        packet: &Packet,
        emitted: &Emitted,
    ) -> Result<()> {
        let frame = &emitted.frame;
        let parsed = Parsed::parse(frame)?;
        let extra = &packet.extra;
        ensure!(
            parsed.vlan == extra.vlan,
            "the VLAN tag is {:?}, should be {:?}",
            parsed.vlan,
            extra.vlan
        );
        if let Some(worker) = extra.worker {
            ensure!(
                emitted.worker.0 == worker,
                "it left from worker {}",
                emitted.worker
            );
        }
        if let Some(mac) = extra.mac {
            let to = EthHeader::at(frame, 0).map(EthHeader::dst_addr);
            ensure!(to == Some(mac), "it is sent to {to:?}");
        }
        if let Some(name) = &extra.port {
            ensure!(
                emitted.port == port_by_name(around, name)?,
                "it left by another port than {name}"
            );
        }
        match &packet.body {
            Body::Raw(bytes) => {
                ensure!(frame == bytes, "the bytes are {frame:02x?}");
                Ok(())
            }
            Body::Arp {
                request,
                first,
                second,
                to: _,
            } => self.meet_arp(around, packet, emitted, (*request, first, second)),
            Body::Tcp { .. } | Body::Udp { .. } | Body::Icmp { .. } | Body::Proto { .. } => {
                let Kind::Ipv4(v4) = &parsed.kind else {
                    bail!("it is not IPv4");
                };
                self.meet_faces(packet, (v4.src, v4.dst), v4.ports())?;
                meet_header(frame, v4, extra)?;
                self.meet_body(frame, parsed.l3, v4, &packet.body, extra)
            }
        }
    }

    fn meet_arp(
        &self,
        around: &Neighbourhood,
        packet: &Packet,
        emitted: &Emitted,
        (request, first, second): (bool, &str, &str),
    ) -> Result<()> {
        let frame = &emitted.frame;
        let arp = ArpRepr::parse(&frame[l3_offset(frame)..]).context("it is not ARP")?;
        let port = port_by_name(around, &packet.left.face)?;
        ensure!(emitted.port == port, "it left by another port");
        ensure!(
            (arp.op == ARP_REQUEST) == request,
            "the operation is {}",
            arp.op
        );
        let asked = self.faces.address(first)?;
        if request {
            ensure!(arp.target_ip == asked, "it asks for {}", arp.target_ip);
            let asks = self.faces.address(second)?;
            ensure!(arp.sender_ip == asks, "it is {} that asks", arp.sender_ip);
            return Ok(());
        }
        ensure!(arp.sender_ip == asked, "it speaks for {}", arp.sender_ip);
        let link = around
            .links()
            .iter()
            .find(|link| link.name == second)
            .with_context(|| format!("there is no port `{second}`"))?;
        ensure!(arp.sender_mac == link.mac, "it says {}", arp.sender_mac);
        let to = EthHeader::at(frame, 0).map(EthHeader::dst_addr);
        ensure!(to == Some(arp.target_mac), "it is not sent to who asked");
        Ok(())
    }

    fn meet_faces(
        &mut self,
        packet: &Packet,
        (src, dst): (std::net::Ipv4Addr, std::net::Ipv4Addr),
        ports: Option<(u16, u16)>,
    ) -> Result<()> {
        let right = packet.right.as_ref().context("a packet has two faces")?;
        let (from, to) = if packet.rightward {
            (&packet.left, right)
        } else {
            (right, &packet.left)
        };
        for (what, who, got) in [("source", from, src), ("destination", to, dst)] {
            let want = self.faces.address(&who.face)?;
            ensure!(
                got == want,
                "the {what} is {got}, should be {} = {want}",
                who.face
            );
        }
        let has_ports = matches!(packet.body, Body::Tcp { .. } | Body::Udp { .. });
        let Some((src_port, dst_port)) = ports.filter(|_| has_ports) else {
            return Ok(());
        };
        let mut meet = |what: &str, who: &Who, got: u16| {
            let value = self.faces.port(who);
            self.names.meet(what, &value, u32::from(got))
        };
        meet("the source port", from, src_port)?;
        meet("the destination port", to, dst_port)
    }

    fn meet_body(
        &mut self,
        frame: &[u8],
        l3: u16,
        v4: &V4,
        body: &Body,
        extra: &Extra,
    ) -> Result<()> {
        ensure!(
            v4.protocol == protocol(body),
            "the protocol is {}",
            v4.protocol
        );
        let payload = v4.payload(frame, l3).context("the packet is not whole")?;
        match (body, &v4.l4_kind) {
            (
                Body::Tcp {
                    flags,
                    seq,
                    len,
                    ack,
                    win,
                    options,
                },
                L4::Tcp(tcp),
            ) => {
                ensure!(tcp.flags == *flags, "the flags are {}", tcp.flags);
                self.names.meet("seq", seq, tcp.seq.0)?;
                match ack {
                    Some(ack) => self.names.meet("ack", ack, tcp.ack.0)?,
                    None => ensure!(tcp.ack.0 == 0, "ack is {} without its flag", tcp.ack),
                }
                if let Some(win) = win {
                    ensure!(tcp.window == *win, "win is {}, should be {win}", tcp.window);
                }
                let found = v4.tcp_options(frame).unwrap_or_default();
                options.meet(found, &mut self.names, &self.faces)?;
                let got = &payload[usize::from(tcp.header_len)..];
                meet_payload(got, *len, extra)
            }
            (Body::Udp { len }, L4::Udp { .. }) => {
                let head = UdpHeader::at(payload, 0).context("the header is not whole")?;
                meet_sum(extra, head.checksum.get())?;
                meet_payload(&payload[UdpHeader::LEN..], *len, extra)
            }
            (
                Body::Icmp {
                    kind,
                    code,
                    echo,
                    mtu,
                    len,
                    quote,
                },
                L4::Icmp { .. },
            ) => {
                let head = IcmpHeader::at(payload, 0).context("the header is not whole")?;
                ensure!(
                    (head.kind, head.code) == (*kind, *code),
                    "type and code are {} and {}",
                    head.kind,
                    head.code
                );
                if let Some((id, seq)) = echo {
                    ensure!(
                        (head.echo_ident(), head.echo_seq()) == (*id, *seq),
                        "id and seq are {} and {}",
                        head.echo_ident(),
                        head.echo_seq()
                    );
                } else {
                    ensure!(
                        head.next_hop_mtu() == *mtu,
                        "mtu is {}",
                        head.next_hop_mtu()
                    );
                }
                let rest = &payload[IcmpHeader::LEN..];
                match quote {
                    Some(quoted) => self.meet_quote(quoted, rest).context("the quoted packet"),
                    None => meet_payload(rest, *len, extra),
                }
            }
            (Body::Proto { len, .. }, L4::Other(_)) => meet_payload(payload, *len, extra),
            _ => bail!("it is something else"),
        }
    }

    /// Compares a quoted packet with what the end point that gets the error had sent.
    fn meet_quote(&mut self, packet: &Packet, bytes: &[u8]) -> Result<()> {
        let quoted = parse_embedded_v4(bytes)?;
        let ip = Ipv4Header::at(bytes, 0).context("the header is not whole")?;
        ensure!(
            Sum::of(&bytes[..ip.header_len()]).is_valid(),
            "the IPv4 header checksum is wrong"
        );
        ensure!(
            quoted.protocol == protocol(&packet.body),
            "the protocol is {}",
            quoted.protocol
        );
        self.meet_faces(packet, (quoted.src, quoted.dst), quoted.ports())?;
        if let Some(ttl) = packet.extra.ttl {
            ensure!(ip.ttl == ttl, "the TTL is {}", ip.ttl);
        }
        if let Some(id) = packet.extra.id {
            ensure!(ip.id.get() == id, "the identification is {}", ip.id);
        }
        if let Some(total) = packet.extra.total {
            ensure!(
                quoted.total_len == total,
                "the total length is {}",
                quoted.total_len
            );
        }
        if let Some(cut) = packet.extra.cut {
            ensure!(bytes.len() == cut, "{} bytes are quoted", bytes.len());
        }
        let l4 = usize::from(quoted.l4);
        if let (Body::Tcp { seq, ack, .. }, EmbeddedL4::Tcp { seq: got, .. }) =
            (&packet.body, quoted.l4_kind)
        {
            self.names.meet("seq", seq, got.0)?;
            if let (Some(ack), Some(tcp)) = (ack, TcpHeader::at(bytes, l4)) {
                self.names.meet("ack", ack, tcp.ack.get())?;
            }
        }
        if usize::from(quoted.total_len) == bytes.len() {
            let mut frame = vec![0; EthHeader::LEN];
            frame[12] = 8;
            frame.extend_from_slice(bytes);
            verify_frame(&frame).context("it is quoted whole")?;
        }
        Ok(())
    }
}

fn meet_header(frame: &[u8], v4: &V4, extra: &Extra) -> Result<()> {
    let ip = Ipv4Header::at(frame, l3_offset(frame)).context("the header is not whole")?;
    if let Some(ttl) = extra.ttl {
        ensure!(ip.ttl == ttl, "the TTL is {}, should be {ttl}", ip.ttl);
    }
    if let Some(tos) = extra.tos {
        ensure!(ip.tos == tos, "the TOS is {}, should be {tos}", ip.tos);
    }
    if let Some(id) = extra.id {
        ensure!(
            ip.id.get() == id,
            "the identification is {}, should be {id}",
            ip.id
        );
    }
    if let Some(df) = extra.df {
        ensure!(ip.dont_fragment() == df, "DF is {}", ip.dont_fragment());
    }
    if let Some(total) = extra.total {
        ensure!(
            v4.total_len == total,
            "the total length is {}",
            v4.total_len
        );
    }
    Ok(())
}

fn meet_sum(extra: &Extra, got: u16) -> Result<()> {
    match extra.sum.as_deref() {
        // Without a word about it a datagram has a checksum, which the world has verified.
        None => ensure!(got != 0, "there is no checksum"),
        Some("none") => ensure!(got == 0, "there is a checksum: {got:#06x}"),
        Some(text) => {
            let want = number(text)?;
            ensure!(
                u32::from(got) == want,
                "the checksum is {got:#06x}, should be {text}"
            );
        }
    }
    Ok(())
}

fn meet_payload(got: &[u8], len: u16, extra: &Extra) -> Result<()> {
    ensure!(
        got.len() == usize::from(len),
        "the payload has {} bytes, should have {len}",
        got.len()
    );
    ensure!(got == extra.payload(len)?, "the payload was changed");
    Ok(())
}
