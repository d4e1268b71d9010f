//! Adaptive mode: cookies come and go while connections are made, and none is lost.

use std::net::SocketAddrV4;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::Run;
use super::soundness::list;
use crate::attack::FLOOD_GATEWAY;
use crate::inside::connect::{Connect, ConnectReport};
use crate::inside::flood::{Burst, Vector};
use crate::inside::hold::Hold;
use crate::lab::{Lab, Topology, VIP};
use crate::server::{self, ECHO_PORT};
use crate::{Service, WeirConf, WeirProcess};

/// Connections that are kept busy all the time.
const KEPT: u16 = 50;
/// Floods that come and go.
const TIMES: usize = 20;
/// A burst above `enter` for long enough to be seen, and silence until the last second has seen
/// less than `leave`.
const BURST: Burst = Burst {
    after_ms: 1_400,
    rate: 8_000,
    ms: 450,
};

pub(super) fn run(run: &mut Run) -> Result<()> {
    let program = run.weir.clone();
    let lab = Lab::new(Topology {
        reals: 1,
        ..Topology::default()
    })?;
    lab.expect_floods()?;
    let _echo = server::tcp_echo(&lab, 0)?;
    crossings(run, &lab, &program)?;
    slow_flood(run, &lab, &program)
}

/// Builds the echo service with a trigger of its own. Sessions that nobody completes are given up
/// after `syn_recv`.
fn conf(lab: &Lab, trigger: &str, syn_recv: &str) -> WeirConf {
    let mut conf = WeirConf::new("af-xdp", 1, lab.dir());
    conf.gateway = Some(FLOOD_GATEWAY);
    conf.more = format!("[synproxy trigger]\nmode            = adaptive\n{trigger}");
    let mut echo = Service::tcp("echo", ECHO_PORT, &[0]);
    echo.more =
        format!("client-address  = none\nsynproxy        = trigger\ntimeout-syn-recv = {syn_recv}");
    conf.services = vec![echo];
    conf
}

fn crossings(run: &mut Run, lab: &Lab, program: &Path) -> Result<()> {
    let trigger = "enter           = 2k/s\nleave           = 500/s\nstay            = 200ms\n";
    let weir = WeirProcess::start(lab, program, &conf(lab, trigger, "500ms"))?;
    let flooding = lab.start_flood(lab.flood(ECHO_PORT, &[Vector::Syn], &[BURST; TIMES])?)?;
    // The last flood is over when the last second has seen less than `leave`.
    let ms = TIMES as u64 * (BURST.after_ms + BURST.ms) + 2_500;
    let kept = lab.start_hold(Hold {
        target: SocketAddrV4::new(VIP, ECHO_PORT),
        count: KEPT,
        keep_ms: ms,
        until: None,
        source: None,
    })?;
    let mut clients = lab.start_connect(plan(lab, ms, 200))?;
    let (mut began, mut ended, mut active) = (0, 0, false);
    while clients.is_running() {
        let now = is_active(&weir)?;
        began += usize::from(now && !active);
        ended += usize::from(active && !now);
        active = now;
        thread::sleep(Duration::from_millis(30));
    }
    let (clients, flood, kept) = (clients.report()?, flooding.report()?, kept.report()?);
    run.check("adaptive: connections while cookies come and go", || {
        all_succeed(&clients)
    });
    run.check("adaptive: connections kept open meanwhile", || {
        ensure!(
            kept.opened == u64::from(KEPT) && kept.lost.is_empty(),
            "{kept:?}"
        );
        Ok(format!(
            "{KEPT} kept, {} rounds of echoes, none lost",
            kept.rounds
        ))
    });
    run.check("adaptive: crossings", || {
        ensure!(
            began == TIMES && ended == TIMES,
            "began {began} times and ended {ended} times, of {TIMES}"
        );
        let log = weir.log();
        for event in ["flood-began", "flood-ended"] {
            ensure!(log.contains(event), "no line says {event}:\n{log}");
        }
        Ok(format!(
            "began and ended {began} times, {} SYNs, {} answered",
            flood.sent, flood.syn_acks
        ))
    });
    run.check("adaptive: ledger", || {
        Ok(weir.ledger().with_context(|| weir.log_tail())?.to_string())
    });
    Ok(())
}

/// A flood far below `enter` whose half-open sessions fill a fifth of the ports.
fn slow_flood(run: &mut Run, lab: &Lab, program: &Path) -> Result<()> {
    let trigger = "enter           = 100k/s\nleave           = 10k/s\nstay            = 2s\n";
    let mut conf = conf(lab, trigger, "30s");
    for pool in &mut conf.pools {
        "2000-9999".clone_into(&mut pool.source_ports);
    }
    let weir = WeirProcess::start(lab, program, &conf)?;
    let burst = Burst {
        after_ms: 0,
        rate: 800,
        ms: 8_000,
    };
    let flooding = lab.start_flood(lab.flood(ECHO_PORT, &[Vector::Syn], &[burst])?)?;
    let began = Instant::now();
    let clients = lab.start_connect(plan(lab, 7_000, 100))?;
    run.check("adaptive: a slow flood fills half-open state", || {
        let end = began + Duration::from_secs(6);
        while !is_active(&weir)? {
            ensure!(Instant::now() < end, "not active: {}", weir.show("flood")?);
            thread::sleep(Duration::from_millis(50));
        }
        Ok(format!(
            "active after {:.1} s at {} SYN/s",
            began.elapsed().as_secs_f64(),
            burst.rate
        ))
    });
    let syns = lab.syns_at_the_real_servers()?;
    let opened = opened(&weir)?;
    let clients = clients.report()?;
    flooding.report()?;
    run.check("adaptive: connections beside a slow flood", || {
        all_succeed(&clients)
    });
    run.check("adaptive: the real server sees proven SYNs only", || {
        let syns = lab.syns_at_the_real_servers()? - syns;
        let opened = self::opened(&weir)? - opened;
        // Between the two readings at the begin a connection or two may have been opened.
        ensure!(
            syns.abs_diff(opened) <= 3,
            "{syns} SYNs at the real server for {opened} sessions"
        );
        Ok(format!("{syns} SYNs for {opened} sessions"))
    });
    run.check("adaptive: ledger", || {
        Ok(weir.ledger().with_context(|| weir.log_tail())?.to_string())
    });
    Ok(())
}

fn plan(lab: &Lab, ms: u64, per_second: u32) -> Connect {
    Connect {
        target: SocketAddrV4::new(VIP, ECHO_PORT),
        per_second,
        ms,
        sources: lab.client_addresses(),
    }
}

fn all_succeed(clients: &ConnectReport) -> Result<String> {
    let (ok, begun) = (clients.ok, clients.begun);
    ensure!(ok == begun, "{ok} of {begun}: {}", list(&clients.failures));
    Ok(format!(
        "{ok} of {begun}, handshake p50 {:.2} p99 {:.2} max {:.1} ms",
        clients.handshake.p50, clients.handshake.p99, clients.handshake.max
    ))
}

fn is_active(weir: &WeirProcess<'_>) -> Result<bool> {
    let flood = weir.show("flood")?;
    flood
        .pointer("/0/active")
        .and_then(Value::as_bool)
        .with_context(|| format!("no service in {flood}"))
}

fn opened(weir: &WeirProcess<'_>) -> Result<u64> {
    let services = weir.show("services")?;
    services
        .pointer("/0/opened")
        .and_then(Value::as_u64)
        .with_context(|| format!("no sessions opened in {services}"))
}
