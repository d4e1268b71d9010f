//! Directors with their surroundings: frames go in by bytes, verdicts are carried out, what leaves
//! is collected, and after each step the books are checked.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use weir_director::{Director, Notice, Packet, PortFacts, SessionView, SpreadFacts, WorkerFacts};
use weir_model::{DropReason, Event, Now, PortId, ServiceId, Snapshot, Time, Verdict, WorkerId};
use weir_wire::{
    ARP_REQUEST, ArpRepr, Describe, ETHERTYPE_ARP, EthHeader, FrameBuf, Header, Kind, Parsed,
    verify_frame,
};

use crate::{Clock, Neighbourhood, Random, Tally, arp_frame, l3_offset};

/// Head room in front of each frame, as the drivers leave it.
pub const HEADROOM: usize = 256;
/// The size of the buffer that a frame stands in, as the drivers have it.
pub const CHUNK: usize = 2048 + HEADROOM;
/// Turns without end mean that the director asks for time without ever being content.
const MOST_TURNS: u32 = 100_000;

/// What an ARP reply that the world plays may move.
const BACKGROUND: [&str; 5] = [
    "rx",
    "absorbed",
    "not-ours",
    "delivered",
    "neighbour-learned",
];

/// How a world is made.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches that tests set by name"
)]
pub struct Setup {
    /// How many workers there are.
    pub workers: u8,
    /// The size of each worker's session table.
    pub sessions: u32,
    /// The seed of all secrets.
    pub seed: u64,
    /// The monotonic clock at the start, in milliseconds.
    pub uptime_ms: u64,
    /// The wall clock at the start, in milliseconds.
    pub wall_ms: u64,
    /// The MTU of each port.
    pub mtu: u16,
    /// Whether drivers can hand frames to the host.
    pub delivers: bool,
    /// Whether frames may carry partial checksums.
    pub maybe_partial: bool,
    /// Whether neighbours are known from the start and answer ARP.
    pub neighbours_answer: bool,
    /// Whether frames and ARP may lie about who is where, so that answers go astray.
    pub liars: bool,
    /// What the directors know of NICs that spread packets over queues.
    pub spread: SpreadFacts,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            workers: 1,
            sessions: 64,
            seed: 1,
            uptime_ms: Clock::UPTIME_MS,
            wall_ms: Clock::WALL_MS,
            mtu: 1500,
            delivers: false,
            maybe_partial: true,
            neighbours_answer: true,
            liars: false,
            spread: SpreadFacts::default(),
        }
    }
}

/// A frame that left.
#[derive(Clone, Debug)]
pub struct Emitted {
    /// The port that it left by.
    pub port: PortId,
    /// The frame.
    pub frame: Vec<u8>,
    /// When it left.
    pub at: Time,
    /// Which worker sent it.
    pub worker: WorkerId,
}

/// One or several directors and what stands around them.
pub struct World {
    setup: Setup,
    clock: Clock,
    directors: Vec<Director>,
    snapshot: Arc<Snapshot>,
    around: Neighbourhood,
    owned: BTreeSet<Ipv4Addr>,
    emitted: VecDeque<Emitted>,
    delivered: VecDeque<(PortId, Vec<u8>)>,
    events: Vec<Event>,
    /// Which workers found a flood of which service.
    floods: Vec<(u8, ServiceId)>,
    /// ARP replies of the neighbours that are on their way.
    replies: VecDeque<(PortId, Vec<u8>)>,
    /// What the world's own ARP moved: no test asked for it.
    background: Tally,
    /// Whether a frame with a wrong checksum may be among those that are held.
    held_a_bad_one: bool,
}

impl World {
    /// Makes a world around a snapshot.
    ///
    /// # Errors
    ///
    /// When what the directors send at the start is not in order.
    pub fn new(snapshot: Snapshot, setup: Setup) -> Result<Self> {
        let clock = Clock::at(setup.uptime_ms, setup.wall_ms);
        let snapshot = Arc::new(snapshot);
        let around = Neighbourhood::of(&snapshot);
        let directors = directors(&setup, &snapshot, &around, &clock)?;
        let mut world = Self {
            setup,
            clock,
            directors,
            owned: owned(&snapshot),
            snapshot,
            around,
            emitted: VecDeque::new(),
            delivered: VecDeque::new(),
            events: Vec::new(),
            floods: Vec::new(),
            replies: VecDeque::new(),
            background: Tally::default(),
            held_a_bad_one: false,
        };
        world.turn()?;
        Ok(world)
    }

