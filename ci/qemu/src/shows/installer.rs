//! The ISO: it starts, and installs to an empty disk by one confirmed action.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use weir_image::sign::sum_of;
use weir_lab::scenario::Run;

use super::{PATIENCE, START};
use crate::guest::{Firmware, Guest, Plan};
use crate::images::Images;
use crate::site::Site;

/// The size of the disk that is installed to.
const DISK: u64 = 1 << 30;
/// The size of one that is too small for the image.
const SMALL: u64 = 128 << 20;
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
        let empty = |what: &str, size: u64| -> Result<PathBuf> {
            let disk = site.dir().join(format!("{what}-{name}.disk"));
            File::create(&disk)
                .and_then(|file| file.set_len(size))
                .context("cannot make an empty disk")?;
            Ok(disk)
        };
        let disk = empty("empty", DISK)?;
        let mut plan = Plan::appliance(&format!("iso-{name}"), &disk, 512);
        plan.firmware = firmware;
        plan.cards = Site::cards();
        plan.disc = Some(iso.clone());
        plan.more_disks = vec![empty("small", SMALL)?];
        let mut guest = Guest::start(&plan, Some(&site.lab.lb), site.dir())?;
        run.check(&format!("image: the ISO starts, {name}"), || {
            guest.serial.expect("Type the name of the disk", START)?;
            Ok(format!("after {:.1} s", guest.age().as_secs_f32()))
        });
        run.check(
            &format!("image: a disk too small is not taken, {name}"),
            || {
                ensure!(
                    !guest.serial.transcript().contains("vdb"),
                    "it is offered:\n{}",
                    guest.serial.transcript()
                );
                guest.serial.line("vdb")?;
                guest.serial.expect("nothing was written", START)?;
                Ok(format!("{} MiB", SMALL >> 20))
            },
        );
        run.check(&format!("image: and it installs, {name}"), || {
            guest.serial.expect("  empty", START)?;
            guest.serial.expect("Type the name of the disk", START)?;
            guest.serial.line("vda")?;
            guest.serial.expect("read back as it should be", WRITE)?;
            Ok(format!("after {:.1} s in all", guest.age().as_secs_f32()))
        });
        run.check(
            &format!("image: a disk with data is left alone, {name}"),
            || {
                let before = sum_of(&disk)?;
                // The machine starts again, from the disc.
                guest.serial.line("")?;
                guest.serial.expect("Type the name of the disk", START)?;
                guest.serial.line("vda")?;
                guest
                    .serial
                    .expect("not empty: partitions vda1, vda2, vda3", PATIENCE)?;
                guest.serial.expect("Type 'erase vda'", PATIENCE)?;
                guest.serial.line("yes")?;
                guest.serial.expect("Nothing was written.", PATIENCE)?;
                ensure!(sum_of(&disk)? == before, "it was written");
                Ok("without its name nothing is written".to_owned())
            },
        );
        guest.cut_power()?;
        plan.disc = None;
        plan.more_disks.clear();
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
