//! A director with its surroundings: two ports, clients behind a router, real servers on a wire.

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use nat_engine::{FlowHasher, FlowKey};
use netmap_io::huge_pages;
use weir_director::{Director, Packet, PortFacts, WorkerFacts};
use weir_model::{Now, PortId, Time, WorkerId};
use weir_testkit::{Random, snapshot};
use weir_wire::EthAddr;

pub(crate) const WAN: PortId = PortId(0);
pub(crate) const LAN: PortId = PortId(1);
pub(crate) const WAN_MAC: EthAddr = EthAddr([2, 0, 0, 0, 0, 1]);
pub(crate) const LAN_MAC: EthAddr = EthAddr([2, 0, 0, 0, 0, 2]);
pub(crate) const ROUTER_MAC: EthAddr = EthAddr([2, 0, 0, 0, 1, 1]);
const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The address of all services.
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The port of the service that passes SYNs on.
pub(crate) const PLAIN: u16 = 80;
/// The port of the service that answers every SYN by a cookie.
pub(crate) const SHIELDED: u16 = 443;
/// The port of the service of UDP.
pub(crate) const DATAGRAMS: u16 = 53;
/// Real servers of each service.
pub(crate) const REALS: u8 = 8;

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
address = 10.0.8.0/26
[service web]
listen = 203.0.113.10:80/tcp
lip-pool = blue
scheduler = rr
REALS 80
[service shop]
listen = 203.0.113.10:443/tcp
lip-pool = blue
scheduler = rr
synproxy = front
REALS 443
[service names]
listen = 203.0.113.10:53/udp
lip-pool = blue
scheduler = rr
REALS 53
[synproxy front]
mode = always
options = given
";

/// Returns the address of a real server.
pub(crate) const fn real(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 1, 11 + number)
}

/// Returns the Ethernet address of a real server.
pub(crate) const fn real_mac(number: u8) -> EthAddr {
    EthAddr([2, 0, 0, 0, 2, number])
}

/// One worker's director and the time that it is told.
pub(crate) struct Rig {
    pub(crate) director: Director,
    pub(crate) now: Now,
    /// Whether instructions and allocations are counted.
    pub(crate) counts: bool,
    /// Allocations while they were.
    pub(crate) allocations: u64,
    id: u8,
    workers: u8,
    hasher: FlowHasher,
    /// When the neighbours were last known.
    met_ms: u64,
    out: Vec<u8>,
}

impl Rig {
    /// Makes worker `id` of `workers`, with room for so many sessions.
    pub(crate) fn new(sessions: u32, id: u8, workers: u8) -> Result<Self> {
        let mut random = Random::new(1);
        let port = |id, mac| PortFacts {
            id,
            mac,
            mtu: 1500,
            delivers: false,
        };
        let flow_secret = random.key();
        let facts = WorkerFacts {
            id: WorkerId(id),
            workers,
            sessions,
            flow_secret,
            seed: random.key(),
            ports: vec![port(WAN, WAN_MAC), port(LAN, LAN_MAC)],
        };
        let now = Now {
            time: Time::from_millis(1),
            wall_ms: 1_700_000_000_000,
        };
        let snapshot = Arc::new(snapshot("bench", &conf()?)?);
        // As the daemon does.
        let prepare = |memory| {
            huge_pages::prefer(&memory);
            // As the daemon's memory thread does: a page is made once, and not by a packet. Where the
            // kernel cannot, the first packet of each page pays for it.
            let _ = huge_pages::populate(&memory);
        };
        let director = Director::prepared(facts, snapshot, now, &prepare)
            .map_err(|_| anyhow!("no memory for {sessions} sessions"))?;
        let mut rig = Self {
            director,
            now,
            counts: false,
            allocations: 0,
            id,
            workers,
            hasher: FlowHasher::new(flow_secret),
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
        self.workers == 1 || self.hasher.hash(&key).owner(self.workers) == self.id
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
        self.director.process(self.now, packets);
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
        self.director
            .learn_neighbour(self.now, WAN, ROUTER, ROUTER_MAC);
        for number in 0..REALS {
            let (address, mac) = (real(number), real_mac(number));
            self.director.learn_neighbour(self.now, LAN, address, mac);
        }
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

fn conf() -> Result<String> {
    let mut conf = String::new();
    for line in CONF.lines() {
        let Some(port) = line.strip_prefix("REALS ") else {
            writeln!(conf, "{line}")?;
            continue;
        };
        for number in 0..REALS {
            writeln!(conf, "real = {}:{port}", real(number))?;
        }
    }
    Ok(conf)
}
