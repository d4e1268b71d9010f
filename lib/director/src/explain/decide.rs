//! The walk once more, but only looked at: each step asks what the walk asks.

use core::net::Ipv4Addr;

use nat_engine::{Direction, FlowKey, Session, SessionFlags, State};
use weir_model::{BadAck, DropReason, Now, Protocol, ServiceId, SynproxyMode};
use weir_wire::{Header, SeqNumber, Tcp, TcpFlags, TcpHeader};

use super::{
    CookieTrial, Destination, ExplainQuery, Explained, Fate, Sender, SessionSyn, SynproxyState,
};
use crate::director::millis;
use crate::pick::Proof;
use crate::plan::Owned;
use crate::walk::is_martian;
use crate::{Director, SessionView};

/// Who hears the decisions.
type Each<'a> = &'a mut dyn FnMut(Explained);

impl Director {
    /// Says each decision that the walk would take for a packet now. Nothing changes by it: no
    /// counter, no scheduler's turn, no local port.
    ///
    /// Only the worker that owns the flow knows all; another one ends with [`Explained::Owner`].
    pub fn explain(&self, now: Now, query: &ExplainQuery, each: Each<'_>) {
        let Some(mut fate) = self.decide(now, query, each) else {
            return;
        };
        // A datagram has nothing that a RST would fit; of a port without a service its sender is told.
        if let Fate::Refuse(reason) = fate
            && query.protocol == Protocol::Udp
            && reason != DropReason::NoService
        {
            fate = Fate::Drop(reason);
        }
        each(Explained::Fate(fate));
    }

    /// Returns what becomes of the packet; nothing where another worker knows.
    fn decide(&self, now: Now, query: &ExplainQuery, each: Each<'_>) -> Option<Fate> {
        let (client, vip) = (query.client.0, query.vip.0);
        let to = self.plan.owned(vip);
        each(Explained::Destination(
            vip,
            match to {
                Some(Owned::Vip) => Destination::Vip,
                Some(Owned::Lip { .. }) => Destination::Lip,
                None => Destination::Foreign,
            },
        ));
        let Some(to) = to else {
            return Some(Fate::Host);
        };
        let sender = if is_martian(client) {
            Sender::Martian
        } else if self.plan.owned(client).is_some() {
            Sender::Own
        } else {
            Sender::Client
        };
        each(Explained::Source(client, sender));
        let comes_by = self.plan.routes.to(client).map(|hop| hop.port);
        let elsewhere = matches!(to, Owned::Lip { port, .. } if Some(port) != comes_by);
        if sender != Sender::Client || elsewhere {
            return Some(Fate::Drop(DropReason::Martian));
        }
        let key = FlowKey {
            src: client,
            dst: vip,
            src_port: query.client.1,
            dst_port: query.vip.1,
            protocol: query.protocol.number(),
        };
        let service = self.plan.listening(key.dst, key.dst_port, key.protocol);
        if to == Owned::Vip {
            each(Explained::Service(service));
        }
        let hash = self.table.hash(&key);
        let worker = self.owner(&key, hash, to);
        let here = worker == self.facts.id;
        each(Explained::Owner {
            worker,
            workers: self.facts.workers,
            here,
        });
        if !here {
            return None;
        }
        let found = self.table.find(hash, &key);
        let session = found.and_then(|(id, direction)| Some((self.table.get(id)?, direction)));
        let view = session.map(|(session, _)| SessionView::new(session, millis(now)));
        each(Explained::Session(view));
        if session.is_none() && to == Owned::Vip {
            let tcp = (query.protocol == Protocol::Tcp).then(|| segment(query, SeqNumber(0)));
            if let Some(reason) = self.would_drop(now, client, service, tcp.as_ref()) {
                each(Explained::Defence(client, reason));
                return Some(Fate::Drop(reason));
            }
        }
        Some(match (session, to, service) {
            (Some((session, Direction::Inbound)), ..) => {
                self.decide_of_session(now, query, session, each)
            }
            // A real server is no client; what it sends is answered by its session.
            (Some((session, Direction::Outbound)), ..) => self.decide_way(session.client, each),
            (None, Owned::Lip { .. }, _) => Fate::Drop(DropReason::NoSession),
            (None, Owned::Vip, None) => {
                let datagram = query.protocol == Protocol::Udp;
                if datagram && self.plan.answers_datagrams(query.vip.0) {
                    Fate::Refuse(DropReason::NoService)
                } else {
                    Fate::Drop(DropReason::NoService)
                }
            }
            (None, Owned::Vip, Some(service)) => self.decide_of_stranger(now, query, service, each),
        })
    }

