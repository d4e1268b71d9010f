//! The programs that build an image, and the Debian packages that hold them.

use std::path::Path;

use anyhow::{Result, bail};

/// A program that every image needs and its package.
const ALWAYS: &[(&str, &str)] = &[
    ("apt-get", "apt"),
    ("dpkg-deb", "dpkg"),
    ("tar", "tar"),
    ("depmod", "kmod"),
    ("readelf", "binutils"),
    ("strip", "binutils"),
    ("mksquashfs", "squashfs-tools"),
    ("zstd", "zstd"),
    ("genimage", "genimage"),
    ("mke2fs", "e2fsprogs"),
    ("mkdosfs", "dosfstools"),
    ("mcopy", "mtools"),
    ("grub-mkimage", "grub-common"),
    ("/usr/lib/grub/i386-pc/boot.img", "grub-pc-bin"),
    ("/usr/lib/grub/x86_64-efi/fat.mod", "grub-efi-amd64-bin"),
];

/// A program that the other forms of the image need and its package.
const FORMS: &[(&str, &str)] = &[("xz", "xz-utils"), ("xorriso", "xorriso")];

/// Lists the packages of the tools that this machine does not have.
#[must_use]
pub fn missing(disk_only: bool) -> Vec<&'static str> {
    let more = if disk_only { &[] } else { FORMS };
    let mut packages: Vec<&str> = ALWAYS
        .iter()
        .chain(more)
        .filter(|(tool, _)| !is_present(tool))
        .map(|(_, package)| *package)
        .collect();
    packages.dedup();
    packages
}

/// Tells in one sentence what to install.
///
/// # Errors
/// When a tool is missing.
pub(crate) fn check(disk_only: bool) -> Result<()> {
    let missing = missing(disk_only);
    if !missing.is_empty() {
        bail!(
            "the image is built with programs that are not here: run `cargo xtask tools`, or \
             `apt-get install --no-install-recommends {}`",
            missing.join(" ")
        );
    }
    Ok(())
}

fn is_present(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin", "/usr/bin"].map(Into::into);
    std::env::split_paths(&path)
        .chain(more)
        .any(|folder| Path::new(&folder).join(tool).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_looked_for_in_path_and_by_its_whole_name() {
        assert!(is_present("sh"));
        assert!(is_present("/bin/sh"));
        assert!(!is_present("weir-no-such-tool"));
    }
}
