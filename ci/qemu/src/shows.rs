//! What the appliance image must show, on a machine that is emulated and a network that is real.
//!
//! One machine is set up by its boot partition, in front of two real servers, watched by rsyslog, and
//! updated. Beside it a second one is set up by hand and cut from its power.

mod cards;
mod changes;
mod console;
mod first_boot;
mod installer;
mod kernel_words;
mod login;
mod ports;
mod power;
mod recovery;
mod settings;
mod shutdown;
mod traffic;
mod updates;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use weir_lab::patience::within;
use weir_lab::scenario::{Outcome, Run};

use crate::collector::Collector;
use crate::guest::{Guest, Plan};
use crate::images::Images;
use crate::site::{BootPartition, DESK, Site};

/// How long a start may take until somebody can log in, on a busy machine that emulates another.
const START: Duration = Duration::from_mins(2);
/// How long anything else may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// What every console shows below its head.
const CONSOLE: &str = "1 Services";

/// The parts, in the order in which they are done.
pub const PARTS: [&str; 13] = [
    "first-boot",
    "start",
    "traffic",
    "console",
    "ports",
    "power",
    "recovery",
    "shutdown",
    "updates",
    "kernel-words",
    "cards",
    "netmap",
    "installer",
];

/// A run of the proofs.
struct Shows<'a> {
    images: &'a Images,
    long: bool,
    names: &'a [String],
}

/// An appliance that runs at its site.
struct Appliance {
    // Before the site: it ends first.
    guest: Option<Guest>,
    plan: Plan,
    collector: Option<Collector>,
    driver: &'static str,
    site: Site,
}

/// Runs the parts whose names contain one of `names`; all without names. `program` is the `weir` of
/// the image.
#[must_use]
pub fn run(images: &Images, long: bool, names: &[String]) -> Outcome {
    let mut run = Run::new(PathBuf::new(), long);
    let shows = Shows {
        images,
        long,
        names,
    };
    shows.two(&mut run);
    if long && shows.wants("kernel-words") {
        let what = "set up by the kernel's words: it asks nothing, with a disk and without";
        run.part("image", "kernel-words", what, |run| {
            kernel_words::run(run, images)
        });
    }
    if long && shows.wants("cards") {
        let what = "cards of other makes: a console, ports by name, pages";
        run.part("image", "cards", what, |run| cards::run(run, images));
    }
    if long && shows.wants("netmap") {
        let what = "with a netmap.ko in the image ports are taken by it, and serve";
        run.part("image", "netmap", what, |run| cards::netmap(run, images));
    }
    if long && shows.wants("installer") {
        run.part(
            "image",
            "installer",
            "the ISO starts, and installs to an empty disk by one confirmed action",
            |run| installer::run(run, images),
        );
    }
    run.finish()
}

impl Shows<'_> {
    fn wants(&self, part: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| part.contains(name.as_str()))
    }

    /// Two machines beside each other, once the one whose start is measured has started.
    fn two(&self, run: &mut Run) {
        let of_first = ["start", "traffic", "console", "ports", "updates"];
        let of_second = ["first-boot", "power"];
        let in_full = ["ports", "recovery", "shutdown"];
        let wanted = |parts: &[&str]| parts.iter().any(|part| self.wants(part));
        let is_second = wanted(&of_second) || self.long && wanted(&in_full);
        let mut first = None;
        if wanted(&of_first) {
            let shows = "BIOS, 256 MB; set up by the boot partition, a console on the serial line";
            run.part("image", "start", shows, |run| {
                first = Some(start(run, self.images)?);
                Ok(())
            });
        }
        match (&mut first, is_second) {
            (None, false) => {}
            (None, true) => self.by_hand(run),
            (Some(appliance), false) => self.by_boot_partition(run, appliance),
            (Some(appliance), true) => run.side_by_side(
                "image, two machines",
                |run| self.by_boot_partition(run, appliance),
                |run| self.by_hand(run),
            ),
        }
    }

    /// A machine with UEFI that somebody sets up on its serial line.
    fn by_hand(&self, run: &mut Run) {
        let mut appliance = None;
        run.part(
            "image",
            "first-boot",
            "UEFI; somebody sets it up on the serial line, and traffic flows by af-xdp",
            |run| {
                appliance = Some(first_boot::run(run, self.images)?);
                Ok(())
            },
        );
        let Some(mut it) = appliance else {
            return;
        };
        if self.wants("power") {
            let shows = "the power is cut while configurations are applied";
            run.part("image", "power", shows, |run| {
                power::run(run, &mut it, if self.long { 20 } else { 3 })
            });
        }
        if self.long && self.wants("ports") {
            let shows = "by af-xdp, too, only SSH answers";
            run.part("image", "ports", shows, |run| {
                ports::reach(run, &it.site, it.driver)
            });
        }
        let recovers = self.long && self.wants("recovery");
        if recovers {
            let shows = "a backup, a lost secret, a full data partition";
            run.part("image", "recovery", shows, |run| {
                recovery::run(run, &mut it);
                Ok(())
            });
        }
        if self.long && self.wants("shutdown") {
            let shows = "sessions that are open when the box is to end";
            run.part("image", "shutdown", shows, |run| {
                shutdown::run(run, &mut it)
            });
        } else {
            run.check("image: `poweroff` switches it off", || {
                first_boot::switch_off(&mut it)
            });
        }
        if recovers {
            let shows = "a damaged data partition, and the box as it was delivered";
            run.part("image", "recovery of a box that is off", shows, |run| {
                recovery::run_off(run, &mut it)
            });
        }
    }

    /// A machine with a BIOS that found its configuration on the boot partition.
    fn by_boot_partition(&self, run: &mut Run, it: &mut Appliance) {
        if self.wants("traffic") {
            let shows = "500 pages behind cookies, a flood beside them, TOA, books, events";
            run.part("image", "traffic", shows, |run| traffic::run(run, it));
        }
        if self.wants("console") {
            let shows = "80x24 on the serial line, SSH with resize, who may do what, logins told";
            run.part("image", "console", shows, |run| console::run(run, it));
        }
        if self.wants("ports") {
            let shows = "only SSH answers; nothing is writable, no password, no listener";
            run.part("image", "ports", shows, |run| ports::run(run, it));
        }
        if self.wants("updates") {
            let shows = "there and back, and bad ones: each ends on the old slot, and says why";
            run.part("image", "updates", shows, |run| {
                updates::run(run, it, self.images)
            });
        }
    }
}

