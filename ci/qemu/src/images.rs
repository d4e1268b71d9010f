//! What the proofs boot, and updates that do not deserve to stay.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use weir_image::cpio::Archive;
use weir_image::manifest::Manifest;
use weir_image::sign::Keys;
use weir_image::{Image, Plan, update};

/// A way in which an update can be bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its kernel panics, because its first program ends.
    Panic,
    /// Its `weir` ends as soon as it is started.
    Exits,
    /// It hangs, the watchdog open and nobody feeding it.
    Hangs,
    /// Its signature is of something else.
    Signature,
    /// It is cut off.
    Truncated,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Panic,
        Self::Exits,
        Self::Hangs,
        Self::Signature,
        Self::Truncated,
    ];

    /// Returns a name for reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Panic => "panics",
            Self::Exits => "weir-exits",
            Self::Hangs => "hangs",
            Self::Signature => "bad-signature",
            Self::Truncated => "truncated",
        }
    }

    /// Tells whether it is found out before anything is started.
    #[must_use]
    pub const fn is_refused(self) -> bool {
        match self {
            Self::Signature | Self::Truncated => true,
            Self::Panic | Self::Exits | Self::Hangs => false,
        }
    }
}

/// The images of a proof.
#[derive(Clone, Debug)]
pub struct Images {
    /// The one that is installed.
    pub first: Image,
    /// The one that it is updated to.
    pub second: Image,
    plan: Plan,
}

impl Images {
    /// Builds both: the same but for the number of the build.
    ///
    /// # Errors
    /// As [`weir_image::build`].
    pub fn build(plan: &Plan) -> Result<Self> {
        // The next one first: what both leave under the same names is then the first one's.
        let next = Plan {
            build: plan.build + 1,
            disk_only: true,
            ..plan.clone()
        };
        let mut second = weir_image::build(&next)?;
        let folder = plan.output.join("next");
        fs::create_dir_all(&folder).context("cannot make a folder for the update")?;
        for file in [&mut second.update, &mut second.kernel, &mut second.initrd] {
            let kept = folder.join(file.file_name().context("an image is a file")?);
            fs::rename(&*file, &kept).with_context(|| format!("cannot move {}", file.display()))?;
            *file = kept;
        }
        Ok(Self {
            first: weir_image::build(plan)?,
            second,
            plan: plan.clone(),
        })
    }

    /// Finds those that were built by the same plan.
    ///
    /// # Errors
    /// When they are not there.
    pub fn built(plan: &Plan) -> Result<Self> {
        let found = |build: u32, folder: &Path| -> Result<Image> {
            let version = format!("{}+{build}", env!("CARGO_PKG_VERSION"));
            let image = Image {
                disk: plan.output.join("weir.img"),
                forms: vec![folder.join(format!("weir-{version}.iso"))],
                update: folder.join(format!("weir-{version}.update")),
                kernel: folder.join("vmlinuz"),
                initrd: folder.join("initrd"),
                version,
            };
            for file in [&image.disk, &image.update, &image.kernel, &image.initrd] {
                ensure!(file.is_file(), "there is no {}", file.display());
            }
            Ok(image)
        };
        Ok(Self {
            first: found(plan.build, &plan.output)?,
            second: found(plan.build + 1, &plan.output.join("next"))?,
            plan: plan.clone(),
        })
    }

