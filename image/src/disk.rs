//! The disk: what lies on the boot partition, and the table of partitions around it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::Plan;
use crate::files;
use crate::grub;
use crate::run::{run, tool};

/// What a person finds where his files would be taken.
const SETUP: &str = "Files that are put here are taken at the first start, once:\n\
    weir.conf      the configuration, with the section [management]\n\
    setup.conf     or instead of it lines such as `address = 192.0.2.10/24`: node, address,\n\
                   gateway, dns, ntp, port (more than once), key, viewer-key\n\
    operator.keys  public SSH keys, one a line, of those who may change things\n\
    viewer.keys    public SSH keys, one a line, of those who may look\n\
    *.pem          certificates that weir.conf names, as /etc/weir/NAME.pem\n";

/// Makes `weir.img` from a work folder in which slot a is filled.
pub(crate) fn make(plan: &Plan, work: &Path) -> Result<PathBuf> {
    let input = work.join("input");
    let boot = input.join("boot");
    let source = plan.repository.join("image/boot");
    grub::make(
        &source,
        &input.join("boot.img"),
        &input.join("core.img"),
        &boot.join("EFI/BOOT/BOOTX64.EFI"),
    )?;
    let menu = files::read_text(&source.join("grub.cfg"))?;
    files::write(
        &boot.join("grub/grub.cfg"),
        menu.replace("@WORDS@", &words(&source)?),
    )?;
    let variables = [("slot", "a"), ("trial", ""), ("tried", "0"), ("args", "")];
    files::write(&boot.join("grub/grubenv"), grub::block(&variables))?;
    files::write(&boot.join("setup/README.txt"), SETUP)?;
    files::make_folder(&boot.join("slot-b"))?;

    let folder = |name: &str| -> Result<PathBuf> {
        let folder = work.join(name);
        files::empty_folder(&folder)?;
        Ok(folder)
    };
    run(tool("genimage")
        .arg("--config")
        .arg(source.join("genimage.cfg"))
        .arg("--inputpath")
        .arg(&input)
        .arg("--outputpath")
        .arg(work)
        .arg("--rootpath")
        .arg(folder("empty")?)
        .arg("--tmppath")
        .arg(folder("tmp")?))?;
    let disk = plan.output.join("weir.img");
    fs::rename(work.join("weir.img"), &disk)
        .with_context(|| format!("cannot write {}", disk.display()))?;
    Ok(disk)
}

/// Returns the words that every start tells the kernel.
pub(crate) fn words(source: &Path) -> Result<String> {
    let words = files::read_text(&source.join("words"))?;
    let words: Vec<&str> = words.split_whitespace().collect();
    Ok(words.join(" "))
}
