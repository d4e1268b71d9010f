//! The snapshot: one immutable, checked configuration, as every thread sees it.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;

use ipnet::IpNet;

use crate::{
    Availability, ClientAddress, Defence, DrainEnd, EndpointId, Forward, Generation, Health, LipId,
    Persist, Poll, PoolId, PortId, Protocol, RealId, RealLimit, Role, SchedulerKind, ServiceId,
    SessionLog, Synproxy, Syslog, Timeouts, TimestampMode,
};

/// Objects by id, with holes where an id's object was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots<T>(Vec<Option<T>>);

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Slots<T> {
    /// Makes slots without objects whose bound is already `bound`: ids that once were in use stay
    /// below it and are not given out again.
    #[must_use]
    pub fn with_bound(bound: usize) -> Self {
        let mut slots = Vec::new();
        slots.resize_with(bound, || None);
        Self(slots)
    }

    /// Puts an object at an index, growing as needed.
    pub fn insert(&mut self, index: usize, value: T) {
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        if let Some(slot) = self.0.get_mut(index) {
            *slot = Some(value);
        }
    }

    /// Returns the object at an index.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.0.get(index).and_then(Option::as_ref)
    }

    /// Returns the objects in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten()
    }

    /// Returns one more than the highest index in use: what an array by this id must hold.
    #[must_use]
    pub fn bound(&self) -> usize {
        self.0.len()
    }

    /// Returns the number of objects.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.iter().flatten().count()
    }
}

/// One applied configuration. Ids are stable by name from one snapshot to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Counts the snapshots applied.
    pub generation: Generation,
    /// The appliance itself.
    pub node: Node,
    /// The ports, by [`PortId`].
    pub ports: Slots<Port>,
    /// Routes besides the connected prefixes and gateways.
    pub routes: Vec<Route>,
    /// The packet threads.
    pub workers: Workers,
    /// The control threads and sockets.
    pub control: Control,
    /// The LIP pools, by [`PoolId`].
    pub pools: Slots<LipPool>,
    /// Where real servers are reached, by [`EndpointId`].
    pub endpoints: Slots<Endpoint>,
    /// The services, by [`ServiceId`].
    pub services: Slots<Service>,
    /// The receivers of log messages.
    pub syslog: Vec<Syslog>,
    /// Where the metrics page is served; none serves none.
    pub metrics: Option<SocketAddr>,
    /// One more than the highest [`RealId`] ever given out.
    pub real_bound: u32,
    /// One more than the highest [`LipId`] ever given out.
    pub lip_bound: u16,
}

/// The appliance itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name, for logs and the console.
    pub name: String,
    /// How long SIGTERM drains at most.
    pub stop_after: Duration,
}

/// The driver that the file asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// The best that works.
    Auto,
    /// netmap.
    Netmap,
    /// AF_XDP.
    AfXdp,
    /// PF_RING.
    PfRing,
    /// AF_PACKET.
    AfPacket,
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its id.
    pub id: PortId,
    /// Its name in the file.
    pub name: String,
    /// The device, as the kernel names it.
    pub device: String,
    /// The driver asked for.
    pub driver: Driver,
    /// How many queues; none means as many as there are workers.
    pub queues: Option<u16>,
    /// The kernel's own addresses on it, with their connected prefixes.
    pub addresses: Vec<IpNet>,
    /// Where destinations without a better route go, one per family.
    pub gateways: Vec<IpAddr>,
}

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The destinations.
    pub prefix: IpNet,
    /// The next hop, on a connected prefix of the port.
    pub via: IpAddr,
    /// The port that leads there.
    pub port: PortId,
}

/// The packet threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workers {
    /// The cores that they are pinned to, in the order of [`crate::WorkerId`]; empty means auto.
    pub cpus: Vec<u16>,
    /// How many frames a turn takes from a port at most.
    pub burst: u16,
    /// The session table's size per worker; none means from the machine's memory.
    pub sessions: Option<u32>,
    /// How they wait.
    pub poll: Poll,
}

/// The control threads and sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// The cores that control threads may use; empty means any.
    pub cpus: Vec<u16>,
    /// The sockets.
    pub sockets: Vec<ControlSocket>,
}

/// A control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlSocket {
    /// Where it is.
    pub path: String,
    /// What may be done through it.
    pub role: Role,
    /// The group that may connect besides root.
    pub group: Option<String>,
}

/// A run of addresses, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    /// The first.
    pub first: IpAddr,
    /// The last.
    pub last: IpAddr,
}

/// A local address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lip {
    /// Its id, the same in every snapshot that has the address.
    pub id: LipId,
    /// The address.
    pub address: IpAddr,
}

