//! The events, the youngest last: those that the daemon told, with what is missing between them.

use std::collections::BTreeMap;

use weir_control::{EventRow, Filter, What};

use crate::model::filter::TextFilter;
use crate::model::list::{Cursor, Step};
use crate::model::{Model, Want};

/// How many events are asked for each time at most: the last.
const LAST: u64 = 1_000;
/// How many events are kept here.
const KEPT: usize = 20_000;
/// How many events a daemon keeps at most.
pub(crate) const ALL: u64 = 10_000;

/// A line of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// An event, by its place.
    Event(usize),
    /// Events that are not here: the numbers of the first and of the last.
    Gap(u64, u64),
    /// The daemon was started anew: numbers begin with 1 again.
    Restart,
}

/// The state of the screen.
#[derive(Debug)]
pub(crate) struct Events {
    /// What was told, the oldest first.
    pub(crate) rows: Vec<EventRow>,
    pub(crate) lines: Vec<Line>,
    pub(crate) cursor: Cursor,
    pub(crate) filter: TextFilter,
    /// Whether the youngest event stays selected.
    pub(crate) follows: bool,
    /// Whether an event is looked at closely; and how far that is scrolled.
    pub(crate) zoom: bool,
    pub(crate) zoom_top: usize,
    /// Events that came since it does not follow.
    pub(crate) unseen: usize,
    /// Whether all were asked for that the daemon keeps.
    pub(crate) asked_all: bool,
    /// The number of the youngest event, where those after it are enough; none where the daemon may be
    /// another one than that whose events are here.
    pub(crate) since: Option<u64>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            lines: Vec::new(),
            cursor: Cursor::default(),
            filter: TextFilter::default(),
            follows: true,
            zoom: false,
            zoom_top: 0,
            unseen: 0,
            asked_all: false,
            since: None,
        }
    }
}

/// Returns what the screen wants to be told.
pub(crate) fn wants(model: &Model) -> Vec<Want> {
    let filter = Filter {
        limit: Some(LAST),
        after: model.events.since,
        ..Filter::default()
    };
    vec![Want {
        what: What::Events,
        filter,
        every: model.every,
    }]
}

impl Events {
    /// Takes the last events that the daemon has, or those since the youngest that is here.
    pub(crate) fn arrived(&mut self, told: &[EventRow], height: usize) {
        self.take(told, height);
        self.since = self.rows.last().map(|row| row.sequence);
    }

    fn take(&mut self, told: &[EventRow], height: usize) {
        let Some(youngest) = self.rows.last() else {
            self.rows = told.to_vec();
            self.rebuild(height);
            return;
        };
        // A daemon that was started anew counts from 1 again.
        let known = |row: &&EventRow| row.sequence == youngest.sequence;
        let is_same_run = match told.iter().find(known) {
            Some(row) => row.at == youngest.at,
            None => told
                .last()
                .is_none_or(|last| last.sequence > youngest.sequence && last.at >= youngest.at),
        };
        let after = youngest.sequence;
        let before = self.rows.len();
        if is_same_run {
            let new = told.iter().filter(|row| row.sequence > after);
            self.rows.extend(new.cloned());
        } else {
            self.rows.extend(told.iter().cloned());
        }
        // The last events do not reach back to those that are here.
        let reaches = told.first().is_none_or(|first| first.sequence <= after + 1);
        self.asked_all &= is_same_run && reaches;
        let came = self.rows.len() - before;
        if came == 0 {
            return;
        }
        if !self.follows {
            self.unseen += came;
        }
        let was = self.selected();
        self.bound();
        self.remake(was.as_ref(), height);
    }

