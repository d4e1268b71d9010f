//! The end of sessions: state changes, timeouts, resets, and the ports that become free.

use nat_engine::{Direction, Leaving, Rest, Session, SessionFlags, SessionId, SpaceId, State};
use weir_model::{Counter, Now, Protocol};

use crate::audit::{end_of, expiry_of};
use crate::director::millis;
use crate::neighbours::ASKED;
use crate::{Director, SessionChange, SessionEnd};

/// How long a session that Weir reset is remembered, so that a challenge ACK of either end is
/// answered with the RST that it asks for (RFC 5961 section 3).
const EXPIRED_MS: u32 = 10_000;
/// Sessions that are about to be ended at a time.
const UNDER_WAY: usize = 4;

impl Director {
    /// Follows a session into another state: counters, the local port, the timer.
    pub(crate) fn moved(&mut self, now: Now, id: SessionId, before: State, after: State) {
        let Some(session) = self.table.get_mut(id) else {
            return;
        };
        if !matches!(after, State::SynSent | State::SynRecv) {
            if before == State::SynRecv && !after.is_closed() {
                self.synproxy.floods.answered(session.service);
            }
            self.synproxy.floods.not_half_open(session);
        }
        if before == State::SynSent && after != State::Close {
            self.traffic.answered(session.real_id);
        }
        match after {
            State::Established => {
                self.traffic.established(session);
                self.counters.count(Counter::SessionEstablished);
            }
            State::Flowing => self.traffic.established(session),
            State::FinWait | State::CloseWait | State::LastAck => {
                if matches!(before, State::SynSent | State::SynRecv) {
                    // The client's FIN came with the ACK that completes the handshake.
                    self.counters.count(Counter::SessionEstablished);
                }
                self.traffic.not_established(session);
            }
            State::TimeWait | State::Close => {
                self.traffic.not_established(session);
                self.synproxy.floods.over(session);
                self.counters.count(Counter::SessionClosed);
                self.settle_waiting(id, before);
                self.release_port(now, id);
                if !before.is_closed() {
                    self.log_end(now, id, end_of(after));
                }
            }
            // Begun anew, a session has to become established again.
            State::SynRecv => self.traffic.not_established(session),
            State::SynSent | State::OneWay => {}
        }
        self.arm(now, id);
    }

    /// Sees to it that a session's timer fires by the deadline of its state.
    pub(crate) fn arm(&mut self, now: Now, id: SessionId) {
        let Some(session) = self.table.get(id) else {
            return;
        };
        let deadline = self.synproxy.waitings.due_ms(session);
        let deadline =
            deadline.unwrap_or_else(|| millis(now).wrapping_add(timeout_ms(&self.plan, session)));
        self.wheel.arm_by(&mut self.table, id, deadline);
    }

    /// Ends sessions whose time has run out, at most `budget` of them.
    pub(crate) fn expire(&mut self, now: Now, mut budget: u32) {
        let now_ms = millis(now);
        // Those that are ended while what the next ones need is on its way.
        let mut leaving: [Option<Leaving>; UNDER_WAY] = [None; UNDER_WAY];
        let mut in_vain = 0;
        for at in (0..UNDER_WAY).cycle() {
            let (plan, waitings) = (&self.plan, &self.synproxy.waitings);
            let due = self
                .wheel
                .next_due(&mut self.table, now_ms, &mut budget, |session| {
                    let due = waitings.due_ms(session);
                    due.unwrap_or_else(|| session.last_seen.wrapping_add(timeout_ms(plan, session)))
                });
            let next = due.and_then(|id| self.table.leaving(id));
            in_vain = if next.is_some() { 0 } else { in_vain + 1 };
            let Some(place) = leaving.get_mut(at) else {
                return;
            };
            if let Some(leaving) = core::mem::replace(place, next) {
                self.expire_one(now, leaving);
            }
            if in_vain == UNDER_WAY {
                return;
            }
        }
    }

    /// Sends requests to neighbours that are due, and drops what waited in vain.
    pub(crate) fn ask_neighbours(&mut self, now_ms: u32) {
        let mut due = [None; ASKED];
        let mut places = due.iter_mut();
        let given_up = self.neighbours.tick(now_ms, |request| {
            if let Some(place) = places.next() {
                *place = Some(request);
            }
        });
        for _ in 0..given_up {
            self.ledger.held -= 1;
            self.ledger.drop(weir_model::DropReason::Unresolved);
        }
        for request in due.into_iter().flatten() {
            self.ask(request.port, request.address, request.unicast);
        }
    }

