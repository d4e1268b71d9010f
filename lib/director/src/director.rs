//! The director of one worker: its state and the turn that a worker drives.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use core::time::Duration;

use nat_engine::{
    FlowHash, FlowHasher, FlowKey, LocalPorts, OutOfMemory, Prepare, Rng, Scheduler, SessionTable,
    Steering, TimerWheel,
};
use weir_model::{
    Counter, Counters, DropReason, Ledger, Now, PortId, RealState, SchedulerKind, Snapshot, Verdict,
};

use weir_simd::Width;

use crate::audit::Audit;
use crate::defence::Guard;
use crate::found::{Burst, LOOKUPS, Lookup};
use crate::fragments::Fragments;
use crate::neighbours::Neighbours;
use crate::outbox::Outbox;
use crate::persist::Persistence;
use crate::plan::Plan;
use crate::rate::RateLimit;
use crate::synproxy::Synproxy;
use crate::traffic::Traffic;
use crate::{Notice, Packet, Source, SpreadFacts, WorkerFacts};

/// How far ahead of its walk a frame's headers are asked for: chunks lie so that few of a burst
/// stay in the first cache.
const AHEAD: usize = 3;
/// Frames that Weir can originate in one turn.
const OUTBOX: usize = 1024;
/// Things that the control thread can be told in one turn.
const NOTICES: usize = 256;
/// Sessions that expire, or are looked at for it, in one turn.
const EXPIRIES: u32 = 64;
/// Announcements in one turn.
const ANNOUNCEMENTS: usize = 16;
/// ICMP errors, answers to pings, and refusals that nobody proved worthy of one, per second.
const ICMP_RATE: u32 = 1_000;
const ECHO_RATE: u32 = 10_000;
const REFUSE_RATE: u32 = 10_000;

/// The walk of one worker: its sessions, local ports, neighbours, timers and counters.
pub struct Director {
    pub(crate) facts: WorkerFacts,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) plan: Plan,
    pub(crate) table: SessionTable,
    pub(crate) wheel: TimerWheel,
    pub(crate) ports: LocalPorts,
    /// How the owner of a client's flow is found, where a NIC decides it.
    pub(crate) clients: Option<Arc<Steering>>,
    pub(crate) rng: Rng,
    /// Secret of the initial sequence numbers (RFC 6528 section 3).
    pub(crate) isn_hasher: FlowHasher,
    pub(crate) schedulers: Vec<Option<(SchedulerKind, Box<dyn Scheduler>)>>,
    pub(crate) neighbours: Neighbours,
    pub(crate) fragments: Fragments,
    pub(crate) outbox: Outbox,
    pub(crate) traffic: Traffic,
    pub(crate) audit: Audit,
    pub(crate) synproxy: Synproxy,
    /// What control says of each real server, by id.
    pub(crate) real_states: Vec<RealState>,
    /// The real servers that have as many sessions as they may, by id: until they have fewer again.
    pub(crate) full: Vec<bool>,
    pub(crate) guard: Guard,
    /// Whether any client is limited or denied.
    pub(crate) guarded: bool,
    pub(crate) persistence: Persistence,
    pub(crate) ledger: Ledger,
    pub(crate) counters: Counters,
    pub(crate) icmp_rate: RateLimit,
    /// Of answers to datagrams that nobody listens for: whoever scans takes none of the others.
    pub(crate) closed_rate: RateLimit,
    pub(crate) echo_rate: RateLimit,
    pub(crate) refuse_rate: RateLimit,
    /// Apart from the others, so that a flood of bad ACKs starves none of them.
    pub(crate) bad_ack_rate: RateLimit,
    pub(crate) draining: bool,
    /// Where in the table the next search for a session that can make room begins.
    pub(crate) evict_at: u32,
    /// What the passes over a burst find out; none while one is walked.
    burst: Option<Box<Burst>>,
    /// How many hashes this machine computes at a time.
    pub(crate) width: Width,
    /// The words of the key of the packet that is being walked, and their hash.
    pub(crate) walking: Option<([u64; 2], FlowHash)>,
    /// The packet of the burst that is being walked; what `recover` settles after a panic.
    cursor: usize,
    notices: VecDeque<Notice>,
    pub(crate) announcements: VecDeque<(PortId, Ipv4Addr)>,
    /// VIPs that nobody is told of, in ascending order.
    pub(crate) withdrawn: Vec<Ipv4Addr>,
    #[cfg(any(test, feature = "panic-hook"))]
    pub(crate) panic_on: Option<[u8; 8]>,
}

