//! The short way of a regular segment, and of a datagram: nine of ten packets take it.
//!
//! Each question of the long way is asked, in an order that leaves nothing changed when the answer
//! sends the packet there.

use core::net::Ipv4Addr;

use nat_engine::{
    Direction, SessionFlags, SessionId, State, SteadyOptions, ToaOutcome, insert_toa, pass_steady,
    translate_udp,
};
use weir_model::{Counter, DropReason, Now, PortId, Verdict};
use weir_wire::{EthAddr, EthHeader, Header, L4, OptionSummary, V4};

use crate::director::millis;
use crate::flow::STORM_PAUSE_MS;
use crate::neighbours::Neighbours;
use crate::plan::Plan;
use crate::{Director, Packet};

impl Director {
    /// Walks a plain frame that belongs to a session. Nothing when it has to go the long way.
    #[inline]
    pub(crate) fn steady(
        &mut self,
        now: Now,
        packet: &mut Packet<'_>,
        id: SessionId,
        direction: Direction,
    ) -> Option<Verdict> {
        if packet.maybe_partial {
            self.complete_plain(packet);
        }
        let v4 = V4::plain_again(packet.frame.bytes())?;
        let L4::Tcp(tcp) = &v4.l4_kind else {
            return None;
        };
        let options = SteadyOptions::of(packet.frame.bytes(), tcp)?;
        let session = self.table.get_mut(id)?;
        if !session.is_regular(tcp) {
            return None;
        }
        let service = self.plan.service(session.service)?;
        if direction == Direction::Inbound {
            let keeps_lip = self.plan.lip(session.lip_id) == Some(session.lip);
            if !keeps_lip || session.may_be_another(tcp) {
                return None;
            }
        }
        let (_, _, destination, _) = session.outgoing(direction);
        let now_ms = millis(now);
        let exit = exit(&self.plan, &mut self.neighbours, now_ms, destination, &v4)?;
        // From here on there is no way back.
        let storm = session.is_storm(direction, tcp, service.ack_storm);
        if storm && now_ms.wrapping_sub(session.last_seen) < STORM_PAUSE_MS {
            return Some(Verdict::Drop(DropReason::AckStorm));
        }
        session.last_seen = now_ms;
        let malformed = Some(Verdict::Drop(DropReason::Malformed));
        // Ethernet padding of a short frame is not worth carrying on.
        let total = V4::PLAIN_L3 as usize + v4.total_len as usize;
        if packet.frame.len() > total && packet.frame.set_len(total).is_none() {
            return malformed;
        }
        let before = session.state;
        let bytes = packet.frame.bytes_mut();
        if pass_steady(bytes, tcp, options, session, direction).is_none() {
            return malformed;
        }
        self.traffic.packet(session, direction, v4.total_len);
        let Some(eth) = EthHeader::at_mut(bytes, 0) else {
            return malformed;
        };
        eth.src = exit.from.0;
        eth.dst = exit.to.0;
        let tells = direction == Direction::Inbound && session.flags.has(SessionFlags::TOA_WANTED);
        if tells || session.state != before {
            let arrived = &V4 { ..v4 };
            self.finish(
                now,
                packet,
                arrived,
                (id, direction),
                before,
                options,
                exit.port,
            );
        }
        Some(Verdict::Forward(exit.port))
    }

