//! One worker's director in its surroundings, and what it does in a turn.

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::Result;
use nat_engine::{FlowHasher, FlowKey};
use netmap_io::huge_pages;
use weir_director::{Director, Packet};
use weir_model::{Now, PortId, WorkerId};
use weir_rig::{Place, VIP};
use weir_testkit::Random;

/// Real servers of each service.
pub(crate) const REALS: u8 = 8;

/// One worker's director and the time that it is told.
pub(crate) struct Rig {
    pub(crate) director: Director,
    pub(crate) now: Now,
    /// Whether instructions and allocations are counted.
    pub(crate) counts: bool,
    /// Allocations while they were.
    pub(crate) allocations: u64,
    /// Whether a turn's packets are timed apart from what else it does.
    pub(crate) splits: bool,
    /// How long the last turn's packets took, where they were.
    pub(crate) walked: Duration,
    place: Place,
    hasher: FlowHasher,
    /// When the neighbours were last known.
    met_ms: u64,
    out: Vec<u8>,
}

impl Rig {
    /// Makes worker `id` of `workers`, with room for so many sessions.
    pub(crate) fn new(sessions: u32, id: u8, workers: u8) -> Result<Self> {
        let mut random = Random::new(1);
        let place = Place {
            id: WorkerId(id),
            workers,
            sessions,
            reals: REALS,
            flow_secret: random.key(),
            seed: random.key(),
        };
        // As the daemon does.
        let prepare = |memory| {
            huge_pages::prefer(&memory);
            // As the daemon's memory thread does: a page is made once, and not by a packet. Where the
            // kernel cannot, the first packet of each page pays for it.
            let _ = huge_pages::populate(&memory);
        };
        let mut rig = Self {
            director: place.director(&prepare)?,
            now: Place::START,
            counts: false,
            allocations: 0,
            splits: false,
            walked: Duration::ZERO,
            place,
            hasher: FlowHasher::new(place.flow_secret),
            met_ms: 0,
            out: vec![0; 2048],
        };
        rig.know_neighbours();
        // All that Weir says at the start is said before anything is measured.
        for _ in 0..100 {
            rig.pass(Duration::from_millis(1));
        }
        Ok(rig)
    }

    /// Says whether a client's packets to the VIP reach this worker.
    pub(crate) fn owns(&self, client: (Ipv4Addr, u16), port: u16, protocol: u8) -> bool {
        let key = FlowKey {
            src: client.0,
            dst: VIP,
            src_port: client.1,
            dst_port: port,
            protocol,
        };
        let Place { id, workers, .. } = self.place;
        workers == 1 || self.hasher.hash(&key).owner(workers) == id.0
    }

    /// Walks a burst and returns how long that took.
    pub(crate) fn walk(&mut self, packets: &mut [Packet<'_>]) -> Duration {
        let start = Instant::now();
        if self.counts {
            self.allocations += counted(&mut || self.director.process(self.now, packets));
        } else {
            self.director.process(self.now, packets);
        }
        start.elapsed()
    }

    /// Does all that a worker does in a turn: walks a burst, lets timers run, takes out what the
    /// director originates and what it notices. Returns how long that took.
    pub(crate) fn turn(
        &mut self,
        packets: &mut [Packet<'_>],
        time: Duration,
        said: &mut dyn FnMut(PortId, &[u8]),
    ) -> Duration {
        let start = Instant::now();
        if self.counts {
            self.allocations += counted(&mut || self.work(packets, time, said));
        } else {
            self.work(packets, time, said);
        }
        let took = start.elapsed();
        self.meet_neighbours();
        took
    }

    /// Lets time pass: the director's timers turn, and what it has to say goes nowhere.
    pub(crate) fn pass(&mut self, time: Duration) {
        let before = self.now.time.as_millis();
        if self.now.time.after(time).as_millis() == before {
            self.now.time = self.now.time.after(time);
            return;
        }
        self.work(&mut [], time, &mut |_, _| ());
        self.meet_neighbours();
    }

    #[inline]
    fn work(
        &mut self,
        packets: &mut [Packet<'_>],
        time: Duration,
        said: &mut dyn FnMut(PortId, &[u8]),
    ) {
        let start = self.splits.then(Instant::now);
        self.director.process(self.now, packets);
        if let Some(start) = start {
            self.walked = start.elapsed();
        }
        let before = self.now.time.as_millis();
        self.now.time = self.now.time.after(time);
        self.now.wall_ms += self.now.time.as_millis() - before;
        self.director.tick(self.now);
        while let Some((port, len)) = self.director.next_originated(&mut self.out) {
            said(port, self.out.get(..len).unwrap_or_default());
        }
        while self.director.next_notice().is_some() {}
    }

    /// Says again who is where, once in a while, as answers to ARP requests would.
    fn meet_neighbours(&mut self) {
        if self.now.time.as_millis() >= self.met_ms + 5_000 {
            self.know_neighbours();
        }
    }

    fn know_neighbours(&mut self) {
        self.met_ms = self.now.time.as_millis();
        self.place.introduce(&mut self.director, self.now);
    }
}

/// Counts the allocations of some work, and lets callgrind count its instructions.
fn counted(work: &mut dyn FnMut()) -> u64 {
    allocation_counter::measure(|| collected(work)).count_total
}

/// What callgrind is told to collect, by this name.
#[inline(never)]
fn collected(work: &mut dyn FnMut()) {
    work();
    // So that this is no function like any other, and none is put in its place.
    black_box(());
}
