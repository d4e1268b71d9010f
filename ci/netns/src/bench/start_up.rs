//! How soon packets flow: after the daemon was started, and after it was killed.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Bench;
use super::middle::{Job, conf};
use super::table::{Series, Target};
use crate::WeirProcess;
use crate::client::Running;
use crate::inside::Task;
use crate::inside::ping::{Heartbeat, HeartbeatReport, monotonic_ns};
use crate::lab::{CLIENT_LINK, Lab, Offloads, Topology, VIP, WAN};
use crate::scenario::DRIVERS;
use crate::server::{self, ECHO_PORT};

/// Sessions that are allocated.
const SESSIONS: &str = "2M";
/// Datagrams come so often; no figure is better than this.
const EVERY_US: u64 = 300;
/// How long the daemon is left alone between two events.
const CALM: Duration = Duration::from_millis(700);

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    let lab = Lab::new(Topology {
        reals: 1,
        offloads: Offloads::Off,
        ..Topology::default()
    })?;
    let _echo = {
        let _kept = bench.cores.keep_clear_of_weir()?;
        server::udp_echo(&lab, 0)?
    };
    // The client asks for nobody's address once a second only: it knows this one.
    let mac = lab.lb.run(&format!("cat /sys/class/net/{WAN}/address"))?;
    let mac = mac.trim();
    lab.client.ip(&format!(
        "neigh replace {VIP} lladdr {mac} dev {CLIENT_LINK} nud permanent"
    ))?;
    for driver in DRIVERS {
        let (mut started, mut restarted) = (Series::default(), Series::default());
        for _ in 0..bench.rounds() {
            let (first, again) = once(bench, &lab, driver).with_context(|| driver)?;
            started.push(first);
            restarted.push(again);
        }
        if bench.talks {
            println!("  {driver}: {started:?} {restarted:?}");
        }
        let note = format!("sessions = {SESSIONS}");
        let target = (driver == "af-xdp").then_some(Target::AtMost(300.0));
        let name = format!("start: weir {driver}, exec to the first packet");
        bench.table.add(&name, "ms", &started, target, &note);
        let name = format!("start: weir {driver}, kill -9 to the next packet");
        bench.table.add(&name, "ms", &restarted, target, &note);
    }
    Ok(())
}

/// Starts the daemon while a client asks all the time, kills it and starts it again; returns the
/// milliseconds until the client heard something each time.
fn once(bench: &Bench, lab: &Lab, driver: &str) -> Result<(f64, f64)> {
    let mut conf = conf(lab, bench.cores, driver, Job::Serve);
    SESSIONS.clone_into(&mut conf.sessions);
    let heartbeat = Task::Heartbeat(Heartbeat {
        target: std::net::SocketAddrV4::new(VIP, ECHO_PORT),
        every_us: EVERY_US,
        ms: 6_000,
    });
    let client: Running<HeartbeatReport> = {
        let _kept = bench.cores.keep_clear_of_weir()?;
        lab.start_task("heartbeat", &heartbeat)?
    };
    thread::sleep(CALM);
    let executed = monotonic_ns();
    let weir = WeirProcess::start(lab, &bench.weir, &conf)?;
    thread::sleep(CALM);
    let killed = monotonic_ns();
    weir.kill()?;
    let weir = WeirProcess::start(lab, &bench.weir, &conf)?;
    thread::sleep(CALM);
    let answers = client.report()?.answers;
    weir.stop()?;
    let first = answers.iter().find(|answer| **answer >= executed);
    let first = first.context("no answer after the start")?;
    let again = end_of_silence(&answers, killed).context("no answer after the kill")?;
    Ok((milliseconds(executed, *first), milliseconds(killed, again)))
}

/// Returns the end of the longest time without an answer that ends after `since`.
fn end_of_silence(answers: &[u64], since: u64) -> Option<u64> {
    let pairs = answers.windows(2).filter_map(|pair| match pair {
        [before, after] if *after >= since => Some((after - before, *after)),
        _ => None,
    });
    pairs.max().map(|(_, end)| end)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a few seconds in nanoseconds are far below 2^52"
)]
fn milliseconds(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_were_under_way_do_not_end_the_silence() {
        let answers = [10, 500, 510, 520, 900, 910];
        assert_eq!(end_of_silence(&answers, 515), Some(900));
        assert_eq!(end_of_silence(&answers, 905), Some(910));
        assert_eq!(end_of_silence(&answers, 1_000), None);
    }
}
