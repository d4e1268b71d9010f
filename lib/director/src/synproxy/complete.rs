//! The real server's side of a proxied handshake: the SYN, its retries, and the answer.

use nat_engine::{Direction, Session, SessionFlags, SessionId, State};
use weir_model::{ClientWindow, Counter, Now};
use weir_wire::{EthHeader, Header, OptionSummary, Tcp, TcpFlags, TcpRepr, Timestamps, V4};

use super::OPEN_WITHIN_MS;
use crate::director::millis;
use crate::emit::{Frame, tcp_frame};
use crate::flow::{timestamps_in, timestamps_of};
use crate::neighbours::Resolved;
use crate::{Director, Packet};

impl Director {
    /// Sends a session's SYN to its real server, with the options that its client offered.
    pub(crate) fn send_syn(&mut self, now: Now, id: SessionId) {
        let Some(session) = self.table.get(id) else {
            return;
        };
        let service = self.plan.service(session.service);
        let toa_kind = service.and_then(|service| service.toa_kind);
        let timestamps = session.flags.has(SessionFlags::TIMESTAMPS);
        let syn = TcpRepr {
            src_port: session.lip_port,
            dst_port: session.real_port,
            seq: session.isn,
            flags: TcpFlags::SYN,
            // The window of a SYN is never scaled (RFC 7323 section 2.2).
            window: u16::try_from(session.client_window).unwrap_or(u16::MAX),
            mss: (session.client_mss != 0).then_some(session.client_mss),
            wscale: (session.client_wscale != Session::NO_WSCALE).then_some(session.client_wscale),
            sack_permitted: session.flags.has(SessionFlags::CLIENT_SACK),
            timestamps: timestamps.then_some(Timestamps {
                tsval: session.last_tsval,
                tsecr: 0,
            }),
            toa: toa_kind.map(|kind| session.toa(kind)),
            ..TcpRepr::default()
        };
        let (lip, real) = (session.lip, session.real);
        let mut frame = Frame::new();
        if tcp_frame(&mut frame, lip, real, &syn).is_some() {
            self.originate(now, real, &mut frame);
        }
    }

    /// Sends the SYN of a waiting session again; false when that was done often enough.
    pub(crate) fn retry_syn(&mut self, now: Now, id: SessionId) -> bool {
        let Some(session) = self.table.get(id) else {
            return false;
        };
        let plan = self.plan.service(session.service);
        let retries = plan.and_then(|plan| plan.synproxy).map(|plan| plan.retries);
        let waiting = self.synproxy.waitings.get_mut(session.waiting);
        let (Some(waiting), Some(retries)) = (waiting, retries) else {
            return false;
        };
        let Some(left) = waiting.retries.checked_sub(1) else {
            return false;
        };
        waiting.retries = left;
        let every = OPEN_WITHIN_MS / (u32::from(retries) + 1);
        // From when it was due, not from now: what timers are late must not add up.
        waiting.due_ms = waiting.due_ms.wrapping_add(every);
        if let Some(session) = self.table.get_mut(id) {
            // The RST that a challenge was answered with may have been lost: answer the next one.
            session.flags.clear(SessionFlags::CHALLENGED);
        }
        self.arm(now, id);
        self.count(Counter::SynRetried);
        self.send_syn(now, id);
        true
    }

    /// Completes a proxied handshake: its real server has accepted. What was held goes to it, or
    /// else an ACK; a client that was told a window of 0 is told the true one.
    pub(crate) fn complete(
        &mut self,
        now: Now,
        packet: &Packet<'_>,
        v4: &V4,
        tcp: &Tcp,
        options: &OptionSummary,
        id: SessionId,
    ) {
        let timestamps = timestamps_in(packet, v4, options);
        let to = self.neighbour_of(now, packet, id);
        let Some(session) = self.table.get_mut(id) else {
            return;
        };
        let service = session.service;
        let plan = self.plan.service(service).and_then(|plan| plan.synproxy);
        if let Some(plan) = plan.filter(|plan| plan.client_window == ClientWindow::Open) {
            // What its client was promised, it may use, however small the real server's window is.
            let promised = plan.early_data.min(u32::from(u16::MAX));
            session.real_window = session.real_window.max(promised);
        }
        let place = session.waiting;
        let Some(waiting) = self.synproxy.waitings.get_mut(place) else {
            return;
        };
        waiting.to = to;
        waiting.real_mss = options.mss.map_or(0, |(_, mss)| mss);
        if let Some(timestamps) = timestamps {
            waiting.real_tsval = Some(timestamps.tsval);
            session.outbound_ts = waiting.told_tsval.wrapping_sub(timestamps.tsval);
        }
        let waited = now.time.since(waiting.began);
        let has_early = waiting.early.len() > 0 || waiting.fin;
        let (fin, tsecr) = (waiting.fin, timestamps.map(|it| it.tsval));
        if fin {
            let last = session.client_end - 1;
            session.note_client_fin(last);
        }
        let after = session.state;
        let session = *session;
        if let Some(flood) = self.synproxy.floods.get_mut(service) {
            flood.counters.complete(waited.as_micros() as u64);
        }
        self.moved(now, id, State::SynSent, after);
        if has_early {
            self.release_later(id);
        } else {
            self.end_waiting(id);
            self.acknowledge(now, &session, tsecr);
        }
        if plan.is_some_and(|plan| plan.client_window == ClientWindow::Closed) {
            self.open_window(now, &session, tcp.window, timestamps);
        }
    }

