//! Links: attachments that end with their descriptor.

use std::os::fd::{AsFd, OwnedFd};

use super::sys;
use super::{BpfError, Program};

const ATTACH_XDP: u32 = 37;
const ATTACH_TCX_INGRESS: u32 = 46;

/// Says in which part of the receive path an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the device's driver, before a socket buffer is made.
    Native,
    /// In the kernel's generic receive path, on any device.
    Generic,
}

impl XdpMode {
    /// Returns the kernel's `XDP_FLAGS_*` bit.
    #[must_use]
    pub fn flags(self) -> u32 {
        match self {
            Self::Generic => 1 << 1,
            Self::Native => 1 << 2,
        }
    }
}

/// Keeps a program attached; the kernel detaches it when the link is dropped or the process ends.
#[derive(Debug)]
pub struct Link {
    _fd: OwnedFd,
}

impl Link {
    /// Attaches an XDP program to an interface (Linux 5.9).
    ///
    /// # Errors
    /// When the kernel refuses: `EBUSY` when another program is attached, `EOPNOTSUPP` when the
    /// driver has no native mode, `EINVAL` also when the kernel is older.
    pub fn xdp(program: &Program, ifindex: u32, mode: XdpMode) -> Result<Self, BpfError> {
        Self::create(program, ifindex, ATTACH_XDP, mode.flags())
    }

    /// Attaches a [`SchedCls`](super::ProgramKind::SchedCls) program to an interface's ingress
    /// (Linux 6.6).
    ///
    /// # Errors
    /// When the kernel refuses: `EINVAL` when it is older.
    pub fn tcx_ingress(program: &Program, ifindex: u32) -> Result<Self, BpfError> {
        Self::create(program, ifindex, ATTACH_TCX_INGRESS, 0)
    }

    fn create(
        program: &Program,
        ifindex: u32,
        attach_type: u32,
        flags: u32,
    ) -> Result<Self, BpfError> {
        sys::link_create(program.as_fd(), ifindex, attach_type, flags)
            .map(|fd| Self { _fd: fd })
            .map_err(|cause| BpfError::Attach { ifindex, cause })
    }
}
