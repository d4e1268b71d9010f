//! The part of a second that is of services: what each carried, each of its real servers, and what
//! became of its SYNs. Parts are cut from wholes: services from that of all, real servers from that
//! of their service.

use std::time::Duration;

use weir_control::{FloodRates, TrafficRates};
use weir_model::{FloodCounters, Protocol, RealId, Service, ServiceId, Snapshot, TrafficCounters};

use crate::control::second::{apportion, whole};
use crate::publish::Traffic;
use crate::publish::flood::Flood;

/// What is counted of services and real servers, and where its rate stands.
const CARRIED: [fn(&mut TrafficRates) -> &mut u64; CARRIES] = [
    |rates| &mut rates.opened,
    |rates| &mut rates.packets_in,
    |rates| &mut rates.packets_out,
    |rates| &mut rates.bits_in,
    |rates| &mut rates.bits_out,
    // The last: no real server has it.
    |rates| &mut rates.refused,
];
const CARRIES: usize = 6;
/// Of a real server.
const CARRIES_REAL: usize = CARRIES - 1;

/// What becomes of SYNs: parts of those that came in.
const BECAME: [fn(&mut FloodRates) -> &mut u64; BECOMES] = [
    |rates| &mut rates.cookie_sent,
    |rates| &mut rates.passed,
    |rates| &mut rates.limited,
];
const BECOMES: usize = 3;
/// What happens later.
const ANSWERED: [fn(&mut FloodRates) -> &mut u64; ANSWERS] = [
    |rates| &mut rates.cookie_valid,
    |rates| &mut rates.cookie_bad,
    |rates| &mut rates.cookie_stale,
    |rates| &mut rates.completed,
    |rates| &mut rates.failed,
];
const ANSWERS: usize = 5;

/// What was counted until a look of the services and real servers that the configuration had then.
#[derive(Debug, Default)]
pub(crate) struct ServiceBooks {
    services: Vec<Option<Book>>,
    reals: Vec<Option<[u64; CARRIES_REAL]>>,
}

/// What was counted of a service.
#[derive(Debug)]
struct Book {
    carried: [u64; CARRIES],
    /// Of a TCP service.
    syns: Option<Syns>,
    reals: Vec<RealId>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Syns {
    became: [u64; BECOMES],
    answered: [u64; ANSWERS],
}

/// The rates of services, real servers and floods, by id: none of what was not there for all of the
/// second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceRates {
    services: Vec<Option<TrafficRates>>,
    reals: Vec<Option<TrafficRates>>,
    floods: Vec<Option<FloodRates>>,
    /// Of all services.
    pub(crate) carried: TrafficRates,
    /// Of all floods.
    pub(crate) syns: FloodRates,
}

impl ServiceBooks {
    /// Keeps of what the workers published what rates are made of.
    pub(crate) fn of(snapshot: &Snapshot, traffic: &Traffic, floods: &[Flood]) -> Self {
        let mut books = Self::default();
        books
            .services
            .resize_with(snapshot.services.bound(), || None);
        books.reals.resize(snapshot.real_bound as usize, None);
        for service in snapshot.services.iter() {
            let reals: Vec<RealId> = service.servers().map(|real| real.id).collect();
            for id in &reals {
                if let Some(place) = books.reals.get_mut(id.index()) {
                    *place = carried(&traffic.real(*id)).first_chunk().copied();
                }
            }
            let book = Book {
                carried: carried(&traffic.service(service.id)),
                syns: (service.protocol == Protocol::Tcp).then(|| Syns::of(service, floods)),
                reals,
            };
            if let Some(place) = books.services.get_mut(service.id.index()) {
                *place = Some(book);
            }
        }
        books
    }
}

impl Syns {
    fn of(service: &Service, floods: &[Flood]) -> Self {
        let mut sum = FloodCounters::default();
        for flood in floods.iter().filter_map(|flood| flood.service(service.id)) {
            sum.add(&flood.counters);
        }
        Self {
            became: [sum.cookie_sent, sum.passed, sum.limited],
            answered: [
                sum.cookie_valid,
                sum.cookie_bad,
                sum.cookie_stale,
                sum.completed,
                sum.failed,
            ],
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            became: grown(self.became, before.became),
            answered: grown(self.answered, before.answered),
        }
    }
}

