//! Two smoltcp end points and a lossy, duplicating, reordering network around directors: every
//! byte arrives, and afterwards nothing is left.
//!
//! `WEIR_RUNS=100000 cargo test -p weir-director --test real_stacks` runs more of them than usual.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail by panicking, outside of its own function too"
)]

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use weir_model::{Snapshot, Time};
use weir_testkit::{
    Closing, Middle, Plan, Random, Setup, Side, Through, Toll, Transfer, Weather, World,
};
use weir_wire::{EthAddr, SeqNumber};

const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const CLIENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 77);
const REAL: Ipv4Addr = Ipv4Addr::new(10, 0, 8, 200);

/// Sequence numbers start here, so that they wrap within the first segments.
const NEAR_THE_END: SeqNumber = SeqNumber(0xffff_ff00);

/// What one kind of run adds up to.
#[derive(Debug, Default)]
struct Total {
    toll: Toll,
    handed_out: u64,
    slowest: Duration,
    wrapped_isn: u64,
}

fn runs(usual: u64) -> u64 {
    match std::env::var("WEIR_RUNS") {
        Ok(text) => text.parse().expect("WEIR_RUNS is a number"),
        Err(_) => usual,
    }
}

fn snapshot() -> Snapshot {
    let text = include_str!("conf/storm.conf");
    weir_testkit::snapshot("storm.conf", text).unwrap()
}

fn transfer(seed: u64, most: u64) -> Transfer {
    let mut random = Random::new(seed);
    let up = random.below(most) as usize;
    let down = random.below(most) as usize;
    let ((first, second), buffer) = (
        [
            (Closing::WhenSent, Closing::WhenTheOtherHas),
            (Closing::WhenTheOtherHas, Closing::WhenSent),
            (Closing::WhenBothAreDone, Closing::WhenBothAreDone),
            (Closing::WhenSent, Closing::WhenSent),
        ][random.below(4) as usize],
        [16_384, 65_535, 200_000][random.below(3) as usize],
    );
    let client = Plan {
        address: CLIENT,
        mac: EthAddr([2, 0, 0, 0, 1, 1]),
        port: 40_000 + random.below(1000) as u16,
        connect: Some((VIP, 80)),
        send: up,
        sends_after: 0,
        seed: seed.wrapping_mul(2),
        expect: down,
        expect_seed: seed.wrapping_mul(2) + 1,
        closing: first,
        buffer,
        timestamps: random.chance(0.7),
        mtu: 1500,
    };
    let server = Plan {
        address: REAL,
        mac: EthAddr([2, 0, 0, 0, 1, 2]),
        port: 8080,
        connect: None,
        send: down,
        seed: seed.wrapping_mul(2) + 1,
        expect: up,
        expect_seed: seed.wrapping_mul(2),
        closing: second,
        timestamps: random.chance(0.7),
        ..client.clone()
    };
    Transfer {
        client,
        server,
        weather: Weather::STORM,
        seed,
        client_isn: Some(NEAR_THE_END),
        server_isn: Some(NEAR_THE_END),
    }
}

/// Runs a transfer through a world and then lets all time-outs pass.
fn run(snapshot: &Snapshot, setup: &Setup, seed: u64, most: u64, total: &mut Total) -> Result<()> {
    let transfer = transfer(seed, most);
    let mut setup = Setup {
        seed,
        neighbours_answer: false,
        ..setup.clone()
    };
    setup.wall_ms = wall_for_wrap(snapshot, &setup, &transfer)?;
    carry(snapshot, &setup, &transfer, total)
}

fn carry(snapshot: &Snapshot, setup: &Setup, transfer: &Transfer, total: &mut Total) -> Result<()> {
    let setup = Setup {
        neighbours_answer: false,
        ..setup.clone()
    };
    let seed = setup.seed;
    let world = World::new(snapshot.clone(), setup)?;
    let start = world.time();
    let mut middle = Through::new(world, seed)?;
    let outcome = transfer.run(start, &mut middle)?;
    total.toll.add(outcome.toll);
    total.slowest = total.slowest.max(outcome.ended.since(start));
    total.wrapped_isn += u64::from(middle.first_seq(Side::Server) >= Some(NEAR_THE_END.0));

    let world = middle.world_mut();
    // Longer than time-wait, which is the longest that a closed session has.
    world.advance_to(outcome.ended.after(Duration::from_secs(310)))?;
    let tally = world.tally();
    ensure!(
        world.sessions().is_empty(),
        "sessions are left: {:?}",
        world.sessions()
    );
    ensure!(
        world.ports_used() == 0,
        "{} ports are left",
        world.ports_used()
    );
    ensure!(tally.get("held") == 0, "frames are left: {tally}");
    ensure!(
        tally.get("session-opened") >= 1,
        "nothing was opened: {tally}"
    );
    ensure!(
        tally.get("session-expired") == 0,
        "a session expired: {tally}"
    );
    let none = tally.get("table-full") + tally.get("lip-exhausted") + tally.get("outbox-full");
    ensure!(none == 0, "something ran out: {tally}");
    total.handed_out += u64::try_from(tally.get("handed-out"))?;
    Ok(())
}

/// Finds the wall clock at which the director's first number towards the real server is just
/// before the wrap: it moves by 250 each millisecond, and all else repeats with the seed.
fn wall_for_wrap(snapshot: &Snapshot, setup: &Setup, transfer: &Transfer) -> Result<u64> {
    let world = World::new(snapshot.clone(), setup.clone())?;
    let start = world.time();
    let mut probe = UntilSyn(Through::new(world, setup.seed)?);
    let stopped = transfer.run(start, &mut probe);
    let Some(first) = probe.0.first_seq(Side::Server) else {
        stopped?;
        bail!("no SYN reached the server");
    };
    let way = u64::from(NEAR_THE_END.0.wrapping_sub(first));
    Ok(setup.wall_ms + way.div_ceil(250))
}

