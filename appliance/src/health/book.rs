//! The book: what control knows of every real server's health, and whom it still has to tell.

mod hooks;
mod rows;
mod settle;
mod targets;
mod words;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};

use weir_model::{
    Health, Now, Offer, Protocol, RealId, RealServer, RealState, Service, ServiceId, Severity,
    Snapshot, SynproxyMode,
};

use self::words::{event, names, turned};
use super::offer::{Seen, drift, offer};
use super::outbox::Outbox;
use super::passive::{Silences, Turn};
use super::runner::Run;
use super::service::Status;
use super::{Finding, TargetId};
use crate::command::Command;
use crate::event::EventRecord;
use crate::publish::Traffic;

/// What control knows of health.
#[derive(Debug)]
pub(crate) struct Book {
    next_id: u32,
    targets: BTreeMap<TargetId, Watched>,
    reals: BTreeMap<RealId, Watch>,
    /// What was learned, by where; outlives a target whose check changes.
    learned: BTreeMap<SocketAddr, Offer>,
    /// Services whose offer must be computed again.
    stale: BTreeSet<ServiceId>,
    offers: BTreeMap<ServiceId, Offer>,
    /// What operators ordered of real servers; no entry where they ordered nothing.
    orders: BTreeMap<RealId, Ordered>,
    /// What the workers were told of real servers; no entry where the file says it all.
    told: BTreeMap<RealId, RealState>,
    /// Real servers of which the workers are told once more.
    again: BTreeSet<RealId>,
    /// What holds for each service as a whole.
    services: BTreeMap<ServiceId, Status>,
    /// Services that something happened to.
    restless: BTreeSet<ServiceId>,
    /// VIPs that nobody answers for.
    withdrawn: BTreeSet<Ipv4Addr>,
    /// Real servers that came back a short while ago.
    ramps: BTreeMap<RealId, Ramp>,
    /// Real servers that answer SYNs with nothing.
    silences: Silences,
    /// Real servers that went down and whose sessions do not go on.
    resets: VecDeque<RealId>,
    /// What is to be said.
    events: VecDeque<EventRecord>,
    /// Hooks that are to run.
    hooks: VecDeque<Run>,
    /// Hooks that were given out, by ticket, with the program and its service.
    running: BTreeMap<u64, (String, String)>,
    next_hook: u64,
    /// What each worker has still to be told.
    outboxes: Vec<Outbox>,
}

/// What an operator ordered of a real server by a command; what the file says holds besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ordered {
    /// Its share of new sessions, instead of that of the file.
    pub(crate) weight: Option<u16>,
    /// Whether it is to be emptied.
    pub(crate) draining: bool,
}

/// What checks and commands say of a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Whether its service checks it.
    pub(crate) is_checked: bool,
    /// Whether its checks took it down.
    pub(crate) is_down: bool,
    /// Its share of new sessions.
    pub(crate) weight: u16,
}

/// How far the share of a real server that came back has grown.
#[derive(Clone, Copy, Debug)]
struct Ramp {
    since: Now,
    step: u64,
}

/// How a real server is watched.
#[derive(Clone, Copy, Debug)]
struct Watch {
    service: ServiceId,
    known_since: Now,
    target: Option<TargetId>,
    /// Whether its service checks it; if not, it is only learned from.
    is_checked: bool,
}

/// A target with what its probes found so far.
#[derive(Clone, Debug)]
struct Watched {
    address: SocketAddr,
    /// None where only options are to be learned.
    check: Option<Health>,
    users: Vec<(ServiceId, RealId)>,
    finding: Finding,
    was_tried: bool,
}

