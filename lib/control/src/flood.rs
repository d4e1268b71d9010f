//! The rows of `show flood`: what became of the SYNs of each TCP service, and who sent them.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::Table;
use crate::rates::FloodRates;
use crate::table::{count, seconds};

/// The SYNs of one TCP service. Totals count since the daemon started;
/// `syn_in = cookie_sent + passed + limited`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FloodRow {
    /// The service's name in the file.
    pub service: String,
    /// Where it is reached, as `ADDRESS:PORT`: what is flooded.
    pub listen: Vec<String>,
    /// When it answers SYNs with cookies: `off`, `adaptive` or `always`.
    pub mode: String,
    /// Whether a worker answers its SYNs with cookies now.
    pub active: bool,
    /// Since when, as RFC 3339 in UTC; none while no worker does.
    pub since: Option<String>,
    /// Seconds since then.
    pub active_s: Option<u64>,
    /// SYNs from clients.
    pub syn_in: u64,
    /// SYNs answered with a cookie.
    pub cookie_sent: u64,
    /// SYNs that were passed on, or refused for want of a real server, a port or a session.
    pub passed: u64,
    /// SYNs not answered, because their prefix was sent as many SYN-ACKs as one victim may be.
    pub limited: u64,
    /// ACKs whose cookie was ours and in time.
    pub cookie_valid: u64,
    /// ACKs whose cookie was not ours.
    pub cookie_bad: u64,
    /// ACKs whose cookie was ours, but too old.
    pub cookie_stale: u64,
    /// Handshakes that a valid cookie began and the real server completed.
    pub completed: u64,
    /// Handshakes that a valid cookie began and nobody completed.
    pub failed: u64,
    /// Completed handshakes in percent of those that ended in the last ten seconds; none where
    /// none did.
    pub success_percent: Option<f64>,
    /// Microseconds within which 99 % of the handshakes that completed in the last ten seconds did,
    /// from the client's valid ACK to the real server's answer: the upper bound of a bucket, at
    /// most 1.5 times too much. None where none completed, or where it took more than a second.
    pub p99_us: Option<u64>,
    /// Sessions that nothing has proven yet, now.
    pub half_open: u64,
    /// SYNs in the last second: `syn_in` of `per_s`; nought where that is none.
    pub syn_per_s: u64,
    /// The most SYNs in a second since cookies are sent, or while they last were; none where they
    /// never were.
    pub peak_syn_per_s: Option<u64>,
    /// The share of random acknowledgements that pass as cookies.
    pub false_accept: String,
    /// The prefixes that most SYNs come from, most first; estimated from samples.
    pub top_sources: Vec<SourceRow>,
    /// More than so many prefixes SYNs come from, where none of them sends a hundredth or more.
    pub spread_over: Option<u64>,
    /// The TCP options that most SYNs have, most first; estimated from samples.
    pub top_fingerprints: Vec<FingerprintRow>,
    /// How much of what the machine can do is in use, by all services.
    pub capacity: CapacityRow,
    /// What of this happened in the last second; none where the service was not there for all of it.
    pub per_s: Option<FloodRates>,
    /// The number of that second: rates of the same second add up.
    pub second: u64,
}

/// How much of what the machine can do is in use; the same in each row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CapacityRow {
    /// The SYNs that all workers can answer with cookies per second, in memory, as `weir bench` found
    /// out; none where it did not.
    pub syn_per_s: Option<u64>,
    /// When it did, as RFC 3339 in UTC.
    pub measured: Option<String>,
    /// The SYNs of all services in the last second in percent of it.
    pub used_percent: Option<f64>,
    /// Why there is no figure.
    pub note: Option<String>,
    /// How many workers there are.
    pub workers: u32,
    /// Share of the last second that the busiest worker worked, in percent: that counts all that
    /// its packets cost.
    pub busy_percent: u32,
}

/// A prefix that many SYNs come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceRow {
    /// The prefix, e.g. `203.0.113.0/24`.
    pub prefix: String,
    /// SYNs per second.
    pub syn_per_s: u64,
}

