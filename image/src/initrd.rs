//! The slot's first file system: just enough to mount the root file system that lies in it.

use std::path::Path;

use anyhow::Result;

use crate::Plan;
use crate::cpio::Archive;
use crate::files;
use crate::modules::{FIRST, Kernel};
use crate::packages::Packages;
use crate::run::{run, tool};

/// What the start calls of busybox.
const APPLETS: &[&str] = &[
    "echo",
    "insmod",
    "losetup",
    "mount",
    "sh",
    "sleep",
    "switch_root",
];

/// Writes the initrd: a packed archive of the start, and one of the root file system, which is packed
/// already.
pub(crate) fn make(
    plan: &Plan,
    packages: &Packages,
    kernel: &Kernel,
    squashfs: &Path,
    to: &Path,
) -> Result<()> {
    let mut start = Archive::default();
    for folder in ["bin", "dev", "modules", "root"] {
        start.directory(folder);
    }
    start.device("dev/console", (5, 1));
    start.program(
        "bin/busybox",
        &files::read(&packages.tree.join("bin/busybox"))?,
    );
    for applet in APPLETS {
        start.link(&format!("bin/{applet}"), "busybox");
    }
    for (nth, name) in FIRST.iter().enumerate() {
        let module = files::read(&kernel.module(name)?)?;
        start.file(&format!("modules/{nth}-{name}.ko"), &module);
    }
    start.program(
        "init",
        &files::read(&plan.repository.join("image/initrd/init"))?,
    );

    let unpacked = to.with_extension("cpio");
    files::write(&unpacked, start.finish())?;
    run(tool("zstd")
        .args(["-19", "-q", "-f", "--rm"])
        .arg(&unpacked)
        .arg("-o")
        .arg(to))?;
    let mut bytes = files::read(to)?;
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let mut root = Archive::default();
    root.file("root.squashfs", &files::read(squashfs)?);
    bytes.extend(root.finish());
    files::write(to, bytes)
}
