//! A virtual machine whose network card is a tap in a namespace of its own.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use weir_lab::command::{run, words};
use weir_lab::namespace::Namespace;
use weir_lab::process::Process;

use crate::frames::GUEST_MAC;
use crate::kernel::Kernel;

/// The tap's name.
pub const TAP: &str = "weir0";
/// Queues of the network card, and processors of the guest.
pub const QUEUES: u16 = 4;
const QEMU: &str = "qemu-system-x86_64";

/// Installs QEMU where it is missing.
///
/// # Errors
/// When the package manager fails.
pub fn install_qemu() -> Result<()> {
    if Command::new(QEMU).arg("--version").output().is_ok() {
        return Ok(());
    }
    println!("Installing qemu-system-x86.");
    let mut install = words("apt-get -qq install --yes --no-install-recommends qemu-system-x86");
    run(install.env("DEBIAN_FRONTEND", "noninteractive")).map(drop)
}

/// Makes a namespace with the tap in it, switched on.
///
/// # Errors
/// When `ip` refuses.
pub fn namespace() -> Result<Namespace> {
    let namespace = Namespace::new(format!("weir-{}-rss", std::process::id()))?;
    namespace.ip(&format!("tuntap add dev {TAP} mode tap multi_queue"))?;
    namespace.ip(&format!("link set {TAP} up"))?;
    Ok(namespace)
}

/// Boots a guest; its console is the process's log.
///
/// # Errors
/// When QEMU cannot be started.
pub fn boot(
    namespace: &Namespace,
    kernel: &Kernel,
    initramfs: &Path,
    dir: &Path,
) -> Result<Process> {
    let mac = GUEST_MAC.map(|byte| format!("{byte:02x}")).join(":");
    let vectors = 2 * QUEUES + 2;
    let mut command = namespace.command(QEMU);
    command
        .args([
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
        ])
        .args(["-machine", "pc", "-accel", "tcg,thread=multi", "-m", "256"])
        .args(["-smp", &QUEUES.to_string()])
        .args(["-serial", "stdio"])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(initramfs)
        // The guest ends when its init does, however that is.
        .args(["-append", "console=ttyS0 quiet panic=-1"])
        .arg("-netdev")
        .arg(format!(
            "tap,id=net,ifname={TAP},queues={QUEUES},script=no,downscript=no,vhost=off"
        ))
        .arg("-device")
        .arg(format!(
            "virtio-net-pci,netdev=net,mac={mac},mq=on,rss=on,vectors={vectors}"
        ));
    Process::start("guest", &mut command, dir).context("cannot start QEMU")
}
