//! The kernel and those of its modules that the appliance needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::files;
use crate::packages::Packages;
use crate::run::{output, run, tool};

/// What the appliance may meet: network cards of machines and the chips beside them; those of
/// hypervisors and clouds; disks; buses; keyboards and the power button; watchdogs; what hypervisors
/// offer; file systems; the data plane. Those that these depend on come by themselves.
const WANTED: &str = "\
    atlantic bnxt_en e1000 e1000e i40e iavf ice igb igbvf igc ixgbe ixgbevf mlx4_en mlx5_core r8169 \
    tg3 broadcom realtek \
    ena gve hv_netvsc virtio_net vmxnet3 xen-netfront \
    aacraid ahci ata_piix hpsa hv_storvsc megaraid_sas mmc_block mpt3sas mptspi nvme sd_mod \
    sdhci-pci smartpqi sr_mod uas usb-storage virtio_blk virtio_scsi vmw_pvscsi xen-blkfront \
    ehci-pci hv_vmbus ohci-pci uhci-hcd virtio_mmio virtio_pci xhci-pci \
    button evdev hid-generic hyperv-keyboard usbhid \
    hpwdt i2c-i801 i6300esb iTCO_wdt lpc_ich softdog sp5100_tco wdat_wdt \
    hv_balloon hv_utils virtio-rng virtio_balloon \
    crc32c_generic crc32c-intel ext4 isofs loop nls_ascii nls_cp437 nls_iso8859-1 nls_utf8 squashfs \
    vfat \
    8021q cls_bpf sch_ingress";

/// What the initrd loads before the root file system is there, each after those that it needs.
pub(crate) const FIRST: &[&str] = &["loop", "squashfs"];

/// Where the builder leaves the names of added modules for the start to load.
const ADDED: &str = "usr/lib/weir/modules";

/// Where added modules lie, in the folder of the kernel's: others may depend on them.
const UPDATES: &str = "updates";

/// A kernel and its modules, unpacked.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// The version, as the kernel itself says it.
    pub(crate) version: String,
    /// What GRUB boots.
    pub(crate) image: PathBuf,
    /// The folder `kernel` with the needed modules, of which none is missing.
    modules: PathBuf,
}

impl Kernel {
    /// Unpacks what is needed of the kernel's package, unless an earlier build did.
    pub(crate) fn of(packages: &Packages, target: &Path) -> Result<Self> {
        let named = files::name(&packages.kernel);
        let folder = target.join(format!("kernel-{}", named.trim_end_matches(".deb")));
        if let Some(kernel) = Self::find(&folder)
            && kernel.wanted().is_ok_and(|wanted| wanted == WANTED)
            && folder.join("usr/share/doc").is_dir()
        {
            return Ok(kernel);
        }
        let all = target.join("kernel.all");
        files::empty_folder(&all)?;
        files::empty_folder(&folder)?;
        // Only these: the rest of the package is of no use here.
        let unpack = format!(
            "set -o pipefail; dpkg-deb --fsys-tarfile '{}' | tar -x -C '{}' ./boot ./lib/modules ./usr/share/doc",
            packages.kernel.display(),
            all.display()
        );
        run(tool("bash").args(["-c", &unpack]))?;
        let found = Self::find(&all).context("the kernel's package has no kernel in it")?;
        run(tool("depmod").arg("-b").arg(&all).arg(&found.version))?;
        let from = all.join("lib/modules").join(&found.version);
        let table = files::read_text(&from.join("modules.dep"))?;
        let table = Dependencies::parse(&table);
        let to = folder.join("lib/modules").join(&found.version);
        for module in table.closure(WANTED)? {
            files::copy(&from.join(&module), &to.join(&module))?;
        }
        for list in [
            "modules.order",
            "modules.builtin",
            "modules.builtin.modinfo",
        ] {
            files::copy(&from.join(list), &to.join(list))?;
        }
        files::copy(
            &found.image,
            &folder.join("boot").join(files::name(&found.image)),
        )?;
        for file in files::walk(&all.join("usr/share/doc"))? {
            if files::name(&file) == "copyright" {
                let name = file.strip_prefix(&all).unwrap_or(&file);
                files::copy(&file, &folder.join(name))?;
            }
        }
        files::write(&folder.join("wanted"), WANTED)?;
        fs::remove_dir_all(&all).context("cannot remove the unpacked kernel")?;
        Self::find(&folder).context("the kernel's package has no kernel in it")
    }

