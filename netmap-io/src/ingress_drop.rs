//! Keeps the kernel's hands off the addresses that Weir owns.
//!
//! A packet socket only copies: the kernel sees every frame too, and would answer or forward
//! those for a VIP or LIP. Taps run before the ingress hook, so a small program there drops the
//! frames of owned addresses after the socket has had its copy.

mod clsact;
mod program;

use std::net::IpAddr;
use std::path::Path;

use nix::errno::Errno;

use crate::bpf::{BpfError, Link, Program, ProgramKind};
use crate::owned::OwnedTable;
use clsact::Clsact;

/// Says why the addresses cannot be kept from the kernel.
#[derive(Debug, thiserror::Error)]
pub enum IngressDropError {
    /// eBPF refused.
    #[error(transparent)]
    Bpf(#[from] BpfError),
    /// There is no such device.
    #[error("there is no device `{device}`")]
    NoDevice {
        /// The name asked for.
        device: String,
    },
    /// The kernel has no ingress hook for the program.
    #[error("cannot attach the drop of owned addresses to the ingress of `{device}`: {cause}")]
    Attach {
        /// The device asked for.
        device: String,
        /// What the kernel said.
        cause: Errno,
    },
    /// What was attached could not be written down for the next start.
    #[error("cannot record the ingress filter of `{device}` in {path}: {cause}")]
    Record {
        /// The device asked for.
        device: String,
        /// The file.
        path: String,
        /// What the system said.
        cause: std::io::Error,
    },
}

/// Loads a socket filter that passes only frames of owned addresses.
pub(crate) fn socket_filter(owned: &OwnedTable) -> Result<Program, BpfError> {
    let code = program::classify(ProgramKind::SocketFilter, owned);
    Program::load(ProgramKind::SocketFilter, "weir_tap", code)
}

fn drop_program(owned: &OwnedTable) -> Result<Program, BpfError> {
    let code = program::classify(ProgramKind::SchedCls, owned);
    Program::load(ProgramKind::SchedCls, "weir_drop", code)
}

/// Drops the frames of owned addresses on a device's ingress for as long as the value lives.
///
/// On Linux 6.6 and later the kernel takes the program away when the process ends, however it
/// ends; before, a filter stays after a kill until [`sweep`](Self::sweep) runs.
#[derive(Debug)]
pub struct IngressDrop {
    owned: OwnedTable,
    hook: Hook,
}

#[derive(Debug)]
enum Hook {
    Tcx { _link: Link },
    Clsact { _filter: Clsact },
}

impl IngressDrop {
    /// Attaches the drop to `device`; nothing is owned yet.
    ///
    /// # Errors
    /// When there is no such device or the kernel refuses.
    pub fn attach(device: &str, run_dir: &Path) -> Result<Self, IngressDropError> {
        let owned = OwnedTable::new()?;
        let program = drop_program(&owned)?;
        let ifindex =
            nix::net::if_::if_nametoindex(device).map_err(|_| IngressDropError::NoDevice {
                device: device.to_owned(),
            })?;
        let hook = match Link::tcx_ingress(&program, ifindex) {
            Ok(link) => Hook::Tcx { _link: link },
            Err(refused) if refused.errno() == Some(Errno::EINVAL) => Hook::Clsact {
                _filter: Clsact::attach(device, ifindex, &program, run_dir)?,
            },
            Err(refused) => return Err(refused.into()),
        };
        Ok(Self { owned, hook })
    }

    /// Makes `addresses` the owned ones; those that stay are owned without a break.
    ///
    /// # Errors
    /// When the kernel refuses an element.
    pub fn set_owned(&mut self, addresses: &[IpAddr]) -> Result<(), IngressDropError> {
        Ok(self.owned.set(addresses)?)
    }

    /// Says how the drop is attached: `tcx` or `clsact`.
    #[must_use]
    pub fn mode(&self) -> &'static str {
        match self.hook {
            Hook::Tcx { .. } => "tcx",
            Hook::Clsact { .. } => "clsact",
        }
    }

    /// Removes the filters that a killed daemon left on old kernels.
    ///
    /// # Errors
    /// When the kernel refuses to remove one; the others are removed all the same.
    pub fn sweep(run_dir: &Path) -> Result<(), IngressDropError> {
        clsact::sweep(run_dir)
    }

    pub(crate) fn owned(&self) -> &OwnedTable {
        &self.owned
    }
}
