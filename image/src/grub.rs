//! GRUB for BIOS and UEFI, made ready without writing to a device.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::files;
use crate::run::{run, tool};

/// Where the configuration is: on the disk that the firmware started from.
const PREFIX: &str = "(,gpt2)/grub";

/// Where `core.img` begins on the disk.
const CORE_SECTOR: u64 = 2048;

/// The block of variables is this long.
const BLOCK: usize = 1024;

/// Makes GRUB's three files: `boot.img`, `core.img`, `BOOTX64.EFI`, of what lies in `image/boot`:
/// the names of the modules that both have built in, and what is done before the configuration.
pub(crate) fn make(source: &Path, boot_img: &Path, core_img: &Path, efi: &Path) -> Result<()> {
    let modules = files::read_text(&source.join("grub-modules"))?;
    let early = source.join("early.cfg");
    image("i386-pc", &format!("{modules} biosdisk"), &early, core_img)?;
    image("x86_64-efi", &modules, &early, efi)?;
    let mut boot = files::read(Path::new("/usr/lib/grub/i386-pc/boot.img"))?;
    let mut core = files::read(core_img)?;
    place(&mut boot, &mut core).context("GRUB's files are not as they were")?;
    boot.truncate(440); // the partition table begins there
    files::write(boot_img, boot)?;
    files::write(core_img, core)
}

/// Makes GRUB for a CD or a stick: the file that BIOS loads at `eltorito`, `iso.efi` in `work`.
pub(crate) fn removable(source: &Path, early: &Path, eltorito: &Path, work: &Path) -> Result<()> {
    let modules = files::read_text(&source.join("grub-modules"))? + " iso9660 part_msdos";
    let core = work.join("iso.core");
    image("i386-pc", &format!("{modules} biosdisk"), early, &core)?;
    // Screens of UEFI, which the kernel would otherwise start without.
    let graphic = format!("{modules} efi_gop efi_uga");
    image("x86_64-efi", &graphic, early, &work.join("iso.efi"))?;
    let mut bytes = files::read(Path::new("/usr/lib/grub/i386-pc/cdboot.img"))?;
    bytes.extend(files::read(&core)?);
    files::write(eltorito, bytes)
}

fn image(format: &str, modules: &str, early: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        files::make_folder(folder)?;
    }
    run(tool("grub-mkimage")
        .args(["-O", format, "-p", PREFIX, "-c"])
        .arg(early)
        .arg("-o")
        .arg(to)
        .args(modules.split_whitespace()))
}

/// Writes the sectors of `core.img` into `boot.img` and into its own first sector, as `grub-install`
/// would.
fn place(boot: &mut [u8], core: &mut [u8]) -> Result<()> {
    // boot.img: the sector to load; and that a disk's number is as the firmware says.
    put(boot, 0x5c, &CORE_SECTOR.to_le_bytes())?;
    put(boot, 0x66, &[0x90, 0x90])?;
    // core.img: the list of the sectors that follow the first one.
    let sectors = core.len().div_ceil(512);
    let rest = u16::try_from(sectors - 1).context("core.img is too big")?;
    if sectors > 2048 {
        bail!("core.img does not fit into its partition");
    }
    put(core, 0x1f4, &(CORE_SECTOR + 1).to_le_bytes())?;
    put(core, 0x1fc, &rest.to_le_bytes())
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) -> Result<()> {
    let place = bytes.get_mut(at..at + value.len());
    place
        .context("the file is too short")?
        .copy_from_slice(value);
    Ok(())
}

/// Makes the block of variables of a new image.
pub(crate) fn block(variables: &[(&str, &str)]) -> Vec<u8> {
    let mut block = b"# GRUB Environment Block\n".to_vec();
    for (name, value) in variables {
        block.extend(format!("{name}={value}\n").bytes());
    }
    block.resize(BLOCK, b'#');
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_of_variables_is_as_grub_wants_it() {
        let block = block(&[("slot", "a"), ("trial", "")]);
        assert_eq!(block.len(), 1024);
        assert!(block.starts_with(b"# GRUB Environment Block\nslot=a\ntrial=\n###"));
    }

    #[test]
    fn sectors_are_written_where_grub_reads_them() {
        let mut boot = vec![0; 512];
        let mut core = vec![0; 1300];
        place(&mut boot, &mut core).unwrap();
        assert_eq!(boot.get(0x5c..0x5e), Some(&[0x00, 0x08][..]));
        assert_eq!(core.get(0x1f4..0x1f6), Some(&[0x01, 0x08][..]));
        assert_eq!(core.get(0x1fc..0x1fe), Some(&[2, 0][..]));
        assert!(place(&mut [0; 16], &mut core).is_err());
    }
}
