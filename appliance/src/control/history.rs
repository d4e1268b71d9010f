//! The history of rates: ten minutes by the second and a day by the minute, of the appliance and of
//! each service that has traffic, in bounded memory.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use weir_control::{HISTORY_SECONDS, HistoryRow};
use weir_model::{DropReason, ServiceId, Snapshot};

use crate::control::second::{Look, Second};

/// How often a point is made.
const EVERY: Duration = Duration::from_secs(1);
/// Points of one second each.
const SECONDS: usize = HISTORY_SECONDS as usize;
/// Points of one minute each.
const MINUTES: usize = 24 * 60;
const SECONDS_A_MINUTE: u32 = 60;
/// Services with a history of their own; those that have had traffic first keep theirs.
const MOST_SERVICES: usize = 512;

/// SYNs, sessions, packets and bits either way, refusals.
const RATES: usize = 7;
/// The appliance's, with the drops by reason behind them.
const BOX_RATES: usize = RATES + DropReason::COUNT;

/// The rates of one point. Three digits are enough for a graph: half the memory of whole numbers.
type Point<const N: usize> = [f32; N];

/// The history of rates.
#[derive(Debug)]
pub(crate) struct History {
    /// When it was looked last, and what was counted then.
    last: Option<(Instant, Look)>,
    second: Option<Second>,
    /// How many seconds there were.
    number: u64,
    /// When the points that are kept ended.
    seconds: VecDeque<SystemTime>,
    minutes: VecDeque<SystemTime>,
    /// How many seconds of the next minute there are.
    in_minute: u32,
    whole: Series<BOX_RATES>,
    services: BTreeMap<ServiceId, Series<RATES>>,
}

/// What is kept of one object. A series that began later than others is shorter: its youngest
/// points are those of the same times.
#[derive(Debug)]
struct Series<const N: usize> {
    seconds: VecDeque<Point<N>>,
    minutes: VecDeque<Point<N>>,
    sum: [f64; N],
    idle_minutes: usize,
}

impl Default for History {
    fn default() -> Self {
        Self {
            last: None,
            second: None,
            number: 0,
            seconds: VecDeque::new(),
            minutes: VecDeque::new(),
            in_minute: 0,
            whole: Series::new(),
            services: BTreeMap::new(),
        }
    }
}