    /// Returns what stands around the directors.
    #[must_use]
    pub const fn around(&self) -> &Neighbourhood {
        &self.around
    }

    /// Returns the simulated time.
    #[must_use]
    pub fn now(&self) -> Now {
        self.clock.now()
    }

    /// Returns the snapshot in force.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Says whether an address is Weir's or one of its ports' own.
    #[must_use]
    pub fn is_ours(&self, address: Ipv4Addr) -> bool {
        self.owned.contains(&address) || self.is_own_address(address)
    }

    /// Returns the time.
    #[must_use]
    pub const fn time(&self) -> Time {
        self.clock.time()
    }

    /// Returns the directors.
    #[must_use]
    pub fn directors(&self) -> &[Director] {
        &self.directors
    }

    /// Returns the directors for what the world has no words for; [`turn`](Self::turn) follows.
    pub fn directors_mut(&mut self) -> &mut [Director] {
        &mut self.directors
    }

    /// Tells every director a neighbour's Ethernet address, as the control thread does.
    pub fn introduce(&mut self, address: Ipv4Addr) {
        let Some((port, hop)) = self.around.next_hop(address) else {
            return;
        };
        let mac = self.around.mac_of(hop);
        let now = self.clock.now();
        let before = self.tally_of_all();
        for director in &mut self.directors {
            director.learn_neighbour(now, port, hop, mac);
        }
        self.blame_background(&before);
    }

    /// Puts a new snapshot in force on every director.
    ///
    /// # Errors
    ///
    /// When a ledger is off afterwards or a frame is not in order.
    pub fn apply(&mut self, snapshot: Snapshot) -> Result<()> {
        self.around = Neighbourhood::of(&snapshot);
        // What was Weir's until now may still say goodbye.
        self.owned.extend(owned(&snapshot));
        self.snapshot = Arc::new(snapshot);
        let now = self.clock.now();
        for director in &mut self.directors {
            let retired = director.apply(now, Arc::clone(&self.snapshot));
            drop(retired);
        }
        self.turn()
    }

    /// Moves the wall clock alone.
    ///
    /// # Errors
    ///
    /// When a ledger is off afterwards or a frame is not in order.
    pub fn skew(&mut self, millis: i64) -> Result<()> {
        self.clock.skew(millis);
        self.turn()
    }

    /// Goes on with directors that remember nothing, have other random numbers and the same
    /// configuration.
    ///
    /// # Errors
    ///
    /// When what the directors send at the start is not in order.
    pub fn restart(&mut self) -> Result<()> {
        self.setup.seed = self.setup.seed.wrapping_add(1);
        self.directors = directors(&self.setup, &self.snapshot, &self.around, &self.clock)?;
        self.emitted.clear();
        self.floods.clear();
        self.replies.clear();
        self.background = Tally::default();
        self.turn()
    }

    /// Lets a worker receive one frame.
    ///
    /// # Errors
    ///
    /// When the ledger is off afterwards or a frame that leaves is not in order.
    pub fn inject(&mut self, worker: u8, port: PortId, frame: &[u8]) -> Result<Verdict> {
        let verdicts = self.inject_burst(worker, &[(port, frame)])?;
        Ok(verdicts[0])
    }

    /// Lets a worker receive a burst.
    ///
    /// # Errors
    ///
    /// When the ledger is off afterwards or a frame that leaves is not in order.
    pub fn inject_burst(&mut self, worker: u8, burst: &[(PortId, &[u8])]) -> Result<Vec<Verdict>> {
        let mut verdicts = Vec::new();
        self.process(worker, burst, false, &mut verdicts)?;
        self.turn()?;
        Ok(verdicts)
    }

