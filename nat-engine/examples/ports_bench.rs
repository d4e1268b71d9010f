//! Measures local ports and the timer wheel: taking, releasing, arming, expiring, applying.
//!
//! `cargo run --release -p nat-engine --example ports_bench`

#![expect(
    clippy::cast_precision_loss,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measuring program, not the data plane"
)]

use std::time::Instant;

use nat_engine::{
    FlowHasher, FlowKey, LipSetId, LocalPorts, Rest, Rng, Session, SessionTable, Taken, TimerWheel,
};
use weir_model::{EndpointId, PoolId};
use weir_wire::SeqNumber;

#[path = "../tests/model/snapshot.rs"]
mod snapshot;

use snapshot::{Pool, snapshot};

const ROUNDS: u32 = 1 << 21;

fn main() {
    let pool = Pool {
        lips: (0..16).collect(),
        ports: (1024, 65_535),
        reuse_after_ms: 60_000,
    };
    let config = snapshot(&[(pool, (0..100).collect())]);
    let mut ports = LocalPorts::new(0, 1, 1 << 21, [1; 16]).unwrap();
    let start = Instant::now();
    ports.apply(&config);
    report("apply, new: each of 1,600 spaces", start, 1600);
    let start = Instant::now();
    ports.apply(&config);
    report("apply, the same: each of 1,600 spaces", start, 1600);
    let sets: Vec<LipSetId> = (0..100)
        .map(|endpoint| ports.set(PoolId(0), EndpointId(endpoint)).unwrap())
        .collect();

    // A million sessions in use; each round closes one of them and opens another.
    let mut rng = Rng::new([2; 16]);
    let mut pick = move || sets.get(rng.below(100) as usize).copied().unwrap();
    let start = Instant::now();
    let mut in_use: Vec<Taken> = (0..1 << 20)
        .map(|_| ports.take(pick(), 0).unwrap())
        .collect();
    report("take, first million", start, in_use.len());
    let mut rng = Rng::new([3; 16]);
    let mut early = 0;
    let start = Instant::now();
    for n in 0..ROUNDS {
        let now = n / 20; // 20,000 per second
        let taken = in_use.swap_remove(rng.below(in_use.len() as u32) as usize);
        let rest = Rest {
            end_seq: SeqNumber(n),
            last_tsval: n,
            freed_at: now,
        };
        assert!(ports.release(taken.space, taken.port, rest));
        let taken = ports.take(pick(), now).unwrap();
        early += u32::from(taken.early);
        in_use.push(taken);
    }
    report("release and take, at random", start, ROUNDS as usize);
    println!("{early} early, {:.1} MB", ports.bytes() as f64 / 1e6);

    wheel();
}

fn wheel() {
    const SESSIONS: u32 = 1 << 20;
    let mut table = SessionTable::with_capacity(SESSIONS, FlowHasher::new([1; 16])).unwrap();
    let mut wheel = TimerWheel::new(0);
    let key = |n: u32| FlowKey {
        src: n.into(),
        dst: 1.into(),
        src_port: 1,
        dst_port: 1,
        protocol: 6,
    };
    let ids: Vec<_> = (0..SESSIONS)
        .map(|n| {
            table
                .insert(Session::new(key(n), key(n | 1 << 31)))
                .unwrap()
        })
        .collect();
    let mut rng = Rng::new([4; 16]);
    for what in ["arm, first time", "arm, again, at random"] {
        let start = Instant::now();
        for &id in &ids {
            let deadline = rng.below(900_000);
            table.get_mut(id).unwrap().last_seen = deadline;
            wheel.arm(&mut table, id, deadline);
        }
        report(what, start, ids.len());
    }
    let start = Instant::now();
    let (mut fired, mut looked_at) = (0u32, 0u32);
    for now in 0..=900_016 {
        let mut budget = 64;
        while wheel
            .next_due(&mut table, now, &mut budget, |session| {
                looked_at += 1;
                session.last_seen
            })
            .is_some()
        {
            fired += 1;
        }
    }
    report("expire, 15 min in turns of 1 ms", start, fired as usize);
    println!(
        "{fired} fired, {looked_at} looked at, {} left",
        wheel.armed()
    );
}

fn report(what: &str, start: Instant, count: usize) {
    let each = start.elapsed().as_nanos() as f64 / count.max(1) as f64;
    println!("{what:<40} {each:7.1} ns");
}