impl History {
    /// Says whether it is time for a point.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let last = self.last.as_ref();
        last.is_none_or(|(at, _)| now.saturating_duration_since(*at) >= EVERY)
    }

    /// Makes a point of what the workers have published.
    pub(crate) fn look(&mut self, now: Instant, wall: SystemTime, snapshot: &Snapshot, look: Look) {
        let Some((at, last)) = &self.last else {
            self.last = Some((now, look));
            return;
        };
        let elapsed = now.saturating_duration_since(*at);
        let second = Second::between(self.number + 1, last, &look, elapsed);
        self.last = Some((now, look));
        if let Some(second) = second {
            self.number = second.number;
            self.add(wall, snapshot, &second);
            self.second = Some(second);
        }
    }

    /// Returns what the last second counted; none before there was one.
    pub(crate) fn second(&self) -> Option<&Second> {
        self.second.as_ref()
    }

    fn add(&mut self, wall: SystemTime, snapshot: &Snapshot, second: &Second) {
        let is_gone = |id: &ServiceId| snapshot.services.get(id.index()).is_none();
        self.services
            .retain(|id, series| !is_gone(id) && !series.is_dead());
        push(&mut self.seconds, wall, SECONDS);
        self.in_minute += 1;
        let minute = (self.in_minute == SECONDS_A_MINUTE).then_some(SECONDS_A_MINUTE);
        if minute.is_some() {
            self.in_minute = 0;
            push(&mut self.minutes, wall, MINUTES);
        }
        self.whole.push(whole(second), minute);
        for service in snapshot.services.iter() {
            let id = service.id;
            let rates = of_service(id, second);
            let is_idle = rates.iter().all(|rate| *rate == 0.0);
            if !self.services.contains_key(&id) {
                if is_idle || self.services.len() == MOST_SERVICES {
                    continue;
                }
                self.services.insert(id, Series::new());
            }
            if let Some(series) = self.services.get_mut(&id) {
                series.push(rates, minute);
            }
        }
    }

    /// Returns the points of the last `seconds`, the oldest first: one a second where they are not
    /// further back than those are kept, else one a minute. Times at which a service had no traffic
    /// and no history yet are zero.
    pub(crate) fn rows(
        &self,
        snapshot: &Snapshot,
        only: Option<ServiceId>,
        seconds: u64,
    ) -> Vec<HistoryRow> {
        let by_second = seconds <= HISTORY_SECONDS;
        let (times, step_s) = if by_second {
            (&self.seconds, 1)
        } else {
            (&self.minutes, u64::from(SECONDS_A_MINUTE))
        };
        let wanted = usize::try_from(seconds.div_ceil(step_s)).unwrap_or(usize::MAX);
        let skip = times.len().saturating_sub(wanted);
        let times = times.iter().skip(skip);
        let name = only.and_then(|id| snapshot.services.get(id.index()));
        let name = name.map(|service| service.name.clone());
        let row = |at: &SystemTime, rates: &[f32]| HistoryRow {
            at: humantime::format_rfc3339_seconds(*at).to_string(),
            step_s,
            service: name.clone(),
            ..row(rates)
        };
        match only {
            None => {
                let points = self.whole.points(by_second);
                times
                    .enumerate()
                    .map(|(at, time)| row(time, points.get(skip + at).map_or(&[], |p| &p[..])))
                    .collect()
            }
            Some(id) => {
                let points = self.services.get(&id).map(|s| s.points(by_second));
                let kept = points.map_or(0, VecDeque::len);
                // Its last point is of the last time.
                let all = if by_second {
                    self.seconds.len()
                } else {
                    self.minutes.len()
                };
                times
                    .enumerate()
                    .map(|(at, time)| {
                        let place = (skip + at + kept).checked_sub(all);
                        let point = place.and_then(|place| points?.get(place));
                        row(time, point.map_or(&[], |point| &point[..]))
                    })
                    .collect()
            }
        }
    }

    /// Returns the bytes that the points take.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        let times = self.seconds.capacity() + self.minutes.capacity();
        let whole = self.whole.bytes();
        let services: usize = self.services.values().map(Series::bytes).sum();
        times * size_of::<SystemTime>() + whole + services
    }
}

impl<const N: usize> Series<N> {
    fn new() -> Self {
        Self {
            seconds: VecDeque::new(),
            minutes: VecDeque::new(),
            sum: [0.0; N],
            idle_minutes: 0,
        }
    }

    /// Takes the next second; where it ends a minute of so many, that becomes a point as well.
    fn push(&mut self, point: Point<N>, minute: Option<u32>) {
        for (sum, rate) in self.sum.iter_mut().zip(point) {
            *sum += f64::from(rate);
        }
        push(&mut self.seconds, point, SECONDS);
        let Some(seconds) = minute else {
            return;
        };
        let sum = std::mem::replace(&mut self.sum, [0.0; N]);
        let is_idle = sum.iter().all(|sum| *sum == 0.0);
        self.idle_minutes = if is_idle { self.idle_minutes + 1 } else { 0 };
        let average = sum.map(|sum| (sum / f64::from(seconds)) as f32);
        push(&mut self.minutes, average, MINUTES);
    }

    /// Says whether all that is kept is zero.
    fn is_dead(&self) -> bool {
        self.idle_minutes >= MINUTES
    }

    fn points(&self, by_second: bool) -> &VecDeque<Point<N>> {
        if by_second {
            &self.seconds
        } else {
            &self.minutes
        }
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        let points = self.seconds.capacity() + self.minutes.capacity();
        size_of::<Self>() + points * size_of::<Point<N>>()
    }
}

