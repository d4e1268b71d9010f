//! The operator console: what the daemon knows, on a terminal of any kind.
//!
//! A model holds everything that is known (`model`), an update makes the next one of what happened
//! (`update`), a view makes a screen of it (`view`): all pure. Around them are the connection to the
//! daemon (`link`), the terminal (`term`) and the loop that joins them (`run`).

#![forbid(unsafe_code)]
#![allow(
    clippy::cast_precision_loss,
    reason = "counts become rates and shares that are shown with three digits"
)]

mod capture;
mod grammar;
mod keymap;
mod link;
mod model;
mod run;
mod term;
#[cfg(test)]
mod tests;
mod theme;
mod units;
mod update;
mod view;

use std::path::PathBuf;

use thiserror::Error;
use weir_control::Introduction;

pub use crate::capture::{CAPTURE_SECONDS, Capture, Take};
pub use crate::grammar::{Command, Grammar, Read, Words};
pub use crate::run::{run, unfit};
pub use crate::term::profile::ColourWish;

/// How the console runs.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The daemon's socket; none means the first of those that it has by default.
    pub socket: Option<PathBuf>,
    /// Changes nothing, whatever the socket permits.
    pub read_only: bool,
    /// Sends nothing but ASCII.
    pub ascii: bool,
    /// Which colours are sent.
    pub colour: ColourWish,
    /// What is said of the person behind the console.
    pub introduction: Option<Introduction>,
    /// What its command line understands.
    pub grammar: Grammar,
    /// How it captures frames.
    pub capture: Capture,
}

/// Says why the console cannot run.
#[derive(Debug, Error)]
pub enum ConsoleError {
    /// The terminal cannot be used.
    #[error("the terminal cannot be used: {0}")]
    Terminal(#[source] std::io::Error),
    /// A thread cannot be started.
    #[error("a thread cannot be started: {0}")]
    Thread(#[source] std::io::Error),
}
