//! Which real server takes a new session: the one that its client had, or else the scheduler's pick.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use nat_engine::{Asker, Candidate, FlowKey, Load, Session, SessionTable, scheduler};
use weir_model::{Counter, DropReason, Now, RealId, RealState, Service, ServiceId, Snapshot};

use crate::Director;
use crate::director::millis;
use crate::persist::Whose;
use crate::plan::{Plan, RealPlan};
use crate::synproxy::Floods;
use crate::traffic::Traffic;

impl Director {
    /// Follows a change of the services' real servers; schedulers of the same kind keep their turn.
    pub(crate) fn update_schedulers(&mut self, snapshot: &Snapshot) {
        self.schedulers
            .resize_with(snapshot.services.bound(), || None);
        for index in 0..self.schedulers.len() {
            match snapshot.services.get(index) {
                Some(service) => self.update_scheduler(service),
                None => {
                    if let Some(place) = self.schedulers.get_mut(index) {
                        *place = None;
                    }
                }
            }
        }
    }

    /// Follows a change of one service's real servers.
    fn update_scheduler(&mut self, service: &Service) {
        let Some(place) = self.schedulers.get_mut(service.id.index()) else {
            return;
        };
        let same = place
            .as_ref()
            .is_some_and(|(kind, _)| *kind == service.scheduler);
        if !same {
            *place = Some((
                service.scheduler,
                scheduler(service.scheduler, self.facts.id.0),
            ));
        }
        let states = &self.real_states;
        let candidates: Vec<Candidate> = service
            .reals
            .iter()
            .map(|real| {
                let state = states.get(real.id.index()).copied().unwrap_or_default();
                Candidate {
                    real: real.id,
                    weight: state.effective_weight(real.weight),
                    // One that is down keeps what it was given by command or checks, too.
                    share: state.weight.filter(|it| *it > 0).unwrap_or(real.weight),
                }
            })
            .collect();
        if let Some((_, scheduler)) = place {
            scheduler.update(&candidates);
        }
    }

    /// Takes what checks found of a real server and operators ordered: its share of new sessions.
    pub fn set_real_state(&mut self, real: RealId, state: RealState) {
        let Some(place) = self.real_states.get_mut(real.index()) else {
            return;
        };
        if core::mem::replace(place, state) != state {
            // Only its own service's: a network that fails takes thousands down one after the other.
            let snapshot = Arc::clone(&self.snapshot);
            let mut services = snapshot.services.iter();
            let its = services.find(|service| service.reals.iter().any(|it| it.id == real));
            if let Some(service) = its {
                self.update_scheduler(service);
            }
        }
    }

    /// Picks the real server of a new session of a client. Says, too, whose it is from now on, where
    /// clients keep theirs.
    pub(crate) fn pick(
        &mut self,
        now: Now,
        service: ServiceId,
        key: &FlowKey,
        proof: Proof,
    ) -> Result<(RealPlan, Option<Whose>), DropReason> {
        if self.draining {
            return Err(DropReason::NoReal);
        }
        let mut whose = self.whose(service, key.src);
        if let Some(had) = whose.and_then(|whose| self.persistence.find(&whose, millis(now))) {
            match self.kept(service, had, proof) {
                Kept::Takes(real) => {
                    self.count(Counter::PersistUsed);
                    return Ok((real, whose));
                }
                // It comes back to it when there is room again.
                Kept::Full => whose = None,
                Kept::Gone => {}
            }
            self.count(Counter::PersistMoved);
        }
        let plan = self.plan.service(service);
        let newcomer = Newcomer {
            counts: Counts {
                proof,
                traffic: &self.traffic,
                floods: &self.synproxy.floods,
                full: &self.full,
                plan: &self.plan,
            },
            table: &self.table,
            key,
            now_ms: millis(now),
        };
        let scheduler = self
            .schedulers
            .get_mut(service.index())
            .and_then(Option::as_mut);
        let picked = scheduler.and_then(|(_, scheduler)| scheduler.pick(&newcomer));
        if let Some(real) = picked.and_then(|real| plan?.real(real)) {
            return Ok((*real, whose));
        }
        // Nobody is to stay with the sorry server.
        let sorry = plan.and_then(|plan| plan.sorry());
        sorry.map(|real| (*real, None)).ok_or(DropReason::NoReal)
    }

    /// Returns the real server that the next session of a client would get, and whether the client
    /// had it before. Nothing changes by it.
    pub(crate) fn peek(
        &self,
        now: Now,
        service: ServiceId,
        key: &FlowKey,
        proof: Proof,
    ) -> Option<(RealPlan, bool)> {
        let whose = self.whose(service, key.src);
        let had = whose.and_then(|whose| self.persistence.find(&whose, millis(now)));
        if let Some(Kept::Takes(real)) = had.map(|had| self.kept(service, had, proof)) {
            return Some((real, true));
        }
        let plan = self.plan.service(service)?;
        let newcomer = Newcomer {
            counts: self.counts(proof),
            table: &self.table,
            key,
            now_ms: millis(now),
        };
        let (_, scheduler) = self.schedulers.get(service.index())?.as_ref()?;
        let real = plan.real(scheduler.peek(&newcomer)?)?;
        Some((*real, false))
    }

    /// Notes a session that was opened towards a real server.
    pub(crate) fn note_picked(&mut self, now: Now, real: &RealPlan, whose: Option<Whose>) {
        if let Some(limit) = self.plan.limit(real.id) {
            // Who was picked was not full, so it is the upper limit that counts.
            let full = self.counts(Proof::None).counted(real.id) >= limit.most;
            if let Some(place) = self.full.get_mut(real.id.index()) {
                *place = full;
            }
        }
        if let Some(whose) = whose
            && self.persistence.began(&whose, real.id, millis(now))
        {
            self.count(Counter::PersistDisplaced);
        }
    }

