//! Local ports against queues and sets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use nat_engine::{Exhausted, LocalPorts, PortClass, Rest, SpaceId, Taken};
use proptest::prelude::*;
use weir_model::{EndpointId, LipId, PoolId};
use weir_wire::SeqNumber;

use crate::snapshot::{Pool, snapshot};
use crate::steering::nic;

const FULL_REST_MS: u32 = 120_000;

fn ports(resting: u32) -> LocalPorts {
    LocalPorts::new(0, 1, resting, [4; 16]).unwrap()
}

fn pool(lips: &[u16], ports: (u16, u16), reuse_after_ms: u64) -> Pool {
    Pool {
        lips: lips.to_vec(),
        ports,
        reuse_after_ms,
    }
}

fn rest(freed_at: u32) -> Rest {
    Rest {
        end_seq: SeqNumber(freed_at ^ 0x5555),
        last_tsval: freed_at.wrapping_mul(3),
        freed_at,
    }
}

/// What the accounting is meant to be, without any thought of time or memory.
#[derive(Default)]
struct Model {
    /// Every record ever written that the ring still has room for; none once it was taken.
    ring: VecDeque<Option<(SpaceId, u16)>>,
    capacity: usize,
    spaces: BTreeMap<u32, ModelSpace>,
}

#[derive(Default)]
struct ModelSpace {
    used: BTreeSet<u16>,
    resting: VecDeque<(u16, Rest)>,
    free: BTreeSet<u16>,
}

impl Model {
    fn take(&mut self, taken: &Taken, ours: &[u16], now: u32, reuse_after: u32) {
        let space = self
            .spaces
            .entry(taken.space.0)
            .or_insert_with(|| ModelSpace {
                free: ours.iter().copied().collect(),
                ..ModelSpace::default()
            });
        let age = |rest: Rest| now.wrapping_sub(rest.freed_at);
        let oldest = space.resting.front().copied();
        let rested = oldest.is_some_and(|(_, rest)| age(rest) >= reuse_after.max(FULL_REST_MS));
        if rested || space.free.is_empty() {
            let (port, rest) = oldest.expect("a port was taken where there is none");
            assert_eq!((taken.port, taken.rest), (port, Some(rest)), "oldest first");
            assert_eq!(taken.early, age(rest) < reuse_after);
            space.resting.pop_front();
            let record = Some((taken.space, port));
            *self.ring.iter_mut().find(|r| **r == record).unwrap() = None;
        } else {
            assert!(space.free.remove(&taken.port), "not free: {taken:?}");
            assert_eq!((taken.rest, taken.early), (None, false));
        }
        assert!(space.used.insert(taken.port), "taken twice: {taken:?}");
    }

    fn release(&mut self, id: SpaceId, port: u16, rest: Rest) {
        assert!(self.spaces.get_mut(&id.0).unwrap().used.remove(&port));
        if self.ring.len() == self.capacity {
            match self.ring.pop_front() {
                Some(Some((oldest, port))) => {
                    let space = self.spaces.get_mut(&oldest.0).unwrap();
                    assert_eq!(space.resting.pop_front().unwrap().0, port);
                    space.free.insert(port);
                }
                Some(None) => {}
                None => {
                    self.spaces.get_mut(&id.0).unwrap().free.insert(port);
                    return;
                }
            }
        }
        self.ring.push_back(Some((id, port)));
        let space = self.spaces.get_mut(&id.0).unwrap();
        space.resting.push_back((port, rest));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Take { endpoint: u32 },
    Release { nth: usize },
    ReleaseTwice { nth: usize },
    Pass { ms: u32 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..3u32).prop_map(|endpoint| Step::Take { endpoint }),
        4 => any::<usize>().prop_map(|nth| Step::Release { nth }),
        1 => any::<usize>().prop_map(|nth| Step::ReleaseTwice { nth }),
        2 => prop_oneof![0..100u32, 0..70_000u32, 0..200_000u32].prop_map(|ms| Step::Pass { ms }),
    ]
}

