//! What the director tells about itself.

use nat_engine::Session;
use weir_model::{
    Counters, KnockCounters, Ledger, Now, Protocol, RealId, ServiceId, TrafficCounters,
};

use crate::director::millis;
use crate::pick::Proof;
use crate::{Director, PoolUse, SessionRecord, SessionView};

impl Director {
    /// Returns the ledger of this worker.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Returns the counters of this worker.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Returns the traffic of a service on this worker.
    #[must_use]
    pub fn service_traffic(&self, service: ServiceId) -> TrafficCounters {
        self.traffic.service(service)
    }

    /// Returns the traffic of a real server on this worker.
    #[must_use]
    pub fn real_traffic(&self, real: RealId) -> TrafficCounters {
        TrafficCounters {
            full: u64::from(self.is_real_full(real, Proof::None)),
            ..self.traffic.real(real)
        }
    }

    /// Returns how a real server answers SYNs on this worker.
    #[must_use]
    pub fn real_knocks(&self, real: RealId) -> KnockCounters {
        self.traffic.knocks(real)
    }

    /// Says whether this worker itself sees a flood of a service, whatever the others told it.
    #[must_use]
    pub fn flood_triggered(&self, service: ServiceId) -> bool {
        let flood = self.synproxy.floods.get(service);
        flood.is_some_and(crate::synproxy::Flood::is_own)
    }

    /// Returns the number of sessions in the table, those that are over but remembered included.
    #[must_use]
    pub fn session_count(&self) -> u32 {
        self.table.len()
    }

    /// Returns the number of sessions in the table that are over and only remembered.
    #[must_use]
    pub fn over_count(&self) -> u32 {
        self.synproxy.floods.all_over()
    }

    /// Returns the number of TCP sessions in the table that nothing has proven yet.
    #[must_use]
    pub fn half_open_count(&self) -> u32 {
        self.synproxy.floods.all_half_open()
    }

    /// Returns the size of the session table.
    #[must_use]
    pub fn session_capacity(&self) -> u32 {
        self.table.capacity()
    }

    /// Shows the sessions at `places` places of the table from `cursor` on, and returns where to go
    /// on; none at the end of the table.
    pub fn sessions(
        &self,
        now: Now,
        cursor: u32,
        places: u32,
        each: &mut dyn FnMut(SessionView),
    ) -> Option<u32> {
        let now_ms = millis(now);
        let scan = self.table.scan(cursor, places);
        let next = scan.cursor();
        for (_, session) in scan {
            each(SessionView::new(session, now_ms));
        }
        next
    }

    /// Says whether there is something for [`fetch_session_log`](Self::fetch_session_log).
    #[must_use]
    pub fn has_session_log(&self) -> bool {
        !self.audit.is_empty()
    }

    /// Passes on which sessions opened and ended since the last time, where their services want
    /// that logged, and returns how many records were lost.
    pub fn fetch_session_log(&mut self, each: &mut dyn FnMut(SessionRecord)) -> u64 {
        self.audit.fetch(each)
    }

    /// Shows the use of every pool towards every real server that its services have.
    pub fn pool_use(&self, each: &mut dyn FnMut(PoolUse)) {
        self.ports.usages(|pool, endpoint, usage| {
            each(PoolUse {
                pool,
                endpoint,
                used: usage.used,
                total: usage.total,
            });
        });
    }
}

impl SessionView {
    pub(crate) fn new(session: &Session, now_ms: u32) -> Self {
        let udp = session.protocol == Protocol::Udp.number();
        Self {
            client: (session.client, session.client_port),
            vip: (session.vip, session.vip_port),
            lip: (session.lip, session.lip_port),
            real: (session.real, session.real_port),
            protocol: if udp { Protocol::Udp } else { Protocol::Tcp },
            state: session.state,
            service: session.service,
            real_id: session.real_id,
            age_ms: now_ms.wrapping_sub(session.opened),
            idle_ms: now_ms.wrapping_sub(session.last_seen),
        }
    }
}