impl Book {
    /// Makes the book of a daemon with so many workers.
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            next_id: 0,
            targets: BTreeMap::new(),
            reals: BTreeMap::new(),
            learned: BTreeMap::new(),
            stale: BTreeSet::new(),
            offers: BTreeMap::new(),
            orders: BTreeMap::new(),
            told: BTreeMap::new(),
            again: BTreeSet::new(),
            services: BTreeMap::new(),
            restless: BTreeSet::new(),
            withdrawn: BTreeSet::new(),
            ramps: BTreeMap::new(),
            silences: Silences::default(),
            resets: VecDeque::new(),
            events: VecDeque::new(),
            hooks: VecDeque::new(),
            running: BTreeMap::new(),
            next_hook: 0,
            outboxes: vec![Outbox::default(); workers],
        }
    }

    /// Takes what the prober found, and returns what is to be said about it.
    pub(crate) fn take(&mut self, finding: Finding, snapshot: &Snapshot) -> Vec<EventRecord> {
        let Some(watched) = self.targets.get_mut(&finding.id) else {
            // It was on its way when a reload removed its target.
            return Vec::new();
        };
        let mut events = Vec::new();
        let before = std::mem::replace(&mut watched.finding, finding);
        let now = &watched.finding;
        watched.was_tried |= now.is_able;
        let at = watched.address;
        let of = || format!("real server {at} of {}", names(snapshot, &watched.users));
        if now.is_up != before.is_up && watched.check.is_some() {
            events.push(turned(&of(), now, &before).field("real", at));
            for (service, real) in &watched.users {
                if now.is_up {
                    let since = now.since;
                    self.ramps.insert(*real, Ramp { since, step: 0 });
                    continue;
                }
                self.ramps.remove(real);
                let service = snapshot.services.get(service.index());
                let checks = service.filter(|service| service.health.is_some());
                if checks.is_some_and(|service| !service.availability.inhibit) {
                    self.resets.push_back(*real);
                }
            }
        }
        if !now.is_able && before.is_able {
            let error = now.last_error.as_deref().unwrap_or_default();
            let text = format!("{} is not checked: {error}", of());
            events.push(event(Severity::Error, "check-impossible", text).field("real", at));
        }
        if let Some(learned) = now.learned
            && let Some(old) = self.learned.insert(at, learned)
            && old != learned
        {
            let changes = drift(old, learned).join(", ");
            let text = format!("{} changed its options: {changes}", of());
            events.push(event(Severity::Warning, "options-drift", text).field("real", at));
        }
        for (service, _) in &watched.users {
            self.stale.insert(*service);
            self.restless.insert(*service);
        }
        events
    }

    /// Tells the workers what they do not know yet: `send` takes a command to the worker at a
    /// place and says whether there was room for it.
    pub(crate) fn tell(
        &mut self,
        snapshot: &Snapshot,
        mut send: impl FnMut(usize, Command) -> bool,
    ) {
        self.settle(snapshot);
        for id in std::mem::take(&mut self.stale) {
            let service = snapshot.services.get(id.index());
            if let Some(service) = service.filter(|service| is_proxied(service)) {
                let offer = offer(&service.synproxy, &self.seen(service));
                if self.offers.insert(id, offer) != Some(offer) {
                    for outbox in &mut self.outboxes {
                        outbox.offer(id, offer);
                    }
                }
            }
        }
        for (place, outbox) in self.outboxes.iter_mut().enumerate() {
            outbox.empty(|command| send(place, command));
        }
    }

    /// Says whether some worker has not been told everything.
    pub(crate) fn is_behind(&self) -> bool {
        self.outboxes.iter().any(|outbox| !outbox.is_empty())
    }

    /// Returns what clients of a service are offered of what is learned.
    pub(crate) fn offer_of(&self, service: ServiceId) -> Option<Offer> {
        self.offers.get(&service).copied()
    }

    /// Says whether a real server's checks took it down.
    pub(crate) fn is_down(&self, real: RealId) -> bool {
        let watch = self.checked(real);
        let finding = watch.and_then(|watch| self.found(watch));
        finding.is_some_and(|finding| !finding.is_up)
    }

    /// Says whether a real server gets no new sessions because it answered no SYNs.
    pub(crate) fn is_inhibited(&self, real: RealId) -> bool {
        self.silences.inhibited(real).is_some()
    }

    /// Looks for real servers that answer SYNs with nothing, in what the workers count.
    pub(crate) fn look_for_silence(&mut self, snapshot: &Snapshot, traffic: &Traffic, now: Now) {
        let Self {
            silences,
            ramps,
            events,
            restless,
            ..
        } = self;
        silences.look(now, snapshot, traffic, |service, real, turn| {
            restless.insert(service.id);
            let mut reals = service.reals.iter();
            let Some(it) = reals.find(|it| it.id == real) else {
                return;
            };
            let at = SocketAddr::new(it.address, it.port);
            let of = format!("real server {at} of {}", service.name);
            let (severity, code, text) = match turn {
                Turn::Inhibited { syns, lasts } => {
                    ramps.remove(&real);
                    let lasts = humantime::format_duration(lasts);
                    let text =
                        format!("{of} answered none of {syns} SYNs: no new sessions for {lasts}");
                    (Severity::Warning, "real-inhibited", text)
                }
                Turn::Tried => {
                    ramps.insert(
                        real,
                        Ramp {
                            since: now,
                            step: 0,
                        },
                    );
                    let text = format!("{of} gets new sessions again, to see whether it answers");
                    (Severity::Notice, "real-tried", text)
                }
                Turn::Answers => {
                    let text = format!("{of} answers SYNs after all and gets new sessions again");
                    (Severity::Notice, "real-answers", text)
                }
            };
            let said = event(severity, code, text);
            let said = said.field("service", &service.name).field("real", at);
            events.push_back(said);
        });
    }

    /// Returns the next real server that went down and whose sessions are to be reset, once all
    /// workers know that it is down.
    pub(crate) fn next_reset(&mut self) -> Option<RealId> {
        if self.is_behind() {
            return None;
        }
        self.resets.pop_front()
    }

    /// Returns the round-trip time to a real server in microseconds, where checks shake hands with it.
    pub(crate) fn rtt_us(&self, real: RealId) -> Option<u32> {
        self.found(self.reals.get(&real)?)?.rtt_us
    }

    fn seen(&self, service: &Service) -> Vec<Seen> {
        let reals = service.reals.iter();
        reals
            .filter_map(|real| self.watched(self.reals.get(&real.id)?))
            .map(|watched| {
                let learned = self.learned.get(&watched.address).copied();
                Seen {
                    answers: watched.finding.is_up,
                    learned,
                    was_tried: watched.was_tried || learned.is_some(),
                }
            })
            .collect()
    }

    fn watched(&self, watch: &Watch) -> Option<&Watched> {
        self.targets.get(&watch.target?)
    }

    /// Returns how a real server is watched, where a check looks at it.
    fn checked(&self, real: RealId) -> Option<&Watch> {
        self.reals.get(&real).filter(|watch| watch.is_checked)
    }

    /// Returns what the probes of a watched real server found so far.
    fn found(&self, watch: &Watch) -> Option<&Finding> {
        Some(&self.watched(watch)?.finding)
    }

    /// Puts down what an operator ordered of a real server.
    pub(crate) fn order(&mut self, real: RealId, ordered: Ordered) {
        if ordered == Ordered::default() {
            self.orders.remove(&real);
        } else {
            self.orders.insert(real, ordered);
        }
        let service = self.reals.get(&real).map(|watch| watch.service);
        self.restless.extend(service);
    }

    /// Returns what an operator ordered of a real server.
    pub(crate) fn ordered(&self, real: RealId) -> Ordered {
        self.orders.get(&real).copied().unwrap_or_default()
    }

    /// Returns the weight of a real server as it is now: by a command, a check or the file.
    pub(crate) fn weight(&self, real: &RealServer) -> u16 {
        self.standing(real).weight
    }

    /// Returns what checks and commands say of a real server, looked up once: consoles ask for all of
    /// them each second.
    pub(crate) fn standing(&self, real: &RealServer) -> Standing {
        let watch = self.checked(real.id);
        let finding = watch.and_then(|watch| self.found(watch));
        let ordered = self.ordered(real.id).weight;
        let asked = finding.and_then(|finding| finding.weight);
        Standing {
            is_checked: watch.is_some(),
            is_down: finding.is_some_and(|finding| !finding.is_up),
            weight: ordered.or(asked).unwrap_or(real.weight),
        }
    }

    /// Says whether some real server may be down or inhibited; mostly none is, and then nobody has to
    /// look for it among all of them.
    pub(crate) fn may_be_out(&self) -> bool {
        let mut targets = self.targets.values();
        targets.any(|watched| !watched.finding.is_up) || self.silences.any_inhibited()
    }

    /// Returns what the workers know of a real server.
    pub(crate) fn told(&self, real: RealId) -> RealState {
        self.told.get(&real).copied().unwrap_or_default()
    }

    /// Returns the state of a service as a whole, and why it is not as it should be.
    pub(crate) fn service_state(&self, service: &Service) -> (&'static str, Option<String>) {
        let status = self.services.get(&service.id);
        status.map_or_else(|| ("up", None), |status| status.words(service))
    }

    /// Returns the next thing that is to be said about services.
    pub(crate) fn next_event(&mut self) -> Option<EventRecord> {
        self.events.pop_front()
    }
}

fn is_proxied(service: &Service) -> bool {
    match service.synproxy.mode {
        SynproxyMode::Off => false,
        SynproxyMode::Adaptive | SynproxyMode::Always => service.protocol == Protocol::Tcp,
    }
}

/// Says whether a service offers what is learned of its real servers.
pub(crate) fn learns(service: &Service) -> bool {
    is_proxied(service) && service.synproxy.learned
}

#[cfg(test)]
mod tests;