    /// Lets a worker receive one frame without a turn afterwards: what the director originates
    /// stays in it until the next step.
    ///
    /// # Errors
    ///
    /// When the ledger is off afterwards or a frame that leaves is not in order.
    pub fn inject_only(&mut self, worker: u8, port: PortId, frame: &[u8]) -> Result<Verdict> {
        let mut verdicts = Vec::new();
        self.process(worker, &[(port, frame)], false, &mut verdicts)?;
        Ok(verdicts[0])
    }

    /// Returns when the directors want time to pass at the latest.
    #[must_use]
    pub fn wake_at(&self) -> Time {
        let now = self.clock.now();
        let idle = self.directors.iter().map(|it| it.idle_for(now)).min();
        now.time.after(idle.unwrap_or_default())
    }

    /// Lets time pass until `time`; every director is asked as often as it wants.
    ///
    /// # Errors
    ///
    /// When a ledger is off or a frame that leaves is not in order.
    pub fn advance_to(&mut self, time: Time) -> Result<()> {
        while self.advance_step(time)? {}
        Ok(())
    }

    /// Lets time pass until a frame leaves, at most until `time`; says whether one did.
    ///
    /// # Errors
    ///
    /// When a ledger is off or a frame that leaves is not in order.
    pub fn advance_until_emission(&mut self, time: Time) -> Result<bool> {
        while self.emitted.is_empty() {
            if !self.advance_step(time)? {
                break;
            }
        }
        Ok(!self.emitted.is_empty())
    }

    /// Returns the next frame that left.
    pub fn take_emitted(&mut self) -> Option<Emitted> {
        self.emitted.pop_front()
    }

    /// Returns the next frame that was given to the host.
    pub fn take_delivered(&mut self) -> Option<(PortId, Vec<u8>)> {
        self.delivered.pop_front()
    }

