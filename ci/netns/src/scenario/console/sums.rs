//! Whether what the daemon says of one second adds up.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{CLIENTS, RATE};
use crate::WeirProcess;

/// What was told of a second.
pub(super) struct Told {
    /// Its number.
    pub(super) second: u64,
    status: Value,
    services: Value,
    floods: Value,
    ports: Value,
}

impl Told {
    /// Asks for all that has rates.
    ///
    /// # Errors
    /// When a second ended meanwhile, or it is the one that was told already: it is to be asked again.
    pub(super) fn of_one_second(weir: &WeirProcess<'_>, last: u64) -> Result<Self> {
        let (services, floods) = (weir.show("services")?, weir.show("flood")?);
        let (ports, status) = (weir.show("ports")?, weir.show("status")?);
        let second = number(&status, "second");
        let is_one = [&services, &floods, &ports]
            .into_iter()
            .flat_map(each)
            .all(|row| number(row, "second") == second);
        ensure!(is_one && second > last, "no new second after {last}");
        Ok(Self {
            second,
            status,
            services,
            floods,
            ports,
        })
    }

    /// Says what there was, in words.
    ///
    /// # Errors
    /// When it does not add up, or nothing happened.
    pub(super) fn adds_up(&self) -> Result<String> {
        let (services, floods, second) = (&self.services, &self.floods, self.second);
        let (syns, opened) = (sum(floods, "syn_in"), sum(services, "opened"));
        for (name, whole, parts) in [
            ("sessions", "sessions_per_s", opened),
            ("refusals", "refused_per_s", sum(services, "refused")),
            ("SYNs", "syn_per_s", syns),
            ("frames in", "packets_in_per_s", sum(&self.ports, "rx")),
            ("frames out", "packets_out_per_s", sum(&self.ports, "tx")),
        ] {
            let whole = number(&self.status, whole);
            ensure!(
                parts == whole,
                "{parts} {name} of {whole} in second {second}"
            );
        }
        for row in each(services) {
            let reals = row.get("reals").context("no real servers")?;
            for name in ["opened", "packets_in", "packets_out", "bits_in", "bits_out"] {
                let (parts, whole) = (sum(reals, name), rate(row, name));
                ensure!(parts == whole, "{parts} {name} of {whole} in {row}");
            }
        }
        for row in each(floods) {
            let parts = ["cookie_sent", "passed", "limited"].map(|name| rate(row, name));
            let (parts, whole) = (parts.iter().sum::<u64>(), rate(row, "syn_in"));
            ensure!(parts == whole, "{parts} of {whole} SYNs in {row}");
        }
        // A second of nothing proves nothing.
        ensure!(
            syns > u64::from(RATE / 2) && opened >= u64::from(CLIENTS / 2),
            "{syns} SYNs and {opened} sessions in second {second}"
        );
        Ok(format!(
            "{syns} SYNs, {opened} sessions in a second, each told of"
        ))
    }
}

/// The rows of an answer; a single one is no list.
fn each(rows: &Value) -> impl Iterator<Item = &Value> {
    let one = rows.is_object().then_some(rows);
    one.into_iter().chain(rows.as_array().into_iter().flatten())
}

fn sum(rows: &Value, name: &str) -> u64 {
    each(rows).map(|row| rate(row, name)).sum()
}

/// What the last second added; what is nought is left out.
fn rate(row: &Value, name: &str) -> u64 {
    row.get("per_s").map_or(0, |rates| number(rates, name))
}

/// A whole number, also where it is written as one that may have digits behind a point.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are whole and not negative"
)]
fn number(row: &Value, name: &str) -> u64 {
    let value = row.get(name);
    value.and_then(Value::as_f64).unwrap_or_default() as u64
}
