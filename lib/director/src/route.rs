//! Routes: which port leads to a destination, and through whom.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use weir_model::{PortId, Snapshot};

/// Where a packet goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    /// The port that it leaves by.
    pub(crate) port: PortId,
    /// The neighbour that takes it: the destination itself, or a router.
    pub(crate) neighbour: Ipv4Addr,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    network: u32,
    mask: u32,
    via: Option<Ipv4Addr>,
    port: PortId,
}

/// The IPv4 routes of a snapshot, most specific first. An appliance has a handful, so a walk over
/// the list is one or two cache lines.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    entries: Vec<Entry>,
}

impl Routes {
    pub(crate) fn new(snapshot: &Snapshot) -> Self {
        let mut routes: Vec<(u8, Entry)> = Vec::new();
        let mut add = |prefix: Ipv4Net, via: Option<Ipv4Addr>, port: PortId| {
            let entry = Entry {
                network: u32::from(prefix.network()),
                mask: u32::from(prefix.netmask()),
                via,
                port,
            };
            routes.push((prefix.prefix_len(), entry));
        };
        for port in snapshot.ports.iter() {
            for prefix in port.addresses.iter().filter_map(v4) {
                add(prefix, None, port.id);
            }
        }
        for route in &snapshot.routes {
            if let (Some(prefix), IpAddr::V4(via)) = (v4(&route.prefix), route.via) {
                add(prefix, Some(via), route.port);
            }
        }
        for port in snapshot.ports.iter() {
            for gateway in &port.gateways {
                if let IpAddr::V4(via) = gateway {
                    add(Ipv4Net::default(), Some(*via), port.id);
                }
            }
        }
        // Stable: of equal prefixes the connected one wins, then the file's order.
        routes.sort_by_key(|(len, _)| core::cmp::Reverse(*len));
        Self {
            entries: routes.into_iter().map(|(_, entry)| entry).collect(),
        }
    }

    /// Returns the way to a destination.
    #[inline]
    pub(crate) fn to(&self, destination: Ipv4Addr) -> Option<Hop> {
        let bits = u32::from(destination);
        let entry = self
            .entries
            .iter()
            .find(|entry| bits & entry.mask == entry.network)?;
        Some(Hop {
            port: entry.port,
            neighbour: entry.via.unwrap_or(destination),
        })
    }
}

/// Returns the IPv4 prefix, if it is one.
pub(crate) fn v4(prefix: &IpNet) -> Option<Ipv4Net> {
    match prefix {
        IpNet::V4(prefix) => Some(*prefix),
        IpNet::V6(_) => None,
    }
}
