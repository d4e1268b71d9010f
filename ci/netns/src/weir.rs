//! Weir itself, as a process in the load balancer's namespace.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::command::run;
use crate::lab::{LAN, Lab, WAN};
use crate::ledger::{self, Ledger};
use crate::patience::within;
use crate::process::Process;
use crate::weir_conf::WeirConf;

const START: Duration = Duration::from_mins(1);
const STOP: Duration = Duration::from_secs(30);

/// A running `weir run`; stopped when dropped.
#[derive(Debug)]
pub struct WeirProcess<'lab> {
    lab: &'lab Lab,
    process: Process,
    program: PathBuf,
    socket: PathBuf,
    file: PathBuf,
}

impl<'lab> WeirProcess<'lab> {
    /// Writes the configuration, starts the daemon and waits until packets flow.
    ///
    /// # Errors
    /// When it does not say `ready` within fifteen seconds, with what it said instead.
    pub fn start(lab: &'lab Lab, program: &Path, conf: &WeirConf) -> Result<Self> {
        let file = lab.dir().join("weir.conf");
        fs::write(&file, conf.to_string()).context("cannot write weir.conf")?;
        Self::start_again(lab, program, conf)
    }

    /// As [`WeirProcess::start`], on the file as it is; `conf` says only which socket it names.
    ///
    /// # Errors
    /// As [`WeirProcess::start`].
    pub fn start_again(lab: &'lab Lab, program: &Path, conf: &WeirConf) -> Result<Self> {
        let file = lab.dir().join("weir.conf");
        // A session of its own, as systemd gives it: its workers' priority counts only against their
        // own session's processes where the kernel groups them (sched_autogroup).
        let mut command = lab.lb.command("setsid");
        command.arg(program);
        // What the daemon remembers about the machine, and of what it ran on, belongs to this lab,
        // not to the host.
        command
            .arg("run")
            .arg("--config")
            .arg(&file)
            .env("RUNTIME_DIRECTORY", lab.dir())
            .env("STATE_DIRECTORY", lab.dir());
        let process = lab.start("weir", &mut command)?;
        let socket = conf.socket.clone();
        let mut weir = Self {
            lab,
            process,
            program: program.to_owned(),
            socket,
            file,
        };
        weir.process.wait_for_line("ready", START)?;
        Ok(weir)
    }

    /// Returns `weir show <what> --json`; several lines become an array.
    ///
    /// # Errors
    /// When the command fails or prints no JSON.
    pub fn show(&self, what: &str) -> Result<Value> {
        let text = run(self.show_command(what).arg("--json"))?;
        read_json(&text).with_context(|| format!("`weir show {what} --json` printed `{text}`"))
    }

    /// Returns the table that `weir show <what>` prints for people.
    ///
    /// # Errors
    /// When the command fails.
    pub fn show_table(&self, what: &str) -> Result<String> {
        run(&mut self.show_command(what))
    }

    /// Recomputes the ledger and returns it.
    ///
    /// # Errors
    /// When it does not balance, as a whole and for each worker.
    pub fn ledger(&self) -> Result<Ledger> {
        ledger::check(&self.show("ledger")?)
    }

    /// Returns the number of sessions that are open now.
    ///
    /// # Errors
    /// As [`WeirProcess::show`].
    pub fn sessions(&self) -> Result<usize> {
        let sessions = self.show("sessions")?;
        Ok(sessions.as_array().map_or(1, Vec::len)) // a single session is an object on one line
    }

    /// Returns the daemon's own configuration file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Returns the daemon's control socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Builds a command of the operator, such as `apply new.conf`.
    #[must_use]
    pub fn order(&self, words: &[&str]) -> Command {
        let mut command = self.lab.lb.command(&self.program);
        command.args(words).arg("--socket").arg(&self.socket);
        command
    }

    /// Applies a configuration from a file beside the daemon's own, and returns what `weir apply`
    /// printed.
    ///
    /// # Errors
    /// When it is refused.
    pub fn apply(&self, conf: &WeirConf, options: &[&str]) -> Result<String> {
        let file = self.lab.dir().join("new.conf");
        fs::write(&file, conf.to_string()).context("cannot write new.conf")?;
        run(self.order(&["apply"]).arg(&file).args(options))
    }

