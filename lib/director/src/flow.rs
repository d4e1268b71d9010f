//! Packets of TCP and UDP: those of a session are tracked, translated and sent on.

use nat_engine::{
    Direction, OptionPolicy, Session, SessionId, State, Step, ToaOutcome, insert_toa,
    synthetic_ack, track, translate_fragment, translate_tcp, translate_udp,
};
use synproxy_engine::Checked;
use weir_model::{Counter, DropReason, Now, Verdict};
use weir_wire::{Header, KindSet, L4, OptionSummary, Tcp, TcpFlags, TcpHeader, Timestamps, V4};

use crate::director::millis;
use crate::emit::{Frame, tcp_frame};
use crate::found::Found;
use crate::plan::Owned;
use crate::route::Hop;
use crate::{Director, Packet};

/// Of ACKs that both ends answer each other for ever, one in this time passes.
pub(crate) const STORM_PAUSE_MS: u32 = 1_000;

/// What becomes of a SYN of a client that has a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionSyn {
    /// It opens a session in the old one's place.
    Replaces,
    /// A cookie answers it, and decides later about the old session.
    Cookie,
    /// The client is asked whether it still has the old session.
    Challenged,
    /// It repeats what was answered long ago.
    Absorbed,
    /// It goes to the real server as a segment of the session.
    Passed,
}

impl Director {
    /// Walks a TCP or UDP packet to one of our addresses, which belongs to `session`.
    pub(crate) fn flow(
        &mut self,
        now: Now,
        packet: &mut Packet<'_>,
        found: &Found,
        session: Option<(SessionId, Direction)>,
    ) -> Verdict {
        let Some((id, direction)) = session else {
            return match found.to {
                Owned::Vip => self.open(now, packet, found),
                Owned::Lip { .. } => Verdict::Drop(DropReason::NoSession),
            };
        };
        self.complete_checksum(packet, found.l3, &found.v4);
        match &found.v4.l4_kind {
            L4::Tcp(tcp) => self.tcp(now, packet, found, tcp, id, direction),
            L4::Udp { .. } => self.udp(now, packet, found, id, direction),
            L4::Icmp { .. } | L4::NonFirstFragment | L4::Other(_) => {
                Verdict::Drop(DropReason::UnknownProtocol)
            }
        }
    }

    /// Walks a segment of a session.
    pub(crate) fn tcp(
        &mut self,
        now: Now,
        packet: &mut Packet<'_>,
        found: &Found,
        tcp: &Tcp,
        id: SessionId,
        direction: Direction,
    ) -> Verdict {
        if direction == Direction::Inbound {
            let service = self.table.get(id).map(|session| session.service);
            if let Some(service) = service
                && let Some(reason) = self.unwelcome_segment(now, &found.v4, tcp, service)
            {
                return Verdict::Drop(reason);
            }
            if tcp.opens() {
                if let Some(verdict) = self.syn_of_session(now, packet, found, tcp, id) {
                    return verdict;
                }
            } else if let Some(verdict) = self.ack_of_session(now, packet, found, tcp, id) {
                return verdict;
            }
        }
        self.segment(now, packet, found, tcp, id, direction)
    }