    /// Returns and forgets the events so far.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Returns the counters of all workers, without what the world's own ARP moved.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally_of_all().since(&self.background)
    }

    /// Returns the sessions of all workers.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionView> {
        let mut all = Vec::new();
        for director in &self.directors {
            let mut cursor = Some(0);
            while let Some(at) = cursor {
                let mut each = |view| all.push(view);
                cursor = director.sessions(self.clock.now(), at, 64, &mut each);
            }
        }
        all
    }

    /// Returns how many local ports are in use on all workers.
    #[must_use]
    pub fn ports_used(&self) -> u32 {
        let mut used = 0;
        for director in &self.directors {
            director.pool_use(&mut |pool| used += pool.used);
        }
        used
    }

    /// Lets every director do what is due and collects what it originates.
    ///
    /// # Errors
    ///
    /// When a ledger is off or a frame that leaves is not in order.
    pub fn turn(&mut self) -> Result<()> {
        for _ in 0..MOST_TURNS {
            let mut quiet = true;
            for worker in 0..self.setup.workers {
                let at = usize::from(worker);
                self.directors[at].tick(self.clock.now());
                quiet &= !self.drain_originated(worker)?;
                while let Some(notice) = self.directors[at].next_notice() {
                    self.hear(worker, notice);
                }
            }
            quiet &= !self.deliver_replies()?;
            self.check_ledgers()?;
            if quiet && self.wake_at() > self.clock.time() {
                return Ok(());
            }
        }
        bail!("a director asks for another turn without end")
    }

    /// Sends what a director originates; says whether there was something.
    fn drain_originated(&mut self, worker: u8) -> Result<bool> {
        let mut buffer = vec![0; CHUNK];
        let mut any = false;
        while let Some((port, len)) =
            self.directors[usize::from(worker)].next_originated(&mut buffer)
        {
            any = true;
            let frame = buffer[..len].to_vec();
            self.emit(worker, port, frame, !self.held_a_bad_one)?;
        }
        Ok(any)
    }

    fn advance_step(&mut self, time: Time) -> Result<bool> {
        let now = self.clock.time();
        if now >= time {
            return Ok(false);
        }
        let next = self.wake_at().max(now.after(Duration::from_micros(1)));
        self.clock.advance_to(next.min(time));
        self.turn()?;
        Ok(true)
    }

    fn process(
        &mut self,
        worker: u8,
        burst: &[(PortId, &[u8])],
        handed_in: bool,
        verdicts: &mut Vec<Verdict>,
    ) -> Result<()> {
        let mut chunks: Vec<Vec<u8>> = burst
            .iter()
            .map(|(_, frame)| {
                let mut chunk = vec![0xa5; CHUNK.max(HEADROOM + frame.len() + 64)];
                chunk[HEADROOM..HEADROOM + frame.len()].copy_from_slice(frame);
                chunk
            })
            .collect();
        let mut packets: Vec<Packet<'_>> = Vec::new();
        for ((port, bytes), chunk) in burst.iter().zip(&mut chunks) {
            let Some(frame) = FrameBuf::new(chunk, HEADROOM..HEADROOM + bytes.len()) else {
                bail!("a frame of {} bytes does not fit its chunk", bytes.len());
            };
            packets.push(if handed_in {
                Packet::handed_in(frame, *port)
            } else {
                Packet::received(frame, *port, self.setup.maybe_partial)
            });
        }
        self.directors[usize::from(worker)].process(self.clock.now(), &mut packets);
        let outcomes: Vec<(Verdict, Vec<u8>)> = packets
            .iter()
            .map(|packet| (packet.verdict, packet.frame.bytes().to_vec()))
            .collect();
        self.held_a_bad_one |= burst
            .iter()
            .zip(&outcomes)
            .any(|((_, before), (verdict, _))| *verdict == Verdict::Hold && !is_sound(before));
        // What is originated leaves ahead of the burst, as the worker sends it.
        self.drain_originated(worker)?;
        for ((port, before), (verdict, after)) in burst.iter().zip(outcomes) {
            verdicts.push(verdict);
            self.carry_out(worker, *port, before, verdict, after, handed_in)?;
        }
        self.check_ledgers()
    }

    fn carry_out(
        &mut self,
        worker: u8,
        port: PortId,
        before: &[u8],
        verdict: Verdict,
        after: Vec<u8>,
        handed_in: bool,
    ) -> Result<()> {
        let sound = is_sound(before);
        match verdict {
            Verdict::Forward(to) => {
                check_passage(before, &after)?;
                self.emit(worker, to, after, sound)
            }
            Verdict::Reply => self.emit(worker, port, after, true),
            Verdict::Deliver => {
                ensure!(self.setup.delivers, "delivered although no driver can");
                ensure!(after == before, "a delivered frame was changed");
                self.delivered.push_back((port, after));
                Ok(())
            }
            Verdict::Drop(reason) => {
                ensure!(
                    reason != DropReason::Internal,
                    "dropped for an internal failure: {}",
                    Describe(before)
                );
                Ok(())
            }
            Verdict::HandOff(to) => {
                ensure!(to.0 != worker, "worker {to} hands a frame to itself");
                ensure!(!handed_in, "worker {worker} hands on what was handed to it");
                ensure!(to.0 < self.setup.workers, "handed to worker {to} of none");
                self.process(to.0, &[(port, &after)], true, &mut Vec::new())
            }
            Verdict::Hold => Ok(()),
        }
    }

    fn hear(&mut self, from: u8, notice: Notice) {
        match notice {
            Notice::Neighbour { port, address, mac } => {
                let now = self.clock.now();
                for (worker, director) in self.directors.iter_mut().enumerate() {
                    if worker != usize::from(from) {
                        director.learn_neighbour(now, port, address, mac);
                    }
                }
            }
            Notice::Flood { service, active } => {
                self.floods.retain(|known| *known != (from, service));
                if active {
                    self.floods.push((from, service));
                }
                for (worker, director) in self.directors.iter_mut().enumerate() {
                    let others = self
                        .floods
                        .iter()
                        .any(|(own, of)| usize::from(*own) != worker && *of == service);
                    director.set_flood_hint(service, others);
                }
            }
            Notice::Event(event) => self.events.push(event),
        }
    }

    /// Checks a frame that leaves, answers it when it is an ARP request to the neighbourhood, and
    /// keeps it for the test otherwise.
    fn emit(&mut self, worker: u8, port: PortId, frame: Vec<u8>, sound: bool) -> Result<()> {
        let shown = Describe(&frame);
        let Some(link) = self.around.link(port) else {
            bail!("sent on port {port}, which does not exist: {shown}");
        };
        let Some(eth) = EthHeader::at(&frame, 0) else {
            bail!("sent a frame that is not whole: {shown}");
        };
        ensure!(
            eth.src_addr() == link.mac,
            "sent on {} with the source {}, which is not the port's: {shown}",
            link.name,
            eth.src_addr()
        );
        if sound && let Err(error) = verify_frame(&frame) {
            bail!("{error}: {shown}");
        }
        if eth.ethertype.get() == ETHERTYPE_ARP {
            return self.emit_arp(worker, port, frame);
        }
        let parsed = match Parsed::parse(&frame) {
            Ok(parsed) => parsed,
            Err(error) => bail!("sent what is not in order, {error}: {shown}"),
        };
        let Kind::Ipv4(v4) = &parsed.kind else {
            bail!("sent what is neither ARP nor IPv4: {shown}");
        };
        ensure!(
            eth.dst_addr().is_unicast(),
            "sent to {}, which is no single station: {shown}",
            eth.dst_addr()
        );
        ensure!(v4.ttl > 0, "sent with a TTL of 0: {shown}");
        ensure!(
            usize::from(v4.total_len) <= usize::from(self.setup.mtu),
            "longer than the MTU: {shown}"
        );
        ensure!(
            self.is_ours(v4.src),
            "sent with a source that Weir does not own: {shown}"
        );
        if self.setup.neighbours_answer && !self.setup.liars {
            let reach = self.around.reach(v4.dst);
            ensure!(
                reach == Some((port, eth.dst_addr())),
                "sent to {} on {}, where the way leads elsewhere: {shown}",
                eth.dst_addr(),
                link.name
            );
        }
        self.push(worker, port, frame);
        Ok(())
    }

    fn emit_arp(&mut self, worker: u8, port: PortId, frame: Vec<u8>) -> Result<()> {
        let shown = Describe(&frame);
        let Some(arp) = ArpRepr::parse(&frame[l3_offset(&frame)..]) else {
            bail!("sent an ARP packet that is not in order: {shown}");
        };
        ensure!(
            self.around
                .link(port)
                .is_some_and(|it| it.mac == arp.sender_mac),
            "an ARP sender that is not the port: {shown}"
        );
        ensure!(
            self.is_ours(arp.sender_ip),
            "an ARP sender address that Weir does not own: {shown}"
        );
        let mut moved = vec!["originated", "tx"];
        if arp.op == ARP_REQUEST && arp.is_announcement() {
            moved.push("arp-announced");
        } else if arp.op == ARP_REQUEST
            && self.setup.neighbours_answer
            && self.around.is_neighbour(port, arp.target_ip)
        {
            moved.push("arp-requested");
        } else {
            self.push(worker, port, frame);
            return Ok(());
        }
        if !self.setup.neighbours_answer {
            self.push(worker, port, frame);
            return Ok(());
        }
        let text: Vec<String> = moved.iter().map(|name| format!("{name} 1")).collect();
        self.background.add(&Tally::parse(&text.join(", "))?);
        if arp.is_announcement() {
            return Ok(());
        }
        let Some(reply) = arp.reply_from(self.around.mac_of(arp.target_ip)) else {
            return Ok(());
        };
        self.replies.push_back((port, arp_frame(&reply)));
        Ok(())
    }

    /// Lets the neighbours' ARP replies arrive; says whether there were any.
    fn deliver_replies(&mut self) -> Result<bool> {
        let mut any = false;
        while let Some((port, reply)) = self.replies.pop_front() {
            any = true;
            let before = self.tally_of_all();
            // Non-IP frames arrive at the first queue, whoever asked.
            self.process(0, &[(port, &reply)], false, &mut Vec::new())?;
            self.blame_background(&before);
        }
        Ok(any)
    }

    fn push(&mut self, worker: u8, port: PortId, frame: Vec<u8>) {
        self.emitted.push_back(Emitted {
            port,
            frame,
            at: self.clock.time(),
            worker: WorkerId(worker),
        });
    }

    fn is_own_address(&self, address: Ipv4Addr) -> bool {
        self.snapshot
            .ports
            .iter()
            .flat_map(|port| &port.addresses)
            .any(|net| net.addr() == IpAddr::V4(address))
    }

    fn check_ledgers(&self) -> Result<()> {
        for (worker, director) in self.directors.iter().enumerate() {
            let ledger = director.ledger();
            ensure!(
                ledger.balanced(),
                "the ledger of worker {worker} is off: {} came in, {} are accounted for: {}",
                ledger.sources(),
                ledger.sinks(),
                Tally::of(ledger, director.counters())
            );
        }
        Ok(())
    }

    fn tally_of_all(&self) -> Tally {
        let mut tally = Tally::default();
        for director in &self.directors {
            tally.add(&Tally::of(director.ledger(), director.counters()));
        }
        tally
    }

    /// Takes what an ARP reply of the world's own moved out of the count, and nothing that came
    /// to pass beside it.
    fn blame_background(&mut self, before: &Tally) {
        let moved = self.tally_of_all().since(before);
        self.background.add(&moved.only(&BACKGROUND));
    }
}

