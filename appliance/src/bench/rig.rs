//! One worker's director, the connections of its clients, and the time they are told.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nat_engine::Rng;
use weir_director::{Director, Packet};
use weir_model::{Now, Verdict, WorkerId};
use weir_rig::{
    LAN, LAN_MAC, PLAIN, Place, ROUTER_MAC, SHIELDED, VIP, WAN, WAN_MAC, client, real, real_mac,
};
use weir_wire::{FrameBuf, Parsed, SeqNumber, TcpFlags};

use crate::bench::frames::Segment;
use crate::daemon::random;

const CHUNK: usize = 2048;
const HEAD: usize = 256;
/// Packets that are walked together.
pub(super) const BURST: usize = 64;

const REQUEST: &[u8] = b"GET /index.html HTTP/1.1";
const REPLY: &[u8] = b"HTTP/1.1 204 No Content";

/// A connection of a client, as both of its ends see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connection {
    client: (Ipv4Addr, u16),
    lip: (Ipv4Addr, u16),
    /// The first number of the client as the real server sees it, and the other way round.
    client_isn: SeqNumber,
    real_isn: SeqNumber,
}

/// Who sends what next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Syn,
    SynAck,
    Ack,
    Request,
    Reply,
    Fin,
    FinBack,
    LastAck,
}

impl Step {
    /// Those of a whole life, in their order.
    pub(super) const LIFE: [Self; 8] = [
        Self::Syn,
        Self::SynAck,
        Self::Ack,
        Self::Request,
        Self::Reply,
        Self::Fin,
        Self::FinBack,
        Self::LastAck,
    ];

    const fn is_clients(self) -> bool {
        match self {
            Self::Syn | Self::Ack | Self::Request | Self::Fin | Self::LastAck => true,
            Self::SynAck | Self::Reply | Self::FinBack => false,
        }
    }
}

pub(super) struct Rig {
    place: Place,
    director: Director,
    now: Now,
    rng: Rng,
    memory: Vec<u8>,
    out: Vec<u8>,
    next_client: u32,
}

impl Rig {
    /// Makes a worker with room for so many sessions, as the daemon does.
    pub(super) fn new(sessions: u32) -> Result<Self> {
        let place = Place {
            id: WorkerId(0),
            workers: 1,
            sessions,
            reals: 1,
            flow_secret: random()?,
            seed: random()?,
        };
        let prepare = |memory| netmap_io::huge_pages::prefer(&memory);
        Ok(Self {
            place,
            director: place.director(&prepare)?,
            now: Place::START,
            rng: Rng::new(random()?),
            memory: vec![0; CHUNK * BURST],
            out: vec![0; CHUNK],
            next_client: 0,
        })
    }

    /// Begins a burst of connections of clients that were not there before.
    pub(super) fn clients(&mut self) -> Vec<Connection> {
        let nobody = (Ipv4Addr::UNSPECIFIED, 0);
        let first = self.next_client;
        self.next_client = first.wrapping_add(BURST as u32);
        (first..first + BURST as u32)
            .map(|number| Connection {
                client: client(number),
                lip: nobody,
                client_isn: SeqNumber(0),
                real_isn: SeqNumber(0),
            })
            .collect()
    }

    /// Takes one step of each connection and returns how long that took.
    pub(super) fn step(&mut self, step: Step, burst: &mut [Connection]) -> Result<Duration> {
        let segments: Vec<Segment> = burst.iter().map(|one| segment(step, one)).collect();
        let learns = matches!(step, Step::Syn | Step::SynAck);
        self.walk(step.is_clients(), &segments, forwarded, |at, sent| {
            let Some(one) = burst.get_mut(at).filter(|_| learns) else {
                return Ok(());
            };
            let sent = Parsed::parse(sent)?;
            let v4 = sent.v4().context("no IPv4 was sent")?;
            let tcp = v4.tcp().context("no TCP was sent")?;
            if step == Step::Syn {
                (one.lip, one.client_isn) = ((v4.src, tcp.src_port), tcp.seq);
            } else {
                one.real_isn = tcp.seq;
            }
            Ok(())
        })
    }

    /// Walks segments of connections that were picked at random, half of them in each direction.
    pub(super) fn forward(&mut self, all: &[Connection]) -> Result<Duration> {
        let mut took = Duration::ZERO;
        for step in [Step::Request, Step::Reply] {
            let picked: Vec<Segment> = (0..BURST)
                .filter_map(|_| all.get(self.rng.below(all.len() as u32) as usize))
                .map(|one| segment(step, one))
                .collect();
            took += self.walk(step.is_clients(), &picked, forwarded, |_, _| Ok(()))?;
        }
        self.now.time = self.now.time.after(Duration::from_micros(20));
        Ok(took)
    }

