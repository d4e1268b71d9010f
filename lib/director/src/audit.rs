//! The session log: which sessions opened and ended, for audits.

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use nat_engine::{Session, State};
use weir_model::{Now, Protocol, ServiceId};

use crate::director::millis;

/// Records that one turn can have: more than its bursts open and its timers end, so that none is
/// lost unless the worker does not fetch them.
const RECORDS: usize = 2048;

/// What became of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionChange {
    /// It has a real server and a local port from now on.
    Opened,
    /// It is over.
    Ended(SessionEnd),
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// Both ends closed it.
    Closed,
    /// One end reset it, or the real server refused it.
    Reset,
    /// It was silent for too long.
    Expired,
    /// The real server, or the client, never answered.
    Unanswered,
    /// A new connection of the same client took its place.
    Replaced,
    /// It made room for others, or Weir gave it up.
    Evicted,
}

impl SessionEnd {
    /// Returns the name that logs use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Expired => "expired",
            Self::Unanswered => "unanswered",
            Self::Replaced => "replaced",
            Self::Evicted => "evicted",
        }
    }
}

/// One line of the session log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// When, in milliseconds of the wall clock.
    pub wall_ms: u64,
    /// What happened.
    pub change: SessionChange,
    /// The client's address and port.
    pub client: (Ipv4Addr, u16),
    /// The VIP and the port that the client talks to.
    pub vip: (Ipv4Addr, u16),
    /// The local address and port that the real server talks to.
    pub lip: (Ipv4Addr, u16),
    /// The real server's address and port.
    pub real: (Ipv4Addr, u16),
    /// The protocol.
    pub protocol: Protocol,
    /// The service.
    pub service: ServiceId,
    /// How long the session lasted until now, in milliseconds.
    pub lasted_ms: u32,
}

/// What happened to sessions that are logged, until the worker fetches it; the memory is there from
/// the start.
#[derive(Debug)]
pub(crate) struct Audit {
    records: Vec<SessionRecord>,
    lost: u64,
}

impl Audit {
    pub(crate) fn new() -> Self {
        Self {
            records: Vec::with_capacity(RECORDS),
            lost: 0,
        }
    }

    /// Notes what became of a session; when nobody fetches, the newest are lost and counted.
    pub(crate) fn note(&mut self, now: Now, session: &Session, change: SessionChange) {
        if self.records.len() == self.records.capacity() {
            self.lost += 1;
            return;
        }
        let udp = session.protocol == Protocol::Udp.number();
        self.records.push(SessionRecord {
            wall_ms: now.wall_ms,
            change,
            client: (session.client, session.client_port),
            vip: (session.vip, session.vip_port),
            lip: (session.lip, session.lip_port),
            real: (session.real, session.real_port),
            protocol: if udp { Protocol::Udp } else { Protocol::Tcp },
            service: session.service,
            lasted_ms: millis(now).wrapping_sub(session.opened),
        });
    }

    /// Passes every record on, and returns how many were lost since the last time.
    pub(crate) fn fetch(&mut self, each: &mut dyn FnMut(SessionRecord)) -> u64 {
        for record in self.records.drain(..) {
            each(record);
        }
        core::mem::take(&mut self.lost)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

/// Says why a session ended that its end points ended.
pub(crate) fn end_of(state: State) -> SessionEnd {
    if state == State::TimeWait {
        SessionEnd::Closed
    } else {
        SessionEnd::Reset
    }
}

/// Says why a session ended whose time ran out.
pub(crate) fn expiry_of(state: State) -> SessionEnd {
    if state.is_half_open() {
        SessionEnd::Unanswered
    } else {
        SessionEnd::Expired
    }
}