impl ServiceRates {
    /// Makes the rates of what was counted between two looks.
    pub(super) fn between(before: &ServiceBooks, now: &ServiceBooks, elapsed: Duration) -> Self {
        let mut rates = Self::default();
        rates.services.resize(now.services.len(), None);
        rates.reals.resize(now.reals.len(), None);
        rates.floods.resize(now.services.len(), None);
        let both: Vec<_> = (0..now.services.len())
            .filter_map(|id| Some((id, at(&before.services, id)?, at(&now.services, id)?)))
            .collect();
        rates.divide_traffic(&both, before, now, elapsed);
        rates.divide_syns(&both, elapsed);
        rates.carried = rates.services.iter().flatten().sum();
        rates.syns = rates.floods.iter().flatten().sum();
        rates
    }

    /// Returns what a service carried.
    pub(crate) fn service(&self, id: ServiceId) -> Option<TrafficRates> {
        at(&self.services, id.index()).copied()
    }

    /// Returns what a real server carried.
    pub(crate) fn real(&self, id: RealId) -> Option<TrafficRates> {
        at(&self.reals, id.index()).copied()
    }

    /// Returns what became of a service's SYNs.
    pub(crate) fn flood(&self, id: ServiceId) -> Option<FloodRates> {
        at(&self.floods, id.index()).copied()
    }

    fn divide_traffic(
        &mut self,
        both: &Both<'_>,
        before: &ServiceBooks,
        now: &ServiceBooks,
        elapsed: Duration,
    ) {
        let since = both
            .iter()
            .map(|(_, before, now)| grown(now.carried, before.carried));
        let since: Vec<[u64; CARRIES]> = since.collect();
        let parts = columns(&since).map(|column| share(&column, elapsed));
        for (place, (id, _, book)) in both.iter().enumerate() {
            let rates = rates_of(&CARRIED, &parts, place);
            put(&mut self.services, *id, rates);
            let part = |at: usize| parts.get(at)?.get(place).copied();
            let wholes: [u64; CARRIES_REAL] =
                std::array::from_fn(|at| part(at).unwrap_or_default());
            let grown = since.get(place).copied().unwrap_or_default();
            self.divide_among_reals(&book.reals, (&grown, wholes), before, now);
        }
    }

    /// Divides what a service carried among its real servers. What is left is of such that it has no
    /// longer, or did not have for all of the second.
    fn divide_among_reals(
        &mut self,
        reals: &[RealId],
        (all, wholes): (&[u64; CARRIES], [u64; CARRIES_REAL]),
        before: &ServiceBooks,
        now: &ServiceBooks,
    ) {
        let both = reals.iter().filter_map(|id| {
            let id = id.index();
            let (before, now) = (at(&before.reals, id)?, at(&now.reals, id)?);
            Some((id, grown(*now, *before)))
        });
        // Most services rest, and their real servers with them.
        if wholes.iter().all(|whole| *whole == 0) {
            both.for_each(|(id, _)| put(&mut self.reals, id, TrafficRates::default()));
            return;
        }
        let (ids, since): (Vec<usize>, Vec<[u64; CARRIES_REAL]>) = both.unzip();
        let mut parts = columns(&since);
        for ((parts, all), whole) in parts.iter_mut().zip(all).zip(wholes) {
            parts.push(all.saturating_sub(parts.iter().sum()));
            *parts = apportion(whole, parts);
        }
        for (place, id) in ids.into_iter().enumerate() {
            put(&mut self.reals, id, rates_of(&CARRIED, &parts, place));
        }
    }

    /// What became of the SYNs of all services is one whole with many parts.
    fn divide_syns(&mut self, both: &Both<'_>, elapsed: Duration) {
        let tcp = both
            .iter()
            .filter_map(|(id, before, now)| Some((*id, now.syns?.since(before.syns?))));
        let (ids, since): (Vec<usize>, Vec<Syns>) = tcp.unzip();
        let became: Vec<u64> = since.iter().flat_map(|syns| syns.became).collect();
        let became = share(&became, elapsed);
        let became = columns(became.as_chunks::<BECOMES>().0);
        let answered: Vec<[u64; ANSWERS]> = since.iter().map(|syns| syns.answered).collect();
        let answered = columns(&answered).map(|column| share(&column, elapsed));
        for (place, id) in ids.into_iter().enumerate() {
            let mut rates: FloodRates = rates_of(&BECAME, &became, place);
            rates.syn_in = rates.cookie_sent + rates.passed + rates.limited;
            let later = rates_of(&ANSWERED, &answered, place);
            rates.add(&later);
            put(&mut self.floods, id, rates);
        }
    }
}

/// The services that were there at both looks.
type Both<'a> = [(usize, &'a Book, &'a Book)];