/// Keeps so many; room for them is made at once, so that it does not grow to twice that.
fn push<T>(kept: &mut VecDeque<T>, value: T, most: usize) {
    if kept.len() == most {
        kept.pop_front();
    }
    if kept.capacity() < most {
        kept.reserve_exact(most - kept.len());
    }
    kept.push_back(value);
}

/// The rates of a service; one that was not there for all of the second has none.
fn of_service(id: ServiceId, second: &Second) -> Point<RATES> {
    let rates = second.services.service(id).unwrap_or_default();
    let syns = second.services.flood(id).unwrap_or_default();
    [
        syns.syn_in,
        rates.opened,
        rates.packets_in,
        rates.packets_out,
        rates.bits_in,
        rates.bits_out,
        rates.refused,
    ]
    .map(short)
}

/// The appliance's: what the header of the console says.
fn whole(second: &Second) -> Point<BOX_RATES> {
    let (rates, all_ports) = (second.services.carried, second.all_ports());
    let of_box = [
        second.services.syns.syn_in,
        rates.opened,
        second.total.rx,
        second.total.tx,
        all_ports.rx_bits,
        all_ports.tx_bits,
        rates.refused,
    ];
    let dropped = DropReason::ALL.iter();
    let dropped = dropped.map(|reason| second.total.dropped.get(reason.label()));
    let dropped = dropped.map(|rate| rate.copied().unwrap_or_default());
    let mut point = [0.0; BOX_RATES];
    for (place, rate) in point.iter_mut().zip(of_box.into_iter().chain(dropped)) {
        *place = short(rate);
    }
    point
}

#[expect(
    clippy::cast_precision_loss,
    reason = "rates are kept with seven digits"
)]
fn short(rate: u64) -> f32 {
    rate as f32
}

fn row(rates: &[f32]) -> HistoryRow {
    let of = |at: usize| f64::from(rates.get(at).copied().unwrap_or_default());
    // Tenths: what a counter of whole packets can say of a second.
    let rounded = |at: usize| (of(at) * 10.0).round() / 10.0;
    let dropped = DropReason::ALL.iter().filter_map(|reason| {
        let rate = rounded(RATES + reason.index());
        (rate > 0.0).then(|| (reason.label().to_owned(), rate))
    });
    HistoryRow {
        syn_per_s: rounded(0),
        sessions_per_s: rounded(1),
        packets_in_per_s: rounded(2),
        packets_out_per_s: rounded(3),
        bits_in_per_s: of(4).round(),
        bits_out_per_s: of(5).round(),
        refused_per_s: rounded(6),
        dropped_per_s: dropped.collect(),
        ..HistoryRow::default()
    }
}

#[cfg(test)]
mod tests {
    use weir_model::{Ledger, TrafficCounters};

    use super::*;
    use crate::control::second::services::ServiceBooks;
    use crate::publish::{Picture, Traffic, Vitals};

    fn snapshot(services: usize) -> Snapshot {
        let mut text = "[port wan]\ndevice = wan\naddress = 10.80.0.1/16\n\
             [lip-pool blue]\nport = wan\naddress = 10.80.0.200\n"
            .to_owned();
        for n in 0..services {
            let service = format!(
                "[service s{n}]\nlisten = 10.80.{}.{}:80/tcp\nlip-pool = blue\n\
                 real = 10.80.0.11:80\n",
                1 + n / 250,
                1 + n % 250
            );
            text += &service;
        }
        let loaded = weir_conf::parse_str("test.conf", &text, None);
        loaded
            .map_err(|report| panic!("{report}"))
            .unwrap()
            .snapshot
    }

    fn picture(rx: u64, dropped: u64) -> Picture {
        let mut ledger = Ledger {
            rx,
            ..Ledger::default()
        };
        ledger.drop_many(DropReason::BadCookie, dropped);
        Picture {
            ledger,
            counters: weir_model::Counters::default(),
            vitals: Vitals::default(),
            ports: Vec::new(),
        }
    }

