//! The one way for events: numbered, with a budget for each kind so that a flood of them does not
//! become a flood of lines, said on stderr, kept for `weir show events` and sent to the receivers
//! that the configuration names. Each of these has budgets of its own, which leave out nothing that
//! operators did.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use weir_control::{EventRow, SyslogRow};
use weir_director::SessionRecord;
use weir_model::{Event, EventClass, SessionLog, Severity, Snapshot};

use crate::event::{EventRecord, Numbered};
use crate::export::Exports;
use crate::export::budget::Budgets;
use crate::log;

pub(super) mod describe;
pub(super) mod mark;
pub(crate) mod shelf;

use mark::Mark;
use shelf::Shelf;

/// Events of one kind on stderr in a window; the rest is counted and told with the next window.
const SAID: u32 = 5;
const WINDOW: Duration = Duration::from_secs(10);
/// Events of one kind that are kept in a second.
const KEPT_A_SECOND: u32 = 50;
/// Events that are kept, of one kind and in all.
const KEPT_OF_A_KIND: usize = 1_000;
const KEPT: usize = 10_000;

/// Events, the last of them, and what may still be said of each kind.
#[derive(Debug)]
pub(crate) struct Events {
    /// The number of the last event.
    sequence: u64,
    said: Budgets,
    keeping: Budgets,
    /// The last events of each kind, so that a flood of one does not push out the others.
    kept: BTreeMap<&'static str, VecDeque<Numbered>>,
    count: usize,
    /// Those of before the daemon's start.
    earlier: VecDeque<EventRow>,
    /// Where they outlive the daemon; none where they do not.
    shelf: Option<Shelf>,
    exports: Exports,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            sequence: 0,
            said: Budgets::new(SAID, WINDOW),
            keeping: Budgets::new(KEPT_A_SECOND, Duration::from_secs(1)),
            kept: BTreeMap::new(),
            count: 0,
            earlier: VecDeque::new(),
            shelf: None,
            exports: Exports::default(),
        }
    }
}

impl Events {
    /// Goes on behind the events of before, and keeps those that come with them.
    pub(crate) fn go_on(&mut self, onto: Shelf, earlier: Vec<EventRow>) {
        let last = earlier.iter().map(|row| row.sequence).max();
        self.sequence = self.sequence.max(last.unwrap_or_default());
        self.count += earlier.len();
        self.earlier = earlier.into();
        self.shelf = Some(onto);
    }

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

    /// Takes an event, and says, keeps and sends it where the budgets of its kind allow.
    pub(crate) fn say(&mut self, now: Instant, record: EventRecord) {
        let event = self.number(record);
        if let Some(line) = self.line_of(now, &event) {
            log::say(line);
        }
        if let Some(before) = self.keeping.admit_event(now, &event.record) {
            self.keep(with(&event, before));
        }
        self.exports.offer(now, &event);
    }

    /// Returns what is said of an event on stderr, if anything is.
    fn line_of(&mut self, now: Instant, event: &Numbered) -> Option<String> {
        let before = self.said.admit_event(now, &event.record)?;
        Some(line(event, before))
    }

    /// Takes what became of a session; it goes to the receivers of the session log only.
    pub(crate) fn session(&mut self, now: Instant, record: &SessionRecord) {
        self.exports.offer_session(now, record);
    }

    /// Follows the receivers of a new configuration; those that did not change keep their
    /// connections and what waits for them.
    pub(crate) fn adopt(&mut self, snapshot: &Snapshot) {
        self.exports.adopt(snapshot);
    }

    /// Says what the budgets left out, and what became of the receivers.
    pub(crate) fn tick(&mut self, now: Instant) {
        while let Some((code, count)) = self.said.next_leftover(now) {
            log::say(format!("{code}: more of these (suppressed={count})"));
        }
        while let Some((code, count)) = self.keeping.next_leftover(now) {
            let last = self.kept.get(code).and_then(VecDeque::back);
            let like = last.map_or((EventClass::System, Severity::Notice), |last| {
                (last.record.class, last.record.severity)
            });
            let record = EventRecord::summary(like.0, like.1, code, count);
            let event = self.number(record);
            self.keep(with(&event, count));
        }
        self.exports.summarise(now);
        for record in self.exports.look(now) {
            self.say(now, record);
        }
        let of_disk = self.shelf.as_mut().map(|shelf| shelf.tick(now));
        for record in of_disk.into_iter().flatten() {
            self.say(now, record);
        }
    }

    /// Returns the mark of the daemon's end; none where nothing outlives the daemon.
    pub(super) fn mark(&self) -> Option<Mark> {
        self.shelf.as_ref().map(Shelf::mark)
    }

