//! The configurations that outlive the daemon, and the one that waits to be confirmed.

use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use weir_conf::{Report, SourceText};
use weir_control::GenerationRow;

use crate::state::{self, Applied, State};

/// What is kept of configurations.
#[derive(Debug)]
pub(crate) struct Kept {
    /// The daemon's own file.
    file: PathBuf,
    state: State,
    pub(crate) unconfirmed: Option<Unconfirmed>,
}

/// A configuration that runs and goes again unless somebody confirms it.
#[derive(Debug)]
pub(crate) struct Unconfirmed {
    /// When it goes.
    pub(crate) deadline: Instant,
    /// What is kept of it when it stays.
    pub(crate) applied: Applied,
    /// The text of the configuration of before, and its number.
    pub(crate) before: (u64, String),
}

impl Kept {
    /// Returns what is kept for the daemon of a file.
    pub(crate) fn new(file: PathBuf, state: State) -> Self {
        Self {
            file,
            state,
            unconfirmed: None,
        }
    }

    /// Reads the daemon's own files.
    ///
    /// # Errors
    /// Returns which of them cannot be read.
    pub(crate) fn own_files(&self) -> Result<Vec<SourceText>, Report> {
        weir_conf::read(&self.file)
    }

    /// Makes what is kept of a configuration that runs from now on.
    pub(crate) fn applied(
        &self,
        generation: u64,
        by: String,
        summary: String,
        text: String,
    ) -> Applied {
        // Files that cannot be read now are different files when they can.
        let files = self.own_files().map(|files| state::print_of(&files));
        Applied {
            generation,
            at: state::moment(SystemTime::now()),
            by,
            summary,
            files: files.unwrap_or_default(),
            text,
        }
    }

    /// Keeps a configuration as the one that runs.
    ///
    /// # Errors
    /// Says why it will not outlive the daemon.
    pub(crate) fn keep(&self, applied: &Applied) -> Result<(), String> {
        self.state.keep(applied).map_err(|error| {
            format!(
                "configuration {} runs, but not after a restart: {error}",
                applied.generation
            )
        })
    }

    /// Returns a configuration that was applied, or the last one before the one that runs.
    ///
    /// # Errors
    /// Says why there is none.
    pub(crate) fn earlier(&self, running: u64, wanted: Option<u64>) -> Result<Applied, String> {
        if let Some(wanted) = wanted {
            return self.state.applied(wanted);
        }
        let mut kept = self.state.generations();
        kept.retain(|generation| *generation < running);
        match kept.last() {
            Some(last) => self.state.applied(*last),
            None => Err("no configuration was applied before this one".to_owned()),
        }
    }

    /// Returns a row for each configuration that is kept, and for the one that is not yet.
    pub(crate) fn rows(&self, running: u64) -> Vec<GenerationRow> {
        let kept = self.state.generations();
        let kept = kept
            .into_iter()
            .filter_map(|generation| self.state.applied(generation).ok());
        let mut rows: Vec<GenerationRow> = kept
            .map(|applied| {
                let state = if applied.generation == running {
                    "running"
                } else {
                    "kept"
                };
                row(applied, state)
            })
            .collect();
        if let Some(unconfirmed) = &self.unconfirmed {
            rows.push(row(unconfirmed.applied.clone(), "unconfirmed"));
        }
        rows
    }
}

fn row(applied: Applied, state: &str) -> GenerationRow {
    GenerationRow {
        generation: applied.generation,
        at: applied.at,
        by: applied.by,
        summary: applied.summary,
        state: state.to_owned(),
    }
}