/// Stops a transfer when its SYN has been translated.
struct UntilSyn(Through);

impl Middle for UntilSyn {
    fn receive(&mut self, now: Time, from: Side, frame: &[u8]) -> Result<()> {
        self.0.receive(now, from, frame)
    }

    fn advance(&mut self, now: Time) -> Result<()> {
        ensure!(
            self.0.first_seq(Side::Server).is_none(),
            "the SYN is on its way"
        );
        self.0.advance(now)
    }

    fn transmitted(&mut self) -> Option<(Side, Vec<u8>)> {
        self.0.transmitted()
    }

    fn wake_at(&self) -> Option<Time> {
        self.0.wake_at()
    }
}

fn all(setup: &Setup, runs: u64, most: u64) -> Total {
    let snapshot = snapshot();
    let mut total = Total::default();
    for seed in 0..runs {
        if let Err(error) = run(&snapshot, setup, seed, most, &mut total)
            .with_context(|| format!("run {seed} with {} workers", setup.workers))
        {
            panic!("{error:#}");
        }
    }
    assert!(total.toll.lost > 0 && total.toll.duplicated > 0 && total.toll.reordered > 0);
    println!("{runs} runs: {total:?}");
    total
}

#[test]
fn ten_thousand_transfers_in_a_storm_deliver_every_byte() {
    let runs = runs(10_000);
    let total = all(&Setup::default(), runs, 32 << 10);
    assert!(
        total.wrapped_isn == runs,
        "some of the director's numbers do not wrap: {total:?}"
    );
    assert_eq!(total.handed_out, 0);
}

/// Puts another configuration in force every few frames: more services, another scheduler, fewer
/// local ports, and back.
struct Reloading {
    through: Through,
    texts: [String; 2],
    frames: usize,
}

impl Middle for Reloading {
    fn receive(&mut self, now: Time, from: Side, frame: &[u8]) -> Result<()> {
        self.frames += 1;
        if self.frames.is_multiple_of(7) {
            let text = &self.texts[self.frames / 7 % 2];
            let world = self.through.world_mut();
            let next = weir_testkit::snapshot_after("reload.conf", text, world.snapshot())?;
            world.apply(next)?;
        }
        self.through.receive(now, from, frame)
    }

    fn advance(&mut self, now: Time) -> Result<()> {
        self.through.advance(now)
    }

    fn transmitted(&mut self) -> Option<(Side, Vec<u8>)> {
        self.through.transmitted()
    }

    fn wake_at(&self) -> Option<Time> {
        self.through.wake_at()
    }
}

#[test]
fn reloads_disturb_no_transfer() {
    let text = include_str!("conf/storm.conf");
    let other = text
        .replace("1024-1031", "1024-1025")
        .replace("scheduler       = rr", "scheduler       = wlc\nreal = 10.0.8.201:8080 weight=0")
        .replace("[service web]", "[service dns]\nlisten = 203.0.113.10:53/udp\nlip-pool = blue\nscheduler = rr\nreal = 10.0.8.202:53\n\n[service web]");
    let mut reloads = 0;
    for seed in 0..200 {
        let setup = Setup {
            seed,
            workers: 1 + (seed % 3) as u8,
            neighbours_answer: false,
            ..Setup::default()
        };
        let world = World::new(snapshot(), setup).unwrap();
        let start = world.time();
        let mut middle = Reloading {
            through: Through::new(world, seed).unwrap(),
            texts: [text.to_owned(), other.clone()],
            frames: 0,
        };
        let outcome = transfer(seed, 32 << 10).run(start, &mut middle);
        let outcome = outcome.unwrap_or_else(|error| panic!("{error:#}"));
        reloads += middle.frames / 7;
        let world = middle.through.world_mut();
        let late = outcome.ended.after(Duration::from_secs(310));
        world.advance_to(late).unwrap();
        assert!(world.sessions().is_empty(), "{:?}", world.sessions());
        assert_eq!(world.ports_used(), 0);
        assert_eq!(world.tally().get("session-evicted"), 0, "{}", world.tally());
    }
    assert!(reloads > 1000, "{reloads} reloads");
}

#[test]
fn clocks_that_wrap_disturb_no_transfer() {
    let snapshot = snapshot();
    for seed in 0..500 {
        // Milliseconds in 32 bits wrap after 49 days: both clocks do within these transfers.
        let setup = Setup {
            seed,
            uptime_ms: (1 << 32) - 20 * (seed % 50),
            wall_ms: (400 << 32) - 20 * (seed % 50),
            ..Setup::default()
        };
        let mut total = Total::default();
        if let Err(error) = carry(&snapshot, &setup, &transfer(seed, 32 << 10), &mut total) {
            panic!("{error:#}");
        }
    }
}

#[test]
fn workers_that_receive_each_others_packets_deliver_every_byte() {
    for workers in [2, 3] {
        let setup = Setup {
            workers,
            ..Setup::default()
        };
        let total = all(&setup, runs(10_000) / 10, 32 << 10);
        assert!(total.handed_out > 0, "nothing was handed over");
    }
}

#[test]
fn a_long_transfer_in_a_storm_delivers_every_byte() {
    let total = all(&Setup::default(), 3, 4 << 20);
    assert!(total.toll.lost > 100, "{total:?}");
}
