//! The one way for events: numbered, with a budget for each kind so that a flood of them does not
//! become a flood of lines, said on stderr and kept for `weir show events`.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use weir_control::EventRow;
use weir_model::{Event, EventClass, Severity, Snapshot};

use crate::event::EventRecord;
use crate::log;

mod describe;

/// Events of one kind in a window; the rest is counted and told with the next window.
const BUDGET: u32 = 5;
const WINDOW: Duration = Duration::from_secs(10);
/// Events that are kept.
const KEPT: usize = 10_000;

/// Events, the last of them, and what may still be said of each kind.
#[derive(Debug, Default)]
pub(crate) struct Events {
    budgets: BTreeMap<&'static str, Budget>,
    /// The number of the last event.
    sequence: u64,
    kept: VecDeque<Numbered>,
}

/// An event that was said.
#[derive(Clone, Debug)]
pub(crate) struct Numbered {
    /// Counts the events of this start; a gap says that something was lost on the way.
    pub(crate) sequence: u64,
    pub(crate) at: SystemTime,
    pub(crate) record: EventRecord,
    /// Events of its kind that were not said before it.
    pub(crate) suppressed: u64,
}

#[derive(Debug)]
struct Budget {
    since: Instant,
    said: u32,
    suppressed: u64,
}

impl Events {
    /// Takes what happened on a worker.
    pub(crate) fn happened(
        &mut self,
        now: Instant,
        worker: usize,
        event: &Event,
        snapshot: &Snapshot,
    ) {
        self.say(now, describe::describe(worker, event, snapshot));
    }

    /// Takes an event without facts about ports, workers and pools.
    pub(crate) fn system(
        &mut self,
        now: Instant,
        severity: Severity,
        code: &'static str,
        text: impl Into<String>,
    ) {
        self.say(
            now,
            EventRecord::new(EventClass::System, severity, code, text),
        );
    }

    /// Takes an event, and says and keeps it where the budget of its kind allows.
    pub(crate) fn say(&mut self, now: Instant, record: EventRecord) {
        let Some(suppressed) = self.admit(now, record.code) else {
            return;
        };
        self.sequence += 1;
        let event = Numbered {
            sequence: self.sequence,
            at: SystemTime::now(),
            record,
            suppressed,
        };
        log::say(event.line());
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(event);
    }

    /// Returns the events that are kept, the oldest first.
    pub(crate) fn rows(&self) -> Vec<EventRow> {
        self.kept.iter().map(Numbered::row).collect()
    }

    /// Says whether the budget of a kind allows one more, and how many it refused before.
    fn admit(&mut self, now: Instant, code: &'static str) -> Option<u64> {
        let fresh = Budget {
            since: now,
            said: 0,
            suppressed: 0,
        };
        let budget = self.budgets.entry(code).or_insert(fresh);
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
        Some(before)
    }
}

impl Numbered {
    fn line(&self) -> String {
        let EventRecord { code, text, .. } = &self.record;
        match self.suppressed {
            0 => format!("{code}: {text}"),
            before => format!("{code}: {text} (suppressed={before})"),
        }
    }

    fn row(&self) -> EventRow {
        let record = &self.record;
        EventRow {
            sequence: self.sequence,
            at: humantime::format_rfc3339_millis(self.at).to_string(),
            code: record.code.to_owned(),
            class: record.class.name().to_owned(),
            severity: record.severity.name().to_owned(),
            text: record.text.clone(),
            fields: record
                .fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
            suppressed: self.suppressed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(events: &mut Events, now: Instant, code: &'static str) {
        events.system(now, Severity::Notice, code, "it happened");
    }

    #[test]
    fn a_flood_of_one_kind_is_summed_up_and_the_other_kinds_are_heard() {
        let mut events = Events::default();
        let start = Instant::now();
        for _ in 0..100 {
            say(&mut events, start, "a");
        }
        say(&mut events, start, "b");
        say(&mut events, start + WINDOW, "a");
        say(&mut events, start + WINDOW, "a");
        let rows = events.rows();
        let told: Vec<_> = rows
            .iter()
            .map(|row| (row.sequence, row.code.as_str(), row.suppressed))
            .collect();
        let many = 100 - u64::from(BUDGET);
        assert_eq!(
            told.split_at(BUDGET as usize).1,
            [(6, "b", 0), (7, "a", many), (8, "a", 0)]
        );
        let lines: Vec<_> = events.kept.iter().map(Numbered::line).collect();
        assert_eq!(lines[6], format!("a: it happened (suppressed={many})"));
        assert_eq!(lines[7], "a: it happened");
    }

    #[test]
    fn the_oldest_events_make_room_and_their_numbers_are_not_used_again() {
        let mut events = Events::default();
        let start = Instant::now();
        for n in 0..=KEPT {
            let window = u32::try_from(n).unwrap();
            say(&mut events, start + WINDOW * window, "a");
        }
        let rows = events.rows();
        assert_eq!(rows.len(), KEPT);
        assert_eq!((rows[0].sequence, rows[KEPT - 1].sequence), (2, 10_001));
    }

    #[test]
    fn facts_are_kept_beside_the_sentence() {
        let mut events = Events::default();
        let record = EventRecord::new(EventClass::Operator, Severity::Notice, "applied", "done")
            .field("generation", 7);
        events.say(Instant::now(), record);
        let row = events.rows().remove(0);
        assert_eq!(
            (row.class.as_str(), row.severity.as_str()),
            ("operator", "notice")
        );
        assert_eq!(row.fields["generation"], "7");
    }
}
