//! A machine that a boot server starts: the kernel's words say what the wizard would ask.

use std::time::Duration;

use anyhow::{Result, ensure};
use weir_lab::attack::FLOOD_GATEWAY;
use weir_lab::lab::{LAN, LB_LAN, LB_WAN, WAN};
use weir_lab::scenario::Run;

use super::{Appliance, BOOT, CONSOLE, PATIENCE, START, first_boot, started, within};
use crate::guest::{Direct, Plan};
use crate::images::Images;
use crate::site::{MANAGEMENT, Site};

/// What the wizard asks first.
const QUESTION: &str = "Name of the appliance";
/// How long nobody is asked anything after the console is there.
const QUIET: Duration = Duration::from_secs(2);

pub(super) fn run(run: &mut Run, images: &Images) -> Result<()> {
    let site = Site::new()?;
    let disk = site.disk(&images.first.disk, "served")?;
    let always = format!("weir.slot=a {}", images.kernel_words()?);
    let words = format!("{always} {}", words(&site));
    let direct = |words: &str| Direct {
        kernel: images.first.kernel.clone(),
        initramfs: images.first.initrd.clone(),
        words: words.to_owned(),
    };
    let mut plan = Plan::appliance("served", &disk, 256);
    plan.cards = Site::cards();
    plan.direct = Some(direct(&words));
    let mut it = Appliance {
        guest: None,
        plan,
        collector: None,
        driver: "auto",
        site,
    };
    run.check(
        "image: set up by the kernel's words, it asks nothing",
        || {
            it.power_on()?;
            asks_nothing(&mut it)
        },
    );
    run.check("image: who has the key of the words is let in", || {
        it.wait_up()?;
        let keys = it.site.operator.run("key list")?;
        ensure!(keys.contains(it.site.operator.name), "{keys}");
        it.site.viewer.refused("show status", "")?;
        said_of_itself(&it)
    });
    run.check("image: services are added, and pages come", || {
        let before = it.site.operator.run("show config")?;
        let conf = format!("{before}\n{}", first_boot::services());
        it.site.operator.run_with_input("apply -", &conf)?;
        pages(&it)
    });
    run.check("image: without the words it stays what it is", || {
        it.plan.direct = Some(direct(&always));
        it.power_on()?;
        let figure = asks_nothing(&mut it)?;
        it.wait_up()?;
        said_of_itself(&it)?;
        pages(&it)?;
        Ok(figure)
    });
    run.check(
        "image: the same words and no disk: reachable, and it says so",
        || {
            it.plan.direct = Some(direct(&words));
            it.plan.disk = None;
            // It makes its host key anew at each start.
            it.site.operator.forget_hosts()?;
            it.power_on()?;
            it.wait_up()?;
            let figure = said_of_itself(&it)?;
            let events = it.site.operator.run("show events")?;
            let fault = events.lines().find(|line| line.contains("data-fault"));
            ensure!(fault.is_some(), "nothing is said of the disk:\n{events}");
            Ok(format!("{figure}; {}", fault.unwrap_or_default().trim()))
        },
    );
    it.cut()
}

/// Writes what the kernel is told in place of a person's answers.
fn words(site: &Site) -> String {
    let ports = format!("{WAN}=eth1,{LB_WAN}/24,gateway={FLOOD_GATEWAY};{LAN}=eth2,{LB_LAN}/24");
    format!(
        "weir.node=box weir.address={MANAGEMENT}/24 weir.key=\"{}\" weir.ports={ports}",
        site.operator.public
    )
}

fn asks_nothing(it: &mut Appliance) -> Result<String> {
    let guest = it.guest()?;
    guest
        .serial
        .wait("a console", START, |screen| screen.contains(CONSOLE))?;
    let figure = started(guest, BOOT)?;
    std::thread::sleep(QUIET);
    let said = guest.serial.transcript();
    ensure!(!said.contains(QUESTION), "it asks:\n{said}");
    Ok(figure)
}

/// Looks whether it runs on what it was told.
fn said_of_itself(it: &Appliance) -> Result<String> {
    let conf = it.site.operator.run("show config")?;
    for wanted in [
        "name = box".to_owned(),
        format!("address = {MANAGEMENT}/24"),
        format!("address = {LB_WAN}/24"),
        format!("gateway = {FLOOD_GATEWAY}"),
        format!("address = {LB_LAN}/24"),
    ] {
        let is = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ") == wanted;
        ensure!(conf.lines().any(is), "`{wanted}` is not in\n{conf}");
    }
    Ok(format!("box, {MANAGEMENT}/24, {WAN} and {LAN}"))
}

fn pages(it: &Appliance) -> Result<String> {
    // A real server may be on its way up.
    within(PATIENCE, || {
        let report = it.site.lab.http_get(it.site.lab.pages(80, "/page", 20))?;
        ensure!(report.ok == 20, "{:?}", report.failures);
        Ok("20 of 20".to_owned())
    })
}
