//! The book: what control knows of every real server's health, and whom it still has to tell.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use weir_control::{HealthRow, LearnedRow};
use weir_model::{
    EventClass, Health, Offer, Protocol, RealId, Service, ServiceId, Severity, Snapshot,
    SynproxyMode,
};

use super::offer::{Seen, drift, offer};
use super::outbox::Outbox;
use super::{Finding, Target, TargetId};
use crate::command::Command;
use crate::event::EventRecord;

/// Names of services in one sentence; there may be hundreds that share a real server.
const NAMES: usize = 5;

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
    /// Real servers that the workers were told to be down.
    told_down: BTreeSet<RealId>,
    /// What each worker has still to be told.
    outboxes: Vec<Outbox>,
}

/// How a real server is watched.
#[derive(Clone, Copy, Debug)]
struct Watch {
    known_since_ms: u64,
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

type ByAddress = BTreeMap<SocketAddr, Vec<TargetId>>;

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
            told_down: BTreeSet::new(),
            outboxes: vec![Outbox::default(); workers],
        }
    }

    /// Takes the snapshot that holds from now on, and returns what is to be probed. Targets that
    /// stay keep what is known of them; the workers are told everything again.
    pub(crate) fn adopt(&mut self, snapshot: &Snapshot, wall_ms: u64) -> Vec<Target> {
        let before = std::mem::take(&mut self.targets);
        let places_before = by_address(&before);
        let mut places = ByAddress::new();
        let known = std::mem::take(&mut self.reals);
        // Checks first, so that those who only learn can listen to them.
        for checks in [true, false] {
            let services = snapshot.services.iter();
            for service in services.filter(|service| service.health.is_some() == checks) {
                for real in &service.reals {
                    let at = SocketAddr::new(real.address, real.port);
                    let target = (checks || learns(service)).then(|| {
                        let check = service.health.as_ref();
                        let found = self.find(places.get(&at), check).unwrap_or_else(|| {
                            let old = places_before.get(&at);
                            let old = old.into_iter().flatten();
                            let old = old.filter_map(|id| before.get(id));
                            let id = self.add(at, check, old, wall_ms);
                            places.entry(at).or_default().push(id);
                            id
                        });
                        if let Some(watched) = self.targets.get_mut(&found) {
                            watched.users.push((service.id, real.id));
                        }
                        found
                    });
                    let known = known.get(&real.id);
                    let watch = Watch {
                        known_since_ms: known.map_or(wall_ms, |watch| watch.known_since_ms),
                        target,
                        is_checked: checks,
                    };
                    self.reals.insert(real.id, watch);
                }
            }
        }
        self.learned.retain(|at, _| places.contains_key(at));
        self.tell_everything(snapshot);
        let targets = self.targets.values();
        targets
            .map(|watched| Target {
                id: watched.finding.id,
                address: watched.address,
                health: watched.check.clone().unwrap_or_default(),
                is_up: watched.finding.is_up,
                since_ms: watched.finding.since_ms,
            })
            .collect()
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
            for (_, real) in &watched.users {
                if self.reals.get(real).is_some_and(|watch| watch.is_checked) {
                    turn(&mut self.outboxes, &mut self.told_down, *real, now.is_up);
                }
            }
            events.push(turned(&of(), now, &before).field("real", at));
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
        let users = watched.users.iter();
        self.stale.extend(users.map(|(service, _)| *service));
        events
    }

    /// Tells the workers what they do not know yet: `send` takes a command to the worker at a
    /// place and says whether there was room for it.
    pub(crate) fn tell(
        &mut self,
        snapshot: &Snapshot,
        mut send: impl FnMut(usize, Command) -> bool,
    ) {
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
        let watch = self.reals.get(&real).filter(|watch| watch.is_checked);
        watch
            .and_then(|watch| self.watched(watch))
            .is_some_and(|watched| !watched.finding.is_up)
    }

    /// Returns a row for each real server of each service, or of the one that is asked for.
    pub(crate) fn rows(&self, snapshot: &Snapshot, only: Option<ServiceId>) -> Vec<HealthRow> {
        let services = snapshot.services.iter();
        let mut rows = Vec::new();
        for service in services.filter(|service| only.is_none_or(|id| id == service.id)) {
            for real in &service.reals {
                let at = SocketAddr::new(real.address, real.port);
                rows.push(self.row(service, real.id, at));
            }
        }
        rows
    }

    fn row(&self, service: &Service, real: RealId, at: SocketAddr) -> HealthRow {
        let watch = self.reals.get(&real);
        let watched = watch.and_then(|watch| self.watched(watch));
        let finding = watched.map(|watched| &watched.finding);
        let checked = finding.filter(|_| watch.is_some_and(|watch| watch.is_checked));
        let (state, since_ms) = match checked {
            Some(finding) if finding.is_up => ("up", finding.since_ms),
            Some(finding) => ("down", finding.since_ms),
            None => ("unchecked", watch.map_or(0, |watch| watch.known_since_ms)),
        };
        let learned = watched.and_then(|watched| self.learned.get(&watched.address));
        HealthRow {
            service: service.name.clone(),
            real: at.to_string(),
            state: state.to_owned(),
            since: rfc3339(since_ms),
            last_error: finding.and_then(|finding| finding.last_error.clone()),
            learned: learned.map(|options| LearnedRow {
                mss: options.mss,
                wscale: options.wscale,
                sack: options.sack,
                timestamps: options.timestamps,
            }),
        }
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

    /// Finds the target that serves a check among those of its address; who only learns takes any.
    fn find(&self, places: Option<&Vec<TargetId>>, check: Option<&Health>) -> Option<TargetId> {
        let mut places = places?.iter().copied();
        places.find(|id| {
            let target = self.targets.get(id);
            check.is_none() || target.is_some_and(|target| target.check.as_ref() == check)
        })
    }

    /// Adds a target: the one of before where there is one, else a new one, which is taken to be
    /// in the state that another check of the same address has found.
    fn add<'a>(
        &mut self,
        address: SocketAddr,
        check: Option<&Health>,
        before: impl Iterator<Item = &'a Watched> + Clone,
        wall_ms: u64,
    ) -> TargetId {
        let same = before.clone().find(|old| old.check.as_ref() == check);
        let mut checked = before.filter(|old| old.check.is_some());
        let other = check.and_then(|_| checked.next());
        let watched = match same {
            Some(same) => Watched {
                users: Vec::new(),
                ..same.clone()
            },
            None => Watched {
                address,
                check: check.cloned(),
                users: Vec::new(),
                finding: Finding {
                    id: self.next_id(),
                    is_up: other.is_none_or(|other| other.finding.is_up),
                    since_ms: other.map_or(wall_ms, |other| other.finding.since_ms),
                    last_error: other.and_then(|other| other.finding.last_error.clone()),
                    is_able: true,
                    learned: None,
                },
                was_tried: false,
            },
        };
        let id = watched.finding.id;
        self.targets.insert(id, watched);
        id
    }

    fn next_id(&mut self) -> TargetId {
        self.next_id += 1;
        TargetId(self.next_id)
    }

    /// Whatever a worker keeps or forgets with a new snapshot, it will know.
    fn tell_everything(&mut self, snapshot: &Snapshot) {
        let told_down = std::mem::take(&mut self.told_down);
        let reals = snapshot.services.iter().flat_map(|service| &service.reals);
        for real in reals {
            let is_down = self.is_down(real.id);
            if is_down || told_down.contains(&real.id) {
                turn(&mut self.outboxes, &mut self.told_down, real.id, !is_down);
            }
        }
        self.offers.clear();
        let services = snapshot.services.iter();
        self.stale = services.map(|service| service.id).collect();
    }
}

