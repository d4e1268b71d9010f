//! Frames that Weir itself sends: refusals, resets, the SYN again, ICMP errors.

use core::net::Ipv4Addr;

use nat_engine::{Direction, Session, SessionFlags, SessionId};
use weir_model::{Counter, DropReason, Event, Now, PortId, ServiceId, Verdict};
use weir_wire::icmp::is_error;
use weir_wire::{
    ETHERTYPE_IPV4, EthAddr, EthHeader, Header, IcmpCode, IcmpErrorRepr, IcmpKind, Ipv4Header,
    Ipv4Repr, L4, Protocol, SeqNumber, Tcp, TcpFlags, TcpRepr, V4, fill_checksums,
};

use crate::director::millis;
use crate::neighbours::Resolved;
use crate::outbox::MAX_ORIGINATED;
use crate::{Director, Notice, Packet};

/// The time to live of what Weir sends.
pub(crate) const TTL: u8 = 64;

/// A frame under construction, with room for its Ethernet header in front.
pub(crate) struct Frame {
    bytes: [u8; MAX_ORIGINATED],
    len: usize,
}

impl Frame {
    const IP: usize = EthHeader::LEN;

    pub(crate) const fn new() -> Self {
        Self {
            bytes: [0; MAX_ORIGINATED],
            len: 0,
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Writes the IPv4 header and returns the place for what follows it.
    fn ipv4(&mut self, repr: &Ipv4Repr) -> Option<&mut [u8]> {
        let payload = repr.payload_len as usize;
        let l4 = Self::IP + Ipv4Header::LEN;
        self.len = l4 + payload;
        EthHeader::new(EthAddr([0; 6]), EthAddr([0; 6]), ETHERTYPE_IPV4).put(&mut self.bytes, 0)?;
        repr.emit(self.bytes.get_mut(Self::IP..)?)?;
        self.bytes.get_mut(l4..l4 + payload)
    }

    /// Puts the Ethernet addresses on.
    pub(crate) fn address(&mut self, src: EthAddr, dst: EthAddr) {
        if let Some(eth) = EthHeader::at_mut(&mut self.bytes, 0) {
            eth.src = src.0;
            eth.dst = dst.0;
        }
    }
}

/// Makes a TCP segment without payload.
pub(crate) fn tcp_frame(
    frame: &mut Frame,
    src: Ipv4Addr,
    dst: Ipv4Addr,
    repr: &TcpRepr,
) -> Option<()> {
    let ip = Ipv4Repr {
        src,
        dst,
        protocol: Protocol::TCP,
        ttl: TTL,
        tos: 0,
        ident: 0,
        dont_fragment: true,
        payload_len: repr.buffer_len() as u16,
    };
    repr.emit(frame.ipv4(&ip)?)?;
    let len = frame.len;
    fill_checksums(frame.bytes.get_mut(..len)?)
}

impl Director {
    /// Sends a frame of our own by the routes, or keeps it until its next hop is known.
    pub(crate) fn originate(&mut self, now: Now, dst: Ipv4Addr, frame: &mut Frame) {
        self.ledger.originated += 1;
        let hop = self.plan.routes.to(dst);
        let port = hop.and_then(|hop| self.plan.port(hop.port));
        let (Some(hop), Some(source)) = (hop, port.map(crate::plan::PortPlan::mac)) else {
            self.ledger.drop(DropReason::NoRoute);
            return;
        };
        frame.address(source, EthAddr([0; 6]));
        let now_ms = millis(now);
        match self.neighbours.resolve(now_ms, hop.port, hop.neighbour) {
            Resolved::Known(mac) => {
                frame.address(source, mac);
                self.post(hop.port, frame.bytes());
                return;
            }
            Resolved::Ask => self.ask(hop.port, hop.neighbour, None),
            Resolved::Wait => {}
            Resolved::TooMany => {
                self.ledger.drop(DropReason::Unresolved);
                return;
            }
        }
        if self
            .neighbours
            .hold(now_ms, hop.port, hop.neighbour, frame.bytes())
        {
            self.ledger.held += 1;
        } else {
            self.ledger.drop(DropReason::Unresolved);
        }
    }

    /// Sends a frame of our own back to where a packet came from, without asking for an address.
    pub(crate) fn answer(&mut self, packet: &Packet<'_>, frame: &mut Frame) {
        self.ledger.originated += 1;
        let eth = EthHeader::at(packet.frame.bytes(), 0);
        let port = self.plan.port(packet.port);
        let (Some(eth), Some(port)) = (eth, port) else {
            self.ledger.drop(DropReason::NoRoute);
            return;
        };
        frame.address(port.mac(), eth.src_addr());
        self.post(packet.port, frame.bytes());
    }

    /// Puts a complete frame of our own, already counted as originated, into the outbox.
    pub(crate) fn post(&mut self, port: PortId, frame: &[u8]) {
        if self.outbox.push(port, frame) {
            self.ledger.held += 1;
        } else {
            self.ledger.drop(DropReason::OutboxFull);
        }
    }

    /// Refuses a packet that would have opened a session: a client of TCP is told at once
    /// (RFC 9293 section 3.10.7.1), control of one in a second.
    pub(crate) fn refuse(
        &mut self,
        now: Now,
        packet: &Packet<'_>,
        v4: &V4,
        service: ServiceId,
        reason: DropReason,
    ) -> Verdict {
        if let Some(count) = self.traffic.refused(service, millis(now)) {
            let (port, _) = v4.ports().unwrap_or_default();
            self.notify_of_many(Notice::Event(Event::Refused {
                at: now.time,
                service,
                reason,
                client: (v4.src, port).into(),
                count,
            }));
        }
        if let Some(tcp) = v4.tcp() {
            self.answer_with(packet, v4, &reset_for(tcp));
        }
        Verdict::Drop(reason)
    }

    /// Answers a segment that belongs to no session as a host without the connection does, within
    /// the rate of such answers (RFC 9293 section 3.10.7.1).
    pub(crate) fn answer_stray(&mut self, now: Now, packet: &Packet<'_>, v4: &V4, tcp: &Tcp) {
        if !tcp.flags.contains(TcpFlags::RST) && self.bad_ack_rate.allow(millis(now)) {
            self.answer_with(packet, v4, &reset_for(tcp));
        }
    }

    /// Answers a segment of a session that Weir ended, with the number that the segment itself
    /// names (RFC 9293 section 3.10.7.1), so that a challenge ACK ends its sender's side too.
    pub(crate) fn refuse_segment(&mut self, packet: &Packet<'_>, v4: &V4, tcp: &Tcp) {
        let answerable = tcp.flags.contains(TcpFlags::ACK) && !tcp.flags.contains(TcpFlags::RST);
        if !answerable {
            return;
        }
        let repr = TcpRepr {
            src_port: tcp.dst_port,
            dst_port: tcp.src_port,
            seq: tcp.ack,
            flags: TcpFlags::RST,
            ..TcpRepr::default()
        };
        self.answer_with(packet, v4, &repr);
    }

    /// Answers a client's SYN on a living session as its real server would (RFC 5961 section 4): a
    /// client that has forgotten the session resets it.
    pub(crate) fn challenge_client(&mut self, now: Now, packet: &Packet<'_>, id: SessionId) {
        let Some(session) = self.table.get(id).copied() else {
            return;
        };
        // A client that waits for its real server has proven itself a moment ago.
        let lives = !session.state.is_closed() && !session.waits();
        if !lives || !self.refuse_rate.allow(millis(now)) {
            return;
        }
        let (src, src_port, dst, dst_port) = session.outgoing(Direction::Outbound);
        let window = session.real_window >> session.scale_towards_client().min(14);
        let repr = TcpRepr {
            src_port,
            dst_port,
            seq: session.client_ack,
            // Not more than the real server has: what is lost behind here must be sent again.
            ack: session.expected_of_client(),
            flags: TcpFlags::ACK,
            window: u16::try_from(window).unwrap_or(u16::MAX),
            ..TcpRepr::default()
        };
        let mut frame = Frame::new();
        if tcp_frame(&mut frame, src, dst, &repr).is_some() {
            self.answer(packet, &mut frame);
        }
    }

    fn answer_with(&mut self, packet: &Packet<'_>, v4: &V4, repr: &TcpRepr) {
        let to_vip = matches!(self.plan.owned(v4.dst), Some(crate::plan::Owned::Vip));
        self.count(if to_vip {
            Counter::RstToClient
        } else {
            Counter::RstToReal
        });
        let mut frame = Frame::new();
        if tcp_frame(&mut frame, v4.dst, v4.src, repr).is_some() {
            self.answer(packet, &mut frame);
        }
    }

    /// Resets both ends of a session, each with the number that it expects next.
    pub(crate) fn send_resets(&mut self, now: Now, session: &Session) {
        self.send_reset(now, session, Direction::Outbound);
        self.send_reset(now, session, Direction::Inbound);
    }

    /// Resets the end of a session that packets of `direction` go to.
    pub(crate) fn send_reset(&mut self, now: Now, session: &Session, direction: Direction) {
        let (src, src_port, dst, dst_port) = session.outgoing(direction);
        let mut repr = TcpRepr {
            src_port,
            dst_port,
            flags: TcpFlags::RST,
            ..TcpRepr::default()
        };
        match direction {
            Direction::Inbound => {
                self.count(Counter::RstToReal);
                repr.seq = if session.flags.has(SessionFlags::REAL_ACKED) {
                    session.real_ack
                } else {
                    session.isn + 1
                };
            }
            Direction::Outbound => {
                self.count(Counter::RstToClient);
                if session.flags.has(SessionFlags::CLIENT_ACKED) {
                    repr.seq = session.client_ack;
                } else {
                    // A client in SYN-SENT believes the acknowledgement, one behind it the number.
                    repr.seq = session.outbound_seq.apply(session.real_end);
                    repr.ack = session.client_end;
                    repr.flags = TcpFlags::RST | TcpFlags::ACK;
                }
            }
        }
        let mut frame = Frame::new();
        if tcp_frame(&mut frame, src, dst, &repr).is_some() {
            self.originate(now, dst, &mut frame);
        }
    }

    /// Answers a real server that still knows an older connection of the same LIP:port: a RST with
    /// the number that its challenge ACK asks for (RFC 5961 section 4), and the SYN again.
    pub(crate) fn answer_challenge(&mut self, now: Now, id: SessionId, asked: SeqNumber) {
        let Some(session) = self.table.get(id).copied() else {
            return;
        };
        let (src_port, dst_port) = (session.lip_port, session.real_port);
        let reset = TcpRepr {
            src_port,
            dst_port,
            seq: asked,
            flags: TcpFlags::RST,
            ..TcpRepr::default()
        };
        self.count(Counter::RstToReal);
        let mut frame = Frame::new();
        if tcp_frame(&mut frame, session.lip, session.real, &reset).is_some() {
            self.originate(now, session.real, &mut frame);
        }
        self.send_syn(now, id);
    }

    /// Tells the sender of a packet why it did not go on, within the rate limit and never about an
    /// ICMP error or a fragment behind the first one (RFC 1812 section 4.3.2.7).
    #[expect(
        clippy::too_many_arguments,
        reason = "the three fields of the message, by value"
    )]
    pub(crate) fn send_icmp_error(
        &mut self,
        now: Now,
        packet: &Packet<'_>,
        l3: u16,
        v4: &V4,
        kind: u8,
        code: u8,
        mtu: u16,
    ) {
        match v4.l4_kind {
            L4::Icmp { kind, .. } if is_error(kind) => return,
            L4::NonFirstFragment => return,
            L4::Tcp(_) | L4::Udp { .. } | L4::Icmp { .. } | L4::Other(_) => {}
        }
        let of_host = (kind, code) == (IcmpKind::UNREACHABLE, IcmpCode::UNREACHABLE_PORT);
        let rate = if of_host {
            &mut self.closed_rate
        } else {
            &mut self.icmp_rate
        };
        if !rate.allow(millis(now)) {
            return;
        }
        // Who listens at a port speaks for itself, and no router for it.
        let of_port = self.plan.port(packet.port).and_then(|port| port.address);
        let from = of_port.filter(|_| !of_host).unwrap_or(v4.dst);
        let end = l3 as usize + v4.total_len as usize;
        let quoted = packet
            .frame
            .bytes()
            .get(l3 as usize..end)
            .unwrap_or_default();
        let error = IcmpErrorRepr {
            kind,
            code,
            mtu,
            quoted,
        };
        let ip = Ipv4Repr {
            src: from,
            dst: v4.src,
            protocol: Protocol::ICMP,
            ttl: TTL,
            tos: 0,
            ident: 0,
            dont_fragment: false,
            payload_len: error.buffer_len() as u16,
        };
        let mut frame = Frame::new();
        let Some(payload) = frame.ipv4(&ip) else {
            return;
        };
        if error.emit(payload).is_none() {
            return;
        }
        self.count(Counter::IcmpSent);
        self.answer(packet, &mut frame);
    }
}

/// Makes the RST that a segment without a connection is answered with.
fn reset_for(tcp: &Tcp) -> TcpRepr {
    let acks = tcp.flags.contains(TcpFlags::ACK);
    TcpRepr {
        src_port: tcp.dst_port,
        dst_port: tcp.src_port,
        seq: if acks { tcp.ack } else { SeqNumber(0) },
        ack: if acks { SeqNumber(0) } else { tcp.end() },
        flags: if acks {
            TcpFlags::RST
        } else {
            TcpFlags::RST | TcpFlags::ACK
        },
        ..TcpRepr::default()
    }
}