    /// What workers published of so many services after so many packets of each.
    fn look(snapshot: &Snapshot, services: usize, packets: u64) -> Look {
        let one = TrafficCounters {
            packets_in: packets,
            bytes_in: packets * 125,
            ..TrafficCounters::default()
        };
        let traffic = Traffic {
            services: vec![one; services],
            ..Traffic::default()
        };
        Look {
            services: ServiceBooks::of(snapshot, &traffic, &[]),
            ..Look::default()
        }
    }

    /// So many seconds of so many packets each, of every service.
    fn play(history: &mut History, snapshot: &Snapshot, seconds: u64, packets: u64) {
        let (start, wall) = (Instant::now(), SystemTime::UNIX_EPOCH);
        let bound = snapshot.services.bound();
        for second in 0..=seconds {
            let after = Duration::from_secs(second);
            let look = Look {
                pictures: vec![picture(second * 100, second * 2)],
                ..look(snapshot, bound, second * packets)
            };
            history.look(start + after, wall + after, snapshot, look);
        }
    }

    #[test]
    fn seconds_are_kept_for_ten_minutes_and_minutes_for_a_day() {
        let snapshot = snapshot(1);
        let mut history = History::default();
        let day = 25 * 3600;
        play(&mut history, &snapshot, day, 8);
        let fine = history.rows(&snapshot, None, 600);
        assert_eq!((fine.len(), fine[0].step_s), (600, 1));
        assert_eq!(fine[599].at, "1970-01-02T01:00:00Z");
        assert_eq!(
            (fine[0].packets_in_per_s, fine[0].service.clone()),
            (100.0, None)
        );
        assert_eq!(
            fine[0].dropped_per_s,
            [("bad-cookie".to_owned(), 2.0)].into()
        );
        let coarse = history.rows(&snapshot, None, 86_400);
        assert_eq!((coarse.len(), coarse[0].step_s), (1440, 60));
        assert_eq!(coarse[1439].at, "1970-01-02T01:00:00Z");
        assert_eq!(
            (coarse[700].packets_in_per_s, coarse[700].step_s),
            (100.0, 60)
        );
        let of_service = history.rows(&snapshot, Some(ServiceId(0)), 60);
        assert_eq!(of_service.len(), 60);
        assert_eq!(of_service[0].service.as_deref(), Some("s0"));
        assert_eq!(
            (of_service[0].packets_in_per_s, of_service[0].bits_in_per_s),
            (8.0, 8000.0)
        );
    }

    #[test]
    fn a_service_without_traffic_takes_no_memory_and_one_that_begins_late_begins_with_zeroes() {
        let snapshot = snapshot(1);
        let mut history = History::default();
        play(&mut history, &snapshot, 10, 0);
        assert!(history.services.is_empty());
        let (start, wall) = (Instant::now() + EVERY * 100, SystemTime::UNIX_EPOCH);
        history.look(start, wall, &snapshot, look(&snapshot, 1, 0));
        history.look(start + EVERY, wall, &snapshot, look(&snapshot, 1, 5));
        let rows = history.rows(&snapshot, Some(ServiceId(0)), 3);
        let rates: Vec<_> = rows.iter().map(|row| row.packets_in_per_s).collect();
        assert_eq!(rates, [0.0, 0.0, 5.0]);
        let none = self::snapshot(0);
        history.look(start + EVERY * 2, wall, &none, look(&none, 1, 9));
        assert!(history.services.is_empty());
    }

    #[test]
    fn a_thousand_busy_services_stay_within_forty_mebibytes() {
        let snapshot = snapshot(1000);
        let mut history = History::default();
        play(&mut history, &snapshot, 3 * 60, 1);
        assert_eq!(history.services.len(), MOST_SERVICES);
        let bytes = history.bytes();
        println!("{bytes} bytes");
        assert!(bytes < 40 << 20, "{bytes} bytes");
        // What is reserved is all that there ever will be.
        play(&mut history, &snapshot, 700, 1);
        assert!(history.bytes() <= bytes + (1 << 10), "{}", history.bytes());
    }
}
