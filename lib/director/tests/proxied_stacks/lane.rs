//! Directors between two end points, with everything on the way that makes a cookie's life hard:
//! losses, a real server that answers late, options that a host does not know, bursts of SYNs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use weir_model::{Offer, PortId, ServiceId, Time};
use weir_testkit::{InFlight, Middle, PacketSpec, Random, Side, TcpSpec, Through, Transport};
use weir_wire::{
    Describe, EthAddr, OptionKind, Parsed, SeqNumber, TcpFlags, TcpOption, TcpOptions, V4,
    fill_checksums,
};

use crate::watch::{Demands, Segment, Watch};

/// How many bursts of SYNs a run has at most.
const BURSTS: u32 = 40;

/// What a host does not know: it is taken out of its SYN and out of what it is offered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lacks {
    pub(crate) wscale: bool,
    pub(crate) sack: bool,
}

/// What the way is like.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own, drawn from the seed"
)]
pub(crate) struct Way {
    pub(crate) client: Ipv4Addr,
    pub(crate) vip: Ipv4Addr,
    pub(crate) loss: f64,
    pub(crate) client_lacks: Lacks,
    pub(crate) server_lacks: Lacks,
    /// The real server has no network.
    pub(crate) is_dead: bool,
    /// How long the real server thinks before its SYN-ACK leaves.
    pub(crate) late: Duration,
    /// How many segments of a handshake with the real server may be lost.
    pub(crate) handshake_losses: u32,
    /// The first SYN to the real server is lost in any case.
    pub(crate) loses_first_syn: bool,
    /// The handshake's last ACK says something that nobody says again.
    pub(crate) silent_client: bool,
    /// SYNs in each burst; 0 is peace.
    pub(crate) burst: u32,
    /// The configuration is read again every few frames.
    pub(crate) reloads: bool,
    /// Something else is learned of the real server every few frames.
    pub(crate) changes_offer: bool,
}

/// What became of a run's frames.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Toll {
    pub(crate) lost: u64,
    pub(crate) syns_lost: u64,
    pub(crate) repeated_answers: u64,
    pub(crate) flood_syns: u64,
    pub(crate) reloads: u64,
}

impl Toll {
    pub(crate) const fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.syns_lost += other.syns_lost;
        self.repeated_answers += other.repeated_answers;
        self.flood_syns += other.flood_syns;
        self.reloads += other.reloads;
    }
}

/// The middle of a transfer.
pub(crate) struct Lane {
    through: Through,
    way: Way,
    random: Random,
    watch: Option<Watch>,
    toll: Toll,
    to_server_syns: u32,
    handshake_losses: u32,
    /// The real server's last answer to a SYN.
    answer: Option<Vec<u8>>,
    late: InFlight<()>,
    out: VecDeque<(Side, Vec<u8>)>,
    /// Whose last window was 0, on the way into Weir and out of it.
    closed: [bool; 4],
    next_burst: Option<Time>,
    bursts: u32,
    flood_ports: BTreeSet<u16>,
    /// The first number of each local port that the real server was asked from, and of those that
    /// it has forgotten.
    asked: BTreeMap<u16, SeqNumber>,
    forgotten: BTreeMap<u16, SeqNumber>,
    pub(crate) frames: u32,
    shows: bool,
}

