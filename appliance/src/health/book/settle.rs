//! What holds for each service as a whole, and what the workers are told of its real servers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use weir_model::{Now, RealId, RealServer, RealState, SchedulerKind, Service, Severity, Snapshot};

use super::Book;
use super::words::event;
use crate::health::service::{Share, Status, hook};

/// In how many steps a share grows.
const STEPS: u64 = 20;
/// A weight of one cannot be parted: while a share grows, all weights of the service count so
/// many times.
const PARTS: u16 = 100;

impl Book {
    /// Lets the shares of real servers that came back grow.
    pub(crate) fn grow(&mut self, snapshot: &Snapshot, now: Now) {
        let reals = &self.reals;
        let restless = &mut self.restless;
        self.ramps.retain(|real, ramp| {
            let Some(watch) = reals.get(real) else {
                return false;
            };
            let service = snapshot.services.get(watch.service.index());
            let whole = service.map_or(0, |it| it.availability.slow_start.as_millis() as u64);
            let past = now.time.since(ramp.since.time).as_millis() as u64;
            let step = match whole {
                0 => STEPS,
                whole => (past * STEPS / whole).min(STEPS),
            };
            if step != ramp.step {
                ramp.step = step;
                restless.insert(watch.service);
            }
            step < STEPS
        });
    }

    /// Finds out what holds for services that something happened to, and puts down what the workers
    /// are to be told of it.
    pub(super) fn settle(&mut self, snapshot: &Snapshot) {
        let mut has_turned = false;
        for id in std::mem::take(&mut self.restless) {
            let Some(service) = snapshot.services.get(id.index()) else {
                has_turned |= self.services.remove(&id).is_some();
                continue;
            };
            let shares: Vec<Share> = service.reals.iter().map(|real| self.share(real)).collect();
            let before = self.services.get(&id).copied();
            let status = Status::of(&service.availability, &shares, before);
            self.services.insert(id, status);
            has_turned |= before != Some(status);
            if let Some(before) = before {
                self.events.extend(status.events(service, before));
                if before.has_quorum != status.has_quorum {
                    self.next_hook += 1;
                    self.hooks.extend(hook(service, status, self.next_hook));
                }
            }
            self.tell_reals(service, &shares, status);
        }
        if has_turned {
            self.withdraw(snapshot);
        }
    }

    fn share(&self, real: &RealServer) -> Share {
        Share {
            is_up: !self.is_down(real.id) && !self.is_inhibited(real.id),
            is_draining: self.ordered(real.id).draining,
            weight: self.weight(real),
        }
    }

    fn tell_reals(&mut self, service: &Service, shares: &[Share], status: Status) {
        let grows = !service.availability.slow_start.is_zero();
        let is_growing = |real: &RealServer| grows && self.ramps.contains_key(&real.id);
        let largest = shares.iter().map(|share| share.weight).max().unwrap_or(0);
        let is_scaled = match service.scheduler {
            // Their weights are numbers of sessions.
            SchedulerKind::Locality | SchedulerKind::LocalityReplicated => false,
            // Each other weight makes a table anew: one real server's at a time is enough.
            SchedulerKind::SourceHash | SchedulerKind::DestinationHash | SchedulerKind::Maglev => {
                grows
            }
            SchedulerKind::RoundRobin
            | SchedulerKind::WeightedRoundRobin
            | SchedulerKind::LeastConnection
            | SchedulerKind::WeightedLeastConnection
            | SchedulerKind::ShortestExpectedDelay
            | SchedulerKind::NeverQueue
            | SchedulerKind::Failover
            | SchedulerKind::PowerOfTwo => service.reals.iter().any(is_growing),
        };
        let parts = if is_scaled {
            (u16::MAX / largest.max(1)).clamp(1, PARTS)
        } else {
            1
        };
        let told: Vec<(RealId, RealState)> = service
            .reals
            .iter()
            .zip(shares)
            .map(|(real, share)| {
                let mut weight = share.weight * parts;
                if let Some(ramp) = self.ramps.get(&real.id).filter(|_| grows) {
                    let part = u64::from(weight) * (ramp.step + 1) / (STEPS + 1);
                    weight = (part as u16).max(u16::from(share.weight > 0));
                }
                let state = RealState {
                    weight: (weight != real.weight).then_some(weight),
                    up: status.tells_up(*share),
                    draining: share.is_draining,
                };
                (real.id, state)
            })
            .collect();
        for (real, state) in told {
            self.tell_real(real, state);
        }
    }

    /// Tells the workers what holds for a real server, where that is not what they know.
    fn tell_real(&mut self, real: RealId, state: RealState) {
        let before = if state == RealState::default() {
            self.told.remove(&real).unwrap_or_default()
        } else {
            self.told.insert(real, state).unwrap_or_default()
        };
        if self.again.remove(&real) || before != state {
            for outbox in &mut self.outboxes {
                outbox.real(real, state);
            }
        }
    }

    /// Withdraws the VIPs of which no service has anybody who answers.
    fn withdraw(&mut self, snapshot: &Snapshot) {
        let mut answered: BTreeMap<Ipv4Addr, bool> = BTreeMap::new();
        for service in snapshot.services.iter() {
            let answers = self
                .services
                .get(&service.id)
                .is_none_or(|status| status.answers());
            for listen in &service.listen {
                if let IpAddr::V4(vip) = listen.address {
                    *answered.entry(vip).or_default() |= answers;
                }
            }
        }
        let known = answered.keys().copied();
        let gone = answered.iter().filter(|(_, answers)| !**answers);
        let gone: BTreeSet<Ipv4Addr> = gone.map(|(vip, _)| *vip).collect();
        let back: Vec<Ipv4Addr> = self.withdrawn.difference(&gone).copied().collect();
        let known: BTreeSet<Ipv4Addr> = known.collect();
        for vip in gone.difference(&self.withdrawn) {
            let text = format!("{vip} is withdrawn: no service there has its quorum");
            let said = event(Severity::Error, "vip-withdrawn", text);
            self.events.push_back(said.field("vip", vip));
            for outbox in &mut self.outboxes {
                outbox.vip(*vip, true);
            }
        }
        for vip in back {
            if known.contains(&vip) {
                let text = format!("{vip} is announced again");
                let said = event(Severity::Notice, "vip-announced", text);
                self.events.push_back(said.field("vip", vip));
            }
            for outbox in &mut self.outboxes {
                outbox.vip(vip, false);
            }
        }
        self.withdrawn = gone;
    }
}
