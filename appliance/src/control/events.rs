//! Events as sentences for the log, with a budget for each kind so that a flood of them does not
//! become a flood of lines.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use weir_model::{Event, ServiceId, Snapshot};
use weir_wire::EthAddr;

/// Sentences of one kind in a window; the rest is counted and told with the next window.
const BUDGET: u32 = 5;
const WINDOW: Duration = Duration::from_secs(10);

/// What may still be said of each kind of event.
#[derive(Debug, Default)]
pub(crate) struct Events {
    budgets: BTreeMap<&'static str, Budget>,
}

#[derive(Debug)]
struct Budget {
    since: Instant,
    said: u32,
    suppressed: u64,
}

impl Events {
    /// Takes an event, and returns the sentence to say where its kind's budget allows one.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        worker: usize,
        event: &Event,
        snapshot: &Snapshot,
    ) -> Option<String> {
        let (kind, sentence) = describe(worker, event, snapshot);
        self.say(now, kind, &sentence)
    }

    /// Takes a sentence of a kind, and returns it where the kind's budget allows one.
    pub(crate) fn say(
        &mut self,
        now: Instant,
        kind: &'static str,
        sentence: &str,
    ) -> Option<String> {
        let fresh = Budget {
            since: now,
            said: 0,
            suppressed: 0,
        };
        let budget = self.budgets.entry(kind).or_insert(fresh);
        let mut before = 0;
        if now - budget.since >= WINDOW {
            before = budget.suppressed;
            *budget = Budget {
                since: now,
                said: 0,
                suppressed: 0,
            };
        }
        if budget.said == BUDGET {
            budget.suppressed += 1;
            return None;
        }
        budget.said += 1;
        Some(match before {
            0 => format!("{kind}: {sentence}"),
            before => format!("{kind}: {sentence} (suppressed={before})"),
        })
    }
}

fn describe(worker: usize, event: &Event, snapshot: &Snapshot) -> (&'static str, String) {
    match event {
        Event::PoolNearlyExhausted {
            pool, used, total, ..
        } => {
            let pool = snapshot
                .pools
                .get(pool.index())
                .map_or("?", |pool| pool.name.as_str());
            let sentence = format!(
                "pool {pool} has {used} of {total} ports towards one real server in use on \
                 worker {worker}; give it more addresses"
            );
            ("pool-nearly-exhausted", sentence)
        }
        Event::Refused {
            service, reason, ..
        } => {
            let service = service_name(snapshot, *service);
            let sentence = format!("service {service} refused a session: {}", reason.label());
            ("session-refused", sentence)
        }
        Event::AddressConflict { address, mac, .. } => {
            let sentence = format!("{} also claims {address}, which is ours", EthAddr(*mac));
            ("address-conflict", sentence)
        }
        Event::FloodBegan {
            service,
            unanswered,
            half_open,
            ..
        } => {
            let service = service_name(snapshot, *service);
            let sentence = format!(
                "service {service} answers SYNs with cookies: worker {worker} saw {unanswered} \
                 unanswered SYN/s and {half_open} sessions half open"
            );
            ("flood-began", sentence)
        }
        Event::FloodEnded {
            service,
            peak,
            lasted_ms,
            ..
        } => {
            let service = service_name(snapshot, *service);
            let seconds = lasted_ms.saturating_add(500) / 1000;
            let sentence = format!(
                "service {service} no longer answers SYNs with cookies: the flood lasted \
                 {seconds} s and had {peak} SYN/s at most"
            );
            ("flood-ended", sentence)
        }
        Event::Internal { .. } => {
            let sentence = format!("worker {worker} failed in a packet and dropped it");
            ("internal", sentence)
        }
    }
}

fn service_name(snapshot: &Snapshot, id: ServiceId) -> &str {
    let service = snapshot.services.get(id.index());
    service.map_or("?", |service| service.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_kind_is_summed_up_and_the_other_kinds_are_heard() {
        let mut events = Events::default();
        let start = Instant::now();
        let said = (0..100)
            .filter_map(|n| events.say(start, "a", &n.to_string()))
            .count();
        assert_eq!(said, BUDGET as usize);
        assert!(events.say(start, "b", "other").is_some());
        let later = events.say(start + WINDOW, "a", "again").unwrap();
        assert_eq!(later, format!("a: again (suppressed={})", 100 - BUDGET));
        assert_eq!(events.say(start + WINDOW, "a", "x").unwrap(), "a: x");
    }
}
