//! The console over a real SSH connection, on a terminal of 80x24, during a SYN flood: what it shows
//! holds, and what is typed there is done under the operator's name.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::Run;
use crate::attack::FLOOD_GATEWAY;
use crate::client::Running;
use crate::inside::connect::ConnectReport;
use crate::inside::flood::FloodReport;
use crate::lab::{Lab, Topology, real_address};
use crate::rsyslog::Rsyslog;
use crate::server::{self, ECHO_PORT};
use crate::{Service, WeirConf, WeirProcess};

mod cost;
mod desk;
mod sums;

use cost::cost;
use desk::Desk;

const SIZE: (u16, u16) = (80, 24);
/// SYNs per second, more than the trigger allows.
const RATE: u32 = 20_000;
/// New connections of real clients per second.
const CLIENTS: u32 = 50;
/// Where its events go: a real rsyslog.
const SIEM: (&str, u16) = ("tcp", 601);

pub(super) fn run(run: &mut Run) -> Result<()> {
    {
        let desk_lab = lab()?;
        let _echo = [
            server::tcp_echo(&desk_lab, 0)?,
            server::tcp_echo(&desk_lab, 1)?,
        ];
        let _rsyslog = Rsyslog::start(
            desk_lab.real(0)?,
            real_address(0).into(),
            desk_lab.dir(),
            &[SIEM],
        )?;
        let weir = WeirProcess::start(&desk_lab, &run.weir, &conf(&desk_lab, "10k/s"))?;
        let desk = Desk::sit(&desk_lab, weir, &run.weir)?;
        run.check("console: logged in over SSH", || desk.begin());
        let flood = desk.flood(RATE, 9_000)?;
        run.check("console: the screen in a flood", || desk.in_the_flood());
        run.check("console: rates of one second in a flood", || desk.adds_up());
        run.check("console: frames of the flood in a file", || desk.capture());
        run.check("console: weight, drain and enable by keys", || desk.real());
        run.check("console: synproxy and deny by keys", || desk.overrides());
        run.check("console: a configuration by keys", || desk.configuration());
        run.check("console: real clients beside it", || all_served(flood));
        run.check("console: maintenance by keys", || desk.maintenance());
        run.check("console: every action is in syslog with its name", || {
            desk.told()
        });
        run.check("console: q leaves, and ends the login", || desk.leave());
    }
    if run.long {
        let lab = lab()?;
        let program = run.weir.clone();
        run.check("console: what it costs the daemon", || cost(&lab, &program));
    }
    Ok(())
}

/// Takes a picture of the live flood screen, with the escape sequences of its looks: what stands in
/// the manual.
///
/// # Errors
/// When the lab cannot be made, or the screen does not come to show the flood.
pub fn picture(program: &Path, seconds: u64) -> Result<String> {
    let lab = lab()?;
    let _echo = [server::tcp_echo(&lab, 0)?, server::tcp_echo(&lab, 1)?];
    let (siem, dir) = (lab.real(0)?, lab.dir());
    let _rsyslog = Rsyslog::start(siem, real_address(0).into(), dir, &[SIEM])?;
    let weir = WeirProcess::start(&lab, program, &conf(&lab, "10k/s"))?;
    let desk = Desk::sit(&lab, weir, program)?;
    desk.begin()?;
    thread::sleep(Duration::from_secs(10));
    let flood = desk.flood(5 * RATE / 2, seconds * 1_000 + 5_000)?;
    desk.open_the_flood()?;
    thread::sleep(Duration::from_secs(seconds));
    let picture = desk.screen_with_looks()?;
    drop(flood);
    Ok(picture)
}

fn lab() -> Result<Lab> {
    let lab = Lab::new(Topology::default())?;
    lab.expect_floods()?;
    Ok(lab)
}

/// Builds two services behind two real servers, with cookies from so many SYNs on.
fn conf(lab: &Lab, enter: &str) -> WeirConf {
    let mut conf = WeirConf::new("auto", 1, lab.dir());
    conf.gateway = Some(FLOOD_GATEWAY);
    conf.more = format!(
        "[synproxy flood]\nmode            = adaptive\nenter           = {enter}\n\
         leave           = 1k/s\nstay            = 1s\n\
         [syslog siem]\nserver          = {}:{}\ntransport       = {}\n",
        real_address(0),
        SIEM.1,
        SIEM.0
    );
    conf.services = vec![
        Service::tcp("echo", ECHO_PORT, &[0, 1]),
        Service::tcp("web", 80, &[0, 1]),
    ];
    for service in &mut conf.services {
        service
            .more
            .push_str("\nsynproxy        = flood\ntimeout-syn-recv = 2s");
    }
    conf
}

/// A flood and those who want to be served meanwhile.
struct Flood {
    flood: Running<FloodReport>,
    clients: Running<ConnectReport>,
}

fn all_served(flood: Flood) -> Result<String> {
    let (clients, sent) = (flood.clients.report()?, flood.flood.report()?);
    // A drained or denied server is no reason for anybody to fail.
    ensure!(
        clients.ok == clients.begun,
        "{} of {} failed: {:?}",
        clients.begun - clients.ok,
        clients.begun,
        clients.failures
    );
    Ok(format!(
        "{} connections, {:.0} SYN/s",
        clients.ok,
        sent.rate()
    ))
}
