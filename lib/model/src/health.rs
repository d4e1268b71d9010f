//! Health checks: what a configuration asks for.

use core::time::Duration;

use crate::HealthKind;

/// How the real servers of a service are checked: its `[health]` profile, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is done.
    pub kind: HealthKind,
    /// The time from one check to the next.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Successes in a row that bring a real server up.
    pub rise: u8,
    /// Failures in a row that take it down.
    pub fall: u8,
}

impl Default for Health {
    /// The TCP check with the values that the schema has as defaults.
    fn default() -> Self {
        Self {
            kind: HealthKind::Tcp,
            interval: Duration::from_secs(2),
            timeout: Duration::from_millis(500),
            rise: 2,
            fall: 3,
        }
    }
}
