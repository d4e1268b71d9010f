//! `show history`: the rates of the last minutes or of the last day.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Table;
use crate::table::count;

/// How many seconds back there is a point for each second; further back there is one a minute.
pub const HISTORY_SECONDS: u64 = 600;

/// The rates of one second, or of one minute on average.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryRow {
    /// The end of the time, as RFC 3339 in UTC.
    pub at: String,
    /// How many seconds it is long: 1 or 60.
    pub step_s: u64,
    /// The service; none for the whole appliance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// SYNs from clients per second.
    pub syn_per_s: f64,
    /// Sessions opened per second.
    pub sessions_per_s: f64,
    /// Packets from clients per second; of the appliance: frames received.
    pub packets_in_per_s: f64,
    /// Packets to clients per second; of the appliance: frames transmitted.
    pub packets_out_per_s: f64,
    /// Bits from clients per second; of the appliance: of frames received.
    pub bits_in_per_s: f64,
    /// Bits to clients per second; of the appliance: of frames transmitted.
    pub bits_out_per_s: f64,
    /// New sessions refused per second.
    pub refused_per_s: f64,
    /// Frames dropped per second, by reason; reasons that did not occur are left out. Of the
    /// appliance only: a frame is often dropped before its service is known.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub dropped_per_s: BTreeMap<String, f64>,
}

/// Returns the table of the history, the youngest last.
#[must_use]
pub fn history(rows: &[HistoryRow]) -> String {
    if rows.is_empty() {
        return "no history yet; it begins with the daemon and has a point each second\n"
            .to_owned();
    }
    let mut table = Table::new(&[
        "TIME",
        ">SYN/S",
        ">NEW/S",
        ">PPS IN",
        ">PPS OUT",
        ">BIT/S IN",
        ">OUT",
        ">REFUSED",
        ">DROPPED",
        "MOST",
    ]);
    for row in rows {
        let dropped: f64 = row.dropped_per_s.values().sum();
        let most = row.dropped_per_s.iter().max_by(|a, b| a.1.total_cmp(b.1));
        table.line([
            row.at.clone(),
            rate(row.syn_per_s),
            rate(row.sessions_per_s),
            rate(row.packets_in_per_s),
            rate(row.packets_out_per_s),
            rate(row.bits_in_per_s),
            rate(row.bits_out_per_s),
            rate(row.refused_per_s),
            rate(dropped),
            most.map(|(reason, _)| reason.clone()).unwrap_or_default(),
        ]);
    }
    table.render()
}

/// Rates below one are not nothing.
#[expect(
    clippy::cast_sign_loss,
    reason = "rates are not negative, and the cast makes 0 of one that were"
)]
fn rate(value: f64) -> String {
    if value > 0.0 && value < 10.0 {
        return format!("{value:.1}");
    }
    count(value.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_rates_and_the_reason_that_most_were_dropped_for() {
        let row = HistoryRow {
            at: "2026-01-02T03:04:05Z".to_owned(),
            step_s: 1,
            syn_per_s: 1_234_567.0,
            sessions_per_s: 0.5,
            bits_in_per_s: 6.1e9,
            dropped_per_s: [("no-service", 3.0), ("bad-cookie", 40.0)]
                .map(|(reason, n)| (reason.to_owned(), n))
                .into(),
            ..HistoryRow::default()
        };
        let expected = "\
TIME                  SYN/S  NEW/S  PPS IN  PPS OUT  BIT/S IN  OUT  REFUSED  DROPPED  MOST
2026-01-02T03:04:05Z   1.2M    0.5       0        0      6.1G    0        0       43  bad-cookie
";
        assert_eq!(history(std::slice::from_ref(&row)), expected);
        let text = serde_json::to_string(&row).unwrap();
        assert_eq!(serde_json::from_str::<HistoryRow>(&text).unwrap(), row);
        assert!(!text.contains("\"service\":"), "{text}");
        assert!(history(&[]).starts_with("no history yet"));
    }
}
