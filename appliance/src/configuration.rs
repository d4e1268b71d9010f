//! The one way from the file to a snapshot, for `check`, start and reload alike.

use std::path::Path;
use std::sync::Arc;

use weir_conf::{Loaded, ProcessEnv, Report};
use weir_model::{Generation, Snapshot};

use crate::control::Configuration;
use crate::secret;

/// Reads the file and the secret files that it names, and returns what should be changed besides.
///
/// # Errors
/// Returns every mistake.
pub(crate) fn load(
    file: &Path,
    running: Option<&Snapshot>,
) -> Result<(Loaded, Vec<String>), Report> {
    let loaded = weir_conf::load(file, &ProcessEnv, running)?;
    let findings = secret::check(&loaded.snapshot);
    let mistakes: Vec<_> = findings
        .mistakes
        .into_iter()
        .map(|mistake| (mistake.path, mistake.sentence, mistake.advice))
        .collect();
    match loaded.files.report(&mistakes) {
        Some(report) => Err(report),
        None => Ok((loaded, findings.warnings)),
    }
}

/// Reads the file for the start.
///
/// # Errors
/// Returns every mistake.
pub(crate) fn start(file: &Path) -> Result<Configuration, Report> {
    load(file, None).map(|(loaded, _)| configuration(loaded, None))
}

/// Reads the file again.
///
/// # Errors
/// Returns every mistake.
pub(crate) fn reload(file: &Path, running: &Snapshot) -> Result<Configuration, Report> {
    load(file, Some(running)).map(|(loaded, _)| configuration(loaded, Some(running)))
}

fn configuration(mut loaded: Loaded, previous: Option<&Snapshot>) -> Configuration {
    let effective = weir_conf::print_effective(&loaded);
    loaded.snapshot.generation =
        previous.map_or(Generation(1), |old| Generation(old.generation.0 + 1));
    Configuration {
        snapshot: Arc::new(loaded.snapshot),
        effective,
    }
}