    /// Acknowledges to the real server what it sent so far, in the client's name.
    pub(crate) fn acknowledge(&mut self, now: Now, session: &Session, tsecr: Option<u32>) {
        let toa_kind = self
            .plan
            .service(session.service)
            .and_then(|service| service.toa_kind);
        let wants_toa = session.flags.has(SessionFlags::TOA_WANTED);
        let repr = TcpRepr {
            src_port: session.lip_port,
            dst_port: session.real_port,
            seq: session.inbound_seq.apply(session.client_end),
            ack: session.outbound_seq.unapply(session.client_ack),
            flags: TcpFlags::ACK,
            window: session.window_to_real(),
            timestamps: tsecr.map(|tsecr| Timestamps {
                tsval: session.last_tsval,
                tsecr,
            }),
            toa: toa_kind.filter(|_| wants_toa).map(|kind| session.toa(kind)),
            ..TcpRepr::default()
        };
        let mut frame = Frame::new();
        if tcp_frame(&mut frame, session.lip, session.real, &repr).is_some() {
            self.originate(now, session.real, &mut frame);
        }
    }

    /// Answers a SYN-ACK that the real server sends again: the first answer was lost.
    pub(crate) fn acknowledge_again(
        &mut self,
        now: Now,
        packet: &Packet<'_>,
        v4: &V4,
        id: SessionId,
    ) {
        let tsecr = timestamps_of(packet, v4).map(|it| it.tsval);
        if let Some(session) = self.table.get(id).copied() {
            self.acknowledge(now, &session, tsecr);
        }
    }

    /// Tells a client that was told a window of 0 how much its real server takes.
    fn open_window(
        &mut self,
        now: Now,
        session: &Session,
        window: u16,
        timestamps: Option<Timestamps>,
    ) {
        // The window of a SYN-ACK is not scaled; towards the client it has to be.
        let told = window >> session.scale_towards_client().min(15);
        let (src, src_port, dst, dst_port) = session.outgoing(Direction::Outbound);
        let repr = TcpRepr {
            src_port,
            dst_port,
            seq: session.client_ack,
            // What is held was not taken by anybody yet: its sender must keep it.
            ack: session.inbound_seq.unapply(session.real_ack),
            flags: TcpFlags::ACK,
            window: told,
            timestamps: timestamps.map(|it| Timestamps {
                tsval: it.tsval.wrapping_add(session.outbound_ts),
                tsecr: session.last_tsval.wrapping_sub(session.inbound_ts),
            }),
            ..TcpRepr::default()
        };
        let mut frame = Frame::new();
        if tcp_frame(&mut frame, src, dst, &repr).is_some() {
            self.originate(now, dst, &mut frame);
        }
    }

    /// Returns where a session's frames to its real server go: by the table of neighbours, or else
    /// where the answer came from.
    fn neighbour_of(
        &mut self,
        now: Now,
        packet: &Packet<'_>,
        id: SessionId,
    ) -> Option<weir_wire::EthAddr> {
        let session = self.table.get(id)?;
        let hop = self.plan.routes.to(session.real)?;
        match self
            .neighbours
            .resolve(millis(now), hop.port, hop.neighbour)
        {
            Resolved::Known(mac) => Some(mac),
            Resolved::Ask | Resolved::Wait | Resolved::TooMany => {
                EthHeader::at(packet.frame.bytes(), 0).map(EthHeader::src_addr)
            }
        }
    }
}
