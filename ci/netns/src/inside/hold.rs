//! Connections that stay open and stay busy.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::socket::{Failures, connect_from, count};

/// Connections to an echo server, opened one after the other and kept for a while.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hold {
    /// The echo server, or the service in front of it.
    pub target: SocketAddrV4,
    /// How many connections.
    pub count: u16,
    /// How long to keep them, in milliseconds.
    pub keep_ms: u64,
    /// The source address; none: the kernel's choice.
    pub source: Option<Ipv4Addr>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HoldReport {
    /// Connections that opened.
    pub opened: u64,
    /// Connections that did not open, by kind.
    pub refused: Failures,
    /// How long the slowest refusal took, in milliseconds.
    pub slowest_refusal_ms: f64,
    /// Connections that broke while they were kept, by kind.
    pub lost: Failures,
    /// Rounds in which every open connection echoed a byte.
    pub rounds: u64,
}

const LIMIT: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(50);

impl Hold {
    /// Opens the connections, keeps them busy and counts.
    #[must_use]
    pub fn run(&self) -> HoldReport {
        let mut report = HoldReport::default();
        let mut open = Vec::new();
        for _ in 0..self.count {
            let started = Instant::now();
            match connect_from(self.source, self.target, LIMIT) {
                Ok(stream) => open.push(stream),
                Err(error) => {
                    let took = started.elapsed().as_secs_f64() * 1e3;
                    report.slowest_refusal_ms = report.slowest_refusal_ms.max(took);
                    count(&mut report.refused, "connect", &error);
                }
            }
        }
        report.opened = open.len() as u64;
        let end = Instant::now() + Duration::from_millis(self.keep_ms);
        while Instant::now() < end {
            open.retain_mut(|stream| match echo(stream) {
                Ok(()) => true,
                Err(error) => {
                    count(&mut report.lost, "echo", &error);
                    false
                }
            });
            report.rounds += 1;
            thread::sleep(TICK);
        }
        report
    }
}

fn echo(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut byte = [0x5a];
    stream.write_all(&byte)?;
    stream.read_exact(&mut byte)
}
