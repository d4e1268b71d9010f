//! OpenSSH's client at the operator's desk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use weir_lab::command::{run, run_with_input, words};
use weir_lab::namespace::Namespace;
use weir_lab::weir::read_json;

const POLL: Duration = Duration::from_millis(300);

/// Somebody with a key, at a desk.
#[derive(Debug)]
pub struct Person {
    /// The account on the appliance: `operator` or `viewer`.
    pub account: &'static str,
    /// The key's name, which events tell.
    pub name: &'static str,
    /// The public key, as a line.
    pub public: String,
    key: PathBuf,
    known: PathBuf,
    desk: String,
    address: String,
}

impl Person {
    /// Makes a key for somebody at this desk who logs in at this address. What host keys a desk has
    /// seen is kept in `dir`: another key of the same appliance is refused.
    ///
    /// # Errors
    /// When `ssh-keygen` fails.
    pub fn new(
        account: &'static str,
        name: &'static str,
        desk: &Namespace,
        address: &str,
        dir: &Path,
    ) -> Result<Self> {
        let key = dir.join(format!("key-{name}"));
        let mut keygen = words("ssh-keygen -q -t ed25519 -N");
        run(keygen.args(["", "-C", name, "-f"]).arg(&key))?;
        let public = fs::read_to_string(key.with_extension("pub"))
            .context("ssh-keygen made no key")?
            .trim()
            .to_owned();
        Ok(Self {
            account,
            name,
            public,
            key,
            known: dir.join("known-hosts"),
            desk: desk.name().to_owned(),
            address: address.to_owned(),
        })
    }

    /// Has this desk forget what host keys it has seen: another box comes.
    ///
    /// # Errors
    /// When they cannot be forgotten.
    pub fn forget_hosts(&self) -> Result<()> {
        fs::remove_file(&self.known).context("the desk has seen no host keys")
    }

    /// Returns the words that log in, to be run at the desk.
    #[must_use]
    pub fn log_in(&self) -> String {
        format!(
            "ssh -F none -i {} -o IdentitiesOnly=yes -o BatchMode=yes \
             -o UserKnownHostsFile={} -o GlobalKnownHostsFile=none \
             -o StrictHostKeyChecking=accept-new -o ConnectTimeout=10 \
             -o ServerAliveInterval=5 -o ServerAliveCountMax=4 {}@{}",
            self.key.display(),
            self.known.display(),
            self.account,
            self.address
        )
    }

    /// Builds the command that runs a line on the appliance.
    #[must_use]
    pub fn command(&self, line: &str) -> Command {
        let mut command = words(&format!("ip netns exec {} {}", self.desk, self.log_in()));
        command.arg(line);
        command
    }

    /// Runs a line on the appliance and returns what it prints.
    ///
    /// # Errors
    /// When it fails, with what it says.
    pub fn run(&self, line: &str) -> Result<String> {
        run(&mut self.command(line))
    }

    /// Runs a line on the appliance with this on its standard input.
    ///
    /// # Errors
    /// As [`Person::run`].
    pub fn run_with_input(&self, line: &str, input: &str) -> Result<String> {
        run_with_input(&mut self.command(line), input)
    }

    /// Runs a line on the appliance that is to be refused, and returns what it says.
    ///
    /// # Errors
    /// When it succeeds.
    pub fn refused(&self, line: &str, input: &str) -> Result<String> {
        match self.run_with_input(line, input) {
            Ok(said) => bail!("`{line}` is not refused for the {}: {said}", self.account),
            Err(error) => Ok(format!("{error:#}")),
        }
    }

    /// Runs a line on the appliance that prints JSON.
    ///
    /// # Errors
    /// As [`Person::run`], or when it prints something else.
    pub fn json(&self, line: &str) -> Result<Value> {
        let said = self.run(line)?;
        read_json(&said).with_context(|| format!("`{line}` prints no JSON: {said}"))
    }

    /// Logs in again and again until a line succeeds.
    ///
    /// # Errors
    /// When it has not within this time, with what it said last.
    pub fn wait(&self, line: &str, patience: Duration) -> Result<String> {
        let end = Instant::now() + patience;
        loop {
            match self.run(line) {
                Ok(said) => return Ok(said),
                Err(error) if Instant::now() >= end => {
                    return Err(error.context(format!("not within {patience:?}")));
                }
                Err(_) => thread::sleep(POLL),
            }
        }
    }
}
