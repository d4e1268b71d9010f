//! What is found, in the order in which it is found.

use weir_control::{CheckRow, CheckStatus};

/// Gathers findings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    rows: Vec<CheckRow>,
}

impl Findings {
    /// Adds what is as it should be.
    pub(crate) fn ok(&mut self, check: &str, subject: &str, text: impl Into<String>) {
        self.add(CheckStatus::Ok, check, subject, text.into(), None);
    }

    /// Adds what works and should be changed.
    pub(crate) fn warn(
        &mut self,
        check: &str,
        subject: &str,
        text: impl Into<String>,
        advice: impl Into<String>,
    ) {
        let advice = Some(advice.into());
        self.add(CheckStatus::Warning, check, subject, text.into(), advice);
    }

    /// Adds what does not work.
    pub(crate) fn fail(
        &mut self,
        check: &str,
        subject: &str,
        text: impl Into<String>,
        advice: impl Into<String>,
    ) {
        let advice = Some(advice.into());
        self.add(CheckStatus::Failure, check, subject, text.into(), advice);
    }

    /// Adds rows of another.
    pub(crate) fn extend(&mut self, rows: impl IntoIterator<Item = CheckRow>) {
        self.rows.extend(rows);
    }

    /// Returns all rows.
    pub(crate) fn into_rows(self) -> Vec<CheckRow> {
        self.rows
    }

    fn add(
        &mut self,
        status: CheckStatus,
        check: &str,
        subject: &str,
        text: String,
        advice: Option<String>,
    ) {
        self.rows.push(CheckRow {
            status,
            check: check.to_owned(),
            subject: subject.to_owned(),
            text,
            advice,
        });
    }
}
