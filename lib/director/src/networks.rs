//! Networks that are denied or allowed: of those that contain an address, the smallest counts.

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use ipnet::IpNet;

use crate::route::v4;

/// What is said of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Its packets are dropped.
    Deny,
    /// No limit applies to it.
    Allow,
}

/// What is said of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ruling {
    pub(crate) policy: Policy,
    /// The length of the prefix that says so.
    pub(crate) len: u8,
}

/// Networks as ranges of addresses in order, made once; an address is looked up by halving them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// Where each range begins; it ends where the next one does.
    starts: Vec<u32>,
    rulings: Vec<Option<Ruling>>,
}

impl Networks {
    /// Makes networks that are denied; those of IPv6 say nothing.
    #[must_use]
    pub fn denied(deny: &[IpNet]) -> Self {
        Self::new(deny, &[])
    }

    /// Makes networks that are denied and such that are allowed; what is both is denied.
    #[must_use]
    pub fn new(deny: &[IpNet], allow: &[IpNet]) -> Self {
        let with = |nets: &[IpNet], policy| -> Vec<_> {
            let nets = nets.iter().filter_map(v4);
            nets.map(|net| {
                let ruling = Ruling {
                    policy,
                    len: net.prefix_len(),
                };
                (u32::from(net.network()), u32::from(net.broadcast()), ruling)
            })
            .collect()
        };
        let mut all = with(allow, Policy::Allow);
        all.extend(with(deny, Policy::Deny));
        // Of two prefixes one contains the other, or they have nothing in common. The sort is
        // stable: of two that are the same the denied one comes last, and counts.
        all.sort_by_key(|(first, _, ruling)| (*first, ruling.len));
        let mut networks = Self::default();
        let mut open: Vec<(u32, Ruling)> = Vec::new();
        for (first, last, ruling) in all {
            networks.close(&mut open, Some(first));
            networks.begin(first, Some(ruling));
            open.push((last, ruling));
        }
        networks.close(&mut open, None);
        networks
    }

    /// Says whether nothing is denied or allowed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Returns what is said of an address.
    pub(crate) fn ruling(&self, address: Ipv4Addr) -> Option<Ruling> {
        let address = u32::from(address);
        let behind = self.starts.partition_point(|start| *start <= address);
        *self.rulings.get(behind.checked_sub(1)?)?
    }

    /// Ends the ranges that end in front of an address, or all.
    fn close(&mut self, open: &mut Vec<(u32, Ruling)>, before: Option<u32>) {
        while let Some((last, _)) = open.last().copied() {
            if before.is_some_and(|before| last >= before) {
                return;
            }
            open.pop();
            if let Some(next) = last.checked_add(1) {
                self.begin(next, open.last().map(|(_, ruling)| *ruling));
            }
        }
    }

    fn begin(&mut self, start: u32, ruling: Option<Ruling>) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.rulings.pop();
        }
        self.starts.push(start);
        self.rulings.push(ruling);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nat_engine::Rng;

    fn net(first: u32, len: u8) -> IpNet {
        let net = ipnet::Ipv4Net::new(Ipv4Addr::from_bits(first), len).unwrap();
        IpNet::V4(net.trunc())
    }

    fn nets(all: &[&str]) -> Vec<IpNet> {
        all.iter().map(|net| net.parse().unwrap()).collect()
    }

    fn policy(networks: &Networks, address: &str) -> Option<Policy> {
        let ruling = networks.ruling(address.parse().unwrap());
        ruling.map(|ruling| ruling.policy)
    }

    #[test]
    fn the_smallest_network_that_contains_an_address_counts() {
        let networks = Networks::new(
            &nets(&["192.0.2.0/24", "198.51.100.7/32"]),
            &nets(&["192.0.2.128/25", "198.51.100.0/24"]),
        );
        assert_eq!(policy(&networks, "192.0.2.127"), Some(Policy::Deny));
        assert_eq!(policy(&networks, "192.0.2.128"), Some(Policy::Allow));
        assert_eq!(policy(&networks, "192.0.2.255"), Some(Policy::Allow));
        assert_eq!(policy(&networks, "192.0.3.0"), None);
        assert_eq!(policy(&networks, "192.0.1.255"), None);
        assert_eq!(policy(&networks, "198.51.100.6"), Some(Policy::Allow));
        assert_eq!(policy(&networks, "198.51.100.7"), Some(Policy::Deny));
        assert_eq!(policy(&networks, "198.51.100.8"), Some(Policy::Allow));
    }

    #[test]
    fn both_ends_of_the_address_space_can_be_denied() {
        let networks = Networks::denied(&nets(&["0.0.0.0/8", "255.255.255.255/32"]));
        assert_eq!(policy(&networks, "0.0.0.0"), Some(Policy::Deny));
        assert_eq!(policy(&networks, "1.0.0.0"), None);
        assert_eq!(policy(&networks, "255.255.255.254"), None);
        assert_eq!(policy(&networks, "255.255.255.255"), Some(Policy::Deny));
        let everything = Networks::new(&nets(&["0.0.0.0/0"]), &nets(&["10.0.0.0/8"]));
        assert_eq!(policy(&everything, "9.255.255.255"), Some(Policy::Deny));
        assert_eq!(policy(&everything, "10.0.0.0"), Some(Policy::Allow));
        assert_eq!(policy(&everything, "11.0.0.0"), Some(Policy::Deny));
        assert_eq!(policy(&Networks::default(), "10.0.0.0"), None);
        assert!(Networks::denied(&nets(&["2001:db8::/32"])).is_empty());
    }

    #[test]
    fn every_address_gets_what_a_look_at_all_networks_gives_it() {
        let mut rng = Rng::new([9; 16]);
        for _ in 0..200 {
            // Close together, so that they contain each other.
            let mut some = |count: u32| -> Vec<IpNet> {
                let nets = (0..count).map(|_| {
                    let len = 20 + rng.below(13) as u8;
                    net(0x0a00_0000 | rng.below(1 << 12), len)
                });
                nets.collect()
            };
            let (deny, allow) = (some(8), some(8));
            let networks = Networks::new(&deny, &allow);
            for _ in 0..300 {
                let address = Ipv4Addr::from_bits(0x0a00_0000 | rng.below(1 << 13));
                let holds = |net: &&IpNet| net.contains(&core::net::IpAddr::V4(address));
                let longest =
                    |nets: &[IpNet]| nets.iter().filter(holds).map(IpNet::prefix_len).max();
                let (denied, allowed) = (longest(&deny), longest(&allow));
                let expected = match (denied, allowed) {
                    (None, None) => None,
                    (denied, allowed) if denied >= allowed => Some(Policy::Deny),
                    (_, _) => Some(Policy::Allow),
                };
                assert_eq!(networks.ruling(address).map(|it| it.policy), expected);
            }
        }
    }
}
