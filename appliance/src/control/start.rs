//! The start of the daemon, told: receivers of events see by it that the one before is gone, and
//! whether that one ended as it should.

use std::time::Instant;

use weir_control::EventRow;
use weir_model::{EventClass, Severity};

use super::Control;
use super::events::shelf;
use crate::event::EventRecord;

/// How the daemon before ended, as far as its events tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// There was none, or nothing is known of its end.
    Unknown,
    /// It was stopped.
    Stopped,
    /// It was not, and this is when it was heard last.
    Died { last: String },
}

impl Before {
    /// Reads it from the events that were kept, the oldest first.
    pub(super) fn of(earlier: &[EventRow]) -> Self {
        let last = earlier
            .iter()
            .rev()
            .find_map(|row| match row.code.as_str() {
                "stopping" => Some(false),
                "started" => Some(true),
                _ => None,
            });
        // Where as many were kept as can be, its start is too long ago to be among them.
        let has_started = last.unwrap_or(earlier.len() >= shelf::KEPT);
        match (has_started, earlier.last()) {
            (true, Some(row)) => Self::Died {
                last: row.at.clone(),
            },
            _ if last.is_some() => Self::Stopped,
            _ => Self::Unknown,
        }
    }
}

impl Control {
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
            Before::Died { last } => {
                let text = format!(
                    "{started}; the daemon before was not stopped: it crashed, was killed or lost \
                     its power after {last}"
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
            at: format!("2026-07-01T00:00:0{second}Z"),
            code: (*code).to_owned(),
            ..EventRow::default()
        })
        .collect()
    }

    #[test]
    fn a_start_without_a_stop_before_it_says_that_the_daemon_died() {
        let died = Before::of(&rows(&["started", "stopping", "started", "applied"]));
        let last = "2026-07-01T00:00:03Z".to_owned();
        assert_eq!(died, Before::Died { last });
    }

    #[test]
    fn a_daemon_that_died_after_more_events_than_are_kept_is_told_of_all_the_same() {
        let many = rows(&vec!["real-down"; shelf::KEPT]);
        assert!(matches!(Before::of(&many), Before::Died { .. }));
        assert_eq!(Before::of(&many[1..]), Before::Unknown);
    }

    #[test]
    fn what_the_agent_tells_behind_a_stop_is_none_of_the_daemons() {
        assert_eq!(
            Before::of(&rows(&["started", "stopping", "power"])),
            Before::Stopped
        );
    }

    #[test]
    fn nothing_is_said_where_nothing_is_known() {
        assert_eq!(Before::of(&[]), Before::Unknown);
        assert_eq!(Before::of(&rows(&["applied"])), Before::Unknown);
    }
}