    /// Returns the number of the event that was said last.
    pub(super) fn last_number(&self) -> u64 {
        self.sequence
    }

    /// Lets what waits go out, for a moment at most.
    pub(crate) fn finish(&mut self) {
        self.exports.finish();
        if let Some(shelf) = &mut self.shelf {
            shelf.finish();
        }
    }

    /// Returns events that are kept, the oldest first: those that have a higher number than one, and
    /// of these so many, the last.
    pub(crate) fn rows(&self, after: Option<u64>, limit: Option<u64>) -> Vec<EventRow> {
        let mut all: Vec<&Numbered> = Vec::new();
        for kind in self.kept.values() {
            let is_old = |event: &Numbered| after.is_some_and(|after| event.sequence <= after);
            let begin = kind.partition_point(is_old);
            all.extend(kind.range(begin..));
        }
        all.sort_unstable_by_key(|event| event.sequence);
        let is_new = |row: &&EventRow| after.is_none_or(|after| row.sequence > after);
        let earlier: Vec<&EventRow> = self.earlier.iter().filter(is_new).collect();
        let limit = limit.and_then(|limit| usize::try_from(limit).ok());
        let count = earlier.len() + all.len();
        let over = limit.map_or(0, |limit| count.saturating_sub(limit));
        let rest = over.saturating_sub(earlier.len());
        let earlier = earlier.into_iter().skip(over).cloned();
        earlier.chain(all.into_iter().skip(rest).map(row)).collect()
    }

    /// Returns how the receivers do.
    pub(crate) fn receivers(&self) -> Vec<SyslogRow> {
        self.exports.rows()
    }

    fn number(&mut self, record: EventRecord) -> Numbered {
        self.sequence += 1;
        Numbered {
            sequence: self.sequence,
            at: SystemTime::now(),
            record: Arc::new(record),
            suppressed: 0,
        }
    }

    fn keep(&mut self, event: Numbered) {
        if let Some(shelf) = &mut self.shelf {
            shelf.keep(&row(&event));
        }
        let kind = self.kept.entry(event.record.code).or_default();
        if kind.len() == KEPT_OF_A_KIND {
            kind.pop_front();
            self.count -= 1;
        }
        kind.push_back(event);
        self.count += 1;
        if self.count > KEPT && self.earlier.pop_front().is_some() {
            self.count -= 1;
        }
        if self.count > KEPT {
            let largest = self.kept.values_mut().max_by_key(|kind| kind.len());
            let dropped = largest.and_then(VecDeque::pop_front);
            self.count -= usize::from(dropped.is_some());
        }
    }
}

/// Returns what is to be said of services whose session log no receiver takes, where they were not
/// like that before.
pub(crate) fn unheard(before: Option<&Snapshot>, snapshot: &Snapshot) -> Option<EventRecord> {
    let services = unheard_services(snapshot);
    if services.is_empty() || before.is_some_and(|before| unheard_services(before) == services) {
        return None;
    }
    let names = services.join(", ");
    let text = format!(
        "nobody takes the session log of {names}: no [syslog] section has `events = session`"
    );
    let (class, severity) = (EventClass::System, Severity::Warning);
    let record = EventRecord::new(class, severity, "session-log-unheard", text);
    Some(record.field("services", names))
}

fn unheard_services(snapshot: &Snapshot) -> Vec<&str> {
    let mut receivers = snapshot.syslog.iter();
    if receivers.any(|receiver| receiver.events.contains(&EventClass::Session)) {
        return Vec::new();
    }
    let services = snapshot.services.iter();
    services
        .filter(|service| service.session_log != SessionLog::Off)
        .map(|service| service.name.as_str())
        .collect()
}

fn with(event: &Numbered, suppressed: u64) -> Numbered {
    Numbered {
        suppressed,
        ..event.clone()
    }
}

fn line(event: &Numbered, suppressed: u64) -> String {
    let EventRecord { code, text, .. } = event.record.as_ref();
    match suppressed {
        0 => format!("{code}: {text}"),
        before => format!("{code}: {text} (suppressed={before})"),
    }
}

