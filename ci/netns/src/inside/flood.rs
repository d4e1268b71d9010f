//! Floods from random sources, made by an XDP program on live frames: faster than any socket.
//!
//! The sources lie in 16.0.0.0/4. Answers to them are counted and dropped where they arrive, so no
//! host ever says that they do not exist; the clients' own traffic passes.

mod frame;
mod program;
mod socket;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd as _;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use netmap_io::ethtool;
use nix::sched::{CloneFlags, setns};
use serde::{Deserialize, Serialize};

use crate::cores::{Cost, Watch, move_to};
use frame::Template;
use program::{Flows, Sink, Source, What};
use socket::Socket;

/// The first octet of the flood's network, a /4.
const NETWORK: u8 = 0x10;

/// Tells whether an address is one of those that floods come from.
#[must_use]
pub fn is_source(address: Ipv4Addr) -> bool {
    address.octets()[0] & 0xf0 == NETWORK
}

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
    /// The sources come again after two to the power of this many frames; none: never.
    pub flows: Option<u8>,
    /// The cores that send in turn; empty: the one that the process is on.
    pub cores: Vec<usize>,
    /// Frames that a paced burst sends at once, at least.
    pub grain: u32,
    /// Frames that a paced burst sends at once, at most, and that it makes up for when it was held
    /// up.
    pub debt: u32,
    /// Whether an ordinary socket sends it, which takes more time for each frame, but none in one go
    /// that others on the core would notice. Datagrams of flows only.
    pub by_socket: bool,
    /// Where what is forwarded is counted and dropped, if anywhere.
    pub behind: Option<Behind>,
    /// What the load balancer consists of, to tell what it costs.
    pub watch: Option<Watch>,
}

