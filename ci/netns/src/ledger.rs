//! The books: every frame in is a frame out, delivered, dropped with a reason, or held.

use std::fmt;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// One ledger as the control socket shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ledger {
    rx: u64,
    originated: u64,
    handed_in: u64,
    tx: u64,
    delivered: u64,
    held: u64,
    handed_out: u64,
    dropped: Vec<(String, u64)>,
}

impl Ledger {
    /// Reads the global figures or those of one worker.
    ///
    /// # Errors
    /// When a figure of the contract is missing.
    pub fn read(value: &Value) -> Result<Self> {
        let figure = |key: &str| {
            value
                .get(key)
                .and_then(Value::as_u64)
                .with_context(|| format!("the ledger has no `{key}`: {value}"))
        };
        let dropped = value
            .get("dropped")
            .and_then(Value::as_object)
            .with_context(|| format!("the ledger has no `dropped`: {value}"))?
            .iter()
            .map(|(reason, count)| (reason.clone(), count.as_u64().unwrap_or_default()))
            .collect();
        Ok(Self {
            rx: figure("rx")?,
            originated: figure("originated")?,
            handed_in: figure("handed_in")?,
            tx: figure("tx")?,
            delivered: figure("delivered")?,
            held: figure("held")?,
            handed_out: figure("handed_out")?,
            dropped,
        })
    }

    /// Returns the frames that came in, by whatever way.
    #[must_use]
    pub fn credit(&self) -> u64 {
        self.rx + self.originated + self.handed_in
    }

    /// Returns the frames that left or are still held.
    #[must_use]
    pub fn debit(&self) -> u64 {
        let dropped: u64 = self.dropped.iter().map(|(_, count)| count).sum();
        self.tx + self.delivered + dropped + self.held + self.handed_out
    }

    /// Returns the frames received from the ports.
    #[must_use]
    pub fn rx(&self) -> u64 {
        self.rx
    }

    /// Returns the frames given to other workers.
    #[must_use]
    pub fn handed_out(&self) -> u64 {
        self.handed_out
    }

    /// Returns the frames dropped for a reason.
    #[must_use]
    pub fn dropped(&self, reason: &str) -> u64 {
        self.dropped
            .iter()
            .filter(|(name, _)| name == reason)
            .map(|(_, count)| count)
            .sum()
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in = {} out", self.credit(), self.debit())?;
        for (reason, count) in self.dropped.iter().filter(|(_, count)| *count > 0) {
            write!(f, ", {reason} {count}")?;
        }
        Ok(())
    }
}

/// Recomputes the identity for the whole and for each worker, and takes nobody's word for it.
///
/// # Errors
/// When a side is off by one frame, or the daemon itself says so.
pub fn check(value: &Value) -> Result<Ledger> {
    let all = Ledger::read(value)?;
    let workers = value
        .get("workers")
        .and_then(Value::as_array)
        .context("the ledger has no `workers`")?;
    for (n, worker) in workers.iter().enumerate() {
        let one = Ledger::read(worker)?;
        if one.credit() != one.debit() {
            bail!(
                "worker {n} is off by {}: {one}: {worker}",
                one.credit().abs_diff(one.debit())
            );
        }
    }
    if all.credit() != all.debit() {
        bail!(
            "the ledger is off by {}: {all}: {value}",
            all.credit().abs_diff(all.debit())
        );
    }
    if value.get("balanced").and_then(Value::as_bool) != Some(true) {
        bail!("the daemon says that its ledger does not balance: {value}");
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn worker(rx: u64, tx: u64) -> Value {
        json!({"rx": rx, "originated": 1, "handed_in": 0, "tx": tx, "delivered": 0, "held": 0,
               "handed_out": 1, "dropped": {"no-service": 2, "lip-exhausted": 0}})
    }

    fn whole(one: &Value) -> Value {
        let mut all = one.clone();
        all["balanced"] = json!(true);
        all["workers"] = json!([one]);
        all
    }

    #[test]
    fn exact_books_are_accepted() {
        let ledger = check(&whole(&worker(10, 8))).unwrap();
        assert_eq!(
            (
                ledger.rx(),
                ledger.handed_out(),
                ledger.dropped("no-service")
            ),
            (10, 1, 2)
        );
    }

    #[test]
    fn one_lost_frame_is_an_error_even_if_the_daemon_is_content() {
        let error = check(&whole(&worker(10, 7))).unwrap_err().to_string();
        assert!(error.contains("worker 0 is off by 1"), "{error}");
    }

    #[test]
    fn two_workers_that_cancel_out_are_still_wrong() {
        let mut all = worker(20, 16);
        all["originated"] = json!(2);
        all["handed_out"] = json!(2);
        all["dropped"]["no-service"] = json!(4);
        all["balanced"] = json!(true);
        all["workers"] = json!([worker(10, 7), worker(10, 9)]);
        assert!(check(&all).is_err());
    }
}