    /// Walks a plain datagram that belongs to a session. Nothing when it has to go the long way.
    #[inline]
    pub(crate) fn flowing(
        &mut self,
        now: Now,
        packet: &mut Packet<'_>,
        id: SessionId,
        direction: Direction,
    ) -> Option<Verdict> {
        if packet.maybe_partial {
            self.complete_plain(packet);
        }
        let v4 = V4::plain_again(packet.frame.bytes())?;
        let session = self.table.get_mut(id)?;
        let moves = session.state != State::Flowing
            && (session.state != State::OneWay || direction == Direction::Outbound);
        self.plan.service(session.service)?;
        let kept =
            direction == Direction::Outbound || self.plan.lip(session.lip_id) == Some(session.lip);
        if moves || !kept {
            return None;
        }
        let (_, _, destination, _) = session.outgoing(direction);
        let now_ms = millis(now);
        let exit = exit(&self.plan, &mut self.neighbours, now_ms, destination, &v4)?;
        // From here on there is no way back.
        session.last_seen = now_ms;
        let malformed = Some(Verdict::Drop(DropReason::Malformed));
        // Ethernet padding of a short frame is not worth carrying on.
        let total = V4::PLAIN_L3 as usize + v4.total_len as usize;
        if packet.frame.len() > total && packet.frame.set_len(total).is_none() {
            return malformed;
        }
        let frame = &mut packet.frame;
        if translate_udp(frame, V4::PLAIN_L3, &v4, session, direction).is_none() {
            return malformed;
        }
        self.traffic.packet(session, direction, v4.total_len);
        let Some(eth) = EthHeader::at_mut(packet.frame.bytes_mut(), 0) else {
            return malformed;
        };
        eth.src = exit.from.0;
        eth.dst = exit.to.0;
        Some(Verdict::Forward(exit.port))
    }

    /// Does what is left to be done for a segment that is regular, but not steady: it gets the
    /// client's address where that is wanted, and the session may have moved.
    #[expect(clippy::too_many_arguments, reason = "all that its way has found out")]
    #[inline(never)]
    fn finish(
        &mut self,
        now: Now,
        packet: &mut Packet<'_>,
        v4: &V4,
        (id, direction): (SessionId, Direction),
        before: State,
        options: SteadyOptions,
        leaves: PortId,
    ) {
        let Some(session) = self.table.get(id) else {
            return;
        };
        let after = session.state;
        if direction == Direction::Inbound
            && session.flags.has(SessionFlags::TOA_WANTED)
            && let Some(kind) = self
                .plan
                .service(session.service)
                .and_then(|it| it.toa_kind)
        {
            // Each packet of a super-frame gets the option, and only their longest must fit.
            let mtu = self.plan.port(leaves).map_or(0, |port| port.facts.mtu);
            let room = mtu.saturating_add(packet.surplus(v4));
            match insert_toa(&mut packet.frame, V4::PLAIN_L3, v4, session, kind, room) {
                ToaOutcome::Inserted => self.counters.count(Counter::ToaInserted),
                ToaOutcome::NotWanted => {}
                ToaOutcome::NoRoom => {
                    let summary = summary_of(options);
                    self.send_toa_ahead(now, packet, v4, id, kind, &summary);
                }
            }
        }
        if before != after {
            self.moved(now, id, before, after);
        }
    }
}

/// Where a packet leaves, and between which stations.
struct Exit {
    port: PortId,
    from: EthAddr,
    to: EthAddr,
}

/// Finds where a packet as it arrived leaves to a destination; nothing where that takes more than
/// to send it.
#[inline]
fn exit(
    plan: &Plan,
    neighbours: &mut Neighbours,
    now_ms: u32,
    destination: Ipv4Addr,
    v4: &V4,
) -> Option<Exit> {
    let hop = plan.routes.to(destination)?;
    let port = plan.port(hop.port)?;
    if v4.ttl <= 1 || v4.total_len > port.facts.mtu {
        return None;
    }
    Some(Exit {
        port: hop.port,
        from: port.mac(),
        to: neighbours.trusted(now_ms, hop.port, hop.neighbour)?,
    })
}

/// Says of options what the pass over them would find.
fn summary_of(options: SteadyOptions) -> OptionSummary {
    let timestamps = match options {
        SteadyOptions::None => None,
        // Behind two NOPs.
        SteadyOptions::Timestamps => Some(2),
    };
    OptionSummary {
        timestamps,
        well_formed: true,
        ..OptionSummary::default()
    }
}