    /// A packet that belongs to no session.
    fn decide_of_stranger(
        &self,
        now: Now,
        query: &ExplainQuery,
        service: ServiceId,
        each: Each<'_>,
    ) -> Fate {
        if query.protocol == Protocol::Udp {
            return self.decide_opening(now, query, service, Proof::None, each);
        }
        self.explain_synproxy(service, each);
        let tcp = segment(query, SeqNumber(0));
        if !tcp.opens() {
            return self.decide_of_ack(now, query, service, &tcp, each);
        }
        if self.sends_cookies(service) {
            return self.decide_cookie(query.client.0, service, each);
        }
        self.decide_opening(now, query, service, Proof::None, each)
    }

    /// A packet of a client that has a session.
    fn decide_of_session(
        &self,
        now: Now,
        query: &ExplainQuery,
        session: &Session,
        each: Each<'_>,
    ) -> Fate {
        if query.protocol == Protocol::Tcp {
            let (client, tcp) = (query.client.0, segment(query, session.client_isn()));
            if let Some(reason) = self.would_drop_segment(now, client, session.service, &tcp) {
                each(Explained::Defence(client, reason));
                return Fate::Drop(reason);
            }
        }
        if !self.keeps_lip(session) || self.plan.service(session.service).is_none() {
            return Fate::Refuse(DropReason::StaleSession);
        }
        if query.protocol == Protocol::Udp {
            return self.decide_way(session.real, each);
        }
        let service = session.service;
        let tcp = segment(query, session.client_isn());
        if tcp.opens() {
            let other = segment(query, session.client_end + (1 << 20));
            let [repeated, other] = [tcp, other].map(|tcp| self.syn_becomes(session, &tcp));
            each(Explained::Syn { repeated, other });
            match other {
                SessionSyn::Replaces => {
                    self.explain_synproxy(service, each);
                    return self.decide_opening(now, query, service, Proof::None, each);
                }
                SessionSyn::Cookie => {
                    self.explain_synproxy(service, each);
                    return self.decide_cookie(query.client.0, service, each);
                }
                SessionSyn::Challenged | SessionSyn::Absorbed => {
                    return Fate::Drop(DropReason::Absorbed);
                }
                SessionSyn::Passed => return self.decide_way(session.real, each),
            }
        }
        if self.gives_way(session) && self.may_be_cookie(service, &tcp) {
            each(Explained::Cookie(CookieTrial::TriedIfForeign));
        }
        if session.waits() && session.state == State::SynSent {
            return Fate::Wait;
        }
        if session.flags.has(SessionFlags::EXPIRED) {
            return Fate::Refuse(DropReason::NoSession);
        }
        self.decide_way(session.real, each)
    }

