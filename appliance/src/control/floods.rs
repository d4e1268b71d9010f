//! Floods as control sees them: the sum of all workers, rates, and which service has one.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use synproxy_engine::{Fingerprint, false_accept};
use weir_control::{CapacityRow, FingerprintRow, FloodRow, SourceRow};
use weir_director::FLOOD_KEYS;
use weir_model::{
    Event, FloodCounters, LATENCY_BOUNDS_US, Protocol, Service, ServiceId, Snapshot, SynproxyMode,
    Time,
};

use crate::capacity::{self, Capacity};
use crate::control::answer::listen;
use crate::control::floods::alarm::{Alarm, Turn};
use crate::control::second::Second;
use crate::publish::flood::{Flood, ServiceFlood};

mod alarm;

/// How long the rate of SYNs looks back.
const RATE_WINDOW: Duration = Duration::from_secs(1);
/// How long the share and the latency of handshakes look back, and how often they look.
const HANDSHAKE_WINDOW: Duration = Duration::from_secs(10);
const HANDSHAKE_EVERY: Duration = Duration::from_secs(1);
/// How often control looks whether the machine was measured anew.
const CAPACITY_EVERY: Duration = Duration::from_secs(2);

/// The floods of all services.
#[derive(Debug, Default)]
pub(crate) struct Floods {
    services: BTreeMap<ServiceId, Watched>,
    /// When the file was read last, and what stands there or why nothing does.
    capacity: Option<(Instant, Result<Capacity, String>)>,
}

/// What is remembered of a service.
#[derive(Debug, Default)]
struct Watched {
    alarm: Alarm,
    /// The last worker's event that began or ended a flood, and that worker.
    heard: Option<(usize, Event)>,
    /// Since when cookies are sent.
    active: Option<(Instant, SystemTime)>,
    /// The most SYNs in a second since then, or while they last were.
    peak: Option<u64>,
    syns: History<u64>,
    handshakes: History<FloodCounters>,
}

/// Values of a while ago and since: the first is the youngest that is as old as the window.
#[derive(Debug)]
struct History<T>(VecDeque<(Instant, T)>);

impl Floods {
    /// Notes a worker's own event, for what it says about the one that control makes of all.
    pub(crate) fn heard(&mut self, worker: usize, event: &Event) {
        if let Event::FloodBegan { service, .. } | Event::FloodEnded { service, .. } = event {
            let watched = self.services.entry(*service).or_default();
            watched.heard = Some((worker, *event));
        }
    }

    /// Looks at what the workers published, and returns the floods that began and ended, each with
    /// the worker that saw it first or last.
    pub(crate) fn look(
        &mut self,
        now: Instant,
        wall: SystemTime,
        snapshot: &Snapshot,
        workers: &[Flood],
    ) -> Vec<(usize, Event)> {
        let mut turned = Vec::new();
        for service in tcp_services(snapshot) {
            let watched = self.services.entry(service.id).or_default();
            turned.extend(watched.look(now, wall, service, workers));
        }
        let gone = |id: &ServiceId| snapshot.services.get(id.index()).is_none();
        self.services.retain(|id, watched| {
            if !gone(id) {
                return true;
            }
            let turn = watched.alarm.end(now);
            turned.extend(turn.map(|turn| watched.event(*id, turn, 0)));
            false
        });
        turned
    }

    /// Calls `tell` for what workers are to be told of the others; what it says no to is told
    /// another time.
    pub(crate) fn hint(&mut self, mut tell: impl FnMut(usize, ServiceId, bool) -> bool) {
        for (id, watched) in &mut self.services {
            let hints: Vec<_> = watched.alarm.hints().collect();
            for (worker, flood) in hints {
                if tell(worker, *id, flood) {
                    watched.alarm.told(worker, flood);
                }
            }
        }
    }

    /// Notes that a worker took another snapshot.
    pub(crate) fn restarted(&mut self, worker: usize) {
        for watched in self.services.values_mut() {
            watched.alarm.restarted(worker);
        }
    }

    /// Reads now and then what the machine can do, from where `weir bench` keeps it.
    pub(crate) fn look_at_capacity(&mut self, now: Instant, path: &Path) {
        let last = self.capacity.as_ref().map(|(at, _)| *at);
        if last.is_none_or(|at| now.saturating_duration_since(at) >= CAPACITY_EVERY) {
            self.capacity = Some((now, capacity::read(path)));
        }
    }

    /// How much of what the machine can do all services use.
    fn capacity(&self, workers: usize, second: Option<&Second>) -> CapacityRow {
        let row = CapacityRow {
            workers: workers as u32,
            busy_percent: second.map_or(0, Second::busiest_percent),
            ..CapacityRow::default()
        };
        match self.capacity.as_ref().map(|(_, read)| read) {
            None => row,
            Some(Err(note)) => CapacityRow {
                note: Some(note.clone()),
                ..row
            },
            Some(Ok(capacity)) => {
                let all = capacity.cookies_per_s.saturating_mul(workers as u64);
                let used = second.map_or(0, |it| it.services.syns.syn_in);
                CapacityRow {
                    syn_per_s: Some(all),
                    measured: Some(capacity.measured.clone()),
                    used_percent: Some(percent(used, all)),
                    ..row
                }
            }
        }
    }

