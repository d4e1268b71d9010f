//! A director with its surroundings: two ports, clients behind a router, real servers on a wire.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
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
        let facts = WorkerFacts {
            id: WorkerId(id),
            workers,
            sessions,
            flow_secret: random.key(),
            seed: random.key(),
            ports: vec![port(WAN, WAN_MAC), port(LAN, LAN_MAC)],
        };
        let now = Now {
            time: Time::from_millis(1),
            wall_ms: 1_700_000_000_000,
        };
        let snapshot = Arc::new(snapshot("bench", &conf()?)?);
        let director = Director::new(facts, snapshot, now)
            .map_err(|_| anyhow!("no memory for {sessions} sessions"))?;
        let mut rig = Self {
            director,
            now,
            out: vec![0; 2048],
        };
        rig.know_neighbours();
        // All that Weir says at the start is said before anything is measured.
        for _ in 0..100 {
            rig.pass(Duration::from_millis(1));
        }
        Ok(rig)
    }

    /// Walks a burst and returns how long that took.
    pub(crate) fn walk(&mut self, packets: &mut [Packet<'_>]) -> Duration {
        let start = Instant::now();
        walk(&mut self.director, self.now, packets);
        start.elapsed()
    }

    /// Lets time pass: the director's timers turn, and what it has to say goes nowhere.
    pub(crate) fn pass(&mut self, time: Duration) {
        let before = self.now.time.as_millis();
        self.now.time = self.now.time.after(time);
        let passed = self.now.time.as_millis() - before;
        if passed == 0 {
            return;
        }
        self.now.wall_ms += passed;
        self.director.tick(self.now);
        while self.director.next_originated(&mut self.out).is_some() {}
        while self.director.next_notice().is_some() {}
        if before / 10_000 != self.now.time.as_millis() / 10_000 {
            self.know_neighbours();
        }
    }

    /// Says again who is where, as answers to ARP requests would.
    fn know_neighbours(&mut self) {
        self.director
            .learn_neighbour(self.now, WAN, ROUTER, ROUTER_MAC);
        for number in 0..REALS {
            let (address, mac) = (real(number), real_mac(number));
            self.director.learn_neighbour(self.now, LAN, address, mac);
        }
    }
}

/// What is measured, and what callgrind is told to count.
#[inline(never)]
fn walk(director: &mut Director, now: Now, packets: &mut [Packet<'_>]) {
    director.process(now, packets);
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