    fn find(folder: &Path) -> Option<Self> {
        let boot = fs::read_dir(folder.join("boot")).ok()?;
        boot.flatten().find_map(|entry| {
            let version = entry
                .file_name()
                .to_str()?
                .strip_prefix("vmlinuz-")?
                .to_owned();
            Some(Self {
                image: entry.path(),
                modules: folder.join("lib/modules").join(&version),
                version,
            })
        })
    }

    /// Returns where the package was unpacked.
    pub(crate) fn folder(&self) -> &Path {
        self.modules.ancestors().nth(3).unwrap_or(&self.modules)
    }

    /// Returns the list for which the modules were picked.
    fn wanted(&self) -> Result<String> {
        files::read_text(&self.folder().join("wanted"))
    }

    /// Puts the modules into the root file system.
    pub(crate) fn install(&self, root: &Path, added: Option<&Path>) -> Result<()> {
        let to = root.join("usr/lib/modules").join(&self.version);
        for file in files::walk(&self.modules)? {
            let name = file.strip_prefix(&self.modules).unwrap_or(&file);
            files::copy(&file, &to.join(name))?;
        }
        if let Some(added) = added {
            self.add(added, root, &to)?;
        }
        run(tool("depmod")
            .arg("-b")
            .arg(root.join("usr"))
            .arg(&self.version))?;
        // What busybox does not read, and what would only make the image bigger.
        for file in files::list(&to)? {
            let name = files::name(&file);
            let read = [
                "modules.dep",
                "modules.alias",
                "modules.symbols",
                "modules.builtin",
            ];
            if name.starts_with("modules.") && !read.contains(&name.as_str()) {
                fs::remove_file(&file).with_context(|| format!("cannot remove {name}"))?;
            }
        }
        Ok(())
    }

    /// Adds the modules of a folder: one named like a module of the kernel takes its place, the others
    /// are loaded at the start after all drivers, unless a driver needs them before.
    fn add(&self, folder: &Path, root: &Path, modules: &Path) -> Result<()> {
        let mut count = 0;
        let mut at_the_start = String::new();
        for file in files::list(folder)? {
            let name = files::name(&file);
            let ending = file.extension().unwrap_or_default();
            if ending == "args" && file.with_extension("ko").is_file() {
                let module = name.trim_end_matches(".args");
                let options = options(module, &files::read_text(&file)?);
                files::write(&root.join(format!("etc/modprobe.d/{module}.conf")), options)?;
                continue;
            }
            let Some(module) = name.strip_suffix(".ko") else {
                bail!(
                    "{} is neither a kernel module (NAME.ko, not packed) nor the parameters of one \
                     (NAME.args)",
                    file.display()
                );
            };
            let vermagic = output(tool("modinfo").args(["-F", "vermagic"]).arg(&file))
                .with_context(|| format!("{} is not a kernel module", file.display()))?;
            check_vermagic(&file, vermagic.trim(), &self.version)?;
            let ours = files::walk(&self.modules)?
                .into_iter()
                .find(|path| same_module(&files::name(path), module));
            if let Some(ours) = ours {
                let place = ours.strip_prefix(&self.modules).unwrap_or(&ours);
                files::copy(&file, &modules.join(place))?;
                println!("         {name} takes the place of the kernel's own");
            } else {
                files::copy(&file, &modules.join(UPDATES).join(&name))?;
                at_the_start.extend([module, "\n"]);
                println!("         {name} is loaded at the start");
            }
            count += 1;
        }
        if count == 0 {
            bail!(
                "there is no kernel module (NAME.ko) in {}",
                folder.display()
            );
        }
        files::write(&root.join(ADDED), at_the_start)
    }

    /// Returns the file of one of the modules.
    pub(crate) fn module(&self, name: &str) -> Result<PathBuf> {
        files::walk(&self.modules)?
            .into_iter()
            .find(|path| same_module(&files::name(path), name))
            .with_context(|| format!("the kernel has no module {name}"))
    }
}

