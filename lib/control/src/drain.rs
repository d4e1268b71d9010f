//! Taking real servers out and weighing them by command: what is answered, and its text.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::Table;
use crate::table::seconds;

/// What a `drain`, an `enable` or a `weight` did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OrderedRow {
    /// The service.
    pub service: String,
    /// The real server, as `ADDRESS:PORT`.
    pub real: String,
    /// Its weight, as long as it takes new sessions.
    pub weight: u32,
    /// Whether it takes no new sessions.
    pub draining: bool,
    /// What was done.
    pub text: String,
    /// What is not as it should be now.
    pub warning: Option<String>,
}

/// How far a real server that was taken out is from having no sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DrainRow {
    /// The service.
    pub service: String,
    /// The real server, as `ADDRESS:PORT`.
    pub real: String,
    /// Since when (RFC 3339).
    pub since: String,
    /// Who took it out.
    pub by: String,
    /// Sessions that it still has.
    pub sessions: u64,
    /// Seconds until its sessions are ended or let go; none without a deadline, or when it is over.
    pub deadline_in_s: Option<u64>,
    /// What becomes of them then: `reset` or `keep`.
    pub then: String,
    /// Seconds until half of them will have ended, where that can be foretold.
    pub half_in_s: Option<u64>,
    /// Seconds until nine of ten will have ended.
    pub most_in_s: Option<u64>,
    /// Seconds until all will have ended.
    pub all_in_s: Option<u64>,
    /// The oldest of them.
    pub oldest: Vec<BlockingRow>,
}

/// A session that a real server still has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockingRow {
    /// The client, as `ADDRESS:PORT`.
    pub client: String,
    /// Its state.
    pub state: String,
    /// How long it has existed.
    pub age_s: u64,
    /// How long it has been silent.
    pub idle_s: u64,
}

/// Returns what keeps a real server from being empty, and when it will be.
#[must_use]
pub fn drain(row: &DrainRow) -> String {
    let DrainRow { service, real, .. } = row;
    if row.sessions == 0 {
        return format!("{real} of {service} takes no new sessions and has none left\n");
    }
    let mut text = format!(
        "{real} of {service} takes no new sessions and has {} left",
        crate::count(row.sessions)
    );
    let _ = match (row.deadline_in_s, row.then.as_str()) {
        (Some(left), "keep") => write!(text, "; it is told who is left in {}", seconds(left)),
        (Some(left), _) => write!(text, "; they are reset in {}", seconds(left)),
        (None, _) => write!(text, "; they may go on until they end"),
    };
    text.push('\n');
    let _ = match (row.half_in_s, row.most_in_s, row.all_in_s) {
        (Some(half), Some(most), Some(all)) => writeln!(
            text,
            "as sessions of {service} go, half will have ended in {}, nine of ten in {}, all in {}",
            seconds(half),
            seconds(most),
            seconds(all)
        ),
        _ => writeln!(
            text,
            "they are older than any other session of {service}: nothing foretells their end"
        ),
    };
    let mut table = Table::new(&["OLDEST", "STATE", ">AGE", ">IDLE"]);
    for session in &row.oldest {
        table.line([
            session.client.clone(),
            session.state.clone(),
            seconds(session.age_s),
            seconds(session.idle_s),
        ]);
    }
    text.push_str(&table.render());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> DrainRow {
        DrainRow {
            service: "web".to_owned(),
            real: "10.0.1.11:443".to_owned(),
            sessions: 42,
            deadline_in_s: Some(290),
            then: "reset".to_owned(),
            half_in_s: Some(12),
            most_in_s: Some(70),
            all_in_s: Some(7500),
            oldest: vec![BlockingRow {
                client: "192.0.2.1:40000".to_owned(),
                state: "established".to_owned(),
                age_s: 7500,
                idle_s: 3,
            }],
            ..DrainRow::default()
        }
    }

    #[test]
    fn it_is_told_when_a_real_server_will_be_empty_and_what_keeps_it_from_that() {
        let expected = "\
10.0.1.11:443 of web takes no new sessions and has 42 left; they are reset in 4m50s
as sessions of web go, half will have ended in 12s, nine of ten in 1m10s, all in 2h05m
OLDEST           STATE          AGE  IDLE
192.0.2.1:40000  established  2h05m    3s
";
        assert_eq!(drain(&row()), expected);
    }

    #[test]
    fn what_cannot_be_foretold_is_said() {
        let text = drain(&DrainRow {
            deadline_in_s: None,
            all_in_s: None,
            ..row()
        });
        assert!(text.contains("; they may go on until they end\n"), "{text}");
        assert!(text.contains("nothing foretells their end"), "{text}");
        let empty = DrainRow {
            sessions: 0,
            ..row()
        };
        assert_eq!(
            drain(&empty),
            "10.0.1.11:443 of web takes no new sessions and has none left\n"
        );
    }
}