    /// Takes all events that the daemon keeps: older ones come before those that are here.
    pub(crate) fn all_arrived(&mut self, told: &[EventRow], height: usize) {
        let begin = self.begin_of_run();
        let run = self.rows.get(begin..).unwrap_or_default();
        let is_same_run = run.last().is_none_or(|youngest| {
            told.iter()
                .any(|row| row.sequence == youngest.sequence && row.at == youngest.at)
        });
        if !is_same_run {
            return;
        }
        let was = self.selected();
        // Some that are here the daemon may keep no longer.
        let here = self.rows.drain(begin..).map(|row| (row.sequence, row));
        let mut all: BTreeMap<u64, EventRow> = here.collect();
        all.extend(told.iter().map(|row| (row.sequence, row.clone())));
        self.rows.extend(all.into_values());
        self.bound();
        self.remake(was.as_ref(), height);
    }

    /// Returns where the events of the daemon's present run begin.
    fn begin_of_run(&self) -> usize {
        let pairs = self.rows.windows(2).enumerate();
        let mut restarts = pairs.filter(|(_, pair)| match pair {
            [one, next] => next.sequence <= one.sequence,
            _ => false,
        });
        restarts.next_back().map_or(0, |(place, _)| place + 1)
    }

    fn bound(&mut self) {
        let over = self.rows.len().saturating_sub(KEPT);
        self.rows.drain(..over);
    }

    /// Makes the lines anew; the selection stays on its event.
    pub(crate) fn rebuild(&mut self, height: usize) {
        let was = self.selected();
        self.remake(was.as_ref(), height);
    }

    /// What tells the selected event from all others.
    fn selected(&self) -> Option<(u64, String)> {
        let row = self.at_cursor()?;
        Some((row.sequence, row.at.clone()))
    }

    fn remake(&mut self, was: Option<&(u64, String)>, height: usize) {
        self.lines.clear();
        let is_filtered = !self.filter.is_empty();
        let mut before: Option<u64> = None;
        for (place, row) in self.rows.iter().enumerate() {
            let sequence = row.sequence;
            if !is_filtered {
                match before {
                    Some(last) if sequence <= last => self.lines.push(Line::Restart),
                    Some(last) if sequence > last + 1 => {
                        self.lines.push(Line::Gap(last + 1, sequence - 1));
                    }
                    None if sequence > 1 => self.lines.push(Line::Gap(1, sequence - 1)),
                    Some(_) | None => {}
                }
                before = Some(sequence);
            }
            if self.filter.shows(&text(row)) {
                self.lines.push(Line::Event(place));
            }
        }
        let length = self.lines.len();
        if self.follows {
            self.cursor.select(length.saturating_sub(1), length, height);
            return;
        }
        let is_it = |line: &Line| match line {
            Line::Event(place) => self
                .rows
                .get(*place)
                .is_some_and(|row| was.is_some_and(|was| row.sequence == was.0 && row.at == was.1)),
            Line::Gap(..) | Line::Restart => false,
        };
        let at = self.lines.iter().position(is_it);
        self.cursor
            .select(at.unwrap_or(self.cursor.index), length, height);
    }

    /// Goes up or down; the last line is followed.
    pub(crate) fn go(&mut self, step: Step, height: usize) {
        self.cursor.go(step, self.lines.len(), height);
        self.zoom_top = 0;
        self.follows = self.cursor.index + 1 >= self.lines.len();
        if self.follows {
            self.unseen = 0;
        }
    }

    /// Returns what is selected.
    pub(crate) fn at_cursor(&self) -> Option<&EventRow> {
        self.rows.get(self.place_at_cursor()?)
    }

    fn place_at_cursor(&self) -> Option<usize> {
        match self.lines.get(self.cursor.index)? {
            Line::Event(place) => Some(*place),
            Line::Gap(..) | Line::Restart => None,
        }
    }

    /// Says whether the daemon may keep events that are not here.
    pub(crate) fn may_have_more(&self) -> bool {
        let run = self.rows.get(self.begin_of_run()..).unwrap_or_default();
        let count = run.len() as u64;
        !self.asked_all && run.last().is_some_and(|row| row.sequence > count)
    }
}

