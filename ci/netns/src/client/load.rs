//! wrk and iperf3 from the clients, with their figures read.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::command::run;
use crate::lab::{Lab, VIP};
use crate::process::Process;

/// What wrk measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WrkReport {
    /// Pages in all.
    pub requests: u64,
    /// Pages per second.
    pub per_second: f64,
    /// Socket errors of every kind and answers other than 2xx or 3xx.
    pub errors: u64,
    /// The 99th percentile of the latency, as wrk prints it.
    pub latency_99: String,
}

/// A run of wrk in the background.
#[derive(Debug)]
pub struct Wrk(Process);

impl Wrk {
    /// Ends it and returns what it measured.
    ///
    /// # Errors
    /// When wrk has ended by itself, fails or prints something else; errors on the wire are figures.
    pub fn stop(mut self) -> Result<WrkReport> {
        self.0.signal(Signal::SIGINT)?;
        let text = self.0.output(Duration::from_mins(1))?;
        read_wrk(&text).with_context(|| format!("cannot read wrk:\n{text}"))
    }
}

/// Which way iperf3 sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the real server.
    Up,
    /// From the real server to the client.
    Down,
}

impl Lab {
    /// Loads a page behind the VIP with 200 connections of wrk.
    ///
    /// # Errors
    /// When wrk fails or prints something else; errors on the wire are figures.
    pub fn wrk(&self, path: &str, seconds: u32, keep_alive: bool) -> Result<WrkReport> {
        self.wrk_at(VIP, path, seconds, keep_alive)
    }

    /// Loads a page behind the VIP in the background until it is stopped, ten minutes at most, with
    /// so many clients that make a new connection for each page.
    ///
    /// # Errors
    /// When wrk cannot start.
    pub fn start_wrk(&self, path: &str, clients: u32) -> Result<Wrk> {
        let mut command = self.client.command("wrk");
        command.args(["-t", "2", "--latency", "--timeout", "5s"]);
        command.args(["-H", "Connection: close"]);
        command.arg("-c").arg(clients.to_string());
        command.args(["-d", "10m"]);
        command.arg(format!("http://{VIP}{path}"));
        Ok(Wrk(self.start("wrk", &mut command)?))
    }

    /// As [`Lab::wrk`], at another address.
    ///
    /// # Errors
    /// As [`Lab::wrk`].
    pub fn wrk_at(
        &self,
        address: Ipv4Addr,
        path: &str,
        seconds: u32,
        keep_alive: bool,
    ) -> Result<WrkReport> {
        let mut command = self.client.command("wrk");
        let duration = format!("{seconds}s");
        command.args([
            "-t",
            "2",
            "-c",
            "200",
            "-d",
            &duration,
            "--latency",
            "--timeout",
            "5s",
        ]);
        if !keep_alive {
            command.args(["-H", "Connection: close"]);
        }
        let text = run(command.arg(format!("http://{address}{path}")))?;
        read_wrk(&text).with_context(|| format!("cannot read wrk:\n{text}"))
    }

    /// Measures a TCP stream and returns bits per second.
    ///
    /// # Errors
    /// When iperf3 fails, with its own reason.
    pub fn iperf(&self, target: SocketAddrV4, way: Way, seconds: u32) -> Result<f64> {
        // Between two tests the server closes its listener and opens it again; whoever connects in
        // that moment is reset.
        thread::sleep(Duration::from_millis(300));
        let mut command = self.client.command("iperf3");
        let (address, port) = (target.ip().to_string(), target.port().to_string());
        command.args([
            "-J",
            "-c",
            &address,
            "-p",
            &port,
            "-t",
            &seconds.to_string(),
        ]);
        command.args(["--connect-timeout", "3000"]);
        if way == Way::Down {
            command.arg("-R");
        }
        let output = command.output().context("cannot run iperf3")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let json: Value =
            serde_json::from_str(&text).with_context(|| format!("cannot read iperf3: {text}"))?;
        if let Some(error) = json.get("error") {
            bail!("iperf3: {error}");
        }
        json.pointer("/end/sum_received/bits_per_second")
            .and_then(Value::as_f64)
            .context("iperf3 gives no figure")
    }
}

fn read_wrk(text: &str) -> Option<WrkReport> {
    let after = |key: &str| {
        text.lines()
            .find_map(|line| line.trim().strip_prefix(key))
            .map(str::trim)
    };
    let sum = |line: &str| -> u64 {
        line.split(|c: char| !c.is_ascii_digit())
            .filter_map(|n| n.parse::<u64>().ok())
            .sum()
    };
    let requests = text.lines().find(|line| line.contains(" requests in "))?;
    Some(WrkReport {
        requests: requests.split_whitespace().next()?.parse().ok()?,
        per_second: after("Requests/sec:")?.parse().ok()?,
        errors: after("Socket errors:").map_or(0, sum)
            + after("Non-2xx or 3xx responses:").map_or(0, sum),
        latency_99: after("99%").unwrap_or("-").to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: &str = "Running 1s test @ http://10.80.0.100/\n  2 threads and 200 connections\n  \
        Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency     2.18ms    1.02ms  30.1ms\n  \
        Latency Distribution\n     50%    2.00ms\n     99%    5.94ms\n  \
        97531 requests in 1.10s, 21.39MB read\nRequests/sec:  88664.54\nTransfer/sec:     19.44MB\n";

    #[test]
    fn clean_run_has_no_errors() {
        let report = read_wrk(CLEAN).unwrap();
        assert_eq!((report.requests, report.errors), (97_531, 0));
        assert!((report.per_second - 88_664.54).abs() < 0.01);
        assert_eq!(report.latency_99, "5.94ms");
    }

    #[test]
    fn errors_of_every_kind_are_added() {
        let text = format!(
            "{CLEAN}  Socket errors: connect 1, read 20, write 300, timeout 4000\n  \
             Non-2xx or 3xx responses: 50000\n"
        );
        assert_eq!(read_wrk(&text).unwrap().errors, 54_321);
    }

    #[test]
    fn other_output_is_no_report() {
        assert_eq!(
            read_wrk("unable to connect to 10.80.0.100:80 Connection refused"),
            None
        );
    }
}
