//! `doctor`: what was found, a line each.

use serde::{Deserialize, Serialize};

use crate::Table;

/// How good a finding is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckStatus {
    /// As it should be.
    #[default]
    Ok,
    /// It works, and should be changed.
    Warning,
    /// It does not work.
    Failure,
}

impl CheckStatus {
    /// Returns the word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failure => "failure",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckRow {
    /// How good it is.
    pub status: CheckStatus,
    /// What was looked at; the names are stable.
    pub check: String,
    /// Which of them, by its name in the configuration; empty where there is one only.
    pub subject: String,
    /// What was found.
    pub text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// Returns the findings as text: a line each, and a line that counts them.
#[must_use]
pub fn checks(rows: &[CheckRow]) -> String {
    let mut table = Table::new(&["STATUS", "CHECK", "SUBJECT", "FOUND"]);
    for row in rows {
        let mut found = row.text.clone();
        if let Some(advice) = &row.advice {
            found.push_str("; ");
            found.push_str(advice);
        }
        table.line([
            row.status.name().to_owned(),
            row.check.clone(),
            if row.subject.is_empty() {
                "-".to_owned()
            } else {
                row.subject.clone()
            },
            found,
        ]);
    }
    let count = |status| rows.iter().filter(|row| row.status == status).count();
    format!(
        "{}{} ok, {}, {}\n",
        table.render(),
        count(CheckStatus::Ok),
        counted(count(CheckStatus::Warning), "warning"),
        counted(count(CheckStatus::Failure), "failure")
    )
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_with_what_to_do() {
        let row = |status, subject: &str, advice: Option<&str>| CheckRow {
            status,
            check: "link".to_owned(),
            subject: subject.to_owned(),
            text: "it is so".to_owned(),
            advice: advice.map(str::to_owned),
        };
        let text = checks(&[
            row(CheckStatus::Ok, "wan", None),
            row(CheckStatus::Failure, "", Some("change it")),
        ]);
        assert_eq!(
            text,
            "STATUS   CHECK  SUBJECT  FOUND\n\
             ok       link   wan      it is so\n\
             failure  link   -        it is so; change it\n\
             1 ok, 0 warnings, 1 failure\n"
        );
    }
}
