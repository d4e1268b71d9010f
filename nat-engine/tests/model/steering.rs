//! A NIC that spreads flows, and the ports that workers choose because of it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use nat_engine::{FlowKey, LocalPorts, Protocols, Rest, Steering, Taken, Unsteerable, owner_of};
use proptest::prelude::*;
use weir_model::{EndpointId, LipId, PoolId, PortId, Protocol};
use weir_wire::{SeqNumber, Toeplitz};

use crate::snapshot::{Pool, address, snapshot};

/// A NIC, and what it does with a packet, bit by bit.
#[derive(Clone, Debug)]
pub(crate) struct Nic {
    pub(crate) key: [u8; 40],
    /// The worker of each entry of the table.
    pub(crate) owners: Vec<u8>,
    pub(crate) workers: u8,
}

impl Nic {
    pub(crate) fn steering(&self) -> Result<Steering, Unsteerable> {
        let both = Protocols {
            tcp: true,
            udp: true,
        };
        Steering::new(&self.key, &self.owners, self.workers, both)
    }

    /// The worker on whose queue a reply of a real server arrives.
    pub(crate) fn receiver(&self, endpoint: EndpointId, lip: LipId, port: u16) -> u8 {
        let real = address(1, endpoint.0 as u16);
        self.receives(real, 8080, address(8, lip.0), port)
    }

    fn receives(&self, src: IpAddr, src_port: u16, dst: IpAddr, dst_port: u16) -> u8 {
        let (IpAddr::V4(src), IpAddr::V4(dst)) = (src, dst) else {
            unreachable!("addresses of the test are of IPv4");
        };
        let hash = Toeplitz::new(&self.key)
            .unwrap()
            .v4_ports(src, dst, src_port, dst_port);
        let entry = hash as usize % self.owners.len();
        *self.owners.get(entry).unwrap()
    }

    pub(crate) fn ports(&self, worker: u8, resting: u32) -> LocalPorts {
        let steering = Arc::new(self.steering().unwrap());
        LocalPorts::new(worker, self.workers, resting, [worker; 16])
            .unwrap()
            .steered(vec![(PortId(0), steering)])
    }
}

/// NICs of up to eight workers and 512 entries that are dealt out at random.
pub(crate) fn nic() -> impl Strategy<Value = Nic> {
    (1..=8_u8, 3..=9_u32, any::<[u64; 5]>())
        .prop_flat_map(|(workers, bits, key)| {
            let owners: Vec<u8> = (0..1_u32 << bits)
                .map(|entry| (entry % u32::from(workers)) as u8)
                .collect();
            let key = key.map(u64::to_be_bytes);
            let key = *key.as_flattened().first_chunk().unwrap();
            (Just(workers), Just(key), Just(owners).prop_shuffle())
        })
        .prop_map(|(workers, key, owners)| Nic {
            key,
            owners,
            workers,
        })
        // A key under which ports do not reach all entries is seldom, and may be refused.
        .prop_filter("a key that steers", |nic| nic.steering().is_ok())
}

const REST: Rest = Rest {
    end_seq: SeqNumber(1),
    last_tsval: 2,
    freed_at: 3,
};

fn pool(lips: &[u16], ports: (u16, u16)) -> Pool {
    Pool {
        lips: lips.to_vec(),
        ports,
        reuse_after_ms: 0,
    }
}

