//! Two smoltcp end points and a bad network around directors that answer SYNs by cookies: every byte
//! arrives, no segment says what its receiver cannot know, and afterwards nothing is left.
//!
//! A run is drawn from its seed, which a failure names.
//! `WEIR_RUNS=100000 cargo test -p weir-director --test proxied_stacks` runs more than usual,
//! `WEIR_SEED=17` only that one; `WEIR_TRACE=1` shows every frame, `WEIR_KEEP_GOING=1` all failures.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may fail by panicking, outside of its own function too"
)]

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use weir_model::{Event, Now, ServiceId, Snapshot, SynproxyMode, Time};
use weir_testkit::{Middle, Random, Setup, Side, Through, World};
use weir_wire::SeqNumber;

use self::case::{Case, NEAR_THE_END};
use self::lane::{Lane, Toll};

#[path = "proxied_stacks/case.rs"]
mod case;
#[path = "proxied_stacks/lane.rs"]
mod lane;
#[path = "proxied_stacks/watch.rs"]
mod watch;

/// What one kind of run adds up to.
#[derive(Debug, Default)]
struct Total {
    runs: u64,
    toll: Toll,
    opened: i64,
    cookies: i64,
    valid: i64,
    reused: i64,
    retried: i64,
    held_too_much: i64,
    handed_out: i64,
    wrapped: u64,
    began: u64,
    ended: u64,
    slowest: Duration,
}

fn lane(case: &Case, snapshot: &Snapshot, setup: Setup) -> Result<Lane> {
    let mut world = World::new(snapshot.clone(), setup)?;
    if let Some(offer) = case.learned() {
        for director in world.directors_mut() {
            director.set_offer(ServiceId(0), offer);
        }
        if case.settled {
            let late = world.time().after(Duration::from_secs(70));
            world.advance_to(late)?;
        }
    }
    let through = Through::new(world, case.seed)?;
    Ok(Lane::new(through, case.way, case.demands(), case.seed))
}

/// Runs a case and then lets all time-outs pass.
fn run(case: &Case, total: &mut Total) -> Result<()> {
    let snapshot = case.snapshot()?;
    let mut setup = case.setup();
    if case.wraps {
        setup.wall_ms = wall_for_wrap(case, &snapshot)?;
    }
    let transfer = case.transfer();
    let mut middle = lane(case, &snapshot, setup)?;
    let start = middle.through().world().time();
    let outcome = transfer.run(start, &mut middle)?;
    let first = middle.through().first_seq(Side::Server);
    total.wrapped += u64::from(case.wraps && first >= Some(NEAR_THE_END.0));

    let toll = middle.toll();
    let world = middle.through_mut().world_mut();
    // Longer than time-wait, which is the longest that a closed session has.
    world.advance_to(outcome.ended.after(Duration::from_secs(310)))?;
    let tally = world.tally();
    let (sessions, ports) = (world.sessions(), world.ports_used());
    ensure!(sessions.is_empty(), "sessions are left: {sessions:?}");
    ensure!(ports == 0, "{ports} ports are left");
    ensure!(tally.get("held") == 0, "frames are left: {tally}");
    for name in [
        "table-full",
        "lip-exhausted",
        "outbox-full",
        "handshakes-full",
    ] {
        ensure!(tally.get(name) == 0, "{name}: {tally}");
    }
    if case.way.burst == 0 {
        ensure!(
            tally.get("unresolved") == 0,
            "a host was not found: {tally}"
        );
        ensure!(tally.get("session-opened") == 1, "not one session: {tally}");
        ensure!(
            tally.get("session-expired") == 0,
            "a session expired: {tally}"
        );
        ensure!(tally.get("session-reused") == 0, "it was replaced: {tally}");
    }
    total.runs += 1;
    total.toll.add(toll);
    total.opened += tally.get("session-opened");
    total.cookies += tally.get("cookie-sent");
    total.valid += tally.get("cookie-valid");
    total.reused += tally.get("session-reused");
    total.retried += tally.get("syn-retried");
    total.held_too_much += tally.get("early-data");
    total.handed_out += tally.get("handed-out");
    total.slowest = total.slowest.max(outcome.ended.since(start));
    for event in world.take_events() {
        match event {
            Event::FloodBegan { .. } => total.began += 1,
            Event::FloodEnded { .. } => total.ended += 1,
            Event::PoolNearlyExhausted { .. }
            | Event::Refused { .. }
            | Event::AddressConflict { .. }
            | Event::Internal { .. } => bail!("an event that nobody expects: {event:?}"),
        }
    }
    Ok(())
}

