//! New connections at a steady pace, each timed: how a service feels to its clients.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::socket::{Failures, connect_from, count, merge};

/// Connections to an echo server, begun at equal distances whatever became of those before.
///
/// The client speaks first, as those of HTTP and TLS do: where the handshake's ACK is lost behind a
/// cookie, nobody but the client can know, and its request, sent again, completes the handshake.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Connect {
    /// The echo server, or the service in front of it.
    pub target: SocketAddrV4,
    /// New connections per second.
    pub per_second: u32,
    /// How long to begin new ones, in milliseconds.
    pub ms: u64,
    /// Source addresses, used in turn; empty: the kernel's choice.
    pub sources: Vec<Ipv4Addr>,
}

/// What came of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConnectReport {
    /// Connections begun.
    pub begun: u64,
    /// Connections whose words came back and that ended in order.
    pub ok: u64,
    /// Connections that failed, by kind.
    pub failures: Failures,
    /// Connections begun more than 50 ms late, because this client was busy or held up.
    pub late: u64,
    /// Milliseconds from `connect` to its return.
    pub handshake: Quantiles,
    /// Milliseconds from `connect` to the first byte.
    pub first_byte: Quantiles,
}

/// How a time is distributed, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Half of them took no longer.
    pub p50: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
    /// None took longer.
    pub max: f64,
}

/// Long enough for two retransmissions of a SYN: after one and three seconds.
const LIMIT: Duration = Duration::from_secs(5);
/// Connections under way at the same time at most.
const THREADS: usize = 192;
const STACK: usize = 128 << 10;
const WORDS: &[u8] = b"is anybody there?";
const LATE: Duration = Duration::from_millis(50);

impl ConnectReport {
    /// Returns the share of the connections that went well.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a client opens far fewer than 2^52 connections"
    )]
    pub fn success(&self) -> f64 {
        self.ok as f64 / self.begun.max(1) as f64
    }
}

/// The times of one thread.
#[derive(Default)]
struct Times {
    report: ConnectReport,
    handshakes: Vec<f64>,
    first_bytes: Vec<f64>,
}

impl Connect {
    /// Opens the connections and measures.
    ///
    /// # Errors
    /// When the threads cannot be made.
    pub fn run(&self) -> Result<ConnectReport> {
        let planned = u64::from(self.per_second) * self.ms / 1000;
        let next = AtomicU64::new(0);
        let started = Instant::now();
        let parts: Vec<Times> = thread::scope(|scope| {
            let threads: Result<Vec<_>, _> = (0..THREADS)
                .map(|_| {
                    thread::Builder::new()
                        .stack_size(STACK)
                        .spawn_scoped(scope, || self.work(&next, planned, started))
                })
                .collect();
            let threads = threads.context("cannot start the clients' threads")?;
            let parts = threads.into_iter().filter_map(|thread| thread.join().ok());
            anyhow::Ok(parts.collect())
        })?;
        let mut report = ConnectReport::default();
        let (mut handshakes, mut first_bytes) = (Vec::new(), Vec::new());
        for part in parts {
            report.begun += part.report.begun;
            report.ok += part.report.ok;
            report.late += part.report.late;
            merge(&mut report.failures, part.report.failures);
            handshakes.extend(part.handshakes);
            first_bytes.extend(part.first_bytes);
        }
        report.handshake = quantiles(&mut handshakes);
        report.first_byte = quantiles(&mut first_bytes);
        Ok(report)
    }

    fn work(&self, next: &AtomicU64, planned: u64, started: Instant) -> Times {
        let mut times = Times::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= planned {
                return times;
            }
            let due = Duration::from_micros(number * 1_000_000 / u64::from(self.per_second.max(1)));
            thread::sleep(due.saturating_sub(started.elapsed()));
            times.report.late += u64::from(started.elapsed() > due + LATE);
            times.report.begun += 1;
            if let Err((stage, error)) = self.one(number, &mut times) {
                count(&mut times.report.failures, stage, &error);
            }
        }
    }

    fn one(&self, number: u64, times: &mut Times) -> Result<(), (&'static str, std::io::Error)> {
        let turn = number
            .checked_rem(self.sources.len() as u64)
            .unwrap_or_default();
        let source = self.sources.get(turn as usize).copied();
        let began = Instant::now();
        let mut stream = connect_from(source, self.target, LIMIT).map_err(|e| ("connect", e))?;
        times.handshakes.push(milliseconds(began));
        stream.write_all(WORDS).map_err(|e| ("request", e))?;
        let mut answer = [0; WORDS.len()];
        let (first, rest) = answer.split_at_mut(1);
        stream.read_exact(first).map_err(|e| ("first byte", e))?;
        times.first_bytes.push(milliseconds(began));
        stream.read_exact(rest).map_err(|e| ("answer", e))?;
        if answer != WORDS {
            return Err(("answer", std::io::Error::other("other bytes came")));
        }
        stream.shutdown(Shutdown::Write).map_err(|e| ("end", e))?;
        match stream.read(&mut [0]) {
            Ok(0) => times.report.ok += 1,
            Ok(_) => return Err(("end", std::io::Error::other("more bytes came"))),
            Err(error) => return Err(("end", error)),
        }
        Ok(())
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn quantiles(times: &mut [f64]) -> Quantiles {
    times.sort_by(f64::total_cmp);
    let at = |per_mille: usize| {
        let place = (times.len() * per_mille).div_ceil(1000).max(1) - 1;
        times.get(place).copied().unwrap_or_default()
    };
    Quantiles {
        p50: at(500),
        p99: at(990),
        max: at(1000),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::*;

    #[test]
    fn quantiles_are_the_times_that_a_share_does_not_exceed() {
        let mut times: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        let found = quantiles(&mut times);
        let expected = Quantiles {
            p50: 100.0,
            p99: 198.0,
            max: 200.0,
        };
        assert_eq!(found, expected);
        assert_eq!(quantiles(&mut []), Quantiles::default());
    }

    #[test]
    fn connections_are_begun_at_their_pace_and_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(target) = listener.local_addr().unwrap() else {
            panic!()
        };
        thread::spawn(move || {
            for number in 0.. {
                let Ok((mut stream, _)) = listener.accept() else {
                    return;
                };
                let mut heard = [0; WORDS.len()];
                stream.read_exact(&mut heard).unwrap();
                let wanted = if number % 10 == 0 { 3 } else { heard.len() };
                stream.write_all(&heard[..wanted]).unwrap();
            }
        });
        let connect = Connect {
            target,
            per_second: 100,
            ms: 500,
            sources: Vec::new(),
        };
        let started = Instant::now();
        let report = connect.run().unwrap();
        assert!(started.elapsed() >= Duration::from_millis(480));
        assert_eq!((report.begun, report.ok), (50, 45), "{report:?}");
        assert_eq!(report.failures.values().sum::<u64>(), 5, "{report:?}");
        assert!(report.handshake.p50 <= report.first_byte.p50, "{report:?}");
    }
}
