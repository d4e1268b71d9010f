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

/// How much there was to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load<'a> {
    /// What the last second counted.
    pub(crate) second: Option<&'a Second>,
    /// How busy the busiest worker is, in percent.
    pub(crate) busiest: u32,
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
    fn capacity(&self, workers: usize, load: Load<'_>) -> CapacityRow {
        let row = CapacityRow {
            workers: workers as u32,
            busy_percent: load.busiest,
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
                let used = load.second.map_or(0, |it| it.services.syns.syn_in);
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
        load: Load<'_>,
    ) -> Vec<FloodRow> {
        let quiet = Watched::default();
        let capacity = self.capacity(workers.len(), load);
        tcp_services(snapshot)
            .filter(|service| only.is_none_or(|id| id == service.id))
            .map(|service| {
                let watched = self.services.get(&service.id).unwrap_or(&quiet);
                let flood = sum(workers, service.id);
                FloodRow {
                    capacity: capacity.clone(),
                    ..watched.row(now, service, &flood, load.second)
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
mod tests {
    use std::sync::Arc;

    use weir_model::HeavyHitter;
    use weir_testkit::snapshot;

    use super::*;
    use crate::control::second::Look;
    use crate::control::second::services::ServiceBooks;
    use crate::publish::{Boards, Traffic};
    use crate::testing::{around, dns};

    const CONF: &str = concat!(
        around!(),
        "[synproxy adaptive]
mode = adaptive
[service web]
listen = 10.80.0.100:80/tcp
lip-pool = blue
synproxy = adaptive
real = 10.80.0.11:80
"
    );
    const DNS: &str = dns!();

    /// Two workers whose boards the test writes, and a clock.
    struct Played {
        floods: Floods,
        looked: Look,
        second: Option<Second>,
        snapshot: Snapshot,
        boards: Vec<Arc<Boards>>,
        now: Instant,
        wall: SystemTime,
    }

    impl Played {
        fn new() -> Self {
            let snapshot = snapshot("test.conf", &format!("{CONF}{DNS}")).unwrap();
            Self {
                floods: Floods::default(),
                looked: Look::default(),
                second: None,
                boards: (0..2).map(|_| Boards::new(&snapshot)).collect(),
                snapshot,
                now: Instant::now(),
                wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_799_999_999),
            }
        }

        fn web(&self) -> ServiceId {
            let mut services = self.snapshot.services.iter();
            services.find(|service| service.name == "web").unwrap().id
        }

        fn write(&self, worker: usize, flood: &ServiceFlood) {
            self.boards[worker].flood.write(0, |_| flood.clone());
        }

        fn read(&self) -> Vec<Flood> {
            let boards = self.boards.iter();
            boards.map(|boards| boards.flood.read()).collect()
        }

        fn look_after(&mut self, millis: u64) -> Vec<(usize, Event)> {
            self.now += Duration::from_millis(millis);
            self.wall += Duration::from_millis(millis);
            let read = self.read();
            let look = Look {
                services: ServiceBooks::of(&self.snapshot, &Traffic::default(), &read),
                ..Look::default()
            };
            let elapsed = Duration::from_millis(millis);
            self.second = Second::between(1, &self.looked, &look, elapsed);
            self.looked = look;
            self.floods.look(self.now, self.wall, &self.snapshot, &read)
        }

        fn row(&self) -> FloodRow {
            let read = self.read();
            let load = Load {
                second: self.second.as_ref(),
                busiest: 37,
            };
            let mut rows = self
                .floods
                .rows(self.now, &self.snapshot, None, &read, load);
            assert_eq!(rows.len(), 1, "UDP has no SYNs");
            rows.remove(0)
        }
    }

    fn flood(syn_in: u64, triggered: bool) -> ServiceFlood {
        ServiceFlood {
            counters: FloodCounters {
                syn_in,
                cookie_sent: syn_in,
                active: u64::from(triggered),
                ..FloodCounters::default()
            },
            triggered,
            ..ServiceFlood::default()
        }
    }

    #[test]
    fn a_flood_of_two_workers_is_one_with_their_rates_together() {
        let mut played = Played::new();
        let service = played.web();
        played.look_after(0);
        let began = Event::FloodBegan {
            at: Time::from_micros(7),
            service,
            unanswered: 900,
            half_open: 3,
        };
        played.floods.heard(1, &began);
        played.write(1, &flood(1_000, true));
        assert_eq!(played.look_after(1_000), [(1, began)]);
        assert!(played.floods.is_active(service));
        let own = Event::FloodBegan {
            at: Time::from_micros(8),
            service,
            unanswered: 800,
            half_open: 1,
        };
        played.floods.heard(0, &own);
        played.write(0, &flood(4_000, true));
        played.write(1, &flood(2_000, true));
        assert_eq!(played.look_after(1_000), []);
        let row = played.row();
        assert_eq!((row.syn_in, row.cookie_sent), (6_000, 6_000));
        assert_eq!((row.syn_per_s, row.peak_syn_per_s), (5_000, Some(5_000)));
        assert_eq!((row.active, row.active_s), (true, Some(1)));
        assert_eq!(row.since.as_deref(), Some("2027-01-15T08:00:00Z"));
        played.write(0, &flood(4_100, false));
        assert_eq!(played.look_after(30_000), []);
        let ended = Event::FloodEnded {
            at: Time::from_micros(9),
            service,
            peak: 100,
            lasted_ms: 5,
        };
        played.floods.heard(1, &ended);
        played.write(1, &flood(2_000, false));
        let all_ended = Event::FloodEnded {
            at: Time::from_micros(9),
            service,
            peak: 5_000,
            lasted_ms: 32_000,
        };
        assert_eq!(played.look_after(1_000), [(1, all_ended)]);
        assert!(!played.floods.is_active(service));
        let row = played.row();
        assert_eq!((row.active, row.since, row.active_s), (false, None, None));
        assert_eq!(row.peak_syn_per_s, Some(5_000), "that of the last flood");
    }

    #[test]
    fn what_is_in_use_is_a_share_of_what_all_workers_can_do() {
        let mut played = Played::new();
        assert_eq!(played.row().capacity.note, None, "nobody has looked yet");
        let path = std::env::temp_dir().join(format!("weir-{}-used.json", std::process::id()));
        played.floods.look_at_capacity(played.now, &path);
        let row = played.row().capacity;
        let note = row.note.as_deref();
        assert_eq!(note, Some("not measured: run `weir bench`"));
        assert_eq!((row.workers, row.busy_percent), (2, 37));
        let measured = Capacity {
            measured: "2026-11-22T20:00:00Z".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cpu: capacity::cpu(),
            cookies_per_s: 10_000,
            ..Capacity::default()
        };
        capacity::write(&path, &measured).unwrap();
        played.look_after(0);
        played.write(0, &flood(4_000, true));
        played.write(1, &flood(1_000, true));
        played.look_after(1_000);
        played.floods.look_at_capacity(played.now, &path);
        assert!(played.row().capacity.note.is_some(), "not yet again");
        played
            .floods
            .look_at_capacity(played.now + CAPACITY_EVERY, &path);
        std::fs::remove_file(&path).unwrap();
        let row = played.row().capacity;
        assert_eq!(
            (row.syn_per_s, row.used_percent),
            (Some(20_000), Some(25.0))
        );
        assert_eq!(row.measured.as_deref(), Some("2026-11-22T20:00:00Z"));
        // Before the first second, too, the figure is there, and nobody says why it were not.
        played.second = None;
        let row = played.row().capacity;
        assert_eq!((row.syn_per_s, row.used_percent), (Some(20_000), Some(0.0)));
    }

    #[test]
    fn a_flood_whose_notices_were_lost_is_found_and_told_to_the_others() {
        let mut played = Played::new();
        played.look_after(0);
        played.write(0, &flood(2_000, true));
        let turned = played.look_after(1_000);
        assert!(
            matches!(
                turned[..],
                [(
                    0,
                    Event::FloodBegan {
                        unanswered: 2_000,
                        ..
                    }
                )]
            ),
            "{turned:?}"
        );
        let service = played.web();
        let mut told = Vec::new();
        played.floods.hint(|worker, service, flood| {
            told.push((worker, service, flood));
            false
        });
        assert_eq!(told, [(1, service, true)]);
        told.clear();
        played.floods.hint(|worker, service, flood| {
            told.push((worker, service, flood));
            true
        });
        assert_eq!(told, [(1, service, true)], "the first could not be told");
        let nobody = |_, _, _| panic!("they have been told");
        played.floods.hint(nobody);
    }

    #[test]
    fn after_a_reload_hints_are_told_again_and_a_removed_service_ends_its_flood() {
        let mut played = Played::new();
        let service = played.web();
        played.write(0, &flood(2_000, true));
        played.look_after(1_000);
        played.floods.hint(|_, _, _| true);
        for worker in [0, 1] {
            played.floods.restarted(worker);
        }
        let mut told = Vec::new();
        played.floods.hint(|worker, _, flood| {
            told.push((worker, flood));
            true
        });
        assert_eq!(told, [(1, true)]);
        played.snapshot.services = weir_model::Slots::with_bound(2);
        let turned = played.look_after(1_000);
        assert!(
            matches!(turned[..], [(_, Event::FloodEnded { service: ended, .. })] if ended == service),
            "{turned:?}"
        );
        assert_eq!(played.look_after(1_000), []);
    }

    #[test]
    fn a_service_that_is_set_to_off_has_no_flood_whatever_a_trigger_says() {
        let mut played = Played::new();
        played.write(0, &flood(2_000, true));
        assert_eq!(played.look_after(100).len(), 1);
        let off = CONF.replace("synproxy = adaptive\n", "");
        let off = snapshot("test.conf", &format!("{off}{DNS}")).unwrap();
        played.snapshot = off;
        let turned = played.look_after(100);
        assert!(
            matches!(turned[..], [(_, Event::FloodEnded { .. })]),
            "{turned:?}"
        );
    }

    #[test]
    fn handshakes_of_the_last_ten_seconds_count_and_older_ones_do_not() {
        let mut played = Played::new();
        played.look_after(0);
        assert_eq!(played.row().success_percent, None);
        assert_eq!(played.row().p99_us, None);
        let mut sum = ServiceFlood::default();
        for _ in 0..99 {
            sum.counters.complete(33);
        }
        sum.counters.complete(5_000);
        sum.counters.failed = 25;
        played.write(0, &sum);
        played.look_after(1_000);
        let row = played.row();
        assert_eq!((row.success_percent, row.p99_us), (Some(80.0), Some(48)));
        for second in 1..=10 {
            played.look_after(1_000);
            assert_eq!(
                played.row().p99_us.is_some(),
                second < 10,
                "second {second}"
            );
        }
        assert_eq!(played.row().success_percent, None);
        sum.counters.complete(5_000);
        played.write(0, &sum);
        assert_eq!(played.row().p99_us, Some(6_144), "half octaves: 4096, 6144");
    }

    #[test]
    fn who_floods_is_told_in_words() {
        let played = Played::new();
        let mut sum = flood(64, true);
        sum.sources.insert(HeavyHitter {
            key: u64::from(u32::from(std::net::Ipv4Addr::new(203, 0, 113, 0))),
            syn_per_s: 640,
        });
        sum.fingerprints.insert(HeavyHitter {
            key: 512 << 48,
            syn_per_s: 320,
        });
        played.write(1, &sum);
        let row = played.row();
        assert_eq!(row.top_sources[0].prefix, "203.0.113.0/24");
        assert_eq!(row.top_sources[0].syn_per_s, 640);
        assert!(
            row.top_fingerprints[0].fingerprint.starts_with("win 512"),
            "{row:?}"
        );
        assert_eq!(
            (row.mode.as_str(), row.false_accept.as_str()),
            ("adaptive", "2^-23")
        );
        assert_eq!(row.spread_over, None);
    }

    #[test]
    fn sources_of_which_none_stands_out_are_said_to_be_spread() {
        let played = Played::new();
        let mut sum = flood(64, true);
        sum.fingerprints.insert(HeavyHitter {
            key: 512 << 48,
            syn_per_s: 320,
        });
        played.write(1, &sum);
        let row = played.row();
        assert_eq!((row.top_sources.len(), row.spread_over), (0, Some(32)));
    }
}
