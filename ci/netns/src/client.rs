//! The clients' side: what loads the service and what it reports.

pub mod load;
pub mod single;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;

use crate::command::run;
use crate::inside::Task;
use crate::inside::hold::{Hold, HoldReport};
use crate::inside::http::{HttpGet, HttpReport};
use crate::inside::scan::{Scan, ScanReport};
use crate::inside::storm::{Storm, StormReport};
use crate::inside::transfer::{Bulk, BulkReport, Datagrams, DatagramsReport};
use crate::lab::{Lab, VIP};
use crate::namespace::Namespace;
use crate::process::Process;
use crate::server::{BANNER_PORT, Share};

const LIMIT: Duration = Duration::from_mins(5);

impl Lab {
    /// Plans to fetch pages from the VIP: eight at a time, from every client address, each on a
    /// connection of its own.
    #[must_use]
    pub fn pages(&self, port: u16, path: &str, count: u64) -> HttpGet {
        HttpGet {
            target: SocketAddrV4::new(VIP, port),
            path: path.to_owned(),
            count,
            concurrency: 8,
            sources: self.client_addresses(),
            keep_alive: false,
            pause_ms: 0,
            within_s: 60,
            until: None,
        }
    }

    /// Plans connections in a row to the banner server behind the VIP: eight at a time, from every
    /// client address.
    #[must_use]
    pub fn connections(&self, count: u64) -> Storm {
        Storm {
            target: SocketAddrV4::new(VIP, BANNER_PORT),
            count,
            concurrency: 8,
            sources: self.client_addresses(),
            within_s: 30 + count / 1_000,
        }
    }

    /// Fetches pages.
    ///
    /// # Errors
    /// When the client cannot run; pages that fail are figures in the report.
    pub fn http_get(&self, get: HttpGet) -> Result<HttpReport> {
        self.task("http-get", &Task::HttpGet(get))
    }

    /// Opens many short connections.
    ///
    /// # Errors
    /// As [`Lab::http_get`].
    pub fn storm(&self, storm: Storm) -> Result<StormReport> {
        self.task("storm", &Task::Storm(storm))
    }

    /// Sends bytes to an echo server and compares.
    ///
    /// # Errors
    /// As [`Lab::http_get`].
    pub fn bulk(&self, bulk: Bulk) -> Result<BulkReport> {
        self.task("bulk", &Task::Bulk(bulk))
    }

    /// Sends datagrams to an echo server and compares.
    ///
    /// # Errors
    /// As [`Lab::http_get`].
    pub fn datagrams(&self, datagrams: Datagrams) -> Result<DatagramsReport> {
        self.task("datagrams", &Task::Datagrams(datagrams))
    }

    /// Looks at every TCP port of an address, out of a namespace.
    ///
    /// # Errors
    /// When the scan cannot run.
    pub fn scan(&self, namespace: &Namespace, scan: Scan) -> Result<ScanReport> {
        let line = run(&mut self.helper(namespace, &Task::Scan(scan))?)?;
        serde_json::from_str(line.trim()).with_context(|| format!("cannot read `{line}`"))
    }

    /// Starts fetching pages in the background.
    ///
    /// # Errors
    /// When the client cannot start.
    pub fn start_http_get(&self, get: HttpGet) -> Result<Running<HttpReport>> {
        self.start_task("http-get", &Task::HttpGet(get))
    }

    /// Starts a storm of short connections in the background.
    ///
    /// # Errors
    /// When the client cannot start.
    pub fn start_storm(&self, storm: Storm) -> Result<Running<StormReport>> {
        self.start_task("storm", &Task::Storm(storm))
    }

    /// Opens connections and keeps them busy in the background.
    ///
    /// # Errors
    /// When the client cannot start.
    pub fn start_hold(&self, hold: Hold) -> Result<Running<HoldReport>> {
        self.start_task("hold", &Task::Hold(hold))
    }

    /// Pings an address from the clients and returns the number of answers.
    ///
    /// # Errors
    /// When `ping` cannot run; missing answers are the caller's to judge.
    pub fn ping(&self, address: Ipv4Addr, count: u32) -> Result<u32> {
        let mut command = self.client.command("ping");
        command.args([
            "-n",
            "-q",
            "-i",
            "0.05",
            "-W",
            "1",
            "-c",
            &count.to_string(),
        ]);
        let output = command
            .arg(address.to_string())
            .output()
            .context("cannot run `ping`")?;
        let text = String::from_utf8_lossy(&output.stdout);
        ping_answers(&text).with_context(|| {
            format!(
                "cannot read ping: {text}{}",
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }

    /// Downloads the big file, or its first quarter, with curl and returns the SHA-256 of what came.
    ///
    /// # Errors
    /// When curl fails.
    pub fn download_sha256(&self, share: Share) -> Result<String> {
        let mut command = self.client.command("bash");
        let last = share.bytes() - 1;
        let line = format!(
            "set -o pipefail; curl -sS --fail --max-time 240 -r 0-{last} http://{VIP}/big | sha256sum"
        );
        let text = run(command.args(["-c", &line]))?;
        let sum = text
            .split_whitespace()
            .next()
            .context("sha256sum said nothing")?;
        Ok(sum.to_owned())
    }

    /// Builds the command that does a task in a namespace.
    ///
    /// # Errors
    /// When the task cannot be written as JSON.
    pub fn helper(&self, namespace: &Namespace, task: &Task) -> Result<std::process::Command> {
        let mut command = namespace.command(self.dir().join("helper"));
        command
            .arg("inside")
            .arg(serde_json::to_string(task).context("cannot write the task")?);
        Ok(command)
    }

    pub(crate) fn task<R: DeserializeOwned>(&self, name: &str, task: &Task) -> Result<R> {
        self.start_task(name, task)?.report()
    }

    pub(crate) fn start_task<R>(&self, name: &str, task: &Task) -> Result<Running<R>> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let process = self.start(&name, &mut self.helper(&self.client, task)?)?;
        Ok(Running {
            process,
            report: std::marker::PhantomData,
        })
    }
}

/// A client that runs in the background and reports at its end.
#[derive(Debug)]
pub struct Running<R> {
    process: Process,
    report: std::marker::PhantomData<R>,
}

impl<R: DeserializeOwned> Running<R> {
    /// Waits until it has printed a line.
    ///
    /// # Errors
    /// When it ends first, or on a time-out.
    pub fn wait_for_line(&mut self, line: &str, timeout: Duration) -> Result<()> {
        self.process.wait_for_line(line, timeout)
    }

    /// Tells whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Waits for its end and returns its report.
    ///
    /// # Errors
    /// When it takes more than five minutes, fails, or says something else.
    pub fn report(mut self) -> Result<R> {
        let text = self.process.output(LIMIT)?;
        let Some(line) = text.lines().last() else {
            bail!("the client said nothing")
        };
        serde_json::from_str(line).with_context(|| format!("cannot read the report `{line}`"))
    }
}

fn ping_answers(text: &str) -> Option<u32> {
    let summary = text
        .lines()
        .find(|line| line.contains("packets transmitted"))?;
    summary
        .split(',')
        .nth(1)?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ping_summary_is_read() {
        let text = "--- 10.80.0.100 ping statistics ---\n\
                    5 packets transmitted, 4 received, 20% packet loss, time 204ms\n";
        assert_eq!(ping_answers(text), Some(4));
        assert_eq!(ping_answers("ping: unknown host"), None);
    }
}
