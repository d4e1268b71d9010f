use super::bucket::SLOTS;
use super::*;

/// Records that find room in their home and the buckets after it.
const CROWD: usize = SLOTS * (MAX_DISTANCE as usize + 1);

fn hasher() -> FlowHasher {
    FlowHasher::new([9; 16])
}

fn key(src: u32, dst: u32) -> FlowKey {
    FlowKey {
        src: src.into(),
        dst: dst.into(),
        src_port: 1,
        dst_port: 2,
        protocol: 6,
    }
}

fn displaced(table: &SessionTable) -> usize {
    let homes = table.buckets.iter();
    homes.map(|bucket| bucket.distances().count()).sum()
}

#[test]
fn a_session_and_its_index_take_less_than_152_bytes() {
    let table = SessionTable::with_capacity(100_000, hasher()).unwrap();
    assert!(
        table.decibytes_per_session() <= 1520,
        "{}",
        table.decibytes_per_session()
    );
    let index = table.buckets.len() * 64;
    assert!(index <= 24 * 100_000, "{index}");
}

#[test]
fn keys_that_crowd_one_bucket_fill_the_next_eight_and_leave_nothing_behind() {
    let mut table = SessionTable::with_capacity(2000, hasher()).unwrap();
    let mut wheel = TimerWheel::new(0);
    let crowd: Vec<FlowKey> = (0..u32::MAX)
        .map(|n| key(n, 0))
        .filter(|key| table.home(table.hash(key)) == table.buckets.len() - 3)
        .take(CROWD + 1)
        .collect();
    // The second key is found first in a bucket far from the crowd.
    let far = |table: &SessionTable, n: u32| {
        (0..1 << 16)
            .map(|m| key(n << 16 | m, 1))
            .find(|key| (100..600).contains(&table.home(table.hash(key))))
            .unwrap()
    };
    let mut ids = Vec::new();
    for (n, &inbound) in crowd.iter().enumerate() {
        let outbound = far(&table, n as u32);
        let inserted = table.insert(Session::new(inbound, outbound));
        if n < CROWD {
            ids.push(inserted.unwrap());
            continue;
        }
        assert_eq!(inserted, Err(InsertError::TableFull));
        // Neither as the second key.
        let inserted = table.insert(Session::new(outbound, inbound));
        assert_eq!(inserted, Err(InsertError::TableFull));
        assert_eq!(table.find(table.hash(&outbound), &outbound), None);
    }
    assert_eq!((table.len() as usize, displaced(&table)), (CROWD, 8));
    for (&inbound, &id) in crowd.iter().zip(&ids) {
        let found = table.find(table.hash(&inbound), &inbound);
        assert_eq!(found, Some((id, Direction::Inbound)));
    }
    for &id in &ids {
        assert!(table.remove(&mut wheel, id).is_some());
    }
    assert_eq!((table.len(), displaced(&table)), (0, 0));
    assert!(
        table
            .buckets
            .iter()
            .all(|bucket| bucket.matches(0).count() == SLOTS)
    );
}

#[test]
fn in_a_full_table_one_record_in_a_hundred_lives_outside_its_home() {
    let mut table = SessionTable::with_capacity(100_000, hasher()).unwrap();
    for n in 0..100_000 {
        table.insert(Session::new(key(n, 1), key(n, 2))).unwrap();
    }
    let mut outside = 0;
    for (id, session) in table.scan(0, u32::MAX) {
        for direction in [Direction::Inbound, Direction::Outbound] {
            let hash = table.hash(&session.key(direction));
            let record = Record::new(id, direction);
            let home = &table.buckets[table.home(hash)];
            let mut slots = home.matches(Bucket::tag(hash.0));
            outside += usize::from(!slots.any(|slot| home.record(slot) == Some(record)));
        }
    }
    assert!((1000..3000).contains(&outside), "{outside} of 200,000");
    // So a miss reads a second line at one home in fifty.
    let homes = table.buckets.iter();
    let not_alone = homes
        .filter(|bucket| bucket.distances().count() > 0)
        .count();
    assert!(not_alone * 25 < table.buckets.len(), "{not_alone}");
}