proptest! {
    #[test]
    fn ports_are_unique_oldest_first_and_none_is_lost(
        start in any::<u32>(),
        first in 0..65_000u16,
        count in 1..70u16,
        lips in 1..4u16,
        resting in 0..40u32,
        reuse_after in prop_oneof![Just(0), Just(60_000u32), Just(300_000u32)],
        nic in proptest::option::of(nic()),
        steps in prop::collection::vec(step(), 0..600),
    ) {
        let range = (first, first + count - 1);
        let lips: Vec<u16> = (0..lips).collect();
        let mut ports = match &nic {
            Some(nic) => nic.ports(0, resting),
            None => ports(resting),
        };
        // The ports that a worker has for a LIP towards an endpoint.
        let ours = |lip: u16, endpoint: u32| -> Vec<u16> {
            let receiver = |port: &u16| match &nic {
                Some(nic) => nic.receiver(EndpointId(endpoint), LipId(lip), *port) == 0,
                None => true,
            };
            (range.0..=range.1).filter(receiver).collect()
        };
        ports.apply(&snapshot(&[(pool(&lips, range, reuse_after.into()), vec![0, 1, 2])]));
        let sets = [0, 1, 2].map(|endpoint| ports.set(PoolId(0), EndpointId(endpoint)).unwrap());
        let mut model = Model { capacity: resting as usize, ..Model::default() };
        let mut in_use: Vec<(u32, Taken)> = Vec::new();
        let mut now = start;
        let mut refused = 0;
        for step in steps {
            match step {
                Step::Take { endpoint } => {
                    let towards = in_use.iter().filter(|(other, _)| *other == endpoint);
                    let Ok(taken) = ports.take(sets[endpoint as usize], now) else {
                        let all = lips.iter().map(|lip| ours(*lip, endpoint).len());
                        prop_assert_eq!(towards.count(), all.sum::<usize>());
                        continue;
                    };
                    let same = towards.clone().any(|(_, t)| {
                        (t.lip, t.port) == (taken.lip, taken.port)
                    });
                    prop_assert!(!same, "two sessions with one tuple");
                    let ours = ours(taken.lip.0, endpoint);
                    model.take(&taken, &ours, now, reuse_after);
                    in_use.push((endpoint, taken));
                }
                Step::Release { nth } => {
                    if in_use.is_empty() {
                        continue;
                    }
                    let (_, taken) = in_use.swap_remove(nth % in_use.len());
                    prop_assert!(ports.release(taken.space, taken.port, rest(now)));
                    model.release(taken.space, taken.port, rest(now));
                }
                Step::ReleaseTwice { nth } => {
                    if in_use.is_empty() {
                        continue;
                    }
                    let (_, taken) = in_use.swap_remove(nth % in_use.len());
                    prop_assert!(ports.release(taken.space, taken.port, rest(now)));
                    prop_assert!(!ports.release(taken.space, taken.port, rest(now)));
                    model.release(taken.space, taken.port, rest(now));
                    refused += 1;
                }
                Step::Pass { ms } => now = now.wrapping_add(ms),
            }
            prop_assert_eq!(ports.refused_releases(), refused);
            for (endpoint, &set) in sets.iter().enumerate() {
                let used = in_use.iter().filter(|(other, _)| *other as usize == endpoint).count();
                prop_assert_eq!(ports.usage(set).used as usize, used);
            }
        }
    }

    #[test]
    fn configuration_changes_neither_lose_ports_in_use_nor_give_them_twice(
        changes in prop::collection::vec(
            (
                prop::collection::btree_set(0..4u16, 1..4),
                prop::collection::btree_set(0..3u32, 1..3),
                (1000..1040u16, 0..40u16),
                prop::collection::vec((any::<bool>(), any::<usize>()), 0..60),
            ),
            1..8,
        ),
    ) {
        let mut ports = ports(16);
        let mut in_use: Vec<(EndpointId, Taken)> = Vec::new();
        let mut now = 0;
        for (lips, endpoints, (first, more), steps) in changes {
            let range = (first, first + more);
            let lips: Vec<u16> = lips.into_iter().collect();
            let endpoints: Vec<u32> = endpoints.into_iter().collect();
            ports.apply(&snapshot(&[(pool(&lips, range, 0), endpoints.clone())]));
            for (takes, nth) in steps {
                now += 1;
                if !takes {
                    if !in_use.is_empty() {
                        let (_, taken) = in_use.swap_remove(nth % in_use.len());
                        prop_assert!(ports.release(taken.space, taken.port, rest(now)));
                    }
                    continue;
                }
                let endpoint = EndpointId(endpoints[nth % endpoints.len()]);
                let set = ports.set(PoolId(0), endpoint).unwrap();
                let towards = in_use.iter().filter(|(e, t)| {
                    *e == endpoint
                        && lips.contains(&t.lip.0)
                        && (range.0..=range.1).contains(&t.port)
                });
                let used = towards.count();
                prop_assert_eq!(ports.usage(set).used as usize, used);
                prop_assert_eq!(ports.usage(set).total as usize, lips.len() * (usize::from(more) + 1));
                let Ok(taken) = ports.take(set, now) else {
                    prop_assert_eq!(ports.usage(set).used, ports.usage(set).total);
                    continue;
                };
                prop_assert!(lips.contains(&taken.lip.0));
                prop_assert!((range.0..=range.1).contains(&taken.port));
                let same = in_use.iter().any(|(e, t)| {
                    (*e, t.lip, t.port) == (endpoint, taken.lip, taken.port)
                });
                prop_assert!(!same, "two sessions with one tuple");
                in_use.push((endpoint, taken));
            }
        }
        for (_, taken) in in_use {
            prop_assert!(ports.release(taken.space, taken.port, rest(now)));
        }
        prop_assert_eq!(ports.refused_releases(), 0);
    }
}