    /// Says whether a service's SYNs are answered with cookies.
    pub(crate) fn is_active(&self, service: ServiceId) -> bool {
        let watched = self.services.get(&service);
        watched.is_some_and(|watched| watched.active.is_some())
    }

    /// Returns a row for each TCP service, or for the one that is asked for.
    pub(crate) fn rows(
        &self,
        now: Instant,
        snapshot: &Snapshot,
        only: Option<ServiceId>,
        workers: &[Flood],
        second: Option<&Second>,
    ) -> Vec<FloodRow> {
        let quiet = Watched::default();
        let capacity = self.capacity(workers.len(), second);
        tcp_services(snapshot)
            .filter(|service| only.is_none_or(|id| id == service.id))
            .map(|service| {
                let watched = self.services.get(&service.id).unwrap_or(&quiet);
                let flood = sum(workers, service.id);
                FloodRow {
                    capacity: capacity.clone(),
                    ..watched.row(now, service, &flood, second)
                }
            })
            .collect()
    }
}

impl Watched {
    fn look(
        &mut self,
        now: Instant,
        wall: SystemTime,
        service: &Service,
        workers: &[Flood],
    ) -> Option<(usize, Event)> {
        let id = service.id;
        let sum = sum(workers, id);
        self.syns.push(now, RATE_WINDOW, sum.counters.syn_in);
        if self.handshakes.is_due(now, HANDSHAKE_EVERY) {
            self.handshakes.push(now, HANDSHAKE_WINDOW, sum.counters);
        }
        let rate = self.syn_per_s();
        match (self.active, sum.counters.active > 0) {
            (None, true) => {
                self.active = Some((now, wall));
                self.peak = Some(rate);
            }
            (Some(_), true) => self.peak = self.peak.max(Some(rate)),
            (Some(_), false) => self.active = None,
            (None, false) => {}
        }
        // A trigger that a reload took the say from stays as it was.
        let adaptive = service.synproxy.mode == SynproxyMode::Adaptive;
        let triggered = workers.iter().map(|worker| {
            let flood = worker.service(id);
            adaptive && flood.is_some_and(|flood| flood.triggered)
        });
        let turn = self.alarm.look(now, triggered, rate)?;
        Some(self.event(id, turn, sum.counters.half_open))
    }

    /// Makes the event of all workers out of the last worker's one.
    fn event(&mut self, service: ServiceId, turn: Turn, half_open: u64) -> (usize, Event) {
        let heard = self.heard.take();
        match (turn, heard) {
            (Turn::Began { .. }, Some(heard @ (_, Event::FloodBegan { .. }))) => heard,
            (Turn::Began { worker }, _) => {
                // The worker's own event was lost: the rate stands for what was not answered.
                let event = Event::FloodBegan {
                    at: Time::default(),
                    service,
                    unanswered: narrow(self.syn_per_s()),
                    half_open: narrow(half_open),
                };
                (worker, event)
            }
            (Turn::Ended { peak, lasted }, heard) => {
                let (worker, at) = match heard {
                    Some((worker, Event::FloodEnded { at, .. })) => (worker, at),
                    Some((worker, _)) => (worker, Time::default()),
                    None => (0, Time::default()),
                };
                let event = Event::FloodEnded {
                    at,
                    service,
                    peak: narrow(peak),
                    lasted_ms: narrow(lasted.as_millis() as u64),
                };
                (worker, event)
            }
        }
    }

    fn syn_per_s(&self) -> u64 {
        let Some((elapsed, first, last)) = self.syns.span() else {
            return 0;
        };
        let micros = elapsed.as_micros() as u64;
        let grown = last.saturating_sub(*first).saturating_mul(1_000_000);
        grown.checked_div(micros).unwrap_or(0)
    }

