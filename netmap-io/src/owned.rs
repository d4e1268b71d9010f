//! The addresses that Weir owns (VIPs and LIPs), as the programs in the kernel look them up.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::bpf::{BpfError, Map};

/// A VIP or LIP costs one element; more than anybody has.
const CAPACITY: u32 = 65_536;

/// The two hash maps that programs read, one per address family, kept in step with a list.
#[derive(Debug)]
pub(crate) struct OwnedTable {
    v4: Map,
    v6: Map,
    current: BTreeSet<IpAddr>,
}

impl OwnedTable {
    pub(crate) fn new() -> Result<Self, BpfError> {
        Ok(Self {
            v4: Map::hash("weir_owned4", 4, 1, CAPACITY)?,
            v6: Map::hash("weir_owned6", 16, 1, CAPACITY)?,
            current: BTreeSet::new(),
        })
    }

    /// Returns the map of IPv4 addresses, keyed in network order.
    pub(crate) fn v4(&self) -> &Map {
        &self.v4
    }

    /// Returns the map of IPv6 addresses, keyed in network order.
    pub(crate) fn v6(&self) -> &Map {
        &self.v6
    }

    /// Makes `addresses` the owned ones. What stays is not touched, and what is new is there
    /// before what is gone is removed. After an error the rest can be done by asking again.
    pub(crate) fn set(&mut self, addresses: &[IpAddr]) -> Result<(), BpfError> {
        let wanted: BTreeSet<IpAddr> = addresses.iter().copied().collect();
        for address in wanted.difference(&self.current.clone()) {
            match address {
                IpAddr::V4(a) => self.v4.update(&a.octets(), &[1])?,
                IpAddr::V6(a) => self.v6.update(&a.octets(), &[1])?,
            }
            self.current.insert(*address);
        }
        for address in self.current.clone().difference(&wanted) {
            match address {
                IpAddr::V4(a) => self.v4.delete(&a.octets())?,
                IpAddr::V6(a) => self.v6.delete(&a.octets())?,
            };
            self.current.remove(address);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(table: &OwnedTable, address: &str) -> bool {
        let mut value = [0];
        match address.parse().unwrap() {
            IpAddr::V4(a) => table.v4.lookup(&a.octets(), &mut value).unwrap(),
            IpAddr::V6(a) => table.v6.lookup(&a.octets(), &mut value).unwrap(),
        }
    }

    #[test]
    fn the_maps_follow_the_list() {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: eBPF maps need root");
            return;
        }
        let mut table = OwnedTable::new().unwrap();
        let list =
            |texts: &[&str]| -> Vec<IpAddr> { texts.iter().map(|t| t.parse().unwrap()).collect() };
        table.set(&list(&["192.0.2.1", "2001:db8::1"])).unwrap();
        assert!(holds(&table, "192.0.2.1") && holds(&table, "2001:db8::1"));
        table.set(&list(&["192.0.2.1", "192.0.2.2"])).unwrap();
        assert!(holds(&table, "192.0.2.1") && holds(&table, "192.0.2.2"));
        assert!(!holds(&table, "2001:db8::1"));
        table.set(&[]).unwrap();
        assert!(!holds(&table, "192.0.2.1") && !holds(&table, "192.0.2.2"));
    }
}
