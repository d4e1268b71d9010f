//! Where things are on an appliance; under another root in tests.

use std::path::{Path, PathBuf};

use crate::slot::Slot;

/// The folders of an appliance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    /// What stays: the data partition.
    pub(crate) data: PathBuf,
    /// The boot partition, read-only but while something is written.
    pub(crate) boot: PathBuf,
    /// What is forgotten with the power.
    pub(crate) run: PathBuf,
    /// The configuration of the slot that runs.
    pub(crate) etc: PathBuf,
    /// What the daemon of the slot that runs keeps.
    pub(crate) state: PathBuf,
    /// The kernel's view of devices.
    pub(crate) sys: PathBuf,
    /// The kernel's view of itself.
    pub(crate) proc: PathBuf,
}

impl Places {
    /// Returns those of this machine.
    pub(crate) fn real() -> Self {
        Self::under(Path::new("/"))
    }

    /// Returns those under a folder.
    pub(crate) fn under(root: &Path) -> Self {
        Self {
            data: root.join("data"),
            boot: root.join("boot"),
            run: root.join("run/weir"),
            etc: root.join("etc/weir"),
            state: root.join("var/lib/weir"),
            sys: root.join("sys"),
            proc: root.join("proc"),
        }
    }

    /// Returns the folder of what both slots have in common.
    pub(crate) fn shared(&self) -> PathBuf {
        self.data.join("shared")
    }

    /// Returns the folder of what one slot has for itself.
    pub(crate) fn slot(&self, slot: Slot) -> PathBuf {
        self.data.join(slot.folder())
    }

    /// Returns the configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.etc.join("weir.conf")
    }
}