    fn row(
        &self,
        now: Instant,
        service: &Service,
        flood: &ServiceFlood,
        second: Option<&Second>,
    ) -> FloodRow {
        let FloodCounters {
            syn_in,
            cookie_sent,
            passed,
            limited,
            cookie_valid,
            cookie_bad,
            cookie_stale,
            completed,
            failed,
            half_open,
            active: _,
            latency,
        } = flood.counters;
        let recent = self.handshakes.first().map(|first| Handshakes {
            completed: completed.saturating_sub(first.completed),
            failed: failed.saturating_sub(first.failed),
            latency: std::array::from_fn(|at| {
                let grown = |all: &[u64]| all.get(at).copied().unwrap_or_default();
                grown(&latency).saturating_sub(grown(&first.latency))
            }),
        });
        let per_s = second.and_then(|second| second.services.flood(service.id));
        let syn_per_s = per_s.map_or(0, |rates| rates.syn_in);
        // The second began at another moment than the one with the most of them.
        let at_least = self.active.map_or(0, |_| syn_per_s);
        let sources = flood.sources.heaviest();
        let sources = sources.filter(|top| top.syn_per_s.saturating_mul(100) >= syn_per_s);
        let sources = sources.map(|top| SourceRow {
            prefix: format!("{}/24", std::net::Ipv4Addr::from(top.key as u32)),
            syn_per_s: top.syn_per_s,
        });
        let top_sources: Vec<SourceRow> = sources.collect();
        let fingerprints = flood.fingerprints.heaviest().map(|top| FingerprintRow {
            fingerprint: Fingerprint(top.key).to_string(),
            syn_per_s: top.syn_per_s,
        });
        let top_fingerprints: Vec<FingerprintRow> = fingerprints.collect();
        // Of no more prefixes than are followed, one at least would have its share of the samples.
        let is_spread = top_sources.is_empty() && !top_fingerprints.is_empty();
        FloodRow {
            service: service.name.clone(),
            listen: listen(service),
            mode: service.synproxy.mode.name().to_owned(),
            active: self.active.is_some(),
            since: self
                .active
                .map(|(_, wall)| humantime::format_rfc3339_seconds(wall).to_string()),
            active_s: self
                .active
                .map(|(since, _)| now.saturating_duration_since(since).as_secs()),
            syn_in,
            cookie_sent,
            passed,
            limited,
            cookie_valid,
            cookie_bad,
            cookie_stale,
            completed,
            failed,
            success_percent: recent.as_ref().and_then(Handshakes::success_percent),
            p99_us: recent.as_ref().and_then(Handshakes::p99_us),
            half_open,
            syn_per_s,
            peak_syn_per_s: self.peak.map(|peak| peak.max(at_least)),
            false_accept: false_accept().to_string(),
            spread_over: is_spread.then_some(FLOOD_KEYS as u64),
            top_sources,
            top_fingerprints,
            per_s,
            second: second.map_or(0, |second| second.number),
            ..FloodRow::default()
        }
    }
}

/// The handshakes that ended lately.
#[derive(Clone, Copy, Debug)]
struct Handshakes {
    completed: u64,
    failed: u64,
    latency: [u64; weir_model::LATENCY_BUCKETS],
}

impl Handshakes {
    fn success_percent(&self) -> Option<f64> {
        let all = self.completed + self.failed;
        // In thousandths, rounded down: 100 means that nothing failed.
        let thousandths = (self.completed * 100_000).checked_div(all)?;
        Some(f64::from(thousandths as u32) / 1000.0)
    }

    /// The bound of the bucket in which the 99th of 100 handshakes lies.
    fn p99_us(&self) -> Option<u64> {
        let count: u64 = self.latency.iter().sum();
        if count == 0 {
            return None;
        }
        let wanted = (count * 99).div_ceil(100);
        let mut seen = 0;
        let at = self.latency.iter().position(|in_bucket| {
            seen += in_bucket;
            seen >= wanted
        })?;
        LATENCY_BOUNDS_US.get(at).map(|bound| u64::from(*bound))
    }
}

impl<T> Default for History<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T> History<T> {
    fn push(&mut self, now: Instant, window: Duration, value: T) {
        while self
            .0
            .get(1)
            .is_some_and(|(second, _)| now.saturating_duration_since(*second) >= window)
        {
            self.0.pop_front();
        }
        self.0.push_back((now, value));
    }

    fn is_due(&self, now: Instant, every: Duration) -> bool {
        let last = self.0.back();
        last.is_none_or(|(at, _)| now.saturating_duration_since(*at) >= every)
    }

    fn first(&self) -> Option<&T> {
        self.0.front().map(|(_, value)| value)
    }

    fn span(&self) -> Option<(Duration, &T, &T)> {
        let ((first_at, first), (last_at, last)) = (self.0.front()?, self.0.back()?);
        Some((*last_at - *first_at, first, last))
    }
}

fn tcp_services(snapshot: &Snapshot) -> impl Iterator<Item = &Service> {
    let services = snapshot.services.iter();
    services.filter(|service| service.protocol == Protocol::Tcp)
}

fn sum(workers: &[Flood], id: ServiceId) -> ServiceFlood {
    let mut sum = ServiceFlood::default();
    for flood in workers.iter().filter_map(|worker| worker.service(id)) {
        sum.add(flood);
    }
    sum
}

/// In percent, to a thousandth.
fn percent(part: u64, whole: u64) -> f64 {
    f64::from(narrow(part.saturating_mul(100_000) / whole.max(1))) / 1000.0
}

fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