fn row(event: &Numbered) -> EventRow {
    let record = &event.record;
    EventRow {
        sequence: event.sequence,
        at: humantime::format_rfc3339_millis(event.at).to_string(),
        code: record.code.to_owned(),
        class: record.class.name().to_owned(),
        severity: record.severity.name().to_owned(),
        text: record.text.clone(),
        fields: record
            .fields
            .iter()
            .map(|(name, value)| (name.clone().into_owned(), value.clone()))
            .collect(),
        suppressed: event.suppressed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_events_are_told_and_those_that_are_newer_than_one() {
        let mut events = Events::default();
        let now = Instant::now();
        for code in ["one", "two", "one", "two", "one"] {
            events.system(now, Severity::Notice, code, "it happened");
        }
        let numbers = |after, limit| -> Vec<u64> {
            let rows = events.rows(after, limit).into_iter();
            rows.map(|row| row.sequence).collect()
        };
        assert_eq!(numbers(None, None), [1, 2, 3, 4, 5]);
        assert_eq!(numbers(None, Some(2)), [4, 5]);
        assert_eq!(numbers(Some(2), None), [3, 4, 5]);
        assert_eq!(numbers(Some(1), Some(3)), [3, 4, 5]);
        assert_eq!(numbers(Some(5), Some(3)), [0; 0]);
        assert_eq!(numbers(Some(9), None), [0; 0]);
    }

    fn say(events: &mut Events, now: Instant, code: &'static str) {
        events.system(now, Severity::Notice, code, "it happened");
    }

    #[test]
    fn a_flood_of_one_kind_is_summed_up_and_the_other_kinds_are_heard() {
        let mut events = Events::default();
        let start = Instant::now();
        let second = Duration::from_secs(1);
        for _ in 0..100 {
            say(&mut events, start, "a");
        }
        say(&mut events, start, "b");
        say(&mut events, start + second, "a");
        say(&mut events, start + second, "a");
        let rows = events.rows(None, None);
        let told: Vec<_> = rows
            .iter()
            .map(|row| (row.sequence, row.code.as_str(), row.suppressed))
            .collect();
        let many = 100 - u64::from(KEPT_A_SECOND);
        assert_eq!(
            told.split_at(KEPT_A_SECOND as usize).1,
            [(101, "b", 0), (102, "a", many), (103, "a", 0)]
        );
    }

    #[test]
    fn what_a_flood_left_out_is_told_when_it_is_over() {
        let mut events = Events::default();
        let start = Instant::now();
        for _ in 0..1_000 {
            say(&mut events, start, "a");
        }
        events.tick(start + Duration::from_millis(900));
        assert_eq!(events.rows(None, None).len(), KEPT_A_SECOND as usize);
        events.tick(start + Duration::from_secs(1));
        let rows = events.rows(None, None);
        let said: u64 = rows.len() as u64 - 1 + rows.iter().map(|row| row.suppressed).sum::<u64>();
        assert_eq!(said, 1_000);
    }

    #[test]
    fn what_operators_did_is_said_and_kept_whatever_else_happens() {
        let (mut events, mut lines) = (Events::default(), Events::default());
        let now = Instant::now();
        let mut said = 0;
        for n in 0..500 {
            let class = [EventClass::Operator, EventClass::Security][n % 2];
            let record = EventRecord::new(class, Severity::Notice, "a", format!("number {n}"));
            let event = lines.number(record.clone());
            said += usize::from(lines.line_of(now, &event).is_some());
            events.say(now, record);
        }
        assert_eq!(said, 250 + SAID as usize);
        let rows = events.rows(None, None);
        let audit: Vec<_> = rows.iter().filter(|row| row.class == "operator").collect();
        assert_eq!(audit.len(), 250);
        assert!(audit.iter().all(|row| row.suppressed == 0));
        assert_eq!(rows.len(), 250 + KEPT_A_SECOND as usize);
    }

    #[test]
    fn a_line_says_how_many_were_left_out_before_it() {
        let mut events = Events::default();
        let record = EventRecord::new(EventClass::System, Severity::Notice, "a", "it happened");
        let event = events.number(record);
        assert_eq!(line(&event, 0), "a: it happened");
        assert_eq!(line(&event, 7), "a: it happened (suppressed=7)");
    }

    #[test]
    fn the_oldest_of_a_kind_make_room_and_those_of_other_kinds_stay() {
        let mut events = Events::default();
        let start = Instant::now();
        say(&mut events, start, "b");
        for n in 0..5_000_u32 {
            say(
                &mut events,
                start + Duration::from_millis(n.into()) * 25,
                "a",
            );
        }
        let rows = events.rows(None, None);
        assert_eq!(rows.len(), KEPT_OF_A_KIND + 1);
        assert_eq!((rows[0].code.as_str(), rows[0].sequence), ("b", 1));
        assert_eq!(rows[KEPT_OF_A_KIND].sequence, 5_001);
    }

    #[test]
    fn facts_are_kept_beside_the_sentence() {
        let mut events = Events::default();
        let record = EventRecord::new(EventClass::Operator, Severity::Notice, "applied", "done")
            .field("generation", 7);
        events.say(Instant::now(), record);
        let row = events.rows(None, None).remove(0);
        assert_eq!(
            (row.class.as_str(), row.severity.as_str()),
            ("operator", "notice")
        );
        assert_eq!(row.fields["generation"], "7");
    }
}
