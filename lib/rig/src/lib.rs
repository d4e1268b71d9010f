//! The surroundings of a director that is measured in memory: two ports, clients behind a router,
//! real servers on a wire.
//!
//! `weir bench` measures the machine in them, and `ci/bench` the director.

#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::sync::Arc;

use weir_director::{Director, PortFacts, WorkerFacts};
use weir_model::{Now, PortId, Snapshot, Time, WorkerId};
use weir_wire::EthAddr;

/// The port with the clients' router.
pub const WAN: PortId = PortId(0);
/// The port with the real servers.
pub const LAN: PortId = PortId(1);
/// The Ethernet address of [`WAN`].
pub const WAN_MAC: EthAddr = EthAddr([2, 0, 0, 0, 0, 1]);
/// The Ethernet address of [`LAN`].
pub const LAN_MAC: EthAddr = EthAddr([2, 0, 0, 0, 0, 2]);
/// The Ethernet address of the clients' router.
pub const ROUTER_MAC: EthAddr = EthAddr([2, 0, 0, 0, 1, 1]);
const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The address of all services.
pub const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The port of the service that passes SYNs on.
pub const PLAIN: u16 = 80;
/// The port of the service that answers every SYN by a cookie.
pub const SHIELDED: u16 = 443;
/// The port of the service of UDP.
pub const DATAGRAMS: u16 = 53;

/// What Linux offers in a SYN: MSS, SACK, timestamps, window scale.
pub const SYN_OPTIONS: [u8; 20] = [
    2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7,
];
/// Timestamps, as Linux sends them in every other segment.
pub const TIMESTAMPS: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 9];

/// Clients behind one address.
const PER_ADDRESS: u32 = 50_000;

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

/// Why there is no director.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDirector {
    /// The configuration has mistakes.
    #[error("{0}")]
    Mistakes(String),
    /// There is no room for the sessions.
    #[error("there is no memory for {0} sessions")]
    OutOfMemory(u32),
}

/// A worker to be.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Which worker it is.
    pub id: WorkerId,
    /// Of how many.
    pub workers: u8,
    /// The size of its session table.
    pub sessions: u32,
    /// Real servers of each service.
    pub reals: u8,
    /// The secret of the flow hash.
    pub flow_secret: [u8; 16],
    /// The seed of its random numbers.
    pub seed: [u8; 16],
}

impl Place {
    /// The time that its director is told first.
    pub const START: Now = Now {
        time: Time::from_millis(1),
        wall_ms: 1_700_000_000_000,
    };

    /// Makes its director, in memory that was prepared as its caller does; it knows nobody yet.
    ///
    /// # Errors
    /// When there is no memory for its sessions.
    pub fn director(&self, prepare: &dyn Fn(Range<usize>)) -> Result<Director, NoDirector> {
        let port = |id, mac| PortFacts {
            id,
            mac,
            mtu: 1500,
            delivers: false,
        };
        let facts = WorkerFacts {
            id: self.id,
            workers: self.workers,
            sessions: self.sessions,
            flow_secret: self.flow_secret,
            seed: self.seed,
            ports: vec![port(WAN, WAN_MAC), port(LAN, LAN_MAC)],
        };
        let snapshot = Arc::new(snapshot(self.reals)?);
        Director::prepared(facts, snapshot, Self::START, prepare)
            .map_err(|_| NoDirector::OutOfMemory(self.sessions))
    }

    /// Tells a director who is where, as answers to its ARP requests would.
    pub fn introduce(&self, director: &mut Director, now: Now) {
        director.learn_neighbour(now, WAN, ROUTER, ROUTER_MAC);
        for number in 0..self.reals {
            director.learn_neighbour(now, LAN, real(number), real_mac(number));
        }
    }
}

/// Returns the address of a real server.
#[must_use]
pub const fn real(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 1, 11 + number)
}

/// Returns the Ethernet address of a real server.
#[must_use]
pub const fn real_mac(number: u8) -> EthAddr {
    EthAddr([2, 0, 0, 0, 2, number])
}

/// Returns the address and port of a client.
#[must_use]
pub fn client(number: u32) -> (Ipv4Addr, u16) {
    let address = Ipv4Addr::from(0x0b00_0000 + number / PER_ADDRESS);
    (address, 10_000 + (number % PER_ADDRESS) as u16)
}

/// Returns the configuration of all places with so many real servers of each service.
///
/// # Errors
/// When it has mistakes, as with too many real servers.
pub fn snapshot(reals: u8) -> Result<Snapshot, NoDirector> {
    let mut conf = String::new();
    for line in CONF.lines() {
        let Some(port) = line.strip_prefix("REALS ") else {
            conf.extend([line, "\n"]);
            continue;
        };
        for number in 0..reals {
            // A string takes all that is written to it.
            let _ = writeln!(conf, "real = {}:{port}", real(number));
        }
    }
    let loaded = weir_conf::parse_str("bench", &conf, None);
    loaded
        .map(|loaded| loaded.snapshot)
        .map_err(|report| NoDirector::Mistakes(report.to_string()))
}

#[cfg(test)]
mod tests {
    use weir_director::Packet;
    use weir_model::Verdict;
    use weir_wire::{
        ETHERTYPE_IPV4, EthHeader, FrameBuf, Header as _, Ipv4Repr, Protocol, SeqNumber, TcpFlags,
        TcpRepr, fill_checksums,
    };

    use super::*;

    #[test]
    fn a_director_passes_a_syn_on_to_a_real_server_and_answers_one_by_a_cookie() {
        let place = Place {
            id: WorkerId(0),
            workers: 1,
            sessions: 64,
            reals: 3,
            flow_secret: [1; 16],
            seed: [2; 16],
        };
        let mut director = place.director(&|_| ()).unwrap();
        place.introduce(&mut director, Place::START);
        for (service, verdict) in [(PLAIN, Verdict::Forward(LAN)), (SHIELDED, Verdict::Reply)] {
            let (src, src_port) = client(7);
            let tcp = TcpRepr {
                src_port,
                dst_port: service,
                seq: SeqNumber(1),
                flags: TcpFlags::SYN,
                window: 64240,
                ..TcpRepr::default()
            };
            let ip = Ipv4Repr {
                src,
                dst: VIP,
                protocol: Protocol::TCP,
                ttl: 64,
                tos: 0,
                ident: 1,
                dont_fragment: true,
                payload_len: tcp.buffer_len() as u16,
            };
            let mut chunk = [0; 512];
            let (_, frame) = chunk.split_at_mut(256);
            let eth = EthHeader::new(WAN_MAC, ROUTER_MAC, ETHERTYPE_IPV4);
            eth.put(frame, 0).unwrap();
            let (_, rest) = frame.split_at_mut(EthHeader::LEN);
            ip.emit(rest).unwrap();
            let (_, rest) = rest.split_at_mut(Ipv4Repr::LEN);
            tcp.emit(rest).unwrap();
            let len = EthHeader::LEN + Ipv4Repr::LEN + tcp.buffer_len();
            fill_checksums(frame.split_at_mut(len).0).unwrap();
            let frame = FrameBuf::new(&mut chunk, 256..256 + len).unwrap();
            let mut packets = [Packet::received(frame, WAN, false)];
            director.process(Place::START, &mut packets);
            assert_eq!(packets.first().map(|packet| packet.verdict), Some(verdict));
        }
    }
}