/// Makes the directors of a world.
fn directors(
    setup: &Setup,
    snapshot: &Arc<Snapshot>,
    around: &Neighbourhood,
    clock: &Clock,
) -> Result<Vec<Director>> {
    let mut random = Random::new(setup.seed);
    let flow_secret = random.key();
    let ports: Vec<PortFacts> = around
        .links()
        .iter()
        .map(|link| PortFacts {
            id: link.port,
            mac: link.mac,
            mtu: setup.mtu,
            delivers: setup.delivers,
        })
        .collect();
    (0..setup.workers)
        .map(|id| {
            let facts = WorkerFacts {
                id: WorkerId(id),
                workers: setup.workers,
                sessions: setup.sessions,
                flow_secret,
                seed: random.key(),
                ports: ports.clone(),
            };
            let (spread, snapshot) = (setup.spread.clone(), Arc::clone(snapshot));
            Director::spread(facts, spread, snapshot, clock.now(), &|_| {})
                .ok()
                .context("no memory for a director's tables")
        })
        .collect()
}

/// Checks what a frame that passes through keeps, its TTL less one and its DSCP, and that it loses
/// its padding.
fn check_passage(before: &[u8], after: &[u8]) -> Result<()> {
    let (Ok(was), Ok(is)) = (Parsed::parse(before), Parsed::parse(after)) else {
        bail!("forwarded what does not parse: {}", Describe(after));
    };
    let (Some(was4), Some(is4)) = (was.v4(), is.v4()) else {
        bail!("forwarded what is not IPv4: {}", Describe(after));
    };
    ensure!(
        was4.ttl.checked_sub(1) == Some(is4.ttl),
        "the TTL went from {} to {}: {}",
        was4.ttl,
        is4.ttl,
        Describe(after)
    );
    ensure!(
        was4.tos == is4.tos,
        "DSCP or ECN was changed: {}",
        Describe(after)
    );
    ensure!(
        was4.protocol == is4.protocol,
        "the protocol was changed: {}",
        Describe(after)
    );
    ensure!(
        after.len() - l3_offset(after) == usize::from(is4.total_len),
        "bytes behind the packet: {}",
        Describe(after)
    );
    Ok(())
}

/// Says whether a frame's checksums are right, or will be when they are completed.
fn is_sound(frame: &[u8]) -> bool {
    let mut copy = frame.to_vec();
    verify_frame(frame).is_ok()
        || Parsed::parse(frame).is_ok_and(|parsed| {
            weir_wire::complete_partial(&mut copy, &parsed) == weir_wire::verify::Completed::Yes
        })
}

fn owned(snapshot: &Snapshot) -> BTreeSet<Ipv4Addr> {
    snapshot
        .owned_addresses()
        .into_iter()
        .filter_map(|it| match it {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        })
        .collect()
}
