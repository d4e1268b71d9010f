//! Snapshots from configuration text, as the daemon reads it.

use anyhow::{Result, bail};
use weir_conf::parse_str;
use weir_model::Snapshot;

/// Reads a configuration.
///
/// # Errors
///
/// Shows every mistake as `weir check` does.
pub fn snapshot(name: &str, text: &str) -> Result<Snapshot> {
    read(name, text, None)
}

/// Reads a configuration that follows another: what keeps its name keeps its id.
///
/// # Errors
///
/// Shows every mistake as `weir check` does.
pub fn snapshot_after(name: &str, text: &str, previous: &Snapshot) -> Result<Snapshot> {
    read(name, text, Some(previous))
}

fn read(name: &str, text: &str, previous: Option<&Snapshot>) -> Result<Snapshot> {
    match parse_str(name, text, previous) {
        Ok(loaded) => Ok(loaded.snapshot),
        Err(report) => bail!("{report}"),
    }
}
