//! Refused sessions: for each service one event in a second at most, which says how many there were.
//!
//! How many comes from what the workers publish, so that none is lost; the workers tell of one in a
//! second, which serves as the example.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use weir_model::{ServiceId, Snapshot};

use crate::control::events::describe::{self, Example};
use crate::event::EventRecord;
use crate::publish::Traffic;

/// How long refused sessions are counted together.
const TOGETHER: Duration = Duration::from_secs(1);
/// Services that are told of in one look; the others keep counting, so that however many refuse, no
/// budget leaves out an event.
const SERVICES_AT_ONCE: usize = 8;

/// What was told of the refused sessions of each service.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    services: BTreeMap<ServiceId, Refused>,
}

/// The refused sessions of a service.
#[derive(Debug, Default)]
struct Refused {
    /// Its name, also once it is gone.
    name: String,
    /// How many there were when it was looked at last.
    total: u64,
    /// How many of them events have told.
    told: u64,
    /// Since when there are some that no event has told.
    since: Option<Instant>,
    /// The last one that a worker told of.
    example: Option<Example>,
}

impl Refusals {
    /// Notes one that a worker tells of.
    pub(super) fn heard(&mut self, service: ServiceId, example: Example) {
        self.services.entry(service).or_default().example = Some(example);
    }

    /// Looks at what the workers published, and returns what is to be said of it.
    pub(super) fn look(
        &mut self,
        now: Instant,
        snapshot: &Snapshot,
        traffic: &Traffic,
    ) -> Vec<EventRecord> {
        self.read(now, snapshot, traffic);
        self.tell(now, TOGETHER, SERVICES_AT_ONCE)
    }

    /// Returns what is to be said at the end, however young it is.
    pub(super) fn rest(
        &mut self,
        now: Instant,
        snapshot: &Snapshot,
        traffic: &Traffic,
    ) -> Vec<EventRecord> {
        self.read(now, snapshot, traffic);
        self.tell(now, Duration::ZERO, usize::MAX)
    }

    /// Tells of those that have waited for so long, of so many services at most, the longest first.
    fn tell(&mut self, now: Instant, age: Duration, at_most: usize) -> Vec<EventRecord> {
        let is_due = |since: Instant| now.saturating_duration_since(since) >= age;
        let services = self.services.values_mut();
        let mut due: Vec<&mut Refused> = services
            .filter(|refused| refused.since.is_some_and(is_due))
            .collect();
        due.sort_by_key(|refused| refused.since);
        due.into_iter().take(at_most).map(Refused::tell).collect()
    }

    /// Reads how many there are.
    pub(super) fn read(&mut self, now: Instant, snapshot: &Snapshot, traffic: &Traffic) {
        for (index, counters) in traffic.services.iter().enumerate() {
            if counters.refused == 0 {
                continue;
            }
            let refused = self.services.entry(ServiceId(index as u16)).or_default();
            if let Some(service) = snapshot.services.get(index) {
                refused.name.clone_from(&service.name);
            }
            refused.total = refused.total.max(counters.refused);
            if refused.total > refused.told {
                refused.since.get_or_insert(now);
            }
        }
    }
}

