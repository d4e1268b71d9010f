//! A machine with UEFI, out of the box: somebody answers the wizard on its serial line.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use weir_lab::attack::FLOOD_GATEWAY;
use weir_lab::lab::{LAN, LB_LAN, LB_WAN, VIP, WAN, lip, real_address};
use weir_lab::scenario::Run;

use super::{Appliance, BOOT, CONSOLE, PATIENCE, SECRET, START, changes, started, traffic};
use crate::guest::{Firmware, Guest, Plan};
use crate::images::Images;
use crate::site::{MANAGEMENT, Site};

/// How long the box may take to turn itself off, where sessions are given a second.
const POWER_OFF: Duration = Duration::from_secs(20);

pub(super) fn run(run: &mut Run, images: &Images) -> Result<Appliance> {
    let site = Site::new()?;
    let disk = site.disk(&images.first.disk, "new")?;
    let mut plan = Plan::appliance("new", &disk, 256);
    plan.cards = Site::cards();
    plan.firmware = Firmware::Uefi;
    let mut guest = Guest::start(&plan, Some(&site.lab.lb), site.dir())?;
    run.check("image: the wizard on the serial line, UEFI", || {
        guest.serial.expect("Name of the appliance", START)?;
        started(&guest, 2 * BOOT)
    });
    run.check("image: nobody is let in before it is set up", || {
        let said = site.operator.refused("show status", "")?;
        ensure!(!said.contains("generation"), "{said}");
        Ok("no SSH".to_owned())
    });
    run.check("image: set up in a minute by answers", || {
        answer(&site, &mut guest)?;
        site.operator.wait("show status --json", START)?;
        guest
            .serial
            .wait("a console", START, |it| it.contains(CONSOLE))?;
        Ok(format!("after {:.1} s in all", guest.age().as_secs_f32()))
    });
    run.check("image: services are added by `apply`", || {
        let before = site.operator.run("show config")?;
        let services = services();
        let conf = format!("{before}\n{services}");
        site.operator.run_with_input("apply -", &conf)?;
        Ok(services.lines().count().to_string() + " lines more")
    });
    changes::run(run, &site)?;
    run.check("image: another driver by `restart` of a file", || {
        let conf = site.configuration("af-xdp", "");
        let said = site.operator.refused("restart", &conf)?;
        ensure!(said.contains("`restart -` does"), "it said: {said}");
        site.operator.run_with_input("restart -", &conf)?;
        site.operator.wait("show status --json", START)?;
        Ok("af-xdp, two queues; refused without `-`".to_owned())
    });
    run.check("image: no IPv6 after a start without", || {
        changes::has_no_ipv6(&site)
    });
    traffic::serve(run, &site, "af-xdp")?;
    Ok(Appliance {
        guest: Some(guest),
        plan,
        collector: None,
        driver: "af-xdp",
        site,
    })
}

/// Has the operator turn it off, who is told what that waits for.
pub(super) fn switch_off(appliance: &mut Appliance) -> Result<String> {
    // The connection ends with the box, which is no success of the command.
    let command = &mut appliance.site.operator.command("poweroff");
    let output = command.output().context("cannot run ssh")?;
    let began = Instant::now();
    appliance.guest()?.wait_off(POWER_OFF)?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(said.contains("the box ends"), "it said: {said}");
    let said = said.lines().next().unwrap_or_default();
    Ok(format!(
        "after {:.1} s: {said}",
        began.elapsed().as_secs_f32()
    ))
}

/// Answers what the wizard asks.
fn answer(site: &Site, guest: &mut Guest) -> Result<()> {
    let serial = &mut guest.serial;
    serial.line("box")?;
    let wan = format!("{WAN}=eth1,{LB_WAN}/24,gateway={FLOOD_GATEWAY}");
    let lan = format!("{LAN}=eth2,{LB_LAN}/24");
    for (question, answer) in [
        ("Management address", format!("{MANAGEMENT}/24").as_str()),
        ("Gateway of the management network", ""),
        ("Data port, or empty", wan.as_str()),
        ("Data port, or empty", lan.as_str()),
        ("Data port, or empty", ""),
        ("Key", site.operator.public.as_str()),
        ("Local secret (not shown): ", SECRET),
        ("Once more: ", SECRET),
        ("yes or no", "yes"),
    ] {
        serial.expect(question, PATIENCE)?;
        serial.line(answer)?;
    }
    Ok(())
}

/// Writes what the site's configuration has beyond the wizard's.
pub(super) fn services() -> String {
    let (one, two) = (real_address(0), real_address(1));
    format!(
        "[lip-pool blue]\nport = {LAN}\naddress = {}\nsource-ports = 1024-65535\n\n\
         [synproxy flood]\nmode = adaptive\nenter = 500/s\nleave = 100/s\n\n\
         [service web]\nlisten = {VIP}:80/tcp\nlip-pool = blue\nscheduler = rr\n\
         real = {one}:80\nreal = {two}:80\nclient-address = toa\nsynproxy = flood\n",
        lip(0)
    )
}
