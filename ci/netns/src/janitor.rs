//! Removes a lab whose owner was interrupted or killed.
//!
//! A destructor does not run after Ctrl-C or `kill -9`. The janitor is a process of its own that
//! holds the reading end of a pipe: when the owner is gone, however it went, the pipe ends.

use std::io::{Read as _, stdin};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};

use crate::inside::Task;
use crate::lab::Lab;

/// A process that cleans up after this one; keep it for as long as labs are made.
#[derive(Debug)]
pub struct Janitor {
    _process: Child,
}

impl Janitor {
    /// Hires a janitor, out of reach of the terminal's Ctrl-C.
    ///
    /// # Errors
    /// When this program cannot be started again.
    pub fn hire() -> Result<Self> {
        let task = serde_json::to_string(&Task::Janitor(std::process::id()))
            .context("cannot write the task")?;
        let process = Command::new("/proc/self/exe")
            .args(["inside", &task])
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot start the janitor")?;
        Ok(Self { _process: process })
    }
}

/// Waits until the owner is gone and removes its labs.
pub(crate) fn work(owner: u32) -> Result<()> {
    // Nothing is ever written; the end of the pipe is the message.
    stdin()
        .read_to_end(&mut Vec::new())
        .context("cannot wait for the owner's end")?;
    Lab::remove_of(owner.cast_signed())
}
