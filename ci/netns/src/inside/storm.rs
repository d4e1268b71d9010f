//! Many short connections that the server closes first.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::servers::BANNER;
use super::socket::{Failures, connect_from, count, merge};

/// Connections to open in a row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Storm {
    /// The banner server, or the service in front of it.
    pub target: SocketAddrV4,
    /// How many connections in all.
    pub count: u64,
    /// How many at a time.
    pub concurrency: u16,
    /// Source addresses, used in turn; empty: the kernel's choice.
    pub sources: Vec<Ipv4Addr>,
    /// After this many seconds, what has not been tried counts as failed.
    pub within_s: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StormReport {
    /// Connections that got the whole greeting and an orderly end.
    pub ok: u64,
    /// Connections that failed, by kind.
    pub failures: Failures,
    /// Connections that took longer than 200 ms to open: a lost or refused SYN was sent again.
    pub slow: u64,
    /// The slowest opening in milliseconds.
    pub slowest_ms: f64,
    /// The whole time in seconds.
    pub seconds: f64,
}

const LIMIT: Duration = Duration::from_secs(5);
const SLOW_MS: f64 = 200.0;

impl StormReport {
    /// Returns the number of connections that failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Returns the connections per second that went well.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a storm has far fewer than 2^52 connections"
    )]
    pub fn per_second(&self) -> f64 {
        self.ok as f64 / self.seconds
    }
}

impl Storm {
    /// Opens the connections and counts.
    #[must_use]
    pub fn run(&self) -> StormReport {
        let started = Instant::now();
        let next = AtomicU64::new(0);
        let reports: Vec<StormReport> = thread::scope(|scope| {
            let threads: Vec<_> = (0..self.concurrency)
                .map(|_| scope.spawn(|| self.blow(&next, started)))
                .collect();
            threads
                .into_iter()
                .filter_map(|thread| thread.join().ok())
                .collect()
        });
        let mut report = StormReport::default();
        for one in reports {
            report.ok += one.ok;
            merge(&mut report.failures, one.failures);
            report.slow += one.slow;
            report.slowest_ms = report.slowest_ms.max(one.slowest_ms);
        }
        report.seconds = started.elapsed().as_secs_f64();
        report
    }

    fn blow(&self, next: &AtomicU64, began: Instant) -> StormReport {
        let mut report = StormReport::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= self.count {
                return report;
            }
            if began.elapsed().as_secs() >= self.within_s {
                *report.failures.entry("not tried".to_owned()).or_default() += 1;
                continue;
            }
            let turn = number
                .checked_rem(self.sources.len() as u64)
                .unwrap_or_default();
            let source = self.sources.get(turn as usize).copied();
            let started = Instant::now();
            let mut stream = match connect_from(source, self.target, LIMIT) {
                Ok(stream) => stream,
                Err(error) => {
                    count(&mut report.failures, "connect", &error);
                    continue;
                }
            };
            let opening = started.elapsed().as_secs_f64() * 1e3;
            report.slowest_ms = report.slowest_ms.max(opening);
            report.slow += u64::from(opening > SLOW_MS);
            let mut greeting = Vec::with_capacity(BANNER.len());
            match stream.read_to_end(&mut greeting) {
                Ok(_) if greeting == BANNER => report.ok += 1,
                Ok(_) => {
                    let short = "short greeting".to_owned();
                    *report.failures.entry(short).or_default() += 1;
                }
                Err(error) => count(&mut report.failures, "greeting", &error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{SocketAddr, TcpListener};

    use super::*;

    fn serve(greeting: &'static [u8]) -> SocketAddrV4 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            panic!()
        };
        thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                stream.write_all(greeting).unwrap();
            }
        });
        address
    }

    fn blow(target: SocketAddrV4) -> StormReport {
        let sources = vec![Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2)];
        let count = 50;
        Storm {
            target,
            count,
            concurrency: 3,
            sources,
            within_s: 20,
        }
        .run()
    }

    #[test]
    fn every_whole_greeting_is_counted_once() {
        let report = blow(serve(BANNER));
        assert_eq!((report.ok, report.failed()), (50, 0), "{report:?}");
    }

    #[test]
    fn cut_greeting_is_a_failure() {
        let report = blow(serve(b"220"));
        assert_eq!((report.ok, report.failed()), (0, 50), "{report:?}");
        assert_eq!(report.failures.get("short greeting"), Some(&50));
    }
}