    /// Tracks, translates and sends on a segment that belongs to a session.
    pub(crate) fn segment(
        &mut self,
        now: Now,
        packet: &mut Packet<'_>,
        found: &Found,
        tcp: &Tcp,
        id: SessionId,
        direction: Direction,
    ) -> Verdict {
        let &Found { l3, ref v4, .. } = found;
        let Some(session) = self.table.get(id) else {
            return Verdict::Drop(DropReason::NoSession);
        };
        let (_, _, destination, _) = session.outgoing(direction);
        let kept = direction == Direction::Outbound || self.keeps_lip(session);
        let Some(service) = self.plan.service(session.service).filter(|_| kept) else {
            self.reset(now, id);
            return Verdict::Drop(DropReason::StaleSession);
        };
        if let Some(session) = self.table.get_mut(id)
            && session.is_storm(direction, tcp, service.ack_storm)
            && millis(now).wrapping_sub(session.last_seen) < STORM_PAUSE_MS
        {
            return Verdict::Drop(DropReason::AckStorm);
        }
        let options = match v4.tcp_options(packet.frame.bytes()) {
            Some(bytes) if !bytes.is_empty() => OptionSummary::new(bytes, &service.forbidden),
            Some(_) | None => OptionSummary {
                well_formed: true,
                ..OptionSummary::default()
            },
        };
        if options.repeated {
            // One of the two would go on untranslated.
            return Verdict::Drop(DropReason::Malformed);
        }
        let hop = match self.way(now, packet, l3, v4, destination) {
            Ok(hop) => hop,
            Err(verdict) => return verdict,
        };
        let Some(session) = self.table.get_mut(id) else {
            return Verdict::Drop(DropReason::NoSession);
        };
        let before = session.state;
        let step = track(session, direction, tcp, &options);
        let after = session.state;
        if step != Step::Refuse {
            // What was reset is remembered for a time, not as long as someone goes on about it.
            session.last_seen = millis(now);
        }
        if before != after && step != Step::Accepted {
            let moved = (direction, before, after);
            if moved == (Direction::Inbound, State::SynSent, State::Close) {
                // Its client has taken it back: the real server need not answer any more.
                self.traffic.not_asked(session.real_id);
            }
            self.moved(now, id, before, after);
        }
        match step {
            Step::Pass => {}
            Step::Accepted => {
                self.complete(now, packet, v4, tcp, &options, id);
                return Verdict::Drop(DropReason::Absorbed);
            }
            Step::Repeated => {
                self.acknowledge_again(now, packet, v4, id);
                return Verdict::Drop(DropReason::Absorbed);
            }
            Step::Absorbed => return Verdict::Drop(DropReason::Absorbed),
            Step::Challenged => {
                self.count(Counter::ChallengeAck);
                self.answer_challenge(now, id, tcp.ack);
                return Verdict::Drop(DropReason::Absorbed);
            }
            Step::Refuse => {
                // What overtakes the ACK that brings a cookie belongs to a connection to come.
                let session = self.table.get(id).copied();
                let another = direction == Direction::Inbound
                    && session.is_some_and(|session| session.may_be_another(tcp))
                    && session.is_some_and(|session| self.may_be_cookie(session.service, tcp));
                if !another && self.refuse_rate.allow(millis(now)) {
                    self.refuse_segment(packet, v4, tcp);
                }
                return Verdict::Drop(DropReason::NoSession);
            }
        }
        self.pass_on(now, packet, found, (id, direction), &options, hop)
    }

    /// Translates and sends on a segment that was tracked.
    pub(crate) fn pass_on(
        &mut self,
        now: Now,
        packet: &mut Packet<'_>,
        found: &Found,
        whose: (SessionId, Direction),
        options: &OptionSummary,
        hop: Hop,
    ) -> Verdict {
        if !self.translate_segment(now, packet, found, whose, options, hop) {
            return Verdict::Drop(DropReason::Malformed);
        }
        self.send_on(now, packet, found.l3, hop)
    }

    /// Walks a SYN of a client that has a session. Nothing when it goes on as a segment of it.
    fn syn_of_session(
        &mut self,
        now: Now,
        packet: &mut Packet<'_>,
        found: &Found,
        tcp: &Tcp,
        id: SessionId,
    ) -> Option<Verdict> {
        let session = self.table.get(id)?;
        let service = session.service;
        match self.syn_becomes(session, tcp) {
            SessionSyn::Replaces => {
                self.replace(now, id);
                Some(self.open(now, packet, found))
            }
            SessionSyn::Cookie => self.meet_syn(now, packet, found, tcp, service),
            SessionSyn::Challenged => {
                self.note_syn(now, packet, &found.v4, service);
                self.challenge_client(now, packet, id);
                Some(Verdict::Drop(DropReason::Absorbed))
            }
            SessionSyn::Absorbed => {
                self.note_syn(now, packet, &found.v4, service);
                Some(Verdict::Drop(DropReason::Absorbed))
            }
            SessionSyn::Passed => {
                self.note_syn(now, packet, &found.v4, service);
                None
            }
        }
    }

    /// Decides about a SYN of a client that has a session.
    pub(crate) fn syn_becomes(&self, session: &Session, tcp: &Tcp) -> SessionSyn {
        let is_new = session.is_new_syn(tcp);
        // A handshake that was passed on is completed as it began, flood or not.
        let in_flight = session.state.is_half_open() && !is_new && !session.waits();
        let sends_cookies = !in_flight && self.sends_cookies(session.service);
        if sends_cookies && self.gives_way(session) {
            SessionSyn::Cookie
        } else if session.waits() {
            // Its client has proven itself a moment ago: this is its SYN from long ago, or a guess.
            SessionSyn::Absorbed
        } else if is_new {
            SessionSyn::Replaces
        } else if sends_cookies {
            // No real server sees a SYN that nobody has proven.
            SessionSyn::Challenged
        } else {
            SessionSyn::Passed
        }
    }