impl Director {
    /// Makes a director with empty tables; all that the packet path needs is allocated here.
    ///
    /// # Errors
    /// When the memory for the tables is not to be had.
    pub fn new(facts: WorkerFacts, snapshot: Arc<Snapshot>, now: Now) -> Result<Self, OutOfMemory> {
        Self::prepared(facts, snapshot, now, &|_| {})
    }

    /// Makes a director as [`new`](Self::new) does, and tells `prepare` of the memory of its large
    /// tables before it touches it.
    ///
    /// # Errors
    /// When the memory for the tables is not to be had.
    pub fn prepared(
        facts: WorkerFacts,
        snapshot: Arc<Snapshot>,
        now: Now,
        prepare: Prepare<'_>,
    ) -> Result<Self, OutOfMemory> {
        Self::spread(facts, SpreadFacts::default(), snapshot, now, prepare)
    }

    /// Makes a director as [`prepared`](Self::prepared) does, which relies on what is known of the
    /// NICs.
    ///
    /// # Errors
    /// When the memory for the tables is not to be had.
    pub fn spread(
        facts: WorkerFacts,
        spread: SpreadFacts,
        snapshot: Arc<Snapshot>,
        now: Now,
        prepare: Prepare<'_>,
    ) -> Result<Self, OutOfMemory> {
        let now_ms = millis(now);
        let mut rng = Rng::new(facts.seed);
        let table =
            SessionTable::prepared(facts.sessions, FlowHasher::new(facts.flow_secret), prepare)?;
        let isn_hasher = FlowHasher::new(key_from(&mut rng));
        let ports_seed = key_from(&mut rng);
        let guard_seed = key_from(&mut rng);
        let first_ident = rng.next_u32() as u16;
        let resting = facts.sessions / 4;
        let ports = LocalPorts::prepared(facts.id.0, facts.workers, resting, ports_seed, prepare)?
            .steered(spread.ports);
        let mut director = Self {
            facts,
            snapshot: Arc::clone(&snapshot),
            plan: Plan::default(),
            table,
            wheel: TimerWheel::new(now_ms),
            ports,
            clients: spread.clients,
            rng,
            isn_hasher,
            schedulers: Vec::new(),
            fragments: Fragments::new(first_ident),
            neighbours: Neighbours::new(now_ms),
            outbox: Outbox::with_capacity(OUTBOX),
            traffic: Traffic::default(),
            audit: Audit::new(),
            synproxy: Synproxy::new(guard_seed),
            real_states: Vec::new(),
            full: Vec::new(),
            guard: Guard::default(),
            guarded: false,
            persistence: Persistence::default(),
            ledger: Ledger::default(),
            counters: Counters::default(),
            icmp_rate: RateLimit::new(ICMP_RATE, now_ms),
            closed_rate: RateLimit::new(ICMP_RATE, now_ms),
            echo_rate: RateLimit::new(ECHO_RATE, now_ms),
            refuse_rate: RateLimit::new(REFUSE_RATE, now_ms),
            bad_ack_rate: RateLimit::new(REFUSE_RATE, now_ms),
            draining: false,
            evict_at: 0,
            burst: Some(Burst::boxed()),
            width: Width::detect(),
            walking: None,
            cursor: 0,
            notices: VecDeque::with_capacity(NOTICES),
            announcements: VecDeque::new(),
            withdrawn: Vec::new(),
            #[cfg(any(test, feature = "panic-hook"))]
            panic_on: None,
        };
        director.take_snapshot(now, snapshot);
        Ok(director)
    }

    /// Takes a new snapshot and returns the retired one, to be freed off the packet path. Sessions
    /// of what did not change are not touched.
    pub fn apply(&mut self, now: Now, snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
        self.take_snapshot(now, snapshot)
    }