fn text(row: &EventRow) -> String {
    let mut text = format!(
        "{} {} {} {} {} {}",
        row.sequence, row.at, row.severity, row.class, row.code, row.text
    );
    for (name, value) in &row.fields {
        text.push(' ');
        text.push_str(name);
        text.push('=');
        text.push_str(value);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(sequences: impl IntoIterator<Item = u64>, day: u64) -> Vec<EventRow> {
        let rows = sequences.into_iter().map(|sequence| EventRow {
            sequence,
            at: format!("2026-11-{day:02}T12:{:02}:00.000Z", sequence % 60),
            text: format!("event {sequence}"),
            ..EventRow::default()
        });
        rows.collect()
    }

    #[test]
    fn new_events_are_added_and_followed_until_one_goes_up() {
        let mut events = Events::default();
        events.arrived(&rows(1..=3, 1), 10);
        events.arrived(&rows(2..=5, 1), 10);
        assert_eq!(events.rows.len(), 5);
        assert_eq!(events.at_cursor().unwrap().sequence, 5);
        events.go(Step::Up, 10);
        events.arrived(&rows(4..=7, 1), 10);
        assert_eq!(events.at_cursor().unwrap().sequence, 4);
        assert_eq!((events.follows, events.unseen), (false, 2));
        events.go(Step::Bottom, 10);
        assert_eq!((events.follows, events.unseen), (true, 0));
    }

    #[test]
    fn only_what_came_since_is_asked_for_until_the_daemon_may_be_another() {
        let mut events = Events::default();
        assert_eq!(events.since, None);
        events.arrived(&rows(1..=3, 1), 10);
        assert_eq!(events.since, Some(3));
        events.arrived(&[], 10);
        events.arrived(&rows(4..=5, 1), 10);
        assert_eq!((events.rows.len(), events.since), (5, Some(5)));
        events.since = None;
        // It was started anew.
        events.arrived(&rows(1..=2, 2), 10);
        assert_eq!(events.since, Some(2));
        assert!(events.lines.contains(&Line::Restart));
    }

    #[test]
    fn what_is_missing_and_a_restart_have_lines_of_their_own() {
        let mut events = Events::default();
        events.arrived(&rows([3, 4, 9], 1), 10);
        let gap = |from, to| Line::Gap(from, to);
        let at = Line::Event;
        assert_eq!(events.lines, [gap(1, 2), at(0), at(1), gap(5, 8), at(2)]);
        events.arrived(&rows([1, 2], 2), 10);
        let restarted = [Line::Restart, at(3), at(4)];
        assert_eq!(events.lines.get(5..), Some(&restarted[..]));
        // One that counted as far again is another one still.
        events.arrived(&rows(1..=2, 3), 10);
        let lines = events.lines.iter();
        assert_eq!(lines.filter(|line| **line == Line::Restart).count(), 2);
    }

    #[test]
    fn older_events_come_before_those_that_are_here() {
        let mut events = Events::default();
        events.arrived(&rows(90..=99, 1), 10);
        assert!(events.may_have_more());
        events.asked_all = true;
        events.go(Step::Top, 10);
        events.go(Step::Down, 10);
        assert_eq!(events.at_cursor().unwrap().sequence, 90);
        events.all_arrived(&rows(1..=99, 1), 10);
        assert_eq!(events.at_cursor().unwrap().sequence, 90);
        assert_eq!(events.rows.len(), 99);
        assert!(!events.may_have_more());
        // Of a daemon that was started anew meanwhile: nothing is mixed up.
        events.all_arrived(&rows(1..=7, 2), 10);
        assert_eq!(events.rows.len(), 99);
    }

    #[test]
    fn a_filter_finds_fields_and_leaves_gaps_out() {
        let mut events = Events::default();
        let mut all = rows([1, 5], 1);
        if let Some(row) = all.last_mut() {
            row.fields.insert("by".to_owned(), "anna".to_owned());
        }
        events.arrived(&all, 10);
        events.filter.text = "by=anna".to_owned();
        events.rebuild(10);
        assert_eq!(events.lines, [Line::Event(1)]);
    }
}
