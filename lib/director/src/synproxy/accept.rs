//! A valid cookie opens a session, and what its client sends until the real server answers is held.

use nat_engine::{Session, SessionFlags, SessionId, State};
use synproxy_engine::ClientOptions;
use weir_model::{ClientWindow, DropReason, Now, ServiceId, Verdict};
use weir_wire::{Tcp, TcpFlags, V4};

use super::OPEN_WITHIN_MS;
use super::early::Early;
use super::waiting::Waiting;
use crate::director::millis;
use crate::flow::timestamps_of;
use crate::found::Found;
use crate::open::Beginning;
use crate::pick::Proof;
use crate::{Director, Packet};

impl Director {
    /// Opens a session for a client whose ACK carries a valid cookie, and asks its real server.
    pub(crate) fn open_proxied(
        &mut self,
        now: Now,
        packet: &mut Packet<'_>,
        found: &Found,
        tcp: &Tcp,
        service: ServiceId,
        client: ClientOptions,
    ) -> Verdict {
        let &Found { l3, ref v4, .. } = found;
        self.complete_checksum(packet, l3, v4);
        // A session would begin with a damaged window or timestamp.
        if !packet.is_intact() {
            return Verdict::Drop(DropReason::BadChecksum);
        }
        self.synproxy.floods.answered(service);
        let plan = self.plan.service(service).and_then(|plan| plan.synproxy);
        let flood = self.synproxy.floods.get_mut(service);
        let (Some(plan), Some(flood)) = (plan, flood) else {
            return Verdict::Drop(DropReason::NoService);
        };
        if self.synproxy.waitings.is_full() {
            flood.counters.failed += 1;
            return Verdict::Drop(DropReason::HandshakesFull);
        }
        let told = flood.told(&plan);
        let strips = self
            .plan
            .service(service)
            .is_some_and(|plan| plan.strip_timestamps);
        let timestamps = timestamps_of(packet, v4).filter(|_| told.timestamps && !strips);
        let beginning = Beginning {
            isn: tcp.seq - 1,
            next: tcp.seq,
            window: u32::from(tcp.window) << client.wscale.unwrap_or(0).min(14),
            mss: client.mss,
            wscale: client.wscale,
            sack: client.sack,
            tsval: timestamps.map_or(0, |timestamps| timestamps.tsval),
        };
        let id = match self.establish(now, packet, found, service, Some(beginning), Proof::Cookie) {
            Ok((id, _)) => id,
            Err(verdict) => {
                if let Some(flood) = self.synproxy.floods.get_mut(service) {
                    flood.counters.failed += 1;
                }
                return verdict;
            }
        };
        let now_ms = millis(now);
        let every = OPEN_WITHIN_MS / (u32::from(plan.retries) + 1);
        let place = self.synproxy.waitings.insert(Waiting {
            began: now.time,
            due_ms: now_ms.wrapping_add(every),
            retries: plan.retries,
            told_tsval: timestamps.map_or(0, |timestamps| timestamps.tsecr),
            real_tsval: None,
            real_mss: 0,
            next_seq: tcp.seq,
            to: None,
            packets: 0,
            fin: false,
            released: false,
            early: Early::default(),
        });
        if let Some(session) = self.table.get_mut(id) {
            session.waiting = place.unwrap_or(Session::NOT_WAITING);
            session.begin_proxied(tcp.ack, told.wscale);
            if let Some(timestamps) = timestamps {
                session.flags.set(SessionFlags::TIMESTAMPS);
                session.last_tsval = timestamps.tsval.wrapping_add(session.inbound_ts);
            }
        }
        self.arm(now, id);
        self.send_syn(now, id);
        self.hold_early(now, packet, v4, tcp, id)
    }

    /// Says whether a segment with a valid cookie is not to open a session, but the one behind it.
    pub(crate) fn defers(&self, service: ServiceId, tcp: &Tcp) -> bool {
        let plan = self.plan.service(service).and_then(|plan| plan.synproxy);
        let adds = tcp.payload_len > 0 || tcp.flags.contains(TcpFlags::FIN);
        !adds && plan.is_some_and(|plan| plan.defer)
    }

