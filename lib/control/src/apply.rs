//! Requests that change the configuration, and their answers.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::Table;

/// A file of a configuration, as it is sent to the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigText {
    /// The name that mistakes are reported with.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// What an apply, a confirmation or a rollback did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AppliedRow {
    /// The number of the configuration that runs now.
    pub generation: u64,
    /// What it changed, in a few words.
    pub summary: String,
    /// Whether it is the one that ran before, because nothing else was asked for.
    pub unchanged: bool,
    /// Seconds after which the one before comes back, where nobody confirms.
    pub confirm_within_s: Option<u64>,
    /// What did not go as it should, although the configuration runs.
    pub warning: Option<String>,
}

/// An object that a configuration changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChangeRow {
    /// Its heading in the file, with its brackets.
    pub object: String,
    /// `added`, `removed` or `changed`.
    pub change: String,
    /// What that does to live sessions.
    pub effect: String,
    /// Its sessions now, where it has some.
    pub sessions: Option<u64>,
    /// Its values that change.
    pub values: Vec<ValueChange>,
}

/// A value that a configuration changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ValueChange {
    /// The key.
    pub key: String,
    /// What it is now, where it is.
    pub before: Option<String>,
    /// What it will be, where it will be.
    pub after: Option<String>,
    /// What that does to live sessions.
    pub effect: String,
}

/// A configuration that was applied and is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GenerationRow {
    /// Its number.
    pub generation: u64,
    /// When it was applied (RFC 3339).
    pub at: String,
    /// Who had it applied.
    pub by: String,
    /// What it changed.
    pub summary: String,
    /// `running`, `unconfirmed` or `kept`.
    pub state: String,
}

/// Returns what a configuration changes, object by object.
#[must_use]
pub fn changes(rows: &[ChangeRow]) -> String {
    if rows.is_empty() {
        return "nothing would change\n".to_owned();
    }
    let mut text = String::new();
    for row in rows {
        let sign = match row.change.as_str() {
            "added" => '+',
            "removed" => '-',
            _ => '~',
        };
        let _ = write!(text, "{sign} {}", row.object);
        if let Some(sessions) = row.sessions {
            let plural = if sessions == 1 { "" } else { "s" };
            let _ = write!(text, "  {} session{plural}", crate::count(sessions));
        }
        text.push('\n');
        if !row.effect.is_empty() {
            let _ = writeln!(text, "      {}", row.effect);
        }
        for value in &row.values {
            let ValueChange { key, effect, .. } = value;
            let _ = match (&value.before, &value.after) {
                (Some(before), Some(after)) => writeln!(text, "    ~ {key} = {before} -> {after}"),
                (None, Some(after)) => writeln!(text, "    + {key} = {after}"),
                (Some(before), None) => writeln!(text, "    - {key} = {before}"),
                (None, None) => writeln!(text, "    ~ {key}"),
            };
            if !effect.is_empty() {
                let _ = writeln!(text, "      {effect}");
            }
        }
    }
    text
}

/// Returns the table of kept configurations, the youngest last.
#[must_use]
pub fn generations(rows: &[GenerationRow]) -> String {
    if rows.is_empty() {
        return "no configuration is kept\n".to_owned();
    }
    let mut table = Table::new(&[">GENERATION", "STATE", "APPLIED", "BY", "CHANGED"]);
    for row in rows {
        table.line([
            row.generation.to_string(),
            row.state.clone(),
            row.at.clone(),
            row.by.clone(),
            row.summary.clone(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(before: Option<&str>, after: Option<&str>, effect: &str) -> ValueChange {
        ValueChange {
            key: "real".to_owned(),
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
            effect: effect.to_owned(),
        }
    }

    #[test]
    fn a_change_is_told_object_by_object_with_what_becomes_of_sessions() {
        let rows = [
            ChangeRow {
                object: "[service web]".to_owned(),
                change: "changed".to_owned(),
                sessions: Some(1),
                values: vec![
                    value(Some("10.0.0.1:80"), Some("10.0.0.1:80 weight=2"), ""),
                    value(None, Some("10.0.0.2:80"), "gets new sessions"),
                ],
                ..ChangeRow::default()
            },
            ChangeRow {
                object: "[service dns]".to_owned(),
                change: "removed".to_owned(),
                effect: "its sessions are reset".to_owned(),
                sessions: Some(12_345),
                ..ChangeRow::default()
            },
        ];
        let expected = "\
~ [service web]  1 session
    ~ real = 10.0.0.1:80 -> 10.0.0.1:80 weight=2
    + real = 10.0.0.2:80
      gets new sessions
- [service dns]  12345 sessions
      its sessions are reset
";
        assert_eq!(changes(&rows), expected);
        assert_eq!(changes(&[]), "nothing would change\n");
    }
}
