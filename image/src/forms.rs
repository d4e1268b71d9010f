//! The other forms of the disk: packed, for QEMU, and on an ISO that installs it.

use std::fs::File;
use std::io::{BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::Plan;
use crate::disk::words;
use crate::files;
use crate::grub;
use crate::qcow2;
use crate::run::{EPOCH, run, tool};
use crate::sign::sum_of;

/// The image's time as xorriso writes it.
const DATE: &str = "2026010100000000";

/// Packs the disk; the same bytes whatever the number of processors.
pub(crate) fn packed(disk: &Path, to: &Path) -> Result<()> {
    let file = File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
    run(tool("xz")
        .args("--stdout --keep --threads=4 --check=crc32 -1".split(' '))
        .arg(disk)
        .stdout(file))
}

/// Writes the disk as QEMU and its kind take it.
pub(crate) fn qcow2(disk: &Path, to: &Path) -> Result<()> {
    let sentence = || format!("cannot write {}", to.display());
    let mut source = File::open(disk).with_context(|| format!("cannot read {}", disk.display()))?;
    let size = files::size(disk)?;
    let mut next = |cluster: &mut [u8]| source.read_exact(cluster);
    let mut file = BufWriter::new(File::create(to).with_context(sentence)?);
    qcow2::write(size, &mut next, &mut file).with_context(sentence)?;
    file.flush().with_context(sentence)
}

/// What the ISO is made of.
#[derive(Debug)]
pub(crate) struct Iso<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) version: &'a str,
    pub(crate) kernel: &'a Path,
    pub(crate) initrd: &'a Path,
    pub(crate) disk: &'a Path,
    pub(crate) packed: &'a Path,
}

impl Iso<'_> {
    /// Makes an ISO that starts on BIOS and UEFI machines, from a CD or a USB stick.
    pub(crate) fn make(&self, work: &Path, to: &Path) -> Result<()> {
        let tree = work.join("iso");
        files::empty_folder(&tree)?;
        let boot = tree.join("boot");
        files::copy(self.kernel, &boot.join("vmlinuz"))?;
        files::copy(self.initrd, &boot.join("initrd"))?;
        files::copy(self.packed, &tree.join("weir.img.xz"))?;
        let sectors = files::size(self.disk)? / 512;
        files::write(&tree.join("sectors"), format!("{sectors}\n"))?;
        let sum = sum_of(self.disk)?;
        files::write(&tree.join("sha256"), format!("{sum}\n"))?;
        // GRUB knows its own medium by the name of this file.
        files::write(&boot.join(format!("weir-{}", self.version)), "")?;

        let source = self.plan.repository.join("image/boot");
        let words = words(&source)?;
        let filled = |name: &str| -> Result<String> {
            let text = files::read_text(&source.join(name))?;
            Ok(text
                .replace("@VERSION@", self.version)
                .replace("@WORDS@", &words))
        };
        files::write(&boot.join("grub/grub.cfg"), filled("iso.cfg")?)?;
        let early = work.join("iso-early.cfg");
        files::write(&early, filled("iso-early.cfg")?)?;
        grub::removable(&source, &early, &boot.join("grub/eltorito.img"), work)?;
        let efi = Self::efi(work)?;
        files::copy(&efi, &boot.join("grub/efi.img"))?;

        run(tool("touch")
            .arg("-d")
            .arg(format!("@{EPOCH}"))
            .args(files::walk(&tree)?))?;
        let _ = std::fs::remove_file(to);
        run(tool("xorriso")
            .args(["-as", "mkisofs", "-quiet", "-r", "-V", "WEIR", "-o"])
            .arg(to)
            .arg(format!("--modification-date={DATE}"))
            .args(["--set_all_file_dates", DATE])
            .args(["--grub2-mbr", "/usr/lib/grub/i386-pc/boot_hybrid.img"])
            .args("-partition_offset 16 -b boot/grub/eltorito.img -no-emul-boot".split(' '))
            .args("-boot-load-size 4 -boot-info-table --grub2-boot-info".split(' '))
            .args("-eltorito-alt-boot -append_partition 2 0xef".split(' '))
            .arg(&efi)
            .args("-e --interval:appended_partition_2:all:: -no-emul-boot".split(' '))
            .arg(&tree))
    }

    /// Makes the small FAT file system from which UEFI starts.
    fn efi(work: &Path) -> Result<PathBuf> {
        let image = work.join("efi.img");
        let _ = std::fs::remove_file(&image);
        run(tool("mkdosfs")
            .args("--invariant -i 57454953 -F 12 -n WEIREFI -C".split(' '))
            .arg(&image)
            .arg("2048"))?;
        run(tool("mmd")
            .arg("-i")
            .arg(&image)
            .args(["::/EFI", "::/EFI/BOOT"]))?;
        run(tool("mcopy")
            .arg("-i")
            .arg(&image)
            .arg(work.join("iso.efi"))
            .arg("::/EFI/BOOT/BOOTX64.EFI"))?;
        Ok(image)
    }
}
