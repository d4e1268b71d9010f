//! The book: what control knows of every real server's health, and whom it still has to tell.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use weir_model::{
    EventClass, Health, Now, Offer, Protocol, RealId, RealServer, RealState, SchedulerKind,
    Service, ServiceId, Severity, Snapshot, SynproxyMode,
};

use super::offer::{Seen, drift, offer};
use super::outbox::Outbox;
use super::passive::{Silences, Turn};
use super::runner::{End, Ran, Run};
use super::service::{Share, Status, hook, last_hook};
use super::{Finding, Target, TargetId};
use crate::command::Command;
use crate::event::EventRecord;
use crate::publish::Traffic;

mod rows;

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

/// In how many steps a share grows.
const STEPS: u64 = 20;
/// A weight of one cannot be parted: while a share grows, all weights of the service count so
/// many times.
const PARTS: u16 = 100;

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

    /// Takes the snapshot that holds from now on, and returns what is to be probed. Targets that
    /// stay keep what is known of them; the workers are told everything again.
    pub(crate) fn adopt(&mut self, snapshot: &Snapshot, now: Now) -> Vec<Target> {
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
                            let id = self.add(at, check, old, now);
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
                        service: service.id,
                        known_since: known.map_or(now, |watch| watch.known_since),
                        target,
                        is_checked: checks,
                    };
                    self.reals.insert(real.id, watch);
                }
            }
        }
        self.learned.retain(|at, _| places.contains_key(at));
        self.silences.adopt(snapshot);
        self.tell_everything(snapshot);
        let targets = self.targets.values();
        targets
            .map(|watched| Target {
                id: watched.finding.id,
                address: watched.address,
                health: watched.check.clone().unwrap_or_default(),
                is_up: watched.finding.is_up,
                since: watched.finding.since,
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
        now: Now,
    ) -> TargetId {
        let same = before.clone().find(|old| old.check.as_ref() == check);
        let mut checked = before.filter(|old| old.check.is_some());
        let other = check.and_then(|_| checked.next());
        let is_alpha = check.is_some_and(|check| check.alpha);
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
                    is_up: other.map_or(!is_alpha, |other| other.finding.is_up),
                    since: other.map_or(now, |other| other.finding.since),
                    last_error: other.and_then(|other| other.finding.last_error.clone()),
                    is_able: true,
                    learned: None,
                    weight: None,
                    rtt_us: None,
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

    /// Returns the next hook that is to run.
    pub(crate) fn next_hook(&mut self) -> Option<Run> {
        let run = self.hooks.pop_front()?;
        let service = run.environment.first().map(|(_, name)| name.clone());
        let of = (run.program.clone(), service.unwrap_or_default());
        self.running.insert(run.ticket, of);
        Some(run)
    }

    /// Takes what became of a hook.
    pub(crate) fn ran(&mut self, ran: &Ran) {
        let Some((program, service)) = self.running.remove(&ran.ticket) else {
            return;
        };
        let why = match &ran.end {
            End::Exit(0) => return,
            End::Exit(status) => format!("it ended with exit status {status}"),
            End::Signal(signal) => format!("it was ended by signal {signal}"),
            End::Late => "it did not end in time".to_owned(),
            End::NotRun(sentence) => sentence.clone(),
        };
        let words: Vec<&str> = ran.output.split_whitespace().take(20).collect();
        let mut text = format!("the hook {program} of {service} failed: {why}");
        if !words.is_empty() {
            let words = words.join(" ");
            text = format!("{text} ({})", words.escape_debug());
        }
        let failed = event(Severity::Error, "hook-failed", text);
        self.events.push_back(failed.field("service", service));
    }

    /// Has the hooks run that are asked for at the end.
    pub(crate) fn stop(&mut self, snapshot: &Snapshot) {
        for service in snapshot.services.iter() {
            if let Some(status) = self.services.get(&service.id) {
                self.next_hook += 1;
                self.hooks
                    .extend(last_hook(service, *status, self.next_hook));
            }
        }
    }

    /// Says whether hooks have yet to end.
    pub(crate) fn has_hooks(&self) -> bool {
        !self.hooks.is_empty() || !self.running.is_empty()
    }

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

    fn share(&self, real: &RealServer) -> Share {
        Share {
            is_up: !self.is_down(real.id) && !self.is_inhibited(real.id),
            is_draining: self.ordered(real.id).draining,
            weight: self.weight(real),
        }
    }

    /// Finds out what holds for services that something happened to, and puts down what the workers
    /// are to be told of it.
    fn settle(&mut self, snapshot: &Snapshot) {
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

    /// Whatever a worker keeps or forgets with a new snapshot, it will know.
    fn tell_everything(&mut self, snapshot: &Snapshot) {
        let reals = &self.reals;
        self.orders.retain(|real, _| reals.contains_key(real));
        self.told.retain(|real, _| reals.contains_key(real));
        self.again = self.told.keys().copied().collect();
        // Those of before, too: one of them may be gone.
        self.restless.extend(self.services.keys());
        let services = snapshot.services.iter();
        self.restless.extend(services.map(|service| service.id));
        self.offers.clear();
        let services = snapshot.services.iter();
        self.stale = services.map(|service| service.id).collect();
    }
}

fn event(severity: Severity, code: &'static str, text: String) -> EventRecord {
    EventRecord::new(EventClass::Health, severity, code, text)
}

fn turned(of: &str, now: &Finding, before: &Finding) -> EventRecord {
    if now.is_up {
        // By the clock that nobody sets.
        let down = now.since.time.since(before.since.time);
        let down = humantime::format_duration(Duration::from_secs(down.as_secs()));
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

#[cfg(test)]
mod tests;