fn take_all(ports: &mut LocalPorts, endpoint: EndpointId) -> Vec<Taken> {
    let set = ports.set(PoolId(0), endpoint).unwrap();
    let total = ports.usage(set).total;
    let taken: Vec<Taken> = core::iter::from_fn(|| ports.take(set, 0).ok()).collect();
    assert_eq!((taken.len() as u32, ports.usage(set).used), (total, total));
    taken
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_port_is_its_receivers_and_all_ports_are_somebodys(
        nic in nic(),
        first in 0..64_000_u16,
        count in prop_oneof![1..20_u16, 20..1500_u16],
    ) {
        let range = (first, first + count - 1);
        let config = snapshot(&[(pool(&[3, 9], range), vec![0, 7])]);
        for endpoint in [EndpointId(0), EndpointId(7)] {
            let mut all = BTreeSet::new();
            for worker in 0..nic.workers {
                let mut ports = nic.ports(worker, 10);
                ports.apply(&config);
                for taken in take_all(&mut ports, endpoint) {
                    prop_assert_eq!(nic.receiver(endpoint, taken.lip, taken.port), worker);
                    prop_assert!(all.insert((taken.lip, taken.port)), "of two workers");
                }
            }
            let expected: BTreeSet<(LipId, u16)> = (range.0..=range.1)
                .flat_map(|port| [(LipId(3), port), (LipId(9), port)])
                .collect();
            prop_assert_eq!(all, expected);
        }
    }

    #[test]
    fn everybody_agrees_with_the_nic_on_who_receives_a_packet(
        nic in nic(),
        src in any::<[u8; 4]>(),
        dst in any::<[u8; 4]>(),
        src_port in any::<u16>(),
        dst_port in any::<u16>(),
    ) {
        let key = |protocol: Protocol| FlowKey {
            src: src.into(),
            dst: dst.into(),
            src_port,
            dst_port,
            protocol: protocol.number(),
        };
        let receiver = nic.receives(IpAddr::from(src), src_port, IpAddr::from(dst), dst_port);
        let steering = nic.steering().unwrap();
        prop_assert_eq!(steering.owner(&key(Protocol::Tcp)), Some(receiver));
        prop_assert_eq!(steering.owner(&key(Protocol::Udp)), Some(receiver));
        let tcp = Protocols { tcp: true, udp: false };
        let steering = Steering::new(&nic.key, &nic.owners, nic.workers, tcp).unwrap();
        prop_assert_eq!(steering.owner(&key(Protocol::Tcp)), Some(receiver));
        prop_assert_eq!(steering.owner(&key(Protocol::Udp)), None);
    }

    #[test]
    fn changes_of_range_and_pool_neither_lose_ports_nor_give_them_to_two_workers(
        nic in nic(),
        changes in prop::collection::vec(
            (
                prop::collection::btree_set(0..4_u16, 1..4),
                (1000..1300_u16, 0..300_u16),
                prop::collection::vec((0..8_u8, any::<bool>(), any::<usize>()), 0..200),
            ),
            1..6,
        ),
    ) {
        let mut workers: Vec<LocalPorts> =
            (0..nic.workers).map(|worker| nic.ports(worker, 16)).collect();
        let mut in_use: Vec<(u8, Taken)> = Vec::new();
        for (lips, (first, more), steps) in changes {
            let lips: Vec<u16> = lips.into_iter().collect();
            let range = (first, first + more);
            for ports in &mut workers {
                ports.apply(&snapshot(&[(pool(&lips, range), vec![0])]));
            }
            for (worker, takes, nth) in steps {
                let worker = worker % nic.workers;
                if !takes {
                    if !in_use.is_empty() {
                        let (worker, taken) = in_use.swap_remove(nth % in_use.len());
                        let ports = &mut workers[usize::from(worker)];
                        prop_assert!(ports.release(taken.space, taken.port, REST));
                    }
                    continue;
                }
                let ports = &mut workers[usize::from(worker)];
                let set = ports.set(PoolId(0), EndpointId(0)).unwrap();
                let Ok(taken) = ports.take(set, 0) else {
                    prop_assert_eq!(ports.usage(set).used, ports.usage(set).total);
                    continue;
                };
                prop_assert!(lips.contains(&taken.lip.0));
                prop_assert!((range.0..=range.1).contains(&taken.port));
                prop_assert_eq!(nic.receiver(EndpointId(0), taken.lip, taken.port), worker);
                let tuple = |taken: &Taken| (taken.lip, taken.port);
                prop_assert!(in_use.iter().all(|(_, other)| tuple(other) != tuple(&taken)));
                in_use.push((worker, taken));
            }
        }
        for (worker, taken) in in_use {
            prop_assert!(workers[usize::from(worker)].release(taken.space, taken.port, REST));
        }
    }
}

fn usual() -> Nic {
    Nic {
        key: core::array::from_fn(|n| (n as u8).wrapping_mul(89) ^ 0x6d),
        owners: (0..128).map(|entry| entry % 4).collect(),
        workers: 4,
    }
}

#[test]
fn a_worker_of_a_usual_nic_has_its_share_of_a_usual_range() {
    let nic = usual();
    for worker in 0..4 {
        let mut ports = nic.ports(worker, 10);
        ports.apply(&snapshot(&[(pool(&[0], (1024, 65_535)), vec![0])]));
        let share = take_all(&mut ports, EndpointId(0)).len();
        assert!((15_900..=16_400).contains(&share), "{share} of 64512");
    }
}

