//! How far an update came: kept on the data partition, where both slots see it.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::durable;
use crate::places::Places;

/// What is kept of the last update.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Journal {
    /// The slot that is tried: `a` or `b`.
    pub(crate) slot: String,
    /// Its version.
    pub(crate) version: String,
    /// The version of before.
    pub(crate) before: String,
    /// Whether it was written anew, or only started again.
    pub(crate) is_rollback: bool,
    /// Who asked for it.
    pub(crate) by: String,
    /// From where.
    pub(crate) from: String,
    /// The ports whose link was up before.
    pub(crate) links: Vec<String>,
    /// How far its trial came.
    pub(crate) stage: Stage,
    /// What it waited for last, or why it failed; a sentence without its end.
    pub(crate) why: String,
}

/// How far a trial came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stage {
    /// There was none.
    #[default]
    None,
    /// It is to begin with the next start.
    Written,
    /// The agent of the slot runs.
    Started,
    /// It stays.
    Confirmed,
    /// It gave up, or was found dead.
    Failed,
}

impl Journal {
    fn path(places: &Places) -> PathBuf {
        places.shared().join("update/journal.json")
    }

    /// Reads it; what is damaged or not there says nothing.
    pub(crate) fn read(places: &Places) -> Self {
        let text = fs::read_to_string(Self::path(places)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Writes it so that it outlives a power cut.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&self, places: &Places) -> io::Result<()> {
        durable::folder(&places.shared().join("update"), 0o700)?;
        let text = serde_json::to_string_pretty(self).map_err(io::Error::other)?;
        durable::write(&Self::path(places), text.as_bytes(), 0o600)
    }

    /// Returns what became of the last update in one line; empty where there was none.
    pub(crate) fn line(&self) -> String {
        let what = if self.is_rollback { "back to " } else { "" };
        let version = format!("{what}{} in slot {}", self.version, self.slot);
        match self.stage {
            Stage::None => String::new(),
            Stage::Written => format!("{version}: starts next"),
            Stage::Started => format!("{version}: on trial"),
            Stage::Confirmed => format!("{version}: confirmed"),
            Stage::Failed => format!("{version}: failed, {}", self.why),
        }
    }
}
