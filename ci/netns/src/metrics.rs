//! The metrics page, read by the parser that the Prometheus project keeps for Python: the strict one
//! of the OpenMetrics format.

use std::collections::BTreeMap;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::WeirProcess;
use crate::command::run_with_input;
use crate::lab::Lab;

/// The section that opens the page in the load balancer's namespace.
pub const SECTION: &str = "[metrics]\nlisten = 127.0.0.1:9110\n";

const PAGE: &str = "curl -s -f -m 5 http://127.0.0.1:9110/metrics";
/// Debian's package is one of this interpreter; another may come first in PATH.
const PYTHON: &str = "/usr/bin/python3";
const PARSE: &str = "
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
families = list(parse(sys.stdin.read()))
print(json.dumps([[s.name, s.labels, s.value] for f in families for s in f.samples]))
";
/// Times that the page and the ledger are read until nothing moved between them.
const TRIES: u32 = 50;

/// The families of the ledger's columns.
const COLUMNS: &[(&str, &str)] = &[
    ("rx", "weir_frames_received_total"),
    ("originated", "weir_frames_originated_total"),
    ("handed_in", "weir_frames_handed_in_total"),
    ("tx", "weir_frames_transmitted_total"),
    ("delivered", "weir_frames_delivered_total"),
    ("held", "weir_frames_held"),
    ("handed_out", "weir_frames_handed_out_total"),
];

/// A page: each sample's value under its name and labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Page(BTreeMap<(String, BTreeMap<String, String>), f64>);

impl Page {
    /// Reads the page of the daemon that runs in the lab.
    ///
    /// # Errors
    /// When there is none, or the parser does not accept it.
    pub fn get(lab: &Lab) -> Result<Self> {
        let text = lab.lb.run(PAGE)?;
        let parsed = run_with_input(Command::new(PYTHON).args(["-c", PARSE]), &text)?;
        let samples: Vec<(String, BTreeMap<String, String>, f64)> =
            serde_json::from_str(&parsed).context("the parser's samples cannot be read")?;
        let samples = samples.into_iter();
        let page = samples.map(|(name, labels, value)| ((name, labels), value));
        Ok(Self(page.collect()))
    }

    /// Returns how many samples it has.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.0.len()
    }

    fn equals(&self, name: &str, labels: &[(&str, &str)], wanted: &Value) -> Result<u64> {
        let owned = labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let key = (name.to_owned(), owned.collect());
        let value = self.0.get(&key);
        let value = value.with_context(|| format!("{name} {labels:?} is not on the page"))?;
        let wanted = wanted.as_u64().context("the ledger has no number there")?;
        // Whole, and small enough to be exact: the text is the number.
        let said = format!("{value}");
        ensure!(
            said == wanted.to_string(),
            "{name} {labels:?} is {said}; `weir show ledger` says {wanted}"
        );
        Ok(wanted)
    }
}

/// Compares every number of `weir show ledger` with the page, to the packet, while nothing moves.
///
/// # Errors
/// When one differs or is missing, or something moves all the time.
pub fn equals_ledger(lab: &Lab, weir: &WeirProcess<'_>) -> Result<String> {
    for _ in 0..TRIES {
        let before = weir.show("ledger")?;
        // A page is shown for a tenth of a second.
        thread::sleep(Duration::from_millis(150));
        let page = Page::get(lab)?;
        let ledger = weir.show("ledger")?;
        if ledger == before {
            return compare(&page, &ledger);
        }
    }
    bail!("the ledger moved between two looks, {TRIES} times")
}

fn compare(page: &Page, ledger: &Value) -> Result<String> {
    let workers = ledger.get("workers").and_then(Value::as_array);
    let workers = workers.context("the ledger has no `workers`")?;
    let (mut numbers, mut sum) = (0, 0);
    for (worker, row) in workers.iter().enumerate() {
        let worker = worker.to_string();
        let label = ("worker", worker.as_str());
        for (column, family) in COLUMNS {
            let value = row.get(column).unwrap_or(&Value::Null);
            sum += page.equals(family, &[label], value)?;
            numbers += 1;
        }
        for (reason, count) in object(row, "dropped")? {
            let labels = [label, ("reason", reason)];
            sum += page.equals("weir_frames_dropped_total", &labels, count)?;
            numbers += 1;
        }
        for (counter, count) in object(row, "counters")? {
            let family = format!("weir_{}_total", counter.replace('-', "_"));
            sum += page.equals(&family, &[label], count)?;
            numbers += 1;
        }
    }
    ensure!(sum > 0, "no packet was counted");
    let samples = page.samples();
    Ok(format!(
        "{numbers} numbers of the ledger are those of the page, which has {samples} samples"
    ))
}

fn object<'row>(
    row: &'row Value,
    key: &str,
) -> Result<impl Iterator<Item = (&'row str, &'row Value)>> {
    let object = row.get(key).and_then(Value::as_object);
    let object = object.with_context(|| format!("the ledger has no `{key}`: {row}"))?;
    Ok(object.iter().map(|(name, value)| (name.as_str(), value)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    type Sample = (&'static str, &'static [(&'static str, &'static str)], f64);

    fn page(samples: &[Sample]) -> Page {
        let owned = |labels: &[(&str, &str)]| {
            let pairs = labels.iter();
            pairs
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect()
        };
        let samples = samples.iter();
        Page(
            samples
                .map(|(name, labels, value)| (((*name).to_owned(), owned(labels)), *value))
                .collect(),
        )
    }

    #[test]
    fn one_packet_more_or_a_missing_number_is_an_error() {
        let row = json!({"rx": 7, "originated": 0, "handed_in": 0, "tx": 5, "delivered": 0,
            "held": 0, "handed_out": 0, "dropped": {"no-session": 2}, "counters": {"arp-in": 3}});
        let ledger = json!({"workers": [row]});
        let worker: &'static [(&str, &str)] = &[("worker", "0")];
        let mut samples: Vec<Sample> = COLUMNS
            .iter()
            .map(|(_, name)| (*name, worker, 0.0))
            .collect();
        samples[0].2 = 7.0;
        samples[3].2 = 5.0;
        samples.push(("weir_arp_in_total", worker, 3.0));
        let error = compare(&page(&samples), &ledger).unwrap_err().to_string();
        assert!(error.contains("is not on the page"), "{error}");
        let labels: &'static [(&str, &str)] = &[("worker", "0"), ("reason", "no-session")];
        samples.push(("weir_frames_dropped_total", labels, 2.0));
        assert!(compare(&page(&samples), &ledger).is_ok());
        samples[3].2 = 6.0;
        let error = compare(&page(&samples), &ledger).unwrap_err().to_string();
        assert!(error.contains("is 6; `weir show ledger` says 5"), "{error}");
    }
}