#[test]
fn a_lip_that_moves_to_another_nic_keeps_the_owners_of_its_replies() {
    let nic = usual();
    let mut here = snapshot(&[(pool(&[0], (1024, 2047)), vec![0])]);
    let mut ports = nic.ports(1, 10);
    ports.apply(&here);
    let before: BTreeSet<u16> = take_all(&mut ports, EndpointId(0))
        .iter()
        .map(|taken| taken.port)
        .collect();
    let mut moved = here.pools.iter().next().unwrap().clone();
    moved.port = PortId(1);
    here.pools.insert(0, moved);
    ports.apply(&here);
    let set = ports.set(PoolId(0), EndpointId(0)).unwrap();
    assert!(ports.take(set, 0).is_err());
    assert_eq!(ports.usage(set).used as usize, before.len());
    assert_eq!(ports.home_of(LipId(0)), Some(PortId(0)));

    // A LIP that begins at a NIC of which nothing is known has every fourth port.
    let mut ports = nic.ports(1, 10);
    ports.apply(&here);
    assert_eq!(ports.home_of(LipId(0)), Some(PortId(1)));
    let taken = take_all(&mut ports, EndpointId(0));
    assert_eq!(taken.len(), 256);
    assert!(taken.iter().all(|taken| owner_of(taken.port, 4) == 1));
}

#[test]
fn a_protocol_whose_ports_are_not_hashed_has_every_nth_port() {
    let nic = usual();
    let udp = Protocols {
        tcp: false,
        udp: true,
    };
    let steering = Steering::new(&nic.key, &nic.owners, 4, udp).unwrap();
    let mut ports = LocalPorts::new(2, 4, 10, [1; 16])
        .unwrap()
        .steered(vec![(PortId(0), Arc::new(steering))]);
    ports.apply(&snapshot(&[(pool(&[0], (1024, 2047)), vec![0])]));
    let taken = take_all(&mut ports, EndpointId(0));
    assert!(taken.iter().all(|taken| owner_of(taken.port, 4) == 2));
}

#[test]
fn a_nic_that_cannot_be_steered_by_says_why() {
    let refused = |change: fn(&mut Nic)| {
        let mut nic = usual();
        change(&mut nic);
        nic.steering().unwrap_err()
    };
    assert_eq!(refused(|nic| nic.owners.truncate(96)), Unsteerable::Table);
    assert_eq!(refused(|nic| nic.owners.clear()), Unsteerable::Table);
    assert_eq!(refused(|nic| nic.owners[5] = 4), Unsteerable::Stray);
    let only_two = |nic: &mut Nic| nic.owners.iter_mut().for_each(|owner| *owner %= 2);
    assert_eq!(refused(only_two), Unsteerable::Idle(2));
    // All ports hash alike, so that the addresses alone say which worker it is.
    assert_eq!(refused(|nic| nic.key = [0; 40]), Unsteerable::Idle(1));
    let nic = usual();
    let both = Protocols {
        tcp: true,
        udp: true,
    };
    let refused = Steering::new(&nic.key[..39], &nic.owners, 4, both).unwrap_err();
    assert_eq!(refused, Unsteerable::Key);
    assert_eq!(refused.to_string(), "its key is shorter than 40 bytes");
}

#[test]
fn memory_of_steered_ports_is_bounded_like_that_of_others() {
    let nic = usual();
    let lips: Vec<u16> = (0..256).collect();
    let endpoints: Vec<u32> = (0..64).collect();
    let mut ports = nic.ports(0, 0);
    ports.apply(&snapshot(&[(pool(&lips, (1024, 65_535)), endpoints)]));
    let each = ports.bytes() / (256 * 64);
    assert!((200..=300).contains(&each), "per LIP and endpoint: {each}");
    let before = ports.bytes();
    let set = ports.set(PoolId(0), EndpointId(0)).unwrap();
    ports.take(set, 0).unwrap();
    let used = ports.bytes() - before;
    let share = 64_512 / 4 / 8 * 2;
    assert!(
        (share..share * 21 / 20).contains(&used),
        "{used} for two bits per port"
    );
}
