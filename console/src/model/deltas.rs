//! Rates between two answers, of counters with any names.

use std::collections::BTreeMap;
use std::time::Duration;

/// What was counted longer ago says nothing about now.
pub(crate) const LONGEST: Duration = Duration::from_mins(1);

/// The counters of the last answer, and how fast they grow.
#[derive(Debug, Default)]
pub(crate) struct Deltas {
    at: Duration,
    counters: BTreeMap<String, Vec<u64>>,
    rates: BTreeMap<String, Vec<f64>>,
}

impl Deltas {
    /// Takes the counters of an answer.
    pub(crate) fn take(&mut self, at: Duration, counters: BTreeMap<String, Vec<u64>>) {
        let span = at.saturating_sub(self.at);
        self.rates = if span > LONGEST {
            BTreeMap::new()
        } else {
            let grown = |(name, now): (&String, &Vec<u64>)| {
                let before = self.counters.get(name)?;
                let rates = before.iter().zip(now);
                // Where one went back, all began anew.
                let rates: Option<Vec<f64>> = rates
                    .map(|(before, now)| rate(*before, *now, span))
                    .collect();
                Some((name.clone(), rates?))
            };
            counters.iter().filter_map(grown).collect()
        };
        self.at = at;
        self.counters = counters;
    }

    /// Returns how fast several counters of a name grow.
    pub(crate) fn rates(&self, name: &str) -> Option<&[f64]> {
        self.rates.get(name).map(Vec::as_slice)
    }
}

/// A counter that went back is another one: the daemon began anew.
pub(crate) fn rate(before: u64, now: u64, span: Duration) -> Option<f64> {
    let more = now.checked_sub(before)?;
    (span >= Duration::from_millis(50)).then(|| more as f64 / span.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(values: &[u64]) -> BTreeMap<String, Vec<u64>> {
        [("wan".to_owned(), values.to_vec())].into()
    }

    #[test]
    fn a_rate_needs_two_answers_of_the_same_run_not_long_ago() {
        let mut deltas = Deltas::default();
        let second = Duration::from_secs;
        deltas.take(second(1), counters(&[100, 7]));
        assert_eq!(deltas.rates("wan"), None);
        deltas.take(second(3), counters(&[300, 7]));
        assert_eq!(deltas.rates("wan"), Some(&[100.0, 0.0][..]));
        deltas.take(second(4), counters(&[400, 0]));
        assert_eq!(deltas.rates("wan"), None);
        deltas.take(second(5), counters(&[500, 1]));
        assert_eq!(deltas.rates("wan"), Some(&[100.0, 1.0][..]));
        deltas.take(second(600), counters(&[900, 1]));
        assert_eq!(deltas.rates("wan"), None);
    }
}
