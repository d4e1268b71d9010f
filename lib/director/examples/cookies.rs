//! Measures whole walks of what a flood and its victims send to a service that answers by cookies:
//! SYNs, ACKs with a bad cookie, and new sessions, in memory.
//!
//! `cargo run --release -p weir-director --example cookies -- [SESSIONS]`

#![expect(
    clippy::indexing_slicing,
    reason = "a bench stops where it is wrong; the figures do not need the last digit"
)]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use weir_director::{Director, Packet, PortFacts, WorkerFacts};
use weir_model::{DropReason, Now, PortId, ServiceId, Time, Verdict, WorkerId};
use weir_testkit::{PacketSpec, Random, TcpSpec, Transport, snapshot};
use weir_wire::{
    EthAddr, FrameBuf, Header, Ipv4Header, Parsed, SeqNumber, Tcp, TcpFlags, TcpHeader, V4,
    fill_checksums,
};

const WAN: (PortId, EthAddr) = (PortId(0), EthAddr([2, 0, 0, 0, 0, 1]));
const LAN: (PortId, EthAddr) = (PortId(1), EthAddr([2, 0, 0, 0, 0, 2]));
const ROUTER: (Ipv4Addr, EthAddr) = (Ipv4Addr::new(203, 0, 113, 1), EthAddr([2, 0, 0, 0, 1, 1]));
const REAL: (Ipv4Addr, EthAddr) = (Ipv4Addr::new(10, 0, 1, 11), EthAddr([2, 0, 0, 0, 1, 2]));
const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const CHUNK: usize = 2048;
const HEAD: usize = 256;
const BURST: usize = 64;
/// Bursts of a flood that one figure is made of.
const ROUNDS: u32 = 20_000;

const CONF: &str = "
[port wan]
device = eth0
address = 203.0.113.2/24
gateway = 203.0.113.1
[port lan]
device = eth1
address = 10.0.0.2/16
[lip-pool blue]
port = lan
address = 10.0.8.0/24
[service web]
listen = 203.0.113.10:80/tcp
lip-pool = blue
scheduler = rr
real = 10.0.1.11:80
synproxy = front
[synproxy front]
mode = always
options = given
";

/// What Linux offers: MSS, SACK, timestamps, window scale.
const OPTIONS: [u8; 20] = [
    2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7,
];
const TIMESTAMPS: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 9];

fn main() -> Result<()> {
    let sessions: u32 = std::env::args().nth(1).map_or(Ok(65_536), |n| n.parse())?;
    let mut bench = Bench::new(sessions)?;
    bench.announce()?;
    bench.sessions(sessions)?;
    let syn = TcpSpec {
        flags: TcpFlags::SYN,
        options: OPTIONS.to_vec(),
        ..TcpSpec::default()
    };
    let ack = TcpSpec {
        flags: TcpFlags::ACK,
        options: TIMESTAMPS.to_vec(),
        ..TcpSpec::default()
    };
    let bare = TcpSpec {
        flags: TcpFlags::SYN,
        ..TcpSpec::default()
    };
    let bad = Verdict::Drop(DropReason::BadCookie);
    for _ in 0..5 {
        bench.flood("SYN -> SYN-ACK, all options", &syn, Verdict::Reply)?;
        bench.flood("SYN -> SYN-ACK, no options", &bare, Verdict::Reply)?;
        bench.flood("ACK without session, bad cookie", &ack, bad)?;
    }
    Ok(())
}

struct Bench {
    director: Director,
    now: Now,
    random: Random,
    memory: Vec<u8>,
    out: Vec<u8>,
}

