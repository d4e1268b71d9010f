//! The start of the daemon, told: receivers of events see by it that the one before is gone, and
//! whether that one ended as it should.

use std::io;
use std::time::Instant;

use weir_control::EventRow;
use weir_model::{EventClass, Severity};

use super::Control;
use super::events::mark::{Life, Mark, Marked};
use super::events::shelf;
use crate::event::EventRecord;
use crate::log::words;

/// How the daemon before ended, as far as that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// There was none, or nothing is known of its end.
    Unknown,
    /// It was stopped.
    Stopped,
    /// It was not, or not to the end.
    Died(LastWords),
}

/// What the kept events tell of the daemon before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LastWords {
    /// When it was heard last.
    at: Option<String>,
    /// Whether it said last that it stops; none where it said neither that nor that it started.
    is_stopping: Option<bool>,
    /// The number of the event that told a start last; nought where there is none.
    started: u64,
    /// Whether as many events are there as are kept: its start may be too long ago.
    is_long: bool,
}

impl LastWords {
    /// Reads them from the events that were kept, the oldest first.
    pub(super) fn of(earlier: &[EventRow]) -> Self {
        let mut codes = earlier.iter().rev().map(|row| row.code.as_str());
        let mut rows = earlier.iter().rev();
        Self {
            started: rows
                .find(|row| row.code == "started")
                .map_or(0, |row| row.sequence),
            at: earlier.last().map(|row| row.at.clone()),
            is_stopping: codes.find_map(|code| match code {
                "stopping" => Some(true),
                "started" => Some(false),
                _ => None,
            }),
            is_long: earlier.len() >= shelf::KEPT,
        }
    }
}

impl Before {
    /// Reads it from the mark that the daemon before left. One that knew no mark, or could not write
    /// it, left its events only, whose last ones may be missing.
    fn of(mark: Option<Marked>, last_words: LastWords) -> Self {
        let mark = mark.filter(|mark| mark.started >= last_words.started);
        match (mark.map(|mark| mark.life), last_words.is_stopping) {
            (Some(Life::Ended), _) | (None, Some(true)) => Self::Stopped,
            (Some(Life::Runs), _) | (None, Some(false)) => Self::Died(last_words),
            (None, None) if last_words.is_long => Self::Died(last_words),
            (None, None) => Self::Unknown,
        }
    }
}

/// Says that the next start knows nothing true of the end of this daemon.
pub(super) fn not_marked(error: &io::Error) -> String {
    format!(
        "the next start cannot tell how this daemon ended: {}",
        words(error)
    )
}

impl Control {
    /// Tells of the start, and marks that the daemon runs.
    pub(super) fn begin_life(&mut self, last_words: LastWords) {
        let mark = self.scene.events.mark();
        let found = mark.as_ref().and_then(Mark::read);
        self.tell_start(&Before::of(found, last_words));
        let (life, started) = (Life::Runs, self.scene.events.last_number());
        self.started = started;
        if let Some(Err(error)) = mark.map(|mark| mark.write(Marked { life, started })) {
            let (events, severity) = (&mut self.scene.events, Severity::Warning);
            let text = not_marked(&error);
            events.system(Instant::now(), severity, "events-not-kept", text);
        }
    }

