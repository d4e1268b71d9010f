//! Bytes and datagrams there and back, compared.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddrV4, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::socket::connect_from;

/// A stream of bytes to a TCP echo server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bulk {
    /// The echo server, or the service in front of it.
    pub target: SocketAddrV4,
    /// How many bytes each way.
    pub bytes: u64,
}

/// What came of the bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BulkReport {
    /// Bytes that came back as they were sent.
    pub same: u64,
    /// Why it ended early, if it did.
    pub failure: Option<String>,
    /// The whole time in seconds.
    pub seconds: f64,
}

/// Datagrams to a UDP echo server, one after the other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Datagrams {
    /// The echo server, or the service in front of it.
    pub target: SocketAddrV4,
    /// How many datagrams.
    pub count: u64,
    /// The size of their payload.
    pub size: u16,
}

/// What came of the datagrams.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DatagramsReport {
    /// Datagrams that came back as they were sent.
    pub same: u64,
    /// Datagrams that did not come back within a second, or not the same.
    pub lost: u64,
    /// The slowest of those that came back, in milliseconds.
    pub slowest_ms: f64,
}

const LIMIT: Duration = Duration::from_secs(20);
const CHUNK: usize = 64 * 1024;

impl Bulk {
    /// Connects, sends and compares.
    ///
    /// # Errors
    /// When the connection cannot be made at all.
    pub fn run(&self) -> Result<BulkReport> {
        let started = Instant::now();
        let stream = connect_from(None, self.target, LIMIT)
            .with_context(|| format!("cannot connect to {}", self.target))?;
        let mut report = exchange(&stream, self.bytes)?;
        report.seconds = started.elapsed().as_secs_f64();
        Ok(report)
    }
}

/// Sends on one thread, compares on this one; leaves the connection open when all went well.
pub(super) fn exchange(mut stream: &TcpStream, bytes: u64) -> Result<BulkReport> {
    let mut sender = stream.try_clone().context("cannot share the connection")?;
    let sending = thread::spawn(move || -> std::io::Result<()> {
        let mut pattern = Pattern::default();
        let mut chunk = vec![0; CHUNK];
        let mut left = bytes;
        while left > 0 {
            let now = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let part = chunk.get_mut(..now).unwrap_or_default();
            pattern.fill(part);
            sender.write_all(part)?;
            left -= now as u64;
        }
        Ok(())
    });
    let mut report = BulkReport::default();
    let mut pattern = Pattern::default();
    let (mut got, mut wanted) = (vec![0; CHUNK], vec![0; CHUNK]);
    while report.same < bytes && report.failure.is_none() {
        match stream.read(&mut got) {
            Ok(0) => report.failure = Some("closed early".to_owned()),
            Ok(length) => {
                let wanted = wanted.get_mut(..length).unwrap_or_default();
                pattern.fill(wanted);
                if got.get(..length) == Some(wanted) {
                    report.same += length as u64;
                } else {
                    report.failure = Some(format!("other bytes after {}", report.same));
                }
            }
            Err(error) => report.failure = Some(error.to_string()),
        }
    }
    if report.failure.is_some() {
        // Lets the sender's write fail instead of waiting for an echo that nobody reads.
        stream.shutdown(std::net::Shutdown::Both).ok();
    }
    if let (None, Ok(Err(error))) = (&report.failure, sending.join()) {
        report.failure = Some(error.to_string());
    }
    Ok(report)
}

impl Datagrams {
    /// Sends, waits for the echo, compares.
    ///
    /// # Errors
    /// When no socket can be made.
    pub fn run(&self) -> Result<DatagramsReport> {
        let socket = UdpSocket::bind("0.0.0.0:0").context("cannot make a socket")?;
        socket
            .connect(self.target)
            .context("cannot connect the socket")?;
        socket
            .set_read_timeout(Some(Duration::from_secs(1)))
            .context("cannot set the time limit")?;
        let mut report = DatagramsReport::default();
        let mut pattern = Pattern::default();
        let mut sent = vec![0; usize::from(self.size)];
        let mut got = vec![0; 65_536];
        for _ in 0..self.count {
            pattern.fill(&mut sent);
            let started = Instant::now();
            let length = socket
                .send(&sent)
                .and_then(|_| socket.recv(&mut got))
                .unwrap_or_default();
            if got.get(..length) == Some(&sent) {
                report.same += 1;
                let took = started.elapsed().as_secs_f64() * 1e3;
                report.slowest_ms = report.slowest_ms.max(took);
            } else {
                report.lost += 1;
            }
        }
        Ok(report)
    }
}

/// Bytes that repeat so late that a lost or swapped segment shows.
#[derive(Debug)]
pub struct Pattern {
    state: u64,
    word: [u8; 8],
    used: usize,
}

impl Default for Pattern {
    fn default() -> Self {
        Self {
            state: 0x9e37_79b9_7f4a_7c15,
            word: [0; 8],
            used: 8,
        }
    }
}

impl Pattern {
    /// Fills `out` with the bytes that follow those of the last call.
    pub fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            if self.used == self.word.len() {
                // xorshift64: fast, and every position is different.
                self.state ^= self.state << 13;
                self.state ^= self.state >> 7;
                self.state ^= self.state << 17;
                self.word = self.state.to_ne_bytes();
                self.used = 0;
            }
            *byte = self.word.get(self.used).copied().unwrap_or_default();
            self.used += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_does_not_depend_on_how_it_is_cut() {
        let (mut whole, mut cut) = (vec![0; 1000], vec![0; 1000]);
        Pattern::default().fill(&mut whole);
        let mut pattern = Pattern::default();
        for part in cut.chunks_mut(7) {
            pattern.fill(part);
        }
        assert_eq!(whole, cut);
        assert_ne!(whole.get(..500), whole.get(500..));
    }

    #[test]
    fn bytes_that_come_back_changed_are_not_counted() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let std::net::SocketAddr::V4(target) = listener.local_addr().unwrap() else {
            panic!()
        };
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = vec![0; CHUNK];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                buffer[0] ^= 1;
                if stream.write_all(&buffer[..length]).is_err() {
                    return;
                }
            }
        });
        let report = Bulk {
            target,
            bytes: 1 << 20,
        }
        .run()
        .unwrap();
        assert_eq!(report.same, 0, "{report:?}");
        assert!(
            report
                .failure
                .is_some_and(|why| why.starts_with("other bytes"))
        );
    }
}
