//! The session table against an ordered map of keys.

use std::collections::BTreeMap;

use nat_engine::{
    Direction, FlowHasher, FlowKey, InsertError, Rng, Session, SessionId, SessionTable, TimerWheel,
};
use proptest::prelude::*;

type Model = BTreeMap<(u32, u32, u16, u16, u8), (SessionId, Direction)>;

fn ordered(key: &FlowKey) -> (u32, u32, u16, u16, u8) {
    (
        key.src.into(),
        key.dst.into(),
        key.src_port,
        key.dst_port,
        key.protocol,
    )
}

/// Few enough keys that some come up again, and close to each other as in real traffic.
fn key(n: u16, side: u32) -> FlowKey {
    FlowKey {
        src: (0x0a00_0000 | side << 16 | u32::from(n % 7)).into(),
        dst: (0x0a63_0000 | side).into(),
        src_port: n,
        dst_port: 80,
        protocol: if n.is_multiple_of(5) { 17 } else { 6 },
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert { client: u16, local: u16 },
    Remove { nth: usize },
    Find { client: u16 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..400u16, 0..400u16).prop_map(|(client, local)| Step::Insert { client, local }),
        2 => any::<usize>().prop_map(|nth| Step::Remove { nth }),
        1 => (0..400u16).prop_map(|client| Step::Find { client }),
    ]
}

proptest! {
    #[test]
    fn it_finds_exactly_what_was_inserted_and_not_removed(
        capacity in 0..150u32,
        secret in any::<[u8; 16]>(),
        steps in prop::collection::vec(step(), 0..1500),
    ) {
        let mut table = SessionTable::with_capacity(capacity, FlowHasher::new(secret)).unwrap();
        let mut wheel = TimerWheel::new(0);
        let mut model = Model::new();
        let mut live: Vec<SessionId> = Vec::new();
        for step in steps {
            match step {
                Step::Insert { client, local } => {
                    let session = Session::new(key(client, 0), key(local, 1));
                    let keys = [Direction::Inbound, Direction::Outbound].map(|d| (session.key(d), d));
                    let taken = keys.iter().any(|(key, _)| model.contains_key(&ordered(key)));
                    match table.insert(session) {
                        Ok(id) => {
                            prop_assert!(!taken && live.len() < capacity as usize);
                            prop_assert!(!live.contains(&id));
                            live.push(id);
                            for (key, direction) in keys {
                                model.insert(ordered(&key), (id, direction));
                            }
                        }
                        Err(InsertError::Duplicate) => prop_assert!(taken),
                        Err(InsertError::TableFull) => {
                            prop_assert_eq!(live.len(), capacity as usize);
                        }
                        Err(InsertError::NoProtocol) => prop_assert!(false),
                    }
                }
                Step::Remove { nth } => {
                    if live.is_empty() {
                        continue;
                    }
                    let id = live.swap_remove(nth % live.len());
                    let session = table.remove(&mut wheel, id).unwrap();
                    for direction in [Direction::Inbound, Direction::Outbound] {
                        let key = ordered(&session.key(direction));
                        prop_assert_eq!(model.remove(&key), Some((id, direction)));
                    }
                    prop_assert!(table.get(id).is_none());
                }
                Step::Find { client } => {
                    let key = key(client, 0);
                    let found = table.find(table.hash(&key), &key);
                    prop_assert_eq!(found, model.get(&ordered(&key)).copied());
                }
            }
            prop_assert_eq!(table.len() as usize, live.len());
        }
        for n in 0..400 {
            for side in 0..2 {
                let key = key(n, side);
                let found = table.find(table.hash(&key), &key);
                prop_assert_eq!(found, model.get(&ordered(&key)).copied());
            }
        }
    }

    #[test]
    fn a_dump_in_parts_sees_every_session_once(
        count in 0..100u32,
        gaps in prop::collection::vec(any::<bool>(), 100),
        places in 1..40u32,
    ) {
        let mut table = SessionTable::with_capacity(100, FlowHasher::new([1; 16])).unwrap();
        let mut wheel = TimerWheel::new(0);
        let mut expected = Vec::new();
        for n in 0..count as u16 {
            expected.push(table.insert(Session::new(key(n, 0), key(n, 1))).unwrap());
        }
        for (id, _) in expected.clone().iter().zip(gaps).filter(|(_, gap)| *gap) {
            table.remove(&mut wheel, *id);
            expected.retain(|other| other != id);
        }
        let mut seen = Vec::new();
        let mut cursor = Some(0);
        while let Some(from) = cursor {
            let mut scan = table.scan(from, places);
            let part: Vec<SessionId> = scan.by_ref().map(|(id, _)| id).collect();
            prop_assert!(part.len() <= places as usize);
            seen.extend(part);
            cursor = scan.cursor();
        }
        seen.sort_by_key(|id| id.0);
        expected.sort_by_key(|id| id.0);
        prop_assert_eq!(seen, expected);
    }
}

/// The index is sized so that its own limits are never met: the slab is full first.
#[test]
fn a_million_sessions_fit_a_table_for_a_million_and_go_on_fitting() {
    const CAPACITY: u32 = 1 << 20;
    let mut table = SessionTable::with_capacity(CAPACITY, FlowHasher::new([5; 16])).unwrap();
    let mut wheel = TimerWheel::new(0);
    let session = |n: u32| {
        let inbound = FlowKey {
            src: (0x0b00_0000 + n / 50_000).into(),
            dst: 0xc000_0201.into(),
            src_port: (10_000 + n % 50_000) as u16,
            dst_port: 443,
            protocol: 6,
        };
        let outbound = FlowKey {
            src: (0x0a01_0000 + n % 16).into(),
            dst: (0x0a02_0000 + n / 1_000_000).into(),
            src_port: 8443,
            dst_port: (1024 + n / 16 % 62_500) as u16,
            protocol: 6,
        };
        Session::new(inbound, outbound)
    };
    for n in 0..CAPACITY {
        let inserted = table.insert(session(n));
        assert!(inserted.is_ok(), "{inserted:?} at {n} of {CAPACITY}");
    }
    assert_eq!(table.insert(session(CAPACITY)), Err(InsertError::TableFull));

    let mut rng = Rng::new([6; 16]);
    for n in CAPACITY..CAPACITY * 2 {
        while table
            .remove(&mut wheel, SessionId(rng.below(CAPACITY)))
            .is_none()
        {}
        let inserted = table.insert(session(n));
        assert!(inserted.is_ok(), "{inserted:?} after {n}");
    }
    assert_eq!(table.len(), CAPACITY);
}