    /// Ends a handshake whose client gave up. Its real server has seen nothing of what was held, so
    /// it is reset with the number behind the SYN; what it still says is answered with another RST.
    pub(crate) fn abandon(&mut self, now: Now, id: SessionId) -> Verdict {
        let Some(session) = self.table.get_mut(id) else {
            return Verdict::Drop(DropReason::NoSession);
        };
        session.state = State::Close;
        session.flags.set(SessionFlags::EXPIRED);
        session.last_seen = millis(now);
        let session = *session;
        self.reset_real(now, &session);
        self.moved(now, id, State::SynSent, State::Close);
        Verdict::Drop(DropReason::Absorbed)
    }

    /// Keeps what a client sends before its real server has answered.
    pub(crate) fn hold_early(
        &mut self,
        now: Now,
        packet: &Packet<'_>,
        v4: &V4,
        tcp: &Tcp,
        id: SessionId,
    ) -> Verdict {
        let Some(session) = self.table.get_mut(id) else {
            return Verdict::Drop(DropReason::NoSession);
        };
        session.last_seen = millis(now);
        let ends = tcp.flags.contains(TcpFlags::FIN);
        let old = tcp.seq.before(session.client_end);
        let odd = TcpFlags::SYN | TcpFlags::RST;
        // Who talks to nobody yet has nothing to acknowledge but the cookie.
        let acknowledges = tcp.flags.contains(TcpFlags::ACK)
            && (tcp.ack == session.client_ack || session.state != State::SynSent);
        if (tcp.payload_len == 0 && !ends)
            || old
            || !acknowledges
            || tcp.flags & odd != TcpFlags::NONE
        {
            // A repetition, or an ACK that the real server gets one in the place of.
            return Verdict::Drop(DropReason::Absorbed);
        }
        let plan = self.plan.service(session.service);
        let Some(plan) = plan.and_then(|plan| plan.synproxy.as_ref()) else {
            return Verdict::Drop(DropReason::EarlyData);
        };
        let unasked = plan.client_window == ClientWindow::Closed
            && session.state == State::SynSent
            && tcp.payload_len > 0;
        let Some(waiting) = self.synproxy.waitings.get_mut(session.waiting) else {
            return Verdict::Drop(DropReason::EarlyData);
        };
        if waiting.fin {
            return Verdict::Drop(DropReason::Absorbed);
        }
        let room = (plan.early_data as usize).saturating_sub(waiting.early.len());
        let taken = packet.fitting(tcp.payload_len, room);
        let nothing_fits = taken == 0 && tcp.payload_len > 0;
        if unasked || tcp.seq != session.client_end || nothing_fits {
            return Verdict::Drop(DropReason::EarlyData);
        }
        // The client sends the packets again that were not taken.
        let ends = ends && taken == tcp.payload_len;
        // What is sent on gets a checksum of ours: it must not bless an error.
        if !packet.is_intact() {
            return Verdict::Drop(DropReason::BadChecksum);
        }
        let from = v4.l4 as usize + tcp.header_len as usize;
        let payload = packet.frame.bytes().get(from..from + taken as usize);
        let Some(payload) = payload else {
            return Verdict::Drop(DropReason::Malformed);
        };
        if !self.synproxy.early.push(&mut waiting.early, payload) {
            return Verdict::Drop(DropReason::EarlyData);
        }
        waiting.packets += 1;
        waiting.fin = ends;
        session.client_end = tcp.seq + u32::from(taken) + u32::from(ends);
        let before = session.state;
        if before != State::SynSent {
            if ends {
                session.note_client_fin(session.client_end - 1);
            }
            let after = session.state;
            if after != before {
                self.moved(now, id, before, after);
            }
            self.release_later(id);
        }
        Verdict::Hold
    }

    /// Settles what a session held that is over before its real server could be sent it.
    /// `before` is the state that it was in until then.
    pub(crate) fn settle_waiting(&mut self, id: SessionId, before: State) {
        let Some(session) = self.table.get_mut(id).filter(|session| session.waits()) else {
            return;
        };
        let place = core::mem::replace(&mut session.waiting, Session::NOT_WAITING);
        let service = session.service;
        let Some(mut waiting) = self.synproxy.waitings.remove(place) else {
            return;
        };
        self.synproxy.early.clear(&mut waiting.early);
        self.ledger.held -= u64::from(waiting.packets);
        self.ledger
            .drop_many(DropReason::EarlyData, u64::from(waiting.packets));
        if before == State::SynSent
            && let Some(flood) = self.synproxy.floods.get_mut(service)
        {
            flood.counters.failed += 1;
        }
    }
}