    /// Says whether a session gives way to a new handshake that a cookie has proven: one that is over
    /// or that nobody has proven does, whatever `connection-reuse` says of the others.
    pub(crate) fn gives_way(&self, session: &Session) -> bool {
        let unproven = session.state.is_half_open() && !session.waits();
        let plan = self.plan.service(session.service);
        session.state.is_closed() || unproven || plan.is_some_and(|plan| plan.connection_reuse)
    }

    /// Walks any other segment of a client that has a session: it may be the first of another
    /// handshake, or come before the real server has answered. Nothing when it is neither.
    fn ack_of_session(
        &mut self,
        now: Now,
        packet: &mut Packet<'_>,
        found: &Found,
        tcp: &Tcp,
        id: SessionId,
    ) -> Option<Verdict> {
        let session = self.table.get(id)?;
        let service = session.service;
        if session.may_be_another(tcp)
            && self.may_be_cookie(service, tcp)
            && self.gives_way(session)
            && !self.synproxy.waitings.is_full()
            && let Checked::Valid(client) = self.check_cookie(service, found, tcp)
        {
            if self.defers(service, tcp) {
                return Some(Verdict::Drop(DropReason::Deferred));
            }
            self.replace(now, id);
            return Some(self.open_proxied(now, packet, found, tcp, service, client));
        }
        let session = self.table.get(id)?;
        let unanswered = session.waits() && session.state == State::SynSent;
        let resets = tcp.flags.contains(TcpFlags::RST) && !tcp.flags.contains(TcpFlags::SYN);
        if unanswered {
            let ends = resets && tcp.seq == session.client_end;
            return Some(if ends {
                self.abandon(now, id)
            } else {
                self.hold_early(now, packet, &found.v4, tcp, id)
            });
        }
        let adds = tcp.payload_len > 0 || tcp.flags.contains(TcpFlags::FIN);
        let held = session.waits() && !tcp.flags.contains(TcpFlags::RST) && adds;
        held.then(|| self.hold_early(now, packet, &found.v4, tcp, id))
    }

    /// Translates a segment in place and adds the client's address where it is wanted.
    fn translate_segment(
        &mut self,
        now: Now,
        packet: &mut Packet<'_>,
        &Found { l3, ref v4, .. }: &Found,
        (id, direction): (SessionId, Direction),
        options: &OptionSummary,
        hop: Hop,
    ) -> bool {
        let arrived_mtu = self.plan.port(packet.port).map_or(0, |port| port.facts.mtu);
        let leaves_mtu = self.plan.port(hop.port).map_or(0, |port| port.facts.mtu);
        let Some(session) = self.table.get_mut(id) else {
            return false;
        };
        let Some(service) = self.plan.service(session.service) else {
            return false;
        };
        let overhead = match direction {
            // What answers a SYN of the client is sent to the client as it is.
            Direction::Inbound => 0,
            Direction::Outbound => service.overhead(),
        };
        let policy = OptionPolicy {
            mss_limit: service
                .mss_adjust
                .then(|| arrived_mtu.saturating_sub(40 + overhead)),
            strip_timestamps: service.strip_timestamps,
        };
        let frame = &mut packet.frame;
        let Some(changed) = translate_tcp(frame, l3, v4, session, direction, options, policy)
        else {
            return false;
        };
        if changed.mss_clamped {
            self.counters.count(Counter::MssClamped);
        }
        if changed.forged_toa {
            self.counters.count(Counter::ToaForged);
        }
        self.traffic.packet(session, direction, v4.total_len);
        let (Direction::Inbound, Some(kind)) = (direction, service.toa_kind) else {
            return true;
        };
        // Each packet of a super-frame gets the option, and only their longest must fit.
        let room = leaves_mtu.saturating_add(packet.surplus(v4));
        match insert_toa(&mut packet.frame, l3, v4, session, kind, room) {
            ToaOutcome::Inserted => self.counters.count(Counter::ToaInserted),
            ToaOutcome::NotWanted => {}
            ToaOutcome::NoRoom => self.send_toa_ahead(now, packet, v4, id, kind, options),
        }
        true
    }