    /// A segment that belongs to no session and opens none by itself.
    fn decide_of_ack(
        &self,
        now: Now,
        query: &ExplainQuery,
        service: ServiceId,
        tcp: &Tcp,
        each: Each<'_>,
    ) -> Fate {
        let plan = self.plan.service(service);
        let strays = self.answers_segments(service) && !tcp.flags.contains(TcpFlags::RST);
        let Some(plan) = plan.and_then(|plan| plan.synproxy.as_ref()) else {
            each(Explained::Cookie(CookieTrial::NotTried));
            return if strays {
                Fate::Refuse(DropReason::NoSession)
            } else {
                Fate::Drop(DropReason::NoSession)
            };
        };
        let answers = match plan.bad_ack {
            BadAck::Drop => strays,
            BadAck::Reset => {
                tcp.flags.contains(TcpFlags::ACK) && !tcp.flags.contains(TcpFlags::RST)
            }
        };
        if !self.may_be_cookie(service, tcp) {
            each(Explained::Cookie(CookieTrial::NotTried));
            return if answers {
                Fate::Refuse(DropReason::NoSession)
            } else {
                Fate::Drop(DropReason::NoSession)
            };
        }
        if self.defers(service, tcp) {
            each(Explained::Cookie(CookieTrial::Deferred));
            return Fate::Drop(DropReason::Deferred);
        }
        each(Explained::Cookie(CookieTrial::Tried(plan.bad_ack)));
        match self.decide_opening(now, query, service, Proof::Cookie, each) {
            Fate::Forward(_) | Fate::Hold(_) => Fate::IfValid,
            fate @ (Fate::Host
            | Fate::Drop(_)
            | Fate::Refuse(_)
            | Fate::SynAck
            | Fate::IfValid
            | Fate::Wait) => fate,
        }
    }

    fn explain_synproxy(&self, service: ServiceId, each: Each<'_>) {
        let plan = self.plan.service(service);
        let plan = plan.and_then(|plan| plan.synproxy.as_ref());
        let flood = self.synproxy.floods.get(service);
        let (Some(plan), Some(flood)) = (plan, flood) else {
            return each(Explained::Synproxy {
                mode: SynproxyMode::Off,
                state: SynproxyState::Off,
                unanswered_per_s: 0,
                enter: 0,
            });
        };
        let state = if !flood.sends_cookies(plan) {
            if flood.verifies(plan) {
                SynproxyState::Verifying
            } else if plan.mode == SynproxyMode::Off {
                SynproxyState::Off
            } else {
                SynproxyState::Quiet
            }
        } else if self.draining {
            SynproxyState::Draining
        } else if plan.mode == SynproxyMode::Always {
            SynproxyState::Always
        } else if flood.is_own() {
            SynproxyState::Triggered
        } else {
            SynproxyState::Hinted
        };
        each(Explained::Synproxy {
            mode: plan.mode,
            state,
            unanswered_per_s: flood.unanswered_per_s(),
            enter: match plan.mode {
                SynproxyMode::Adaptive => plan.limits.enter,
                SynproxyMode::Off | SynproxyMode::Always => 0,
            },
        });
    }

    fn explain_limit(&self, service: ServiceId, each: Each<'_>) {
        let configured = self.snapshot.services.get(service.index());
        let limited = configured.is_some_and(|service| service.max_sessions.is_some());
        let most = self.plan.service(service).filter(|_| limited);
        each(Explained::Limit {
            sessions: self.living(service),
            most: most.map(|plan| plan.max_sessions),
            full: self.is_full(service),
        });
    }

    /// A SYN that a cookie answers.
    fn decide_cookie(&self, client: Ipv4Addr, service: ServiceId, each: Each<'_>) -> Fate {
        let plan = self.plan.service(service);
        let plan = plan.and_then(|plan| plan.synproxy.as_ref());
        let port = self.plan.routes.to(client).map(|hop| hop.port);
        let offer = self.offer(service, port.unwrap_or_default());
        let (Some(plan), Some(offer)) = (plan, offer) else {
            return Fate::Drop(DropReason::NoService);
        };
        // The SYN is answered all the same: whether there is room is asked when its ACK comes.
        self.explain_limit(service, each);
        each(Explained::SynAck {
            offer,
            window: plan.first_window(),
            port,
            reflect_limit: plan.reflect_limit,
        });
        Fate::SynAck
    }