impl Lane {
    pub(crate) fn new(through: Through, way: Way, demands: Demands, seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x1a4e);
        let within = if random.chance(0.5) { 5_000 } else { 40_000 };
        let first = Duration::from_micros(random.below(within));
        let next_burst = (way.burst > 0).then(|| through.world().time().after(first));
        Self {
            through,
            way,
            random,
            watch: Some(Watch::new(demands)),
            toll: Toll::default(),
            to_server_syns: 0,
            handshake_losses: way.handshake_losses,
            answer: None,
            late: InFlight::default(),
            out: VecDeque::new(),
            closed: [false; 4],
            next_burst,
            bursts: 0,
            flood_ports: BTreeSet::new(),
            asked: BTreeMap::new(),
            forgotten: BTreeMap::new(),
            frames: 0,
            shows: std::env::var_os("WEIR_TRACE").is_some(),
        }
    }

    pub(crate) const fn toll(&self) -> Toll {
        self.toll
    }

    pub(crate) const fn through(&self) -> &Through {
        &self.through
    }

    pub(crate) const fn through_mut(&mut self) -> &mut Through {
        &mut self.through
    }

    /// Makes ready for new end points; what the real server of before said late still comes.
    pub(crate) fn begin_again(&mut self) {
        // Segments of the connection before may still come, and name what these hosts do not know.
        self.watch = None;
        self.to_server_syns = 0;
        self.handshake_losses = self.way.handshake_losses;
        self.answer = None;
        self.out.clear();
        self.forgotten.append(&mut self.asked);
        self.closed = [false; 4];
    }

    fn show(&self, at: Time, way: &str, side: Side, frame: &[u8]) {
        if self.shows {
            println!("{at:?} {way} {side:?}: {}", Describe(frame));
        }
    }

    /// Says whether a segment is lost on one of the four ways. That which opens a window never is:
    /// smoltcp does not probe a window that closed while a retransmission was due.
    fn loses_on(&mut self, way: usize, segment: &Segment) -> bool {
        let closed = segment.has(TcpFlags::ACK) && segment.tcp.window == 0;
        let opens = std::mem::replace(&mut self.closed[way], closed) && !closed;
        !opens && self.loses()
    }

    fn loses(&mut self) -> bool {
        let lost = self.random.chance(self.way.loss);
        self.toll.lost += u64::from(lost);
        lost
    }

    /// Loses a segment of the real server's handshake, while there is one left to be lost.
    fn loses_of_handshake(&mut self) -> bool {
        let lost = self.handshake_losses > 0 && self.loses();
        self.handshake_losses -= u32::from(lost);
        self.toll.syns_lost += u64::from(lost);
        lost
    }

    fn enter(&mut self, now: Time, from: Side, frame: &[u8]) -> Result<()> {
        self.show(now, "from", from, frame);
        if let (Some(watch), Some(segment)) = (&mut self.watch, Segment::of(frame)) {
            match from {
                Side::Client => watch.hear_client(&segment),
                Side::Server => watch.hear_server(&segment),
            }
        }
        self.frames += 1;
        if self.frames.is_multiple_of(7) {
            self.disturb()?;
        }
        self.through.receive(now, from, frame)?;
        self.collect()
    }

    /// Lets the control thread do what disturbs nobody.
    fn disturb(&mut self) -> Result<()> {
        let way = self.way;
        let world = self.through.world_mut();
        if way.reloads {
            self.toll.reloads += 1;
            let again = world.snapshot().clone();
            world.apply(again)?;
        }
        if way.changes_offer {
            let offer = Offer {
                wscale: Some(self.random.below(4) as u8),
                ..Offer::default()
            };
            for director in world.directors_mut() {
                director.set_offer(ServiceId(0), offer);
            }
        }
        Ok(())
    }

    fn pass_client(&mut self, now: Time, mut frame: Vec<u8>, segment: &Segment) -> Result<()> {
        // With the ACK that completes the handshake a client that says nothing more is never heard
        // of: SYN cookies cannot know of it.
        let only_word = self.way.silent_client
            && !segment.has(TcpFlags::SYN)
            && segment.tcp.payload_len == 0
            && !segment.has(TcpFlags::FIN);
        if !only_word && self.loses_on(0, segment) {
            return Ok(());
        }
        if segment.has(TcpFlags::SYN) {
            take_out(&mut frame, self.way.client_lacks);
        }
        self.enter(now, Side::Client, &frame)
    }

    fn pass_server(&mut self, now: Time, frame: Vec<u8>, segment: &Segment) -> Result<()> {
        if segment.has(TcpFlags::RST) && self.way.burst > 0 {
            // smoltcp has one place for a connection, and a SYN that overtakes the RST of the one
            // before finds it taken.
            return Ok(());
        }
        if !segment.is_syn_ack() {
            return if self.loses_on(1, segment) {
                Ok(())
            } else {
                self.enter(now, Side::Server, &frame)
            };
        }
        self.answer = Some(frame.clone());
        self.answer_syn(now, frame)
    }

    /// Lets the real server's SYN-ACK go, at once or late.
    fn answer_syn(&mut self, now: Time, frame: Vec<u8>) -> Result<()> {
        if self.loses_of_handshake() {
            return Ok(());
        }
        if self.way.late.is_zero() {
            return self.enter(now, Side::Server, &frame);
        }
        self.late.push(now.after(self.way.late), (), frame);
        Ok(())
    }

    /// Takes what Weir sent and decides what arrives of it.
    fn collect(&mut self) -> Result<()> {
        while let Some((to, frame)) = self.through.transmitted() {
            self.show(self.through.world().time(), "to", to, &frame);
            let Some(segment) = Segment::of(&frame) else {
                self.out.push_back((to, frame));
                continue;
            };
            match to {
                Side::Client => self.leave_for_client(frame, &segment)?,
                Side::Server => self.leave_for_server(frame, &segment)?,
            }
        }
        Ok(())
    }

    fn leave_for_client(&mut self, frame: Vec<u8>, segment: &Segment) -> Result<()> {
        if segment.dst != self.way.client {
            return Ok(());
        }
        if let Some(watch) = &mut self.watch {
            watch.judge_to_client(segment).context("to the client")?;
        }
        if !self.loses_on(2, segment) {
            self.out.push_back((Side::Client, frame));
        }
        Ok(())
    }

    fn leave_for_server(&mut self, mut frame: Vec<u8>, segment: &Segment) -> Result<()> {
        let port = segment.tcp.src_port;
        if segment.has(TcpFlags::SYN) {
            if segment.toa != Some(self.way.client) {
                self.flood_ports.insert(port);
                return Ok(());
            }
            self.flood_ports.remove(&port);
        } else if self.flood_ports.contains(&port) {
            return Ok(());
        }
        if let Some(watch) = &mut self.watch {
            watch
                .judge_to_server(segment)
                .context("to the real server")?;
        }
        if segment.has(TcpFlags::SYN) && self.forgotten.get(&port) != Some(&segment.tcp.seq) {
            self.forgotten.remove(&port);
            self.asked.insert(port, segment.tcp.seq);
        }
        // smoltcp has one place, which belongs to the connection that comes now.
        if self.way.is_dead || self.forgotten.contains_key(&port) {
            return Ok(());
        }
        if !segment.has(TcpFlags::SYN) {
            let keeps = segment.has(TcpFlags::RST) && self.way.burst > 0;
            if keeps || !self.loses_on(3, segment) {
                self.out.push_back((Side::Server, frame));
            }
            return Ok(());
        }
        take_out(&mut frame, self.way.server_lacks);
        self.to_server_syns += 1;
        let first = self.to_server_syns == 1 && self.way.loses_first_syn;
        if first || self.loses_of_handshake() {
            self.toll.syns_lost += u64::from(first);
            return Ok(());
        }
        self.out.push_back((Side::Server, frame));
        // Any host but smoltcp answers a SYN again that it gets again.
        let answer = self.answer.take_if(|answer| {
            Segment::of(answer).is_some_and(|answer| {
                answer.tcp.ack == segment.tcp.seq + 1 && answer.tcp.dst_port == port
            })
        });
        if let Some(answer) = answer {
            self.answer = Some(answer.clone());
            self.toll.repeated_answers += 1;
            let now = self.through.world().time();
            if !self.loses_of_handshake() {
                let soon = now.after(self.way.late + Duration::from_millis(2));
                self.late.push(soon, (), answer);
            }
        }
        Ok(())
    }

    /// Sends SYNs from random sources, as a flood does.
    fn flood(&mut self) -> Result<()> {
        self.collect()?;
        let way = self.way;
        let link = self.through.world().around().links()[0].clone();
        let mut frames: Vec<(PortId, Vec<u8>)> = Vec::new();
        for _ in 0..way.burst {
            let spec = PacketSpec {
                eth_src: EthAddr([2, 0, 0, 0, 9, 9]),
                eth_dst: link.mac,
                src: Ipv4Addr::from(0x0b00_0000 + self.random.below(1 << 24) as u32),
                dst: way.vip,
                transport: Transport::Tcp(TcpSpec {
                    src_port: 1 + self.random.below(65_535) as u16,
                    dst_port: 80,
                    seq: SeqNumber(self.random.next() as u32),
                    flags: TcpFlags::SYN,
                    window: 8192,
                    options: vec![2, 4, 5, 0xb4, 1, 3, 3, 2, 4, 2],
                    ..TcpSpec::default()
                }),
                ..PacketSpec::default()
            };
            frames.push((link.port, spec.build()));
        }
        self.toll.flood_syns += u64::from(way.burst);
        let workers = self.through.world().directors().len() as u64;
        for chunk in frames.chunks(16) {
            let worker = self.random.below(workers) as u8;
            let burst: Vec<(PortId, &[u8])> = chunk
                .iter()
                .map(|(port, frame)| (*port, frame.as_slice()))
                .collect();
            self.through.world_mut().inject_burst(worker, &burst)?;
        }
        self.collect()
    }
}

