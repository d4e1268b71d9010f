//! Ways back: real servers that got SYNs of clients and never sent anything to a LIP, though no check
//! finds them down.
//!
//! Checks come from the port's own address. What leads to the LIPs may be another route.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weir_model::{EventClass, RealId, RealServer, Service, Severity, Snapshot};

use crate::event::EventRecord;
use crate::publish::Traffic;

/// How long the answer to the first SYN may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// The real servers of which nothing came back.
#[derive(Debug, Default)]
pub(crate) struct Ways {
    missing: BTreeMap<RealId, Missing>,
}

#[derive(Debug)]
struct Missing {
    since: Instant,
    is_told: bool,
}

impl Ways {
    /// Looks at what the workers published, and returns what is to be said of it; `is_out` says of
    /// which real servers it is known that they get no sessions.
    pub(crate) fn look(
        &mut self,
        now: Instant,
        snapshot: &Snapshot,
        traffic: &Traffic,
        is_out: impl Fn(RealId) -> bool,
    ) -> Vec<EventRecord> {
        let mut before = std::mem::take(&mut self.missing);
        let mut said = Vec::new();
        for service in snapshot.services.iter() {
            for real in &service.reals {
                let syns = traffic.knocks(real.id).asked;
                let known = before.remove(&real.id);
                if traffic.real(real.id).packets_out > 0 {
                    if known.is_some_and(|missing| missing.is_told) {
                        said.push(found(service, real));
                    }
                    continue;
                }
                if syns == 0 || is_out(real.id) {
                    continue;
                }
                let mut missing = known.unwrap_or(Missing {
                    since: now,
                    is_told: false,
                });
                if !missing.is_told && now.saturating_duration_since(missing.since) >= PATIENCE {
                    missing.is_told = true;
                    said.push(is_missing(service, real, syns));
                }
                self.missing.insert(real.id, missing);
            }
        }
        said
    }

    /// Returns how many real servers of a service are known to have no way back.
    pub(crate) fn missing(&self, service: &Service) -> usize {
        let reals = service.reals.iter();
        let missing = reals.filter_map(|real| self.missing.get(&real.id));
        missing.filter(|missing| missing.is_told).count()
    }
}

fn is_missing(service: &Service, real: &RealServer, syns: u64) -> EventRecord {
    let at = SocketAddr::new(real.address, real.port);
    let got = match syns {
        1 => "a SYN".to_owned(),
        _ => format!("{syns} SYNs"),
    };
    let text = format!(
        "real server {at} of {} got {got} and no packet of it came back to a LIP: it is silent, or \
         its way to the LIPs does not lead to this box",
        service.name
    );
    of(
        service,
        at,
        EventRecord::new(
            EventClass::Health,
            Severity::Warning,
            "way-back-missing",
            text,
        ),
    )
}

fn found(service: &Service, real: &RealServer) -> EventRecord {
    let at = SocketAddr::new(real.address, real.port);
    let text = format!("real server {at} of {} has sent to a LIP", service.name);
    let record = EventRecord::new(EventClass::Health, Severity::Notice, "way-back-found", text);
    of(service, at, record)
}

fn of(service: &Service, at: SocketAddr, record: EventRecord) -> EventRecord {
    record.field("service", &service.name).field("real", at)
}

#[cfg(test)]
mod tests {
    use weir_model::{KnockCounters, TrafficCounters};

    use super::*;
    use crate::testing::{around, web};

    fn traffic(asked: u64, packets_out: u64) -> Traffic {
        let real = TrafficCounters {
            packets_out,
            ..TrafficCounters::default()
        };
        Traffic {
            reals: vec![real],
            knocks: vec![KnockCounters { asked, answered: 0 }],
            ..Traffic::default()
        }
    }

    #[test]
    fn whoever_sends_nothing_back_is_told_after_the_first_client_and_once() {
        let text = concat!(around!(), web!());
        let snapshot = weir_testkit::snapshot("test.conf", text).unwrap();
        let service = snapshot.services.get(0).unwrap();
        let (mut ways, start) = (Ways::default(), Instant::now());
        let mut look = |seconds, asked, packets_out, is_out| {
            let now = start + Duration::from_secs(seconds);
            let traffic = traffic(asked, packets_out);
            let said = ways.look(now, &snapshot, &traffic, |_| is_out);
            let texts: Vec<String> = said.into_iter().map(|event| event.text).collect();
            (texts.join("; "), ways.missing(service))
        };
        let nothing = (String::new(), 0);
        assert_eq!(look(0, 0, 0, false), nothing, "nobody asked");
        assert_eq!(look(1, 1, 0, false), nothing);
        assert_eq!(look(3, 1, 0, false), nothing, "it may be slow");
        let text = "real server 10.80.0.11:80 of web got a SYN and no packet of it came back to a \
                    LIP: it is silent, or its way to the LIPs does not lead to this box";
        assert_eq!(look(4, 1, 0, false), (text.to_owned(), 1));
        assert_eq!(look(5, 9, 0, false), (String::new(), 1), "once");
        let text = "real server 10.80.0.11:80 of web has sent to a LIP";
        assert_eq!(look(6, 9, 1, false), (text.to_owned(), 0));
        assert_eq!(look(60, 99, 1, false), nothing);
    }

    #[test]
    fn who_is_out_anyway_is_not_told_of_again() {
        let text = concat!(around!(), web!());
        let snapshot = weir_testkit::snapshot("test.conf", text).unwrap();
        let (mut ways, start) = (Ways::default(), Instant::now());
        for seconds in 0..20 {
            let now = start + Duration::from_secs(seconds);
            let said = ways.look(now, &snapshot, &traffic(50, 0), |_| seconds < 15);
            assert_eq!(said.len(), usize::from(seconds == 18), "{seconds}");
        }
    }
}
