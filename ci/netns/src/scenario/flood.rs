//! A SYN flood from random sources beside real clients, through Weir and through the kernel's nft
//! SYNPROXY in the same lab: one core for either, the other for generator, clients and servers.

mod measure;

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::Run;
use super::soundness::list;
use crate::cores::Cores;
use crate::inside::flood::Vector;
use crate::lab::{Lab, WAN, lip};
use crate::server::{self, ECHO_PORT};
use crate::weir::find_row;
use crate::{KernelSynproxy, Service, WeirConf, WeirProcess};
use measure::{Beside, LOSS_FREE, alone, beside, curve, find_rate, percent};

/// New connections per second of real clients beside the flood.
const PER_SECOND: u32 = 200;
/// A handshake of 99 in 100 clients may take this long under a flood, however quick they were
/// before: a machine with two cores schedules its threads in turns of a few milliseconds.
const P99_MS: f64 = 20.0;
const ROUNDS: u32 = 3;
/// The floods beside which clients are looked at, in loss-free rates.
const FULL: [u32; 3] = [1, 2, 5];
const SHORT: [u32; 2] = [1, 5];
/// What the control thread's heap may take meanwhile, in bytes.
const HEAP: u64 = 32 << 10;

pub(super) fn run(run: &mut Run) -> Result<()> {
    let cores = Cores::of_this_machine();
    let kept = cores.keep_clear_of_weir()?;
    let lab = Lab::for_floods(1)?;
    let _servers = [server::tcp_echo(&lab, 0)?, server::udp_echo(&lab, 0)?];
    let program = run.weir.clone();
    let step_ms = run.figure(500, 1_000);
    let multiples = run.figure((&SHORT[..], 2_000), (&FULL[..], 3_000));
    run.check("flood through the kernel's SYNPROXY", || {
        let _proxy = KernelSynproxy::start(&lab, Some(cores.weir))?;
        let rate = find_rate(&lab, ECHO_PORT, step_ms)?;
        curve(&lab, ECHO_PORT, rate, multiples)?;
        Ok(format!("loss-free up to {rate} SYN/s"))
    });
    drop(kept);
    let weir = WeirProcess::start(&lab, &program, &conf(&lab, cores))?;
    let _kept = cores.keep_clear_of_weir()?;
    through_weir(run, &lab, &weir)
}

/// Builds the services that are flooded: always behind cookies, and never probed, so that every SYN
/// at the real server is one that a client has proven.
fn conf(lab: &Lab, cores: Cores) -> WeirConf {
    let mut conf = WeirConf::new("af-xdp", 1, lab.dir());
    conf.cpus = cores.weir.to_string();
    conf.control = Some(cores.others);
    let mut tcp = Service::tcp("echo", ECHO_PORT, &[0]);
    "client-address  = none\nsynproxy        = always".clone_into(&mut tcp.more);
    conf.services = vec![tcp, Service::udp("udp-echo", ECHO_PORT, &[0])];
    // The real server still remembers the local address that the kernel used.
    for pool in &mut conf.pools {
        pool.addresses = vec![lip(1)];
    }
    conf
}

fn through_weir(run: &mut Run, lab: &Lab, weir: &WeirProcess<'_>) -> Result<()> {
    let ms = run.figure(6_000, 60_000);
    let step_ms = run.figure(500, 1_000);
    let multiples = run.figure((&SHORT[..], 2_000), (&FULL[..], 10_000));
    let mut rate = 0;
    run.check("flood: the loss-free rate", || {
        rate = find_rate(lab, ECHO_PORT, step_ms)?;
        Ok(format!("{rate} SYN/s on one core"))
    });
    ensure!(rate > 0, "no rate is free of loss: {}", weir.log_tail());
    let before = Books::of(weir, lab)?;
    let mut connections = 0;
    run.check("flood: real clients at 80 % of it", || {
        undisturbed(lab, &mut rate, (step_ms, ms), &mut connections)
    });
    let table = curve(lab, ECHO_PORT, rate, multiples)?;
    connections += table.iter().map(|row| row.clients.begun).sum::<u64>();
    run.check("flood: sessions opened by it", || {
        let after = Books::of(weir, lab)?;
        let opened = after.opened - before.opened;
        // A client that gave up has proven itself or not; nobody else has.
        ensure!(
            opened <= connections,
            "{opened} sessions for {connections} connections"
        );
        let syns = after.syns - before.syns;
        let retried = after.retried - before.retried;
        ensure!(
            syns == opened + retried,
            "{syns} SYNs at the real server for {opened} sessions and {retried} retries"
        );
        Ok(format!(
            "0; {connections} connections, {opened} sessions, {syns} SYNs at the real server"
        ))
    });
    let memory_ms = run.figure(2_000, 4_000);
    run.check("flood: memory", || unmoved(lab, weir, 5 * rate, memory_ms));
    run.check(
        "flood: SYN, ACK, FIN, RST, UDP and fragments at once",
        || {
            let mixed = beside(lab, ECHO_PORT, &Vector::ALL, rate / 2, ms / 2, PER_SECOND)?;
            all_succeed(&mixed)?;
            Ok(mixed.to_string())
        },
    );
    run.check("flood: ledger", || {
        let (received, lost) = weir.received(WAN)?;
        let ledger = weir.ledger().with_context(|| weir.log_tail())?;
        Ok(format!(
            "{ledger}; {received} frames received, {lost} found the ring full"
        ))
    });
    println!("{}", weir.show_table("flood")?);
    Ok(())
}

