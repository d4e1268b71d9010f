//! Directors with their surroundings: frames go in by bytes, verdicts are carried out, what leaves
//! is collected, and after each step the books are checked.

mod emit;
mod process;
mod setup;

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use weir_director::{Director, SessionView};
use weir_model::{Event, Now, PortId, ServiceId, Snapshot, Time, Verdict, WorkerId};

use self::setup::{directors, owned};
use crate::{Clock, Neighbourhood, Tally};

pub use setup::Setup;

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
