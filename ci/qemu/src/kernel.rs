//! Debian's kernel for virtual machines: an image and the modules that the guest loads.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use weir_image::cpio::Archive;
use weir_image::packages::kernel_in;
use weir_lab::command::{run, words};

/// The package that names the newest kernel for virtual machines.
const NEWEST: &str = "linux-image-cloud-amd64";

/// The modules of a virtio network card and of programs at its ingress, each after those that it
/// needs.
pub const MODULES: [&str; 10] = [
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci.ko",
    "net/core/failover.ko",
    "drivers/net/net_failover.ko",
    "drivers/net/virtio_net.ko",
    "net/sched/sch_ingress.ko",
    "net/sched/cls_bpf.ko",
];

/// A kernel that was unpacked.
#[derive(Debug)]
pub struct Kernel {
    /// The version, as the kernel itself says it.
    pub version: String,
    /// What QEMU boots.
    pub image: PathBuf,
    modules: PathBuf,
}

impl Kernel {
    /// Downloads Debian's kernel into `cache`, or takes the one that is there. Nothing is installed.
    ///
    /// # Errors
    /// When the package archive cannot be reached, or this is another processor than x86-64.
    pub fn get(cache: &Path) -> Result<Self> {
        if std::env::consts::ARCH != "x86_64" {
            bail!(
                "the guest is an x86-64, and this is a {}",
                std::env::consts::ARCH
            );
        }
        fs::create_dir_all(cache).with_context(|| format!("cannot make {}", cache.display()))?;
        if let Some(kernel) = Self::find(cache)? {
            return Ok(kernel);
        }
        let depends = run(words("apt-cache depends").arg(NEWEST))?;
        let package = kernel_in(&depends)
            .with_context(|| format!("{NEWEST} names no kernel; is `apt-get update` due?"))?;
        run(words("apt-get download").arg(package).current_dir(cache))?;
        let file = fs::read_dir(cache)
            .and_then(|entries| {
                entries
                    .map(|entry| Ok(entry?.path()))
                    .collect::<Result<Vec<_>, _>>()
            })
            .with_context(|| format!("cannot list {}", cache.display()))?
            .into_iter()
            .find(|path| path.extension().is_some_and(|ending| ending == "deb"))
            .context("apt-get downloaded nothing")?;
        run(Command::new("dpkg-deb").arg("-x").arg(&file).arg(cache))?;
        fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
        Self::find(cache)?.context("the package has no kernel in it")
    }

    fn find(cache: &Path) -> Result<Option<Self>> {
        let Ok(entries) = fs::read_dir(cache.join("boot")) else {
            return Ok(None);
        };
        for entry in entries {
            let image = entry.context("cannot list the kernels")?.path();
            let name = image.file_name().unwrap_or_default().to_string_lossy();
            if let Some(version) = name.strip_prefix("vmlinuz-") {
                return Ok(Some(Self {
                    version: version.to_owned(),
                    modules: cache.join("lib/modules").join(version).join("kernel"),
                    image: image.clone(),
                }));
            }
        }
        Ok(None)
    }

    /// Makes the guest's first file system: the modules, and `init`.
    ///
    /// # Errors
    /// When one of the files cannot be read.
    pub fn initramfs(&self, init: &Path) -> Result<Vec<u8>> {
        let mut archive = Archive::default();
        for directory in ["dev", "proc", "run", "sys", "modules"] {
            archive.directory(directory);
        }
        archive.device("dev/console", (5, 1));
        for (nth, module) in MODULES.iter().enumerate() {
            let file = self.modules.join(module);
            archive.program(&module_name(nth), &read(&file)?);
        }
        archive.program("init", &read(init)?);
        Ok(archive.finish())
    }
}

/// Returns where the guest finds a module.
#[must_use]
pub fn module_name(nth: usize) -> String {
    format!("modules/{nth}.ko")
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}
