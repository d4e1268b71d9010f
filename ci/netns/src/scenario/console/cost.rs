//! What a console costs the daemon.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::SIZE;
use crate::lab::{Lab, real_address};
use crate::tmux::Tmux;
use crate::{Service, WeirConf, WeirProcess};

/// How long its first lines may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How large an appliance the cost of a console is measured on.
const SERVICES: u16 = 1_000;
const REALS: u8 = 10;

/// Measures the CPU time that a console takes of the daemon, beyond what it takes alone: with all
/// services, and with all real servers unfolded below them.
pub(super) fn cost(lab: &Lab, program: &Path) -> Result<String> {
    let time = Duration::from_secs(20);
    let mut conf = WeirConf::new("af-packet", 1, lab.dir());
    conf.services = (0..SERVICES)
        .map(|number| {
            let mut service = Service::tcp(&format!("service-{number}"), 1_000 + number, &[]);
            service.reals = (0..REALS).map(|real| (real, 1_000 + number)).collect();
            service.more = String::new();
            service
        })
        .collect();
    let weir = WeirProcess::start(lab, program, &conf)?;
    thread::sleep(Duration::from_secs(2));
    let alone = others_ns(&weir, time)?;
    let line = format!(
        "{} console --socket {}",
        program.display(),
        weir.socket().display()
    );
    let tmux = Tmux::start(lab, &lab.lb, SIZE, "screen", &line)?;
    tmux.wait("1,000 services", PATIENCE, |screen| {
        screen.contains("1,000 services") || screen.contains("1000 services")
    })?;
    let folded = others_ns(&weir, time)?;
    tmux.keys("z")?;
    let first = format!("{}:1000 ", real_address(0));
    tmux.wait("real servers", PATIENCE, |screen| screen.contains(&first))?;
    let unfolded = others_ns(&weir, time)?;
    let percent = |ns| 100.0 * Duration::from_nanos(ns).as_secs_f64() / time.as_secs_f64();
    let share = |ns: u64| percent(ns.saturating_sub(alone));
    let (folded, unfolded) = (share(folded), share(unfolded));
    let figure = format!(
        "{folded:.2} % of a core at 1 Hz with {SERVICES} services, {unfolded:.2} % with their {} real \
         servers unfolded ({:.2} % without it)",
        u32::from(SERVICES) * u32::from(REALS),
        percent(alone)
    );
    ensure!(folded < 1.0 && unfolded < 1.0, "{figure}");
    Ok(figure)
}

/// Returns the CPU time in nanoseconds that the daemon's threads, but those of packets, take in a time.
fn others_ns(weir: &WeirProcess<'_>, time: Duration) -> Result<u64> {
    let before = weir.control_ns()?;
    thread::sleep(time);
    Ok(weir.control_ns()?.saturating_sub(before))
}