    /// A packet that opens a session.
    fn decide_opening(
        &self,
        now: Now,
        query: &ExplainQuery,
        service: ServiceId,
        proof: Proof,
        each: Each<'_>,
    ) -> Fate {
        let plan = self.plan.service(service);
        let configured = self.snapshot.services.get(service.index());
        let (Some(plan), Some(configured)) = (plan, configured) else {
            return Fate::Drop(DropReason::NoService);
        };
        self.explain_limit(service, each);
        if self.is_full(service) {
            return Fate::Refuse(DropReason::ServiceFull);
        }
        if self.would_refuse_session(now, query.client.0, service) {
            each(Explained::Defence(query.client.0, DropReason::SessionRate));
            return Fate::Refuse(DropReason::SessionRate);
        }
        for real in &configured.reals {
            let Some(of_plan) = plan.real(real.id) else {
                continue;
            };
            let state = self.real_states.get(real.id.index());
            let state = state.copied().unwrap_or_default();
            let weight = state.weight.unwrap_or(real.weight);
            each(Explained::Real {
                real: real.id,
                address: (of_plan.address, of_plan.port),
                weight: if state.draining { 0 } else { weight },
                down: !state.up,
                full: self.is_real_full(real.id, proof),
                load: self.traffic.load(real.id),
            });
        }
        let key = FlowKey {
            src: query.client.0,
            dst: query.vip.0,
            src_port: query.client.1,
            dst_port: query.vip.1,
            protocol: query.protocol.number(),
        };
        let peeked = self.peek(now, service, &key, proof);
        if let Some((real, true)) = peeked {
            each(Explained::Persist {
                real: real.id,
                address: (real.address, real.port),
            });
        }
        let picked = peeked.map(|(real, _)| real);
        let sorry = if picked.is_none() {
            plan.sorry().copied()
        } else {
            None
        };
        let picked = picked.or(sorry).filter(|_| !self.draining);
        each(Explained::Pick {
            scheduler: configured.scheduler,
            real: picked.map(|real| real.id),
            address: picked.map(|real| (real.address, real.port)),
            sorry: sorry.is_some(),
            draining: self.draining,
        });
        let Some(real) = picked else {
            return Fate::Refuse(DropReason::NoReal);
        };
        let usage = self.ports.usage(real.set);
        each(Explained::Ports {
            pool: plan.pool,
            used: usage.used,
            total: usage.total,
        });
        // The walk looks for a way before it takes a port.
        if usage.used >= usage.total && self.plan.routes.to(real.address).is_some() {
            return Fate::Refuse(DropReason::LipExhausted);
        }
        each(Explained::Table {
            sessions: self.table.len(),
            capacity: self.table.capacity(),
        });
        self.decide_way(real.address, each)
    }

    /// A packet that is sent on.
    fn decide_way(&self, to: Ipv4Addr, each: Each<'_>) -> Fate {
        let hop = self.plan.routes.to(to);
        each(Explained::Route {
            to,
            hop: hop.map(|hop| (hop.port, hop.neighbour)),
        });
        let Some(hop) = hop else {
            return Fate::Drop(DropReason::NoRoute);
        };
        let mac = self.neighbours.known(hop.port, hop.neighbour);
        each(Explained::Neighbour {
            port: hop.port,
            address: hop.neighbour,
            mac,
        });
        match mac {
            Some(_) => Fate::Forward(hop.port),
            None => Fate::Hold(hop.port),
        }
    }
}

/// A segment without data as the walk would have parsed it.
fn segment(query: &ExplainQuery, seq: SeqNumber) -> Tcp {
    Tcp {
        src_port: query.client.1,
        dst_port: query.vip.1,
        seq,
        ack: SeqNumber(0),
        flags: query.flags,
        window: u16::MAX,
        header_len: TcpHeader::LEN as u16,
        payload_len: 0,
    }
}
