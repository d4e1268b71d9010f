//! Which TCP options both ends of a connection use, for every setting of the client's kernel.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::net::{SocketAddrV4, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::socket::connect_from;
use super::transfer::exchange;
use crate::command::{run, words};

/// What a kernel may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ability {
    /// Selective acknowledgements.
    pub sack: bool,
    /// Window scaling.
    pub wscale: bool,
    /// Timestamps.
    pub timestamps: bool,
}

impl Ability {
    /// Returns every combination, by number from 0 to 7.
    #[must_use]
    pub fn all() -> [Self; 8] {
        [0, 1, 2, 3, 4, 5, 6, 7].map(|bits| Self {
            sack: bits & 1 != 0,
            wscale: bits & 2 != 0,
            timestamps: bits & 4 != 0,
        })
    }

    /// Returns what two ends can do together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            sack: self.sack && other.sack,
            wscale: self.wscale && other.wscale,
            timestamps: self.timestamps && other.timestamps,
        }
    }

    /// Returns the kernel's switches for it, below `/proc/sys`, and their values.
    #[must_use]
    pub fn sysctls(self) -> [(&'static str, &'static str); 3] {
        let value = |on| if on { "1" } else { "0" };
        [
            ("net/ipv4/tcp_sack", value(self.sack)),
            ("net/ipv4/tcp_window_scaling", value(self.wscale)),
            ("net/ipv4/tcp_timestamps", value(self.timestamps)),
        ]
    }
}

impl fmt::Display for Ability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = |on, name| if on { name } else { "-" };
        write!(
            f,
            "{} {} {}",
            flag(self.sack, "sack"),
            flag(self.wscale, "wscale"),
            flag(self.timestamps, "ts")
        )
    }
}

/// Cells of a matrix to try.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Options {
    /// The client's settings and the number of a target, one pair per cell.
    pub cells: Vec<(Ability, usize)>,
    /// The echo services.
    pub targets: Vec<Target>,
    /// Bytes each way.
    pub bytes: u64,
}

/// An echo service with one real server behind it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Target {
    /// The service.
    pub service: SocketAddrV4,
    /// The namespace of the real server.
    pub namespace: String,
    /// The port of the real server.
    pub port: u16,
}

/// What came of one cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellReport {
    /// The client's settings.
    pub client: Ability,
    /// The number of the target.
    pub target: usize,
    /// Why the bytes did not come back as they were, if so.
    pub failure: Option<String>,
    /// What the client's end uses.
    pub at_client: Used,
    /// What the real server's end uses.
    pub at_real: Used,
}

/// What `ss -i` says about one end of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// The options in use.
    pub ability: Ability,
    /// The window scale of what it sends to, and its own; equal to 0 without.
    pub scales: (u8, u8),
    /// The size of the segments that it sends.
    pub mss: u16,
}

const LIMIT: Duration = Duration::from_secs(5);

impl Options {
    /// Tries the cells one after the other, and leaves the last setting.
    ///
    /// # Errors
    /// When the kernel's switches cannot be set; connections that fail are in the report.
    pub fn run(&self) -> Result<Vec<CellReport>> {
        let mut reports = Vec::new();
        let mut set = None;
        for (client, number) in &self.cells {
            if set != Some(*client) {
                for (key, value) in client.sysctls() {
                    let file = format!("/proc/sys/{key}");
                    fs::write(&file, value).with_context(|| format!("cannot set {file}"))?;
                }
                set = Some(*client);
            }
            let target = self.targets.get(*number).context("no such target")?;
            let mut report = CellReport {
                client: *client,
                target: *number,
                failure: None,
                at_client: Used::default(),
                at_real: Used::default(),
            };
            if let Err(error) = self.one(target, &mut report) {
                report.failure = Some(format!("{error:#}"));
            }
            reports.push(report);
        }
        Ok(reports)
    }

    fn one(&self, target: &Target, report: &mut CellReport) -> Result<()> {
        let stream = connect_from(None, target.service, LIMIT).context("connect")?;
        let echoed = exchange(&stream, self.bytes)?;
        if let Some(failure) = echoed.failure {
            bail!("{failure}, {} of {} bytes came", echoed.same, self.bytes);
        }
        let mine = local_port(&stream)?;
        report.at_client = used("ss", mine)?;
        let there = format!("ip netns exec {} ss", target.namespace);
        report.at_real = used(&there, target.port)?;
        Ok(())
    }
}

fn local_port(stream: &TcpStream) -> Result<u16> {
    Ok(stream.local_addr().context("no local address")?.port())
}

/// Asks for the one established connection of a port.
fn used(ss: &str, port: u16) -> Result<Used> {
    // Without `-e` it leaves SACK and timestamps out.
    let line = format!("{ss} -tineHO state established sport = :{port}");
    let mut text = String::new();
    for _ in 0..50 {
        text = run(&mut words(&line))?;
        if text.lines().count() == 1 {
            return read(&text).with_context(|| format!("cannot read `{text}`"));
        }
        // The connection before this one is still being closed.
        thread::sleep(Duration::from_millis(10));
    }
    bail!("not one connection but: {text}")
}

fn read(text: &str) -> Option<Used> {
    let words: BTreeSet<&str> = text.split_whitespace().collect();
    let after = |key: &str| words.iter().find_map(|word| word.strip_prefix(key));
    let scales = after("wscale:").and_then(|pair| {
        let (peer, own) = pair.split_once(',')?;
        Some((peer.parse().ok()?, own.parse().ok()?))
    });
    Some(Used {
        ability: Ability {
            sack: words.contains("sack"),
            wscale: scales.is_some(),
            timestamps: words.contains("ts"),
        },
        scales: scales.unwrap_or_default(),
        mss: after("mss:")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_of_ss_is_read() {
        let text = "0 0 10.80.0.11:4000 10.80.0.100:7 ts sack cubic wscale:9,7 rto:201 rtt:0.1/0.05 mss:1428 pmtu:1500 rcvmss:536 advmss:1448 cwnd:10\n";
        let used = read(text).unwrap();
        assert_eq!((used.scales, used.mss), ((9, 7), 1428));
        assert_eq!(used.ability, Ability::all()[7]);
        let bare = read("0 0 a:1 b:2 cubic rto:201 mss:1460 advmss:1460").unwrap();
        assert_eq!(bare.ability, Ability::default());
        assert!(read("").is_none());
    }

    #[test]
    fn eight_settings_differ_and_combine() {
        let all = Ability::all();
        let different: BTreeSet<Ability> = all.into_iter().collect();
        assert_eq!(different.len(), 8);
        assert_eq!(all[5].and(all[6]), all[4]);
    }
}