/// Demands that clients notice little of a flood at 80 % of the loss-free rate. Other work on the
/// machine may make that rate another one in the meantime, and costs clients their turns; then the
/// rate is found and everything measured again.
fn undisturbed(
    lab: &Lab,
    rate: &mut u32,
    (step_ms, ms): (u64, u64),
    connections: &mut u64,
) -> Result<String> {
    let mut said = String::new();
    for round in 0..ROUNDS {
        if round > 0 {
            println!("      again: {said}");
            *rate = find_rate(lab, ECHO_PORT, step_ms)?;
        }
        let quiet = beside(lab, ECHO_PORT, &[], 0, 2_000, PER_SECOND)?;
        let offered = *rate / 5 * 4;
        let flooded = beside(lab, ECHO_PORT, &[Vector::Syn], offered, ms, PER_SECOND)?;
        *connections += quiet.clients.begun + flooded.clients.begun;
        let (quiet, p99) = (quiet.clients.handshake.p99, flooded.clients.handshake.p99);
        let limit = (3.0 * quiet).max(P99_MS);
        let result = all_succeed(&flooded);
        if result.is_ok() && p99 <= limit {
            return Ok(format!("{flooded}; quiet p99 {quiet:.2} ms"));
        }
        if flooded.flood.answered() >= LOSS_FREE {
            // Nothing was lost, and still clients failed: that is no fault of the machine.
            result?;
        }
        said = format!("p99 of the handshakes {p99:.1} ms, {limit:.1} ms allowed: {flooded}");
    }
    bail!("{said}")
}

/// Demands that a flood takes not one page, once the floods and clients before it have touched what
/// was allocated at start. Clients are not beside it: sessions that differ from those before them
/// may be the first in their page of a table. What some thread's stack takes once is not the
/// flood's: what the flood takes, it takes each time.
///
/// The heap is apart: the control thread answers `weir show` on it, and it takes some hundred
/// answers, the longer ones of a flood among them, until its pieces fit. Workers have none.
fn unmoved(lab: &Lab, weir: &WeirProcess<'_>, rate: u32, ms: u64) -> Result<String> {
    let mut grown = Vec::new();
    alone(lab, ECHO_PORT, rate, ms / 4)?;
    for _ in 0..ROUNDS {
        let before = weir.resident()?;
        let flood = alone(lab, ECHO_PORT, rate, ms)?;
        let after = weir.resident()?;
        grown = more(&before, &after);
        let (heaps, others): (Vec<_>, Vec<_>) =
            grown.iter().partition(|(name, _)| name.contains("[heap]"));
        let heap: u64 = heaps.iter().map(|(_, more)| more).sum();
        if others.is_empty() && heap <= HEAP {
            let kib = after.values().sum::<u64>() >> 10;
            return Ok(format!(
                "{kib} KiB before and after {} SYNs, +0 bytes; the control thread's heap +{heap}",
                flood.sent
            ));
        }
    }
    bail!("{ROUNDS} floods, and each took more, the last {grown:?}")
}

/// Lists the mappings that have grown, and by how much.
fn more(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Vec<(String, u64)> {
    after
        .iter()
        .map(|(name, bytes)| {
            let had = before.get(name).copied().unwrap_or_default();
            (name.clone(), bytes.saturating_sub(had))
        })
        .filter(|(_, more)| *more > 0)
        .collect()
}

fn all_succeed(beside: &Beside) -> Result<()> {
    let clients = &beside.clients;
    ensure!(
        clients.ok == clients.begun,
        "{} of the connections: {}; {beside}",
        percent(clients.success()),
        list(&clients.failures)
    );
    Ok(())
}

/// What was counted until now.
#[derive(Clone, Copy, Debug)]
struct Books {
    /// Sessions that the service has opened.
    opened: u64,
    /// SYNs that Weir sent to the real server again, for want of an answer or of a good one.
    retried: u64,
    /// SYNs that the real server has received.
    syns: u64,
}

impl Books {
    fn of(weir: &WeirProcess<'_>, lab: &Lab) -> Result<Self> {
        // The tables tell of what happened 200 ms ago.
        thread::sleep(Duration::from_millis(300));
        let services = weir.show("services")?;
        let row = find_row(&services, "name", "echo")?;
        let opened = row.get("opened").and_then(Value::as_u64);
        let opened = opened.with_context(|| format!("no sessions opened in {row}"))?;
        Ok(Self {
            opened,
            retried: weir.counter("syn-retried")? + weir.counter("challenge-ack")?,
            syns: lab.syns_at_the_real_servers()?,
        })
    }
}