fn carried(traffic: &TrafficCounters) -> [u64; CARRIES] {
    [
        traffic.opened,
        traffic.packets_in,
        traffic.packets_out,
        traffic.bytes_in * 8,
        traffic.bytes_out * 8,
        traffic.refused,
    ]
}

fn at<T>(all: &[Option<T>], id: usize) -> Option<&T> {
    all.get(id)?.as_ref()
}

fn put<T>(all: &mut [Option<T>], id: usize, value: T) {
    if let Some(place) = all.get_mut(id) {
        *place = Some(value);
    }
}

fn grown<const N: usize>(now: [u64; N], before: [u64; N]) -> [u64; N] {
    let mut grown = now;
    for (now, before) in grown.iter_mut().zip(before) {
        *now = now.saturating_sub(before);
    }
    grown
}

fn columns<const N: usize>(rows: &[[u64; N]]) -> [Vec<u64>; N] {
    let value = |row: &[u64; N], at: usize| row.get(at).copied().unwrap_or_default();
    std::array::from_fn(|at| rows.iter().map(|row| value(row, at)).collect())
}

/// Returns how fast parts grew; together they are how fast all did.
fn share(grown: &[u64], elapsed: Duration) -> Vec<u64> {
    apportion(whole(grown.iter().sum(), elapsed), grown)
}

