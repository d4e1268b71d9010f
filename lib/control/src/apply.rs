//! The answer to `apply`.

use serde::{Deserialize, Serialize};

/// What an apply did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AppliedRow {
    /// The number of the configuration that runs now.
    pub generation: u64,
    /// What it changed, in a few words.
    pub summary: String,
}
