//! The machine of the proof of receive-side scaling: four queues, and one program.

use std::path::Path;

use anyhow::Result;
use weir_lab::namespace::Namespace;

use crate::frames::GUEST_MAC;
use crate::guest::{Card, Direct, Guest, Plan, tap};
use crate::kernel::Kernel;

/// The tap's name.
pub const TAP: &str = "weir0";
/// Queues of the network card, and processors of the guest.
pub const QUEUES: u16 = 4;

/// Makes a namespace with the tap in it, switched on.
///
/// # Errors
/// When `ip` refuses.
pub fn namespace() -> Result<Namespace> {
    let namespace = Namespace::new(format!("weir-{}-rss", std::process::id()))?;
    tap(&namespace, TAP, QUEUES)?;
    Ok(namespace)
}

/// Boots a guest with `init` in its first file system.
///
/// # Errors
/// When QEMU cannot be started.
pub fn boot(namespace: &Namespace, kernel: &Kernel, initramfs: &Path, dir: &Path) -> Result<Guest> {
    let direct = Direct {
        kernel: kernel.image.clone(),
        initramfs: initramfs.to_owned(),
        // The guest ends when its init does, however that is.
        words: "console=ttyS0 quiet panic=-1".to_owned(),
    };
    let mut plan = Plan::program("guest", direct, QUEUES);
    plan.cards = vec![Card {
        more: "rss=on".to_owned(),
        ..Card::tap(TAP, GUEST_MAC, QUEUES)
    }];
    Guest::start(&plan, Some(namespace), dir)
}