/// Gathers the rates at a place of each column, as far as there are columns.
fn rates_of<T: Default>(
    fields: &[fn(&mut T) -> &mut u64],
    columns: &[Vec<u64>],
    place: usize,
) -> T {
    let mut rates = T::default();
    for (field, column) in fields.iter().zip(columns) {
        *field(&mut rates) = column.get(place).copied().unwrap_or_default();
    }
    rates
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::array::{uniform5, uniform8};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::publish::Boards;
    use crate::publish::flood::ServiceFlood;
    use crate::testing::around;

    /// Services with so many real servers each; the last is of UDP.
    fn snapshot(services: &[usize]) -> Snapshot {
        let mut text = around!().to_owned();
        for (n, reals) in services.iter().enumerate() {
            let protocol = if n + 1 == services.len() {
                "udp"
            } else {
                "tcp"
            };
            let _ = write!(
                text,
                "[service s{n}]\nlisten = 10.80.0.100:{}/{protocol}\nlip-pool = blue\n",
                n + 1
            );
            for real in 0..*reals {
                let _ = writeln!(text, "real = 10.80.0.{}:80", 11 + n * 10 + real);
            }
        }
        weir_testkit::snapshot("test.conf", &text).unwrap()
    }

    /// What was counted of a service: of its real servers what they carried, and of its SYNs.
    type Counted = (Vec<[u64; CARRIES_REAL]>, u64, [u64; BECOMES + ANSWERS]);

    fn traffic_of(values: [u64; CARRIES_REAL], refused: u64) -> TrafficCounters {
        let [opened, packets_in, packets_out, bytes_in, bytes_out] = values;
        TrafficCounters {
            opened,
            packets_in,
            packets_out,
            bytes_in,
            bytes_out,
            refused,
            ..TrafficCounters::default()
        }
    }

    /// Has a worker count, and keeps what the configuration has of it.
    fn books(snapshot: &Snapshot, counted: &[Counted]) -> ServiceBooks {
        let mut traffic = Traffic::default();
        traffic
            .reals
            .resize(snapshot.real_bound as usize, TrafficCounters::default());
        let boards = Boards::new(snapshot);
        let mut floods = Vec::new();
        for (service, (reals, refused, syns)) in snapshot.services.iter().zip(counted) {
            let mut all = traffic_of([0; CARRIES_REAL], *refused);
            for (real, values) in service.servers().zip(reals) {
                let one = traffic_of(*values, 0);
                traffic.reals[real.id.index()] = one;
                all.add(&one);
            }
            traffic.services.push(all);
            let [
                cookie_sent,
                passed,
                limited,
                cookie_valid,
                cookie_bad,
                cookie_stale,
                completed,
                failed,
            ] = *syns;
            floods.push(FloodCounters {
                syn_in: cookie_sent + passed + limited,
                cookie_sent,
                passed,
                limited,
                cookie_valid,
                cookie_bad,
                cookie_stale,
                completed,
                failed,
                ..FloodCounters::default()
            });
        }
        boards.flood.write(0, |id| ServiceFlood {
            counters: floods[id.index()],
            ..ServiceFlood::default()
        });
        ServiceBooks::of(snapshot, &traffic, &[boards.flood.read()])
    }

    /// Adds one by one, without any of the code above.
    fn naive<T>(all: &[Option<T>], pick: impl Fn(&T) -> u64) -> u64 {
        let mut sum = 0;
        for one in all {
            sum += one.as_ref().map_or(0, &pick);
        }
        sum
    }

    proptest! {
        #[test]
        fn services_add_up_to_all_real_servers_to_their_service_and_syns_to_what_became_of_them(
            counted in vec((vec(uniform5(0u64..3_000_000), 0..4), 0u64..50, uniform8(0u64..4_000_000)), 1..6),
            micros in 900_000u64..3_000_000,
        ) {
            let reals: Vec<usize> = counted.iter().map(|(reals, ..)| reals.len().max(1)).collect();
            let snapshot = snapshot(&reals);
            let zero: Vec<Counted> = counted.iter().map(|_| (Vec::new(), 0, [0; BECOMES + ANSWERS])).collect();
            let elapsed = Duration::from_micros(micros);
            let rates = ServiceRates::between(&books(&snapshot, &zero), &books(&snapshot, &counted), elapsed);
            let exact = |grown: u64| grown * 1_000_000 / micros;
            for (place, field) in CARRIED.iter().enumerate() {
                let of = |rates: &TrafficRates| *field(&mut rates.clone());
                prop_assert_eq!(naive(&rates.services, of), of(&rates.carried));
                for service in snapshot.services.iter() {
                    let whole = of(&rates.service(service.id).unwrap());
                    let (reals, refused, _) = &counted[service.id.index()];
                    let bits = if place == 3 || place == 4 { 8 } else { 1 };
                    let grown = if place == CARRIES_REAL { *refused } else { reals.iter().map(|it| it[place]).sum() };
                    prop_assert!(whole.abs_diff(exact(grown * bits)) <= 1);
                    let mut sum = 0;
                    for (real, counted) in service.servers().zip(reals) {
                        let part = of(&rates.real(real.id).unwrap());
                        if place < CARRIES_REAL {
                            prop_assert!(part.abs_diff(exact(counted[place] * bits)) <= 2);
                        }
                        sum += part;
                    }
                    prop_assert_eq!(sum, if place < CARRIES_REAL { whole } else { 0 });
                }
            }
            for service in snapshot.services.iter() {
                let flood = rates.flood(service.id);
                prop_assert_eq!(flood.is_some(), service.protocol == Protocol::Tcp);
                let Some(flood) = flood else { continue };
                prop_assert_eq!(flood.syn_in, flood.cookie_sent + flood.passed + flood.limited);
                let (_, _, counted) = &counted[service.id.index()];
                for (field, counted) in BECAME.iter().chain(&ANSWERED).zip(counted) {
                    prop_assert!(field(&mut flood.clone()).abs_diff(exact(*counted)) <= 1);
                }
            }
            prop_assert_eq!(naive(&rates.floods, |it| it.syn_in), rates.syns.syn_in);
            prop_assert_eq!(naive(&rates.floods, |it| it.cookie_valid), rates.syns.cookie_valid);
        }
    }

    #[test]
    fn what_was_not_there_for_all_of_the_second_has_no_rate_and_what_was_still_adds_up() {
        let service = |reals: &[u64]| -> Counted {
            let reals = reals.iter().map(|opened| [*opened, 0, 0, 0, 0]);
            (reals.collect(), 0, [0; BECOMES + ANSWERS])
        };
        // A real server and a service came meanwhile.
        let (before, now) = (snapshot(&[1, 1]), snapshot(&[1, 2, 1]));
        let before = books(&before, &[service(&[5]), service(&[5])]);
        let counted = [service(&[8]), service(&[9, 2]), service(&[7])];
        let rates = ServiceRates::between(&before, &books(&now, &counted), Duration::from_secs(1));
        let opened = |rates: Option<TrafficRates>| rates.map(|rates| rates.opened);
        let services = now.services.iter();
        let of_services: Vec<_> = services.map(|it| opened(rates.service(it.id))).collect();
        assert_eq!(of_services, [Some(3), Some(6), None]);
        assert_eq!(rates.carried.opened, 9);
        let reals = now.services.iter().flat_map(Service::servers);
        let of_reals: Vec<_> = reals.map(|it| opened(rates.real(it.id))).collect();
        assert_eq!(of_reals, [Some(3), Some(4), None, None]);
        assert_eq!(rates.service(ServiceId(99)), None);
        assert_eq!(
            (rates.real(RealId(99)), rates.flood(ServiceId(99))),
            (None, None)
        );
    }
}