    /// Walks SYNs from anywhere to the service that answers them with cookies.
    pub(super) fn flood(&mut self) -> Result<Duration> {
        let segments: Vec<Segment> = (0..BURST)
            .map(|_| Segment {
                // Any unicast address up to 127/8.
                src: (
                    Ipv4Addr::from(0x0b00_0000 + self.rng.below(0x7000_0000)),
                    1 + self.rng.below(65_535) as u16,
                ),
                dst: (VIP, SHIELDED),
                seq: SeqNumber(self.rng.next_u32()),
                ack: SeqNumber(0),
                flags: TcpFlags::SYN,
                payload: &[],
                to: (ROUTER_MAC, WAN_MAC),
            })
            .collect();
        let answered = |verdict| verdict == Verdict::Reply;
        let took = self.walk(true, &segments, answered, |_, _| Ok(()))?;
        Ok(took + self.pass(Duration::from_micros(10)))
    }

    /// Lets time pass and returns how long the director's timers took.
    pub(super) fn pass(&mut self, time: Duration) -> Duration {
        self.now.time = self.now.time.after(time);
        // They are not what is measured, and nobody answers requests for them.
        self.place.introduce(&mut self.director, self.now);
        let start = Instant::now();
        self.director.tick(self.now);
        while self.director.next_originated(&mut self.out).is_some() {}
        while self.director.next_notice().is_some() {}
        start.elapsed()
    }

    #[cfg(test)]
    pub(super) fn director(&mut self) -> &mut Director {
        &mut self.director
    }

    /// Lets the worker run on another configuration.
    #[cfg(test)]
    pub(super) fn apply(&mut self, snapshot: std::sync::Arc<weir_model::Snapshot>) {
        self.director.apply(self.now, snapshot);
        self.pass(Duration::from_millis(1));
    }

    pub(super) fn sessions(&self) -> u32 {
        self.director.session_count()
    }

    /// Walks a burst, shows each frame as it is sent, and returns how long the walk took.
    fn walk(
        &mut self,
        from_clients: bool,
        segments: &[Segment],
        expected: fn(Verdict) -> bool,
        mut sent: impl FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<Duration> {
        let port = if from_clients { WAN } else { LAN };
        let mut packets = Vec::with_capacity(BURST);
        for (chunk, segment) in self.memory.chunks_mut(CHUNK).zip(segments) {
            let len = chunk.get_mut(HEAD..).and_then(|room| segment.write(room));
            let range = HEAD..HEAD + len.context("a frame has no room")?;
            let frame = FrameBuf::new(chunk, range).context("a frame has no room")?;
            packets.push(Packet::received(frame, port, false));
        }
        let start = Instant::now();
        self.director.process(self.now, &mut packets);
        let took = start.elapsed();
        for (at, packet) in packets.iter().enumerate() {
            let verdict = packet.verdict;
            ensure!(expected(verdict), "a packet met {verdict:?}");
            sent(at, packet.frame.bytes())?;
        }
        Ok(took)
    }
}

fn forwarded(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Forward(_))
}

fn segment(step: Step, one: &Connection) -> Segment {
    let (request, reply) = (REQUEST.len() as u32, REPLY.len() as u32);
    let data = TcpFlags::ACK | TcpFlags::PSH;
    let fin = TcpFlags::ACK | TcpFlags::FIN;
    // What its sender has sent and seen, behind the first numbers of both.
    let (flags, sent, seen, payload): (_, u32, u32, &'static [u8]) = match step {
        Step::Syn => (TcpFlags::SYN, 0, 0, &[]),
        Step::SynAck => (TcpFlags::SYN | TcpFlags::ACK, 0, 1, &[]),
        Step::Ack => (TcpFlags::ACK, 1, 1, &[]),
        Step::Request => (data, 1, 1, REQUEST),
        Step::Reply => (data, 1, 1 + request, REPLY),
        Step::Fin => (fin, 1 + request, 1 + reply, &[]),
        Step::FinBack => (fin, 1 + reply, 2 + request, &[]),
        Step::LastAck => (TcpFlags::ACK, 2 + request, 2 + reply, &[]),
    };
    if step.is_clients() {
        let ack = if step == Step::Syn {
            SeqNumber(0)
        } else {
            one.real_isn + seen
        };
        return Segment {
            src: one.client,
            dst: (VIP, PLAIN),
            seq: SeqNumber(100) + sent,
            ack,
            flags,
            payload,
            to: (ROUTER_MAC, WAN_MAC),
        };
    }
    Segment {
        src: (real(0), PLAIN),
        dst: one.lip,
        seq: SeqNumber(500) + sent,
        ack: one.client_isn + seen,
        flags,
        payload,
        to: (real_mac(0), LAN_MAC),
    }
}