#[test]
fn an_exhausted_lip_falls_to_the_next_and_an_exhausted_pool_says_so() {
    let mut ports = ports(100);
    let services = [(pool(&[0, 1], (5000, 5003), 60_000), vec![0])];
    ports.apply(&snapshot(&services));
    let set = ports.set(PoolId(0), EndpointId(0)).unwrap();
    let taken: Vec<Taken> = (0..8).map(|_| ports.take(set, 0).unwrap()).collect();
    let lips: Vec<u16> = taken.iter().map(|t| t.lip.0).collect();
    assert_eq!(lips, [0, 1, 0, 1, 0, 1, 0, 1]);
    assert!(taken.iter().all(|t| !t.fell_back));
    assert_eq!(ports.take(set, 0), Err(Exhausted));

    // Only LIP 1 gets ports back; the turn is LIP 0's each time.
    for t in taken.iter().filter(|t| t.lip.0 == 1) {
        assert!(ports.release(t.space, t.port, rest(1000)));
    }
    let again: Vec<Taken> = (0..4).map(|_| ports.take(set, 2000).unwrap()).collect();
    assert!(again.iter().all(|t| t.lip.0 == 1 && t.early && t.fell_back));
    assert_eq!(ports.take(set, 2000), Err(Exhausted));
}

#[test]
fn a_rested_port_comes_back_with_what_is_remembered_of_it() {
    let mut ports = ports(100);
    ports.apply(&snapshot(&[(pool(&[0], (1024, 65_535), 60_000), vec![0])]));
    let set = ports.set(PoolId(0), EndpointId(0)).unwrap();
    let first = ports.take(set, 0).unwrap();
    assert_eq!((first.rest, first.early), (None, false));
    assert!(ports.release(first.space, first.port, rest(5000)));
    // There are ports that never were used, so this one rests on.
    let second = ports.take(set, 5000 + FULL_REST_MS - 1).unwrap();
    assert_ne!(second.port, first.port);
    let third = ports.take(set, 5000 + FULL_REST_MS).unwrap();
    assert_eq!((third.port, third.rest), (first.port, Some(rest(5000))));
    assert!(!third.early);
}

#[test]
fn what_is_gone_from_the_configuration_is_freed_once_its_last_port_is_released() {
    let both = snapshot(&[(pool(&[0, 1], (1024, 65_535), 0), vec![0])]);
    let one = snapshot(&[(pool(&[0], (1024, 65_535), 0), vec![0])]);
    let mut ports = ports(100);
    ports.apply(&one);
    let set = ports.set(PoolId(0), EndpointId(0)).unwrap();
    ports.take(set, 0).unwrap();
    let before = ports.bytes();
    ports.apply(&both);
    let set = ports.set(PoolId(0), EndpointId(0)).unwrap();
    let taken = [(); 2].map(|()| ports.take(set, 0).unwrap());
    let on_second = taken.iter().find(|t| t.lip == LipId(1)).unwrap();
    let with_both = ports.bytes();
    assert!(with_both - before > 16_000);

    ports.apply(&one);
    let set = ports.set(PoolId(0), EndpointId(0)).unwrap();
    assert_eq!(ports.usage(set).total, 64_512);
    assert!(ports.bytes() > before + 16_000, "a session still uses it");
    assert!(ports.release(on_second.space, on_second.port, rest(1)));
    ports.apply(&one);
    assert!(ports.bytes() < before + 1_000);
    assert!(!ports.release(on_second.space, on_second.port, rest(2)));
    assert_eq!(ports.usage_of_lip(LipId(1), EndpointId(0)).total, 0);
}