    /// Walks a burst: afterwards each packet has its verdict, and the ledger counts it as if the
    /// worker could carry it out.
    ///
    /// When this unwinds, [`recover`](Self::recover) settles the packet at fault, and a further
    /// call with the same burst continues behind it.
    pub fn process(&mut self, now: Now, packets: &mut [Packet<'_>]) {
        let mut burst = self.burst.take().unwrap_or_else(Burst::boxed);
        while self.cursor < packets.len() {
            let first = self.cursor;
            let packets = packets.get_mut(first..).unwrap_or_default();
            let count = packets.len().min(LOOKUPS);
            let packets = packets.get_mut(..count).unwrap_or_default();
            burst.clear();
            for (at, packet) in packets.iter().enumerate() {
                if let Some(next) = packets.get(at + AHEAD) {
                    next.prefetch();
                }
                let (lookup, words) = self.look_up(packet);
                burst.put(at, lookup, words);
            }
            burst.prefetch(&self.table, count);
            if burst.has_strangers() {
                self.ask_for_strangers(packets, &mut burst);
            }
            for at in 0..count {
                if let Some(next) = packets.get(at + AHEAD) {
                    next.prefetch();
                }
                let Some(packet) = packets.get_mut(at) else {
                    break;
                };
                match packet.source {
                    Source::Wire => self.ledger.rx += 1,
                    Source::HandedIn => self.ledger.handed_in += 1,
                }
                packet.verdict = self.walk(now, packet, &burst, at);
                self.settle(packet.verdict);
                self.cursor += 1;
            }
        }
        self.burst = Some(burst);
        self.cursor = 0;
    }

    /// Decides what becomes of a packet.
    #[inline]
    fn walk(&mut self, now: Now, packet: &mut Packet<'_>, burst: &Burst, at: usize) -> Verdict {
        self.walking = None;
        let Some(seen) = burst.get(at) else {
            return self.walk_other(now, packet);
        };
        match seen.lookup {
            Lookup::Plain(to) => self.walk_plain(now, packet, burst, &seen, to),
            Lookup::Drop(reason) => Verdict::Drop(reason),
            Lookup::Host => self.host(packet),
            Lookup::Other => self.walk_other(now, packet),
        }
    }

    /// After [`process`](Self::process) unwound: gives the packet at fault the verdict
    /// `Drop(Internal)`, resets its session, and returns its place in the burst.
    pub fn recover(&mut self, now: Now, packets: &mut [Packet<'_>]) -> Option<usize> {
        let at = self.cursor;
        let packet = packets.get_mut(at)?;
        // First, so that a second failure in here does not meet the same packet for ever.
        self.cursor += 1;
        packet.verdict = Verdict::Drop(DropReason::Internal);
        self.ledger.drop(DropReason::Internal);
        let worker = self.facts.id;
        self.notify(Notice::Event(weir_model::Event::Internal {
            at: now.time,
            worker,
        }));
        // What was found out before the failure: the frame itself may be half rewritten.
        if let Some((words, hash)) = self.walking
            && let Some((id, _)) = self.table.find(hash, &FlowKey::from_words(words))
        {
            self.reset(now, id);
        }
        Some(at)
    }

    /// Does what time asks for, a bounded amount each turn: expiry, requests to neighbours,
    /// announcements.
    pub fn tick(&mut self, now: Now) {
        let now_ms = millis(now);
        self.tick_floods(now);
        self.sweep_denied(now);
        self.tick_persistence(now);
        self.expire(now, EXPIRIES);
        self.ask_neighbours(now_ms);
        for _ in 0..ANNOUNCEMENTS {
            let Some((port, address)) = self.announcements.pop_front() else {
                break;
            };
            self.announce(port, address);
        }
    }

    /// Returns how long the worker may wait at most before the next [`tick`](Self::tick).
    #[must_use]
    pub fn idle_for(&self, now: Now) -> Duration {
        let busy = !self.announcements.is_empty() || self.guard.is_sweeping();
        if busy || self.has_originated() {
            return Duration::ZERO;
        }
        let asking = if self.neighbours.is_asking() {
            100
        } else {
            1000
        };
        let expiry = self.wheel.idle_ms(millis(now)).unwrap_or(1000);
        Duration::from_millis(u64::from(asking.min(expiry)))
    }

    /// Says whether [`next_originated`](Self::next_originated) has something to send.
    #[must_use]
    pub fn has_originated(&self) -> bool {
        self.neighbours.has_ready() || !self.outbox.is_empty() || self.synproxy.has_releases()
    }

    /// Writes the next frame that Weir itself sends, or that no longer waits for its neighbour,
    /// into `buffer`, and says which port it leaves by and how long it is. It is counted as
    /// transmitted.
    pub fn next_originated(&mut self, buffer: &mut [u8]) -> Option<(PortId, usize)> {
        let held = self
            .neighbours
            .next_ready(buffer)
            .or_else(|| self.outbox.pop(buffer));
        let next = match held {
            Some(next) => {
                self.ledger.held -= 1;
                next
            }
            None => self.next_release(buffer)?,
        };
        self.ledger.tx += 1;
        Some(next)
    }

    /// Takes back the count of a transmission that the port's ring refused.
    pub fn not_transmitted(&mut self) {
        self.ledger.tx -= 1;
        self.ledger.drop(DropReason::TxRingFull);
    }

    /// Takes back the count of a delivery that the host did not take.
    pub fn not_delivered(&mut self) {
        self.ledger.delivered -= 1;
        self.ledger.drop(DropReason::HostPathFull);
    }

    /// Takes back the count of a hand-off that the other worker had no room for.
    pub fn not_handed_over(&mut self) {
        self.ledger.handed_out -= 1;
        self.ledger.drop(DropReason::HandOffFull);
    }

    /// Stops opening sessions, or opens them again; those that exist go on.
    pub fn admit(&mut self, sessions: bool) {
        self.draining = !sessions;
    }

    /// Returns the next thing that the control thread should know.
    pub fn next_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// Makes the walk panic on a TCP or UDP packet that contains these bytes.
    #[cfg(any(test, feature = "panic-hook"))]
    pub fn panic_on(&mut self, marker: [u8; 8]) {
        self.panic_on = Some(marker);
    }

    /// Keeps a notice for the control thread; when it does not keep up, the newest are lost.
    pub(crate) fn notify(&mut self, notice: Notice) {
        if self.notices.len() < NOTICES {
            self.notices.push_back(notice);
        }
    }

    /// Keeps a notice of a kind that packets cause one by one: it leaves room for the others.
    pub(crate) fn notify_of_many(&mut self, notice: Notice) {
        if self.notices.len() < NOTICES / 2 {
            self.notices.push_back(notice);
        }
    }

    pub(crate) fn count(&mut self, counter: Counter) {
        self.counters.count(counter);
    }

    fn settle(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Forward(_) | Verdict::Reply => self.ledger.tx += 1,
            Verdict::Deliver => self.ledger.delivered += 1,
            Verdict::Drop(reason) => self.ledger.drop(reason),
            Verdict::HandOff(_) => self.ledger.handed_out += 1,
            Verdict::Hold => self.ledger.held += 1,
        }
    }

    fn take_snapshot(&mut self, now: Now, snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
        self.ports.apply(&snapshot);
        self.synproxy.apply(&snapshot, now.wall_ms, millis(now));
        self.real_states
            .resize(snapshot.real_bound as usize, RealState::default());
        self.full.resize(snapshot.real_bound as usize, false);
        self.guard.apply(&snapshot);
        let mut plan = Plan::new(&snapshot, &self.facts, &self.ports, &self.synproxy);
        plan.remember_departed(&self.plan);
        // The first worker speaks for all: an address is announced once.
        if self.facts.id.0 == 0 {
            let known = &self.plan.announced;
            let withdrawn = &self.withdrawn;
            self.announcements.extend(
                plan.announced
                    .iter()
                    .filter(|at| !known.contains(at) && withdrawn.binary_search(&at.1).is_err()),
            );
        }
        self.change_offers(&plan);
        self.forget_clients(&plan);
        self.plan = plan;
        self.guarded = self.plan.defends || self.guard.denies();
        if self.plan.persists {
            self.persistence.make_room(self.facts.sessions);
        }
        self.traffic
            .grow(snapshot.services.bound(), snapshot.real_bound as usize);
        self.update_schedulers(&snapshot);
        core::mem::replace(&mut self.snapshot, snapshot)
    }
}

/// Returns the monotonic milliseconds that sessions and timers count in, wrapping.
pub(crate) fn millis(now: Now) -> u32 {
    now.time.as_millis() as u32
}

fn key_from(rng: &mut Rng) -> [u8; 16] {
    let mut key = [0; 16];
    let (low, high) = key.split_at_mut(8);
    low.copy_from_slice(&rng.next_u64().to_be_bytes());
    high.copy_from_slice(&rng.next_u64().to_be_bytes());
    key
}
