//! Measures the session table: lookups that hit and miss, opening and closing, memory.
//!
//! `cargo run --release -p nat-engine --example table_bench [sessions] [per cent full]`

#![expect(
    clippy::cast_precision_loss,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measuring program, not the data plane"
)]

use std::hint::black_box;
use std::time::Instant;

use nat_engine::{
    FlowHash, FlowHasher, FlowKey, InsertError, Rng, Session, SessionId, SessionTable, TimerWheel,
};

/// Frames of a burst.
const BURST: usize = 64;
const LOOKUPS: usize = 1 << 22;

fn client(n: u32) -> FlowKey {
    FlowKey {
        src: (0x0b00_0000 + n / 50_000).into(),
        dst: 0xc000_0201.into(),
        src_port: (10_000 + n % 50_000) as u16,
        dst_port: 443,
        protocol: 6,
    }
}

fn real(n: u32) -> FlowKey {
    FlowKey {
        src: (0x0a01_0000 + n % 16).into(),
        dst: (0x0a02_0000 + n / 1_000_000).into(),
        src_port: 8443,
        dst_port: (1024 + n / 16 % 62_500) as u16,
        protocol: 6,
    }
}

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse().unwrap());
    let sessions: u32 = args.next().unwrap_or(1 << 20);
    let full: u32 = args.next().unwrap_or(100);
    let mut wheel = TimerWheel::new(0);
    let start = Instant::now();
    let mut table = SessionTable::with_capacity(sessions, FlowHasher::new([7; 16])).unwrap();
    println!(
        "{sessions} sessions, {:.1} bytes each, made in {:.0?}",
        table.decibytes_per_session() as f64 / 10.0,
        start.elapsed()
    );

    let count = (u64::from(sessions) * u64::from(full) / 100) as u32;
    let start = Instant::now();
    for n in 0..count {
        if let Err(error) = table.insert(Session::new(client(n), real(n))) {
            println!(
                "{error:?} at {:.2} %",
                f64::from(n) * 100.0 / f64::from(sessions)
            );
            break;
        }
    }
    report("insert", start, table.len() as usize);
    let full = table.len();

    let mut rng = Rng::new([8; 16]);
    for (name, base, range) in [("hit", 0, full), ("miss", 1 << 31, 1 << 30)] {
        let keys: Vec<FlowKey> = (0..LOOKUPS)
            .map(|_| client(base + rng.below(range)))
            .collect();
        let expected = if name == "hit" { LOOKUPS } else { 0 };

        let found = measure(&format!("{name}, one by one"), &keys, |keys| {
            keys.iter()
                .filter(|key| table.find(table.hash(key), key).is_some())
                .count()
        });
        assert_eq!(found, expected);
        for sessions_too in [false, true] {
            let second = if sessions_too { " and sessions" } else { "" };
            let found = measure(
                &format!("{name}, buckets{second} prefetched"),
                &keys,
                |keys| {
                    keys.chunks(BURST)
                        .map(|burst| find_burst(&table, burst, sessions_too))
                        .sum()
                },
            );
            assert_eq!(found, expected);
        }
        measure("hash", &keys, |keys| {
            keys.iter().map(|key| table.hash(key).0 as usize & 1).sum()
        });
    }

    let turns = 1 << 20;
    let mut failed = 0;
    let start = Instant::now();
    for n in 0..turns {
        let id = SessionId(rng.below(full));
        if table.remove(&mut wheel, id).is_none() {
            continue;
        }
        let n = count + n;
        if table.insert(Session::new(client(n), real(n))) == Err(InsertError::TableFull) {
            failed += 1;
        }
    }
    report("remove and insert", start, turns as usize);
    println!("{failed} refused while so full");
}

fn find_burst(table: &SessionTable, burst: &[FlowKey], sessions_too: bool) -> usize {
    let mut hashes = [FlowHash(0); BURST];
    for (hash, key) in hashes.iter_mut().zip(burst) {
        *hash = table.hash(key);
        table.prefetch(*hash);
    }
    if sessions_too {
        for &hash in hashes.iter().take(burst.len()) {
            let _ = table.probe(hash);
        }
    }
    let pairs = hashes.iter().zip(burst);
    pairs
        .filter(|&(&hash, key)| table.find(hash, key).is_some())
        .count()
}

/// Measures in slices and prints the best and the median one, for machines that do other things.
fn measure(what: &str, keys: &[FlowKey], mut work: impl FnMut(&[FlowKey]) -> usize) -> usize {
    let mut sum = 0;
    let mut times: Vec<f64> = keys
        .chunks(1 << 14)
        .map(|slice| {
            let start = Instant::now();
            sum += black_box(work(black_box(slice)));
            start.elapsed().as_nanos() as f64 / slice.len() as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let median = times.get(times.len() / 2).copied().unwrap_or(0.0);
    let best = times.first().copied().unwrap_or(0.0);
    println!("{what:<40} {median:7.1} ns, best {best:.1} ns");
    sum
}

fn report(what: &str, start: Instant, count: usize) {
    let each = start.elapsed().as_nanos() as f64 / count.max(1) as f64;
    println!("{what:<40} {each:7.1} ns");
}