impl Bench {
    fn new(sessions: u32) -> Result<Self> {
        let mut random = Random::new(1);
        let port = |(id, mac)| PortFacts {
            id,
            mac,
            mtu: 1500,
            delivers: false,
        };
        let facts = WorkerFacts {
            id: WorkerId(0),
            workers: 1,
            sessions: sessions + 64,
            flow_secret: random.key(),
            seed: random.key(),
            ports: vec![port(WAN), port(LAN)],
        };
        let now = Now {
            time: Time::from_millis(1),
            wall_ms: 1_700_000_000_000,
        };
        let snapshot = Arc::new(snapshot("bench", CONF)?);
        let mut director = Director::new(facts, snapshot, now)
            .map_err(|_| anyhow::anyhow!("no memory for {sessions} sessions"))?;
        director.learn_neighbour(now, WAN.0, ROUTER.0, ROUTER.1);
        director.learn_neighbour(now, LAN.0, REAL.0, REAL.1);
        Ok(Self {
            director,
            now,
            random,
            memory: vec![0; CHUNK * BURST],
            out: vec![0; CHUNK],
        })
    }

    /// Lets all that Weir says at the start be said.
    fn announce(&mut self) -> Result<()> {
        while self.director.idle_for(self.now).is_zero() {
            self.rest(Duration::from_millis(1));
            self.originated(|_| Ok(()))?;
        }
        Ok(())
    }

    /// Walks frames of random clients made from one, a burst at a time.
    fn flood(&mut self, name: &str, tcp: &TcpSpec, expected: Verdict) -> Result<()> {
        let mut frames: Vec<Vec<u8>> = (0..4096).map(|_| from_client(0, tcp.clone())).collect();
        for frame in &mut frames {
            let Some(ip) = Ipv4Header::at_mut(frame, 14) else {
                continue;
            };
            // Any unicast address up to 127/8.
            let address = 0x0b00_0000 + self.random.below(0x7000_0000) as u32;
            ip.set_src(Ipv4Addr::from(address));
            let tcp = TcpHeader::at_mut(frame, 34).context("no TCP")?;
            tcp.src_port = (1 + self.random.below(65_535) as u16).into();
            tcp.seq = (self.random.next() as u32).into();
            fill_checksums(frame).context("no checksums")?;
        }
        let before = self.director.flood(ServiceId(0));
        let mut walked = Duration::ZERO;
        for _ in 0..ROUNDS {
            let burst: Vec<&[u8]> = (0..BURST)
                .map(|_| frames[self.random.below(4096) as usize].as_slice())
                .collect();
            let (took, verdicts) = self.walk(WAN.0, &burst)?;
            walked += took;
            let as_expected = verdicts.iter().all(|verdict| *verdict == expected);
            ensure!(as_expected, "{name}: {:?}", verdicts[0]);
            // As long as a burst takes at line rate.
            self.rest(Duration::from_micros(10));
        }
        let after = self.director.flood(ServiceId(0));
        let packets = ROUNDS * BURST as u32;
        let told = after.cookie_sent + after.cookie_bad - before.cookie_sent - before.cookie_bad;
        ensure!(told == u64::from(packets), "{told} cookies");
        println!(
            "{name}: {:.1} ns a packet",
            walked.as_secs_f64() * 1e9 / f64::from(packets)
        );
        Ok(())
    }

    /// Opens sessions: only what begins with the valid ACK is measured.
    fn sessions(&mut self, sessions: u32) -> Result<()> {
        let mut walked = Duration::ZERO;
        for first in (0..sessions).step_by(BURST) {
            let numbers: Vec<u32> = (first..sessions.min(first + BURST as u32)).collect();
            let syn = |number| {
                let tcp = TcpSpec {
                    flags: TcpFlags::SYN,
                    seq: SeqNumber(100),
                    options: OPTIONS.to_vec(),
                    ..TcpSpec::default()
                };
                from_client(number, tcp)
            };
            let frames: Vec<Vec<u8>> = numbers.iter().map(|number| syn(*number)).collect();
            let (_, verdicts) = self.walk(WAN.0, &slices(&frames))?;
            ensure!(verdicts.iter().all(|verdict| *verdict == Verdict::Reply));
            let mut acks = Vec::new();
            for (at, number) in numbers.iter().enumerate() {
                let cookie = segment(&self.memory[at * CHUNK + HEAD..])?.1.seq;
                let tcp = TcpSpec {
                    flags: TcpFlags::ACK,
                    seq: SeqNumber(101),
                    ack: cookie + 1,
                    options: TIMESTAMPS.to_vec(),
                    ..TcpSpec::default()
                };
                acks.push(from_client(*number, tcp));
            }
            walked += self.walk(WAN.0, &slices(&acks))?.0;
            let mut answers = Vec::new();
            walked += self.originated(|frame| {
                // The other frames are ARP.
                if let Ok((v4, tcp)) = segment(frame) {
                    answers.push(from_real(v4.src, &tcp));
                }
                Ok(())
            })?;
            ensure!(answers.len() == numbers.len(), "{} SYNs", answers.len());
            walked += self.walk(LAN.0, &slices(&answers))?.0;
            walked += self.originated(|_| Ok(()))?;
            // The clients are of one network, which is sent so many SYN-ACKs and no more.
            self.rest(Duration::from_millis(2));
        }
        ensure!(self.director.session_count() == sessions);
        ensure!(self.director.flood(ServiceId(0)).completed == u64::from(sessions));
        println!(
            "valid ACK -> SYN, SYN-ACK -> established: {:.1} ns a session, {:.0} sessions/s",
            walked.as_secs_f64() * 1e9 / f64::from(sessions),
            f64::from(sessions) / walked.as_secs_f64()
        );
        Ok(())
    }

