//! Datagrams to an echo server, one at a time: how long each takes, and when answers come again.

use std::net::{SocketAddrV4, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Datagrams to send one after the other, each when the answer to the one before has come.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PingPong {
    /// The echo server, or the service in front of it.
    pub target: SocketAddrV4,
    /// How many.
    pub count: u32,
    /// Microseconds between an answer and the next datagram.
    pub pause_us: u64,
}

/// How long the answers took, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PingReport {
    /// Half of them came sooner.
    pub p50: f64,
    /// 99 of 100 came sooner.
    pub p99: f64,
    /// 999 of 1,000 came sooner.
    pub p999: f64,
    /// The last one.
    pub max: f64,
    /// Datagrams without an answer within a second.
    pub lost: u32,
}

const LIMIT: Duration = Duration::from_secs(1);
/// Answers are looked for so often.
const PAUSE: Duration = Duration::from_micros(50);
/// The first ones find caches cold and neighbours unknown.
const WARM_UP: u32 = 100;

impl PingPong {
    /// Sends the datagrams and takes the times.
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub fn run(&self) -> Result<PingReport> {
        let socket = connected(self.target, LIMIT)?;
        let mut times = Vec::with_capacity(self.count as usize);
        let mut lost = 0;
        let mut answer = [0; 64];
        for number in 0..self.count + WARM_UP {
            if self.pause_us > 0 {
                thread::sleep(Duration::from_micros(self.pause_us));
            }
            let question = u64::from(number).to_ne_bytes();
            let asked = Instant::now();
            let heard = socket.send(&question).is_ok() && hear(&socket, question, &mut answer);
            let took = asked.elapsed();
            if number >= WARM_UP {
                if heard {
                    times.push(took.as_secs_f64() * 1e6);
                } else {
                    lost += 1;
                }
            }
        }
        times.sort_by(f64::total_cmp);
        Ok(PingReport {
            p50: share(&times, 500),
            p99: share(&times, 990),
            p999: share(&times, 999),
            max: times.last().copied().unwrap_or_default(),
            lost,
        })
    }
}

/// Waits for the answer to one question; answers to earlier ones are passed over.
fn hear(socket: &UdpSocket, question: [u8; 8], answer: &mut [u8]) -> bool {
    loop {
        match socket.recv(answer) {
            Ok(length) if answer.get(..length) == Some(&question) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

/// Returns the value that so many of 1,000 do not reach.
fn share(sorted: &[f64], of_1000: usize) -> f64 {
    let at = (sorted.len() * of_1000 / 1_000).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

/// Datagrams at a steady pace, whatever becomes of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The echo server, or the service in front of it.
    pub target: SocketAddrV4,
    /// Microseconds between two.
    pub every_us: u64,
    /// How long, in milliseconds.
    pub ms: u64,
}

/// When answers came, in nanoseconds of the system's monotonic clock.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HeartbeatReport {
    /// The time of each answer.
    pub answers: Vec<u64>,
}

impl Heartbeat {
    /// Sends the datagrams and notes when answers come.
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub fn run(&self) -> Result<HeartbeatReport> {
        let socket = connected(self.target, LIMIT)?;
        // The kernel rounds a time limit of a socket up to whole ticks.
        socket.set_nonblocking(true).context("no such socket")?;
        let began = Instant::now();
        let mut report = HeartbeatReport::default();
        let (mut sent, mut answer) = (0_u32, [0; 64]);
        while began.elapsed() < Duration::from_millis(self.ms) {
            if began.elapsed() >= Duration::from_micros(self.every_us) * sent {
                // Refused while nobody is there: the next one may be heard.
                let _ = socket.send(&[0; 8]);
                sent += 1;
            }
            while let Ok(1..) = socket.recv(&mut answer) {
                report.answers.push(monotonic_ns());
            }
            thread::sleep(PAUSE);
        }
        Ok(report)
    }
}

/// Returns the time of the clock that all processes share.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC);
    time.map_or(0, |time| Duration::from(time).as_nanos() as u64)
}

fn connected(target: SocketAddrV4, limit: Duration) -> Result<UdpSocket> {
    let socket = UdpSocket::bind("0.0.0.0:0").context("no socket")?;
    socket.connect(target).context("cannot aim the socket")?;
    socket
        .set_read_timeout(Some(limit))
        .context("no time limit")?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn echo() -> SocketAddrV4 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(address) = socket.local_addr().unwrap() else {
            panic!()
        };
        thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                socket.send_to(&buffer[..length], from).unwrap();
            }
        });
        address
    }

    #[test]
    fn every_question_is_timed() {
        let report = PingPong {
            target: echo(),
            count: 200,
            pause_us: 0,
        }
        .run()
        .unwrap();
        assert_eq!(report.lost, 0);
        assert!(0.0 < report.p50 && report.p50 <= report.p99 && report.p99 <= report.p999);
        assert!(report.p999 <= report.max);
    }

    #[test]
    fn answers_are_noted_in_the_order_of_their_coming() {
        let began = monotonic_ns();
        let report = Heartbeat {
            target: echo(),
            every_us: 500,
            ms: 50,
        }
        .run()
        .unwrap();
        assert!(report.answers.len() > 5, "{report:?}");
        assert!(report.answers.is_sorted());
        assert!(report.answers.first() > Some(&began));
    }
}
