//! Network cards of other makes, by the drivers that the image has and by netmap.

use anyhow::{Result, ensure};
use weir_lab::scenario::Run;

use super::{CONSOLE, START, traffic};
use crate::guest::{Guest, Plan};
use crate::images::Images;
use crate::site::{BootPartition, Site};

/// Makes of cards and how many queues the emulated ones have with the drivers of this kernel.
const MAKES: [(&str, u16); 2] = [("e1000", 1), ("vmxnet3", 1)];
/// Netmap's memory and the kernel's.
const MEMORY: u32 = 512;

/// Serves pages with each make, by af-packet.
pub(super) fn run(run: &mut Run, images: &Images) -> Result<()> {
    for (make, queues) in MAKES {
        serve(run, images, make, queues, "af-packet", "af-packet")?;
    }
    Ok(())
}

/// Serves pages with netmap: a driver that knows it is taken by `auto`, any other by its name.
pub(super) fn netmap(run: &mut Run, images: &Images) -> Result<()> {
    if !images.has_module("netmap") {
        println!("      not run: no netmap.ko in the folder of `--modules`");
        return Ok(());
    }
    let (make, queues) = MAKES[0];
    let wanted = if images.has_module(make) {
        "auto"
    } else {
        "netmap"
    };
    serve(run, images, make, queues, wanted, "netmap")
}

fn serve(
    run: &mut Run,
    images: &Images,
    make: &'static str,
    queues: u16,
    wanted: &str,
    driver: &str,
) -> Result<()> {
    let site = Site::with_queues(queues)?;
    let disk = site.disk(&images.first.disk, make)?;
    let boot = BootPartition::of(&disk)?;
    for (path, content) in [
        ("setup/weir.conf", site.configuration(wanted, "")),
        ("setup/operator.keys", site.operator.public.clone()),
    ] {
        boot.put(path, &content, site.dir())?;
    }
    let mut plan = Plan::appliance(make, &disk, MEMORY);
    plan.cards = site.cards_of(make);
    let guest = Guest::start(&plan, Some(&site.lab.lb), site.dir())?;
    let name = |what: &str| format!("image: {make}, driver = {wanted}: {what}");
    run.check(&name("a console, and SSH"), || {
        let serial = &guest.serial;
        serial.wait("a console", START, |screen| screen.contains(CONSOLE))?;
        let up = site.operator.wait("show status --json", START);
        up.map_err(|error| error.context(serial.last_words()))?;
        Ok(format!("after {:.1} s", guest.age().as_secs_f32()))
    });
    run.check(&name("no fault of a module"), || {
        let said = site.operator.run("show events")?;
        ensure!(!said.contains("modules-fault"), "{said}");
        Ok("none told".to_owned())
    });
    traffic::serve(run, &site, driver)?;
    guest.cut_power()
}
