//! A SYN flood from random sources beside real clients, through Weir and through the kernel's nft
//! SYNPROXY in the same lab: one core for either, the other for generator, clients and servers.

mod measure;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::Run;
use super::soundness::list;
use crate::cores::Cores;
use crate::inside::flood::Vector;
use crate::lab::{Lab, Offloads, Topology};
use crate::server::{self, BANNER_PORT, ECHO_PORT};
use crate::weir::find_row;
use crate::{KernelSynproxy, Service, WeirConf, WeirProcess};
use measure::{Beside, beside, curve, find_rate, percent};

/// New connections per second of real clients beside the flood.
const PER_SECOND: u32 = 200;
/// A handshake of 99 in 100 clients may take this long under a flood, however quick they were
/// before: a machine with two cores schedules its threads in turns of a few milliseconds.
const P99_MS: f64 = 20.0;

pub(super) fn run(run: &mut Run) -> Result<()> {
    let cores = Cores::of_this_machine();
    let kept = cores.keep_clear_of_weir()?;
    let lab = Lab::new(Topology {
        reals: 1,
        offloads: Offloads::Off,
        ..Topology::default()
    })?;
    lab.expect_floods()?;
    let _servers = [server::tcp_banner(&lab, 0)?, server::udp_echo(&lab, 0)?];
    let program = run.weir.clone();
    run.check("flood through the kernel's SYNPROXY", || {
        let _proxy = KernelSynproxy::start(&lab, cores)?;
        let rate = find_rate(&lab, BANNER_PORT)?;
        curve(&lab, BANNER_PORT, rate, 3_000)?;
        Ok(format!("loss-free up to {rate} SYN/s"))
    });
    through_weir(run, &lab, &program, cores)?;
    drop(kept);
    Ok(())
}

/// Builds the services that are flooded: always behind cookies, and never probed, so that every SYN
/// at the real server is one that a client has proven.
fn conf(lab: &Lab, cores: Cores) -> WeirConf {
    let mut conf = WeirConf::new("af-xdp", 1, lab.dir());
    conf.cpus = cores.weir.to_string();
    let mut banner = Service::tcp("banner", BANNER_PORT, &[0]);
    "client-address  = none\nsynproxy        = always".clone_into(&mut banner.more);
    let mut echo = Service::udp("echo", BANNER_PORT, &[]);
    echo.reals = vec![(0, ECHO_PORT)];
    conf.services = vec![banner, echo];
    conf
}

fn through_weir(run: &mut Run, lab: &Lab, program: &Path, cores: Cores) -> Result<()> {
    let ms = run.figure(10_000, 60_000);
    let weir = WeirProcess::start(lab, program, &conf(lab, cores))?;
    let mut rate = 0;
    run.check("flood: the loss-free rate", || {
        rate = find_rate(lab, BANNER_PORT)?;
        Ok(format!("{rate} SYN/s on one core"))
    });
    ensure!(rate > 0, "no rate is free of loss: {}", weir.log_tail());
    let quiet = beside(lab, BANNER_PORT, &[], 0, 3_000, PER_SECOND)?;
    let memory = weir.resident()?;
    let before = Books::of(&weir, lab)?;
    let mut connections = 0;
    run.check("flood: real clients at 80 % of it", || {
        let flooded = beside(
            lab,
            BANNER_PORT,
            &[Vector::Syn],
            rate / 5 * 4,
            ms,
            PER_SECOND,
        )?;
        connections += flooded.clients.begun;
        let limit = (3.0 * quiet.clients.handshake.p99).max(P99_MS);
        all_succeed(&flooded)?;
        let p99 = flooded.clients.handshake.p99;
        ensure!(
            p99 <= limit,
            "p99 of the handshakes {p99:.1} ms, {limit:.1} ms allowed: {flooded}"
        );
        Ok(format!(
            "{flooded}; quiet p99 {:.2} ms",
            quiet.clients.handshake.p99
        ))
    });
    let table = curve(lab, BANNER_PORT, rate, run.figure(3_000, 10_000))?;
    connections += table.iter().map(|row| row.clients.begun).sum::<u64>();
    run.check("flood: sessions opened by it", || {
        let after = Books::of(&weir, lab)?;
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
    run.check("flood: memory", || {
        let now = weir.resident()?;
        // Everything is allocated at start and touched while the rate is found; not one page more
        // may be needed by any flood after that.
        ensure!(now <= memory, "{memory} bytes before, {now} after");
        Ok(format!("{} KiB before and after, +0", now >> 10))
    });
    run.check("flood: mixed vectors", || {
        let vectors = [Vector::Syn, Vector::Ack, Vector::Udp, Vector::Fragments];
        let mixed = beside(lab, BANNER_PORT, &vectors, rate / 2, ms / 2, PER_SECOND)?;
        all_succeed(&mixed)?;
        Ok(mixed.to_string())
    });
    run.check("flood: ledger", || {
        Ok(weir.ledger().with_context(|| weir.log_tail())?.to_string())
    });
    println!("{}", weir.show_table("flood")?);
    Ok(())
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
    /// SYNs that Weir sent to the real server again.
    retried: u64,
    /// SYNs that the real server has received.
    syns: u64,
}

impl Books {
    fn of(weir: &WeirProcess<'_>, lab: &Lab) -> Result<Self> {
        let services = weir.show("services")?;
        let row = find_row(&services, "name", "banner")?;
        let opened = row.get("opened").and_then(Value::as_u64);
        let opened = opened.with_context(|| format!("no sessions opened in {row}"))?;
        let ledger = weir.show("ledger")?;
        let workers = ledger.get("workers").and_then(Value::as_array);
        let retried = workers.into_iter().flatten().filter_map(|worker| {
            worker
                .pointer("/counters/syn-retried")
                .and_then(Value::as_u64)
        });
        let retried = retried.sum();
        Ok(Self {
            opened,
            retried,
            syns: lab.syns_at_the_real_servers()?,
        })
    }
}
