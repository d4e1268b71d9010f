//! The ISO: it starts, and installs to an empty disk by one confirmed action.

use std::fs::File;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use weir_lab::scenario::Run;

use super::START;
use crate::guest::{Firmware, Guest, Plan};
use crate::images::Images;
use crate::site::Site;

/// The size of the disk that is installed to.
const DISK: u64 = 1 << 30;
/// How long unpacking, writing and reading back may take on a machine that is emulated.
const WRITE: Duration = Duration::from_mins(4);

pub(super) fn run(run: &mut Run, images: &Images) -> Result<()> {
    let site = Site::new()?;
    let iso = images
        .first
        .forms
        .iter()
        .find(|form| form.extension().is_some_and(|ending| ending == "iso"))
        .context("no ISO was built")?;
    for (firmware, name) in [(Firmware::Bios, "BIOS"), (Firmware::Uefi, "UEFI")] {
        let disk = site.dir().join(format!("empty-{name}.disk"));
        File::create(&disk)
            .and_then(|file| file.set_len(DISK))
            .context("cannot make an empty disk")?;
        let mut plan = Plan::appliance(&format!("iso-{name}"), &disk, 512);
        plan.firmware = firmware;
        plan.cards = Site::cards();
        plan.disc = Some(iso.clone());
        let mut guest = Guest::start(&plan, Some(&site.lab.lb), site.dir())?;
        run.check(&format!("image: the ISO starts, {name}"), || {
            guest.serial.expect("Type the name of the disk", START)?;
            Ok(format!("after {:.1} s", guest.age().as_secs_f32()))
        });
        run.check(&format!("image: and installs, {name}"), || {
            guest.serial.line("vdb-is-none")?;
            guest.serial.expect("nothing was written", START)?;
            guest.serial.expect("Type the name of the disk", START)?;
            guest.serial.line("vda")?;
            guest.serial.expect("read back as it should be", WRITE)?;
            Ok(format!("after {:.1} s in all", guest.age().as_secs_f32()))
        });
        guest.cut_power()?;
        plan.disc = None;
        let mut guest = Guest::start(&plan, Some(&site.lab.lb), site.dir())?;
        run.check(&format!("image: what was installed starts, {name}"), || {
            guest.serial.expect("Name of the appliance", START)?;
            let said = guest.serial.transcript();
            ensure!(!said.contains("installation"), "{said}");
            Ok(format!("after {:.1} s", guest.age().as_secs_f32()))
        });
        guest.cut_power()?;
    }
    Ok(())
}