    /// Sends an ACK that carries the client's address ahead of a segment without room for it.
    pub(crate) fn send_toa_ahead(
        &mut self,
        now: Now,
        packet: &Packet<'_>,
        v4: &V4,
        id: SessionId,
        kind: u8,
        options: &OptionSummary,
    ) {
        let Some(session) = self.table.get(id) else {
            return;
        };
        let Some(segment) = packet.frame.bytes().get(v4.l4 as usize..) else {
            return;
        };
        let timestamps = timestamps_in(packet, v4, options);
        let Some(ack) = synthetic_ack(segment, timestamps, session, kind) else {
            return;
        };
        let (src, dst) = (session.lip, session.real);
        self.count(Counter::ToaSynthetic);
        let mut frame = Frame::new();
        if tcp_frame(&mut frame, src, dst, &ack).is_some() {
            self.originate(now, dst, &mut frame);
        }
    }

    /// Says whether the session's LIP is still Weir's, so that the real server's answers come here.
    pub(crate) fn keeps_lip(&self, session: &Session) -> bool {
        self.plan.lip(session.lip_id) == Some(session.lip)
    }

    /// Walks a datagram of a session.
    pub(crate) fn udp(
        &mut self,
        now: Now,
        packet: &mut Packet<'_>,
        found: &Found,
        id: SessionId,
        direction: Direction,
    ) -> Verdict {
        let &Found { l3, ref v4, .. } = found;
        let Some(session) = self.table.get(id) else {
            return Verdict::Drop(DropReason::NoSession);
        };
        let (_, _, destination, _) = session.outgoing(direction);
        let kept = direction == Direction::Outbound || self.keeps_lip(session);
        if !kept || self.plan.service(session.service).is_none() {
            self.reset(now, id);
            return Verdict::Drop(DropReason::StaleSession);
        }
        let hop = match self.way(now, packet, l3, v4, destination) {
            Ok(hop) => hop,
            Err(verdict) => return verdict,
        };
        let Some(session) = self.table.get_mut(id) else {
            return Verdict::Drop(DropReason::NoSession);
        };
        session.last_seen = millis(now);
        if direction == Direction::Outbound && session.state == State::OneWay {
            session.state = State::Flowing;
            self.moved(now, id, State::OneWay, State::Flowing);
        }
        let Some(session) = self.table.get(id) else {
            return Verdict::Drop(DropReason::NoSession);
        };
        let frame = &mut packet.frame;
        let translated = match v4.l4_kind {
            L4::NonFirstFragment => translate_fragment(frame, l3, session, direction),
            L4::Udp { .. } | L4::Tcp(_) | L4::Icmp { .. } | L4::Other(_) => {
                translate_udp(frame, l3, v4, session, direction)
            }
        };
        if translated.is_none() {
            return Verdict::Drop(DropReason::Malformed);
        }
        self.traffic.packet(session, direction, v4.total_len);
        self.send_on(now, packet, l3, hop)
    }

    #[cfg(any(test, feature = "panic-hook"))]
    pub(crate) fn panic_if_marked(&self, packet: &Packet<'_>) {
        let Some(marker) = self.panic_on else { return };
        let mut windows = packet.frame.bytes().windows(marker.len());
        assert!(
            !windows.any(|bytes| bytes == marker),
            "the packet is marked to fail"
        );
    }
}

/// Reads the timestamps of a segment; none where it has none.
pub(crate) fn timestamps_of(packet: &Packet<'_>, v4: &V4) -> Option<Timestamps> {
    let bytes = packet.frame.bytes();
    let options = OptionSummary::new(v4.tcp_options(bytes)?, &KindSet::EMPTY);
    timestamps_in(packet, v4, &options)
}

/// Reads the timestamps of a segment whose options were looked through already.
pub(crate) fn timestamps_in(
    packet: &Packet<'_>,
    v4: &V4,
    options: &OptionSummary,
) -> Option<Timestamps> {
    timestamps_at(packet, v4, options.timestamps?)
}

/// Reads the timestamps of a segment whose option stands at `offset` of its options.
#[inline]
pub(crate) fn timestamps_at(packet: &Packet<'_>, v4: &V4, offset: u8) -> Option<Timestamps> {
    let segment = packet.frame.bytes().get(v4.l4 as usize..)?;
    let at = TcpHeader::LEN + offset as usize + 2;
    let (tsval, rest) = segment.get(at..)?.split_first_chunk::<4>()?;
    let tsecr = rest.first_chunk::<4>()?;
    Some(Timestamps {
        tsval: u32::from_be_bytes(*tsval),
        tsecr: u32::from_be_bytes(*tsecr),
    })
}
