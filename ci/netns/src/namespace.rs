//! A network namespace that goes away with its owner.

use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command::{run, run_with_input, words};

/// A network namespace; dropping it kills what still runs inside and deletes it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace with its loopback up and IPv6 off, which keeps neighbour noise out.
    ///
    /// # Errors
    /// When `ip netns` refuses, as it does for a name that exists.
    pub fn new(name: String) -> Result<Self> {
        run(words("ip netns add").arg(&name))?;
        let namespace = Self { name };
        namespace.sysctl("net/ipv6/conf/all/disable_ipv6", "1").ok(); // absent without IPv6
        namespace
            .sysctl("net/ipv6/conf/default/disable_ipv6", "1")
            .ok();
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Returns the name as `ip netns` knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Builds a command that runs `program` inside.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = words("ip netns exec");
        command.arg(&self.name).arg(program);
        command
    }

    /// Runs a line of words inside and returns its output.
    ///
    /// # Errors
    /// As [`run`].
    pub fn run(&self, line: &str) -> Result<String> {
        let mut command = words("ip netns exec");
        command.arg(&self.name).args(line.split_whitespace());
        run(&mut command)
    }

    /// Runs `ip` with these words on this namespace.
    ///
    /// # Errors
    /// As [`run`].
    pub fn ip(&self, line: &str) -> Result<String> {
        run(words("ip -n").arg(&self.name).args(line.split_whitespace()))
    }

    /// Loads an nft rule set inside.
    ///
    /// # Errors
    /// As [`run_with_input`].
    pub fn nft(&self, rules: &str) -> Result<()> {
        run_with_input(self.command("nft").args(["-f", "-"]), rules)?;
        Ok(())
    }

    /// Writes a value below `/proc/sys` as this namespace sees it.
    ///
    /// # Errors
    /// When the key does not exist.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let line = format!("echo '{value}' > /proc/sys/{key}");
        run(self.command("sh").args(["-c", &line])).map(drop)
    }

    /// Lists the processes that run inside.
    #[must_use]
    pub fn pids(&self) -> Vec<i32> {
        pids(&self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.name) {
            eprintln!("lab: {error:#}");
        }
    }
}

/// Lists the lab namespaces of processes that are gone.
pub(crate) fn orphans() -> Result<Vec<String>> {
    let listed = run(&mut words("ip netns list"))?;
    let names = listed
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    Ok(names
        .filter(|name| owner(name).is_some_and(is_gone))
        .map(str::to_owned)
        .collect())
}

/// Lists the lab namespaces that process `pid` made.
pub(crate) fn owned_by(pid: i32) -> Result<Vec<String>> {
    let listed = run(&mut words("ip netns list"))?;
    let names = listed
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    Ok(names
        .filter(|name| owner(name) == Some(pid))
        .map(str::to_owned)
        .collect())
}

/// Kills what runs in a namespace and deletes it.
pub(crate) fn remove(name: &str) -> Result<()> {
    for pid in pids(name) {
        // It may have ended by itself; then there is nothing left to do.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    for _ in 0..500 {
        if pids(name).is_empty() {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    run(words("ip netns del").arg(name)).with_context(|| format!("cannot remove `{name}`"))?;
    Ok(())
}

/// Tells whether a process has ended.
pub(crate) fn is_gone(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None) == Err(nix::errno::Errno::ESRCH)
}

/// Reads the owner's process id out of `weir-<pid>-...`.
pub(crate) fn owner(name: &str) -> Option<i32> {
    let (pid, _) = name.strip_prefix("weir-")?.split_once('-')?;
    pid.parse().ok().filter(|pid| *pid > 0)
}

fn pids(name: &str) -> Vec<i32> {
    let listed = run(words("ip netns pids").arg(name)).unwrap_or_default();
    listed
        .lines()
        .filter_map(|line| line.trim().parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_is_read_out_of_a_lab_name_only() {
        assert_eq!(owner("weir-4711-cli"), Some(4711));
        assert_eq!(owner("weir-0-cli"), None);
        assert_eq!(owner("weir-lab"), None);
        assert_eq!(owner("other-4711-cli"), None);
    }

    #[test]
    fn this_process_is_not_gone() {
        assert!(!is_gone(std::process::id().cast_signed()));
    }
}