#[test]
fn the_id_of_a_removed_session_gives_nothing() {
    let mut table = SessionTable::with_capacity(4, hasher()).unwrap();
    let mut wheel = TimerWheel::new(0);
    let id = table.insert(Session::new(key(1, 2), key(3, 4))).unwrap();
    wheel.arm(&mut table, id, 500);
    assert_eq!(
        table.remove(&mut wheel, id).unwrap().client,
        Ipv4Addr::from(1)
    );
    assert!(table.get(id).is_none() && table.get_mut(id).is_none());
    assert!(table.remove(&mut wheel, id).is_none());
    assert!(table.get(SessionId::NONE).is_none());
    wheel.arm(&mut table, id, 500);
    assert_eq!((wheel.armed(), table.len()), (0, 0));
}

#[test]
fn a_key_belongs_to_one_session_only() {
    let mut table = SessionTable::with_capacity(4, hasher()).unwrap();
    let first = Session::new(key(1, 2), key(3, 4));
    table.insert(first).unwrap();
    for (inbound, outbound) in [
        (key(1, 2), key(5, 6)),
        (key(5, 6), key(3, 4)),
        (key(3, 4), key(5, 6)),
        (key(7, 8), key(7, 8)),
    ] {
        let inserted = table.insert(Session::new(inbound, outbound));
        assert_eq!(inserted, Err(InsertError::Duplicate));
    }
    let mut nameless = first;
    nameless.protocol = 0;
    assert_eq!(table.insert(nameless), Err(InsertError::NoProtocol));
    assert_eq!(table.len(), 1);
}

#[test]
fn a_table_without_places_is_full() {
    let mut table = SessionTable::with_capacity(0, hasher()).unwrap();
    let session = Session::new(key(1, 2), key(3, 4));
    assert_eq!(table.insert(session), Err(InsertError::TableFull));
    assert_eq!(table.find(table.hash(&key(1, 2)), &key(1, 2)), None);
    assert_eq!(table.scan(0, 10).count(), 0);
    assert_eq!(table.scan(0, 10).cursor(), None);
}

#[test]
fn all_memory_of_a_table_is_told_before_it_is_touched() {
    let told = core::cell::RefCell::new(Vec::new());
    let table = SessionTable::prepared(100, hasher(), &|memory| {
        told.borrow_mut().push(memory);
    })
    .unwrap();
    let told = told.into_inner();
    let first = (
        table.sessions.as_ptr().addr(),
        table.buckets.as_ptr().addr(),
    );
    assert_eq!((told[0].start, told[1].start), first);
    assert_eq!(
        told[0].len() + told[1].len() + size_of::<SessionTable>(),
        table.bytes()
    );
    assert!(table.sessions.is_empty(), "they are not touched");
}

#[test]
fn a_table_uses_places_again_before_it_goes_on_to_fresh_ones_and_never_moves() {
    let mut table = SessionTable::with_capacity(3, hasher()).unwrap();
    let mut wheel = TimerWheel::new(0);
    let start = table.sessions.as_ptr();
    let open = |table: &mut SessionTable, n| table.insert(Session::new(key(n, 1), key(n, 2)));
    let ids = [0, 1].map(|n| open(&mut table, n).unwrap());
    assert_eq!(ids, [SessionId(0), SessionId(1)]);
    for id in ids {
        table.remove(&mut wheel, id).unwrap();
    }
    let again = [2, 3, 4].map(|n| open(&mut table, n).unwrap().0);
    assert_eq!(again, [1, 0, 2]);
    assert_eq!(open(&mut table, 5), Err(InsertError::TableFull));
    assert_eq!((table.len(), table.capacity()), (3, 3));
    assert_eq!(table.sessions.as_ptr(), start);
}

#[test]
fn more_memory_than_there_is_is_refused_with_an_error() {
    let table = SessionTable::with_capacity(u32::MAX, hasher());
    assert!(table.is_err_and(|error| error == OutOfMemory));
}