    /// Writes another configuration, asks the daemon to apply it, and waits until it has.
    ///
    /// # Errors
    /// When the file cannot be written, or what ran before still runs after a while.
    pub fn reload(&self, conf: &WeirConf) -> Result<()> {
        let before = self.generation()?;
        fs::write(&self.file, conf.to_string()).context("cannot write weir.conf")?;
        self.process.signal(Signal::SIGHUP)?;
        within(START, || {
            let now = self.generation()?;
            ensure!(now != before, "configuration {before} still runs");
            Ok(())
        })
    }

    /// Returns the number of the configuration that runs.
    fn generation(&self) -> Result<u64> {
        let status = self.show("status")?;
        let number = status.get("generation").and_then(Value::as_u64);
        number.with_context(|| format!("no generation in {status}"))
    }

    /// Returns the daemon's resident memory in bytes by mapping, to the page: `VmRSS` is summed up
    /// lazily.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resident(&self) -> Result<BTreeMap<String, u64>> {
        let file = format!("/proc/{}/smaps", self.process.pid());
        let text = fs::read_to_string(file).context("the daemon has ended")?;
        Ok(read_smaps(&text))
    }

    /// Returns the frames that a port has received, and those that found its ring full.
    ///
    /// # Errors
    /// As [`WeirProcess::show`], and when there is no such port.
    pub fn received(&self, port: &str) -> Result<(u64, u64)> {
        let ports = self.show("ports")?;
        let row = find_row(&ports, "name", port)?;
        let figure = |key| row.get(key).and_then(Value::as_u64);
        figure("rx")
            .zip(figure("rx_ring_lost"))
            .with_context(|| format!("no figures in {row}"))
    }

    /// Returns the sum of the workers' counters of a name; 0 when none has it.
    ///
    /// # Errors
    /// As [`WeirProcess::show`].
    pub fn counter(&self, name: &str) -> Result<u64> {
        let ledger = self.show("ledger")?;
        let workers = ledger.get("workers").and_then(Value::as_array);
        let counts = workers.into_iter().flatten();
        Ok(counts
            .filter_map(|worker| worker.get("counters")?.get(name)?.as_u64())
            .sum())
    }

    /// Lists the packet threads.
    ///
    /// # Errors
    /// When the daemon has ended, or has no thread called `worker-0`.
    pub fn worker_threads(&self) -> Result<Vec<i32>> {
        let tasks = format!("/proc/{}/task", self.process.pid());
        let tasks = fs::read_dir(tasks).context("the daemon has ended")?;
        let threads: Vec<i32> = tasks
            .flatten()
            .filter(|task| {
                let name = fs::read_to_string(task.path().join("comm"));
                name.is_ok_and(|name| name.starts_with("worker-"))
            })
            .filter_map(|task| task.file_name().to_str()?.parse().ok())
            .collect();
        anyhow::ensure!(!threads.is_empty(), "no thread is called worker-0");
        Ok(threads)
    }

    /// Returns the CPU time of the packet threads so far, in nanoseconds.
    ///
    /// # Errors
    /// When the daemon has ended, or has no thread called `worker-0`.
    pub fn worker_ns(&self) -> Result<u64> {
        self.threads_ns(true)
            .and_then(|sum| sum.context("no thread is called worker-0"))
    }

    /// Returns the CPU time so far of all threads that see no packets, in nanoseconds.
    ///
    /// # Errors
    /// When the daemon has ended.
    pub fn control_ns(&self) -> Result<u64> {
        self.threads_ns(false)
            .and_then(|sum| sum.context("the daemon has ended"))
    }

    fn threads_ns(&self, workers: bool) -> Result<Option<u64>> {
        let tasks = format!("/proc/{}/task", self.process.pid());
        let mut sum = None;
        for task in fs::read_dir(tasks)
            .context("the daemon has ended")?
            .flatten()
        {
            let read = |file| fs::read_to_string(task.path().join(file)).unwrap_or_default();
            if read("comm").starts_with("worker-") == workers {
                // Nanoseconds on a core, nanoseconds waited, turns.
                let ns = read("schedstat");
                let ns = ns
                    .split_whitespace()
                    .next()
                    .and_then(|ns| ns.parse::<u64>().ok());
                sum = Some(sum.unwrap_or(0) + ns.context("the kernel keeps no schedstat")?);
            }
        }
        Ok(sum)
    }

    /// Returns the daemon's process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.process.pid().cast_signed()
    }

    /// Returns what the daemon has printed.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Returns the last lines that the daemon has printed.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }

    /// Returns the lines of the log that name a driver.
    #[must_use]
    pub fn driver_lines(&self) -> Vec<String> {
        let drivers = ["af-xdp", "af-packet", "netmap", "pf-ring"];
        let log = self.log();
        let named = |line: &&str| drivers.iter().any(|driver| line.contains(driver));
        log.lines().filter(named).map(str::to_owned).collect()
    }

    /// Asks the daemon to stop and waits.
    ///
    /// # Errors
    /// When it still runs after a while.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.process.stop(STOP)
    }

    /// Kills the daemon as `kill -9` does and waits.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn kill(mut self) -> Result<()> {
        self.process.signal(Signal::SIGKILL)?;
        self.process.wait(STOP).map(drop)
    }

    /// Lists the load balancer's interfaces that carry an XDP program now.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn xdp_links(lab: &Lab) -> Result<Vec<&'static str>> {
        let mut found = Vec::new();
        for link in [WAN, LAN] {
            if lab
                .lb
                .ip(&format!("-d link show {link}"))?
                .contains("prog/xdp")
            {
                found.push(link);
            }
        }
        Ok(found)
    }

    /// Returns a command of `weir` that asks this daemon, to be given its arguments.
    #[must_use]
    pub fn command(&self, verb: &str) -> Command {
        let mut command = self.lab.lb.command(&self.program);
        command.arg(verb).arg("--socket").arg(&self.socket);
        command
    }

    fn show_command(&self, what: &str) -> Command {
        let mut command = self.command("show");
        command.arg(what);
        command
    }
}

