//! What the worker tells the director about its surroundings, and what it is told back.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use nat_engine::{State, Steering};
use weir_model::{EndpointId, Event, PoolId, PortId, Protocol, RealId, ServiceId, WorkerId};
use weir_wire::EthAddr;

/// What the director must know of an open port.
#[derive(Clone, Copy, Debug)]
pub struct PortFacts {
    /// The port's id in the snapshot.
    pub id: PortId,
    /// Its Ethernet address.
    pub mac: EthAddr,
    /// The largest IP packet in bytes that it transmits.
    pub mtu: u16,
    /// Whether its driver can hand frames to the host's network stack.
    pub delivers: bool,
}

/// What the director must know of its worker.
#[derive(Clone, Debug)]
pub struct WorkerFacts {
    /// The worker.
    pub id: WorkerId,
    /// How many workers there are; flows are spread over all of them.
    pub workers: u8,
    /// The size of the session table.
    pub sessions: u32,
    /// The secret of the flow hash, the same for all workers.
    pub flow_secret: [u8; 16],
    /// The seed of this worker's own random numbers.
    pub seed: [u8; 16],
    /// The open ports.
    pub ports: Vec<PortFacts>,
}

/// What is known of how NICs spread packets over the queues of workers; the same for all workers,
/// from the start on.
#[derive(Clone, Debug, Default)]
pub struct SpreadFacts {
    /// The ports whose NICs do it foretellably.
    pub ports: Vec<(PortId, Arc<Steering>)>,
    /// How the owner of a client's flow is found: as the NIC does it by which most clients come in.
    /// Where there is none it is a keyed hash, and all else is handed over.
    pub clients: Option<Arc<Steering>>,
}

/// What a director wants the control thread to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A neighbour's Ethernet address became known or changed; the other workers want to know.
    Neighbour {
        /// The port it is on.
        port: PortId,
        /// Its address.
        address: Ipv4Addr,
        /// Its Ethernet address.
        mac: EthAddr,
    },
    /// This worker began or ceased to answer a service's SYNs by cookies because of a flood; the
    /// other workers want to know.
    Flood {
        /// The service.
        service: ServiceId,
        /// Whether it began.
        active: bool,
    },
    /// Something happened that an operator may want to know.
    Event(Event),
}

/// A session as the operator sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// The client's address and port.
    pub client: (Ipv4Addr, u16),
    /// The service's address and port.
    pub vip: (Ipv4Addr, u16),
    /// The local address and port.
    pub lip: (Ipv4Addr, u16),
    /// The real server's address and port.
    pub real: (Ipv4Addr, u16),
    /// The protocol.
    pub protocol: Protocol,
    /// The state.
    pub state: State,
    /// The service.
    pub service: ServiceId,
    /// The real server.
    pub real_id: RealId,
    /// Milliseconds since it was opened.
    pub age_ms: u32,
    /// Milliseconds since its last packet.
    pub idle_ms: u32,
}

/// A neighbour whose Ethernet address is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourView {
    /// The port it is on.
    pub port: PortId,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its Ethernet address.
    pub mac: EthAddr,
}

/// How a destination is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The destination.
    pub to: Ipv4Addr,
    /// The port and the next hop; none without a route.
    pub hop: Option<(PortId, Ipv4Addr)>,
    /// The next hop's Ethernet address, where it is known.
    pub mac: Option<EthAddr>,
}

/// The use of a pool's local ports towards one real server on one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolUse {
    /// The pool.
    pub pool: PoolId,
    /// Where the real server is reached.
    pub endpoint: EndpointId,
    /// Ports in use.
    pub used: u32,
    /// Ports that the worker has.
    pub total: u32,
}