#[test]
fn a_port_outside_the_new_range_is_not_taken_again_and_its_release_is_accepted() {
    let wide = snapshot(&[(pool(&[0], (5000, 5009), 0), vec![0])]);
    let narrow = snapshot(&[(pool(&[0], (5008, 5012), 0), vec![0])]);
    let mut ports = ports(100);
    ports.apply(&wide);
    let set = ports.set(PoolId(0), EndpointId(0)).unwrap();
    let taken: Vec<Taken> = (0..10).map(|_| ports.take(set, 0).unwrap()).collect();
    ports.apply(&narrow);
    let set = ports.set(PoolId(0), EndpointId(0)).unwrap();
    assert_eq!((ports.usage(set).used, ports.usage(set).total), (2, 5));
    let mut more: Vec<u16> = (0..3).map(|_| ports.take(set, 0).unwrap().port).collect();
    more.sort_unstable();
    assert_eq!(more, [5010, 5011, 5012]);
    assert_eq!(ports.take(set, 0), Err(Exhausted));
    for t in &taken {
        assert!(ports.release(t.space, t.port, rest(1)));
        assert!(!ports.release(t.space, t.port, rest(1)));
    }
    let mut again: Vec<u16> = (0..2).map(|_| ports.take(set, 2).unwrap().port).collect();
    again.sort_unstable();
    assert_eq!(again, [5008, 5009]);
    assert_eq!(ports.take(set, 2), Err(Exhausted));
}

#[test]
fn workers_never_take_the_same_port() {
    let config = snapshot(&[(pool(&[0], (1024, 2024), 0), vec![0])]);
    let mut all = BTreeSet::new();
    for worker in 0..3 {
        let mut ports = LocalPorts::new(worker, 3, 10, [worker; 16]).unwrap();
        ports.apply(&config);
        let set = ports.set(PoolId(0), EndpointId(0)).unwrap();
        let class = PortClass::new(1024, 2024, worker, 3);
        while let Ok(taken) = ports.take(set, 0) {
            assert!(class.index(taken.port).is_some());
            assert!(all.insert(taken.port));
        }
    }
    assert_eq!(all.len(), 1001);
}

#[test]
fn memory_is_as_documented() {
    let mut ports = ports(10_000);
    let empty = ports.bytes();
    assert!(
        (240_000..241_000).contains(&empty),
        "24 bytes per record: {empty}"
    );
    ports.apply(&snapshot(&[(pool(&[0], (1024, 65_535), 0), vec![0])]));
    let configured = ports.bytes() - empty;
    assert!(configured < 1500, "{configured}");
    let set = ports.set(PoolId(0), EndpointId(0)).unwrap();
    ports.take(set, 0).unwrap();
    let used = ports.bytes() - empty - configured;
    assert_eq!(used, 64_512 / 8 * 2, "two bits per port");

    let lips: Vec<u16> = (0..256).collect();
    let endpoints = (0..64).collect();
    let mut ports = self::ports(0);
    ports.apply(&snapshot(&[(pool(&lips, (1024, 65_535), 0), endpoints)]));
    let each = ports.bytes() / (256 * 64);
    assert!((200..=300).contains(&each), "per LIP and endpoint: {each}");
}

#[test]
fn two_hundred_thousand_connections_in_a_row_go_through_a_thousand_ports() {
    let mut ports = ports(100_000);
    ports.apply(&snapshot(&[(pool(&[0], (1024, 2023), 0), vec![0])]));
    let set = ports.set(PoolId(0), EndpointId(0)).unwrap();
    let mut last: BTreeMap<u16, u32> = BTreeMap::new();
    for n in 0..200_000u32 {
        let taken = ports.take(set, n / 20).unwrap();
        assert!(!taken.early, "reuse-after = 0s");
        // Oldest first: a port comes again after all the others.
        if let Some(before) = last.insert(taken.port, n) {
            assert_eq!(n - before, 1000);
            assert!(
                taken.rest.is_some(),
                "sequence numbers go on where they ended"
            );
        }
        assert!(ports.release(taken.space, taken.port, rest(n / 20)));
    }
}