/// Starts the machine that the long way is gone with.
fn start(run: &mut Run, images: &Images) -> Result<Appliance> {
    let site = Site::new()?;
    let siem = DESK.to_string();
    let collector = Collector::start(&site.desk, DESK.into(), site.dir())?;
    let disk = site.disk(&images.first.disk, "box")?;
    let boot = BootPartition::of(&disk)?;
    let conf = site.configuration("af-packet", &Collector::section(&siem));
    for (path, content) in [
        ("setup/weir.conf", conf.as_str()),
        ("setup/operator.keys", site.operator.public.as_str()),
        ("setup/viewer.keys", site.viewer.public.as_str()),
        ("setup/siem-ca.pem", collector.authority.as_str()),
    ] {
        boot.put(path, content, site.dir())?;
    }
    let mut plan = Plan::appliance("box", &disk, 256);
    plan.cards = Site::cards();
    let mut appliance = Appliance {
        guest: None,
        plan,
        collector: Some(collector),
        driver: "af-packet",
        site,
    };
    appliance.power_on()?;
    run.check("image: a console on the serial line, BIOS, 256 MB", || {
        let guest = appliance.guest()?;
        let serial = &guest.serial;
        serial.wait("a console", 3 * BOOT, |screen| screen.contains(CONSOLE))?;
        started(guest, BOOT)
    });
    run.check("image: the screen shows the same", || {
        let dir = appliance.site.dir().to_owned();
        let guest = appliance.guest()?;
        within(PATIENCE, || {
            let screen = guest.screen(&dir)?;
            ensure!(screen.contains(CONSOLE), "the screen shows:\n{screen}");
            Ok("in text mode, 80x25".to_owned())
        })
    });
    appliance.wait_up()?;
    run.check("image: SSH lets in who has a key", || {
        let operator = &appliance.site.operator;
        operator.run_with_input("secret", SECRET)?;
        let row = operator.json("box --json")?;
        let is = |key: &str| {
            row.get(key)
                .and_then(|it| it.as_str())
                .unwrap_or_default()
                .to_owned()
        };
        ensure!(
            is("version") == images.first.version && is("slot") == "a",
            "{row}"
        );
        Ok(format!("version {} in slot a", is("version")))
    });
    run.check("image: the SIEM is told of the boot, by TLS", || {
        appliance.told("boot", "")
    });
    Ok(appliance)
}

/// The local secret of the machine.
const SECRET: &str = "seven horses under a slow moon";
/// How long a start may take until somebody can use the console.
const BOOT: Duration = Duration::from_secs(15);

impl Appliance {
    /// Starts it, after its power was cut where it is on.
    fn power_on(&mut self) -> Result<()> {
        self.cut()?;
        let guest = Guest::start(&self.plan, Some(&self.site.lab.lb), self.site.dir())?;
        self.guest = Some(guest);
        Ok(())
    }

    /// Cuts the power, where it is on.
    fn cut(&mut self) -> Result<()> {
        self.guest.take().map_or(Ok(()), Guest::cut_power)
    }

    /// Waits for an event at the SIEM.
    fn told(&self, code: &str, text: &str) -> Result<String> {
        let collector = self.collector.as_ref().context("there is no SIEM here")?;
        collector.expect(code, text, PATIENCE)
    }

    /// Writes the configuration of this appliance.
    fn configuration(&self, more: &str) -> String {
        let siem = self.collector.as_ref();
        let siem = siem.map_or_else(String::new, |_| Collector::section(&DESK.to_string()));
        self.site
            .configuration(self.driver, &format!("{siem}{more}"))
    }

    fn guest(&mut self) -> Result<&mut Guest> {
        self.guest.as_mut().context("it is off")
    }

    /// Waits until the operator can log in and the daemon answers.
    fn wait_up(&mut self) -> Result<()> {
        let began = Instant::now();
        let outcome = self.site.operator.wait("show status --json", START);
        if let Err(error) = outcome {
            let words = self.guest()?.serial.last_words();
            return Err(error.context(words));
        }
        println!(
            "      somebody could log in after {:.1} s",
            began.elapsed().as_secs_f32()
        );
        Ok(())
    }
}

/// Says how long a start took, and fails where it was too long; where others keep the machine busy
/// its own part of the processor's time counts.
fn started(guest: &Guest, limit: Duration) -> Result<String> {
    let (age, own) = (guest.age(), guest.processor_time());
    let figure = format!(
        "after {:.1} s, {:.1} s of a processor",
        age.as_secs_f32(),
        own.as_secs_f32()
    );
    ensure!(age.min(own) < limit, "{figure}");
    Ok(figure)
}
