//! A background process that ends with its owner.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const POLL: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a process may take to end that is not wanted any more, before it is killed.
const FAREWELL: Duration = Duration::from_secs(3);

/// A transport protocol, to look for a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP in state LISTEN.
    Tcp,
    /// A bound UDP socket.
    Udp,
}

/// A process in the background: its output goes to a file, and it is stopped when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with standard output and error in `<dir>/<name>.log`.
    ///
    /// # Errors
    /// When the log or the process cannot be made.
    pub fn start(name: &str, command: &mut Command, dir: &Path) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let out = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let err = out.try_clone().context("cannot share the log")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            child,
            name: name.to_owned(),
            log,
        })
    }

    /// Returns the process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns everything it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .unwrap_or_default()
    }

    /// Returns the last lines it wrote, for a failure report.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines
            .iter()
            .skip(lines.len().saturating_sub(15))
            .copied()
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal)
            .with_context(|| format!("cannot signal {}", self.name))
    }

    /// Tells whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it still runs after `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait().context("cannot wait")? {
                return Ok(status);
            }
            if Instant::now() >= end {
                bail!("{} still runs after {timeout:?}", self.name);
            }
            thread::sleep(POLL);
        }
    }

    /// Waits for its end and returns its output when it succeeded.
    ///
    /// # Errors
    /// On a time-out or a failure, with the last lines of its output.
    pub fn output(&mut self, timeout: Duration) -> Result<String> {
        let status = self.wait(timeout)?;
        if !status.success() {
            bail!("{} ended with {status}:\n{}", self.name, self.log_tail());
        }
        Ok(self.log())
    }

    /// Asks it to end with `SIGTERM` and waits.
    ///
    /// # Errors
    /// When it still runs after `timeout`.
    pub fn stop(&mut self, timeout: Duration) -> Result<ExitStatus> {
        if self.is_running() {
            self.signal(Signal::SIGTERM)?;
        }
        self.wait(timeout)
    }

    /// Waits until the log holds `text`.
    ///
    /// # Errors
    /// When it ends first, or on a time-out; with the last lines of its output.
    pub fn wait_for_line(&mut self, text: &str, timeout: Duration) -> Result<()> {
        self.wait_until(&format!("print `{text}`"), timeout, |process| {
            process.log().lines().any(|line| line.trim() == text)
        })
    }

    /// Waits until a line of the log begins with `text`.
    ///
    /// # Errors
    /// As [`Process::wait_for_line`].
    pub fn wait_for_words(&mut self, text: &str, timeout: Duration) -> Result<()> {
        self.wait_until(&format!("print `{text}`"), timeout, |process| {
            process.log().lines().any(|line| line.starts_with(text))
        })
    }

    /// Waits until something in the process's namespace listens on `port`.
    ///
    /// # Errors
    /// As [`Process::wait_for_line`].
    pub fn wait_listening(&mut self, transport: Transport, port: u16) -> Result<()> {
        self.wait_until(&format!("listen on port {port}"), PATIENCE, |process| {
            is_listening(process.pid(), transport, port)
        })
    }

    fn wait_until(
        &mut self,
        what: &str,
        timeout: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> Result<()> {
        let end = Instant::now() + timeout;
        while !done(self) {
            if !self.is_running() {
                bail!(
                    "{} ended and did not {what}:\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            if Instant::now() >= end {
                bail!(
                    "{} did not {what} in {timeout:?}:\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.stop(FAREWELL).is_err() {
            // Killing a child that has just ended is no error worth a word.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Looks for a listener in the socket tables of the namespace that `pid` lives in.
fn is_listening(pid: u32, transport: Transport, port: u16) -> bool {
    let (table, state) = match transport {
        Transport::Tcp => ("tcp", "0A"),
        Transport::Udp => ("udp", "07"),
    };
    let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
    has_socket(&text, port, state)
}

fn has_socket(table: &str, port: u16, state: &str) -> bool {
    let port = format!(":{port:04X}");
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace();
        fields.nth(1).is_some_and(|local| local.ends_with(&port)) && fields.nth(1) == Some(state)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listener_is_found_by_port_and_state() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n\
             0: 0B00510A:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1\n\
             1: 0B00510A:0051 0100510A:9999 01 00000000:00000000 00:00000000 00000000 0 0 2\n";
        assert!(has_socket(table, 80, "0A"));
        assert!(!has_socket(table, 81, "0A"), "established is not listening");
        assert!(!has_socket(table, 82, "0A"));
    }

    #[test]
    fn end_before_the_line_is_reported_with_the_output() {
        let dir = std::env::temp_dir();
        let name = format!("weir-lab-test-{}", std::process::id());
        let mut command = Command::new("sh");
        command.args(["-c", "echo no device; exit 1"]);
        let mut process = Process::start(&name, &mut command, &dir).unwrap();
        let error = process
            .wait_for_line("ready", PATIENCE)
            .unwrap_err()
            .to_string();
        fs::remove_file(dir.join(format!("{name}.log"))).unwrap();
        assert!(error.contains("no device"), "{error}");
    }
}