/// Finds the wall clock at which the director's first number towards the real server is just
/// before the wrap: it moves by 250 each millisecond, and all else repeats with the seed.
fn wall_for_wrap(case: &Case, snapshot: &Snapshot) -> Result<u64> {
    let setup = case.setup();
    let wall_ms = setup.wall_ms;
    let middle = lane(case, snapshot, setup)?;
    let start = middle.through().world().time();
    let mut probe = UntilSyn(middle);
    let stopped = case.transfer().run(start, &mut probe);
    let Some(first) = probe.0.through().first_seq(Side::Server) else {
        stopped?;
        bail!("no SYN reached the server");
    };
    let way = u64::from(NEAR_THE_END.0.wrapping_sub(first));
    Ok(wall_ms + way.div_ceil(250))
}

/// Stops a transfer when its SYN is on its way to the real server.
struct UntilSyn(Lane);

impl Middle for UntilSyn {
    fn receive(&mut self, now: Time, from: Side, frame: &[u8]) -> Result<()> {
        self.0.receive(now, from, frame)
    }

    fn advance(&mut self, now: Time) -> Result<()> {
        let first = self.0.through().first_seq(Side::Server);
        ensure!(first.is_none(), "the SYN is on its way");
        self.0.advance(now)
    }

    fn transmitted(&mut self) -> Option<(Side, Vec<u8>)> {
        self.0.transmitted()
    }

    fn wake_at(&self) -> Option<Time> {
        self.0.wake_at()
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap())
}

fn seeds(usual: u64) -> std::ops::Range<u64> {
    match number("WEIR_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("WEIR_RUNS").unwrap_or(usual),
    }
}

/// Fails with what went wrong, or says it and goes on.
fn report(seed: u64, result: Result<()>) {
    if let Err(error) = result {
        let keeps_going = std::env::var_os("WEIR_KEEP_GOING").is_some();
        assert!(keeps_going, "{error:#}");
        println!("seed {seed}: {}", error.root_cause());
    }
}

fn all(mode: SynproxyMode, usual: u64, large: u64) -> Total {
    let mut total = Total::default();
    for seed in seeds(usual) {
        let case = Case::new(seed, mode, large);
        let result = run(&case, &mut total).with_context(|| format!("{case:#?}"));
        report(seed, result);
    }
    println!("{total:?}");
    total
}

#[test]
fn transfers_behind_cookies_deliver_every_byte() {
    let total = all(SynproxyMode::Always, 1_200, 40);
    if number("WEIR_SEED").is_none() {
        assert!(total.toll.lost > 0 && total.toll.syns_lost > 0, "{total:?}");
        assert!(total.valid >= total.opened && total.cookies >= total.opened);
        assert!(total.retried > 0 && total.held_too_much > 0 && total.handed_out > 0);
        assert!(total.wrapped * 4 >= total.runs, "{total:?}");
    }
}

#[test]
fn floods_that_come_and_go_disturb_no_transfer() {
    let total = all(SynproxyMode::Adaptive, 800, 80);
    if number("WEIR_SEED").is_none() {
        assert!(
            total.began > total.runs && total.ended > total.runs,
            "{total:?}"
        );
        assert!(total.valid > 0 && total.opened > total.valid, "{total:?}");
    }
}