impl Refused {
    fn tell(&mut self) -> EventRecord {
        let count = self.total - self.told;
        self.told = self.total;
        self.since = None;
        describe::refused(&self.name, count, self.total, self.example.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use weir_model::{DropReason, TrafficCounters};

    use super::*;
    use crate::testing::{around, dns, web};

    fn snapshot(text: &str) -> Snapshot {
        weir_testkit::snapshot("test.conf", text).unwrap()
    }

    fn traffic(refused: &[u64]) -> Traffic {
        let services = refused.iter().map(|refused| TrafficCounters {
            refused: *refused,
            ..TrafficCounters::default()
        });
        Traffic {
            services: services.collect(),
            ..Traffic::default()
        }
    }

    fn example(reason: DropReason) -> Example {
        Example {
            worker: 1,
            reason,
            client: "192.0.2.7:40000".parse().unwrap(),
        }
    }

    fn field<'a>(record: &'a EventRecord, name: &str) -> Option<&'a str> {
        let found = record.fields.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str())
    }

    fn number(record: &EventRecord, name: &str) -> u64 {
        field(record, name).unwrap().parse().unwrap()
    }

    #[test]
    fn however_many_are_refused_a_second_has_one_event_and_each_session_is_counted_once() {
        let conf = snapshot(concat!(around!(), web!(), dns!()));
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        let (mut said, mut last) = (Vec::new(), Duration::ZERO);
        let mut counts = [0, 0];
        for quarter in 0..=40_u32 {
            last = Duration::from_millis(250) * quarter;
            // One of them for ten seconds, the other one once.
            counts[0] += 1_237;
            counts[1] = u64::from(quarter >= 10);
            refusals.heard(ServiceId(0), example(DropReason::NoReal));
            for record in refusals.look(start + last, &conf, &traffic(&counts)) {
                said.push((last, record));
            }
        }
        let rest = refusals.rest(start + last, &conf, &traffic(&counts));
        said.extend(rest.into_iter().map(|record| (last, record)));
        let of = |name: &str| -> Vec<&(Duration, EventRecord)> {
            let said = said.iter();
            said.filter(|(_, record)| field(record, "service") == Some(name))
                .collect()
        };
        let web = of("web");
        assert!((8..=11).contains(&web.len()), "{}", web.len());
        for pair in web.windows(2) {
            let is_the_rest = pair[1].0 == last;
            assert!(pair[1].0 >= pair[0].0 + TOGETHER || is_the_rest);
        }
        let all: u64 = web.iter().map(|(_, record)| number(record, "count")).sum();
        assert_eq!(all, counts[0]);
        assert_eq!(number(&web.last().unwrap().1, "total"), counts[0]);
        let record = &web[0].1;
        assert_eq!(
            record.text,
            "service web refused 6185 sessions, one of 192.0.2.7:40000: no-real"
        );
        assert_eq!(
            (field(record, "reason"), field(record, "client")),
            (Some("no-real"), Some("192.0.2.7:40000"))
        );
        let dns = of("dns");
        assert_eq!(dns.len(), 1);
        // Nobody told of one of these: they are counted all the same.
        assert_eq!(dns[0].1.text, "service dns refused a session");
        assert_eq!(
            refusals.rest(start + last, &conf, &traffic(&counts)).len(),
            0
        );
    }

    #[test]
    fn what_a_service_refused_before_it_went_is_told_by_its_name() {
        let before = snapshot(concat!(around!(), web!(), dns!()));
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        refusals.heard(ServiceId(1), example(DropReason::LipExhausted));
        refusals.read(start, &before, &traffic(&[0, 1]));
        let after = snapshot(concat!(around!(), web!()));
        let said = refusals.look(start + TOGETHER, &after, &traffic(&[0, 1]));
        let texts: Vec<&str> = said.iter().map(|record| record.text.as_str()).collect();
        assert_eq!(
            texts,
            ["service dns refused a session of 192.0.2.7:40000: lip-exhausted"]
        );
    }

    #[test]
    fn of_many_services_each_has_its_turn_and_nothing_is_lost() {
        let conf = snapshot(concat!(around!(), web!()));
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        let counts = [3_u64; 100];
        let (mut events, mut sessions) = (0, 0);
        refusals.read(start, &conf, &traffic(&counts));
        for look in 0..20_u32 {
            let now = start + TOGETHER + Duration::from_millis(250) * look;
            let said = refusals.look(now, &conf, &traffic(&counts));
            assert!(said.len() <= SERVICES_AT_ONCE);
            events += said.len();
            sessions += said.iter().map(|it| number(it, "count")).sum::<u64>();
        }
        assert_eq!((events, sessions), (100, 300));
    }
}
