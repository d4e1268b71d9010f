//! Debian's packages: found by apt, kept by their exact versions, unpacked without installing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::files;
use crate::run::{output, run, tool};
use crate::sign::{sha256, sum_of};

/// The package that names the newest kernel of this Debian.
const NEWEST_KERNEL: &str = "linux-image-amd64";

/// What the root file system is made of, the kernel aside.
const NAMES: &[&str] = &[
    "base-files", // the texts of licences
    "busybox-static",
    "dropbear-bin",
    "e2fsprogs",
    "libblkid1",
    "libc6",
    "libcom-err2",
    "libcrypt1",
    "libext2fs2",
    "libgmp10",
    "libtomcrypt1",
    "libtommath1",
    "libuuid1",
    "zlib1g",
];

/// One package in the version that the image has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) architecture: String,
    /// The source package and, where it differs, its version.
    pub(crate) source: String,
    pub(crate) sha256: String,
}

/// All packages of an image, unpacked.
#[derive(Debug)]
pub(crate) struct Packages {
    /// Where all but the kernel are unpacked.
    pub(crate) tree: PathBuf,
    /// The file of the kernel's package.
    pub(crate) kernel: PathBuf,
    /// In the order of names, the kernel's last.
    pub(crate) list: Vec<Package>,
}

impl Packages {
    /// Finds, downloads and unpacks what is not there yet.
    pub(crate) fn get(target: &Path) -> Result<Self> {
        let cache = target.join("packages");
        files::make_folder(&cache)?;
        let depends = output(tool("apt-cache").args(["depends", NEWEST_KERNEL]))?;
        let kernel = kernel_in(&depends).with_context(|| {
            format!("apt knows no {NEWEST_KERNEL}; run `apt-get update` on a Debian 12")
        })?;
        let mut list = described(NAMES)?;
        list.extend(described(&[kernel])?);
        for package in &list {
            package.download(&cache)?;
        }
        let Some((kernel, others)) = list.split_last() else {
            bail!("the list of packages is empty");
        };
        let key: String = others.iter().map(|package| package.file() + "\n").collect();
        let key = sha256(key.as_bytes());
        let tree = target.join(format!("unpacked-{}", key.get(..16).unwrap_or(&key)));
        if !tree.is_dir() {
            let fresh = target.join("unpacked.new");
            files::empty_folder(&fresh)?;
            for package in others {
                run(tool("dpkg-deb")
                    .arg("-x")
                    .arg(cache.join(package.file()))
                    .arg(&fresh))?;
            }
            fs::rename(&fresh, &tree)
                .with_context(|| format!("cannot rename {}", fresh.display()))?;
        }
        Ok(Self {
            tree,
            kernel: cache.join(kernel.file()),
            list,
        })
    }
}

impl Packages {
    /// Returns the files of one of the packages, the kernel's aside, where they are unpacked.
    pub(crate) fn files_of(&self, package: &Package) -> Result<Vec<PathBuf>> {
        let cache = self.kernel.parent().unwrap_or(&self.kernel);
        let list = format!(
            "set -o pipefail; dpkg-deb --fsys-tarfile '{}' | tar -t",
            cache.join(package.file()).display()
        );
        let said = output(tool("bash").args(["-c", &list]))?;
        let paths = said.lines().map(|line| self.tree.join(line));
        let files = paths.filter(|path| path.is_file() && !path.is_symlink());
        Ok(files.collect())
    }
}

impl Package {
    /// Returns the name of its file, as apt gives it.
    fn file(&self) -> String {
        let version = self.version.replace(':', "%3a");
        format!("{}_{version}_{}.deb", self.name, self.architecture)
    }

    fn download(&self, cache: &Path) -> Result<()> {
        let file = cache.join(self.file());
        if !file.is_file() {
            println!("         downloading {} {}", self.name, self.version);
            let wanted = format!("{}={}", self.name, self.version);
            // apt lets another user download where it can, which it cannot in a private folder.
            run(tool("apt-get")
                .args(["-qq", "-o", "APT::Sandbox::User=root", "download", &wanted])
                .current_dir(cache))
            .with_context(|| format!("cannot download {wanted}; is `apt-get update` due?"))?;
        }
        let sum = sum_of(&file)?;
        if sum != self.sha256 {
            bail!(
                "{} is not the package that apt knows: remove it and build again",
                file.display()
            );
        }
        Ok(())
    }
}

/// Asks apt for the newest version of each package.
fn described(names: &[&str]) -> Result<Vec<Package>> {
    let said = output(
        tool("apt-cache")
            .args(["show", "--no-all-versions"])
            .args(names),
    )
    .context("apt does not know the packages; run `apt-get update` on a Debian 12")?;
    let mut found: BTreeMap<String, Package> = BTreeMap::new();
    for package in said.split("\n\n").filter_map(parse) {
        found.insert(package.name.clone(), package);
    }
    if let Some(missing) = names.iter().find(|name| !found.contains_key(**name)) {
        bail!("apt knows no package {missing}; run `apt-get update` on a Debian 12");
    }
    Ok(found.into_values().collect())
}

/// Reads one paragraph of `apt-cache show`.
fn parse(paragraph: &str) -> Option<Package> {
    let field = |name: &str| {
        paragraph
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            .map(str::to_owned)
    };
    let name = field("Package")?;
    Some(Package {
        version: field("Version")?,
        architecture: field("Architecture")?,
        source: field("Source").unwrap_or_else(|| name.clone()),
        sha256: field("SHA256")?,
        name,
    })
}

/// Finds the kernel's package that another one depends on, in the words of `apt-cache depends`.
#[must_use]
pub fn kernel_in(depends: &str) -> Option<&str> {
    depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|package| package.starts_with("linux-image-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_package_is_found() {
        let said = "linux-image-amd64\n  Depends: linux-image-6.1.0-56-amd64\n";
        assert_eq!(kernel_in(said), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(kernel_in("linux-image-amd64\n"), None);
    }

    #[test]
    fn a_package_is_read_from_apts_words_and_its_file_is_named_like_apt_names_it() {
        let said = "Package: busybox-static\nSource: busybox (1:1.35.0-4+deb12u1)\n\
                    Version: 1:1.35.0-4+deb12u1+b1\nArchitecture: amd64\nSHA256: ab\nSize: 9\n";
        let package = parse(said).unwrap();
        assert_eq!(
            package.file(),
            "busybox-static_1%3a1.35.0-4+deb12u1+b1_amd64.deb"
        );
        assert_eq!(package.source, "busybox (1:1.35.0-4+deb12u1)");
        assert_eq!(package.sha256, "ab");
        assert_eq!(parse("Package: half\nVersion: 1\n"), None);
    }
}
