//! Traffic of services and real servers.

use alloc::vec::Vec;

use nat_engine::{Direction, Load, Session, SessionFlags};
use weir_model::{KnockCounters, RealId, ServiceId, TrafficCounters};

/// Control hears of one refused session of a service in this time.
const TELL_EVERY_MS: u32 = 1000;

/// Counts traffic by service and by real server; grows only when the configuration changes.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    services: Vec<Row>,
    reals: Vec<Row>,
    /// By real server, apart: packets do not touch them.
    knocks: Vec<KnockCounters>,
    /// When control was told of a refused session last, by service.
    told_refusals: Vec<Option<u32>>,
}

/// What every packet counts in: one cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Row {
    opened: u64,
    sessions: u64,
    established: u64,
    packets_in: u64,
    packets_out: u64,
    bytes_in: u64,
    bytes_out: u64,
    refused: u64,
}

impl Traffic {
    pub(crate) fn grow(&mut self, services: usize, reals: usize) {
        self.services
            .resize(services.max(self.services.len()), Row::default());
        self.told_refusals
            .resize(services.max(self.told_refusals.len()), None);
        self.reals
            .resize(reals.max(self.reals.len()), Row::default());
        self.knocks
            .resize(reals.max(self.knocks.len()), KnockCounters::default());
    }

    pub(crate) fn service(&self, id: ServiceId) -> TrafficCounters {
        counters(self.services.get(id.index()))
    }

    pub(crate) fn real(&self, id: RealId) -> TrafficCounters {
        counters(self.reals.get(id.index()))
    }

    pub(crate) fn knocks(&self, id: RealId) -> KnockCounters {
        self.knocks.get(id.index()).copied().unwrap_or_default()
    }

    /// Counts a handshake that a real server is to answer.
    pub(crate) fn asked(&mut self, real: RealId) {
        if let Some(knocks) = self.knocks.get_mut(real.index()) {
            knocks.asked += 1;
        }
    }

    /// Counts a handshake no longer that its client took back before there was an answer.
    pub(crate) fn not_asked(&mut self, real: RealId) {
        if let Some(knocks) = self.knocks.get_mut(real.index()) {
            knocks.asked = knocks.asked.saturating_sub(1);
        }
    }

    /// Counts a handshake that a real server has answered.
    pub(crate) fn answered(&mut self, real: RealId) {
        if let Some(knocks) = self.knocks.get_mut(real.index()) {
            knocks.answered += 1;
        }
    }

    /// Returns the sessions of a real server, for the schedulers.
    pub(crate) fn load(&self, id: RealId) -> Load {
        let traffic = self.real(id);
        Load {
            established: traffic.established as u32,
            inactive: traffic.sessions.saturating_sub(traffic.established) as u32,
        }
    }

    /// Counts a packet of `bytes` IP bytes.
    #[inline]
    pub(crate) fn packet(&mut self, session: &Session, direction: Direction, bytes: u16) {
        self.both(session, |traffic| match direction {
            Direction::Inbound => {
                traffic.packets_in += 1;
                traffic.bytes_in += u64::from(bytes);
            }
            Direction::Outbound => {
                traffic.packets_out += 1;
                traffic.bytes_out += u64::from(bytes);
            }
        });
    }

    pub(crate) fn opened(&mut self, session: &Session) {
        self.both(session, |traffic| {
            traffic.opened += 1;
            traffic.sessions += 1;
        });
    }

    /// Counts a session as established, once.
    pub(crate) fn established(&mut self, session: &mut Session) {
        if !session.flags.has(SessionFlags::COUNTED_ESTABLISHED) {
            session.flags.set(SessionFlags::COUNTED_ESTABLISHED);
            self.both(session, |traffic| traffic.established += 1);
        }
    }

    /// Takes a session out of those that are established.
    pub(crate) fn not_established(&mut self, session: &mut Session) {
        if session.flags.has(SessionFlags::COUNTED_ESTABLISHED) {
            session.flags.clear(SessionFlags::COUNTED_ESTABLISHED);
            self.both(session, |traffic| traffic.established -= 1);
        }
    }

    /// Counts a session that is no more; it was taken out of the established ones before.
    pub(crate) fn removed(&mut self, session: &Session) {
        self.both(session, |traffic| traffic.sessions -= 1);
    }

    /// Counts a session that was refused; returns how many were, where control is to hear of this
    /// one: of the first and of one in a second.
    pub(crate) fn refused(&mut self, service: ServiceId, now_ms: u32) -> Option<u64> {
        let traffic = self.services.get_mut(service.index())?;
        traffic.refused += 1;
        let told = self.told_refusals.get_mut(service.index())?;
        let is_due = told.is_none_or(|at| now_ms.wrapping_sub(at) >= TELL_EVERY_MS);
        is_due.then(|| {
            *told = Some(now_ms);
            traffic.refused
        })
    }

    #[inline]
    fn both(&mut self, session: &Session, count: impl Fn(&mut Row)) {
        if let Some(traffic) = self.services.get_mut(session.service.index()) {
            count(traffic);
        }
        if let Some(traffic) = self.reals.get_mut(session.real_id.index()) {
            count(traffic);
        }
    }
}

fn counters(row: Option<&Row>) -> TrafficCounters {
    let Row {
        opened,
        sessions,
        established,
        packets_in,
        packets_out,
        bytes_in,
        bytes_out,
        refused,
    } = row.copied().unwrap_or_default();
    TrafficCounters {
        opened,
        sessions,
        established,
        packets_in,
        packets_out,
        bytes_in,
        bytes_out,
        refused,
        full: 0,
    }
}
