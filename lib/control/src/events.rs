//! The rows of `show events`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Table;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventRow {
    /// Its number, which goes on after a restart; a gap says that something was left out.
    pub sequence: u64,
    /// When it happened (RFC 3339).
    pub at: String,
    /// What programs tell it by.
    pub code: String,
    /// What it is about: `security`, `health`, `operator`, `session` or `system`.
    pub class: String,
    /// How much it matters: `error`, `warning`, `notice` or `info`.
    pub severity: String,
    /// The sentence.
    pub text: String,
    /// The facts of the sentence.
    pub fields: BTreeMap<String, String>,
    /// Events of its kind that were not said before it.
    pub suppressed: u64,
}

/// Returns the table of events, the youngest last.
#[must_use]
pub fn events(rows: &[EventRow]) -> String {
    if rows.is_empty() {
        return "no events since the daemon's start\n".to_owned();
    }
    let mut table = Table::new(&[">NO", "TIME", "SEVERITY", "EVENT", "TEXT"]);
    for row in rows {
        let suppressed = match row.suppressed {
            0 => String::new(),
            n => format!(" (suppressed={n})"),
        };
        table.line([
            row.sequence.to_string(),
            row.at.clone(),
            row.severity.clone(),
            row.code.clone(),
            format!("{}{suppressed}", row.text),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_out_stands_behind_the_sentence() {
        let row = EventRow {
            sequence: 7,
            at: "2026-01-02T03:04:05.678Z".to_owned(),
            code: "real-down".to_owned(),
            severity: "warning".to_owned(),
            text: "real server 10.0.0.1:80 of web is down".to_owned(),
            suppressed: 3,
            ..EventRow::default()
        };
        let expected = "\
NO  TIME                      SEVERITY  EVENT      TEXT
 7  2026-01-02T03:04:05.678Z  warning   real-down  real server 10.0.0.1:80 of web is down (suppressed=3)
";
        assert_eq!(events(&[row]), expected);
        assert_eq!(events(&[]), "no events since the daemon's start\n");
    }
}
