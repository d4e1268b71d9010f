//! The short way of a segment that is not steady, but what both ends of an open session send each
//! other: the handshake's last ACK, segments that get the client's address, and FINs.
//!
//! As on the way of a steady segment, nothing is changed when an answer sends it the long way.

use nat_engine::{
    Direction, SessionFlags, SessionId, SteadyOptions, ToaOutcome, insert_toa, pass_steady,
};
use weir_model::{Counter, DropReason, Now, Verdict};
use weir_wire::{EthHeader, Header, OptionSummary, Tcp, V4};

use crate::director::millis;
use crate::flow::STORM_PAUSE_MS;
use crate::found::Found;
use crate::{Director, Packet};

impl Director {
    /// Walks a segment of a session. Nothing when it has to go the long way.
    pub(crate) fn regular(
        &mut self,
        now: Now,
        packet: &mut Packet<'_>,
        found: &Found,
        tcp: &Tcp,
        id: SessionId,
        direction: Direction,
    ) -> Option<Verdict> {
        let v4 = &found.v4;
        let plain = found.l3 == V4::PLAIN_L3 && v4.l4 == V4::PLAIN_L4 && v4.fragment.is_none();
        let session = self.table.get_mut(id)?;
        if !plain || !session.is_regular(tcp) {
            return None;
        }
        let options = SteadyOptions::of(packet.frame.bytes(), tcp)?;
        let service = self.plan.service(session.service)?;
        if direction == Direction::Inbound {
            let keeps_lip = self.plan.lip(session.lip_id) == Some(session.lip);
            if !keeps_lip || session.may_be_another(tcp) {
                return None;
            }
        }
        let (_, _, destination, _) = session.outgoing(direction);
        let hop = self.plan.routes.to(destination)?;
        let port = self.plan.port(hop.port)?;
        if v4.ttl <= 1 || v4.total_len > port.facts.mtu {
            return None;
        }
        let now_ms = millis(now);
        let mac = self.neighbours.trusted(now_ms, hop.port, hop.neighbour)?;
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
        let after = session.state;
        self.traffic.packet(session, direction, v4.total_len);
        let Some(eth) = EthHeader::at_mut(bytes, 0) else {
            return malformed;
        };
        eth.src = port.mac().0;
        eth.dst = mac.0;
        if direction == Direction::Inbound
            && session.flags.has(SessionFlags::TOA_WANTED)
            && let Some(kind) = service.toa_kind
        {
            // Each packet of a super-frame gets the option, and only their longest must fit.
            let room = port.facts.mtu.saturating_add(packet.surplus(v4));
            match insert_toa(&mut packet.frame, found.l3, v4, session, kind, room) {
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
        Some(Verdict::Forward(hop.port))
    }
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
