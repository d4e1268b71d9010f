//! What moved: every counter by its name, so that a test states all of them and no other.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, bail};
use weir_model::{Counter, Counters, DropReason, Ledger};

/// Every counter of a ledger and of the counters beside it, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<&'static str, i64>);

/// The names of a ledger's own fields, as walks write them.
const FIELDS: [&str; 7] = [
    "rx",
    "originated",
    "handed-in",
    "tx",
    "delivered",
    "held",
    "handed-out",
];

impl Tally {
    /// Reads every counter.
    #[must_use]
    pub fn of(ledger: &Ledger, counters: &Counters) -> Self {
        let fields = [
            ledger.rx,
            ledger.originated,
            ledger.handed_in,
            ledger.tx,
            ledger.delivered,
            ledger.held,
            ledger.handed_out,
        ];
        let fields = FIELDS.into_iter().zip(fields);
        let drops = DropReason::ALL
            .iter()
            .map(|it| (it.label(), ledger.dropped(*it)));
        let counters = Counter::ALL
            .iter()
            .map(|it| (it.label(), counters.get(*it)));
        Self(
            fields
                .chain(drops)
                .chain(counters)
                .map(|(name, count)| (name, count.cast_signed()))
                .collect(),
        )
    }

    /// Returns what moved since `earlier`; `held` may have gone down.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let moved = names().filter_map(|name| {
            let moved = self.get(name) - earlier.get(name);
            (moved != 0).then_some((name, moved))
        });
        Self(moved.collect())
    }

    /// Returns the counts of these names alone.
    #[must_use]
    pub fn only(&self, names: &[&str]) -> Self {
        let chosen = self.0.iter().filter(|(name, _)| names.contains(name));
        Self(chosen.map(|(name, count)| (*name, *count)).collect())
    }

    /// Adds another tally.
    pub fn add(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            *self.0.entry(name).or_default() += count;
        }
    }

    /// Returns a count.
    #[must_use]
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Reads what a test says should have moved: `rx 4, tx 3, held -1`.
    ///
    /// # Errors
    ///
    /// When a name is not that of a counter or a number is none.
    pub fn parse(text: &str) -> Result<Self> {
        let mut tally = Self::default();
        for item in text.split(',').map(str::trim).filter(|it| !it.is_empty()) {
            let (name, count) = item
                .split_once(char::is_whitespace)
                .with_context(|| format!("`{item}` is not a counter and a number"))?;
            let count: i64 = count
                .trim()
                .parse()
                .ok()
                .with_context(|| format!("`{count}` is not a number"))?;
            let Some(name) = names().find(|it| *it == name) else {
                bail!(
                    "there is no counter `{name}`; did you mean `{}`?",
                    nearest(name)
                );
            };
            if tally.0.insert(name, count).is_some() {
                bail!("`{name}` stands twice");
            }
        }
        tally.0.retain(|_, count| *count != 0);
        Ok(tally)
    }

    /// Compares what moved with what should have moved.
    ///
    /// # Errors
    ///
    /// Names every counter that moved otherwise.
    pub fn expect(&self, expected: &Self) -> Result<()> {
        let moved = self.since(&Self::default());
        if moved == *expected {
            return Ok(());
        }
        let mut wrong = Vec::new();
        for name in names() {
            let (got, want) = (moved.get(name), expected.get(name));
            if got != want {
                wrong.push(format!("{name} moved by {got}, not {want}"));
            }
        }
        bail!("{}\n  all that moved: {moved}", wrong.join("; "))
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for name in names() {
            let count = self.get(name);
            if count != 0 {
                write!(f, "{comma}{name} {count}")?;
                comma = ", ";
            }
        }
        Ok(())
    }
}

/// Every name in the order in which people read them: the ledger first.
fn names() -> impl Iterator<Item = &'static str> {
    let drops = DropReason::ALL.iter().map(|it| it.label());
    let counters = Counter::ALL.iter().map(|it| it.label());
    FIELDS.into_iter().chain(drops).chain(counters)
}

fn nearest(name: &str) -> &'static str {
    names()
        .max_by_key(|it| {
            let same =
                |a: &str, b: &str| a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
            let reversed = |text: &str| text.chars().rev().collect::<String>();
            same(it, name) + same(&reversed(it), &reversed(name))
        })
        .unwrap_or("rx")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_stands_for_one_counter() {
        let mut all: Vec<&str> = names().collect();
        all.sort_unstable();
        let before = all.len();
        all.dedup();
        assert_eq!(all.len(), before);
    }

    #[test]
    fn what_moved_is_compared_with_all_that_should_have() {
        let mut ledger = Ledger::default();
        let mut counters = Counters::default();
        let before = Tally::of(&ledger, &counters);
        ledger.rx += 2;
        ledger.tx += 1;
        ledger.drop(DropReason::NoService);
        counters.count(Counter::SessionOpened);
        let moved = Tally::of(&ledger, &counters).since(&before);
        assert_eq!(
            moved.to_string(),
            "rx 2, tx 1, no-service 1, session-opened 1"
        );
        let right = Tally::parse("rx 2, tx 1, session-opened 1, no-service 1, held 0").unwrap();
        moved.expect(&right).unwrap();
        let wrong = Tally::parse("rx 2, tx 1, session-opened 1").unwrap();
        let error = moved.expect(&wrong).unwrap_err().to_string();
        assert!(error.starts_with("no-service moved by 1, not 0"), "{error}");
    }

    #[test]
    fn what_goes_back_to_zero_has_moved() {
        let held = Tally::parse("held 2").unwrap();
        let none = Tally::default();
        assert_eq!(none.since(&held).to_string(), "held -2");
    }

    #[test]
    fn a_misspelt_counter_is_named_with_its_nearest() {
        let error = Tally::parse("session-openned 1").unwrap_err().to_string();
        assert_eq!(
            error,
            "there is no counter `session-openned`; did you mean `session-opened`?"
        );
        assert!(Tally::parse("rx").is_err());
        assert!(Tally::parse("rx 1, rx 1").is_err());
    }
}
