//! The configurations that outlive the daemon, and the one that waits to be confirmed.

use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use weir_conf::{Report, SourceText};
use weir_control::GenerationRow;

use crate::control::overlay::Overlay;
use crate::state::{self, Applied, State};

/// What is kept of configurations.
#[derive(Debug)]
pub(crate) struct Kept {
    /// The daemon's own file.
    file: PathBuf,
    state: State,
    /// The highest number that a configuration has had, also one that was not kept.
    highest: u64,
    pub(crate) unconfirmed: Option<Unconfirmed>,
    /// Until when somebody may confirm what already ran when it was to be tried.
    pub(crate) unchanged_until: Option<Instant>,
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
            highest: 0,
            unconfirmed: None,
            unchanged_until: None,
        }
    }

    /// Returns the daemon's own file.
    pub(crate) fn file(&self) -> &std::path::Path {
        &self.file
    }

    /// Reads the daemon's own files.
    ///
    /// # Errors
    /// Returns which of them cannot be read.
    pub(crate) fn own_files(&self) -> Result<Vec<SourceText>, Report> {
        weir_conf::read(&self.file)
    }

    /// Returns the print of the daemon's own files as they are now.
    pub(crate) fn own_print(&self) -> String {
        // Files that cannot be read now are different files when they can.
        let files = self.own_files().map(|files| state::print_of(&files));
        files.unwrap_or_default()
    }

    /// Notes the number of a configuration that runs.
    pub(crate) fn numbered(&mut self, generation: u64) {
        self.highest = self.highest.max(generation);
    }

    /// Returns the number of the next configuration: one that none has had while the daemon runs.
    pub(crate) fn next_number(&self, running: u64) -> u64 {
        self.highest.max(running) + 1
    }

    /// Makes what is kept of a configuration that runs from now on; `files` is the print that the
    /// daemon's own files had when it was read.
    pub(crate) fn applied(
        generation: u64,
        by: String,
        summary: String,
        files: String,
        text: String,
    ) -> Applied {
        Applied {
            generation,
            at: state::moment(SystemTime::now()),
            by,
            summary,
            files,
            text,
        }
    }

    /// Has a configuration run that goes again unless somebody confirms it.
    ///
    /// # Errors
    /// Says what would happen at a restart meanwhile.
    pub(crate) fn try_out(&mut self, unconfirmed: Unconfirmed) -> Result<(), String> {
        let files = &unconfirmed.applied.files;
        let noted = self.state.try_out(files).map_err(|error| {
            format!("a restart before it is confirmed would begin with the file: {error}")
        });
        self.unconfirmed = Some(unconfirmed);
        noted
    }

    /// Notes that the daemon's own files mean the configuration that is kept as the one that runs.
    ///
    /// # Errors
    /// Says why it cannot.
    pub(crate) fn same_as_files(&self, files: String) -> Result<(), String> {
        match self.state.running()? {
            Some(kept) if kept.files != files => self.keep(&Applied { files, ..kept }),
            Some(_) | None => Ok(()),
        }
    }

    /// Keeps on with the configuration that is kept as the one that runs, which `applied` is again:
    /// only the print of the daemon's own files is that of now.
    ///
    /// # Errors
    /// Says why it will not outlive the daemon.
    pub(crate) fn keep_on(&self, applied: Applied) -> Result<(), String> {
        let same =
            |kept: &Applied| (kept.generation, &kept.text) == (applied.generation, &applied.text);
        let kept = self.state.running().ok().flatten().filter(same);
        let files = applied.files.clone();
        let kept = kept.map(|kept| Applied { files, ..kept });
        self.keep(&kept.unwrap_or(applied))
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

    /// Has orders outlive the daemon.
    ///
    /// # Errors
    /// Says why they will not.
    pub(crate) fn keep_orders(&self, text: &str) -> Result<(), String> {
        self.state.keep_orders(text)
    }

    /// Reads the orders that outlived the daemon.
    ///
    /// # Errors
    /// Says that they are damaged.
    pub(crate) fn orders(&self) -> Result<Overlay, String> {
        let text = self.state.orders()?;
        text.map_or_else(|| Ok(Overlay::default()), |text| Overlay::read(&text))
    }

    /// Returns a configuration that was applied, or the last one before the one that runs and that
    /// is another one.
    ///
    /// # Errors
    /// Says why there is none.
    pub(crate) fn earlier(
        &self,
        (running, text): (u64, &str),
        wanted: Option<u64>,
    ) -> Result<Applied, String> {
        let mut kept = self.state.generations();
        if let Some(wanted) = wanted {
            if kept.contains(&wanted) {
                return self.state.applied(wanted);
            }
            let kept: Vec<String> = kept.iter().map(ToString::to_string).collect();
            return Err(format!(
                "configuration {wanted} is not kept; there is {}",
                kept.join(", ")
            ));
        }
        kept.retain(|generation| *generation < running);
        for generation in kept.into_iter().rev() {
            let earlier = self.state.applied(generation)?;
            if earlier.text != text {
                return Ok(earlier);
            }
        }
        Err("no other configuration was applied before this one".to_owned())
    }

    /// Returns a row for each configuration that is kept, and for the one that is not yet.
    pub(crate) fn rows(&self, running: u64) -> Vec<GenerationRow> {
        let kept = self.state.generations();
        let kept = kept
            .into_iter()
            .filter_map(|generation| self.state.heading(generation).ok());
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