/// TCP options that many SYNs share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FingerprintRow {
    /// What the SYNs have in common.
    pub fingerprint: String,
    /// SYNs per second.
    pub syn_per_s: u64,
}

/// Returns the table of floods, the heaviest prefixes and options of each service below it, and what
/// the machine can do at the end.
#[must_use]
pub fn floods(rows: &[FloodRow]) -> String {
    if rows.is_empty() {
        return "no TCP services\n".to_owned();
    }
    let mut table = Table::new(&[
        "SERVICE", "MODE", ">ACTIVE", ">SYN/S", ">SENT", ">VALID", ">BAD", ">STALE", ">OK", ">P99",
    ]);
    for row in rows {
        table.line([
            row.service.clone(),
            row.mode.clone(),
            row.active_s.map_or_else(|| "-".to_owned(), seconds),
            count(row.syn_per_s),
            count(row.cookie_sent),
            count(row.cookie_valid),
            count(row.cookie_bad),
            count(row.cookie_stale),
            row.success_percent.map_or_else(|| "-".to_owned(), percent),
            row.p99_us.map_or_else(|| "-".to_owned(), micros),
        ]);
    }
    let mut text = String::new();
    let table = table.render();
    let mut lines = table.lines();
    text.extend(lines.next().map(|heading| format!("{heading}\n")));
    for (line, row) in lines.zip(rows) {
        let _ = writeln!(text, "{line}");
        for source in &row.top_sources {
            below(&mut text, "from", &source.prefix, source.syn_per_s);
        }
        if let Some(number) = row.spread_over {
            let _ = writeln!(
                text,
                "  from more than {number} prefixes, none of which stands out"
            );
        }
        for like in &row.top_fingerprints {
            below(&mut text, "with", &like.fingerprint, like.syn_per_s);
        }
    }
    if let Some(row) = rows.first() {
        text += &capacity(&row.capacity);
    }
    text
}

fn capacity(row: &CapacityRow) -> String {
    let mut text = "capacity: ".to_owned();
    if let (Some(syn_per_s), Some(used), Some(measured)) =
        (row.syn_per_s, row.used_percent, &row.measured)
    {
        let day = measured.split('T').next().unwrap_or_default();
        let used = if used < 10.0 {
            format!("{used:.1}")
        } else {
            format!("{used:.0}")
        };
        let _ = write!(
            text,
            "{used}% of {} SYN/s in use (in memory, {day})",
            count(syn_per_s)
        );
    } else {
        text += row.note.as_deref().unwrap_or("unknown");
    }
    let _ = writeln!(
        text,
        "\nworkers: {}, the busiest is {}% busy",
        row.workers, row.busy_percent
    );
    text
}

/// A line below a service: as wide as a line may be with a fingerprint of usual length.
fn below(text: &mut String, relation: &str, what: &str, syn_per_s: u64) {
    let _ = writeln!(
        text,
        "  {relation} {what:<57} {:>6} SYN/s",
        count(syn_per_s)
    );
}

/// Whole percents, but 100 only where nothing failed.
fn percent(value: f64) -> String {
    format!("{}%", value.floor())
}