/// A device behind the load balancer, which receives what it forwards to a port.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Behind {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub link: String,
    /// The port, of any protocol.
    pub port: u16,
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
    /// Frames that were forwarded and counted behind the load balancer.
    pub forwarded: u64,
    /// The length of the bursts in seconds, as measured.
    pub seconds: f64,
    /// What the load balancer spent meanwhile.
    pub cost: Cost,
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

    /// Returns the frames per second that were answered or forwarded.
    #[must_use]
    pub fn handled(&self) -> f64 {
        (self.syn_acks + self.forwarded) as f64 / self.seconds
    }

    /// Returns the load balancer's nanoseconds per frame that was answered or forwarded.
    #[must_use]
    pub fn per_frame(&self) -> f64 {
        self.cost.threads_ns as f64 / (self.syn_acks + self.forwarded).max(1) as f64
    }

    /// Returns the busy time of the load balancer's core per frame, whoever was busy.
    #[must_use]
    pub fn core_per_frame(&self) -> f64 {
        self.cost.core_ns as f64 / (self.syn_acks + self.forwarded).max(1) as f64
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
pub const GRAIN: u32 = 16;
/// What a flood that was held up makes up for.
pub const DEBT: u32 = 2_048;
const TICK: Duration = Duration::from_micros(100);
/// How long answers may be under way after the last frame.
const GRACE: Duration = Duration::from_millis(200);
/// How long what is under way may take where each burst is a figure of its own.
const SETTLE: Duration = Duration::from_millis(30);

impl Flood {
    /// Sends the flood and counts the answers, of all bursts together.
    ///
    /// # Errors
    /// When the device is missing or the kernel refuses a program.
    pub fn run(&self) -> Result<FloodReport> {
        let generator = self.arm()?;
        let before = generator.count();
        let mut report = FloodReport::default();
        for burst in &self.bursts {
            thread::sleep(Duration::from_millis(burst.after_ms));
            report.seconds += self.send(&generator.sources, *burst)?;
        }
        thread::sleep(GRACE);
        generator.read(before, &mut report);
        Ok(report)
    }

    /// Sends the flood and counts the answers to each burst.
    ///
    /// # Errors
    /// As [`Flood::run`], and when the core's idle time cannot be read.
    pub fn run_apart(&self) -> Result<Vec<FloodReport>> {
        let generator = self.arm()?;
        let mut reports = Vec::new();
        for burst in &self.bursts {
            thread::sleep(Duration::from_millis(burst.after_ms));
            let (before, counted) = (generator.count(), generator.counted());
            let watching = self.watch.as_ref().map(Watch::start).transpose()?;
            let mut report = FloodReport {
                seconds: self.send(&generator.sources, *burst)?,
                ..FloodReport::default()
            };
            thread::sleep(SETTLE);
            if let Some(watching) = watching {
                report.cost = watching.cost()?;
            }
            generator.read(before, &mut report);
            report.syn_acks -= counted.syn_acks;
            report.resets -= counted.resets;
            report.others -= counted.others;
            report.forwarded -= counted.forwarded;
            reports.push(report);
        }
        Ok(reports)
    }

    /// Loads the programs; returns when everything that comes back is counted.
    fn arm(&self) -> Result<Generator> {
        let facts = ethtool::facts(&self.link)
            .map_err(|errno| anyhow::anyhow!("{}: {}", self.link, errno.desc()))?;
        let seed = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .context("the clock stands before 1970")?
            .as_micros() as u64;
        // Flows that come again must be the same in the next flood, too.
        let seed = if self.flows.is_some() { 0 } else { seed };
        let macs = (self.next_hop, facts.mac);
        let mut number = 0;
        let mut sources = Vec::new();
        for vector in &self.vectors {
            let mut group = Vec::new();
            for template in Template::of(*vector, macs, self.target) {
                if self.by_socket {
                    let flows = self.flows.map_or(0, |log2| 1 << log2);
                    group.push(Sender::Socket(Socket::open(template, self.target, flows)?));
                    continue;
                }
                let idle = ethtool::facts(&idle_link(number))
                    .map_err(|errno| anyhow::anyhow!("{}: {}", idle_link(number), errno.desc()))?;
                let seed = seed.wrapping_add(u64::from(number) << 56);
                let flows = self.flows.map(|flows| Flows {
                    group: number,
                    log2: flows,
                });
                group.push(Sender::Program(Source::load(
                    template,
                    facts.ifindex,
                    (seed, flows),
                    Some(idle.ifindex),
                )?));
                number += 1;
            }
            sources.push(group);
        }
        ensure!(!sources.is_empty(), "a flood of nothing");
        let sink = Sink::open(facts.ifindex, What::Answers)?;
        let behind = self.behind.as_ref().map(Behind::open).transpose()?;
        println!("{ARMED}");
        Ok(Generator {
            sources,
            sink,
            behind,
        })
    }

    /// Sends one burst, the vectors in turn and the templates of each in turn; returns its length.
    fn send(&self, sources: &[Vec<Sender>], burst: Burst) -> Result<f64> {
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
            if due < u64::from(self.grain) {
                thread::sleep(TICK);
                continue;
            }
            let most = if burst.rate == 0 {
                u64::MAX
            } else {
                u64::from(self.debt)
            };
            let now = due.min(CALL).min(most);
            // What a sender that was held up owes is forgotten: a late flood must not become a
            // burst.
            sent += now.max(due.saturating_sub(most));
            if !self.cores.is_empty()
                && let Some(core) = self.cores.get(turn % self.cores.len())
            {
                move_to(0, *core)?;
            }
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
}

impl Behind {
    /// Counts and drops, from now on, what the device receives for the port.
    fn open(&self) -> Result<Sink> {
        let open = |path: &str| {
            std::fs::File::open(path).with_context(|| format!("no namespace at {path}"))
        };
        let here = open("/proc/thread-self/ns/net")?;
        let there = open(&format!("/run/netns/{}", self.namespace))?;
        setns(there.as_fd(), CloneFlags::CLONE_NEWNET).context("cannot look behind")?;
        let sink = ethtool::facts(&self.link)
            .map_err(|errno| anyhow::anyhow!("{}: {}", self.link, errno.desc()))
            .and_then(|facts| Ok(Sink::open(facts.ifindex, What::Port(self.port))?));
        setns(here.as_fd(), CloneFlags::CLONE_NEWNET).context("cannot come back")?;
        sink
    }
}

/// What sends frames.
#[derive(Debug)]
enum Sender {
    Program(Source),
    Socket(Socket),
}

impl Sender {
    fn send(&self, count: u32) -> Result<()> {
        match self {
            Self::Program(source) => Ok(source.send(count)?),
            Self::Socket(socket) => socket.send(count),
        }
    }

    /// Counts the frames sent, from anywhere.
    fn count(&self) -> u64 {
        match self {
            Self::Program(source) => source.count(),
            Self::Socket(socket) => socket.count(),
        }
    }
}

/// The programs of a flood.
#[derive(Debug)]
struct Generator {
    sources: Vec<Vec<Sender>>,
    sink: Sink,
    behind: Option<Sink>,
}

impl Generator {
    fn count(&self) -> u64 {
        let counts = self.sources.iter().flatten().map(Sender::count);
        counts.fold(0, u64::wrapping_add)
    }

    /// Reads what has come back since the programs were loaded.
    fn counted(&self) -> FloodReport {
        let answers = self.sink.answers();
        FloodReport {
            syn_acks: answers.syn_acks,
            resets: answers.resets,
            others: answers.others,
            forwarded: self.behind.as_ref().map_or(0, |sink| sink.answers().all()),
            ..FloodReport::default()
        }
    }

    /// Adds what was sent since `before` and what has come back.
    fn read(&self, before: u64, report: &mut FloodReport) {
        *report = FloodReport {
            sent: self.count().wrapping_sub(before),
            seconds: report.seconds,
            cost: report.cost,
            ..self.counted()
        };
    }
}
