//! Builds the appliance image from Debian packages: a root file system that nobody writes, two slots
//! on the boot partition, a data partition; the same bytes each time.

pub mod cpio;
mod disk;
mod files;
mod forms;
mod grub;
mod initrd;
pub mod manifest;
mod modules;
pub mod packages;
mod qcow2;
mod rootfs;
mod run;
mod sbom;
pub mod sign;
pub mod tools;
pub mod update;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::manifest::Manifest;
use crate::packages::Packages;

/// What an image is made of and where it goes.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The root of the repository.
    pub repository: PathBuf,
    /// The static `weir`.
    pub weir: PathBuf,
    /// Where the image goes, and what is kept from one build to the next.
    pub output: PathBuf,
    /// A folder of kernel modules to add.
    pub modules: Option<PathBuf>,
    /// Public keys whose updates the appliance takes; none means the key of developers.
    pub update_keys: Vec<PathBuf>,
    /// The secret key that signs the update file; none means the key of developers.
    pub sign: Option<PathBuf>,
    /// The number of the build, the `12` of `0.1.0+12`.
    pub build: u32,
    /// Whether to make the disk and the update only, neither packed nor for other hypervisors.
    pub disk_only: bool,
}

/// What was made.
#[derive(Debug, Clone)]
pub struct Image {
    /// The version that the image says it has.
    pub version: String,
    /// The raw disk.
    pub disk: PathBuf,
    /// The signed update file.
    pub update: PathBuf,
    /// The kernel of the slot.
    pub kernel: PathBuf,
    /// The first file system of the slot, the root file system in it.
    pub initrd: PathBuf,
    /// The packed disk, the one for QEMU, and the ISO, where they were wanted.
    pub forms: Vec<PathBuf>,
}

/// Builds the image.
///
/// # Errors
/// When a tool is missing, the package archive cannot be reached, or what was given is of no use; the
/// sentence says which.
pub fn build(plan: &Plan) -> Result<Image> {
    tools::check(plan.disk_only)?;
    if std::env::consts::ARCH != "x86_64" {
        bail!(
            "the image is for x86-64 and is built there; this is a {}",
            std::env::consts::ARCH
        );
    }
    let start = Instant::now();
    let step = |what: &str| println!("{:5.1} s  {what}", start.elapsed().as_secs_f32());
    let output = &plan.output;
    files::make_folder(output)?;
    let _lock = files::lock(&output.join("lock"))?;
    let keys = sign::Keys::get(plan)?;
    let version = format!("{}+{}", env!("CARGO_PKG_VERSION"), plan.build);
    rootfs::check_static(&plan.weir)?;

    step("packages");
    let packages = Packages::get(output)?;
    let kernel = modules::Kernel::of(&packages, output)?;
    println!(
        "         {} packages, kernel {}",
        packages.list.len(),
        kernel.version
    );

    step("root file system");
    let work = output.join("work");
    files::empty_folder(&work)?;
    let root = rootfs::Root {
        plan,
        version: &version,
        packages: &packages,
        kernel: &kernel,
        keys: &keys,
    };
    let squashfs = root.make(&work)?;

    step("initrd");
    let slot = work.join("input/boot/slot-a");
    files::make_folder(&slot)?;
    let initrd = slot.join("initrd");
    initrd::make(plan, &packages, &kernel, &squashfs, &initrd)?;
    let vmlinuz = slot.join("vmlinuz");
    files::copy(&kernel.image, &vmlinuz)?;
    let manifest = Manifest::of(&version, &[&vmlinuz, &initrd])?;
    files::write(&slot.join("manifest"), manifest.to_string())?;

    step("disk");
    let disk = disk::make(plan, &work)?;

    step("update file");
    let update = output.join(format!("weir-{version}.update"));
    update::pack(&manifest, &slot, &keys, &update)?;

    let mut image = Image {
        version,
        disk,
        update,
        kernel: keep(output, &vmlinuz, "vmlinuz")?,
        initrd: keep(output, &initrd, "initrd")?,
        forms: Vec::new(),
    };
    if !plan.disk_only {
        step("packed disk, qcow2, ISO");
        image.forms = other_forms(plan, &image, &work)?;
    }
    fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))?;
    step("done");
    image.print()?;
    Ok(image)
}

/// Builds an image once more and compares: the disk must be the same, byte for byte. (An update file
/// differs in its signature, which has chance in it.)
///
/// # Errors
/// As [`build`]; and when the two differ.
pub fn verify(plan: &Plan, image: &Image) -> Result<()> {
    let mut files = vec![&image.disk];
    files.extend(&image.forms);
    let sums = |files: &[&PathBuf]| -> Result<Vec<String>> {
        files.iter().map(|file| sign::sum_of(file)).collect()
    };
    let before = sums(&files)?;
    let again = build(plan)?;
    let mut files_again = vec![&again.disk];
    files_again.extend(&again.forms);
    let after = sums(&files_again)?;
    for ((file, one), other) in files.iter().zip(&before).zip(&after) {
        if one != other {
            bail!(
                "{} is {one} the first time and {other} the second",
                file.display()
            );
        }
        println!("{one}  {}: twice the same", file.display());
    }
    Ok(())
}

fn other_forms(plan: &Plan, image: &Image, work: &Path) -> Result<Vec<PathBuf>> {
    let name = |ending: &str| plan.output.join(format!("weir-{}.{ending}", image.version));
    let (packed, qcow2, iso) = (name("img.xz"), name("qcow2"), name("iso"));
    forms::packed(&image.disk, &packed)?;
    forms::qcow2(&image.disk, &qcow2)?;
    let source = forms::Iso {
        plan,
        version: &image.version,
        kernel: &image.kernel,
        initrd: &image.initrd,
        disk: &image.disk,
        packed: &packed,
    };
    source.make(work, &iso)?;
    Ok(vec![packed, qcow2, iso])
}

fn keep(output: &Path, file: &Path, name: &str) -> Result<PathBuf> {
    let kept = output.join(name);
    files::copy(file, &kept)?;
    Ok(kept)
}

impl Image {
    fn print(&self) -> Result<()> {
        let files = [&self.kernel, &self.initrd, &self.disk, &self.update];
        for file in files.into_iter().chain(&self.forms) {
            let size = files::size(file)?;
            println!("{:>8} KiB  {}", size >> 10, file.display());
        }
        Ok(())
    }
}
