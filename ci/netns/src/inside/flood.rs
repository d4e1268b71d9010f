//! Floods from random sources, made by an XDP program on live frames: faster than any socket.
//!
//! The sources lie in 16.0.0.0/4. Answers to them are counted and dropped where they arrive, so no
//! host ever says that they do not exist; the clients' own traffic passes.

mod frame;
mod program;

use std::net::SocketAddrV4;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use netmap_io::ethtool;
use serde::{Deserialize, Serialize};

use frame::Template;
use program::{Sink, Source};

/// The first octet of the flood's network, a /4.
const NETWORK: u8 = 0x10;

/// What a flood consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Vector {
    /// SYNs as Linux, Windows, macOS and small devices send them.
    Syn,
    /// ACKs of nothing.
    Ack,
    /// FINs of nothing.
    Fin,
    /// RSTs of nothing.
    Rst,
    /// Datagrams to the UDP port of the same number.
    Udp,
    /// Pieces of datagrams that never become whole.
    Fragments,
}

impl Vector {
    /// Every vector.
    pub const ALL: [Self; 6] = [
        Self::Syn,
        Self::Ack,
        Self::Fin,
        Self::Rst,
        Self::Udp,
        Self::Fragments,
    ];
}

/// A flood of bounded rate and length.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Flood {
    /// The device that it leaves by; answers come back there.
    pub link: String,
    /// The Ethernet address of the next hop.
    pub next_hop: [u8; 6],
    /// The service under attack.
    pub target: SocketAddrV4,
    /// What it consists of, in equal shares.
    pub vectors: Vec<Vector>,
    /// Bursts one after the other.
    pub bursts: Vec<Burst>,
}

/// A part of a flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Burst {
    /// Milliseconds of silence before it.
    pub after_ms: u64,
    /// Frames per second; 0: as many as there can be.
    pub rate: u32,
    /// Its length in milliseconds.
    pub ms: u64,
}

/// What came of a flood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FloodReport {
    /// Frames sent.
    pub sent: u64,
    /// SYN-ACKs that came back.
    pub syn_acks: u64,
    /// RSTs that came back.
    pub resets: u64,
    /// Anything else that came back.
    pub others: u64,
    /// The length of the bursts in seconds, as measured.
    pub seconds: f64,
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a flood has far fewer than 2^52 frames"
)]
impl FloodReport {
    /// Returns the frames sent per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.sent as f64 / self.seconds
    }

    /// Returns the share of the frames that a SYN-ACK answered.
    #[must_use]
    pub fn answered(&self) -> f64 {
        self.syn_acks as f64 / self.sent.max(1) as f64
    }
}

/// What a flood prints when its answers are counted and it is about to begin.
pub const ARMED: &str = "armed";

/// The idle devices that a flood of every vector needs.
pub const IDLE_LINKS: u8 = 10;

/// Returns the name of an idle device that a flood needs.
#[must_use]
pub fn idle_link(number: u8) -> String {
    format!("idle{number}")
}

/// Frames that one call sends at most: a quarter of what the rings behind the device hold.
const CALL: u64 = 512;
/// Frames worth a call.
const WORTH: u64 = 16;
const TICK: Duration = Duration::from_micros(100);
/// How long answers may be under way after the last frame.
const GRACE: Duration = Duration::from_millis(200);

impl Flood {
    /// Sends the flood and counts the answers.
    ///
    /// # Errors
    /// When the device is missing or the kernel refuses a program.
    pub fn run(&self) -> Result<FloodReport> {
        let facts = ethtool::facts(&self.link)
            .map_err(|errno| anyhow::anyhow!("{}: {}", self.link, errno.desc()))?;
        let seed = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .context("the clock stands before 1970")?
            .as_micros() as u64;
        let macs = (self.next_hop, facts.mac);
        let mut number = 0;
        let mut sources = Vec::new();
        for vector in &self.vectors {
            let mut group = Vec::new();
            for template in Template::of(*vector, macs, self.target) {
                let idle = ethtool::facts(&idle_link(number))
                    .map_err(|errno| anyhow::anyhow!("{}: {}", idle_link(number), errno.desc()))?;
                let seed = seed.wrapping_add(u64::from(number) << 56);
                group.push(Source::load(
                    template,
                    facts.ifindex,
                    seed,
                    Some(idle.ifindex),
                )?);
                number += 1;
            }
            sources.push(group);
        }
        ensure!(!sources.is_empty(), "a flood of nothing");
        let count = || -> u64 {
            let counts = sources.iter().flatten().map(Source::count);
            counts.fold(0, u64::wrapping_add)
        };
        let sink = Sink::open(facts.ifindex)?;
        println!("{ARMED}");
        let before = count();
        let mut report = FloodReport::default();
        for burst in &self.bursts {
            thread::sleep(Duration::from_millis(burst.after_ms));
            report.seconds += send(&sources, *burst)?;
        }
        thread::sleep(GRACE);
        let answers = sink.answers();
        report.sent = count().wrapping_sub(before);
        report.syn_acks = answers.syn_acks;
        report.resets = answers.resets;
        report.others = answers.others;
        Ok(report)
    }
}

/// Sends one burst, the vectors in turn and the templates of each in turn; returns its length.
fn send(sources: &[Vec<Source>], burst: Burst) -> Result<f64> {
    let length = Duration::from_millis(burst.ms);
    let started = Instant::now();
    let mut sent = 0;
    let mut turn = 0_usize;
    loop {
        let elapsed = started.elapsed();
        if elapsed >= length {
            return Ok(elapsed.as_secs_f64());
        }
        let due = match u128::from(burst.rate) {
            0 => CALL,
            rate => ((elapsed.as_micros() * rate / 1_000_000) as u64).saturating_sub(sent),
        };
        if due < WORTH {
            thread::sleep(TICK);
            continue;
        }
        let now = due.min(CALL);
        // What a sender that was held up owes is forgotten: a late flood must not become a burst.
        sent += now.max(due.saturating_sub(CALL * 4));
        let group = sources
            .get(turn % sources.len())
            .map_or(&[][..], Vec::as_slice);
        let within = turn / sources.len() % group.len().max(1);
        if let Some(source) = group.get(within) {
            source.send(now as u32)?;
        }
        turn += 1;
    }
}
