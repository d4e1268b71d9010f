//! What happened on the box, for the daemon's stream of events: kept while the daemon is away.

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use weir_model::Severity;

/// How many events wait for the daemon at most; of more the oldest are lost and counted.
const MOST: usize = 512;
/// An event that waited longer than this says when it happened.
const LATE: Duration = Duration::from_secs(3);

/// Something that an operator may want to know; what it is about follows from its code, and
/// `weir_control::Told` has the one table of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// What programs tell it by: the name of a `weir_control::Told`.
    pub(crate) code: &'static str,
    /// How much it matters.
    pub(crate) severity: Severity,
    /// The sentence.
    pub(crate) text: String,
    /// The facts of the sentence, for programs.
    pub(crate) fields: Vec<(&'static str, String)>,
}

impl Event {
    /// Makes an event without facts.
    pub(crate) fn new(code: &'static str, severity: Severity, text: impl Into<String>) -> Self {
        Self {
            code,
            severity,
            text: text.into(),
            fields: Vec::new(),
        }
    }

    /// Makes an event of what goes its way and is still worth a line.
    pub(crate) fn notice(code: &'static str, text: impl Into<String>) -> Self {
        Self::new(code, Severity::Notice, text)
    }

    /// Makes an event of what somebody should look at.
    pub(crate) fn warning(code: &'static str, text: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, text)
    }

    /// Makes an event of what does not work.
    pub(crate) fn error(code: &'static str, text: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, text)
    }

    /// Adds a fact.
    #[must_use]
    pub(crate) fn field(mut self, name: &'static str, value: impl Display) -> Self {
        self.fields.push((name, value.to_string()));
        self
    }
}

/// Events on their way to the daemon; clones are the same queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events(Arc<(Mutex<Waiting>, Condvar)>);

/// The events that wait.
#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<(SystemTime, Event)>,
    lost: u64,
}

impl Events {
    /// Takes an event; never waits.
    pub(crate) fn say(&self, event: Event) {
        crate::log::say(format_args!("{}: {}", event.code, event.text));
        self.lock().push(SystemTime::now(), event);
        self.0.1.notify_one();
    }

    /// Waits for the oldest event, which stays in the queue until [`Self::sent`] is called.
    pub(crate) fn oldest(&self, patience: Duration) -> Option<Event> {
        let waiting = self.lock();
        let (waiting, _) = self
            .0
            .1
            .wait_timeout_while(waiting, patience, |waiting| waiting.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        waiting.oldest(SystemTime::now())
    }

    /// Takes the oldest event out of the queue.
    pub(crate) fn sent(&self) {
        self.lock().sent();
    }

    /// Returns how many events wait.
    pub(crate) fn count(&self) -> usize {
        self.lock().events.len()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.lost == 0
    }

    fn push(&mut self, at: SystemTime, event: Event) {
        if self.events.len() == MOST {
            self.events.pop_front();
            self.lost += 1;
        }
        self.events.push_back((at, event));
    }

    fn oldest(&self, now: SystemTime) -> Option<Event> {
        if self.lost > 0 {
            let text = format!(
                "{} events of the box were lost while the daemon was away",
                self.lost
            );
            let event = Event::warning("events-lost", text);
            return Some(event.field("lost", self.lost));
        }
        let (at, event) = self.events.front()?;
        let waited = now.duration_since(*at).unwrap_or_default();
        let event = event.clone();
        if waited < LATE {
            return Some(event);
        }
        // Not the time itself: at the start of the box the clock may have been wrong.
        Some(event.field("seconds_ago", waited.as_secs()))
    }

    fn sent(&mut self) {
        if self.lost > 0 {
            self.lost = 0;
        } else {
            self.events.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize) -> Event {
        let text = format!("it happened {number} times");
        Event::notice("it", text).field("times", number)
    }

    #[test]
    fn events_wait_in_their_order_until_they_are_sent() {
        let events = Events::default();
        assert_eq!(events.oldest(Duration::ZERO), None);
        events.say(event(1));
        events.say(event(2));
        assert_eq!(events.oldest(Duration::ZERO), Some(event(1)));
        assert_eq!(events.oldest(Duration::ZERO), Some(event(1)));
        events.sent();
        assert_eq!(events.oldest(Duration::ZERO), Some(event(2)));
        events.sent();
        assert_eq!((events.count(), events.oldest(Duration::ZERO)), (0, None));
    }

    #[test]
    fn of_too_many_events_the_oldest_are_lost_and_counted() {
        let mut waiting = Waiting::default();
        let now = SystemTime::UNIX_EPOCH;
        for number in 0..MOST + 3 {
            waiting.push(now, event(number));
        }
        let lost = waiting.oldest(now).unwrap();
        assert_eq!(lost.fields, [("lost", "3".to_owned())]);
        waiting.sent();
        assert_eq!(waiting.oldest(now), Some(event(3)));
    }

    #[test]
    fn an_event_that_waited_says_for_how_long() {
        let mut waiting = Waiting::default();
        let then = SystemTime::UNIX_EPOCH;
        waiting.push(then, event(1));
        let late = waiting.oldest(then + Duration::from_secs(9)).unwrap();
        assert_eq!(late.fields.last(), Some(&("seconds_ago", "9".to_owned())));
        // A clock that was set back says nothing.
        let early = waiting.oldest(then - Duration::from_secs(9)).unwrap();
        assert_eq!(early, event(1));
    }
}
