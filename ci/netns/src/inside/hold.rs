//! Connections that stay open and stay busy.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::PathBuf;
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
    /// They are let go before that as soon as this file is there.
    pub until: Option<PathBuf>,
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
        let enough = || self.until.as_ref().is_some_and(|file| file.exists());
        loop {
            // Asked before the last round: what was lost until then is noticed in it.
            let is_last = Instant::now() >= end || enough();
            open.retain_mut(|stream| match echo(stream) {
                Ok(()) => true,
                Err(error) => {
                    count(&mut report.lost, "echo", &error);
                    false
                }
            });
            report.rounds += 1;
            if is_last {
                return report;
            }
            thread::sleep(TICK);
        }
    }
}

fn echo(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut byte = [0x5a];
    stream.write_all(&byte)?;
    stream.read_exact(&mut byte)
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::*;

    #[test]
    fn connections_that_break_are_counted_as_lost_and_the_others_stay() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(target) = listener.local_addr().unwrap() else {
            panic!()
        };
        thread::spawn(move || {
            for number in 0.. {
                let Ok((mut stream, _)) = listener.accept() else {
                    return;
                };
                let echoes = if number == 0 { 1 } else { usize::MAX };
                thread::spawn(move || {
                    for _ in 0..echoes {
                        if echo_back(&mut stream).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        let hold = Hold {
            target,
            count: 3,
            keep_ms: 400,
            until: None,
            source: None,
        };
        let report = hold.run();
        assert_eq!((report.opened, report.refused.len()), (3, 0), "{report:?}");
        assert_eq!(report.lost.values().sum::<u64>(), 1, "{report:?}");
        assert!(report.rounds >= 2, "{report:?}");
    }

    fn echo_back(stream: &mut TcpStream) -> std::io::Result<()> {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        stream.write_all(&byte)
    }
}
