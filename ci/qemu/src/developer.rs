//! The running appliance for whoever develops it, with a client and two real servers around it.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use weir_lab::lab::VIP;

use crate::guest::{Firmware, Guest, Plan};
use crate::site::{BootPartition, Site};

/// How long the start may take on a busy machine.
const START: Duration = Duration::from_mins(3);
/// What is typed on the local console where it asks for the secret.
pub const SECRET: &str = "weir in a guest";

/// Starts an appliance from an image, set up and serving, says how to get at it, and waits until it
/// is switched off or this program is interrupted.
///
/// # Errors
/// When a part cannot be started.
pub fn open(image: &Path, firmware: Firmware, driver: &str, memory: u32) -> Result<()> {
    let site = Site::new()?;
    let copy = site.disk(image, "box")?;
    let boot = BootPartition::of(&copy)?;
    for (path, content) in [
        ("setup/weir.conf", site.configuration(driver, "")),
        ("setup/operator.keys", site.operator.public.clone()),
        ("setup/viewer.keys", site.viewer.public.clone()),
    ] {
        boot.put(path, &content, site.dir())?;
    }
    let mut plan = Plan::appliance("box", &copy, memory);
    plan.cards = Site::cards();
    plan.firmware = firmware;
    println!("Starting the appliance; emulated, this takes a quarter of a minute.");
    let mut guest = Guest::start(&plan, Some(&site.lab.lb), site.dir())?;
    if let Err(error) = site.operator.wait("show status", START) {
        return Err(error.context(guest.serial.last_words()));
    }
    site.operator.run_with_input("secret", SECRET)?;
    let (client, desk) = (site.lab.client.name(), site.desk.name());
    println!(
        "\nThe appliance runs since {:.0} s. In another terminal, as root:",
        guest.age().as_secs_f32()
    );
    println!("  ip netns exec {client} curl http://{VIP}/");
    for (who, person) in [("operator", &site.operator), ("viewer", &site.viewer)] {
        println!("  # the {who}'s console; verbs behind it, such as `show services`");
        println!("  ip netns exec {desk} {}", person.log_in());
    }
    println!(
        "The local secret is `{SECRET}`. Disk, logs and keys are in {}.",
        site.dir().display()
    );
    println!("It ends with Ctrl-C, or when it is switched off (`poweroff`).");
    while guest.is_running() {
        thread::sleep(Duration::from_millis(200));
    }
    println!("The appliance was switched off.");
    Ok(())
}