/// A pool of local addresses, which are the source addresses towards real servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LipPool {
    /// Its id.
    pub id: PoolId,
    /// Its name in the file.
    pub name: String,
    /// The port whose neighbours see the addresses.
    pub port: PortId,
    /// The ranges as written.
    pub ranges: Vec<AddressRange>,
    /// Every address of the ranges.
    pub lips: Vec<Lip>,
    /// The first source port.
    pub first_port: u16,
    /// The last source port.
    pub last_port: u16,
    /// How long a port preferably rests before it is taken again.
    pub reuse_after: Duration,
    /// The used share in percent at which an event is raised.
    pub warn_at: u8,
}

/// Where real servers are reached; what a local port is accounted against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

/// An address and port at which a service is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The VIP.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its id.
    pub id: ServiceId,
    /// Its name in the file.
    pub name: String,
    /// Where it is reached.
    pub listen: Vec<Listen>,
    /// Its protocol.
    pub protocol: Protocol,
    /// How packets reach the real servers.
    pub forward: Forward,
    /// The pool of its source addresses.
    pub pool: PoolId,
    /// How the real server of a new session is picked.
    pub scheduler: SchedulerKind,
    /// How real servers learn the client's address.
    pub client_address: ClientAddress,
    /// The TCP option kind that carries it.
    pub toa_kind: u8,
    /// Whether the maximum segment size is lowered so that added options fit.
    pub mss_adjust: bool,
    /// What becomes of TCP timestamps.
    pub timestamps: TimestampMode,
    /// Whether both ends are reset when a session expires.
    pub reset_at_expiry: bool,
    /// How long sessions may be silent.
    pub timeouts: Timeouts,
    /// How SYN floods are met.
    pub synproxy: Synproxy,
    /// Whether a client's new handshake may take over its old session, in whatever state that is.
    pub connection_reuse: bool,
    /// How many unacceptable ACKs in turn between both ends are passed on; 0 passes all.
    pub ack_storm: u16,
    /// How the real servers are checked; none leaves them unchecked.
    pub health: Option<Health>,
    /// What becomes of it when real servers fail.
    pub availability: Availability,
    /// How many sessions the service may have at most; none leaves that to the table.
    pub max_sessions: Option<u32>,
    /// How long sessions may go on when their real server is taken out; none lets them.
    pub drain: Option<Drain>,
    /// Which of its sessions are logged.
    pub session_log: SessionLog,
    /// Limits on what clients may send; services of one profile share them.
    pub defence: Option<Arc<Defence>>,
    /// How long clients keep their real server; none lets each session go to any.
    pub persist: Option<Persist>,
    /// The real servers in the order of the file.
    pub reals: Vec<RealServer>,
}

/// How long sessions may go on when their real server is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// How long.
    pub after: Duration,
    /// What becomes of those that are left then.
    pub then: DrainEnd,
}

/// A real server of one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RealServer {
    /// Its id.
    pub id: RealId,
    /// Where it is reached.
    pub endpoint: EndpointId,
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// Its share of new sessions; 0 takes none and keeps those it has.
    pub weight: u16,
    /// How many sessions it may have; none leaves that to the service.
    pub limit: Option<RealLimit>,
}

impl Service {
    /// Returns every server that may get its sessions: the real servers, and the sorry server.
    pub fn servers(&self) -> impl Iterator<Item = &RealServer> {
        self.reals.iter().chain(&self.availability.sorry)
    }
}

impl Snapshot {
    /// Returns every address that Weir owns: VIPs and LIPs, each once, in ascending order. The
    /// drivers' filters and the director's classification are both made from this list.
    #[must_use]
    pub fn owned_addresses(&self) -> Vec<IpAddr> {
        let vips = self
            .services
            .iter()
            .flat_map(|s| s.listen.iter().map(|l| l.address));
        let lips = self
            .pools
            .iter()
            .flat_map(|p| p.lips.iter().map(|l| l.address));
        let mut all: Vec<IpAddr> = vips.chain(lips).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

impl AddressRange {
    /// Returns the IPv4 addresses of the range in ascending order; none for IPv6.
    pub fn ipv4(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let (first, last) = match (self.first, self.last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => (u32::from(first), u64::from(u32::from(last))),
            (IpAddr::V4(_) | IpAddr::V6(_), _) => (1, 0),
        };
        (u64::from(first)..=last).map(|bits| Ipv4Addr::from(bits as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_includes_both_ends_and_reaches_the_last_address() {
        let range = AddressRange {
            first: IpAddr::V4(Ipv4Addr::new(255, 255, 255, 254)),
            last: IpAddr::V4(Ipv4Addr::BROADCAST),
        };
        assert_eq!(range.ipv4().count(), 2);
    }

    #[test]
    fn a_removed_object_leaves_a_hole_and_the_others_keep_their_ids() {
        let mut slots = Slots::default();
        slots.insert(2, 'c');
        slots.insert(0, 'a');
        assert_eq!(
            (slots.get(0), slots.get(1), slots.get(2)),
            (Some(&'a'), None, Some(&'c'))
        );
        assert_eq!((slots.bound(), slots.count()), (3, 2));
    }
}
