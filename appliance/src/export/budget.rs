//! Budgets: how many events of each kind may be said in a while, and how many were not.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::event::EventRecord;

/// What may still be said of each kind of event.
#[derive(Debug)]
pub(crate) struct Budgets {
    limit: u32,
    window: Duration,
    kinds: BTreeMap<&'static str, Budget>,
}

#[derive(Debug)]
struct Budget {
    since: Instant,
    said: u32,
    suppressed: u64,
}

impl Budgets {
    /// Allows `limit` events of each kind in every `window`.
    pub(crate) fn new(limit: u32, window: Duration) -> Self {
        Self {
            limit,
            window,
            kinds: BTreeMap::new(),
        }
    }

    /// Says whether one more of a kind is allowed, and how many were refused before it. One that is
    /// refused is counted.
    pub(crate) fn admit(&mut self, now: Instant, kind: &'static str) -> Option<u64> {
        let budget = self.kinds.entry(kind).or_insert(Budget {
            since: now,
            said: 0,
            suppressed: 0,
        });
        if now.saturating_duration_since(budget.since) >= self.window {
            budget.since = now;
            budget.said = 0;
        }
        if budget.said >= self.limit {
            budget.suppressed += 1;
            return None;
        }
        budget.said += 1;
        Some(std::mem::take(&mut budget.suppressed))
    }

    /// The same for an event; what operators did is always allowed and takes nothing of a budget.
    pub(crate) fn admit_event(&mut self, now: Instant, record: &EventRecord) -> Option<u64> {
        if record.is_audit() {
            return Some(0);
        }
        self.admit(now, record.code)
    }

    /// Counts some of a kind as refused that were told by a message which nobody got.
    pub(crate) fn give_back(&mut self, kind: &'static str, count: u64) {
        if let Some(budget) = self.kinds.get_mut(kind) {
            budget.suppressed += count;
        }
    }

    /// Returns every kind of which some were refused and nothing was said since, whether it is
    /// allowed again or not: nothing more will be said.
    pub(crate) fn take_leftovers(&mut self) -> Vec<(&'static str, u64)> {
        let kinds = self.kinds.iter_mut();
        let left = kinds.map(|(kind, budget)| (*kind, std::mem::take(&mut budget.suppressed)));
        left.filter(|(_, count)| *count > 0).collect()
    }

    /// Returns the next kind of which some were refused and nothing was said since, though it is
    /// allowed again; what is said of them counts as one.
    pub(crate) fn next_leftover(&mut self, now: Instant) -> Option<(&'static str, u64)> {
        let window = self.window;
        let is_due = |budget: &Budget| {
            budget.suppressed > 0 && now.saturating_duration_since(budget.since) >= window
        };
        let (kind, budget) = self.kinds.iter_mut().find(|(_, budget)| is_due(budget))?;
        budget.since = now;
        budget.said = 1;
        Some((kind, std::mem::take(&mut budget.suppressed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn every_event_is_said_or_counted_once() {
        let mut budgets = Budgets::new(3, SECOND);
        let start = Instant::now();
        let (mut said, mut told) = (0, 0);
        for n in 0..1_000 {
            let now = start + SECOND * n / 300;
            if let Some(before) = budgets.admit(now, "a") {
                said += 1;
                told += before;
            }
        }
        // Four windows began: at 0, 1, 2 and 3 seconds.
        assert_eq!(said, 12);
        let late = start + SECOND * 10;
        assert_eq!(
            budgets.next_leftover(late),
            Some(("a", 1_000 - said - told))
        );
        assert_eq!(budgets.next_leftover(late), None);
    }

    #[test]
    fn a_summary_waits_until_its_kind_is_allowed_again() {
        let mut budgets = Budgets::new(1, SECOND);
        let start = Instant::now();
        assert_eq!(budgets.admit(start, "a"), Some(0));
        assert_eq!(budgets.admit(start, "b"), Some(0));
        assert_eq!(budgets.admit(start, "a"), None);
        assert_eq!(budgets.next_leftover(start + SECOND / 2), None);
        assert_eq!(budgets.next_leftover(start + SECOND), Some(("a", 1)));
        // The summary was the one that this window allows.
        assert_eq!(budgets.admit(start + SECOND, "a"), None);
        assert_eq!(budgets.admit(start + SECOND, "b"), Some(0));
    }
}