    /// Walks a burst and says how long that took.
    fn walk(&mut self, port: PortId, burst: &[&[u8]]) -> Result<(Duration, Vec<Verdict>)> {
        let mut packets = Vec::with_capacity(BURST);
        for (chunk, frame) in self.memory.chunks_exact_mut(CHUNK).zip(burst) {
            let range = HEAD..HEAD + frame.len();
            chunk[range.clone()].copy_from_slice(frame);
            let frame = FrameBuf::new(chunk, range).context("too long")?;
            packets.push(Packet::received(frame, port, false));
        }
        let start = Instant::now();
        self.director.process(self.now, &mut packets);
        let took = start.elapsed();
        Ok((took, packets.iter().map(|packet| packet.verdict).collect()))
    }

    /// Takes what the director originates and says how long it took to write it.
    fn originated(&mut self, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<Duration> {
        let mut took = Duration::ZERO;
        loop {
            let start = Instant::now();
            let next = self.director.next_originated(&mut self.out);
            took += start.elapsed();
            let Some((_, len)) = next else {
                return Ok(took);
            };
            each(&self.out[..len])?;
        }
    }

    fn rest(&mut self, time: Duration) {
        self.now.time = self.now.time.after(time);
        self.director.tick(self.now);
    }
}

fn slices(frames: &[Vec<u8>]) -> Vec<&[u8]> {
    frames.iter().map(Vec::as_slice).collect()
}

fn segment(frame: &[u8]) -> Result<(V4, Tcp)> {
    let parsed = Parsed::parse(frame)?;
    let v4 = parsed.v4().context("no IPv4")?;
    Ok((*v4, *v4.tcp().context("no TCP")?))
}

fn from_client(number: u32, tcp: TcpSpec) -> Vec<u8> {
    let tcp = TcpSpec {
        src_port: 10_000 + (number % 50_000) as u16,
        dst_port: 80,
        window: 1000,
        ..tcp
    };
    PacketSpec {
        eth_src: ROUTER.1,
        eth_dst: WAN.1,
        src: Ipv4Addr::from(0x0b00_0000 + number / 50_000),
        dst: VIP,
        transport: Transport::Tcp(tcp),
        ..PacketSpec::default()
    }
    .build()
}

/// The real server's answer to a SYN.
fn from_real(lip: Ipv4Addr, syn: &Tcp) -> Vec<u8> {
    let tcp = TcpSpec {
        src_port: 80,
        dst_port: syn.src_port,
        seq: SeqNumber(500),
        ack: syn.seq + 1,
        flags: TcpFlags::SYN | TcpFlags::ACK,
        window: 65_535,
        options: OPTIONS.to_vec(),
        ..TcpSpec::default()
    };
    PacketSpec {
        eth_src: REAL.1,
        eth_dst: LAN.1,
        src: REAL.0,
        dst: lip,
        transport: Transport::Tcp(tcp),
        ..PacketSpec::default()
    }
    .build()
}