fn turn(outboxes: &mut [Outbox], told_down: &mut BTreeSet<RealId>, real: RealId, up: bool) {
    if up {
        told_down.remove(&real);
    } else {
        told_down.insert(real);
    }
    for outbox in outboxes {
        outbox.health(real, up);
    }
}

fn event(severity: Severity, code: &'static str, text: String) -> EventRecord {
    EventRecord::new(EventClass::Health, severity, code, text)
}

fn turned(of: &str, now: &Finding, before: &Finding) -> EventRecord {
    if now.is_up {
        let seconds = now.since_ms.saturating_sub(before.since_ms) / 1000;
        let down = humantime::format_duration(Duration::from_secs(seconds));
        let text = format!("{of} is up again after {down}");
        return event(Severity::Notice, "real-up", text);
    }
    let error = now.last_error.as_deref().unwrap_or("no answer");
    let text = format!("{of} is down: {error}");
    event(Severity::Warning, "real-down", text)
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

fn by_address(targets: &BTreeMap<TargetId, Watched>) -> ByAddress {
    let mut places = ByAddress::new();
    for (id, watched) in targets {
        places.entry(watched.address).or_default().push(*id);
    }
    places
}

fn names(snapshot: &Snapshot, users: &[(ServiceId, RealId)]) -> String {
    let all: BTreeSet<&str> = users
        .iter()
        .filter_map(|(id, _)| snapshot.services.get(id.index()))
        .map(|service| service.name.as_str())
        .collect();
    let some: Vec<&str> = all.iter().copied().take(NAMES).collect();
    match all.len().saturating_sub(NAMES) {
        0 => some.join(", "),
        more => format!("{} and {more} more", some.join(", ")),
    }
}

fn rfc3339(wall_ms: u64) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(wall_ms);
    humantime::format_rfc3339_seconds(at).to_string()
}

#[cfg(test)]
mod tests;
