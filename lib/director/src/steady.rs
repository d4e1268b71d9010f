//! The short way of a steady segment: nine of ten packets take it.
//!
//! Each question of the long way is asked, in an order that leaves nothing changed when the answer
//! sends the packet there.

use nat_engine::{Direction, SessionId, SteadyOptions, pass_steady};
use weir_model::{DropReason, Now, Verdict};
use weir_wire::{EthHeader, Header, L4, V4};

use crate::director::millis;
use crate::flow::STORM_PAUSE_MS;
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
        let v4 = V4::plain_again(packet.frame.bytes())?;
        let L4::Tcp(tcp) = &v4.l4_kind else {
            return None;
        };
        let options = SteadyOptions::of(packet.frame.bytes(), tcp)?;
        let session = self.table.get_mut(id)?;
        if !session.is_steady(direction, tcp) {
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
        let hop = self.plan.routes.to(destination)?;
        let port = self.plan.port(hop.port)?;
        if v4.ttl <= 1 || v4.total_len > port.facts.mtu {
            return None;
        }
        let now_ms = millis(now);
        let mac = self.neighbours.trusted(now_ms, hop.port, hop.neighbour)?;
        // From here on there is no way back.
        let source = port.mac();
        let storm = session.is_storm(direction, tcp, service.ack_storm);
        if storm && now_ms.wrapping_sub(session.last_seen) < STORM_PAUSE_MS {
            return Some(Verdict::Drop(DropReason::AckStorm));
        }
        session.last_seen = now_ms;
        if packet.maybe_partial {
            self.complete_checksum(packet, V4::PLAIN_L3, &v4);
        }
        let malformed = Some(Verdict::Drop(DropReason::Malformed));
        // Ethernet padding of a short frame is not worth carrying on.
        let total = V4::PLAIN_L3 as usize + v4.total_len as usize;
        if packet.frame.len() > total && packet.frame.set_len(total).is_none() {
            return malformed;
        }
        let session = self.table.get_mut(id)?;
        let bytes = packet.frame.bytes_mut();
        if pass_steady(bytes, tcp, options, session, direction).is_none() {
            return malformed;
        }
        self.traffic.packet(session, direction, v4.total_len);
        let Some(eth) = EthHeader::at_mut(bytes, 0) else {
            return malformed;
        };
        eth.src = source.0;
        eth.dst = mac.0;
        Some(Verdict::Forward(hop.port))
    }
}