impl Middle for Lane {
    fn receive(&mut self, now: Time, from: Side, frame: &[u8]) -> Result<()> {
        let Some(segment) = Segment::of(frame) else {
            return self.enter(now, from, frame);
        };
        match from {
            Side::Client => self.pass_client(now, frame.to_vec(), &segment),
            Side::Server => self.pass_server(now, frame.to_vec(), &segment),
        }
    }

    fn advance(&mut self, now: Time) -> Result<()> {
        self.through.advance(now)?;
        while let Some(((), frame)) = self.late.pop(now) {
            self.enter(now, Side::Server, &frame)?;
        }
        if self.next_burst.is_some_and(|at| at <= now) {
            self.flood()?;
            self.bursts += 1;
            let pause = Duration::from_millis(self.random.below(4_000));
            self.next_burst = (self.bursts < BURSTS).then(|| now.after(pause));
        }
        self.collect()
    }

    fn transmitted(&mut self) -> Option<(Side, Vec<u8>)> {
        self.out.pop_front()
    }

    fn wake_at(&self) -> Option<Time> {
        [self.through.wake_at(), self.late.next_at(), self.next_burst]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Overwrites the options of a SYN that a host does not know with NOPs.
fn take_out(frame: &mut [u8], lacks: Lacks) {
    let Ok(parsed) = Parsed::parse(frame) else {
        return;
    };
    let Some(options) = parsed.v4().and_then(|v4: &V4| v4.tcp_options_mut(frame)) else {
        return;
    };
    let places: Vec<(usize, usize)> = TcpOptions::new(options)
        .filter(|it| match it.option {
            TcpOption::WindowScale(_) => lacks.wscale,
            TcpOption::SackPermitted => lacks.sack,
            TcpOption::Nop
            | TcpOption::EndOfList
            | TcpOption::Mss(_)
            | TcpOption::Sack(_)
            | TcpOption::Timestamps { .. }
            | TcpOption::Toa(_)
            | TcpOption::Unknown { .. } => false,
        })
        .map(|it| (it.offset, it.len))
        .collect();
    for (offset, len) in places {
        options[offset..offset + len].fill(OptionKind::NOP);
    }
    // The frame is one that was just made.
    let _ = fill_checksums(frame);
}
