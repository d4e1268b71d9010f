//! What operators set at run time over the configuration, and `show overrides`.

use serde::{Deserialize, Serialize};
use weir_model::SynproxyMode;

use crate::Table;

/// A setting that holds over the configuration until somebody takes it back, its time is over, or
/// the daemon ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OverrideRow {
    /// `maintenance`, `synproxy`, `deny`, `drain` or `weight`.
    pub setting: String,
    /// What it is set of: a service, a network or `REAL@SERVICE`; empty for the whole appliance.
    pub object: String,
    /// What holds; empty for what is no longer so.
    pub value: String,
    /// What the configuration says; empty where it says something for each service.
    pub configured: String,
    /// Who set it.
    pub by: String,
    /// When, as RFC 3339 in UTC.
    pub since: String,
    /// Until when, where it ends by itself.
    pub until: Option<String>,
}

/// When a service is to answer SYNs with cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModeWish {
    /// Never.
    Off,
    /// While there is a flood.
    Adaptive,
    /// For every connection.
    Always,
    /// As the configuration says.
    Default,
}

impl ModeWish {
    /// Returns the mode; none where it is the configuration's.
    #[must_use]
    pub const fn mode(self) -> Option<SynproxyMode> {
        match self {
            Self::Off => Some(SynproxyMode::Off),
            Self::Adaptive => Some(SynproxyMode::Adaptive),
            Self::Always => Some(SynproxyMode::Always),
            Self::Default => None,
        }
    }
}

impl OverrideRow {
    /// Returns what holds as a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Self {
            setting,
            object,
            value,
            configured,
            by,
            since,
            until,
        } = self;
        let until = match until {
            Some(until) => format!(", until {until}"),
            None => String::new(),
        };
        if setting == "maintenance" {
            return format!(
                "IN MAINTENANCE since {since}, by {by}: no new sessions; \
                 `weir maintenance off` ends it"
            );
        }
        if setting == "deny" {
            return format!("{object} is denied since {since}, by {by}{until}");
        }
        format!(
            "{setting} of {object} is {value} since {since}, by {by}{until}; the configuration \
             says {configured}"
        )
    }
}

/// Returns the table of overrides.
#[must_use]
pub fn overrides(rows: &[OverrideRow]) -> String {
    if rows.is_empty() {
        return "nothing is set over the configuration\n".to_owned();
    }
    let mut table = Table::new(&["SETTING", "OF", "IS", "CONFIGURED", "SINCE", "UNTIL", "BY"]);
    for row in rows {
        let or_dash = |text: &str| if text.is_empty() { "-" } else { text }.to_owned();
        table.line([
            row.setting.clone(),
            or_dash(&row.object),
            row.value.clone(),
            or_dash(&row.configured),
            row.since.clone(),
            or_dash(row.until.as_deref().unwrap_or_default()),
            row.by.clone(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_is_told_with_what_the_configuration_says() {
        let row = OverrideRow {
            setting: "synproxy".to_owned(),
            object: "web".to_owned(),
            value: "always".to_owned(),
            configured: "adaptive".to_owned(),
            by: "alice (ssh 192.0.2.1, account root)".to_owned(),
            since: "2026-01-02T03:04:05Z".to_owned(),
            until: Some("2026-01-02T03:14:05Z".to_owned()),
        };
        assert_eq!(
            row.sentence(),
            "synproxy of web is always since 2026-01-02T03:04:05Z, by alice (ssh 192.0.2.1, \
             account root), until 2026-01-02T03:14:05Z; the configuration says adaptive"
        );
        let table = overrides(std::slice::from_ref(&row));
        assert!(table.contains("synproxy  web  always  adaptive"), "{table}");
        assert_eq!(overrides(&[]), "nothing is set over the configuration\n");
    }

    #[test]
    fn default_is_the_word_for_what_the_configuration_says() {
        let wish: ModeWish = serde_json::from_str("\"default\"").unwrap();
        assert_eq!(wish.mode(), None);
        let wish: ModeWish = serde_json::from_str("\"always\"").unwrap();
        assert_eq!(wish.mode(), Some(SynproxyMode::Always));
    }
}