    /// Tells of the start.
    pub(super) fn tell_start(&mut self, before: &Before) {
        let version = env!("CARGO_PKG_VERSION");
        let generation = self.scene.running.snapshot.generation.0;
        let workers = self.scene.fleet.pictures().len();
        let noun = if workers == 1 { "worker" } else { "workers" };
        let started =
            format!("weir {version} started with configuration {generation} and {workers} {noun}");
        let (severity, text, ended) = match before {
            Before::Unknown => (Severity::Notice, started, None),
            Before::Stopped => (Severity::Notice, started, Some("stopped")),
            Before::Died(LastWords {
                at, is_stopping, ..
            }) => {
                let how = match is_stopping {
                    Some(true) => "did not end its stop",
                    Some(false) | None => "was not stopped",
                };
                let after = at.as_ref().map(|at| format!(" after {at}"));
                let text = format!(
                    "{started}; the daemon before {how}: it crashed, was killed or lost its power{}",
                    after.unwrap_or_default()
                );
                (Severity::Warning, text, Some("died"))
            }
        };
        let mut event = EventRecord::new(EventClass::System, severity, "started", text)
            .field("version", version)
            .field("generation", generation)
            .field("workers", workers);
        if let Some(ended) = ended {
            event = event.field("before", ended);
        }
        self.scene.events.say(Instant::now(), event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(codes: &[&str]) -> Vec<EventRow> {
        let rows = codes.iter().enumerate();
        rows.map(|(second, code)| EventRow {
            sequence: second as u64 + 1,
            at: format!("2026-07-01T00:00:0{second}Z"),
            code: (*code).to_owned(),
            ..EventRow::default()
        })
        .collect()
    }

    /// What is known behind these events and the mark of a daemon that started with them.
    fn before(mark: Option<Life>, rows: &[EventRow]) -> Before {
        let last_words = LastWords::of(rows);
        let started = last_words.started;
        Before::of(mark.map(|life| Marked { life, started }), last_words)
    }

    #[test]
    fn the_mark_says_how_the_daemon_ended_whatever_its_last_events_are() {
        for codes in [
            &["started", "applied"][..],
            &["started", "stopping"],
            &["applied"],
            &[],
        ] {
            let rows = rows(codes);
            assert_eq!(before(Some(Life::Ended), &rows), Before::Stopped);
            let Before::Died(last_words) = before(Some(Life::Runs), &rows) else {
                panic!("{codes:?}");
            };
            assert_eq!(last_words.at, rows.last().map(|row| row.at.clone()));
            let is_stopping = last_words.is_stopping == Some(true);
            assert_eq!(is_stopping, codes.contains(&"stopping"));
        }
    }

    #[test]
    fn without_a_mark_a_start_with_no_stop_behind_it_says_that_the_daemon_died() {
        let died = before(None, &rows(&["started", "stopping", "started", "applied"]));
        let last_words = LastWords {
            at: Some("2026-07-01T00:00:03Z".to_owned()),
            is_stopping: Some(false),
            started: 3,
            is_long: false,
        };
        assert_eq!(died, Before::Died(last_words));
    }

    #[test]
    fn a_mark_from_before_a_later_start_says_nothing_of_the_daemon_that_left_none() {
        let stopped = rows(&["started", "applied", "started", "stopping"]);
        let died = rows(&["started", "stopping", "started", "applied"]);
        for life in [Life::Runs, Life::Ended] {
            let of =
                |rows, started| Before::of(Some(Marked { life, started }), LastWords::of(rows));
            assert_eq!(of(&stopped, 1), Before::Stopped);
            assert!(matches!(of(&died, 1), Before::Died(_)));
            // Of a start that found no room among the events it says what it says of any.
            for started in [3, 4] {
                let is_stopped = of(&died, started) == Before::Stopped;
                assert_eq!(is_stopped, life == Life::Ended);
            }
        }
    }

    #[test]
    fn a_daemon_that_died_after_more_events_than_are_kept_is_told_of_all_the_same() {
        let many = rows(&vec!["real-down"; shelf::KEPT]);
        assert!(matches!(before(None, &many), Before::Died(_)));
        assert_eq!(before(None, &many[1..]), Before::Unknown);
    }

    #[test]
    fn what_the_agent_tells_behind_a_stop_is_none_of_the_daemons() {
        assert_eq!(
            before(None, &rows(&["started", "stopping", "power"])),
            Before::Stopped
        );
    }

    #[test]
    fn nothing_is_said_where_nothing_is_known() {
        assert_eq!(before(None, &[]), Before::Unknown);
        assert_eq!(before(None, &rows(&["applied"])), Before::Unknown);
    }
}