/// Finds the row of a table whose `key` is `name`.
///
/// # Errors
/// When there is none.
pub fn find_row<'rows>(rows: &'rows Value, key: &str, name: &str) -> Result<&'rows Value> {
    let mut all = rows.as_array().into_iter().flatten();
    all.find(|row| row.get(key).and_then(Value::as_str) == Some(name))
        .with_context(|| format!("no row with {key} {name} in {rows}"))
}

/// Reads what is resident of each mapping, under its first address and its name.
fn read_smaps(text: &str) -> BTreeMap<String, u64> {
    let mut mappings = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["Rss:", kib, "kB"] => {
                let bytes = kib.parse::<u64>().unwrap_or_default() << 10;
                mappings.insert(std::mem::take(&mut name), bytes);
            }
            [range, rights, _, _, _, what @ ..] if rights.len() == 4 && range.contains('-') => {
                let start = range.split('-').next().unwrap_or_default();
                let what = what.join(" ");
                name = [start, &what].join(" ").trim_end().into();
            }
            ["Size:", size, "kB"] => {
                name = format!("{name} ({size} KiB)");
            }
            _ => {}
        }
    }
    mappings
}

/// Reads what `--json` prints: one value, or one per line.
///
/// # Errors
/// When it is something else.
pub fn read_json(text: &str) -> Result<Value> {
    if let Ok(value) = serde_json::from_str(text) {
        return Ok(value);
    }
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let values = lines
        .map(serde_json::from_str)
        .collect::<Result<Vec<Value>, _>>()?;
    Ok(Value::Array(values))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn resident_memory_is_read_by_mapping() {
        let text = "55d0-55d8 rw-p 00000000 00:00 0    [heap]\nSize:   32 kB\nRss:    12 kB\n\
                    VmFlags: rd wr mr\n7f00-7f10 r--p 0000 fe:01 77 /lib/libc.so\nRss: 4 kB\n";
        let expected = [
            ("55d0 [heap] (32 KiB)", 12 << 10),
            ("7f00 /lib/libc.so", 4 << 10),
        ];
        let expected = expected.map(|(name, bytes)| (name.to_owned(), bytes));
        assert_eq!(read_smaps(text), BTreeMap::from(expected));
    }

    #[test]
    fn one_value_and_one_per_line_are_both_read() {
        assert_eq!(read_json("[{\"a\":1}]\n").unwrap(), json!([{"a": 1}]));
        assert_eq!(
            read_json("{\"a\":1}\n{\"a\":2}\n").unwrap(),
            json!([{"a": 1}, {"a": 2}])
        );
        assert_eq!(read_json("").unwrap(), json!([]));
        assert!(read_json("no socket").is_err());
    }
}