fn micros(value: u64) -> String {
    match value {
        0..1_000 => format!("{value}us"),
        1_000..10_000 => format!("{}.{}ms", value / 1_000, value % 1_000 / 100),
        _ => format!("{}ms", value / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> FloodRow {
        FloodRow {
            service: "web-tls".to_owned(),
            mode: "adaptive".to_owned(),
            active: true,
            since: Some("2026-11-22T17:00:00Z".to_owned()),
            active_s: Some(750),
            syn_in: 1_000_110,
            cookie_sent: 1_000_000,
            passed: 100,
            limited: 10,
            cookie_valid: 200,
            cookie_bad: 3,
            completed: 199,
            failed: 1,
            success_percent: Some(99.5),
            p99_us: Some(1536),
            half_open: 7,
            syn_per_s: 123_456,
            peak_syn_per_s: Some(200_000),
            false_accept: "2^-23".to_owned(),
            top_sources: vec![SourceRow {
                prefix: "203.0.113.0/24".to_owned(),
                syn_per_s: 61_000,
            }],
            top_fingerprints: vec![FingerprintRow {
                fingerprint: "win 64240 mss 1460 sack ts ws 7 ttl<=64 df".to_owned(),
                syn_per_s: 1_200_000,
            }],
            capacity: CapacityRow {
                syn_per_s: Some(12_100_000),
                measured: Some("2026-11-22T16:00:00Z".to_owned()),
                used_percent: Some(1.02),
                note: None,
                workers: 2,
                busy_percent: 37,
            },
            ..FloodRow::default()
        }
    }

    #[test]
    fn every_field_that_the_contract_names_is_in_the_json_and_reads_back() {
        let value = serde_json::to_value(row()).unwrap();
        for key in [
            "service",
            "syn_in",
            "cookie_sent",
            "cookie_valid",
            "cookie_bad",
            "cookie_stale",
            "active",
            "since",
        ] {
            assert!(!value[key].is_null(), "{key}");
        }
        assert_eq!(
            value["top_sources"],
            serde_json::json!([{"prefix": "203.0.113.0/24", "syn_per_s": 61_000}])
        );
        assert_eq!(serde_json::from_value::<FloodRow>(value).unwrap(), row());
        let quiet = serde_json::to_value(FloodRow::default()).unwrap();
        for key in ["since", "success_percent", "p99_us", "peak_syn_per_s"] {
            assert_eq!(quiet.get(key), Some(&serde_json::Value::Null), "{key}");
        }
        for key in ["syn_per_s", "measured", "used_percent", "note"] {
            let null = Some(&serde_json::Value::Null);
            assert_eq!(quiet["capacity"].get(key), null, "{key}");
        }
    }

    #[test]
    fn a_flood_is_a_line_with_the_heaviest_below_it_and_a_quiet_service_a_line_only() {
        let quiet = FloodRow {
            service: "mail".to_owned(),
            mode: "off".to_owned(),
            ..FloodRow::default()
        };
        assert_eq!(
            floods(&[row(), quiet]),
            "\
SERVICE  MODE      ACTIVE   SYN/S  SENT  VALID  BAD  STALE   OK    P99
web-tls  adaptive  12m30s  123456  1.0M    200    3      0  99%  1.5ms
  from 203.0.113.0/24                                             61000 SYN/s
  with win 64240 mss 1460 sack ts ws 7 ttl<=64 df                  1.2M SYN/s
mail     off            -       0     0      0    0      0    -      -
capacity: 1.0% of 12.1M SYN/s in use (in memory, 2026-11-22)
workers: 2, the busiest is 37% busy
"
        );
        assert_eq!(floods(&[]), "no TCP services\n");
    }

    #[test]
    fn what_was_not_measured_is_said_instead_of_a_figure() {
        let row = CapacityRow {
            note: Some("not measured: run `weir bench`".to_owned()),
            workers: 1,
            ..CapacityRow::default()
        };
        assert_eq!(
            capacity(&row),
            "capacity: not measured: run `weir bench`\nworkers: 1, the busiest is 0% busy\n"
        );
    }

    #[test]
    fn a_flood_of_any_size_fits_eighty_columns() {
        let row = FloodRow {
            cookie_sent: u64::MAX,
            cookie_valid: 999_999,
            cookie_bad: 999_999,
            cookie_stale: 999_999,
            success_percent: Some(100.0),
            p99_us: Some(1_048_576),
            syn_per_s: 999_999,
            ..row()
        };
        for line in floods(&[row]).lines() {
            assert!(line.len() <= 80, "{} columns: {line}", line.len());
        }
    }

    #[test]
    fn a_hundred_percent_is_said_only_where_nothing_failed() {
        assert_eq!(percent(99.99), "99%");
        assert_eq!(percent(100.0), "100%");
        assert_eq!(
            [32, 1536, 12_288, 1_048_576].map(micros),
            ["32us", "1.5ms", "12ms", "1048ms"]
        );
    }
}