#[test]
fn a_client_of_a_dead_real_server_is_reset_within_a_second() {
    for seed in 0..200 {
        let mut case = Case::new(seed, SynproxyMode::Always, 50);
        case.way.loss = 0.0;
        case.way.is_dead = true;
        let snapshot = case.snapshot().unwrap();
        let mut middle = lane(&case, &snapshot, case.setup()).unwrap();
        let start = middle.through().world().time();
        let error = case.transfer().run(start, &mut middle).unwrap_err();
        let text = error.root_cause().to_string();
        assert!(text.contains("the connection was reset"), "{error:#}");
        let world = middle.through_mut().world_mut();
        let took = world.time().since(start);
        assert!(took < Duration::from_millis(1_050), "{took:?}: {error:#}");
        world
            .advance_to(world.time().after(Duration::from_secs(310)))
            .unwrap();
        assert!(world.sessions().is_empty() && world.ports_used() == 0);
        let tally = world.tally();
        assert_eq!(tally.get("held"), 0, "{tally}");
        assert_eq!(tally.get("syn-retried"), 3, "{tally}");
    }
}

/// Ends a transfer after so many frames, as if both hosts had crashed.
struct Crash<'a>(&'a mut Lane, u32);

impl Middle for Crash<'_> {
    fn receive(&mut self, now: Time, from: Side, frame: &[u8]) -> Result<()> {
        ensure!(self.0.frames < self.1, CRASHED);
        self.0.receive(now, from, frame)
    }

    fn advance(&mut self, now: Time) -> Result<()> {
        self.0.advance(now)
    }

    fn transmitted(&mut self) -> Option<(Side, Vec<u8>)> {
        self.0.transmitted()
    }

    fn wake_at(&self) -> Option<Time> {
        self.0.wake_at()
    }
}

const CRASHED: &str = "both hosts crash";

/// Runs connections of one client port after each other, most of which do not come to their end.
fn come_again(case: &Case, reused: &mut i64) -> Result<()> {
    let mut random = Random::new(case.seed ^ 0xc4a5);
    let snapshot = case.snapshot()?;
    let mut middle = lane(case, &snapshot, case.setup())?;
    let mut transfer = case.transfer();
    let world = middle.through_mut().world_mut();
    let mut now = world.time();
    // An ARP reply that is lost with its host is asked for again later than a handshake may last.
    let ports: Vec<_> = world
        .around()
        .links()
        .iter()
        .map(|link| link.port)
        .collect();
    let clock = Now {
        time: now,
        wall_ms: case.setup().wall_ms,
    };
    for director in world.directors_mut() {
        for (port, host) in ports.iter().zip([&transfer.client, &transfer.server]) {
            director.learn_neighbour(clock, *port, host.address, host.mac);
        }
    }
    for attempt in 0..4 {
        middle.begin_again();
        let most = if attempt == 3 {
            u32::MAX
        } else {
            middle.frames + random.below(40) as u32
        };
        transfer.seed = random.next();
        transfer.client_isn = Some(SeqNumber(random.next() as u32));
        transfer.server_isn = Some(SeqNumber(random.next() as u32));
        match transfer.run(now, &mut Crash(&mut middle, most)) {
            Ok(outcome) => now = outcome.ended,
            Err(error) if error.root_cause().to_string() == CRASHED => {
                now = middle.through().world().time();
            }
            Err(error) => {
                let tally = middle.through().world().tally();
                return Err(error.context(format!("attempt {attempt}: {tally}")));
            }
        }
    }
    let world = middle.through_mut().world_mut();
    // What crashed leaves nothing that lasts, for the client came again.
    world.advance_to(now.after(Duration::from_secs(310)))?;
    let (sessions, tally) = (world.sessions(), world.tally());
    ensure!(sessions.is_empty(), "sessions are left: {sessions:?}");
    ensure!(world.ports_used() == 0 && tally.get("held") == 0, "{tally}");
    *reused += tally.get("session-reused");
    Ok(())
}

#[test]
fn a_client_that_comes_again_finds_its_old_session_in_no_way() {
    let mut reused = 0;
    for seed in seeds(1_000) {
        let case = Case::new(seed, SynproxyMode::Always, 1000);
        let result = come_again(&case, &mut reused).with_context(|| format!("{case:#?}"));
        report(seed, result);
    }
    println!("{reused} sessions were taken over");
    assert!(reused > 1_000 || number("WEIR_SEED").is_some());
}