    /// Notes that a session of a service that keeps its clients is no more.
    #[cold]
    pub(crate) fn persisted_ended(&mut self, now: Now, session: &Session) {
        if let Some(whose) = self.whose(session.service, session.client) {
            self.persistence.ended(&whose, session.real_id, millis(now));
        }
    }

    /// Forgets the clients of services that keep none any more, or tell them apart otherwise.
    pub(crate) fn forget_clients(&mut self, next: &Plan) {
        let mask = |plan: &Plan, service| Some(plan.service(service)?.persist?.mask);
        let plan = &self.plan;
        let changes = |service| {
            let before = mask(plan, service);
            before.is_some() && before != mask(next, service)
        };
        let services = self.snapshot.services.iter();
        if services.map(|service| service.id).any(changes) {
            self.persistence.forget(changes);
        }
    }

    /// Forgets clients whose time is over.
    pub(crate) fn tick_persistence(&mut self, now: Now) {
        let plan = &self.plan;
        self.persistence.tick(millis(now), |service| {
            let persist = plan.service(service)?.persist?;
            Some(persist.timeout_ms)
        });
    }

    /// Says whether a real server has as many sessions as it may on this worker.
    pub(crate) fn is_real_full(&self, real: RealId, proof: Proof) -> bool {
        self.counts(proof).is_full(real)
    }

    fn counts(&self, proof: Proof) -> Counts<'_> {
        Counts {
            proof,
            traffic: &self.traffic,
            floods: &self.synproxy.floods,
            full: &self.full,
            plan: &self.plan,
        }
    }

    /// Returns whose sessions are kept together with those of a client; nothing where the service
    /// keeps none.
    fn whose(&self, service: ServiceId, client: Ipv4Addr) -> Option<Whose> {
        if !self.plan.persists {
            return None;
        }
        let persist = self.plan.service(service)?.persist?;
        let prefix = Ipv4Addr::from_bits(client.to_bits() & persist.mask);
        let hash = self.table.hash(&FlowKey {
            src: prefix,
            dst: Ipv4Addr::UNSPECIFIED,
            src_port: service.0,
            dst_port: 0,
            protocol: 1,
        });
        Some(Whose {
            service,
            prefix,
            hash,
            timeout_ms: persist.timeout_ms,
        })
    }

    /// Says what became of the real server that a client had.
    fn kept(&self, service: ServiceId, had: RealId, proof: Proof) -> Kept {
        let plan = self.plan.service(service);
        let Some(real) = plan.and_then(|plan| plan.real(had)) else {
            return Kept::Gone;
        };
        let state = self.real_states.get(had.index());
        let state = state.copied().unwrap_or_default();
        if state.effective_weight(real.weight) == 0 {
            return Kept::Gone;
        }
        if self.counts(proof).is_full(had) {
            return Kept::Full;
        }
        Kept::Takes(*real)
    }
}

/// What proves that a client which wants a new session is where it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Nothing does: it sent a first packet.
    None,
    /// It returned a cookie.
    Cookie,
}

/// What became of the real server that a client had.
enum Kept {
    Takes(RealPlan),
    Full,
    /// Removed, down, or without a weight.
    Gone,
}

/// A new session, as schedulers ask about it.
struct Newcomer<'a> {
    counts: Counts<'a>,
    table: &'a SessionTable,
    key: &'a FlowKey,
    now_ms: u32,
}

/// What is known of the sessions of real servers.
struct Counts<'a> {
    proof: Proof,
    traffic: &'a Traffic,
    floods: &'a Floods,
    full: &'a [bool],
    plan: &'a Plan,
}

impl Counts<'_> {
    /// Returns the sessions of a real server that count against its limit: those that are not over.
    /// Half-open ones may all be completed, so they count, too; but not against a client that has
    /// proven itself, or a flood that went on before cookies answered it could keep it out.
    fn counted(&self, real: RealId) -> u64 {
        let all = self.traffic.real(real).sessions;
        let going_on = all.saturating_sub(self.floods.over_of_real(real));
        match self.proof {
            Proof::None => going_on,
            Proof::Cookie => going_on.saturating_sub(self.floods.half_open_of_real(real)),
        }
    }

    /// Says whether a real server takes no more: at the upper limit, until it is below the lower.
    fn is_full(&self, real: RealId) -> bool {
        self.plan.limit(real).is_some_and(|limit| {
            let was = self.full.get(real.index()) == Some(&true);
            self.counted(real) >= if was { limit.least } else { limit.most }
        })
    }
}

impl Asker for Newcomer<'_> {
    fn load(&self, real: RealId) -> Load {
        self.counts.traffic.load(real)
    }

    fn is_full(&self, real: RealId) -> bool {
        self.counts.is_full(real)
    }

    fn client(&self) -> u64 {
        hash_of(self.table, self.key.src)
    }

    fn destination(&self) -> u64 {
        hash_of(self.table, self.key.dst)
    }

    fn now_ms(&self) -> u32 {
        self.now_ms
    }
}

/// Hashes an address, on every worker to the same.
fn hash_of(table: &SessionTable, address: Ipv4Addr) -> u64 {
    let key = FlowKey {
        src: address,
        dst: Ipv4Addr::UNSPECIFIED,
        src_port: 0,
        dst_port: 0,
        protocol: 2,
    };
    table.hash(&key).0
}