    /// Returns the words that the boot loader gives the kernel of either slot.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn kernel_words(&self) -> Result<String> {
        let words = fs::read_to_string(self.plan.repository.join("image/boot/words"));
        Ok(words
            .context("cannot read the kernel's words")?
            .trim()
            .to_owned())
    }

    /// Tells whether a kernel module was added to them, by its name.
    #[must_use]
    pub fn has_module(&self, name: &str) -> bool {
        let folder = self.plan.modules.as_ref();
        folder.is_some_and(|folder| folder.join(format!("{name}.ko")).is_file())
    }

    /// Makes a bad update out of the good one.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn bad(&self, fault: Fault, dir: &Path) -> Result<PathBuf> {
        let file = dir.join(format!("{}.update", fault.name()));
        let good = &self.second;
        match fault {
            Fault::Truncated => {
                let bytes = read(&good.update)?;
                let half = bytes.get(..bytes.len() / 2).unwrap_or_default();
                write(&file, half)?;
            }
            Fault::Signature => write(&file, &with_another_digit(&read(&good.update)?)?)?,
            Fault::Panic | Fault::Exits | Fault::Hangs => self.rebuild(fault, dir, &file)?,
        }
        Ok(file)
    }

    /// Packs and signs the slot anew, with something in front of its own start.
    fn rebuild(&self, fault: Fault, dir: &Path, to: &Path) -> Result<()> {
        let slot = dir.join(format!("slot-{}", fault.name()));
        fs::create_dir_all(&slot).context("cannot make a folder for the slot")?;
        let [vmlinuz, initrd] = ["vmlinuz", "initrd"].map(|name| slot.join(name));
        write(&vmlinuz, &read(&self.second.kernel)?)?;
        let mut bytes = read(&self.second.initrd)?;
        // The kernel unpacks archives behind each other; what comes later holds.
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes.extend(self.before_init(fault)?);
        write(&initrd, &bytes)?;
        let manifest = Manifest::of(&self.second.version, &[&vmlinuz, &initrd])?;
        update::pack(&manifest, &slot, &Keys::get(&self.plan)?, to)
    }

    fn before_init(&self, fault: Fault) -> Result<Vec<u8>> {
        let mut archive = Archive::default();
        let script = match fault {
            Fault::Panic => "#!/bin/busybox sh\nexit 1\n".to_owned(),
            Fault::Hangs => {
                let repository = &self.plan.repository;
                let init = fs::read_to_string(repository.join("image/initrd/init"))
                    .context("cannot read the initrd's init")?;
                archive.program("weir", HANG.as_bytes());
                over_weir(&init)?
            }
            Fault::Exits | Fault::Signature | Fault::Truncated => {
                let repository = &self.plan.repository;
                let init = fs::read_to_string(repository.join("image/initrd/init"))
                    .context("cannot read the initrd's init")?;
                archive.program("weir", b"#!/bin/sh\nexit 1\n");
                over_weir(&init)?
            }
        };
        archive.program("init", script.as_bytes());
        Ok(archive.finish())
    }
}

/// A `weir` that takes the watchdog and then does nothing, as one that hangs.
const HANG: &str = "#!/bin/sh\nexec 3>/dev/watchdog\nwhile :; do sleep 1000; done\n";

/// Puts the archive's own `weir` over that of the root file system.
fn over_weir(init: &str) -> Result<String> {
    let last = "exec switch_root";
    ensure!(
        init.contains(last),
        "the initrd's init does not switch roots"
    );
    let mount = "mount -o bind /weir /root/usr/bin/weir || fail 'the test is broken'\n";
    Ok(init.replacen(last, &format!("{mount}{last}"), 1))
}

/// Changes a digit of the version in the manifest, which is signed.
fn with_another_digit(update: &[u8]) -> Result<Vec<u8>> {
    let key = b"version = ";
    let at = update
        .windows(key.len())
        .position(|window| window == key)
        .context("the update has no version")?;
    let mut bytes = update.to_vec();
    let digit = bytes
        .get_mut(at + key.len())
        .context("the version is empty")?;
    *digit = if *digit == b'9' { b'8' } else { b'9' };
    Ok(bytes)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_digit_is_all_that_a_bad_signature_needs() {
        let good = b"format = 1\nversion = 0.1.0+2\n";
        let bad = with_another_digit(good).unwrap();
        assert_eq!(bad, b"format = 1\nversion = 9.1.0+2\n");
        assert!(with_another_digit(b"format = 1\n").is_err());
    }

    #[test]
    fn a_program_is_put_over_weir_before_the_roots_are_switched() {
        let script = over_weir("mount x\nexec switch_root /root /sbin/init\n").unwrap();
        let mount = script.find("/root/usr/bin/weir").unwrap();
        assert!(mount < script.find("exec switch_root").unwrap());
        assert!(over_weir("exit 1").is_err());
    }
}