    /// Removes a session that a new connection of the same client replaces.
    pub(crate) fn replace(&mut self, now: Now, id: SessionId) {
        let Some(session) = self.table.get(id).copied() else {
            return;
        };
        self.count(Counter::SessionReused);
        if !session.state.is_closed() {
            self.send_reset(now, &session, Direction::Inbound);
        }
        self.remove(now, id, SessionEnd::Replaced);
    }

    /// Resets the real server's side of a TCP session.
    pub(crate) fn reset_real(&mut self, now: Now, session: &Session) {
        if is_tcp(session) {
            self.send_reset(now, session, Direction::Inbound);
        }
    }

    /// Ends a session before its time: both ends are reset.
    pub(crate) fn reset(&mut self, now: Now, id: SessionId) {
        let Some(session) = self.table.get(id).copied() else {
            return;
        };
        self.count(Counter::SessionEvicted);
        if is_tcp(&session) && !session.state.is_closed() {
            self.send_resets(now, &session);
        }
        self.remove(now, id, SessionEnd::Evicted);
    }

    /// Takes a session out of the table; its port becomes free. `why` it ended, where it had not
    /// before.
    pub(crate) fn remove(&mut self, now: Now, id: SessionId, why: SessionEnd) {
        if let Some(leaving) = self.table.leaving(id) {
            self.remove_leaving(now, leaving, why);
        }
    }

    fn remove_leaving(&mut self, now: Now, leaving: Leaving, why: SessionEnd) {
        let id = leaving.id();
        let Some(session) = self.table.get_mut(id) else {
            return;
        };
        self.traffic.not_established(session);
        self.synproxy.floods.not_half_open(session);
        self.synproxy.floods.not_over(session);
        let before = session.state;
        self.settle_waiting(id, before);
        self.release_port(now, id);
        if !before.is_closed() {
            self.log_end(now, id, why);
        }
        if let Some(session) = self.table.remove_leaving(&mut self.wheel, leaving) {
            self.traffic.removed(&session);
            if self.plan.persists {
                self.persisted_ended(now, &session);
            }
        }
    }

    fn expire_one(&mut self, now: Now, leaving: Leaving) {
        let id = leaving.id();
        let Some(session) = self.table.get(id) else {
            return;
        };
        if session.state.is_closed() {
            self.remove_leaving(now, leaving, SessionEnd::Closed);
            return;
        }
        let session = *session;
        let unanswered = session.waits() && session.state == State::SynSent;
        if unanswered && self.retry_syn(now, id) {
            return;
        }
        self.count(Counter::SessionExpired);
        // A client that was promised a connection is told that there is none.
        let told = unanswered
            || self
                .plan
                .service(session.service)
                .is_none_or(|plan| plan.reset_at_expiry);
        if !is_tcp(&session) || !told {
            self.remove(now, id, expiry_of(session.state));
            return;
        }
        self.log_end(now, id, expiry_of(session.state));
        self.send_resets(now, &session);
        self.settle_waiting(id, session.state);
        if let Some(session) = self.table.get_mut(id) {
            self.traffic.not_established(session);
            self.synproxy.floods.not_half_open(session);
            self.synproxy.floods.over(session);
            session.state = State::Close;
            session.flags.set(SessionFlags::EXPIRED);
            session.last_seen = millis(now);
        }
        self.release_port(now, id);
        self.arm(now, id);
    }

    /// Logs the end of a session where its service wants that.
    fn log_end(&mut self, now: Now, id: SessionId, why: SessionEnd) {
        let Some(session) = self.table.get(id) else {
            return;
        };
        if self.plan.logs_ends(session.service) {
            self.audit.note(now, session, SessionChange::Ended(why));
        }
    }

    fn release_port(&mut self, now: Now, id: SessionId) {
        let Some(session) = self.table.get_mut(id) else {
            return;
        };
        if session.flags.has(SessionFlags::PORT_RELEASED) {
            return;
        }
        session.flags.set(SessionFlags::PORT_RELEASED);
        let rest = Rest {
            end_seq: session.inbound_seq.apply(session.client_end),
            last_tsval: session.last_tsval,
            freed_at: millis(now),
        };
        self.ports
            .release(SpaceId(session.port_space), session.lip_port, rest);
    }
}

fn is_tcp(session: &Session) -> bool {
    session.protocol == Protocol::Tcp.number()
}

/// Returns how long a session may be silent; nothing when its service is gone.
fn timeout_ms(plan: &crate::plan::Plan, session: &Session) -> u32 {
    if session.flags.has(SessionFlags::EXPIRED) {
        return EXPIRED_MS;
    }
    plan.service(session.service)
        .map_or(0, |service| service.timeout_ms(session.state))
}
