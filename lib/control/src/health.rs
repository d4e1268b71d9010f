//! `show health`: the row of a real server, and the table.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::Table;

/// The health of one real server of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthRow {
    /// The service.
    pub service: String,
    /// `up`, `no-quorum`, `sorry` or `all-down`: who takes the service's new sessions.
    pub service_state: String,
    /// Why the service is not up.
    pub service_reason: Option<String>,
    /// What is done: `tcp`, `http`, `https`, `udp`, `ping` or `exec`; none without a check.
    pub check: Option<String>,
    /// Where the real server is reached, as `ADDRESS:PORT`.
    pub real: String,
    /// `up`, `down`, `inhibited` where it answered no SYNs and gets no new sessions for a time, or
    /// `unchecked` where the service has no health check.
    pub state: String,
    /// Since when, in UTC as RFC 3339 writes it.
    pub since: String,
    /// Why the last check failed; none once a real server that is up has answered again.
    pub last_error: Option<String>,
    /// The TCP options of its SYN-ACK; none before the first.
    pub learned: Option<LearnedRow>,
}

/// The TCP options that a real server's SYN-ACK was seen to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LearnedRow {
    /// The largest segment that it takes, in bytes.
    pub mss: u16,
    /// The window scale in bits; none where it offers none, which is not the same as 0.
    pub wscale: Option<u8>,
    /// Whether it takes selective acknowledgements.
    pub sack: bool,
    /// Whether it takes timestamps.
    pub timestamps: bool,
}

/// Returns the table of health.
#[must_use]
pub fn health(rows: &[HealthRow]) -> String {
    if rows.is_empty() {
        return "no real servers\n".to_owned();
    }
    let mut table = Table::new(&[
        "SERVICE",
        "REAL SERVER",
        "STATE",
        "SINCE",
        ">MSS",
        ">SCALE",
        "SACK",
        "TS",
    ]);
    for row in rows {
        let mut cells = vec![
            row.service.clone(),
            row.real.clone(),
            row.state.clone(),
            row.since.clone(),
        ];
        match row.learned {
            None => cells.extend(["-"; 4].map(str::to_owned)),
            Some(learned) => cells.extend([
                learned.mss.to_string(),
                learned
                    .wscale
                    .map_or_else(|| "none".to_owned(), |bits| bits.to_string()),
                yes_or_no(learned.sack),
                yes_or_no(learned.timestamps),
            ]),
        }
        table.line(cells);
    }
    let mut text = table.render();
    let mut said = None;
    for row in rows {
        if let Some(reason) = &row.service_reason
            && said.replace(&row.service) != Some(&row.service)
        {
            let _ = writeln!(text, "{}: {reason}", row.service);
        }
    }
    // An error is too long for a column, and most real servers have none.
    for row in rows {
        if let Some(error) = &row.last_error {
            let _ = writeln!(text, "{} of {}: {error}", row.real, row.service);
        }
    }
    text
}

fn yes_or_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows() -> [HealthRow; 2] {
        [
            HealthRow {
                service: "web".to_owned(),
                service_state: "no-quorum".to_owned(),
                service_reason: Some("the quorum is lost".to_owned()),
                check: Some("https".to_owned()),
                real: "10.0.1.11:443".to_owned(),
                state: "up".to_owned(),
                since: "2026-01-02T03:04:05Z".to_owned(),
                last_error: None,
                learned: Some(LearnedRow {
                    mss: 1460,
                    wscale: None,
                    sack: true,
                    timestamps: false,
                }),
            },
            HealthRow {
                service: "web".to_owned(),
                service_state: "no-quorum".to_owned(),
                service_reason: Some("the quorum is lost".to_owned()),
                check: Some("https".to_owned()),
                real: "10.0.1.12:443".to_owned(),
                state: "down".to_owned(),
                since: "2026-01-02T03:04:06Z".to_owned(),
                last_error: Some("no answer within 500ms".to_owned()),
                learned: None,
            },
        ]
    }

    #[test]
    fn the_json_has_the_keys_of_the_contract_and_null_for_what_is_not_known() {
        let [first, second] = rows().map(|row| serde_json::to_value(row).unwrap());
        assert_eq!(
            first,
            json!({
                "service": "web", "service_state": "no-quorum",
                "service_reason": "the quorum is lost", "check": "https", "real": "10.0.1.11:443", "state": "up",
                "since": "2026-01-02T03:04:05Z", "last_error": null,
                "learned": {"mss": 1460, "wscale": null, "sack": true, "timestamps": false}
            })
        );
        assert_eq!(second["learned"], json!(null));
        assert_eq!(second["last_error"], json!("no answer within 500ms"));
    }

    #[test]
    fn errors_stand_below_a_table_that_fits_eighty_columns() {
        let text = health(&rows());
        assert_eq!(
            text,
            "\
SERVICE  REAL SERVER    STATE  SINCE                  MSS  SCALE  SACK  TS
web      10.0.1.11:443  up     2026-01-02T03:04:05Z  1460   none  yes   no
web      10.0.1.12:443  down   2026-01-02T03:04:06Z     -      -  -     -
web: the quorum is lost
10.0.1.12:443 of web: no answer within 500ms
"
        );
        assert!(text.lines().all(|line| line.len() <= 80));
        assert_eq!(health(&[]), "no real servers\n");
    }
}