/// Writes a module's parameters as `modprobe` reads them, which also holds where another needs it.
fn options(module: &str, parameters: &str) -> String {
    let words: Vec<&str> = parameters.split_whitespace().collect();
    format!("options {module} {}\n", words.join(" "))
}

/// Says what is wrong with a module that was built for another kernel.
fn check_vermagic(file: &Path, vermagic: &str, version: &str) -> Result<()> {
    let built_for = vermagic.split_whitespace().next().unwrap_or_default();
    if built_for != version {
        bail!(
            "{} was built for the kernel {built_for}, and the image has {version}: build it with \
             Debian's package linux-headers-{version}",
            file.display()
        );
    }
    Ok(())
}

/// Tells whether a file is the module of that name; `-` and `_` are the same to the kernel.
fn same_module(file: &str, name: &str) -> bool {
    let plain = |name: &str| name.trim_end_matches(".ko").replace('-', "_");
    plain(file) == plain(name)
}

/// `modules.dep`: which files a module needs.
#[derive(Debug)]
struct Dependencies<'a>(BTreeMap<String, (&'a str, Vec<&'a str>)>);

impl<'a> Dependencies<'a> {
    fn parse(text: &'a str) -> Self {
        let lines = text.lines().filter_map(|line| {
            let (file, needs) = line.split_once(':')?;
            Some((plain_name(file), (file, needs.split_whitespace().collect())))
        });
        Self(lines.collect())
    }

    /// Returns the files of modules and of all that they need.
    fn closure(&self, names: &str) -> Result<BTreeSet<String>> {
        let mut files = BTreeSet::new();
        for name in names.split_whitespace() {
            let Some((file, needs)) = self.0.get(&plain_name(name)) else {
                bail!("the kernel has no module {name}");
            };
            files.insert((*file).to_owned());
            files.extend(needs.iter().map(|&need| need.to_owned()));
        }
        Ok(files)
    }
}

fn plain_name(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.trim_end_matches(".ko").replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_bring_those_that_they_need() {
        let table = Dependencies::parse(
            "kernel/fs/ext4/ext4.ko: kernel/lib/crc16.ko kernel/fs/jbd2/jbd2.ko\n\
             kernel/lib/crc16.ko:\nkernel/fs/jbd2/jbd2.ko:\nkernel/drivers/usb/storage/usb-storage.ko:\n",
        );
        let files = table.closure("ext4 usb_storage").unwrap();
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        assert_eq!(
            files,
            [
                "kernel/drivers/usb/storage/usb-storage.ko",
                "kernel/fs/ext4/ext4.ko",
                "kernel/fs/jbd2/jbd2.ko",
                "kernel/lib/crc16.ko"
            ]
        );
        let error = table.closure("nvme").unwrap_err();
        assert_eq!(error.to_string(), "the kernel has no module nvme");
    }

    #[test]
    fn a_module_for_another_kernel_is_refused_with_the_package_that_would_help() {
        let file = Path::new("netmap.ko");
        let ours = "6.1.0-56-amd64";
        let vermagic = "6.1.0-56-amd64 SMP preempt mod_unload modversions";
        assert!(check_vermagic(file, vermagic, ours).is_ok());
        let error = check_vermagic(file, "6.1.0-41-amd64 SMP", ours).unwrap_err();
        assert_eq!(
            error.to_string(),
            "netmap.ko was built for the kernel 6.1.0-41-amd64, and the image has 6.1.0-56-amd64: \
             build it with Debian's package linux-headers-6.1.0-56-amd64"
        );
        assert!(check_vermagic(file, "6.1.0-56-amd640", ours).is_err());
    }

    #[test]
    fn parameters_are_one_line_of_options() {
        let text = options("netmap", "buf_num=16384\nverbose=1\n");
        assert_eq!(text, "options netmap buf_num=16384 verbose=1\n");
    }

    #[test]
    fn a_dash_and_an_underscore_name_the_same_module() {
        assert!(same_module("crc32c-intel.ko", "crc32c_intel"));
        assert!(!same_module("e1000e.ko", "e1000"));
    }
}
