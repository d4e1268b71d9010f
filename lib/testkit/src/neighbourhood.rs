//! What stands around Weir: the ports, the hosts behind them and who is reached through whom.

use std::net::{IpAddr, Ipv4Addr};

use weir_model::{PortId, Snapshot};
use weir_wire::EthAddr;

use crate::PacketSpec;

/// The hosts around Weir, worked out from the snapshot alone: a second opinion on its routes.
#[derive(Clone, Debug)]
pub struct Neighbourhood {
    links: Vec<LinkFacts>,
    routes: Vec<(u32, u32, Ipv4Addr, PortId)>,
}

/// One port and its link.
#[derive(Clone, Debug)]
pub struct LinkFacts {
    /// The port.
    pub port: PortId,
    /// Its name.
    pub name: String,
    /// Its Ethernet address.
    pub mac: EthAddr,
    connected: Vec<(u32, u32)>,
    gateway: Option<Ipv4Addr>,
}

impl Neighbourhood {
    /// Reads ports, prefixes, routes and gateways.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> Self {
        let links = snapshot.ports.iter().map(|port| LinkFacts {
            port: port.id,
            name: port.name.clone(),
            mac: EthAddr([2, 0xee, 0, 0, 0, port.id.0 + 1]),
            connected: port
                .addresses
                .iter()
                .filter_map(|net| prefix(net.addr(), net.prefix_len()))
                .collect(),
            gateway: port.gateways.iter().find_map(|it| v4(*it)),
        });
        let routes = snapshot.routes.iter().filter_map(|route| {
            let (net, mask) = prefix(route.prefix.addr(), route.prefix.prefix_len())?;
            Some((net, mask, v4(route.via)?, route.port))
        });
        Self {
            links: links.collect(),
            routes: routes.collect(),
        }
    }

    /// Returns the Ethernet address of the host that has an address.
    #[must_use]
    pub fn mac_of(&self, address: Ipv4Addr) -> EthAddr {
        let [a, b, c, d] = address.octets();
        EthAddr([2, 0xaa, a, b, c, d])
    }

    /// Returns the links.
    #[must_use]
    pub fn links(&self) -> &[LinkFacts] {
        &self.links
    }

    /// Returns the link of a port.
    #[must_use]
    pub fn link(&self, port: PortId) -> Option<&LinkFacts> {
        self.links.iter().find(|it| it.port == port)
    }

    /// Returns the port and next hop by which an address is reached: the longest prefix wins.
    #[must_use]
    pub fn next_hop(&self, address: Ipv4Addr) -> Option<(PortId, Ipv4Addr)> {
        let bits = u32::from(address);
        let connected = self.links.iter().flat_map(|link| {
            link.connected
                .iter()
                .map(move |(net, mask)| (*net, *mask, address, link.port))
        });
        let routes = self.routes.iter().copied();
        let gateways = self
            .links
            .iter()
            .filter_map(|link| Some((0, 0, link.gateway?, link.port)));
        connected
            .chain(routes)
            .chain(gateways)
            .filter(|(net, mask, ..)| bits & mask == *net)
            .max_by_key(|(_, mask, ..)| *mask)
            .map(|(_, _, hop, port)| (port, hop))
    }

    /// Returns the port behind which an address lies, and the Ethernet address of its next hop.
    #[must_use]
    pub fn reach(&self, address: Ipv4Addr) -> Option<(PortId, EthAddr)> {
        let (port, hop) = self.next_hop(address)?;
        Some((port, self.mac_of(hop)))
    }

    /// Returns a packet from one address to another as it arrives, and the port at which it does.
    #[must_use]
    pub fn packet(&self, src: Ipv4Addr, dst: Ipv4Addr) -> Option<(PortId, PacketSpec)> {
        let (port, eth_src) = self.reach(src)?;
        let spec = PacketSpec {
            eth_src,
            eth_dst: self.link(port)?.mac,
            src,
            dst,
            ..PacketSpec::default()
        };
        Some((port, spec))
    }

    /// Says whether an address is a neighbour's on a port: a host of a connected prefix or a
    /// gateway.
    #[must_use]
    pub fn is_neighbour(&self, port: PortId, address: Ipv4Addr) -> bool {
        self.link(port).is_some_and(|link| {
            let bits = u32::from(address);
            link.gateway == Some(address)
                || link.connected.iter().any(|(net, mask)| bits & mask == *net)
        })
    }
}

fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    }
}

fn prefix(address: IpAddr, len: u8) -> Option<(u32, u32)> {
    let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
    Some((u32::from(v4(address)?) & mask, mask))
}
