//! Measures whole walks of established TCP sessions, in random order, in memory.
//!
//! `cargo run --release -p weir-director --example established -- [SESSIONS]`

#![expect(
    clippy::indexing_slicing,
    reason = "a bench stops where it is wrong; the figures do not need the last digit"
)]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use weir_director::{Director, Packet, PortFacts, WorkerFacts};
use weir_model::{Now, PortId, Time, Verdict, WorkerId};
use weir_testkit::{PacketSpec, Random, TcpSpec, Transport, snapshot};
use weir_wire::{EthAddr, FrameBuf, Parsed, SeqNumber, TcpFlags};

const WAN: (PortId, EthAddr) = (PortId(0), EthAddr([2, 0, 0, 0, 0, 1]));
const LAN: (PortId, EthAddr) = (PortId(1), EthAddr([2, 0, 0, 0, 0, 2]));
const ROUTER: (Ipv4Addr, EthAddr) = (Ipv4Addr::new(203, 0, 113, 1), EthAddr([2, 0, 0, 0, 1, 1]));
const REAL: (Ipv4Addr, EthAddr) = (Ipv4Addr::new(10, 0, 1, 11), EthAddr([2, 0, 0, 0, 1, 2]));
const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const CHUNK: usize = 2048;
const HEAD: usize = 256;
const BURST: usize = 64;

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
";

fn main() -> Result<()> {
    let sessions: u32 = std::env::args().nth(1).map_or(Ok(65_536), |n| n.parse())?;
    let mut bench = Bench::new(sessions)?;
    let clients = (0..sessions)
        .map(|n| bench.open(n))
        .collect::<Result<Vec<_>>>()?;
    for _ in 0..5 {
        bench.measure(&clients)?;
    }
    Ok(())
}

struct Bench {
    director: Director,
    now: Now,
    random: Random,
    memory: Vec<u8>,
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
        })
    }

    /// Completes one handshake and returns the frame of a request.
    fn open(&mut self, number: u32) -> Result<Vec<u8>> {
        let client = Ipv4Addr::from(0x0b00_0000 + number / 50_000);
        let from_client = |flags, seq, ack, payload: &[u8]| {
            let tcp = TcpSpec {
                src_port: 10_000 + (number % 50_000) as u16,
                dst_port: 80,
                seq: SeqNumber(seq),
                ack: SeqNumber(ack),
                flags,
                window: 1000,
                options: Vec::new(),
                payload: payload.to_vec(),
            };
            let (src, dst, transport) = (client, VIP, Transport::Tcp(tcp));
            PacketSpec {
                eth_src: ROUTER.1,
                eth_dst: WAN.1,
                src,
                dst,
                transport,
                ..PacketSpec::default()
            }
            .build()
        };
        let syn = self.pass(WAN.0, &from_client(TcpFlags::SYN, 100, 0, &[]))?;
        let parsed = Parsed::parse(&syn)?;
        let v4 = parsed.v4().context("no IPv4")?;
        let seen = v4.tcp().context("no TCP")?;
        let from_real = |flags, seq, acked| {
            let tcp = TcpSpec {
                src_port: 80,
                dst_port: seen.src_port,
                seq: SeqNumber(seq),
                ack: seen.seq + acked,
                flags,
                window: 1000,
                ..TcpSpec::default()
            };
            let (src, dst, transport) = (REAL.0, v4.src, Transport::Tcp(tcp));
            PacketSpec {
                eth_src: REAL.1,
                eth_dst: LAN.1,
                src,
                dst,
                transport,
                ..PacketSpec::default()
            }
            .build()
        };
        self.pass(LAN.0, &from_real(TcpFlags::SYN | TcpFlags::ACK, 500, 1))?;
        let request = from_client(TcpFlags::ACK, 101, 501, b"request");
        self.pass(WAN.0, &request)?;
        // Behind this acknowledgement the client's address is not added any more.
        self.pass(LAN.0, &from_real(TcpFlags::ACK, 501, 8))?;
        Ok(request)
    }

    /// Walks one frame and returns it as it leaves.
    fn pass(&mut self, port: PortId, frame: &[u8]) -> Result<Vec<u8>> {
        let range = HEAD..HEAD + frame.len();
        self.memory[range.clone()].copy_from_slice(frame);
        let chunk = FrameBuf::new(&mut self.memory[..CHUNK], range).context("too long")?;
        let mut packets = [Packet::received(chunk, port, false)];
        self.director.process(self.now, &mut packets);
        ensure!(
            matches!(packets[0].verdict, Verdict::Forward(_)),
            "{:?}",
            packets[0].verdict
        );
        Ok(packets[0].frame.bytes().to_vec())
    }

    /// Walks the clients' requests in random order, a burst at a time.
    fn measure(&mut self, clients: &[Vec<u8>]) -> Result<()> {
        let rounds = 40_000;
        let mut walked = std::time::Duration::ZERO;
        let mut copied = std::time::Duration::ZERO;
        for _ in 0..rounds {
            let start = Instant::now();
            let mut packets = Vec::with_capacity(BURST);
            for chunk in self.memory.chunks_exact_mut(CHUNK) {
                let client = &clients[self.random.below(clients.len() as u64) as usize];
                let range = HEAD..HEAD + client.len();
                chunk[range.clone()].copy_from_slice(client);
                let frame = FrameBuf::new(chunk, range).context("too long")?;
                packets.push(Packet::received(frame, WAN.0, false));
            }
            copied += start.elapsed();
            let start = Instant::now();
            self.director.process(self.now, &mut packets);
            walked += start.elapsed();
            let sent = packets
                .iter()
                .all(|packet| packet.verdict == Verdict::Forward(LAN.0));
            ensure!(sent, "a request was not forwarded");
        }
        let packets = rounds * BURST as u32;
        println!(
            "{} sessions: {:.1} ns a packet (the bench's own copy {:.1})",
            clients.len(),
            walked.as_secs_f64() * 1e9 / f64::from(packets),
            copied.as_secs_f64() * 1e9 / f64::from(packets),
        );
        Ok(())
    }
}
